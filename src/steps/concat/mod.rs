//! The channels of several maps one after the other, and back: the steps `concat` and `concat_backward`.

mod cuda;
pub mod layer;

use arrayvec::ArrayVec;
use rayon::prelude::*;

use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::constants;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Maps that one step joins at most.
pub const MOST_PARTS: usize = constants::concat::MOST_PARTS as usize;

/// The names of parts in accesses.
const NAMES: [[&str; MOST_PARTS]; 2] = [["a", "b", "c", "d"], ["da", "db", "dc", "dd"]];

/// A map [pixels, channels] among those that are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcatPart {
    pub channels: usize,
    /// None where nobody wants its gradient; all parts that are joined are there.
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

    fn wrong_numbers(&self) -> Option<String> {
        let absent = self.parts.iter().position(|part| part.view.is_none())?;
        Some(format!("its {} is not there", NAMES[0][absent]))
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["y", "a", "b", "c", "d"])
    }

    fn variant(&self) -> String {
        format!("{:?}", channels(&self.parts))
    }

    fn reads(&self) -> Access {
        access(&self.parts, 0, self.y.len)
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, whole(self.y.len, width(&self.parts)))])
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

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::concat(self, memory)
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

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["dy", "da", "db", "dc", "dd"])
    }

    fn variant(&self) -> String {
        format!("{:?}", channels(&self.parts))
    }

    fn reads(&self) -> Access {
        Access::new([("dy", self.dy, whole(self.dy.len, width(&self.parts)))])
    }

    fn writes(&self) -> Access {
        access(&self.parts, 1, self.dy.len)
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

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }
}

/// Channels of all parts.
fn width(parts: &ConcatParts) -> usize {
    parts.iter().fold(0, |width, part| width.saturating_add(part.channels))
}

/// Channels of each part, and whether it is there.
fn channels(parts: &ConcatParts) -> Vec<(usize, bool)> {
    parts.iter().map(|part| (part.channels, part.view.is_some())).collect()
}

/// The parts that there are, by their names, of joined maps of so many values.
fn access(parts: &ConcatParts, names: usize, joined: usize) -> Access {
    let pixels = joined.checked_div(width(parts)).unwrap_or(0);
    let of =
        |access: Access, (part, name): (&ConcatPart, &'static str)| access.and(name, part.view, pixels * part.channels);
    parts.iter().zip(NAMES[names]).fold(Access::default(), of)
}
