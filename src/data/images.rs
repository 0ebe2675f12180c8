//! Images as bytes: reading any format, grey and RGB, resizing, masks.

use std::ops::Range;

use image::DynamicImage;
use rayon::prelude::*;

use crate::data::resize::{Axis, Bilinear};
use crate::error::Result;
use crate::memory::room_for;

/// Mask values from here on mean "anomalous": real masks have soft edges.
pub const MASK_THRESHOLD: u8 = 128;

/// In the ground truth of an anomalous image, where it is not known which of its pixels are anomalous; as bytes.
pub(crate) const UNMARKED: u8 = 2;

/// In a ground truth, where there is no image but padding; as bytes.
pub(crate) const OUTSIDE: u8 = 3;

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

/// An image as it was before it was resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Significant bits of its samples, where they have 16.
    pub bits: Option<u8>,
}

impl Original {
    /// (height, width).
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

impl Images {
    /// A row of the first image, in RGB.
    pub(crate) fn rgb_row(&self, y: usize) -> Vec<u8> {
        let len = self.width * self.channels;
        let row = &self.pixels[y * len..][..len];
        match self.channels {
            3 => row.to_vec(),
            _ => row.iter().flat_map(|&grey| [grey; 3]).collect(),
        }
    }

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

    /// All of it, and none is left.
    pub(crate) fn take(&mut self) -> Images {
        let none = Images::empty(self.height, self.width, self.channels);
        std::mem::replace(self, none)
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
    pub fn resized(self, side: usize) -> Images {
        let Images { count, height, width, channels, .. } = self;
        if (height, width) == (side, side) {
            return self;
        }
        let resized = |i| {
            let mut resized = Bilinear::new(channels, Axis::whole(height, side), Axis::whole(width, side));
            resized.push(self.image(i));
            resized.finish()
        };
        let pixels = (0..count).into_par_iter().flat_map_iter(resized).collect();
        Images { count, pixels, ..Images::empty(side, side, channels) }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
