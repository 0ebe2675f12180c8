//! Convolution on the tensor cores (sm_80 and later): `kernels/conv_fprop_bf16.cu`, `kernels/conv_wgrad_bf16.cu`.
//!
//! Activations, weights and gradients of activations are bf16, sums f32, gradients of weights and biases f32. The weights are kept
//! in f32 and cast after each update ([`crate::steps::cast`]): as KRSC for fprop, and flipped for dgrad, which is an fprop of dy with
//! the flipped weights. Any kernel and padding; strides forward alone. Where the channels that are summed over are no multiple of 8 (first
//! layers), their taps are gathered one by one ("packed").
//!
//! Every bf16 operand is aligned to 16 bytes (`Operation::anywhere`). On a GPU before sm_80 a launch returns an error.
//!
//! Tiles and parts are chosen by the shapes alone, never by the device: the same bits on every GPU. The exception is off by default:
//! with `FCDD_WGMMA=1` layers of many channels use [`super::wgmma`] on GPUs of compute capability 9.0.

#![allow(unsafe_code)] // launches

use half::bf16;

use super::{Parts, int, result, shape, wgmma};
use crate::device::View;
use crate::device::cuda::kernels::{
    ConvShape, FpropParameters, FpropResult, WgradParameters, WgradParts, conv_fprop_bf16, conv_wgrad_bf16,
};
use crate::device::cuda::{Cuda, Launch, Result};
use crate::steps::access::CheckedBuffers;
use crate::steps::conv::{ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad};

/// Elements of the 16 bytes that kernels read at a time.
const CHUNK: usize = 8;

/// Threads of every block.
const THREADS: u32 = 128;

/// Bytes of shared memory for each row and column of a tile: four stages of 32 bf16.
const SHARED: usize = 4 * 32 * 2;

/// Blocks that occupy a large GPU: two on each of 132 multiprocessors. With fewer, smaller tiles do better.
pub(in crate::steps::conv) const MANY_BLOCKS: usize = 2 * 132;

/// Operations that a block does while a sum of one part is written and read again: a large GPU moves 3 TB/s, and a block does 2 TFLOP/s.
const SUM_COST: usize = 6;

/// Fewest pixels of a part of wgrad, so that writing and adding up the sums stays a small share of the work.
const PART_PIXELS: usize = 512;

pub(in crate::steps::conv) type MmaFpropKernel = unsafe fn(Launch<'_>, &FpropParameters<'_, bf16>) -> Result<()>;
pub(in crate::steps::conv) type MmaWgradKernel = unsafe fn(Launch<'_>, &WgradParameters<'_, bf16>) -> Result<()>;

/// A kernel and the piece of the product that each of its blocks computes.
pub(in crate::steps::conv) struct MmaTile<K: 'static> {
    pub rows: usize,
    pub columns: usize,
    kernel: K,
}

impl<K> MmaTile<K> {
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
        [$(MmaTile { rows: $rows, columns: $columns, kernel: $module::$kernel as $type }),*]
    };
}

/// What computes a product: a kernel of this file, or [`wgmma`]'s.
#[derive(Clone, Copy)]
pub(in crate::steps::conv) enum By<K: 'static> {
    Mma(&'static MmaTile<K>),
    Wgmma,
}

impl<K> By<K> {
    /// Rows and columns of its tile.
    pub(in crate::steps::conv) fn sides(&self) -> [usize; 2] {
        match self {
            By::Mma(tile) => [tile.rows, tile.columns],
            By::Wgmma => [wgmma::TILE; 2],
        }
    }
}

/// Tiles of pixels by output channels, in the order of [`fprop_tile`].
const FPROP: [MmaTile<MmaFpropKernel>; 5] = tiles![MmaFpropKernel, conv_fprop_bf16:
    128 x 16 conv_fprop_bf16_128x16,
    128 x 32 conv_fprop_bf16_128x32,
    64 x 64 conv_fprop_bf16_64x64,
    128 x 64 conv_fprop_bf16_128x64,
    128 x 128 conv_fprop_bf16_128x128];
const FPROP_PACKED: [MmaTile<MmaFpropKernel>; 3] = tiles![MmaFpropKernel, conv_fprop_bf16:
    64 x 16 conv_fprop_bf16_64x16_packed,
    64 x 32 conv_fprop_bf16_64x32_packed,
    64 x 64 conv_fprop_bf16_64x64_packed];
/// Of convolutions with a stride: of many channels, and packed.
const FPROP_STRIDED: [MmaTile<MmaFpropKernel>; 2] = tiles![MmaFpropKernel, conv_fprop_bf16:
    64 x 64 conv_fprop_bf16_64x64_strided,
    64 x 32 conv_fprop_bf16_64x32_packed_strided];

/// Tiles of output channels by taps, in the order of [`wgrad_tile`].
const WGRAD: [MmaTile<MmaWgradKernel>; 4] = tiles![MmaWgradKernel, conv_wgrad_bf16:
    16 x 128 conv_wgrad_bf16_16x128,
    32 x 128 conv_wgrad_bf16_32x128,
    64 x 128 conv_wgrad_bf16_64x128,
    128 x 128 conv_wgrad_bf16_128x128];
const WGRAD_PACKED: [MmaTile<MmaWgradKernel>; 2] = tiles![MmaWgradKernel, conv_wgrad_bf16:
    32 x 64 conv_wgrad_bf16_32x64_packed,
    64 x 64 conv_wgrad_bf16_64x64_packed];

/// A forward pass as tiles are chosen for it.
#[derive(Clone, Copy)]
pub(in crate::steps::conv) struct Forward {
    /// Of the output.
    pub pixels: usize,
    /// In and out.
    pub channels: [usize; 2],
    pub strided: bool,
}

impl Forward {
    pub(in crate::steps::conv) fn of_fprop(g: &ConvGeometry) -> Forward {
        Forward { pixels: g.pixels(), channels: [g.c, g.k], strided: g.stride > 1 }
    }

    /// The forward pass that dgrad of stride 1 is.
    pub(in crate::steps::conv) fn of_dgrad(g: &ConvGeometry) -> Forward {
        Forward { pixels: g.n * g.h * g.w, channels: [g.k, g.c], strided: false }
    }

    fn by_wgmma(&self) -> bool {
        let [c, k] = self.channels;
        !self.strided && wgmma::fits_fprop(c, k)
    }
}

/// The tile of a forward pass: as wide as the output's channels, and small enough for many blocks.
fn fprop_tile(of: Forward) -> &'static MmaTile<MmaFpropKernel> {
    let Forward { pixels, channels: [c, channels], strided } = of;
    if strided {
        let [whole, packed] = &FPROP_STRIDED;
        return if is_packed(c) { packed } else { whole };
    }
    if is_packed(c) {
        let [to_16, to_32, large] = &FPROP_PACKED;
        return match channels {
            0..=16 => to_16,
            17..=32 => to_32,
            _ => large,
        };
    }
    let many_blocks =
        |tile: &MmaTile<MmaFpropKernel>| tile.grid(pixels, channels).iter().product::<usize>() >= MANY_BLOCKS;
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
fn wgrad_tile(packed: bool, channels: usize) -> &'static MmaTile<MmaWgradKernel> {
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

/// What computes a forward pass.
pub(in crate::steps::conv) fn fprop_by(cuda: &Cuda, of: Forward) -> By<MmaFpropKernel> {
    if cuda.has_wgmma() && of.by_wgmma() { By::Wgmma } else { By::Mma(fprop_tile(of)) }
}

/// The candidates: the narrowest tile, and those of which less than half would be empty.
pub(in crate::steps::conv) fn fprop_candidates(cuda: &Cuda, of: Forward) -> Vec<By<MmaFpropKernel>> {
    let [c, k] = of.channels;
    let tiles = match of.strided {
        true => std::slice::from_ref(fprop_tile(of)),
        false if is_packed(c) => &FPROP_PACKED[..],
        false => &FPROP,
    };
    candidates(tiles, |tile| tile.columns < 2 * k, cuda.can_wgmma() && of.by_wgmma())
}

/// What computes the gradient of the weights.
pub(in crate::steps::conv) fn wgrad_by(cuda: &Cuda, g: &ConvGeometry) -> By<MmaWgradKernel> {
    match cuda.has_wgmma() && wgmma::fits_wgrad(g) {
        true => By::Wgmma,
        false => By::Mma(wgrad_tile(is_packed(g.c), g.k)),
    }
}

/// The candidates, as in [`fprop_candidates`].
pub(in crate::steps::conv) fn wgrad_candidates(cuda: &Cuda, g: &ConvGeometry) -> Vec<By<MmaWgradKernel>> {
    let tiles = if is_packed(g.c) { &WGRAD_PACKED[..] } else { &WGRAD };
    candidates(tiles, |tile| tile.rows < 2 * g.k, cuda.can_wgmma() && wgmma::fits_wgrad(g))
}

fn candidates<K>(tiles: &'static [MmaTile<K>], fits: impl Fn(&MmaTile<K>) -> bool, wgmma: bool) -> Vec<By<K>> {
    let [narrowest, wider @ ..] = tiles else { return Vec::new() };
    let wider = wider.iter().filter(|tile| fits(tile));
    std::iter::once(narrowest).chain(wider).map(By::Mma).chain(wgmma.then_some(By::Wgmma)).collect()
}

/// [`Fprop`] of bf16; y may be f32, which shows the sums as they are before they are rounded.
///
/// Bound: the tensor cores where a byte of x and y takes some 300 flop or more, else the bytes.
pub(in crate::steps::conv) fn fprop(step: &Fprop, memory: &CheckedBuffers, by: By<MmaFpropKernel>) -> Result<()> {
    let result = result(memory, step.b, step.epilogue, step.y, step.stats.is_some());
    launch_fprop(by, memory, [step.x, step.w], result, shape(&step.geometry), step.geometry.pixels())?;
    let [rows, _] = by.sides();
    step.stats.map_or(Ok(()), |stats| stats.merge(memory, rows))
}

/// Pixels of a tile of [`fprop`]; those of [`wgmma`] are no smaller.
pub(in crate::steps::conv) fn fprop_rows(g: &ConvGeometry) -> usize {
    fprop_tile(Forward::of_fprop(g)).rows
}

/// [`Dgrad`] of bf16; dx may be f32, as y of [`fprop`]. Bound: as there.
pub(in crate::steps::conv) fn dgrad(step: &Dgrad, memory: &CheckedBuffers, by: By<MmaFpropKernel>) -> Result<()> {
    let g = &step.geometry;
    // Padding is negative where it puts outputs beyond the reach of the image.
    let of = shape(g);
    let shape = ConvShape { h: int(g.oh()), w: int(g.ow()), c: of.k, k: of.c, pad: of.side - 1 - of.pad, ..of };
    let result = result(memory, None, Epilogue::NONE, step.dx, false);
    launch_fprop(by, memory, [step.dy, step.w], result, shape, g.n * g.h * g.w)
}

/// The kernel of both, over so many output pixels.
fn launch_fprop(
    by: By<MmaFpropKernel>,
    memory: &CheckedBuffers,
    [x, w]: [View; 2],
    result: FpropResult<'_, bf16>,
    shape: ConvShape,
    pixels: usize,
) -> Result<()> {
    let parameters = FpropParameters { x: memory.pointer(x), weights: memory.pointer(w), result, shape };
    let By::Mma(tile) = by else { return wgmma::fprop(memory.cuda(), parameters, pixels) };
    let [rows, columns] = tile.grid(pixels, shape.k as usize);
    let launch = memory.cuda().launch([int(rows * columns) as u32, 1, 1], THREADS, tile.shared());
    // SAFETY: views lie in their buffers, and have the lengths of the geometry, rows of weights those of a cast; the workspace holds two
    // values of each tile and channel.
    unsafe { (tile.kernel)(launch, &parameters) }
}

pub(in crate::steps::conv) fn is_packed(channels: usize) -> bool {
    !channels.is_multiple_of(CHUNK)
}

/// How wgrad cuts the pixels: more parts occupy more of the GPU, in waves of blocks, and have more sums to write and to add.
pub(in crate::steps::conv) fn parts(step: &Wgrad) -> Parts {
    let g = &step.geometry;
    let tile = wgrad_tile(is_packed(g.c), g.k);
    let tiles: usize = tile.grid(g.k, g.taps()).iter().product();
    let cost = |wanted: &usize| {
        let Parts { count, pixels } = parts_of(step, *wanted);
        let waves = (tiles * count).div_ceil(MANY_BLOCKS);
        waves * pixels * 2 * tile.rows * tile.columns + SUM_COST * step.part_length() * count
    };
    parts_of(step, (1..=MANY_BLOCKS).min_by_key(cost).unwrap_or(1))
}

/// As many parts as are wanted, or as the pixels allow.
pub(in crate::steps::conv) fn parts_of(step: &Wgrad, wanted: usize) -> Parts {
    Parts::new(step, wanted, PART_PIXELS, 64)
}

/// Each part's share of dw of [`Wgrad`] of bf16.
///
/// Bound: the tensor cores for many channels, the bytes of x and dy for few.
pub(in crate::steps::conv) fn shares(
    step: &Wgrad,
    memory: &CheckedBuffers,
    by: By<MmaWgradKernel>,
    parts: WgradParts<'_>,
) -> Result<()> {
    let g = &step.geometry;
    let count = g.pixels().div_ceil(parts.part_pixels as usize) as u32;
    let parameters = WgradParameters { x: memory.pointer(step.x), dy: memory.pointer(step.dy), parts, shape: shape(g) };
    let By::Mma(tile) = by else { return wgmma::shares(memory.cuda(), g, parameters, count) };
    let [rows, columns] = tile.grid(g.k, g.taps());
    let launch = memory.cuda().launch([columns as u32, rows as u32, count], THREADS, tile.shared());
    // SAFETY: views lie in their buffers, and have the lengths of the geometry; the parts' sums have room (`sum_of_parts`).
    unsafe { (tile.kernel)(launch, &parameters) }
}
