//! A run's curves as SVG: losses over the epochs, ROC curves and the histogram of scores.

use std::path::{Path, PathBuf};

use super::directory::{self, RunDirectory};
use super::evaluate::Tested;
use super::model::{Model, model_folder};
use super::settings::Settings;
use super::state::Epoch;
use crate::error::{Error, Result};
use crate::metrics::roc::RocCurve;
use crate::report::plot::{Curve, Hue, histogram, losses, roc};
use crate::report::significant;

/// The training behind a model, where its run's folder is at hand.
pub(crate) struct Training {
    /// Where the images of the training lie.
    pub folder: PathBuf,
    pub history: Vec<Epoch>,
    /// Losses over the epochs as SVG; None before the first epoch ended.
    pub plot: Option<String>,
}

/// Plots of a test, as SVG; None where a label is missing.
pub(crate) struct TestPlots {
    pub roc: Option<String>,
    pub scores: String,
}

impl Training {
    /// Of a history.
    pub(crate) fn new(folder: &Path, history: Vec<Epoch>) -> Result<Training> {
        let curve = |hue: Hue, name: &str, loss: &dyn Fn(&Epoch) -> Option<f64>| Curve {
            hue,
            name: name.to_string(),
            points: history.iter().filter_map(|e| Some((e.epoch as i32, loss(e)?))).collect(),
        };
        let curves = [
            curve(Hue::Ink, "all samples", &|e| Some(e.loss)),
            curve(Hue::Blue, "normal", &|e| e.loss_normal),
            curve(Hue::Red, "anomalous", &|e| e.loss_anomalous),
        ];
        let curves: Vec<_> = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
        let plot = if curves.is_empty() { None } else { Some(losses(&curves)?) };
        Ok(Training { folder: folder.to_path_buf(), history, plot })
    }

    /// The training of the model at `path`, if the folder there holds the run that made it.
    pub(crate) fn of(model: &Model, path: &Path) -> Result<Option<Training>> {
        let folder = model_folder(path);
        let Ok(run) = RunDirectory::open(&folder) else { return Ok(None) };
        let (settings, history) = (run.read_json::<Settings>(directory::CONFIG), run.file(directory::HISTORY));
        if !settings.is_ok_and(|settings| settings == model.meta.settings) || !history.exists() {
            return Ok(None);
        }
        let broken = |e: csv::Error| {
            Error::file(&history, format!("cannot be read ({e})"), "restore it, or delete it to report without it")
        };
        let mut rows = csv::Reader::from_path(&history).map_err(broken)?;
        let epochs: Result<Vec<Epoch>, _> = rows.deserialize().collect();
        Training::new(run.path(), epochs.map_err(broken)?).map(Some)
    }
}

/// The plots of a test.
pub(crate) fn plots(
    tested: &Tested,
    image_curve: Option<&RocCurve>,
    scores: &[f32],
    labels: &[bool],
) -> Result<TestPlots> {
    let evaluation = &tested.evaluation;
    let curves: Vec<Curve<f64>> = [
        (Hue::Ink, "images", image_curve, evaluation.image_auroc),
        (Hue::Blue, "pixels", tested.pixel_curve.as_ref(), evaluation.pixel_auroc),
    ]
    .into_iter()
    .filter_map(|(hue, name, curve, area)| {
        let points = curve?.fpr.iter().copied().zip(curve?.tpr.iter().copied()).collect();
        Some(Curve { hue, name: format!("{name}, area {}", significant(area?)), points })
    })
    .collect();
    let of = |label: bool| -> Vec<f32> {
        scores.iter().zip(labels).filter(|(_, l)| **l == label).map(|(s, _)| *s).collect()
    };
    Ok(TestPlots {
        roc: if curves.is_empty() { None } else { Some(roc(&curves)?) },
        scores: histogram(&of(false), &of(true), evaluation.threshold)?,
    })
}
