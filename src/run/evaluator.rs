//! Evaluation for other programs: a model and labelled images in, figures out.

use std::path::{Path, PathBuf};

use super::context::{Context, Event, Observer};
use super::evaluate::evaluate;
use super::figures::Evaluation;
use super::model::Model;
use super::prepare::TestSet;
use super::results::evaluate_into;
use crate::device::Device;
use crate::error::Result;
use crate::threads;

/// A test of a model to come, on images whose labels are known.
///
/// ```no_run
/// use fcdd::{Device, Evaluator};
///
/// let evaluation = Evaluator::new("run").evaluate(&Device::auto())?;
/// println!("{:?}", evaluation.image_auroc);
/// # Ok::<(), fcdd::Error>(())
/// ```
pub struct Evaluator<'a> {
    model: PathBuf,
    data: Option<PathBuf>,
    skip_broken: bool,
    folder: Option<PathBuf>,
    observer: Option<&'a dyn Observer>,
}

impl<'a> Evaluator<'a> {
    /// A test of a model file, or of the model of a run's folder, on the test images that lie where it was trained. Unless asked for, it
    /// reports no progress and writes no files.
    pub fn new(model: impl AsRef<Path>) -> Evaluator<'a> {
        let model = model.as_ref().to_path_buf();
        Evaluator { model, data: None, skip_broken: false, folder: None, observer: None }
    }

    /// Tests on the images of another folder, which is laid out as that of the training.
    pub fn on_data(self, data: impl AsRef<Path>) -> Evaluator<'a> {
        Evaluator { data: Some(data.as_ref().to_path_buf()), ..self }
    }

    /// Leaves out images that cannot be read.
    pub fn skipping_broken(self) -> Evaluator<'a> {
        Evaluator { skip_broken: true, ..self }
    }

    /// Writes figures, scores, maps and a report into a folder, as `fcdd evaluate` does; an earlier evaluation there is replaced.
    pub fn in_folder(self, folder: impl AsRef<Path>) -> Evaluator<'a> {
        Evaluator { folder: Some(folder.as_ref().to_path_buf()), ..self }
    }

    /// Calls `observer` with progress, and with notes such as which files were left out.
    pub fn on_event<F: Fn(Event) + Sync>(self, observer: &'a F) -> Evaluator<'a> {
        Evaluator { observer: Some(observer), ..self }
    }

    /// Tests.
    ///
    /// # Errors
    /// A file that is no whole model; data that cannot be read, or was all learned from; a device without memory; scores that are no
    /// numbers, from damaged weights.
    pub fn evaluate(self, device: &Device) -> Result<Evaluation> {
        threads::alone(|| self.evaluate_here(device))
    }

    fn evaluate_here(self, device: &Device) -> Result<Evaluation> {
        let silent = Context::silent(device);
        let context = Context { observer: self.observer.unwrap_or(silent.observer), ..silent };
        let data = self.data.as_deref();
        let tested = match &self.folder {
            Some(folder) => evaluate_into(&context, &self.model, data, self.skip_broken, folder, &[])?.1,
            None => {
                let model = Model::load(&self.model)?;
                let test = TestSet::load(&model, data, self.skip_broken, &context)?;
                evaluate(&context, &model, &test, &mut |_| Ok(()))?
            }
        };
        Ok(tested.evaluation)
    }
}
