//! One colour per image, uniform over 0…255 per channel: channel `c` from the upper byte of number `c`.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::{Cuda, Result, kernels};
use crate::rng::Stream;

/// The mode.
pub(crate) const SOLID: Mode = Mode {
    word: "solid",
    explanation: "One random colour per image",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |_, channels| Arc::new(Solid { channels }),
    checksums: &[("noise", 0xfbb0_083e), ("malformed-normal", 0x196e_4871), ("malformed-normal-gt", 0x196e_4871)],
};

#[derive(Clone, Copy, Debug)]
struct Solid {
    channels: usize,
}

impl Noise for Solid {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, _scratch: &mut Scratch, noise: &mut [i16]) {
        let colour = stream.block(0).map(|bits| (bits >> 24) as i16);
        for pixel in noise.chunks_exact_mut(self.channels) {
            pixel.copy_from_slice(&colour[..self.channels]);
        }
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for Solid {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        // SAFETY: it is one of those kernels.
        unsafe { batch.fill(kernels::noise::noise_solid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn every_pixel_has_the_colour() {
        let stream = Stream::new(1, Purpose::Anomaly, 2, 3);
        let mut noise = vec![0; 60_000];
        Solid { channels: 3 }.fill(stream, Ingredients::default(), &mut Scratch::default(), &mut noise);
        assert!(noise.chunks(3).all(|pixel| pixel == &noise[..3]));
    }
}
