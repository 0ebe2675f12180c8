//! Labelled image sets with a training and a test split.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::fit::{RawForm, ResizeMode};
use crate::data::images::{Images, Mask};
use crate::data::sets::{self, DatasetReader, Labels, Part, Query, missing};
use crate::data::store::{Hold, ImageSource, Raw};
use crate::error::{Error, Result};

/// Where Debian's package `dataset-fashion-mnist` puts its files.
pub(crate) const DEBIAN_FMNIST: &str = "/usr/share/datasets/fashion-mnist";

/// The sets that can serve as nominal data.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    Serialize,
    Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum DatasetKind {
    /// Fashion-MNIST: idx files, ten kinds of clothing
    Fmnist,
    /// MNIST: idx files, ten digits
    Mnist,
    /// EMNIST letters: idx files, 26 letters
    Emnist,
    /// CIFAR-10: binary records or PNG sheets, ten kinds of things
    Cifar10,
    /// CIFAR-100: binary records, a hundred kinds of things
    Cifar100,
    /// MVTec-AD: a folder per kind of product or surface
    Mvtec,
    /// ImageNet-30: folders named by WordNet id
    Imagenet,
    /// Pascal VOC 2007: horses against the rest
    Pascalvoc,
    /// Pictures in a folder per class, with the paper's settings for them
    Custom,
    /// A folder of pictures: MVTec-AD's layout, or good pictures only
    Folder,
}

/// One split of a set.
#[derive(Clone, Debug)]
pub struct Split {
    /// All images, at the raw side (before augmentation and cropping).
    pub images: ImageSource,
    /// The class of each image, an index into [`Dataset::class_names`].
    pub classes: Vec<u16>,
    /// What each image is called: its path within the data folder, or split and number such as `test/00017`.
    pub names: Vec<String>,
    /// Ground truth per image at the *picture's own* size, all zero for good ones. Empty if the set has no masks.
    pub masks: Vec<Option<Mask>>,
    /// What a user may want to know of the files, in words: what was left out, masks that mark nothing.
    pub notes: Vec<String>,
}

/// A labelled set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What is learned, by name: a class, or the thing of which there are good and defective pictures.
    pub class: String,
    /// Names of the labels of the images.
    pub class_names: Vec<String>,
    /// The nominal one.
    pub nominal: u16,
    /// Images to learn from.
    pub train: Split,
    /// Images to judge by.
    pub test: Split,
}

/// Which images to load, and in which shape.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub kind: DatasetKind,
    /// The folder or file of the set; None for one that is found by itself.
    pub data: Option<&'a Path>,
    /// The nominal class, by name or number.
    pub class: &'a str,
    /// What its pictures become.
    pub raw: Raw,
    /// Whether to read nominal training pictures and those of other labels, where these are files of their own.
    pub nominal: bool,
    pub anomalies: bool,
    /// Leave out pictures that cannot be read, rather than refuse the set.
    pub skip_broken: bool,
}

impl DatasetKind {
    /// Whether the score is to rate the class that is named, so that its pictures are the anomalous ones and outliers nominal.
    pub fn rates_its_class(self) -> bool {
        self == DatasetKind::Pascalvoc
    }
}

impl Split {
    /// A split without images.
    pub fn empty(side: usize, channels: usize) -> Split {
        let images = Images::empty(side, side, channels).into();
        Split { images, classes: Vec::new(), names: Vec::new(), masks: Vec::new(), notes: Vec::new() }
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Split {
        Split {
            images: self.images.select(indices),
            classes: indices.iter().map(|&i| self.classes[i]).collect(),
            names: indices.iter().map(|&i| self.names[i].clone()).collect(),
            masks: if self.masks.is_empty() {
                Vec::new()
            } else {
                indices.iter().map(|&i| self.masks[i].clone()).collect()
            },
            notes: self.notes.clone(),
        }
    }

    /// Indices of the images for whose class `wanted` holds.
    pub fn indices(&self, wanted: impl Fn(u16) -> bool) -> Vec<usize> {
        (0..self.classes.len()).filter(|&i| wanted(self.classes[i])).collect()
    }
}

impl<'a> Source<'a> {
    /// The first class of a set, its nominal pictures to learn from, without masks, in as much memory as there is.
    pub fn new(kind: DatasetKind, data: Option<&'a Path>, side: usize, channels: usize) -> Source<'a> {
        let form = RawForm { side, channels, fit: ResizeMode::of(kind, false) };
        let raw = Raw { form, hold: Hold::Auto };
        Source { kind, data, class: "0", raw, nominal: true, anomalies: false, skip_broken: false }
    }

    fn open(&self) -> Result<Task<'a>> {
        let root = root(self.kind, self.data)?;
        let format = sets::format(self.kind);
        let classes = format.classes(&root)?;
        let class = class_index(&classes, self.class)?;
        let labels = format.labels(&root, &classes, class)?;
        Ok(Task { source: *self, root, format, class: classes[usize::from(class)].clone(), labels })
    }
}

/// A set with its nominal class, before its images are read.
struct Task<'a> {
    source: Source<'a>,
    root: PathBuf,
    format: &'static dyn DatasetReader,
    class: String,
    labels: Labels,
}

impl Task<'_> {
    fn read(&self, part: Part) -> Result<Split> {
        let Task { source, root, format, class, labels } = self;
        format.read(&Query { root, class, labels, part, source })
    }

    fn with(self, train: Split, test: Split) -> Dataset {
        let Labels { names: class_names, nominal } = self.labels;
        Dataset { class: self.class, class_names, nominal, train, test }
    }

    fn empty(&self) -> Split {
        Split::empty(self.source.raw.form.side, self.source.raw.form.channels)
    }
}

impl Dataset {
    /// Loads both splits. One file of CIFAR-100 records is the training split.
    pub fn load(source: &Source) -> Result<Dataset> {
        let task = source.open()?;
        let train = task.read(Part::Train)?;
        let test = if task.root.is_file() { task.empty() } else { task.read(Part::Test)? };
        Ok(task.with(train, test))
    }

    /// The same with an empty training split, for evaluation. One file of CIFAR-100 records is the test split here.
    pub fn load_test(source: &Source) -> Result<Dataset> {
        let task = source.open()?;
        let test = task.read(Part::Test)?;
        if test.images.count() == 0 {
            return Err(missing(&task.root, "holds no test pictures", task.format.tree()));
        }
        let train = task.empty();
        Ok(task.with(train, test))
    }

    /// Indices of the training images of the nominal class.
    pub fn nominal(&self) -> Result<Vec<usize>> {
        let indices = self.train.indices(|class| class == self.nominal);
        if indices.is_empty() {
            let (class, name) = (self.nominal, &self.class_names[usize::from(self.nominal)]);
            let problem = format!("no training image is of class {class} ({name})");
            return Err(Error::setting(problem, "choose another class or complete the data"));
        }
        Ok(indices)
    }

    /// Indices of the training images of every other class: the true anomalies.
    pub fn anomalous(&self) -> Vec<usize> {
        self.train.indices(|class| class != self.nominal)
    }
}

/// The class that a user named by index or by name.
pub fn class_index(classes: &[String], class: &str) -> Result<u16> {
    let by_name = classes.iter().position(|name| name.eq_ignore_ascii_case(class));
    match (by_name, class.parse::<usize>()) {
        (Some(index), _) => Ok(index as u16),
        (None, Ok(index)) if index < classes.len() => Ok(index as u16),
        (None, Ok(index)) => {
            let known = classes.iter().enumerate().map(|(i, name)| format!("{i} {name}")).collect::<Vec<_>>();
            let remedy = format!("choose one of 0…{}: {}", classes.len() - 1, known.join(", "));
            Err(Error::setting(format!("class {index} does not exist"), remedy))
        }
        (None, Err(_)) => Err(Error::setting(
            format!("there is no class '{class}'"),
            format!("choose one of {}, by name or by number from 0", classes.join(", ")),
        )),
    }
}

/// Names of the classes that can be nominal: what a sweep goes over.
pub fn nominal_classes(kind: DatasetKind, data: Option<&Path>) -> Result<Vec<String>> {
    sets::format(kind).classes(&root(kind, data)?)
}

/// The folder or file that the set is read from.
fn root(kind: DatasetKind, data: Option<&Path>) -> Result<PathBuf> {
    match data {
        Some(path) if path.is_dir() || (path.is_file() && kind == DatasetKind::Cifar100) => Ok(path.to_path_buf()),
        Some(path) if path.is_file() => Err(Error::file(path, "is a file", "name the folder that holds the data")),
        Some(path) => Err(Error::file(
            path,
            "no such data folder",
            "check its spelling, or name the folder where it lies by `data` DIR",
        )),
        None if kind != DatasetKind::Fmnist => {
            Err(Error::setting("the data is not named", "name the folder that holds it by `data` DIR"))
        }
        None if Path::new(DEBIAN_FMNIST).is_dir() => Ok(PathBuf::from(DEBIAN_FMNIST)),
        None => {
            let remedy =
                "run `apt-get install dataset-fashion-mnist`, or name a folder with its idx files by `data` DIR";
            Err(Error::file(DEBIAN_FMNIST, "Fashion-MNIST is not installed here", remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::data::idx::tests::{gzip, idx_images, idx_labels};
    use std::fs;

    fn load(kind: DatasetKind, data: &Path, class: &str, (side, channels): (usize, usize)) -> Result<Dataset> {
        Dataset::load(&Source { class, ..Source::new(kind, Some(data), side, channels) })
    }

    fn write_idx(dir: &Path, stem: &str, labels: &[u8]) {
        let images = idx_images(labels.len(), |i| 10 * i as u8);
        fs::write(dir.join(format!("{stem}-images-idx3-ubyte.gz")), gzip(&images)).unwrap();
        fs::write(dir.join(format!("{stem}-labels-idx1-ubyte")), idx_labels(labels)).unwrap();
    }

    #[test]
    fn idx_sets_load_at_any_side_and_channels() {
        let dir = tempfile::tempdir().unwrap();
        write_idx(dir.path(), "train", &[3, 0, 3]);
        write_idx(dir.path(), "t10k", &[9]);
        let set = load(DatasetKind::Fmnist, dir.path(), "3", (28, 1)).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (3, 1));
        assert_eq!(set.train.classes, [3, 0, 3]);
        assert_eq!(set.test.names, ["test/00000"]);
        assert_eq!(set.nominal().unwrap(), [0, 2]);
        assert_eq!(set.anomalous(), [1]);
        let coats = load(DatasetKind::Fmnist, dir.path(), "Coat", (28, 1)).unwrap();
        assert!(coats.nominal().unwrap_err().to_string().contains("coat"));
        let message = load(DatasetKind::Fmnist, dir.path(), "10", (28, 1)).unwrap_err().to_string();
        assert!(message.contains("class 10 does not exist") && message.contains("8 bag"), "{message}");
        let large = load(DatasetKind::Mnist, dir.path(), "0", (32, 3)).unwrap();
        assert_eq!(large.train.images.load(&[2]).unwrap().pixels, [20; 32 * 32 * 3]);
        let test = Dataset::load_test(&Source::new(DatasetKind::Mnist, Some(dir.path()), 28, 1)).unwrap();
        assert_eq!((test.train.images.count(), test.test.images.count()), (0, 1));
    }

    #[test]
    fn emnist_is_turned_upright_and_counted_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = idx_images(1, |_| 0);
        images[16 + 1] = 200; // stored row 0, column 1
        fs::write(dir.path().join("emnist-letters-test-images-idx3-ubyte"), images).unwrap();
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[26])).unwrap();
        let set = Dataset::load_test(&Source::new(DatasetKind::Emnist, Some(dir.path()), 28, 1)).unwrap();
        assert_eq!(set.test.images.load(&[0]).unwrap().pixels[28], 200);
        assert_eq!(set.class_names[usize::from(set.test.classes[0])], "z");
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[0])).unwrap();
        assert!(Dataset::load_test(&Source::new(DatasetKind::Emnist, Some(dir.path()), 28, 1)).is_err());
    }

    #[test]
    fn cifar100_is_a_folder_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train.bin"), record(&[0, 1], [10, 20, 30])).unwrap();
        let message = load(DatasetKind::Cifar100, dir.path(), "0", (32, 3)).unwrap_err().to_string();
        assert!(message.contains("test.bin"), "{message}");
        fs::write(dir.path().join("test.bin"), record(&[0, 99], [1, 2, 3])).unwrap();
        let set = load(DatasetKind::Cifar100, dir.path(), "0", (32, 3)).unwrap();
        assert_eq!(set.class_names.len(), 100);
        assert_eq!(set.test.classes, [99]);
        let file = dir.path().join("train.bin");
        let set = load(DatasetKind::Cifar100, &file, "0", (32, 1)).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (1, 0));
        fs::write(&file, record(&[0, 100], [0; 3])).unwrap();
        let message = load(DatasetKind::Cifar100, &file, "0", (32, 3)).unwrap_err().to_string();
        assert!(message.contains("label 100"), "{message}");
    }

    #[test]
    fn missing_data_is_explained() {
        let says = |kind, path: Option<&str>, words: &str| {
            let source = Source::new(kind, path.map(Path::new), 28, 1);
            let message = Dataset::load(&source).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        says(DatasetKind::Fmnist, Some("/no/such/folder"), "/no/such/folder: no such data folder");
        says(DatasetKind::Mnist, None, "`data` DIR");
        says(DatasetKind::Fmnist, Some(file!()), "is a file");
    }
}
