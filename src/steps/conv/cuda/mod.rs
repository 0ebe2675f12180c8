//! Convolution on the GPU: what the launchers of f32, of the tensor cores and of WGMMA have in common.

#![allow(unsafe_code)] // launches

pub(super) mod f32;
pub(super) mod tensor;
mod wgmma;

use super::{ConvGeometry, Epilogue, Wgrad};
use crate::device::cuda::kernels::{
    After, ConvShape, FpropResult, NormChannels, WgradBiasParameters, WgradParts, WgradSumParameters, conv_wgrad,
    conv_wgrad_bf16,
};
use crate::device::cuda::{Number, PointerMut, Result};
use crate::device::{DType, View};
use crate::steps::access::CheckedBuffers;

/// Most elements of workspace for the sums of the parts: 64 MiB.
const SUMS: usize = 1 << 24;

/// A size as kernels take it. They count pixels in 32 bits, and elements in 64; steps with more pixels are refused before
/// (`Operation::counted`).
fn int(size: usize) -> i32 {
    i32::try_from(size).expect("a convolution of fewer than 2^31 pixels")
}

fn shape(g: &ConvGeometry) -> ConvShape {
    let [n, h, w, c, k, side, stride, pad] = [g.n, g.h, g.w, g.c, g.k, g.side, g.stride, g.pad].map(int);
    ConvShape { n, h, w, c, k, side, stride, pad }
}

/// Where the sums of a convolution of such numbers go, y in them or in f32, and what becomes of them before. With `parts` the workspace
/// takes their mean and M2.
fn result<'a, T: Number>(
    memory: &'a CheckedBuffers,
    bias: Option<View>,
    epilogue: Epilogue,
    y: View,
    parts: bool,
) -> FpropResult<'a, T> {
    let norm = NormChannels::new(epilogue.norm, memory);
    let after = After { bias: memory.pointer_opt(bias), norm, slope: epilogue.activation.slope as f32 };
    let [own, other] = [y.dtype == T::DTYPE, y.dtype != T::DTYPE].map(|wanted| wanted.then_some(y));
    let parts = if parts { memory.workspace() } else { PointerMut::null() };
    FpropResult { after, y: memory.pointer_mut_opt(own), y32: memory.pointer_mut_opt(other), parts }
}

/// How wgrad cuts the pixels.
pub(super) struct Parts {
    pub count: usize,
    /// Of each part but the last, which may have fewer.
    pub pixels: usize,
}

impl Parts {
    /// As many as are `wanted`, of at least `fewest` pixels and whole steps of the kernel's `walk` along them.
    pub(super) fn new(step: &Wgrad, wanted: usize, fewest: usize, walk: usize) -> Parts {
        let all = step.geometry.pixels();
        let most = (all / fewest).min(SUMS / step.part_length()).max(1);
        let pixels = all.div_ceil(wanted.min(most)).next_multiple_of(walk);
        Parts { count: all.div_ceil(pixels), pixels }
    }
}

/// The parts' `shares`, which are written to where it is told, then their sum.
pub(super) fn sum_of_parts<'a>(
    step: &Wgrad,
    memory: &'a CheckedBuffers<'a>,
    parts: &Parts,
    shares: impl FnOnce(WgradParts<'a>) -> Result<()>,
) -> Result<()> {
    let (g, cuda, length) = (&step.geometry, memory.cuda(), step.part_length());
    let (dw, db) = (memory.pointer_mut(step.dw), memory.pointer_mut_opt(step.db));
    // A single part is the result.
    let (sums, bias_sums) = match parts.count {
        1 => (dw, db),
        // SAFETY: the workspace holds `part_length` sums of each part, and those of a bias lie behind the weights'.
        _ => (memory.workspace(), unsafe { memory.workspace().offset(g.w_len()) }),
    };
    let [count, part_pixels, part_length] = [parts.count, parts.pixels, length].map(int);
    let written = |sums| WgradParts { sums, part_pixels, part_length };
    shares(written(sums))?;
    if step.db.is_some() {
        let launch = cuda.launch([g.k.div_ceil(256) as u32, count as u32, 1], 256, 0);
        let (parts, pixels, k) = (written(bias_sums), int(g.pixels()), int(g.k));
        // SAFETY: dy lies in its buffer, and has k channels of each pixel; each part has k sums for the bias.
        unsafe {
            match step.dy.dtype {
                DType::F32 => {
                    let dy = memory.pointer(step.dy);
                    conv_wgrad::conv_wgrad_bias(launch, &WgradBiasParameters { dy, parts, pixels, k })
                }
                DType::Bf16 => {
                    let dy = memory.pointer(step.dy);
                    conv_wgrad_bf16::conv_wgrad_bf16_bias(launch, &WgradBiasParameters { dy, parts, pixels, k })
                }
            }
        }?;
    }
    if parts.count == 1 {
        return Ok(());
    }
    let parameters = WgradSumParameters {
        sums: sums.read(),
        dw,
        db,
        parts: count,
        part_length,
        length: part_length,
        dw_length: int(g.w_len()),
    };
    let launch = cuda.launch([length.div_ceil(32) as u32, 1, 1], 256, 0);
    // SAFETY: the sums are those that were just written; dw and db have the lengths of the geometry.
    unsafe { conv_wgrad::conv_wgrad_sum(launch, &parameters) }
}
