//! EMNIST's letters: idx files, plain or gzipped.

use std::path::Path;

use super::mnist::SMALL_GREY;
use super::preset::Preset;
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec};
use crate::data::idx;
use crate::data::images::Images;
use crate::data::split::{Part, Query, Split};
use crate::error::Result;

pub(crate) const EMNIST: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "emnist",
    explanation: "EMNIST letters: idx files, 26 letters",
    reader: &EmnistLetters,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: SMALL_GREY,
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "emnist", images: OutlierImages::Labelled(|root| read(root, Part::Train)) }],
    preset: Preset::small_grey,
});

#[derive(Debug)]
struct EmnistLetters;

impl DatasetReader for EmnistLetters {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(('a'..='z').map(String::from).collect())
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        "  DIR/emnist-letters-train-images-idx3-ubyte.gz (or without .gz)
  DIR/emnist-letters-train-labels-idx1-ubyte.gz
  DIR/emnist-letters-test-images-idx3-ubyte.gz
  DIR/emnist-letters-test-labels-idx1-ubyte.gz"
    }
}

/// Its images are stored transposed, its labels count from 1.
fn read(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
    let (mut images, mut labels) = idx::read_pair(root, &format!("emnist-letters-{}", part.name()))?;
    let (h, w) = (images.height, images.width);
    let upright = |i: usize| {
        let image = images.image(i);
        (0..w).flat_map(move |x| (0..h).map(move |y| image[y * w + x]))
    };
    images = Images { height: w, width: h, pixels: (0..images.count).flat_map(upright).collect(), ..images };
    for label in &mut labels {
        // A label 0, which no file should hold, becomes 255 and is refused like any other unknown class.
        *label = label.wrapping_sub(1);
    }
    Ok((images, labels))
}
