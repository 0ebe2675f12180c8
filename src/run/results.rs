//! What a run leaves once its model is there: figures, tables, images, plots, and a page that shows them all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::breakdown::Score;
use super::context::Context;
use super::directory::{self, CsvTable, RunDirectory, write_csv, write_json};
use super::evaluate::{Tested, evaluate};
use super::heatmap::Renderer;
use super::kind::Kind;
use super::model::{Model, model_file};
use super::output::{Output, check_outside};
use super::plots::{TestPlots, Training, plots};
use super::prepare::{Task, TestSet};
use super::report::{self, Story};
use super::sheets::{Gallery, training_overview};
use super::train::Trained;
use crate::error::Result;
use crate::files;
use crate::metrics::roc::RocCurve;
use crate::metrics::scores::Ranking;
use crate::report::npy::save_npy;
use crate::report::png::save_png;

/// Completes a run's folder after its training. Stopped runs and data without test images get what can be had.
pub(crate) fn finish(
    context: &Context,
    trained: &Trained,
    task: &Task,
    directory: &RunDirectory,
    chosen: &[usize],
) -> Result<Option<Tested>> {
    let model = &trained.model;
    let overview = training_overview(context.device, &task.set, model)?;
    save_png(directory.to_write(directory::TRAINING_OVERVIEW)?, &overview)?;
    // A run that was ended between its state and its history, or has lost the latter, gets it back here.
    if !trained.history.is_empty() {
        write_csv(&directory.to_write(directory::HISTORY)?, &trained.history)?;
    }
    let training = Training::new(directory.path(), trained.history.clone())?;
    if let Some(plot) = &training.plot {
        files::write_atomically(&directory.to_write(directory::LOSS_PLOT)?, plot.as_bytes())?;
    }
    let untested = trained.interrupted || task.test.split.images.count() == 0;
    let test = if untested {
        None
    } else {
        Some(test_part(context, model, &task.test, &|name| directory.to_write(name), chosen)?)
    };
    let tested = test.as_ref().map(|(tested, plots)| (tested, plots));
    let story = Story { model, training: Some(&training), set: &task.test, test: tested };
    let page = report::of_story(directory.path(), &story)?;
    files::write_atomically(&directory.to_write(directory::REPORT)?, page.as_bytes())?;
    Ok(test.map(|(tested, _)| tested))
}

/// Tests the model at a path on the test images that its settings name, or on those in `data`, and leaves the results in `out`; the report tells of the training too if the model lies in the
/// folder of its run.
pub(crate) fn evaluate_into(
    context: &Context,
    path: &Path,
    data: Option<&Path>,
    skip_broken: bool,
    out: &Path,
    chosen: &[usize],
) -> Result<(Model, Tested)> {
    let model = Model::load(path)?; // what is none has no folder of its own
    data.or(model.meta.settings.data.as_deref()).map_or(Ok(()), |data| check_outside(out, data))?;
    // A run's own model may be tested in its folder, and no other.
    let is_own = same_file(&model_file(path), &out.join(directory::MODEL));
    let beside: &[Kind] = if is_own { &[Kind::Train] } else { &[] };
    let output = Output::begin(out, Kind::Evaluate, beside, None, Vec::new())?;
    // Until the folder was this process's own, another one may have put another model there.
    let model = Model::load(path)?;
    let test = TestSet::load(&model, data, skip_broken, context)?;
    test.check(chosen)?;
    let training = Training::of(&model, path)?;
    let (tested, plots) = test_part(context, &model, &test, &|name| output.to_write(name), chosen)?;
    let story = Story { model: &model, training: training.as_ref(), set: &test, test: Some((&tested, &plots)) };
    let page = report::of_story(output.place(), &story)?;
    files::write_atomically(&output.to_write(directory::REPORT)?, page.as_bytes())?;
    output.finish()?;
    Ok((model, tested))
}

/// Whether two paths lead to the same file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A point of a ROC curve in a table.
#[derive(Serialize)]
struct CurvePoint {
    false_positive_rate: f64,
    true_positive_rate: f64,
    threshold: f64,
}

/// Scores the test images and writes all files of the test, to the paths that `file` gives. Those that an earlier test left and this one
/// does not have are removed: what lies in the folder is of one test.
fn test_part(
    context: &Context,
    model: &Model,
    test: &TestSet,
    file: &dyn Fn(&str) -> Result<PathBuf>,
    chosen: &[usize],
) -> Result<(Tested, TestPlots)> {
    let mut table = CsvTable::new(&file(directory::SCORES)?, std::iter::empty::<Score>())?;
    let tested = evaluate(context, model, test, &mut |row| table.push(std::slice::from_ref(row)))?;
    write_json(&file(directory::EVALUATION)?, &tested.evaluation)?;
    write_csv(&file(directory::SCORES)?, &tested.scores)?;
    let shape = [vec![tested.scores.len()], Renderer::new(model)?.map_shape()].concat();
    save_npy(&file(directory::MAPS)?, &shape, &tested.maps)?;

    let scores: Vec<f32> = tested.scores.iter().map(|row| row.score).collect();
    let labels: Vec<bool> = tested.scores.iter().map(|row| row.label == 1).collect();
    let image_curve = Ranking::of_samples(&scores, &labels)?.roc_curve(true);
    for (name, curve) in [(directory::ROC, &image_curve), (directory::PIXEL_ROC, &tested.pixel_curve)] {
        write_or_remove(&file(name)?, curve.as_ref(), |path, curve| write_csv(path, points(curve)))?;
    }
    let plots = plots(&tested, image_curve.as_ref(), &scores, &labels)?;
    let write_text = |path: &Path, text: &String| files::write_atomically(path, text.as_bytes());
    write_or_remove(&file(directory::ROC_PLOT)?, plots.roc.as_ref(), write_text)?;
    write_text(&file(directory::SCORES_PLOT)?, &plots.scores)?;

    let gallery = Gallery::of_test(model, test, &tested)?;
    save_png(file(directory::OVERVIEW)?, &gallery.overview("Test images with their scores and heatmaps")?)?;
    save_png(file(directory::PAPER)?, &gallery.spaced()?)?;
    let chosen = if chosen.is_empty() { None } else { Some(gallery.chosen(chosen)?) };
    write_or_remove(&file(directory::CHOSEN)?, chosen.as_ref(), |path, sheet| save_png(path, sheet))?;
    Ok((tested, plots))
}

fn write_or_remove<T>(path: &Path, content: Option<&T>, write: impl Fn(&Path, &T) -> Result<()>) -> Result<()> {
    match content {
        Some(content) => write(path, content),
        None => files::remove(path),
    }
}

fn points(curve: &RocCurve) -> impl Iterator<Item = CurvePoint> {
    let rates = curve.fpr.iter().zip(&curve.tpr).zip(&curve.thresholds);
    rates.map(|((&false_positive_rate, &true_positive_rate), &threshold)| CurvePoint {
        false_positive_rate,
        true_positive_rate,
        threshold,
    })
}
