//! Image files.

use crate::files;
use crate::{Error, Result};
use image::{ImageReader, RgbImage};
pub(crate) use png::ColorType;
use png::{BitDepth, Compression, Encoder, EncodingError, Filter, StreamWriter, Writer};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::NamedTempFile;

/// Bytes that are written at a time.
const CHUNK: usize = 1 << 18;

/// A PNG that is written row by row: whole or not at all.
pub(crate) struct PngFile {
    path: PathBuf,
    unfinished: NamedTempFile,
    rows: StreamWriter<'static, Remembering>,
    failed: Failure,
}

/// What went wrong first, if anything did.
type Failure = Arc<Mutex<Option<io::Error>>>;

/// A file that remembers what went wrong: parts of the encoder write their last bytes when they are dropped, where errors are lost.
struct Remembering {
    file: File,
    failed: Failure,
}

impl Remembering {
    fn remembered<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(same);
        }
        done
    }
}

impl Write for Remembering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.file.write(bytes);
        self.remembered(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.file.flush();
        self.remembered(done)
    }
}

impl PngFile {
    /// Begins one of so many rows and columns, in grey or RGB.
    pub(crate) fn begin(path: &Path, height: usize, width: usize, color: ColorType) -> Result<PngFile> {
        let begin = || -> io::Result<PngFile> {
            let unfinished = files::begin(path)?;
            let failed = Failure::default();
            let file = Remembering { file: unfinished.as_file().try_clone()?, failed: failed.clone() };
            let rows = rows(file, height, width, color)?;
            Ok(PngFile { path: path.to_path_buf(), unfinished, rows, failed })
        };
        begin().map_err(Error::io("write", path))
    }

    /// Adds the next rows, of a byte a channel.
    pub(crate) fn push(&mut self, rows: &[u8]) -> Result<()> {
        self.rows.write_all(rows).map_err(|error| first(&self.failed, error)).map_err(Error::io("write", &self.path))
    }

    /// Ends it, once all rows are there.
    pub(crate) fn finish(self) -> Result<()> {
        let PngFile { path, unfinished, rows, failed } = self;
        let finished = ended(rows, &failed).and_then(|()| files::keep(unfinished, &path));
        finished.map_err(Error::io("write", path))
    }
}

/// A PNG in memory, in grey or RGB.
pub(crate) fn png_bytes(
    (height, width): (usize, usize),
    color: ColorType,
    rows: impl Iterator<Item = Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let write = || -> io::Result<()> {
        let mut png = encoder(&mut bytes, color, height, width)?;
        let mut png = png.stream_writer_with_size(CHUNK).map_err(in_system_words)?;
        rows.into_iter().try_for_each(|row| png.write_all(&row))?;
        png.finish().map_err(in_system_words)
    };
    write().map_err(|e| Error::internal(format!("an image cannot be written as PNG ({e})")))?;
    Ok(bytes)
}

fn encoder<W: Write>(to: W, color: ColorType, height: usize, width: usize) -> io::Result<Writer<W>> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
    let mut encoder = Encoder::new(to, side(width)?, side(height)?);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Adaptive);
    encoder.write_header().map_err(in_system_words)
}

/// A PNG whose rows go to a file.
fn rows(
    file: Remembering,
    height: usize,
    width: usize,
    color: ColorType,
) -> io::Result<StreamWriter<'static, Remembering>> {
    let png = encoder(file, color, height, width)?;
    png.into_stream_writer_with_size(CHUNK).map_err(in_system_words)
}

/// Writes what is left, or says what went wrong at any time.
fn ended(rows: StreamWriter<'static, Remembering>, failed: &Failure) -> io::Result<()> {
    rows.finish().map_err(|error| first(failed, in_system_words(error)))?;
    taken(failed).map_or(Ok(()), Err)
}

/// What went wrong first, in the system's words, which the encoder does not always keep.
fn first(failed: &Failure, error: io::Error) -> io::Error {
    taken(failed).unwrap_or(error)
}

fn taken(failed: &Failure) -> Option<io::Error> {
    failed.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What went wrong with a file, if that it was.
fn in_system_words(error: EncodingError) -> io::Error {
    match error {
        EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// Writes a PNG, whole or not at all.
pub(crate) fn save_png(path: impl AsRef<Path>, image: &RgbImage) -> Result<()> {
    let path = path.as_ref();
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        let problem = format!("an image of {width} × {height} pixels cannot be written as PNG");
        return Err(Error::file(path, problem, "give it at least one pixel"));
    }
    let mut file = PngFile::begin(path, height as usize, width as usize, ColorType::Rgb)?;
    file.push(image)?;
    file.finish()
}

/// Width and height of a PNG in pixels.
pub(crate) fn png_size(path: &Path) -> Result<(u32, u32)> {
    let size = ImageReader::open(path).map_err(Error::io("read", path))?.into_dimensions();
    size.map_err(|error| Error::file(path, format!("not a readable image ({error})"), "delete it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_image_reads_back_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        for value in [1, 2] {
            let image = RgbImage::from_pixel(3, 2, image::Rgb([value, 0, 255]));
            save_png(&path, &image).unwrap();
            assert_eq!(image::open(&path).unwrap().into_rgb8(), image);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn images_in_memory_read_back() {
        for (channels, value) in [(1, 7), (3, 9)] {
            let color = if channels == 1 { ColorType::Grayscale } else { ColorType::Rgb };
            let bytes = png_bytes((2, 3), color, (0..2).map(|_| vec![value; 3 * channels])).unwrap();
            let image = image::load_from_memory(&bytes).unwrap();
            assert_eq!(
                (image.color().channel_count(), image.as_bytes()),
                (channels as u8, &[value; 18][..6 * channels])
            );
        }
        png_bytes((2, 3), ColorType::Grayscale, std::iter::once(vec![0; 3])).unwrap_err();
    }

    /// A small image is written when the encoder's parts are dropped.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_of_small_images_too() {
        let folder = tempfile::tempdir().unwrap();
        for (side, value) in [(1, 0), (100, 0), (1000, 0), (1000, 1), (4000, 1)] {
            let failed = Failure::default();
            let file = File::options().write(true).open("/dev/full").unwrap();
            let (path, unfinished) = (folder.path().join("image.png"), files::temporary(folder.path()).unwrap());
            // Of noise, much is written before the end.
            let pixels: Vec<u8> = (0..3 * side * side).map(|i| (value * (i * i / 7)) as u8).collect();
            let rows = rows(Remembering { file, failed: failed.clone() }, side, side, ColorType::Rgb);
            let written = rows.map_err(Error::io("write", &path)).and_then(|rows| {
                let mut png = PngFile { path, unfinished, rows, failed };
                png.push(&pixels)?;
                png.finish()
            });
            let message = written.unwrap_err().to_string();
            assert!(message.contains("image.png") && message.ends_with("free some space and run again"), "{message}");
        }
    }

    #[test]
    fn failures_name_the_path_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let image = RgbImage::from_pixel(1, 1, image::Rgb([0; 3]));
        let missing = folder.path().join("missing").join("image.png");
        let message = save_png(&missing, &image).unwrap_err().to_string();
        assert!(message.contains("missing") && message.contains("check the spelling"), "{message}");
        let message = save_png(folder.path().join("empty.png"), &RgbImage::new(0, 0)).unwrap_err().to_string();
        assert!(message.contains("empty.png") && message.contains("0 × 0"), "{message}");
        // A folder in the way of the file.
        std::fs::create_dir(folder.path().join("taken.png")).unwrap();
        assert!(save_png(folder.path().join("taken.png"), &image).unwrap_err().to_string().contains("taken.png"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
