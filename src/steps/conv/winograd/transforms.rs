//! The transforms of tiles and kernels: matrices at the [points](super::P), applied to rows and columns.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{CHANNELS, P, Q, SIDE, Winograd};
use crate::device::simd::NullaryFnOnce;
use crate::real::Real;
use crate::steps::conv::ConvGeometry;

/// `G·g·Gᵀ` of the kernels of one outer channel, [side, side, channels], in double precision: once for many images.
pub(super) struct Kernels<'a, T, const R: usize> {
    pub kernels: &'a [T],
    pub flipped: bool,
    pub transformed: &'a mut [T],
}

impl<T: Real, const R: usize> NullaryFnOnce for Kernels<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.kernels.len() / (R * R);
        let g = rows_of_g::<R>();
        for first in (0..channels).step_by(CHANNELS) {
            let mut half = [[[0.0; CHANNELS]; R]; SIDE];
            for (half, g) in half.iter_mut().zip(&g) {
                for (s, half) in half.iter_mut().enumerate() {
                    for (r, &g) in g.iter().enumerate() {
                        let tap = r * R + s;
                        let tap = if self.flipped { R * R - 1 - tap } else { tap };
                        let kernel = &self.kernels[tap * channels + first..][..CHANNELS];
                        half.iter_mut().zip(kernel).for_each(|(sum, kernel)| *sum += g * kernel.f64());
                    }
                }
            }
            for (i, half) in half.iter().enumerate() {
                for (j, g) in g.iter().enumerate() {
                    let mut sums = [0.0; CHANNELS];
                    for (half, &g) in half.iter().zip(g) {
                        sums.iter_mut().zip(half).for_each(|(sum, half)| *sum += g * half);
                    }
                    let out = &mut self.transformed[(i * SIDE + j) * channels + first..][..CHANNELS];
                    out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = T::of(sum));
                }
            }
        }
    }
}

/// G: the powers of each point over its distances from the others, and the highest power alone.
pub(super) fn rows_of_g<const R: usize>() -> [[f64; R]; SIDE] {
    let points = [0.0, P, -P, Q, -Q];
    let mut g = [[0.0; R]; SIDE];
    for (i, (g, &point)) in g.iter_mut().zip(&points).enumerate() {
        let others = points.iter().enumerate().filter(|&(other, _)| other != i);
        let distances: f64 = others.map(|(_, other)| point - other).product();
        let mut power = 1.0 / distances;
        for g in g {
            *g = power;
            power *= point;
        }
    }
    g[SIDE - 1][R - 1] = 1.0;
    g
}

/// `Bᵀ·d` of a row of tiles, which are one below the other in all its columns: once for tiles that overlap.
pub(super) struct Columns<'a, T> {
    pub of: &'a Winograd,
    /// An image, [h, w, c].
    pub x: &'a [T],
    /// The first padded row of the tiles.
    pub top: usize,
    /// [SIDE, row_len]
    pub band: &'a mut [T],
}

impl<T: Real> WithSimd for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Columns { of, x, top, band } = self;
        let ConvGeometry { h, w, c, pad, .. } = of.g;
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        let (row, edge) = (of.row_len() / width, pad * c / width);
        let inner = (w * c / width).min(row - edge);
        let (x, band) = (T::vectors::<S>(x), T::vectors_mut::<S>(band));
        let (zero, factors) = (T::splat(simd, T::zero()), factors::<T, S>(simd));
        let mut rows: [Option<&[T::Vector<S>]>; SIDE] = [None; SIDE];
        for (i, line) in rows.iter_mut().enumerate() {
            if let Some(i) = (top + i).checked_sub(pad).filter(|&i| i < h) {
                *line = Some(&x[i * (w * c / width)..][..inner]);
            }
        }
        for line in band.chunks_exact_mut(row) {
            line[..edge].fill(zero);
            line[edge + inner..].fill(zero);
        }
        for at in 0..inner {
            let mut column = [zero; SIDE];
            for i in 0..SIDE {
                if let Some(line) = rows[i] {
                    column[i] = line[at];
                }
            }
            let column = of_inputs::<T, S>(simd, column, &factors);
            for i in 0..SIDE {
                band[i * row + edge + at] = column[i];
            }
        }
    }
}

/// `Bᵀ·d·B` of tiles of a row, whose [columns](Columns) are `band`, into `inputs` from a place on.
pub(super) struct Inputs<'a, T> {
    pub of: &'a Winograd,
    pub band: &'a [T],
    pub tiles: Range<usize>,
    pub at: usize,
    /// Elements from those of one place of the tiles to those of the next.
    pub apart: usize,
    pub inputs: &'a mut [T],
}

impl<T: Real> WithSimd for Inputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Inputs { of, band, tiles, at, apart, inputs } = self;
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        let (channels, row, apart) = (of.g.c / width, of.row_len() / width, apart / width);
        let (band, inputs) = (T::vectors::<S>(band), T::vectors_mut::<S>(inputs));
        let factors = factors::<T, S>(simd);
        for (i, band) in band.chunks_exact(row).enumerate() {
            let inputs = &mut inputs[i * SIDE * apart..];
            for (tile, at) in tiles.clone().zip(at..) {
                let band = &band[tile * of.outputs * channels..][..SIDE * channels];
                for channel in 0..channels {
                    let mut line = [factors[0]; SIDE];
                    for j in 0..SIDE {
                        line[j] = band[j * channels + channel];
                    }
                    let line = of_inputs::<T, S>(simd, line, &factors);
                    for j in 0..SIDE {
                        inputs[j * apart + at * channels + channel] = line[j];
                    }
                }
            }
        }
    }
}

/// What [`of_inputs`] multiplies with.
#[inline(always)]
fn factors<T: Real, S: Simd>(simd: S) -> [T::Vector<S>; SIDE] {
    [-Q * Q, P, -P * P, Q, P * P * Q * Q, -P * P - Q * Q].map(|value| T::splat(simd, T::of(value)))
}

/// `Bᵀ·d`.
#[inline(always)]
fn of_inputs<T: Real, S: Simd>(
    simd: S,
    d: [T::Vector<S>; SIDE],
    &[minus_q2, p, minus_p2, q, p2_q2, minus_sum]: &[T::Vector<S>; SIDE],
) -> [T::Vector<S>; SIDE] {
    let add = |a, b, c| T::add_product::<S>(simd, a, b, c);
    let pair = |even, odd| [T::plus::<S>(simd, even, odd), T::minus::<S>(simd, even, odd)];
    let [at_p, at_minus_p] = pair(add(minus_q2, d[2], d[4]), T::times::<S>(simd, p, add(minus_q2, d[1], d[3])));
    let [at_q, at_minus_q] = pair(add(minus_p2, d[2], d[4]), T::times::<S>(simd, q, add(minus_p2, d[1], d[3])));
    let at_0 = add(p2_q2, d[0], add(minus_sum, d[2], d[4]));
    let at_infinity = add(p2_q2, d[1], add(minus_sum, d[3], d[5]));
    [at_0, at_p, at_minus_p, at_q, at_minus_q, at_infinity]
}

/// `Aᵀ·m·A` of the products of tiles, for some output channels.
pub(super) struct Outputs<'a, T> {
    pub of: &'a Winograd,
    pub products: &'a [T],
    /// Elements from those of one place of the tiles to those of the next.
    pub apart: usize,
    pub bias: &'a [T],
    /// Counted over the images.
    pub tiles: Range<usize>,
    /// The first output channel.
    pub first: usize,
    /// Where `y` begins in the outputs.
    pub begin: usize,
    pub y: &'a mut [T],
}

/// Those of tiles with so many outputs along a side.
pub(super) struct OutputsOf<'a, T, const M: usize>(pub Outputs<'a, T>);

impl<T: Real, const M: usize> WithSimd for OutputsOf<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outputs { of, products, apart, bias, tiles, first, begin, y } = self.0;
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        let (columns, apart) = (bias.len() / width, apart / width);
        let (oh, ow, k) = (of.g.oh(), of.g.ow(), of.g.k / width);
        let [tile_rows, in_row] = of.tiles();
        let (products, bias, y) = (T::vectors::<S>(products), T::vectors::<S>(bias), T::vectors_mut::<S>(y));
        let by = |value: f64| T::splat(simd, T::of(value));
        let powers = [1.0, P, P * P, P * P * P, Q, Q * Q, Q * Q * Q].map(by);
        for (at, tile) in tiles.enumerate() {
            let (tile_row, left) = (tile / in_row, tile % in_row * M);
            let (rows, used) = (M.min(oh - tile_row % tile_rows * M), M.min(ow - left));
            let to = (of.begin(tile_row) - begin + first) / width + left * k;
            for column in 0..columns {
                let from = at * columns + column;
                let mut half = [[powers[0]; M]; SIDE];
                for j in 0..SIDE {
                    let mut values = [powers[0]; SIDE];
                    for (i, value) in values.iter_mut().enumerate() {
                        *value = products[(i * SIDE + j) * apart + from];
                    }
                    half[j] = of_products::<T, S, M>(simd, values, &powers);
                }
                for i in 0..rows {
                    let mut line = [powers[0]; SIDE];
                    for (j, value) in line.iter_mut().enumerate() {
                        *value = half[j][i];
                    }
                    let line = of_products::<T, S, M>(simd, line, &powers);
                    for (j, value) in line.iter().take(used).enumerate() {
                        y[to + (i * ow + j) * k + column] = T::plus(simd, *value, bias[column]);
                    }
                }
            }
        }
    }
}

/// `Aᵀ·m`.
#[inline(always)]
fn of_products<T: Real, S: Simd, const M: usize>(
    simd: S,
    m: [T::Vector<S>; SIDE],
    &[one, p, p2, p3, q, q2, q3]: &[T::Vector<S>; 7],
) -> [T::Vector<S>; M] {
    let plus = |a, b| T::plus::<S>(simd, a, b);
    let even = [plus(m[1], m[2]), plus(m[3], m[4])];
    let odd = [T::minus::<S>(simd, m[1], m[2]), T::minus::<S>(simd, m[3], m[4])];
    let powers = [[one, one], [p, q], [p2, q2], [p3, q3]];
    let mut out = [m[0]; M];
    out[0] = plus(m[0], plus(even[0], even[1]));
    for i in 1..M {
        let [a, b] = if i % 2 == 0 { even } else { odd };
        out[i] = T::add_product(simd, powers[i][0], a, T::times::<S>(simd, powers[i][1], b));
    }
    out[M - 1] = plus(out[M - 1], m[5]);
    out
}

/// `A·dy·Aᵀ` of tiles of a row with so many outputs along a side, whose rows are `band`, into `transformed` from a place on.
pub(super) struct OutputGradients<'a, T, const M: usize> {
    pub of: &'a Winograd,
    pub band: &'a [T],
    pub tiles: Range<usize>,
    pub at: usize,
    pub transformed: &'a mut [T],
}

impl<T: Real, const M: usize> WithSimd for OutputGradients<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let OutputGradients { of, band, tiles, at, transformed } = self;
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        let (channels, apart) = (of.g.k / width, of.apart(of.g.k) / width);
        let row = of.tiles()[1] * M * channels;
        let (band, transformed) = (T::vectors::<S>(band), T::vectors_mut::<S>(transformed));
        let powers = [1.0, P, P * P, P * P * P, Q, Q * Q, Q * Q * Q].map(|value| T::splat(simd, T::of(value)));
        for (tile, at) in tiles.zip(at..) {
            for channel in 0..channels {
                let from = tile * M * channels + channel;
                let mut half = [[powers[0]; SIDE]; M];
                for j in 0..M {
                    let mut column = [powers[0]; M];
                    for (i, value) in column.iter_mut().enumerate() {
                        *value = band[from + i * row + j * channels];
                    }
                    half[j] = of_gradients::<T, S, M>(simd, column, &powers);
                }
                let to = at * channels + channel;
                for i in 0..SIDE {
                    let mut line = [powers[0]; M];
                    for (j, value) in line.iter_mut().enumerate() {
                        *value = half[j][i];
                    }
                    let line = of_gradients::<T, S, M>(simd, line, &powers);
                    for (j, value) in line.iter().enumerate() {
                        transformed[(i * SIDE + j) * apart + to] = *value;
                    }
                }
            }
        }
    }
}

/// `A·dy`.
#[inline(always)]
fn of_gradients<T: Real, S: Simd, const M: usize>(
    simd: S,
    dy: [T::Vector<S>; M],
    &[_, p, p2, p3, q, q2, q3]: &[T::Vector<S>; 7],
) -> [T::Vector<S>; SIDE] {
    let at = |first, second, third| {
        let (mut even, mut odd) = (dy[0], T::times::<S>(simd, first, dy[1]));
        if M > 2 {
            even = T::add_product::<S>(simd, second, dy[2], even);
        }
        if M > 3 {
            odd = T::add_product::<S>(simd, third, dy[3], odd);
        }
        [T::plus::<S>(simd, even, odd), T::minus::<S>(simd, even, odd)]
    };
    let [at_p, at_minus_p] = at(p, p2, p3);
    let [at_q, at_minus_q] = at(q, q2, q3);
    [dy[0], at_p, at_minus_p, at_q, at_minus_q, dy[M - 1]]
}

/// `Gᵀ·u·G` of the sums of one output channel, each so far from the one before, as kernels [side, side, channels].
pub(super) struct KernelGradients<'a, T, const R: usize> {
    pub sums: &'a [T],
    pub apart: usize,
    pub kernels: &'a mut [T],
}

impl<T: Real, const R: usize> NullaryFnOnce for KernelGradients<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.kernels.len() / (R * R);
        let g = rows_of_g::<R>();
        for first in (0..channels).step_by(CHANNELS) {
            let mut half = [[[0.0; CHANNELS]; SIDE]; R];
            for (i, g) in g.iter().enumerate() {
                for j in 0..SIDE {
                    let sums = &self.sums[(i * SIDE + j) * self.apart + first..][..CHANNELS];
                    for (half, &g) in half.iter_mut().zip(g) {
                        half[j].iter_mut().zip(sums).for_each(|(half, sum)| *half += g * sum.f64());
                    }
                }
            }
            for (r, half) in half.iter().enumerate() {
                for s in 0..R {
                    let mut kernel = [0.0; CHANNELS];
                    for (half, g) in half.iter().zip(&g) {
                        kernel.iter_mut().zip(half).for_each(|(kernel, half)| *kernel += g[s] * half);
                    }
                    let out = &mut self.kernels[(r * R + s) * channels + first..][..CHANNELS];
                    out.iter_mut().zip(&kernel).for_each(|(out, &value)| *out = T::of(value));
                }
            }
        }
    }
}
