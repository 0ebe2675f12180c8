//! What a user may want to know of folders that were read: which images in them were not read, and masks that mark nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Listed, Truth, entries, file_name, has_extension, images};
use crate::data::decode::read_image;
use crate::data::images::{MASK_THRESHOLD, Mask};
use crate::printable::Printable;

/// Extensions of images that are not read.
const OTHER_FORMATS: [&str; 18] = [
    "avif", "cr2", "dds", "dng", "exr", "gif", "hdr", "heic", "heif", "ico", "jp2", "jxl", "nef", "psd", "qoi", "raw",
    "svg", "tga",
];

/// Folders that have a meaning beside images.
const LAYOUT: [&str; 5] = ["train", "test", "ground_truth", "train_maps", "test_maps"];

/// Images that lie in the folders of those that were listed, or in folders within, and were not.
pub fn left_alone(listed: &[PathBuf]) -> Vec<String> {
    let folders: BTreeSet<&Path> = listed.iter().filter_map(|path| path.parent()).collect();
    let mut notes = Vec::new();
    for folder in &folders {
        // A folder that cannot be read any more is the business of whoever reads its images.
        let entries = entries(folder).unwrap_or_default();
        let others: Vec<&PathBuf> = entries.iter().filter(|path| has_extension(path, &OTHER_FORMATS)).collect();
        if let Some(first) = others.first() {
            notes.push(format!(
                "not read in {}: {} of formats other than PNG, JPEG, BMP, TIFF, WebP and PNM, the first is {}",
                folder.printable(),
                counted(others.len()),
                file_name(first)
            ));
        }
        let is_apart = |path: &&PathBuf| {
            path.is_dir()
                && !path.is_symlink()
                && !LAYOUT.contains(&file_name(path).as_str())
                && !folders.iter().any(|other| other.starts_with(path))
        };
        let apart: Vec<PathBuf> =
            entries.iter().filter(is_apart).flat_map(|path| images(path, true).unwrap_or_default()).collect();
        if let Some(first) = apart.first() {
            let within = first.strip_prefix(folder).unwrap_or(first);
            notes.push(format!(
                "not read in folders within {}: {}, the first is {}",
                folder.printable(),
                counted(apart.len()),
                within.printable()
            ));
        }
    }
    notes
}

/// Masks in which nothing is marked.
pub(super) fn unmarked<'a>(listed: impl Iterator<Item = &'a Listed>, masks: &[Option<Mask>]) -> Option<String> {
    let with_masks = listed.zip(masks).filter_map(|(image, mask)| match (&image.mask, mask) {
        (Some(Truth::In(path)), Some(mask)) => Some((path, mask)),
        _ => None,
    });
    let (mut all, mut empty) = (0, Vec::new());
    for (path, mask) in with_masks {
        all += 1;
        if !mask.any() {
            empty.push(path);
        }
    }
    let first = empty.first()?;
    let brightest = read_image(first, 1).ok()?.pixels.into_iter().max().unwrap_or(0);
    let remedy = if brightest == 0 {
        String::new()
    } else {
        format!(", and the brightest of this mask is {brightest}: write 255 where the defect is, and 0 elsewhere")
    };
    Some(format!(
        "{} of {all} masks of defective images mark nothing, the first is {}; a pixel counts as marked from the value {MASK_THRESHOLD} on{remedy}",
        empty.len(),
        first.printable()
    ))
}

fn counted(n: usize) -> String {
    if n == 1 { "1 image".to_string() } else { format!("{n} images") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::save;
    use super::*;

    #[test]
    fn tells_what_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["good/1.png", "good/2.png", "good/more/3.png", "good/more/still/4.png", "good/test/5.png"] {
            save(root, name, (2, 2), 0);
        }
        let good = images(&root.join("good"), false).unwrap();
        let notes = left_alone(&good);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("good: 2 images, the first is more/3.png"), "{notes:?}");
        std::fs::write(root.join("good/a.GIF"), "").unwrap();
        let notes = left_alone(&good);
        assert!(
            notes[0].contains("good: 1 image of formats other than PNG") && notes[0].ends_with("a.GIF"),
            "{notes:?}"
        );
        // What was listed is not left alone.
        let all = images(&root.join("good"), true).unwrap();
        assert_eq!(left_alone(&all).len(), 1);
    }

    #[test]
    fn tells_of_masks_that_mark_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let listed = |name: &str, value| {
            save(dir.path(), name, (2, 2), value);
            Listed { path: "x.png".into(), class: 1, mask: Some(Truth::In(dir.path().join(name))) }
        };
        let some = [listed("a.png", 255), listed("b.png", 1), listed("c.png", 0)];
        let mask = |value| Some(Mask { height: 1, width: 1, pixels: vec![value] });
        let note = unmarked(some.iter(), &[mask(1), mask(0), mask(0)]).unwrap();
        assert!(
            note.starts_with("2 of 3 masks") && note.contains("b.png") && note.contains("is 1: write 255"),
            "{note}"
        );
        let note = unmarked(some[2..].iter(), &[mask(0)]).unwrap();
        assert!(note.ends_with("c.png; a pixel counts as marked from the value 128 on"), "{note}");
        assert_eq!(unmarked(some[..1].iter(), &[mask(1)]), None);
    }
}
