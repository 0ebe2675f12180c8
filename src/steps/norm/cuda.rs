//! Statistics of a norm on the GPU: `kernels/norm.cu`.

use super::{Norm, Stats};
use crate::device::cuda::{self, DeviceBuffers, Pointer, kernels};

/// Threads per block where a warp merges the tiles of a channel.
pub(in crate::steps) const MERGE_THREADS: u32 = 256;

impl Stats {
    /// Merges mean and M2 of tiles of so many pixels, which lie in the workspace [tiles, 2, c].
    pub(in crate::steps) fn merge(&self, memory: &DeviceBuffers, tile_pixels: usize) -> cuda::Result<()> {
        kernels::norm::norm_stats_merge(
            memory.cuda().launch_per_item(32 * self.c, MERGE_THREADS),
            memory.workspace().read(),
            memory.pointer_opt(self.bias),
            memory.pointer_mut(self.mean),
            memory.pointer_mut(self.var),
            memory.pointer_mut(self.running_mean),
            memory.pointer_mut(self.running_var),
            memory.hyper.pointer(),
            memory.clock.pointer(),
            (self.x.len / self.c) as i32,
            self.c as i32,
            tile_pixels as i32,
        )
    }
}

/// A norm's per-channel values on the device: mean, variance, γ, β; null where there are none.
pub(in crate::steps) struct NormChannels<'a> {
    pub mean: Pointer<'a, f32>,
    pub var: Pointer<'a, f32>,
    pub gamma: Pointer<'a, f32>,
    pub beta: Pointer<'a, f32>,
    pub eps: f32,
}

impl<'a> NormChannels<'a> {
    pub(crate) fn new(norm: Option<Norm>, memory: &'a DeviceBuffers) -> NormChannels<'a> {
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
