//! Dropout on the GPU: `kernels/dropout.cu`.

#![allow(unsafe_code)] // launches

use super::Dropout;
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{DropoutParameters, constants, dropout as kernels};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::dropout::THREADS as u32;

/// [`Dropout`].
pub(super) fn dropout(step: &Dropout, memory: &CheckedBuffers) -> Result<()> {
    let length = step.x.len / step.n;
    let parameters = DropoutParameters {
        x: memory.pointer(step.x),
        y: memory.pointer_mut(step.y),
        hyper: memory.hyper().pointer(),
        clock: memory.clock().pointer(),
        seed: step.seed,
        number: step.number as i32,
        n: step.n as i32,
        length: length as i32,
    };
    let launch = memory.cuda().launch_per_item(step.n * length.div_ceil(4), THREADS);
    // SAFETY: views lie in their buffers, and y has the length of x; the clock names a row of the hyperparameters.
    unsafe { kernels::dropout(launch, &parameters) }
}
