//! The subcommand `train`: epochs of steps, states between them, and a calibrated model at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use super::calibration::{self, CalibrationImages};
use super::calibration_scores::CalibrationScores;
use super::context::Context;
use super::directory::{self, RunDirectory};
use super::heatmap::Renderer;
use super::kind::Kind;
use super::lock::FolderLock;
use super::model::{Model, ModelMeta};
use super::output::{check_kind, check_outside, forget_test, holds_results};
use super::pace::Pace;
use super::prepare::{Task, TestSet, prepare};
use super::score::{Scorer, Shown};
use super::settings::{Moved, Settings};
use super::sheets;
use super::state::{Epoch, State};
use super::training_loop::{TrainingLoop, initial};
use crate::data::batches::{Batch, TrainingData, TrainingSet};
use crate::data::fingerprint::Fingerprint;
use crate::data::image_source::ImageSource;
use crate::data::images::Images;
use crate::datasets::labelled::LabelledSource;
use crate::datasets::outliers::OutlierSource;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::report::heatmap::Scale;
use crate::report::png::{ColorType, PngFile, save_png};
use crate::steps::fcdd_loss::OUTSIDE;

/// States are so far apart that saving them takes one part in this many of the time. On a GPU an epoch of a small net may be over sooner
/// than its state is on the disk.
const SAVING_SHARE: u32 = 50;

/// What a training run ended in.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model after the last step that was made or, with `patience`, after the best epoch.
    pub model: Model,
    /// Of each whole epoch, how it went; of a resumed run also of those before.
    pub history: Vec<Epoch>,
    /// Whether a stop was requested ([`Stop`](crate::Stop); in the program, Ctrl-C): the model is then, as a rule, from before the last epoch.
    pub interrupted: bool,
}

/// Trains in a new folder; where `minutes` are given, for as many epochs as fit into them. `chosen` are test images that the caller means to
/// show afterwards: if one does not exist, no run is begun.
pub(crate) fn start(
    context: &Context,
    settings: &Settings,
    out: &Path,
    minutes: Option<f64>,
    chosen: &[usize],
) -> Result<(Trained, Task, RunDirectory)> {
    // Where the folder is there already, that another run is at it is told before anything is loaded.
    let lock = if out.is_dir() { Some(FolderLock::new(out)?) } else { None };
    start_in(context, settings, out, lock, minutes, &|test| test.check(chosen))
}

/// The same in a folder that may be this process's own already; what is not fit `to_test` on begins no run.
pub(crate) fn start_in(
    context: &Context,
    settings: &Settings,
    out: &Path,
    lock: Option<FolderLock>,
    minutes: Option<f64>,
    to_test: &dyn Fn(&TestSet) -> Result<()>,
) -> Result<(Trained, Task, RunDirectory)> {
    let settings = settings.clone().located()?;
    settings.check()?;
    check_place(&settings, out)?;
    check_kind(out, Kind::Train)?;
    initial(&settings)?; // weights that cannot be had begin no run
    let task = prepare(&settings, context)?;
    to_test(&task.test)?;
    let pace = Pace::measure(context, &task.set, &settings)?;
    let epochs = minutes.map_or(settings.epochs, |minutes| pace.epochs_in(minutes));
    let settings = Settings { epochs, ..settings };
    pace.tell(context, &task.set, &settings);
    let lock = lock.map_or_else(|| FolderLock::new(out), Ok)?;
    check_kind(out, Kind::Train)?; // what came there until it was this process's own
    let directory = RunDirectory::create(lock)?;
    directory.write_json(directory::CONFIG, &settings)?;
    let trained = train(context, &task, &settings, None, Some(&directory))?;
    Ok((trained, task, directory))
}

/// Fails where results would lie among the images that are learned from.
pub(crate) fn check_place(settings: &Settings, out: &Path) -> Result<()> {
    let outliers = settings.outliers.as_ref().map(OutlierSource::path);
    let labelled = settings.labelled.as_ref().and_then(LabelledSource::folder);
    settings
        .data
        .as_deref()
        .into_iter()
        .chain(outliers)
        .chain(labelled)
        .try_for_each(|images| check_outside(out, images))
}

/// Continues a run from its last saved epoch, with its own settings but for data that has `moved`; the result is bit for bit that
/// of an uninterrupted run on the same device.
pub(crate) fn resume(
    context: &Context,
    run: &Path,
    moved: Moved,
    chosen: &[usize],
) -> Result<(Trained, Task, RunDirectory)> {
    RunDirectory::open(run)?; // what is no run is not written to
    resume_in(context, FolderLock::new(run)?, moved, &|test| test.check(chosen))
}

/// The same in a folder that is this process's own already.
pub(crate) fn resume_in(
    context: &Context,
    lock: FolderLock,
    moved: Moved,
    to_test: &dyn Fn(&TestSet) -> Result<()>,
) -> Result<(Trained, Task, RunDirectory)> {
    holds_results(lock.folder(), Kind::Train, &[Kind::Evaluate])?;
    let directory = RunDirectory::go_on(lock)?;
    let settings = directory.settings()?;
    let settings = settings.moved(moved)?.located()?;
    let path = directory.file(directory::STATE);
    let state = if path.exists() { Some(State::load(&path)?) } else { begins(&directory, context).map(|()| None)? };
    state.as_ref().map_or(Ok(()), |state| state.check(&settings, &path))?;
    let task = prepare(&settings, context)?;
    to_test(&task.test)?;
    if let Some(state) = &state {
        same_images(state.fingerprint, task.set.fingerprint_like(state.fingerprint)?)?;
    }
    directory.write_json(directory::CONFIG, &settings)?;
    let trained = train(context, &task, &settings, state, Some(&directory))?;
    Ok((trained, task, directory))
}

/// A run without a state begins at its first epoch: of short epochs the first few are trained before it is saved.
///
/// # Errors
/// A model was trained, which it would replace.
fn begins(directory: &RunDirectory, context: &Context) -> Result<()> {
    if directory.is_trained() {
        let problem = "is missing, without which the run would begin anew and replace its model";
        let remedy = "restore it, or train again with another `out`; the model can be evaluated and used";
        return Err(Error::file(directory.file(directory::STATE), problem, remedy));
    }
    context.note("no state was saved yet: the run begins at its first epoch");
    Ok(())
}

/// Fails unless a run finds the images again that it began with.
pub(crate) fn same_images(then: Fingerprint, now: Fingerprint) -> Result<()> {
    if then == now {
        return Ok(());
    }
    if then.counted != now.counted {
        return Err(Error::setting(
            "the mask of what counts is not that which the run began with",
            "name where the same masks lie now with `roi` and `ignore`, or train again with another `out`",
        ));
    }
    let how = match then.normal == now.normal {
        true => "the same number of good images, but other contents".to_string(),
        false => format!("{} good images then, {} now", then.normal, now.normal),
    };
    Err(Error::setting(
        format!("the images to learn from are not those that the run began with ({how})"),
        "restore them, name their folder with `data` or `outliers`, or train again with another `out`",
    ))
}

/// Trains on a task. With a folder, a preview of the set is left there before, states after epochs and the model at the end. When a stop is
/// requested, the state is saved in mid-epoch before a model of what was learned is made.
pub(crate) fn train(
    context: &Context,
    task: &Task,
    settings: &Settings,
    state: Option<State>,
    directory: Option<&RunDirectory>,
) -> Result<Trained> {
    let (set, stop) = (&task.set, context.stop);
    let mut training = TrainingLoop::new(context, set, settings, state)?;
    if let Some(directory) = directory {
        let preview = sheets::preview(set, settings)?;
        save_png(directory.to_write(directory::PREVIEW)?, &preview)?;
        if let Some(counted) = &set.data().counted {
            save_mask(&directory.to_write(directory::COUNTED)?, &counted.image())?;
        }
    }
    let remaining = u64::from(settings.epochs.saturating_sub(training.epochs_done())) * set.len() as u64;
    let mut progress = context.task("training", remaining.saturating_sub(training.samples_begun() as u64));
    let started = Instant::now();
    let mut due = started;
    let listening = stop.listen();
    while !training.is_done() && !stop.is_requested() {
        training.epoch(&mut progress, context)?;
        tell_of_replaced(set, context);
        if let Some(directory) = directory
            && (Instant::now() >= due || training.is_done() || stop.is_requested())
        {
            due = Instant::now() + SAVING_SHARE * save(&training, directory)?;
        }
    }
    drop(listening); // what comes now is lost by a kill, and made again by the resumed run
    let (epochs, begun) = (training.epochs_done(), training.samples_begun());
    let (is_done, best) = (training.is_done(), training.take_best()?);
    if settings.reestimate && is_done {
        training.reestimate()?;
    }
    let TrainingData { preprocessing, labelled, .. } = set.data();
    let of_epoch = best.unwrap_or(epochs);
    let mut model = Model { meta: Model::meta(settings, preprocessing, of_epoch), weights: training.weights()? };
    model.meta.best_of = best.filter(|_| is_done).map(|_| epochs);
    model.meta.input_check = task.input_check.clone();
    model.meta.learned = task.learned.clone();
    model.meta.calibrated_on = task.calibrated_on.clone();
    model.meta.untested = labelled.as_ref().map_or_else(Vec::new, |labelled| labelled.untested.clone());
    // What `fcdd calibrate` was told of the images holds for the model that comes of more epochs too.
    let earlier = directory.and_then(|directory| ModelMeta::read(&directory.file(directory::MODEL)).ok());
    model.meta.counted = earlier.and_then(|earlier| earlier.counted).or_else(|| set.data().counted.clone());
    let history = std::mem::take(&mut training.history);
    drop(training); // its memory may be what scoring needs
    calibrate(context.device, &mut model, set)?;
    if let Some(directory) = directory {
        let path = directory.to_write(directory::MODEL)?;
        keep_calibration(&mut model, &path, context);
        let staged = model.stage(&path)?;
        forget_test(directory)?;
        staged.keep()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let ended = if is_done { "finished" } else { "stopped" };
    let begun = if begun > 0 { format!(" and {begun} of {} samples of the next", set.len()) } else { String::new() };
    let kept = best.map_or(String::new(), |best| format!(", with the weights of epoch {best}, the best"));
    progress.finish(&format!("{ended} after {epochs} of {} epochs{begun}, {seconds:.1} s{kept}", settings.epochs));
    Ok(Trained { model, history, interrupted: stop.is_requested() })
}

/// Where nothing has been learned since a model was calibrated on other images, it keeps the threshold that they set.
fn keep_calibration(model: &mut Model, path: &Path, context: &Context) {
    let Ok(Model { meta, weights }) = Model::load(path) else { return };
    if weights == model.weights
        && let Some(given) = meta.calibration.filter(|calibration| calibration.images.came_later())
    {
        (model.meta.threshold, model.meta.calibration) = (meta.threshold, Some(given));
        model.meta.calibrated_on = meta.calibrated_on;
        context.note(format!("the threshold stays at {:.5}, as `fcdd calibrate` has set it", meta.threshold));
    }
}

/// Writes a mask as an image.
fn save_mask(path: &Path, mask: &Images) -> Result<()> {
    let mut file = PngFile::begin(path, mask.height, mask.width, ColorType::Grayscale)?;
    file.push(&mask.pixels)?;
    file.finish()
}

/// Tells which outliers others were taken for.
fn tell_of_replaced(set: &TrainingSet, context: &Context) {
    for file in set.data().outliers.iter().flat_map(ImageSource::take_replaced) {
        context.note(format!("an outlier cannot be read, and another was used instead: {file}"));
    }
}

/// Saves what the run can go on from; returns how long that took.
fn save(training: &TrainingLoop, directory: &RunDirectory) -> Result<Duration> {
    let started = Instant::now();
    let state = training.state()?;
    state.save(&directory.to_write(directory::STATE)?)?;
    directory::write_csv(&directory.to_write(directory::HISTORY)?, &training.history)?;
    Ok(started.elapsed())
}

/// Sets the model's threshold, by good images that were held out or else by those that it has learned from, and its colour scale: from the
/// minimum to the run's quantile over heatmaps of training samples, anomalies included.
fn calibrate(device: &Device, model: &mut Model, set: &TrainingSet) -> Result<()> {
    let (threshold, calibration) = match set.calibration() {
        Some(images) => {
            let rate = calibration::promised(model.meta.settings.fpr, images.count(), "what was held out")?;
            CalibrationScores::new(device, model, images)?.for_rate(CalibrationImages::HeldOut, rate)?
        }
        None => CalibrationScores::new(device, model, &CalibrationScores::some_of(&set.data().normal.images()))?
            .of_learned(),
    };
    (model.meta.threshold, model.meta.calibration) = (threshold, Some(calibration));

    let (mut scorer, renderer) = (Scorer::new(device, model)?, Renderer::new(model)?);
    let epoch = model.meta.settings.epochs;
    let order = set.order(epoch);
    let n = scorer.batch_size().min(order.len());
    let Batch { inputs, maps, .. } = set.batch(epoch, &order[..n], set.data().is_bounded())?;
    let mut reference = Vec::new();
    let fill = |input: &mut [f32]| {
        input.copy_from_slice(&inputs);
        Ok(())
    };
    scorer.batch(n, fill, Shown::Heatmaps, |i, scored| {
        let heatmap = renderer.of_heatmap(scored.heatmap);
        match maps.get(i * heatmap.len()..(i + 1) * heatmap.len()) {
            // What learning leaves out says nothing of the others.
            Some(truth) => {
                let shown = heatmap.into_iter().zip(truth).filter(|&(_, &truth)| truth != OUTSIDE);
                reference.extend(shown.map(|(value, _)| value));
            }
            None => reference.extend(heatmap),
        }
        Ok(())
    })?;
    let scale = Scale::of(&reference, model.meta.settings.quantile);
    // Of a map that is the same everywhere the smallest range shows as none would: what exceeds it as 1.
    model.meta.scale = Scale { range: scale.range.max(f32::MIN_POSITIVE), ..scale };
    Ok(())
}
