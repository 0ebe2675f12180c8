//! Labelled image sets with a training and a test split.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::images::{Images, Mask};
use crate::data::{cifar, folder, idx};
use crate::error::{Error, Result};

/// Where Debian's package `dataset-fashion-mnist` puts its files.
pub(crate) const DEBIAN_FMNIST: &str = "/usr/share/datasets/fashion-mnist";

/// The sets that can serve as nominal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
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
    #[value(alias = "voc")]
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
    pub images: Images,
    /// The class of each image, an index into [`Dataset::class_names`].
    pub classes: Vec<u16>,
    /// What each image is called: its path within the data folder, or split and number such as `test/00017`.
    pub names: Vec<String>,
    /// Ground truth per image at the *picture's own* size, all zero for good ones. Empty if the set has no masks.
    pub masks: Vec<Option<Mask>>,
}

/// A labelled set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Images to learn from.
    pub train: Split,
    /// Images to judge by.
    pub test: Split,
}

impl Split {
    /// A split without images.
    pub fn empty(side: usize, channels: usize) -> Split {
        Split { images: Images::empty(side, side, channels), classes: Vec::new(), names: Vec::new(), masks: Vec::new() }
    }

    /// Indices of the images for whose class `wanted` holds.
    pub fn indices(&self, wanted: impl Fn(u16) -> bool) -> Vec<usize> {
        (0..self.classes.len()).filter(|&i| wanted(self.classes[i])).collect()
    }
}

impl Dataset {
    /// Loads both splits with images of `raw_side × raw_side × channels`.
    ///
    /// `data` names a folder (idx files; CIFAR-100's `train.bin` and `test.bin`; pictures, see [`folder`]) or, for CIFAR-100,
    /// one file of records, which becomes the training split. Without it, Fashion-MNIST is taken from Debian's package.
    pub fn load(kind: DatasetKind, data: Option<&Path>, raw_side: usize, channels: usize) -> Result<Dataset> {
        let root = root(kind, data)?;
        let class_names = class_names(kind, &root)?;
        let train = load_split(kind, &root, true, &class_names, raw_side, channels)?;
        let test = if root.is_file() {
            Split::empty(raw_side, channels)
        } else {
            load_split(kind, &root, false, &class_names, raw_side, channels)?
        };
        Ok(Dataset { class_names, train, test })
    }

    /// The same with an empty training split, for evaluation. One file of CIFAR-100 records is the test split here.
    pub fn load_test(kind: DatasetKind, data: Option<&Path>, raw_side: usize, channels: usize) -> Result<Dataset> {
        let root = root(kind, data)?;
        let class_names = class_names(kind, &root)?;
        let test = load_split(kind, &root, false, &class_names, raw_side, channels)?;
        if test.images.count == 0 {
            return Err(Error::file(&root, "holds no test pictures", folder::expected_layout()));
        }
        Ok(Dataset { class_names, train: Split::empty(raw_side, channels), test })
    }

    /// Indices of the training images of the nominal class.
    pub fn nominal(&self, class: u16) -> Result<Vec<usize>> {
        self.check_class(class)?;
        let indices = self.train.indices(|c| c == class);
        if indices.is_empty() {
            let problem = format!("no training image is of class {class} ({})", self.class_names[usize::from(class)]);
            return Err(Error::setting(problem, "choose another class or complete the data"));
        }
        Ok(indices)
    }

    /// Indices of the training images of every other class: the true anomalies.
    pub fn anomalous(&self, class: u16) -> Result<Vec<usize>> {
        self.check_class(class)?;
        Ok(self.train.indices(|c| c != class))
    }

    /// Fails unless `class` is one of the set's classes.
    pub fn check_class(&self, class: u16) -> Result<()> {
        let n = self.class_names.len();
        if usize::from(class) < n {
            return Ok(());
        }
        let known = self.class_names.iter().enumerate().map(|(i, name)| format!("{i} {name}")).collect::<Vec<_>>();
        let remedy = format!("choose one of 0…{}: {}", n - 1, known.join(", "));
        Err(Error::setting(format!("class {class} does not exist"), remedy))
    }
}

/// Names of the classes that can be nominal: what a sweep goes over.
pub fn nominal_classes(kind: DatasetKind, data: Option<&Path>) -> Result<Vec<String>> {
    let root = root(kind, data)?;
    match kind {
        DatasetKind::Folder => Ok(vec![folder::GOOD.to_string()]),
        _ => class_names(kind, &root),
    }
}

/// The folder or file that the set is read from.
fn root(kind: DatasetKind, data: Option<&Path>) -> Result<PathBuf> {
    match data {
        Some(path) if path.is_dir() || (path.is_file() && kind == DatasetKind::Cifar100) => Ok(path.to_path_buf()),
        Some(path) if path.is_file() => Err(Error::file(path, "is a file", "name the folder that holds the data")),
        Some(path) => Err(Error::file(
            path,
            "no such data folder",
            "check its spelling, or name the folder where it lies by --data DIR",
        )),
        None if kind != DatasetKind::Fmnist => {
            Err(Error::setting("the data is not named", "name the folder that holds it by --data DIR"))
        }
        None if Path::new(DEBIAN_FMNIST).is_dir() => Ok(PathBuf::from(DEBIAN_FMNIST)),
        None => {
            let remedy =
                "run `apt-get install dataset-fashion-mnist`, or name a folder with its idx files by --data DIR";
            Err(Error::file(DEBIAN_FMNIST, "Fashion-MNIST is not installed here", remedy))
        }
    }
}

fn class_names(kind: DatasetKind, root: &Path) -> Result<Vec<String>> {
    let words = |text: &str| text.split_whitespace().map(str::to_string).collect();
    Ok(match kind {
        DatasetKind::Fmnist => words("t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"),
        DatasetKind::Mnist => (0..10).map(|digit| digit.to_string()).collect(),
        DatasetKind::Emnist => ('a'..='z').map(String::from).collect(),
        DatasetKind::Cifar100 => words(cifar::FINE_CLASSES),
        DatasetKind::Cifar10
        | DatasetKind::Mvtec
        | DatasetKind::Imagenet
        | DatasetKind::Pascalvoc
        | DatasetKind::Custom => return Err(Error::internal("no loader yet")),
        DatasetKind::Folder => folder::class_names(root)?,
    })
}

fn load_split(
    kind: DatasetKind,
    root: &Path,
    train: bool,
    class_names: &[String],
    side: usize,
    channels: usize,
) -> Result<Split> {
    let split = if train { "train" } else { "test" };
    let (images, labels) = match kind {
        DatasetKind::Fmnist | DatasetKind::Mnist => idx::read_pair(root, if train { "train" } else { "t10k" })?,
        DatasetKind::Emnist => read_emnist(root, split)?,
        DatasetKind::Cifar100 => cifar::read(&cifar_file(root, split)?)?,
        DatasetKind::Cifar10
        | DatasetKind::Mvtec
        | DatasetKind::Imagenet
        | DatasetKind::Pascalvoc
        | DatasetKind::Custom => return Err(Error::internal("no loader yet")),
        DatasetKind::Folder if train => return folder::train(root, side, channels),
        DatasetKind::Folder => return folder::test(root, class_names, side, channels),
    };
    if let Some(i) = labels.iter().position(|&label| usize::from(label) >= class_names.len()) {
        let problem = format!("{split} image {i} has label {}, but there are {} classes", labels[i], class_names.len());
        return Err(Error::file(root, problem, "give the data set's own files"));
    }
    Images::room_for(images.count, side, channels)?;
    Ok(Split {
        names: (0..images.count).map(|i| format!("{split}/{i:05}")).collect(),
        classes: labels.into_iter().map(u16::from).collect(),
        images: images.with_channels(channels).resized(side),
        masks: Vec::new(),
    })
}

/// EMNIST's letters: its images are stored transposed, its labels count from 1.
pub(crate) fn read_emnist(root: &Path, split: &str) -> Result<(Images, Vec<u8>)> {
    let (mut images, mut labels) = idx::read_pair(root, &format!("emnist-letters-{split}"))?;
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

/// The file of one split of CIFAR-100: in the folder, in the folder its archive unpacks to, or `root` itself.
pub(crate) fn cifar_file(root: &Path, split: &str) -> Result<PathBuf> {
    let candidates =
        [root.to_path_buf(), root.join(format!("{split}.bin")), root.join(format!("cifar-100-binary/{split}.bin"))];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let remedy = "name the folder of CIFAR-100's binary version, or one file of its records";
        Error::file(root, format!("holds no {split}.bin"), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::data::idx::tests::{gzip, idx_images, idx_labels};
    use std::fs;

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
        let set = Dataset::load(DatasetKind::Fmnist, Some(dir.path()), 28, 1).unwrap();
        assert_eq!((set.train.images.count, set.test.images.count), (3, 1));
        assert_eq!(set.train.classes, [3, 0, 3]);
        assert_eq!(set.test.names, ["test/00000"]);
        assert_eq!(set.nominal(3).unwrap(), [0, 2]);
        assert_eq!(set.anomalous(3).unwrap(), [1]);
        assert!(set.nominal(4).unwrap_err().to_string().contains("coat"));
        let message = set.nominal(10).unwrap_err().to_string();
        assert!(message.contains("class 10 does not exist") && message.contains("8 bag"), "{message}");
        let large = Dataset::load(DatasetKind::Mnist, Some(dir.path()), 32, 3).unwrap();
        assert_eq!(large.train.images.image(2), [20; 32 * 32 * 3]);
        let test = Dataset::load_test(DatasetKind::Mnist, Some(dir.path()), 28, 1).unwrap();
        assert_eq!((test.train.images.count, test.test.images.count), (0, 1));
    }

    #[test]
    fn emnist_is_turned_upright_and_counted_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = idx_images(1, |_| 0);
        images[16 + 1] = 200; // stored row 0, column 1
        fs::write(dir.path().join("emnist-letters-test-images-idx3-ubyte"), images).unwrap();
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[26])).unwrap();
        let set = Dataset::load_test(DatasetKind::Emnist, Some(dir.path()), 28, 1).unwrap();
        assert_eq!(set.test.images.image(0)[28], 200);
        assert_eq!(set.class_names[usize::from(set.test.classes[0])], "z");
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[0])).unwrap();
        assert!(Dataset::load_test(DatasetKind::Emnist, Some(dir.path()), 28, 1).is_err());
    }

    #[test]
    fn cifar100_is_a_folder_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train.bin"), record(0, 1, [10, 20, 30])).unwrap();
        let message = Dataset::load(DatasetKind::Cifar100, Some(dir.path()), 32, 3).unwrap_err().to_string();
        assert!(message.contains("test.bin"), "{message}");
        fs::write(dir.path().join("test.bin"), record(0, 99, [1, 2, 3])).unwrap();
        let set = Dataset::load(DatasetKind::Cifar100, Some(dir.path()), 32, 3).unwrap();
        assert_eq!(set.class_names.len(), 100);
        assert_eq!(set.test.classes, [99]);
        let file = dir.path().join("train.bin");
        let set = Dataset::load(DatasetKind::Cifar100, Some(&file), 32, 1).unwrap();
        assert_eq!((set.train.images.count, set.test.images.count), (1, 0));
        fs::write(&file, record(0, 100, [0; 3])).unwrap();
        let message = Dataset::load(DatasetKind::Cifar100, Some(&file), 32, 3).unwrap_err().to_string();
        assert!(message.contains("label 100"), "{message}");
    }

    #[test]
    fn missing_data_is_explained() {
        let says = |kind, path: Option<&str>, words: &str| {
            let message = Dataset::load(kind, path.map(Path::new), 28, 1).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        says(DatasetKind::Fmnist, Some("/no/such/folder"), "/no/such/folder: no such data folder");
        says(DatasetKind::Mnist, None, "--data DIR");
        says(DatasetKind::Fmnist, Some(file!()), "is a file");
    }
}
