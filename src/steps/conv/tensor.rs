//! Convolution on the tensor cores (sm_80 and later): `kernels/conv_fprop_bf16.cu`, `kernels/conv_wgrad_bf16.cu`.
//!
//! Activations, weights and gradients of activations are bf16, sums f32, gradients of weights and biases f32. The weights are kept
//! in f32 and cast for each step: [`cast_weights`] for the forward pass, [`cast_turned_weights`] for the gradient of the input,
//! which is the forward pass of dy with them. Stride 1; any kernel and padding. Where the channels that are summed over are no
//! multiple of 8 (first layers, heads), their taps are gathered one by one ("packed").
//!
//! Every bf16 operand starts at 16 bytes. On a GPU before sm_80 a launch ends in an error.
//!
//! Tiles and parts are chosen by the shapes alone, never by the device: the same bits on every GPU.

use half::bf16;

use super::Geometry;
use super::cuda::int;
use crate::device::cuda::kernels::{conv_fprop_bf16, conv_wgrad, conv_wgrad_bf16};
use crate::device::cuda::{Cuda, Launch, Pointer, PointerMut, Result};
use crate::steps::cast;

/// Elements of the 16 bytes that kernels read at a time.
const CHUNK: usize = 8;

/// Threads of every block.
const THREADS: u32 = 128;

/// Bytes of shared memory for each row and column of a tile: four stages of 32 bf16.
const SHARED: usize = 4 * 32 * 2;

/// Blocks that occupy a large GPU: two on each of 132 multiprocessors. With fewer, smaller tiles do better.
const MANY_BLOCKS: usize = 2 * 132;

/// Blocks that wgrad cuts its work into, so that the last ones do not leave much of the GPU idle.
const WGRAD_BLOCKS: usize = 4 * MANY_BLOCKS;

/// Fewest pixels of a part of wgrad, so that writing and adding up the sums stays a small share of the work.
const PART_PIXELS: usize = 512;

/// Most elements of workspace for the sums of the parts: 64 MiB.
const SUMS: usize = 1 << 24;

type FpropKernel = fn(
    Launch<'_>,
    Pointer<'_, bf16>,
    Pointer<'_, bf16>,
    Pointer<'_, f32>,
    PointerMut<'_, bf16>,
    PointerMut<'_, f32>,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> Result<()>;
type WgradKernel = fn(
    Launch<'_>,
    Pointer<'_, bf16>,
    Pointer<'_, bf16>,
    PointerMut<'_, f32>,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> Result<()>;

/// A kernel and the piece of the product that each of its blocks computes.
struct Tile<K> {
    rows: usize,
    columns: usize,
    kernel: K,
}

impl<K> Tile<K> {
    /// Tiles of a product, along its rows and its columns.
    fn grid(&self, rows: usize, columns: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows), columns.div_ceil(self.columns)]
    }

    /// Bytes of dynamic shared memory.
    fn shared(&self) -> u32 {
        (SHARED * (self.rows + self.columns)) as u32
    }
}

macro_rules! tiles {
    ($type:ident, $module:ident: $($rows:literal x $columns:literal $kernel:ident),*) => {
        [$(Tile { rows: $rows, columns: $columns, kernel: $module::$kernel as $type }),*]
    };
}

/// Tiles of pixels by output channels, in the order of [`fprop_tile`].
const FPROP: [Tile<FpropKernel>; 5] = tiles![FpropKernel, conv_fprop_bf16:
    128 x 16 conv_fprop_bf16_128x16,
    128 x 32 conv_fprop_bf16_128x32,
    64 x 64 conv_fprop_bf16_64x64,
    128 x 64 conv_fprop_bf16_128x64,
    128 x 128 conv_fprop_bf16_128x128];
const FPROP_PACKED: [Tile<FpropKernel>; 3] = tiles![FpropKernel, conv_fprop_bf16:
    64 x 16 conv_fprop_bf16_64x16_packed,
    64 x 32 conv_fprop_bf16_64x32_packed,
    64 x 64 conv_fprop_bf16_64x64_packed];

/// Tiles of output channels by taps, in the order of [`wgrad_tile`].
const WGRAD: [Tile<WgradKernel>; 4] = tiles![WgradKernel, conv_wgrad_bf16:
    16 x 128 conv_wgrad_bf16_16x128,
    32 x 128 conv_wgrad_bf16_32x128,
    64 x 128 conv_wgrad_bf16_64x128,
    128 x 128 conv_wgrad_bf16_128x128];
const WGRAD_PACKED: [Tile<WgradKernel>; 2] = tiles![WgradKernel, conv_wgrad_bf16:
    32 x 64 conv_wgrad_bf16_32x64_packed,
    64 x 64 conv_wgrad_bf16_64x64_packed];

/// The tile for so many pixels and output channels: as wide as the channels, and small enough for many blocks.
fn fprop_tile(packed: bool, pixels: usize, channels: usize) -> &'static Tile<FpropKernel> {
    if packed {
        let [to_16, to_32, large] = &FPROP_PACKED;
        return match channels {
            0..=16 => to_16,
            17..=32 => to_32,
            _ => large,
        };
    }
    let many_blocks = |tile: &Tile<FpropKernel>| tile.grid(pixels, channels).iter().product::<usize>() >= MANY_BLOCKS;
    let [to_16, to_32, small, middle, large] = &FPROP;
    match channels {
        0..=16 => to_16,
        17..=32 => to_32,
        65.. if many_blocks(large) => large,
        _ if many_blocks(middle) => middle,
        _ => small,
    }
}

/// The tile for so many output channels; the taps have tiles enough, and their pixels are cut into parts.
fn wgrad_tile(packed: bool, channels: usize) -> &'static Tile<WgradKernel> {
    let ([to_16, to_32, to_64, large], [packed_to_32, packed_large]) = (&WGRAD, &WGRAD_PACKED);
    match (packed, channels) {
        (true, 0..=32) => packed_to_32,
        (true, _) => packed_large,
        (false, 0..=16) => to_16,
        (false, 17..=32) => to_32,
        (false, 33..=64) => to_64,
        (false, _) => large,
    }
}

/// Whether the tensor cores can do a convolution.
pub fn takes(g: &Geometry) -> bool {
    g.stride == 1
}

/// Elements of the weights as [`cast_weights`] leaves them: [k, taps up to a multiple of 8].
pub fn weights_len(g: &Geometry) -> usize {
    g.k * g.taps().next_multiple_of(CHUNK)
}

/// Casts f32 weights [k, side, side, c] for [`fprop`].
pub fn cast_weights(cuda: &Cuda, g: &Geometry, w: Pointer<'_, f32>, cast: PointerMut<'_, bf16>) -> Result<()> {
    cast::rows(cuda, w, cast, g.k, [g.taps(), g.taps().next_multiple_of(CHUNK)])
}

/// Elements of the weights as [`cast_turned_weights`] leaves them: [c, side · side · k up to a multiple of 8].
pub fn turned_weights_len(g: &Geometry) -> usize {
    g.c * (g.side * g.side * g.k).next_multiple_of(CHUNK)
}

/// Casts f32 weights [k, side, side, c] for [`dgrad`]: [c, side, side, k], with rows and columns of the kernel from last to first.
pub fn cast_turned_weights(cuda: &Cuda, g: &Geometry, w: Pointer<'_, f32>, cast: PointerMut<'_, bf16>) -> Result<()> {
    let taps = g.side * g.side;
    cast::turned(cuda, w, cast, [g.k, taps, g.c], (taps * g.k).next_multiple_of(CHUNK))
}

/// Where the values of an activation go: in f32 for what computes on in f32.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    Bf16(PointerMut<'a, bf16>),
    F32(PointerMut<'a, f32>),
}

/// `y = conv(x, w) + b` with w from [`cast_weights`]; `b` may be null.
///
/// Bound: the tensor cores where a byte of x and y takes some 300 flop or more, else the bytes.
pub fn fprop(
    cuda: &Cuda,
    g: &Geometry,
    x: Pointer<'_, bf16>,
    w: Pointer<'_, bf16>,
    b: Pointer<'_, f32>,
    y: Output<'_>,
) -> Result<()> {
    assert!(takes(g), "tensor cores take stride 1, not {g:?}");
    let sizes = [int(g.n), int(g.h), int(g.w), int(g.c), int(g.k), int(g.side), int(g.pad)];
    launch_fprop(cuda, sizes, g.pixels(), x, w, b, y)
}

/// `dx = convᵀ(dy, w)` with w from [`cast_turned_weights`]. Bound: as [`fprop`].
pub fn dgrad(cuda: &Cuda, g: &Geometry, dy: Pointer<'_, bf16>, w: Pointer<'_, bf16>, dx: Output<'_>) -> Result<()> {
    assert!(takes(g), "tensor cores take stride 1, not {g:?}");
    // Negative where padding puts outputs beyond the reach of the image.
    let pad = int(g.side) - 1 - int(g.pad);
    let sizes = [int(g.n), int(g.oh()), int(g.ow()), int(g.k), int(g.c), int(g.side), pad];
    launch_fprop(cuda, sizes, g.n * g.h * g.w, dy, w, Pointer::null(), dx)
}

/// The kernel of both, with the sizes that it takes, in its order.
fn launch_fprop(
    cuda: &Cuda,
    [n, h, width, c, k, side, pad]: [i32; 7],
    pixels: usize,
    x: Pointer<'_, bf16>,
    w: Pointer<'_, bf16>,
    b: Pointer<'_, f32>,
    y: Output<'_>,
) -> Result<()> {
    let channels = k as usize;
    let tile = fprop_tile(!(c as usize).is_multiple_of(CHUNK), pixels, channels);
    let [rows, columns] = tile.grid(pixels, channels);
    let launch = cuda.launch([int(rows * columns) as u32, 1, 1], THREADS, tile.shared());
    let (y, y32) = match y {
        Output::Bf16(y) => (y, PointerMut::null()),
        Output::F32(y32) => (PointerMut::null(), y32),
    };
    (tile.kernel)(launch, x, w, b, y, y32, n, h, width, c, k, side, pad)
}

/// How wgrad cuts the pixels.
struct Parts {
    count: usize,
    pixels: usize,
    /// Sums of each part: of the weights, and of the bias if it is wanted.
    length: usize,
}

fn is_packed(g: &Geometry) -> bool {
    !g.c.is_multiple_of(CHUNK)
}

fn parts(g: &Geometry, bias: bool) -> Parts {
    let length = g.w_len() + if bias { g.k } else { 0 };
    let [rows, columns] = wgrad_tile(is_packed(g), g.k).grid(g.k, g.taps());
    let wanted = WGRAD_BLOCKS.div_ceil(rows * columns);
    let most = (g.pixels() / PART_PIXELS).min(SUMS / length).max(1);
    // Whole steps of the kernel's walk along the pixels.
    let pixels = g.pixels().div_ceil(wanted.min(most)).next_multiple_of(32);
    Parts { count: g.pixels().div_ceil(pixels), pixels, length }
}

/// Scratch elements that [`wgrad`] needs.
pub fn wgrad_workspace(g: &Geometry, bias: bool) -> usize {
    match parts(g, bias) {
        Parts { count: 1, .. } => 0,
        Parts { count, length, .. } => count * length,
    }
}

/// `dw = dyᵀ·im2col(x)` and, if wanted, `db = Σ dy`, in f32; `workspace` has [`wgrad_workspace`] elements.
///
/// Bound: the tensor cores for many channels, the bytes of x and dy for few.
pub fn wgrad(
    cuda: &Cuda,
    g: &Geometry,
    x: Pointer<'_, bf16>,
    dy: Pointer<'_, bf16>,
    dw: PointerMut<'_, f32>,
    db: Option<PointerMut<'_, f32>>,
    workspace: PointerMut<'_, f32>,
) -> Result<()> {
    assert!(takes(g), "tensor cores take stride 1, not {g:?}");
    let Parts { count, pixels, length } = parts(g, db.is_some());
    // A single part is the result.
    let (sums, bias_sums) = match count {
        1 => (dw, db),
        _ => (workspace, db.map(|_| workspace.offset(g.w_len()))),
    };
    let tile = wgrad_tile(is_packed(g), g.k);
    let [rows, columns] = tile.grid(g.k, g.taps());
    let launch = cuda.launch([columns as u32, rows as u32, count as u32], THREADS, tile.shared());
    let (part_pixels, part_length) = (int(pixels), int(length));
    let [n, h, width, c, k, side, pad] = [g.n, g.h, g.w, g.c, g.k, g.side, g.pad].map(int);
    (tile.kernel)(launch, x, dy, sums, part_pixels, part_length, n, h, width, c, k, side, pad)?;
    if let Some(sums) = bias_sums {
        let launch = cuda.launch([g.k.div_ceil(256) as u32, count as u32, 1], 256, 0);
        conv_wgrad_bf16::conv_wgrad_bf16_bias(launch, dy, sums, part_pixels, part_length, int(g.pixels()), k)?;
    }
    if count == 1 {
        return Ok(());
    }
    let launch = cuda.launch([length.div_ceil(32) as u32, 1, 1], 256, 0);
    let db = db.unwrap_or(PointerMut::null());
    conv_wgrad::conv_wgrad_sum(launch, workspace.read(), dw, db, int(count), part_length, int(g.w_len()))
}
