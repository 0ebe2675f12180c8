//! Convolution as matrix products over tiles of output pixels.
//!
//! A tile of consecutive output pixels is unfolded to a matrix [pixels, side·side·c] (im2col) small enough for the cache, and
//! multiplied with the weights. 1×1 kernels skip the unfolding.

use rayon::prelude::*;

use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use crate::device::matmul::{Matrix, matmul};
use crate::real::Real;

/// Elements of an unfolded tile: 256 KiB of f32, about half of a core's second-level cache.
const TILE_ELEMENTS: usize = 1 << 16;

/// Partial sums of wgrad, at most, whatever the number of threads.
const WGRAD_PARTS: usize = 8;

/// Output pixels per tile of wgrad.
fn wgrad_tile(g: &ConvGeometry) -> usize {
    (TILE_ELEMENTS / g.taps()).clamp(32, 4096).min(g.pixels().max(1))
}

/// Tiles of each part of wgrad, and the number of parts.
fn wgrad_parts(g: &ConvGeometry) -> (usize, usize) {
    let tiles = g.pixels().div_ceil(wgrad_tile(g));
    let tiles_per_part = tiles.div_ceil(WGRAD_PARTS);
    (tiles_per_part, tiles.div_ceil(tiles_per_part))
}

/// Elements of scratch for an unfolded tile of wgrad (one, unused, where nothing is unfolded).
fn wgrad_len(g: &ConvGeometry) -> usize {
    if g.is_pointwise() { 1 } else { wgrad_tile(g) * g.taps() }
}

/// Output pixels per tile of fprop: whatever the number of images, so that the product has one shape, and each output is summed in one
/// order. A score is then a function of its image alone.
fn fprop_tile(g: &ConvGeometry) -> usize {
    (TILE_ELEMENTS / g.taps()).clamp(32, 4096).min((g.oh() * g.ow()).max(32))
}

/// Elements of scratch that one thread needs for fprop: a tile as it is multiplied, and the outputs of one that the images do not fill.
fn fprop_len(g: &ConvGeometry) -> usize {
    fprop_tile(g) * (g.taps() + g.k)
}

/// Scratch elements of [`fprop`].
pub(crate) fn fprop_workspace(g: &ConvGeometry) -> usize {
    lanes() * fprop_len(g)
}

/// Scratch elements of [`wgrad`]: a tile and a partial sum per part.
pub(crate) fn wgrad_workspace(g: &ConvGeometry) -> usize {
    wgrad_parts(g).1 * (wgrad_len(g) + g.w_len())
}

/// Forward pass with weights [taps, k]; see [`super::reference::fprop`] for the formula.
pub(crate) fn fprop<T: Real>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], workspace: &mut [T]) {
    let (tile, pixels) = (fprop_tile(g), g.pixels());
    let tiles_per_lane = pixels.div_ceil(tile).div_ceil(lanes_within(workspace, fprop_len(g)));
    let weights = Matrix::row_major(w, g.taps(), g.k);
    let scratch = workspace.par_chunks_exact_mut(fprop_len(g));
    y.par_chunks_mut(tiles_per_lane * tile * g.k).zip(scratch).enumerate().for_each(|(lane, (y, scratch))| {
        let (unfolded, padded) = scratch.split_at_mut(tile * g.taps());
        for (t, y) in y.chunks_mut(tile * g.k).enumerate() {
            let first = (lane * tiles_per_lane + t) * tile;
            let rows = y.len() / g.k;
            let is_full = rows == tile;
            let out = if is_full { &mut *y } else { &mut *padded };
            if let Some(b) = b {
                out.chunks_exact_mut(g.k).for_each(|y| y.copy_from_slice(b));
            }
            let x = if is_full {
                unfold(g, x, first, rows, unfolded)
            } else {
                if g.is_pointwise() {
                    unfolded[..rows * g.c].copy_from_slice(&x[first * g.c..][..rows * g.c]);
                } else {
                    unfold(g, x, first, rows, unfolded);
                }
                // Of the outputs of the other rows none is taken.
                unfolded[rows * g.taps()..].fill(T::zero());
                Matrix::row_major(unfolded, tile, g.taps())
            };
            matmul(out, x, weights, b.is_some());
            if !is_full {
                y.copy_from_slice(&padded[..rows * g.k]);
            }
        }
    });
}

/// Output rows of a tile of dgrad.
fn tile_rows(g: &ConvGeometry) -> usize {
    (TILE_ELEMENTS / (g.ow() * g.taps()).max(1)).clamp(1, g.oh())
}

/// Scratch elements of [`dgrad`].
pub(crate) fn dgrad_workspace(g: &ConvGeometry) -> usize {
    lanes().min(g.n) * tile_rows(g) * g.ow() * g.taps()
}

/// Gradient of the input; see [`super::reference::dgrad`] for the formula. Tiles of each image are multiplied with the weights, and the
/// products added where their taps were (col2im), tile after tile.
pub(crate) fn dgrad<T: Real>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T], workspace: &mut [T]) {
    let (rows, dy_row) = (tile_rows(g), g.ow() * g.k);
    let scratch_len = rows * g.ow() * g.taps();
    let images = g.n.div_ceil(lanes_within(workspace, scratch_len));
    let (x_image, dy_image) = (g.h * g.w * g.c, g.oh() * dy_row);
    let weights = Matrix::row_major(w, g.k, g.taps());
    let of_lanes = dx.par_chunks_mut(images * x_image).zip(dy.par_chunks(images * dy_image));
    of_lanes.zip(workspace.par_chunks_exact_mut(scratch_len)).for_each(|((dx, dy), scratch)| {
        dx.fill(T::zero());
        for (dx, dy) in dx.chunks_exact_mut(x_image).zip(dy.chunks_exact(dy_image)) {
            for (tile, dy) in dy.chunks(rows * dy_row).enumerate() {
                let pixels = dy.len() / g.k;
                let products = &mut scratch[..pixels * g.taps()];
                matmul(products, Matrix::row_major(dy, pixels, g.k), weights, false);
                fold(g, products, tile * rows * g.ow(), dx);
            }
        }
    });
}

/// Adds the rows of an im2col matrix, for an image's output pixels from `first` on, to where they were taken from.
fn fold<T: Real>(g: &ConvGeometry, matrix: &[T], first: usize, image: &mut [T]) {
    for (row, taps) in matrix.chunks_exact(g.taps()).enumerate() {
        let (p, q) = ((first + row) / g.ow(), (first + row) % g.ow());
        let Inside { skip, take, from } = Inside::new(g, q);
        for (r, taps) in taps.chunks_exact(g.side * g.c).enumerate() {
            if let Some(i) = (p * g.stride + r).checked_sub(g.pad).filter(|&i| i < g.h) {
                let pixels = &mut image[(i * g.w + from) * g.c..][..take * g.c];
                pixels.iter_mut().zip(&taps[skip * g.c..]).for_each(|(pixel, &tap)| *pixel += tap);
            }
        }
    }
}

/// The taps of a row of a window that lie inside the input.
struct Inside {
    /// Taps left of it.
    skip: usize,
    take: usize,
    /// The input column of the first.
    from: usize,
}

impl Inside {
    /// Of output column q.
    fn new(g: &ConvGeometry, q: usize) -> Inside {
        let left = (q * g.stride) as isize - g.pad as isize;
        let skip = (-left).clamp(0, g.side as isize) as usize;
        let take = (g.w as isize - left).clamp(skip as isize, g.side as isize) as usize - skip;
        Inside { skip, take, from: if take > 0 { (left + skip as isize) as usize } else { 0 } }
    }
}

/// Gradient of the weights; see [`super::reference::wgrad`].
pub(crate) fn wgrad<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T], workspace: &mut [T]) {
    let tile = wgrad_tile(g);
    let (tiles_per_part, parts) = wgrad_parts(g);
    let (partial, scratch) = workspace.split_at_mut(parts * g.w_len());
    partial
        .par_chunks_exact_mut(g.w_len())
        .zip(dy.par_chunks(tiles_per_part * tile * g.k))
        .zip(scratch.par_chunks_exact_mut(wgrad_len(g)))
        .enumerate()
        .for_each(|(part, ((partial, dy), scratch))| {
            for (t, dy) in dy.chunks(tile * g.k).enumerate() {
                let first = (part * tiles_per_part + t) * tile;
                let rows = dy.len() / g.k;
                let d = Matrix::row_major(dy, rows, g.k).transposed();
                matmul(partial, d, unfold(g, x, first, rows, scratch), t > 0);
            }
        });
    let w_len = g.w_len();
    dw.par_chunks_mut(4096).enumerate().for_each(|(chunk, dw)| {
        let start = chunk * 4096;
        dw.copy_from_slice(&partial[start..start + dw.len()]);
        for part in partial.chunks_exact(w_len).skip(1) {
            for (sum, &p) in dw.iter_mut().zip(&part[start..]) {
                *sum += p;
            }
        }
    });
}

/// Rows of the im2col matrix for output pixels `first..first + rows` (counted over the batch): [rows, side·side·c].
fn unfold<'a, T: Real>(g: &ConvGeometry, x: &'a [T], first: usize, rows: usize, scratch: &'a mut [T]) -> Matrix<'a, T> {
    if g.is_pointwise() {
        return Matrix::row_major(&x[first * g.c..], rows, g.c);
    }
    let (oh, ow) = (g.oh(), g.ow());
    let taps_row = g.side * g.c;
    for (row, out) in scratch.chunks_exact_mut(g.taps()).take(rows).enumerate() {
        let pixel = first + row;
        let (n, p, q) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
        let Inside { skip, take, from } = Inside::new(g, q);
        for (r, out) in out.chunks_exact_mut(taps_row).enumerate() {
            let Some(i) = (p * g.stride + r).checked_sub(g.pad).filter(|&i| i < g.h) else {
                out.fill(T::zero());
                continue;
            };
            out[..skip * g.c].fill(T::zero());
            let start = ((n * g.h + i) * g.w + from) * g.c;
            out[skip * g.c..(skip + take) * g.c].copy_from_slice(&x[start..start + take * g.c]);
            out[(skip + take) * g.c..].fill(T::zero());
        }
    }
    Matrix::row_major(scratch, rows, g.taps())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each output has the same bits wherever its image stands in a batch, and in a batch of any size.
    #[test]
    fn an_image_is_summed_alike_in_any_batch() {
        for (side, c, k, size, pad, stride) in [
            (3, 3, 32, 28, 1, 1),
            (3, 1, 16, 9, 1, 1),
            (5, 1, 7, 12, 2, 1),
            (1, 128, 1, 28, 0, 1),
            (1, 513, 1, 7, 0, 1),
            (1, 64, 20, 5, 0, 1),
            (4, 9, 33, 4, 0, 1),
            (3, 3, 8, 17, 1, 2),
        ] {
            let g = |n| ConvGeometry { n, h: size, w: size, c, k, side, pad, stride };
            let value = |i: usize| ((i * 7919 + i * i % 97) % 1009) as f32 / 1009.0 - 0.5;
            let batch = g(7);
            let x: Vec<f32> = (0..batch.n * size * size * c).map(value).collect();
            let w: Vec<f32> = (0..batch.w_len()).map(|i| value(3 * i + 1)).collect();
            let b: Vec<f32> = (0..k).map(|i| value(5 * i + 2)).collect();
            for b in [None, Some(&b[..])] {
                let outputs = |g: &ConvGeometry, x: &[f32]| {
                    let mut y = vec![f32::NAN; g.pixels() * k];
                    fprop(g, x, &w, b, &mut y, &mut vec![f32::NAN; fprop_workspace(g)]);
                    y
                };
                let together = outputs(&batch, &x);
                let each = x.chunks_exact(size * size * c).flat_map(|x| outputs(&g(1), x));
                assert!(each.map(f32::to_bits).eq(together.iter().map(|v| v.to_bits())), "{batch:?}");
                let five = outputs(&g(5), &x[2 * size * size * c..]);
                assert_eq!(five, together[2 * g(1).pixels() * k..], "{batch:?}");
            }
        }
    }
}
