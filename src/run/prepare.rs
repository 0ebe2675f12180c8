//! From settings to a training set.

use super::settings::Settings;
use crate::data::batches::{Ingredients, Others, TrainingSet};
use crate::data::dataset::{Dataset, Split};
use crate::data::pipeline::Preprocessing;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::error::{Error, Result};

/// A loaded dataset as one task: one class is nominal, every other one anomalous.
pub struct Task {
    pub set: TrainingSet,
    /// Index of the nominal class.
    pub class: u16,
    pub class_names: Vec<String>,
    /// The test split; empty for a folder of good images alone.
    pub test: Split,
}

/// Loads what the settings name and makes the training set.
pub fn prepare(settings: &Settings) -> Result<Task> {
    settings.check()?;
    // Images are held at the net's own side: the paper's small sets are, and folders lose no detail to a second resize.
    let (raw_side, channels) = (settings.side, settings.arch()?.channels);
    let dataset = Dataset::load(settings.dataset, settings.data.as_deref(), raw_side, channels)?;
    let class = class_index(&dataset, &settings.class)?;
    let nominal = dataset.train.images.select(&dataset.nominal(class)?);
    let others = match settings.supervise {
        Supervise::Other => Some(Others::new(&dataset.train, &dataset.anomalous(class)?)),
        _ => None,
    };
    let outliers = match &settings.outliers {
        Some(source) if settings.supervise.makes_noise() && settings.noise == NoiseMode::Outliers => {
            Some(source.load(raw_side, channels, settings.oe_limit)?)
        }
        _ => None,
    };
    let preprocessing =
        Preprocessing::new(settings.pipeline, settings.dataset, raw_side, settings.side, channels, &nominal)?;
    let set = TrainingSet::new(Ingredients {
        nominal,
        others,
        outliers,
        preprocessing,
        supervise: settings.supervise,
        noise: settings.noise,
        seed: settings.seed,
    })?;
    Ok(Task { set, class, class_names: dataset.class_names, test: dataset.test })
}

/// The class that a user named by index or by name.
pub fn class_index(dataset: &Dataset, class: &str) -> Result<u16> {
    let by_name = dataset.class_names.iter().position(|name| name.eq_ignore_ascii_case(class));
    let index = match (class.parse::<u16>(), by_name) {
        (_, Some(index)) => index as u16,
        (Ok(index), None) => index,
        (Err(_), None) => {
            return Err(Error::setting(
                format!("there is no class '{class}'"),
                format!("choose one of {}, by name or by number from 0", dataset.class_names.join(", ")),
            ));
        }
    };
    dataset.check_class(index)?;
    Ok(index)
}
