//! Convolution by Winograd's minimal filtering: the same outputs of fewer products.
//!
//! Outputs are computed in tiles of m×m, m = 7 − side, each from 6×6 inputs: `y = Aᵀ[Σ_c (G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A` (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", section 4.1). For each channel these are 36 products in place of m²·side²: a quarter for 3×3 kernels, 36 % for 5×5.
//!
//! The rows of A, B and G are those of polynomials at the points 0, ±[`P`], ±[`Q`] and ∞. What they add to rounding errors depends on the points:
//! with these the results are about twice as far from the exact ones as sums of all products are, with the usual ±1 and ±2 five times
//! (standard deviations for 128 channels).
//!
//! The gradient of the weights is one of the same products, summed over the tiles: `dg = Gᵀ[Σ (A·dy·Aᵀ) ⊙ (Bᵀ·d·B)]G` ([`wgrad`]).
//!
//! All sums are taken in an order that depends on the geometry alone, those of outputs on that of one image.

mod few;
mod transforms;
mod wgrad;

use std::mem;
use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use self::transforms::{Columns, Inputs, Kernels, Outputs, OutputsOf, rows_of_g};
use super::ConvGeometry;
use super::lanes::{lanes, lanes_within};
use crate::device::product::{Runs, multiply, pack, packed_len};
use crate::device::simd::vectorised;
use crate::real::Real;
use crate::steps::access::elements;

/// Inputs along a side of a tile.
const SIDE: usize = 6;

/// Products of a tile for each pair of channels.
const PRODUCTS: usize = SIDE * SIDE;

/// Points of the polynomials, exact in binary as their products are.
const P: f64 = 0.625;
const Q: f64 = 1.5;

/// Channels come in multiples of this: whole registers on any processor.
const CHANNELS: usize = 16;

/// Output channels whose products are taken, and made outputs, together.
const COLUMNS: usize = 64;

/// Numbers between the products of one place in all tiles and those of the next, beyond their own: if all places were as many cache lines apart as the cache
/// has sets, they would push each other out.
const SPARE: usize = 16;

/// Tiles that are computed together: each weight is read once for all of them.
const TILES: usize = 48;

/// A convolution that is computed so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winograd {
    g: ConvGeometry,
    /// Outputs along a side of a tile.
    outputs: usize,
}

impl Winograd {
    /// Of kernels that it suits: with stride 1, of 3×3 or 5×5.
    pub(crate) fn of(g: &ConvGeometry) -> Option<Winograd> {
        let suits = g.stride == 1 && [3, 5].contains(&g.side) && g.pad < g.side;
        let whole = g.c.is_multiple_of(CHANNELS) && g.k.is_multiple_of(CHANNELS);
        (suits && whole).then_some(Winograd { g: *g, outputs: SIDE + 1 - g.side })
    }

    /// Whether it is faster than all products, if each of these takes so long as one of its own. Transforms take as long as so many channels on
    /// the other side.
    pub(crate) fn pays(&self, product: f64) -> bool {
        const CHANNELS_OF_TRANSFORMS: f64 = 16.0;
        let ConvGeometry { c, k, side, .. } = self.g;
        let transforms = CHANNELS_OF_TRANSFORMS * (1.0 / c as f64 + 1.0 / k as f64);
        let products = (self.tiles().iter().product::<usize>() * PRODUCTS) as f64 * (1.0 + transforms);
        products < (self.g.oh() * self.g.ow() * side * side) as f64 * product
    }

    /// Tiles along an image's height and width.
    fn tiles(&self) -> [usize; 2] {
        [self.g.oh(), self.g.ow()].map(|outputs| outputs.div_ceil(self.outputs))
    }

    /// Elements of an input row that tiles read.
    fn row_len(&self) -> usize {
        elements([(self.tiles()[1] - 1) * self.outputs + SIDE, self.g.c])
    }

    /// Elements of the [packed](Self::pack) weights.
    pub(crate) fn packed_len(&self) -> usize {
        elements([PRODUCTS, packed_len(self.g.c, self.g.k)]).saturating_add(self.g.k)
    }

    /// Scratch elements of [`Winograd::pack`].
    pub(crate) fn packing_len(&self) -> usize {
        elements([PRODUCTS, self.g.c, self.g.k])
    }

    /// Lays `G·g·Gᵀ` out for [`Winograd::fprop`]. The weights are those of a pass forward, [k, side, side, c], or of the gradient of the input, where
    /// the first dimension is what is summed over and the kernels are flipped.
    pub(crate) fn pack<T: Real>(&self, w: &[T], b: Option<&[T]>, flipped: bool, packed: &mut [T], scratch: &mut [T]) {
        let ConvGeometry { c, k, side, .. } = self.g;
        let (outer, inner) = if flipped { (c, k) } else { (k, c) };
        let transformed = &mut scratch[..self.packing_len()];
        transformed.par_chunks_exact_mut(PRODUCTS * inner).zip(w.par_chunks_exact(side * side * inner)).for_each(
            |(transformed, kernels)| match side {
                3 => vectorised(Kernels::<T, 3> { kernels, flipped, transformed }),
                _ => vectorised(Kernels::<T, 5> { kernels, flipped, transformed }),
            },
        );
        let transformed = &*transformed;
        assert_eq!(transformed.len(), outer * PRODUCTS * inner, "winograd: as many kernels");
        let (bias, factors) = packed.split_at_mut(k);
        bias.iter_mut().enumerate().for_each(|(k, value)| *value = b.map_or(T::zero(), |b| b[k]));
        factors.par_chunks_exact_mut(packed_len(c, k)).take(PRODUCTS).enumerate().for_each(|(place, packed)| {
            let factor = |term: usize, column: usize| {
                let (outer, inner_at) = if flipped { (term, column) } else { (column, term) };
                transformed[(outer * PRODUCTS + place) * inner + inner_at]
            };
            pack(c, k, |_| T::zero(), factor, packed);
        });
    }

    /// Scratch elements of a lane.
    fn lane_len(&self) -> usize {
        let [inputs, products] =
            [self.g.c, COLUMNS.min(self.g.k)].map(|channels| elements([PRODUCTS, self.apart(channels)]));
        elements([SIDE, self.row_len()]).saturating_add(inputs).saturating_add(products)
    }

    /// Elements from the values of one place in all tiles to those of the next.
    fn apart(&self, channels: usize) -> usize {
        elements([TILES, channels]).saturating_add(SPARE)
    }

    /// Scratch elements of [`Winograd::fprop`].
    pub(crate) fn workspace(&self) -> usize {
        elements([self.lanes(), self.lane_len()]).max(self.few_workspace())
    }

    /// Lanes of whole images' tiles. Each reads all weights: as few as the tiles fill, and as many for each thread.
    fn lanes(&self) -> usize {
        let (threads, tiles) = (rayon::current_num_threads(), elements([self.rows(), self.tiles()[1]]));
        let enough = threads.saturating_mul(tiles.div_ceil(elements([threads, TILES])));
        lanes().min(enough).min(self.rows())
    }

    /// Where a row of tiles begins in the outputs; rows are counted over all images.
    fn begin(&self, tile_row: usize) -> usize {
        let [rows, _] = self.tiles();
        let (image, row) = (tile_row / rows, tile_row % rows);
        (image * self.g.oh() + row * self.outputs) * self.g.ow() * self.g.k
    }

    /// Forward pass with [packed](Self::pack) weights and biases, its outputs `rounded` to bf16; see [`super::reference::fprop`] for the formula.
    pub(crate) fn fprop<T: Real>(&self, [x, packed]: [&[T]; 2], rounded: bool, y: &mut [T], scratch: &mut [T]) {
        if self.are_few() {
            return self.few([x, packed], rounded, y, scratch);
        }
        let lanes = lanes_within(scratch, self.lane_len()).min(self.lanes());
        let scratch = scratch.chunks_exact_mut(self.lane_len());
        self.in_lanes(lanes, y, scratch, |rows, y, scratch| self.lane(rows, [x, packed], rounded, y, scratch));
    }

    /// Rows of tiles, of all images.
    fn rows(&self) -> usize {
        elements([self.g.n, self.tiles()[0]])
    }

    /// Cuts rows of tiles into so many lanes, each with its outputs and something of its own.
    fn in_lanes<T: Real, V: Send>(
        &self,
        lanes: usize,
        mut y: &mut [T],
        own: impl Iterator<Item = V>,
        lane: impl Fn(Range<usize>, &mut [T], V) + Sync,
    ) {
        let (rows, lane) = (self.rows(), &lane);
        let lanes = lanes.min(rows);
        rayon::in_place_scope(|scope| {
            for (i, own) in (0..lanes).zip(own) {
                let rows = i * rows / lanes..(i + 1) * rows / lanes;
                let outputs = self.begin(rows.end) - self.begin(rows.start);
                let (mine, others) = mem::take(&mut y).split_at_mut(outputs);
                y = others;
                scope.spawn(move |_| lane(rows, mine, own));
            }
        });
    }

    /// Rows of tiles, with scratch space of their own.
    fn lane<T: Real>(&self, rows: Range<usize>, [x, packed]: [&[T]; 2], rounded: bool, y: &mut [T], scratch: &mut [T]) {
        let (c, in_row) = (self.g.c, self.tiles()[1]);
        let (band, scratch) = scratch.split_at_mut(SIDE * self.row_len());
        let (inputs, products) = scratch.split_at_mut(PRODUCTS * self.apart(c));
        let begin = self.begin(rows.start);
        // Tiles are counted over the images.
        let (mut held, end) = (rows.start * in_row..rows.start * in_row, rows.end * in_row);
        for row in rows {
            self.load(row, x, band);
            let mut tile = 0;
            while tile < in_row {
                let count = (in_row - tile).min(TILES - held.len());
                let at = held.len();
                let (tiles, apart) = (tile..tile + count, self.apart(c));
                Arch::new().dispatch(Inputs { of: self, band, tiles, at, apart, inputs });
                (tile, held.end) = (tile + count, held.end + count);
                if held.len() == TILES || held.end == end {
                    self.outputs(held.clone(), inputs, packed, products, begin, y);
                    if rounded {
                        self.round(held.clone(), begin, y);
                    }
                    held.start = held.end;
                }
            }
        }
    }

    /// What the columns of a row of tiles become, counted over the images.
    fn load<T: Real>(&self, row: usize, x: &[T], band: &mut [T]) {
        let (tile_rows, image) = (self.tiles()[0], self.g.h * self.g.w * self.g.c);
        let x = &x[row / tile_rows * image..][..image];
        Arch::new().dispatch(Columns { of: self, x, top: row % tile_rows * self.outputs, band });
    }

    /// The outputs of tiles whose transformed inputs are there.
    fn outputs<T: Real>(
        &self,
        tiles: Range<usize>,
        inputs: &[T],
        packed: &[T],
        products: &mut [T],
        begin: usize,
        y: &mut [T],
    ) {
        let ConvGeometry { c, k, .. } = self.g;
        let (bias, factors) = packed.split_at(k);
        for first in (0..k).step_by(COLUMNS) {
            let columns = COLUMNS.min(k - first);
            let places = factors.chunks_exact(packed_len(c, k)).zip(inputs.chunks_exact(self.apart(c)));
            for ((factors, inputs), products) in places.zip(products.chunks_exact_mut(self.apart(columns))) {
                let runs = Runs { count: 1, len: c, apart: 0 };
                let (factors, products) = (&factors[(c + 1) * first..], &mut products[..tiles.len() * columns]);
                multiply(inputs, |tile| tile * c, runs, factors, products, columns);
            }
            let (tiles, apart) = (tiles.clone(), self.apart(columns));
            let bias = &bias[first..][..columns];
            self.transform_back(Outputs { of: self, products, apart, bias, tiles, first, begin, y });
        }
    }

    fn transform_back<T: Real>(&self, outputs: Outputs<T>) {
        match self.outputs {
            4 => Arch::new().dispatch(OutputsOf::<T, 4>(outputs)),
            _ => Arch::new().dispatch(OutputsOf::<T, 2>(outputs)),
        }
    }

    /// Rounds the outputs of tiles to bf16, which are in the cache.
    fn round<T: Real>(&self, tiles: Range<usize>, begin: usize, y: &mut [T]) {
        let (oh, ow, k, m) = (self.g.oh(), self.g.ow(), self.g.k, self.outputs);
        let [tile_rows, in_row] = self.tiles();
        let mut tile = tiles.start;
        while tile < tiles.end {
            let (row, first) = (tile / in_row, tile % in_row);
            let next = tiles.end.min((row + 1) * in_row);
            let columns = first * m..ow.min((first + next - tile) * m);
            for i in 0..m.min(oh - row % tile_rows * m) {
                let line = self.begin(row) - begin + i * ow * k;
                T::round_to_bf16(&mut y[line + columns.start * k..line + columns.end * k]);
            }
            tile = next;
        }
    }
}

/// Operations of a transform.
const OF_TRANSFORMS: usize = 2 * SIDE;

/// Terms of an output, and how far its rounding errors exceed those of a sum of as many products.
///
/// A value of the transformed weights is a sum of weights times a row of G twice, once for each direction, one of the inputs likewise times a row of
/// Bᵀ; if they are independent and of size 1, it has the size of the product of the rows' norms. An output is the sum of such products, of as many
/// channels each, times a row of Aᵀ twice: so the errors of all of them, independent too, grow to `√Σ_j (A_ji·‖G_j‖·‖Bᵀ_j‖)²` in each direction.
pub(super) fn sums(g: &ConvGeometry) -> (usize, f64) {
    let growth = match g.side {
        3 => growth::<3>(),
        _ => growth::<5>(),
    };
    (g.c + OF_TRANSFORMS, growth * growth)
}

/// The same of the gradient of the weights: sums over tiles, of which each takes a row of A, one of Bᵀ and a column of G in each direction.
pub(super) fn wgrad_sums(g: &ConvGeometry) -> (usize, f64) {
    let outputs = SIDE + 1 - g.side;
    let tiles = elements([g.n, g.oh().div_ceil(outputs), g.ow().div_ceil(outputs)]);
    let growth = match g.side {
        3 => growth_of_wgrad::<3>(),
        _ => growth_of_wgrad::<5>(),
    };
    (tiles + OF_TRANSFORMS, growth * growth)
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Norms of the rows of Bᵀ.
fn norms_of_inputs() -> [f64; SIDE] {
    let (p2, q2) = (P * P, Q * Q);
    let of = |point: f64, other: f64| norm(&[1.0, point, other, point * other]);
    let ends = norm(&[p2 * q2, p2 + q2, 1.0]);
    [ends, of(P, q2), of(P, q2), of(Q, p2), of(Q, p2), ends]
}

/// A column of A: what each product adds to an output of a tile of so many.
fn column_of_a(output: usize, outputs: usize) -> [f64; SIDE] {
    let power = |point: f64| point.powi(output as i32);
    [power(0.0), power(P), power(-P), power(Q), power(-Q), f64::from(u8::from(output + 1 == outputs))]
}

/// Of the output of a tile that has most of it.
fn growth<const R: usize>() -> f64 {
    let (g, inputs, outputs) = (rows_of_g::<R>(), norms_of_inputs(), SIDE + 1 - R);
    let of_output = |output: usize| {
        let a = column_of_a(output, outputs);
        let parts: Vec<f64> = (0..SIDE).map(|j| a[j] * norm(&g[j]) * inputs[j]).collect();
        norm(&parts)
    };
    (0..outputs).map(of_output).fold(0.0, f64::max)
}

/// Of the weight that has most of it.
fn growth_of_wgrad<const R: usize>() -> f64 {
    let (g, inputs, outputs) = (rows_of_g::<R>(), norms_of_inputs(), SIDE + 1 - R);
    let columns: Vec<[f64; SIDE]> = (0..outputs).map(|output| column_of_a(output, outputs)).collect();
    let of_gradients = |j: usize| norm(&columns.iter().map(|column| column[j]).collect::<Vec<_>>());
    let of_weight = |l: usize| norm(&(0..SIDE).map(|j| g[j][l] * of_gradients(j) * inputs[j]).collect::<Vec<_>>());
    (0..R).map(of_weight).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    fn value(i: usize) -> f64 {
        ((i * 7919 + i * i % 97) % 1009) as f64 / 1009.0 - 0.5
    }

    fn geometries() -> impl Iterator<Item = ConvGeometry> {
        // Few tiles, and many.
        let sizes = [(1, 9, 13), (2, 4, 4), (3, 14, 7), (1, 30, 2), (5, 1, 1), (9, 17, 18)];
        let channels = [(16, 16), (32, 80), (144, 64), (16, 208)];
        sizes.into_iter().flat_map(move |(n, h, w)| {
            channels.into_iter().flat_map(move |(c, k)| {
                [(3, 1), (3, 0), (5, 2), (5, 4), (3, 2)].into_iter().filter_map(move |(side, pad)| {
                    let fits = h + 2 * pad >= side && w + 2 * pad >= side;
                    fits.then_some(ConvGeometry { n, h, w, c, k, side, pad, stride: 1 })
                })
            })
        })
    }

    fn outputs<T: Real>(g: &ConvGeometry, x: &[f64], w: &[f64], b: Option<&[f64]>) -> Vec<T> {
        let of = |values: &[f64]| values.iter().map(|&v| T::of(v)).collect::<Vec<T>>();
        let winograd = Winograd::of(g).unwrap();
        let mut packed = vec![T::nan(); winograd.packed_len()];
        let mut scratch = vec![T::nan(); winograd.packing_len().max(winograd.workspace())];
        winograd.pack(&of(w), b.map(of).as_deref(), false, &mut packed, &mut scratch);
        let mut y = vec![T::nan(); g.y_len()];
        winograd.fprop([&of(x), &packed], false, &mut y, &mut scratch);
        y
    }

    #[test]
    fn outputs_are_those_of_the_formula() {
        for g in geometries() {
            let [x, w, b] = [g.x_len(), g.w_len(), g.k].map(|len| (0..len).map(value).collect::<Vec<f64>>());
            let mut expected = vec![0.0; g.y_len()];
            reference::fprop(&g, &x, &w, Some(&b), &mut expected);
            for (found, expected) in outputs::<f64>(&g, &x, &w, Some(&b)).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12 * g.taps() as f64, "{g:?}: {found}, not {expected}");
            }
        }
    }
}
