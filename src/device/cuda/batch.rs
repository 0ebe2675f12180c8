//! Where a batch is to be made on the device, and what makes it there.

use super::{Buffer, DeviceSlice, Result};

/// Where a batch is to be made on the device. Its image i is sample `order[clock[0]·stride + i]` of epoch `clock[1]`.
pub struct BatchTarget<'a>(TargetParts<'a>);

/// What a [`BatchTarget`] promises the samples of: read alone, so that it stays true.
pub(crate) struct TargetParts<'a> {
    /// Images in the batch.
    pub(crate) n: usize,
    /// Images in a full batch.
    pub(crate) stride: usize,
    pub(crate) clock: &'a Buffer<u32>,
    pub(crate) order: &'a Buffer<u32>,
    /// [n, side, side, channels]
    pub(crate) input: DeviceSlice<'a, f32>,
    /// \[n\]
    pub(crate) labels: DeviceSlice<'a, f32>,
    /// [n, side, side]
    pub(crate) maps: Option<DeviceSlice<'a, f32>>,
}

impl<'a> BatchTarget<'a> {
    /// For `n` of the up to `stride` images of each batch of an order; input, labels and, where they are wanted, maps.
    ///
    /// # Safety
    /// When the launches run, the order has the samples that the clock names.
    pub unsafe fn new(
        (n, stride): (usize, usize),
        (clock, order): (&'a Buffer<u32>, &'a Buffer<u32>),
        (input, labels, maps): (DeviceSlice<'a, f32>, DeviceSlice<'a, f32>, Option<DeviceSlice<'a, f32>>),
    ) -> BatchTarget<'a> {
        BatchTarget(TargetParts { n, stride, clock, order, input, labels, maps })
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> &TargetParts<'a> {
        &self.0
    }
}

/// Makes batches on the device by launching kernels.
///
/// # Safety
/// The memory that the launches name, beside that of the target, stays where it is for as long as the source lives: they are captured in a
/// graph, which launches them again.
pub unsafe trait BatchSource: Send {
    /// Launches what makes a batch. It may not allocate, copy or wait.
    fn enqueue(&self, target: BatchTarget<'_>) -> Result<()>;
}
