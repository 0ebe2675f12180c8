//! Upsampling by receptive fields on the GPU: `kernels/upsample.cu`.

#![allow(unsafe_code)] // launches

use super::{GaussianTaps, Upsample, UpsampleAdjoint};
use crate::device::View;
use crate::device::cuda::kernels::{Band, UpsampleParameters, constants, upsample as kernels};
use crate::device::cuda::{Pointer, PointerMut, Result};
use crate::steps::access::CheckedBuffers;

const THREADS: u32 = constants::upsample::THREADS as u32;

/// [`Upsample`].
pub(super) fn upsample(step: &Upsample, memory: &CheckedBuffers) -> Result<()> {
    let sizes = Sizes { taps: &step.taps, kernel: step.kernel, u: step.u, small: step.a.len };
    let wide = memory.workspace();
    let columns = sizes.parameters(memory, memory.pointer(step.a), wide);
    let rows = sizes.parameters(memory, wide.read(), memory.pointer_mut(step.out));
    let launch = |values| memory.cuda().launch_per_item(values, THREADS);
    // SAFETY: views lie in their buffers, and have the lengths of n maps of u² and of side² values; the workspace has room for n · u · side.
    unsafe {
        kernels::upsample_columns(launch(sizes.wide()), &columns)?;
        kernels::upsample_rows(launch(step.out.len), &rows)
    }
}

/// [`UpsampleAdjoint`].
pub(super) fn adjoint(step: &UpsampleAdjoint, memory: &CheckedBuffers) -> Result<()> {
    let sizes = Sizes { taps: &step.taps, kernel: step.kernel, u: step.u, small: step.da.len };
    let wide = memory.workspace();
    let rows = sizes.parameters(memory, memory.pointer(step.dout), wide);
    let columns = sizes.parameters(memory, wide.read(), memory.pointer_mut(step.da));
    let launch = |values| memory.cuda().launch_per_item(values, THREADS);
    // SAFETY: as for upsampling.
    unsafe {
        kernels::upsample_adjoint_rows(launch(sizes.wide()), &rows)?;
        kernels::upsample_adjoint_columns(launch(step.da.len), &columns)
    }
}

/// Maps of u² values, `small` in all, and the Gaussian that spreads them.
struct Sizes<'a> {
    taps: &'a GaussianTaps,
    kernel: View,
    u: usize,
    small: usize,
}

impl Sizes<'_> {
    /// Values between the two products: of maps [u, side].
    fn wide(&self) -> usize {
        self.small / self.u * self.taps.side()
    }

    fn parameters<'a>(
        &self,
        memory: &'a CheckedBuffers<'a>,
        from: Pointer<'a, f32>,
        to: PointerMut<'a, f32>,
    ) -> UpsampleParameters<'a> {
        let [size, origin, jump] = self.taps.numbers();
        let [n, u, side] = [self.small / (self.u * self.u), self.u, self.taps.side()].map(|v| v as i32);
        UpsampleParameters { from, to, band: Band { g: memory.pointer(self.kernel), size, origin, jump }, n, u, side }
    }
}
