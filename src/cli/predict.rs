//! `fcdd predict`

use std::path::PathBuf;

use serde::Serialize;

use super::common::{DeviceArg, context, print_json, print_lines};
use super::flags::in_flags;
use super::terminal::log;
use super::{ANOMALY, ERROR, Outcome, UNUSABLE};
use crate::error::Result;
use crate::metrics::two_samples::TwoSamples;
use crate::run::model::Model;
use crate::run::predict::{DecisionOptions, Drift, Prediction, Predictions, predict};
use crate::run::verdict::Verdict;

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
    /// Call images unsure whose normalized score is from LOW to HIGH, such as 0.45,0.6: the threshold is at 0.5
    #[arg(long, value_name = "LOW,HIGH", value_parser = band)]
    unsure: Option<Band>,
    /// Score images too that look otherwise than all good ones: black, blurred, of another size …
    #[arg(long)]
    no_input_check: bool,
    /// Exit with code 3 if any image is anomalous
    #[arg(long)]
    fail_on_anomaly: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Below this probability scores count as those of other images.
const DRIFT: f64 = 0.01;

/// What `predict --json` prints.
#[derive(Serialize)]
struct PredictReport<'a> {
    predictions: &'a [Prediction],
    failed: &'a [String],
    drift: Option<Drift>,
}

/// Two scores with a comma between.
fn band(text: &str) -> std::result::Result<Band, String> {
    let ends = text.split_once(',').and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    ends.ok_or_else(|| "write two normalized scores, such as 0.45,0.6".to_string())
}

/// From one normalized score to another.
type Band = [f64; 2];

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let model = Model::load(&args.model)?;
    // What cannot be told does not stop the scoring.
    let mut told = Ok(());
    let mut found = |p: &Prediction| {
        if !args.json {
            let reason = if p.reason.is_empty() { String::new() } else { format!(" ({})", p.reason) };
            let line = print_lines(&format!("{:<9} {:.5} {}{reason}", p.verdict.word(), p.score, p.image));
            told = std::mem::replace(&mut told, Ok(())).and(line);
        }
    };
    let decision =
        DecisionOptions { threshold: args.threshold, unsure: args.unsure, without_input_check: args.no_input_check };
    let predictions = predict(&context(&device), &model, &args.paths, &args.out, decision, &mut found)?;
    told?;
    let failed: Vec<String> = predictions.failed.iter().map(|error| in_flags(&error.to_string())).collect();
    if args.json {
        let Predictions { done, drift, .. } = &predictions;
        print_json(&PredictReport { predictions: done, failed: &failed, drift: *drift })?;
    }
    predictions.drift.iter().for_each(|drift| log(describe(drift)));
    failed.iter().for_each(|message| log(format!("error: {message}")));
    let any = |verdict: Verdict| predictions.done.iter().any(|prediction| prediction.verdict == verdict);
    Ok(if !failed.is_empty() {
        Outcome::Ended(ERROR)
    } else if any(Verdict::Unusable) {
        Outcome::Ended(UNUSABLE)
    } else if args.fail_on_anomaly && any(Verdict::Anomalous) {
        Outcome::Ended(ANOMALY)
    } else {
        Outcome::Fine
    })
}

/// How the images' scores compare with those of good ones, for the end.
fn describe(Drift { images, calibration_images, test }: &Drift) -> String {
    let TwoSamples { statistic, p_value } = test;
    let numbers = format!("Kolmogorov–Smirnov {statistic:.2}, p = {p_value:.2e}");
    if *p_value >= DRIFT {
        return format!(
            "scores are as those of {calibration_images} good images when the threshold was set ({numbers})"
        );
    }
    format!(
        "the scores of these {images} images differ from those of {calibration_images} good ones when the threshold was set ({numbers}): many are \
         defective, or light, camera or product have changed"
    )
}
