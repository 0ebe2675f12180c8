//! `fcdd predict`

use std::path::PathBuf;

use serde::Serialize;

use super::common::{DeviceArg, context, print_json, print_lines};
use super::flags::in_flags;
use super::terminal::log;
use super::{ERROR, Outcome};
use crate::error::Result;
use crate::run::model::Model;
use crate::run::predict::{Prediction, predict};

/// Score new images: score, verdict, heatmap and overlay of each
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Images, or folders of images
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for heatmaps, overlays and the table scores.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Score above which an image is called anomalous [default: the model's]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f32>,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `predict --json` prints.
#[derive(Serialize)]
struct PredictReport {
    predictions: Vec<Prediction>,
    failed: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let model = Model::load(&args.model)?;
    // What cannot be told does not stop the scoring.
    let mut told = Ok(());
    let mut found = |p: &Prediction| {
        if !args.json {
            let verdict = if p.anomalous { "anomalous" } else { "good" };
            let line = print_lines(&format!("{:<9} {:.5} {}", verdict, p.score, p.image));
            told = std::mem::replace(&mut told, Ok(())).and(line);
        }
    };
    let predictions = predict(&context(&device), &model, &args.paths, &args.out, args.threshold, &mut found)?;
    told?;
    let failed: Vec<String> = predictions.failed.iter().map(|error| in_flags(&error.to_string())).collect();
    if args.json {
        print_json(&PredictReport { predictions: predictions.done, failed: failed.clone() })?;
    }
    failed.iter().for_each(|message| log(format!("error: {message}")));
    Ok(if failed.is_empty() { Outcome::Fine } else { Outcome::Ended(ERROR) })
}
