//! The scalar that reference operations are generic over: f32 computes, f64 proves.

use std::iter::Sum;
use std::ops::Range;

use half::bf16;

use crate::device::product::Lanes;

/// `f32` or `f64`.
pub trait Real:
    Lanes
    + num_traits::Float
    + num_traits::NumAssign
    + bytemuck::Pod
    + Sum
    + Default
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
{
    /// The nearest value of this type.
    fn of(x: f64) -> Self;
    /// The same value in double precision.
    fn f64(self) -> f64;
}

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn f64(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}

/// Unit roundoff of f32.
pub(crate) const ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// Half the distance between neighbours of bf16, which have 8 bits, relative to the power of two below them.
pub(crate) const BF16_ROUNDOFF: f64 = 1.0 / 256.0;

/// The bf16 nearest to an f32, ties to even. ([`bf16::from_f64`] looks at half of its bits and misses what breaks a tie.)
pub fn rounded_to_bf16(value: f64) -> f64 {
    bf16::from_f32(value as f32).to_f64()
}

/// Below this many terms a sum is taken in turn.
const SUM_IN_TURN: usize = 64;

/// `Σ f(i)` over a range, pairwise: the rounding error grows with the logarithm of the length. The order depends on the length
/// alone.
pub fn sum_over<T: Real>(range: Range<usize>, f: impl Fn(usize) -> T + Copy) -> T {
    if range.len() <= SUM_IN_TURN {
        return range.map(f).sum();
    }
    let middle = range.start + range.len() / 2;
    sum_over(range.start..middle, f) + sum_over(middle..range.end, f)
}

/// `Σ v` over a slice, pairwise.
pub fn sum<T: Real>(values: &[T]) -> T {
    sum_over(0..values.len(), |i| values[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_keep_their_digits() {
        let ones = vec![0.1f32; 1 << 20];
        // 20 − 6 levels of halving: at most 14 + 64 roundings of 6e-8, while adding in turn is off by 1e-3.
        approx::assert_relative_eq!(f64::from(sum(&ones)), 0.1 * (1 << 20) as f64, max_relative = 1e-6);
        assert_eq!(sum_over(3..6, |i| i as f64), 12.0);
        assert_eq!(sum::<f32>(&[]), 0.0);
    }
}
