//! Networks in memory: the one place that lays them out for training, scoring and timing.

use crate::data::cuda::DeviceSet;
use crate::device::Device;
use crate::engine::Network;
use crate::engine::gpu::BatchTarget;
use crate::engine::lower::{PlanOptions, lower};
use crate::error::Result;
use crate::memory::room_for;
use crate::model::{Arch, Weights};

/// Lays out a net; fails where there is no memory for it.
pub(crate) fn lay_out(device: &Device, arch: &Arch, options: PlanOptions, weights: &Weights) -> Result<Network<f32>> {
    if let Device::Cuda(_) = device {
        return Network::on(device, arch, options, weights); // which sees to the memory of the GPU
    }
    let plan = lower(arch, &options)?;
    let reals = plan.buffers.reals.iter().map(|(len, _)| len).sum::<usize>() + plan.workspace();
    let bytes = reals * size_of::<f32>() + plan.buffers.bytes.iter().sum::<usize>();
    let what = format!("{} for {} images of {side}×{side} pixels", arch.name, options.batch, side = options.side);
    room_for(&what, bytes, "choose a smaller side or batch")?;
    Network::new(arch, options, weights)
}

/// Makes a network on a GPU draw its batches from a set that lies there, in epochs of up to `samples` samples.
pub(crate) fn draw_from(network: &mut Network<f32>, set: DeviceSet, samples: usize) -> Result<()> {
    let feed = move |batch: BatchTarget<'_>| {
        let BatchTarget { n, stride, clock, order, input, labels, maps } = batch;
        set.enqueue(n, stride, clock, order, input, labels, maps)
    };
    network.attach(Box::new(feed), samples)
}
