//! How an image of any shape becomes a raw image: a square of some side, or a canvas that squares are cut from.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::data::decode::ImageFile;
use crate::data::image_view::ImageView;
use crate::data::images::{Images, Mask, Original};
use crate::data::levels::Levels;
use crate::data::resize::{Axis, Bilinear, floor_nearest, nearest};
use crate::data::tiles::TileGrid;
use crate::error::{Error, Result};
use crate::memory;

/// How an image is resized to a square. As text: `squash`, `nearest`, `floor-nearest`, `short-side`, `letterbox`, `tile:SIDE,OVERLAP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde_with::SerializeDisplay, serde_with::DeserializeFromStr)]
#[non_exhaustive]
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
    /// All of it, its aspect kept, so that the long side fits; what is missing along the short side is mirrored in from the border, and is
    /// no part of any loss, score or heatmap.
    Letterbox,
    /// Squares of the image, which together show all of it: each is resized to the net's side.
    Tile {
        /// Pixels of the image along a tile's side.
        side: usize,
        /// Pixels of the image that neighbours share, at least.
        overlap: usize,
    },
}

impl fmt::Display for ResizeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResizeMode::Squash => f.write_str("squash"),
            ResizeMode::Nearest => f.write_str("nearest"),
            ResizeMode::FloorNearest => f.write_str("floor-nearest"),
            ResizeMode::ShortSide => f.write_str("short-side"),
            ResizeMode::Letterbox => f.write_str("letterbox"),
            ResizeMode::Tile { side, overlap } => write!(f, "tile:{side},{overlap}"),
        }
    }
}

impl FromStr for ResizeMode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<ResizeMode, String> {
        let tile = || {
            let sizes = text.strip_prefix("tile:")?;
            let (side, overlap) = match sizes.split_once(',') {
                Some((side, overlap)) => (side.parse().ok()?, overlap.parse().ok()?),
                // Neighbours share a quarter.
                None => sizes.parse().ok().map(|side: usize| (side, side / 4))?,
            };
            ((1..=MAX_TILE).contains(&side) && overlap < side).then_some(ResizeMode::Tile { side, overlap })
        };
        match text {
            "squash" => Ok(ResizeMode::Squash),
            "nearest" => Ok(ResizeMode::Nearest),
            "floor-nearest" => Ok(ResizeMode::FloorNearest),
            "short-side" => Ok(ResizeMode::ShortSide),
            "letterbox" => Ok(ResizeMode::Letterbox),
            _ => tile().ok_or_else(|| {
                format!("'{text}' is no way to fit an image; write squash, letterbox, or tile:SIDE,OVERLAP in pixels, such as tile:448,112")
            }),
        }
    }
}

/// Largest side of a tile, in pixels of the image.
const MAX_TILE: usize = 1 << 14;

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
    /// How samples of 16 bits become bytes.
    pub levels: Levels,
}

impl RawForm {
    /// Bytes per image.
    pub fn image_len(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// The tiles of an image of (height, width), where it becomes a canvas.
    pub(crate) fn tiles(&self, size: (usize, usize)) -> Option<TileGrid> {
        self.resize.canvas(size, self.side).map(|canvas| self.tiles_of(canvas))
    }

    /// The tiles of a canvas of (height, width).
    pub(crate) fn tiles_of(&self, canvas: (usize, usize)) -> TileGrid {
        let overlap = match self.resize {
            ResizeMode::Tile { side, overlap } => (overlap * self.side).div_ceil(side),
            _ => 0,
        };
        TileGrid::new(canvas, self.side, overlap)
    }

    /// Bytes that the canvas of an image of (height, width) takes, where it becomes one.
    pub(crate) fn canvas_bytes(&self, size: (usize, usize)) -> usize {
        self.resize.canvas(size, self.side).map_or(0, |(h, w)| h.saturating_mul(w).saturating_mul(self.channels))
    }

    /// Fails where the canvas of an image of (height, width) does not fit into what images may take of memory.
    ///
    /// # Errors
    /// A canvas that is too large: of an image that tiles enlarge much.
    pub(crate) fn room(&self, size: (usize, usize)) -> Result<()> {
        // Where it is resized, sums of 32 bits come before bytes.
        let each = if self.resize.canvas(size, self.side) == Some(size) { 1 } else { 1 + size_of::<i32>() };
        let bytes = self.canvas_bytes(size).saturating_mul(each);
        if bytes <= memory::for_images() {
            return Ok(());
        }
        let (height, width) = size;
        let problem = format!(
            "an image of {width} × {height} pixels takes {} by `fit` {}, and images may take {} (`memory`)",
            memory::in_words(bytes),
            self.resize,
            memory::in_words(memory::for_images())
        );
        Err(Error::OutOfMemory { problem, remedy: "train with tiles of more pixels, or allow more".into() })
    }

    /// Reads a file as one such image, or as its canvas; also what it was.
    pub fn read(&self, path: &Path) -> Result<(Images, Original)> {
        self.read_open(ImageFile::open(path)?)
    }

    /// The same of a file whose head has been read.
    pub(crate) fn read_open(&self, file: ImageFile) -> Result<(Images, Original)> {
        let size = file.size();
        self.room(size)?;
        let mut resizing = Resizing::new(self, size, file.channels());
        let original = file.with_levels(self.levels).rows(|row| resizing.push(row))?;
        Ok((resizing.finish(), original))
    }

    /// An image in memory as one such image; also what it was.
    pub(crate) fn of_view(&self, view: &ImageView) -> (Images, Original) {
        let mut resizing = Resizing::new(self, (view.height(), view.width()), view.channels());
        let original = view.rows(self.levels, |rows| resizing.push(rows));
        (resizing.finish(), original)
    }

    /// An image as one such image.
    pub fn of(&self, image: &Images) -> Images {
        let mut resizing = Resizing::new(self, (image.height, image.width), image.channels);
        resizing.push(&image.pixels);
        resizing.finish()
    }
}

/// An image on its way to a raw image, as its rows come.
struct Resizing {
    form: RawForm,
    /// Pixels of a row as it comes.
    width: usize,
    /// Channels as they come. They are resized as they are: colours become grey afterwards, as the authors' do.
    channels: usize,
    /// (height, width) of what they become.
    to: (usize, usize),
    pixels: Pixels,
}

/// How the pixels of a raw image are made.
enum Pixels {
    /// As they are.
    Taken(Vec<u8>),
    Filtered(Bilinear),
    /// Pixels of these rows and columns are picked; so many rows have come.
    Picked {
        rows: Vec<usize>,
        columns: Vec<usize>,
        came: usize,
        picked: Vec<u8>,
    },
}

impl Resizing {
    fn new(form: &RawForm, size: (usize, usize), channels: usize) -> Resizing {
        let to = form.resize.canvas(size, form.side).unwrap_or((form.side, form.side));
        let pixels = match form.resize.samples(size, form.side) {
            Some((rows, columns)) => Pixels::Picked { rows, columns, came: 0, picked: Vec::new() },
            None if to == size => Pixels::Taken(Vec::with_capacity(size.0 * size.1 * channels)),
            None => {
                let [rows, columns] = form.resize.axes(size, to);
                Pixels::Filtered(Bilinear::new(channels, rows, columns))
            }
        };
        Resizing { form: *form, width: size.1, channels, to, pixels }
    }

    /// Takes the next rows.
    fn push(&mut self, image: &[u8]) {
        let channels = self.channels;
        match &mut self.pixels {
            Pixels::Taken(taken) => taken.extend_from_slice(image),
            Pixels::Filtered(bilinear) => bilinear.push(image),
            Pixels::Picked { rows, columns, came, picked } => {
                for row in image.chunks_exact(self.width * channels) {
                    for _ in rows.iter().filter(|&&y| y == *came) {
                        picked.extend(columns.iter().flat_map(|&x| &row[x * channels..][..channels]));
                    }
                    *came += 1;
                }
            }
        }
    }

    fn finish(self) -> Images {
        let (height, width) = self.to;
        let pixels = match self.pixels {
            Pixels::Taken(taken) => taken,
            Pixels::Filtered(bilinear) => bilinear.finish(),
            Pixels::Picked { picked, .. } => picked,
        };
        Images { count: 1, pixels, ..Images::empty(height, width, self.channels) }.with_channels(self.form.channels)
    }
}

impl ResizeMode {
    /// (height, width) of the canvas that an image becomes for squares of a side; None where it becomes such a square itself.
    pub(crate) fn canvas(self, (height, width): (usize, usize), side: usize) -> Option<(usize, usize)> {
        let scaled = |from: usize, to: usize| {
            let along = |pixels: usize| ((2 * pixels * to + from) / (2 * from)).max(1);
            (along(height), along(width))
        };
        match self {
            ResizeMode::Letterbox => Some(scaled(height.max(width), side)),
            ResizeMode::Tile { side: of_image, .. } => Some(scaled(of_image, side)),
            ResizeMode::Squash | ResizeMode::Nearest | ResizeMode::FloorNearest | ResizeMode::ShortSide => None,
        }
    }

    /// Whether images become canvases.
    pub(crate) fn makes_canvases(self) -> bool {
        self.canvas((1, 1), 1).is_some()
    }

    /// The part of an image of (height, width) that its raw image shows.
    pub(crate) fn region(self, (height, width): (usize, usize)) -> Region {
        if self != ResizeMode::ShortSide {
            return Region::whole((height, width));
        }
        let side = height.min(width);
        Region { top: centred(height, side), left: centred(width, side), height: side, width: side }
    }

    /// The mask of an image as that of its raw image or of its canvas, by nearest neighbour.
    pub(crate) fn mask(self, mask: &Mask, side: usize) -> Mask {
        let size = (mask.height, mask.width);
        if let Some((height, width)) = self.canvas(size, side) {
            let along = |from, to| (0..to).map(move |i| nearest(i, from, to));
            let row = |y: usize| along(mask.width, width).map(move |x| mask.pixels[y * mask.width + x]);
            return Mask { height, width, pixels: along(mask.height, height).flat_map(row).collect() };
        }
        let (rows, columns) = self.samples(size, side).unwrap_or_else(|| {
            let (tall, wide) = if self == ResizeMode::ShortSide { short_side(size, side) } else { (side, side) };
            let along = |from, to| (0..side).map(|i| nearest(centred(to, side) + i, from, to)).collect();
            (along(mask.height, tall), along(mask.width, wide))
        });
        let pixels = rows.iter().flat_map(|&y| columns.iter().map(move |&x| mask.pixels[y * mask.width + x]));
        Mask { height: side, width: side, pixels: pixels.collect() }
    }

    /// The same to learn from: marks that all lie between the pixels which nearest neighbour takes mark those that they touch. Empty where
    /// nothing marked is to be seen.
    pub(crate) fn marks(self, mask: &Mask, side: usize) -> Mask {
        let mut fitted = self.mask(mask, side);
        let size = (mask.height, mask.width);
        // Where pixels are picked, the image has no more of them than the mask.
        if fitted.any() || self.samples(size, side).is_some() {
            return fitted;
        }
        let Region { top, left, height, width } = self.region(size);
        let touched = |at: usize, from: usize, of: usize, to: usize| {
            (from..from + of).contains(&at).then(|| (at - from) * to / of)
        };
        for at in (0..mask.pixels.len()).filter(|&at| mask.pixels[at] == 1) {
            let row = touched(at / mask.width, top, height, fitted.height);
            let column = touched(at % mask.width, left, width, fitted.width);
            if let (Some(row), Some(column)) = (row, column) {
                fitted.pixels[row * fitted.width + column] = 1;
            }
        }
        fitted
    }

    /// The mask of an image to look at beside its square: where the net sees tiles, all of it squashed.
    pub(crate) fn square_mask(self, mask: &Mask, side: usize) -> Mask {
        if self.makes_canvases() { ResizeMode::Squash.mask(mask, side) } else { self.mask(mask, side) }
    }

    /// How the rows and the columns of an image of (height, width) are resized by the bilinear filter to another size.
    fn axes(self, (height, width): (usize, usize), to: (usize, usize)) -> [Axis; 2] {
        if self != ResizeMode::ShortSide {
            return [Axis::whole(height, to.0), Axis::whole(width, to.1)];
        }
        let side = to.0;
        let (tall, wide) = short_side((height, width), side);
        let centre = |from, to| Axis { from, to, kept: centred(to, side)..centred(to, side) + side };
        [centre(height, tall), centre(width, wide)]
    }

    /// The rows and columns that a rule of nearest neighbour takes.
    fn samples(self, (height, width): (usize, usize), side: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        let rule = match self {
            ResizeMode::Nearest => nearest,
            ResizeMode::FloorNearest => floor_nearest,
            ResizeMode::Squash | ResizeMode::ShortSide | ResizeMode::Letterbox | ResizeMode::Tile { .. } => {
                return None;
            }
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

    /// A grey image as a raw one.
    fn apply(resize: ResizeMode, image: &Images, side: usize) -> Images {
        RawForm { side, channels: 1, resize, levels: Levels::ALL }.of(image)
    }

    #[test]
    fn modes_are_written_as_they_are_read() {
        for text in ["squash", "nearest", "floor-nearest", "short-side", "letterbox", "tile:448,112"] {
            let mode: ResizeMode = text.parse().unwrap();
            assert_eq!(mode.to_string(), text);
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("{text:?}"));
            assert_eq!(mode.makes_canvases(), ["letterbox", "tile:448,112"].contains(&text));
        }
        assert_eq!("tile:448".parse(), Ok(ResizeMode::Tile { side: 448, overlap: 112 }));
        for text in ["", "tile", "tile:", "tile:0", "tile:32,32", "tile:1,2,3", "tile:-1", "tile:99999", "Squash"] {
            assert!(text.parse::<ResizeMode>().unwrap_err().contains("tile:SIDE,OVERLAP"), "{text}");
        }
    }

    /// PIL and torchvision on this image: sums over `Resize(5)` and `CenterCrop(5)`, and their first row.
    #[test]
    fn the_short_side_is_torchvisions() {
        for (height, width, row, sum) in SHORT_SIDE {
            let fitted = apply(ResizeMode::ShortSide, &image(height, width), 5);
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
        assert_eq!(apply(ResizeMode::Nearest, &wide, 2).pixels, [91, 17, 91, 17]);
        assert_eq!(apply(ResizeMode::FloorNearest, &wide, 2).pixels, [0, 182, 0, 182]);
    }

    #[test]
    fn marks_that_nearest_neighbour_misses_are_learned_from() {
        let one_pixel =
            |at: usize| Mask { height: 8, width: 40, pixels: (0..320).map(|i| u8::from(i == at)).collect() };
        // Row 3, column 13 of 8 × 40.
        let small = one_pixel(133);
        for (fit, side, marked) in [
            (ResizeMode::Squash, 4, 5),
            (ResizeMode::Letterbox, 8, 2),
            (ResizeMode::Tile { side: 20, overlap: 0 }, 4, 2),
            (ResizeMode::ShortSide, 4, usize::MAX),
            (ResizeMode::Nearest, 4, usize::MAX),
        ] {
            let marks = fit.marks(&small, side);
            assert!(!fit.mask(&small, side).any(), "{fit}: what nearest neighbour leaves");
            let found: Vec<usize> = (0..marks.pixels.len()).filter(|&i| marks.pixels[i] == 1).collect();
            assert_eq!(found, if marked == usize::MAX { vec![] } else { vec![marked] }, "{fit}");
        }
        let seen = one_pixel(3 * 40 + 17);
        assert_eq!(ResizeMode::ShortSide.marks(&seen, 4).pixels.iter().position(|&m| m == 1), Some(4));
        let large = Mask { pixels: vec![1; 320], ..small };
        assert_eq!(ResizeMode::Squash.marks(&large, 4), ResizeMode::Squash.mask(&large, 4));
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
