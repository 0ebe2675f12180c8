//! Labelled defects to learn from: where they come from, and those of a folder of their own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::folder::{self, Listed, Truth};
use crate::data::image_source::Raw;
use crate::data::split::{Labels, Part, Query, Split};
use crate::error::{Error, Result};
use crate::printable::Printable;

/// Where labelled defects come from; written `train`, `test`, or as a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum LabelledSource {
    /// The defects beside the good training images.
    Train,
    /// Those of the test images; what is learned from leaves the test.
    Test,
    /// A folder of images of defects, or of a folder of them for each kind. Masks, where there are any, lie in its folder `ground_truth`: that of
    /// `DIR/KIND/NAME.jpg` is `DIR/ground_truth/KIND/NAME_mask.png` or `NAME.png`.
    Folder(PathBuf),
}

/// The folder of masks.
const MASKS: &str = "ground_truth";

/// The folder that other layouts have for good images.
const GOOD: &str = "good";

impl LabelledSource {
    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            LabelledSource::Folder(path) => Some(path),
            LabelledSource::Train | LabelledSource::Test => None,
        }
    }
}

impl FromStr for LabelledSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<LabelledSource, Self::Err> {
        Ok(LabelledSource::from(text.to_string()))
    }
}

impl From<String> for LabelledSource {
    fn from(text: String) -> LabelledSource {
        match text.as_str() {
            "train" => LabelledSource::Train,
            "test" => LabelledSource::Test,
            _ => LabelledSource::Folder(text.into()),
        }
    }
}

impl fmt::Display for LabelledSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelledSource::Train => f.write_str("train"),
            LabelledSource::Test => f.write_str("test"),
            LabelledSource::Folder(path) => f.write_str(&path.to_string_lossy()),
        }
    }
}

impl From<LabelledSource> for String {
    fn from(source: LabelledSource) -> String {
        source.to_string()
    }
}

/// The defects of a folder as a split, none of whose labels is that of normal images. They are called by their path within `data`, as
/// other images are, or by their whole path where they lie elsewhere.
///
/// # Errors
/// No images, or some beside folders of others; a folder of good ones; images that cannot be read, unless these are to be skipped.
pub(crate) fn read(folder: &Path, data: &Path, raw: Raw, skip_broken: bool) -> Result<Split> {
    if !folder.is_dir() {
        let remedy = "write `labelled` train, test, or the folder that holds their images";
        return Err(Error::file(folder, "is no folder of labelled defects", remedy));
    }
    let mut kinds = folder::folders(folder)?;
    kinds.retain(|kind| kind != MASKS);
    if kinds.iter().any(|kind| kind == GOOD) {
        let remedy = "name a folder of defects alone, or `labelled` test where these are the test images";
        return Err(Error::file(folder.join(GOOD), "holds good images, as it seems, among labelled defects", remedy));
    }
    let beside = folder::images(folder, false)?;
    let mut listed = Vec::new();
    if kinds.is_empty() {
        let images = folder::images_of(folder)?;
        listed.extend(with_masks(images, 0, &folder.join(MASKS))?);
    } else if let Some(image) = beside.first() {
        let problem = format!("lies beside folders, such as {}", folder.join(&kinds[0]).printable());
        return Err(Error::file(image, problem, "move it into the folder of its kind of defect"));
    }
    for (class, kind) in kinds.iter().enumerate() {
        let images = folder::images_of(&folder.join(kind))?;
        listed.extend(with_masks(images, class as u16, &folder.join(MASKS).join(kind))?);
    }
    let labels = Labels { names: kinds, normal: NONE };
    let query = Query {
        root: data,
        class: "",
        labels: &labels,
        part: Part::Train,
        raw,
        normal: false,
        anomalies: true,
        skip_broken,
    };
    folder::read(&query, listed)
}

/// A label that no image has.
pub(crate) const NONE: u16 = u16::MAX;

/// Images with their masks in a folder, of those that have one.
fn with_masks(images: Vec<PathBuf>, class: u16, masks: &Path) -> Result<Vec<Listed>> {
    let mut masks = if masks.is_dir() { folder::images(masks, false)? } else { Vec::new() };
    if !masks.is_empty() {
        folder::refuse_twins(&images)?;
        folder::refuse_twins(&masks)?;
    }
    let mut listed = Vec::with_capacity(images.len());
    for path in images {
        let stem = path.file_stem().unwrap_or_default().to_os_string();
        let mut marked = stem.clone();
        marked.push("_mask");
        let of = |name: &std::ffi::OsStr| masks.iter().position(|mask| mask.file_stem() == Some(name));
        let found = of(&marked).or_else(|| of(&stem));
        let mask = found.map(|i| Truth::In(masks.swap_remove(i)));
        listed.push(Listed { path, class, mask });
    }
    match masks.iter().min() {
        Some(lonely) => Err(Error::file(lonely, "is a mask without an image", "add its image, or remove it")),
        None => Ok(listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::folder::tests::save;
    use crate::data::image_source::Hold;
    use crate::data::resize_mode::{RawForm, ResizeMode};

    fn load(folder: &Path, data: &Path) -> Result<Split> {
        let form = RawForm { side: 8, channels: 1, resize: ResizeMode::Squash };
        read(folder, data, Raw { form, hold: Hold::Always }, false)
    }

    #[test]
    fn sources_are_words_or_folders() {
        for (text, source) in [
            ("train", LabelledSource::Train),
            ("test", LabelledSource::Test),
            ("./test", LabelledSource::Folder("./test".into())),
        ] {
            assert_eq!(text.parse::<LabelledSource>().unwrap(), source);
            assert_eq!(serde_json::to_string(&source).unwrap(), format!("{text:?}"));
        }
    }

    #[test]
    fn a_folder_holds_defects_with_masks_where_there_are_any() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, value) in
            [("cut/1.png", 1), ("cut/2.png", 2), ("dent/1.png", 3), ("ground_truth/cut/2_mask.png", 255)]
        {
            save(root, name, (4, 6), value);
        }
        let split = load(root, root).unwrap();
        assert_eq!(split.names, ["cut/1.png", "cut/2.png", "dent/1.png"]);
        assert_eq!(split.classes, [0, 0, 1]);
        let marked: Vec<bool> = split.masks.iter().map(Option::is_some).collect();
        assert_eq!(marked, [false, true, false]);
        // A folder of one kind, named by its path from the data; no masks.
        let split = load(&root.join("dent"), root).unwrap();
        assert_eq!((split.names, split.masks), (vec!["dent/1.png".to_string()], Vec::new()));
    }

    /// `1.png` and `1.bmp` would both have the mask `1_mask.png`.
    #[test]
    fn a_mask_is_of_one_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        ["1.png", "1.bmp"].into_iter().for_each(|name| save(root, name, (4, 6), 1));
        assert_eq!(load(root, root).unwrap().names.len(), 2, "without masks they are two images");
        save(root, "ground_truth/1_mask.png", (4, 6), 255);
        let message = load(root, root).unwrap_err().to_string();
        assert!(message.contains("1.png: has the name of 1.bmp"), "{message}");
    }

    #[test]
    fn what_is_no_folder_of_defects_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let says = |words: &str| {
            let message = load(&root.join("a"), root).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        says("is no folder of labelled defects");
        std::fs::create_dir(root.join("a")).unwrap();
        says("holds no images");
        save(root, "a/1.png", (4, 4), 0);
        save(root, "a/ground_truth/3.png", (4, 4), 0);
        says("a mask without an image");
        save(root, "a/cut/2.png", (4, 4), 0);
        says("lies beside folders");
        save(root, "a/good/2.png", (4, 4), 0);
        says("holds good images");
    }
}
