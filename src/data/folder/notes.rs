//! What a user may want to know of folders that were read: which images in them were not read, and masks that mark nothing or nearly all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Listed, Truth, entries, file_name, has_extension, images};
use crate::data::decode::read_image;
use crate::data::images::{MASK_THRESHOLD, Mask, Original};
use crate::data::levels::{Levels, SamplesUsed};
use crate::printable::Printable;

/// Extensions of images that are not read.
const OTHER_FORMATS: [&str; 18] = [
    "avif", "cr2", "dds", "dng", "exr", "gif", "hdr", "heic", "heif", "ico", "jp2", "jxl", "nef", "psd", "qoi", "raw",
    "svg", "tga",
];

/// The share of an image from which on a mask that marks more is thought to be inverted: defects are small.
const NEARLY_ALL: f64 = 0.9;

/// Pixels of the net's square along a defect below which it is easily missed (docs/guide.md).
const SMALLEST_SEEN: usize = 4;

/// Folders that have a meaning beside images.
const LAYOUT: [&str; 5] = ["train", "test", "ground_truth", "train_maps", "test_maps"];

/// Images that lie in the folders of those that were listed, or in folders within, and were not.
pub fn left_alone(listed: &[PathBuf]) -> Vec<String> {
    let folders: BTreeSet<&Path> = listed.iter().filter_map(|path| path.parent()).collect();
    // Some are read by another of their names.
    let read: BTreeSet<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
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
                && !LAYOUT.contains(&file_name(path).as_str())
                && !folders.iter().any(|other| other.starts_with(path))
                && !path.canonicalize().is_ok_and(|path| read.iter().any(|other| other.starts_with(&path)))
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

/// Links to folders that are read by another name.
pub(super) fn passed_over(links: &[PathBuf]) -> Option<String> {
    let first = links.first()?.printable();
    let n = links.len();
    let links = if n == 1 {
        "1 link leads to a folder that is".to_string()
    } else {
        format!("{n} links lead to folders that are")
    };
    Some(format!("{links} read by another name, and read once: the first is {first}"))
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

/// Masks that mark nearly all of their image.
pub(super) fn overmarked<'a>(listed: impl Iterator<Item = &'a Listed>, masks: &[Option<Mask>]) -> Option<String> {
    let is_full = |mask: &Mask| {
        let marked = mask.pixels.iter().filter(|&&pixel| pixel == 1).count();
        marked as f64 > NEARLY_ALL * mask.pixels.len() as f64
    };
    let full = listed.zip(masks).filter_map(|(image, mask)| match (&image.mask, mask) {
        (Some(Truth::In(path)), Some(mask)) if is_full(mask) => Some(path),
        _ => None,
    });
    let full: Vec<&PathBuf> = full.collect();
    let first = full.first()?;
    Some(format!(
        "{} of {} masks of defective images mark more than {:.0} % of their pixels, the first is {}: if they are inverted, write 255 where \
         the defect is, and 0 elsewhere",
        full.len(),
        masks.iter().flatten().count(),
        100.0 * NEARLY_ALL,
        first.printable()
    ))
}

/// Images right in the folders `train` and `test` of MVTec-AD's layout, where they have no place.
pub fn misplaced(root: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    for part in ["train", "test"] {
        let beside = images(&root.join(part), false).unwrap_or_default();
        if let Some(first) = beside.first() {
            notes.push(format!(
                "not read: {} in {} itself, the first is {}; images belong in {part}/good or {part}/DEFECT",
                counted(beside.len()),
                root.join(part).printable(),
                file_name(first)
            ));
        }
    }
    notes
}

/// Images in folders beside `train` that are none of MVTec-AD's layout.
pub fn in_other_folders(root: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let others = entries(root).unwrap_or_default().into_iter();
    for other in others.filter(|path| path.is_dir() && !LAYOUT.contains(&file_name(path).as_str())) {
        let within = images(&other, true).unwrap_or_default();
        if !within.is_empty() {
            notes.push(format!(
                "not read: {} in {}; images are read from train and test, masks from ground_truth and train_maps",
                counted(within.len()),
                other.printable()
            ));
        }
    }
    notes
}

fn counted(n: usize) -> String {
    if n == 1 { "1 image".to_string() } else { format!("{n} images") }
}

/// That good images differ in depth, where they do: to a net those of fewer bits are dark.
pub(super) fn differing_depths(used: &[Option<SamplesUsed>]) -> Option<String> {
    let of_16 = used.iter().flatten().map(|used| used.bits);
    let (fewest, most) = (of_16.clone().min()?, of_16.clone().max()?);
    let eight = used.len() - of_16.count();
    if fewest == most && eight == 0 {
        return None;
    }
    let bits = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    Some(format!(
        "of {} good images that were looked at {eight} are files of 8 bits, the others of 16 with {bits} significant bits: give all in one depth, or \
         some will look dark",
        used.len()
    ))
}

/// That images have samples beyond what good ones have, where some do.
pub(super) fn deeper(originals: &[Original], levels: Levels) -> Option<String> {
    let most = levels.significant()?.most;
    let deeper = originals.iter().filter(|image| image.bits.is_some_and(|bits| bits > most + 1)).count();
    (deeper > 0).then(|| {
        format!(
            "{deeper} of {} images have more significant bits than the {most} of the good ones that were learned from: what is brighter is white",
            originals.len()
        )
    })
}

/// That a net which takes squares of `side` pixels sees images at half their resolution or less, where most are so large.
pub fn shrunk(originals: &[Original], side: usize) -> Option<String> {
    let mut shortest: Vec<usize> = originals.iter().map(|image| image.height.min(image.width)).collect();
    shortest.sort_unstable();
    let median = *shortest.get(shortest.len() / 2)?;
    (median >= 2 * side).then(|| {
        format!(
            "half of the good images have {median} pixels along their shorter side, or more, and the net sees {side}: where defects are smaller \
             than {} pixels, `fit` tile:{side},{} lets it see images at full resolution, which takes longer",
            (SMALLEST_SEEN * median).div_ceil(side),
            side / 4
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::images_that_open;
    use super::super::tests::save;
    use super::*;

    #[test]
    fn tells_what_lies_where_nothing_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in
            ["train/good/0.png", "train/1.png", "test/2.png", "test/3.png", "masks/spot/4.png", "ground_truth/x.png"]
        {
            save(root, name, (2, 2), 0);
        }
        let notes = misplaced(root);
        assert!(
            notes.len() == 2 && notes[0].contains("1 image in") && notes[0].contains("train/good or train/DEFECT"),
            "{notes:?}"
        );
        assert!(notes[1].contains("2 images in") && notes[1].contains("the first is 2.png"), "{notes:?}");
        let notes = in_other_folders(root);
        assert!(notes.len() == 1 && notes[0].contains("masks; images are read from train and test"), "{notes:?}");
    }

    #[test]
    fn tells_of_masks_that_mark_nearly_all() {
        let mask = |marked: usize| {
            Some(Mask { height: 10, width: 10, pixels: (0..100).map(|i| u8::from(i < marked)).collect() })
        };
        let listed =
            [0, 1, 2].map(|i| Listed { path: "p".into(), class: 1, mask: Some(Truth::In(format!("m{i}.png").into())) });
        let told = |counts: [usize; 3]| overmarked(listed.iter(), &counts.map(mask));
        assert_eq!(told([1, 50, 90]), None);
        let note = told([1, 91, 100]).unwrap();
        assert!(note.starts_with("2 of 3 masks") && note.contains("m1.png") && note.contains("inverted"), "{note}");
    }

    /// Links to folders are followed, and not for ever.
    #[cfg(unix)]
    #[test]
    fn links_are_followed_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        save(root, "in/0.png", (2, 2), 0);
        save(root, "monday/1.png", (2, 2), 0);
        std::os::unix::fs::symlink(root.join("monday"), root.join("in/monday")).unwrap();
        std::os::unix::fs::symlink(root.join("in"), root.join("monday/back")).unwrap();
        let found = images(&root.join("in"), true).unwrap();
        assert_eq!(found, ["0.png", "monday/1.png"].map(|name| root.join("in").join(name)));
        let found = images_that_open(&root.join("in"), &|| false).unwrap();
        assert_eq!((found.links, found.passed_over.len()), (vec![root.join("in/monday")], 1));
        // A folder by its own name first, whatever links to it are called.
        std::os::unix::fs::symlink(root.join("monday"), root.join("a")).unwrap();
        let found = images(root, true).unwrap();
        assert_eq!(found, ["in/0.png", "monday/1.png"].map(|name| root.join(name)));
    }

    /// Two links a level make paths without end of a few folders.
    #[cfg(unix)]
    #[test]
    fn folders_that_link_to_each_other_are_entered_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        save(root, "0/1.png", (2, 2), 0);
        for level in 1..30 {
            let folder = root.join(level.to_string());
            std::fs::create_dir(&folder).unwrap();
            for name in ["a", "b"] {
                std::os::unix::fs::symlink(root.join((level - 1).to_string()), folder.join(name)).unwrap();
            }
        }
        let found = images(&root.join("29"), true).unwrap();
        let told = images_that_open(&root.join("29"), &|| false).unwrap().notes();
        assert!(
            told.len() == 1 && told[0].starts_with("29 links lead to folders that are read by another name"),
            "{told:?}"
        );
        // A search that is over looks no further.
        let looks = std::cell::Cell::new(0);
        let is_over = || looks.replace(looks.get() + 1) >= 3;
        assert!(images_that_open(&root.join("29"), &is_over).unwrap().images.is_empty());
        assert_eq!(found, [(0..29).fold(root.join("29"), |path, _| path.join("a")).join("1.png")]);
    }

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

    #[test]
    fn large_images_are_told() {
        let of = |sizes: &[(usize, usize)]| {
            let originals = sizes.iter().map(|&(height, width)| Original { height, width, bits: None });
            shrunk(&originals.collect::<Vec<_>>(), 224)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(447, 2000), (447, 447), (4000, 4000)]), None);
        let told = of(&[(640, 900), (640, 640), (100, 100)]).unwrap();
        assert!(told.contains("640 pixels") && told.contains("12 pixels") && told.contains("tile:224,56"), "{told}");
    }
}
