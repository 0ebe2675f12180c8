//! The head on the GPU: `kernels/head.cu`.

#![allow(unsafe_code)] // launches

use super::{Head, HeadBackward};
use crate::device::DType;
use crate::device::cuda::kernels::{
    HeadBackwardParameters, HeadParameters, WgradSumParameters, constants, conv_wgrad, head as kernels,
};
use crate::device::cuda::{Launch, Number, Result};
use crate::steps::access::CheckedBuffers;
use crate::steps::vectors::Vectors;

const THREADS: u32 = constants::head::THREADS as u32;

/// Pixels of a part of the backward pass.
const TILE: usize = constants::head::TILE as usize;

/// Kernels that read channels one by one, and 16 bytes of them.
type ForwardKernels<T> = [unsafe fn(Launch<'_>, &HeadParameters<'_, T>) -> Result<()>; 2];
type BackwardKernels<T> = [unsafe fn(Launch<'_>, &HeadBackwardParameters<'_, T>) -> Result<()>; 2];

/// [`Head`].
pub(super) fn head(step: &Head, memory: &CheckedBuffers) -> Result<()> {
    match step.x.dtype {
        DType::F32 => forward(step, memory, [kernels::head_f32x1, kernels::head_f32x4]),
        DType::Bf16 => forward(step, memory, [kernels::head_bf16x1, kernels::head_bf16x8]),
    }
}

fn forward<T: Number>(step: &Head, memory: &CheckedBuffers, [narrow, wide]: ForwardKernels<T>) -> Result<()> {
    let vectors = Vectors::new(step.x.dtype, step.geometry.c);
    let n = step.score.len;
    let parameters = HeadParameters {
        x: memory.pointer(step.x),
        weights: memory.pointer(step.w),
        bias: memory.pointer_opt(step.b),
        z: memory.pointer_mut(step.z),
        a: memory.pointer_mut(step.a),
        score: memory.pointer_mut(step.score),
        labels: memory.pointer_opt(step.labels.map(|of| of.labels)),
        loss: memory.pointer_mut_opt(step.labels.map(|of| of.loss)),
        dz: memory.pointer_mut_opt(step.labels.map(|of| of.dz)),
        n: n as i32,
        pixels: (step.z.len / n) as i32,
        c: step.geometry.c as i32,
        lanes: vectors.lanes as i32,
    };
    let launch = memory.cuda().launch([n as u32, 1, 1], THREADS, 0);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry: c channels for each pixel of z, n scores.
    unsafe { (if vectors.wide { wide } else { narrow })(launch, &parameters) }
}

/// [`HeadBackward`].
pub(super) fn backward(step: &HeadBackward, memory: &CheckedBuffers) -> Result<()> {
    match step.x.dtype {
        DType::F32 => launch_backward(step, memory, [kernels::head_backward_f32x1, kernels::head_backward_f32x4]),
        DType::Bf16 => launch_backward(step, memory, [kernels::head_backward_bf16x1, kernels::head_backward_bf16x8]),
    }
}

fn launch_backward<T: Number>(
    step: &HeadBackward,
    memory: &CheckedBuffers,
    [narrow, wide]: BackwardKernels<T>,
) -> Result<()> {
    let (c, pixels, cuda, sums) = (step.geometry.c, step.dz.len, memory.cuda(), memory.workspace());
    let Vectors { wide: in_vectors, groups, lanes } = Vectors::new(step.x.dtype, c);
    let parameters = HeadBackwardParameters {
        x: memory.pointer(step.x),
        weights: memory.pointer(step.w),
        dz: memory.pointer(step.dz),
        dx: memory.pointer_mut_opt(step.dx),
        sums,
        pixels: pixels as i32,
        c: c as i32,
        lanes: lanes as i32,
    };
    let parts = pixels.div_ceil(TILE);
    let launch = cuda.launch([parts as u32, groups.div_ceil(lanes) as u32, 1], THREADS, 0);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry; the workspace holds c + 1 sums of each part.
    unsafe { (if in_vectors { wide } else { narrow })(launch, &parameters) }?;
    let parameters = WgradSumParameters {
        sums: sums.read(),
        dw: memory.pointer_mut(step.dw),
        db: memory.pointer_mut_opt(step.db),
        parts: parts as i32,
        part_length: c as i32 + 1,
        length: step.sums() as i32,
        dw_length: c as i32,
    };
    let launch = cuda.launch([step.sums().div_ceil(32) as u32, 1, 1], 256, 0);
    // SAFETY: the sums are those that were just written; dw has c of them, and db is null where they end there.
    unsafe { conv_wgrad::conv_wgrad_sum(launch, &parameters) }
}

/// Scratch elements of [`backward`].
pub(super) fn backward_workspace(step: &HeadBackward) -> usize {
    step.dz.len.div_ceil(TILE) * (step.geometry.c + 1)
}
