//! The subcommand `import`: a model of a training state that the authors' PyTorch code has written.

mod config;
mod constants;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::config::Config;
use super::context::Context;
use super::directory::{CONFIG, MODEL};
use super::kind::Kind;
use super::lock::FolderLock;
use super::model::{Model, ModelMeta};
use super::output::check_kind;
use super::settings::Settings;
use crate::data::constants::{lcn_extremes, mean_std};
use crate::data::image_source::Raw;
use crate::data::levels::Levels;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::resize_mode::{RawForm, ResizeMode};
use crate::datasets::custom::CUSTOM;
use crate::datasets::dataset::{Dataset, DatasetSource};
use crate::error::{Error, Result};
use crate::files;
use crate::model::Arch;
use crate::model::checkpoint::{NamedTensors, TensorFile, foreign, weights_of};
use crate::model::torch::{self, TorchFile, Value};
use crate::printable::{Printable, escaped};

/// What is imported.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The training state, or the state dict of its net in safetensors.
    pub snapshot: PathBuf,
    /// What the authors' runner has written beside it.
    pub config: PathBuf,
    /// The images that were learned from, laid out as the dataset.
    pub data: Option<PathBuf>,
    /// Whether it was trained with ground-truth maps on a custom dataset.
    pub masks: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Imported {
    pub model: String,
    pub net: String,
    pub epochs: u32,
    /// What is not known of the model.
    pub unknown: Vec<String>,
}

/// Of what is no snapshot.
const REMEDY: &str = "name a snapshot.pt, or its net's state_dict in safetensors";

/// Makes a model of a snapshot, in a folder of its own.
///
/// # Errors
/// A snapshot that is none; a net, data or objective that fcdd does not have; weights that are not of the net; a folder with other results.
pub(crate) fn import(context: &Context, request: &Request, out: &Path) -> Result<Imported> {
    let Request { snapshot, config, data, .. } = request;
    [Some(snapshot), data.as_ref()].into_iter().flatten().try_for_each(|path| check_name(path))?;
    FolderLock::tidy(out)?;
    check_free(out)?;
    let (mut bytes, is_torch) = torch::read(snapshot, REMEDY)?;
    let state = is_torch.then(|| TorchFile::parse(snapshot, std::mem::take(&mut bytes))).transpose()?;
    let tensors: Box<dyn NamedTensors> = match &state {
        Some(state) => Box::new(net_of(snapshot, state)?.tensors()?),
        None => Box::new(TensorFile::parse(snapshot, &bytes, REMEDY)?),
    };
    let theirs = Config::read(config)?;
    let epoch = state.as_ref().and_then(|state| state.root().get("epoch")).and_then(Value::integer);
    let epochs = epoch.and_then(|epoch| u32::try_from(epoch).ok());
    let settings = theirs.settings(request, epochs.unwrap_or_default()).map_err(|e| of_config(e, config))?;
    let arch = settings.arch()?;
    let weights = weights_of(&arch, &*tensors)?;
    refuse_foreign(&arch, &*tensors)?;
    let preprocessing = preprocessing(context, &settings, theirs.normal_class)?;
    let epochs = epochs.unwrap_or(settings.epochs);
    let meta = Model::meta(&settings, &preprocessing, epochs);
    let meta = ModelMeta { imported: Some(snapshot.to_string_lossy().into_owned()), ..meta };
    let unknown = unknown(&meta);
    let lock = FolderLock::new(out)?;
    check_free(out)?; // what came there until it was this process's own
    files::remove_unfinished(lock.folder())?;
    let path = out.join(MODEL);
    Model { meta, weights }.save(&path)?;
    Ok(Imported { model: path.to_string_lossy().into_owned(), net: settings.net, epochs, unknown })
}

/// The net of a training state.
fn net_of<'a>(snapshot: &Path, state: &'a TorchFile) -> Result<Value<'a>> {
    let remedy =
        "name a snapshot.pt of the authors' code; weights to start from are named with `weights` of `fcdd train`";
    let missing = || Error::file(snapshot, "holds no training state: it has no 'net'", remedy);
    state.root().get("net").ok_or_else(missing)
}

/// What a `config.txt` tells of a training.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn settings_of(config: &Path) -> Result<Settings> {
    let request = Request { snapshot: config.to_path_buf(), config: config.to_path_buf(), data: None, masks: false };
    Config::read(config)?.settings(&request, 0)
}

/// An error about an argument, in the words of the file that has it.
fn of_config(error: Error, config: &Path) -> Error {
    match error {
        Error::Setting { problem, remedy } => Error::file(config, problem.replace('`', "'"), remedy),
        other => other,
    }
}

/// Models tell by text where they come from.
fn check_name(path: &Path) -> Result<()> {
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::file(path, "is not named in Unicode", "rename it")),
    }
}

/// Fails unless a folder has room for a model: it holds none, and no results of others.
fn check_free(out: &Path) -> Result<()> {
    check_kind(out, Kind::Train)?;
    match [MODEL, CONFIG].iter().find(|name| out.join(name).exists()) {
        Some(name) => Err(Error::file(out, format!("already holds a {name}"), "choose another folder for `out`")),
        None => Ok(()),
    }
}

/// Fails where a snapshot has what the net that is named does not.
fn refuse_foreign(arch: &Arch, tensors: &dyn NamedTensors) -> Result<()> {
    let Some(name) = foreign(arch, tensors) else { return Ok(()) };
    let problem = format!("has a tensor '{}', which {} does not have", escaped(name), arch.name);
    Err(Error::file(tensors.path(), problem, "name the config.txt of this snapshot"))
}

/// What a test image passes, scaled as in training.
fn preprocessing(context: &Context, settings: &Settings, class: usize) -> Result<Preprocessing> {
    let Settings { dataset, pipeline, side, .. } = *settings;
    let (recipe, channels) = (&dataset.recipe, settings.arch()?.channels);
    let raw_side = recipe.raw_side(pipeline, side);
    let stored = || recipe.fixed_scaling(pipeline, channels).or_else(|| constants::scaling(dataset, class, pipeline));
    recipe.scaled(pipeline, raw_side, side, channels, |unscaled| match stored() {
        Some(scaling) => Ok(scaling),
        None => scaling_of_data(context, settings, unscaled),
    })
}

/// The last transform, with the constants of the images that were learned from.
fn scaling_of_data(context: &Context, settings: &Settings, unscaled: &Preprocessing) -> Result<Transform> {
    let Some(data) = &settings.data else {
        let problem = "its inputs were scaled by figures of the good training images, which neither file holds";
        return Err(Error::setting(problem, "name the data that it was trained on with `data` DIR"));
    };
    // The authors take mean and deviation of their custom images whole, also where the net sees the centre.
    let is_whole = settings.dataset == CUSTOM && !settings.pipeline.normalises_contrast();
    let whole = || {
        let list = vec![Transform::ToUnit];
        let (resize, raw_side) = (ResizeMode::Squash, unscaled.side);
        Preprocessing { raw_side, resize, train: list.clone(), test: list, ..unscaled.clone() }
    };
    let unscaled = if is_whole { whole() } else { unscaled.clone() };
    let Preprocessing { raw_side, channels, resize, .. } = unscaled;
    let form = RawForm { side: raw_side, channels, resize, levels: Levels::ALL };
    let source = DatasetSource {
        class: &settings.class,
        raw: Raw { form, hold: settings.hold },
        ..DatasetSource::new(settings.dataset, Some(data), raw_side, channels)
    };
    let dataset = Dataset::load(&source)?;
    let images = dataset.train.images.select(&dataset.normal()?);
    context.note(format!("inputs are scaled by {} good images in {}", images.count(), data.printable()));
    match settings.pipeline.normalises_contrast() {
        true => lcn_extremes(&unscaled, &images, settings.dataset.recipe.joint_extremes),
        false => mean_std(&unscaled, &images),
    }
}

/// What the files do not tell.
fn unknown(meta: &ModelMeta) -> Vec<String> {
    let settings = &meta.settings;
    let learned = "which images it has learned from: tests and calibrations do not leave them out";
    let labelled = "which test images it has learned from: of labelled defects among them figures are too good";
    let epochs =
        "whether all its epochs were trained: the authors' code writes their number where a training broke off too";
    let threshold =
        "a threshold and a scale of colours: every image is anomalous until `fcdd calibrate` sets them by good images";
    let outliers = "how its anomalies were drawn, and its seed";
    let told =
        [Some(threshold), Some(learned), settings.as_published.then_some(labelled), Some(epochs), Some(outliers)];
    told.into_iter().flatten().map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pipeline::PipelineKind;
    use crate::named::Named;

    /// Tables are of the channels that the datasets' own nets take, and every class has a range.
    #[test]
    fn what_is_known_of_the_authors_classes_can_scale() {
        use crate::datasets::{cifar10::CIFAR10, fmnist::FMNIST, mvtec::MVTEC};
        for (dataset, channels, classes) in [(FMNIST, 1, 10), (CIFAR10, 3, 10), (MVTEC, 3, 15)] {
            for kind in [PipelineKind::Lcn, PipelineKind::Lcnaug1, PipelineKind::None, PipelineKind::Aug1] {
                let of = |class| constants::scaling(dataset, class, kind);
                assert!(of(classes).is_none());
                for class in 0..classes {
                    let scaled = dataset.recipe.scaled(kind, 32, 32, channels, |_| Ok(of(class).unwrap())).unwrap();
                    assert_eq!(
                        matches!(scaled.test.last(), Some(Transform::MinMax { .. })),
                        kind.normalises_contrast()
                    );
                }
            }
            assert_eq!(constants::class(dataset, 3), if dataset == MVTEC { "carpet" } else { "3" });
        }
        assert!(PipelineKind::all().iter().all(|&kind| constants::scaling(CUSTOM, 0, kind).is_none()));
    }
}
