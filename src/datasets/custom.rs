//! A user's classes, in either of the authors' two layouts: classes against each other, or normal and anomalous images of each.
//!
//! Where `train_maps` or `test_maps` exists, it mirrors its split: the mask of `test/CLASS/NAME.jpg` is `test_maps/CLASS/NAME.png` or
//! `test_maps/CLASS/NAME_mask.png`, and every anomalous image needs one.

use std::path::{Path, PathBuf};

use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, missing};
use crate::data::folder::{self, Truth};
use crate::data::pipeline::{PipelineKind, Transform};
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Labels, Part, Query, Split};
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};

pub(crate) const CUSTOM: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "custom",
    explanation: "Images in a folder per class, with the paper's settings for them",
    reader: &Custom,
    home: None,
    may_be_file: false,
    labels_good: true,
    rates_its_class: false,
    good_alone: false,
    recipe: Recipe {
        resize: |kind| match kind == PipelineKind::Aug1Masks {
            true => ResizeMode::Nearest,
            false => ResizeMode::ShortSide,
        },
        raw_side: 248,
        view: SeenPart::Centre,
        augment: |to| match to.kind == PipelineKind::Aug1Masks {
            true => vec![to.crop_or_whole(), Transform::Flip, to.jitter_all(0.01)],
            false => [vec![to.jitter_all(0.01), Transform::Flip], to.crop()].concat(),
        },
        noise: ImageNoise::Plain { std: 0.001 },
        mean_std: None,
        joint_extremes: false,
    },
    imagenet_ids: &[],
    outliers: &[],
    preset: || Preset {
        net: "FCDD_CNN224_VGG_F",
        side: 224,
        pipeline: PipelineKind::Aug1,
        epochs: 200,
        lr: 1e-3,
        schedule: Schedule::Lambda { gamma: 0.985 },
        sigma: 10.0,
        quantile: 0.97,
        ..Preset::small_grey()
    },
});

#[derive(Debug)]
struct Custom;

const NORMAL: &str = "normal";
const ANOMALOUS: &str = "anomalous";
const TREE: &str = "  DIR/{train,test}/CLASS/*.png, one class against the others, or
  DIR/{train,test}/CLASS/{normal,anomalous}/*.png, by class
  DIR/{train,test}_maps/CLASS/…/NAME.png (optional masks)";

impl DatasetReader for Custom {
    fn classes(&self, root: &Path) -> Result<Vec<String>> {
        let train = root_of(root).join("train");
        let classes = if train.is_dir() { folder::folders(&train)? } else { Vec::new() };
        if classes.is_empty() {
            return Err(missing(&train, "holds no folder of a class", TREE));
        }
        let (divided, plain): (Vec<_>, Vec<_>) =
            classes.iter().partition(|class| train.join(class).join(NORMAL).is_dir());
        if let (Some(divided), Some(plain)) = (divided.first(), plain.first()) {
            let problem = format!("class {divided} has a folder {NORMAL}, class {plain} has none");
            return Err(Error::file(&train, problem, format!("expected layouts:\n{TREE}")));
        }
        Ok(classes)
    }

    fn labels(&self, root: &Path, classes: &[String], class: u16) -> Result<Labels> {
        let root = root_of(root);
        if has_normal(&root, &classes[usize::from(class)]) {
            return Ok(Labels { names: vec![NORMAL.to_string(), ANOMALOUS.to_string()], normal: 0 });
        }
        let test = root.join("test");
        let tested = if test.is_dir() { folder::folders(&test)? } else { Vec::new() };
        let only_tested = tested.into_iter().filter(|name| !classes.contains(name));
        Ok(Labels { names: classes.iter().cloned().chain(only_tested).collect(), normal: class })
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let root = root_of(query.root);
        let (mut split, mut maps) = (root.join(query.part.name()), root.join(format!("{}_maps", query.part.name())));
        let has_maps = maps.is_dir();
        if has_normal(&root, query.class) {
            (split, maps) = (split.join(query.class), maps.join(query.class));
        }
        let mut listed = Vec::new();
        for (class, name) in query.labels.names.iter().enumerate() {
            let (class, images) = (class as u16, split.join(name));
            if query.wants(class) && images.is_dir() {
                let truth = if class == query.labels.normal { Truth::Flawless } else { Truth::In(maps.join(name)) };
                listed.extend(folder::with_masks(&images, class, has_maps.then_some(truth))?);
            }
        }
        if listed.is_empty() && query.part == Part::Train {
            return Err(missing(&split, format!("holds no images of class {}", query.class), TREE));
        }
        folder::read(query, listed)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// The folder of the set: as the authors' code has it, it may lie in one called `custom`.
fn root_of(root: &Path) -> PathBuf {
    let nested = root.join("custom");
    if nested.join("train").is_dir() { nested } else { root.to_path_buf() }
}

/// Whether normal and anomalous images of a class are told apart.
fn has_normal(root: &Path, class: &str) -> bool {
    root.join("train").join(class).join(NORMAL).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::folder::tests::save;
    use crate::datasets::dataset::{Dataset, DatasetSource};

    fn load(root: &Path, class: &str) -> Result<Dataset> {
        Dataset::load(&DatasetSource { class, anomalies: true, ..DatasetSource::new(CUSTOM, Some(root), 8, 1) })
    }

    #[test]
    fn classes_stand_against_each_other() {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in ["train/a/1", "train/b/2", "test/a/3", "test/b/4", "test/odd/5"].iter().enumerate() {
            save(dir.path(), &format!("{name}.png"), (8, 8), i as u8);
        }
        let set = load(dir.path(), "b").unwrap();
        assert_eq!((set.class_names.as_slice(), set.normal), (&["a", "b", "odd"].map(String::from)[..], 1));
        assert_eq!((set.train.classes.as_slice(), set.test.classes.as_slice()), (&[0, 1][..], &[0, 1, 2][..]));
        assert!(set.test.masks.is_empty() && set.normal().unwrap() == [1]);
        assert!(load(dir.path(), "odd").is_err(), "what cannot be learned is no class");
        save(dir.path(), "test_maps/a/3_mask.png", (8, 8), 255);
        let message = load(dir.path(), "b").unwrap_err().to_string();
        assert!(message.contains("5_mask.png: the mask of"), "{message}");
        save(dir.path(), "test_maps/odd/5.png", (8, 8), 0);
        let masks = load(dir.path(), "b").unwrap().test.masks;
        assert_eq!(masks.iter().map(|mask| mask.as_ref().unwrap().any()).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn classes_have_normal_and_anomalous_images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("custom");
        for (i, name) in
            ["train/x/normal/1", "train/x/anomalous/2", "train/y/normal/3", "test/x/normal/4", "test/x/anomalous/5"]
                .iter()
                .enumerate()
        {
            save(&root, &format!("{name}.png"), (8, 8), i as u8);
        }
        let set = load(dir.path(), "x").unwrap();
        assert_eq!(
            (set.class.as_str(), set.class_names.as_slice(), set.normal),
            ("x", &["normal", "anomalous"].map(String::from)[..], 0)
        );
        assert_eq!((set.train.classes.as_slice(), set.test.classes.as_slice()), (&[0, 1][..], &[0, 1][..]));
        save(&root, "train_maps/x/anomalous/2.png", (8, 8), 255);
        let masks = load(&root, "x").unwrap().train.masks;
        assert!(!masks[0].as_ref().unwrap().any() && masks[1].as_ref().unwrap().any());
        assert_eq!(load(&root, "y").unwrap().test.images.count(), 0);
        save(&root, "train/z/6.png", (8, 8), 0);
        let message = load(&root, "x").unwrap_err().to_string();
        assert!(message.contains("class x has a folder normal, class z has none"), "{message}");
        let message = load(&root.join("train"), "0").unwrap_err().to_string();
        assert!(message.contains("DIR/{train,test}/CLASS/*.png"), "{message}");
    }
}
