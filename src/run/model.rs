//! The model file: weights and, in the header, everything that a prediction needs. No training data, no settings file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::calibration::{Calibration, CalibrationImages};
use super::directory::CONFIG;
use super::known_images::KnownImages;
use super::seal;
use super::settings::Settings;
use crate::data::appearance::InputCheck;
use crate::data::counted::Counted;
use crate::data::pipeline::Preprocessing;
use crate::data::resize_mode::Region;
use crate::error::{Error, Result};
use crate::model::{Arch, Objective, Weights, checkpoint};
use crate::printable::escaped;
use crate::report::heatmap::Scale;
use crate::{files, json};

/// The header entry that holds the [`ModelMeta`].
const ENTRY: &str = "fcdd";

/// Version of the format.
const FORMAT: u32 = 1;

/// Of models whose threshold nothing has set.
pub(crate) const NO_THRESHOLD: &str =
    "none was set, every image is called anomalous: `fcdd calibrate` sets one by good images";

/// For model files that are broken.
const REMEDY: &str = "copy it again from where it was trained, or train again";

/// Metadata: what the model file holds beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelMeta {
    pub format: u32,
    pub preprocessing: Preprocessing,
    /// How heatmap values become colours, the same for every image.
    pub scale: Scale<f32>,
    /// Images that score above are called anomalous.
    pub threshold: f32,
    /// What the threshold was set by, and what it promises; None in models of version 0.1.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// What good images look like: others cannot be judged. None where that is not known.
    #[serde(default)]
    pub input_check: Option<InputCheck>,
    /// Which part of each image counts: the rest is no part of scores, heatmaps and regions. None where all of it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// What was learned from, and test images that show the same parts: the model is neither tested nor calibrated on copies of it. Nothing where
    /// it is not known: of sets whose images lie in one place, and in models of version 0.1.
    #[serde(default)]
    pub learned: KnownImages,
    /// The images that set the threshold, where nothing was learned from them and they are known: rates at it are better of them than of new ones.
    #[serde(default)]
    pub calibrated_on: KnownImages,
    /// Epochs behind the weights: fewer than the settings ask for where training was stopped.
    pub epochs: u32,
    /// Epochs of the whole training, where the best of them was kept.
    #[serde(default)]
    pub best_of: Option<u32>,
    /// How the model came about: its net, input side and Gaussian among them.
    pub settings: Settings,
    /// Names of test images that were learned from, or show the same parts: the model is not tested on them.
    #[serde(default, rename = "unjudged")]
    pub untested: Vec<String>,
    /// The file that it was imported from, where fcdd has not trained it. Such a model has no threshold until it is calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    pub version: String,
}

impl ModelMeta {
    /// That of a model file, whose weights are not read.
    pub(crate) fn read(path: &Path) -> Result<ModelMeta> {
        let head = checkpoint::head(path, REMEDY)?;
        let meta = head.metadata().as_ref().and_then(|entries| entries.get(ENTRY)).map_or("", String::as_str);
        json::parse(meta.as_bytes())
            .map_err(|e| Error::file(path, format!("its metadata cannot be read ({e})"), REMEDY))
    }

    /// Whether training came to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.best_of.is_some() || self.epochs >= self.settings.epochs
    }

    /// Whether anything has set its threshold.
    pub(crate) fn has_threshold(&self) -> bool {
        self.imported.is_none() || self.calibration.is_some()
    }

    /// Takes another part of each image that counts.
    ///
    /// # Errors
    /// A model whose scores do not follow from maps, or that does not see the whole image.
    pub(crate) fn count(&mut self, counted: Counted) -> Result<()> {
        self.counted = Some(counted);
        self.check_counted()
    }

    fn check_counted(&self) -> Result<()> {
        const IMAGE: (usize, usize) = (700, 1100);
        let problem = match &self.counted {
            None => return Ok(()),
            Some(_) if self.settings.objective == Objective::Hsc => "its scores (hsc) do not follow from its maps",
            Some(_) if self.preprocessing.seen(IMAGE) != Region::whole(IMAGE) => "it sees images cropped",
            Some(_) => return Ok(()),
        };
        let problem = format!("the model cannot leave parts of an image out: {problem}");
        Err(Error::setting(problem, "do without `roi` and `ignore`"))
    }

    /// Fails unless a model can be laid out and score by this: for values that come from a file.
    fn check(&self) -> Result<()> {
        let ModelMeta { settings, preprocessing, scale, threshold, epochs, best_of, .. } = self;
        settings.check()?;
        preprocessing.check()?;
        self.check_counted()?;
        let changed = |problem: String| Err(Error::setting(problem, "the file was changed"));
        let Scale { minimum, range } = scale;
        if !minimum.is_finite() || !range.is_finite() || *range <= 0.0 {
            return changed(format!("heatmaps are to be shown from {minimum} over a range of {range}"));
        }
        if !threshold.is_finite() {
            return changed(format!("the threshold is {threshold}"));
        }
        self.calibration.as_ref().map_or(Ok(()), Calibration::check)?;
        if self.calibration.as_ref().is_some_and(|calibration| !calibration.is_kept_by(*threshold)) {
            return changed(format!("the threshold {threshold} does not keep what its calibration promises"));
        }
        let is_new = |calibration: &Calibration| calibration.images != CalibrationImages::Unchecked;
        if settings.dataset.labels_good && self.learned.is_empty() && self.calibration.as_ref().is_some_and(is_new) {
            return changed("it does not tell which images it has learned from".to_string());
        }
        self.input_check.as_ref().map_or(Ok(()), InputCheck::check)?;
        if *epochs > settings.epochs {
            return changed(format!("it is of epoch {epochs} of {}", settings.epochs));
        }
        // Stopped in its first epoch it is of none; the best is one.
        if let Some(all) = best_of.filter(|all| *all > settings.epochs || epochs > all || *epochs == 0) {
            return changed(format!("it is the best, epoch {epochs}, of {all} of {}", settings.epochs));
        }
        let is_name = |name: &str| {
            let mut parts = Path::new(name).components();
            escaped(name) == name && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(name) = self.untested.iter().find(|name| !is_name(name)) {
            return changed(format!("{name:?} is no name of a test image"));
        }
        let (net, prepared) = (settings.arch()?.channels, preprocessing.channels);
        if (prepared, preprocessing.side) != (net, settings.side) {
            let images =
                |channels: usize, side: usize| format!("images of {side}×{side} pixels and {channels} channels");
            let problem = format!(
                "its preprocessing makes {}, its net takes {}",
                images(prepared, preprocessing.side),
                images(net, settings.side)
            );
            return changed(problem);
        }
        Ok(())
    }
}

/// A trained model.
#[derive(Clone, PartialEq)]
pub struct Model {
    pub(crate) meta: ModelMeta,
    pub(crate) weights: Weights,
}

impl Model {
    /// How it came about: its net, input side and data among them.
    pub fn settings(&self) -> &Settings {
        &self.meta.settings
    }

    /// The score above which it calls images anomalous.
    pub fn threshold(&self) -> f32 {
        self.meta.threshold
    }

    /// Its net.
    pub(crate) fn arch(&self) -> Result<Arch> {
        self.meta.settings.arch()
    }

    /// XXH3-128 of what scores follow from, the parameters, the norms' statistics and the threshold, in hexadecimal digits.
    pub(crate) fn checksum(&self) -> String {
        self.checksum_at(self.meta.threshold)
    }

    /// The same at another threshold.
    pub(crate) fn checksum_at(&self, threshold: f32) -> String {
        let mut sum = Xxh3::new();
        for values in [self.weights.params.as_slice(), &self.weights.stats, &[threshold]] {
            values.iter().for_each(|value| sum.update(&value.to_le_bytes()));
        }
        format!("{:032x}", sum.digest128())
    }

    /// Writes the model into a file, atomically: one that is there already is replaced by all of it, or stays.
    ///
    /// # Errors
    /// A folder that does not exist or must not be written to, a full disk.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.stage(path.as_ref())?.keep()
    }

    /// Writes it beside a file, whose place it takes once it is [kept](files::Staged::keep).
    pub(crate) fn stage(&self, path: &Path) -> Result<files::Staged> {
        let meta = serde_json::to_string(&self.meta)
            .map_err(|e| Error::internal(format!("the model's metadata cannot be written ({e})")))?;
        let header = HashMap::from([(ENTRY.to_string(), seal::with_room(&meta))]);
        let mut bytes = checkpoint::to_bytes(&self.arch()?, &self.weights, header)?;
        seal::seal(&mut bytes)?;
        files::stage(path, &bytes)
    }

    /// Loads a model file, or the `model.safetensors` of a run's folder.
    ///
    /// # Errors
    /// A file that cannot be read, that is no whole model, or of another format than this version reads.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        let named = path.as_ref();
        let path = model_file(named);
        if named.is_dir() && !path.exists() {
            return Err(match named.join(CONFIG).is_file() {
                true => Error::file(named, "is the folder of a run that has no model yet", "train it to its end first"),
                false => Error::file(named, "holds no model", "name a model file, or the folder of a run"),
            });
        }
        let bytes = checkpoint::read(&path, REMEDY)?;
        let file = checkpoint::TensorFile::parse(&path, &bytes, REMEDY)?;
        let Some(meta) = file.header.get(ENTRY) else {
            return Err(Error::file(
                &path,
                "holds weights, but not the metadata of an fcdd model",
                "name a model.safetensors that `fcdd train` wrote",
            ));
        };
        if !seal::is_whole(&bytes) {
            return Err(Error::file(&path, "was damaged or changed: its bytes are not those of its checksum", REMEDY));
        }
        let meta: ModelMeta = json::parse(meta.as_bytes()).map_err(|e| {
            Error::file(&path, format!("its metadata cannot be read ({e})"), "it may come from another version of fcdd")
        })?;
        if meta.format != FORMAT {
            return Err(Error::file(
                &path,
                format!("has format {}, this fcdd reads format {FORMAT}", meta.format),
                "use the version of fcdd that wrote it",
            ));
        }
        meta.check().map_err(|e| Error::file(&path, format!("its metadata cannot be used ({e})"), REMEDY))?;
        let arch = meta.settings.arch()?;
        let weights = file.weights(&arch)?;
        // Such as biases, where the card was changed to say that there are none.
        if let Some(name) = checkpoint::foreign(&arch, &file) {
            let problem = format!("has a tensor '{}', which the net of its metadata does not have", escaped(name));
            return Err(Error::file(&path, problem, REMEDY));
        }
        Ok(Model { meta, weights })
    }

    /// What travels with the weights of these settings.
    pub(crate) fn meta(settings: &Settings, preprocessing: &Preprocessing, epochs: u32) -> ModelMeta {
        ModelMeta {
            format: FORMAT,
            preprocessing: preprocessing.clone(),
            scale: Scale { minimum: 0.0, range: 1.0 },
            threshold: 0.0,
            calibration: None,
            input_check: None,
            counted: None,
            learned: KnownImages::default(),
            calibrated_on: KnownImages::default(),
            epochs,
            best_of: None,
            settings: settings.clone(),
            untested: Vec::new(),
            imported: None,
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelMeta { settings, epochs, threshold, .. } = &self.meta;
        let mut shown = f.debug_struct("Model");
        shown.field("net", &settings.net).field("side", &settings.side).field("epochs", epochs);
        shown.field("threshold", threshold).finish_non_exhaustive()
    }
}

/// The folder that the model of a path lies in.
pub(crate) fn model_folder(path: &Path) -> PathBuf {
    let file = model_file(path);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_path_buf()
}

/// The model file that a path names: itself, or the one in a run's folder.
pub(crate) fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(super::directory::MODEL) } else { path.to_path_buf() }
}
