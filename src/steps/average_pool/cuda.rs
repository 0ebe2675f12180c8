//! The average pool on the GPU: `kernels/average_pool.cu`.

#![allow(unsafe_code)] // launches

use super::{AveragePool, AveragePoolBackward};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{
    AveragePoolBackwardParameters, AveragePoolParameters, AveragePoolShape, average_pool as kernels, constants,
};
use crate::steps::access::CheckedBuffers;
use crate::steps::pool::PoolGeometry;
use crate::steps::vectors::{Vectors, with_kernel};

const THREADS: u32 = constants::average_pool::THREADS as u32;

/// [`AveragePool`].
pub(super) fn forward(step: &AveragePool, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &AveragePool { geometry: g, x, y } = step;
    let Vectors { wide, groups, .. } = Vectors::new(y.dtype, g.c);
    let launch = memory.cuda().launch_per_item(g.n * g.oh() * g.ow() * groups, THREADS);
    with_kernel!(
        y.dtype,
        wide,
        [average_pool_f32x1, average_pool_f32x4, average_pool_bf16x1, average_pool_bf16x8],
        kernel => {
            let parameters = AveragePoolParameters { x: memory.pointer(x), y: memory.pointer_mut(y), shape: shape(&g) };
            // SAFETY: views lie in their buffers, and have the lengths of the geometry.
            unsafe { kernel(launch, &parameters) }
        }
    )
}

/// [`AveragePoolBackward`].
pub(super) fn backward(step: &AveragePoolBackward, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &AveragePoolBackward { geometry: g, dy, dx } = step;
    let Vectors { wide, groups, .. } = Vectors::new(dx.dtype, g.c);
    let launch = memory.cuda().launch_per_item(g.n * g.h * g.w * groups, THREADS);
    with_kernel!(
        dx.dtype,
        wide,
        [
            average_pool_backward_f32x1,
            average_pool_backward_f32x4,
            average_pool_backward_bf16x1,
            average_pool_backward_bf16x8
        ],
        kernel => {
            let (dy, dx) = (memory.pointer(dy), memory.pointer_mut(dx));
            // SAFETY: views lie in their buffers, and have the lengths of the geometry.
            unsafe { kernel(launch, &AveragePoolBackwardParameters { dy, dx, shape: shape(&g) }) }
        }
    )
}

fn shape(g: &PoolGeometry) -> AveragePoolShape {
    let [n, h, w, c, side, stride] = [g.n, g.h, g.w, g.c, g.side, g.stride].map(|v| v as i32);
    AveragePoolShape { n, h, w, c, side, stride }
}
