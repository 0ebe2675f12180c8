//! Fashion-MNIST: idx files, as those of MNIST.

use std::path::Path;

use super::mnist::{self, SMALL_GREY};
use super::preset::Preset;
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, Home, OutlierImages, OutlierSpec, words};
use crate::data::split::{Part, Query, Split};
use crate::error::Result;

pub const FMNIST: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "fmnist",
    explanation: "Fashion-MNIST: idx files, ten kinds of clothing",
    reader: &FashionMnist,
    home: Some(Home {
        path: DEBIAN,
        absent: "Fashion-MNIST is not installed here",
        remedy: "run `apt-get install dataset-fashion-mnist`, or name a folder with its idx files with `data` DIR",
    }),
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: SMALL_GREY,
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "fmnist", images: OutlierImages::Labelled(|root| mnist::read(root, Part::Train)) }],
    preset: Preset::small_grey,
});

/// Where Debian's package `dataset-fashion-mnist` puts its files.
pub const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

#[derive(Debug)]
struct FashionMnist;

impl DatasetReader for FashionMnist {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words("t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = mnist::read(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        mnist::TREE
    }
}
