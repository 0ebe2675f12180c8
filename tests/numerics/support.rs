//! What the tests of operations share.

use fcdd::device::{HostBuffers, View};
use fcdd::real::Real;
use fcdd::rng::{Purpose, Stream};

/// Standard normal numbers, the `index`-th sequence; f32 values, so that both precisions start from the same numbers.
pub fn noise(index: u32, len: usize) -> Vec<f64> {
    let mut values = vec![0.0; len];
    Stream::new(11, Purpose::Check, 0, index).fill_normal(&mut values);
    values.into_iter().map(f64::from).collect()
}

/// Values in another arithmetic.
pub fn of<T: Real>(values: &[impl Real]) -> Vec<T> {
    values.iter().map(|v| T::of(v.f64())).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Largest magnitude; infinite where one is no number.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| if v.is_nan() { f64::INFINITY } else { v.abs().max(m) })
}

/// Asserts that two tensors differ by at most `bound` times the largest value of the second.
#[track_caller]
pub fn assert_close<A: Real, B: Real>(ours: &[A], reference: &[B], bound: f64, what: &str) {
    assert_within(ours, reference, bound * largest(&of::<f64>(reference)), what);
}

/// Asserts that two tensors differ by at most `bound`.
#[track_caller]
pub fn assert_within<A: Real, B: Real>(ours: &[A], reference: &[B], bound: f64, what: &str) {
    assert_eq!(ours.len(), reference.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
        let (a, b) = (a.f64(), b.f64());
        assert!((a - b).abs() <= bound, "{what}: {a} instead of {b} at {i}, bound {bound:e}");
    }
}

/// Error bound of f32 for sums of `length` terms of either sign, relative to the largest sum: rounding errors of 2⁻²⁴ each add up like a random
/// walk; the constants 4 and 8 allow for the largest of many values and for the operations around the sum.
pub fn f32_bound(length: usize) -> f64 {
    4.0 * ((length as f64).sqrt() + 8.0) / 16_777_216.0
}

/// Asserts that `gradient` is that of `f` at `x`, by central differences along every axis, relative to the largest gradient.
#[track_caller]
pub fn assert_gradient(mut f: impl FnMut(&[f64]) -> f64, x: &[f64], gradient: &[f64], bound: f64, what: &str) {
    const H: f64 = 1e-5;
    let mut at = x.to_vec();
    let numeric: Vec<f64> = (0..x.len())
        .map(|i| {
            let mut shifted = |h: f64| {
                at[i] = x[i] + h;
                f(&at)
            };
            let slope = (shifted(H) - shifted(-H)) / (2.0 * H);
            at[i] = x[i];
            slope
        })
        .collect();
    assert_close(gradient, &numeric, bound, what);
}

/// Bound of [`assert_gradient`] for smooth functions of size 1: truncation of h² = 1e-10 and rounding of 2⁻⁵²/h = 2e-11 of sums of
/// some tens of terms.
pub const GRADIENT_BOUND: f64 = 1e-8;

/// Memory with one buffer per slice, filled, and a view of each.
pub fn memory<T: Real, const N: usize>(
    buffers: [&[f64]; N],
    bytes: &[usize],
    workspace: usize,
) -> (HostBuffers<T>, [View; N]) {
    let lengths = buffers.map(<[f64]>::len);
    let mut memory = HostBuffers::new(&lengths, bytes, workspace);
    let views = std::array::from_fn(|i| View::of(i, lengths[i]));
    for (view, values) in views.iter().zip(buffers) {
        memory.get_mut(*view).copy_from_slice(&of::<T>(values));
    }
    (memory, views)
}
