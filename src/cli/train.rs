//! `fcdd train`

use std::path::PathBuf;

use serde::Serialize;

use super::common::{ChosenArg, DeviceArg, choice, context, describe, print_json, print_lines, stop_flag};
use super::terminal::log;
use super::{INTERRUPTED, Outcome};
use crate::data::image_source::Hold;
use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::datasets::DatasetKind;
use crate::datasets::outliers::OutlierSource;
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::model::Objective;
use crate::named::Named;
use crate::run::context::Context;
use crate::run::directory;
use crate::run::evaluate::Evaluation;
use crate::run::results::finish;
use crate::run::settings::{Moved, Settings};
use crate::run::train;
use crate::steps::hsc_loss::Gradient;

/// Train a model on good images. Defaults are the paper's for each dataset.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    choices: Choices,
    #[command(flatten)]
    task: OneTask,
    /// Folder to leave the run in
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Continue a stopped run with its own settings; --data and --outliers tell where its data has moved, --hold whether to keep it
    /// in memory
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    chosen: ChosenArg,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Which of the data set's tasks, and which of its runs.
#[derive(Debug, Default, PartialEq, clap::Args)]
struct OneTask {
    /// Class to take as nominal, by number or name; of pascalvoc, the one to rate [default: by dataset, as a rule 0]
    #[arg(long, allow_negative_numbers = true)]
    class: Option<String>,
    /// Seed of all randomness [default: 0]
    #[arg(long, help_heading = "Optimisation")]
    seed: Option<u64>,
}

/// What becomes the settings of new runs, but for class and seed.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub(super) struct Choices {
    /// Where good images come from
    #[arg(value_parser = choice::<DatasetKind>())]
    dataset: Option<DatasetKind>,
    /// Folder (or file) of the dataset [default for fmnist: Debian's package dataset-fashion-mnist]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Leave out pictures that cannot be read, instead of refusing the data
    #[arg(long)]
    skip_broken: bool,
    /// Images that serve as anomalies: mnist:DIR, emnist:DIR, fmnist:DIR, cifar10:DIR, cifar100:FILE, imagenet:DIR,
    /// imagenet22k:DIR, mvtec:DIR, mvtec_gt:DIR (labelled anomalies of the set itself) or images:DIR
    #[arg(long, value_name = "KIND:PATH", help_heading = "Anomalies")]
    outliers: Option<OutlierSource>,
    /// Use only this many of the outliers; of mvtec, mvtec_gt and --supervise other, so many of each kind
    #[arg(long, value_name = "N", help_heading = "Anomalies")]
    oe_limit: Option<usize>,
    /// What the net learns anomalies from
    #[arg(long, value_parser = choice::<Supervise>(), value_name = "MODE", help_heading = "Anomalies")]
    supervise: Option<Supervise>,
    /// What artificial anomalies are made of [default: outliers if --outliers is given]
    #[arg(long, value_parser = choice::<NoiseMode>(), value_name = "MODE", help_heading = "Anomalies")]
    noise: Option<NoiseMode>,
    /// Make as many anomalies as there are good images once, before training, instead of afresh in place of half of them
    #[arg(long, help_heading = "Anomalies")]
    offline_supervision: bool,
    /// Judge also by those labelled anomalies of the test images that were learned from, as the paper does
    #[arg(long, help_heading = "Anomalies")]
    as_published: bool,
    /// Names that end in numbers at most N apart, from one to the next, mean pictures of one part (0: the same number): all of
    /// them leave the evaluation with a labelled anomaly
    #[arg(long, value_name = "N", help_heading = "Anomalies")]
    part_gap: Option<u64>,
    /// Train on ground-truth maps (true) or on labels (false) [default: true for folders]
    #[arg(long, value_name = "BOOL", help_heading = "Anomalies")]
    maps: Option<bool>,
    /// What the net is trained for [default: fcdd]
    #[arg(long, value_parser = choice::<Objective>(), help_heading = "Net")]
    objective: Option<Objective>,
    /// Net; `fcdd info` lists them [default: by dataset and objective]
    #[arg(long, help_heading = "Net")]
    net: Option<String>,
    /// Weights of vgg11_bn or vgg16 (safetensors) that a VGG net's features start from
    #[arg(long, value_name = "FILE", help_heading = "Net")]
    weights: Option<PathBuf>,
    /// What heatmaps show of the score's gradient, for hsc [default: grad]
    #[arg(long, value_parser = choice::<Gradient>(), help_heading = "Net")]
    gradient: Option<Gradient>,
    /// Leave out the convolutions' biases and the norms' scale and shift
    #[arg(long, help_heading = "Net")]
    no_bias: bool,
    /// Of the values between layers: bf16 is for the tensor cores of GPUs; the CPU rounds as they do [default: f32]
    #[arg(long, value_parser = choice::<DType>(), help_heading = "Net")]
    precision: Option<DType>,
    /// Input side in pixels [default: the net's]
    #[arg(long, value_name = "PIXELS", help_heading = "Net")]
    side: Option<usize>,
    /// Augmentation and normalisation [default: by dataset; imagenet for VGG16 nets]
    #[arg(long, value_parser = choice::<PipelineKind>(), value_name = "PIPELINE", help_heading = "Net")]
    pipeline: Option<PipelineKind>,
    /// Width of the heatmaps' Gaussian in input pixels [default: by dataset]
    #[arg(long, value_name = "PIXELS", help_heading = "Net", allow_negative_numbers = true)]
    sigma: Option<f64>,
    /// Quantile of heatmap values that is drawn hottest [default: by dataset]
    #[arg(long, value_name = "Q", help_heading = "Net", allow_negative_numbers = true)]
    quantile: Option<f64>,
    /// Epochs: after each, the learning rate falls and the state is saved, after every few of very short ones [default: by dataset]
    #[arg(long, help_heading = "Optimisation")]
    epochs: Option<u32>,
    /// Passes over the good images in an epoch [default: by dataset]
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    passes: Option<u32>,
    /// Images per step [default: by dataset]
    #[arg(long, help_heading = "Optimisation")]
    batch: Option<usize>,
    /// [default: by dataset]
    #[arg(long, value_parser = choice::<Optimizer>(), help_heading = "Optimisation")]
    optimizer: Option<Optimizer>,
    /// Learning rate [default: by dataset]
    #[arg(long, help_heading = "Optimisation", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// [default: by dataset]
    #[arg(long, value_name = "W", help_heading = "Optimisation", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// How the rate falls: lambda:γ (each epoch) or milestones:γ:e1,e2 [default: by dataset]
    #[arg(long, help_heading = "Optimisation")]
    schedule: Option<Schedule>,
    /// Re-estimate the norms' statistics after the last epoch [default: true for folders]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Optimisation")]
    reestimate: Option<bool>,
    /// Sets of pictures to decode once and hold in memory: auto (up to half of what is free), always, never, or a number of MiB
    #[arg(long, value_name = "MIB")]
    hold: Option<Hold>,
}

/// What `train --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    run: String,
    interrupted: bool,
    epochs: u32,
    loss: Option<f64>,
    images_per_second: Option<f64>,
    #[serde(flatten)]
    evaluation: Option<&'a Evaluation>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let stop = stop_flag()?;
    let context = Context { stop: &stop, ..context(&device) };
    let Args { choices, task, out, resume, chosen: ChosenArg { viz_ids: chosen }, json, .. } = args;
    let (trained, task, directory) = match (resume, out) {
        (Some(run), None) if task == OneTask::default() => train::resume(&context, &run, choices.moved()?, &chosen)?,
        (Some(_), _) => return Err(settled()),
        (None, Some(out)) => train::start(&context, &task.settings(choices)?, &out, &chosen)?,
        (None, None) => return Err(Error::setting("no folder for the run", "name one with --out RUN")),
    };
    let evaluation = finish(&context, &trained, &task, &directory, &chosen)?.map(|tested| tested.evaluation);
    let last = trained.history.last();
    let run = directory.path().display().to_string();
    if json {
        print_json(&Report {
            run,
            interrupted: trained.interrupted,
            epochs: trained.model.meta.epochs,
            loss: last.map(|e| e.loss),
            images_per_second: last.map(|e| e.images_per_second),
            evaluation: evaluation.as_ref(),
        })?;
    } else {
        if let Some(evaluation) = &evaluation {
            print_lines(&describe(evaluation))?;
        }
        print_lines(&format!("model          {}", directory.file(directory::MODEL).display()))?;
        print_lines(&format!("report         {}", directory.file(directory::REPORT).display()))?;
    }
    if trained.interrupted {
        log(format!("continue with `fcdd train --resume {}`", directory.path().display()));
        return Ok(Outcome::Ended(INTERRUPTED));
    }
    Ok(Outcome::Fine)
}

/// The error of flags that a run has settled for good.
fn settled() -> Error {
    Error::setting(
        "--resume continues a run in its folder and with its own settings: neither can be given anew",
        "leave out what the run has settled (of what decides a run, --data, --outliers and --hold alone may be given), or start a new run with --out RUN",
    )
}

impl OneTask {
    /// The settings of this one run.
    fn settings(self, choices: Choices) -> Result<Settings> {
        let settings = choices.settings()?;
        Ok(Settings {
            class: self.class.unwrap_or(settings.class),
            seed: self.seed.unwrap_or(settings.seed),
            ..settings
        })
    }
}

impl Choices {
    /// Where the data of a run has moved and whether to hold it, which is all that can be said anew of it.
    fn moved(self) -> Result<Moved> {
        let Choices { data, outliers, hold, .. } = self;
        if (Choices { data: None, outliers: None, hold: None, ..self }) != Choices::default() {
            return Err(settled());
        }
        Ok(Moved { data, outliers, hold })
    }

    /// The dataset's preset with the flags' changes.
    pub(super) fn settings(self) -> Result<Settings> {
        let Some(dataset) = self.dataset else {
            return Err(Error::setting("no dataset is named", "name one, such as fmnist or folder; --help lists them"));
        };
        let preset = Settings::preset(dataset).with_objective(self.objective.unwrap_or_default());
        let wants_outliers = preset.noise == NoiseMode::Outliers;
        let preset = preset.with_anomalies(self.outliers, self.noise);
        let supervise = self.supervise.unwrap_or(preset.supervise);
        let stands_in = self.noise.is_none() && preset.outliers.is_none() && preset.noise != NoiseMode::Outliers;
        if wants_outliers && stands_in && supervise.makes_noise() {
            log(format!("no --outliers given: learning anomalies from {} added to good images", preset.noise.word()));
        }
        let settings = Settings {
            data: self.data,
            bias: !self.no_bias,
            supervise,
            oe_limit: self.oe_limit,
            offline_supervision: self.offline_supervision,
            as_published: self.as_published,
            part_gap: self.part_gap,
            skip_broken: self.skip_broken,
            maps: self.maps.unwrap_or(preset.maps),
            sigma: self.sigma.unwrap_or(preset.sigma),
            quantile: self.quantile.unwrap_or(preset.quantile),
            epochs: self.epochs.unwrap_or(preset.epochs),
            passes: self.passes.unwrap_or(preset.passes),
            batch: self.batch.unwrap_or(preset.batch),
            optimizer: self.optimizer.unwrap_or(preset.optimizer),
            lr: self.lr.unwrap_or(preset.lr),
            weight_decay: self.weight_decay.unwrap_or(preset.weight_decay),
            schedule: self.schedule.unwrap_or(preset.schedule),
            reestimate: self.reestimate.unwrap_or(preset.reestimate),
            hold: self.hold.unwrap_or(preset.hold),
            net: self.net.unwrap_or(preset.net),
            weights: self.weights,
            gradient: self.gradient.unwrap_or(preset.gradient),
            precision: self.precision.unwrap_or(preset.precision),
            ..preset
        };
        let arch = settings.arch()?;
        let usual = if arch.takes_imagenet_scale() { PipelineKind::Imagenet } else { settings.pipeline };
        let (side, pipeline) = (self.side.unwrap_or(arch.side), self.pipeline.unwrap_or(usual));
        Ok(Settings { side, pipeline, ..settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::cifar100::CIFAR100;
    use crate::datasets::fmnist::FMNIST;
    use crate::datasets::folder::FOLDER;
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
                noise: NoiseMode::MixedBlob,
                outliers: None,
                oe_limit: None,
                offline_supervision: true,
                skip_broken: true,
                passes: 3,
                maps: !preset.maps,
                lr: 1.0 / 3.0,
                weight_decay: 1e-9,
                schedule: Schedule::Milestones { gamma: 0.3, epochs: vec![2, 9] },
                reestimate: !preset.reestimate,
                seed: u64::MAX,
                hold: Hold::Mebibytes(3),
                precision: DType::Bf16,
                side: 40,
                ..preset.clone()
            };
            // Flags about labelled anomalies, where a set may have some.
            let published = Settings {
                supervise: Supervise::Other,
                as_published: dataset == FOLDER,
                part_gap: (dataset == FOLDER).then_some(7),
                oe_limit: Some(1),
                ..other.clone()
            };
            for settings in [preset, other, published] {
                settings.check().unwrap();
                let words = settings.command("out");
                let parsed = Train::try_parse_from(&words[1..]).unwrap_or_else(|e| panic!("{words:?}: {e}"));
                let Args { choices, task, .. } = parsed.args;
                assert_eq!(task.settings(choices).unwrap(), settings, "{words:?}");
            }
        }
    }
}
