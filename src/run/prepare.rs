//! From settings to a training set.

use std::path::{Path, PathBuf};

use super::model::Model;
use super::settings::Settings;
use crate::data::batches::{Ingredients, Others, TrainingSet};
use crate::data::dataset::{Dataset, Source, Split};
use crate::data::fit::{Fit, RawForm};
use crate::data::pipeline::Preprocessing;
use crate::data::store::Raw;
use crate::data::supervise::Supervise;
use crate::error::{Error, Result};

/// A loaded dataset as one task: one class is nominal, every other one anomalous.
pub struct Task {
    pub set: TrainingSet,
    /// Without images for a folder of good images alone.
    pub test: TestSet,
}

/// Labelled images to judge a model by.
pub struct TestSet {
    pub split: Split,
    /// Index of the nominal class.
    pub class: u16,
    pub class_names: Vec<String>,
    /// Folder or file of the dataset; None where it was found by itself.
    pub data: Option<PathBuf>,
}

impl TestSet {
    /// The test split that a model's settings name, or the one in `data`.
    pub fn load(model: &Model, data: Option<&Path>) -> Result<TestSet> {
        let (settings, preprocessing) = (&model.card.settings, &model.card.preprocessing);
        let data = data.or(settings.data.as_deref());
        let source = Source {
            kind: settings.dataset,
            data,
            class: &settings.class,
            raw: Raw { form: preprocessing.raw_form(), hold: settings.hold },
        };
        let dataset = Dataset::load_test(&source)?;
        // As the settings name it, so that the two compare.
        let data = data.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
        Ok(TestSet { split: dataset.test, class: dataset.nominal, class_names: dataset.class_names, data })
    }

    /// Fails unless all of these are indices of test images.
    pub fn check(&self, chosen: &[usize]) -> Result<()> {
        let n = self.split.images.count();
        let Some(absent) = chosen.iter().find(|&&i| i >= n) else { return Ok(()) };
        let remedy = match n {
            0 => "the data has no test images: leave --viz-ids out".to_string(),
            _ => format!("choose from 0…{}", n - 1),
        };
        Err(Error::setting(format!("--viz-ids: there is no test image {absent}"), remedy))
    }

    /// Name of the nominal class.
    pub fn class_name(&self) -> &str {
        self.class_names.get(usize::from(self.class)).map_or("", String::as_str)
    }
}

/// Loads what the settings name and makes the training set.
pub fn prepare(settings: &Settings) -> Result<Task> {
    settings.check()?;
    // Images are held at the net's own side: the paper's small sets are, and folders lose no detail to a second resize.
    let (raw_side, channels) = (settings.side, settings.arch()?.channels);
    let fit = Fit::of(settings.dataset, settings.maps);
    let raw = Raw { form: RawForm { side: raw_side, channels, fit }, hold: settings.hold };
    let source = Source { kind: settings.dataset, data: settings.data.as_deref(), class: &settings.class, raw };
    let dataset = Dataset::load(&source)?;
    let nominal = dataset.train.images.select(&dataset.nominal()?);
    let others = match settings.supervise {
        Supervise::Other => Some(Others::new(&dataset.train, &dataset.anomalous(), fit)),
        _ => None,
    };
    let outliers = match &settings.outliers {
        Some(source) if settings.supervise.draws_outliers(settings.noise) => Some(source.load(raw, settings.oe_limit)?),
        _ => None,
    };
    let preprocessing =
        Preprocessing::new(settings.pipeline, settings.dataset, raw_side, settings.side, channels, &nominal)?;
    let set = TrainingSet::new(Ingredients {
        nominal,
        others,
        outliers,
        preprocessing: Preprocessing { fit, ..preprocessing },
        supervise: settings.supervise,
        noise: settings.noise,
        seed: settings.seed,
    })?;
    let data = settings.data.clone();
    let class = dataset.nominal;
    Ok(Task { set, test: TestSet { split: dataset.test, class, class_names: dataset.class_names, data } })
}
