//! How an image of any shape becomes a raw image: a square of some side.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::images::{Images, Mask, read_own_channels};
use crate::data::resize::{bilinear, floor_nearest, nearest};
use crate::error::Result;

/// How an image is resized to a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// All of it, squashed by Pillow's antialiased bilinear filter.
    #[default]
    Squash,
    /// All of it, squashed by nearest neighbour as Pillow samples it.
    Nearest,
    /// All of it, squashed by nearest neighbour as torch's `interpolate` samples it.
    FloorNearest,
    /// The short side is resized by Pillow's antialiased bilinear filter, its aspect kept, and the centre square taken: what lies
    /// at the two ends of the long side is cut off.
    ShortSide,
}

/// A part of an image, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Region {
    /// All of an image of (height, width).
    pub fn whole((height, width): (usize, usize)) -> Region {
        Region { top: 0, left: 0, height, width }
    }

    /// What a crop to the centre `to` of each `from` pixels, half of the rest rounded down, leaves of it.
    pub fn centre(self, from: usize, to: usize) -> Region {
        let before = (from - to) / 2;
        // Of the pixel at which a share of a length ends.
        let cut = |length: usize, share: usize| (length * share + from / 2) / from;
        let along = |length| (cut(length, before), cut(length, before + to));
        let ((top, bottom), (left, right)) = (along(self.height), along(self.width));
        Region { top: self.top + top, left: self.left + left, height: bottom - top, width: right - left }
    }
}

/// The raw images that images of any shape are turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawForm {
    /// Rows and columns.
    pub side: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    pub resize: ResizeMode,
}

impl RawForm {
    /// Bytes per image.
    pub fn image_len(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// Reads a file as one such image; also the image's own (height, width).
    pub fn read(&self, path: &Path) -> Result<(Images, (usize, usize))> {
        let image = read_own_channels(path)?;
        Ok((self.of(&image), (image.height, image.width)))
    }

    /// A image as one such image.
    pub fn of(&self, image: &Images) -> Images {
        if image.channels > self.channels {
            return self.resize.apply(&image.clone().with_channels(self.channels), self.side);
        }
        // Grey becomes RGB once it is small: each channel is resized by itself.
        self.resize.apply(image, self.side).with_channels(self.channels)
    }
}

impl ResizeMode {
    /// One image of any shape as `side × side` pixels.
    pub fn apply(self, image: &Images, side: usize) -> Images {
        let Images { height, width, channels, pixels, .. } = image;
        if let Some((rows, columns)) = self.samples((*height, *width), side) {
            let row =
                |&y: &usize| columns.iter().flat_map(move |&x| &pixels[(y * width + x) * channels..][..*channels]);
            let sampled = rows.iter().flat_map(row).copied().collect();
            return Images { count: 1, pixels: sampled, ..Images::empty(side, side, *channels) };
        }
        if self == ResizeMode::Squash {
            return image.resized(side);
        }
        let (tall, wide) = short_side((*height, *width), side);
        let mut resized = vec![0; tall * wide * channels];
        bilinear(pixels, *height, *width, *channels, tall, wide, &mut resized);
        let (top, left) = (centred(tall, side), centred(wide, side));
        let rows = resized.chunks_exact(wide * channels).skip(top).take(side);
        let centre = rows.flat_map(|row| &row[left * channels..(left + side) * channels]).copied().collect();
        Images { count: 1, pixels: centre, ..Images::empty(side, side, *channels) }
    }

    /// The part of an image of (height, width) that its raw image shows.
    pub fn region(self, (height, width): (usize, usize)) -> Region {
        if self != ResizeMode::ShortSide {
            return Region::whole((height, width));
        }
        let side = height.min(width);
        Region { top: centred(height, side), left: centred(width, side), height: side, width: side }
    }

    /// The mask of an image as that of its raw image, by nearest neighbour.
    pub fn mask(self, mask: &Mask, side: usize) -> Mask {
        let size = (mask.height, mask.width);
        let (rows, columns) = self.samples(size, side).unwrap_or_else(|| {
            let (tall, wide) = if self == ResizeMode::ShortSide { short_side(size, side) } else { (side, side) };
            let along = |from, to| (0..side).map(|i| nearest(centred(to, side) + i, from, to)).collect();
            (along(mask.height, tall), along(mask.width, wide))
        });
        let pixels = rows.iter().flat_map(|&y| columns.iter().map(move |&x| mask.pixels[y * mask.width + x]));
        Mask { height: side, width: side, pixels: pixels.collect() }
    }

    /// The rows and columns that a rule of nearest neighbour takes.
    fn samples(self, (height, width): (usize, usize), side: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        let rule = match self {
            ResizeMode::Nearest => nearest,
            ResizeMode::FloorNearest => floor_nearest,
            ResizeMode::Squash | ResizeMode::ShortSide => return None,
        };
        let along = |from| (0..side).map(|i| rule(i, from, side)).collect();
        Some((along(height), along(width)))
    }
}

/// The size of an image whose short side has become `side`, as torchvision's `Resize(side)`: the long side is rounded down.
fn short_side((height, width): (usize, usize), side: usize) -> (usize, usize) {
    if height <= width { (side, side * width / height) } else { (side * height / width, side) }
}

/// Where the centre `side` of a length begins, as torchvision's `CenterCrop`: halves are rounded to even.
fn centred(length: usize, side: usize) -> usize {
    let twice = length - side;
    let half = twice / 2;
    half + usize::from(twice % 2 == 1 && half % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize) -> Images {
        let pixels = (0..height * width).map(|i| ((i / width) * 37 + (i % width) * 91) as u8).collect();
        Images { count: 1, pixels, ..Images::empty(height, width, 1) }
    }

    /// PIL and torchvision on this image: sums over `Resize(5)` and `CenterCrop(5)`, and their first row.
    #[test]
    fn the_short_side_is_torchvisions() {
        for (height, width, row, sum) in SHORT_SIDE {
            let fitted = ResizeMode::ShortSide.apply(&image(height, width), 5);
            assert_eq!((fitted.height, fitted.width, &fitted.pixels[..5]), (5, 5, &row[..]), "{height}×{width}");
            assert_eq!(fitted.pixels.iter().map(|&v| u32::from(v)).sum::<u32>(), sum, "{height}×{width}");
        }
        assert_eq!([11, 13, 14].map(|length| centred(length, 8)), [2, 2, 3], "1.5 and 2.5 become 2");
    }

    const SHORT_SIDE: [(usize, usize, [u8; 5], u32); 3] = [
        (9, 14, [114, 136, 129, 148, 129], 3148),
        (14, 9, [129, 94, 131, 120, 131], 3016),
        (3, 7, [157, 122, 17, 75, 133], 2775),
    ];

    #[test]
    fn nearest_neighbours_are_picked() {
        let wide = image(1, 4);
        assert_eq!(ResizeMode::Nearest.apply(&wide, 2).pixels, [91, 17, 91, 17]);
        assert_eq!(ResizeMode::FloorNearest.apply(&wide, 2).pixels, [0, 182, 0, 182]);
    }

    #[test]
    fn masks_follow_their_images() {
        let pixels = vec![1, 0, 0, 1, 0, 0, 1, 0];
        let mask = Mask { height: 2, width: 4, pixels };
        assert_eq!(ResizeMode::Squash.mask(&mask, 2).pixels, [0, 1, 0, 0]);
        assert_eq!(ResizeMode::FloorNearest.mask(&mask, 2).pixels, [1, 0, 0, 1]);
        assert_eq!(ResizeMode::ShortSide.mask(&mask, 2).pixels, [0, 0, 0, 1]);
        // A side that is not the image's: the centre of four times the size.
        let large = ResizeMode::ShortSide.mask(&mask, 4);
        assert_eq!(large.pixels, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]);
    }
}
