//! Average pooling over NHWC maps, without padding: the steps `average_pool` and `average_pool_backward`.

mod cuda;
pub mod layer;

use rayon::prelude::*;

use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums};
use super::pool::PoolGeometry;
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// `y = Σ x / side²` over each window.
#[derive(Clone, Copy, Debug)]
pub struct AveragePool {
    /// Its padding is 0.
    pub geometry: PoolGeometry,
    pub x: View,
    pub y: View,
}

/// What is wrong with the geometry of an average pool.
fn fault(g: &PoolGeometry) -> Option<String> {
    g.windows().fault().or_else(|| (g.pad > 0).then(|| format!("it has no padding, {} is asked for", g.pad)))
}

impl Operation for AveragePool {
    fn kind(&self) -> &'static str {
        "average_pool"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        fault(&self.geometry)
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x", "y"])
    }

    fn variant(&self) -> String {
        format!("{:?}", self.geometry)
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.geometry.x_len())])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.geometry.y_len())])
    }

    fn sums(&self, _: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums { terms: self.geometry.side * self.geometry.side, scale: largest[0] }
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        forward(&self.geometry, memory.get(self.x), &mut y[self.y.range()]);
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::forward(self, memory)
    }
}

/// `dx = Σ dy / side²` over the windows that hold each input: the adjoint of [`AveragePool`].
#[derive(Clone, Copy, Debug)]
pub struct AveragePoolBackward {
    pub geometry: PoolGeometry,
    pub dy: View,
    pub dx: View,
}

impl Operation for AveragePoolBackward {
    fn kind(&self) -> &'static str {
        "average_pool_backward"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        fault(&self.geometry)
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["dy", "dx"])
    }

    fn variant(&self) -> String {
        format!("{:?}", self.geometry)
    }

    fn reads(&self) -> Access {
        Access::new([("dy", self.dy, self.geometry.y_len())])
    }

    fn writes(&self) -> Access {
        Access::new([("dx", self.dx, self.geometry.x_len())])
    }

    fn sums(&self, _: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums { terms: self.geometry.side.div_ceil(self.geometry.stride).pow(2), scale: largest[0] }
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut dx = memory.take(self.dx.buffer);
        backward(&self.geometry, memory.get(self.dy), &mut dx[self.dx.range()]);
        memory.put(self.dx.buffer, dx);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }
}

/// The CPU form of [`AveragePool`].
pub fn forward<T: Real>(g: &PoolGeometry, x: &[T], y: &mut [T]) {
    let (oh, ow, area) = (g.oh(), g.ow(), T::of((g.side * g.side) as f64));
    y.par_chunks_exact_mut(ow * g.c).enumerate().for_each(|(row, y)| {
        let image = &x[row / oh * g.h * g.w * g.c..][..g.h * g.w * g.c];
        for (q, y) in y.chunks_exact_mut(g.c).enumerate() {
            y.fill(T::zero());
            let [rows, columns] = g.taps(row % oh, q);
            for (r, s) in rows.flat_map(|r| columns.clone().map(move |s| (r, s))) {
                let x = &image[g.pixel([row % oh, q], [r, s]) * g.c..][..g.c];
                y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y /= area);
        }
    });
}

/// The CPU form of [`AveragePoolBackward`].
pub fn backward<T: Real>(g: &PoolGeometry, dy: &[T], dx: &mut [T]) {
    let (oh, ow, area) = (g.oh(), g.ow(), T::of((g.side * g.side) as f64));
    dx.par_chunks_exact_mut(g.w * g.c).enumerate().for_each(|(row, dx)| {
        let image = &dy[row / g.h * oh * ow * g.c..][..oh * ow * g.c];
        for (j, dx) in dx.chunks_exact_mut(g.c).enumerate() {
            dx.fill(T::zero());
            let [rows, columns] = g.outputs(row % g.h, j);
            for (p, q) in rows.flat_map(|p| columns.clone().map(move |q| (p, q))) {
                let dy = &image[(p * ow + q) * g.c..][..g.c];
                dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx += dy);
            }
            dx.iter_mut().for_each(|dx| *dx /= area);
        }
    });
}
