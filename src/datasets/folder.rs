//! A user's folder: the layout of a class of MVTec-AD, or good images only.
//!
//! A folder that holds images directly is a training split of good ones; it may have `test` and `ground_truth` beside them.

use std::path::Path;

use super::mvtec;
use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, missing};
use crate::data::folder::{self, Listed};
use crate::data::jitter::Amounts;
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Labels, Part, Query, Split};
use crate::data::supervise::{NoiseMix, NoiseMode, Supervise};
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::error::Result;
use crate::model::image_score::ImageScore;
use crate::printable::Printable;

pub const FOLDER: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "folder",
    explanation: "A folder of images: MVTec-AD's layout, or good images only",
    reader: &Folder,
    home: None,
    may_be_file: false,
    labels_good: true,
    rates_its_class: false,
    good_alone: true,
    recipe: Recipe {
        resize: |_| ResizeMode::Squash,
        raw_side: 224,
        view: SeenPart::Whole,
        augment: |to| {
            // Shifted with mirrored borders instead of cropped: the net sees the texture at the scale, and the borders as whole, as it
            // will in testing.
            let amounts = Amounts { brightness: 0.04, contrast: 0.04, ..Amounts::default() };
            to.then_whole(vec![Transform::Jitter(amounts), Transform::Shift { pad: to.side / 16 }, Transform::Flip])
        },
        noise: ImageNoise::Plain { std: 0.01 },
        mean_std: None,
        joint_extremes: false,
    },
    imagenet_ids: &[],
    outliers: &[OutlierSpec {
        word: "images",
        images: OutlierImages::Files(|root, _, _| Ok(vec![folder::images(root, true)?])),
    }],
    preset: || Preset {
        net: "FCDD_CNN224",
        side: 224,
        supervise: Supervise::MalformedNormalGt,
        noise: NoiseMix::in_equal_shares([NoiseMode::FineConfetti, NoiseMode::CutPaste]),
        maps: true,
        epochs: 20,
        batch: 8,
        optimizer: Optimizer::Adam,
        lr: 1e-3,
        schedule: Schedule::Lambda { gamma: 0.85 },
        sigma: 4.0,
        image_score: ImageScore::Top(1.0),
        quantile: 0.99,
        reestimate: true,
        calibration_share: 20,
        ..Preset::small_grey()
    },
});

#[derive(Debug)]
struct Folder;

const TREE: &str = "  DIR/*.png, good images only (to train), or
  DIR/train/good/*.png
  DIR/test/good/*.png
  DIR/test/DEFECT/*.png
  DIR/ground_truth/DEFECT/NAME_mask.png (optional)
  DIR/good/*.png and DIR/DEFECT/*.png (to evaluate only)
  DIR/train/DEFECT/*.png, with masks in train_maps/DEFECT (optional: labelled defects to learn from)";

impl DatasetReader for Folder {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(vec![mvtec::GOOD.to_string()])
    }

    fn labels(&self, root: &Path, _classes: &[String], _class: u16) -> Result<Labels> {
        mvtec::labels(root)
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let root = query.root;
        if query.part == Part::Test || root.join("train").is_dir() {
            let good = root.join("train").join(mvtec::GOOD);
            if query.part == Part::Train && !good.is_dir() {
                return Err(missing(&good, "holds no images", TREE));
            }
            let mut split = folder::read(query, mvtec::list(root, query)?)?;
            let beside = if query.part == Part::Train { folder::images(root, false)?.len() } else { 0 };
            if beside > 0 {
                let why = "since it has a folder train";
                split.notes.push(format!("not read, {why}: images in {} itself ({beside})", root.printable()));
            }
            if query.part == Part::Train {
                split.notes.extend(folder::misplaced(root).into_iter().chain(folder::in_other_folders(root)));
            }
            return Ok(split);
        }
        let images = folder::images(root, false)?;
        if images.is_empty() {
            return Err(missing(root, "holds no images", TREE));
        }
        let mut split = folder::read(query, images.into_iter().map(|path| Listed::unmarked(path, 0)).collect())?;
        split.notes.extend(folder::misplaced(root));
        Ok(split)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}
