//! Convolution where the input lies.
//!
//! The terms of an output are `side` runs of numbers, a [padded row](super::padded) apart: nothing is unfolded.

use rayon::prelude::*;

use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use super::padded::{self, row_len};
use crate::device::product::{Runs, multiply};
use crate::real::Real;

/// Output pixels that are computed together, about: each panel of weights is read from the cache once for them.
const PIXELS: usize = 96;

/// Elements of the padded input rows of a band, at most, where it has more than one output row.
const BAND: usize = 1 << 17;

/// Padded input rows that so many output rows read.
fn input_rows(g: &ConvGeometry, output_rows: usize) -> usize {
    (output_rows - 1) * g.stride + g.side
}

/// Output rows that are computed together.
fn band_rows(g: &ConvGeometry) -> usize {
    let enough = PIXELS.div_ceil(g.ow().max(1)).clamp(1, g.oh().max(1));
    let fit = (BAND / row_len(g).max(1)).saturating_sub(g.side) / g.stride + 1;
    enough.min(fit)
}

/// Elements of the padded input rows of a band: none where the input is read in place.
fn band_len(g: &ConvGeometry) -> usize {
    if g.is_pointwise() { 1 } else { input_rows(g, band_rows(g)) * row_len(g) }
}

/// Scratch elements: a band for each lane.
pub(crate) fn workspace(g: &ConvGeometry) -> usize {
    lanes() * band_len(g)
}

/// Forward pass with weights and biases as [`multiply`] reads them; see [`super::reference::fprop`] for the formula.
pub(crate) fn fprop<T: Real>(g: &ConvGeometry, x: &[T], weights: &[T], y: &mut [T], scratch: &mut [T]) {
    let (oh, out_row, image) = (g.oh(), g.ow() * g.k, g.h * g.w * g.c);
    let rows_per_lane = (g.n * oh).div_ceil(lanes_within(scratch, band_len(g)));
    let bands = scratch.par_chunks_exact_mut(band_len(g));
    y.par_chunks_mut(rows_per_lane * out_row).zip(bands).enumerate().for_each(|(lane, (mut y, band))| {
        let mut row = lane * rows_per_lane;
        while !y.is_empty() {
            let (n, p) = (row / oh, row % oh);
            let rows = band_rows(g).min(oh - p).min(y.len() / out_row);
            let (out, rest) = y.split_at_mut(rows * out_row);
            output_rows(g, &x[n * image..][..image], p, weights, out, band);
            (y, row) = (rest, row + rows);
        }
    });
}

/// Output rows of an image from row p on.
fn output_rows<T: Real>(g: &ConvGeometry, x: &[T], p: usize, weights: &[T], y: &mut [T], band: &mut [T]) {
    let ow = g.ow();
    if g.is_pointwise() {
        let runs = Runs { count: 1, len: g.c, apart: 0 };
        return multiply(&x[p * ow * g.c..], |pixel| pixel * g.c, runs, weights, y, g.k);
    }
    let row = row_len(g);
    let rows = input_rows(g, y.len() / (ow * g.k));
    let band = &mut band[..rows * row];
    padded::load(g, x, p * g.stride, row, band);
    let runs = Runs { count: g.side, len: g.side * g.c, apart: row };
    let start = |pixel: usize| (pixel / ow * row + pixel % ow * g.c) * g.stride;
    multiply(band, start, runs, weights, y, g.k);
}
