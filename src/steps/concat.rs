//! The channels of several maps one after the other, and back: the steps `concat` and `concat_backward`.

pub mod layer;

use arrayvec::ArrayVec;
use rayon::prelude::*;

use super::operation::{Access, Hyper, Operation, Sums};
use super::vectors::{Vectors, with_kernel};
use crate::device::cuda::{self, DeviceBuffers, Launch, Number, PointerMut, kernels};
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Maps that one step joins at most.
pub const MOST_PARTS: usize = kernels::constants::concat::MOST_PARTS as usize;

/// Threads per block.
const THREADS: u32 = kernels::constants::concat::THREADS as u32;

/// The names of parts in accesses.
const NAMES: [[&str; MOST_PARTS]; 2] = [["a", "b", "c", "d"], ["da", "db", "dc", "dd"]];

/// A map [pixels, channels] among those that are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcatPart {
    pub channels: usize,
    /// None where nobody wants its gradient.
    pub view: Option<View>,
}

/// The parts of a step, in their order.
pub type ConcatParts = ArrayVec<ConcatPart, MOST_PARTS>;

/// `y[p, ·] = (a[p, ·], b[p, ·], …)`.
#[derive(Clone, Debug)]
pub struct Concat {
    pub parts: ConcatParts,
    pub y: View,
}

impl Operation for Concat {
    fn kind(&self) -> &'static str {
        "concat"
    }

    fn counted(&self) -> usize {
        self.y.len
    }

    fn variant(&self) -> String {
        format!("{:?}", channels(&self.parts))
    }

    fn reads(&self) -> Access {
        access(&self.parts, 0)
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        let width = width(&self.parts);
        y[self.y.range()].par_chunks_exact_mut(width).enumerate().for_each(|(pixel, y)| {
            let mut rest = y;
            for &ConcatPart { channels, view } in &self.parts {
                let (to, after) = rest.split_at_mut(channels);
                rest = after;
                if let Some(view) = view {
                    to.copy_from_slice(&memory.get(view)[pixel * channels..][..channels]);
                }
            }
        });
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        use kernels::concat::*;
        let &Concat { ref parts, y } = self;
        let Launched { launch, wide, ends: [a, b, c, width], pixels } = Launched::new(parts, y, memory);
        with_kernel!(y.dtype, wide, [concat_f32x1, concat_f32x4, concat_bf16x1, concat_bf16x8], kernel => {
            let [pa, pb, pc, pd] = pointers(parts, memory).map(PointerMut::read);
            kernel(launch, pa, pb, pc, pd, memory.pointer_mut(y), a, b, c, width, pixels)
        })
    }
}

/// `(da[p, ·], db[p, ·], …) = dy[p, ·]`, of the parts that are wanted.
#[derive(Clone, Debug)]
pub struct ConcatBackward {
    pub parts: ConcatParts,
    pub dy: View,
}

impl Operation for ConcatBackward {
    fn kind(&self) -> &'static str {
        "concat_backward"
    }

    fn counted(&self) -> usize {
        self.dy.len
    }

    fn variant(&self) -> String {
        format!("{:?}", channels(&self.parts))
    }

    fn reads(&self) -> Access {
        Access::new([("dy", self.dy)])
    }

    fn writes(&self) -> Access {
        access(&self.parts, 1)
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (width, mut first) = (width(&self.parts), 0);
        for &ConcatPart { channels, view } in &self.parts {
            if let Some(view) = view {
                let mut dx = memory.take(view.buffer);
                let pixels = dx[view.range()].par_chunks_exact_mut(channels);
                pixels.zip(memory.get(self.dy).par_chunks_exact(width)).for_each(|(dx, dy)| {
                    dx.copy_from_slice(&dy[first..][..channels]);
                });
                memory.put(view.buffer, dx);
            }
            first += channels;
        }
    }

    fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        use kernels::concat::*;
        let &ConcatBackward { ref parts, dy } = self;
        let Launched { launch, wide, ends: [a, b, c, width], pixels } = Launched::new(parts, dy, memory);
        with_kernel!(
            dy.dtype,
            wide,
            [concat_backward_f32x1, concat_backward_f32x4, concat_backward_bf16x1, concat_backward_bf16x8],
            kernel => {
                let [pa, pb, pc, pd] = pointers(parts, memory);
                kernel(launch, memory.pointer(dy), pa, pb, pc, pd, a, b, c, width, pixels)
            }
        )
    }
}

/// Channels of all parts.
fn width(parts: &ConcatParts) -> usize {
    parts.iter().map(|part| part.channels).sum()
}

/// Channels of each part, and whether it is there.
fn channels(parts: &ConcatParts) -> Vec<(usize, bool)> {
    parts.iter().map(|part| (part.channels, part.view.is_some())).collect()
}

/// The parts that there are, by their names.
fn access(parts: &ConcatParts, names: usize) -> Access {
    let of = |access: Access, (part, name): (&ConcatPart, &'static str)| access.and(name, part.view);
    parts.iter().zip(NAMES[names]).fold(Access::default(), of)
}

/// Where the parts lie; null where there is none.
fn pointers<'a, T: Number>(parts: &ConcatParts, memory: &'a DeviceBuffers) -> [PointerMut<'a, T>; MOST_PARTS] {
    std::array::from_fn(|i| memory.pointer_mut_opt(parts.get(i).and_then(|part| part.view)))
}

/// How the kernels are launched.
struct Launched<'a> {
    launch: Launch<'a>,
    wide: bool,
    /// The channel behind each part, of absent parts as of the last.
    ends: [i32; MOST_PARTS],
    pixels: i32,
}

impl Launched<'_> {
    /// For a joined map.
    fn new<'a>(parts: &ConcatParts, joined: View, memory: &'a DeviceBuffers) -> Launched<'a> {
        let width = width(parts);
        let wide = parts.iter().all(|part| Vectors::new(joined.dtype, part.channels).wide);
        let numbers = if wide { Vectors::numbers(joined.dtype) } else { 1 };
        let mut end = 0;
        let ends = std::array::from_fn(|i| {
            end += parts.get(i).map_or(0, |part| part.channels);
            end as i32
        });
        let launch = memory.cuda().launch_per_item(joined.len / numbers, THREADS);
        Launched { launch, wide, ends, pixels: (joined.len / width) as i32 }
    }
}
