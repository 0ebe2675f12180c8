//! Upsampling by nearest neighbours on the GPU: `kernels/upsample_nearest.cu`.

#![allow(unsafe_code)] // launches

use super::{UpsampleNearest2x, UpsampleNearest2xBackward};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{
    UpsampleNearestBackwardParameters, UpsampleNearestParameters, constants, upsample_nearest as kernels,
};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::upsample_nearest::THREADS as u32;

/// [`UpsampleNearest2x`].
pub(super) fn forward(step: &UpsampleNearest2x, memory: &CheckedBuffers) -> Result<()> {
    let [n, side, c] = step.geometry.numbers();
    let parameters = UpsampleNearestParameters { x: memory.pointer(step.x), y: memory.pointer_mut(step.y), n, side, c };
    let launch = memory.cuda().launch_per_item(step.geometry.large_len(), THREADS);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry.
    unsafe { kernels::upsample_nearest(launch, &parameters) }
}

/// [`UpsampleNearest2xBackward`].
pub(super) fn backward(step: &UpsampleNearest2xBackward, memory: &CheckedBuffers) -> Result<()> {
    let [n, side, c] = step.geometry.numbers();
    let parameters =
        UpsampleNearestBackwardParameters { dy: memory.pointer(step.dy), dx: memory.pointer_mut(step.dx), n, side, c };
    let launch = memory.cuda().launch_per_item(step.geometry.small_len(), THREADS);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry.
    unsafe { kernels::upsample_nearest_backward(launch, &parameters) }
}
