//! Statistics of a norm on the GPU: `kernels/norm.cu`.

#![allow(unsafe_code)] // launches

use super::{Norm, Stats};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::{NormChannels, NormStatsParameters, constants, norm as kernels};
use crate::steps::access::CheckedBuffers;

/// Threads per block where a warp merges the tiles of a channel.
pub(in crate::steps) const MERGE_THREADS: u32 = constants::norm::THREADS as u32;

impl Stats {
    /// Merges mean and M2 of tiles of so many pixels, which lie in the workspace [tiles, 2, c].
    pub(in crate::steps) fn merge(&self, memory: &CheckedBuffers, tile_pixels: usize) -> Result<()> {
        let parameters = NormStatsParameters {
            parts: memory.workspace().read(),
            bias: memory.pointer_opt(self.bias),
            mean: memory.pointer_mut(self.mean),
            var: memory.pointer_mut(self.var),
            running_mean: memory.pointer_mut(self.running_mean),
            running_var: memory.pointer_mut(self.running_var),
            hyper: memory.hyper().pointer(),
            clock: memory.clock().pointer(),
            pixels: (self.x.len / self.c) as i32,
            c: self.c as i32,
            tile_pixels: tile_pixels as i32,
        };
        let launch = memory.cuda().launch_per_item(32 * self.c, MERGE_THREADS);
        // SAFETY: views lie in their buffers, and have a value for each channel; the step that wrote the tiles asked for their workspace.
        unsafe { kernels::norm_stats_merge(launch, &parameters) }
    }
}

impl<'a> NormChannels<'a> {
    /// A norm's values on the device; null where there are none.
    pub(in crate::steps) fn new(norm: Option<Norm>, memory: &'a CheckedBuffers<'a>) -> NormChannels<'a> {
        let affine = norm.and_then(|n| n.affine);
        NormChannels {
            mean: memory.pointer_opt(norm.map(|n| n.mean)),
            var: memory.pointer_opt(norm.map(|n| n.var)),
            gamma: memory.pointer_opt(affine.map(|a| a.gamma)),
            beta: memory.pointer_opt(affine.map(|a| a.beta)),
            eps: norm.map_or(0.0, |n| n.eps as f32),
        }
    }
}
