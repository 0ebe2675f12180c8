//! `fcdd weights`

use std::path::PathBuf;

use super::Outcome;
use super::common::{print_json, print_lines};
use crate::error::Result;
use crate::model::pretrained::download_folder;
use crate::printable::Printable;
use crate::run::weights::{check, sources};

/// Show where the weights that pretrained nets start from are to be had, or check a file of them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to check: torchvision's own (.pth), or of safetensors
    #[arg(value_name = "FILE", requires = "net")]
    file: Option<PathBuf>,
    /// Net that is to start from it
    #[arg(long, value_name = "NET", requires = "file")]
    net: Option<String>,
    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    if let (Some(file), Some(net)) = (&args.file, &args.net) {
        check(file, net)?;
        match args.json {
            true => print_json(&serde_json::json!({ "file": file, "net": net, "fits": true }))?,
            false => print_lines(&format!("{} holds the weights that {net} starts from", file.printable()))?,
        }
        return Ok(Outcome::Fine);
    }
    let sources = sources();
    if args.json {
        print_json(&sources)?;
        return Ok(Outcome::Fine);
    }
    let mut lines = Vec::new();
    for source in &sources {
        lines.push(format!("{:<10}{}", source.model, source.url));
        lines.push(format!("{:<10}SHA-256 {}…; for {}", "", source.sha256, source.nets.join(", ")));
        if let Some(file) = &source.downloaded {
            lines.push(format!("{:<10}is there: {}", "", file.printable()));
        }
    }
    lines.push(String::new());
    let folder = download_folder().map_or(String::new(), |folder| format!(" in {}, or", folder.printable()));
    lines.push(format!("Keep them as they are{folder} anywhere, and name them with `--weights vgg16-397923af.pth`."));
    print_lines(&lines.join("\n"))?;
    Ok(Outcome::Fine)
}
