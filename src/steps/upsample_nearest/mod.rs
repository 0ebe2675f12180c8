//! Nearest-neighbour upsampling by two, as decoders use it: the steps `upsample_nearest` and `upsample_nearest_backward`.

mod cuda;
pub mod layer;

use rayon::prelude::*;

use super::access::elements;
use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Shape of the small maps: [n, side, side, c]. The large ones are [n, 2·side, 2·side, c].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleNearestGeometry {
    pub n: usize,
    pub side: usize,
    pub c: usize,
}

impl UpsampleNearestGeometry {
    /// Values of the small maps.
    pub fn small_len(&self) -> usize {
        elements([self.n, self.side, self.side, self.c])
    }

    /// Values of the large maps.
    pub fn large_len(&self) -> usize {
        elements([4, self.small_len()])
    }

    /// What kernels count, at most: pixels of the large maps, or channels.
    fn counted(&self) -> usize {
        elements([4, self.n, self.side, self.side]).max(self.c)
    }

    /// n, side, c, as kernels take them.
    fn numbers(&self) -> [i32; 3] {
        [self.n, self.side, self.c].map(|v| v as i32)
    }
}

/// `y[n, i, j, c] = x[n, ⌊i/2⌋, ⌊j/2⌋, c]`.
#[derive(Clone, Copy, Debug)]
pub struct UpsampleNearest2x {
    pub geometry: UpsampleNearestGeometry,
    pub x: View,
    pub y: View,
}

impl Operation for UpsampleNearest2x {
    fn kind(&self) -> &'static str {
        "upsample_nearest"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn variant(&self) -> String {
        format!("{:?}", self.geometry)
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.geometry.small_len())])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.geometry.large_len())])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        let UpsampleNearestGeometry { side, c, .. } = self.geometry;
        let pairs = y[self.y.range()].par_chunks_exact_mut(4 * side * c);
        pairs.zip(memory.get(self.x).par_chunks_exact(side * c)).for_each(|(pair, x)| {
            let (upper, lower) = pair.split_at_mut(2 * side * c);
            for (y, x) in upper.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
                y[..c].copy_from_slice(x);
                y[c..].copy_from_slice(x);
            }
            lower.copy_from_slice(upper);
        });
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::forward(self, memory)
    }
}

/// `dx = Σ dy` over the four pixels that each input became: the adjoint of [`UpsampleNearest2x`].
#[derive(Clone, Copy, Debug)]
pub struct UpsampleNearest2xBackward {
    pub geometry: UpsampleNearestGeometry,
    pub dy: View,
    pub dx: View,
}

impl Operation for UpsampleNearest2xBackward {
    fn kind(&self) -> &'static str {
        "upsample_nearest_backward"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn variant(&self) -> String {
        format!("{:?}", self.geometry)
    }

    fn reads(&self) -> Access {
        Access::new([("dy", self.dy, self.geometry.large_len())])
    }

    fn writes(&self) -> Access {
        Access::new([("dx", self.dx, self.geometry.small_len())])
    }

    fn sums(&self, _: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums { terms: 4, scale: largest[0] }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut dx = memory.take(self.dx.buffer);
        let UpsampleNearestGeometry { side, c, .. } = self.geometry;
        let rows = dx[self.dx.range()].par_chunks_exact_mut(side * c);
        rows.zip(memory.get(self.dy).par_chunks_exact(4 * side * c)).for_each(|(dx, pair)| {
            let (upper, lower) = pair.split_at(2 * side * c);
            for (i, dx) in dx.iter_mut().enumerate() {
                let at = i / c * 2 * c + i % c;
                *dx = (upper[at] + upper[at + c]) + (lower[at] + lower[at + c]);
            }
        });
        memory.put(self.dx.buffer, dx);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }
}
