//! How kernels read rows of channels: `kernels/vector.cuh`.

use crate::device::DType;

/// Bytes that a thread reads at a time where rows allow it.
const WIDE: usize = 16;

/// Threads along a row of channels.
pub(super) struct Vectors {
    /// Whether a thread reads 16 bytes of channels at a time, else one channel.
    pub wide: bool,
    /// Such accesses per row.
    pub groups: usize,
    /// Threads side by side: a power of two up to 32.
    pub lanes: usize,
}

impl Vectors {
    /// Numbers that a thread reads at a time where rows allow it.
    pub(super) fn numbers(dtype: DType) -> usize {
        WIDE / dtype.size()
    }

    /// For rows of `c` channels in views that start at 16 bytes, as those of a step do unless it says otherwise (`Operation::anywhere`).
    pub(super) fn new(dtype: DType, c: usize) -> Vectors {
        let numbers = Vectors::numbers(dtype);
        let wide = c.is_multiple_of(numbers);
        let groups = if wide { c / numbers } else { c };
        Vectors { wide, groups, lanes: groups.next_power_of_two().min(32) }
    }
}

/// Hands the kernel for numbers of this type, read one by one or 16 bytes at a time, to an expression: `_f32x1`, `_f32x4`, `_bf16x1`,
/// `_bf16x8`.
macro_rules! with_kernel {
    ($dtype:expr, $wide:expr, [$f32x1:path, $f32x4:path, $bf16x1:path, $bf16x8:path], $kernel:ident => $launch:expr) => {{
        use $crate::device::DType;
        match ($dtype, $wide) {
            (DType::F32, false) => {
                let $kernel = $f32x1;
                $launch
            }
            (DType::F32, true) => {
                let $kernel = $f32x4;
                $launch
            }
            (DType::Bf16, false) => {
                let $kernel = $bf16x1;
                $launch
            }
            (DType::Bf16, true) => {
                let $kernel = $bf16x8;
                $launch
            }
        }
    }};
}
pub(super) use with_kernel;
