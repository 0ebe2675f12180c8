//! Where the squares that a net sees lie on an image of any size.
//!
//! An image that is not squashed becomes a canvas: itself, smaller or larger by one factor for both sides ([`ResizeMode::canvas`]). The net
//! sees squares of it, its tiles. What of a tile lies beyond the canvas is mirrored in from the border, and belongs to no result.
//!
//! [`ResizeMode::canvas`]: crate::data::resize_mode::ResizeMode::canvas

use crate::data::images::Images;
use crate::rng::scaled;
use crate::steps::blur::reflect;

/// Tiles begin at multiples of so many pixels: the cells of a net's map lie at the same places of the canvas in all tiles, for strides up to it.
pub(crate) const STEP: usize = 16;

/// The tiles of a canvas in rows and columns, from the top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TileGrid {
    pub rows: TileAxis,
    pub columns: TileAxis,
}

/// Tiles along one side of a canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TileAxis {
    /// Pixels of a tile.
    pub side: usize,
    /// Pixels of the canvas.
    pub len: usize,
    /// Where they begin.
    pub starts: Vec<usize>,
}

/// A square of a canvas; of an image that is a square itself, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// (row, column) of the canvas at which it begins.
    pub place: (usize, usize),
    /// (height, width) of the canvas.
    pub canvas: (usize, usize),
}

impl Window {
    /// All of a canvas that is not larger than the square.
    pub(crate) fn of_all(canvas: (usize, usize)) -> Window {
        Window { place: (0, 0), canvas }
    }

    /// (rows, columns) of a square of a side that show the canvas; what follows is mirrored in from its border.
    pub(crate) fn shown(&self, side: usize) -> (usize, usize) {
        (side.min(self.canvas.0 - self.place.0), side.min(self.canvas.1 - self.place.1))
    }
}

impl TileGrid {
    /// The fewest tiles of a side that cover a canvas of (height, width) and overlap by so many pixels at least, if that leaves a step.
    pub(crate) fn new((height, width): (usize, usize), side: usize, overlap: usize) -> TileGrid {
        TileGrid { rows: TileAxis::new(height, side, overlap), columns: TileAxis::new(width, side, overlap) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.rows.starts.len() * self.columns.starts.len()
    }

    /// (row, column) of the canvas at which a tile begins.
    pub(crate) fn place(&self, tile: usize) -> (usize, usize) {
        let columns = &self.columns.starts;
        (self.rows.starts[tile / columns.len()], columns[tile % columns.len()])
    }

    /// (height, width) of the canvas.
    pub(crate) fn canvas(&self) -> (usize, usize) {
        (self.rows.len, self.columns.len)
    }
}

impl TileAxis {
    fn new(len: usize, side: usize, overlap: usize) -> TileAxis {
        let most = (side.saturating_sub(overlap) / STEP * STEP).max(STEP);
        let steps = len.saturating_sub(side).div_ceil(most);
        // As even as they can be: what the last tile would have beyond the canvas goes into overlaps.
        let step = len.saturating_sub(side).div_ceil(steps.max(1)).next_multiple_of(STEP);
        TileAxis { side, len, starts: (0..=steps).map(|i| i * step).collect() }
    }

    /// Where a tile begins that lies within the canvas as far as that is large enough, and shows some of the pixels from `first` to `last`: each
    /// such place as likely, by 32 random bits.
    pub(crate) fn start(&self, (first, last): (usize, usize), chance: u32) -> usize {
        let (from, to) = (first.saturating_sub(self.side - 1), last.min(self.len.saturating_sub(self.side)));
        from + scaled(chance, to - from + 1)
    }
}

impl Images {
    /// Writes the square of the first image that begins at (row, column), of `side` pixels each way, mirrored beyond the image.
    pub(crate) fn window(&self, (top, left): (usize, usize), side: usize, out: &mut [u8]) {
        let (channels, width) = (self.channels, self.width);
        let inside = width.saturating_sub(left).min(side);
        for (y, out) in out.chunks_exact_mut(side * channels).enumerate() {
            let row = &self.pixels[reflect((top + y) as isize, self.height) * width * channels..][..width * channels];
            out[..inside * channels].copy_from_slice(&row[left.min(width) * channels..][..inside * channels]);
            for x in inside..side {
                let from = reflect((left + x) as isize, width) * channels;
                out[x * channels..][..channels].copy_from_slice(&row[from..][..channels]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_canvas_evenly() {
        for (len, side, overlap, starts) in [
            (100, 224, 56, vec![0]),
            (224, 224, 56, vec![0]),
            (225, 224, 0, vec![0, 16]),
            (640, 224, 56, vec![0, 144, 288, 432]),
            (448, 224, 0, vec![0, 224]),
            (448, 224, 100, vec![0, 112, 224]),
            (30, 28, 27, vec![0, 16]),
        ] {
            let axis = TileAxis::new(len, side, overlap);
            assert_eq!(axis.starts, starts, "{len} px in tiles of {side}, overlapping by {overlap}");
        }
        for len in 1..700 {
            for (side, overlap) in [(28, 0), (64, 16), (64, 40), (224, 112)] {
                let TileAxis { starts, .. } = TileAxis::new(len, side, overlap);
                assert!(starts.last().unwrap() + side >= len);
                assert!(
                    starts.windows(2).all(|w| w[1] % STEP == 0 && w[1] - w[0] + overlap <= side.max(STEP + overlap))
                );
                assert!(
                    starts.len() == 1 || starts[starts.len() - 2] + side < len,
                    "none is needless: {len} {side} {overlap}"
                );
            }
        }
        let grid = TileGrid::new((300, 640), 224, 56);
        assert_eq!((grid.count(), grid.place(0), grid.place(5), grid.canvas()), (8, (0, 0), (80, 144), (300, 640)));
    }

    #[test]
    fn tiles_begin_where_they_show_what_is_asked_for() {
        let axis = |len| TileAxis::new(len, 10, 0);
        let starts = |len: usize, between| {
            let chances = (0..64).map(|i: u32| i << 26);
            let mut starts: Vec<usize> = chances.map(|chance| axis(len).start(between, chance)).collect();
            starts.dedup();
            starts
        };
        assert_eq!(starts(30, (0, 29)), (0..=20).collect::<Vec<_>>(), "anywhere");
        assert_eq!(starts(30, (12, 13)), (3..=13).collect::<Vec<_>>());
        assert_eq!(starts(30, (29, 29)), [20]);
        assert_eq!(starts(7, (3, 6)), [0], "a canvas that is smaller");
        let window = Window { place: (3, 0), canvas: (13, 7) };
        assert_eq!((window.shown(10), Window::of_all((4, 7)).shown(10)), ((10, 7), (4, 7)));
    }

    #[test]
    fn windows_are_mirrored_beyond_the_image() {
        let image = Images { count: 1, height: 2, width: 3, channels: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let window = |place, side: usize| {
            let mut out = vec![0; side * side];
            image.window(place, side, &mut out);
            out
        };
        assert_eq!(window((0, 0), 2), [1, 2, 4, 5]);
        assert_eq!(window((0, 1), 3), [2, 3, 2, 5, 6, 5, 2, 3, 2]);
        assert_eq!(window((0, 0), 5)[..10], [1, 2, 3, 2, 1, 4, 5, 6, 5, 4]);
        assert_eq!(window((0, 4), 1), [1], "a tile that begins beyond it");
        let colours = Images { channels: 3, width: 1, ..image };
        let mut out = vec![0; 12];
        colours.window((0, 0), 2, &mut out);
        assert_eq!(out, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    }
}
