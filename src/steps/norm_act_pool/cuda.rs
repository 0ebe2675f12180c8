//! Norm, activation and pool on the GPU: `kernels/norm_act_pool.cu`.

use super::{NormActPool, NormActPoolBackward};
use crate::device::cuda::{self, Memory, Pointer, PointerMut, kernels};
use crate::steps::norm::{Norm, cuda::MERGE_THREADS, cuda::lanes, cuda::tiles};
use crate::steps::pool::Geometry;

/// Threads per block, as in the kernels.
const THREADS: u32 = 256;

/// A norm's per-channel values on the device: mean, variance, γ, β; null where there are none.
struct Channels<'a> {
    mean: Pointer<'a, f32>,
    var: Pointer<'a, f32>,
    gamma: Pointer<'a, f32>,
    beta: Pointer<'a, f32>,
    eps: f32,
}

impl<'a> Channels<'a> {
    fn new(norm: Option<Norm>, memory: &'a Memory) -> Channels<'a> {
        let affine = norm.and_then(|n| n.affine);
        Channels {
            mean: memory.pointer_opt(norm.map(|n| n.mean)),
            var: memory.pointer_opt(norm.map(|n| n.var)),
            gamma: memory.pointer_opt(affine.map(|a| a.gamma)),
            beta: memory.pointer_opt(affine.map(|a| a.beta)),
            eps: norm.map_or(0.0, |n| n.eps as f32),
        }
    }
}

/// n, h, w, c, side, stride, pad.
fn shape(g: &Geometry) -> [i32; 7] {
    [g.n, g.h, g.w, g.c, g.side, g.stride, g.pad].map(|v| v as i32)
}

impl NormActPool {
    /// Runs on the GPU.
    pub fn cuda(&self, memory: &Memory) -> cuda::Result<()> {
        let Channels { mean, var, gamma, beta, eps } = Channels::new(self.norm, memory);
        let argmax = self.argmax.map_or(PointerMut::null(), |view| memory.bytes(view));
        let [n, h, w, c, side, stride, pad] = shape(&self.pool);
        kernels::norm_act_pool::norm_act_pool(
            memory.cuda().launch_per_item(self.pool.y_len(), THREADS),
            memory.pointer(self.x),
            mean,
            var,
            gamma,
            beta,
            memory.pointer_mut(self.y),
            argmax,
            eps,
            self.activation.slope as f32,
            n,
            h,
            w,
            c,
            side,
            stride,
            pad,
        )
    }
}

impl NormActPoolBackward {
    /// Runs on the GPU: one pass back through pool and activation, and with a norm of batch statistics two more for its gradient.
    pub fn cuda(&self, memory: &Memory) -> cuda::Result<()> {
        let Channels { mean, var, gamma, beta, eps } = Channels::new(self.norm, memory);
        let g = &self.pool;
        let [n, h, w, c, side, stride, pad] = shape(g);
        let pixels = g.n * g.h * g.w;
        let (tiles, lanes) = (tiles(pixels), lanes(g.c));
        let device = memory.cuda();
        let with_sums = self.with_sums();
        // The workspace holds the totals [2, c], then the tiles' sums [tiles, 2, c].
        let totals = memory.workspace();
        let parts = totals.offset(2 * g.c);
        let (x, dx) = (memory.pointer(self.x), memory.pointer_mut(self.dx));
        kernels::norm_act_pool::norm_act_pool_backward_gather(
            device.launch([tiles, (g.c as u32).div_ceil(lanes), 1], THREADS, 0),
            x,
            mean,
            var,
            gamma,
            beta,
            memory.bytes(self.argmax).read(),
            memory.pointer(self.dy),
            dx,
            if with_sums { parts } else { PointerMut::null() },
            eps,
            self.activation.slope as f32,
            n,
            h,
            w,
            c,
            side,
            stride,
            pad,
            lanes as i32,
        )?;
        if !with_sums {
            return Ok(());
        }
        kernels::norm_act_pool::norm_act_pool_backward_merge(
            device.launch_per_item(32 * g.c, MERGE_THREADS),
            parts.read(),
            var,
            memory.pointer_mut_opt(self.daffine.map(|a| a.gamma)),
            memory.pointer_mut_opt(self.daffine.map(|a| a.beta)),
            totals,
            eps,
            pixels as i32,
            c,
        )?;
        kernels::norm_act_pool::norm_act_pool_backward_apply(
            device.launch_per_item(g.x_len(), THREADS),
            x,
            mean,
            var,
            gamma,
            totals.read(),
            dx,
            eps,
            pixels as i32,
            c,
        )
    }

    /// Whether the gradient goes through statistics of the batch, which are sums over it.
    fn with_sums(&self) -> bool {
        self.norm.is_some() && self.batch_statistics
    }

    /// Kernels that the GPU form launches.
    pub fn launches(&self) -> usize {
        if self.with_sums() { 3 } else { 1 }
    }

    /// Scratch elements that the GPU form needs.
    pub fn cuda_workspace(&self) -> usize {
        let g = &self.pool;
        2 * g.c * (1 + tiles(g.n * g.h * g.w) as usize)
    }
}
