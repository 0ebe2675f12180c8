//! Image files.

use crate::files;
use crate::{Error, Result};
use image::{ImageReader, RgbImage};
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter, StreamWriter};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes that are written at a time.
const CHUNK: usize = 1 << 18;

/// A PNG in RGB that is written row by row: whole or not at all.
pub(crate) struct PngFile {
    path: PathBuf,
    unfinished: NamedTempFile,
    rows: StreamWriter<'static, File>,
}

impl PngFile {
    /// Begins one of so many rows and columns.
    pub(crate) fn begin(path: &Path, height: usize, width: usize) -> Result<PngFile> {
        let begin = || -> io::Result<PngFile> {
            let unfinished = files::begin(path)?;
            let file = unfinished.as_file().try_clone()?;
            let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
            let mut encoder = Encoder::new(file, side(width)?, side(height)?);
            encoder.set_color(ColorType::Rgb);
            encoder.set_depth(BitDepth::Eight);
            encoder.set_compression(Compression::Fast);
            encoder.set_filter(Filter::Adaptive);
            let rows = encoder.write_header().and_then(|file| file.into_stream_writer_with_size(CHUNK));
            let rows = rows.map_err(in_system_words)?;
            Ok(PngFile { path: path.to_path_buf(), unfinished, rows })
        };
        begin().map_err(Error::io("write", path))
    }

    /// Adds the next rows, of 3 bytes a pixel.
    pub(crate) fn push(&mut self, rows: &[u8]) -> Result<()> {
        self.rows.write_all(rows).map_err(Error::io("write", &self.path))
    }

    /// Ends it, once all rows are there.
    pub(crate) fn finish(self) -> Result<()> {
        let PngFile { path, unfinished, rows } = self;
        let finished = rows.finish().map_err(in_system_words).and_then(|()| files::keep(unfinished, &path));
        finished.map_err(Error::io("write", path))
    }
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
    let mut file = PngFile::begin(path, height as usize, width as usize)?;
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
