//! ImageNet-30: the folders of thirty classes of ImageNet, named by WordNet id; other folders are left alone.

use std::path::Path;

use super::wordnet::IMAGENET_30;
use super::{DatasetReader, Part, Query, missing};
use crate::data::dataset::Split;
use crate::data::folder::{self, Listed};
use crate::error::Result;

/// ImageNet-30.
pub struct Imagenet;

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
        let mut pictures = Vec::new();
        for (class, (name, id)) in IMAGENET_30.iter().enumerate().filter(|(class, _)| query.wants(*class as u16)) {
            let folder = split.join(id);
            if !folder.is_dir() {
                return Err(missing(&folder, format!("the pictures of class {name} are missing"), TREE));
            }
            pictures.extend(folder::pictures_of(&folder)?.into_iter().map(|path| Listed::unmarked(path, class as u16)));
        }
        folder::read(query, pictures)
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::{Dataset, DatasetKind, Source};
    use crate::data::folder::tests::save;
    use std::fs;

    #[test]
    fn classes_are_folders_by_id() {
        let dir = tempfile::tempdir().unwrap();
        for (i, (_, id)) in IMAGENET_30.iter().enumerate() {
            save(dir.path(), &format!("train/{id}/a.png"), (4, 4), i as u8);
            save(dir.path(), &format!("val/{id}/b.png"), (4, 4), 100 + i as u8);
        }
        save(dir.path(), "train/n01440764/tench.png", (4, 4), 0);
        let source = Source::new(DatasetKind::Imagenet, Some(dir.path()), 4, 3);
        let set = Dataset::load(&Source { class: "american Alligator", ..source }).unwrap();
        assert_eq!((set.nominal, set.train.classes.as_slice(), set.test.images.count()), (3, &[3][..], 30));
        assert_eq!(set.train.images.held().unwrap().image(0)[0], 3, "the nominal class alone is read");
        let all = Dataset::load(&Source { anomalies: true, ..source }).unwrap();
        assert_eq!((all.train.images.count(), all.anomalous().len()), (30, 29));
        fs::rename(dir.path().join("val"), dir.path().join("test")).unwrap();
        assert_eq!(Dataset::load_test(&source).unwrap().test.images.held().unwrap().image(29)[0], 129);
        fs::remove_dir_all(dir.path().join("test/n04389033")).unwrap();
        let message = Dataset::load(&source).unwrap_err().to_string();
        assert!(message.contains("n04389033: the pictures of class tank are missing"), "{message}");
        assert!(message.contains("  DIR/train/n12267677"), "{message}");
    }
}
