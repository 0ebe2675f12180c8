//! The models that are served, and their names.

use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use super::failure::Failure;
use super::queue::Queue;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::run::detector::Detector;
use crate::run::model::{Model, model_folder};

/// Bytes of a name, at most.
const LONGEST: usize = 64;

/// A model with its name.
pub(crate) struct ServedModel {
    pub(super) about: About,
    pub(super) detector: Detector,
    pub(super) queue: Queue,
}

/// What is told of a model.
#[derive(Debug, Serialize)]
pub(super) struct About {
    pub(super) name: String,
    net: String,
    /// Side of the squares that the net sees, and their channels.
    side: usize,
    channels: usize,
    /// How images become such squares.
    fit: String,
    /// None in imported models that have not been calibrated: they give scores, and no verdict.
    pub(super) threshold: Option<f32>,
    /// None in those, and in models of version 0.1.
    pixel_threshold: Option<f32>,
    /// Images that are scored together at most.
    batch: usize,
}

impl ServedModel {
    /// Loads a model. Without a name it is that of the folder it lies in. Its images wait so long for others, at most.
    ///
    /// # Errors
    /// What [`Model::load`] refuses; a name that cannot stand in an address.
    pub(crate) fn load(path: &Path, name: Option<&str>, wait: Duration, device: &Device) -> Result<ServedModel> {
        let name = match name {
            Some(name) => name.to_string(),
            None => {
                let folder = model_folder(path);
                let folder = folder.canonicalize().unwrap_or(folder);
                folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        };
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > LONGEST || name.starts_with('.') || !name.bytes().all(of_a_name) {
            let problem = format!("a model cannot be called '{}'", Path::new(&name).printable());
            let remedy = format!("call it otherwise with `name`: up to {LONGEST} letters, digits, '-', '_' and '.'");
            return Err(Error::file(path, problem, remedy));
        }
        let model = Model::load(path)?;
        let detector = Detector::new(&model, device)?;
        let form = detector.form();
        let about = About {
            name,
            net: model.meta.settings.net.clone(),
            side: form.side,
            channels: form.channels,
            fit: form.resize.to_string(),
            threshold: model.meta.has_threshold().then(|| detector.threshold()),
            pixel_threshold: model.meta.calibration.as_ref().map(|calibration| calibration.pixel_threshold),
            batch: detector.batch(),
        };
        let queue = Queue::new(detector.clone(), wait)?;
        Ok(ServedModel { about, detector, queue })
    }

    pub(crate) fn name(&self) -> &str {
        &self.about.name
    }

    /// Whether it can call an image good or anomalous.
    pub(crate) fn has_threshold(&self) -> bool {
        self.about.threshold.is_some()
    }
}

/// All models, in the order in which they were named.
pub(super) struct Models(Vec<ServedModel>);

impl Models {
    /// # Errors
    /// Two of one name.
    pub(super) fn new(models: Vec<ServedModel>) -> Result<Models> {
        let twin =
            models.iter().enumerate().find(|(i, model)| models[..*i].iter().any(|other| other.name() == model.name()));
        match twin {
            Some((_, twin)) => {
                let problem = format!("two models are called {}", twin.name());
                Err(Error::setting(problem, "give each a name of its own with `name`, in their order"))
            }
            None => Ok(Models(models)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Result<&ServedModel, Failure> {
        self.0.iter().find(|model| model.name() == name).ok_or_else(|| {
            Failure::new(
                StatusCode::NOT_FOUND,
                "there is no model of this name; GET /v1/models lists those that there are",
            )
        })
    }

    pub(super) fn about(&self) -> Vec<&About> {
        self.0.iter().map(|model| &model.about).collect()
    }
}
