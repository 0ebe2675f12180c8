//! Everything that decides a training run; the paper's choice of it per dataset; what is refused.

mod check;
mod presets;

use std::path::{Path, PathBuf};

use crate::datasets::folder::FOLDER;
use crate::named::Named;
use serde::{Deserialize, Serialize};

use crate::data::image_source::Hold;
use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::datasets::DatasetKind;
use crate::datasets::outliers::OutlierSource;
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::model::{Arch, Objective, baselines};
use crate::steps::hsc_loss::Gradient;

pub use check::{MAX_BATCH, check_size};

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
    pub precision: DType,
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
    /// For a folder of images: good ones only, or MVTec-AD's layout.
    pub fn folder(data: impl Into<PathBuf>) -> Settings {
        Settings { data: Some(data.into()), ..Settings::preset(FOLDER) }
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
        let mut words = vec![self.dataset.word().to_string()];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        if let Some(data) = &self.data {
            flag("data", data.display().to_string());
        }
        flag("objective", self.objective.word().to_string());
        flag("net", self.net.clone());
        if let Some(weights) = &self.weights {
            flag("weights", weights.display().to_string());
        }
        if self.objective == Objective::Hsc {
            flag("gradient", self.gradient.word().to_string());
        }
        flag("side", self.side.to_string());
        flag("pipeline", self.pipeline.word().to_string());
        flag("supervise", self.supervise.word().to_string());
        flag("noise", self.noise.word().to_string());
        if let Some(outliers) = &self.outliers {
            flag("outliers", outliers.to_string());
        }
        if let Some(limit) = self.oe_limit {
            flag("oe-limit", limit.to_string());
        }
        if let Some(gap) = self.part_gap {
            flag("part-gap", gap.to_string());
        }
        if self.precision != DType::F32 {
            flag("precision", self.precision.word().to_string());
        }
        flag("maps", self.maps.to_string());
        flag("epochs", self.epochs.to_string());
        flag("passes", self.passes.to_string());
        flag("batch", self.batch.to_string());
        flag("optimizer", self.optimizer.word().to_string());
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
        self.outliers.as_ref().is_some_and(OutlierSource::are_own_anomalies)
    }

    /// Whether outliers are nominal, and pictures of the class what the score is to rate.
    pub fn outliers_are_nominal(&self) -> bool {
        self.dataset.rates_its_class && self.supervise == Supervise::Noise && self.noise == NoiseMode::Outliers
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
