//! PNG: a row at a time, but for interlaced files.

use std::io::BufReader;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::fault::Fault;
use super::source::Stream;
use super::{Decode, ImageHead, OpenedDecoder, Samples};
use crate::memory;

/// Bytes of metadata (EXIF) that are read: cameras record less than 64 KiB. Profiles and texts are passed over.
const METADATA: usize = 256 << 10;

struct Png {
    reader: png::Reader<BufReader<Stream>>,
    /// Samples have 16 bits, not 8.
    is_deep: bool,
}

pub(super) fn open(file: BufReader<Stream>) -> OpenedDecoder {
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: METADATA });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes and samples of fewer bits become bytes.
    decoder.set_transformations(Transformations::EXPAND);
    // A row takes up to 4 samples of 16 bits a pixel.
    let width = decoder.read_header_info().map_err(why)?.width as usize;
    let row = width.saturating_mul(8).min(memory::for_images());
    decoder.set_limits(Limits { bytes: row.saturating_add(METADATA) });
    let reader = decoder.read_info().map_err(why)?;
    let (color, depth) = reader.output_color_type();
    let per_pixel = match color {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err("its palette is missing".into()),
    };
    let info = reader.info();
    if info.palette.as_ref().is_some_and(|palette| !palette.len().is_multiple_of(3)) {
        return Err("the PNG is damaged: its palette is no whole number of colours".into());
    }
    let (width, height) = info.size();
    let exif = info.exif_metadata.as_deref().unwrap_or_default();
    let orientation = Orientation::from_exif_chunk(exif);
    // As they came and as they are kept.
    let metadata = 2 * exif.len();
    // Of the colours, whose bits may differ.
    let significant = info.sbit.as_deref().and_then(|bits| bits.iter().take(3).copied().max());
    let png = Png { is_deep: depth == BitDepth::Sixteen, reader };
    let row = png.reader.output_line_size(width).unwrap_or(usize::MAX);
    let rows = if png.is_interlaced() { height as usize } else { 1 };
    let head = ImageHead {
        height: height as usize,
        width: width as usize,
        per_pixel,
        is_deep: png.is_deep,
        is_scaled: false,
        significant,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        // A row as it is, as samples, and the one before it, and what the inflater looks back on.
        decoder_bytes: row.saturating_mul(rows.saturating_add(3)).saturating_add((1 << 18) + metadata),
    };
    Ok((head, Box::new(png)))
}

/// Why it is not read, for people.
fn why(error: DecodingError) -> String {
    let text = error.to_string();
    match error {
        DecodingError::LimitsExceeded => "its metadata or its rows are too large; save it without metadata".into(),
        // The crate shows its own values.
        DecodingError::Format(_) if text.contains("ChunkType") => {
            "the PNG is damaged: one of its parts is of a kind that there is not, or in a wrong place".into()
        }
        _ => text,
    }
}

impl Png {
    fn is_interlaced(&self) -> bool {
        self.reader.info().interlaced
    }

    /// The samples of a row, those of 16 bits put together in a buffer.
    fn samples<'a>(&self, bytes: &'a [u8], deep: &'a mut Vec<u16>) -> Samples<'a> {
        if !self.is_deep {
            return Samples::U8(bytes);
        }
        deep.clear();
        deep.extend(bytes.as_chunks().0.iter().map(|&sample| u16::from_be_bytes(sample)));
        Samples::U16(deep)
    }
}

impl Decode for Png {
    fn rows(mut self: Box<Self>, row: &mut dyn FnMut(Samples)) -> Result<(), Fault> {
        let len = self.reader.output_line_size(self.reader.info().width).ok_or("its rows are too long")?;
        let (mut bytes, mut deep) = (Vec::new(), Vec::new());
        if self.is_interlaced() {
            let all = self.reader.output_buffer_size().ok_or("it is too large")?;
            bytes.try_reserve_exact(all).map_err(|_| Fault::no_memory("its pixels"))?;
            bytes.resize(all, 0);
            self.reader.next_frame(&mut bytes).map_err(why)?;
            bytes.chunks_exact(len).for_each(|bytes| row(self.samples(bytes, &mut deep)));
            return Ok(());
        }
        bytes.resize(len, 0);
        while self.reader.read_row(&mut bytes).map_err(why)?.is_some() {
            row(self.samples(&bytes, &mut deep));
        }
        Ok(())
    }
}
