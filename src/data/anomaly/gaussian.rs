//! Normal noise of standard deviation 64, truncated to integers: value `i` from normal `i` of the stream.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::{Cuda, Result, kernels};
use crate::rng::Stream;

/// The mode.
pub(crate) const GAUSSIAN: Mode = Mode {
    word: "gaussian",
    explanation: "Gaussian noise per value, σ = 64 of 255",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |_, _| Arc::new(Gaussian),
    checksums: &[("noise", 0x56d5_c9a2), ("malformed-normal", 0x730b_1cdb), ("malformed-normal-gt", 0xfcae_ff07)],
};

#[derive(Clone, Copy, Debug)]
struct Gaussian;

impl Noise for Gaussian {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]) {
        scratch.normals.resize(noise.len(), 0.0);
        stream.fill_normal(&mut scratch.normals);
        for (value, normal) in noise.iter_mut().zip(&scratch.normals) {
            *value = (*normal * 64.0) as i16;
        }
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for Gaussian {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        // SAFETY: it is one of those kernels.
        unsafe { batch.fill(kernels::noise::noise_gaussian) }
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
        Gaussian.fill(stream, Ingredients::default(), &mut Scratch::default(), &mut noise);
        let n = noise.len() as f64;
        let mean = noise.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let deviation = (noise.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 1.5 && (deviation - 63.7).abs() < 1.0, "{mean} {deviation}");
    }
}
