//! Convolution by WGMMA and TMA of sm_90a, in place of the kernels of `tensor.rs` for many channels:
//! `kernels/conv_fprop_wgmma.cu` for the forward pass and the gradient of the input, `kernels/conv_wgrad_wgmma.cu`.
//!
//! Used only with `FCDD_WGMMA=1`: it passes its tests in the stand-in, and has not run on a GPU yet.

use half::bf16;

use super::launch::{After, Parts, int};
use super::{ConvGeometry, Wgrad};
use crate::device::cuda::kernels::{conv_fprop_wgmma, conv_wgrad_wgmma};
use crate::device::cuda::{Cuda, DeviceBuffers, Pointer, PointerMut, Result, TensorMap, Windows};
use crate::steps::norm::cuda::NormChannels;

/// Rows and columns of a block's tile.
pub(super) const TILE: usize = 128;

/// Elements of the depth between two waits; a tap's channels are a multiple.
const DEPTH: usize = TensorMap::COLUMNS;

/// Threads of a block: two warpgroups that multiply, a warp that copies.
const THREADS: u32 = 2 * 128 + 32;

/// Dynamic shared memory: three stages of both operands' parts, from a multiple of 1024 bytes on.
const SHARED: u32 = (3 * 2 * TILE * DEPTH * size_of::<bf16>() + 1024) as u32;

/// Whether the forward pass with so many channels in and out can be done here.
pub(super) fn fits_fprop(c: usize, k: usize) -> bool {
    c.is_multiple_of(DEPTH) && k > TILE / 2
}

/// [`super::Fprop`] with the sizes n, h, w, c, k, side, pad, over `pixels` output pixels; y in bf16 or f32, the other one null.
///
/// Bound: the tensor cores.
#[expect(clippy::too_many_arguments, reason = "the kernel's own")]
pub(super) fn fprop(
    cuda: &Cuda,
    [n, h, w, c, k, side, pad]: [i32; 7],
    pixels: usize,
    x: Pointer<'_, bf16>,
    weights: Pointer<'_, bf16>,
    after: After<'_>,
    (y, y32): (PointerMut<'_, bf16>, PointerMut<'_, f32>),
    parts: PointerMut<'_, f32>,
) -> Result<()> {
    let size = |v: i32| v as usize;
    let windows = Windows { n: size(n), h: size(h), w: size(w), c: size(c), side: size(side), pad };
    let x = TensorMap::windows(x, windows, TILE)?;
    let weights = TensorMap::rows(weights, size(k), size(side * side * c), TILE)?;
    let blocks = pixels.div_ceil(TILE) * size(k).div_ceil(TILE);
    let launch = cuda.launch([int(blocks) as u32, 1, 1], THREADS, SHARED);
    let After { bias, norm: NormChannels { mean, var, gamma, beta, eps }, slope } = after;
    conv_fprop_wgmma::conv_fprop_wgmma_128x128(
        launch, x, weights, bias, mean, var, gamma, beta, y, y32, parts, eps, slope, n, h, w, c, k, side, pad,
    )
}

/// Whether the gradient of the weights can be done here.
pub(super) fn fits_wgrad(g: &ConvGeometry) -> bool {
    fits_fprop(g.c, g.k) && g.k.is_multiple_of(8)
}

/// Each part's share of dw of [`Wgrad`], one after another in `sums`; the parts are multiples of 64 pixels.
///
/// Bound: the tensor cores.
pub(super) fn shares(step: &Wgrad, memory: &DeviceBuffers, sums: PointerMut<'_, f32>, parts: &Parts) -> Result<()> {
    let ConvGeometry { n, h, w, c, k, side, pad, .. } = step.geometry;
    let windows = Windows { n, h, w, c, side, pad: int(pad) };
    let x = TensorMap::windows(memory.pointer(step.x), windows, DEPTH)?;
    let dy = TensorMap::rows(memory.pointer(step.dy), step.geometry.pixels(), k, DEPTH)?;
    let [rows, columns] = [k, step.geometry.taps()].map(|v| v.div_ceil(TILE) as u32);
    let launch = memory.cuda().launch([columns, rows, parts.count as u32], THREADS, SHARED);
    let [n, h, w, c, k, side, pad, part_pixels, part_length] =
        [n, h, w, c, k, side, pad, parts.pixels, step.part_length()].map(int);
    conv_wgrad_wgmma::conv_wgrad_wgmma_128x128(launch, x, dy, sums, part_pixels, part_length, n, h, w, c, k, side, pad)
}
