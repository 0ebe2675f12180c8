//! MNIST: idx files, plain or gzipped.

use std::path::Path;

use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec};
use crate::data::idx;
use crate::data::images::Images;
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Part, Query, Split};
use crate::error::Result;

pub const MNIST: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "mnist",
    explanation: "MNIST: idx files, ten digits",
    reader: &Mnist,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: SMALL_GREY,
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "mnist", images: OutlierImages::Labelled(|root| read(root, Part::Train)) }],
    preset: Preset::small_grey,
});

/// The recipe of small grey images.
pub const SMALL_GREY: Recipe = Recipe {
    resize: |_| ResizeMode::Squash,
    raw_side: 224,
    view: SeenPart::Whole,
    augment: |to| {
        to.then_whole(match to.kind.normalises_contrast() {
            true => vec![Transform::PadCrop { pad: 2 }, Transform::Flip],
            false => vec![to.jitter_all(0.1), Transform::PadCrop { pad: 3 }, Transform::Flip],
        })
    },
    noise: ImageNoise::Plain { std: 0.01 },
    mean_std: None,
    joint_extremes: false,
};

/// Its files, and those of Fashion-MNIST.
pub const TREE: &str = "  DIR/train-images-idx3-ubyte.gz (or without .gz)
  DIR/train-labels-idx1-ubyte.gz
  DIR/t10k-images-idx3-ubyte.gz
  DIR/t10k-labels-idx1-ubyte.gz";

#[derive(Debug)]
struct Mnist;

impl DatasetReader for Mnist {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok((0..10).map(|digit| digit.to_string()).collect())
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// Images and labels of MNIST or Fashion-MNIST.
pub fn read(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
    idx::read_pair(root, if part == Part::Train { "train" } else { "t10k" })
}
