//! SGD and Adam over one flat parameter buffer: the steps `sgd` and `adam`. Weight decay is coupled: g += wd·w first.

mod cuda;

use rayon::prelude::*;

use super::operation::{ADAM_BETA, Access, CheckedBuffers, Hyper, Operation, Sums, apart};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Elements per parallel chunk.
const CHUNK: usize = 1 << 14;

/// Nesterov momentum of the paper's runs.
pub const MOMENTUM: f64 = 0.9;

/// Stochastic gradient descent with Nesterov momentum: buf = 0.9·buf + g; w −= lr·(g + 0.9·buf). The buffer starts at zero, so
/// the first step's buf = g.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    pub params: View,
    pub grads: View,
    pub momentum: View,
}

impl Operation for Sgd {
    fn kind(&self) -> &'static str {
        "sgd"
    }

    fn counted(&self) -> usize {
        self.params.len
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["params", "grads", "momentum"]
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        let len = self.params.len;
        Access::new([("params", self.params, len), ("grads", self.grads, len), ("momentum", self.momentum, len)])
    }

    fn writes(&self) -> Access {
        let len = self.params.len;
        Access::new([("params", self.params, len), ("momentum", self.momentum, len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let (mut params, mut momentum) = (memory.take(self.params.buffer), memory.take(self.momentum.buffer));
        let (lr, wd, mu) = (T::of(hyper.lr), T::of(hyper.weight_decay), T::of(MOMENTUM));
        params[self.params.range()]
            .par_chunks_mut(CHUNK)
            .zip(momentum[self.momentum.range()].par_chunks_mut(CHUNK))
            .zip(memory.get(self.grads).par_chunks(CHUNK))
            .for_each(|((params, momentum), grads)| {
                for ((w, buf), &g) in params.iter_mut().zip(momentum).zip(grads) {
                    let g = g + wd * *w;
                    *buf = mu * *buf + g;
                    *w -= lr * (g + mu * *buf);
                }
            });
        memory.put(self.params.buffer, params);
        memory.put(self.momentum.buffer, momentum);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::sgd(self, memory)
    }
}

/// Adam (Kingma & Ba 2015): β 0.9 and 0.999, ε 1e-8 outside the square root of the bias-corrected second moment.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub params: View,
    pub grads: View,
    /// First and second moments, in one buffer, `m` before `v`.
    pub m: View,
    pub v: View,
}

impl Operation for Adam {
    fn kind(&self) -> &'static str {
        "adam"
    }

    fn counted(&self) -> usize {
        self.params.len
    }

    fn wrong_numbers(&self) -> Option<String> {
        let crossed = || (self.m.range().end > self.v.start).then(|| "its v does not lie behind its m".into());
        apart([("m", self.m), ("v", self.v)]).or_else(crossed)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["params", "grads", "m", "v"]
    }

    /// Gradients that cancel against the weight decay: of such a sum Adam sees little more than the sign, which rounding settles.
    fn settle(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        let mut grads = memory.take(self.grads.buffer);
        for (g, p) in grads[self.grads.range()].iter_mut().zip(memory.get(self.params)) {
            if (*g + hyper.weight_decay * p).abs() < g.abs() * 1e-3 {
                *g = f64::from((*g * 1.5) as f32);
            }
        }
        memory.put(self.grads.buffer, grads);
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        let len = self.params.len;
        Access::new([("params", self.params, len), ("grads", self.grads, len), ("m", self.m, len), ("v", self.v, len)])
    }

    fn writes(&self) -> Access {
        let len = self.params.len;
        Access::new([("params", self.params, len), ("m", self.m, len), ("v", self.v, len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let (mut params, mut moments) = (memory.take(self.params.buffer), memory.take(self.m.buffer));
        let (m, v) = moments.split_at_mut(self.v.start);
        let (rate, root) = hyper.bias_corrected();
        let (rate, root) = (T::of(rate), T::of(root));
        let (b1, b2, wd, eps) = (T::of(ADAM_BETA[0]), T::of(ADAM_BETA[1]), T::of(hyper.weight_decay), T::of(1e-8));
        let (c1, c2) = (T::of(1.0 - ADAM_BETA[0]), T::of(1.0 - ADAM_BETA[1]));
        params[self.params.range()]
            .par_chunks_mut(CHUNK)
            .zip(m[self.m.range()].par_chunks_mut(CHUNK).zip(v[..self.v.len].par_chunks_mut(CHUNK)))
            .zip(memory.get(self.grads).par_chunks(CHUNK))
            .for_each(|((params, (m, v)), grads)| {
                for ((w, (m, v)), &g) in params.iter_mut().zip(m.iter_mut().zip(v)).zip(grads) {
                    let g = g + wd * *w;
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *w -= rate * *m / (v.sqrt() / root + eps);
                }
            });
        memory.put(self.params.buffer, params);
        memory.put(self.m.buffer, moments);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::adam(self, memory)
    }
}
