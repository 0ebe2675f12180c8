//! MNIST, Fashion-MNIST and EMNIST's letters: idx files, plain or gzipped.

use std::path::Path;

use super::{DatasetReader, Part, Query, words};
use crate::data::dataset::Split;
use crate::data::idx;
use crate::data::images::Images;
use crate::error::Result;

/// Fashion-MNIST.
pub struct FashionMnist;
/// MNIST.
pub struct Mnist;
/// EMNIST's letters.
pub struct EmnistLetters;

const TREE: &str = "  DIR/train-images-idx3-ubyte.gz (or without .gz)
  DIR/train-labels-idx1-ubyte.gz
  DIR/t10k-images-idx3-ubyte.gz
  DIR/t10k-labels-idx1-ubyte.gz";

impl DatasetReader for FashionMnist {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words("t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read_digits(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

impl DatasetReader for Mnist {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok((0..10).map(|digit| digit.to_string()).collect())
    }

    fn read(&self, query: &Query) -> Result<Split> {
        FashionMnist.read(query)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

impl DatasetReader for EmnistLetters {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(('a'..='z').map(String::from).collect())
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read_letters(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        "  DIR/emnist-letters-train-images-idx3-ubyte.gz (or without .gz)
  DIR/emnist-letters-train-labels-idx1-ubyte.gz
  DIR/emnist-letters-test-images-idx3-ubyte.gz
  DIR/emnist-letters-test-labels-idx1-ubyte.gz"
    }
}

/// Images and labels of MNIST or Fashion-MNIST.
pub fn read_digits(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
    idx::read_pair(root, if part == Part::Train { "train" } else { "t10k" })
}

/// Images and labels of EMNIST's letters: its images are stored transposed, its labels count from 1.
pub fn read_letters(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
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
