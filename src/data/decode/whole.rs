//! Formats that the crate `image` decodes whole: BMP, WebP, PNM, rare kinds of TIFF.

use std::io::Read;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{Alpha, Decode, ImageHead, OpenedDecoder, push_bytes};
use crate::data::images::Images;
use crate::{files, memory};

struct Whole {
    path: PathBuf,
    /// Bytes of a row.
    row: usize,
}

pub(super) fn open(path: &Path) -> OpenedDecoder {
    refuse_what_may_be_cut(path)?;
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

/// Refuses what its reader would complete: a WebP that is shorter than it says, and run lengths of a BMP, which may end anywhere.
fn refuse_what_may_be_cut(path: &Path) -> Result<(), String> {
    let file = files::open(path).map_err(|e| e.to_string())?;
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    let mut head = Vec::new();
    file.take(34).read_to_end(&mut head).map_err(|e| e.to_string())?;
    let word = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map(|&word| u32::from_le_bytes(word));
    // The last chunk may lack the byte that makes it even.
    if head.starts_with(b"RIFF") && word(4).is_some_and(|size| u64::from(size) + 8 > len + 1) {
        return Err("the WebP data is cut short".into());
    }
    // Heads of 12 bytes have no compression.
    if head.starts_with(b"BM") && word(14).is_some_and(|head| head > 12) && matches!(word(30), Some(1 | 2)) {
        return Err("a BMP of run lengths; save it without compression, or as a PNG".into());
    }
    Ok(())
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
