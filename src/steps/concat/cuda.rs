//! The concatenation on the GPU: `kernels/concat.cu`.

#![allow(unsafe_code)] // launches

use super::{Concat, ConcatBackward, ConcatParts, MOST_PARTS, width};
use crate::device::View;
use crate::device::cuda::kernels::{ConcatBackwardParameters, ConcatParameters, Joined, concat as kernels, constants};
use crate::device::cuda::{Launch, Number, PointerMut, Result};
use crate::steps::access::CheckedBuffers;
use crate::steps::vectors::{Vectors, with_kernel};

const THREADS: u32 = constants::concat::THREADS as u32;

/// [`Concat`].
pub(super) fn concat(step: &Concat, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &Concat { ref parts, y } = step;
    let (launch, wide, joined) = launched(parts, y, memory);
    with_kernel!(y.dtype, wide, [concat_f32x1, concat_f32x4, concat_bf16x1, concat_bf16x8], kernel => {
        let [a, b, c, d] = pointers(parts, memory).map(PointerMut::read);
        let parameters = ConcatParameters { a, b, c, d, y: memory.pointer_mut(y), joined };
        // SAFETY: views lie in their buffers, a part for each of its channels in y, and no part is absent (`Concat::wrong_numbers`).
        unsafe { kernel(launch, &parameters) }
    })
}

/// [`ConcatBackward`].
pub(super) fn backward(step: &ConcatBackward, memory: &CheckedBuffers) -> Result<()> {
    use kernels::*;
    let &ConcatBackward { ref parts, dy } = step;
    let (launch, wide, joined) = launched(parts, dy, memory);
    with_kernel!(
        dy.dtype,
        wide,
        [concat_backward_f32x1, concat_backward_f32x4, concat_backward_bf16x1, concat_backward_bf16x8],
        kernel => {
            let [a, b, c, d] = pointers(parts, memory);
            let parameters = ConcatBackwardParameters { dy: memory.pointer(dy), a, b, c, d, joined };
            // SAFETY: as above; parts that are not wanted are null.
            unsafe { kernel(launch, &parameters) }
        }
    )
}

/// Where the parts lie; null where there is none.
fn pointers<'a, T: Number>(parts: &ConcatParts, memory: &'a CheckedBuffers<'a>) -> [PointerMut<'a, T>; MOST_PARTS] {
    std::array::from_fn(|i| memory.pointer_mut_opt(parts.get(i).and_then(|part| part.view)))
}

/// The launch for a joined map, whether its threads take 16 bytes each, and the channel behind each part, of absent parts as of the last.
fn launched<'a>(parts: &ConcatParts, joined: View, memory: &'a CheckedBuffers<'a>) -> (Launch<'a>, bool, Joined) {
    let width = width(parts);
    let wide = parts.iter().all(|part| Vectors::new(joined.dtype, part.channels).wide);
    let numbers = if wide { Vectors::numbers(joined.dtype) } else { 1 };
    let mut end = 0;
    let [end_a, end_b, end_c, width_end]: [i32; MOST_PARTS] = std::array::from_fn(|i| {
        end += parts.get(i).map_or(0, |part| part.channels);
        end as i32
    });
    let launch = memory.cuda().launch_per_item(joined.len / numbers, THREADS);
    (launch, wide, Joined { end_a, end_b, end_c, width: width_end, pixels: (joined.len / width) as i32 })
}
