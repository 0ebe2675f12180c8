//! `fcdd weights`

use std::path::PathBuf;

use super::Outcome;
use super::common::{print_json, print_lines};
use crate::error::Result;
use crate::printable::Printable;
use crate::run::weights::{check, sources};

/// Show where the weights that pretrained nets start from are to be had, or check a file of them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Safetensors file to check
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
    let sources = sources()?;
    if args.json {
        print_json(&sources)?;
        return Ok(Outcome::Fine);
    }
    let mut lines = Vec::new();
    for source in &sources {
        lines.push(format!("{:<10}{}", source.model, source.url));
        lines.push(format!("{:<10}SHA-256 {}…; for {}", "", source.sha256, source.nets.join(", ")));
    }
    lines.push(String::new());
    lines.push("As safetensors, with Python's packages torch and safetensors:".to_string());
    lines.extend(CONVERSION.map(|line| format!("  {line}")));
    lines.push(String::new());
    lines.push("Keep the result anywhere and name it with `--weights vgg16.safetensors`.".to_string());
    print_lines(&lines.join("\n"))?;
    Ok(Outcome::Fine)
}

/// From torchvision's file to one that is read here.
const CONVERSION: [&str; 3] = [
    "import torch, safetensors.torch",
    "state = torch.load('vgg16-397923af.pth', map_location='cpu', weights_only=True)",
    "safetensors.torch.save_file(state, 'vgg16.safetensors')",
];
