//! The objective of HSC on the GPU: `kernels/hsc_loss.cu`.

#![allow(unsafe_code)] // launches

use super::{Gradient, GradientHeatmap, HscLoss, HscScore};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{
    GradientHeatmapParameters, HscLossParameters, HscScoreParameters, constants, hsc_loss as kernels,
};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::hsc_loss::THREADS as u32;

/// [`HscScore`].
pub(super) fn score(step: &HscScore, memory: &CheckedBuffers) -> Result<()> {
    let parameters = HscScoreParameters {
        o: memory.pointer(step.o),
        score: memory.pointer_mut(step.score),
        length: (step.o.len / step.score.len) as i32,
    };
    // SAFETY: views lie in their buffers: `length` values of o for each score.
    unsafe { kernels::hsc_score(memory.cuda().launch([step.score.len as u32, 1, 1], THREADS, 0), &parameters) }
}

/// [`HscLoss`].
pub(super) fn loss(step: &HscLoss, memory: &CheckedBuffers) -> Result<()> {
    let n = step.score.len;
    let parameters = HscLossParameters {
        o: memory.pointer(step.o),
        score: memory.pointer(step.score),
        labels: memory.pointer_opt(step.training.map(|training| training.labels)),
        loss: memory.pointer_mut_opt(step.training.map(|training| training.loss)),
        d_o: memory.pointer_mut(step.d_o),
        n: n as i32,
        length: (step.o.len / n) as i32,
    };
    // SAFETY: views lie in their buffers: d_o as long as o, labels and losses, both or none, as many as scores.
    unsafe { kernels::hsc_loss(memory.cuda().launch_per_item(step.o.len, THREADS), &parameters) }
}

/// [`GradientHeatmap`].
pub(super) fn heatmap(step: &GradientHeatmap, memory: &CheckedBuffers) -> Result<()> {
    let parameters = GradientHeatmapParameters {
        x: memory.pointer_opt((step.gradient == Gradient::Xgrad).then_some(step.x)),
        dx: memory.pointer(step.dx),
        heatmap: memory.pointer_mut(step.heatmap),
        pixels: step.heatmap.len as i32,
        c: (step.x.len / step.heatmap.len) as i32,
    };
    // SAFETY: views lie in their buffers: c values of x and of dx for each pixel.
    unsafe { kernels::gradient_heatmap(memory.cuda().launch_per_item(step.heatmap.len, THREADS), &parameters) }
}
