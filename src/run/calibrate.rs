//! The subcommand `calibrate`: a model's threshold, set by new images.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::calibration::{self, Calibration, CalibrationImages, promised};
use super::calibration_scores::CalibrationScores;
use super::context::Context;
use super::directory::{self, RunDirectory};
use super::figures::Evaluation;
use super::kind::Kind;
use super::known_images::{KnownImages, without_copies};
use super::lock::FolderLock;
use super::model::{Model, model_file, model_folder};
use super::output::forget_test;
use super::plots::Training;
use super::prepare::TestSet;
use super::report::{self, Story};
use super::verdict::DecisionRule;
use crate::data::counted::Counted;
use crate::data::fingerprint::ImageId;
use crate::data::folder::{self, Broken, Read, left_alone, read_all};
use crate::data::image_source::Raw;
use crate::datasets::mvtec;
use crate::error::{Error, Result};
use crate::files::{self, Staged};
use crate::metrics::scores::Ranking;
use crate::metrics::{conformal, intervals};
use crate::printable::Printable;
use crate::report::heatmap::Scale;

/// By what a threshold is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumMessage, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum ThresholdRule {
    /// At most --fpr of good images exceed it, those to come included
    Promise,
    /// The best F1 on the images given
    F1,
    /// The largest difference of true and false positive rate on the images given
    Youden,
    /// The lowest that at most --fpr of the good images given exceed: nothing is promised of others
    Capped,
}

/// What a model is calibrated by.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// A folder of good images that the model has not learned from.
    pub good: PathBuf,
    /// A folder of defective ones.
    pub bad: Option<PathBuf>,
    /// The false positive rate; None for the least that can be promised, but no less than 1 %.
    pub rate: Option<f64>,
    pub rule: ThresholdRule,
    /// Which part of each image counts from now on; None for what the model has.
    pub counted: Option<Counted>,
    /// Leave out images that cannot be read.
    pub skip_broken: bool,
}

/// What a model was calibrated to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calibrated {
    pub threshold: f32,
    /// The one before.
    pub earlier_threshold: f32,
    pub good_images: usize,
    pub bad_images: usize,
    /// Shares of the images given that exceed it.
    pub false_positive_rate: f64,
    /// Of the defective ones, with the interval within which it would lie on others like these.
    pub true_positive_rate: Option<f64>,
    pub true_positive_rate_interval: Option<[f64; 2]>,
    pub calibration: Calibration,
}

/// Sets the threshold of the model at a path, by images in folders, and what it promises. Figures of the earlier threshold in the folder of
/// the model are removed. Images that the model has learned from, and those that it cannot judge, are left out.
///
/// # Errors
/// A rate that the images cannot promise; images that cannot be read; another process in the run's folder.
pub(crate) fn calibrate(context: &Context, path: &Path, request: &Request) -> Result<Calibrated> {
    let Request { good, bad, rate, rule, .. } = request;
    let by_both = matches!(rule, ThresholdRule::F1 | ThresholdRule::Youden);
    if rate.is_some() && by_both {
        return Err(Error::setting(
            "a threshold by f1 or youden follows no `fpr`",
            "leave it out, or choose `by` promise or capped",
        ));
    }
    if by_both && bad.is_none() {
        return Err(needs_defects());
    }
    Model::load(path)?; // what is no model has no folder of its own
    let file = model_file(path);
    if file.is_symlink() {
        // Figures of the model may lie beside the link, and beside what it leads to.
        let to = file.canonicalize().map_err(Error::io("find", &file))?;
        return Err(Error::file(
            &file,
            format!("is a link to {}", to.printable()),
            "name that file, or make this a copy of it",
        ));
    }
    if file.metadata().map_err(Error::io("read", &file))?.permissions().readonly() {
        return Err(Error::file(&file, "is read-only", "allow to write it, or calibrate a copy of it"));
    }
    if names_of(&file)? > 1 {
        context.note(format!(
            "{} is a hard link: other names of the file keep the model with its earlier threshold",
            file.printable()
        ));
    }
    let directory = RunDirectory::of_model(FolderLock::new(&model_folder(&file))?)?;
    let mut model = Model::load(&file)?;
    let is_tested = is_tested(&directory, &file, &model);
    let earlier_threshold = model.meta.threshold;
    request.counted.clone().map_or(Ok(()), |counted| model.meta.count(counted))?;
    let (good_images, bad_images) = (images_in(good)?, bad.as_deref().map(images_in).transpose()?);
    let listed = [Some(&good_images), bad_images.as_ref()].into_iter().flatten();
    listed.flat_map(|images| left_alone(images)).for_each(|note| context.note(note));
    let (good, known) = scored(context, &model, good, &good_images, request.skip_broken)?;
    let bad = bad.as_ref().zip(bad_images);
    let bad = bad.map(|(bad, images)| scored(context, &model, bad, &images, request.skip_broken)).transpose()?;
    if let (Some((_, others)), Some(folder)) = (&bad, &request.bad) {
        let both = others.intersection(&known).count();
        if both > 0 {
            let problem = format!("{both} of its images are among the good ones too");
            return Err(Error::file(folder, problem, "give each image as one of both"));
        }
    }
    let mut set_by = known;
    let bad = bad.map(|(bad, others)| {
        // Where they chose the threshold too.
        set_by.extend(others.into_iter().filter(|_| by_both));
        bad
    });
    let anomalous = bad.as_ref().map_or(&[][..], CalibrationScores::scores);
    let scores = good.scores().to_vec();
    let images = if model.meta.learned.is_empty() { CalibrationImages::Unchecked } else { CalibrationImages::Given };
    if images == CalibrationImages::Unchecked {
        context.note(
            "the model does not tell what it has learned from: what is promised holds if it was not these images",
        );
    }
    let at = |threshold| (threshold, good.clone().at(images, threshold));
    let (threshold, calibration) = match rule {
        ThresholdRule::Promise => {
            let rate = promised(*rate, good.count(), "`good`")?;
            good.clone().for_rate(images, rate)?
        }
        ThresholdRule::Capped => at(capped(&scores, rate.unwrap_or(calibration::RATE))),
        ThresholdRule::F1 => at(between(&scores, anomalous, |ranking| ranking.best_f1().map(|best| best.threshold))?),
        ThresholdRule::Youden => at(between(&scores, anomalous, Ranking::best_youden)?),
    };
    if !model.meta.has_threshold() {
        // What exceeds the pixel threshold is in the warmer half of the colours.
        let range = (2.0 * calibration.pixel_threshold).max(f32::MIN_POSITIVE);
        model.meta.scale = Scale { minimum: 0.0, range };
    }
    (model.meta.threshold, model.meta.calibration) = (threshold, Some(calibration.clone()));
    model.meta.calibrated_on = KnownImages::new(set_by.into_iter().collect());
    // The page of a run tells of its training too. All that is written is there before anything changes.
    let page = match Training::of(&model, &file)?.filter(|_| is_own(&file)) {
        Some(training) => {
            let set = TestSet::none(&model);
            let story = Story { model: &model, training: Some(&training), set: &set, test: None };
            let page = report::of_story(directory.path(), &story)?;
            Some(files::stage(&directory.to_write(directory::REPORT)?, page.as_bytes())?)
        }
        None => None,
    };
    // The model first: where its file cannot be replaced, nothing is lost. Killed after that, figures name the threshold that they are of, and
    // the next call removes them.
    model.stage(&file)?.keep()?;
    let removed = if is_tested { forget_test(&directory) } else { Ok(()) };
    removed.and_then(|()| page.map_or(Ok(()), Staged::keep)).inspect_err(|_| {
        context.note("the threshold is set, but figures of the earlier one are left: the same call removes them");
    })?;
    let above = |scores: &[f32]| scores.iter().filter(|&&score| score > threshold).count();
    let found = (!anomalous.is_empty()).then(|| above(anomalous));
    Ok(Calibrated {
        threshold,
        earlier_threshold,
        good_images: scores.len(),
        bad_images: anomalous.len(),
        false_positive_rate: above(&scores) as f64 / scores.len() as f64,
        true_positive_rate: found.map(|found| found as f64 / anomalous.len() as f64),
        true_positive_rate_interval: found.map(|found| intervals::share(found, anomalous.len())),
        calibration,
    })
}

/// How many names a file has.
fn names_of(file: &Path) -> Result<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        file.metadata().map(|file| file.nlink()).map_err(Error::io("read", file))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(1)
    }
}

/// Whether a model file has the name of a run's own: copies may lie beside it, of which its figures are not.
fn is_own(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == directory::MODEL)
}

/// Whether figures in the folder of a model are of it, at whatever threshold: in a run's folder those of its own.
fn is_tested(directory: &RunDirectory, file: &Path, model: &Model) -> bool {
    if Kind::Train.told_by(directory.path()).is_some() {
        return is_own(file);
    }
    let evaluation = directory.read_json::<Evaluation>(directory::EVALUATION);
    evaluation.is_ok_and(|evaluation| evaluation.is_by_at_any_threshold(model))
}

/// The images in a folder and in those within, which are good ones, or defective ones, all of them.
fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Err(Error::file(folder, "is a file", "name the folder that the images lie in"));
    }
    let paths = folder::images(folder, true)?;
    if paths.is_empty() {
        return Err(Error::file(folder, "holds no images", "name a folder with some"));
    }
    if let Some((good, other)) = mvtec::good_and_other(folder, &paths) {
        let (good, other) = (good.printable(), other.printable());
        let problem = format!("holds good images in {good} and others beside them, in {other}");
        return Err(Error::file(folder, problem, format!("name a folder of one kind, as {good} for good images")));
    }
    Ok(paths)
}

/// The scores of the images in a folder, of those from which something can be concluded.
fn scored(
    context: &Context,
    model: &Model,
    folder: &Path,
    paths: &[PathBuf],
    skip_broken: bool,
) -> Result<(CalibrationScores, HashSet<ImageId>)> {
    let settings = &model.meta.settings;
    let broken = if settings.skip_broken || skip_broken { Broken::LeftOut } else { Broken::Refused };
    let raw = Raw { form: model.meta.preprocessing.raw_form(), hold: settings.hold };
    let read = read_all(paths, raw, broken)?;
    read.skipped.iter().for_each(|note| context.note(note));
    let none = |what: &str| Error::file(folder, format!("holds no images that {what}"), "name a folder with others");
    if read.images.count() == 0 {
        return Err(none("can be read"));
    }
    let ids = read.images.ids()?;
    let usable = usable(context, model, &read, &ids, &|i| paths[read.kept[i]].printable())?;
    if usable.is_empty() {
        return Err(none("the model has not learned from and can judge"));
    }
    let images = read.images.select(&usable);
    let progress = context.task("scoring", images.count() as u64);
    let scored = CalibrationScores::new(context.device, model, &images)?;
    progress.finish(&format!("scored {} images", scored.count()));
    Ok((scored, usable.into_iter().map(|i| ids[i]).collect()))
}

/// Which of some images say something of new ones: no copies of others or of what was learned from, and none that cannot be judged. Notes tell
/// of those that are left out.
fn usable(
    context: &Context,
    model: &Model,
    read: &Read,
    ids: &[ImageId],
    name: &dyn Fn(usize) -> String,
) -> Result<Vec<usize>> {
    let tell = |left_out: usize, of: usize, why: &str| {
        if left_out > 0 {
            context.note(format!("{left_out} of {of} images are left out{why}"));
        }
    };
    let (new, seen) = model.meta.learned.tell_apart(ids);
    let first = seen.first().map_or(String::new(), |&i| name(i));
    let why = format!(", such as {first}: the model has learned from them, or from images of the same parts");
    tell(seen.len(), ids.len(), &why);
    let all = new.len();
    let new = without_copies(new, ids);
    tell(all - new.len(), all, ": they are copies of others");
    let rule = DecisionRule::of(&model.meta);
    let reasons = |&i: &usize| Ok(rule.reasons(&read.images.seen(i)?, &read.originals[i], &model.meta));
    let reasons: Vec<Vec<String>> = new.par_iter().map(reasons).collect::<Result<_>>()?;
    let (unusable, usable): (Vec<_>, Vec<_>) = new.iter().zip(&reasons).partition(|(_, reasons)| !reasons.is_empty());
    let first = unusable.first().map_or(String::new(), |&(&i, reasons)| format!("{}: {}", name(i), reasons[0]));
    tell(unusable.len(), new.len(), &format!(" since they are unusable, such as {first}"));
    Ok(usable.into_iter().map(|(&i, _)| i).collect())
}

/// The lowest of rising scores that at most a share of them exceeds.
fn capped(good: &[f32], rate: f64) -> f32 {
    good[(good.len() - 1).saturating_sub(conformal::most_above(good.len(), rate))]
}

fn needs_defects() -> Error {
    Error::setting("this threshold needs defective images too", "name a folder of them with `bad` DIR")
}

/// A threshold midway between the lowest score that counts as anomalous, which a ranking gives, and the highest below it.
fn between(good: &[f32], anomalous: &[f32], lowest: impl Fn(&Ranking) -> Option<f32>) -> Result<f32> {
    let labels: Vec<bool> = (0..good.len() + anomalous.len()).map(|i| i >= good.len()).collect();
    let scores = [good, anomalous].concat();
    let Some(lowest) = lowest(&Ranking::of_samples(&scores, &labels)?) else { return Err(needs_defects()) };
    let below = scores.iter().copied().filter(|&score| score < lowest).fold(f32::NEG_INFINITY, f32::max);
    // In f64 the sum of two does not overflow; where no number lies between them it is the lower one.
    let middle = ((f64::from(below) + f64::from(lowest)) / 2.0) as f32;
    Ok(if below.is_finite() { middle.min(lowest.next_down()) } else { lowest.next_down() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_lie_between_scores() {
        let good = [0.1, 0.2, 0.3, 0.4, 0.9];
        let anomalous = [0.5, 0.7, 0.8];
        let f1 =
            |good: &[f32], anomalous: &[f32]| between(good, anomalous, |ranking| Some(ranking.best_f1()?.threshold));
        assert_eq!(f1(&good, &anomalous).unwrap(), ((0.4f32 as f64 + 0.5f32 as f64) / 2.0) as f32);
        assert_eq!(between(&good, &anomalous, Ranking::best_youden).unwrap(), f1(&good, &anomalous).unwrap());
        assert_eq!([0.2, 0.19, 0.01].map(|rate| capped(&good, rate)), [0.4, 0.9, 0.9]);
        // All are anomalous where good and anomalous ones score the same.
        assert!(f1(&[1.0], &[1.0]).unwrap() < 1.0);
        assert_eq!(f1(&[1.0f32.next_down()], &[1.0]).unwrap(), 1.0f32.next_down());
        assert!(f1(&good, &[]).unwrap_err().to_string().contains("defective images"));
    }
}
