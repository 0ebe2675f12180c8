//! Training for other programs: settings in, a model and its history out.

use std::path::{Path, PathBuf};

use super::context::{Context, Event, Observer};
use super::prepare::prepare;
use super::results::finish;
use super::settings::{Moved, Settings};
use super::stop::Stop;
use super::train::{self, Trained};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::threads;

/// A training to come.
///
/// ```no_run
/// use fcdd::{Detector, Device, Settings, Trainer};
///
/// let device = Device::auto();
/// let trained = Trainer::new(Settings::folder("good-parts")).train(&device)?;
/// trained.model.save("model.safetensors")?;
/// let detector = Detector::new(&trained.model, &device)?;
/// # Ok::<(), fcdd::Error>(())
/// ```
pub struct Trainer<'a> {
    begin: Begin,
    folder: Option<PathBuf>,
    observer: Option<&'a dyn Observer>,
    stop: Option<&'a Stop>,
}

/// Where a training begins.
enum Begin {
    /// With its first epoch.
    New(Box<Settings>),
    /// Where the run in a folder was stopped.
    Resumed(PathBuf),
}

impl<'a> Trainer<'a> {
    /// A training with these settings. Unless asked for, it reports no progress and writes no files.
    pub fn new(settings: Settings) -> Trainer<'a> {
        Trainer { begin: Begin::New(Box::new(settings)), folder: None, observer: None, stop: None }
    }

    /// Continues a run that was stopped or killed, in its folder, with its own settings and on the images that it began with: on the same
    /// device it ends in the bits of a training that was never stopped.
    ///
    /// ```no_run
    /// use fcdd::{Device, Settings, Stop, Trainer};
    ///
    /// let (device, stop) = (Device::auto(), Stop::new());
    /// let trainer = Trainer::new(Settings::folder("good-parts")).in_folder("run").stop_by(&stop);
    /// let mut trained = trainer.train(&device)?; // while another thread may call `stop.request()`
    /// if trained.interrupted {
    ///     trained = Trainer::resume("run").train(&device)?;
    /// }
    /// # Ok::<(), fcdd::Error>(())
    /// ```
    pub fn resume(run: impl AsRef<Path>) -> Trainer<'a> {
        let begin = Begin::Resumed(run.as_ref().to_path_buf());
        Trainer { begin, folder: None, observer: None, stop: None }
    }

    /// Writes a run into a folder, as `fcdd train` does: the state to [resume](Trainer::resume) from, the model, figures on the test images
    /// and a report. One that is resumed has its folder already.
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
    /// no number any more. To resume: a folder without a run, or one that another process is at; images that are not those of the run.
    pub fn train(self, device: &Device) -> Result<Trained> {
        threads::alone(|| self.train_here(device))
    }

    fn train_here(self, device: &Device) -> Result<Trained> {
        let silent = Context::silent(device);
        let Trainer { begin, folder, observer, stop } = self;
        let (observer, stop) = (observer.unwrap_or(silent.observer), stop.unwrap_or(silent.stop));
        let context = Context { device, observer, stop };
        let (trained, task, directory) = match (begin, folder) {
            (Begin::New(settings), None) => {
                return train::train(&context, &prepare(&settings, &context)?, &settings, None, None);
            }
            (Begin::New(settings), Some(folder)) => train::start(&context, &settings, &folder, None, &[])?,
            (Begin::Resumed(run), None) => train::resume(&context, &run, Moved::default(), &[])?,
            (Begin::Resumed(run), Some(_)) => {
                return Err(Error::file(run, "a resumed run stays in its folder", "leave `in_folder` out"));
            }
        };
        finish(&context, &trained, &task, &directory, &[])?;
        Ok(trained)
    }
}
