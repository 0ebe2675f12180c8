//! Images in a caller's memory.

use std::borrow::Cow;

use image::DynamicImage;

use crate::data::images::Original;
use crate::data::levels::{BitLengths, Levels};
use crate::error::{Error, Result};

/// Bytes of rows that are handed out at a time: enough for all cores to resize, little beside a large image.
const STRIP: usize = 4 << 20;

/// An image in memory that is not copied: grey or RGB, 8 or 16 bits a sample, rows from the top, channels innermost. Its samples are a
/// slice, or a `Vec`, which it then owns. (Of a [`DynamicImage`] with transparency or floating-point samples it owns a converted copy.)
///
/// **The height comes before the width** throughout, as in NumPy; the crate `image` has them the other way round. An image with both swapped
/// has as many samples and is not refused.
#[derive(Clone, Debug)]
pub struct ImageView<'a> {
    height: usize,
    width: usize,
    /// 1 or 3.
    channels: usize,
    /// Samples from the beginning of a row to that of the next.
    stride: usize,
    samples: Samples<'a>,
}

#[derive(Clone, Debug)]
enum Samples<'a> {
    U8(Cow<'a, [u8]>),
    U16(Cow<'a, [u16]>),
}

impl<'a> ImageView<'a> {
    /// Grey values of 8 bits, `height * width` of them: `height` rows of `width` columns, **height first**.
    ///
    /// # Errors
    /// Where there is no pixel, or `samples` are fewer.
    pub fn grey8(samples: impl Into<Cow<'a, [u8]>>, height: usize, width: usize) -> Result<ImageView<'a>> {
        ImageView { height, width, channels: 1, stride: width, samples: Samples::U8(samples.into()) }.checked()
    }

    /// Red, green and blue of 8 bits, `height * width * 3` values: **height first**, as of [`ImageView::grey8`].
    ///
    /// # Errors
    /// Where there is no pixel, or `samples` are fewer.
    pub fn rgb8(samples: impl Into<Cow<'a, [u8]>>, height: usize, width: usize) -> Result<ImageView<'a>> {
        let stride = width.saturating_mul(3);
        ImageView { height, width, channels: 3, stride, samples: Samples::U8(samples.into()) }.checked()
    }

    /// Grey values of 16 bits, which become 8 by the levels of the model: **height first**, as of [`ImageView::grey8`].
    ///
    /// # Errors
    /// Where there is no pixel, or `samples` are fewer.
    pub fn grey16(samples: impl Into<Cow<'a, [u16]>>, height: usize, width: usize) -> Result<ImageView<'a>> {
        ImageView { height, width, channels: 1, stride: width, samples: Samples::U16(samples.into()) }.checked()
    }

    /// Red, green and blue of 16 bits, rounded to 8 as the crate `image` does: **height first**, as of [`ImageView::grey8`].
    ///
    /// # Errors
    /// Where there is no pixel, or `samples` are fewer.
    pub fn rgb16(samples: impl Into<Cow<'a, [u16]>>, height: usize, width: usize) -> Result<ImageView<'a>> {
        let stride = width.saturating_mul(3);
        ImageView { height, width, channels: 3, stride, samples: Samples::U16(samples.into()) }.checked()
    }

    /// The same of rows that begin `stride` samples apart: what lies between them is left out.
    ///
    /// # Errors
    /// Where rows would overlap or go beyond the samples.
    pub fn with_stride(self, stride: usize) -> Result<ImageView<'a>> {
        ImageView { stride, ..self }.checked()
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of its samples.
    pub(crate) fn bytes(&self) -> usize {
        match &self.samples {
            Samples::U8(samples) => samples.len(),
            Samples::U16(samples) => size_of_val(&**samples),
        }
    }

    /// The same, if there is an image and all of it.
    pub(crate) fn checked(self) -> Result<ImageView<'a>> {
        let ImageView { height, width, channels, stride, ref samples } = self;
        let there = match samples {
            Samples::U8(samples) => samples.len(),
            Samples::U16(samples) => samples.len(),
        };
        let row = width.saturating_mul(channels);
        let needed = stride.saturating_mul(height.saturating_sub(1)).saturating_add(row);
        let problem = if height == 0 || width == 0 {
            format!("an image of {height}×{width} pixels (height × width), where at least one is needed")
        } else if stride < row {
            format!("a stride of {stride} samples, fewer than the {row} of a row")
        } else if there < needed {
            let kind = if channels == 1 { "a grey" } else { "an RGB" };
            format!(
                "{there} samples for {kind} image of {height}×{width} pixels (height × width), which takes {needed}"
            )
        } else {
            return Ok(self);
        };
        Err(Error::setting(problem, "give all samples of an image, row by row"))
    }

    /// 1 or 3.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Hands out its rows as 8 bits, from the top, some at a time: copied only where they are not together or not such bytes. Returns what
    /// it is.
    pub(crate) fn rows(&self, levels: Levels, mut take: impl FnMut(&[u8])) -> Original {
        let row = self.width * self.channels;
        let (mut strip, mut lengths) = (Vec::new(), BitLengths::default());
        let at_a_time = (STRIP / row.max(1)).max(1);
        for first in (0..self.height).step_by(at_a_time) {
            let end = self.height.min(first + at_a_time);
            if let Samples::U8(samples) = &self.samples
                && self.stride == row
                && levels.keeps_bytes()
            {
                take(&samples[first * row..end * row]);
                continue;
            }
            let rows = (first..end).map(|i| i * self.stride..i * self.stride + row);
            strip.clear();
            strip.reserve_exact(rows.len() * row);
            match &self.samples {
                Samples::U8(samples) => {
                    rows.for_each(|row| strip.extend(samples[row].iter().map(|&v| levels.byte_of_byte(v))));
                }
                Samples::U16(samples) => rows.for_each(|row| {
                    lengths.add(samples[row.clone()].iter());
                    strip.extend(samples[row].iter().map(|&v| levels.byte(v)));
                }),
            }
            take(&strip);
        }
        let is_deep = matches!(self.samples, Samples::U16(_));
        let bits = is_deep.then(|| lengths.significant());
        Original { height: self.height, width: self.width, bits }
    }

    /// Bytes of the copy that the view of an image owns, where it is one.
    pub(crate) fn copied_bytes(image: &DynamicImage) -> usize {
        match image {
            DynamicImage::ImageLuma8(_)
            | DynamicImage::ImageRgb8(_)
            | DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageRgb16(_) => 0,
            other => {
                let channels = if other.color().has_color() { 3 } else { 1 };
                let sample = if is_deep(other) { 2 } else { 1 };
                let pixels = (other.height() as usize).saturating_mul(other.width() as usize);
                pixels.saturating_mul(channels * sample)
            }
        }
    }
}

/// Whether its samples are integers of 16 bits.
fn is_deep(image: &DynamicImage) -> bool {
    image.color().bytes_per_pixel() == 2 * image.color().channel_count()
}

/// Grey and RGB of 8 and 16 bits are not copied. Of what else there is a copy is made: transparency is dropped, floating-point samples become 8
/// bits.
impl<'a> From<&'a DynamicImage> for ImageView<'a> {
    fn from(image: &'a DynamicImage) -> ImageView<'a> {
        let (height, width) = (image.height() as usize, image.width() as usize);
        let (channels, samples) = match image {
            DynamicImage::ImageLuma8(image) => (1, Samples::U8(image.as_raw().into())),
            DynamicImage::ImageRgb8(image) => (3, Samples::U8(image.as_raw().into())),
            DynamicImage::ImageLuma16(image) => (1, Samples::U16(image.as_raw().into())),
            DynamicImage::ImageRgb16(image) => (3, Samples::U16(image.as_raw().into())),
            other if is_deep(other) && other.color().has_color() => {
                (3, Samples::U16(other.to_rgb16().into_raw().into()))
            }
            other if is_deep(other) => (1, Samples::U16(other.to_luma16().into_raw().into())),
            other if other.color().has_color() => (3, Samples::U8(other.to_rgb8().into_raw().into())),
            other => (1, Samples::U8(other.to_luma8().into_raw().into())),
        };
        ImageView { height, width, channels, stride: width * channels, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its pixels as 8 bits.
    fn pixels(view: &ImageView) -> Vec<u8> {
        let mut pixels = Vec::new();
        view.rows(Levels::default(), |rows| pixels.extend_from_slice(rows));
        pixels
    }

    #[test]
    fn sixteen_bits_become_eight_as_in_the_crate_image() {
        let samples: Vec<u16> = (0..=u16::MAX).collect();
        let grey = DynamicImage::ImageLuma16(image::ImageBuffer::from_raw(256, 256, samples.clone()).unwrap());
        assert_eq!(pixels(&ImageView::from(&grey)), grey.to_luma8().into_raw());
        assert_eq!(pixels(&ImageView::grey16(&samples, 256, 256).unwrap()), grey.to_luma8().into_raw());
        let rgb = DynamicImage::ImageRgb16(image::ImageBuffer::from_raw(128, 128, samples[..49152].to_vec()).unwrap());
        assert_eq!(pixels(&ImageView::from(&rgb)), rgb.to_rgb8().into_raw());
    }

    #[test]
    fn rows_may_lie_apart() {
        let samples = [1, 2, 3, 0, 4, 5, 6];
        let image = ImageView::grey8(&samples, 2, 3).unwrap().with_stride(4).unwrap();
        assert_eq!((image.height(), image.width(), pixels(&image)), (2, 3, vec![1, 2, 3, 4, 5, 6]));
        let image = ImageView::rgb8(&samples, 2, 1).unwrap().with_stride(4).unwrap();
        assert_eq!(pixels(&image), [1, 2, 3, 4, 5, 6]);
    }

    /// An image of many strips, the last of which is not full, and rows of more bytes than a strip.
    #[test]
    fn strips_are_put_together() {
        for (height, width) in [(1701, 5000), (3, STRIP + 1)] {
            let samples: Vec<u8> = (0..height * (width + 1)).map(|i| (i % 251) as u8).collect();
            let expected: Vec<u8> = samples.chunks(width + 1).flat_map(|row| &row[..width]).copied().collect();
            let apart = ImageView::grey8(samples, height, width).unwrap().with_stride(width + 1).unwrap();
            for view in [apart, ImageView::grey8(expected.as_slice(), height, width).unwrap()] {
                assert!(pixels(&view) == expected, "{height}×{width}");
                let (mut strips, mut longest) = (0, 0);
                view.rows(Levels::default(), |rows| (strips, longest) = (strips + 1, longest.max(rows.len())));
                assert!(strips == 3 && longest <= STRIP.max(width), "{strips} of up to {longest} bytes");
            }
        }
    }

    #[test]
    fn copies_are_counted() {
        use image::ColorType::*;
        for (colour, copied) in
            [(L8, 0), (L16, 0), (Rgb8, 0), (Rgb16, 0), (La8, 6), (La16, 12), (Rgba8, 18), (Rgba16, 36), (Rgb32F, 18)]
        {
            let image = DynamicImage::new(2, 3, colour);
            assert_eq!(ImageView::copied_bytes(&image), copied, "{colour:?}");
            let is_owned =
                matches!(ImageView::from(&image).samples, Samples::U8(Cow::Owned(_)) | Samples::U16(Cow::Owned(_)));
            assert_eq!(is_owned, copied > 0, "{colour:?}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let says = |view: Result<ImageView>, words: &str| {
            let message = view.unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        says(ImageView::grey8(Vec::new(), 0, 3), "0×3 pixels");
        says(
            ImageView::rgb8(&[0; 17], 2, 3),
            "17 samples for an RGB image of 2×3 pixels (height × width), which takes 18",
        );
        says(
            ImageView::grey8(&[0; 9], 2, 3).unwrap().with_stride(2),
            "a stride of 2 samples, fewer than the 3 of a row",
        );
        says(ImageView::grey8(&[0; 9], 2, 3).unwrap().with_stride(7), "which takes 10");
        says(ImageView::grey16(&[0; 9], usize::MAX, 3), "9 samples");
    }
}
