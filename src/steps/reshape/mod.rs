//! The step `reshape`: a vector in PyTorch's order (channel, row, column) to an NHWC map, and back.
//!
//! Both are the transposition of a matrix per image, [c, pixels] to [pixels, c] forward, and the other way for the gradient.

mod cuda;
pub mod layer;

use rayon::prelude::*;

use super::access::elements;
use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// `y[n, j, i] = x[n, i, j]` with `rows` values of i and `columns` of j.
#[derive(Clone, Copy, Debug)]
pub struct Reshape {
    pub rows: usize,
    pub columns: usize,
    /// [n, rows, columns]
    pub x: View,
    /// [n, columns, rows]
    pub y: View,
}

impl Operation for Reshape {
    fn kind(&self) -> &'static str {
        "reshape"
    }

    fn counted(&self) -> usize {
        self.x.len
    }

    fn variant(&self) -> String {
        format!("{}×{}", self.rows, self.columns)
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, whole(self.x.len, elements([self.rows, self.columns])))])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.x.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        let (rows, columns) = (self.rows, self.columns);
        let images = y[self.y.range()].par_chunks_exact_mut(rows * columns);
        images.zip(memory.get(self.x).par_chunks_exact(rows * columns)).for_each(|(y, x)| {
            for (j, y) in y.chunks_exact_mut(rows).enumerate() {
                y.iter_mut().enumerate().for_each(|(i, y)| *y = x[i * columns + j]);
            }
        });
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::reshape(self, memory)
    }
}
