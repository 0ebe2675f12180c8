//! The datasets that can be learned: one file for each, with everything that is particular to it, and its place in the [table](ALL).
//!
//! | file | holds |
//! | --- | --- |
//! | [`spec`] | what a dataset's file says, as a type |
//! | [`recipe`], [`preset`] | of that, how images become inputs, and what a training run is set to |
//! | [`dataset`] | loading a dataset as a task |
//! | [`labelled`] | labelled defects to learn from |
//! | [`outliers`] | images of one dataset as anomalies for another |
//!
//! A dataset of images with labels (MNIST, CIFAR) or of one folder per class (ImageNet) gives one task per class: that class is
//! normal, every other one anomalous. In a dataset of good and defective images of several things (MVTec-AD), the class is the
//! thing, and its images are labelled `good` or by their defect.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod cifar10;
pub mod cifar100;
pub(crate) mod custom;
pub(crate) mod dataset;
pub(crate) mod emnist;
pub mod fmnist;
pub mod folder;
pub mod imagenet;
pub(crate) mod labelled;
pub mod mnist;
pub mod mvtec;
pub(crate) mod outliers;
pub(crate) mod pascalvoc;
pub(crate) mod preset;
pub(crate) mod recipe;
pub(crate) mod spec;
#[cfg(test)]
mod toy;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::named::Named;

pub use spec::{DatasetKind, DatasetSpec};

/// All datasets.
pub const ALL: &[DatasetKind] = &[
    fmnist::FMNIST,
    mnist::MNIST,
    emnist::EMNIST,
    cifar10::CIFAR10,
    cifar100::CIFAR100,
    mvtec::MVTEC,
    imagenet::IMAGENET,
    pascalvoc::PASCALVOC,
    custom::CUSTOM,
    folder::FOLDER,
    #[cfg(test)]
    toy::TOY,
];

impl Named for DatasetKind {
    fn all() -> Vec<DatasetKind> {
        ALL.to_vec()
    }

    fn word(self) -> &'static str {
        self.word
    }

    fn explanation(self) -> &'static str {
        self.explanation
    }
}

impl Serialize for DatasetKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word)
    }
}

impl<'de> Deserialize<'de> for DatasetKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DatasetKind, D::Error> {
        let word = String::deserialize(deserializer)?;
        ALL.iter().copied().find(|dataset| dataset.word == word).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|dataset| dataset.word).collect();
            serde::de::Error::custom(format!("`{word}` is not a dataset: known are {}", known.join(", ")))
        })
    }
}
