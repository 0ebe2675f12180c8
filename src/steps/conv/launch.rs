//! What the launchers of a convolution of f32 and of bf16 have in common.

use super::{Epilogue, Wgrad};
use crate::device::cuda::kernels::{conv_wgrad, conv_wgrad_bf16};
use crate::device::cuda::{DeviceBuffers, Pointer, PointerMut, Result};
use crate::device::{DType, View};
use crate::steps::norm::cuda::NormChannels;

/// Most elements of workspace for the sums of the parts: 64 MiB.
const SUMS: usize = 1 << 24;

/// A size as kernels take it. They count pixels in 32 bits, and elements in 64; networks with more pixels are refused before
/// (`engine::gpu`).
pub(super) fn int(size: usize) -> i32 {
    i32::try_from(size).expect("a convolution of fewer than 2^31 pixels")
}

/// What follows the sums of a convolution, as kernels take it.
pub(super) struct After<'a> {
    pub bias: Pointer<'a, f32>,
    pub norm: NormChannels<'a>,
    pub slope: f32,
}

impl<'a> After<'a> {
    pub(super) fn new(bias: Option<View>, epilogue: Epilogue, memory: &'a DeviceBuffers) -> After<'a> {
        let slope = epilogue.activation.slope as f32;
        After { bias: memory.pointer_opt(bias), norm: NormChannels::new(epilogue.norm, memory), slope }
    }
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
    memory: &'a DeviceBuffers,
    parts: &Parts,
    shares: impl FnOnce(PointerMut<'a, f32>) -> Result<()>,
) -> Result<()> {
    let (g, cuda, length) = (&step.geometry, memory.cuda(), step.part_length());
    let (dw, db) = (memory.pointer_mut(step.dw), memory.pointer_mut_opt(step.db));
    // A single part is the result.
    let (sums, bias_sums) = match parts.count {
        1 => (dw, db),
        _ => (memory.workspace(), memory.workspace().offset(g.w_len())),
    };
    shares(sums)?;
    let [count, part_pixels, part_length, pixels, k] = [parts.count, parts.pixels, length, g.pixels(), g.k].map(int);
    if step.db.is_some() {
        let launch = cuda.launch([g.k.div_ceil(256) as u32, count as u32, 1], 256, 0);
        let (sums, view) = (bias_sums, step.dy);
        match view.dtype {
            DType::F32 => {
                conv_wgrad::conv_wgrad_bias(launch, memory.pointer(view), sums, part_pixels, part_length, pixels, k)
            }
            DType::Bf16 => conv_wgrad_bf16::conv_wgrad_bf16_bias(
                launch,
                memory.pointer(view),
                sums,
                part_pixels,
                part_length,
                pixels,
                k,
            ),
        }?;
    }
    if parts.count == 1 {
        return Ok(());
    }
    let launch = cuda.launch([length.div_ceil(32) as u32, 1, 1], 256, 0);
    conv_wgrad::conv_wgrad_sum(launch, sums.read(), dw, db, count, part_length, part_length, int(g.w_len()))
}
