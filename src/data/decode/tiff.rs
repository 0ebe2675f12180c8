//! TIFF and BigTIFF: a strip or a row of tiles at a time; CMYK and single bits as a whole.

use std::io::BufReader;

use image::metadata::Orientation;
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PlanarConfiguration, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::fault::Fault;
use super::source::{ImageBytes, Stream};
use super::tiff_chunks::Chunks;
use super::{Decode, ImageHead, OpenedDecoder, Samples, whole};
use crate::memory;

struct Tiff {
    decoder: Decoder<BufReader<Stream>>,
    chunks: Chunks,
    height: usize,
    width: usize,
    /// Samples of a pixel, transparency among them.
    per_pixel: usize,
    /// Each of them has strips or tiles of its own.
    is_planar: bool,
}

pub(super) fn open(file: BufReader<Stream>, len: u64, source: &ImageBytes) -> OpenedDecoder {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = memory::for_images();
    limits.intermediate_buffer_size = memory::for_images();
    let mut decoder = Decoder::new(file).map_err(why)?.with_limits(limits);
    if let Some(3) = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).ok().flatten()
        && decoder.find_tag(Tag::ColorMap).is_ok_and(|map| map.is_some())
    {
        return Err("a TIFF with a palette; save it as grey or RGB".into());
    }
    let color = decoder.colortype().map_err(why)?;
    let format = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(why)?;
    let is = |kind: SampleFormat| format.iter().flatten().any(|&format| SampleFormat::from_u16(format) == Some(kind));
    if is(SampleFormat::Int) {
        return Err("a TIFF of signed samples; save it with 8 or 16 bits without sign".into());
    }
    let per_pixel = match color {
        ColorType::Gray(8 | 16) => 1,
        ColorType::GrayA(8 | 16) | ColorType::Multiband { bit_depth: 8 | 16, num_samples: 2 } => 2,
        ColorType::RGB(8 | 16) => 3,
        ColorType::RGBA(8 | 16) => 4,
        ColorType::Gray(1) | ColorType::CMYK(8 | 16) => 0,
        ColorType::Gray(bits) if is(SampleFormat::IEEEFP) => {
            return Err(format!("a TIFF of {bits}-bit floating-point samples; save it with 8 or 16 bits").into());
        }
        other => return Err(format!("a TIFF of {}; save it as grey or RGB of 8 or 16 bits", in_words(other)).into()),
    };
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(why)?;
    if let Some(name) = compression.and_then(unknown_compression) {
        return Err(format!("a TIFF compressed by {name}; save it with deflate or without compression").into());
    }
    let planes = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(why)?;
    let is_planar = planes == Some(PlanarConfiguration::Planar.to_u16());
    let is_apart = is_planar && per_pixel != 1;
    if compression == Some(CompressionMethod::ModernJPEG.to_u16()) && (is_apart || matches!(per_pixel, 0 | 2)) {
        let kind = if per_pixel == 2 { "grey and transparency" } else { "CMYK or planes" };
        return Err(format!("a TIFF of {kind} in JPEG; save it as grey or RGB of 8 or 16 bits").into());
    }
    // Its reader drops further samples first, and then sums up as if they were there.
    let predictor = decoder.find_tag_unsigned::<u16>(Tag::Predictor).map_err(why)?;
    let stored = decoder.find_tag_unsigned::<u16>(Tag::SamplesPerPixel).map_err(why)?;
    if !is_planar && predictor.is_some_and(|predictor| predictor != 1) && stored > Some(color.num_samples()) {
        let stored = stored.unwrap_or_default();
        return Err(format!("a TIFF of {stored} samples a pixel with a predictor; save it without one").into());
    }
    let (width, height) = decoder.dimensions().map_err(why)?;
    let (across, down) = decoder.chunk_dimensions();
    // Nor does it read those of planes that end within a tile.
    let is_tiled = decoder.get_chunk_type() == ChunkType::Tile;
    if is_apart && per_pixel == 0 && is_tiled && !(width.is_multiple_of(across) && height.is_multiple_of(down)) {
        return Err("a TIFF of CMYK in tiles of planes; save it as grey or RGB of 8 or 16 bits".into());
    }
    let samples = if is_planar { 1 } else { usize::from(color.num_samples()) };
    let chunks = Chunks::new(&mut decoder, len, samples * usize::from(color.bit_depth()))?;
    if per_pixel == 0 {
        return whole::open(source);
    }
    let orientation = decoder.find_tag_unsigned::<u16>(Tag::Orientation).map_err(why)?;
    let orientation = orientation.and_then(|tag| Orientation::from_exif(tag.min(255) as u8));
    let (width, height) = (width as usize, height as usize);
    let bytes = per_pixel * usize::from(color.bit_depth() / 8);
    let band = width.saturating_add(across as usize).saturating_mul(height.min(down as usize)).saturating_mul(bytes);
    let head = ImageHead {
        height,
        width,
        per_pixel,
        is_deep: color.bit_depth() == 16,
        is_scaled: false,
        significant: None,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        // A strip or a row of tiles, as it comes and in rows.
        decoder_bytes: band.saturating_mul(2).saturating_add(chunks.bytes()),
    };
    Ok((head, Box::new(Tiff { decoder, chunks, height, width, per_pixel, is_planar })))
}

/// Why it is not read, for people.
fn why(error: TiffError) -> String {
    match error {
        // The crate shows its own values.
        TiffError::UnsupportedError(_) => {
            "a kind of TIFF that is not read; save it as grey or RGB of 8 or 16 bits".into()
        }
        other => other.to_string(),
    }
}

/// What pixels are made of, where that cannot be read.
fn in_words(color: ColorType) -> String {
    match color {
        ColorType::Gray(bits) => format!("{bits}-bit grey"),
        ColorType::GrayA(bits) => format!("{bits}-bit grey and transparency"),
        ColorType::Multiband { bit_depth, num_samples } => format!("{num_samples} bands of {bit_depth} bits"),
        other => format!("{}-bit {}", other.bit_depth(), format!("{other:?}").split('(').next().unwrap_or_default()),
    }
}

/// What a TIFF is compressed by that is not read.
fn unknown_compression(method: u16) -> Option<String> {
    use CompressionMethod::{Deflate, Fax4, LZW, ModernJPEG, None as Plain, OldDeflate, PackBits};
    let known = [Plain, LZW, PackBits, Deflate, OldDeflate, ModernJPEG, Fax4];
    if known.iter().any(|known| known.to_u16() == method) {
        return None;
    }
    let name = match method {
        2 => "CCITT Huffman codes",
        3 => "CCITT group 3",
        6 => "JPEG of the old kind",
        33003 | 33005 | 34712 => "JPEG 2000",
        34925 => "LZMA",
        50000 => "Zstandard",
        50001 => "WebP",
        50002 => "JPEG XL",
        _ => return Some(format!("method {method}")),
    };
    Some(name.into())
}

/// Where a chunk lies in its band, in samples: its rows are `width` long, and those of the band, which are `row` long, take them from `left`
/// on, each `step`-th.
struct Place {
    height: usize,
    width: usize,
    left: usize,
    row: usize,
    step: usize,
}

impl Place {
    /// Copies a chunk to its place.
    fn fill<T: Copy + Default>(&self, chunk: &[T], band: &mut Vec<T>) -> Result<(), String> {
        let Place { height, width, left, row, step } = *self;
        // The last tiles of a plane come with the rows below the image, but for the first plane.
        if chunk.len() < height * width || !chunk.len().is_multiple_of(width) {
            return Err("its strips are of other sizes than its head says".into());
        }
        band.resize(height * row, T::default());
        for (target, source) in band.chunks_exact_mut(row).zip(chunk.chunks_exact(width)) {
            match step {
                1 => target[left..][..width].copy_from_slice(source),
                _ => target[left..].iter_mut().step_by(step).zip(source).for_each(|(to, &from)| *to = from),
            }
        }
        Ok(())
    }
}

impl Decode for Tiff {
    fn rows(self: Box<Self>, row: &mut dyn FnMut(Samples)) -> Result<(), Fault> {
        let Tiff { mut decoder, chunks, height, width, per_pixel, is_planar } = *self;
        let (across, down) = decoder.chunk_dimensions();
        let (across, down) = (across as usize, down as usize);
        if across == 0 || down == 0 {
            return Err("its strips have no size".into());
        }
        let len = width * per_pixel;
        let (mut bytes, mut deep) = (Vec::new(), Vec::new());
        let columns = width.div_ceil(across);
        let bands = height.div_ceil(down);
        // Samples of a pixel side by side in a chunk.
        let (planes, together) = if is_planar { (per_pixel, 1) } else { (1, per_pixel) };
        for (band, top) in (0..height).step_by(down).enumerate() {
            for (plane, column) in (0..planes).flat_map(|plane| (0..columns).map(move |column| (plane, column))) {
                let left = column * across;
                let wide = across.min(width - left) * together;
                let left = left * per_pixel + plane;
                let place = Place { height: down.min(height - top), width: wide, left, row: len, step: planes };
                let index = (plane * bands + band) * columns + column;
                let index = u32::try_from(index).map_err(|e| e.to_string())?;
                chunks.check(decoder.inner(), index)?;
                match decoder.read_chunk(index).map_err(why)? {
                    DecodingResult::U8(samples) => place.fill(&samples, &mut bytes)?,
                    DecodingResult::U16(samples) => place.fill(&samples, &mut deep)?,
                    _ => return Err("its samples have other kinds than its head says".into()),
                }
            }
            bytes.chunks_exact(len).for_each(|samples| row(Samples::U8(samples)));
            deep.chunks_exact(len).for_each(|samples| row(Samples::U16(samples)));
        }
        Ok(())
    }
}
