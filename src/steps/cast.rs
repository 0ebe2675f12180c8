//! f32 values as the bf16 that tensor cores multiply: `kernels/cast.cu`. Rounded to nearest even; only on the GPU.

use half::bf16;

use crate::device::cuda::kernels::cast;
use crate::device::cuda::{Cuda, Pointer, PointerMut, Result};

/// Neighbours that a block casts.
const PER_BLOCK: usize = 256 * 8;

/// Rounds `len` values. `y` starts at 16 bytes.
pub fn values(cuda: &Cuda, x: Pointer<'_, f32>, y: PointerMut<'_, bf16>, len: usize) -> Result<()> {
    rows(cuda, x, y, 1, [len, len])
}

/// Rounds a matrix [rows, length] into rows of `stride` elements with zeros at their end. `y` starts at 16 bytes; with more than one
/// row, so does each: `stride` is a multiple of 8.
pub fn rows(
    cuda: &Cuda,
    x: Pointer<'_, f32>,
    y: PointerMut<'_, bf16>,
    rows: usize,
    [length, stride]: [usize; 2],
) -> Result<()> {
    let launch = cuda.launch([stride.div_ceil(PER_BLOCK) as u32, rows as u32, 1], 256, 0);
    cast::cast_rows(launch, x, y, length as i64, stride as i64)
}

/// Rounds weights [k, taps, c] into [c, taps from the last to the first, k], in rows of `stride` elements with zeros at their end.
/// `y` starts at 16 bytes, `stride` is a multiple of 8.
pub fn turned(
    cuda: &Cuda,
    x: Pointer<'_, f32>,
    y: PointerMut<'_, bf16>,
    [k, taps, c]: [usize; 3],
    stride: usize,
) -> Result<()> {
    let launch = cuda.launch([k.div_ceil(32) as u32, c.div_ceil(32) as u32, taps as u32], 128, 0);
    cast::cast_turned(launch, x, y, k as i32, taps as i32, c as i32, stride as i32)
}
