//! `fcdd evaluate`

use std::path::PathBuf;

use super::Outcome;
use super::common::{DeviceArg, describe, print_json, print_lines};
use crate::error::Result;
use crate::files;
use crate::run::directory::{self, write_csv, write_json};
use crate::run::evaluate::evaluate;
use crate::run::model::{Model, model_file};

/// Measure a model on a labelled test set.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Folder of the dataset [default: where training found it]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for evaluation.json and scores.csv [default: the model's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    args.device.choose()?;
    let model = Model::load(&args.model)?;
    let beside = model_file(&args.model).parent().map(PathBuf::from).unwrap_or_default();
    let out = args.out.unwrap_or(beside);
    if !out.as_os_str().is_empty() {
        files::create_folder(&out)?;
    }
    let (evaluation, scores) = evaluate(&model, args.data.as_deref())?;
    write_json(&out.join(directory::EVALUATION), &evaluation)?;
    write_csv(&out.join(directory::SCORES), &scores)?;
    if args.json {
        print_json(&evaluation)?;
    } else {
        print_lines(&describe(&evaluation))?;
        print_lines(&format!("scores         {}", out.join(directory::SCORES).display()))?;
    }
    Ok(Outcome::Fine)
}
