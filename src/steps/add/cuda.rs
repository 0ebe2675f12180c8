//! The sum on the GPU: `kernels/add.cu`.

#![allow(unsafe_code)] // launches

use super::{Add, AddBackward};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{AddBackwardParameters, AddParameters, add as kernels, constants};
use crate::steps::access::CheckedBuffers;
use crate::steps::vectors::{Vectors, with_kernel};

const THREADS: u32 = constants::add::THREADS as u32;

/// [`Add`].
pub(super) fn add(step: &Add, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &Add { activation, a, b, y } = step;
    let Vectors { wide, groups, .. } = Vectors::new(y.dtype, y.len);
    let launch = memory.cuda().launch_per_item(groups, THREADS);
    with_kernel!(y.dtype, wide, [add_f32x1, add_f32x4, add_bf16x1, add_bf16x8], kernel => {
        let (a, b, y) = (memory.pointer(a), memory.pointer(b), memory.pointer_mut(y));
        let parameters = AddParameters { a, b, y, slope: activation.slope as f32, count: groups as i32 };
        // SAFETY: views lie in their buffers; the groups are those of y, and the terms have its length.
        unsafe { kernel(launch, &parameters) }
    })
}

/// [`AddBackward`].
pub(super) fn backward(step: &AddBackward, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &AddBackward { activation, y, dy, dx } = step;
    let Vectors { wide, groups, .. } = Vectors::new(dx.dtype, dx.len);
    let launch = memory.cuda().launch_per_item(groups, THREADS);
    with_kernel!(
        dx.dtype,
        wide,
        [add_backward_f32x1, add_backward_f32x4, add_backward_bf16x1, add_backward_bf16x8],
        kernel => {
            let (y, dy, dx) = (memory.pointer(y), memory.pointer(dy), memory.pointer_mut(dx));
            let parameters = AddBackwardParameters { y, dy, dx, slope: activation.slope as f32, count: groups as i32 };
            // SAFETY: views lie in their buffers; the groups are those of dx, and y and dy have its length.
            unsafe { kernel(launch, &parameters) }
        }
    )
}
