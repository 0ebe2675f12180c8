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

/// Scratch elements of [`wgrad`]: a tile and a partial sum per part.
pub(crate) fn wgrad_workspace(g: &ConvGeometry) -> usize {
    wgrad_parts(g).1 * (wgrad_len(g) + g.w_len())
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
    // All of it: of a part without scratch space there would be no sums, and nothing would say so.
    let (partial, scratch) = workspace[..wgrad_workspace(g)].split_at_mut(parts * g.w_len());
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
