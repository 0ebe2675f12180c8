//! The reshape on the GPU: `kernels/reshape.cu`.

#![allow(unsafe_code)] // launches

use super::Reshape;
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{ReshapeParameters, constants, reshape as kernels};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::reshape::THREADS as u32;

/// [`Reshape`].
pub(super) fn reshape(step: &Reshape, memory: &CheckedBuffers) -> Result<()> {
    let parameters = ReshapeParameters {
        x: memory.pointer(step.x),
        y: memory.pointer_mut(step.y),
        n: (step.x.len / (step.rows * step.columns)) as i32,
        rows: step.rows as i32,
        columns: step.columns as i32,
    };
    // SAFETY: views lie in their buffers: n matrices of rows · columns values each.
    unsafe { kernels::reshape(memory.cuda().launch_per_item(step.y.len, THREADS), &parameters) }
}
