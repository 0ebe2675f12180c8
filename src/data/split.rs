//! One split of a labelled dataset, and what is asked for to read it.

use std::path::Path;

use crate::data::image_source::{ImageSource, Raw};
use crate::data::images::{Images, Mask};
use crate::data::resize_mode::RawForm;
use crate::error::{Error, Result};

/// One split of a dataset.
#[derive(Clone, Debug)]
pub struct Split {
    /// All images, at the raw side (before augmentation and cropping).
    pub images: ImageSource,
    /// The label of each image, an index into the [names](Labels::names).
    pub classes: Vec<u16>,
    /// What each image is called: its path within the data folder, or split and number such as `test/00017`.
    pub names: Vec<String>,
    /// Ground truth per image at its *own* size before it was resized, all zero for good ones. Empty if the dataset has no masks.
    pub masks: Vec<Option<Mask>>,
    /// (height, width) of each image before it was resized. Empty if the dataset's images are no files.
    pub sizes: Vec<(usize, usize)>,
    /// What a user may want to know of the files, as texts: what was left out, masks that mark nothing.
    pub notes: Vec<String>,
}

/// The labels of a task's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Their names.
    pub names: Vec<String>,
    /// The one that is learned as normal.
    pub normal: u16,
}

/// Which split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Images to learn from.
    Train,
    /// Images to measure by.
    Test,
}

/// Which split of a task to read, and how.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The folder or file of the dataset.
    pub root: &'a Path,
    /// Name of the class that the task is about.
    pub class: &'a str,
    /// Labels of the task.
    pub labels: &'a Labels,
    pub part: Part,
    /// What its images become.
    pub raw: Raw,
    /// Whether to read normal training images and those of other labels, where these are files of their own.
    pub normal: bool,
    pub anomalies: bool,
    /// Leave out images that cannot be read, rather than refuse the dataset.
    pub skip_broken: bool,
}

impl Split {
    /// A split without images.
    pub fn empty(side: usize, channels: usize) -> Split {
        let images = Images::empty(side, side, channels).into();
        Split {
            images,
            classes: Vec::new(),
            names: Vec::new(),
            masks: Vec::new(),
            sizes: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Split {
        Split {
            images: self.images.select(indices),
            classes: indices.iter().map(|&i| self.classes[i]).collect(),
            names: indices.iter().map(|&i| self.names[i].clone()).collect(),
            masks: of_those(&self.masks, indices),
            sizes: of_those(&self.sizes, indices),
            notes: self.notes.clone(),
        }
    }

    /// Indices of the images for whose label `wanted` holds.
    pub fn indices(&self, wanted: impl Fn(u16) -> bool) -> Vec<usize> {
        (0..self.classes.len()).filter(|&i| wanted(self.classes[i])).collect()
    }
}

/// Items of a list that has one for each image, or none.
fn of_those<T: Clone>(items: &[T], indices: &[usize]) -> Vec<T> {
    if items.is_empty() { Vec::new() } else { indices.iter().map(|&i| items[i].clone()).collect() }
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
    /// Whether images of a label are asked for: all of a test split, of a training split those that are wanted.
    pub fn wants(&self, class: u16) -> bool {
        match self.part {
            Part::Test => true,
            Part::Train if class == self.labels.normal => self.normal,
            Part::Train => self.anomalies,
        }
    }

    /// A split of images that came with numbers for labels.
    pub fn labelled(&self, images: Images, labels: Vec<u8>) -> Result<Split> {
        let (part, classes) = (self.part.name(), self.labels.names.len());
        let RawForm { side, channels, .. } = self.raw.form;
        if let Some(i) = labels.iter().position(|&label| usize::from(label) >= classes) {
            let problem = format!("{part} image {i} has label {}, but there are {classes} classes", labels[i]);
            return Err(Error::file(self.root, problem, "give the dataset's own files"));
        }
        Images::room_for(images.count, side, channels)?;
        Ok(Split {
            names: (0..images.count).map(|i| format!("{part}/{i:05}")).collect(),
            classes: labels.into_iter().map(u16::from).collect(),
            images: images.resized(side).with_channels(channels).into(),
            masks: Vec::new(),
            sizes: Vec::new(),
            notes: Vec::new(),
        })
    }
}
