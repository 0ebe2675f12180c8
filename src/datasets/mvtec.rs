//! MVTec-AD's layout: good images to learn from, good and defective ones with masks to measure by, per kind of product.
//!
//! Masks have the size of their image; 128 or more is defective. Where `ground_truth` exists, every defective image needs its
//! mask. Labelled anomalies to learn from (`--supervise other`) may lie beside `train/good`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, missing};
use crate::data::folder::{self, Listed, Truth};
use crate::data::jitter::Amounts;
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Labels, Part, Query, Split};
use crate::data::supervise::{NoiseMode, Supervise};
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::printable::Printable;

pub const MVTEC: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "mvtec",
    explanation: "MVTec-AD: a folder per kind of product or surface",
    reader: &Mvtec,
    home: None,
    may_be_file: false,
    labels_good: true,
    rates_its_class: false,
    good_alone: false,
    recipe: Recipe {
        resize: |_| ResizeMode::FloorNearest,
        raw_side: 240,
        view: SeenPart::Whole,
        augment: |to| {
            let faint = to.jitter(Amounts { brightness: 0.005, ..Amounts::all(0.0005) });
            let colours = Transform::Choice { first: vec![to.jitter_all(0.04)], second: vec![faint] };
            vec![to.crop_or_whole(), colours]
        },
        noise: ImageNoise::Spread { share: 0.1 },
        mean_std: None,
        joint_extremes: false,
    },
    imagenet_ids: &[],
    outliers: &[
        OutlierSpec { word: "mvtec", images: OutlierImages::Files(|root, _, class| other_classes(root, class)) },
        OutlierSpec { word: "mvtec_gt", images: OutlierImages::OwnAnomalies },
    ],
    preset: || Preset {
        net: "FCDD_CNN224_VGG_F",
        side: 224,
        supervise: Supervise::MalformedNormal,
        noise: NoiseMode::Confetti.into(),
        maps: true,
        epochs: 200,
        passes: 10,
        lr: 1e-3,
        weight_decay: 1e-4,
        schedule: Schedule::Lambda { gamma: 0.985 },
        sigma: 12.0,
        quantile: 0.99,
        ..Preset::small_grey()
    },
});

/// A folder per class, or one such folder by itself.
#[derive(Debug)]
struct Mvtec;

/// The folder of the masks of test images.
const MASKS: &str = "ground_truth";

/// Label 0.
pub const GOOD: &str = "good";

const TREE: &str = "  DIR/CLASS/train/good/*.png (or one such CLASS folder as DIR)
  DIR/CLASS/test/good/*.png
  DIR/CLASS/test/DEFECT/*.png
  DIR/CLASS/ground_truth/DEFECT/NAME_mask.png (optional)
  DIR/CLASS/train/DEFECT/*.png, with masks in train_maps/DEFECT (optional: labelled defects to learn from)";

impl DatasetReader for Mvtec {
    fn classes(&self, root: &Path) -> Result<Vec<String>> {
        if is_class(root) {
            return Ok(vec![own_name(root)]);
        }
        let (classes, others): (Vec<_>, Vec<_>) =
            folder::folders(root)?.into_iter().partition(|name| is_class(&root.join(name)));
        if classes.is_empty() {
            return Err(missing(root, "holds no folder with train/good", TREE));
        }
        let in_part = |name: &&String| ["train", "test", MASKS].iter().any(|part| root.join(name).join(part).is_dir());
        match others.iter().find(in_part) {
            Some(name) => Err(missing(&root.join(name), "has no folder train/good", TREE)),
            None => Ok(classes),
        }
    }

    fn labels(&self, root: &Path, classes: &[String], class: u16) -> Result<Labels> {
        labels(&class_folder(root, &classes[usize::from(class)]))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let folder = class_folder(query.root, query.class);
        folder::read(query, list(&folder, query)?)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// The folder of a class: in the root, or the root itself.
pub fn class_folder(root: &Path, class: &str) -> PathBuf {
    if is_class(root) { root.to_path_buf() } else { root.join(class) }
}

/// `good`, then the types of defects.
pub fn labels(folder: &Path) -> Result<Labels> {
    let mut names: Vec<String> = Vec::new();
    for part in [Part::Test, Part::Train] {
        let split = split_folder(folder, part)?;
        names.extend(if split.is_dir() { folder::folders(&split)? } else { Vec::new() });
    }
    names.retain(|name| name != GOOD && name != MASKS);
    names.sort();
    names.dedup();
    names.insert(0, GOOD.to_string());
    Ok(Labels { names, normal: 0 })
}

/// Where the images of a part lie. A folder that holds no split and no images itself, but one of good images, is that of test images.
fn split_folder(folder: &Path, part: Part) -> Result<PathBuf> {
    let split = folder.join(part.name());
    let is_test = part == Part::Test && !split.is_dir() && !folder.join(Part::Train.name()).is_dir();
    if is_test && folder.join(GOOD).is_dir() && folder::images(folder, false)?.is_empty() {
        return Ok(folder.to_path_buf());
    }
    Ok(split)
}

/// The images of a class's folder that a query is for; none where the split is missing.
pub fn list(folder: &Path, query: &Query) -> Result<Vec<Listed>> {
    let split = split_folder(folder, query.part)?;
    let masks = match query.part {
        Part::Train => folder.join("train_maps"),
        Part::Test => folder.join(MASKS),
    };
    check_masks(&masks, &split)?;
    let mut listed = Vec::new();
    for (class, name) in query.labels.names.iter().enumerate().filter(|(class, _)| query.wants(*class as u16)) {
        let images = split.join(name);
        if images.is_dir() {
            let truth = match (name == GOOD, query.part) {
                // Nothing asks for the masks of good images to learn from.
                (true, Part::Train) => None,
                (true, Part::Test) => Some(Truth::Flawless),
                (false, _) => Some(Truth::In(masks.join(name))),
            };
            listed.extend(folder::with_masks(&images, class as u16, truth.filter(|_| masks.is_dir()))?);
        }
    }
    Ok(listed)
}

/// The images of all classes but one, apart by class and type of defect.
fn other_classes(root: &Path, class: &str) -> Result<Vec<Vec<PathBuf>>> {
    let mut groups = Vec::new();
    for other in Mvtec.classes(root)?.iter().filter(|other| *other != class) {
        let folder = class_folder(root, other);
        let mut good = folder::images(&folder.join("train").join(GOOD), false)?;
        let test = folder.join("test");
        for kind in if test.is_dir() { folder::folders(&test)? } else { Vec::new() } {
            let images = folder::images(&test.join(&kind), false)?;
            if kind == GOOD { good.extend(images) } else { groups.push(images) }
        }
        groups.push(good);
    }
    if groups.is_empty() {
        let problem = format!("holds only the class {class} of MVTec-AD");
        return Err(Error::file(root, problem, "name the folder that holds the folders of all classes"));
    }
    Ok(groups)
}

/// The folder of good images, and another beside it, where images in a folder are laid out as those of a dataset; of several the one of a test,
/// which nothing was learned from.
pub fn good_and_other(folder: &Path, images: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    let within = |path: &Path| path.parent()?.strip_prefix(folder).ok().map(Path::to_path_buf);
    let folders: BTreeSet<PathBuf> = images.iter().filter_map(|path| within(path)).collect();
    let good_of = |path: &Path| {
        path.ancestors()
            .filter(|above| above.file_name().is_some_and(|name| name == GOOD))
            .last()
            .map(Path::to_path_buf)
    };
    let is_of_test = |good: &PathBuf| good.parent().is_some_and(|parent| parent.ends_with(Part::Test.name()));
    let good: BTreeSet<PathBuf> = folders.iter().filter_map(|path| good_of(path)).collect();
    let good = good.iter().find(|good| is_of_test(good)).or_else(|| good.first())?;
    let other = folders.iter().find(|path| !path.as_os_str().is_empty() && good_of(path).is_none())?;
    Some((folder.join(good), folder.join(other)))
}

/// Refuses masks that are no folder, and those of a folder of images that is not there.
fn check_masks(masks: &Path, split: &Path) -> Result<()> {
    if masks.is_file() {
        return Err(Error::file(masks, "is a file where a folder of masks is expected", "move it away"));
    }
    for kind in if masks.is_dir() { folder::folders(masks)? } else { Vec::new() } {
        let (folder, images) = (masks.join(&kind), split.join(&kind));
        if !images.is_dir() && !folder::images(&folder, false)?.is_empty() {
            let problem = format!("holds masks, but there is no folder {} of their images", images.printable());
            return Err(Error::file(folder, problem, "add the images, or remove the masks"));
        }
    }
    Ok(())
}

fn is_class(folder: &Path) -> bool {
    folder.join("train").join(GOOD).is_dir()
}

/// The name of a folder that may be written as `.`.
fn own_name(folder: &Path) -> String {
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    absolute.file_name().map_or_else(|| GOOD.to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::folder::tests::save;
    use crate::datasets::dataset::{Dataset, DatasetSource, known_classes};

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (class, value) in [("bottle", 10), ("zipper", 50)] {
            let name = |name: &str| format!("{class}/{name}");
            save(dir.path(), &name("train/good/000.png"), (8, 8), value);
            save(dir.path(), &name("test/good/000.png"), (8, 8), value + 1);
            save(dir.path(), &name("test/broken/000.png"), (8, 12), value + 2);
            save(dir.path(), &name("ground_truth/broken/000_mask.png"), (8, 12), 255);
        }
        save(dir.path(), "readme/image.png", (8, 8), 0);
        dir
    }

    fn load(root: &Path, class: &str) -> Result<Dataset> {
        let source = DatasetSource::new(MVTEC, Some(root), 8, 1);
        Dataset::load(&DatasetSource { class, anomalies: true, ..source })
    }

    #[test]
    fn a_class_is_a_folder() {
        let dir = tree();
        let classes = || known_classes(MVTEC, Some(dir.path()));
        assert_eq!(classes().unwrap(), ["bottle", "zipper"]);
        let set = load(dir.path(), "zipper").unwrap();
        assert_eq!(
            (set.class.as_str(), set.normal, set.class_names.as_slice()),
            ("zipper", 0, &["good", "broken"].map(String::from)[..])
        );
        assert_eq!(set.train.images.held().unwrap().image(0)[0], 50);
        assert_eq!(set.test.names, ["zipper/test/good/000.png", "zipper/test/broken/000.png"]);
        let mask = set.test.masks[1].as_ref().unwrap();
        assert_eq!((mask.height, mask.width, mask.any()), (12, 8, true), "at the image's size");
        let alone = load(&dir.path().join("bottle"), "0").unwrap();
        assert_eq!((alone.class.as_str(), alone.train.images.held().unwrap().image(0)[0]), ("bottle", 10));
        let message = load(dir.path(), "carpet").unwrap_err().to_string();
        assert!(message.contains("no class 'carpet'") && message.contains("bottle, zipper"), "{message}");
        let message = load(&dir.path().join("readme"), "0").unwrap_err().to_string();
        assert!(message.contains("DIR/CLASS/train/good/*.png"), "{message}");
        // A class without good images does not go unnoticed.
        save(dir.path(), "cable/test/good/000.png", (8, 8), 0);
        let message = classes().unwrap_err().to_string();
        assert!(message.contains("cable: has no folder train/good"), "{message}");
    }

    #[test]
    fn masks_without_images_are_refused() {
        let dir = tree();
        let root = dir.path().join("bottle");
        save(&root, "ground_truth/ghost/000_mask.png", (8, 8), 255);
        let message = load(&root, "0").unwrap_err().to_string();
        assert!(message.contains("ghost: holds masks, but there is no folder"), "{message}");
        std::fs::remove_dir_all(root.join("ground_truth")).unwrap();
        std::fs::write(root.join("ground_truth"), "").unwrap();
        assert!(load(&root, "0").unwrap_err().to_string().contains("is a file where a folder"));
    }

    #[test]
    fn labelled_anomalies_may_lie_beside_the_good() {
        let dir = tree();
        let root = dir.path().join("bottle");
        save(&root, "train/dent/1.png", (8, 8), 7);
        let set = load(&root, "0").unwrap();
        assert_eq!(
            (set.class_names.as_slice(), set.train.classes.as_slice()),
            (&["good", "broken", "dent"].map(String::from)[..], &[0, 2][..])
        );
        assert!(set.train.masks.is_empty());
        save(&root, "train_maps/dent/1.png", (8, 8), 200);
        let set = load(&root, "0").unwrap();
        assert!(set.train.masks[0].is_none(), "a good image to learn from needs none");
        assert!(set.train.masks[1].as_ref().unwrap().any());
        let unasked = Dataset::load(&DatasetSource::new(MVTEC, Some(&root), 8, 1)).unwrap();
        assert_eq!(unasked.train.classes, [0]);
    }
}
