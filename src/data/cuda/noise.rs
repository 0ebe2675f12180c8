//! The noise of a batch in device memory, and what makes it.

use std::sync::Arc;

use super::Bytes;
use crate::data::anomaly::Noise;
use crate::data::anomaly::gpu::{Draw, GpuBatch, GpuNoise};
use crate::device::cuda::{Buffer, Cuda, Result};

/// A mode with its tables, and the noise of a batch.
pub(super) struct BatchNoise {
    cuda: Arc<Cuda>,
    side: usize,
    channels: usize,
    /// Images of another set and how many; with a count of 0, one is staged for each image of the batch.
    outliers: (Bytes, usize),
    mode: Box<dyn GpuNoise>,
    values: Buffer<i16>,
}

impl BatchNoise {
    /// For batches of up to `batch` images of `side × side`.
    pub(super) fn new(
        cuda: &Arc<Cuda>,
        noise: &dyn Noise,
        outliers: (Bytes, usize),
        (side, channels): (usize, usize),
        batch: usize,
    ) -> Result<BatchNoise> {
        let (mode, values) = (noise.on_gpu(cuda, batch)?, cuda.alloc(batch * side * side * channels)?);
        Ok(BatchNoise { cuda: cuda.clone(), side, channels, outliers, mode, values })
    }

    /// Where [`BatchNoise::enqueue`] leaves its values.
    pub(super) fn values(&self) -> &Buffer<i16> {
        &self.values
    }

    /// Makes the noise of those images of a batch of `n` that become anomalies.
    pub(super) fn enqueue(&self, n: usize, draw: Draw<'_>) -> Result<()> {
        let (outliers, count) = &self.outliers;
        self.mode.enqueue(&GpuBatch {
            cuda: &self.cuda,
            n,
            side: self.side,
            channels: self.channels,
            draw,
            outliers: outliers.pointer(),
            outlier_count: *count as u32,
            values: self.values.pointer_mut(),
        })
    }
}
