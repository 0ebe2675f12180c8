//! The gradient of the weights by the same products: `dg = Gᵀ[Σ (A·dy·Aᵀ) ⊙ (Bᵀ·d·B)]G`, the sum taken over tiles.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::transforms::{Inputs, KernelGradients, OutputGradients};
use super::{PRODUCTS, SIDE, TILES, Winograd};
use crate::device::product::multiply_transposed;
use crate::device::simd::vectorised;
use crate::real::Real;
use crate::steps::access::elements;
use crate::steps::conv::{ConvGeometry, padded};

/// Blocks of tiles that are transformed, whose products are then taken, at most.
const BLOCKS: usize = 16;

/// As many for the threads that there are: of more they would not stay in the cache, of fewer the sums would be read and written too often.
fn blocks() -> usize {
    (2 * rayon::current_num_threads()).clamp(4, BLOCKS)
}

impl Winograd {
    /// Scratch elements of a block: rows of its inputs and gradients, and both transformed.
    fn block_len(&self) -> usize {
        let ConvGeometry { c, k, .. } = self.g;
        let transformed = [c, k].map(|channels| elements([PRODUCTS, self.apart(channels)]));
        self.rows_len().iter().chain(&transformed).fold(0, |sum, &len| sum.saturating_add(len))
    }

    /// Elements of a tile row's inputs and gradients.
    fn rows_len(&self) -> [usize; 2] {
        let gradients = elements([self.outputs, self.outputs, self.tiles()[1], self.g.k]);
        [elements([SIDE, self.row_len()]), gradients]
    }

    /// Scratch elements of [`Winograd::wgrad`].
    pub(crate) fn wgrad_workspace(&self) -> usize {
        let ConvGeometry { c, k, .. } = self.g;
        elements([PRODUCTS, k, c]).saturating_add(elements([blocks(), self.block_len()]))
    }

    /// See [`super::super::reference::wgrad`] for the formula.
    pub(crate) fn wgrad<T: Real>(&self, x: &[T], dy: &[T], dw: &mut [T], workspace: &mut [T]) {
        let ConvGeometry { n, c, k, side, .. } = self.g;
        let tiles = elements([n, self.tiles()[0], self.tiles()[1]]);
        let (sums, scratch) = workspace.split_at_mut(PRODUCTS * k * c);
        // Laid out for fewer threads, perhaps, than run now; no sum depends on their number.
        let count = blocks().min(scratch.len() / self.block_len());
        let blocks = &mut scratch[..count * self.block_len()];
        let rows_len: usize = self.rows_len().iter().sum();
        for first in (0..tiles).step_by(count * TILES) {
            let some = (tiles - first).min(count * TILES);
            blocks.par_chunks_exact_mut(self.block_len()).take(some.div_ceil(TILES)).enumerate().for_each(
                |(block, scratch)| {
                    let tile = first + block * TILES;
                    self.transform(x, dy, tile..(tile + TILES).min(tiles), scratch);
                },
            );
            let blocks = &*blocks;
            sums.par_chunks_exact_mut(k * c).enumerate().for_each(|(place, sums)| {
                for (block, scratch) in blocks.chunks_exact(self.block_len()).take(some.div_ceil(TILES)).enumerate() {
                    let tiles = (some - block * TILES).min(TILES);
                    let (inputs, gradients) = scratch[rows_len..].split_at(PRODUCTS * self.apart(c));
                    let inputs = &inputs[place * self.apart(c)..][..tiles * c];
                    let gradients = &gradients[place * self.apart(k)..][..tiles * k];
                    multiply_transposed([gradients, inputs], [k, c], sums, first + block > 0);
                }
            });
        }
        let sums = &*sums;
        dw.par_chunks_exact_mut(side * side * c).enumerate().for_each(|(channel, kernels)| {
            let sums = &sums[channel * c..];
            match side {
                3 => vectorised(KernelGradients::<T, 3> { sums, apart: k * c, kernels }),
                _ => vectorised(KernelGradients::<T, 5> { sums, apart: k * c, kernels }),
            }
        });
    }

    /// Inputs and gradients of some tiles, counted over the images.
    fn transform<T: Real>(&self, x: &[T], dy: &[T], tiles: Range<usize>, scratch: &mut [T]) {
        let ConvGeometry { c, k, .. } = self.g;
        let [tile_rows, in_row] = self.tiles();
        let [band_len, gradients_len] = self.rows_len();
        let (band, scratch) = scratch.split_at_mut(band_len);
        let (rows, scratch) = scratch.split_at_mut(gradients_len);
        let (inputs, gradients) = scratch.split_at_mut(PRODUCTS * self.apart(c));
        // Gradients are read as they lie, and are zero beyond them.
        let of_gradients = ConvGeometry { h: self.g.oh(), w: self.g.ow(), c: k, pad: 0, ..self.g };
        let mut tile = tiles.start;
        while tile < tiles.end {
            let (row, left) = (tile / in_row, tile % in_row);
            let (image, tile_row) = (row / tile_rows, row % tile_rows);
            let some = left..in_row.min(left + tiles.end - tile);
            let at = tile - tiles.start;
            tile += some.len();
            let top = tile_row * self.outputs;
            self.load(row, x, band);
            Arch::new().dispatch(Inputs { of: self, band, tiles: some.clone(), at, apart: self.apart(c), inputs });
            let dy_len = of_gradients.x_len() / self.g.n;
            padded::load(&of_gradients, &dy[image * dy_len..][..dy_len], top, gradients_len / self.outputs, rows);
            match self.outputs {
                4 => Arch::new().dispatch(OutputGradients::<T, 4> {
                    of: self,
                    band: rows,
                    tiles: some,
                    at,
                    transformed: gradients,
                }),
                _ => Arch::new().dispatch(OutputGradients::<T, 2> {
                    of: self,
                    band: rows,
                    tiles: some,
                    at,
                    transformed: gradients,
                }),
            }
        }
    }
}
