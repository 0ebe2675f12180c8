//! A network that draws its batches on the GPU.

use crate::data::cuda::DeviceSet;
use crate::engine::Network;
use crate::engine::gpu::BatchTarget;
use crate::error::Result;

/// Makes a network on a GPU draw its batches from a set that lies there, in epochs of up to `samples` samples.
pub(crate) fn draw_from(network: &mut Network<f32>, set: DeviceSet, samples: usize) -> Result<()> {
    let feed = move |batch: BatchTarget<'_>| {
        let BatchTarget { n, stride, clock, order, input, labels, maps } = batch;
        set.enqueue(n, stride, clock, order, input, labels, maps)
    };
    network.attach(Box::new(feed), samples)
}
