//! Sets of raw images: held in memory, or image files that are decoded each time they are asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{fmt, str::FromStr};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::canvases::{Canvases, Tiles};
use crate::data::counted::Counted;
use crate::data::decode::{ImageFile, each_file};
use crate::data::fingerprint::{ImageId, Sum, image_hash};
use crate::data::images::{Images, Original};
use crate::data::resize_mode::RawForm;
use crate::data::tiles::{TileGrid, Window};
use crate::error::{Error, Result};
use crate::memory;

/// Images that are held at once for a checksum of all their bytes.
const AT_ONCE: usize = 64;

/// Of a set with more images than this, the checksum looks at so many, evenly spread: decoding millions takes hours.
const CHECKED: usize = 1 << 16;

/// Which sets of image files are decoded once and held in memory; the others are decoded anew whenever they are needed, which takes
/// longer and changes no result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Hold {
    /// Those that take at most half of the memory that is free.
    #[default]
    Auto,
    /// All, whatever they take.
    Always,
    /// None.
    Never,
    /// Those that take at most so many MiB.
    Mebibytes(usize),
}

/// How files become sets of raw images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw {
    pub form: RawForm,
    pub hold: Hold,
}

/// A set of raw images of one shape.
#[derive(Clone, Debug)]
pub enum ImageSource {
    Held(Images),
    Files(Files),
    /// Images of any size. Where one is asked for as a square, that is a thumbnail.
    Canvases(Canvases),
    /// Squares of them, which training samples are.
    Tiles(Tiles),
}

/// Raw images that are read from image files.
#[derive(Clone, Debug)]
pub struct Files {
    form: RawForm,
    files: Vec<Arc<File>>,
    /// Where a file that turns out broken when it is first asked for may be replaced by the next one: the errors of what was replaced.
    replaced: Option<Arc<Mutex<Vec<String>>>>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Of its raw image when it was first read.
    hash: OnceLock<u128>,
    /// It was asked for and could not be read.
    broken: AtomicBool,
}

impl Hold {
    /// Whether a set of so many bytes is to be held.
    pub(crate) fn holds(self, bytes: usize) -> bool {
        match self {
            Hold::Auto => memory::free().is_none_or(|free| bytes <= free / 2),
            Hold::Always => true,
            Hold::Never => false,
            Hold::Mebibytes(most) => bytes <= most << 20,
        }
    }
}

impl FromStr for Hold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Hold> {
        let most = || text.parse().ok().filter(|&most: &usize| most <= usize::MAX >> 20).map(Hold::Mebibytes);
        let hold = match text {
            "auto" => Some(Hold::Auto),
            "always" => Some(Hold::Always),
            "never" => Some(Hold::Never),
            _ => most(),
        };
        hold.ok_or_else(|| {
            Error::setting(
                format!("'{text}' does not say when to keep images in memory"),
                "write auto, always, never or a number of MiB",
            )
        })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Auto => f.write_str("auto"),
            Hold::Always => f.write_str("always"),
            Hold::Never => f.write_str("never"),
            Hold::Mebibytes(most) => write!(f, "{most}"),
        }
    }
}

impl TryFrom<String> for Hold {
    type Error = Error;

    fn try_from(text: String) -> Result<Hold> {
        text.parse()
    }
}

impl From<Hold> for String {
    fn from(hold: Hold) -> String {
        hold.to_string()
    }
}

impl From<Images> for ImageSource {
    fn from(images: Images) -> ImageSource {
        ImageSource::Held(images)
    }
}

impl ImageSource {
    /// Files that could not be read when they were first asked for, and that others were taken for since this was called last.
    pub fn take_replaced(&self) -> Vec<String> {
        match self {
            ImageSource::Files(Files { replaced: Some(replaced), .. }) => std::mem::take(&mut *lock(replaced)),
            _ => Vec::new(),
        }
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        match self {
            ImageSource::Held(images) => images.count,
            ImageSource::Files(files) => files.files.len(),
            ImageSource::Canvases(canvases) => canvases.count(),
            ImageSource::Tiles(tiles) => tiles.count(),
        }
    }

    /// Rows, columns and channels of each image.
    pub fn shape(&self) -> [usize; 3] {
        let RawForm { side, channels, .. } = match self {
            ImageSource::Held(images) => return [images.height, images.width, images.channels],
            ImageSource::Files(Files { form, .. }) => *form,
            ImageSource::Canvases(canvases) => canvases.form(),
            ImageSource::Tiles(tiles) => tiles.canvases().form(),
        };
        [side, side, channels]
    }

    /// Bytes per image.
    pub fn image_len(&self) -> usize {
        self.shape().iter().product()
    }

    /// The images, where they are held.
    pub fn held(&self) -> Option<&Images> {
        match self {
            ImageSource::Held(images) => Some(images),
            ImageSource::Files(_) | ImageSource::Canvases(_) | ImageSource::Tiles(_) => None,
        }
    }

    /// The images at `indices`, in that order, as a set of the same kind.
    pub fn select(&self, indices: &[usize]) -> ImageSource {
        match self {
            ImageSource::Held(images) => ImageSource::Held(images.select(indices)),
            ImageSource::Files(files) => ImageSource::Files(files.select(indices)),
            ImageSource::Canvases(canvases) => ImageSource::Canvases(canvases.select(indices)),
            ImageSource::Tiles(tiles) => ImageSource::Tiles(tiles.select(indices)),
        }
    }

    /// What is learned from: of canvases their tiles.
    pub fn tiles(self) -> ImageSource {
        match self {
            ImageSource::Canvases(canvases) => ImageSource::Tiles(canvases.tiles()),
            squares => squares,
        }
    }

    /// What is scored: of tiles the canvases that they are of.
    pub(crate) fn images(&self) -> ImageSource {
        match self {
            ImageSource::Tiles(tiles) => ImageSource::Canvases(tiles.canvases().clone()),
            squares => squares.clone(),
        }
    }

    /// The `i`-th image as it is scored: a square, or its canvas.
    ///
    /// # Errors
    /// As of [`ImageSource::load`].
    pub(crate) fn seen(&self, i: usize) -> Result<Images> {
        match self {
            ImageSource::Canvases(canvases) => canvases.load(i),
            ImageSource::Held(_) | ImageSource::Files(_) | ImageSource::Tiles(_) => self.load(&[i]),
        }
    }

    /// Writes the `i`-th image, of [`ImageSource::image_len`] bytes, to `out`.
    ///
    /// # Errors
    /// A file that cannot be read any more, or that shows another image than when it was first read.
    pub fn read(&self, i: usize, out: &mut [u8]) -> Result<()> {
        match self {
            ImageSource::Held(images) => out.copy_from_slice(images.image(i)),
            ImageSource::Files(files) => files.read(i, ImageFile::open(&files.files[i].path), out)?,
            ImageSource::Canvases(canvases) => canvases.thumbnail(i, out)?,
            ImageSource::Tiles(tiles) => tiles.read(i, out)?,
        }
        Ok(())
    }

    /// The same for many in their order: `last` keeps what the next may need again.
    ///
    /// # Errors
    /// As of [`ImageSource::read`].
    pub(crate) fn read_next(&self, i: usize, last: &mut Option<(usize, Images)>, out: &mut [u8]) -> Result<()> {
        match self {
            ImageSource::Tiles(tiles) => tiles.read_next(i, last, out),
            ImageSource::Held(_) | ImageSource::Files(_) | ImageSource::Canvases(_) => self.read(i, out),
        }
    }

    /// Rows or columns of its squares that show an image, at least.
    pub(crate) fn least_shown(&self) -> usize {
        match self {
            ImageSource::Tiles(tiles) => tiles.canvases().least_shown(),
            ImageSource::Held(_) | ImageSource::Files(_) | ImageSource::Canvases(_) => {
                self.shape()[0].min(self.shape()[1])
            }
        }
    }

    /// What a training sample sees of an image: all of a square; of a tile a square anywhere in its canvas instead, which two numbers of 32
    /// random bits choose among those that reach what counts.
    pub(crate) fn window(&self, i: usize, chance: [u32; 2], counted: Option<&Counted>) -> Window {
        let ImageSource::Tiles(tiles) = self else {
            let [height, width, _] = self.shape();
            return Window::of_all((height, width));
        };
        let grid = tiles.canvases().grid(tiles.canvas_of(i));
        let (TileGrid { rows, columns }, canvas) = (grid, grid.canvas());
        let [down, across] = match counted {
            Some(counted) => counted.bounds(canvas),
            None => [(0, canvas.0 - 1), (0, canvas.1 - 1)],
        };
        Window { place: (rows.start(down, chance[0]), columns.start(across, chance[1])), canvas }
    }

    /// Writes what a training sample sees of an image.
    ///
    /// # Errors
    /// As of [`ImageSource::read`].
    pub(crate) fn read_window(&self, i: usize, window: &Window, out: &mut [u8]) -> Result<()> {
        match self {
            ImageSource::Tiles(tiles) => tiles.canvases().window(tiles.canvas_of(i), window.place, out),
            ImageSource::Held(_) | ImageSource::Files(_) | ImageSource::Canvases(_) => self.read(i, out),
        }
    }

    /// The images at `indices`, in memory. Read in parallel; of several that fail, the first tells why.
    pub fn load(&self, indices: &[usize]) -> Result<Images> {
        let [height, width, channels] = self.shape();
        let n = self.image_len();
        let mut images = Images { count: indices.len(), ..Images::empty(height, width, channels) };
        images.pixels.resize(indices.len() * n, 0);
        let places = images.pixels.chunks_exact_mut(n.max(1)).zip(indices);
        match self {
            ImageSource::Held(held) => places.for_each(|(out, &i)| out.copy_from_slice(held.image(i))),
            ImageSource::Files(files) => {
                let places = places.map(|(out, &i)| (&files.files[i].path, (i, out)));
                each_file(places, |file, (i, out)| files.read(i, file, out)).into_iter().collect::<Result<()>>()?;
            }
            ImageSource::Canvases(_) | ImageSource::Tiles(_) => {
                let places: Vec<_> = places.collect();
                places.into_par_iter().try_for_each(|(out, &i)| self.read(i, out))?;
            }
        }
        Ok(images)
    }

    /// What tells its images, of tiles those that they are of, from others.
    ///
    /// # Errors
    /// As of [`ImageSource::load`].
    pub(crate) fn ids(&self) -> Result<Vec<ImageId>> {
        let all = |count: usize| (0..count).collect::<Vec<_>>();
        let hashes = match self {
            ImageSource::Held(images) => (0..images.count).map(|i| image_hash(images.image(i))).collect(),
            ImageSource::Files(files) => files.hashes(&all(files.files.len()))?,
            ImageSource::Canvases(canvases) => canvases.hashes(&all(canvases.count()))?,
            ImageSource::Tiles(tiles) => tiles.canvases().hashes(&all(tiles.canvases().count()))?,
        };
        Ok(hashes.into_iter().map(ImageId::from).collect())
    }

    /// Adds these images, `CHECKED` at most, to a checksum: the same whether they are held or not. For XXH3 files that were read before
    /// are not read again.
    pub fn checksum(&self, sum: &mut Sum) -> Result<()> {
        if let ImageSource::Canvases(canvases) = self.images() {
            let hashes = canvases.hashes(&Files::checked(canvases.count()))?;
            hashes.into_iter().for_each(|hash| sum.add(&hash.to_le_bytes()));
            return Ok(());
        }
        let checked = Files::checked(self.count());
        match (self, sum) {
            (ImageSource::Canvases(_) | ImageSource::Tiles(_), _) => {}
            (ImageSource::Held(images), sum) => checked.into_iter().for_each(|i| sum.add(images.image(i))),
            (ImageSource::Files(files), Sum::Xxh3(sum)) => {
                files.hashes(&checked)?.iter().for_each(|hash| sum.update(&hash.to_le_bytes()));
            }
            (ImageSource::Files(_), sum @ Sum::Crc32(_)) => {
                for some in checked.chunks(AT_ONCE) {
                    let images = self.load(some)?;
                    (0..some.len()).for_each(|i| sum.add(images.image(i)));
                }
            }
        }
        Ok(())
    }
}

impl Files {
    /// Image files that have not been looked at.
    pub fn new(paths: &[PathBuf], form: RawForm) -> Files {
        let file = |path: &PathBuf| {
            Arc::new(File { path: path.clone(), hash: OnceLock::new(), broken: AtomicBool::new(false) })
        };
        Files { form, files: paths.iter().map(file).collect(), replaced: None }
    }

    /// The same, where files that turn out broken when they are first asked for are replaced by those that follow.
    pub fn replacing(self) -> Files {
        Files { replaced: Some(Arc::default()), ..self }
    }

    /// Decodes the `i`-th image, which has been opened, to see that it can be; returns what it is.
    pub(crate) fn check(&self, i: usize, file: Result<ImageFile>) -> Result<Original> {
        self.files[i].read(&self.form, file, &mut vec![0; self.form.image_len()])
    }

    /// The files that a checksum of so many looks at.
    pub fn checked(count: usize) -> Vec<usize> {
        spread(count, CHECKED)
    }

    /// Of the raw images at `indices`, but for those that are broken and others were taken for. What was read before is not read again.
    fn hashes(&self, indices: &[usize]) -> Result<Vec<u128>> {
        let unread = indices.iter().filter(|&&i| self.files[i].hash.get().is_none());
        let read = |file, i: usize| self.read(i, file, &mut vec![0; self.form.image_len()]);
        let results = each_file(unread.map(|&i| (&self.files[i].path, i)), read);
        results.into_iter().collect::<Result<()>>()?;
        Ok(indices.iter().filter_map(|&i| self.files[i].hash.get().copied()).collect())
    }

    fn select(&self, indices: &[usize]) -> Files {
        Files { files: indices.iter().map(|&i| self.files[i].clone()).collect(), ..self.clone() }
    }

    /// Writes the `i`-th image, which has been opened, or the next that can be read.
    fn read(&self, i: usize, opened: Result<ImageFile>, out: &mut [u8]) -> Result<()> {
        let n = self.files.len();
        let mut opened = Some(opened);
        let mut first = None;
        for file in (i..i + n).map(|i| &self.files[i % n]) {
            let opened = opened.take().unwrap_or_else(|| ImageFile::open(&file.path));
            let error = match file.read(&self.form, opened, out) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            // One that could be read before has changed since; what the process lacked says nothing of a file.
            let is_broken = file.hash.get().is_none() && !error.is_of_the_process();
            let Some(replaced) = self.replaced.as_ref().filter(|_| is_broken) else {
                return Err(error);
            };
            if !file.broken.swap(true, Ordering::Relaxed) {
                lock(replaced).push(error.to_string());
            }
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| Error::internal("an image of an empty set was asked for")))
    }
}

/// At most `k` indices below `n`, evenly spaced.
pub fn spread(n: usize, k: usize) -> Vec<usize> {
    let k = k.min(n);
    (0..k).map(|i| i * n / k).collect()
}

fn lock(replaced: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    replaced.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    /// Writes its raw image, once it has been opened; returns what it is.
    fn read(&self, form: &RawForm, file: Result<ImageFile>, out: &mut [u8]) -> Result<Original> {
        let (image, original) = form.read_open(file?)?;
        let hash = image_hash(&image.pixels);
        if *self.hash.get_or_init(|| hash) != hash {
            let remedy = "restore it and continue with `resume`, or train again with another `out`";
            return Err(Error::file(&self.path, "shows another image than when it was first read", remedy));
        }
        out.copy_from_slice(&image.pixels);
        Ok(original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fingerprint::Checksum;
    use crate::data::levels::Levels;
    use crate::data::resize_mode::ResizeMode;
    use image::RgbImage;
    use std::path::Path;

    const FORM: RawForm = RawForm { side: 8, channels: 3, resize: ResizeMode::Squash, levels: Levels::ALL };

    fn save(path: &Path, salt: u32) {
        RgbImage::from_fn(10, 8, |x, y| image::Rgb([(x * 20 + salt) as u8, (y * 30) as u8, salt as u8]))
            .save(path)
            .unwrap();
    }

    /// Files, and the same images held.
    fn both(folder: &Path, count: u32) -> [ImageSource; 2] {
        let path = |i: u32| folder.join(format!("{i:02}.png"));
        (0..count).for_each(|i| save(&path(i), 7 * i));
        let files = ImageSource::Files(Files::new(&(0..count).map(path).collect::<Vec<_>>(), FORM));
        let all: Vec<usize> = (0..count as usize).collect();
        let held = files.load(&all).unwrap().into();
        [files, held]
    }

    /// Of both kinds.
    fn sum(store: &ImageSource) -> [Checksum; 2] {
        [Checksum::Crc32(0), Checksum::Xxh3([0; 2])].map(|kind| {
            let mut sum = Sum::like(kind);
            sum.add(b"before");
            store.checksum(&mut sum).unwrap();
            sum.checksum()
        })
    }

    #[test]
    fn files_are_as_if_they_were_held() {
        let folder = tempfile::tempdir().unwrap();
        let [files, held] = both(folder.path(), 5);
        assert!(files.held().is_none() && held.held().is_some());
        assert_eq!((files.count(), files.shape(), files.image_len()), (5, [8, 8, 3], 192));
        assert_eq!((held.count(), held.shape(), held.image_len()), (5, [8, 8, 3], 192));
        assert_eq!(sum(&files), sum(&held));
        // Not yet read by anyone.
        let paths: Vec<PathBuf> = (0..5).map(|i| folder.path().join(format!("{i:02}.png"))).collect();
        assert_eq!(sum(&ImageSource::Files(Files::new(&paths, FORM))), sum(&held));
        let [some, the_same] = [&files, &held].map(|store| store.select(&[3, 1, 1]));
        assert_eq!(sum(&some), sum(&the_same));
        assert_ne!(sum(&some), sum(&files));
        assert_eq!(some.load(&[0, 2]).unwrap(), held.load(&[3, 1]).unwrap());
    }

    #[test]
    fn a_file_that_changes_or_goes_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let [files, _] = both(folder.path(), 3);
        let says = |words: &str| {
            let message = files.load(&[0, 1, 2]).unwrap_err().to_string();
            assert!(message.contains("01.png") && message.contains(words), "{message}");
        };
        let path = folder.path().join("01.png");
        save(&path, 200);
        says("another image");
        std::fs::write(&path, "no image").unwrap();
        says("not a readable image");
        std::fs::remove_file(&path).unwrap();
        says("cannot read");
        save(&path, 7);
        files.load(&[0, 1, 2]).unwrap();
    }

    #[test]
    fn what_is_held_is_a_word_or_a_number() {
        for (text, small, large) in
            [("always", true, true), ("never", false, false), ("1", true, false), ("auto", true, false)]
        {
            let hold: Hold = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&hold).unwrap(), format!("{text:?}"));
            assert_eq!((hold.holds(1 << 20), hold.holds(usize::MAX)), (small, large), "{text}");
        }
        for text in ["", "some", "-1", "99999999999999999999", "18446744073709551615"] {
            assert!(text.parse::<Hold>().unwrap_err().to_string().contains("MiB"));
        }
    }
}
