//! Image files.

use crate::files::write_atomically;
use crate::{Error, Result};
use image::{ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Writes a PNG, whole or not at all.
pub(crate) fn save_png(path: impl AsRef<Path>, image: &RgbImage) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| {
        Error::file(
            path,
            format!("an image of {} × {} pixels cannot be written as PNG ({error})", image.width(), image.height()),
            "give it at least one pixel",
        )
    })?;
    write_atomically(path, bytes.get_ref())
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
