//! Formats that the crate `image` decodes whole: BMP, WebP, PNM, rare kinds of TIFF.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{Alpha, Decode, ImageHead, OpenedDecoder, push_bytes};
use crate::data::images::Images;
use crate::memory;

struct Whole {
    path: PathBuf,
    /// Bytes of a row.
    row: usize,
}

pub(super) fn open(path: &Path) -> OpenedDecoder {
    let mut decoder = decoder(path)?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let head = ImageHead {
        height: height as usize,
        width: width as usize,
        channels: if decoder.color_type().has_color() { 3 } else { 1 },
        orientation,
        // As it comes, and as bytes of grey or RGB.
        decoder_bytes: usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX).saturating_mul(2),
    };
    Ok((head, Box::new(Whole { path: path.to_path_buf(), row: head.width * head.channels })))
}

fn decoder(path: &Path) -> Result<impl ImageDecoder, String> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let mut reader = reader.map_err(|e| e.to_string())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory::for_images() as u64);
    reader.limits(limits);
    reader.into_decoder().map_err(|e| e.to_string())
}

impl Decode for Whole {
    fn rows(self: Box<Self>, alpha: Alpha, row: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let image = DynamicImage::from_decoder(decoder(&self.path)?).map_err(|e| e.to_string())?;
        if alpha == Alpha::OverBlack && image.color().has_alpha() {
            let (samples, per_pixel) = match image.color().has_color() {
                true => (image.into_rgba8().into_raw(), 4),
                false => (image.into_luma_alpha8().into_raw(), 2),
            };
            let mut bytes = Vec::new();
            push_bytes(&mut bytes, &samples, per_pixel, alpha, |sample| sample);
            bytes.chunks_exact(self.row).for_each(row);
            return Ok(());
        }
        let image = Images::from(image);
        image.pixels.chunks_exact(self.row).for_each(row);
        Ok(())
    }
}
