//! From settings to a training set.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::calibration;
use super::context::Context;
use super::held_out::{self, Divided, Division};
use super::known_images::{KnownImages, without_copies};
use super::model::Model;
use super::settings::Settings;
use crate::data::appearance::{Appearance, FEWEST, InputCheck};
use crate::data::augmentation;
use crate::data::batches::{EpochPlan, LabelledAnomalies, TrainingData, TrainingSet};
use crate::data::counted::Counted;
use crate::data::fingerprint::ImageId;
use crate::data::folder;
use crate::data::image_source::{Hold, ImageSource, Raw, spread};
use crate::data::labelled;
use crate::data::levels::Levels;
use crate::data::pipeline::Preprocessing;
use crate::data::resize_mode::{RawForm, ResizeMode};
use crate::data::split::Split;
use crate::data::supervise::Supervise;
use crate::datasets::dataset::{Dataset, DatasetSource};
use crate::datasets::labelled::LabelledSource;
use crate::datasets::outliers::Wanted;
use crate::datasets::{self, mvtec};
use crate::error::{Error, Result};
use crate::printable::escaped;

/// Good images that are looked at to tell what images look like, at most.
const LOOKED_AT: usize = 400;

/// A loaded dataset as one task: one class is normal, every other one anomalous.
pub(crate) struct Task {
    pub set: TrainingSet,
    /// What good images look like, where that is known.
    pub input_check: Option<InputCheck>,
    /// Nothing of sets whose images lie in one place.
    pub learned: KnownImages,
    /// What was held out to set the threshold by, of the same sets.
    pub calibrated_on: KnownImages,
    /// Without images for a folder of good images alone.
    pub test: TestSet,
}

/// Labelled images to test a model on.
pub(crate) struct TestSet {
    pub split: Split,
    /// What tells its images from others; none where that is not looked at.
    pub ids: Vec<ImageId>,
    /// The class or the folder that the run is about.
    pub name: String,
    /// The label of normal images.
    pub class: u16,
    /// Names of all labels.
    pub class_names: Vec<String>,
    /// Folder or file of the dataset; None where it was found by itself.
    pub data: Option<PathBuf>,
    /// How its images became square.
    pub resize: ResizeMode,
}

impl TestSet {
    /// The test split that a model's settings name, or the one in `data`, without images that the model has learned from.
    pub(crate) fn load(model: &Model, data: Option<&Path>, skip_broken: bool, context: &Context) -> Result<TestSet> {
        let (settings, preprocessing) = (&model.meta.settings, &model.meta.preprocessing);
        let data = data.or(settings.data.as_deref());
        let dataset = Dataset::load_test(&DatasetSource {
            class: &settings.class,
            skip_broken: settings.skip_broken || skip_broken,
            raw: Raw { form: preprocessing.raw_form(), hold: settings.hold },
            ..DatasetSource::new(settings.dataset, data, preprocessing.raw_side, preprocessing.channels)
        })?;
        dataset.test.notes.iter().for_each(|note| context.note(note));
        // As the settings name it, so that the two compare.
        let data = data.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
        let (tested, seen) = labelled::tell_apart(&dataset.test, &model.meta.untested, None);
        let all = dataset.test.images.count();
        let split = if seen.is_empty() { dataset.test } else { dataset.test.select(&tested) };
        let is_looked_at = settings.dataset.labels_good || !model.meta.calibrated_on.is_empty();
        let (split, ids) = match settings.as_published {
            false if is_looked_at => without_learned(split, &model.meta.learned, context)?,
            _ => (split, Vec::new()),
        };
        if split.images.count() == 0 {
            let problem = format!("all {all} test images were learned from, or show parts that were");
            return Err(Error::setting(problem, "name others with `data`"));
        }
        let Dataset { class: name, normal: class, class_names, .. } = dataset;
        Ok(TestSet { split, ids, name, class, class_names, data, resize: preprocessing.resize })
    }

    /// No test images, of the folder that a model has learned from.
    pub(crate) fn none(model: &Model) -> TestSet {
        let (settings, preprocessing) = (&model.meta.settings, &model.meta.preprocessing);
        TestSet {
            split: Split::empty(preprocessing.raw_side, preprocessing.channels),
            ids: Vec::new(),
            name: settings.class.clone(),
            class: 0,
            class_names: Vec::new(),
            data: settings.data.clone(),
            resize: preprocessing.resize,
        }
    }

    /// Why the test images will tell nothing, if they do not, where so many were left out; a folder of good images alone needs none.
    fn unmeasurable(&self, settings: &Settings, left_out: usize) -> Option<String> {
        let [normal, anomalous] = self.labels();
        let hint = if settings.oe_limit.is_none() && settings.learns_labelled() {
            "; `oe_limit` K learns from K of each kind and leaves the others to test on"
        } else {
            ""
        };
        match (normal, anomalous) {
            (0, 0) if left_out > 0 => {
                Some(format!("none of {left_out} test images is left: the model will not be measured"))
            }
            (0, 0) if settings.dataset.good_alone => None,
            (0, 0) => Some("there are no test images: the model will not be measured".to_string()),
            (0, n) => Some(format!("all {n} test images are anomalous: the model cannot be measured")),
            (n, 0) => Some(format!("all {n} test images are normal: the model cannot be measured{hint}")),
            _ => None,
        }
    }

    /// Numbers of normal and of anomalous images.
    fn labels(&self) -> [usize; 2] {
        [true, false].map(|normal| self.split.indices(|c| (c == self.class) == normal).len())
    }

    /// Fails unless models can be compared by these images.
    pub(crate) fn measures(&self) -> Result<()> {
        let [normal, anomalous] = self.labels();
        if normal > 0 && anomalous > 0 {
            return Ok(());
        }
        let problem =
            format!("runs are compared by their test images: there are {normal} normal and {anomalous} anomalous ones");
        Err(Error::setting(problem, "add some (README.md shows where they lie), or train a single run"))
    }

    /// Fails unless all of these are indices of test images.
    pub(crate) fn check(&self, chosen: &[usize]) -> Result<()> {
        let n = self.split.images.count();
        let Some(absent) = chosen.iter().find(|&&i| i >= n) else { return Ok(()) };
        let remedy = match n {
            0 => "the data has no test images: leave `chosen` out".to_string(),
            _ => format!("choose from 0…{}", n - 1),
        };
        Err(Error::setting(format!("`chosen`: there is no test image {absent}"), remedy))
    }
}

/// A test split without images that were learned from, which a note tells, and the ids of its images.
///
/// # Errors
/// A file that cannot be read any more.
fn without_learned(split: Split, learned: &KnownImages, context: &Context) -> Result<(Split, Vec<ImageId>)> {
    let ids = split.images.ids()?;
    let (tested, seen) = learned.tell_apart(&ids);
    if seen.is_empty() {
        return Ok((split, ids));
    }
    context.note(format!(
        "{} of {} test images are left out, such as {}: they were learned from, or show parts that were",
        seen.len(),
        split.names.len(),
        escaped(&split.names[seen[0]])
    ));
    Ok((split.select(&tested), tested.into_iter().map(|i| ids[i]).collect()))
}

/// Loads what the settings name and makes the training set.
pub(crate) fn prepare(settings: &Settings, context: &Context) -> Result<Task> {
    settings.check()?;
    let arch = settings.arch()?;
    arch.check_statistics(settings.batch, settings.side)?; // what is known before images are read
    let raw_side = settings.dataset.recipe.raw_side(settings.pipeline, settings.side);
    let channels = arch.channels;
    let counted = Counted::read(settings.roi.as_deref(), settings.ignore.as_deref())?;
    let share =
        counted.as_ref().map(|counted| format!("{:.0} % of each image count, by masks", 100.0 * counted.share()));
    share.iter().for_each(|note| context.note(note));
    let resize = settings.fit.unwrap_or((settings.dataset.recipe.resize)(settings.pipeline));
    // Anomalies that are made beforehand are held, and so is what they are made of.
    let hold = if settings.offline_supervision { Hold::Always } else { settings.hold };
    let raw = Raw { form: RawForm { side: raw_side, channels, resize, levels: Levels::ALL }, hold };
    let swapped = settings.outliers_are_normal();
    let dataset = Dataset::load(&DatasetSource {
        class: &settings.class,
        normal: !swapped,
        anomalies: swapped
            || settings.supervise == Supervise::Other
            || settings.labelled == Some(LabelledSource::Train),
        skip_broken: settings.skip_broken,
        raw,
        ..DatasetSource::new(settings.dataset, settings.data.as_deref(), raw_side, channels)
    })?;
    let levels = dataset.train.levels;
    let raw = Raw { form: RawForm { levels, ..raw.form }, ..raw };
    let tiles = ResizeMode::Tile { side: settings.side, overlap: settings.side / 4 };
    let could_tile =
        !matches!(resize, ResizeMode::Tile { .. }) && Settings { fit: Some(tiles), ..settings.clone() }.check().is_ok();
    let shrunk = could_tile.then(|| folder::shrunk(&dataset.train.originals, settings.side)).flatten();
    dataset.train.notes.iter().chain(&dataset.test.notes).chain(&shrunk).for_each(|note| context.note(note));
    let outliers = load_outliers(settings, &dataset.class, raw, context)?.map(ImageSource::tiles);
    let (mut labelled, mut test, mut left_out, mut ids) = (None, None, 0, Vec::new());
    if let Some((anomalies, learned)) = labelled_anomalies(settings, &dataset, raw, counted.as_ref(), context)? {
        let (tested, seen) = labelled::tell_apart(&dataset.test, &learned, settings.part_gap);
        let learned_from = labelled::tell_apart(&dataset.test, &learned, None).1.len();
        if seen.len() > learned_from {
            too_many_parts(settings, &dataset, &seen).iter().for_each(|note| context.note(note));
        }
        left_out = seen.len();
        if settings.dataset.labels_good {
            ids.extend(anomalies.images.ids()?);
            ids.extend(dataset.test.images.select(&seen).ids()?);
        }
        labelled = Some(LabelledAnomalies { untested: names(&dataset.test, &seen), ..anomalies });
        test = (!seen.is_empty()).then(|| dataset.test.select(&tested));
    }
    let (normal, parts, of_normal, at_most) = match (&outliers, &labelled) {
        // An epoch is as long as in the paper, where it goes through the images of the class.
        (Some(outliers), Some(labelled)) if swapped => {
            (outliers.clone(), (0..outliers.count()).collect(), Vec::new(), Some(labelled.images.count()))
        }
        _ => {
            let normal = dataset.normal()?;
            let parts = labelled::parts(&names(&dataset.train, &normal), settings.part_gap);
            let images = dataset.train.images.select(&normal);
            let of_normal = if settings.dataset.labels_good { images.ids()? } else { Vec::new() };
            (images, labelled::with_copies(parts, &of_normal), of_normal, None)
        }
    };
    let (_, both) = KnownImages::new(ids.clone()).tell_apart(&of_normal);
    if let Some(&first) = both.first().filter(|_| !settings.as_published) {
        let first = escaped(&dataset.train.names[dataset.normal()?[first]]).into_owned();
        let problem = format!("{} of the good images are labelled defects too, such as {first}", both.len());
        return Err(Error::setting(problem, "give each image as one of both"));
    }
    let input_check = input_check(settings, &dataset, context)?;
    let Divided { learned, epochs, calibration } = hold_out(settings, &parts, &of_normal, context)?;
    ids.extend(learned.iter().chain(&epochs).filter_map(|&i| of_normal.get(i)));
    let known = KnownImages::new(ids);
    let calibrated_on = KnownImages::new(calibration.iter().filter_map(|&i| of_normal.get(i).copied()).collect());
    let some_of = |chosen: &[usize]| (!chosen.is_empty()).then(|| normal.select(chosen));
    let (held_out, calibration) = (some_of(&epochs).map(ImageSource::tiles), some_of(&calibration));
    let normal = normal.select(&learned).tiles();
    if let ImageSource::Tiles(tiles) = &normal
        && !tiles.canvases().are_held()
    {
        context.note(format!(
            "the {} good images take too much memory at the size that tiles need (`hold`): for each of the {} samples of an epoch one is \
             decoded again, which is slow",
            tiles.canvases().count(),
            tiles.count()
        ));
    }
    let supervise = if swapped || settings.learns_mvtec_gt() { Supervise::Other } else { settings.supervise };
    let recipe = &settings.dataset.recipe;
    let recipes = recipe.preprocessing(settings.pipeline, raw_side, settings.side, channels, &normal)?;
    let train = augmentation::within(normal.least_shown(), settings.augmentation().of(recipes.train));
    let preprocessing = Preprocessing { resize, levels, train, ..recipes };
    let held_out = held_out.map(|normal| {
        TrainingSet::new(TrainingData {
            normal,
            labelled: None,
            labelled_share: 0,
            outliers: outliers.clone(),
            counted: counted.clone(),
            preprocessing: Preprocessing { train: preprocessing.test.clone(), ..preprocessing.clone() },
            supervise,
            noise: settings.noise.clone(),
            plan: EpochPlan::default(),
            seed: settings.seed,
        })
    });
    let set = TrainingSet::new(TrainingData {
        normal,
        labelled,
        labelled_share: if settings.labelled.is_some() { settings.labelled_share } else { 0 },
        outliers: outliers.filter(|_| !swapped),
        counted,
        preprocessing,
        supervise,
        noise: settings.noise.clone(),
        plan: EpochPlan { passes: settings.passes, at_most, offline: settings.offline_supervision },
        seed: settings.seed,
    })?;
    let set = match held_out.transpose()? {
        Some(held_out) => set.holding_out(held_out),
        None => set,
    };
    let set = match calibration {
        Some(calibration) => set.calibrating_on(calibration),
        None => set,
    };
    // An epoch's last batch is what is left of it.
    let batch = settings.batch.min(set.len());
    for n in [batch, set.len() % batch].into_iter().filter(|&n| n > 0) {
        arch.check_statistics(n, settings.side)?;
    }
    let Dataset { class: name, normal: class, class_names, test: all, .. } = dataset;
    let test = test.unwrap_or(all);
    let (split, ids) = match settings.as_published || !settings.dataset.labels_good {
        true => (test, Vec::new()), // files are not read for what is not known
        false => without_learned(test, &known, context)?,
    };
    let test = TestSet { split, ids, name, class, class_names, data: settings.data.clone(), resize };
    test.unmeasurable(settings, left_out).iter().for_each(|note| context.note(note));
    Ok(Task { set, input_check, learned: known, calibrated_on, test })
}

/// What good images look like; None where they are no files of the user's, or too few.
fn input_check(settings: &Settings, dataset: &Dataset, context: &Context) -> Result<Option<InputCheck>> {
    let Split { images, originals, .. } = &dataset.train;
    if !settings.dataset.labels_good || originals.is_empty() {
        return Ok(None);
    }
    let normal = dataset.normal()?;
    let looked_at = spread(normal.len(), LOOKED_AT);
    let of = |place: usize| Ok(Appearance::of(&images.seen(normal[place])?, &originals[normal[place]]));
    let check = InputCheck::learn(&looked_at.into_par_iter().map(of).collect::<Result<Vec<_>>>()?);
    if check.is_none() {
        context.note(format!(
            "{} good images are too few to tell which images cannot be judged, such as black or blurred ones: that takes {FEWEST}",
            normal.len()
        ));
    }
    Ok(check)
}

/// Which of the good images, which show these parts and have these ids where they are known, are learned from, and which are held out.
///
/// # Errors
/// A false positive rate that takes more of them.
fn hold_out(settings: &Settings, parts: &[usize], ids: &[ImageId], context: &Context) -> Result<Divided> {
    let Settings { seed, patience, calibration_share: share, fpr, .. } = *settings;
    let mut divided = Division { seed, epochs: patience.is_some(), calibration: share, parts }.divide();
    divided.calibration = without_copies(divided.calibration, ids);
    let (count, held) = (parts.len(), divided.calibration.len());
    if share > 0 {
        let source = format!("`calibration_share` {share} of {count} in the folder");
        let rate = calibration::promised(fpr, held, &source)?;
        context.note(match held {
            0 => format!(
                "of {count} good images none are held out to set the threshold by, which takes {}: it will promise nothing of new images, until \
                 the model is calibrated on some",
                held_out::needed_to_calibrate(share)
            ),
            _ => format!(
                "{held} of {count} good images are held out of training, to set a threshold that at most {} of good images exceed",
                calibration::percent(rate)
            ),
        });
    }
    if let Some(patience) = patience {
        context.note(match divided.epochs.len() {
            0 => format!(
                "`patience` {patience} does nothing: of {count} good images none can be held out of training, which takes {}",
                held_out::NEEDED
            ),
            held => format!("{held} of {count} good images are held out of training, to tell which epoch is best"),
        });
    }
    Ok(divided)
}

/// Warns where parts leave the test that nothing was learned from, as it seems: good ones, or all defects. Numbers that start again in
/// each folder tell no part from another.
fn too_many_parts(settings: &Settings, dataset: &Dataset, left_out: &[usize]) -> Option<String> {
    let gap = settings.part_gap?;
    let is_normal = |i: usize| dataset.test.classes[i] == dataset.normal;
    let [normal, of_normal] = [
        left_out.iter().filter(|&&i| is_normal(i)).count(),
        (0..dataset.test.classes.len()).filter(|&i| is_normal(i)).count(),
    ];
    let [anomalous, of_anomalous] = [left_out.len() - normal, dataset.test.classes.len() - of_normal];
    (normal > 0 || anomalous == of_anomalous).then(|| {
        format!(
            "`part_gap` {gap} leaves {normal} of {of_normal} normal and {anomalous} of {of_anomalous} anomalous test images out, since the \
             numbers at the end of their names are near those of anomalies that are learned from: leave it out if numbers start \
             again in each folder"
        )
    })
}

/// Images of another set, where the settings name one.
fn load_outliers(settings: &Settings, class: &str, raw: Raw, context: &Context) -> Result<Option<ImageSource>> {
    let Some(source) = &settings.outliers else { return Ok(None) };
    if settings.learns_mvtec_gt() || !settings.supervise.draws_outliers(&settings.noise) {
        return Ok(None);
    }
    let wanted = Wanted { dataset: settings.dataset, class, raw, limit: settings.oe_limit };
    let outliers = source.load(&wanted)?;
    outliers.notes.iter().for_each(|note| context.note(note));
    Ok(Some(outliers.images))
}

/// The labelled anomalies to learn from, and the names of those that are not to be tested on.
fn labelled_anomalies(
    settings: &Settings,
    dataset: &Dataset,
    raw: Raw,
    counted: Option<&Counted>,
    context: &Context,
) -> Result<Option<(LabelledAnomalies, Vec<String>)>> {
    let choose_of =
        |split: &Split, normal, limit| labelled::choose(split, normal, limit, settings.seed, raw.form, counted);
    let choose = |split: &Split, limit| choose_of(split, dataset.normal, limit);
    let limit = settings.oe_limit;
    let of_folder;
    let (split, chosen) = if settings.outliers_are_normal() {
        (&dataset.train, choose(&dataset.train, None))
    } else if settings.learns_mvtec_gt() {
        check_same_place(settings, &dataset.class)?;
        (&dataset.test, choose(&dataset.test, limit))
    } else {
        match &settings.labelled {
            Some(LabelledSource::Folder(folder)) => {
                let data = settings.data.as_deref().unwrap_or(folder);
                of_folder = datasets::labelled::read(folder, data, raw, settings.skip_broken)?;
                of_folder.notes.iter().for_each(|note| context.note(note));
                (&of_folder, choose_of(&of_folder, datasets::labelled::NONE, limit))
            }
            Some(LabelledSource::Test) => (&dataset.test, choose(&dataset.test, limit)),
            Some(LabelledSource::Train) => (&dataset.train, choose(&dataset.train, limit)),
            None if settings.supervise != Supervise::Other => return Ok(None),
            None if !dataset.anomalous().is_empty() => (&dataset.train, choose(&dataset.train, limit)),
            None if limit.is_some() => (&dataset.test, choose(&dataset.test, limit)),
            None => {
                let remedy = "add some to the training images, or say with `oe_limit` K how many of each kind to take from the test images";
                return Err(Error::setting(
                    "there are no labelled anomalies to train on among the training images",
                    remedy,
                ));
            }
        }
    };
    if chosen.is_empty() {
        let remedy = "add images of defects (whose masks mark something that the net sees and that counts), name others with `labelled`, or choose another `supervise`";
        return Err(Error::setting("there are no labelled anomalies to train on", remedy));
    }
    let anomalies = LabelledAnomalies::new(split, &chosen, raw.form.resize, counted);
    let unmarked = anomalies.images.count() - anomalies.masks.iter().flatten().count();
    if let (ResizeMode::Tile { .. }, 1..) = (raw.form.resize, unmarked) {
        let problem = format!(
            "{unmarked} of {} labelled anomalies have no mask, and a tile of them may be flawless",
            chosen.len()
        );
        return Err(Error::setting(problem, "draw masks for them, or choose `fit` letterbox or squash"));
    }
    without_masks(settings, &anomalies).iter().for_each(|note| context.note(note));
    let learned = if settings.as_published { Vec::new() } else { names(split, &chosen) };
    Ok(Some((anomalies, learned)))
}

/// What is learned of labelled anomalies that have no mask, where there are such and maps are learned from.
fn without_masks(settings: &Settings, LabelledAnomalies { images, masks, .. }: &LabelledAnomalies) -> Option<String> {
    let unmarked = images.count() - masks.iter().flatten().count();
    (settings.maps && unmarked > 0).then(|| {
        format!(
            "{unmarked} of {} labelled anomalies have no mask: each is learned from by its label, that is by its score \
             (`image_score` {}), not by where its defect is",
            images.count(),
            settings.image_score
        )
    })
}

/// Fails unless the labelled anomalies that are named are those of the set itself.
fn check_same_place(settings: &Settings, class: &str) -> Result<()> {
    let folder = |path: &Path| mvtec::class_folder(path, class).canonicalize().ok();
    let named = settings.outliers.as_ref().and_then(|source| folder(source.path()));
    if named.is_some() && named == settings.data.as_deref().and_then(folder) {
        return Ok(());
    }
    let problem = "`outliers` mvtec_gt:DIR takes labelled anomalies of the normal class from its own test images";
    Err(Error::setting(problem, "name the folder that `data` names"))
}

fn names(split: &Split, indices: &[usize]) -> Vec<String> {
    indices.iter().map(|&i| split.names[i].clone()).collect()
}
