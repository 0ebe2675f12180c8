//! Everything that decides a training run: the [table](SETTINGS) of settings; the paper's choice of them per dataset; what is refused.

mod check;
mod presets;
mod table;
mod value;

use std::path::{Path, PathBuf};

use crate::datasets::folder::FOLDER;
use crate::named::Named;
use serde::{Deserialize, Serialize};

use crate::data::augmentation::{Augmentation, Flips, Rotation};
use crate::data::image_source::Hold;
use crate::data::pipeline::PipelineKind;
use crate::data::resize_mode::ResizeMode;
use crate::data::supervise::{NoiseMix, NoiseMode, Supervise};
use crate::datasets::DatasetKind;
use crate::datasets::labelled::LabelledSource;
use crate::datasets::outliers::OutlierSource;
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::model::image_score::ImageScore;
use crate::model::{Arch, Objective, baselines};
use crate::printable::Printable;
use crate::steps::hsc_loss::Gradient;

pub(crate) use check::check_size;
pub use table::Setting;
#[cfg(feature = "cli")]
pub(crate) use table::SettingGroup;
pub(crate) use table::{MAX_EPOCHS, SETTINGS};
pub use value::ValueForm;

/// A struct whose fields' docs are also there to be shown: one text for the library's pages and the program's help.
macro_rules! documented {
    ($(#[$of_struct:meta])* pub struct $name:ident {
        $($(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])? pub $field:ident: $kind:ty,)+
    }) => {
        $(#[$of_struct])*
        pub struct $name {
            $($(#[doc = $doc])+ $(#[serde($($serde)+)])? pub $field: $kind,)+
        }

        /// The docs of a field.
        fn docs(field: &str) -> &'static str {
            match field {
                $(stringify!($field) => concat!($($doc),+),)+
                _ => "",
            }
        }
    };
}

documented! {
    /// The settings of a training run, kept as `config.json` in its folder.
    #[non_exhaustive]
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Settings {
        /// Where the images come from: one of the datasets, or a folder of the user's.
        pub dataset: DatasetKind,
        /// Folder (or file) that holds the dataset; needless where that is installed.
        pub data: Option<PathBuf>,
        /// The normal class, by number or name; of pascalvoc, the anomalous one.
        pub class: String,
        /// What the net is trained for.
        #[serde(default)]
        pub objective: Objective,
        /// Net, by its name.
        pub net: String,
        /// Weights that a VGG or RESNET18 net starts from: vgg11_bn, vgg16 or resnet18, trained on ImageNet, in torchvision's file or as
        /// safetensors.
        pub weights: Option<PathBuf>,
        /// What heatmaps show of the score's gradient, for hsc.
        #[serde(default)]
        pub gradient: Gradient,
        /// Precision of the values between layers; weights and sums are kept in 32 bits.
        #[serde(default)]
        pub precision: DType,
        /// On the CPU, take all products of convolutions, as a GPU does, and not the fewer ones of Winograd's minimal filtering: slower, with
        /// smaller rounding errors.
        #[serde(default = "yes")]
        pub exact: bool,
        /// The convolutions' biases, and the norms' scale and shift.
        pub bias: bool,
        /// Side in pixels of the square that the net sees; images are resized to it.
        pub side: usize,
        /// How images of a folder come to that side: squash (all of it, whatever its aspect; the default), letterbox (all of it, its aspect
        /// kept), or tile:SIDE,OVERLAP, squares of SIDE pixels of the image that are resized to the side, overlap by OVERLAP pixels (SIDE / 4 where
        /// it is left out) and together show all of it.
        #[serde(default)]
        pub fit: Option<ResizeMode>,
        /// Mask, scaled to each image: of what is dark in it nothing is learned, and it is no part of score, heatmap and regions.
        #[serde(default)]
        pub roi: Option<PathBuf>,
        /// Mask, scaled to each image: of what is bright in it nothing is learned, and it is no part of score, heatmap and regions.
        #[serde(default)]
        pub ignore: Option<PathBuf>,
        /// Augmentation and normalisation.
        pub pipeline: PipelineKind,
        /// Mirror images of training images, each axis with probability 0.5: none, left to right (h), top to bottom (v), or both (hv);
        /// left out, those of the dataset's recipe, which are h for a folder.
        #[serde(default)]
        pub flips: Option<Flips>,
        /// Turns of training images: none, or by quarters of a full turn, each as likely.
        #[serde(default)]
        pub rotate: Rotation,
        /// Changes of brightness and contrast of training images, each by a factor of up to 1 ± this, 0 for none; left out, those of the
        /// dataset's recipe, which are 0.04 for a folder.
        #[serde(default)]
        pub brightness: Option<f64>,
        /// What the net learns anomalies from.
        pub supervise: Supervise,
        /// What artificial anomalies are made of: one of these or several with commas, whose shares stand after colons, as in
        /// fine-confetti,cutpaste:3; where `outliers` are named, the default is outliers.
        pub noise: NoiseMix,
        /// Images that serve as anomalies, of a kind and in a folder (of cifar100 also in train.bin).
        pub outliers: Option<OutlierSource>,
        /// Labelled defects to learn from, beside what anomalies are made of or, with `supervise` other, alone: train (those beside the good
        /// training images), test (those of the test images, which leave the test), or a folder of them.
        #[serde(default)]
        pub labelled: Option<LabelledSource>,
        /// Per cent of the anomalies that are `labelled` ones.
        #[serde(default = "half")]
        pub labelled_share: u32,
        /// Learn from at most this many outliers; of mvtec, mvtec_gt, `labelled` and `supervise` other, from that many of each class and
        /// kind of defect.
        pub oe_limit: Option<usize>,
        /// Make an anomaly of each good image once, before training, and learn from both; else each sample becomes an anomaly with
        /// probability 0.5, drawn again in each epoch.
        #[serde(default)]
        pub offline_supervision: bool,
        /// Keep in the test the defects that were learned from, as the paper does: figures look better.
        #[serde(default)]
        pub as_published: bool,
        /// Keep images of one part together: none are tested on, nor held out to set the threshold by, where others of their part are learned
        /// from. Images show one part where the numbers at the end of their file names differ by at most N, in chains (N = 1: 7, 8 and 9 are
        /// one part). Folders are ignored: only for data whose numbers are unique.
        #[serde(default)]
        pub part_gap: Option<u64>,
        /// Leave out images that cannot be read, instead of refusing the data.
        #[serde(default)]
        pub skip_broken: bool,
        /// Train on ground-truth maps, pixel by pixel (true), or on labels, one per image (false).
        pub maps: bool,
        /// Epochs: each draws every good image `passes` times and turns about half of them into anomalies; change `schedule` with it.
        pub epochs: u32,
        /// End training once so many epochs in a row were no better than one before, and keep the weights of the best: the epoch after which
        /// scores best separate a tenth of the good images, 50 at most, which are held out of training, from anomalies made of them.
        /// Fewer than 80 good images are too few for that. Left out, all epochs are trained.
        #[serde(default)]
        pub patience: Option<u32>,
        /// Per cent of the good images, 20 at most, that are held out of training to set the threshold by; 0 for none, as where there are
        /// too few for any: then the threshold is set by images that were learned from, and promises nothing.
        #[serde(default)]
        pub calibration_share: u32,
        /// The share of good images, such as 0.01, that the threshold may call anomalous, set by those that are held out. Left out, 0.01 or
        /// the smallest that so many can promise: 1 / (images + 1).
        #[serde(default)]
        pub fpr: Option<f64>,
        /// Passes over the good images in an epoch.
        #[serde(default = "one")]
        pub passes: u32,
        /// Views of each good image that a net with fixed features (`_MS`) learns from: epochs beyond these draw the same ones again, in
        /// another order. On the CPU the fixed layers see each view once, and what they make of it is kept in memory.
        #[serde(default)]
        pub views: Option<u32>,
        /// Images per step.
        pub batch: usize,
        /// Optimizer of the weights.
        pub optimizer: Optimizer,
        /// Learning rate.
        pub lr: f64,
        /// Weight decay.
        pub weight_decay: f64,
        /// How the learning rate falls: lambda:γ (times γ after each epoch) or milestones:γ:e1,e2 (times γ after these epochs, as PyTorch's
        /// MultiStepLR).
        pub schedule: Schedule,
        /// Standard deviation σ of the Gaussian that upsamples maps to heatmaps, in input pixels; with `maps` true also in training.
        pub sigma: f64,
        /// How the score of an image follows from its anomaly map, before upsampling: mean (the paper's), max, or top:P, the mean of the
        /// highest P per cent of its values.
        #[serde(default)]
        pub image_score: ImageScore,
        /// Quantile of the heatmaps' values from which on the colour is dark red.
        pub quantile: f64,
        /// After the last epoch, estimate the batch norms' mean and variance again, over ten training batches.
        pub reestimate: bool,
        /// Seed of all randomness.
        pub seed: u64,
        /// When to keep decoded images in memory: auto (if they take at most half of what is free), always, never, or a number of MiB that
        /// they may take; changes no result.
        #[serde(default)]
        pub hold: Hold,
    }
}

/// What a run may be told anew: where its data lies now, as far as that is not where it was, and what is held of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved {
    pub data: Option<PathBuf>,
    pub roi: Option<PathBuf>,
    pub ignore: Option<PathBuf>,
    pub outliers: Option<OutlierSource>,
    pub labelled: Option<LabelledSource>,
    pub hold: Option<Hold>,
}

impl Moved {
    /// To where the data of these settings lies.
    pub(crate) fn to_those_of(settings: &Settings) -> Moved {
        let Settings { data, roi, ignore, outliers, labelled, hold, .. } = settings.clone();
        Moved { data, roi, ignore, outliers, labelled, hold: Some(hold) }
    }
}

impl Settings {
    /// For a folder of images: good ones only, or MVTec-AD's layout.
    pub fn folder(data: impl Into<PathBuf>) -> Settings {
        Settings { data: Some(data.into()), ..Settings::preset(FOLDER) }
    }

    /// The preset of a dataset with what is [given](Settings::given) beside it. What is not given follows from what is: the net from
    /// the objective, anomalies from outliers, side and pipeline from the net.
    ///
    /// # Errors
    /// As of [`Settings::given`]; a net that does not exist. Whether they can be trained with, [`Settings::check`] tells.
    pub fn with(dataset: DatasetKind, given: &[(&str, String)]) -> Result<Settings> {
        let is_given = |name: &str| given.iter().any(|(other, _)| *other == name);
        let asked = Settings::preset(dataset).given(given)?;
        let noise = is_given("noise").then_some(asked.noise);
        let preset = Settings::preset(dataset).with_objective(asked.objective).with_anomalies(asked.outliers, noise);
        let mut settings = preset.given(given)?;
        let arch = settings.arch()?;
        if !is_given("side") {
            settings.side = arch.side;
        }
        if !is_given("pipeline") && arch.takes_imagenet_scale() {
            settings.pipeline = PipelineKind::Imagenet;
        }
        if arch.fixed {
            let own = presets::of_heads(settings.side).into_iter().filter(|(name, _)| !is_given(name));
            settings = settings.given(&own.collect::<Vec<_>>())?;
        }
        Ok(settings)
    }

    /// The same with other values for some settings, by their names and as text.
    ///
    /// # Errors
    /// A name that is no setting's, a text that is no value of its setting.
    pub fn given(mut self, given: &[(&str, String)]) -> Result<Settings> {
        for (name, text) in given {
            let Some(setting) = Setting::of(name) else {
                return Err(Error::setting(format!("there is no setting '{name}'"), "check its spelling"));
            };
            let problem = |why| Error::setting(format!("`{name}` {text}"), why);
            setting.read(&mut self, text).map_err(problem)?;
        }
        Ok(self)
    }

    /// Refuses what cannot work, and settings that would do nothing, before anything is loaded. Trainings begin with it.
    ///
    /// # Errors
    /// The first setting that is at fault, and what to choose instead.
    pub fn check(&self) -> Result<()> {
        let arch = self.arch()?;
        check_size(&arch, self.side, self.batch)?;
        check::pretrained(self, &arch)?;
        SETTINGS.iter().try_for_each(|setting| setting.refuse(self))
    }

    /// The same for another objective, with the net that matches. An autoencoder learns from good images alone, and FCDD alone from
    /// ground-truth maps.
    pub fn with_objective(self, objective: Objective) -> Settings {
        let net = baselines::counterpart(&self.net, objective);
        let supervise = if objective == Objective::Ae { Supervise::Unsupervised } else { self.supervise };
        // The baselines score an image as a whole.
        let image_score = if objective == Objective::Fcdd { self.image_score } else { ImageScore::Mean };
        Settings { objective, net, supervise, maps: self.maps && objective == Objective::Fcdd, image_score, ..self }
    }

    /// The same for a source of outliers and a noise mode, where they are named: outliers are there to be learned from, as in the
    /// paper. Where the preset wants some and nothing else is named, confetti stands in, which needs no data.
    pub(crate) fn with_anomalies(self, outliers: Option<OutlierSource>, noise: Option<NoiseMix>) -> Settings {
        let (supervise, by_default) = match (&outliers, &noise) {
            _ if self.objective == Objective::Ae => (self.supervise, self.noise),
            (Some(_), _) => (Supervise::Noise, NoiseMode::Outliers.into()),
            (None, None) if self.noise == NoiseMode::Outliers => {
                (Supervise::MalformedNormal, NoiseMode::Confetti.into())
            }
            (None, _) => (self.supervise, self.noise),
        };
        Settings { supervise, noise: noise.unwrap_or(by_default), outliers, ..self }
    }

    /// The same with absolute paths: the run does not depend on the folder that it was started in. Paths that lead nowhere stay as
    /// they are, until loading them says so.
    pub(crate) fn located(self) -> Result<Settings> {
        let located = |path: Option<PathBuf>| path.map(|path| absolute(&path)).transpose();
        let (data, weights) = (located(self.data)?, located(self.weights)?);
        let (roi, ignore) = (located(self.roi)?, located(self.ignore)?);
        let outliers = self.outliers.map(|source| absolute(source.path()).map(|path| source.at(path))).transpose()?;
        let labelled = match self.labelled {
            Some(LabelledSource::Folder(path)) => Some(LabelledSource::Folder(absolute(&path)?)),
            other => other,
        };
        Ok(Settings { data, roi, ignore, outliers, weights, labelled, ..self })
    }

    /// The same for data that lies elsewhere now. Outliers and labelled defects stay of their kind, and masks stay.
    pub(crate) fn moved(self, Moved { data, roi, ignore, outliers, labelled, hold }: Moved) -> Result<Settings> {
        if let Some(now) = &outliers
            && self.outliers.as_ref().is_none_or(|then| then.at(now.path().to_path_buf()) != *now)
        {
            let then = self.outliers.map_or("none".to_string(), |then| then.to_string());
            let problem = format!("`outliers` {now}: the outliers of the run are {then}");
            return Err(Error::setting(problem, "name where the same images lie now, or leave it out"));
        }
        // A folder may lie elsewhere now; what is part of the data may not.
        let is_folder = |source: &LabelledSource| source.folder().is_some();
        if let Some(now) = &labelled
            && self.labelled.as_ref().is_none_or(|then| then != now && !(is_folder(then) && is_folder(now)))
        {
            let then = self.labelled.map_or("none".to_string(), |then| then.to_string());
            let problem = format!("`labelled` {now}: the labelled defects of the run are {then}");
            return Err(Error::setting(problem, "name the folder where the same images lie now, or leave it out"));
        }
        let masks = [("roi", &roi, &self.roi), ("ignore", &ignore, &self.ignore)];
        if let Some((name, Some(now), _)) = masks.into_iter().find(|(_, now, then)| now.is_some() && then.is_none()) {
            let problem = format!("`{name}` {}: the run has none", now.printable());
            return Err(Error::setting(problem, "leave it out, or start a new run"));
        }
        Ok(Settings {
            data: data.or(self.data),
            roi: roi.or(self.roi),
            ignore: ignore.or(self.ignore),
            outliers: outliers.or(self.outliers),
            labelled: labelled.or(self.labelled),
            hold: hold.unwrap_or(self.hold),
            ..self
        })
    }

    /// What other settings have that these have not, as a text each; where data lies and what is held of it is no difference.
    pub(crate) fn differences(&self, other: &Settings) -> Vec<String> {
        // Other outliers, labelled defects or masks are a difference, not an error of their own.
        let there = self.clone().moved(Moved::to_those_of(other)).unwrap_or_else(|_| self.clone());
        if there == *other {
            return Vec::new();
        }
        let [there, now] = [&there, other].map(|settings| serde_json::to_value(settings).unwrap_or_default());
        let differs = now.as_object().into_iter().flatten().filter(|(name, value)| there[name.as_str()] != **value);
        differs.map(|(name, value)| format!("{name} {} there, {value} now", there[name.as_str()])).collect()
    }

    /// The objective's net of that name.
    pub(crate) fn arch(&self) -> Result<Arch> {
        baselines::of_objective(self.objective, &self.net, self.bias)
    }

    /// The words of the command that trains with these settings into `out`: every flag, so that no default matters.
    pub(crate) fn command(&self, out: &str) -> Vec<String> {
        let words = ["fcdd", "train"].into_iter().map(str::to_string);
        words.chain(self.words(|_| true)).chain(["--out", out].map(str::to_string)).collect()
    }

    /// The words for the dataset and for those settings that `which` picks.
    pub(crate) fn words(&self, which: fn(&Setting) -> bool) -> Vec<String> {
        let mut words = vec![self.dataset.word().to_string()];
        for setting in SETTINGS.iter().filter(|setting| which(setting)) {
            let Some(text) = setting.text(self) else { continue };
            let flag = format!("--{}", setting.flag());
            match setting.switch {
                None => words.extend([flag, text]),
                Some(on) if text == on.to_string() => words.push(flag),
                Some(_) => {}
            }
        }
        words
    }

    /// What is changed of the recipe's augmentation.
    pub(crate) fn augmentation(&self) -> Augmentation {
        let Settings { flips, rotate: rotation, brightness, .. } = *self;
        Augmentation { flips, rotation, brightness: brightness.map(|amount| amount as f32) }
    }

    /// The epoch whose views an epoch draws.
    pub(crate) fn drawn(&self, epoch: u32) -> u32 {
        self.views.map_or(epoch, |views| epoch % views)
    }

    /// Whether labelled anomalies of the normal class are learned from, as the outliers `mvtec_gt`.
    pub(crate) fn learns_mvtec_gt(&self) -> bool {
        self.outliers.as_ref().is_some_and(OutlierSource::are_own_anomalies)
    }

    /// Whether labelled anomalies of a dataset are learned from that is also tested on.
    pub(crate) fn learns_labelled(&self) -> bool {
        self.learns_mvtec_gt() || self.supervise == Supervise::Other || self.labelled.is_some()
    }

    /// Whether outliers are normal, and images of the class what the score is to rate.
    pub(crate) fn outliers_are_normal(&self) -> bool {
        self.dataset.rates_its_class && self.supervise == Supervise::Noise && self.noise == NoiseMode::Outliers
    }
}

/// Of runs before there was a choice.
fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn half() -> u32 {
    50
}

/// The path from the root, if it exists. It is kept as text.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if path.to_str().is_none() {
        return Err(Error::file(&path, "is not named in Unicode", "rename the folder"));
    }
    Ok(path)
}
