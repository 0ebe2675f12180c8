//! JPEG: whole. A scan that ends early is an error, where decoders fill what is missing with grey.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::{ZByteReaderTrait, ZCursor};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Alpha, Decode, ImageHead, OpenedDecoder};
use crate::files;

/// Markers: a scan, and the end of the image.
const SCAN: u8 = 0xDA;
const END: u8 = 0xD9;

/// Bytes of ones: more than a value with its code takes.
const GUARD: usize = 64;

struct Jpeg {
    path: PathBuf,
    /// Bytes of a row.
    row: usize,
}

pub(super) fn open(mut file: BufReader<File>, path: &Path) -> OpenedDecoder {
    let bytes = file.get_ref().metadata().map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
    let comes_in_scans = comes_in_scans(&mut file).map_err(|e| broken(&e))?;
    file.rewind().map_err(|e| e.to_string())?;
    let decoder = with_head(file)?;
    let (width, height) = decoder.dimensions().ok_or("its size is missing")?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let channels = decoder.output_colorspace().map_or(3, |space| space.num_components());
    // Two bytes for each coefficient of as many colours.
    let coefficients =
        if comes_in_scans { 2 * decoder.input_colorspace().map_or(4, |space| space.num_components()) } else { 0 };
    let head = ImageHead {
        height,
        width,
        channels,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        decoder_bytes: width.saturating_mul(height).saturating_mul(channels + coefficients).saturating_add(bytes),
    };
    Ok((head, Box::new(Jpeg { path: path.to_path_buf(), row: width * channels })))
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

/// The next marker and its contents, past the data of a scan. ITU-T T.81, B.1.
fn next_segment(file: &mut impl BufRead) -> io::Result<(u8, Vec<u8>)> {
    fn byte(file: &mut impl Read) -> io::Result<u8> {
        let mut byte = [0];
        file.read_exact(&mut byte).map(|()| byte[0])
    }
    loop {
        file.skip_until(0xFF)?;
        let mut marker = 0xFF;
        while marker == 0xFF {
            marker = byte(file)?;
        }
        match marker {
            // 0xFF as data, restarts, the start of the image.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            END => return Ok((marker, Vec::new())),
            _ => {
                let length = u16::from_be_bytes([byte(file)?, byte(file)?]).saturating_sub(2);
                let mut contents = vec![0; usize::from(length)];
                file.read_exact(&mut contents)?;
                return Ok((marker, contents));
            }
        }
    }
}

/// Whether a marker begins a frame: its contents are precision, rows, columns and colours, of 3 bytes each.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && ![0xC4, 0xC8, 0xCC].contains(&marker)
}

/// The colours of a frame.
fn colours(frame: &[u8]) -> impl Iterator<Item = u8> {
    frame.iter().skip(6).step_by(3).copied()
}

/// Whether the coefficients come in several scans, so that a decoder has to keep all of them: in progressive files, and in others
/// whose first scan has not all colours.
fn comes_in_scans(file: &mut impl BufRead) -> io::Result<bool> {
    let (mut is_progressive, mut all) = (false, 0);
    loop {
        match next_segment(file)? {
            (marker, contents) if is_frame(marker) => {
                is_progressive = !matches!(marker, 0xC0 | 0xC1);
                all = colours(&contents).count();
            }
            (SCAN | END, contents) => {
                return Ok(is_progressive || contents.first().is_none_or(|&colours| usize::from(colours) < all));
            }
            _ => {}
        }
    }
}

/// Makes sure that a file is whole: that scans bring all bits of all coefficients; and that none ends early, by bits before the end
/// marker that are in no code, all ones (T.81, C). A decoder that has too little data runs into them, and not into the marker, after
/// which it would make up zeros.
fn guard(file: &mut Vec<u8>) -> io::Result<()> {
    // Of each colour, and each of its 64 coefficients, the bits that have not come.
    let mut missing: Vec<(u8, [u8; 64])> = Vec::new();
    let mut segments = Cursor::new(&*file);
    loop {
        match next_segment(&mut segments)? {
            (END, _) => break,
            (SCAN, scan) => {
                // How many colours, which, of which coefficients, and the lowest of their bits that comes.
                let cut = || io::Error::from(ErrorKind::UnexpectedEof);
                let (&n, rest) = scan.split_first().ok_or_else(cut)?;
                let (these, rest) = rest.split_at_checked(2 * usize::from(n)).ok_or_else(cut)?;
                let &[first, last, bits] = rest else { return Err(cut()) };
                for (colour, bits_missing) in &mut missing {
                    if these.iter().step_by(2).any(|these| these == colour) && first <= last && last < 64 {
                        bits_missing[usize::from(first)..=usize::from(last)].fill(bits & 15);
                    }
                }
            }
            (marker, frame) if is_frame(marker) => missing = colours(&frame).map(|colour| (colour, [16; 64])).collect(),
            _ => {}
        }
    }
    if missing.iter().any(|(_, bits)| bits.iter().any(|&bits| bits > 0)) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let end = usize::try_from(segments.position()).map_or(0, |end| end - 2);
    file.truncate(end);
    file.extend([0xFF, 0x00].repeat(GUARD));
    file.extend([0xFF, END]);
    Ok(())
}

/// What is wrong with a file's markers.
fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the JPEG data is cut short".into(),
        _ => error.to_string(),
    }
}

impl Decode for Jpeg {
    fn rows(self: Box<Self>, _: Alpha, row: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let mut file = files::read(&self.path).map_err(|e| e.to_string())?;
        guard(&mut file).map_err(|e| broken(&e))?;
        let mut decoder = with_head(ZCursor::new(file.as_slice()))?;
        let mut pixels = Vec::new();
        let len = decoder.output_buffer_size().ok_or("its size is missing")?;
        pixels.try_reserve_exact(len).map_err(|e| e.to_string())?;
        pixels.resize(len, 0);
        // The decoder speaks of codes and markers, which help nobody to find a whole file.
        decoder.decode_into(&mut pixels).map_err(|_| "the JPEG data is cut short or damaged")?;
        pixels.chunks_exact(self.row).for_each(row);
        Ok(())
    }
}
