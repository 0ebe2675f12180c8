//! The noise of a batch in device memory, and what makes it.

use std::sync::Arc;

use super::Bytes;
use crate::data::anomaly::gpu::{Draw, GpuBatch, GpuNoise};
use crate::data::batches::{TrainingData, TrainingSet};
use crate::device::cuda::kernels::Lots;
use crate::device::cuda::{Buffer, Cuda, Result};

/// Noise modes with their tables, and the noise of a batch.
pub(super) struct BatchNoise {
    cuda: Arc<Cuda>,
    side: usize,
    channels: usize,
    images: DeviceIngredients,
    /// Each makes noise for those anomalies that its lots choose.
    modes: Vec<(Lots, Box<dyn GpuNoise>)>,
    values: Buffer<i16>,
}

/// Images that noise is made of: the normal ones, and those of another set. With a count of 0, one is staged for each image of the batch.
pub(super) struct DeviceIngredients {
    pub normals: (Bytes, usize),
    pub others: (Bytes, usize),
}

impl BatchNoise {
    /// For batches of up to `batch` images of a set.
    pub(super) fn new(
        cuda: &Arc<Cuda>,
        set: &TrainingSet,
        images: DeviceIngredients,
        batch: usize,
    ) -> Result<BatchNoise> {
        let TrainingData { preprocessing, .. } = set.data();
        let (side, channels) = (preprocessing.raw_side, preprocessing.channels);
        let noises = set.synthesiser().noises().enumerate();
        let modes = noises.map(|(number, mode)| Ok((set.noise_lots(number), mode.on_gpu(cuda, batch)?)));
        let (modes, values) = (modes.collect::<Result<_>>()?, cuda.alloc(batch * side * side * channels)?);
        Ok(BatchNoise { cuda: cuda.clone(), side, channels, images, modes, values })
    }

    /// Where [`BatchNoise::enqueue`] leaves its values.
    pub(super) fn values(&self) -> &Buffer<i16> {
        &self.values
    }

    /// Makes the noise of those images of a batch of `n` that become anomalies.
    pub(super) fn enqueue(&self, n: usize, draw: Draw<'_>) -> Result<()> {
        let DeviceIngredients { normals: (normals, normal_count), others: (others, other_count) } = &self.images;
        self.modes.iter().try_for_each(|(lots, mode)| {
            mode.enqueue(&GpuBatch {
                cuda: &self.cuda,
                n,
                side: self.side,
                channels: self.channels,
                draw: Draw { lots: *lots, ..draw },
                normals: normals.pointer(),
                normal_count: *normal_count as u32,
                others: others.pointer(),
                other_count: *other_count as u32,
                values: self.values.pointer_mut(),
            })
        })
    }
}
