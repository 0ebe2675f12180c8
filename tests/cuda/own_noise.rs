//! A noise mode that is defined here instead of in the library, following CONTRIBUTING.md: this file is all that batches on the CPU and on the
//! GPU need. It reuses a kernel with other constants.

use std::sync::Arc;

use fcdd::data::anomaly::gpu::{GpuBatch, GpuNoise};
use fcdd::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use fcdd::device::cuda::kernels::{self, NoiseParameters};
use fcdd::device::cuda::{Cuda, Result};
use fcdd::rng::Stream;

/// One random grey per image, whatever its channels.
pub const GREY: Mode = Mode {
    word: "grey",
    explanation: "One random grey per image",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |_, _| Arc::new(Grey),
    checksums: &[],
};

#[derive(Clone, Copy, Debug)]
struct Grey;

impl Noise for Grey {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, _scratch: &mut Scratch, noise: &mut [i16]) {
        noise.fill((stream.bits(0) >> 24) as i16);
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for Grey {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let len = batch.image_len();
        // A solid colour of one channel: every value takes the first number's.
        let parameters = NoiseParameters { draw: batch.draw, noise: batch.values, len: len as u32, channels: 1 };
        // SAFETY: the draw names the batch's samples, the values have room for its images.
        unsafe { kernels::noise::noise_solid(batch.launch(len, 0), &parameters) }
    }
}
