//! Everything that decides a training run, and the paper's choice of it per dataset.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::data::dataset::DatasetKind;
use crate::data::outliers::{OutlierKind, OutlierSource};
use crate::data::pipeline::{MAX_SIDE, PipelineKind};
use crate::data::store::Hold;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::device::Format;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::model::checkpoint::PRETRAINED;
use crate::model::{Arch, Objective, baselines};
use crate::steps::hsc_loss::Gradient;

/// Images per batch, at most.
pub const MAX_BATCH: usize = 1 << 16;

/// Epochs, at most: some more are numbered after the last for samples that the net was not trained on.
const MAX_EPOCHS: u32 = 1_000_000;

/// Passes of an epoch, at most.
const MAX_PASSES: u32 = 1000;

/// Narrowest Gaussian in pixels: its square still divides.
const MIN_SIGMA: f64 = 1e-3;

/// The settings of a training run, kept as `config.json` in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub dataset: DatasetKind,
    /// Folder or file of the dataset; None where it is found by itself.
    pub data: Option<PathBuf>,
    /// The nominal class, by index or name.
    pub class: String,
    #[serde(default)]
    pub objective: Objective,
    pub net: String,
    /// Weights of a net that was trained on ImageNet, which the feature layers start from.
    pub weights: Option<PathBuf>,
    /// What heatmaps show of the score's gradient, for HSC.
    #[serde(default)]
    pub gradient: Gradient,
    /// Of the values between layers.
    #[serde(default)]
    pub precision: Format,
    /// Biases in the convolutions, scale and shift in the norms.
    pub bias: bool,
    /// Input side in pixels.
    pub side: usize,
    pub pipeline: PipelineKind,
    pub supervise: Supervise,
    pub noise: NoiseMode,
    pub outliers: Option<OutlierSource>,
    /// Use only this many outliers, or true anomalies of each kind.
    pub oe_limit: Option<usize>,
    /// Make as many anomalies as there are nominal images once, before training.
    #[serde(default)]
    pub offline_supervision: bool,
    /// Judge also by the labelled anomalies that were learned from.
    #[serde(default)]
    pub as_published: bool,
    /// Names that end in numbers at most so far apart mean pictures of one part, which leave the evaluation with a labelled anomaly.
    #[serde(default)]
    pub part_gap: Option<u64>,
    /// Leave out pictures that cannot be read.
    #[serde(default)]
    pub skip_broken: bool,
    /// Train on ground-truth maps instead of labels.
    pub maps: bool,
    pub epochs: u32,
    /// Passes over the nominal images in an epoch.
    #[serde(default = "one")]
    pub passes: u32,
    pub batch: usize,
    pub optimizer: Optimizer,
    pub lr: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    /// σ of the heatmaps' Gaussian, in input pixels.
    pub sigma: f64,
    /// Quantile of the heatmap values that is drawn as the hottest colour.
    pub quantile: f64,
    /// Re-estimate the norms' running statistics over ten training batches after the last epoch.
    pub reestimate: bool,
    pub seed: u64,
    /// Which sets of pictures are held in memory. Changes no result.
    #[serde(default)]
    pub hold: Hold,
}

/// What a run may be told anew: where its data lies now, as far as that is not where it was, and what is held of it.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    pub data: Option<PathBuf>,
    pub outliers: Option<OutlierSource>,
    pub hold: Option<Hold>,
}

impl Settings {
    /// The paper's settings for a dataset, where it has any; for folders, what works without pretrained weights.
    pub fn preset(dataset: DatasetKind) -> Settings {
        let small = Settings {
            dataset,
            data: None,
            class: "0".to_string(),
            objective: Objective::Fcdd,
            net: "FCDD_CNN28_W".to_string(),
            weights: None,
            gradient: Gradient::Grad,
            precision: Format::F32,
            bias: true,
            side: 28,
            pipeline: PipelineKind::Lcnaug1,
            supervise: Supervise::Noise,
            noise: NoiseMode::Outliers,
            outliers: None,
            oe_limit: None,
            offline_supervision: false,
            as_published: false,
            part_gap: None,
            skip_broken: false,
            maps: false,
            epochs: 400,
            passes: 1,
            batch: 128,
            optimizer: Optimizer::Sgd,
            lr: 1e-2,
            weight_decay: 1e-6,
            schedule: Schedule::Lambda { gamma: 0.98 },
            sigma: 1.2,
            quantile: 0.85,
            reestimate: false,
            seed: 0,
            hold: Hold::Auto,
        };
        match dataset {
            DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist => small,
            DatasetKind::Cifar10 | DatasetKind::Cifar100 => thirty_two(small),
            DatasetKind::Mvtec => Settings {
                net: "FCDD_CNN224_VGG_F".to_string(),
                side: 224,
                supervise: Supervise::MalformedNormal,
                noise: NoiseMode::Confetti,
                maps: true,
                epochs: 200,
                passes: 10,
                lr: 1e-3,
                weight_decay: 1e-4,
                schedule: Schedule::Lambda { gamma: 0.985 },
                sigma: 12.0,
                quantile: 0.99,
                ..small
            },
            DatasetKind::Imagenet => {
                let net = "FCDD_CNN224_VGG_NOPT".to_string();
                Settings { net, side: 224, sigma: 8.0, quantile: 0.97, ..thirty_two(small) }
            }
            DatasetKind::Pascalvoc => Settings {
                dataset,
                class: "horse".to_string(),
                quantile: 0.99,
                ..Settings::preset(DatasetKind::Imagenet)
            },
            DatasetKind::Custom => Settings {
                net: "FCDD_CNN224_VGG_F".to_string(),
                side: 224,
                pipeline: PipelineKind::Aug1,
                epochs: 200,
                lr: 1e-3,
                schedule: Schedule::Lambda { gamma: 0.985 },
                sigma: 10.0,
                quantile: 0.97,
                ..small
            },
            DatasetKind::Folder => Settings {
                net: "FCDD_CNN224".to_string(),
                side: 224,
                pipeline: PipelineKind::Lcnaug1,
                supervise: Supervise::MalformedNormalGt,
                noise: NoiseMode::FineConfetti,
                maps: true,
                epochs: 50,
                batch: 8,
                optimizer: Optimizer::Adam,
                lr: 1e-3,
                schedule: Schedule::Lambda { gamma: 0.9 },
                sigma: 4.0,
                quantile: 0.99,
                reestimate: true,
                ..small
            },
        }
    }

    /// The same for another objective, with the net that matches. An autoencoder learns from good images alone, and FCDD alone from
    /// ground-truth maps.
    pub fn with_objective(self, objective: Objective) -> Settings {
        let net = baselines::counterpart(&self.net, objective);
        let supervise = if objective == Objective::Ae { Supervise::Unsupervised } else { self.supervise };
        Settings { objective, net, supervise, maps: self.maps && objective == Objective::Fcdd, ..self }
    }

    /// The same for a source of outliers and a noise mode, where they are named: outliers are there to be learned from, as in the
    /// paper. Where the preset wants some and nothing else is named, confetti stands in, which needs no data.
    pub fn with_anomalies(self, outliers: Option<OutlierSource>, noise: Option<NoiseMode>) -> Settings {
        let (supervise, by_default) = match (&outliers, noise) {
            _ if self.objective == Objective::Ae => (self.supervise, self.noise),
            (Some(_), _) => (Supervise::Noise, NoiseMode::Outliers),
            (None, None) if self.noise == NoiseMode::Outliers => (Supervise::MalformedNormal, NoiseMode::Confetti),
            (None, _) => (self.supervise, self.noise),
        };
        Settings { supervise, noise: noise.unwrap_or(by_default), outliers, ..self }
    }

    /// The same with absolute paths: the run does not depend on the folder that it was started in. Paths that lead nowhere stay as
    /// they are, until loading them says so.
    pub fn located(self) -> Result<Settings> {
        let data = self.data.map(|path| absolute(&path)).transpose()?;
        let weights = self.weights.map(|path| absolute(&path)).transpose()?;
        let outliers = self.outliers.map(|source| absolute(source.path()).map(|path| source.at(path))).transpose()?;
        Ok(Settings { data, outliers, weights, ..self })
    }

    /// The same for data that lies elsewhere now. Outliers stay of their kind.
    pub fn moved(self, Moved { data, outliers, hold }: Moved) -> Result<Settings> {
        if let Some(now) = &outliers
            && self.outliers.as_ref().is_none_or(|then| then.at(now.path().to_path_buf()) != *now)
        {
            let then = self.outliers.map_or("none".to_string(), |then| then.to_string());
            let problem = format!("--outliers {now}: the outliers of the run are {then}");
            return Err(Error::setting(problem, "name where the same images lie now, or leave it out"));
        }
        Ok(Settings {
            data: data.or(self.data),
            outliers: outliers.or(self.outliers),
            hold: hold.unwrap_or(self.hold),
            ..self
        })
    }

    /// The objective's net of that name.
    pub fn arch(&self) -> Result<Arch> {
        baselines::of_objective(self.objective, &self.net, self.bias)
    }

    /// The words of the command that trains with these settings into `out`: every flag, so that no default matters.
    pub fn command(&self, out: &str) -> Vec<String> {
        let seed = self.seed.to_string();
        let own = ["--class", &self.class, "--seed", &seed, "--out", out];
        let words = ["fcdd", "train"].into_iter().map(str::to_string);
        words.chain(self.words()).chain(own.map(str::to_string)).collect()
    }

    /// The words for all of these settings but class and seed.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![word(self.dataset)];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        if let Some(data) = &self.data {
            flag("data", data.display().to_string());
        }
        flag("objective", word(self.objective));
        flag("net", self.net.clone());
        if let Some(weights) = &self.weights {
            flag("weights", weights.display().to_string());
        }
        if self.objective == Objective::Hsc {
            flag("gradient", word(self.gradient));
        }
        flag("side", self.side.to_string());
        flag("pipeline", word(self.pipeline));
        flag("supervise", word(self.supervise));
        flag("noise", word(self.noise));
        if let Some(outliers) = &self.outliers {
            flag("outliers", outliers.to_string());
        }
        if let Some(limit) = self.oe_limit {
            flag("oe-limit", limit.to_string());
        }
        if let Some(gap) = self.part_gap {
            flag("part-gap", gap.to_string());
        }
        if self.precision != Format::F32 {
            flag("precision", word(self.precision));
        }
        flag("maps", self.maps.to_string());
        flag("epochs", self.epochs.to_string());
        flag("passes", self.passes.to_string());
        flag("batch", self.batch.to_string());
        flag("optimizer", word(self.optimizer));
        flag("lr", self.lr.to_string());
        flag("weight-decay", self.weight_decay.to_string());
        flag("schedule", self.schedule.to_string());
        flag("sigma", self.sigma.to_string());
        flag("quantile", self.quantile.to_string());
        flag("reestimate", self.reestimate.to_string());
        flag("hold", self.hold.to_string());
        let switches = [
            ("--no-bias", !self.bias),
            ("--offline-supervision", self.offline_supervision),
            ("--as-published", self.as_published),
            ("--skip-broken", self.skip_broken),
        ];
        words.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_string()));
        words
    }

    /// Whether labelled anomalies of the nominal class are learned from, as the outliers `mvtec_gt`.
    pub fn learns_mvtec_gt(&self) -> bool {
        self.outliers.as_ref().is_some_and(|source| source.kind() == OutlierKind::MvtecGt)
    }

    /// Whether outliers are nominal, and pictures of the class what the score is to rate.
    pub fn outliers_are_nominal(&self) -> bool {
        self.dataset.rates_its_class() && self.supervise == Supervise::Noise && self.noise == NoiseMode::Outliers
    }

    /// Refuses labelled anomalies where there can be none, and flags about them where none are learned from.
    fn check_labelled(&self) -> Result<()> {
        let knows_good = matches!(self.dataset, DatasetKind::Mvtec | DatasetKind::Custom | DatasetKind::Folder);
        if self.learns_mvtec_gt() && !(knows_good && self.supervise == Supervise::Noise) {
            return refuse(
                "outliers mvtec_gt",
                "are labelled anomalies of the nominal class, which take the place of good pictures",
                "choose a set of good and defective pictures (mvtec, custom, folder) and --supervise noise",
            );
        }
        if knows_good && (self.learns_mvtec_gt() || self.supervise == Supervise::Other) {
            return Ok(());
        }
        let flags = [("as-published", self.as_published), ("part-gap", self.part_gap.is_some())];
        match flags.iter().find(|(_, on)| *on) {
            Some((flag, _)) => {
                let remedy = "choose --supervise other or --outliers mvtec_gt:DIR for such a set, or leave it out";
                refuse(flag, "is about labelled anomalies of a set of good and defective pictures", remedy)
            }
            None => Ok(()),
        }
    }

    /// Refuses what cannot work, and flags that would do nothing, before anything is loaded.
    pub fn check(&self) -> Result<()> {
        let arch = self.arch()?;
        check_size(&arch, self.side, self.batch)?;
        if arch.pretrained && self.weights.is_none() {
            let problem =
                format!("{} starts from weights that were trained on ImageNet, and none are named", arch.name);
            return Err(Error::setting(problem, PRETRAINED));
        }
        self.supervise.check(self.noise)?;
        self.check_objective()?;
        let draws = self.supervise.draws_outliers(self.noise);
        match &self.outliers {
            None if draws => {
                return Err(Error::setting(
                    "the noise mode 'outliers' needs images to draw from",
                    "name them with --outliers mnist:DIR, cifar100:FILE, images:DIR …, or choose another --noise",
                ));
            }
            Some(outliers) if !draws => {
                let (supervise, noise) = (word(self.supervise), word(self.noise));
                return Err(Error::setting(
                    format!("--outliers {outliers}: --supervise {supervise} with --noise {noise} uses no outliers"),
                    "leave --outliers out, or choose --noise outliers and --supervise noise",
                ));
            }
            _ => {}
        }
        self.check_labelled()?;
        if let (Some(limit), None) = (self.oe_limit, &self.outliers)
            && self.supervise != Supervise::Other
        {
            return refuse(
                "oe-limit",
                format!("{limit} limits nothing"),
                "name images with --outliers, or leave it out",
            );
        }
        if self.oe_limit == Some(0) {
            return refuse("oe-limit", "0 leaves 0 outliers", "give at least 1, or choose another --noise");
        }
        if self.offline_supervision && self.supervise == Supervise::Unsupervised {
            return refuse("offline-supervision", "makes no anomalies", "choose another --supervise, or leave it out");
        }
        if !(1..=MAX_PASSES).contains(&self.passes) {
            return refuse("passes", self.passes, &format!("choose 1 to {MAX_PASSES}"));
        }
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return refuse("epochs", self.epochs, &format!("choose 1 to {MAX_EPOCHS}"));
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse("lr", format!("{} is no learning rate", self.lr), "choose a positive number, such as 1e-3");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight-decay", format!("{} is no weight", self.weight_decay), "choose 0 or more");
        }
        if !(self.sigma.is_finite() && self.sigma >= MIN_SIGMA) {
            let remedy = format!("choose {MIN_SIGMA} pixels or more");
            return refuse("sigma", format!("{} is no width", self.sigma), &remedy);
        }
        if !(self.quantile > 0.0 && self.quantile <= 1.0) {
            return refuse("quantile", format!("{} is no quantile", self.quantile), "choose a number in (0, 1]");
        }
        Ok(())
    }

    /// Refuses what the objective cannot learn from, and flags that are not for it.
    fn check_objective(&self) -> Result<()> {
        let objective = word(self.objective);
        if self.objective == Objective::Ae && self.supervise != Supervise::Unsupervised {
            let remedy =
                "an autoencoder learns from good images alone: choose --supervise unsupervised, or leave it out";
            return refuse("supervise", format!("{} with --objective {objective}", word(self.supervise)), remedy);
        }
        if self.objective != Objective::Fcdd && self.maps {
            let remedy = "only --objective fcdd learns from ground-truth maps: choose --maps false, or leave it out";
            return refuse("maps", format!("true with --objective {objective}"), remedy);
        }
        if self.objective != Objective::Fcdd && self.precision != Format::F32 {
            let remedy = "choose --precision f32, or leave it out";
            return refuse("precision", format!("{} with --objective {objective}", word(self.precision)), remedy);
        }
        if self.objective != Objective::Hsc && self.gradient != Gradient::Grad {
            let remedy = "leave it out: only heatmaps of --objective hsc are gradients";
            return refuse("gradient", format!("{} with --objective {objective}", word(self.gradient)), remedy);
        }
        Ok(())
    }
}

/// The paper's settings for CIFAR-10, which the sets of photographs share in part.
fn thirty_two(base: Settings) -> Settings {
    Settings {
        net: "FCDD_CNN32_LW3K".to_string(),
        side: 32,
        pipeline: PipelineKind::Aug1,
        epochs: 600,
        batch: 200,
        optimizer: Optimizer::Adam,
        lr: 1e-3,
        schedule: Schedule::Milestones { gamma: 0.1, epochs: vec![400, 500] },
        ..base
    }
}

fn one() -> u32 {
    1
}

/// The path from the root, if it exists. It is kept as text.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if path.to_str().is_none() {
        return Err(Error::file(&path, "is not named in Unicode", "rename the folder"));
    }
    Ok(path)
}

/// Refuses sides and batches that a net cannot take, and those for which the lengths of its buffers would overflow.
pub fn check_size(arch: &Arch, side: usize, batch: usize) -> Result<()> {
    if side > MAX_SIDE {
        return refuse("side", side, &format!("choose {MAX_SIDE} pixels or less, such as {}", arch.side));
    }
    if !(1..=MAX_BATCH).contains(&batch) {
        return refuse("batch", batch, &format!("choose 1 to {MAX_BATCH} images"));
    }
    arch.shapes(batch, side).map(|_| ())
}

fn refuse(flag: &str, value: impl Display, remedy: &str) -> Result<()> {
    Err(Error::setting(format!("--{flag} {value}"), remedy))
}

/// A choice as the command line writes it.
pub fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

/// What the command line's help says of a choice.
pub fn explanation(choice: impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
}
