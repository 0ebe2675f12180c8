//! `fcdd predict`

use std::io::{BufRead, Read};
use std::path::PathBuf;

use serde::Serialize;

use super::common::{DeviceArg, MaskArgs, choice, context, print_json, print_json_line, print_lines};
use super::flags::in_flags;
use super::terminal::log;
use super::watch::{self, WatchArgs};
use super::{ANOMALY, ERROR, Outcome, UNUSABLE};
use crate::error::{Error, Result};
use crate::metrics::two_samples::TwoSamples;
use crate::run::model::Model;
use crate::run::predict::speed::Speed;
use crate::run::predict::what::{DecisionOptions, PredictOptions, What};
use crate::run::predict::{Drift, ImageReport, Prediction, Predictions, predict};
use crate::run::shard::Shard;
use crate::run::verdict::Verdict;

/// Score new images: score and verdict of each, and what is to be drawn of it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Images, or folders of images; - reads such paths from standard input, one a line
    #[arg(required_unless_present = "watch", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for the table scores.csv and all else that is left
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to leave of each image
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',', default_value = "heatmap,overlay", value_parser = choice::<What>())]
    what: Vec<What>,
    /// Score above which an image is called anomalous [default: the model's]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Value of the anomaly map above which a pixel is one of a region [default: the model's]
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pixel_threshold: Option<f32>,
    /// Leave out regions of fewer pixels of the image
    #[arg(long, value_name = "PIXELS")]
    min_area: Option<usize>,
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
    masks: MaskArgs,
    /// Score one of N equal parts of the images, 1/2 on one machine and 2/2 on another: its results lie in I-of-N in the folder
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Print a JSON object for each image, a line each, as soon as it is scored
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Bytes of a path in a list, more than systems allow; and paths of a list, at most.
const LONGEST_PATH: u64 = 64 << 10;
const MOST_LISTED: usize = 10_000_000;

/// Below this probability scores count as those of other images.
const DRIFT: f64 = 0.01;

/// What `predict --json` prints.
#[derive(Serialize)]
struct PredictReport<'a> {
    predictions: &'a [ImageReport],
    failed: &'a [String],
    drift: Option<Drift>,
    speed: Option<Speed>,
}

/// What `predict --jsonl` prints of an image that could not be read.
#[derive(Serialize)]
struct Unreadable {
    error: String,
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
    let mut model = Model::load(&args.model)?;
    if let Some(counted) = args.masks.read()? {
        if model.meta.counted.as_ref() != Some(&counted) {
            log(
                "the model's threshold was set without these masks: `fcdd calibrate` sets it by what they leave, and stores them",
            );
        }
        model.meta.count(counted)?;
    }
    let decision = DecisionOptions {
        threshold: args.threshold,
        pixel_threshold: args.pixel_threshold,
        unsure: args.unsure,
        without_input_check: args.no_input_check,
    };
    let options = PredictOptions { what: args.what, decision, min_area: args.min_area, shard: args.shard };
    if let Some(folder) = &args.watch.folder {
        return watch::run(&args.watch, folder, &device, &model, &args.out, &options, |found| tell(found, args.jsonl));
    }
    let paths = listed(&args.paths)?;
    // What cannot be told does not stop the scoring.
    let (mut told, mut reports) = (Ok(()), Vec::new());
    let mut found = |found: std::result::Result<&ImageReport, &Error>| {
        let line = match found {
            Ok(report) if args.json => {
                reports.push(report.clone());
                Ok(())
            }
            found => tell(found, args.jsonl),
        };
        told = std::mem::replace(&mut told, Ok(())).and(line);
    };
    let predictions = predict(&context(&device), &model, &paths, &args.out, &options, &mut found)?;
    told?;
    let failed: Vec<String> = predictions.failed.iter().map(|error| in_flags(&error.to_string())).collect();
    if args.json {
        let Predictions { drift, speed, .. } = predictions;
        print_json(&PredictReport { predictions: &reports, failed: &failed, drift, speed })?;
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

/// Prints what was found of an image, for programs or for people; that it cannot be read, for programs alone.
fn tell(found: std::result::Result<&ImageReport, &Error>, jsonl: bool) -> Result<()> {
    match found {
        Ok(report) if jsonl => print_json_line(report),
        Err(error) if jsonl => print_json_line(&Unreadable { error: in_flags(&error.to_string()) }),
        Ok(report) => print_lines(&in_a_line(&report.prediction)),
        Err(_) => Ok(()),
    }
}

/// The paths that were given, and in the place of `-` those that standard input lists.
fn listed(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (mut all, mut input) = (Vec::new(), std::io::stdin().lock());
    for path in paths {
        if path.as_os_str() != "-" {
            all.push(path.clone());
            continue;
        }
        while let Some(line) = next_line(&mut input)? {
            if !line.is_empty() {
                all.push(path_of(&line)?);
            }
            if all.len() > MOST_LISTED {
                let problem = format!("standard input lists more than {MOST_LISTED} images");
                return Err(Error::setting(problem, "list fewer for each call"));
            }
        }
    }
    if all.is_empty() {
        return Err(Error::setting("standard input lists no images", "write the path of an image on each line"));
    }
    Ok(all)
}

/// The next line of a list without its end; None after the last one.
fn next_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.take(LONGEST_PATH).read_until(b'\n', &mut line).map_err(Error::io("read", "standard input"))?;
    if read as u64 == LONGEST_PATH && line.last() != Some(&b'\n') {
        let problem = format!("standard input has a line of {LONGEST_PATH} bytes or more, which is no path");
        return Err(Error::setting(problem, "write the path of an image on each line"));
    }
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
    Ok((read > 0).then_some(line))
}

/// A path as it is written in a list.
fn path_of(line: &[u8]) -> Result<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(line)))
    }
    #[cfg(not(unix))]
    {
        let text = String::from_utf8(line.to_vec());
        text.map(PathBuf::from)
            .map_err(|_| Error::setting("standard input lists a path that is no Unicode", "write it in UTF-8"))
    }
}

/// An image's verdict, for people.
fn in_a_line(Prediction { image, score, verdict, reason, .. }: &Prediction) -> String {
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{:<9} {score:.5} {image}{reason}", verdict.word())
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
