//! Images in folders: finding them and their masks, and reading them.
//!
//! How its folders are laid out is a dataset's own; each layout lists its images ([`Listed`]), which [`read`](fn@read) makes a
//! split of. A mask belongs to the image of the same name: `NAME_mask.png` or `NAME.png` to `NAME.jpg`.

mod notes;
mod results;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::canvases::Canvases;
use crate::data::decode::{ImageFile, each_file, read_mask};
use crate::data::image_source::{Files, ImageSource, Raw, spread};
use crate::data::images::{Images, Mask, Original};
use crate::data::levels::{Levels, SamplesUsed};
use crate::data::resize_mode::RawForm;
use crate::data::split::{Query, Split};
use crate::error::{Error, Result};
use crate::memory;
use crate::printable::{Printable, spelt};

pub use notes::{in_other_folders, left_alone, misplaced, shrunk};
pub use results::{OF_PREDICTIONS, is_result};

const EXTENSIONS: [&str; 12] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "pgm", "ppm", "pnm", "pbm", "pam"];

/// Good images that are looked at, at most, to tell how samples of 16 bits become bytes.
const LOOKED_AT: usize = 64;

/// An image that has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: PathBuf,
    /// Its label.
    pub class: u16,
    /// Its ground truth; none where that is not known.
    pub mask: Option<Truth>,
}

/// Where ground truth is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Nothing is anomalous.
    Flawless,
    /// In this mask; of a folder's images, in the masks of this folder, one for each.
    In(PathBuf),
}

impl Listed {
    /// An image without ground truth.
    pub fn unmarked(path: PathBuf, class: u16) -> Listed {
        Listed { path, class, mask: None }
    }
}

/// What becomes of images that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// They are an error.
    Refused,
    /// They are left out. To find them, every image is decoded at once, those that are not held too.
    LeftOut,
    /// They are left out; of images that are not held only as many are decoded as a checksum looks at. Others that turn out broken when
    /// they are drawn are replaced by the next ([`ImageSource::take_replaced`]), where they are no canvases.
    Replaced,
}

/// What came of reading images.
pub struct Read {
    /// Those that could be read.
    pub images: ImageSource,
    /// Their places in the list.
    pub kept: Vec<usize>,
    /// What they are.
    pub originals: Vec<Original>,
    /// How many could not, and the first of them, as a text.
    pub skipped: Option<String>,
}

/// Makes a split of listed images.
///
/// # Errors
/// An image that cannot be read, unless such are to be skipped; a mask that cannot, or has another size than its image; more masks
/// than there is memory for.
pub fn read(query: &Query, listed: Vec<Listed>) -> Result<Split> {
    let paths: Vec<PathBuf> = listed.iter().map(|image| image.path.clone()).collect();
    let broken = if query.skip_broken { Broken::LeftOut } else { Broken::Refused };
    let mut differing_depths = None;
    let is_normal = |image: &&Listed| image.class == query.labels.normal;
    let levels = match query.learns_levels {
        true => {
            let good: Vec<&PathBuf> = listed.iter().filter(is_normal).map(|image| &image.path).collect();
            let used = samples_used(&good)?;
            differing_depths = notes::differing_depths(&used);
            Levels::over(&used)
        }
        false => query.raw.form.levels,
    };
    let raw = Raw { form: RawForm { levels, ..query.raw.form }, ..query.raw };
    let Read { images, kept, originals, skipped } = read_all(&paths, raw, broken)?;
    let mut notes: Vec<String> = skipped.into_iter().chain(left_alone(&paths)).collect();
    if let (true, Some(levels)) = (query.learns_levels, levels.in_words()) {
        notes.push(format!("the good images are files of 16 bits with {levels}"));
    }
    notes.extend(differing_depths);
    if !query.learns_levels {
        notes.extend(notes::deeper(&originals, levels));
    }
    let kept: Vec<(&Listed, (usize, usize))> =
        kept.iter().map(|&i| &listed[i]).zip(originals.iter().map(Original::size)).collect();
    let mut masks = Vec::new();
    if kept.iter().any(|(image, _)| image.mask.is_some()) {
        let pixels: Vec<usize> = kept.iter().filter(|(p, _)| p.mask.is_some()).map(|(_, (h, w))| h * w).collect();
        let what = format!("the masks of {} images", pixels.len());
        memory::fits(&what, pixels.iter().sum(), "give fewer or smaller images, or remove the folder of masks")?;
        masks = masks_of(&kept)?;
        let images = || kept.iter().map(|(image, _)| *image);
        notes.extend(notes::unmarked(images(), &masks));
        notes.extend(notes::overmarked(images(), &masks));
    }
    Ok(Split {
        images,
        classes: kept.iter().map(|(image, _)| image.class).collect(),
        names: kept.iter().map(|(image, _)| relative_name(&image.path, query.root)).collect(),
        masks,
        originals,
        levels,
        notes,
    })
}

/// Which of 16-bit samples images use, of which `LOOKED_AT` are read; None of those of 8 bits. A file that holds no image says nothing.
fn samples_used(files: &[&PathBuf]) -> Result<Vec<Option<SamplesUsed>>> {
    let looked_at = spread(files.len(), LOOKED_AT).into_iter().map(|i| (files[i], ()));
    let used = each_file(looked_at, |file, ()| file?.samples_used());
    used.into_iter().filter(|used| !used.as_ref().is_err_and(|error| !error.is_of_the_process())).collect()
}

/// The raw images of image files: decoded in parallel and held in memory, or left in their files where they are too many to hold; of
/// those the heads are read, and all of them where that tells which are `broken`.
pub fn read_all(paths: &[PathBuf], raw: Raw, broken: Broken) -> Result<Read> {
    let (all, len) = (paths.len(), raw.form.image_len());
    let mut decoded = vec![broken == Broken::LeftOut; all];
    if broken == Broken::Replaced {
        Files::checked(all).into_iter().for_each(|i| decoded[i] = true);
    }
    if raw.form.resize.makes_canvases() {
        let (canvases, results) = Canvases::read(paths, raw.form, &decoded, |bytes| raw.hold.holds(bytes))?;
        return kept_of(ImageSource::Canvases(canvases), results, broken);
    }
    let mut images = Images::empty(raw.form.side, raw.form.side, raw.form.channels);
    let held = raw.hold.holds(all.saturating_mul(len));
    let files = Files::new(paths, raw.form);
    let results: Vec<Result<Original>> = if held {
        Images::room_for(all, raw.form.side, raw.form.channels)?;
        images.count = all;
        images.pixels.resize(all * len, 0);
        let read = |file: Result<ImageFile>, out: &mut [u8]| {
            let (image, original) = raw.form.read_open(file?)?;
            out.copy_from_slice(&image.pixels);
            Ok(original)
        };
        each_file(paths.iter().zip(images.pixels.chunks_exact_mut(len.max(1))), read)
    } else {
        // Only its samples tell how many bits of 16 are significant.
        let read = |file: Result<ImageFile>, i: usize| match file {
            Ok(head) if !decoded[i] && !head.is_deep() => Ok(head.original()),
            file => files.check(i, file),
        };
        each_file(paths.iter().zip(0..), read)
    };
    let store = match broken {
        _ if held => images.into(),
        Broken::Replaced => ImageSource::Files(files.replacing()),
        Broken::Refused | Broken::LeftOut => ImageSource::Files(files),
    };
    kept_of(store, results, broken)
}

/// The images that could be read, where others could not. What failed for lack of open files or memory says nothing of its image, and is an error.
fn kept_of(store: ImageSource, results: Vec<Result<Original>>, broken: Broken) -> Result<Read> {
    let all = results.len();
    let (mut kept, mut originals, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let leaves_out = broken != Broken::Refused;
    for (i, result) in results.into_iter().enumerate() {
        match result {
            Ok(original) => {
                kept.push(i);
                originals.push(original);
            }
            Err(error) if leaves_out && error.is_of_the_process() => return Err(error),
            Err(error) => unreadable.push(error),
        }
    }
    let bad = unreadable.len();
    let skipped = match unreadable.into_iter().next() {
        None => return Ok(Read { images: store, kept, originals, skipped: None }),
        Some(first) if leaves_out => {
            format!("skipped {bad} of {all} images, which cannot be read, the first: {first}")
        }
        Some(Error::File { path, problem, remedy }) => {
            let others = if bad > 1 { format!(", as are {} more of {all} images", bad - 1) } else { String::new() };
            return Err(Error::file(path, problem + &others, remedy + ", or leave out such files with `skip_broken`"));
        }
        Some(first) => return Err(first),
    };
    Ok(Read { images: store.select(&kept), kept, originals, skipped: Some(skipped) })
}

/// The images of a folder with their ground truth, if it is known: an error where a mask is missing, is nobody's, or could
/// be that of two images.
pub fn with_masks(folder: &Path, class: u16, truth: Option<Truth>) -> Result<Vec<Listed>> {
    let images = images_of(folder)?;
    let masks = match truth {
        None => vec![None; images.len()],
        Some(Truth::Flawless) => vec![Some(Truth::Flawless); images.len()],
        Some(Truth::In(masks)) => pair(&images, &masks)?.into_iter().map(|mask| Some(Truth::In(mask))).collect(),
    };
    Ok(images.into_iter().zip(masks).map(|(path, mask)| Listed { path, class, mask }).collect())
}

/// Fails where two files, images or masks, have one name but for the extension: a mask belongs to one image.
pub(crate) fn refuse_twins(files: &[PathBuf]) -> Result<()> {
    let mut by_stem: HashMap<&OsStr, &PathBuf> = HashMap::new();
    for file in files {
        if let Some(twin) = by_stem.insert(stem(file), file) {
            let problem = format!("has the name of {}, but an image has one mask, by its name", file_name(twin));
            return Err(Error::file(file, problem, "rename or remove one of them"));
        }
    }
    Ok(())
}

/// The mask of each image.
fn pair(images: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    refuse_twins(images)?;
    let masks = if folder.is_dir() { self::images(folder, false)? } else { Vec::new() };
    refuse_twins(&masks)?;
    let mut mask_by_stem: HashMap<&OsStr, &PathBuf> = masks.iter().map(|mask| (stem(mask), mask)).collect();
    let mut paired = Vec::with_capacity(images.len());
    for image in images {
        let mut marked: OsString = stem(image).to_os_string();
        marked.push("_mask");
        let Some(mask) = mask_by_stem.remove(marked.as_os_str()).or_else(|| mask_by_stem.remove(stem(image))) else {
            let path = folder.join(marked).with_extension("png");
            let problem = format!("the mask of {} is missing", image.printable());
            let remedy = "add it, or remove the whole folder of masks to do without them";
            return Err(Error::file(path, problem, remedy));
        };
        paired.push(mask.clone());
    }
    match masks.iter().find(|mask| mask_by_stem.get(stem(mask)) == Some(mask)) {
        Some(lonely) => Err(Error::file(lonely, "is a mask without an image", "add its image, or remove it")),
        None => Ok(paired),
    }
}

/// The masks of images of these (height, width).
fn masks_of(images: &[(&Listed, (usize, usize))]) -> Result<Vec<Option<Mask>>> {
    let in_files = images.iter().filter_map(|&(image, size)| match &image.mask {
        Some(Truth::In(path)) => Some((path, (path, image, size))),
        _ => None,
    });
    let read = |file: Result<ImageFile>, (path, image, size): (&PathBuf, &Listed, _)| mask_of(path, image, size, file?);
    let mut read = each_file(in_files, read).into_iter();
    let masks = images.iter().map(|&(image, (height, width))| match &image.mask {
        None => Ok(None),
        Some(Truth::Flawless) => Ok(Some(Mask { height, width, pixels: vec![0; height * width] })),
        Some(Truth::In(_)) => read.next().transpose(),
    });
    masks.collect()
}

/// The mask of an image in a file.
fn mask_of(path: &Path, image: &Listed, (height, width): (usize, usize), file: ImageFile) -> Result<Mask> {
    let mask = read_mask(file)?;
    if (mask.height, mask.width) == (height, width) {
        return Ok(mask);
    }
    let problem = format!(
        "the mask has {}×{} pixels (height × width), its image {} has {height}×{width}",
        mask.height,
        mask.width,
        image.path.printable()
    );
    Err(Error::file(path, problem, "save the mask at the size of its image"))
}

/// The images of a folder that stands for a class or a kind of defect, of which there must be some.
pub fn images_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = images(folder, false)?;
    if found.is_empty() {
        return Err(Error::file(folder, "holds no images", "put some in, or remove the folder"));
    }
    Ok(found)
}

/// The images of a folder in order of their names, by extension; hidden files and [results](is_result) are left out. `recursive`
/// descends into its folders too, and follows links to others; each folder is entered once, also where several links lead to it.
///
/// # Errors
/// Where the folder, or one within, cannot be read.
pub fn images(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let found = Search::of(folder, recursive, &|| false)?;
    match found.closed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(found.images),
    }
}

/// The same with the folders within, for work in which what cannot be read costs no other image. Where it `is_over` before its end, what there
/// is of it is not all.
///
/// # Errors
/// Where the folder itself cannot be read.
pub fn images_that_open(folder: &Path, is_over: &dyn Fn() -> bool) -> Result<Found> {
    Search::of(folder, true, is_over)
}

/// What there is in a folder.
#[derive(Debug, Default)]
pub struct Found {
    pub images: Vec<PathBuf>,
    /// Folders within that cannot be read, and why.
    pub closed: Vec<(PathBuf, Error)>,
    /// Links to folders, whose images are among those above.
    pub links: Vec<PathBuf>,
    /// Links to folders whose images are read by another name.
    pub passed_over: Vec<PathBuf>,
}

impl Found {
    /// What was found and is not read.
    pub fn notes(&self) -> Vec<String> {
        left_alone(&self.images).into_iter().chain(notes::passed_over(&self.passed_over)).collect()
    }
}

/// A search in a folder and, `recursive`, in those within: each once, by the first of its names that does not lead through a link, and what links
/// lead to after all others. Folders that link to each other have paths without end.
struct Search<'a> {
    recursive: bool,
    /// Whether it ends before its end.
    is_over: &'a dyn Fn() -> bool,
    /// True paths of the folders that were entered.
    entered: BTreeSet<PathBuf>,
    /// Links to folders, which are still to be followed.
    links: VecDeque<PathBuf>,
    found: Found,
}

impl Search<'_> {
    /// What there is, in order of the names.
    fn of(folder: &Path, recursive: bool, is_over: &dyn Fn() -> bool) -> Result<Found> {
        let (entered, links, found) = Default::default();
        let mut search = Search { recursive, is_over, entered, links, found };
        search.enter(folder)?;
        while let Some(link) = search.links.pop_front() {
            if search.within(&link) { &mut search.found.links } else { &mut search.found.passed_over }.push(link);
        }
        search.found.images.sort();
        search.found.closed.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(search.found)
    }

    /// Whether the folder was not entered before.
    fn enter(&mut self, folder: &Path) -> Result<bool> {
        if !self.entered.insert(folder.canonicalize().map_err(Error::io("read", folder))?) {
            return Ok(false);
        }
        for path in entries(folder)? {
            if (self.is_over)() {
                break;
            }
            if path.is_dir() {
                match (self.recursive, path.is_symlink()) {
                    (false, _) => {}
                    (true, false) => {
                        self.within(&path);
                    }
                    (true, true) => self.links.push_back(path),
                }
            } else if is_image(&path) {
                self.found.images.push(path);
            }
        }
        Ok(true)
    }

    /// Enters a folder that may be closed; whether it was not entered before.
    fn within(&mut self, folder: &Path) -> bool {
        self.enter(folder).unwrap_or_else(|error| {
            self.found.closed.push((folder.to_path_buf(), error));
            true
        })
    }
}

/// Whether a file, which is not hidden, is one of a folder's images by its name and what lies beside it.
fn is_image(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS) && !is_result(path)
}

/// Whether a file is one of the images of a folder and of those within, by its place there.
pub fn is_image_within(folder: &Path, place: &Path) -> bool {
    let is_hidden = place.components().any(|part| file_name(Path::new(&part)).starts_with('.'));
    !is_hidden && is_image(&folder.join(place))
}

/// Whether there are images in a folder or in those within.
pub fn holds_images(folder: &Path) -> bool {
    images(folder, true).is_ok_and(|found| !found.is_empty())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|known| own.eq_ignore_ascii_case(known)))
}

/// Names of the folders in a folder, sorted: they become names of classes.
pub fn folders(folder: &Path) -> Result<Vec<String>> {
    let inner = entries(folder)?.into_iter().filter(|path| path.is_dir());
    inner
        .map(|path| match path.file_name().and_then(OsStr::to_str) {
            Some(name) => Ok(name.to_string()),
            None => Err(Error::file(&path, "is not named in Unicode", "rename the folder")),
        })
        .collect()
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

fn stem(path: &Path) -> &OsStr {
    path.file_stem().unwrap_or_default()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A path below `root`, with `/` on every system.
fn relative_name(path: &Path, root: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| spelt(part.as_os_str())).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::datasets::dataset::{Dataset, DatasetSource};
    use crate::datasets::folder::FOLDER;
    use image::GrayImage;

    /// Leaves a grey image in `root`.
    pub(crate) fn save(root: &Path, name: &str, (width, height): (u32, u32), value: u8) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(width, height, image::Luma([value])).save(path).unwrap();
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "train/good/000.png", (20, 10), 1);
        save(dir.path(), "train/good/001.JPG", (10, 10), 2);
        save(dir.path(), "test/good/000.png", (10, 10), 3);
        save(dir.path(), "test/scratch/000.png", (20, 10), 4);
        save(dir.path(), "test/hole/007.png", (10, 10), 5);
        save(dir.path(), "ground_truth/scratch/000_mask.png", (20, 10), 128);
        save(dir.path(), "ground_truth/hole/007_mask.png", (10, 10), 127);
        fs::write(dir.path().join("train/good/Thumbs.db"), b"no image").unwrap();
        fs::write(dir.path().join("train/good/.hidden.png"), b"no image").unwrap();
        dir
    }

    fn load(root: &Path) -> Result<Dataset> {
        Dataset::load(&DatasetSource::new(FOLDER, Some(root), 16, 3))
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
        assert!(!set.test.masks[0].as_ref().unwrap().any(), "good images have an empty mask");
        assert!(!set.test.masks[1].as_ref().unwrap().any(), "127 is below the threshold");
        let scratch = set.test.masks[2].as_ref().unwrap();
        assert_eq!((scratch.height, scratch.width, scratch.any()), (10, 20, true));
        fs::remove_dir_all(dir.path().join("ground_truth")).unwrap();
        assert!(load(dir.path()).unwrap().test.masks.is_empty());
    }

    #[test]
    fn reads_a_flat_folder() {
        let dir = tree();
        let flat = dir.path().join("train/good");
        let set = load(&flat).unwrap();
        assert_eq!((set.train.images.count(), set.test.images.count()), (2, 0));
        assert_eq!(set.train.names[0], "000.png");
        let message = Dataset::load_test(&DatasetSource::new(FOLDER, Some(&flat), 16, 3)).unwrap_err().to_string();
        assert!(message.contains("no test images") && message.contains("DIR/test/good"), "{message}");
        save(&flat, "test/good/5.png", (4, 4), 0);
        save(&flat, "test/dent/6.png", (4, 4), 0);
        let set = load(&flat).unwrap();
        assert_eq!((set.train.images.count(), set.test.classes.as_slice()), (2, &[0, 1][..]));
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
        says(&|root| fs::remove_dir_all(root.join("train")).unwrap(), &["holds no images", "DIR/train/good/*.png"]);
        says(&|root| fs::remove_dir_all(root.join("train/good")).unwrap(), &["good: holds no images"]);
        says(&remove("ground_truth/hole/007_mask.png"), &["007_mask.png: the mask of", "is missing"]);
        says(&remove("test/hole/007.png"), &["test/hole: holds no images"]);
        says(&|root| save(root, "ground_truth/hole/007_mask.png", (4, 4), 0), &["007_mask.png", "4×4", "10×10"]);
        says(&|root| save(root, "ground_truth/hole/008_mask.png", (4, 4), 0), &["008_mask.png: is a mask without"]);
        says(&|root| save(root, "ground_truth/hole/007.png", (4, 4), 0), &["007.png: is a mask without"]);
        says(&|root| save(root, "test/hole/007.jpg", (10, 10), 0), &["007.png", "the name of 007.jpg", "rename"]);
        says(
            &|root| save(root, "ground_truth/hole/007_mask.bmp", (10, 10), 0),
            &["007_mask.png: has the name of 007_mask.bmp", "remove one"],
        );
        says(&|root| fs::write(root.join("test/hole/007.png"), "no").unwrap(), &["007.png: not a readable image"]);
        let empty = tempfile::tempdir().unwrap();
        assert!(load(empty.path()).unwrap_err().to_string().contains("holds no images"));
    }

    #[test]
    fn broken_images_are_refused_or_skipped() {
        let dir = tree();
        for name in ["train/good/0005.png", "train/good/0007.png", "test/scratch/000.png"] {
            fs::write(dir.path().join(name), b"no image").unwrap();
        }
        let message = load(dir.path()).unwrap_err().to_string();
        let words = ["0005.png: not a readable image", "as are 1 more of 4 images", "`skip_broken`"];
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        let source = DatasetSource { skip_broken: true, ..DatasetSource::new(FOLDER, Some(dir.path()), 16, 3) };
        let set = Dataset::load(&source).unwrap();
        assert_eq!(set.train.names, ["train/good/000.png", "train/good/001.JPG"]);
        assert_eq!(set.train.images.held().unwrap().image(1)[0], 2);
        let skipped = &set.train.notes[0];
        assert!(skipped.starts_with("skipped 2 of 4 images") && skipped.contains("0005.png"), "{skipped}");
        assert_eq!((&set.test.classes, set.test.masks.len()), (&vec![0, 1], 2));
        // What is not held is left out too: heads are whole where the rest is not.
        let whole = fs::read(dir.path().join("test/hole/007.png")).unwrap();
        fs::write(dir.path().join("train/good/0009.png"), &whole[..whole.len() - 20]).unwrap();
        let raw = Raw { hold: crate::data::image_source::Hold::Never, ..source.raw };
        let files = Dataset::load(&DatasetSource { raw, ..source }).unwrap();
        assert_eq!(files.train.names, set.train.names);
        assert!(files.train.images.held().is_none() && files.train.notes[0].starts_with("skipped 3 of 5 images"));
    }

    #[test]
    fn outliers_that_turn_out_broken_late_are_replaced() {
        let dir = tree();
        let paths: Vec<PathBuf> = images(&dir.path().join("train/good"), false).unwrap();
        let form = crate::data::resize_mode::RawForm {
            side: 4,
            channels: 1,
            resize: crate::data::resize_mode::ResizeMode::Squash,
            levels: Levels::ALL,
        };
        let store = ImageSource::Files(Files::new(&paths, form).replacing());
        fs::write(&paths[0], b"no image").unwrap();
        for _ in 0..2 {
            assert_eq!(store.load(&[0, 1]).unwrap().pixels, [2; 32]);
        }
        let replaced = store.take_replaced();
        assert!(replaced.len() == 1 && replaced[0].contains("000.png: not a readable image"), "{replaced:?}");
        assert!(store.take_replaced().is_empty());
        // One that could be read before has changed.
        fs::write(&paths[1], b"no image").unwrap();
        assert!(store.load(&[1]).unwrap_err().to_string().contains("001.JPG"));
    }
}
