//! Convolution as it runs on the CPU: matrix products, by the form that suits the shape.
//!
//! | pass | form |
//! | --- | --- |
//! | fprop | [`super::direct`]: the input is read in place |
//! | dgrad, stride 1 | fprop of `dy` with the flipped weights |
//! | dgrad, other strides | [`super::im2col`]: a product per tile of `dy`, folded back (col2im) |
//! | wgrad | [`super::im2col`] |
//!
//! The bits do not depend on the number of threads: fprop is cut by it, but no sum crosses a cut; wgrad is cut by its shape alone, and its
//! partial sums are merged in a fixed order.

use super::{ConvGeometry, direct, im2col};
use crate::device::product::{pack, packed_len};
use crate::real::Real;

/// Scratch elements of [`fprop`]: the packed weights, and what the form needs.
pub fn fprop_workspace(g: &ConvGeometry) -> usize {
    packed_len(g.taps(), g.k) + direct::workspace(g)
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
    let (packed, scratch) = workspace.split_at_mut(packed_len(g.taps(), g.k));
    pack(g.taps(), g.k, |k| b.map_or(T::zero(), |b| b[k]), |tap, k| w[k * g.taps() + tap], packed);
    direct::fprop(g, x, packed, y, scratch);
}

/// Gradient of the input; see [`super::reference::dgrad`]. With stride 1 it is a convolution of `dy` with the flipped weights.
pub fn dgrad<T: Real>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T], workspace: &mut [T]) {
    let Some(t) = flipped(g) else {
        return im2col::dgrad(g, dy, w, dx, workspace);
    };
    let (packed, scratch) = workspace.split_at_mut(packed_len(t.taps(), t.k));
    let taps = g.side * g.side;
    let factor = |term: usize, c: usize| {
        let (tap, k) = (term / g.k, term % g.k);
        w[(k * taps + taps - 1 - tap) * g.c + c]
    };
    pack(t.taps(), t.k, |_| T::zero(), factor, packed);
    direct::fprop(&t, dy, packed, dx, scratch);
}

/// Gradient of the weights; see [`super::reference::wgrad`].
pub fn wgrad<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T], workspace: &mut [T]) {
    im2col::wgrad(g, x, dy, dw, workspace);
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
