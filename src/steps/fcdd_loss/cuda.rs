//! The FCDD objective with maps on the GPU: `kernels/fcdd_loss.cu`.

#![allow(unsafe_code)] // launches

use super::{MapLoss, PseudoHuberBackward};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{MapLossParameters, PseudoHuberBackwardParameters, constants, fcdd_loss as kernels};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::fcdd_loss::THREADS as u32;

/// [`MapLoss`].
pub(super) fn map_loss(step: &MapLoss, memory: &CheckedBuffers) -> Result<()> {
    let n = step.loss.len;
    let parameters = MapLossParameters {
        a: memory.pointer(step.a),
        maps: memory.pointer(step.maps),
        loss: memory.pointer_mut(step.loss),
        da: memory.pointer_mut(step.da),
        n: n as i32,
        pixels: (step.a.len / n) as i32,
        top: step.top as i32,
    };
    // SAFETY: views lie in their buffers: a loss per image, and maps as long as a.
    unsafe { kernels::map_loss(memory.cuda().launch([n as u32, 1, 1], THREADS, 0), &parameters) }
}

/// [`PseudoHuberBackward`].
pub(super) fn pseudo_huber_backward(step: &PseudoHuberBackward, memory: &CheckedBuffers) -> Result<()> {
    let parameters = PseudoHuberBackwardParameters {
        z: memory.pointer(step.z),
        da: memory.pointer(step.da),
        dz: memory.pointer_mut(step.dz),
        len: step.z.len as i32,
    };
    // SAFETY: views lie in their buffers, and have the length of z.
    unsafe { kernels::pseudo_huber_backward(memory.cuda().launch_per_item(step.z.len, THREADS), &parameters) }
}
