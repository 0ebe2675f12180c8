//! Formats that the crate `image` decodes whole: BMP, WebP, PNM, rare kinds of TIFF.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{Decode, Head, Opened};
use crate::data::images::Images;
use crate::memory;

struct Whole {
    path: PathBuf,
}

pub(super) fn open(path: &Path) -> Opened {
    let mut decoder = decoder(path)?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let head = Head {
        height: height as usize,
        width: width as usize,
        channels: if decoder.color_type().has_color() { 3 } else { 1 },
        orientation,
        // As it comes, and as bytes of grey or RGB.
        decoder_bytes: usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX).saturating_mul(2),
    };
    Ok((head, Box::new(Whole { path: path.to_path_buf() })))
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
    fn rows(self: Box<Self>, row: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let image = DynamicImage::from_decoder(decoder(&self.path)?).map_err(|e| e.to_string())?;
        let image = Images::from(image);
        image.pixels.chunks_exact(image.width * image.channels).for_each(row);
        Ok(())
    }
}
