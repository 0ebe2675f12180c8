//! Values in other arithmetic, and between PyTorch's layout, which golden files have, and ours.

use crate::real::Real;

/// Values in another arithmetic.
pub(super) fn of<T: Real>(values: &[impl Real]) -> Vec<T> {
    values.iter().map(|v| T::of(v.f64())).collect()
}

/// [n, c, pixels] as [n, pixels, c].
pub(super) fn to_nhwc(values: &[f64], n: usize, c: usize) -> Vec<f64> {
    transpose(values, n, c)
}

/// [n, pixels, c] as [n, c, pixels].
pub(super) fn to_nchw(values: &[f64], n: usize, c: usize) -> Vec<f64> {
    transpose(values, n, values.len() / (n * c).max(1))
}

/// Exchanges rows and columns of each of `n` matrices with `rows` rows.
fn transpose(values: &[f64], n: usize, rows: usize) -> Vec<f64> {
    let columns = values.len() / (n * rows).max(1);
    let matrices = values.chunks_exact((rows * columns).max(1));
    matrices.flat_map(|m| (0..columns).flat_map(move |j| (0..rows).map(move |i| m[i * columns + j]))).collect()
}
