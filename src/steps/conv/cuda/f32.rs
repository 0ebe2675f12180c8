//! Convolution of f32 on the GPU: `kernels/conv_fprop.cu`, `kernels/conv_dgrad.cu`, `kernels/conv_wgrad.cu`.
//!
//! Tiles and parts are chosen by the shapes alone, never by the device: the same bits on every GPU.

#![allow(unsafe_code)] // launches

use super::{Parts, int, result, shape};
use crate::device::View;
use crate::device::cuda::kernels::{
    DgradParameters, FpropParameters, WgradParameters, WgradParts, conv_dgrad, conv_fprop, conv_wgrad,
};
use crate::device::cuda::{Launch, Result};
use crate::steps::access::CheckedBuffers;
use crate::steps::conv::{ConvGeometry, Dgrad, Fprop, Wgrad};

/// A kernel in two forms: `quads` reads four channels at a time, `singles` one.
struct F32Tile<K> {
    /// Rows and columns of the product that a block computes.
    rows: usize,
    columns: usize,
    threads: u32,
    quads: K,
    singles: K,
}

impl<K: Copy> F32Tile<K> {
    fn kernel(&self, quads: bool) -> K {
        if quads { self.quads } else { self.singles }
    }

    /// Tiles of a product, along its rows and its columns.
    fn grid(&self, rows: usize, columns: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows), columns.div_ceil(self.columns)]
    }
}

type FpropKernel = unsafe fn(Launch<'_>, &FpropParameters<'_, f32>) -> Result<()>;
type DgradKernel = unsafe fn(Launch<'_>, &DgradParameters<'_>) -> Result<()>;
type WgradKernel = unsafe fn(Launch<'_>, &WgradParameters<'_, f32>) -> Result<()>;

macro_rules! tile {
    ($rows:literal, $columns:literal, $threads:literal, $module:ident, $quads:ident, $singles:ident) => {
        F32Tile {
            rows: $rows,
            columns: $columns,
            threads: $threads,
            quads: $module::$quads,
            singles: $module::$singles,
        }
    };
}

/// Tiles of fprop and dgrad, in the order of [`tile_for_pixels`].
const FPROP: [F32Tile<FpropKernel>; 4] = [
    tile!(256, 8, 128, conv_fprop, conv_fprop_256x8_quads, conv_fprop_256x8_singles),
    tile!(256, 32, 128, conv_fprop, conv_fprop_256x32_quads, conv_fprop_256x32_singles),
    tile!(64, 64, 128, conv_fprop, conv_fprop_64x64_quads, conv_fprop_64x64_singles),
    tile!(128, 64, 128, conv_fprop, conv_fprop_128x64_quads, conv_fprop_128x64_singles),
];
const DGRAD: [F32Tile<DgradKernel>; 4] = [
    tile!(256, 8, 128, conv_dgrad, conv_dgrad_256x8_quads, conv_dgrad_256x8_singles),
    tile!(256, 32, 128, conv_dgrad, conv_dgrad_256x32_quads, conv_dgrad_256x32_singles),
    tile!(64, 64, 128, conv_dgrad, conv_dgrad_64x64_quads, conv_dgrad_64x64_singles),
    tile!(128, 64, 128, conv_dgrad, conv_dgrad_128x64_quads, conv_dgrad_128x64_singles),
];

/// Tiles of wgrad, in the order of [`tile_for_weights`].
const WGRAD: [F32Tile<WgradKernel>; 4] = [
    tile!(8, 128, 64, conv_wgrad, conv_wgrad_8x128_quads, conv_wgrad_8x128_singles),
    tile!(32, 128, 128, conv_wgrad, conv_wgrad_32x128_quads, conv_wgrad_32x128_singles),
    tile!(64, 64, 128, conv_wgrad, conv_wgrad_64x64_quads, conv_wgrad_64x64_singles),
    tile!(128, 64, 128, conv_wgrad, conv_wgrad_128x64_quads, conv_wgrad_128x64_singles),
];

/// Blocks of the largest tile that occupy a large GPU (three on each of 132 multiprocessors); with fewer, smaller tiles do better.
const MANY_BLOCKS: usize = 3 * 132;

/// Threads that occupy a large GPU twice over: wgrad cuts the pixels into parts until it has so many.
const MANY_THREADS: usize = 2 * 132 * 512;

/// Fewest pixels of a part, so that writing and adding up the sums stays a small share of the work.
const PART_PIXELS: usize = 128;

/// The tile for a product of many pixels by some channels: as wide as the channels.
fn tile_for_pixels<K: Copy>(tiles: &[F32Tile<K>; 4], pixels: usize, channels: usize) -> &F32Tile<K> {
    let [to_16, to_32, small, large] = tiles;
    let [rows, columns] = large.grid(pixels, channels);
    match channels {
        0..=16 => to_16,
        17..=32 => to_32,
        _ if rows * columns < MANY_BLOCKS => small,
        _ => large,
    }
}

/// The tile for a product of output channels by taps.
fn tile_for_weights(k: usize) -> &'static F32Tile<WgradKernel> {
    let [to_16, to_32, small, large] = &WGRAD;
    match k {
        0..=16 => to_16,
        17..=32 => to_32,
        33..=64 => small,
        _ => large,
    }
}

/// Whether a view of images of so many channels can be read four channels at a time.
fn in_quads(view: View, channels: usize) -> bool {
    channels.is_multiple_of(4) && view.start.is_multiple_of(4)
}

/// [`Fprop`] of f32.
pub(in crate::steps::conv) fn fprop(step: &Fprop, memory: &CheckedBuffers) -> Result<()> {
    let g = &step.geometry;
    let tile = tile_for_pixels(&FPROP, g.pixels(), g.k);
    let [rows, columns] = tile.grid(g.pixels(), g.k);
    let parameters = FpropParameters {
        x: memory.pointer(step.x),
        weights: memory.pointer(step.w),
        result: result(memory, step.b, step.epilogue, step.y, step.stats.is_some()),
        shape: shape(g),
    };
    let launch = memory.cuda().launch([int(rows * columns) as u32, 1, 1], tile.threads, 0);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry; the workspace holds two values of each tile and channel.
    unsafe { tile.kernel(in_quads(step.x, g.c))(launch, &parameters) }?;
    step.stats.map_or(Ok(()), |stats| stats.merge(memory, tile.rows))
}

/// Pixels of a tile of [`fprop`].
pub(in crate::steps::conv) fn fprop_rows(g: &ConvGeometry) -> usize {
    tile_for_pixels(&FPROP, g.pixels(), g.k).rows
}

/// [`Dgrad`] of f32.
pub(in crate::steps::conv) fn dgrad(step: &Dgrad, memory: &CheckedBuffers) -> Result<()> {
    let g = &step.geometry;
    // Input pixels of one phase modulo the stride.
    let pixels = g.n * g.h.div_ceil(g.stride) * g.w.div_ceil(g.stride);
    let phases = g.stride * g.stride;
    let tile = tile_for_pixels(&DGRAD, pixels * phases, g.c);
    let [rows, columns] = tile.grid(pixels, g.c);
    let parameters = DgradParameters {
        dy: memory.pointer(step.dy),
        weights: memory.pointer(step.w),
        dx: memory.pointer_mut(step.dx),
        shape: shape(g),
    };
    let launch = memory.cuda().launch([int(rows * columns) as u32, int(phases) as u32, 1], tile.threads, 0);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry.
    unsafe { tile.kernel(in_quads(step.dy, g.k))(launch, &parameters) }
}

/// The parts of wgrad of f32.
pub(in crate::steps::conv) fn parts(step: &Wgrad) -> Parts {
    let tile = tile_for_weights(step.geometry.k);
    let [rows, columns] = tile.grid(step.geometry.k, step.geometry.taps());
    let wanted = MANY_THREADS.div_ceil(rows * columns * tile.threads as usize);
    Parts::new(step, wanted, PART_PIXELS, 8)
}

/// Each part's share of dw in f32.
pub(in crate::steps::conv) fn shares(step: &Wgrad, memory: &CheckedBuffers, parts: WgradParts<'_>) -> Result<()> {
    let (g, tile) = (&step.geometry, tile_for_weights(step.geometry.k));
    let [rows, columns] = tile.grid(g.k, g.taps());
    let count = g.pixels().div_ceil(parts.part_pixels as usize) as u32;
    let parameters = WgradParameters { x: memory.pointer(step.x), dy: memory.pointer(step.dy), parts, shape: shape(g) };
    let launch = memory.cuda().launch([columns as u32, rows as u32, count], tile.threads, 0);
    // SAFETY: views lie in their buffers, and have the lengths of the geometry; the parts' sums have room (`sum_of_parts`).
    unsafe { tile.kernel(in_quads(step.x, g.c))(launch, &parameters) }
}
