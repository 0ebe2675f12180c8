//! Norm, activation and pool on the GPU: `kernels/norm_act_pool.cu`.

#![allow(unsafe_code)] // launches

use half::bf16;

use super::{NormActPool, NormActPoolBackward};
use crate::device::DType;
use crate::device::cuda::kernels::{
    NormActPoolBackwardParameters, NormActPoolGradient, NormActPoolMergeParameters, NormActPoolParameters,
    NormActPoolSumsParameters, NormChannels, PoolShape, constants, norm_act_pool as kernels,
};
use crate::device::cuda::{Launch, Number, Pointer, PointerMut, Result};
use crate::steps::access::CheckedBuffers;
use crate::steps::norm::cuda::MERGE_THREADS;
use crate::steps::pool::PoolGeometry;
use crate::steps::vectors::Vectors;

const THREADS: u32 = constants::norm_act_pool::THREADS as u32;

/// Pixels per block: of y forward, of x backward.
const FORWARD_TILE: usize = constants::norm_act_pool::FORWARD_TILE as usize;
const TILE: usize = constants::norm_act_pool::TILE as usize;

/// How the kernels read maps [pixels, c].
struct Rows {
    /// Blocks of so many pixels side by side, and of `lanes` threads along the channels.
    grid: [u32; 3],
    shape: PoolShape,
    /// Whether they read 16 bytes of channels at a time.
    wide: bool,
}

impl Rows {
    fn new(dtype: DType, g: &PoolGeometry, pixels: usize, tile: usize) -> Rows {
        let Vectors { wide, groups, lanes } = Vectors::new(dtype, g.c);
        let [n, h, w, c, side, stride, pad, along] =
            [g.n, g.h, g.w, g.c, g.side, g.stride, g.pad, lanes].map(|v| v as i32);
        let grid = [pixels.div_ceil(tile) as u32, groups.div_ceil(lanes) as u32, 1];
        Rows { grid, shape: PoolShape { n, h, w, c, side, stride, pad, lanes: along }, wide }
    }
}

/// The kernels of one number type.
struct Kernels<T: 'static> {
    forward: unsafe fn(Launch<'_>, &NormActPoolParameters<'_, T>) -> Result<()>,
    sums: unsafe fn(Launch<'_>, &NormActPoolSumsParameters<'_, T>) -> Result<()>,
    backward: unsafe fn(Launch<'_>, &NormActPoolBackwardParameters<'_, T>) -> Result<()>,
}

macro_rules! kernels {
    ($forward:ident, $sums:ident, $backward:ident) => {
        Kernels { forward: kernels::$forward, sums: kernels::$sums, backward: kernels::$backward }
    };
}

const F32: [Kernels<f32>; 2] = [
    kernels!(norm_act_pool_f32x1, norm_act_pool_backward_sums_f32x1, norm_act_pool_backward_f32x1),
    kernels!(norm_act_pool_f32x4, norm_act_pool_backward_sums_f32x4, norm_act_pool_backward_f32x4),
];
const BF16: [Kernels<bf16>; 2] = [
    kernels!(norm_act_pool_bf16x1, norm_act_pool_backward_sums_bf16x1, norm_act_pool_backward_bf16x1),
    kernels!(norm_act_pool_bf16x8, norm_act_pool_backward_sums_bf16x8, norm_act_pool_backward_bf16x8),
];

/// [`NormActPool`].
pub(super) fn forward(step: &NormActPool, memory: &CheckedBuffers) -> Result<()> {
    match step.x.dtype {
        DType::F32 => launch_forward(step, memory, &F32),
        DType::Bf16 => launch_forward(step, memory, &BF16),
    }
}

fn launch_forward<T: Number>(step: &NormActPool, memory: &CheckedBuffers, kernels: &[Kernels<T>; 2]) -> Result<()> {
    let g = &step.pool;
    let Rows { grid, shape, wide } = Rows::new(step.x.dtype, g, g.n * g.oh() * g.ow(), FORWARD_TILE);
    let parameters = NormActPoolParameters {
        x: memory.pointer(step.x),
        norm: NormChannels::new(step.norm, memory),
        y: memory.pointer_mut(step.y),
        argmax: step.argmax.map_or(PointerMut::null(), |view| memory.bytes(view)),
        slope: step.activation.slope as f32,
        shape,
    };
    // SAFETY: views lie in their buffers, and have the lengths of the geometry, those of the norm that of its channels.
    unsafe { (kernels[usize::from(wide)].forward)(memory.cuda().launch(grid, THREADS, 0), &parameters) }
}

/// [`NormActPoolBackward`]: one pass back through pool and activation, and with a norm of batch statistics two more for its gradient.
pub(super) fn backward(step: &NormActPoolBackward, memory: &CheckedBuffers) -> Result<()> {
    match step.x.dtype {
        DType::F32 => launch_backward(step, memory, &F32),
        DType::Bf16 => launch_backward(step, memory, &BF16),
    }
}

fn launch_backward<T: Number>(
    step: &NormActPoolBackward,
    memory: &CheckedBuffers,
    kernels: &[Kernels<T>; 2],
) -> Result<()> {
    let g = &step.pool;
    let pixels = g.n * g.h * g.w;
    let Rows { grid, shape, wide } = Rows::new(step.x.dtype, g, pixels, TILE);
    let (device, kernels) = (memory.cuda(), &kernels[usize::from(wide)]);
    let of = NormActPoolGradient {
        x: memory.pointer(step.x),
        norm: NormChannels::new(step.norm, memory),
        argmax: step.argmax.map_or(Pointer::null(), |view| memory.bytes(view).read()),
        dy: memory.pointer(step.dy),
        slope: step.activation.slope as f32,
        shape,
    };
    let mut totals = Pointer::null();
    if step.with_sums() {
        // The workspace holds the totals [2, c], then the tiles' sums [tiles, 2, c].
        let sums = memory.workspace();
        // SAFETY: that much was asked for (`backward_workspace`).
        let parts = unsafe { sums.offset(2 * g.c) };
        // SAFETY: views lie in their buffers, and have the lengths of the geometry; of the workspace, as above.
        unsafe { (kernels.sums)(device.launch(grid, THREADS, 0), &NormActPoolSumsParameters { of, parts }) }?;
        let merge = NormActPoolMergeParameters {
            parts: parts.read(),
            var: of.norm.var,
            dgamma: memory.pointer_mut_opt(step.daffine.map(|a| a.gamma)),
            dbeta: memory.pointer_mut_opt(step.daffine.map(|a| a.beta)),
            totals: sums,
            eps: of.norm.eps,
            pixels: pixels as i32,
            c: shape.c,
        };
        let launch = device.launch_per_item(32 * g.c, MERGE_THREADS);
        // SAFETY: as above; the views have a value for each channel.
        unsafe { kernels::norm_act_pool_backward_merge(launch, &merge) }?;
        totals = sums.read();
    }
    let parameters = NormActPoolBackwardParameters { of, totals, dx: memory.pointer_mut(step.dx) };
    // SAFETY: as for the sums; dx has the length of x.
    unsafe { (kernels.backward)(device.launch(grid, THREADS, 0), &parameters) }
}

/// Scratch elements of [`backward`]: sums of each tile, and their totals.
pub(super) fn backward_workspace(g: &PoolGeometry) -> usize {
    2 * g.c * (1 + (g.n * g.h * g.w).div_ceil(TILE))
}
