//! Matrix product on the CPU by the `gemm` crate, behind a safe function that checks shapes.

use crate::real::Real;

/// A matrix inside a slice: element (i, j) is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after the other.
    pub(crate) fn row_major(data: &'a [T], rows: usize, columns: usize) -> Matrix<'a, T> {
        Matrix { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Length of the slice that the matrix reaches over.
    fn extent(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// `out = a·b`, or `out += a·b` when `accumulate`; `out` is row-major [a.rows, b.columns]. One thread; the order of the
/// summation depends on the shapes and on the width of the processor's vectors.
///
/// # Panics
/// Panics if the inner dimensions differ or a slice is shorter than its matrix.
pub(crate) fn matmul<T: Real>(out: &mut [T], a: Matrix<T>, b: Matrix<T>, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "matmul: inner dimensions");
    assert!(a.data.len() >= a.extent() && b.data.len() >= b.extent(), "matmul: operand shorter than its shape");
    assert!(out.len() >= a.rows * b.columns, "matmul: output shorter than its shape");
    // SAFETY: the assertions above bound every element that the strides reach; `out` is borrowed mutably, so it overlaps
    // neither operand; T is f32 or f64, both of which the crate dispatches on.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if accumulate { T::one() } else { T::zero() },
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_and_strided_operands() {
        // a = [[1, 2, 3], [4, 5, 6]], b = [[1, 0], [0, 1], [1, 1]]
        let a = [1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b_transposed = [1.0f64, 0.0, 1.0, 0.0, 1.0, 1.0];
        let mut out = [10.0; 4];
        let (a, b) = (Matrix::row_major(&a, 2, 3), Matrix::row_major(&b_transposed, 2, 3).transposed());
        matmul(&mut out, a, b, false);
        assert_eq!(out, [4.0, 5.0, 10.0, 11.0]);
        matmul(&mut out, a, b, true);
        assert_eq!(out, [8.0, 10.0, 20.0, 22.0]);
    }
}
