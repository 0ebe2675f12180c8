//! Formats that the crate `image` decodes whole: BMP, WebP, PNM, rare kinds of TIFF.

use std::io::{BufReader, Read};

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::fault::Fault;
use super::source::ImageBytes;
use super::{Decode, ImageHead, OpenedDecoder, Samples};
use crate::memory;

/// Bytes in which the head of a PNM ends.
const HEAD: u64 = 4 << 10;

struct Whole {
    source: ImageBytes,
    /// Samples of a row.
    row: usize,
}

pub(super) fn open(source: &ImageBytes) -> OpenedDecoder {
    refuse_what_may_be_cut(source)?;
    refuse_long_heads(source)?;
    let mut decoder = decoder(source)?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let head = ImageHead {
        height: height as usize,
        width: width as usize,
        per_pixel: usize::from(color.channel_count()),
        is_deep: is_deep(color),
        // Of 16 bits the decoder scales the largest sample that a PNM may have to white.
        is_scaled: is_deep(color) && largest_of_pnm(source).is_some_and(|largest| largest < u16::MAX),
        significant: None,
        orientation,
        // As it comes, and as samples.
        decoder_bytes: usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX).saturating_mul(2),
    };
    Ok((head, Box::new(Whole { source: source.clone(), row: head.width * head.per_pixel })))
}

/// Refuses what its reader would complete: a WebP that is shorter than it says, and run lengths of a BMP, which may end anywhere.
fn refuse_what_may_be_cut(source: &ImageBytes) -> Result<(), Fault> {
    let (file, len) = source.open()?;
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

/// Refuses a PNM whose head does not end soon: the decoder would read a comment of any length.
fn refuse_long_heads(source: &ImageBytes) -> Result<(), Fault> {
    let mut head = Vec::new();
    source.open()?.0.take(HEAD).read_to_end(&mut head).map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&head);
    let mut words = words_of_pnm(&text);
    let is_whole = match head.as_slice() {
        [b'P', b'7', ..] => words.any(|word| word == "ENDHDR"),
        [b'P', b'1' | b'4', ..] => words.nth(2).is_some(),
        [b'P', b'2' | b'3' | b'5' | b'6', ..] => words.nth(3).is_some(),
        _ => true,
    };
    // What is shorter is told by the decoder.
    if !is_whole && head.len() as u64 == HEAD {
        return Err(format!("its head does not end within {HEAD} bytes").into());
    }
    Ok(())
}

/// What the head of a PNM says, without its comments; pixels may follow.
fn words_of_pnm(head: &str) -> impl Iterator<Item = &str> {
    head.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
}

fn decoder(source: &ImageBytes) -> Result<impl ImageDecoder, Fault> {
    let (file, _) = source.open()?;
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory::for_images() as u64);
    reader.limits(limits);
    Ok(reader.into_decoder().map_err(|e| e.to_string())?)
}

/// The largest sample that a PNM may have, by its head.
fn largest_of_pnm(source: &ImageBytes) -> Option<u16> {
    let mut head = Vec::new();
    source.open().ok()?.0.take(HEAD).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let kind = head.get(..2).filter(|kind| kind.starts_with('P'))?;
    let mut words = words_of_pnm(&head);
    let largest = match kind {
        "P7" => words.skip_while(|word| *word != "MAXVAL").nth(1),
        _ => words.nth(3),
    };
    largest?.parse().ok()
}

/// Whether samples have 16 bits.
fn is_deep(color: ColorType) -> bool {
    color.bytes_per_pixel() == 2 * color.channel_count()
}

impl Decode for Whole {
    fn rows(self: Box<Self>, row: &mut dyn FnMut(Samples)) -> Result<(), Fault> {
        let image = DynamicImage::from_decoder(decoder(&self.source)?).map_err(|e| e.to_string())?;
        let color = image.color();
        if !is_deep(color) {
            let samples = match color {
                ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => image.into_bytes(),
                _ => return Err("its samples are floating-point numbers; save it with 8 or 16 bits".into()),
            };
            samples.chunks_exact(self.row).for_each(|samples| row(Samples::U8(samples)));
            return Ok(());
        }
        let samples = match color.channel_count() {
            1 => image.into_luma16().into_raw(),
            2 => image.into_luma_alpha16().into_raw(),
            3 => image.into_rgb16().into_raw(),
            _ => image.into_rgba16().into_raw(),
        };
        samples.chunks_exact(self.row).for_each(|samples| row(Samples::U16(samples)));
        Ok(())
    }
}
