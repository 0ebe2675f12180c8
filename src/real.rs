//! The scalar that reference operations are generic over: f32 computes, f64 proves.

use std::iter::Sum;
use std::ops::Range;

use half::bf16;
use pulp::{Arch, NullaryFnOnce, Simd};

/// `f32` or `f64`.
pub trait Real:
    Vectors
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
    /// Rounds each number as [`rounded_to_bf16`].
    fn round_to_bf16(values: &mut [Self]);
    /// The numbers themselves, where they are f32.
    fn f32s(values: &[Self]) -> Option<&[f32]>;
    /// The same to be written.
    fn f32s_mut(values: &mut [Self]) -> Option<&mut [f32]>;
}

/// Vectors of numbers in the registers of a processor.
pub trait Vectors: Copy + 'static {
    /// A register.
    type Vector<S: Simd>: Copy;

    /// Each number of a register.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `c + a·b`.
    fn add_product<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a − b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a·b`.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The first of a pair where `a > b`, else the second.
    fn greater<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, pair: [Self::Vector<S>; 2])
    -> Self::Vector<S>;
    /// The first of a pair where `a = b`, else the second: where `a` is no number, it is not equal to itself.
    fn equal<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, pair: [Self::Vector<S>; 2]) -> Self::Vector<S>;
    /// A register of the numbers that bytes are, at most as many as it holds, and zeros.
    fn of_bytes<S: Simd>(simd: S, bytes: &[u8]) -> Self::Vector<S>;
    /// A register of some numbers, at most as many as it holds, and zeros.
    fn load<S: Simd>(simd: S, values: &[Self]) -> Self::Vector<S>;
    /// Stores as many numbers of a register as there is room for, at most all.
    fn store<S: Simd>(simd: S, values: &mut [Self], vector: Self::Vector<S>);
    /// The registers that a slice fills, from its beginning on.
    fn vectors<S: Simd>(values: &[Self]) -> &[Self::Vector<S>];
    /// The same to be written.
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>];
}

/// Numbers of a register, at most: 512 bits of f32.
pub const LANES: usize = 16;

macro_rules! vectors {
    ($real:ty, $vector:ident, {$($operation:ident: $simd:ident,)+}) => {
        vectors!(@ $real, $vector, $($simd)+);
    };
    (@ $real:ty, $vector:ident, $splat:ident $mul_add:ident $add:ident $sub:ident $mul:ident $less:ident $equal:ident $select:ident $load:ident $store:ident $all:ident $all_mut:ident) => {
        impl Vectors for $real {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $real) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn add_product<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn greater<S: Simd>(simd: S, a: S::$vector, b: S::$vector, [yes, no]: [S::$vector; 2]) -> S::$vector {
                simd.$select(simd.$less(b, a), yes, no)
            }

            #[inline(always)]
            fn equal<S: Simd>(simd: S, a: S::$vector, b: S::$vector, [yes, no]: [S::$vector; 2]) -> S::$vector {
                simd.$select(simd.$equal(a, b), yes, no)
            }

            #[inline(always)]
            fn of_bytes<S: Simd>(simd: S, bytes: &[u8]) -> S::$vector {
                let width = size_of::<S::$vector>() / size_of::<$real>();
                let mut numbers: [$real; LANES] = [0.0; LANES];
                // Of a whole register, whose length the compiler knows, it makes a few instructions.
                if bytes.len() >= width {
                    for i in 0..width {
                        numbers[i] = <$real>::from(bytes[i]);
                    }
                } else {
                    for i in 0..bytes.len() {
                        numbers[i] = <$real>::from(bytes[i]);
                    }
                }
                <$real>::load(simd, &numbers[..width])
            }

            #[inline(always)]
            fn load<S: Simd>(simd: S, values: &[$real]) -> S::$vector {
                match S::$all(values).0 {
                    [whole, ..] => *whole,
                    [] => simd.$load(values),
                }
            }

            #[inline(always)]
            fn store<S: Simd>(simd: S, values: &mut [$real], vector: S::$vector) {
                match S::$all_mut(values) {
                    ([whole, ..], _) => *whole = vector,
                    ([], part) => simd.$store(part, vector),
                }
            }

            #[inline(always)]
            fn vectors<S: Simd>(values: &[$real]) -> &[S::$vector] {
                S::$all(values).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(values: &mut [$real]) -> &mut [S::$vector] {
                S::$all_mut(values).0
            }
        }
    };
}

vectors!(f32, f32s, {
    splat: splat_f32s,
    add_product: mul_add_e_f32s,
    plus: add_f32s,
    minus: sub_f32s,
    times: mul_f32s,
    less: less_than_f32s,
    equal: equal_f32s,
    select: select_f32s,
    load: partial_load_f32s,
    store: partial_store_f32s,
    all: as_simd_f32s,
    all_mut: as_mut_simd_f32s,
});
vectors!(f64, f64s, {
    splat: splat_f64s,
    add_product: mul_add_e_f64s,
    plus: add_f64s,
    minus: sub_f64s,
    times: mul_f64s,
    less: less_than_f64s,
    equal: equal_f64s,
    select: select_f64s,
    load: partial_load_f64s,
    store: partial_store_f64s,
    all: as_simd_f64s,
    all_mut: as_mut_simd_f64s,
});

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn f64(self) -> f64 {
        self as f64
    }
    fn round_to_bf16(values: &mut [f32]) {
        Arch::new().dispatch(RoundToBf16(values));
    }
    fn f32s(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
    fn f32s_mut(values: &mut [f32]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn f64(self) -> f64 {
        self
    }
    fn round_to_bf16(values: &mut [f64]) {
        values.iter_mut().for_each(|value| *value = rounded_to_bf16(*value));
    }
    fn f32s(_: &[f64]) -> Option<&[f32]> {
        None
    }
    fn f32s_mut(_: &mut [f64]) -> Option<&mut [f32]> {
        None
    }
}

/// [`bf16::from_f32`] of many numbers, in place and without branches.
struct RoundToBf16<'a>(&'a mut [f32]);

impl NullaryFnOnce for RoundToBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        /// The bits that bf16 has.
        const KEPT: u32 = 0xffff_0000;
        /// Tells that a number is none from an infinite one, in a bit that is kept.
        const QUIET: u32 = 0x0040_0000;
        for value in self.0 {
            let bits = value.to_bits();
            // Half a step, less the least bit where the last one that is kept is even; it may carry to the next power of two, at last to ∞.
            let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
            *value = f32::from_bits(if value.is_nan() { bits | QUIET } else { nearest } & KEPT);
        }
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
    fn numbers_are_rounded_alike_one_by_one_and_together() {
        let bits =
            (0..1 << 16).flat_map(|high: u32| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| high << 16 | low));
        let values: Vec<f32> = bits.map(f32::from_bits).collect();
        let mut rounded = values.clone();
        f32::round_to_bf16(&mut rounded);
        for (value, rounded) in values.into_iter().zip(rounded) {
            assert_eq!(rounded.to_bits(), bf16::from_f32(value).to_f32().to_bits(), "{value}");
        }
    }

    #[test]
    fn long_sums_keep_their_digits() {
        let ones = vec![0.1f32; 1 << 20];
        // 20 − 6 levels of halving: at most 14 + 64 roundings of 6e-8, while adding in turn is off by 1e-3.
        approx::assert_relative_eq!(f64::from(sum(&ones)), 0.1 * (1 << 20) as f64, max_relative = 1e-6);
        assert_eq!(sum_over(3..6, |i| i as f64), 12.0);
        assert_eq!(sum::<f32>(&[]), 0.0);
    }
}
