//! Training and evaluation.

use std::path::PathBuf;

use fcdd::{Evaluator, Trainer};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;

use crate::detector::Detector;
use crate::errors::raised;
use crate::watched::watched;
use crate::{device, settings};

/// Trains on good images: a folder of your own, or a dataset.
///
/// `out` is a folder for the run, which must not hold one yet: its model, figures on the test images, and a report; the training can be
/// resumed from it. Without it nothing is written. `callback` is called with each `Event`. Ctrl-C, or an exception of the callback, stops
/// the training after its current step and is then raised. `dataset`, one of those of the paper, has settings of its own. All else is a
/// setting of `fcdd train`, with underscores for hyphens; the class is `class_`.
///
/// >>> import fcdd
/// >>> trained = fcdd.train("good_parts", epochs=1, side=32, net="FCDD_CNN28", device="cpu")
/// >>> trained.detector(device="cpu").detect("part.png").score > 0
/// True
#[pyfunction]
#[pyo3(signature = (data = None, *, dataset = None, out = None, callback = None, device = None, **settings),
       text_signature = "(data=None, *, dataset=None, out=None, callback=None, device='auto', **settings)")]
pub(crate) fn train(
    py: Python<'_>,
    data: Option<PathBuf>,
    dataset: Option<&str>,
    out: Option<PathBuf>,
    callback: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Trained> {
    let trainer = Trainer::new(settings::of(dataset, data, settings)?);
    trained(py, out.into_iter().fold(trainer, Trainer::in_folder), callback, device)
}

/// Continues a run that was stopped, in its folder: on the same device it ends in the bits of one that was never stopped.
#[pyfunction]
#[pyo3(signature = (run, *, callback = None, device = None), text_signature = "(run, *, callback=None, device='auto')")]
pub(crate) fn resume(
    py: Python<'_>,
    run: PathBuf,
    callback: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Trained> {
    trained(py, Trainer::resume(run), callback, device)
}

fn trained(
    py: Python<'_>,
    trainer: Trainer<'_>,
    callback: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Trained> {
    let device = device::of(py, device)?;
    watched(py, callback, |tell, stop| trainer.on_event(&tell).stop_by(stop).train(&device)).map(Trained)
}

/// What a training ended in.
#[pyclass(module = "fcdd", frozen)]
pub(crate) struct Trained(fcdd::Trained);

#[pymethods]
impl Trained {
    /// The score above which images are called anomalous.
    #[getter]
    fn threshold(&self) -> f32 {
        self.0.model.threshold()
    }

    /// Of each epoch, how it went.
    #[getter]
    fn history<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json(py, &self.0.history)
    }

    /// Writes the model as one file, which `Detector.load` reads.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.model.save(path)).map_err(raised)
    }

    /// The model on a device, ready to score images.
    #[pyo3(signature = (*, device = None), text_signature = "($self, *, device='auto')")]
    fn detector(&self, py: Python<'_>, device: Option<&Bound<'_, PyAny>>) -> PyResult<Detector> {
        let device = device::of(py, device)?;
        py.detach(|| fcdd::Detector::new(&self.0.model, &device)).map(Detector::from).map_err(raised)
    }

    fn __repr__(&self) -> String {
        format!("Trained(epochs={}, threshold={})", self.0.history.len(), self.0.model.threshold())
    }
}

/// Tests a model file, or the model of a run's folder, on images whose labels are known: those that lie where it was trained, or others in a
/// folder `data` of the same layout. Returns the figures, as `evaluation.json` has them; those that the images have no labels or masks for are None.
///
/// `out` is a folder for scores, maps and a report; without it nothing is written.
///
/// >>> import fcdd
/// >>> figures = fcdd.evaluate("run", "parts", device="cpu")
/// >>> 0 <= figures["image_auroc"] <= 1
/// True
#[pyfunction]
#[pyo3(signature = (model, data = None, *, out = None, skip_broken = false, callback = None, device = None),
       text_signature = "(model, data=None, *, out=None, skip_broken=False, callback=None, device='auto')")]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    model: PathBuf,
    data: Option<PathBuf>,
    out: Option<PathBuf>,
    skip_broken: bool,
    callback: Option<&Bound<'py, PyAny>>,
    device: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let device = device::of(py, device)?;
    let evaluator = Evaluator::new(model);
    let evaluator = if skip_broken { evaluator.skipping_broken() } else { evaluator };
    let evaluator = data.into_iter().fold(evaluator, Evaluator::on_data);
    let evaluator = out.into_iter().fold(evaluator, Evaluator::in_folder);
    let evaluation = watched(py, callback, |tell, _| evaluator.on_event(&tell).evaluate(&device))?;
    json(py, &evaluation)
}

/// A value as Python reads it from JSON.
fn json<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|e| pyo3::exceptions::PyValueError::new_err(e.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}
