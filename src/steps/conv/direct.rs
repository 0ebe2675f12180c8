//! Convolution where the input lies.
//!
//! The terms of an output are `side` runs of numbers, a [padded row](super::padded) apart: nothing is unfolded.

use half::bf16;
use rayon::prelude::*;

use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use super::padded::{self, row_len};
use crate::device::product::bf16::Pairs;
use crate::device::product::{Runs, multiply};
use crate::device::simd::{NullaryFnOnce, vectorised};
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

/// Lanes that there are output rows for.
fn lanes_of(g: &ConvGeometry) -> usize {
    lanes().min((g.n * g.oh()).max(1))
}

/// Scratch elements: a band for each lane.
pub(crate) fn workspace(g: &ConvGeometry) -> usize {
    lanes_of(g) * band_len(g)
}

/// Runs `output_rows(image, row, y, band)` for the output rows of all images, some at a time, on all threads. They are `rounded` to bf16 while they
/// are in the cache.
fn in_bands<T: Real>(
    g: &ConvGeometry,
    rounded: bool,
    y: &mut [T],
    scratch: &mut [T],
    band_len: usize,
    output_rows: impl Fn(usize, usize, &mut [T], &mut [T]) + Sync,
) {
    let (oh, out_row) = (g.oh(), g.ow() * g.k);
    let rows_per_lane = (g.n * oh).div_ceil(lanes_within(scratch, band_len));
    let bands = scratch.par_chunks_exact_mut(band_len);
    y.par_chunks_mut(rows_per_lane * out_row).zip(bands).enumerate().for_each(|(lane, (mut y, band))| {
        let mut row = lane * rows_per_lane;
        while !y.is_empty() {
            let (n, p) = (row / oh, row % oh);
            let rows = band_rows(g).min(oh - p).min(y.len() / out_row);
            let (out, rest) = y.split_at_mut(rows * out_row);
            output_rows(n, p, out, band);
            if rounded {
                T::round_to_bf16(out);
            }
            (y, row) = (rest, row + rows);
        }
    });
}

/// Forward pass with weights and biases as [`multiply`] reads them; see [`super::reference::fprop`] for the formula.
pub(crate) fn fprop<T: Real>(g: &ConvGeometry, [x, weights]: [&[T]; 2], rounded: bool, y: &mut [T], scratch: &mut [T]) {
    let (ow, image) = (g.ow(), g.h * g.w * g.c);
    in_bands(g, rounded, y, scratch, band_len(g), |n, p, y, band| {
        let x = &x[n * image..][..image];
        if g.is_pointwise() {
            return multiply(&x[p * ow * g.c..], |pixel| pixel * g.c, runs(g), weights, y, g.k);
        }
        let row = row_len(g);
        let band = &mut band[..input_rows(g, y.len() / (ow * g.k)) * row];
        padded::load(g, x, p * g.stride, row, band);
        multiply(band, first_of_window(g), runs(g), weights, y, g.k);
    });
}

/// The terms of an output.
pub(super) fn runs(g: &ConvGeometry) -> Runs {
    Runs { count: g.side, len: g.side * g.c, apart: row_len(g) }
}

/// Where the terms of an output pixel begin in a band.
fn first_of_window(g: &ConvGeometry) -> impl Fn(usize) -> usize {
    let (ow, row, c, stride) = (g.ow(), row_len(g), g.c, g.stride);
    move |pixel| (pixel / ow * row + pixel % ow * c) * stride
}

/// Elements of f32 that a band of bf16 takes: rows as above, and one number that the last window may be read beyond its end.
fn bf16_band_len(g: &ConvGeometry) -> usize {
    (input_rows(g, band_rows(g)) * row_len(g) + 1).div_ceil(2)
}

/// Scratch elements of [`fprop_of_bf16`].
pub(crate) fn bf16_workspace(g: &ConvGeometry) -> usize {
    lanes_of(g) * bf16_band_len(g)
}

/// The same where x and the weights hold numbers of bf16, with weights and biases as [`Pairs::multiply`] reads them.
pub(crate) fn fprop_of_bf16(
    g: &ConvGeometry,
    pairs: Pairs,
    [x, weights]: [&[f32]; 2],
    rounded: bool,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let image = g.h * g.w * g.c;
    in_bands(g, rounded, y, scratch, bf16_band_len(g), |n, p, y, band| {
        let rows = input_rows(g, y.len() / (g.ow() * g.k)) * row_len(g);
        let band = &mut bytemuck::cast_slice_mut(band)[..rows + 1];
        band[rows] = bf16::ZERO;
        let x = &x[n * image..][..image];
        padded::load_by(g, x, p * g.stride, row_len(g), &mut band[..rows], |to, from| vectorised(Narrow { from, to }));
        pairs.multiply(band, first_of_window(g), runs(g), weights, y, g.k);
    });
}

/// Numbers of bf16 out of as many of f32 that hold such.
struct Narrow<'a> {
    from: &'a [f32],
    to: &'a mut [bf16],
}

impl NullaryFnOnce for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = bf16::from_bits((from.to_bits() >> 16) as u16);
        }
    }
}
