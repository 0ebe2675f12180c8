//! A few tiles, as a small image or the last layers of a large one have: all threads compute all of them together, so that each weight is read once.
//!
//! In lanes of their own each thread would read all weights for its part of the tiles: these take longer than the products.

use pulp::Arch;
use rayon::prelude::*;

use super::transforms::{Inputs, Outputs};
use super::{COLUMNS, PRODUCTS, SIDE, SPARE, Winograd};
use crate::device::product::{Runs, multiply, packed_len};
use crate::real::Real;
use crate::steps::access::elements;
use crate::steps::conv::ConvGeometry;
use crate::steps::conv::lanes::{lanes, lanes_within};

/// Tiles, at most.
const FEW: usize = 96;

/// Places whose products are a task.
const PLACES: usize = PRODUCTS / 4;

impl Winograd {
    /// Whether all images have a few tiles together.
    pub(super) fn are_few(&self) -> bool {
        elements([self.rows(), self.tiles()[1]]) <= FEW
    }

    /// Elements from the transformed inputs of one place in a row of tiles to those of the next.
    fn inputs_apart(&self) -> usize {
        elements([self.tiles()[1], self.g.c]).saturating_add(SPARE)
    }

    /// Scratch elements of the transformed inputs of so many rows of tiles, and of their products.
    fn few_len(&self, rows: usize) -> [usize; 2] {
        let inputs = elements([rows, PRODUCTS, self.inputs_apart()]);
        let products = elements([self.g.k.div_ceil(COLUMNS), PRODUCTS, self.products_apart(rows)]);
        [inputs, products]
    }

    /// Elements from the products of one place of all tiles to those of the next.
    fn products_apart(&self, rows: usize) -> usize {
        elements([rows, self.tiles()[1], COLUMNS]).saturating_add(SPARE)
    }

    /// Scratch elements of [`Winograd::few`], for as many images as it suits.
    pub(super) fn few_workspace(&self) -> usize {
        let rows = self.rows().min(FEW / self.tiles()[1].max(1));
        if rows == 0 {
            return 0;
        }
        let [inputs, products] = self.few_len(rows);
        inputs.saturating_add(products).saturating_add(elements([lanes().min(rows), SIDE, self.row_len()]))
    }

    /// [`Winograd::fprop`], if there are [few](Self::are_few).
    pub(super) fn few<T: Real>(&self, [x, packed]: [&[T]; 2], rounded: bool, y: &mut [T], scratch: &mut [T]) {
        let ConvGeometry { c, k, .. } = self.g;
        let (rows, in_row) = (self.rows(), self.tiles()[1]);
        let [inputs_len, products_len] = self.few_len(rows);
        let (inputs, scratch) = scratch.split_at_mut(inputs_len);
        let (products, bands) = scratch.split_at_mut(products_len);
        let (inputs_apart, products_apart) = (self.inputs_apart(), self.products_apart(rows));
        let row_len = PRODUCTS * inputs_apart;

        let band_len = SIDE * self.row_len();
        let in_lane = rows.div_ceil(lanes_within(bands, band_len));
        let bands = bands.par_chunks_exact_mut(band_len);
        inputs.par_chunks_mut(in_lane * row_len).zip(bands).enumerate().for_each(|(lane, (inputs, band))| {
            for (row, inputs) in (lane * in_lane..).zip(inputs.chunks_exact_mut(row_len)) {
                self.load(row, x, band);
                Arch::new().dispatch(Inputs { of: self, band, tiles: 0..in_row, at: 0, apart: inputs_apart, inputs });
            }
        });

        let (inputs, runs) = (&*inputs, Runs { count: 1, len: c, apart: 0 });
        let (bias, factors) = packed.split_at(k);
        products.par_chunks_exact_mut(PLACES * products_apart).enumerate().for_each(|(task, products)| {
            let (block, place) = (task * PLACES / PRODUCTS, task * PLACES % PRODUCTS);
            let (first, columns) = (block * COLUMNS, COLUMNS.min(k - block * COLUMNS));
            for (place, products) in (place..).zip(products.chunks_exact_mut(products_apart)) {
                let factors = &factors[place * packed_len(c, k) + (c + 1) * first..];
                let start = |tile: usize| tile / in_row * row_len + place * inputs_apart + tile % in_row * c;
                multiply(inputs, start, runs, factors, &mut products[..rows * in_row * columns], columns);
            }
        });

        let products = &*products;
        self.in_lanes(rayon::current_num_threads(), y, std::iter::repeat(()), |rows, y, ()| {
            let (tiles, begin) = (rows.start * in_row..rows.end * in_row, self.begin(rows.start));
            for (first, products) in (0..k).step_by(COLUMNS).zip(products.chunks_exact(PRODUCTS * products_apart)) {
                let bias = &bias[first..][..COLUMNS.min(k - first)];
                let (products, tiles) = (&products[tiles.start * bias.len()..], tiles.clone());
                let apart = products_apart;
                self.transform_back(Outputs { of: self, products, apart, bias, tiles, first, begin, y });
            }
            if rounded {
                self.round(tiles, begin, y);
            }
        });
    }
}
