//! Image files, row by row and in bytes, whatever the format.
//!
//! | file | decodes |
//! | --- | --- |
//! | `png` | PNG, a row at a time |
//! | `tiff` | TIFF, a strip or a row of tiles at a time |
//! | `tiff_chunks` | none: whether these lie where the head says |
//! | `jpeg` | JPEG, whole |
//! | `jpeg_scans`, `jpeg_bits` | none: whether a JPEG holds all that its head promises |
//! | `whole` | BMP, WebP, PNM and rare kinds of TIFF, whole |
//! | `source` | none: where the bytes lie, in a file or in memory |
//! | `fault` | none: why an image is not read |
//!
//! What decoding takes of memory is known from a file's head, before any of it is asked for.

mod fault;
mod jpeg;
mod jpeg_bits;
mod jpeg_scans;
mod png;
mod source;
mod tiff;
mod tiff_chunks;
mod whole;

use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use rayon::prelude::*;

use crate::data::images::{Images, MASK_THRESHOLD, Mask, Original, luma};
use crate::data::levels::{BitLengths, Levels, SamplesUsed};
use crate::data::resize;
use crate::error::Result;
use crate::memory;

use fault::{Fault, decoding, not_decoding};
pub(crate) use source::ImageBytes;
use source::Stream;

/// Files that are open at a time, for each thread and in all: systems allow a process a thousand or so.
const OPEN: [usize; 2] = [4, 128];

/// Pixels of an image, at most, and along its sides: a square of 46,340, which unpacks within seconds.
const MOST_PIXELS: usize = 1 << 31;
const MOST_ALONG: usize = 1 << 22;

/// An image file whose head has been read. It shows grey or RGB bytes: 16-bit samples are reduced to 8 by its levels, transparency is
/// dropped, palettes are looked up, and the orientation that a camera recorded (EXIF) is applied.
pub(crate) struct ImageFile {
    source: ImageBytes,
    head: ImageHead,
    alpha: Alpha,
    levels: Levels,
    decoder: Box<dyn Decode + Send>,
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug)]
struct ImageHead {
    /// Rows and columns as they are stored.
    height: usize,
    width: usize,
    /// Samples of a pixel: 1 (grey) or 3 (red, green, blue), and one for transparency where there is some.
    per_pixel: usize,
    /// Samples have 16 bits, not 8.
    is_deep: bool,
    /// The file tells which sample is white, and they are scaled to that.
    is_scaled: bool,
    /// Significant bits of a sample, where the file tells.
    significant: Option<u8>,
    orientation: Orientation,
    /// Bytes of memory that the decoder takes.
    decoder_bytes: usize,
}

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpha {
    /// Colours are as they are stored.
    Dropped,
    /// The image lies over black: what is transparent is dark.
    OverBlack,
}

/// Samples of a row as a file has them, those of transparency among them.
#[derive(Clone, Copy)]
enum Samples<'a> {
    U8(&'a [u8]),
    U16(&'a [u16]),
}

/// What decodes one format, the head of a file behind it.
trait Decode {
    /// Hands out all rows from the top; or says what is wrong.
    fn rows(self: Box<Self>, row: &mut dyn FnMut(Samples)) -> std::result::Result<(), Fault>;
}

/// What the head of a file turned into: its decoder, or what is wrong with it.
type OpenedDecoder = std::result::Result<(ImageHead, Box<dyn Decode + Send>), Fault>;

impl ImageHead {
    /// Bytes of all pixels.
    fn len(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels())
    }

    /// 1 (grey) or 3 (red, green, blue).
    fn channels(&self) -> usize {
        if self.per_pixel < 3 { 1 } else { 3 }
    }

    fn is_upright(&self) -> bool {
        self.orientation == Orientation::NoTransforms
    }
}

impl ImageFile {
    /// Reads the head of a PNG, JPEG, BMP, TIFF, WebP or PNM file.
    ///
    /// # Errors
    /// What is no such file, or takes more memory to decode than images may take ([`memory::for_images`]).
    pub(crate) fn open(path: &Path) -> Result<ImageFile> {
        ImageFile::of(ImageBytes::File(path.to_path_buf()))
    }

    /// The same of bytes, wherever they lie.
    ///
    /// # Errors
    /// As of [`ImageFile::open`].
    pub(crate) fn of(source: ImageBytes) -> Result<ImageFile> {
        let (stream, len) = source.open()?;
        let (head, decoder) = decoding(|| opened(stream, len, &source)).map_err(|fault| source.refused(fault))?;
        let ImageHead { height, width, .. } = head;
        if width == 0 || height == 0 {
            return Err(source.unreadable("it has no pixels"));
        }
        let image = ImageFile { source, head, alpha: Alpha::Dropped, levels: Levels::ALL, decoder };
        // What a damaged head claims is not asked of the allocator, which would end the program.
        if image.bytes() > memory::for_images() {
            let problem = format!(
                "its {width} × {height} pixels take {} to decode, and images may take {} (`memory`)",
                memory::in_words(image.bytes()),
                memory::in_words(memory::for_images()),
            );
            let is_whole = head.decoder_bytes >= head.len();
            let by_rows =
                if is_whole { "save it as a PNG without interlacing, which is read row by row, or " } else { "" };
            let remedy = format!("{by_rows}allow more");
            return Err(image.source.too_large(problem, &remedy));
        }
        // Some kilobytes may claim as many as take hours to unpack, row by row in little memory.
        if width.max(height) > MOST_ALONG || height.saturating_mul(width) > MOST_PIXELS {
            let most = format!("images have at most {MOST_PIXELS}, and {MOST_ALONG} along a side");
            return Err(image.source.fault(format!("has {width} × {height} pixels, and {most}"), "cut it into parts"));
        }
        Ok(image)
    }

    /// The same over black, where it is transparent.
    pub(crate) fn over_black(self) -> ImageFile {
        ImageFile { alpha: Alpha::OverBlack, ..self }
    }

    /// The same, where 16-bit samples are reduced to 8 by other levels.
    pub(crate) fn with_levels(self, levels: Levels) -> ImageFile {
        ImageFile { levels, ..self }
    }

    /// Whether its samples have 16 bits, of which those tell alone how many are significant.
    pub(crate) fn is_deep(&self) -> bool {
        self.head.is_deep && !self.head.is_scaled
    }

    /// (height, width) of the image.
    pub(crate) fn size(&self) -> (usize, usize) {
        let ImageHead { height, width, orientation, .. } = self.head;
        match orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (width, height),
            _ => (height, width),
        }
    }

    /// Its own channels: 1 where it is grey, else 3.
    pub(crate) fn channels(&self) -> usize {
        self.head.channels()
    }

    /// Bytes of memory that [`ImageFile::rows`] takes, and resizing them as they come.
    pub(crate) fn bytes(&self) -> usize {
        // A turned image lies there whole, twice.
        let turned = if self.head.is_upright() { 0 } else { 2 };
        let ImageHead { height, width, decoder_bytes, .. } = self.head;
        let resizing = resize::table_bytes(height).saturating_add(resize::table_bytes(width));
        decoder_bytes.saturating_add(self.head.len().saturating_mul(turned)).saturating_add(resizing)
    }

    /// Bytes of memory that [`ImageFile::read`] takes.
    pub(crate) fn bytes_whole(&self) -> usize {
        self.bytes().saturating_add(self.head.len())
    }

    /// What its head tells of it.
    pub(crate) fn original(&self) -> Original {
        let (height, width) = self.size();
        Original { height, width, bits: None }
    }

    /// Hands out its rows, of `width * channels` bytes each, from the top. Returns what it was.
    ///
    /// # Errors
    /// A file that is damaged, where rows may have come before.
    pub(crate) fn rows(self, row: impl FnMut(&[u8])) -> Result<Original> {
        if self.head.is_upright() {
            return self.stored_rows(row);
        }
        let (mut image, original) = self.read()?;
        let len = image.width * image.channels;
        std::mem::take(&mut image.pixels).chunks_exact(len).for_each(row);
        Ok(original)
    }

    /// All of it, and what it was.
    pub(crate) fn read(self) -> Result<(Images, Original)> {
        let ImageHead { height, width, orientation, .. } = self.head;
        let mut image = Images { count: 1, ..Images::empty(height, width, self.channels()) };
        let room = image.pixels.try_reserve_exact(self.head.len());
        let what = || format!("its {width} × {height} pixels");
        room.map_err(|_| self.source.refused(Fault::no_memory(&what())))?;
        let original = self.stored_rows(|row| image.pixels.extend_from_slice(row))?;
        Ok((upright(image, orientation), original))
    }

    /// Which of 16-bit samples it uses; None where they have 8, or the file tells which one is white.
    pub(crate) fn samples_used(self) -> Result<Option<SamplesUsed>> {
        let ImageHead { per_pixel, significant, .. } = self.head;
        if !self.is_deep() {
            return Ok(None);
        }
        let mut counts = vec![0u32; 1 << 16];
        self.stored_samples(|samples| {
            if let Samples::U16(samples) = samples {
                colours(samples, per_pixel).for_each(|&sample| counts[usize::from(sample)] += 1);
            }
        })?;
        Ok(Some(SamplesUsed::of(&counts, significant)))
    }

    /// Its rows as they are stored, as bytes.
    fn stored_rows(self, mut row: impl FnMut(&[u8])) -> Result<Original> {
        let ImageFile { head, alpha, levels, .. } = self;
        let ImageHead { per_pixel, is_scaled, .. } = head;
        let (mut bytes, mut lengths) = (Vec::new(), BitLengths::default());
        let (is_deep, original) = (self.is_deep(), self.original());
        let stay = levels.keeps_bytes() && per_pixel == head.channels();
        self.stored_samples(|samples| {
            bytes.clear();
            match samples {
                Samples::U8(samples) if stay => return row(samples),
                Samples::U8(samples) => {
                    push_bytes(&mut bytes, samples, per_pixel, alpha, |sample| levels.byte_of_byte(sample));
                }
                Samples::U16(samples) if is_scaled => {
                    push_bytes(&mut bytes, samples, per_pixel, alpha, |sample| levels.byte_of_scaled(sample));
                }
                Samples::U16(samples) => {
                    lengths.add(colours(samples, per_pixel));
                    push_bytes(&mut bytes, samples, per_pixel, alpha, |sample| levels.byte(sample));
                }
            }
            row(&bytes);
        })?;
        Ok(Original { bits: is_deep.then(|| lengths.significant()), ..original })
    }

    /// Its rows as they are stored: as many as its head says, or an error, which a file that was replaced meanwhile is too.
    fn stored_samples(self, mut row: impl FnMut(Samples)) -> Result<()> {
        let ImageFile { source, head: ImageHead { height, width, per_pixel, .. }, decoder, .. } = self;
        let mut came = 0;
        let mut counted = |samples: Samples| {
            let len = match samples {
                Samples::U8(samples) => samples.len(),
                Samples::U16(samples) => samples.len(),
            };
            came += 1;
            if came <= height && len == width * per_pixel {
                not_decoding(|| row(samples));
            } else {
                came = height + 1;
            }
        };
        decoding(|| decoder.rows(&mut counted)).map_err(|fault| source.refused(fault))?;
        if came == height { Ok(()) } else { Err(source.unreadable("its pixels are not those that its head announces")) }
    }
}

/// Reads the head of an image, `len` bytes in all.
fn opened(stream: Stream, len: u64, source: &ImageBytes) -> OpenedDecoder {
    let mut stream = BufReader::new(stream);
    let mut start = Vec::new();
    (&mut stream).take(4).read_to_end(&mut start).map_err(|e| e.to_string())?;
    stream.rewind().map_err(|e| e.to_string())?;
    match start.as_slice() {
        [] => Err("the file is empty".into()),
        [0x89, b'P', b'N', b'G'] => png::open(stream),
        [0xFF, 0xD8, ..] => jpeg::open(stream, len, source),
        [b'I', b'I', 42 | 43, 0] | [b'M', b'M', 0, 42 | 43] => tiff::open(stream, len, source),
        _ => whole::open(source),
    }
}

/// Opens files and does `work` with each and what belongs to it, in parallel: on as many at a time as images may take of memory.
/// Results come in the order of the files.
pub(crate) fn each_file<'a, T: Send, R: Send>(
    files: impl IntoIterator<Item = (&'a PathBuf, T)>,
    work: impl Fn(Result<ImageFile>, T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let [of_a_thread, in_all] = OPEN;
    let at_a_time = in_all.min(of_a_thread * rayon::current_num_threads());
    let mut results = Vec::new();
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        let some: Vec<_> = files.by_ref().take(at_a_time).collect();
        let opened: Vec<_> = some.into_par_iter().map(|(path, with)| (ImageFile::open(path), with)).collect();
        let bytes: Vec<usize> = opened.iter().map(|(file, _)| file.as_ref().map_or(0, ImageFile::bytes)).collect();
        let mut opened = opened.into_iter();
        for run in memory::runs(&bytes, memory::for_images()) {
            let run: Vec<_> = opened.by_ref().take(run.len()).collect();
            results.par_extend(run.into_par_iter().map(|(file, with)| work(file, with)));
        }
    }
    results
}

/// Reads a PNG, JPEG, BMP, TIFF, WebP or PNM file at its own size as one image of 1 or 3 channels.
///
/// The orientation that a camera recorded (EXIF) is applied; 16-bit samples are reduced to 8; transparency is dropped.
pub(crate) fn read_image(path: &Path, channels: usize) -> Result<Images> {
    Ok(ImageFile::open(path)?.read()?.0.with_channels(channels))
}

/// Reads a ground-truth mask at its own size: anomalous where the image's brightness is [`MASK_THRESHOLD`] or more. What is transparent
/// is not marked.
pub(crate) fn read_mask(file: ImageFile) -> Result<Mask> {
    let file = file.over_black();
    let (height, width) = file.size();
    let is_colour = file.channels() == 3;
    let mut pixels = Vec::new();
    let marked = |value: u8| u8::from(value >= MASK_THRESHOLD);
    file.rows(|row| {
        if is_colour {
            pixels.extend(row.as_chunks().0.iter().map(|&colour| marked(luma(colour))));
        } else {
            pixels.extend(row.iter().map(|&value| marked(value)));
        }
    })?;
    Ok(Mask { height, width, pixels })
}

/// An image turned as its orientation says.
fn upright(image: Images, orientation: Orientation) -> Images {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let Images { height, width, channels, pixels, .. } = image;
    let (columns, rows) = (width as u32, height as u32);
    let turned = match channels {
        1 => GrayImage::from_raw(columns, rows, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(columns, rows, pixels).map(DynamicImage::from),
    };
    let Some(mut turned) = turned else { unreachable!("an image has as many bytes as its shape says") };
    turned.apply_orientation(orientation);
    turned.into()
}

/// Adds pixels of 1 to 4 samples, of which an even number has transparency, as grey or colours of bytes.
fn push_bytes<T: Copy>(out: &mut Vec<u8>, samples: &[T], per_pixel: usize, alpha: Alpha, byte: impl Fn(T) -> u8) {
    if alpha == Alpha::Dropped || !per_pixel.is_multiple_of(2) {
        out.extend(colours(samples, per_pixel).map(|&sample| byte(sample)));
    } else {
        let over_black = |value: u8, opacity: u8| ((u32::from(value) * u32::from(opacity) + 127) / 255) as u8;
        out.extend(samples.chunks_exact(per_pixel).flat_map(|pixel| {
            let opacity = byte(pixel[per_pixel - 1]);
            let byte = &byte;
            pixel[..per_pixel - 1].iter().map(move |&sample| over_black(byte(sample), opacity))
        }));
    }
}

/// The samples of pixels of 1 to 4 of them, without those of transparency.
fn colours<T>(samples: &[T], per_pixel: usize) -> impl Iterator<Item = &T> {
    let shown = per_pixel - usize::from(per_pixel.is_multiple_of(2));
    samples.chunks_exact(per_pixel).flat_map(move |pixel| &pixel[..shown])
}

#[cfg(test)]
mod tests;
