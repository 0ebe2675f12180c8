//! What is particular to one dataset, and its name: the type of the entries of the [table](super::ALL).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::preset::Preset;
use super::recipe::Recipe;
use crate::data::images::Images;
use crate::data::split::{Labels, Query, Split};
use crate::error::{Error, Result};

/// Everything that is particular to one dataset.
#[derive(Debug)]
pub struct DatasetSpec {
    /// Its word in commands and files.
    pub word: &'static str,
    /// What it is, in a line: its name as people write it, a colon, and what it consists of.
    pub explanation: &'static str,
    pub reader: &'static dyn DatasetReader,
    /// Where it lies if that is not named.
    pub home: Option<Home>,
    /// Whether one file can stand for the folder of the dataset.
    pub may_be_file: bool,
    /// Whether its images are labelled as good or by their defect, so that labelled anomalies can be learned from.
    pub labels_good: bool,
    /// Whether the score is to rate the class that is named, so that its images are the anomalous ones and outliers normal.
    pub rates_its_class: bool,
    /// Whether good images alone are a whole dataset: then it is its folder that has a name, not its class, and test images are
    /// not missed.
    pub good_alone: bool,
    /// How its images become inputs.
    pub recipe: Recipe,
    /// WordNet ids of the classes of ImageNet that are no outliers to it, since they are or resemble its own.
    pub imagenet_ids: &'static [&'static str],
    /// As what its images serve as outliers of other datasets.
    pub outliers: &'static [OutlierSpec],
    /// What it is trained with, unless other settings are named.
    pub preset: fn() -> Preset,
}

/// One of the datasets, known by its word.
#[derive(Clone, Copy)]
pub struct DatasetKind(&'static DatasetSpec);

/// Where a dataset is installed, and what to say where it is not.
#[derive(Debug)]
pub struct Home {
    pub path: &'static str,
    pub absent: &'static str,
    pub remedy: &'static str,
}

/// How a dataset lies on disk.
pub trait DatasetReader: Sync + fmt::Debug {
    /// The classes that a run can be about.
    fn classes(&self, root: &Path) -> Result<Vec<String>>;

    /// How the images of a task are labelled where it is about the class of number `class`: as normal, unless a
    /// layout says otherwise.
    fn labels(&self, _root: &Path, classes: &[String], class: u16) -> Result<Labels> {
        Ok(Labels { names: classes.to_vec(), normal: class })
    }

    /// Reads a split of a task.
    fn read(&self, query: &Query) -> Result<Split>;

    /// A drawing of the layout: the lines of a tree below `DIR`, each indented by two.
    fn tree(&self) -> &'static str;
}

/// Images of a dataset as outliers. Two are the same if their words are.
#[derive(Debug)]
pub struct OutlierSpec {
    /// What stands before the colon in `KIND:PATH`.
    pub word: &'static str,
    pub images: OutlierImages,
}

/// Which images serve as outliers.
#[derive(Clone, Copy, Debug)]
pub enum OutlierImages {
    /// These, with their labels, from a folder or file. Those of the normal class are left out where they are of the normal
    /// dataset.
    Labelled(ReadLabelled),
    /// Those of these files, which come in groups. A limit is on each group.
    Files(ListFiles),
    /// Labelled anomalies of the normal class itself, from the test split, with their masks; see [`crate::data::labelled`].
    OwnAnomalies,
}

/// Reads images and their labels from a folder or file.
type ReadLabelled = fn(root: &Path) -> Result<(Images, Vec<u8>)>;

/// Lists the files of a folder, in groups, that are outliers to a class of a normal dataset.
type ListFiles = fn(root: &Path, normal: DatasetKind, class: &str) -> Result<Vec<Vec<PathBuf>>>;

impl DatasetKind {
    pub(crate) const fn new(spec: &'static DatasetSpec) -> DatasetKind {
        DatasetKind(spec)
    }

    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        self.explanation.split_once(':').map_or(self.explanation, |(name, _)| name)
    }

    /// What the images of the class are that a run is about.
    pub(crate) fn class_is(self) -> &'static str {
        if self.rates_its_class { "anomalous" } else { "normal" }
    }
}

impl Deref for DatasetKind {
    type Target = DatasetSpec;

    fn deref(&self) -> &DatasetSpec {
        self.0
    }
}

impl PartialEq for DatasetKind {
    fn eq(&self, other: &DatasetKind) -> bool {
        self.word == other.word
    }
}

impl Eq for DatasetKind {}

impl Hash for DatasetKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.word.hash(state);
    }
}

impl fmt::Debug for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)
    }
}

impl PartialEq for OutlierSpec {
    fn eq(&self, other: &OutlierSpec) -> bool {
        self.word == other.word
    }
}

impl Eq for OutlierSpec {}

/// An error about something that is missing from a dataset, with the tree that was expected.
pub(crate) fn missing(path: &Path, problem: impl Into<String>, tree: &str) -> Error {
    Error::file(path, problem, format!("expected layout:\n{tree}"))
}

/// Names from a list of words.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}
