//! What a mode needs to make the noise of a batch on a GPU.

#![allow(unsafe_code)] // launches

pub use crate::device::cuda::kernels::Draw;
use crate::device::cuda::kernels::NoiseParameters;
use crate::device::cuda::{Cuda, Launch, Pointer, PointerMut, Result};

/// Threads per block, and values that each is meant to make.
const THREADS: usize = 256;
const PER_THREAD: usize = 4;

/// A mode's tables in device memory.
///
/// # Safety
/// The launches name memory of the batch and memory that stays where it is until this is dropped: graphs repeat them.
pub unsafe trait GpuNoise: Send + Sync {
    /// Makes the noise of those images of a batch that become anomalies. It only launches kernels, so that a captured graph can hold it.
    ///
    /// # Errors
    /// Those of a launch.
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()>;
}

/// A batch to be filled with noise. Its pointers have room for what is said of each.
#[non_exhaustive] // so that only the crate makes one
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
    /// The normal images. With a count of 0, one was staged for each image of the batch.
    pub normals: Pointer<'a, u8>,
    /// How many.
    pub normal_count: u32,
    /// Images of another set. With a count of 0, one was staged for each image of the batch that becomes an anomaly: of another set or, where
    /// noise is made of good images, another of those.
    pub others: Pointer<'a, u8>,
    /// How many.
    pub other_count: u32,
    /// Where the noise goes: an image's values one after the other, as of [`Noise::fill`](super::Noise::fill).
    pub values: PointerMut<'a, i16>,
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

    /// Launches a kernel that fills value by value, as those of `kernels/noise.cu`.
    ///
    /// # Safety
    /// The kernel takes any grid and writes inside the images of the batch.
    ///
    /// # Errors
    /// Those of a launch.
    pub unsafe fn fill(&self, kernel: unsafe fn(Launch<'_>, &NoiseParameters<'_>) -> Result<()>) -> Result<()> {
        let (len, channels) = (self.image_len(), self.channels as u32);
        let parameters = NoiseParameters { draw: self.draw, noise: self.values, len: len as u32, channels };
        // SAFETY: the draw names the batch's samples, the values have room for its images; the rest is the caller's part.
        unsafe { kernel(self.launch(len, 0), &parameters) }
    }
}
