//! `fcdd train`

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::common::{
    ChosenArg, DeviceArg, context, describe, describe_threshold, named, print_json, print_lines, stop_flag,
};
use super::settings::Choices;
use super::terminal::log;
use super::{INTERRUPTED, Outcome};
use crate::error::{Error, Result};
use crate::named::Named;
use crate::printable::Printable;
use crate::run::context::Context;
use crate::run::directory;
use crate::run::figures::Evaluation;
use crate::run::results::finish;
use crate::run::settings::Settings;
use crate::run::train;

/// Train a model on good images
///
/// `fcdd train DIR` learns from a folder of your own, `fcdd train fmnist` from a dataset with the paper's settings. The defaults below
/// are those of your own folder, or of the dataset that the command names: `fcdd train mvtec --help` has mvtec's.
#[derive(Debug, clap::Args)]
#[command(after_help = "`fcdd info` lists the nets.")]
pub(super) struct Args {
    /// Folder for the run, which must not hold one yet [default: NAME-run after the data's name; NAME-run-2 where that exists, and so on]
    #[arg(long, value_name = "RUN", display_order = 1)]
    out: Option<PathBuf>,
    /// Continue a stopped run with its own settings; --data, --roi, --ignore, --outliers and --labelled say where its data lies now, --hold
    /// whether to keep it in memory
    #[arg(long, value_name = "RUN", display_order = 2)]
    resume: Option<PathBuf>,
    /// Train for about so many minutes on this device: a few steps are timed before, and the number of epochs that fit, at least one, is
    /// recorded as the run's --epochs, by which the same run can be had again. The learning rate still falls by epochs: set --schedule for
    /// as many
    #[arg(long, value_name = "M", conflicts_with = "epochs", allow_negative_numbers = true, value_parser = minutes, display_order = 3)]
    minutes: Option<f64>,
    #[command(flatten)]
    choices: Choices<false>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    chosen: ChosenArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `train --json` prints.
#[derive(Serialize)]
struct TrainReport<'a> {
    run: String,
    interrupted: bool,
    epochs: u32,
    loss: Option<f64>,
    images_per_second: Option<f64>,
    #[serde(flatten)]
    evaluation: Option<&'a Evaluation>,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let stop = stop_flag()?;
    let context = Context { stop: &stop, ..context(&device) };
    let Args { choices, out, resume, minutes, chosen: ChosenArg { chosen }, json, .. } = args;
    let (trained, task, directory) = match (resume, out) {
        (Some(run), None) if minutes.is_none() => {
            let moved = choices.moved()?.ok_or_else(settled)?;
            train::resume(&context, &run, moved, &chosen)?
        }
        (Some(_), _) => return Err(settled()),
        (None, out) => {
            let settings = choices.settings()?;
            let out = out.unwrap_or_else(|| free_folder(&settings));
            train::start(&context, &settings, &out, minutes, &chosen)?
        }
    };
    let evaluation = finish(&context, &trained, &task, &directory, &chosen)?.map(|tested| tested.evaluation);
    let last = trained.history.last();
    let run = directory.path().to_string_lossy().into_owned();
    if json {
        print_json(&TrainReport {
            run,
            interrupted: trained.interrupted,
            epochs: trained.model.meta.epochs,
            loss: last.map(|e| e.loss),
            images_per_second: last.map(|e| e.images_per_second),
            evaluation: evaluation.as_ref(),
        })?;
    } else {
        let model = &trained.model;
        print_lines(&evaluation.as_ref().map_or_else(
            || describe_threshold(model.threshold(), model.meta.calibration.as_ref()),
            |found| describe(found, model),
        ))?;
        print_lines(&named("model", directory.file(directory::MODEL).printable()))?;
        print_lines(&named("report", directory.file(directory::REPORT).printable()))?;
    }
    if trained.interrupted {
        log(format!("continue with `fcdd train --resume {}`", directory.path().printable()));
        return Ok(Outcome::Ended(INTERRUPTED));
    }
    Ok(Outcome::Fine)
}

/// Reads a number of minutes.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|&minutes: &f64| minutes.is_finite() && minutes > 0.0);
    minutes.ok_or_else(|| "write a number above 0, such as 5".to_string())
}

/// The error of flags that a resumed run does not take.
fn settled() -> Error {
    Error::setting(
        "--resume continues a run in its folder and with its own settings",
        "leave out all that changes the run but --data, --roi, --ignore, --outliers, --labelled and --hold, or start a new run with --out RUN",
    )
}

/// The folder for a run that has none: by the name of its data, in the current folder, not there yet.
fn free_folder(settings: &Settings) -> PathBuf {
    let data = settings.data.as_ref().and_then(|path| path.canonicalize().ok());
    let name = data.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or(settings.dataset.word());
    let numbered = (2..).map(|n: u32| format!("{name}-run-{n}"));
    let mut names = std::iter::once(format!("{name}-run")).chain(numbered);
    names.find(|name| !Path::new(name).exists()).map(PathBuf::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augmentation::{Flips, Rotation};
    use crate::data::image_source::Hold;
    use crate::data::supervise::Supervise;
    use crate::datasets::cifar100::CIFAR100;
    use crate::datasets::fmnist::FMNIST;
    use crate::datasets::folder::FOLDER;
    use crate::device::DType;
    use crate::engine::schedule::Schedule;
    use clap::Parser;

    #[derive(Parser)]
    struct Train {
        #[command(flatten)]
        args: Args,
    }

    /// What the report prints under "How to reproduce" is the same run, whatever the defaults.
    #[test]
    fn the_command_of_settings_is_those_settings() {
        for dataset in [FMNIST, CIFAR100, FOLDER] {
            let outliers = "cifar100:o p.bin".parse().ok();
            let preset = Settings { oe_limit: Some(7), ..Settings::preset(dataset).with_anomalies(outliers, None) };
            let other = Settings {
                data: Some("some where".into()),
                class: "ankle-boot".into(),
                bias: false,
                supervise: Supervise::MalformedNormal,
                noise: "mixed-blob,cutpaste:3".parse().unwrap(),
                outliers: None,
                oe_limit: None,
                offline_supervision: true,
                skip_broken: true,
                passes: 3,
                patience: Some(4),
                flips: Some(Flips::Hv),
                rotate: Rotation::Quarter,
                brightness: Some(0.25),
                maps: !preset.maps,
                lr: 1.0 / 3.0,
                weight_decay: 1e-9,
                schedule: Schedule::Milestones { gamma: 0.3, epochs: vec![2, 9] },
                reestimate: !preset.reestimate,
                seed: u64::MAX,
                hold: Hold::Mebibytes(3),
                precision: DType::Bf16,
                exact: true,
                side: 40,
                ..preset.clone()
            };
            let masked = Settings {
                roi: (dataset == FOLDER).then(|| "part of it.png".into()),
                ignore: (dataset == FOLDER).then(|| "frame.png".into()),
                ..preset.clone()
            };
            // Flags about labelled anomalies, where a set may have some.
            let published = Settings {
                supervise: Supervise::Other,
                patience: None,
                as_published: dataset == FOLDER,
                part_gap: (dataset == FOLDER).then_some(7),
                oe_limit: Some(1),
                ..other.clone()
            };
            for settings in [preset, other, masked, published] {
                settings.check().unwrap();
                let words = settings.command("out");
                let parsed = Train::try_parse_from(&words[1..]).unwrap_or_else(|e| panic!("{words:?}: {e}"));
                assert_eq!(parsed.args.choices.settings().unwrap(), settings, "{words:?}");
            }
        }
    }
}
