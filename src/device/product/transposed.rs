//! `leftᵀ·right`: sums over the rows of two matrices, as gradients of weights are.

use pulp::{Arch, Simd, WithSimd};

use super::{WIDEST, width};
use crate::real::Real;

/// `out[row, column] (+)= Σ left[term, row]·right[term, column]`, all row-major, for `out` of so many rows and columns. Terms are added in their
/// order, to what `out` holds where it `adds`.
///
/// # Panics
/// Where columns do not fill registers, or the matrices are not of as many terms.
pub(crate) fn multiply_transposed<T: Real>(
    [left, right]: [&[T]; 2],
    [rows, columns]: [usize; 2],
    out: &mut [T],
    adds: bool,
) {
    Arch::new().dispatch(Transposed { left, right, rows, columns, out, adds });
}

struct Transposed<'a, T> {
    left: &'a [T],
    right: &'a [T],
    rows: usize,
    columns: usize,
    out: &'a mut [T],
    adds: bool,
}

impl<T: Real> WithSimd for Transposed<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let wide = width::<T, S>();
        assert!(self.columns.is_multiple_of(wide), "multiply_transposed: {} columns in registers", self.columns);
        let terms = self.left.len() / self.rows;
        assert_eq!(
            [self.left.len(), self.right.len(), self.out.len()],
            [terms * self.rows, terms * self.columns, self.rows * self.columns],
            "multiply_transposed: elements of both matrices and of what they make"
        );
        let widest = if S::REGISTER_COUNT >= 32 { WIDEST } else { WIDEST / 2 };
        let mut column = 0;
        while column < self.columns / wide {
            let left = self.columns / wide - column;
            let registers = if left >= widest { widest } else { left.min(2) };
            match registers {
                4 => self.columns::<S, 4>(simd, column),
                2 => self.columns::<S, 2>(simd, column),
                _ => self.columns::<S, 1>(simd, column),
            }
            column += registers;
        }
    }
}

impl<T: Real> Transposed<'_, T> {
    /// All rows of some registers of columns.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&mut self, simd: S, column: usize) {
        let mut row = 0;
        while self.rows - row >= 6 {
            self.tile::<S, 6, N>(simd, row, column);
            row += 6;
        }
        while self.rows - row >= 2 {
            self.tile::<S, 2, N>(simd, row, column);
            row += 2;
        }
        if row < self.rows {
            self.tile::<S, 1, N>(simd, row, column);
        }
    }

    /// `M` rows of them, which stay in registers.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, row: usize, column: usize) {
        let apart = self.columns / width::<T, S>();
        let (right, out) = (T::vectors::<S>(self.right), T::vectors_mut::<S>(self.out));
        let mut sums = [[T::splat(simd, T::zero()); N]; M];
        if self.adds {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = out[(row + m) * apart + column + n];
                }
            }
        }
        // By index: adapters of iterators may stay calls here, over which no sum stays in a register.
        for term in 0..self.left.len() / self.rows {
            let left = &self.left[term * self.rows + row..][..M];
            let right = &right[term * apart + column..][..N];
            for m in 0..M {
                let left = T::splat(simd, left[m]);
                for n in 0..N {
                    sums[m][n] = T::add_product(simd, left, right[n], sums[m][n]);
                }
            }
        }
        for m in 0..M {
            let out = &mut out[(row + m) * apart + column..][..N];
            // One by one: a copy as a whole would have the sums in memory, not in registers.
            #[allow(clippy::manual_memcpy)]
            for n in 0..N {
                out[n] = sums[m][n];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f64 {
        ((i * 7919 + i * i % 97) % 1009) as f64 / 1009.0 - 0.5
    }

    #[test]
    fn sums_are_those_of_the_formula_in_the_order_of_terms() {
        for (terms, rows, columns) in [(1, 1, 16), (5, 6, 32), (48, 16, 16), (7, 13, 48), (3, 80, 112), (2, 9, 64)] {
            let [left, right] =
                [rows, columns].map(|of| (0..terms * of).map(|i| value(3 * i + of)).collect::<Vec<f64>>());
            let begin: Vec<f64> = (0..rows * columns).map(|i| value(5 * i)).collect();
            for adds in [false, true] {
                let mut out = begin.clone();
                multiply_transposed([&left, &right], [rows, columns], &mut out, adds);
                for (i, (&found, &begin)) in out.iter().zip(&begin).enumerate() {
                    let (row, column) = (i / columns, i % columns);
                    let products = (0..terms).map(|term| left[term * rows + row] * right[term * columns + column]);
                    let expected = products.fold(if adds { begin } else { 0.0 }, |sum, product| sum + product);
                    // Products may be fused with their sums.
                    assert!((found - expected).abs() < 1e-13, "{terms}: {rows}×{columns}: {found}, not {expected}");
                }
                // In two parts, the second added to the first.
                let (mut parts, half) = (begin.clone(), terms / 2);
                if half > 0 {
                    let first = [&left[..half * rows], &right[..half * columns]];
                    multiply_transposed(first, [rows, columns], &mut parts, adds);
                    let second = [&left[half * rows..], &right[half * columns..]];
                    multiply_transposed(second, [rows, columns], &mut parts, true);
                    assert_eq!(parts, out);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "elements of both matrices")]
    fn matrices_of_other_terms_are_refused() {
        multiply_transposed([&[0.0f32; 4], &[0.0; 16]], [2, 16], &mut [0.0; 32], false);
    }
}
