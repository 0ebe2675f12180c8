//! Folders of pictures: MVTec-AD's layout, or good pictures only.

use std::path::Path;

use super::{Format, Labels, Part, Query};
use crate::data::dataset::Split;
use crate::data::folder;
use crate::error::Result;

/// A folder of a user's.
pub struct Folder;

impl Format for Folder {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(vec!["good".to_string()])
    }

    fn labels(&self, root: &Path, _classes: &[String], _class: u16) -> Result<Labels> {
        Ok(Labels { names: folder::class_names(root)?, nominal: 0 })
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let raw = query.source.raw;
        match query.part {
            Part::Train => folder::train(query.root, raw),
            Part::Test => folder::test(query.root, &query.labels.names, raw),
        }
    }

    fn tree(&self) -> &'static str {
        "  DIR/train/good/*.png"
    }
}
