//! The maps of the tiles of a canvas as one map.
//!
//! A value of a tile's map is the net's own where its receptive field lies within the tile, or ends at a border of the canvas, which the net pads
//! as it pads that of any input. Where there are such values, the others count for nothing: where the overlap is as wide as a field less one jump,
//! the map is that of the whole canvas. Of several values at one place the weighted mean is taken, by their distances to the
//! borders of their tiles, so that no seam shows where inputs are normalised tile by tile.

use crate::data::tiles::{TileAxis, TileGrid};
use crate::steps::upsample::ReceptiveField;

/// How maps of tiles become one.
pub(crate) struct Stitching {
    rows: AxisStitching,
    columns: AxisStitching,
    /// Side of a tile's map.
    u: usize,
}

/// Along one axis: of each cell of the whole map, the tiles that have it, its place in their maps and its weight there.
struct AxisStitching(Vec<Vec<(usize, usize, f32)>>);

impl Stitching {
    /// For the tiles of a canvas, by a net with such fields.
    pub(crate) fn new(grid: &TileGrid, field: ReceptiveField) -> Stitching {
        let [rows, columns] = [&grid.rows, &grid.columns].map(|axis| AxisStitching::new(axis, field));
        Stitching { rows, columns, u: field.n }
    }

    /// (rows, columns) of the whole map.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows.0.len(), self.columns.0.len())
    }

    /// The whole map of those of the tiles, [tiles, u, u].
    pub(crate) fn stitch(&self, maps: &[f32]) -> Vec<f32> {
        let in_row = self.columns.0.iter().flatten().map(|(tile, ..)| tile + 1).max().unwrap_or(0);
        let mut whole = Vec::with_capacity(self.size().0 * self.size().1);
        for row in &self.rows.0 {
            whole.extend(self.columns.0.iter().map(|column| {
                let mut value = 0.0;
                for (tile_y, y, by_row) in row {
                    for (tile_x, x, by_column) in column {
                        let map = &maps[(tile_y * in_row + tile_x) * self.u * self.u..];
                        value += by_row * by_column * map[y * self.u + x];
                    }
                }
                value
            }));
        }
        whole
    }
}

impl AxisStitching {
    fn new(axis: &TileAxis, field: ReceptiveField) -> AxisStitching {
        let TileAxis { side, starts, .. } = axis;
        let (last, half) = (starts.len() - 1, (field.size as f64 - 1.0) / 2.0);
        // Cells of a tile from the border, counted from the first that is not the net's own: not above 0 for those that are not.
        let depth = |tile: usize, i: usize| {
            let centre = field.shift + (i * field.jump) as f64;
            let before = if tile == 0 { f64::INFINITY } else { centre - half };
            let after = if tile == last { f64::INFINITY } else { *side as f64 - 1.0 - (centre + half) };
            (before.min(after) / field.jump as f64).floor() + 1.0
        };
        let of_cell = |cell: usize| {
            let tiles = starts.iter().enumerate().filter_map(|(tile, start)| {
                let i = cell.checked_sub(start / field.jump)?;
                (i < field.n).then(|| (tile, i, depth(tile, i)))
            });
            let found: Vec<(usize, usize, f64)> = tiles.collect();
            let deepest = found.iter().map(|(.., depth)| *depth).fold(f64::NEG_INFINITY, f64::max);
            // Where none is the net's own, the nearest to it.
            let weight = |depth: f64| match deepest {
                deepest if deepest == f64::INFINITY => f64::from(u8::from(depth == deepest)),
                deepest if deepest <= 0.0 => f64::from(u8::from(depth == deepest)),
                _ => depth.max(0.0),
            };
            let sum: f64 = found.iter().map(|(.., depth)| weight(*depth)).sum();
            let weighted = found.into_iter().map(|(tile, i, depth)| (tile, i, (weight(depth) / sum) as f32));
            weighted.filter(|(.., weight)| *weight > 0.0).collect::<Vec<_>>()
        };
        AxisStitching((0..cells(axis, field)).map(of_cell).collect())
    }
}

/// Cells of the whole map along an axis: those that begin on the canvas.
pub(crate) fn cells(TileAxis { len, starts, .. }: &TileAxis, field: ReceptiveField) -> usize {
    let of_tiles = starts.last().map_or(0, |start| start / field.jump) + field.n;
    len.div_ceil(field.jump).min(of_tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cell has weights that sum to one; those whose field leaves a tile count where nothing else is there.
    #[test]
    fn weights_are_shares_of_the_nets_own_values() {
        let field = ReceptiveField { n: 8, jump: 4, size: 12, shift: 1.5 };
        for (len, overlap) in [(32, 0), (33, 0), (80, 0), (80, 8), (100, 16), (5, 0)] {
            let grid = TileGrid::new((len, len), 32, overlap);
            let stitching = Stitching::new(&grid, field);
            assert_eq!(stitching.size().0, len.div_ceil(4));
            for (cell, parts) in stitching.rows.0.iter().enumerate() {
                let sum: f32 = parts.iter().map(|(.., weight)| weight).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{len} {overlap}, cell {cell}: {parts:?}");
                for &(tile, i, _) in parts {
                    assert_eq!(grid.rows.starts[tile] / 4 + i, cell);
                    let (first, last) = (4.0 * i as f64 + 1.5 - 5.5, 4.0 * i as f64 + 1.5 + 5.5);
                    let own = (first >= 0.0 || tile == 0) && (last <= 31.0 || tile + 1 == grid.rows.starts.len());
                    // A field less one jump is 8.
                    assert!(own || overlap < 8, "{len} {overlap}, cell {cell}: {parts:?}");
                }
            }
        }
    }

    /// A map over the whole canvas, cut into those of the tiles and put together again.
    #[test]
    fn maps_of_tiles_become_the_whole_map() {
        let field = ReceptiveField { n: 8, jump: 4, size: 12, shift: 1.5 };
        let grid = TileGrid::new((60, 100), 32, 8);
        let stitching = Stitching::new(&grid, field);
        let value = |y: usize, x: usize| (y * 31 + x * 7) as f32;
        let maps: Vec<f32> = (0..grid.count())
            .flat_map(|tile| {
                let (top, left) = grid.place(tile);
                (0..64).map(move |i| value(top / 4 + i / 8, left / 4 + i % 8))
            })
            .collect();
        let whole = stitching.stitch(&maps);
        assert_eq!(stitching.size(), (15, 25));
        for (i, found) in whole.iter().enumerate() {
            assert!((found - value(i / 25, i % 25)).abs() < 1e-3, "{i}: {found}");
        }
    }
}
