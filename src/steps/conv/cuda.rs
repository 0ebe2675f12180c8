//! Convolution on the GPU: `kernels/conv_fprop.cu`, `kernels/conv_dgrad.cu`, `kernels/conv_wgrad.cu`.
//!
//! Tiles and parts are chosen by the shapes alone, never by the device: the same bits on every GPU.

use super::{Dgrad, Fprop, Geometry, Wgrad, tensor};
use crate::device::cuda::kernels::{conv_dgrad, conv_fprop, conv_wgrad};
use crate::device::cuda::{Launch, Memory, Pointer, PointerMut, Result};
use crate::device::{Format, View};

/// A kernel in two forms: `quads` reads four channels at a time, `singles` one.
struct Tile<K> {
    /// Rows and columns of the product that a block computes.
    rows: usize,
    columns: usize,
    threads: u32,
    quads: K,
    singles: K,
}

impl<K: Copy> Tile<K> {
    fn kernel(&self, quads: bool) -> K {
        if quads { self.quads } else { self.singles }
    }

    /// Tiles of a product, along its rows and its columns.
    fn grid(&self, rows: usize, columns: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows), columns.div_ceil(self.columns)]
    }
}

/// Kernels of the table below with one signature.
type FpropKernel = fn(
    Launch<'_>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    PointerMut<'_, f32>,
    PointerMut<'_, f32>,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
) -> Result<()>;
type DgradKernel = fn(
    Launch<'_>,
    Pointer<'_, f32>,
    Pointer<'_, f32>,
    PointerMut<'_, f32>,
    i32,
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
    Pointer<'_, f32>,
    Pointer<'_, f32>,
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
    i32,
) -> Result<()>;

macro_rules! tile {
    ($rows:literal, $columns:literal, $threads:literal, $module:ident, $quads:ident, $singles:ident) => {
        Tile { rows: $rows, columns: $columns, threads: $threads, quads: $module::$quads, singles: $module::$singles }
    };
}

/// Tiles of fprop and dgrad, in the order of [`tile_for_pixels`].
const FPROP: [Tile<FpropKernel>; 4] = [
    tile!(256, 8, 128, conv_fprop, conv_fprop_256x8_quads, conv_fprop_256x8_singles),
    tile!(256, 32, 128, conv_fprop, conv_fprop_256x32_quads, conv_fprop_256x32_singles),
    tile!(64, 64, 128, conv_fprop, conv_fprop_64x64_quads, conv_fprop_64x64_singles),
    tile!(128, 64, 128, conv_fprop, conv_fprop_128x64_quads, conv_fprop_128x64_singles),
];
const DGRAD: [Tile<DgradKernel>; 4] = [
    tile!(256, 8, 128, conv_dgrad, conv_dgrad_256x8_quads, conv_dgrad_256x8_singles),
    tile!(256, 32, 128, conv_dgrad, conv_dgrad_256x32_quads, conv_dgrad_256x32_singles),
    tile!(64, 64, 128, conv_dgrad, conv_dgrad_64x64_quads, conv_dgrad_64x64_singles),
    tile!(128, 64, 128, conv_dgrad, conv_dgrad_128x64_quads, conv_dgrad_128x64_singles),
];

/// Tiles of wgrad, in the order of [`tile_for_weights`].
const WGRAD: [Tile<WgradKernel>; 4] = [
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

/// Most elements of workspace for the sums of the parts: 64 MiB.
const SUMS: usize = 1 << 24;

/// The tile for a product of many pixels by some channels: as wide as the channels.
fn tile_for_pixels<K: Copy>(tiles: &[Tile<K>; 4], pixels: usize, channels: usize) -> &Tile<K> {
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
fn tile_for_weights(k: usize) -> &'static Tile<WgradKernel> {
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

/// A size as kernels take it. They count pixels in 32 bits, and elements in 64; networks with more pixels are refused before
/// (`engine::gpu`).
pub(super) fn int(size: usize) -> i32 {
    i32::try_from(size).expect("a convolution of fewer than 2^31 pixels")
}

impl Fprop {
    /// Runs on the GPU.
    pub fn cuda(&self, memory: &Memory) -> Result<()> {
        let (g, cuda) = (&self.geometry, memory.cuda());
        if self.x.format == Format::Bf16 {
            return tensor::fprop(self, memory);
        }
        let (x, w, b) = (memory.pointer(self.x), memory.pointer(self.w), memory.pointer_opt(self.b));
        let y = memory.pointer_mut(self.y);
        let tile = tile_for_pixels(&FPROP, g.pixels(), g.k);
        let [rows, columns] = tile.grid(g.pixels(), g.k);
        let launch = cuda.launch([int(rows * columns) as u32, 1, 1], tile.threads, 0);
        let [n, h, width, c, k, side, stride, pad] = sizes(g);
        let parts = self.stats.map_or(PointerMut::null(), |_| memory.workspace());
        tile.kernel(in_quads(self.x, g.c))(launch, x, w, b, y, parts, n, h, width, c, k, side, stride, pad)?;
        self.stats.map_or(Ok(()), |stats| stats.merge(memory, tile.rows))
    }

    /// Kernels that the GPU form launches.
    pub fn launches(&self) -> usize {
        // The convolution takes the statistics of its tiles, another kernel merges them.
        if self.stats.is_some() { 2 } else { 1 }
    }

    /// Scratch elements that the GPU form needs.
    pub fn cuda_workspace(&self) -> usize {
        let g = &self.geometry;
        let rows = || match self.x.format {
            Format::F32 => tile_for_pixels(&FPROP, g.pixels(), g.k).rows,
            Format::Bf16 => tensor::fprop_rows(g),
        };
        self.stats.map_or(0, |_| 2 * g.k * g.pixels().div_ceil(rows()))
    }
}

impl Dgrad {
    /// Runs on the GPU.
    pub fn cuda(&self, memory: &Memory) -> Result<()> {
        let g = &self.geometry;
        if self.dy.format == Format::Bf16 {
            return tensor::dgrad(self, memory);
        }
        // Input pixels of one phase modulo the stride.
        let pixels = g.n * g.h.div_ceil(g.stride) * g.w.div_ceil(g.stride);
        let phases = g.stride * g.stride;
        let tile = tile_for_pixels(&DGRAD, pixels * phases, g.c);
        let [rows, columns] = tile.grid(pixels, g.c);
        let launch = memory.cuda().launch([int(rows * columns) as u32, int(phases) as u32, 1], tile.threads, 0);
        let [n, h, width, c, k, side, stride, pad] = sizes(g);
        let (dy, w, dx) = (memory.pointer(self.dy), memory.pointer(self.w), memory.pointer_mut(self.dx));
        tile.kernel(in_quads(self.dy, g.k))(launch, dy, w, dx, n, h, width, c, k, side, stride, pad)
    }
}

/// How wgrad cuts the pixels.
pub(super) struct Parts {
    pub count: usize,
    pub pixels: usize,
}

impl Wgrad {
    /// Runs on the GPU.
    pub fn cuda(&self, memory: &Memory) -> Result<()> {
        let (g, cuda) = (&self.geometry, memory.cuda());
        if self.x.format == Format::Bf16 {
            return tensor::wgrad(self, memory);
        }
        let (tile, parts, length) = (tile_for_weights(g.k), self.parts(), self.part_length());
        let (x, dy) = (memory.pointer(self.x), memory.pointer(self.dy));
        let (dw, db) = (memory.pointer_mut(self.dw), memory.pointer_mut_opt(self.db));
        // A single part is the result.
        let single = parts.count == 1;
        let sums = if single { dw } else { memory.workspace() };
        let [rows, columns] = tile.grid(g.k, g.taps());
        let launch = cuda.launch([columns as u32, rows as u32, parts.count as u32], tile.threads, 0);
        let (part_pixels, part_length) = (int(parts.pixels), int(length));
        let [n, h, width, c, k, side, stride, pad] = sizes(g);
        let kernel = tile.kernel(in_quads(self.x, g.c));
        kernel(launch, x, dy, sums, part_pixels, part_length, n, h, width, c, k, side, stride, pad)?;
        if self.db.is_some() {
            let sums = if single { db } else { sums.offset(g.w_len()) };
            let launch = cuda.launch([g.k.div_ceil(256) as u32, parts.count as u32, 1], 256, 0);
            conv_wgrad::conv_wgrad_bias(launch, dy, sums, part_pixels, part_length, int(g.pixels()), k)?;
        }
        if single {
            return Ok(());
        }
        let launch = cuda.launch([length.div_ceil(32) as u32, 1, 1], 256, 0);
        conv_wgrad::conv_wgrad_sum(
            launch,
            sums.read(),
            dw,
            db,
            int(parts.count),
            part_length,
            part_length,
            int(g.w_len()),
        )
    }

    /// Kernels that the GPU form launches.
    pub fn launches(&self) -> usize {
        1 + usize::from(self.db.is_some()) + usize::from(self.parts().count > 1)
    }

    /// Scratch elements that the GPU form needs.
    pub fn cuda_workspace(&self) -> usize {
        match self.parts().count {
            1 => 0,
            parts => parts * self.part_length(),
        }
    }

    /// Sums of one part: of the weights, and of the bias if it is wanted.
    pub(super) fn part_length(&self) -> usize {
        self.geometry.w_len() + self.db.map_or(0, |_| self.geometry.k)
    }

    fn parts(&self) -> Parts {
        let g = &self.geometry;
        if self.x.format == Format::Bf16 {
            return tensor::parts(self);
        }
        let tile = tile_for_weights(g.k);
        let [rows, columns] = tile.grid(g.k, g.taps());
        let wanted = MANY_THREADS.div_ceil(rows * columns * tile.threads as usize);
        let most = (g.pixels() / PART_PIXELS).min(SUMS / self.part_length()).max(1);
        // Whole steps of the kernel's walk along the pixels.
        let pixels = g.pixels().div_ceil(wanted.min(most)).next_multiple_of(8);
        Parts { count: g.pixels().div_ceil(pixels), pixels }
    }
}

/// The sizes that every kernel takes, in its order.
fn sizes(g: &Geometry) -> [i32; 8] {
    [g.n, g.h, g.w, g.c, g.k, g.side, g.stride, g.pad].map(int)
}
