//! What a mode needs to make the noise of a batch on a GPU.

use crate::device::cuda::{Cuda, Launch, Pointer, PointerMut, Result};

/// Threads per block, and values that each is meant to make.
const THREADS: usize = 256;
const PER_THREAD: usize = 4;

/// A mode's tables in device memory.
pub trait GpuNoise: Send + Sync {
    /// Makes the noise of those images of a batch that become anomalies. It only launches kernels, so that a captured graph can hold it.
    ///
    /// # Errors
    /// Those of a launch.
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()>;
}

/// A batch to be filled with noise.
pub struct GpuBatch<'a> {
    /// The device.
    pub cuda: &'a Cuda,
    /// Images.
    pub n: usize,
    /// Side of an image.
    pub side: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Which samples they are.
    pub draw: Draw<'a>,
    /// Images of another set. With a count of 0, one was staged for each image of the batch.
    pub outliers: Pointer<'a, u8>,
    /// How many.
    pub outlier_count: u32,
    /// Where the noise goes: an image's values one after the other, of −511…511.
    pub values: PointerMut<'a, i16>,
}

/// Where the numbers lie that say which sample an image of a batch is.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// Number of the batch within the epoch, then the epoch.
    pub clock: Pointer<'a, u32>,
    /// Samples in the order of the epoch.
    pub order: Pointer<'a, u32>,
    /// Samples of a batch in that order.
    pub stride: u32,
    /// Of the training set.
    pub seed: u64,
    /// As `kernels/sample.cuh` numbers the ways of supervision.
    pub supervise: i32,
}

impl<'a> GpuBatch<'a> {
    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.side * self.side
    }

    /// Values of an image.
    pub fn image_len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// A launch of blocks for so many items of each image, with so many bytes of dynamic shared memory: a grid of (images, parts of an
    /// image).
    pub fn launch(&self, items: usize, shared: usize) -> Launch<'a> {
        let parts = items.div_ceil(THREADS * PER_THREAD).min(1 << 15);
        self.cuda.launch([self.n as u32, parts as u32, 1], THREADS as u32, shared as u32)
    }
}
