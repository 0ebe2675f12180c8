//! The objective of autoencoders on the GPU: `kernels/reconstruction_loss.cu`.

#![allow(unsafe_code)] // launches

use super::{Reconstruction, ReconstructionLoss};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{
    ReconstructionLossParameters, ReconstructionParameters, constants, reconstruction_loss as kernels,
};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::reconstruction_loss::THREADS as u32;

/// [`Reconstruction`].
pub(super) fn reconstruction(step: &Reconstruction, memory: &CheckedBuffers) -> Result<()> {
    let n = step.score.len;
    let parameters = ReconstructionParameters {
        x: memory.pointer(step.x),
        z: memory.pointer(step.z),
        y: memory.pointer_mut(step.y),
        map: memory.pointer_mut(step.map),
        score: memory.pointer_mut(step.score),
        sigmoid: i32::from(step.sigmoid),
        length: (step.z.len / n) as i32,
    };
    // SAFETY: views lie in their buffers: images of `length` values each, one for each score.
    unsafe { kernels::reconstruction(memory.cuda().launch([n as u32, 1, 1], THREADS, 0), &parameters) }
}

/// [`ReconstructionLoss`].
pub(super) fn loss(step: &ReconstructionLoss, memory: &CheckedBuffers) -> Result<()> {
    let parameters = ReconstructionLossParameters {
        x: memory.pointer(step.x),
        y: memory.pointer(step.y),
        score: memory.pointer(step.score),
        loss: memory.pointer_mut(step.loss),
        dz: memory.pointer_mut(step.dz),
        sigmoid: i32::from(step.sigmoid),
        n: step.score.len as i32,
        length: (step.y.len / step.score.len) as i32,
    };
    // SAFETY: views lie in their buffers: images of `length` values each, one for each score and loss.
    unsafe { kernels::reconstruction_loss(memory.cuda().launch_per_item(step.y.len, THREADS), &parameters) }
}
