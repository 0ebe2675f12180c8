//! Convolution by WGMMA and TMA of sm_90a, in place of the kernels of `tensor.rs` for many channels:
//! `kernels/conv_fprop_wgmma.cu` for the forward pass and the gradient of the input, `kernels/conv_wgrad_wgmma.cu`.
//!
//! Used only with `FCDD_WGMMA=1`: it passes its tests in the stand-in, and has not run on a GPU yet.

#![allow(unsafe_code)] // launches

use half::bf16;

use super::int;
use crate::device::cuda::kernels::{
    FpropMapsParameters, FpropParameters, WgradMapsParameters, WgradParameters, conv_fprop_wgmma, conv_wgrad_wgmma,
};
use crate::device::cuda::{Cuda, Result, TensorMap, Windows};
use crate::steps::conv::ConvGeometry;

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

/// What the kernels of `tensor.rs` compute of such parameters, over `pixels` output pixels.
///
/// Bound: the tensor cores.
pub(super) fn fprop(cuda: &Cuda, of: FpropParameters<'_, bf16>, pixels: usize) -> Result<()> {
    let FpropParameters { x, weights, result, shape } = of;
    let [n, h, w, c, k, side] = [shape.n, shape.h, shape.w, shape.c, shape.k, shape.side].map(|v| v as usize);
    let parameters = FpropMapsParameters {
        x: TensorMap::windows(x, Windows { n, h, w, c, side, pad: shape.pad }, TILE)?,
        weights: TensorMap::rows(weights, k, side * side * c, TILE)?,
        result,
        shape,
    };
    let blocks = pixels.div_ceil(TILE) * k.div_ceil(TILE);
    let launch = cuda.launch([int(blocks) as u32, 1, 1], THREADS, SHARED);
    // SAFETY: as for the kernels of `tensor.rs`; TMA reads zeros outside of the maps.
    unsafe { conv_fprop_wgmma::conv_fprop_wgmma_128x128(launch, &parameters) }
}

/// Whether the gradient of the weights can be done here.
pub(super) fn fits_wgrad(g: &ConvGeometry) -> bool {
    fits_fprop(g.c, g.k) && g.k.is_multiple_of(8)
}

/// Each part's share of dw, as by the kernels of `tensor.rs`; the parts are multiples of 64 pixels.
///
/// Bound: the tensor cores.
pub(super) fn shares(cuda: &Cuda, g: &ConvGeometry, of: WgradParameters<'_, bf16>, count: u32) -> Result<()> {
    let &ConvGeometry { n, h, w, c, k, side, .. } = g;
    let WgradParameters { x, dy, parts, shape } = of;
    let parameters = WgradMapsParameters {
        x: TensorMap::windows(x, Windows { n, h, w, c, side, pad: shape.pad }, DEPTH)?,
        dy: TensorMap::rows(dy, g.pixels(), k, DEPTH)?,
        parts,
        shape,
    };
    let [rows, columns] = [k, g.taps()].map(|v| v.div_ceil(TILE) as u32);
    let launch = cuda.launch([columns, rows, count], THREADS, SHARED);
    // SAFETY: as for the kernels of `tensor.rs`; TMA reads zeros outside of the maps.
    unsafe { conv_wgrad_wgmma::conv_wgrad_wgmma_128x128(launch, &parameters) }
}
