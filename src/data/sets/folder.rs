//! A user's folder: the layout of a class of MVTec-AD, or good pictures only.
//!
//! A folder that holds pictures directly is a training split of good ones; it may have `test` and `ground_truth` beside them.

use std::path::Path;

use super::{DatasetReader, Labels, Part, Query, missing, mvtec};
use crate::data::dataset::Split;
use crate::data::folder::{self, Listed};
use crate::error::Result;

/// A folder of pictures.
pub struct Folder;

const TREE: &str = "  DIR/*.png, good pictures only, or
  DIR/train/good/*.png
  DIR/test/good/*.png
  DIR/test/DEFECT/*.png
  DIR/ground_truth/DEFECT/NAME_mask.png (optional)
  DIR/train/DEFECT/*.png, with masks in train_maps/DEFECT (optional, for `supervise` other)";

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
                return Err(missing(&good, "holds no pictures", TREE));
            }
            let mut split = folder::read(query, mvtec::list(root, query)?)?;
            let beside = if query.part == Part::Train { folder::pictures(root, false)?.len() } else { 0 };
            if beside > 0 {
                let why = "since it has a folder train";
                split.notes.push(format!("left alone, {why}: pictures in {} itself ({beside})", root.display()));
            }
            return Ok(split);
        }
        let pictures = folder::pictures(root, false)?;
        if pictures.is_empty() {
            return Err(missing(root, "holds no pictures", TREE));
        }
        folder::read(query, pictures.into_iter().map(|path| Listed::unmarked(path, 0)).collect())
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}
