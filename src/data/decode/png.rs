//! PNG: a row at a time, but for interlaced files.

use std::fs::File;
use std::io::BufReader;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{Alpha, Decode, ImageHead, OpenedDecoder, channels_of, push_bytes};
use crate::data::images::upper_byte;
use crate::memory;

/// Bytes of metadata (EXIF) that are read: cameras record less than 64 KiB. Profiles and texts are passed over.
const METADATA: usize = 256 << 10;

struct Png {
    reader: png::Reader<BufReader<File>>,
    /// Samples of a pixel, transparency among them.
    per_pixel: usize,
    /// Samples have 16 bits, not 8.
    deep: bool,
}

pub(super) fn open(file: BufReader<File>) -> OpenedDecoder {
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: METADATA });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes and samples of fewer bits become bytes.
    decoder.set_transformations(Transformations::EXPAND);
    // A row takes up to 4 samples of 16 bits a pixel.
    let width = decoder.read_header_info().map_err(|e| e.to_string())?.width as usize;
    let row = width.saturating_mul(8).min(memory::for_images());
    decoder.set_limits(Limits { bytes: row.saturating_add(METADATA) });
    let reader = decoder.read_info().map_err(|e| match e {
        DecodingError::LimitsExceeded => "its metadata or its rows are too large; save it without metadata".into(),
        e => e.to_string(),
    })?;
    let (color, depth) = reader.output_color_type();
    let per_pixel = match color {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err("its palette is missing".into()),
    };
    let info = reader.info();
    let (width, height) = info.size();
    let exif = info.exif_metadata.as_deref().unwrap_or_default();
    let orientation = Orientation::from_exif_chunk(exif);
    // As they came and as they are kept.
    let metadata = 2 * exif.len();
    let png = Png { per_pixel, deep: depth == BitDepth::Sixteen, reader };
    let row = png.reader.output_line_size(width).unwrap_or(usize::MAX);
    let rows = if png.is_interlaced() { height as usize } else { 1 };
    let head = ImageHead {
        height: height as usize,
        width: width as usize,
        channels: channels_of(per_pixel),
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        // A row as it is and the one before it, and what the inflater looks back on.
        decoder_bytes: row.saturating_mul(rows.saturating_add(2)).saturating_add((1 << 18) + metadata),
    };
    Ok((head, Box::new(png)))
}

impl Png {
    fn is_interlaced(&self) -> bool {
        self.reader.info().interlaced
    }

    /// Samples as bytes.
    fn bytes<'a>(&self, samples: &'a [u8], alpha: Alpha, out: &'a mut Vec<u8>) -> &'a [u8] {
        match (self.deep, self.per_pixel) {
            (false, 1 | 3) => return samples,
            (false, _) => push_bytes(out, samples, self.per_pixel, alpha, |sample| sample),
            (true, _) => {
                let byte = |deep| upper_byte(u16::from_be_bytes(deep));
                push_bytes(out, samples.as_chunks().0, self.per_pixel, alpha, byte);
            }
        }
        out
    }
}

impl Decode for Png {
    fn rows(mut self: Box<Self>, alpha: Alpha, row: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let len = self.reader.output_line_size(self.reader.info().width).ok_or("its rows are too long")?;
        let (mut samples, mut bytes) = (Vec::new(), Vec::new());
        if self.is_interlaced() {
            let all = self.reader.output_buffer_size().ok_or("it is too large")?;
            samples.try_reserve_exact(all).map_err(|e| e.to_string())?;
            samples.resize(all, 0);
            self.reader.next_frame(&mut samples).map_err(|e| e.to_string())?;
            for samples in samples.chunks_exact(len) {
                bytes.clear();
                row(self.bytes(samples, alpha, &mut bytes));
            }
            return Ok(());
        }
        samples.resize(len, 0);
        while self.reader.read_row(&mut samples).map_err(|e| e.to_string())?.is_some() {
            bytes.clear();
            row(self.bytes(&samples, alpha, &mut bytes));
        }
        Ok(())
    }
}
