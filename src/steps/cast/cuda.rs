//! Rounding to bf16 on the GPU: `kernels/cast.cu`.

#![allow(unsafe_code)] // launches

use super::{Cast, CastWeights};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{CastParameters, CastWeightsParameters, cast as kernels};
use crate::steps::access::CheckedBuffers;
use crate::steps::conv::weights::CHUNK;

/// [`Cast`].
pub(super) fn cast(step: &Cast, memory: &CheckedBuffers) -> Result<()> {
    let launch = memory.cuda().launch_per_item(step.x.len.div_ceil(CHUNK), 256);
    let (x, y, length) = (memory.pointer(step.x), memory.pointer_mut(step.y), step.x.len as i64);
    // SAFETY: views lie in their buffers, and y has the length of x.
    unsafe { kernels::cast(launch, &CastParameters { x, y, length }) }
}

/// [`CastWeights`].
pub(super) fn weights(step: &CastWeights, memory: &CheckedBuffers) -> Result<()> {
    let parameters = CastWeightsParameters {
        x: memory.pointer(step.params),
        y: memory.pointer_mut(step.casts),
        table: memory.table(&step.table())?,
        layers: step.layers.len() as i32,
    };
    let launch = memory.cuda().launch([step.blocks() as u32, 1, 1], 128, 0);
    // SAFETY: views lie in their buffers, the layers in the views (`CastWeights::wrong_numbers`), and the table is that of these layers.
    unsafe { kernels::cast_weights(launch, &parameters) }
}
