//! The objective of autoencoders, a baseline: the steps `reconstruction` and `reconstruction_loss`.
//!
//! The reconstruction y is the net's last value z, in some nets through the logistic function. The anomaly map is the squared error
//! (y − x)² of each value; score and loss of an image are its mean.

mod cuda;

use rayon::prelude::*;

use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::{Real, sum};

/// Reconstruction, squared errors and scores.
#[derive(Clone, Copy, Debug)]
pub struct Reconstruction {
    /// Whether the logistic function comes last.
    pub sigmoid: bool,
    /// The input [n, …].
    pub x: View,
    pub z: View,
    pub y: View,
    pub map: View,
    /// \[n\]
    pub score: View,
}

/// 1/(1 + exp(−z)).
fn logistic<T: Real>(z: T) -> T {
    T::one() / (T::one() + (-z).exp())
}

impl Operation for Reconstruction {
    fn kind(&self) -> &'static str {
        "reconstruction"
    }

    fn counted(&self) -> usize {
        self.x.len
    }

    fn variant(&self) -> String {
        self.sigmoid.to_string()
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.z.len), ("z", self.z, whole(self.z.len, self.score.len))])
    }

    fn writes(&self) -> Access {
        let (len, n) = (self.z.len, self.score.len);
        Access::new([("y", self.y, len), ("map", self.map, len), ("score", self.score, n)])
    }

    fn sums(&self, output: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        match output {
            "y" => Sums::NONE,
            // The difference of reconstruction and input may cancel: it is as exact as the two are large.
            _ => Sums { terms: self.z.len / self.score.len, scale: (largest[0] + largest[1]).powi(2) },
        }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let [mut y, mut map, mut score] = [self.y, self.map, self.score].map(|view| memory.take(view.buffer));
        let length = self.z.len / self.score.len;
        let sources = memory.get(self.z).par_chunks_exact(length).zip(memory.get(self.x).par_chunks_exact(length));
        let targets =
            y[self.y.range()].par_chunks_exact_mut(length).zip(map[self.map.range()].par_chunks_exact_mut(length));
        sources.zip(targets).zip(&mut score[self.score.range()]).for_each(|(((z, x), (y, map)), score)| {
            for i in 0..length {
                y[i] = if self.sigmoid { logistic(z[i]) } else { z[i] };
                map[i] = (y[i] - x[i]) * (y[i] - x[i]);
            }
            *score = sum(map) / T::of(length as f64);
        });
        for (view, values) in [(self.y, y), (self.map, map), (self.score, score)] {
            memory.put(view.buffer, values);
        }
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::reconstruction(self, memory)
    }
}

/// Losses, and the gradient of the batch's mean loss by z: 2(y − x)/N, times y(1 − y) behind the logistic function, over all N values.
/// The input is the target: no gradient flows into it.
#[derive(Clone, Copy, Debug)]
pub struct ReconstructionLoss {
    pub sigmoid: bool,
    pub x: View,
    pub y: View,
    pub score: View,
    /// Loss of each image, \[n\].
    pub loss: View,
    pub dz: View,
}

impl Operation for ReconstructionLoss {
    fn kind(&self) -> &'static str {
        "reconstruction_loss"
    }

    fn counted(&self) -> usize {
        self.x.len
    }

    fn variant(&self) -> String {
        self.sigmoid.to_string()
    }

    fn reads(&self) -> Access {
        let (len, n) = (self.y.len, self.score.len);
        Access::new([("x", self.x, len), ("y", self.y, whole(len, n)), ("score", self.score, n)])
    }

    fn writes(&self) -> Access {
        Access::new([("loss", self.loss, self.score.len), ("dz", self.dz, self.y.len)])
    }

    fn sums(&self, output: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        match output {
            "dz" => Sums { terms: 1, scale: (largest[0] + largest[1]) * 2.0 / self.y.len as f64 },
            _ => Sums::NONE,
        }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let [mut loss, mut dz] = [self.loss, self.dz].map(|view| memory.take(view.buffer));
        loss[self.loss.range()].copy_from_slice(memory.get(self.score));
        let per_value = T::of(2.0 / self.y.len as f64);
        let pairs = memory.get(self.y).par_iter().zip(memory.get(self.x));
        dz[self.dz.range()].par_iter_mut().zip(pairs).for_each(|(d, (&y, &x))| {
            let error = per_value * (y - x);
            *d = if self.sigmoid { error * (y * (T::one() - y)) } else { error };
        });
        memory.put(self.loss.buffer, loss);
        memory.put(self.dz.buffer, dz);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::loss(self, memory)
    }
}
