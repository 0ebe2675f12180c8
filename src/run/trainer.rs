//! Training for other programs: settings in, a model and its history out.

use std::path::{Path, PathBuf};

use super::context::{Context, Event, Observer};
use super::prepare::prepare;
use super::results::finish;
use super::settings::Settings;
use super::stop::Stop;
use super::train::{self, Trained};
use crate::device::Device;
use crate::error::Result;
use crate::threads;

/// A training to come.
///
/// ```no_run
/// use fcdd::{Detector, Device, Settings, Trainer};
///
/// let device = Device::auto()?;
/// let trained = Trainer::new(Settings::folder("good-parts")).train(&device)?;
/// trained.model.save("model.safetensors".as_ref())?;
/// let detector = Detector::new(&trained.model, &device)?;
/// # Ok::<(), fcdd::Error>(())
/// ```
pub struct Trainer<'a> {
    settings: Settings,
    folder: Option<PathBuf>,
    observer: Option<&'a dyn Observer>,
    stop: Option<&'a Stop>,
}

impl<'a> Trainer<'a> {
    /// A training with these settings. Unless asked for, it reports no progress and writes no files.
    pub fn new(settings: Settings) -> Trainer<'a> {
        Trainer { settings, folder: None, observer: None, stop: None }
    }

    /// Writes a run into a folder, as `fcdd train` does: the state to resume from, the model, figures on the test images and a report.
    pub fn in_folder(self, folder: impl AsRef<Path>) -> Trainer<'a> {
        Trainer { folder: Some(folder.as_ref().to_path_buf()), ..self }
    }

    /// Calls `observer` with progress, and with notes such as which files were left out, from the thread that trains.
    pub fn on_event<F: Fn(Event) + Sync>(self, observer: &'a F) -> Trainer<'a> {
        Trainer { observer: Some(observer), ..self }
    }

    /// Ends the training after the current step once [`Stop::request`] was called, from any thread; the result is the model as trained
    /// until then. Requested before it begins, it ends without a step, with a model that has learned nothing: see
    /// [`Trained::interrupted`].
    pub fn stop_by(self, stop: &'a Stop) -> Trainer<'a> {
        Trainer { stop: Some(stop), ..self }
    }

    /// Trains.
    ///
    /// # Errors
    /// Settings that cannot work, data that cannot be read, a folder that holds a run already, a device without memory, a loss that is
    /// no number any more.
    pub fn train(self, device: &Device) -> Result<Trained> {
        threads::alone(|| self.train_here(device))
    }

    fn train_here(self, device: &Device) -> Result<Trained> {
        let silent = Context::silent(device);
        let Trainer { settings, folder, observer, stop } = self;
        let (observer, stop) = (observer.unwrap_or(silent.observer), stop.unwrap_or(silent.stop));
        let context = Context { device, observer, stop };
        match folder {
            Some(folder) => {
                let (trained, task, directory) = train::start(&context, &settings, &folder, &[])?;
                finish(&context, &trained, &task, &directory, &[])?;
                Ok(trained)
            }
            None => train::train(&context, &prepare(&settings, &context)?.set, &settings, None, None),
        }
    }
}
