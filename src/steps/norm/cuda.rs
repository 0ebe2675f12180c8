//! Statistics of a norm on the GPU: `kernels/norm.cu`.

use super::Stats;
use crate::device::cuda::{self, Memory, kernels};

/// Pixels per tile of a reduction over pixels, as in the kernels.
const TILE: usize = 512;

/// Threads per block, as in the kernels.
const THREADS: u32 = 256;

/// Threads per block where a warp merges the tiles of a channel.
pub(in crate::steps) const MERGE_THREADS: u32 = THREADS;

/// Tiles that `pixels` are cut into.
fn tiles(pixels: usize) -> u32 {
    pixels.div_ceil(TILE) as u32
}

/// Channels side by side in a block of a reduction over pixels.
fn lanes(c: usize) -> u32 {
    c.next_power_of_two().min(32) as u32
}

impl Stats {
    /// Runs on the GPU.
    pub fn cuda(&self, memory: &Memory) -> cuda::Result<()> {
        let pixels = self.x.len / self.c;
        let (lanes, c) = (lanes(self.c), self.c as i32);
        let parts = memory.workspace();
        let device = memory.cuda();
        kernels::norm::norm_stats_tiles(
            device.launch([tiles(pixels), (self.c as u32).div_ceil(lanes), 1], THREADS, 0),
            memory.pointer(self.x),
            parts,
            pixels as i32,
            c,
            lanes as i32,
        )?;
        self.merge(memory, TILE)
    }

    /// Merges mean and M2 of tiles of so many pixels, which lie in the workspace [tiles, 2, c].
    pub(in crate::steps) fn merge(&self, memory: &Memory, tile_pixels: usize) -> cuda::Result<()> {
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

    /// Kernels that the GPU form launches.
    pub fn launches(&self) -> usize {
        2
    }

    /// Scratch elements that the GPU form needs.
    pub fn cuda_workspace(&self) -> usize {
        2 * self.c * tiles(self.x.len / self.c) as usize
    }
}
