//! CIFAR-100: binary records in `train.bin` and `test.bin`, or one file of such records, which becomes the training split.

use std::path::{Path, PathBuf};

use super::cifar10::SMALL_PHOTOGRAPHS;
use super::preset::Preset;
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, missing, words};
use crate::data::cifar::{self, CifarLabels};
use crate::data::images::Images;
use crate::data::split::{Part, Query, Split};
use crate::error::Result;

pub const CIFAR100: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "cifar100",
    explanation: "CIFAR-100: binary records, a hundred kinds of things",
    reader: &Cifar100,
    home: None,
    may_be_file: true,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: SMALL_PHOTOGRAPHS,
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "cifar100", images: OutlierImages::Labelled(|root| read(root, Part::Train)) }],
    preset: Preset::small_photographs,
});

/// With its fine labels.
#[derive(Debug)]
struct Cifar100;

const TREE: &str = "  DIR/train.bin (or in DIR/cifar-100-binary)
  DIR/test.bin";

/// Names of the fine labels, in order.
const CLASSES: &str = "\
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can \
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster \
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck \
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk \
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger \
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

impl DatasetReader for Cifar100 {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words(CLASSES))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// Images and fine labels of a split: of a file in the folder, in the folder that the archive unpacks to, or of `root` itself.
fn read(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
    let name = format!("{}.bin", part.name());
    let candidates: [PathBuf; 3] = [root.to_path_buf(), root.join(&name), root.join("cifar-100-binary").join(&name)];
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => cifar::read(path, CifarLabels::CoarseAndFine),
        None => Err(missing(root, format!("holds no {name} of CIFAR-100's binary version"), TREE)),
    }
}
