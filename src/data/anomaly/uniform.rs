//! Uniform noise over 0…255: value `i` from the upper byte of number `i`.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::{Cuda, Result, kernels};
use crate::rng::Stream;

/// The mode.
pub(crate) const UNIFORM: Mode = Mode {
    word: "uniform",
    explanation: "Uniform noise per value",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |_, _| Arc::new(Uniform),
    checksums: &[("noise", 0x0c57_a7cb), ("malformed-normal", 0xc3ae_d0ef), ("malformed-normal-gt", 0xdb65_4b87)],
};

#[derive(Clone, Copy, Debug)]
struct Uniform;

impl Noise for Uniform {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, _scratch: &mut Scratch, noise: &mut [i16]) {
        for (block, values) in noise.chunks_mut(4).enumerate() {
            for (value, bits) in values.iter_mut().zip(stream.block(block as u32)) {
                *value = (bits >> 24) as i16;
            }
        }
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for Uniform {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        // SAFETY: it is one of those kernels.
        unsafe { batch.fill(kernels::noise::noise_uniform) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn moments() {
        let stream = Stream::new(1, Purpose::Anomaly, 2, 3);
        let mut noise = vec![0; 60_000];
        Uniform.fill(stream, Ingredients::default(), &mut Scratch::default(), &mut noise);
        let n = noise.len() as f64;
        let mean = noise.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let deviation = (noise.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!((mean - 127.5).abs() < 1.5 && (deviation - 73.9).abs() < 1.0, "{mean} {deviation}");
        assert_eq!(noise[4_321], (stream.bits(4_321) >> 24) as i16);
    }
}
