//! Sums of products on the CPU: tiles of outputs that stay in registers while their products are added.
//!
//! Each output is summed in the order of its terms, from its first value on: its bits depend neither on the tile that it is part of nor on how
//! work is divided, and on the processor only by whether that fuses a product and its sum.
//!
//! Factors are of the type of the sums, or [`bf16`] where the processor multiplies pairs of them.

pub(crate) mod bf16;
mod transposed;

use pulp::{Arch, Simd, WithSimd};

use crate::real::{LANES, Real};

pub(crate) use transposed::multiply_transposed;

/// Numbers of a register.
#[inline(always)]
fn width<T: Real, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// The left factors of a sum: so many runs of consecutive numbers, whose beginnings are so far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub count: usize,
    pub len: usize,
    pub apart: usize,
}

impl Runs {
    /// Numbers from the first to the last, where so many are read at once.
    fn extent(self, together: usize) -> usize {
        if self.len == 0 { 0 } else { (self.count - 1) * self.apart + self.len.next_multiple_of(together) }
    }
}

/// How left factors lie in memory, and what multiplies them with a register of right ones.
trait Factors<T: Real, S: Simd>: Copy {
    /// A left factor.
    type Left: Copy;
    /// Consecutive left factors that are multiplied with a row of a panel.
    const TOGETHER: usize;

    /// Those factors, in each number of a register.
    ///
    /// # Safety
    /// There are as many from `left` on.
    unsafe fn splat(self, simd: S, left: *const Self::Left) -> T::Vector<S>;

    /// `sums + left·right`.
    fn add_product(self, simd: S, left: T::Vector<S>, right: T::Vector<S>, sums: T::Vector<S>) -> T::Vector<S>;
}

/// Factors of the type of the sums.
#[derive(Clone, Copy)]
struct Reals;

impl<T: Real, S: Simd> Factors<T, S> for Reals {
    type Left = T;
    const TOGETHER: usize = 1;

    #[inline(always)]
    unsafe fn splat(self, simd: S, left: *const T) -> T::Vector<S> {
        // SAFETY: there is one, as the caller says.
        T::splat(simd, unsafe { *left })
    }

    #[inline(always)]
    fn add_product(self, simd: S, left: T::Vector<S>, right: T::Vector<S>, sums: T::Vector<S>) -> T::Vector<S> {
        T::add_product(simd, left, right, sums)
    }
}

/// Registers of a row of a panel, at most; processors of 16 registers have half as many.
const WIDEST: usize = 4;

/// Columns of the panel that begins at a column: as many as whole registers of at most its widest, or a last one that they do not fill.
#[inline(always)]
fn registers<T: Real, S: Simd>(columns: usize) -> usize {
    let widest = if S::REGISTER_COUNT >= 32 { WIDEST } else { WIDEST / 2 };
    let mut registers = widest;
    while registers > 1 && registers * width::<T, S>() > columns {
        registers /= 2;
    }
    registers
}

/// Elements of the right factors of sums with so many terms for so many columns, [packed](pack): at most, on any processor.
pub(crate) fn packed_len(terms: usize, columns: usize) -> usize {
    (terms.saturating_add(1)).saturating_mul(columns.next_multiple_of(LANES))
}

/// Lays the right factors of sums out as [`multiply`] reads them: panels of some columns, in each a row with the value that each sum begins
/// with, and a row for each term.
pub(crate) fn pack<T: Real>(
    terms: usize,
    columns: usize,
    first: impl Fn(usize) -> T,
    factor: impl Fn(usize, usize) -> T,
    packed: &mut [T],
) {
    Arch::new().dispatch(Pack { terms, columns, first, factor, packed });
}

/// Terms that are laid out together: a cache line of f32. Term by term each number may be of another line, and all of these of a few places of the
/// cache.
const TOGETHER: usize = 16;

struct Pack<'a, T, F, G> {
    terms: usize,
    columns: usize,
    first: F,
    factor: G,
    packed: &'a mut [T],
}

impl<T: Real, F: Fn(usize) -> T, G: Fn(usize, usize) -> T> WithSimd for Pack<'_, T, F, G> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pack { terms, columns, first, factor, packed } = self;
        let (mut column, mut rest) = (0, packed);
        while column < columns {
            let wide = registers::<T, S>(columns - column) * width::<T, S>();
            let (panel, others) = rest.split_at_mut((terms + 1) * wide);
            let used = wide.min(columns - column);
            let (begin, rows) = panel.split_at_mut(wide);
            begin.fill(T::zero());
            begin.iter_mut().take(used).enumerate().for_each(|(i, value)| *value = first(column + i));
            for (block, rows) in rows.chunks_mut(TOGETHER * wide).enumerate() {
                let terms = block * TOGETHER..;
                if used < wide {
                    rows.fill(T::zero());
                }
                for i in 0..used {
                    for (row, term) in rows.chunks_exact_mut(wide).zip(terms.clone()) {
                        row[i] = factor(term, column + i);
                    }
                }
            }
            (column, rest) = (column + wide, others);
        }
    }
}

/// `out[row, column] = first[column] + Σ left[start(row) + …] · right[…, column]` for row-major `out` of so many columns: the terms of a row lie
/// in `runs` from its start on, `right` is [packed](pack).
///
/// # Panics
/// Where a row's terms end beyond `left`.
pub(crate) fn multiply<T: Real>(
    left: &[T],
    start: impl Fn(usize) -> usize,
    runs: Runs,
    right: &[T],
    out: &mut [T],
    columns: usize,
) {
    Arch::new().dispatch(Multiply { factors: Reals, left, start, runs, right, out, columns });
}

struct Multiply<'a, T, P, L, F> {
    factors: P,
    left: &'a [L],
    start: F,
    runs: Runs,
    right: &'a [T],
    out: &'a mut [T],
    columns: usize,
}

impl<T: Real, F: Fn(usize) -> usize> WithSimd for Multiply<'_, T, Reals, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.run(simd);
    }
}

impl<T: Real, P: Copy, L: Copy, F: Fn(usize) -> usize> Multiply<'_, T, P, L, F> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S)
    where
        P: Factors<T, S, Left = L>,
    {
        let (mut column, mut right) = (0, self.right);
        let rows = self.runs.count * self.runs.len.div_ceil(P::TOGETHER);
        while column < self.columns {
            let registers = registers::<T, S>(self.columns - column);
            let wide = registers * width::<T, S>();
            let (panel, others) = right.split_at((rows + 1) * wide);
            match registers {
                4 => self.panel::<S, 6, 4>(simd, panel, column),
                // Of more rows the compiler may hold so many left factors at once that sums go to memory.
                2 if S::REGISTER_COUNT >= 32 => self.panel::<S, 8, 2>(simd, panel, column),
                2 => self.panel::<S, 6, 2>(simd, panel, column),
                _ => self.panel::<S, 12, 1>(simd, panel, column),
            }
            (column, right) = (column + wide, others);
        }
    }

    /// All rows of the columns of a panel, tile by tile.
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, panel: &[T], column: usize)
    where
        P: Factors<T, S, Left = L>,
    {
        let (panel, _) = T::vectors::<S>(panel).as_chunks::<N>();
        let wide = N * width::<T, S>();
        let used = wide.min(self.columns - column);
        let rows = self.out.len() / self.columns;
        for row in (0..rows).step_by(M) {
            let some = M.min(rows - row);
            // The last tile has its last row several times.
            let mut starts = [0; M];
            for (m, start) in starts.iter_mut().enumerate() {
                *start = (self.start)(row + m.min(some - 1));
            }
            let out = &mut self.out[row * self.columns + column..];
            let left = Left { factors: self.factors, values: self.left, starts, runs: self.runs };
            if some == M && used == wide {
                tile::<T, S, P, M, N>(simd, left, panel, out, self.columns);
            } else {
                let mut sums = [T::zero(); LARGEST];
                tile::<T, S, P, M, N>(simd, left, panel, &mut sums, wide);
                for (out, sums) in out.chunks_mut(self.columns).zip(sums.chunks_exact(wide)).take(some) {
                    out[..used].copy_from_slice(&sums[..used]);
                }
            }
        }
    }
}

/// Numbers of a tile, at most: 6 rows of 4 registers of 16 numbers.
const LARGEST: usize = 384;

/// The left factors of a tile.
struct Left<'a, P, L, const M: usize> {
    factors: P,
    values: &'a [L],
    /// Where those of each row begin.
    starts: [usize; M],
    runs: Runs,
}

/// Stores the sums of `M` rows and `N` registers of columns as rows of `out`, so far apart.
#[inline(always)]
fn tile<T: Real, S: Simd, P: Factors<T, S>, const M: usize, const N: usize>(
    simd: S,
    Left { factors, values, starts, runs }: Left<P, P::Left, M>,
    panel: &[[T::Vector<S>; N]],
    out: &mut [T],
    apart: usize,
) {
    let rows = runs.len.div_ceil(P::TOGETHER);
    assert_eq!(panel.len(), runs.count * rows + 1, "multiply: the rows of a panel");
    let end = starts.iter().max().map_or(0, |start| start + runs.extent(P::TOGETHER));
    assert!(end <= values.len(), "multiply: the terms of a row end at {end} of {}", values.len());
    let (first, rights) = (panel[0], &panel[1..]);
    // By index: what adapters of iterators are in one build they are not in another, and over a call no sum stays in a register.
    let mut sums = [first; M];
    for run in 0..runs.count {
        let (begin, rights) = (run * runs.apart, &rights[run * rows..][..rows]);
        #[allow(clippy::needless_range_loop)]
        for row in 0..rows {
            let right = &rights[row];
            for m in 0..M {
                // SAFETY: of `runs.count` runs of `runs.len` terms, the last of them with those that fill its row, which begin at `starts` and end
                // in `values`, as was looked.
                let left = unsafe { factors.splat(simd, values.as_ptr().add(starts[m] + begin + row * P::TOGETHER)) };
                for n in 0..N {
                    sums[m][n] = factors.add_product(simd, left, right[n], sums[m][n]);
                }
            }
        }
    }
    for m in 0..M {
        let out = T::vectors_mut::<S>(&mut out[m * apart..][..N * width::<T, S>()]);
        // One by one: a copy as a whole would have the sums in memory, not in registers.
        #[allow(clippy::manual_memcpy)]
        for n in 0..N {
            out[n] = sums[m][n];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Runs {
        /// Products of a sum.
        fn terms(self) -> usize {
            self.count * self.len
        }
    }

    fn value(i: usize) -> f64 {
        ((i * 7919 + i * i % 97) % 1009) as f64 / 1009.0 - 0.5
    }

    /// Rows whose terms lie in runs of a common array, as windows of a convolution do, for as many columns as there are.
    fn sums<T: Real>(rows: usize, runs: Runs, columns: usize) -> Vec<T> {
        let left: Vec<T> = (0..rows * 3 + runs.extent(1)).map(|i| T::of(value(i))).collect();
        let mut packed = vec![T::nan(); packed_len(runs.terms(), columns)];
        let right = |term: usize, column: usize| T::of(value(11 * term + 3 * column));
        pack(runs.terms(), columns, |column| T::of(column as f64), right, &mut packed);
        let mut out = vec![T::nan(); rows * columns];
        multiply(&left, |row| 3 * row, runs, &packed, &mut out, columns);
        out
    }

    #[test]
    fn sums_are_those_of_the_formula() {
        let shapes = [1, 5, 6, 12, 13, 31].into_iter().flat_map(|rows| {
            [1, 7, 15, 16, 17, 24, 31, 33, 48, 63, 64, 65, 79, 97, 130].into_iter().map(move |columns| (rows, columns))
        });
        for (rows, columns) in shapes {
            let runs = Runs { count: 1 + rows % 3, len: 1 + columns % 5, apart: 9 };
            let expected = (0..rows * columns).map(|i| {
                let (row, column) = (i / columns, i % columns);
                let terms = (0..runs.terms()).map(|term| {
                    value(3 * row + term / runs.len * runs.apart + term % runs.len) * value(11 * term + 3 * column)
                });
                column as f64 + terms.sum::<f64>()
            });
            for (found, expected) in sums::<f64>(rows, runs, columns).into_iter().zip(expected) {
                // Some roundings of numbers below 200.
                assert!((found - expected).abs() < 1e-12, "{rows}×{columns} {runs:?}: {found}, not {expected}");
            }
        }
    }

    /// What a row is computed with, and which columns stand beside it, does not change its bits.
    #[test]
    fn a_sum_is_the_same_in_every_tile() {
        let runs = Runs { count: 3, len: 40, apart: 50 };
        let many = sums::<f32>(31, runs, 130);
        for (rows, columns) in [(1, 130), (7, 64), (31, 1), (13, 17)] {
            for (row, few) in sums::<f32>(rows, runs, columns).chunks_exact(columns).enumerate() {
                assert_eq!(few, &many[row * 130..][..columns], "row {row} of {rows}×{columns}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the terms of a row end at 7 of 6")]
    fn terms_beyond_the_end_are_refused() {
        let runs = Runs { count: 2, len: 3, apart: 4 };
        let packed = vec![0.0f32; packed_len(6, 1)];
        multiply(&[0.0; 6], |_| 0, runs, &packed[..], &mut [0.0], 1);
    }
}
