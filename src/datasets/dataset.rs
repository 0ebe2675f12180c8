//! Loading a dataset as a task: one class is normal, every other one anomalous.

use std::path::{Path, PathBuf};

use super::spec::{DatasetKind, missing};
use crate::data::image_source::{Hold, Raw};
use crate::data::levels::Levels;
use crate::data::pipeline::PipelineKind;
use crate::data::resize_mode::RawForm;
use crate::data::split::{Labels, Part, Query, Split};
use crate::error::{Error, Result};
use crate::printable::escaped;

/// A labelled dataset with a training and a test split.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    /// What is learned, by name: a class, or the thing of which there are good and defective images.
    pub class: String,
    /// Names of the labels of the images.
    pub class_names: Vec<String>,
    /// The normal one.
    pub normal: u16,
    /// Images to learn from.
    pub train: Split,
    /// Images to measure by.
    pub test: Split,
}

/// Which images to load, and in which shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatasetSource<'a> {
    pub kind: DatasetKind,
    /// The folder or file of the dataset; None for one that is found by itself.
    pub data: Option<&'a Path>,
    /// The class that the task is about, by name or number: [normal or anomalous](DatasetKind::class_is).
    pub class: &'a str,
    /// What its images become.
    pub raw: Raw,
    /// Whether to read normal training images and those of other labels, where these are files of their own.
    pub normal: bool,
    pub anomalies: bool,
    /// Leave out images that cannot be read, rather than refuse the dataset.
    pub skip_broken: bool,
}

impl<'a> DatasetSource<'a> {
    /// The first class of a dataset, its normal images to learn from, without masks, in as much memory as there is.
    pub(crate) fn new(kind: DatasetKind, data: Option<&'a Path>, side: usize, channels: usize) -> DatasetSource<'a> {
        let form = RawForm { side, channels, resize: (kind.recipe.resize)(PipelineKind::None), levels: Levels::ALL };
        let raw = Raw { form, hold: Hold::Auto };
        DatasetSource { kind, data, class: "0", raw, normal: true, anomalies: false, skip_broken: false }
    }

    fn open(&self) -> Result<LocatedDataset<'a>> {
        let root = root(self.kind, self.data)?;
        let reader = self.kind.reader;
        let classes = reader.classes(&root)?;
        let class = class_index(&classes, self.class)?;
        let labels = reader.labels(&root, &classes, class)?;
        Ok(LocatedDataset { source: *self, root, class: classes[usize::from(class)].clone(), labels })
    }
}

/// A dataset with the class that the task is about, before its images are read.
struct LocatedDataset<'a> {
    source: DatasetSource<'a>,
    root: PathBuf,
    class: String,
    labels: Labels,
}

impl LocatedDataset<'_> {
    /// A part of it, by some levels or by those that its normal images are to tell.
    fn read(&self, part: Part, levels: Option<Levels>) -> Result<Split> {
        let LocatedDataset { source, root, class, labels } = self;
        let DatasetSource { kind, raw, normal, anomalies, skip_broken, .. } = *source;
        let form = RawForm { levels: levels.unwrap_or(raw.form.levels), ..raw.form };
        let (raw, learns_levels) = (Raw { form, ..raw }, levels.is_none());
        kind.reader.read(&Query { root, class, labels, part, raw, learns_levels, normal, anomalies, skip_broken })
    }

    fn with(self, train: Split, test: Split) -> Dataset {
        let Labels { names: class_names, normal } = self.labels;
        Dataset { class: self.class, class_names, normal, train, test }
    }

    fn empty(&self) -> Split {
        Split::empty(self.source.raw.form.side, self.source.raw.form.channels)
    }
}

impl Dataset {
    /// Loads both splits. A dataset that is one file is the training split.
    pub(crate) fn load(source: &DatasetSource) -> Result<Dataset> {
        let task = source.open()?;
        let train = task.read(Part::Train, None)?;
        let test = if task.root.is_file() { task.empty() } else { task.read(Part::Test, Some(train.levels))? };
        Ok(task.with(train, test))
    }

    /// The same with an empty training split, for evaluation. A dataset that is one file is the test split here.
    pub(crate) fn load_test(source: &DatasetSource) -> Result<Dataset> {
        let task = source.open()?;
        let test = task.read(Part::Test, Some(source.raw.form.levels))?;
        if test.images.count() == 0 {
            return Err(missing(&task.root, "holds no test images", task.source.kind.reader.tree()));
        }
        let train = task.empty();
        Ok(task.with(train, test))
    }

    /// Indices of the training images of the normal class.
    pub(crate) fn normal(&self) -> Result<Vec<usize>> {
        let indices = self.train.indices(|class| class == self.normal);
        if indices.is_empty() {
            let (class, name) = (self.normal, &self.class_names[usize::from(self.normal)]);
            let problem = format!("no training image is of class {class} ({name})");
            return Err(Error::setting(problem, "choose another class or complete the data"));
        }
        Ok(indices)
    }

    /// Indices of the training images of every other class: the true anomalies.
    pub(crate) fn anomalous(&self) -> Vec<usize> {
        self.train.indices(|class| class != self.normal)
    }
}

/// The class that a user named by index or by name.
pub(crate) fn class_index(classes: &[String], class: &str) -> Result<u16> {
    let list = |classes: Vec<String>| escaped(&classes.join(", ")).into_owned();
    let by_name = classes.iter().position(|name| name.eq_ignore_ascii_case(class));
    match (by_name, class.parse::<usize>()) {
        (Some(index), _) => Ok(index as u16),
        (None, Ok(index)) if index < classes.len() => Ok(index as u16),
        (None, Ok(index)) => {
            let known = classes.iter().enumerate().map(|(i, name)| format!("{i} {name}")).collect();
            let remedy = format!("choose one of 0…{}: {}", classes.len() - 1, list(known));
            Err(Error::setting(format!("class {index} does not exist"), remedy))
        }
        (None, Err(_)) => Err(Error::setting(
            format!("there is no class '{}'", escaped(class)),
            format!("choose one of {}, by name or by number from 0", list(classes.to_vec())),
        )),
    }
}

/// Names of the classes that a run can be about: what a sweep goes over.
pub(crate) fn known_classes(kind: DatasetKind, data: Option<&Path>) -> Result<Vec<String>> {
    kind.reader.classes(&root(kind, data)?)
}

/// The folder or file that the set is read from.
fn root(kind: DatasetKind, data: Option<&Path>) -> Result<PathBuf> {
    match data {
        Some(path) if path.as_os_str().is_empty() => {
            Err(Error::setting("`data` is an empty name", "name the folder that holds the data with `data` DIR"))
        }
        Some(path) if path.is_dir() || (path.is_file() && kind.may_be_file) => Ok(path.to_path_buf()),
        Some(path) if path.is_file() => Err(Error::file(path, "is a file", "name the folder that holds the data")),
        Some(path) => Err(Error::file(
            path,
            "no such data folder",
            "check its spelling, or name the folder where it lies with `data` DIR",
        )),
        None => match &kind.home {
            None => Err(Error::setting(
                "the data is not named",
                "name the folder that holds it with `data` DIR; a folder of yours with the name of a dataset is written as a path, such as ./custom",
            )),
            Some(home) if Path::new(home.path).is_dir() => Ok(PathBuf::from(home.path)),
            Some(home) => Err(Error::file(home.path, home.absent, home.remedy)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::data::idx::tests::{gzip, idx_images, idx_labels};
    use crate::datasets::cifar100::CIFAR100;
    use crate::datasets::emnist::EMNIST;
    use crate::datasets::fmnist::FMNIST;
    use crate::datasets::mnist::MNIST;
    use std::fs;

    fn load(kind: DatasetKind, data: &Path, class: &str, (side, channels): (usize, usize)) -> Result<Dataset> {
        Dataset::load(&DatasetSource { class, ..DatasetSource::new(kind, Some(data), side, channels) })
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
        let set = load(FMNIST, dir.path(), "3", (28, 1)).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (3, 1));
        assert_eq!(set.train.classes, [3, 0, 3]);
        assert_eq!(set.test.names, ["test/00000"]);
        assert_eq!(set.normal().unwrap(), [0, 2]);
        assert_eq!(set.anomalous(), [1]);
        let coats = load(FMNIST, dir.path(), "Coat", (28, 1)).unwrap();
        assert!(coats.normal().unwrap_err().to_string().contains("coat"));
        let message = load(FMNIST, dir.path(), "10", (28, 1)).unwrap_err().to_string();
        assert!(message.contains("class 10 does not exist") && message.contains("8 bag"), "{message}");
        let large = load(MNIST, dir.path(), "0", (32, 3)).unwrap();
        assert_eq!(large.train.images.load(&[2]).unwrap().pixels, [20; 32 * 32 * 3]);
        let test = Dataset::load_test(&DatasetSource::new(MNIST, Some(dir.path()), 28, 1)).unwrap();
        assert_eq!((test.train.images.count(), test.test.images.count()), (0, 1));
    }

    #[test]
    fn emnist_is_turned_upright_and_counted_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = idx_images(1, |_| 0);
        images[16 + 1] = 200; // stored row 0, column 1
        fs::write(dir.path().join("emnist-letters-test-images-idx3-ubyte"), images).unwrap();
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[26])).unwrap();
        let set = Dataset::load_test(&DatasetSource::new(EMNIST, Some(dir.path()), 28, 1)).unwrap();
        assert_eq!(set.test.images.load(&[0]).unwrap().pixels[28], 200);
        assert_eq!(set.class_names[usize::from(set.test.classes[0])], "z");
        fs::write(dir.path().join("emnist-letters-test-labels-idx1-ubyte"), idx_labels(&[0])).unwrap();
        assert!(Dataset::load_test(&DatasetSource::new(EMNIST, Some(dir.path()), 28, 1)).is_err());
    }

    #[test]
    fn cifar100_is_a_folder_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train.bin"), record(&[0, 1], [10, 20, 30])).unwrap();
        let message = load(CIFAR100, dir.path(), "0", (32, 3)).unwrap_err().to_string();
        assert!(message.contains("test.bin"), "{message}");
        fs::write(dir.path().join("test.bin"), record(&[0, 99], [1, 2, 3])).unwrap();
        let set = load(CIFAR100, dir.path(), "0", (32, 3)).unwrap();
        assert_eq!(set.class_names.len(), 100);
        assert_eq!(set.test.classes, [99]);
        let file = dir.path().join("train.bin");
        let set = load(CIFAR100, &file, "0", (32, 1)).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (1, 0));
        fs::write(&file, record(&[0, 100], [0; 3])).unwrap();
        let message = load(CIFAR100, &file, "0", (32, 3)).unwrap_err().to_string();
        assert!(message.contains("label 100"), "{message}");
    }

    #[test]
    fn missing_data_is_explained() {
        let says = |kind, path: Option<&str>, words: &str| {
            let source = DatasetSource::new(kind, path.map(Path::new), 28, 1);
            let message = Dataset::load(&source).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        says(FMNIST, Some("/no/such/folder"), "/no/such/folder: no such data folder");
        says(FMNIST, Some(""), "`data` is an empty name");
        says(MNIST, None, "`data` DIR");
        says(FMNIST, Some(file!()), "is a file");
    }
}
