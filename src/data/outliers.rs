//! Outlier exposure: sets whose images serve as examples of "anything else".

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::dataset::DatasetKind;
use crate::data::folder::{self, Broken, Read};
use crate::data::images::Images;
use crate::data::sets::wordnet::{self, IMAGENET_30, LIKE_PASCAL_VOC};
use crate::data::sets::{self, DatasetReader, Part, cifar10, cifar100, mnist, mvtec};
use crate::data::store::{ImageSource, Raw};
use crate::error::{Error, Result};

/// The kinds of outliers, each with its word.
const KINDS: [(OutlierKind, &str); 10] = [
    (OutlierKind::Mnist, "mnist"),
    (OutlierKind::Emnist, "emnist"),
    (OutlierKind::Fmnist, "fmnist"),
    (OutlierKind::Cifar10, "cifar10"),
    (OutlierKind::Cifar100, "cifar100"),
    (OutlierKind::Imagenet, "imagenet"),
    (OutlierKind::Imagenet22k, "imagenet22k"),
    (OutlierKind::Mvtec, "mvtec"),
    (OutlierKind::MvtecGt, "mvtec_gt"),
    (OutlierKind::Images, "images"),
];

/// What outliers are images of, and how these lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlierKind {
    /// The training images of MNIST.
    Mnist,
    /// The training images of EMNIST's letters.
    Emnist,
    /// The training images of Fashion-MNIST.
    Fmnist,
    /// The training images of CIFAR-10.
    Cifar10,
    /// A folder or file of records as those of CIFAR-100, any labels.
    Cifar100,
    /// ImageNet: a folder per class, named by WordNet id, in `DIR/train` or `DIR`. Classes that are nominal are left out: the
    /// thirty of ImageNet-30, those like Pascal VOC's.
    Imagenet,
    /// ImageNet-22k: the same.
    Imagenet22k,
    /// Good and defective pictures of MVTec-AD's other classes.
    Mvtec,
    /// Labelled anomalies of the nominal class itself, from the test split, with their masks; see [`crate::data::labelled`].
    MvtecGt,
    /// Every picture in a folder and the folders within it.
    Images,
}

/// Where outliers come from; written `KIND:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutlierSource {
    kind: OutlierKind,
    path: PathBuf,
}

/// What outliers are to be, and beside what.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The nominal set and class.
    pub dataset: DatasetKind,
    pub class: &'a str,
    /// What the images become; those that are no files of pictures are squashed and held.
    pub raw: Raw,
    /// Only so many of them, spread evenly over the set; of MVTec-AD, so many per class and type of defect.
    pub limit: Option<usize>,
}

/// Outliers, and what was left out of them because it could not be read, in words.
#[derive(Clone, Debug)]
pub struct Outliers {
    pub images: ImageSource,
    pub skipped: Option<String>,
}

impl OutlierSource {
    /// A source.
    pub fn new(kind: OutlierKind, path: impl Into<PathBuf>) -> OutlierSource {
        OutlierSource { kind, path: path.into() }
    }

    /// What it is of.
    pub fn kind(&self) -> OutlierKind {
        self.kind
    }

    /// Where the images lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same kind of images in another place.
    pub fn at(&self, path: PathBuf) -> OutlierSource {
        OutlierSource { path, ..*self }
    }

    /// The label that the nominal class has among the outliers, where they are of the nominal set.
    fn nominal_label(&self, wanted: &Wanted) -> Result<Option<usize>> {
        let same = match self.kind {
            OutlierKind::Mnist => wanted.dataset == DatasetKind::Mnist,
            OutlierKind::Emnist => wanted.dataset == DatasetKind::Emnist,
            OutlierKind::Fmnist => wanted.dataset == DatasetKind::Fmnist,
            OutlierKind::Cifar10 => wanted.dataset == DatasetKind::Cifar10,
            OutlierKind::Cifar100 => wanted.dataset == DatasetKind::Cifar100,
            _ => false,
        };
        let classes = if same { sets::format(wanted.dataset).classes(&self.path)? } else { Vec::new() };
        Ok(classes.iter().position(|name| name == wanted.class))
    }

    /// The images, resized and converted; those of the nominal class are left out. Pictures that cannot be read are skipped.
    pub fn load(&self, wanted: &Wanted) -> Result<Outliers> {
        let (path, Wanted { raw: Raw { form, .. }, limit, .. }) = (&self.path, *wanted);
        if !path.exists() {
            let remedy = "check the spelling, or name where they lie by `outliers` KIND:PATH";
            return Err(Error::file(path, "there are no outliers here", remedy));
        }
        let (images, labels) = match self.kind {
            OutlierKind::Mnist | OutlierKind::Fmnist => mnist::read_digits(path, Part::Train)?,
            OutlierKind::Emnist => mnist::read_letters(path, Part::Train)?,
            OutlierKind::Cifar10 => cifar10::read(path, Part::Train)?,
            OutlierKind::Cifar100 => cifar100::read(path, Part::Train)?,
            OutlierKind::Imagenet | OutlierKind::Imagenet22k => {
                return load_pictures(path, vec![imagenet(path, wanted.dataset)?], wanted);
            }
            OutlierKind::Mvtec => return load_pictures(path, other_classes(path, wanted.class)?, wanted),
            OutlierKind::Images => return load_pictures(path, vec![folder::pictures(path, true)?], wanted),
            OutlierKind::MvtecGt => return Err(Error::internal("labelled anomalies are chosen from the test split")),
        };
        let nominal = self.nominal_label(wanted)?;
        let others: Vec<usize> = (0..images.count).filter(|&i| Some(usize::from(labels[i])) != nominal).collect();
        if others.is_empty() {
            return Err(Error::file(path, "holds no images of another class", "give a set with at least one"));
        }
        let images = match limit {
            Some(k) => images.select(&spread(others.len(), k).into_iter().map(|i| others[i]).collect::<Vec<_>>()),
            None if others.len() < images.count => images.select(&others),
            None => images,
        };
        Images::room_for(images.count, form.side, form.channels)?;
        Ok(Outliers { images: images.with_channels(form.channels).resized(form.side).into(), skipped: None })
    }
}

/// Reads groups of pictures, at most as many of each as are wanted.
fn load_pictures(path: &Path, groups: Vec<Vec<PathBuf>>, wanted: &Wanted) -> Result<Outliers> {
    let few = |group: Vec<PathBuf>| match wanted.limit {
        Some(k) => spread(group.len(), k).into_iter().map(|i| group[i].clone()).collect(),
        None => group,
    };
    let paths: Vec<PathBuf> = groups.into_iter().flat_map(few).collect();
    let Read { images, skipped, .. } = folder::read_all(&paths, wanted.raw, Broken::Replaced)?;
    if images.count() == 0 {
        let problem = skipped.unwrap_or_else(|| "holds no pictures".to_string());
        return Err(Error::file(path, problem, "name a folder with PNG, JPEG, BMP, TIFF, WebP or PNM files"));
    }
    Ok(Outliers { images, skipped })
}

/// ImageNet's pictures but those of the classes that are nominal.
fn imagenet(root: &Path, nominal: DatasetKind) -> Result<Vec<PathBuf>> {
    let train = root.join("train");
    let root = if train.is_dir() { train.as_path() } else { root };
    let excluded: Vec<&str> = match nominal {
        DatasetKind::Imagenet => IMAGENET_30.iter().map(|(_, id)| *id).collect(),
        DatasetKind::Pascalvoc => LIKE_PASCAL_VOC.to_vec(),
        _ => Vec::new(),
    };
    let classes: Vec<String> = folder::folders(root)?.into_iter().filter(|name| wordnet::is_id(name)).collect();
    if classes.is_empty() {
        return Err(Error::file(
            root,
            "holds no folder named by WordNet id",
            "expected are folders such as DIR/n01440764",
        ));
    }
    let kept = classes.iter().filter(|name| !excluded.contains(&name.as_str()));
    let pictures = kept.map(|name| folder::pictures(&root.join(name), true)).collect::<Result<Vec<_>>>()?;
    Ok(pictures.concat())
}

/// The pictures of MVTec-AD's classes but one, apart by class and type of defect.
fn other_classes(root: &Path, class: &str) -> Result<Vec<Vec<PathBuf>>> {
    let mut groups = Vec::new();
    for other in mvtec::Mvtec.classes(root)?.iter().filter(|other| *other != class) {
        let folder = mvtec::class_folder(root, other);
        let mut good = folder::pictures(&folder.join("train").join(mvtec::GOOD), false)?;
        let test = folder.join("test");
        for kind in if test.is_dir() { folder::folders(&test)? } else { Vec::new() } {
            let pictures = folder::pictures(&test.join(&kind), false)?;
            if kind == mvtec::GOOD { good.extend(pictures) } else { groups.push(pictures) }
        }
        groups.push(good);
    }
    if groups.is_empty() {
        let problem = format!("holds no class of MVTec-AD but {class}");
        return Err(Error::file(root, problem, "name the folder that holds the folders of all classes"));
    }
    Ok(groups)
}

impl FromStr for OutlierSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<OutlierSource> {
        let remedy = || {
            let kinds: Vec<String> = KINDS.iter().map(|(_, word)| format!("{word}:PATH")).collect();
            format!("write {}", kinds.join(", "))
        };
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !path.is_empty() => (kind, PathBuf::from(path)),
            _ => return Err(Error::setting(format!("'{text}' names no source of outliers"), remedy())),
        };
        match KINDS.iter().find(|(_, word)| *word == kind) {
            Some(&(kind, _)) => Ok(OutlierSource { kind, path }),
            None => Err(Error::setting(format!("'{kind}' is no kind of outliers"), remedy())),
        }
    }
}

impl fmt::Display for OutlierSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, word)| word);
        write!(f, "{word}:{}", self.path.display())
    }
}

impl TryFrom<String> for OutlierSource {
    type Error = Error;

    fn try_from(text: String) -> Result<OutlierSource> {
        text.parse()
    }
}

impl From<OutlierSource> for String {
    fn from(source: OutlierSource) -> String {
        source.to_string()
    }
}

/// At most `k` indices below `n`, evenly spaced.
pub(crate) fn spread(n: usize, k: usize) -> Vec<usize> {
    let k = k.min(n);
    (0..k).map(|i| i * n / k).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::data::fit::{RawForm, ResizeMode};
    use crate::data::folder::tests::save;
    use crate::data::store::Hold;
    use std::fs;

    fn wanted(side: usize, channels: usize, limit: Option<usize>) -> Wanted<'static> {
        let form = RawForm { side, channels, fit: ResizeMode::Squash };
        Wanted { dataset: DatasetKind::Folder, class: "good", raw: Raw { form, hold: Hold::Always }, limit }
    }

    /// The first value of each image.
    fn values(source: &OutlierSource, wanted: &Wanted) -> Vec<u8> {
        let images = source.load(wanted).unwrap().images;
        let images = images.held().unwrap();
        (0..images.count).map(|i| images.image(i)[0]).collect()
    }

    #[test]
    fn sources_are_words() {
        for text in ["mnist:a/b", "emnist:x", "cifar100:C:/d.bin", "images:/p q", "mvtec_gt:x", "imagenet22k:x"] {
            let source: OutlierSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<OutlierSource>(&json).unwrap(), source);
        }
        for text in ["mnist", "mnist:", "stars:x", ""] {
            let message = text.parse::<OutlierSource>().unwrap_err().to_string();
            assert!(message.contains("images:PATH") && message.contains("mvtec_gt:PATH"), "{message}");
        }
    }

    #[test]
    fn any_source_comes_in_the_shape_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("photos.bin");
        let records = [record(&[1, 200], [255, 0, 0]), record(&[0, 0], [0; 3]), record(&[0, 0], [9; 3])];
        fs::write(&file, records.concat()).unwrap();
        let source = OutlierSource::new(OutlierKind::Cifar100, file);
        let images = source.load(&wanted(28, 1, None)).unwrap().images;
        assert_eq!((images.count(), images.shape()), (3, [28, 28, 1]));
        assert_eq!(images.held().unwrap().image(0), [76; 784]);
        assert_eq!(values(&source, &wanted(32, 3, Some(2))).len(), 2);
        assert_eq!(values(&source, &wanted(32, 3, Some(99))).len(), 3);
    }

    #[test]
    fn the_nominal_class_is_no_outlier_of_its_own_set() {
        let dir = tempfile::tempdir().unwrap();
        for i in 1..=5u8 {
            fs::write(dir.path().join(format!("data_batch_{i}.bin")), record(&[i], [10 * i; 3])).unwrap();
        }
        let source = OutlierSource::new(OutlierKind::Cifar10, dir.path());
        let of = |dataset, class, limit| values(&source, &Wanted { dataset, class, ..wanted(32, 3, limit) });
        assert_eq!(of(DatasetKind::Cifar10, "bird", None), [10, 30, 40, 50], "a bird has label 2");
        assert_eq!(of(DatasetKind::Cifar10, "bird", Some(4)), [10, 30, 40, 50]);
        assert_eq!(of(DatasetKind::Cifar10, "truck", None), [10, 20, 30, 40, 50]);
        assert_eq!(of(DatasetKind::Custom, "bird", None), [10, 20, 30, 40, 50]);
    }

    #[test]
    fn pictures_are_found_in_folders_within_folders() {
        let dir = tempfile::tempdir().unwrap();
        let source = OutlierSource::new(OutlierKind::Images, dir.path());
        assert!(source.load(&wanted(8, 1, None)).unwrap_err().to_string().contains("holds no pictures"));
        for (name, value) in [("b.png", 2), ("a/x/y.png", 1), ("c/z.png", 3)] {
            save(dir.path(), name, (5, 7), value);
        }
        assert_eq!(values(&source, &wanted(8, 1, None)), [1, 2, 3]);
        assert_eq!(values(&source, &wanted(8, 1, Some(1))).len(), 1);
        let absent = source.at(dir.path().join("absent")).load(&wanted(8, 1, None)).unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
        // A broken one is skipped and told of, unless it is all there is.
        for name in ["a/x/y.png", "b.png"] {
            fs::write(dir.path().join(name), b"no picture").unwrap();
        }
        let outliers = source.load(&wanted(8, 1, None)).unwrap();
        let skipped = outliers.skipped.unwrap();
        assert_eq!(outliers.images.count(), 1);
        assert!(skipped.contains("skipped 2 of 3 pictures") && skipped.contains("y.png"), "{skipped}");
        let broken = source.at(dir.path().join("a")).load(&wanted(8, 1, None)).unwrap_err();
        assert!(broken.to_string().contains("y.png"), "{broken}");
    }

    #[test]
    fn imagenet_leaves_nominal_classes_out() {
        let dir = tempfile::tempdir().unwrap();
        // A tench, an acorn, a sports car, and something that is no class.
        for (folder, value) in [("n01440764", 1), ("n12267677", 2), ("n04285008", 3), ("misc", 4)] {
            save(dir.path(), &format!("train/{folder}/a.png"), (4, 4), value);
        }
        for kind in [OutlierKind::Imagenet, OutlierKind::Imagenet22k] {
            let source = OutlierSource::new(kind, dir.path());
            let of = |dataset| values(&source, &Wanted { dataset, ..wanted(4, 1, None) });
            assert_eq!(of(DatasetKind::Cifar10), [1, 3, 2], "in the order of their ids");
            assert_eq!(of(DatasetKind::Imagenet), [1, 3]);
            assert_eq!(of(DatasetKind::Pascalvoc), [1, 2]);
            assert_eq!(values(&source.at(dir.path().join("train")), &wanted(4, 1, None)), [1, 3, 2]);
            let message = source.at(dir.path().join("train/misc")).load(&wanted(4, 1, None)).unwrap_err().to_string();
            assert!(message.contains("DIR/n01440764"), "{message}");
        }
    }

    #[test]
    fn mvtec_gives_the_other_classes() {
        let dir = tempfile::tempdir().unwrap();
        for (class, value) in [("bottle", 10), ("cable", 20)] {
            for (i, folder) in ["train/good", "test/good", "test/bent", "test/cut"].iter().enumerate() {
                save(dir.path(), &format!("{class}/{folder}/0.png"), (4, 4), value + 2 * i as u8);
                save(dir.path(), &format!("{class}/{folder}/1.png"), (4, 4), value + 2 * i as u8 + 1);
            }
        }
        let source = OutlierSource::new(OutlierKind::Mvtec, dir.path());
        let of = |class, limit| values(&source, &Wanted { class, ..wanted(4, 1, limit) });
        assert_eq!(of("bottle", None), [24, 25, 26, 27, 20, 21, 22, 23]);
        assert_eq!(of("cable", Some(1)), [14, 16, 10], "one of each kind");
        assert_eq!(of("tile", Some(1)).len(), 6);
        let message = source.at(dir.path().join("cable")).load(&Wanted { class: "cable", ..wanted(4, 1, None) });
        assert!(message.unwrap_err().to_string().contains("no class of MVTec-AD but cable"));
    }
}
