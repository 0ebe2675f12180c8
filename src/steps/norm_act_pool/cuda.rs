//! Norm, activation and pool on the GPU: `kernels/norm_act_pool.cu`.

use half::bf16;

use super::{NormActPool, NormActPoolBackward};
use crate::device::DType;
use crate::device::cuda::kernels::norm_act_pool as kernels;
use crate::device::cuda::{self, DeviceBuffers, Launch, Number, Pointer, PointerMut};
use crate::steps::norm::cuda::{MERGE_THREADS, NormChannels};
use crate::steps::pool::PoolGeometry;
use crate::steps::vectors::Vectors;

/// Threads per block, as in the kernels.
const THREADS: u32 = 256;

/// Pixels per block, as in the kernels: of y forward, of x backward.
const FORWARD_TILE: usize = 128;
const TILE: usize = 512;

/// n, h, w, c, side, stride, pad.
fn shape(g: &PoolGeometry) -> [i32; 7] {
    [g.n, g.h, g.w, g.c, g.side, g.stride, g.pad].map(|v| v as i32)
}

/// How the kernels read maps [pixels, c].
struct Rows {
    /// Blocks of so many pixels side by side, and of `lanes` threads along the channels.
    grid: [u32; 3],
    lanes: i32,
    /// Whether they read 16 bytes of channels at a time.
    wide: bool,
}

impl Rows {
    fn new(dtype: DType, pixels: usize, c: usize, tile: usize) -> Rows {
        let Vectors { wide, groups, lanes } = Vectors::new(dtype, c);
        Rows { grid: [pixels.div_ceil(tile) as u32, groups.div_ceil(lanes) as u32, 1], lanes: lanes as i32, wide }
    }
}

/// The kernels of one number type.
struct Kernels<T> {
    forward: ForwardKernel<T>,
    sums: SumsKernel<T>,
    backward: BackwardKernel<T>,
}

type ForwardKernel<T> = fn(
    Launch<'_>,
    Pointer<'_, T>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    PointerMut<'_, T>,
    PointerMut<'_, u8>,
    f32,
    f32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> cuda::Result<()>;
type SumsKernel<T> = fn(
    Launch<'_>,
    Pointer<'_, T>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, u8>,
    Pointer<'_, T>,
    PointerMut<'_, f32>,
    f32,
    f32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> cuda::Result<()>;
type BackwardKernel<T> = fn(
    Launch<'_>,
    Pointer<'_, T>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, u8>,
    Pointer<'_, T>,
    Pointer<'_, f32>,
    PointerMut<'_, T>,
    f32,
    f32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> cuda::Result<()>;

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
pub(super) fn forward(step: &NormActPool, memory: &DeviceBuffers) -> cuda::Result<()> {
    match step.x.dtype {
        DType::F32 => launch_forward(step, memory, &F32),
        DType::Bf16 => launch_forward(step, memory, &BF16),
    }
}

fn launch_forward<T: Number>(
    step: &NormActPool,
    memory: &DeviceBuffers,
    kernels: &[Kernels<T>; 2],
) -> cuda::Result<()> {
    let NormChannels { mean, var, gamma, beta, eps } = NormChannels::new(step.norm, memory);
    let argmax = step.argmax.map_or(PointerMut::null(), |view| memory.bytes(view));
    let g = &step.pool;
    let [n, h, w, c, side, stride, pad] = shape(g);
    let Rows { grid, lanes, wide } = Rows::new(step.x.dtype, g.n * g.oh() * g.ow(), g.c, FORWARD_TILE);
    (kernels[usize::from(wide)].forward)(
        memory.cuda().launch(grid, THREADS, 0),
        memory.pointer(step.x),
        mean,
        var,
        gamma,
        beta,
        memory.pointer_mut(step.y),
        argmax,
        eps,
        step.activation.slope as f32,
        n,
        h,
        w,
        c,
        side,
        stride,
        pad,
        lanes,
    )
}

/// [`NormActPoolBackward`]: one pass back through pool and activation, and with a norm of batch statistics two more for its gradient.
pub(super) fn backward(step: &NormActPoolBackward, memory: &DeviceBuffers) -> cuda::Result<()> {
    match step.x.dtype {
        DType::F32 => launch_backward(step, memory, &F32),
        DType::Bf16 => launch_backward(step, memory, &BF16),
    }
}

fn launch_backward<T: Number>(
    step: &NormActPoolBackward,
    memory: &DeviceBuffers,
    kernels: &[Kernels<T>; 2],
) -> cuda::Result<()> {
    let NormChannels { mean, var, gamma, beta, eps } = NormChannels::new(step.norm, memory);
    let g = &step.pool;
    let [n, h, w, c, side, stride, pad] = shape(g);
    let pixels = g.n * g.h * g.w;
    let Rows { grid, lanes, wide } = Rows::new(step.x.dtype, pixels, g.c, TILE);
    let (device, kernels) = (memory.cuda(), &kernels[usize::from(wide)]);
    let (x, dy) = (memory.pointer(step.x), memory.pointer(step.dy));
    let argmax = step.argmax.map_or(Pointer::null(), |view| memory.bytes(view).read());
    let slope = step.activation.slope as f32;
    let launch = || device.launch(grid, THREADS, 0);
    let mut totals = Pointer::null();
    if step.with_sums() {
        // The workspace holds the totals [2, c], then the tiles' sums [tiles, 2, c].
        let (sums, parts) = (memory.workspace(), memory.workspace().offset(2 * g.c));
        (kernels.sums)(
            launch(),
            x,
            mean,
            var,
            gamma,
            beta,
            argmax,
            dy,
            parts,
            eps,
            slope,
            n,
            h,
            w,
            c,
            side,
            stride,
            pad,
            lanes,
        )?;
        kernels::norm_act_pool_backward_merge(
            device.launch_per_item(32 * g.c, MERGE_THREADS),
            parts.read(),
            var,
            memory.pointer_mut_opt(step.daffine.map(|a| a.gamma)),
            memory.pointer_mut_opt(step.daffine.map(|a| a.beta)),
            sums,
            eps,
            pixels as i32,
            c,
        )?;
        totals = sums.read();
    }
    let dx = memory.pointer_mut(step.dx);
    (kernels.backward)(
        launch(),
        x,
        mean,
        var,
        gamma,
        beta,
        argmax,
        dy,
        totals,
        dx,
        eps,
        slope,
        n,
        h,
        w,
        c,
        side,
        stride,
        pad,
        lanes,
    )
}

/// Scratch elements of [`backward`]: sums of each tile, and their totals.
pub(super) fn backward_workspace(g: &PoolGeometry) -> usize {
    2 * g.c * (1 + (g.n * g.h * g.w).div_ceil(TILE))
}
