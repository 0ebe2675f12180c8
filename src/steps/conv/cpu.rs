//! Convolution as it runs on the CPU: matrix products, by the form that suits the shape.
//!
//! | pass | form |
//! | --- | --- |
//! | fprop, many channels | [`super::rows`]: the input is read in place |
//! | fprop, few channels | [`super::im2col`]: all taps in one product |
//! | dgrad, stride 1 | fprop of `dy` with the flipped weights |
//! | dgrad, other strides | [`super::im2col`]: a product per tile of `dy`, folded back (col2im) |
//! | wgrad | [`super::im2col`] |
//!
//! The bits do not depend on the number of threads: fprop is cut by it, but no sum crosses a cut; wgrad is cut by its shape alone, and its
//! partial sums are merged in a fixed order.

use super::{ConvGeometry, im2col, rows};
use crate::real::Real;

/// From this many products per kernel row on, the row form beats the unfolding; below, its products are too short.
const LONG_ROW: usize = 48;

fn by_rows(g: &ConvGeometry) -> bool {
    !g.is_pointwise() && g.side * g.c >= LONG_ROW
}

/// Rows of a matrix that are transposed together: a cache line of f32. Row by row each number would be of another line, and of wide layers all
/// of these fall onto a few places of the cache.
const TRANSPOSED: usize = 16;

/// Scratch elements of [`fprop`]: the weights as a matrix, and what the form needs.
pub fn fprop_workspace(g: &ConvGeometry) -> usize {
    g.w_len() + if by_rows(g) { rows::workspace(g) } else { im2col::fprop_workspace(g) }
}

/// Scratch elements of [`dgrad`].
pub fn dgrad_workspace(g: &ConvGeometry) -> usize {
    flipped(g).map_or_else(|| im2col::dgrad_workspace(g), |t| fprop_workspace(&t))
}

/// Scratch elements of [`wgrad`].
pub fn wgrad_workspace(g: &ConvGeometry) -> usize {
    im2col::wgrad_workspace(g)
}

/// Forward pass; see [`super::reference::fprop`] for the formula. `workspace` holds at least [`fprop_workspace`] elements.
pub fn fprop<T: Real>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], workspace: &mut [T]) {
    let (matrix, scratch) = workspace.split_at_mut(g.w_len());
    for (block, rows) in matrix.chunks_mut(TRANSPOSED * g.k).enumerate() {
        for (k, w) in w.chunks_exact(g.taps()).enumerate() {
            rows.chunks_exact_mut(g.k).zip(&w[block * TRANSPOSED..]).for_each(|(row, &w)| row[k] = w);
        }
    }
    multiply(g, x, matrix, b, y, scratch);
}

/// Gradient of the input; see [`super::reference::dgrad`]. With stride 1 it is a convolution of `dy` with the flipped weights.
pub fn dgrad<T: Real>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T], workspace: &mut [T]) {
    let Some(t) = flipped(g) else {
        return im2col::dgrad(g, dy, w, dx, workspace);
    };
    let (matrix, scratch) = workspace.split_at_mut(t.w_len());
    let taps = g.side * g.side;
    for (i, w) in w.chunks_exact(g.c).enumerate() {
        let (k, tap) = (i / taps, i % taps);
        matrix[((taps - 1 - tap) * g.k + k) * g.c..][..g.c].copy_from_slice(w);
    }
    multiply(&t, dy, matrix, None, dx, scratch);
}

/// Gradient of the weights; see [`super::reference::wgrad`].
pub fn wgrad<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T], workspace: &mut [T]) {
    im2col::wgrad(g, x, dy, dw, workspace);
}

/// Forward pass with the weights as a matrix [taps, k].
fn multiply<T: Real>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], scratch: &mut [T]) {
    if by_rows(g) { rows::fprop(g, x, w, b, y, scratch) } else { im2col::fprop(g, x, w, b, y, scratch) }
}

/// The convolution that dgrad is: input dy [n, oh, ow, k], output dx [n, h, w, c]. None where the stride leaves gaps.
fn flipped(g: &ConvGeometry) -> Option<ConvGeometry> {
    (g.stride == 1 && g.pad < g.side).then(|| ConvGeometry {
        h: g.oh(),
        w: g.ow(),
        c: g.k,
        k: g.c,
        pad: g.side - 1 - g.pad,
        ..*g
    })
}
