//! The sum of two values with an activation, and the activation's gradient: the steps `add` and `add_backward`.
//!
//! The gradient of a sum is that of each of its terms, so the activation alone has a backward pass.

mod cuda;
pub mod layer;

use rayon::prelude::*;

use super::activation::Activation;
use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Values of a task on the CPU.
const CHUNK: usize = 1 << 14;

/// `y = act(a + b)`.
#[derive(Clone, Copy, Debug)]
pub struct Add {
    pub activation: Activation,
    pub a: View,
    pub b: View,
    pub y: View,
}

impl Operation for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn counted(&self) -> usize {
        self.y.len
    }

    fn wrong_numbers(&self) -> Option<String> {
        self.activation.fault().map(|problem| format!("its activation {problem}"))
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["a", "b", "y"])
    }

    fn variant(&self) -> String {
        format!("{:?}", self.activation)
    }

    fn reads(&self) -> Access {
        Access::new([("a", self.a, self.y.len), ("b", self.b, self.y.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.y.len)])
    }

    fn sums(&self, _: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums { terms: 2, scale: largest[0].max(largest[1]) }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        let slope = T::of(self.activation.slope);
        let terms = memory.get(self.a).par_chunks(CHUNK).zip(memory.get(self.b).par_chunks(CHUNK));
        y[self.y.range()].par_chunks_mut(CHUNK).zip(terms).for_each(|(y, (a, b))| {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                let sum = a + b;
                *y = if sum > T::zero() { sum } else { slope * sum };
            }
        });
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::add(self, memory)
    }
}

/// `dx = y > 0 ? dy : slope·dy`: the gradient of each term of [`Add`]. The sum has the sign of y.
#[derive(Clone, Copy, Debug)]
pub struct AddBackward {
    pub activation: Activation,
    /// What [`Add`] gave.
    pub y: View,
    pub dy: View,
    pub dx: View,
}

impl Operation for AddBackward {
    fn kind(&self) -> &'static str {
        "add_backward"
    }

    fn counted(&self) -> usize {
        self.dx.len
    }

    fn wrong_numbers(&self) -> Option<String> {
        self.activation.fault().map(|problem| format!("its activation {problem}"))
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["y", "dy", "dx"])
    }

    fn variant(&self) -> String {
        format!("{:?}", self.activation)
    }

    fn reads(&self) -> Access {
        Access::new([("y", self.y, self.dx.len), ("dy", self.dy, self.dx.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("dx", self.dx, self.dx.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut dx = memory.take(self.dx.buffer);
        let slope = T::of(self.activation.slope);
        let read = memory.get(self.y).par_chunks(CHUNK).zip(memory.get(self.dy).par_chunks(CHUNK));
        dx[self.dx.range()].par_chunks_mut(CHUNK).zip(read).for_each(|(dx, (y, dy))| {
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = if y > T::zero() { dy } else { slope * dy };
            }
        });
        memory.put(self.dx.buffer, dx);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }
}
