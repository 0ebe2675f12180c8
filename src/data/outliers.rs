//! Outlier exposure: sets whose images serve as examples of "anything else".

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::fit::RawForm;
use crate::data::folder;
use crate::data::images::Images;
use crate::data::sets::{Part, cifar10, cifar100, mnist};
use crate::data::store::{Raw, Store};
use crate::error::{Error, Result};

/// Where outliers come from; written `KIND:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OutlierSource {
    /// `mnist:DIR`: the training images of MNIST.
    Mnist(PathBuf),
    /// `emnist:DIR`: the training images of EMNIST's letters.
    Emnist(PathBuf),
    /// `fmnist:DIR`: the training images of Fashion-MNIST.
    Fmnist(PathBuf),
    /// `cifar100:FILE` or `cifar100:DIR`: records as those of CIFAR-100, any labels.
    Cifar100(PathBuf),
    /// `cifar10:DIR`: the training images of CIFAR-10.
    Cifar10(PathBuf),
    /// `images:DIR`: every picture in a folder and the folders within it.
    Images(PathBuf),
}

impl OutlierSource {
    /// The images as raw ones; those that are no files of pictures are squashed and held. With a `limit` of k, only k of them, spread
    /// evenly over the set.
    pub fn load(&self, raw: Raw, limit: Option<usize>) -> Result<Store> {
        let RawForm { side, channels, .. } = raw.form;
        if limit == Some(0) {
            return Err(Error::setting(
                "a limit of 0 outliers leaves none",
                "give at least 1, or choose another noise",
            ));
        }
        if !self.path().exists() {
            let remedy = "check the spelling, or name where they lie by --outliers KIND:PATH";
            return Err(Error::file(self.path(), "there are no outliers here", remedy));
        }
        let images = match self {
            OutlierSource::Mnist(dir) | OutlierSource::Fmnist(dir) => mnist::read_digits(dir, Part::Train)?.0,
            OutlierSource::Emnist(dir) => mnist::read_letters(dir, Part::Train)?.0,
            OutlierSource::Cifar100(path) => cifar100::read(path, Part::Train)?.0,
            OutlierSource::Cifar10(dir) => cifar10::read(dir, Part::Train)?.0,
            OutlierSource::Images(dir) => return load_pictures(dir, raw, limit),
        };
        if images.count == 0 {
            return Err(Error::file(self.path(), "holds no images", "give a set with at least one"));
        }
        let images = match limit {
            Some(k) => images.select(&spread(images.count, k)),
            None => images,
        };
        Images::room_for(images.count, side, channels)?;
        Ok(images.with_channels(channels).resized(side).into())
    }

    /// Where the images lie.
    pub fn path(&self) -> &Path {
        self.parts().1
    }

    /// The same kind of images in another place.
    pub fn at(&self, path: PathBuf) -> OutlierSource {
        match self {
            OutlierSource::Mnist(_) => OutlierSource::Mnist(path),
            OutlierSource::Emnist(_) => OutlierSource::Emnist(path),
            OutlierSource::Fmnist(_) => OutlierSource::Fmnist(path),
            OutlierSource::Cifar100(_) => OutlierSource::Cifar100(path),
            OutlierSource::Cifar10(_) => OutlierSource::Cifar10(path),
            OutlierSource::Images(_) => OutlierSource::Images(path),
        }
    }

    fn parts(&self) -> (&'static str, &Path) {
        match self {
            OutlierSource::Mnist(path) => ("mnist", path),
            OutlierSource::Emnist(path) => ("emnist", path),
            OutlierSource::Fmnist(path) => ("fmnist", path),
            OutlierSource::Cifar100(path) => ("cifar100", path),
            OutlierSource::Cifar10(path) => ("cifar10", path),
            OutlierSource::Images(path) => ("images", path),
        }
    }
}

impl FromStr for OutlierSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<OutlierSource> {
        let remedy = "write mnist:DIR, emnist:DIR, fmnist:DIR, cifar100:FILE or images:DIR";
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !path.is_empty() => (kind, PathBuf::from(path)),
            _ => return Err(Error::setting(format!("`{text}` names no source of outliers"), remedy)),
        };
        match kind {
            "mnist" => Ok(OutlierSource::Mnist(path)),
            "emnist" => Ok(OutlierSource::Emnist(path)),
            "fmnist" => Ok(OutlierSource::Fmnist(path)),
            "cifar100" => Ok(OutlierSource::Cifar100(path)),
            "cifar10" => Ok(OutlierSource::Cifar10(path)),
            "images" => Ok(OutlierSource::Images(path)),
            _ => Err(Error::setting(format!("`{kind}` is no kind of outliers"), remedy)),
        }
    }
}

impl fmt::Display for OutlierSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = self.parts();
        write!(f, "{kind}:{}", path.display())
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

fn load_pictures(dir: &Path, raw: Raw, limit: Option<usize>) -> Result<Store> {
    let mut paths = folder::pictures(dir, true)?;
    if paths.is_empty() {
        return Err(Error::file(
            dir,
            "holds no pictures",
            "name a folder with PNG, JPEG, BMP, TIFF, WebP or PNM files",
        ));
    }
    if let Some(k) = limit {
        paths = spread(paths.len(), k).into_iter().map(|i| paths[i].clone()).collect();
    }
    folder::read_all(&paths, raw)
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
    use crate::data::fit::Fit;
    use crate::data::store::Hold;
    use std::fs;

    #[test]
    fn sources_are_words() {
        for text in ["mnist:a/b", "emnist:x", "fmnist:x", "cifar100:C:/d.bin", "images:/p q"] {
            let source: OutlierSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<OutlierSource>(&json).unwrap(), source);
        }
        for text in ["mnist", "mnist:", "imagenet:x", ""] {
            let message = text.parse::<OutlierSource>().unwrap_err().to_string();
            assert!(message.contains("images:DIR"), "{message}");
        }
    }

    fn raw(side: usize, channels: usize) -> Raw {
        Raw { form: RawForm { side, channels, fit: Fit::Squash }, hold: Hold::Always }
    }

    #[test]
    fn any_source_comes_in_the_shape_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("photos.bin");
        fs::write(&file, [record(&[1, 200], [255, 0, 0]), record(&[0, 0], [0; 3]), record(&[0, 0], [9; 3])].concat())
            .unwrap();
        let source = OutlierSource::Cifar100(file);
        let images = source.load(raw(28, 1), None).unwrap();
        assert_eq!((images.count(), images.shape()), (3, [28, 28, 1]));
        assert_eq!(images.load(&[0]).unwrap().pixels, [76; 784]);
        let few = source.load(raw(32, 3), Some(2)).unwrap();
        assert_eq!(few.count(), 2);
        assert_eq!(source.load(raw(32, 3), Some(99)).unwrap().count(), 3);
        assert!(source.load(raw(32, 3), Some(0)).is_err());
    }

    #[test]
    fn pictures_are_found_in_folders_within_folders() {
        let dir = tempfile::tempdir().unwrap();
        let source = OutlierSource::Images(dir.path().to_path_buf());
        assert!(source.load(raw(8, 1), None).unwrap_err().to_string().contains("holds no pictures"));
        for (name, value) in [("b.png", 2), ("a/x/y.png", 1), ("c/z.png", 3)] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::from_pixel(5, 7, image::Luma([value])).save(path).unwrap();
        }
        let images = source.load(raw(8, 1), None).unwrap();
        assert_eq!((0..3).map(|i| images.load(&[i]).unwrap().pixels[0]).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(source.load(raw(8, 1), Some(1)).unwrap().count(), 1);
        let absent = OutlierSource::Images(dir.path().join("absent")).load(raw(8, 1), None).unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
    }
}
