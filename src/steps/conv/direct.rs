//! Convolution where the input lies.
//!
//! In an input row padded with zeros, the window of output column q starts q·stride·c elements in: what a kernel row reads of it are side·c
//! consecutive numbers. So the terms of an output are `side` runs of numbers, a padded row apart, and nothing is unfolded.

use rayon::prelude::*;

use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use crate::device::product::{Runs, multiply};
use crate::real::Real;

/// Output pixels that are computed together, about: each panel of weights is read from the cache once for them.
const PIXELS: usize = 96;

/// Elements of the padded input rows of a band, at most, where it has more than one output row.
const BAND: usize = 1 << 17;

/// Elements of a padded input row.
fn row_len(g: &ConvGeometry) -> usize {
    (g.w + 2 * g.pad) * g.c
}

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
    for (i, padded) in band.chunks_exact_mut(row).take(rows).enumerate() {
        match (p * g.stride + i).checked_sub(g.pad).filter(|&i| i < g.h) {
            Some(i) => {
                let (inner, edge) = (g.w * g.c, g.pad * g.c);
                padded[..edge].fill(T::zero());
                padded[edge..][..inner].copy_from_slice(&x[i * inner..][..inner]);
                padded[edge + inner..].fill(T::zero());
            }
            None => padded.fill(T::zero()),
        }
    }
    let runs = Runs { count: g.side, len: g.side * g.c, apart: row };
    let start = |pixel: usize| (pixel / ow * row + pixel % ow * g.c) * g.stride;
    multiply(&band[..rows * row], start, runs, weights, y, g.k);
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
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
                    cpu::fprop(g, x, &w, b, &mut y, &mut vec![f32::NAN; cpu::fprop_workspace(g)]);
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
