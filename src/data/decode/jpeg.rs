//! JPEG: whole. What is cut short or damaged is an error, where decoders fill what is missing with grey.

use std::io::{self, BufReader, ErrorKind, Seek};

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::{ZByteReaderTrait, ZCursor};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::fault::Fault;
use super::jpeg_bits::DAMAGED;
use super::jpeg_scans;
use super::source::{ImageBytes, Stream};
use super::{Decode, ImageHead, OpenedDecoder, Samples};

struct Jpeg {
    source: ImageBytes,
    /// Bytes of a row.
    row: usize,
}

pub(super) fn open(mut file: BufReader<Stream>, len: u64, source: &ImageBytes) -> OpenedDecoder {
    let (frame, is_one_scan) = jpeg_scans::head(&mut file).map_err(|e| broken(&e))?;
    file.rewind().map_err(|e| e.to_string())?;
    let decoder = with_head(file)?;
    let (width, height) = decoder.dimensions().ok_or("its size is missing")?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let channels = decoder.output_colorspace().map_or(3, |space| space.num_components());
    let frame = frame.ok_or(DAMAGED)?;
    // Two bytes for each coefficient, which are more than what the check of the scans takes before; and for each sample of a row of MCUs,
    // as it is, upsampled, and what is kept of the row before.
    let coefficients = if is_one_scan { 0 } else { 2 * frame.coefficients() };
    let working = coefficients.saturating_add(6 * frame.mcu_row_bytes());
    // Metadata are taken out of the file, and put together where they came in parts.
    let file = usize::try_from(len).unwrap_or(usize::MAX).saturating_mul(3);
    let head = ImageHead {
        height,
        width,
        per_pixel: channels,
        is_deep: false,
        is_scaled: false,
        significant: None,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        decoder_bytes: (width * height * channels).saturating_add(working).saturating_add(file),
    };
    Ok((head, Box::new(Jpeg { source: source.clone(), row: width * channels })))
}

/// A decoder that has read the head, and will give grey or RGB.
fn with_head<R: ZByteReaderTrait>(file: R) -> Result<JpegDecoder<R>, String> {
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(file, options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let space = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    Ok(decoder)
}

/// What is wrong with a file's markers.
fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the JPEG data is cut short".into(),
        _ => error.to_string(),
    }
}

impl Decode for Jpeg {
    fn rows(self: Box<Self>, row: &mut dyn FnMut(Samples)) -> Result<(), Fault> {
        let file = self.source.read()?;
        let end = jpeg_scans::check(&file, DecoderOptions::default().jpeg_get_max_scans())?;
        let mut decoder = with_head(ZCursor::new(&file[..end]))?;
        let mut pixels = Vec::new();
        let len = decoder.output_buffer_size().ok_or("its size is missing")?;
        pixels.try_reserve_exact(len).map_err(|_| Fault::no_memory("its pixels"))?;
        pixels.resize(len, 0);
        // The decoder speaks of codes and markers, which help nobody to find a whole file.
        decoder.decode_into(&mut pixels).map_err(|_| DAMAGED)?;
        pixels.chunks_exact(self.row).for_each(|pixels| row(Samples::U8(pixels)));
        Ok(())
    }
}
