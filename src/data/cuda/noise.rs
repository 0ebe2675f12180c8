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
    images: Ingredients,
    mode: Box<dyn GpuNoise>,
    values: Buffer<i16>,
}

/// Images that noise is made of: the normal ones, and those of another set. With a count of 0, one is staged for each image of the batch.
pub(super) struct Ingredients {
    pub normals: (Bytes, usize),
    pub others: (Bytes, usize),
}

impl BatchNoise {
    /// For batches of up to `batch` images of `side × side`.
    pub(super) fn new(
        cuda: &Arc<Cuda>,
        noise: &dyn Noise,
        images: Ingredients,
        (side, channels): (usize, usize),
        batch: usize,
    ) -> Result<BatchNoise> {
        let (mode, values) = (noise.on_gpu(cuda, batch)?, cuda.alloc(batch * side * side * channels)?);
        Ok(BatchNoise { cuda: cuda.clone(), side, channels, images, mode, values })
    }

    /// Where [`BatchNoise::enqueue`] leaves its values.
    pub(super) fn values(&self) -> &Buffer<i16> {
        &self.values
    }

    /// Makes the noise of those images of a batch of `n` that become anomalies.
    pub(super) fn enqueue(&self, n: usize, draw: Draw<'_>) -> Result<()> {
        let Ingredients { normals: (normals, normal_count), others: (others, other_count) } = &self.images;
        self.mode.enqueue(&GpuBatch {
            cuda: &self.cuda,
            n,
            side: self.side,
            channels: self.channels,
            draw,
            normals: normals.pointer(),
            normal_count: *normal_count as u32,
            others: others.pointer(),
            other_count: *other_count as u32,
            values: self.values.pointer_mut(),
        })
    }
}
