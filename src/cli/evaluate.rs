//! `fcdd evaluate`

use std::path::PathBuf;

use super::Outcome;
use super::common::{ChosenArg, DeviceArg, context, describe, named, print_json, print_lines};
use crate::error::Result;
use crate::printable::Printable;
use crate::run::directory;
use crate::run::model::model_folder;
use crate::run::results::evaluate_into;

/// Measure a model on test images whose labels are known
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Folder with the test images, laid out as the dataset [default: where training found it]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for figures, scores, maps, images and report.html; replaces an earlier evaluation there [default: the model's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave out images that cannot be read
    #[arg(long)]
    skip_broken: bool,
    #[command(flatten)]
    chosen: ChosenArg,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let context = context(&device);
    let out = args.out.unwrap_or_else(|| model_folder(&args.model));
    let data = args.data.as_deref();
    let (model, tested) = evaluate_into(&context, &args.model, data, args.skip_broken, &out, &args.chosen.chosen)?;
    let evaluation = tested.evaluation;
    if args.json {
        print_json(&evaluation)?;
    } else {
        print_lines(&describe(&evaluation, &model))?;
        print_lines(&named("report", out.join(directory::REPORT).printable()))?;
    }
    Ok(Outcome::Fine)
}
