//! Folders of pictures: MVTec-AD's layout with good and defective test pictures and their masks, or good pictures only.
//!
//! ```text
//! DIR/train/good/*.png                     pictures to learn from
//! DIR/test/good/*.png                      good pictures to judge by
//! DIR/test/DEFECT/*.png                    defective ones, one folder per type of defect
//! DIR/ground_truth/DEFECT/NAME_mask.png    masks of DIR/test/DEFECT/NAME.png, same size, anomalous where 128 or more
//! ```
//! `test` and `ground_truth` may be missing; where `ground_truth` exists, every defective picture needs its mask. A folder
//! that holds pictures directly is a training split of good pictures.
//! Class 0 is `good`; the types of defects follow in order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::dataset::Split;
use crate::data::images::{Images, Mask, picture_size, read_mask};
use crate::data::store::{Raw, Store};
use crate::error::{Error, Result};

/// Class 0.
const GOOD: &str = "good";
const EXTENSIONS: [&str; 12] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "pgm", "ppm", "pnm", "pbm", "pam"];

/// The tree a folder should show, as the remedy of an error.
pub fn expected_layout() -> String {
    "expected is a folder of good pictures, or this tree:
  DIR/train/good/*.png
  DIR/test/good/*.png
  DIR/test/DEFECT/*.png
  DIR/ground_truth/DEFECT/NAME_mask.png (optional)"
        .to_string()
}

/// `good`, then the types of defects in the test split.
pub fn class_names(root: &Path) -> Result<Vec<String>> {
    let mut names = vec![GOOD.to_string()];
    if root.join("test").is_dir() {
        for folder in entries(&root.join("test"))?.into_iter().filter(|path| path.is_dir()) {
            // It becomes the name of a class, and the folder is found by it.
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
                return Err(Error::file(&folder, "is not named in Unicode", "rename the folder"));
            };
            names.extend((name != GOOD).then(|| name.to_string()));
        }
    }
    Ok(names)
}

/// The training split: `train/good`, or the pictures in the folder itself.
pub fn train(root: &Path, raw: Raw) -> Result<Split> {
    let good = if root.join("train").is_dir() { root.join("train").join(GOOD) } else { root.to_path_buf() };
    let paths = if good.is_dir() { pictures(&good, false)? } else { Vec::new() };
    if paths.is_empty() {
        return Err(Error::file(&good, "holds no pictures", expected_layout()));
    }
    let images = read_all(&paths, raw)?;
    Ok(Split { images, classes: vec![0; paths.len()], names: relative_names(&paths, root), masks: Vec::new() })
}

/// The test split: every folder in `test`, with masks if there is a `ground_truth`. Empty where `test` is missing.
pub fn test(root: &Path, class_names: &[String], raw: Raw) -> Result<Split> {
    let mut paths = Vec::new();
    let mut classes = Vec::new();
    for (class, name) in class_names.iter().enumerate() {
        let folder = root.join("test").join(name);
        if folder.is_dir() {
            paths.extend(pictures(&folder, false)?);
            classes.resize(paths.len(), class as u16);
        }
    }
    let images = read_all(&paths, raw)?;
    let mut masks = Vec::new();
    if root.join("ground_truth").is_dir() {
        let wanted: Vec<usize> = (0..paths.len()).collect();
        let read = |&i: &usize| {
            let (height, width) = picture_size(&paths[i])?;
            match classes[i] {
                0 => Ok(Some(Mask { height, width, pixels: vec![0; height * width] })),
                class => find_mask(root, &class_names[usize::from(class)], &paths[i], (height, width)).map(Some),
            }
        };
        masks = first_error(wanted.par_iter().map(read).collect())?;
    }
    Ok(Split { images, classes, names: relative_names(&paths, root), masks })
}

/// The pictures of a folder in order of their names, by extension; hidden files are left out. `recursive` descends into
/// its folders too.
pub fn pictures(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            if recursive && !path.is_symlink() {
                found.extend(pictures(&path, true)?);
            }
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known))) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The raw images of pictures: read in parallel and held in memory, or left in their files where they are too many to hold.
pub fn read_all(paths: &[PathBuf], raw: Raw) -> Result<Store> {
    let store = Store::of_files(paths, raw.form);
    if !raw.hold.holds(paths.len().saturating_mul(raw.form.image_len())) {
        return Ok(store);
    }
    Images::room_for(paths.len(), raw.form.side, raw.form.channels)?;
    Ok(store.load(&(0..paths.len()).collect::<Vec<_>>())?.into())
}

fn find_mask(root: &Path, class: &str, picture: &Path, size: (usize, usize)) -> Result<Mask> {
    let mut name = picture.file_stem().unwrap_or_default().to_os_string();
    name.push("_mask.png");
    let path = root.join("ground_truth").join(class).join(name);
    if !path.is_file() {
        let problem = format!("the mask of {} is missing", picture.display());
        return Err(Error::file(path, problem, "add it, or remove the folder ground_truth to do without masks"));
    }
    let mask = read_mask(&path)?;
    if (mask.height, mask.width) != size {
        let problem = format!(
            "the mask has {}×{} pixels (height × width), its picture {} has {}×{}",
            mask.height,
            mask.width,
            picture.display(),
            size.0,
            size.1
        );
        return Err(Error::file(path, problem, "a mask needs its picture's size"));
    }
    Ok(mask)
}

/// Visible entries of a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        paths.push(entry.map_err(Error::io("read", folder))?.path());
    }
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Paths below `root`, with `/` on every system.
fn relative_names(paths: &[PathBuf], root: &Path) -> Vec<String> {
    let name = |path: &PathBuf| {
        let parts = path.strip_prefix(root).unwrap_or(path).components();
        parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    paths.iter().map(name).collect()
}

/// All results, or the error of the first that failed: the same one however the work was spread.
fn first_error<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::{Dataset, DatasetKind, Source};
    use image::GrayImage;

    fn save(root: &Path, name: &str, width: u32, height: u32, value: u8) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(width, height, image::Luma([value])).save(path).unwrap();
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "train/good/000.png", 20, 10, 1);
        save(dir.path(), "train/good/001.JPG", 10, 10, 2);
        save(dir.path(), "test/good/000.png", 10, 10, 3);
        save(dir.path(), "test/scratch/000.png", 20, 10, 4);
        save(dir.path(), "test/hole/007.png", 10, 10, 5);
        save(dir.path(), "ground_truth/scratch/000_mask.png", 20, 10, 128);
        save(dir.path(), "ground_truth/hole/007_mask.png", 10, 10, 127);
        fs::write(dir.path().join("train/good/Thumbs.db"), b"no picture").unwrap();
        fs::write(dir.path().join("train/good/.hidden.png"), b"no picture").unwrap();
        dir
    }

    fn load(root: &Path) -> Result<Dataset> {
        Dataset::load(&Source::new(DatasetKind::Folder, Some(root), 16, 3))
    }

    #[test]
    fn reads_the_tree() {
        let dir = tree();
        let set = load(dir.path()).unwrap();
        assert_eq!(set.class_names, ["good", "hole", "scratch"]);
        assert_eq!(set.train.names, ["train/good/000.png", "train/good/001.JPG"]);
        assert_eq!(set.train.images.load(&[0]).unwrap().pixels, [1; 16 * 16 * 3]);
        assert_eq!(set.test.names, ["test/good/000.png", "test/hole/007.png", "test/scratch/000.png"]);
        assert_eq!(set.test.classes, [0, 1, 2]);
        assert!(!set.test.masks[0].as_ref().unwrap().any(), "good pictures have an empty mask");
        assert!(!set.test.masks[1].as_ref().unwrap().any(), "127 is below the threshold");
        let scratch = set.test.masks[2].as_ref().unwrap();
        assert_eq!((scratch.height, scratch.width, scratch.any()), (10, 20, true));
        fs::remove_dir_all(dir.path().join("ground_truth")).unwrap();
        assert!(load(dir.path()).unwrap().test.masks.is_empty());
    }

    #[test]
    fn reads_a_flat_folder() {
        let dir = tree();
        let set = load(&dir.path().join("train/good")).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (2, 0));
        assert_eq!(set.train.names[0], "000.png");
        let message =
            Dataset::load_test(&Source::new(DatasetKind::Folder, Some(&dir.path().join("train/good")), 16, 3))
                .unwrap_err();
        assert!(message.to_string().contains("no test pictures"), "{message}");
    }

    #[test]
    fn says_what_is_missing_or_wrong() {
        let says = |change: &dyn Fn(&Path), words: &[&str]| {
            let dir = tree();
            change(dir.path());
            let message = load(dir.path()).unwrap_err().to_string();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        };
        let remove = |path: &'static str| move |root: &Path| fs::remove_file(root.join(path)).unwrap();
        says(&|root| fs::remove_dir_all(root.join("train")).unwrap(), &["holds no pictures", "DIR/train/good/*.png"]);
        says(&|root| fs::remove_dir_all(root.join("train/good")).unwrap(), &["good: holds no pictures"]);
        says(&remove("ground_truth/hole/007_mask.png"), &["007_mask.png: the mask of", "is missing"]);
        says(&|root| save(root, "ground_truth/hole/007_mask.png", 4, 4, 0), &["007_mask.png", "4×4", "10×10"]);
        says(&|root| fs::write(root.join("test/hole/007.png"), "no").unwrap(), &["007.png: not a readable picture"]);
        let empty = tempfile::tempdir().unwrap();
        assert!(load(empty.path()).unwrap_err().to_string().contains("holds no pictures"));
    }
}
