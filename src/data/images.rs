//! Images as bytes: reading any format, grey and RGB, resizing, masks.

use std::fs;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};
use rayon::prelude::*;

use crate::data::resize::bilinear;
use crate::error::{Error, Result};
use crate::memory::{self, room_for};

/// Mask values from here on mean "anomalous": real masks have soft edges.
pub const MASK_THRESHOLD: u8 = 128;

/// Of an image with more bytes than this it is checked whether they fit into memory, twice: decoded and converted.
const LARGE: usize = 1 << 26;

/// Images of one size: `count × height × width × channels` bytes, channels innermost (NHWC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of each image.
    pub height: usize,
    /// Columns of each image.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `count * height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

/// Which pixels of one image are anomalous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` values, 1 where anomalous, else 0.
    pub pixels: Vec<u8>,
}

impl Images {
    /// No image yet, of a given shape; see [`Images::push`].
    pub fn empty(height: usize, width: usize, channels: usize) -> Images {
        Images { count: 0, height, width, channels, pixels: Vec::new() }
    }

    /// Fails where there is no memory for `count` images of `side × side × channels`.
    pub fn room_for(count: usize, side: usize, channels: usize) -> Result<()> {
        let bytes = count.saturating_mul(side * side * channels);
        room_for(
            &format!("a set of {count} images of {side}×{side} pixels"),
            bytes,
            "choose a smaller `side` or, for image files, `hold` never",
        )
    }

    /// Bytes per image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The `i`-th image: `height * width * channels` bytes.
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.image_len();
        &self.pixels[i * n..(i + 1) * n]
    }

    /// The images of a range, one after the other.
    pub fn range(&self, range: Range<usize>) -> &[u8] {
        let n = self.image_len();
        &self.pixels[range.start * n..range.end * n]
    }

    /// Appends the images of `other`, which has the same shape.
    pub fn push(&mut self, other: &Images) {
        assert_eq!((self.height, self.width, self.channels), (other.height, other.width, other.channels));
        self.pixels.extend_from_slice(&other.pixels);
        self.count += other.count;
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Images {
        let pixels = indices.iter().flat_map(|&i| self.image(i)).copied().collect();
        Images { count: indices.len(), pixels, ..Images::empty(self.height, self.width, self.channels) }
    }

    /// As grey (1 channel; Pillow's `L`) or RGB (3 channels; grey repeated) images.
    pub fn with_channels(self, channels: usize) -> Images {
        let pixels = match (self.channels, channels) {
            (from, to) if from == to => return self,
            (3, 1) => self.pixels.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect(),
            (1, 3) => self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            (from, to) => unreachable!("images have 1 or 3 channels, not {from} or {to}"),
        };
        Images { channels, pixels, ..self }
    }

    /// Resized to `side × side` as Pillow's bilinear filter does: antialiased when shrinking, other shapes squashed.
    pub fn resized(&self, side: usize) -> Images {
        if (self.height, self.width) == (side, side) {
            return self.clone();
        }
        let n = side * side * self.channels;
        let mut pixels = vec![0; self.count * n];
        pixels
            .par_chunks_mut(n.max(1))
            .enumerate()
            .for_each(|(i, out)| bilinear(self.image(i), self.height, self.width, self.channels, side, side, out));
        Images { count: self.count, pixels, ..Images::empty(side, side, self.channels) }
    }
}

impl Mask {
    /// Whether any pixel is anomalous.
    pub fn any(&self) -> bool {
        self.pixels.contains(&1)
    }
}

/// Brightness of a colour: ITU-R 601 in 16-bit fixed point, bit for bit Pillow's conversion to `L`.
pub fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// Reads a PNG, JPEG, BMP, TIFF, WebP or PNM file at its own size as one image of 1 or 3 channels.
///
/// The orientation that a camera recorded (EXIF) is applied; 16-bit samples are reduced to 8; transparency is dropped.
pub fn read_image(path: &Path, channels: usize) -> Result<Images> {
    Ok(read_own_channels(path)?.with_channels(channels))
}

/// The same in the image's own channels: 1 where it is grey, else 3.
pub fn read_own_channels(path: &Path) -> Result<Images> {
    decode(path).map(Images::from)
}

/// One image, grey or RGB as it is. 16-bit samples are reduced to 8; transparency is dropped.
impl From<DynamicImage> for Images {
    fn from(image: DynamicImage) -> Images {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (channels, pixels) = if image.color().has_color() {
            (3, image.into_rgb8().into_raw())
        } else {
            (1, image.into_luma8().into_raw())
        };
        Images { count: 1, height, width, channels, pixels }
    }
}

/// Bytes of an image's pixels, from the head of its file; None where that cannot be read.
pub fn image_bytes(path: &Path) -> Option<usize> {
    // Opening a pipe may never end.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let (width, height) = ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok()?;
    Some(3 * width as usize * height as usize)
}

/// (height, width) of an image as [`read_image`] reads it, from the head of its file.
pub fn image_size(path: &Path) -> Result<(usize, usize)> {
    let mut decoder = open(path)?;
    let orientation = decoder.orientation().map_err(|e| unreadable(path, &e.to_string()))?;
    let (width, height) = decoder.dimensions();
    let (height, width) = match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            (width, height)
        }
        _ => (height, width),
    };
    Ok((height as usize, width as usize))
}

/// Reads a ground-truth mask at its own size: anomalous where the image's brightness is [`MASK_THRESHOLD`] or more.
pub fn read_mask(path: &Path) -> Result<Mask> {
    let Images { height, width, mut pixels, .. } = read_image(path, 1)?;
    for value in &mut pixels {
        *value = u8::from(*value >= MASK_THRESHOLD);
    }
    Ok(Mask { height, width, pixels })
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let broken = |e: image::ImageError| unreadable(path, &e.to_string());
    let mut decoder = open(path)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The decoder of an image's format, its head read.
fn open(path: &Path) -> Result<impl ImageDecoder + use<>> {
    // Reading from a pipe or a device may never end.
    if !fs::metadata(path).map_err(Error::io("read", path))?.is_file() {
        return Err(Error::file(path, "not a regular file", "name an image file, or move this one away"));
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    // The decoder fills what is missing with grey; an image to be scored must be whole.
    if bytes.starts_with(&[0xFF, 0xD8]) && !jpeg_is_whole(&bytes) {
        return Err(unreadable(path, "the JPEG data is cut short"));
    }
    if bytes.is_empty() {
        return Err(unreadable(path, "the file is empty"));
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Error::io("read", path))?;
    let decoder = reader.into_decoder().map_err(|e| unreadable(path, &e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(unreadable(path, "it has no pixels"));
    }
    // What a damaged head claims is not asked of the allocator, which would end the program.
    let bytes = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let (what, twice) = ("an image", bytes.saturating_mul(2));
    if bytes > LARGE && room_for(what, twice, "").and(memory::fits(what, twice, "")).is_err() {
        return Err(unreadable(path, &format!("its {width} × {height} pixels do not fit into memory")));
    }
    Ok(decoder)
}

fn unreadable(path: &Path, why: &str) -> Error {
    let remedy = "give a whole PNG, JPEG, BMP, TIFF, WebP or PNM file, or remove this one";
    Error::file(path, format!("not a readable image ({})", one_line(why)), remedy)
}

/// Whether the segments and scans of a JPEG file lead to its end marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start marker
    loop {
        // To the next marker: in a scan, 0xFF followed by 0 is data, by 0xD0…0xD7 a restart, by 0xFF padding.
        let marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0x01 | 0xD0..=0xD7 | 0xFF);
        let Some(skipped) = bytes[at..].windows(2).position(marker) else { return false };
        at += skipped + 2;
        if bytes[at - 1] == 0xD9 {
            return true;
        }
        let Some(length) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
        if at > bytes.len() {
            return false;
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};

    fn one(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Images {
        Images { count: 1, height, width, channels, pixels }
    }

    #[test]
    fn grey_is_pillows() {
        // Values of PIL.Image.convert("L").
        assert_eq!(luma([255, 0, 0]), 76);
        assert_eq!(luma([0, 255, 0]), 150);
        assert_eq!(luma([0, 0, 255]), 29);
        assert_eq!(luma([10, 200, 30]), 124);
        for v in 0..=255 {
            assert_eq!(luma([v; 3]), v);
        }
    }

    #[test]
    fn images_are_squashed_to_squares() {
        // Triangles of support 2 over the rows, 3 : 3 : 1 at the border; columns stay.
        let image = one(4, 2, 1, vec![0, 70, 0, 70, 70, 0, 70, 0]);
        assert_eq!(image.resized(2), one(2, 2, 1, vec![10, 60, 60, 10]));
    }

    #[test]
    fn reads_grey_colour_deep_and_transparent_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        GrayImage::from_raw(3, 1, vec![0, 127, 255]).unwrap().save(path("grey.png")).unwrap();
        assert_eq!(read_image(&path("grey.png"), 1).unwrap(), one(1, 3, 1, vec![0, 127, 255]));
        assert_eq!(read_image(&path("grey.png"), 3).unwrap().pixels[3..6], [127; 3]);
        assert_eq!(read_mask(&path("grey.png")).unwrap().pixels, [0, 0, 1]);
        RgbImage::from_pixel(1, 2, Rgb([255, 0, 0])).save(path("red.bmp")).unwrap();
        assert_eq!(read_image(&path("red.bmp"), 1).unwrap(), one(2, 1, 1, vec![76, 76]));
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(2, 1, vec![65_535, 257 * 40]).unwrap();
        deep.save(path("deep.png")).unwrap();
        assert_eq!(read_image(&path("deep.png"), 1).unwrap().pixels, [255, 40]);
        image::RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0])).save(path("clear.png")).unwrap();
        assert_eq!(read_image(&path("clear.png"), 3).unwrap().pixels, [9, 8, 7]);
    }

    /// A JPEG whose EXIF block says "rotate by 90° clockwise" is turned.
    #[test]
    fn honours_the_recorded_orientation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turned.jpg");
        let mut jpeg = Vec::new();
        let wide = RgbImage::from_fn(16, 8, |x, _| if x < 8 { Rgb([255; 3]) } else { Rgb([0; 3]) });
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100).encode_image(&wide).unwrap();
        // APP1: "Exif", big-endian TIFF, one entry: tag 0x0112 (orientation), type SHORT, count 1, value 6.
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, exif.len() as u8 + 2];
        bytes.append(&mut exif);
        bytes.extend_from_slice(&jpeg[2..]);
        std::fs::write(&path, bytes).unwrap();
        let read = read_image(&path, 1).unwrap();
        assert_eq!((read.height, read.width), (16, 8));
        assert_eq!(image_size(&path).unwrap(), (16, 8));
        assert!(read.pixels[0] > 250 && read.pixels[16 * 8 - 1] < 5, "the white half is on top");
    }

    /// Printers' colours become red, green and blue.
    #[test]
    fn reads_cmyk() {
        use base64::Engine;
        // PIL.Image.new("CMYK", (8, 8), (255, 0, 0, 0)), its left half (0, 0, 0, 128), saved with quality 90.
        const JPEG: &str = "\
            /9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUV\
            FQwPFxgWFBgSFBUU/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAkBCP/EABsQAAEEAwAAAAAAAAAA\
            AAAAAAAICUbER4SF/9oADgRDAE0AWQBLAAA/AI+dhPt0BUxUzVCF5to2D//Z";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("print.jpg");
        std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(JPEG).unwrap()).unwrap();
        let read = read_image(&path, 3).unwrap();
        assert_eq!((read.height, read.width), (8, 8));
        // As Pillow's conversion has it, but for rounding.
        let near = |at: usize, colour: [u8; 3]| {
            let found = &read.pixels[3 * at..][..3];
            assert!(found.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?} is not {colour:?}");
        };
        near(9, [127; 3]);
        near(14, [0, 255, 255]);
    }

    #[test]
    fn what_is_no_image_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.png");
        let says = |bytes: &[u8], words: &str| {
            std::fs::write(&path, bytes).unwrap();
            let message = read_image(&path, 1).unwrap_err().to_string();
            assert!(message.contains("bad.png") && message.contains(words) && !message.contains('\n'), "{message}");
        };
        says(b"hello, I am a text file", "not a readable image");
        says(b"", "the file is empty");
        says(b"P6\n0 64\n255\n", "it has no pixels");
        says(b"P6\n64 0\n255\n", "it has no pixels");
        says(b"P6\n4000000 4000000\n255\n", "do not fit into memory");
        GrayImage::new(50, 50).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        says(&whole[..whole.len() / 2], "not a readable image");
        let photo = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
        for format in [ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm] {
            let mut bytes = std::io::Cursor::new(Vec::new());
            photo.write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read_image(&path, 3).unwrap().height, 64, "{format:?}");
            says(&bytes[..bytes.len() * 3 / 4], "not a readable image");
        }
        assert!(read_image(&dir.path().join("absent.png"), 1).unwrap_err().to_string().contains("absent.png"));
        assert!(read_image(dir.path(), 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), head in 0..5usize) {
            let heads: [&[u8]; 5] = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"P5 3 3 255\n", b"BM", b"\xFF\xD8\xFF\xE0"];
            bytes.splice(0..0, heads[head].iter().copied());
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            let _ = read_image(&path, 3);
        }
    }
}
