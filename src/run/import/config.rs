//! `config.txt`, as the authors' runner leaves it: the net as text, then its arguments as JSON in one line, then notes.

use std::fmt::Display;
use std::path::Path;

use serde::Deserialize;

use super::{Request, constants};
use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::datasets::DatasetKind;
use crate::datasets::custom::CUSTOM;
use crate::datasets::mvtec::MVTEC;
use crate::datasets::outliers::OutlierSource;
use crate::error::{Error, Result};
use crate::model::Objective;
use crate::named::Named;
use crate::printable::escaped;
use crate::run::settings::Settings;
use crate::steps::upsample::default_sigma;
use crate::{files, json};

/// For files that are not what the runner has written.
const REMEDY: &str = "name the config.txt that lies beside the snapshot";

/// What there is to know of a training of theirs. Arguments that change no result are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    dataset: String,
    net: String,
    objective: String,
    /// By its number.
    #[serde(default)]
    pub normal_class: usize,
    preproc: String,
    bias: bool,
    supervise_mode: String,
    noise_mode: String,
    /// None for all there are, which the file has as `Infinity`.
    oe_limit: Option<usize>,
    online_supervision: bool,
    nominal_label: i64,
    datadir: String,
    batch_size: usize,
    #[serde(default = "one")]
    acc_batches: usize,
    epochs: u32,
    learning_rate: f64,
    weight_decay: f64,
    optimizer_type: String,
    scheduler_type: String,
    lr_sched_param: Vec<f64>,
    gauss_std: Option<f64>,
    quantile: f64,
}

fn one() -> usize {
    1
}

impl Config {
    /// Reads the arguments.
    pub(super) fn read(path: &Path) -> Result<Config> {
        let text = String::from_utf8(files::read(path)?).map_err(|_| Error::file(path, "is not a text", REMEDY))?;
        let Some(arguments) = text.lines().find(|line| line.starts_with('{')) else {
            return Err(Error::file(path, "holds no line of arguments in JSON", REMEDY));
        };
        json::parse(without_infinities(arguments).as_bytes())
            .map_err(|e| Error::file(path, format!("its arguments cannot be read ({})", e.replace('`', "'")), REMEDY))
    }

    /// What was trained, as settings here, of which a snapshot has so many epochs behind it.
    ///
    /// # Errors
    /// An argument that is not known here, or means something else.
    pub(super) fn settings(&self, request: &Request, epochs: u32) -> Result<Settings> {
        let Request { snapshot, data, masks, .. } = request;
        let masks = *masks;
        let dataset = known(&self.dataset, "dataset", DatasetKind::all())?;
        let objective = match self.objective.as_str() {
            "autoencoder" => Objective::Ae,
            word => known(word, "objective", Objective::all())?,
        };
        let pipeline = match known(&self.preproc, "preproc", PipelineKind::all())? {
            PipelineKind::Aug1 if masks && dataset == CUSTOM => PipelineKind::Aug1Masks,
            kind if !masks => kind,
            kind => {
                return refuse(
                    "masks",
                    format!("{dataset} with {}", kind.word()),
                    "leave it out: only custom with aug1 has them",
                );
            }
        };
        let rated = i64::from(dataset.rates_its_class);
        if self.nominal_label != rated {
            let problem = format!("{} with {dataset}: its scores are high for good images", self.nominal_label);
            return refuse("nominal_label", problem, &format!("only snapshots with {rated} can be imported"));
        }
        let supervise = known(&self.supervise_mode, "supervise_mode", Supervise::all())?;
        let mut given = vec![
            ("objective", objective.word().to_string()),
            ("net", self.net.clone()),
            ("bias", self.bias.to_string()),
            ("pipeline", pipeline.word().to_string()),
            ("supervise", supervise.word().to_string()),
            ("maps", (objective == Objective::Fcdd && (dataset == MVTEC || masks)).to_string()),
            ("epochs", self.epochs.max(epochs).to_string()),
            ("batch", self.batch_size.saturating_mul(self.acc_batches).to_string()),
            ("optimizer", self.optimizer_type.clone()),
            ("lr", self.learning_rate.to_string()),
            ("weight_decay", self.weight_decay.to_string()),
            ("schedule", self.schedule()?),
            ("quantile", self.quantile.to_string()),
            ("image_score", "mean".to_string()),
            ("calibration_share", "0".to_string()),
            ("reestimate", "false".to_string()),
        ];
        if !dataset.rates_its_class {
            given.push(("class", constants::class(dataset, self.normal_class)));
        }
        if supervise.makes_noise() {
            given.extend(self.noise()?);
        }
        given.extend(self.gauss_std.map(|sigma| ("sigma", sigma.to_string())));
        let mut settings = Settings::with(dataset, &given)?;
        let arch = settings.arch()?;
        if self.gauss_std.is_none() && objective == Objective::Fcdd {
            settings.sigma = default_sigma(arch.receptive_field(arch.side)?.size);
        }
        settings.data = data.clone();
        settings.weights = arch.pretrained.then(|| snapshot.clone());
        settings.offline_supervision = !self.online_supervision && supervise != Supervise::Unsupervised;
        settings.oe_limit = self.oe_limit.filter(|_| settings.outliers.is_some() || settings.learns_labelled());
        // Their tests do not leave out what was learned from.
        settings.as_published = dataset.labels_good && settings.learns_labelled();
        let settings = settings.located()?;
        settings.check()?;
        Ok(settings)
    }

    /// What anomalies are made of, or where they come from.
    fn noise(&self) -> Result<Vec<(&'static str, String)>> {
        if let Some(mode) = NoiseMode::parse(&self.noise_mode) {
            return Ok(vec![("noise", mode.word().to_string())]);
        }
        let outliers = format!("{}:{}", self.noise_mode, self.datadir);
        if outliers.parse::<OutlierSource>().is_err() {
            return refuse(
                "noise_mode",
                escaped(&self.noise_mode),
                "it is none of fcdd's: name the one that is most like it in a copy of the file",
            );
        }
        Ok(vec![("noise", NoiseMode::Outliers.word().to_string()), ("outliers", outliers)])
    }

    /// How the learning rate falls, as a setting says it.
    fn schedule(&self) -> Result<String> {
        match (self.scheduler_type.as_str(), self.lr_sched_param.as_slice()) {
            ("lambda", [gamma]) => Ok(format!("lambda:{gamma}")),
            ("milestones", [gamma, epochs @ ..]) if !epochs.is_empty() => {
                let epochs: Vec<String> = epochs.iter().map(|epoch| (*epoch as u32).to_string()).collect();
                Ok(format!("milestones:{gamma}:{}", epochs.join(",")))
            }
            (kind, parameters) => {
                let problem = format!("{} with lr_sched_param {parameters:?}", escaped(kind));
                refuse(
                    "scheduler_type",
                    problem,
                    "fcdd has lambda with a factor, and milestones with a factor and epochs",
                )
            }
        }
    }
}

/// The value that a word of theirs names.
fn known<T: Named>(word: &str, argument: &str, all: Vec<T>) -> Result<T> {
    T::parse(word).ok_or_else(|| {
        let words: Vec<&str> = all.into_iter().map(Named::word).collect();
        let problem = format!("`{argument}` {} is not known here", escaped(word));
        Error::setting(problem, format!("snapshots with one of {} can be imported", words.join(", ")))
    })
}

fn refuse<T>(argument: &str, problem: impl Display, remedy: &str) -> Result<T> {
    Err(Error::setting(format!("`{argument}` {problem}"), remedy))
}

/// JSON as Python writes it, with null in the place of numbers that JSON does not have.
fn without_infinities(text: &str) -> String {
    let mut inside = false;
    let parts = text.split_inclusive('"').map(|part| {
        let was_inside = inside;
        // A quote after a backslash is part of the text.
        let ends = part.ends_with('"')
            && (!was_inside || part.bytes().rev().skip(1).take_while(|&b| b == b'\\').count() % 2 == 0);
        inside ^= ends;
        match was_inside {
            true => part.to_string(),
            false => part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null"),
        }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_become_null_outside_of_texts() {
        let text = r#"{"a": Infinity, "NaN \" Infinity": "-Infinity\\", "b": [-Infinity, NaN]}"#;
        let plain = r#"{"a": null, "NaN \" Infinity": "-Infinity\\", "b": [null, null]}"#;
        assert_eq!(without_infinities(text), plain);
    }
}
