//! Images of another dataset in place of noise (outlier exposure): the caller holds and picks them.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::kernels::{self, OutlierNoiseParameters};
use crate::device::cuda::{Cuda, Result};
use crate::rng::Stream;

/// The mode.
pub(crate) const OUTLIERS: Mode = Mode {
    word: "outliers",
    explanation: "Images of another dataset (outlier exposure)",
    stands_alone: true,
    made_of: MadeOf::Outliers,
    prepare: |_, _| Arc::new(OutlierNoise),
    checksums: &[("noise", 0xc3a4_c193), ("malformed-normal", 0x41c2_dd5f), ("malformed-normal-gt", 0x41c2_dd5f)],
};

#[derive(Clone, Copy, Debug)]
struct OutlierNoise;

impl Noise for OutlierNoise {
    fn fill(&self, _stream: Stream, given: Ingredients<'_>, _scratch: &mut Scratch, noise: &mut [i16]) {
        for (value, &byte) in noise.iter_mut().zip(given.other.into_iter().flatten()) {
            *value = i16::from(byte);
        }
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for OutlierNoise {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let len = batch.image_len();
        let parameters = OutlierNoiseParameters {
            draw: batch.draw,
            outliers: batch.others,
            noise: batch.values,
            count: batch.other_count,
            len: len as u32,
        };
        // SAFETY: the draw names the batch's samples; outliers and values have room for its images.
        unsafe { kernels::noise::noise_outliers(batch.launch(len, 0), &parameters) }
    }
}
