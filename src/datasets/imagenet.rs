//! ImageNet-30: the folders of thirty classes of ImageNet, named by WordNet id; other folders are left alone.
//!
//! Any folder of ImageNet with a folder per class, in `DIR/train` or `DIR`, gives outliers: those of ImageNet-22k are the same.

use std::path::{Path, PathBuf};

use super::preset::Preset;
use super::recipe::{IMAGENET_MOMENTS, ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, missing};
use crate::data::folder::{self, Listed};
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Part, Query, Split};
use crate::error::{Error, Result};

pub const IMAGENET: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "imagenet",
    explanation: "ImageNet-30: folders named by WordNet id",
    reader: &Imagenet,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: Recipe {
        resize: |_| ResizeMode::ShortSide,
        raw_side: 256,
        view: SeenPart::Centre,
        augment: |to| [vec![to.jitter_all(0.01), Transform::Flip], to.crop()].concat(),
        noise: ImageNoise::Plain { std: 0.001 },
        mean_std: Some(IMAGENET_MOMENTS),
        joint_extremes: false,
    },
    imagenet_ids: &IDS,
    outliers: &[
        OutlierSpec { word: "imagenet", images: OutlierImages::Files(outliers) },
        OutlierSpec { word: "imagenet22k", images: OutlierImages::Files(outliers) },
    ],
    preset,
});

/// The paper's for large photographs.
pub fn preset() -> Preset {
    Preset { net: "FCDD_CNN224_VGG_NOPT", side: 224, sigma: 8.0, quantile: 0.97, ..Preset::small_photographs() }
}

/// The thirty classes of ImageNet-30 (Hendrycks et al., 2019) with the names of their folders.
pub const IMAGENET_30: [(&str, &str); 30] = [
    ("acorn", "n12267677"),
    ("airliner", "n02690373"),
    ("ambulance", "n02701002"),
    ("American alligator", "n01698640"),
    ("banjo", "n02787622"),
    ("barn", "n02793495"),
    ("bikini", "n02837789"),
    ("digital clock", "n03196217"),
    ("dragonfly", "n02268443"),
    ("dumbbell", "n03255030"),
    ("forklift", "n03384352"),
    ("goblet", "n03443371"),
    ("grand piano", "n03452741"),
    ("hotdog", "n07697537"),
    ("hourglass", "n03544143"),
    ("manhole cover", "n03717622"),
    ("mosque", "n03788195"),
    ("nail", "n03804744"),
    ("parking meter", "n03891332"),
    ("pillow", "n03938244"),
    ("revolver", "n04086273"),
    ("dial telephone", "n03187595"),
    ("schooner", "n04147183"),
    ("snowmobile", "n04252077"),
    ("soccer ball", "n04254680"),
    ("stingray", "n01498041"),
    ("strawberry", "n07745940"),
    ("tank", "n04389033"),
    ("toaster", "n04442312"),
    ("volcano", "n09472597"),
];

const IDS: [&str; IMAGENET_30.len()] = {
    let mut ids = [""; IMAGENET_30.len()];
    let mut i = 0;
    while i < ids.len() {
        ids[i] = IMAGENET_30[i].1;
        i += 1;
    }
    ids
};

#[derive(Debug)]
struct Imagenet;

const TREE: &str = "  DIR/train/n12267677/*.JPEG (acorn), and so on: a folder per class, named by WordNet id
  DIR/val/n12267677/*.JPEG (or DIR/test)";

impl DatasetReader for Imagenet {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(IMAGENET_30.iter().map(|(name, _)| name.to_string()).collect())
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let split = match query.part {
            Part::Train => query.root.join("train"),
            Part::Test if query.root.join("val").is_dir() => query.root.join("val"),
            Part::Test => query.root.join("test"),
        };
        let mut images = Vec::new();
        for (class, (name, id)) in IMAGENET_30.iter().enumerate().filter(|(class, _)| query.wants(*class as u16)) {
            let folder = split.join(id);
            if !folder.is_dir() {
                return Err(missing(&folder, format!("the images of class {name} are missing"), TREE));
            }
            images.extend(folder::images_of(&folder)?.into_iter().map(|path| Listed::unmarked(path, class as u16)));
        }
        folder::read(query, images)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// ImageNet's images but those of the classes that are normal.
fn outliers(root: &Path, normal: DatasetKind, _class: &str) -> Result<Vec<Vec<PathBuf>>> {
    let train = root.join("train");
    let root = if train.is_dir() { train.as_path() } else { root };
    let classes: Vec<String> = folder::folders(root)?.into_iter().filter(|name| is_id(name)).collect();
    if classes.is_empty() {
        return Err(Error::file(
            root,
            "holds no folder named by WordNet id",
            "expected are folders such as DIR/n01440764",
        ));
    }
    let kept = classes.iter().filter(|name| !normal.imagenet_ids.contains(&name.as_str()));
    let images = kept.map(|name| folder::images(&root.join(name), true)).collect::<Result<Vec<_>>>()?;
    Ok(vec![images.concat()])
}

/// Whether a folder's name is a WordNet id: `n` and eight digits.
fn is_id(name: &str) -> bool {
    name.strip_prefix('n').is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::folder::tests::save;
    use crate::datasets::dataset::{Dataset, DatasetSource};
    use crate::datasets::pascalvoc::PASCALVOC;
    use std::collections::HashSet;
    use std::fs;

    #[test]
    fn ids_are_ids_and_stand_once() {
        for ids in [IMAGENET.imagenet_ids, PASCALVOC.imagenet_ids] {
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
            assert!(ids.iter().all(|id| is_id(id)));
        }
        assert!(!is_id("n0226844") && !is_id("n02268443x") && !is_id("02268443n"));
    }

    #[test]
    fn classes_are_folders_by_id() {
        let dir = tempfile::tempdir().unwrap();
        for (i, (_, id)) in IMAGENET_30.iter().enumerate() {
            save(dir.path(), &format!("train/{id}/a.png"), (4, 4), i as u8);
            save(dir.path(), &format!("val/{id}/b.png"), (4, 4), 100 + i as u8);
        }
        save(dir.path(), "train/n01440764/tench.png", (4, 4), 0);
        let source = DatasetSource::new(IMAGENET, Some(dir.path()), 4, 3);
        let set = Dataset::load(&DatasetSource { class: "american Alligator", ..source }).unwrap();
        assert_eq!((set.normal, set.train.classes.as_slice(), set.test.images.count()), (3, &[3][..], 30));
        assert_eq!(set.train.images.held().unwrap().image(0)[0], 3, "the normal class alone is read");
        let all = Dataset::load(&DatasetSource { anomalies: true, ..source }).unwrap();
        assert_eq!((all.train.images.count(), all.anomalous().len()), (30, 29));
        fs::rename(dir.path().join("val"), dir.path().join("test")).unwrap();
        assert_eq!(Dataset::load_test(&source).unwrap().test.images.held().unwrap().image(29)[0], 129);
        fs::remove_dir_all(dir.path().join("test/n04389033")).unwrap();
        let message = Dataset::load(&source).unwrap_err().to_string();
        assert!(message.contains("n04389033: the images of class tank are missing"), "{message}");
        assert!(message.contains("  DIR/train/n12267677"), "{message}");
    }
}
