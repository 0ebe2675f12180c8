//! Sums of products of bf16, in f32, on processors that multiply pairs of them (AVX512-BF16): two products of a sum by one instruction.
//!
//! A row of a panel has the right factors of two consecutive left ones. Where a run has an odd number of them, it is read one further: what lies
//! there is multiplied by zero, and has to be finite.

use half::bf16;

use super::Runs;

/// A processor that multiplies pairs of bf16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs {
    #[cfg(target_arch = "x86_64")]
    simd: pulp::x86::V4,
}

/// Left factors of a row of a panel.
pub(crate) const PAIR: usize = 2;

/// Rows of a panel, without that of the values which sums begin with.
fn rows(runs: Runs) -> usize {
    runs.count * runs.len.div_ceil(PAIR)
}

/// Elements of the right factors of sums for so many columns, [packed](Pairs::pack), at most.
pub(crate) fn packed_len(runs: Runs, columns: usize) -> usize {
    super::packed_len(rows(runs), columns)
}

impl Pairs {
    /// Lays right factors out as [`Pairs::multiply`] reads them: [`super::pack`], with a pair in each number.
    pub(crate) fn pack(
        self,
        runs: Runs,
        columns: usize,
        first: impl Fn(usize) -> f32,
        factor: impl Fn(usize, usize) -> f32,
        packed: &mut [f32],
    ) {
        let in_run = runs.len.div_ceil(PAIR);
        let pair = |row: usize, column: usize| {
            let (run, at) = (row / in_run, row % in_run * PAIR);
            let of = |at: usize| if at < runs.len { factor(run * runs.len + at, column) } else { 0.0 };
            let [low, high] = [at, at + 1].map(|at| u32::from(bf16::from_f32(of(at)).to_bits()));
            f32::from_bits(low | high << 16)
        };
        super::pack(rows(runs), columns, first, pair, packed);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    use std::mem::transmute;

    use half::bf16;
    use pulp::x86::V4;
    use pulp::{Simd, f32x16};

    use super::super::{Factors, Multiply, Runs};
    use super::{PAIR, Pairs};

    impl Pairs {
        /// If this processor does.
        pub(crate) fn detect() -> Option<Pairs> {
            let has = std::arch::is_x86_feature_detected!("avx512bf16");
            V4::try_new().filter(|_| has).map(|simd| Pairs { simd })
        }

        /// As [`super::super::multiply`], in which the second factor of each pair is added before the first.
        pub(crate) fn multiply(
            self,
            left: &[bf16],
            start: impl Fn(usize) -> usize,
            runs: Runs,
            right: &[f32],
            out: &mut [f32],
            columns: usize,
        ) {
            let multiply = Multiply { factors: self, left, start, runs, right, out, columns };
            // SAFETY: `V4` and `Pairs` are made where the processor has these instructions alone.
            unsafe { run(multiply, self.simd) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn run<F: Fn(usize) -> usize>(multiply: Multiply<f32, Pairs, bf16, F>, simd: V4) {
        multiply.run(simd);
    }

    impl Factors<f32, V4> for Pairs {
        type Left = bf16;
        const TOGETHER: usize = PAIR;

        #[inline(always)]
        unsafe fn splat(self, simd: V4, left: *const bf16) -> f32x16 {
            // SAFETY: there are two, as the caller says; they may lie at any multiple of two bytes.
            simd.splat_f32s(f32::from_bits(unsafe { left.cast::<u32>().read_unaligned() }))
        }

        #[inline(always)]
        fn add_product(self, _: V4, left: f32x16, right: f32x16, sums: f32x16) -> f32x16 {
            // SAFETY: the processor has the instruction, and all of these are 512 bits.
            unsafe {
                let sums = transmute::<f32x16, __m512>(sums);
                let (left, right) = (transmute::<f32x16, __m512bh>(left), transmute::<f32x16, __m512bh>(right));
                transmute::<__m512, f32x16>(_mm512_dpbf16_ps(sums, left, right))
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Pairs {
    /// Never.
    pub(crate) fn detect() -> Option<Pairs> {
        None
    }

    /// Not where there is none.
    pub(crate) fn multiply(self, _: &[bf16], _: impl Fn(usize) -> usize, _: Runs, _: &[f32], _: &mut [f32], _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        bf16::from_f32(((i * 7919 + i * i % 97) % 1009) as f32 / 1009.0 - 0.5).to_f32()
    }

    /// Products of bf16 are exact in f32: the bits are those of sums by fused instructions, in the order of the pairs.
    #[test]
    fn sums_are_those_of_the_formula() {
        let Some(pairs) = Pairs::detect() else {
            return;
        };
        let shapes = [1, 5, 6, 12, 13, 31].into_iter().flat_map(|rows| {
            [1, 7, 15, 16, 17, 24, 31, 33, 48, 63, 64, 65, 79, 97, 130].into_iter().map(move |columns| (rows, columns))
        });
        for (rows, columns) in shapes {
            let runs = Runs { count: 1 + rows % 3, len: 1 + columns % 5, apart: 9 };
            let left: Vec<bf16> = (0..rows * 3 + runs.extent(PAIR)).map(|i| bf16::from_f32(value(i))).collect();
            let mut packed = vec![f32::NAN; packed_len(runs, columns)];
            let right = |term: usize, column: usize| value(11 * term + 3 * column);
            pairs.pack(runs, columns, |column| column as f32, right, &mut packed);
            let mut out = vec![f32::NAN; rows * columns];
            pairs.multiply(&left, |row| 3 * row, runs, &packed, &mut out, columns);
            for (i, found) in out.into_iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let mut expected = column as f32;
                for run in 0..runs.count {
                    for first in (0..runs.len).step_by(PAIR) {
                        for at in (first..runs.len.min(first + PAIR)).rev() {
                            let left = value(3 * row + run * runs.apart + at);
                            expected = left.mul_add(right(run * runs.len + at, column), expected);
                        }
                    }
                }
                assert_eq!(found.to_bits(), expected.to_bits(), "{rows}×{columns} {runs:?}: {found}, not {expected}");
            }
        }
    }
}
