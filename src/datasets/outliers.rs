//! Outlier exposure: datasets whose images serve as examples of "anything else".

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::spec::{DatasetKind, OutlierImages, OutlierSpec};
use crate::data::folder::{self, Broken, Read};
use crate::data::image_source::{ImageSource, Raw, spread};
use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::named::Named;

/// Where outliers come from; written `KIND:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutlierSource {
    kind: &'static OutlierSpec,
    path: PathBuf,
}

/// What outliers are to be, and beside what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The normal dataset and class.
    pub dataset: DatasetKind,
    pub class: &'a str,
    /// What the images become; those that are no files of their own are squashed and held.
    pub raw: Raw,
    /// Only so many of them, spread evenly over the dataset; of MVTec-AD, so many per class and type of defect.
    pub limit: Option<usize>,
}

/// Outliers, and what was left out of them, as texts.
#[derive(Clone, Debug)]
pub(crate) struct Outliers {
    pub images: ImageSource,
    pub notes: Vec<String>,
}

impl OutlierSource {
    /// Where the images lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same kind of images in another place.
    pub(crate) fn at(&self, path: PathBuf) -> OutlierSource {
        OutlierSource { path, ..*self }
    }

    /// Whether these are labelled anomalies of the normal class itself, from the test split.
    pub(crate) fn are_own_anomalies(&self) -> bool {
        matches!(self.kind.images, OutlierImages::OwnAnomalies)
    }

    /// The label that the normal class has among the outliers, where they are of the normal dataset.
    fn normal_label(&self, wanted: &Wanted) -> Result<Option<usize>> {
        let same = wanted.dataset.outliers.contains(self.kind);
        let classes = if same { wanted.dataset.reader.classes(&self.path)? } else { Vec::new() };
        Ok(classes.iter().position(|name| name == wanted.class))
    }

    /// The images, resized and converted; those of the normal class are left out. Images that cannot be read are skipped.
    pub(crate) fn load(&self, wanted: &Wanted) -> Result<Outliers> {
        let (path, Wanted { raw: Raw { form, .. }, limit, .. }) = (&self.path, *wanted);
        if !path.exists() {
            let remedy = "check the spelling, or name where they lie with `outliers` KIND:PATH";
            return Err(Error::file(path, "there are no outliers here", remedy));
        }
        let (images, labels) = match self.kind.images {
            OutlierImages::Labelled(read) => read(path)?,
            OutlierImages::Files(list) => {
                return load_files(path, list(path, wanted.dataset, wanted.class)?, wanted);
            }
            OutlierImages::OwnAnomalies => {
                return Err(Error::internal("labelled anomalies are chosen from the test split"));
            }
        };
        let normal = self.normal_label(wanted)?;
        let others: Vec<usize> = (0..images.count).filter(|&i| Some(usize::from(labels[i])) != normal).collect();
        if others.is_empty() {
            return Err(Error::file(path, "holds no images of another class", "name outliers of other classes"));
        }
        let images = match limit {
            Some(k) => images.select(&spread(others.len(), k).into_iter().map(|i| others[i]).collect::<Vec<_>>()),
            None if others.len() < images.count => images.select(&others),
            None => images,
        };
        Images::room_for(images.count, form.side, form.channels.max(images.channels))?;
        Ok(Outliers { images: images.resized(form.side).with_channels(form.channels).into(), notes: Vec::new() })
    }
}

/// Reads groups of images, at most as many of each as are wanted.
fn load_files(path: &Path, groups: Vec<Vec<PathBuf>>, wanted: &Wanted) -> Result<Outliers> {
    let mut notes: Vec<String> = folder::left_alone(&groups.concat());
    let few = |group: Vec<PathBuf>| match wanted.limit {
        Some(k) => spread(group.len(), k).into_iter().map(|i| group[i].clone()).collect(),
        None => group,
    };
    let paths: Vec<PathBuf> = groups.into_iter().flat_map(few).collect();
    let Read { images, skipped, .. } = folder::read_all(&paths, wanted.raw, Broken::Replaced)?;
    if images.count() == 0 {
        let problem = skipped.unwrap_or_else(|| "holds no images".to_string());
        return Err(Error::file(path, problem, "name a folder with PNG, JPEG, BMP, TIFF, WebP or PNM files"));
    }
    notes.extend(skipped);
    Ok(Outliers { images, notes })
}

/// The kinds of outliers: those of all datasets.
fn kinds() -> impl Iterator<Item = &'static OutlierSpec> {
    DatasetKind::all().into_iter().flat_map(|dataset| dataset.outliers)
}

/// All kinds as they are written.
pub(crate) fn kinds_of_outliers() -> String {
    kinds().map(|kind| format!("{}:PATH", kind.word)).collect::<Vec<_>>().join(", ")
}

impl FromStr for OutlierSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<OutlierSource> {
        let remedy = || format!("write {}", kinds_of_outliers());
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !path.is_empty() => (kind, PathBuf::from(path)),
            _ => return Err(Error::setting(format!("'{text}' is not KIND:PATH"), remedy())),
        };
        match kinds().find(|known| known.word == kind) {
            Some(kind) => Ok(OutlierSource { kind, path }),
            None => Err(Error::setting(format!("'{kind}' is not a kind of outliers"), remedy())),
        }
    }
}

impl fmt::Display for OutlierSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word, self.path.to_string_lossy())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::data::folder::tests::save;
    use crate::data::image_source::Hold;
    use crate::data::levels::Levels;
    use crate::data::resize_mode::{RawForm, ResizeMode};
    use crate::datasets::cifar10::CIFAR10;
    use crate::datasets::custom::CUSTOM;
    use crate::datasets::folder::FOLDER;
    use crate::datasets::imagenet::IMAGENET;
    use crate::datasets::pascalvoc::PASCALVOC;
    use std::fs;

    fn wanted(side: usize, channels: usize, limit: Option<usize>) -> Wanted<'static> {
        let form = RawForm { side, channels, resize: ResizeMode::Squash, levels: Levels::ALL };
        Wanted { dataset: FOLDER, class: "good", raw: Raw { form, hold: Hold::Always }, limit }
    }

    fn source(word: &str, path: impl AsRef<Path>) -> OutlierSource {
        format!("{word}:{}", path.as_ref().to_string_lossy()).parse().unwrap()
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
        let source = source("cifar100", file);
        let images = source.load(&wanted(28, 1, None)).unwrap().images;
        assert_eq!((images.count(), images.shape()), (3, [28, 28, 1]));
        assert_eq!(images.held().unwrap().image(0), [76; 784]);
        assert_eq!(values(&source, &wanted(32, 3, Some(2))).len(), 2);
        assert_eq!(values(&source, &wanted(32, 3, Some(99))).len(), 3);
    }

    #[test]
    fn colours_are_resized_before_they_become_grey() {
        let dir = tempfile::tempdir().unwrap();
        let colours = image::RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([(x * 37 + y * 11) as u8, (x * 91 + y * 53) as u8, (x * 29 + y * 71) as u8])
        });
        colours.save(dir.path().join("a.png")).unwrap();
        let all = source("images", dir.path());
        let [grey, rgb] = [1, 3].map(|channels| all.load(&wanted(9, channels, None)).unwrap().images);
        let (grey, rgb) = (grey.held().unwrap(), rgb.held().unwrap());
        assert_eq!(grey.pixels, rgb.clone().with_channels(1).pixels);
        let before = Images::from(image::DynamicImage::from(colours)).with_channels(1).resized(9);
        assert_ne!(grey.pixels, before.pixels, "the other order differs here");
    }

    #[test]
    fn the_normal_class_is_no_outlier_of_its_own_set() {
        let dir = tempfile::tempdir().unwrap();
        for i in 1..=5u8 {
            fs::write(dir.path().join(format!("data_batch_{i}.bin")), record(&[i], [10 * i; 3])).unwrap();
        }
        let source = source("cifar10", dir.path());
        let of = |dataset, class, limit| values(&source, &Wanted { dataset, class, ..wanted(32, 3, limit) });
        assert_eq!(of(CIFAR10, "bird", None), [10, 30, 40, 50], "a bird has label 2");
        assert_eq!(of(CIFAR10, "bird", Some(4)), [10, 30, 40, 50]);
        assert_eq!(of(CIFAR10, "truck", None), [10, 20, 30, 40, 50]);
        assert_eq!(of(CUSTOM, "bird", None), [10, 20, 30, 40, 50]);
    }

    #[test]
    fn images_are_found_in_folders_within_folders() {
        let dir = tempfile::tempdir().unwrap();
        let source = source("images", dir.path());
        assert!(source.load(&wanted(8, 1, None)).unwrap_err().to_string().contains("holds no images"));
        for (name, value) in [("b.png", 2), ("a/x/y.png", 1), ("c/z.png", 3)] {
            save(dir.path(), name, (5, 7), value);
        }
        assert_eq!(values(&source, &wanted(8, 1, None)), [1, 2, 3]);
        assert_eq!(values(&source, &wanted(8, 1, Some(1))).len(), 1);
        let absent = source.at(dir.path().join("absent")).load(&wanted(8, 1, None)).unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
        // A broken one is skipped and told of, unless it is all there is.
        for name in ["a/x/y.png", "b.png"] {
            fs::write(dir.path().join(name), b"no image").unwrap();
        }
        let outliers = source.load(&wanted(8, 1, None)).unwrap();
        let [skipped] = &outliers.notes[..] else { panic!("{:?}", outliers.notes) };
        assert_eq!(outliers.images.count(), 1);
        assert!(skipped.contains("skipped 2 of 3 images") && skipped.contains("y.png"), "{skipped}");
        // So are images of other formats.
        fs::write(dir.path().join("a/x/z.GIF"), b"").unwrap();
        let notes = source.load(&wanted(8, 1, None)).unwrap().notes;
        assert!(notes.len() == 2 && notes[0].contains("the first is z.GIF"), "{notes:?}");
        let broken = source.at(dir.path().join("a")).load(&wanted(8, 1, None)).unwrap_err();
        assert!(broken.to_string().contains("y.png"), "{broken}");
    }

    #[test]
    fn imagenet_leaves_normal_classes_out() {
        let dir = tempfile::tempdir().unwrap();
        // A tench, an acorn, a sports car, and something that is no class.
        for (folder, value) in [("n01440764", 1), ("n12267677", 2), ("n04285008", 3), ("misc", 4)] {
            save(dir.path(), &format!("train/{folder}/a.png"), (4, 4), value);
        }
        for kind in ["imagenet", "imagenet22k"] {
            let source = source(kind, dir.path());
            let of = |dataset| values(&source, &Wanted { dataset, ..wanted(4, 1, None) });
            assert_eq!(of(CIFAR10), [1, 3, 2], "in the order of their ids");
            assert_eq!(of(IMAGENET), [1, 3]);
            assert_eq!(of(PASCALVOC), [1, 2]);
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
        let source = source("mvtec", dir.path());
        let of = |class, limit| values(&source, &Wanted { class, ..wanted(4, 1, limit) });
        assert_eq!(of("bottle", None), [24, 25, 26, 27, 20, 21, 22, 23]);
        assert_eq!(of("cable", Some(1)), [14, 16, 10], "one of each kind");
        assert_eq!(of("tile", Some(1)).len(), 6);
        let message = source.at(dir.path().join("cable")).load(&Wanted { class: "cable", ..wanted(4, 1, None) });
        assert!(message.unwrap_err().to_string().contains("only the class cable of MVTec-AD"));
    }
}
