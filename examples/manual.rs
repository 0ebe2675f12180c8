//! Writes the program's man pages and its completions for shells into a folder: `share/man/man1`, and `share/bash-completion`, `share/zsh` and
//! `share/fish` as these shells look for them under a prefix such as `/usr/local`.
//!
//!     cargo run --release --example manual -- FOLDER

use std::fs::create_dir_all;
use std::path::Path;

use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: manual FOLDER");
    let share = Path::new(&folder).join("share");
    let man = share.join("man/man1");
    create_dir_all(&man)?;
    clap_mangen::generate_to(fcdd::cli::command(), &man)?;
    let shells = [
        (Shell::Bash, "bash-completion/completions"),
        (Shell::Zsh, "zsh/site-functions"),
        (Shell::Fish, "fish/vendor_completions.d"),
    ];
    for (shell, place) in shells {
        let place = share.join(place);
        create_dir_all(&place)?;
        clap_complete::generate_to(shell, &mut fcdd::cli::command(), "fcdd", place)?;
    }
    Ok(())
}
