//! The data sets that can be learned: a file per layout, a line for each in [`format`](fn@format).
//!
//! A set of images with labels (MNIST, CIFAR) or of one folder per class (ImageNet) gives one task per class: that class is
//! nominal, every other one anomalous. In a set that knows good and defective pictures of several things (MVTec-AD), the class
//! is the thing, and its pictures are labelled `good` or by their defect.

pub mod cifar10;
pub mod cifar100;
pub mod custom;
pub mod folder;
pub mod imagenet;
pub mod mnist;
pub mod mvtec;
pub mod pascalvoc;
pub mod wordnet;

use std::path::Path;

use crate::data::dataset::{DatasetKind, Source, Split};
use crate::data::fit::RawForm;
use crate::data::images::Images;
use crate::error::{Error, Result};

/// The layout that a kind of data set is read from.
pub fn format(kind: DatasetKind) -> &'static dyn DatasetReader {
    match kind {
        DatasetKind::Fmnist => &mnist::FashionMnist,
        DatasetKind::Mnist => &mnist::Mnist,
        DatasetKind::Emnist => &mnist::EmnistLetters,
        DatasetKind::Cifar10 => &cifar10::Cifar10,
        DatasetKind::Cifar100 => &cifar100::Cifar100,
        DatasetKind::Mvtec => &mvtec::Mvtec,
        DatasetKind::Imagenet => &imagenet::Imagenet,
        DatasetKind::Pascalvoc => &pascalvoc::PascalVoc,
        DatasetKind::Custom => &custom::Custom,
        DatasetKind::Folder => &folder::Folder,
    }
}

/// How a data set lies on disk.
pub trait DatasetReader: Sync {
    /// The classes that can be nominal.
    fn classes(&self, root: &Path) -> Result<Vec<String>>;

    /// How the pictures of a task are labelled where the class of number `class` is nominal: by the classes themselves, unless a
    /// layout says otherwise.
    fn labels(&self, _root: &Path, classes: &[String], class: u16) -> Result<Labels> {
        Ok(Labels { names: classes.to_vec(), nominal: class })
    }

    /// Reads a split of a task.
    fn read(&self, query: &Query) -> Result<Split>;

    /// A drawing of the layout: the lines of a tree below `DIR`, each indented by two.
    fn tree(&self) -> &'static str;
}

/// The labels of a task's pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Their names.
    pub names: Vec<String>,
    /// The one that is learned as nominal.
    pub nominal: u16,
}

/// A split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Images to learn from.
    Train,
    /// Images to judge by.
    Test,
}

/// What a [`DatasetReader`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The folder or file of the set.
    pub root: &'a Path,
    /// Name of the nominal class.
    pub class: &'a str,
    /// Labels of the task.
    pub labels: &'a Labels,
    /// Which split.
    pub part: Part,
    /// In which shape, and what of it.
    pub source: &'a Source<'a>,
}

impl Part {
    /// The name that folders and files have for it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "test",
        }
    }
}

impl Query<'_> {
    /// Whether pictures of a label are asked for: all of a test split, of a training split those that the source wants.
    pub fn wants(&self, class: u16) -> bool {
        match self.part {
            Part::Test => true,
            Part::Train if class == self.labels.nominal => self.source.nominal,
            Part::Train => self.source.anomalies,
        }
    }

    /// A split of images that came with numbers for labels.
    fn labelled(&self, images: Images, labels: Vec<u8>) -> Result<Split> {
        let (part, classes) = (self.part.name(), self.labels.names.len());
        let RawForm { side, channels, .. } = self.source.raw.form;
        if let Some(i) = labels.iter().position(|&label| usize::from(label) >= classes) {
            let problem = format!("{part} image {i} has label {}, but there are {classes} classes", labels[i]);
            return Err(Error::file(self.root, problem, "give the data set's own files"));
        }
        Images::room_for(images.count, side, channels)?;
        Ok(Split {
            names: (0..images.count).map(|i| format!("{part}/{i:05}")).collect(),
            classes: labels.into_iter().map(u16::from).collect(),
            images: images.with_channels(channels).resized(side).into(),
            masks: Vec::new(),
            notes: Vec::new(),
        })
    }
}

/// An error about something that is missing from a set, with the tree that was expected.
pub fn missing(path: &Path, problem: impl Into<String>, tree: &str) -> Error {
    Error::file(path, problem, format!("expected is this tree:\n{tree}"))
}

/// Names from a list of words.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}
