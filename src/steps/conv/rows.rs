//! Convolution row by row, without unfolding.
//!
//! In an input row padded with zeros, the window of output column q starts q·stride·c elements in: the windows of a whole output
//! row are a matrix [ow, side·c] whose rows overlap, read in place. So an output row is the sum of `side` matrix products, one
//! per kernel row; kernel rows that hang over the border are left out.

use rayon::prelude::*;

use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use crate::device::matmul::{Matrix, matmul};
use crate::real::Real;

/// Elements of a padded input row.
fn row_len(g: &ConvGeometry) -> usize {
    (g.w + 2 * g.pad) * g.c
}

/// Scratch elements: for each lane, the padded input rows that one output row reads.
pub(crate) fn workspace(g: &ConvGeometry) -> usize {
    lanes() * g.side * row_len(g)
}

/// Forward pass with weights [taps, k]; see [`super::reference::fprop`] for the formula.
pub(crate) fn fprop<T: Real>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], scratch: &mut [T]) {
    let (oh, out_row) = (g.oh(), g.ow() * g.k);
    let ring_len = g.side * row_len(g);
    let rows_per_lane = (g.n * oh).div_ceil(lanes_within(scratch, ring_len));
    let rings = scratch.par_chunks_exact_mut(ring_len);
    y.par_chunks_mut(rows_per_lane * out_row).zip(rings).enumerate().for_each(|(lane, (y, ring))| {
        let mut ring = Ring::new(g, ring);
        for (row, y) in y.chunks_exact_mut(out_row).enumerate() {
            let row = lane * rows_per_lane + row;
            ring.load(x, row / oh, row % oh);
            output_row(g, &ring, w, b, row % oh, y);
        }
    });
}

/// Output row p of the image in the ring.
fn output_row<T: Real>(g: &ConvGeometry, ring: &Ring<T>, w: &[T], b: Option<&[T]>, p: usize, y: &mut [T]) {
    match b {
        Some(b) => y.chunks_exact_mut(g.k).for_each(|y| y.copy_from_slice(b)),
        None => y.fill(T::zero()),
    }
    let columns = g.side * g.c;
    for (r, w) in w.chunks_exact(columns * g.k).enumerate() {
        let Some(i) = (p * g.stride + r).checked_sub(g.pad).filter(|&i| i < g.h) else { continue };
        let windows = Matrix { data: ring.row(i), rows: g.ow(), columns, row_stride: g.stride * g.c, column_stride: 1 };
        matmul(y, windows, Matrix::row_major(w, columns, g.k), true);
    }
}

/// The latest padded input rows of one image, row i at place i modulo the kernel's side.
struct Ring<'a, T> {
    g: &'a ConvGeometry,
    rows: &'a mut [T],
    image: usize,
    /// The first row of the image that has not been loaded.
    next: usize,
}

impl<'a, T: Real> Ring<'a, T> {
    fn new(g: &'a ConvGeometry, rows: &'a mut [T]) -> Ring<'a, T> {
        // The padding stays zero: only the middle of a row is written again.
        rows.fill(T::zero());
        Ring { g, rows, image: 0, next: 0 }
    }

    fn row(&self, i: usize) -> &[T] {
        let len = row_len(self.g);
        &self.rows[i % self.g.side * len..][..len]
    }

    /// Makes the input rows of output row p of an image present.
    fn load(&mut self, x: &[T], image: usize, p: usize) {
        let g = self.g;
        if self.image != image {
            (self.image, self.next) = (image, 0);
        }
        let first = (p * g.stride).saturating_sub(g.pad);
        let end = (p * g.stride + g.side).saturating_sub(g.pad).min(g.h);
        let (len, row) = (row_len(g), g.w * g.c);
        for i in first.max(self.next)..end {
            let target = i % g.side * len + g.pad * g.c;
            self.rows[target..target + row].copy_from_slice(&x[(image * g.h + i) * row..][..row]);
        }
        self.next = self.next.max(end);
    }
}
