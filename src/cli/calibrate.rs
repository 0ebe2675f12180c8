//! `fcdd calibrate`

use std::path::PathBuf;

use super::Outcome;
use super::common::{DeviceArg, MaskArgs, choice, context, describe_threshold, named, print_json, print_lines};
use crate::error::Result;
use crate::run::calibrate::{Calibrated, Request, ThresholdRule, calibrate};
use crate::run::calibration;

/// Set a model's threshold by new images, good ones or good and defective ones
///
/// The threshold is stored with the model. By default at most --fpr of good images exceed it, those to come included: that takes good images
/// which the model has not learned from, 99 of them for 1 %.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a model file, which is changed
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Folder of good images that the model has not learned from
    #[arg(long, value_name = "DIR")]
    good: PathBuf,
    /// Folder of defective images, which tell how many are found, and by which --by chooses
    #[arg(long, value_name = "DIR")]
    bad: Option<PathBuf>,
    /// False positive rate, such as 0.01 [default: 0.01, or the least that so many images can promise]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    fpr: Option<f64>,
    /// By what the threshold is chosen
    #[arg(long, value_name = "RULE", default_value = "promise", value_parser = choice::<ThresholdRule>())]
    by: ThresholdRule,
    #[command(flatten)]
    masks: MaskArgs,
    /// Leave out images that cannot be read
    #[arg(long)]
    skip_broken: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a false positive rate.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (calibration::LEAST_RATE..=calibration::MOST_RATE).contains(rate));
    rate.ok_or_else(|| "write a share from 0.0001 to 0.5, such as 0.01 for 1 %".to_string())
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let Args { model, good, bad, fpr, by: rule, masks, skip_broken, json, .. } = args;
    let request = Request { good, bad, rate: fpr, rule, counted: masks.read()?, skip_broken };
    let calibrated = calibrate(&context(&device), &model, &request)?;
    if json {
        print_json(&calibrated)?;
        return Ok(Outcome::Fine);
    }
    let Calibrated { threshold, earlier_threshold, calibration, false_positive_rate, true_positive_rate, .. } =
        &calibrated;
    print_lines(&describe_threshold(*threshold, Some(calibration)))?;
    print_lines(&named("before", format!("{earlier_threshold:.5}")))?;
    let of_given = |rate: f64, images: usize| format!("{:.1} % of the {images} images given", 100.0 * rate);
    print_lines(&named("false positive rate", of_given(*false_positive_rate, calibrated.good_images)))?;
    if let Some(rate) = true_positive_rate {
        print_lines(&named("true positive rate", of_given(*rate, calibrated.bad_images)))?;
    }
    Ok(Outcome::Fine)
}
