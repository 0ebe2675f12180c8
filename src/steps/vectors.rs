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
    /// For rows of `c` channels in buffers of their own, which start at 16 bytes.
    pub(super) fn new(dtype: DType, c: usize) -> Vectors {
        let numbers = WIDE / dtype.size();
        let wide = c.is_multiple_of(numbers);
        let groups = if wide { c / numbers } else { c };
        Vectors { wide, groups, lanes: groups.next_power_of_two().min(32) }
    }
}
