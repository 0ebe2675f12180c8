//! Images of another dataset in place of noise (outlier exposure): the caller holds and picks them.

use std::sync::Arc;

use crate::data::anomaly::gpu::{Draw, GpuBatch, GpuNoise};
use crate::data::anomaly::{Mode, Noise, Scratch};
use crate::device::cuda::{Cuda, Result, kernels};
use crate::rng::Stream;

/// The mode.
pub(crate) const OUTLIERS: Mode = Mode {
    word: "outliers",
    explanation: "Images of another dataset (outlier exposure)",
    stands_alone: true,
    takes_outliers: true,
    prepare: |_, _| Arc::new(Outliers),
    checksums: &[("noise", 0xc3a4_c193), ("malformed-normal", 0x41c2_dd5f), ("malformed-normal-gt", 0x41c2_dd5f)],
};

#[derive(Clone, Copy, Debug)]
struct Outliers;

impl Noise for Outliers {
    fn fill(&self, _stream: Stream, outlier: Option<&[u8]>, _scratch: &mut Scratch, noise: &mut [i16]) {
        for (value, &byte) in noise.iter_mut().zip(outlier.into_iter().flatten()) {
            *value = i16::from(byte);
        }
    }

    fn on_gpu(&self, _cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(*self))
    }
}

impl GpuNoise for Outliers {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let Draw { clock, order, stride, seed, supervise } = batch.draw;
        let (launch, len, values) = (batch.launch(batch.image_len(), 0), batch.image_len() as u32, batch.values);
        let (images, count) = (batch.outliers, batch.outlier_count);
        kernels::noise::noise_outliers(launch, images, count, clock, order, stride, seed, supervise, len, values)
    }
}
