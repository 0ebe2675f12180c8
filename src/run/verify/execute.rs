//! Steps on given numbers, on the device that is verified.

use crate::device::cuda::DeviceBuffers;
use crate::device::{DType, Device, HostBuffers, View};
use crate::engine::{Hyper, Step};
use crate::error::Result;
use crate::real::Real;

/// Runs steps in turn over all of `memory`. On a GPU, which computes in f32, the memory goes there and back.
pub(super) fn execute<T: Real>(device: &Device, steps: &[Step], memory: &mut HostBuffers<T>) -> Result<()> {
    let Device::Cuda(cuda) = device else {
        steps.iter().for_each(|step| step.cpu(memory, &Hyper::IDLE));
        return Ok(());
    };
    let lengths = memory.lengths();
    let workspace = steps.iter().map(Step::cuda_workspace).max().unwrap_or(0);
    let reals: Vec<_> = lengths.iter().map(|&len| (len, DType::F32)).collect();
    let mut there = DeviceBuffers::new(cuda, &reals, &[], workspace)?;
    let whole = |(buffer, &len): (usize, &usize)| View::of(buffer, len);
    for view in lengths.iter().enumerate().map(whole) {
        there.write(view, bytemuck::cast_slice(memory.get(view)))?;
    }
    for step in steps {
        step.cuda(&there)?;
    }
    for view in lengths.iter().enumerate().map(whole) {
        there.read(view, bytemuck::cast_slice_mut(memory.get_mut(view)))?;
    }
    Ok(())
}
