//! Norm, activation and max pool fused into one pass each way: the steps `norm_act_pool` and `norm_act_pool_backward`.
//!
//! Any of the three may be absent (no norm, slope 1, 1×1 window). Pooling comes after the norm, since γ may be negative.
//! The plain operations that these passes fuse are in [`super::norm`], [`super::activation`] and [`super::pool`].

mod cpu;
mod cuda;

use super::activation::Activation;
use super::norm::{Affine, Norm};
use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums};
use super::pool::{MOST_SIDE, PoolGeometry};
use crate::device::cuda::Result;
use crate::device::{ByteView, DType, HostBuffers, View};
use crate::real::{BF16_ROUNDOFF, ROUNDOFF, Real, rounded_to_bf16};

/// `y = pool(act(norm(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct NormActPool {
    pub pool: PoolGeometry,
    pub norm: Option<Norm>,
    pub activation: Activation,
    /// [n, h, w, c]
    pub x: View,
    /// [n, oh, ow, c]
    pub y: View,
    /// Winning tap per output, for a backward pass; None where none follows.
    pub argmax: Option<ByteView>,
}

/// What is wrong with the geometry of a max pool or with the activation before it.
fn fault(g: &PoolGeometry, activation: Activation) -> Option<String> {
    let large = || format!("its windows have {} rows, taps are counted in bytes: of {MOST_SIDE} rows at most", g.side);
    let large = || (g.side > MOST_SIDE).then(large);
    // Else a window may lie in the padding alone, where there is no winner.
    let padded = || (g.pad > g.side / 2).then(|| format!("its padding, {}, is more than half a window", g.pad));
    let steep = || activation.fault().map(|problem| format!("its activation {problem}"));
    g.windows().fault().or_else(large).or_else(padded).or_else(steep)
}

impl Operation for NormActPool {
    fn kind(&self) -> &'static str {
        "norm_act_pool"
    }

    fn counted(&self) -> usize {
        self.pool.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        fault(&self.pool, self.activation)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["mean", "var", "gamma", "beta"]
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x", "y"])
    }

    fn variant(&self) -> String {
        format!("{:?} {:?} {}", self.pool, self.activation, self.argmax.is_some())
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.pool.x_len())]).and_norm(self.norm, self.pool.c)
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.pool.y_len())]).and_argmax(self.argmax, self.pool.y_len())
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        // scale·x + (β − mean·scale), which cancels where a norm has few values.
        Sums::of(3)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        cpu::forward(self, memory);
    }

    fn rounds(&self) -> bool {
        true
    }

    fn workspace(&self) -> usize {
        2 * self.pool.c
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::forward(self, memory)
    }

    fn layer(&self) -> Option<String> {
        Some(self.pool.layer())
    }
}

/// `dx` from `dy`; with a norm of batch statistics also dγ and dβ.
#[derive(Clone, Copy, Debug)]
pub struct NormActPoolBackward {
    pub pool: PoolGeometry,
    pub norm: Option<Norm>,
    /// The norm's statistics are those of the batch, so that they too depend on x; otherwise it is a fixed affine map.
    pub batch_statistics: bool,
    pub activation: Activation,
    pub x: View,
    /// None for windows of a single tap.
    pub argmax: Option<ByteView>,
    pub dy: View,
    pub dx: View,
    /// Gradients of γ and β, where they are trained.
    pub daffine: Option<Affine>,
}

impl Operation for NormActPoolBackward {
    fn kind(&self) -> &'static str {
        "norm_act_pool_backward"
    }

    fn counted(&self) -> usize {
        self.pool.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        let absent = || (self.argmax.is_none() && self.pool.side > 1).then(|| "its argmax is not there".into());
        let untrained = || {
            let untrained = self.daffine.is_some() && !self.with_sums();
            untrained.then(|| "it has gradients of γ and β for a norm of batch statistics alone".into())
        };
        fault(&self.pool, self.activation).or_else(absent).or_else(untrained)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["mean", "var", "gamma", "beta", "dgamma", "dbeta"]
    }

    /// Inputs of the activation whose sign rounding could flip, away from zero, to the side on which they are.
    fn settle(&self, memory: &mut HostBuffers<f64>, _: &Hyper) {
        let Some(norm) = self.norm else { return };
        let mut x = memory.take(self.x.buffer);
        let (mean, var) = (memory.get(norm.mean), memory.get(norm.var));
        let affine = norm.affine.map(|a| (memory.get(a.gamma), memory.get(a.beta)));
        for (i, x) in x[self.x.range()].iter_mut().enumerate() {
            let c = i % self.pool.c;
            let (gamma, beta) = affine.map_or((1.0, 0.0), |(gamma, beta)| (gamma[c], beta[c]));
            let scale = gamma / (var[c] + norm.eps).sqrt();
            let shift = beta - mean[c] * scale;
            let size = (scale * *x).abs() + (mean[c] * scale).abs() + beta.abs();
            let value = scale * *x + shift;
            if value.abs() <= 8.0 * ROUNDOFF * size && scale != 0.0 {
                let away = if (value > 0.0) == (scale > 0.0) { 1.0 } else { -1.0 };
                let moved = *x + away * 32.0 * ROUNDOFF * size / scale.abs();
                *x = match self.x.dtype {
                    DType::F32 => f64::from(moved as f32),
                    // The next number, of which rounding to nearest would fall short.
                    DType::Bf16 => rounded_to_bf16(moved + away * moved.abs() * 2.0 * BF16_ROUNDOFF),
                };
            }
        }
        memory.put(self.x.buffer, x);
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x", "dy", "dx"])
    }

    fn variant(&self) -> String {
        format!("{:?} {:?} {}", self.pool, self.activation, self.batch_statistics)
    }

    fn reads(&self) -> Access {
        let pool = &self.pool;
        Access::new([("x", self.x, pool.x_len()), ("dy", self.dy, pool.y_len())])
            .and_norm(self.norm, pool.c)
            .and_argmax(self.argmax, pool.y_len())
    }

    fn writes(&self) -> Access {
        let (pool, daffine) = (&self.pool, self.daffine);
        Access::new([("dx", self.dx, pool.x_len())]).and("dgamma", daffine.map(|a| a.gamma), pool.c).and(
            "dbeta",
            daffine.map(|a| a.beta),
            pool.c,
        )
    }

    fn sums(&self, output: &str, _: &[f64], reference: &HostBuffers<f64>) -> Sums {
        let terms = self.pool.n * self.pool.h * self.pool.w;
        let scale =
            if output == "dx" { self.largest_term(reference) } else { usual_sum(reference.get(self.dy), self.pool.c) };
        Sums { terms, scale }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        cpu::backward(self, memory);
    }

    fn workspace(&self) -> usize {
        2 * self.pool.c * (self.pool.n + 2)
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }

    fn cuda_workspace(&self) -> usize {
        cuda::backward_workspace(&self.pool)
    }

    fn launches(&self) -> usize {
        if self.with_sums() { 3 } else { 1 }
    }

    fn layer(&self) -> Option<String> {
        Some(self.pool.layer())
    }
}

impl NormActPoolBackward {
    /// Whether the gradient goes through statistics of the batch, which are sums over it.
    fn with_sums(&self) -> bool {
        self.norm.is_some() && self.batch_statistics
    }

    /// The largest γ/√(var + ε)·dy of any channel. The norm's gradient takes from this term its mean and its part along the normed
    /// input: of a channel of two values nothing is left but rounding.
    fn largest_term(&self, reference: &HostBuffers<f64>) -> f64 {
        let (Some(norm), true) = (self.norm, self.batch_statistics) else { return 0.0 };
        let var = reference.get(norm.var);
        let gamma = norm.affine.map(|affine| reference.get(affine.gamma));
        reference.get(self.dy).iter().enumerate().fold(0.0, |largest, (i, dy)| {
            let c = i % self.pool.c;
            let scale = gamma.map_or(1.0, |gamma| gamma[c]) / (var[c] + norm.eps).sqrt();
            largest.max((scale * dy).abs())
        })
    }
}

/// What a channel's values, of either sign, usually add up to: √n times their root mean square. The gradients of γ and β are such sums,
/// and where all of them cancel they are no more exact than that.
fn usual_sum(values: &[f64], channels: usize) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / channels as f64).sqrt()
}
