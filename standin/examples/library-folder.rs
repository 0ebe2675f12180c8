//! Prints the folder that holds the stand-in's `libcuda.so`, for `scripts/with-standin`: `library-folder plain` or `checked`.

use fcdd_standin::{Mode, library_dir};

fn main() -> std::process::ExitCode {
    let mode = if std::env::args().nth(1).as_deref() == Some("checked") { Mode::Checked } else { Mode::Plain };
    match library_dir(mode) {
        Some(folder) => {
            println!("{}", folder.display());
            std::process::ExitCode::SUCCESS
        }
        None => {
            eprintln!("the stand-in was not built: there is no C++ compiler");
            std::process::ExitCode::FAILURE
        }
    }
}
