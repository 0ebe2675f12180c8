//! Updates on the GPU: `kernels/optimizer.cu`.

#![allow(unsafe_code)] // launches

use super::{Adam, Sgd};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{AdamParameters, SgdParameters, constants, optimizer as kernels};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::optimizer::THREADS as u32;

/// [`Sgd`].
pub(super) fn sgd(step: &Sgd, memory: &CheckedBuffers) -> Result<()> {
    let parameters = SgdParameters {
        params: memory.pointer_mut(step.params),
        grads: memory.pointer(step.grads),
        momentum: memory.pointer_mut(step.momentum),
        hyper: memory.hyper().pointer(),
        clock: memory.clock().pointer(),
        len: step.params.len as i32,
    };
    // SAFETY: views lie in their buffers, and have the parameters' length; the clock names a row of the hyperparameters.
    unsafe { kernels::sgd(memory.cuda().launch_per_item(step.params.len, THREADS), &parameters) }
}

/// [`Adam`].
pub(super) fn adam(step: &Adam, memory: &CheckedBuffers) -> Result<()> {
    let parameters = AdamParameters {
        params: memory.pointer_mut(step.params),
        grads: memory.pointer(step.grads),
        m: memory.pointer_mut(step.m),
        v: memory.pointer_mut(step.v),
        hyper: memory.hyper().pointer(),
        clock: memory.clock().pointer(),
        len: step.params.len as i32,
    };
    // SAFETY: as for SGD.
    unsafe { kernels::adam(memory.cuda().launch_per_item(step.params.len, THREADS), &parameters) }
}
