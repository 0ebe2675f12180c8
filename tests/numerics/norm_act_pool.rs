//! Norm, activation and pool: tests the plain operations by finite differences, and the fused passes against the composition of the plain ones.

use crate::support::{GRADIENT_BOUND, assert_close, assert_gradient, dot, f32_bound, memory, noise, of};
use fcdd::device::{ByteBufferId, ByteView, HostBuffers, View};
use fcdd::real::Real;
use fcdd::steps::activation::{self, Activation};
use fcdd::steps::norm::{self, Affine, Norm, Stats};
use fcdd::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use fcdd::steps::operation::{Hyper, Operation};
use fcdd::steps::pool::{self, PoolGeometry};
use proptest::prelude::*;

const EPS: f64 = 1e-4;

/// The formula of batch statistics: mean and biased variance per channel.
fn statistics(x: &[f64], c: usize) -> (Vec<f64>, Vec<f64>) {
    let channel = |ch: usize| x.iter().skip(ch).step_by(c);
    let pixels = (x.len() / c) as f64;
    let mean: Vec<f64> = (0..c).map(|ch| channel(ch).sum::<f64>() / pixels).collect();
    let var = (0..c).map(|ch| channel(ch).map(|v| (v - mean[ch]).powi(2)).sum::<f64>() / pixels).collect();
    (mean, var)
}

/// The parameters of a fused pass.
#[derive(Clone, Copy, Debug)]
struct Layer {
    pool: PoolGeometry,
    norm: bool,
    affine: bool,
    activation: Activation,
}

impl Layer {
    fn x(&self) -> Vec<f64> {
        // Channels off zero, so that a mean matters.
        noise(0, self.pool.x_len()).iter().enumerate().map(|(i, v)| v + (i % self.pool.c) as f64).collect()
    }

    /// γ of either sign, β.
    fn affine(&self) -> (Vec<f64>, Vec<f64>) {
        (noise(1, self.pool.c), noise(2, self.pool.c))
    }

    /// The composition of the plain operations: output, winners, input of the activation.
    fn plain(&self, x: &[f64], gamma: &[f64], beta: &[f64]) -> (Vec<f64>, Vec<u8>, Vec<f64>) {
        let mut before = x.to_vec();
        if self.norm {
            let (mean, var) = statistics(x, self.pool.c);
            norm::forward(x, &mean, &var, self.affine.then_some((gamma, beta)), EPS, &mut before);
        }
        let mut after = before.clone();
        activation::forward(self.activation, &mut after);
        let (mut y, mut argmax) = (vec![f64::NAN; self.pool.y_len()], vec![0; self.pool.y_len()]);
        pool::forward(&self.pool, &after, &mut y, &mut argmax);
        (y, argmax, before)
    }

    /// The composition of the plain backward operations: dx, dγ, dβ.
    fn plain_backward(&self, x: &[f64], gamma: &[f64], beta: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
        let (_, argmax, before) = self.plain(x, gamma, beta);
        let mut d = vec![f64::NAN; x.len()];
        pool::backward(&self.pool, dy, &argmax, &mut d);
        activation::backward(self.activation, &before, &mut d);
        if !self.norm {
            return [d, vec![], vec![]];
        }
        let (mean, var) = statistics(x, self.pool.c);
        let (dgamma, dbeta) = norm::backward(x, &mean, &var, self.affine.then_some(gamma), EPS, &mut d);
        [d, dgamma, dbeta]
    }

    /// The same for a norm whose statistics do not depend on x: dx.
    fn plain_through_fixed_norm(&self, x: &[f64], gamma: &[f64], beta: &[f64], dy: &[f64]) -> Vec<f64> {
        let (_, argmax, before) = self.plain(x, gamma, beta);
        let mut d = vec![f64::NAN; x.len()];
        pool::backward(&self.pool, dy, &argmax, &mut d);
        activation::backward(self.activation, &before, &mut d);
        let (_, var) = statistics(x, self.pool.c);
        let gamma = |c: usize| if self.affine { gamma[c] } else { 1.0 };
        let scale = |c: usize| if self.norm { gamma(c) / (var[c] + EPS).sqrt() } else { 1.0 };
        d.iter().enumerate().map(|(i, d)| d * scale(i % self.pool.c)).collect()
    }

    /// The fused passes: y, winners, dx, dγ, dβ.
    fn fused<T: Real>(&self, dy: &[f64], batch_statistics: bool) -> (Vec<T>, Vec<u8>, [Vec<T>; 3]) {
        let (g, x, (gamma, beta)) = (self.pool, self.x(), self.affine());
        let (mean, var) = statistics(&x, g.c);
        let nan = |len: usize| vec![f64::NAN; len];
        let (y, dx, dgamma, dbeta) = (nan(g.y_len()), nan(x.len()), nan(g.c), nan(g.c));
        let buffers = [&x[..], &mean, &var, &gamma, &beta, &y, dy, &dx, &dgamma, &dbeta];
        let (mut memory, views) = memory::<T, 10>(buffers, &[g.y_len()], 2 * g.c * (g.n + 2));
        let [x, mean, var, gamma, beta, y, dy, dx, dgamma, dbeta]: [View; 10] = views;
        let affine = self.affine.then_some(Affine { gamma, beta });
        let norm = self.norm.then_some(Norm { mean, var, affine, eps: EPS });
        let argmax = ByteView { buffer: ByteBufferId(0), len: g.y_len() };
        let forward = NormActPool { pool: g, norm, activation: self.activation, x, y, argmax: Some(argmax) };
        forward.cpu(&mut memory, &Hyper::IDLE);
        let y_trained = memory.get(y).to_vec();
        NormActPool { argmax: None, ..forward }.cpu(&mut memory, &Hyper::IDLE);
        assert_eq!(y_trained, memory.get(y), "training and inference");
        let daffine = (self.norm && self.affine).then_some(Affine { gamma: dgamma, beta: dbeta });
        let (activation, winners) = (self.activation, Some(argmax));
        let backward =
            NormActPoolBackward { pool: g, norm, batch_statistics, activation, x, argmax: winners, dy, dx, daffine };
        backward.cpu(&mut memory, &Hyper::IDLE);
        let read = |memory: &HostBuffers<T>, view: View| memory.get(view).to_vec();
        if (g.side, g.stride, g.pad) == (1, 1, 0) {
            // With a single tap no argmax is needed.
            let told = read(&memory, dx);
            NormActPoolBackward { argmax: None, ..backward }.cpu(&mut memory, &Hyper::IDLE);
            assert_eq!(told, read(&memory, dx));
        }
        let gradients = [read(&memory, dx), read(&memory, dgamma), read(&memory, dbeta)];
        (y_trained, memory.bytes(argmax).to_vec(), gradients)
    }

    fn assert_fused_is_the_composition(&self) {
        let (x, (gamma, beta), dy) = (self.x(), self.affine(), noise(3, self.pool.y_len()));
        let (y, argmax, _) = self.plain(&x, &gamma, &beta);
        let [dx, dgamma, dbeta] = self.plain_backward(&x, &gamma, &beta, &dy);
        let (y64, argmax64, [dx64, dgamma64, dbeta64]) = self.fused::<f64>(&dy, true);
        // scale·x + shift instead of γ·(x − mean)/σ + β: some roundings more.
        assert_close(&y64, &y, 1e-12, "y");
        assert_eq!(argmax64, argmax, "winners");
        assert_close(&dx64, &dx, 1e-11, "dx");
        // A norm of fixed statistics is an affine map.
        let [fixed, ..] = self.fused::<f64>(&dy, false).2;
        assert_close(&fixed, &self.plain_through_fixed_norm(&x, &gamma, &beta, &dy), 1e-11, "dx, fixed norm");
        // Forward in f32: no sums, values of size up to c.
        assert_close(&self.fused::<f32>(&dy, true).0, &y, f32_bound(self.pool.c * self.pool.c), "y f32");
        if self.norm && self.affine {
            assert_close(&dgamma64, &dgamma, 1e-11, "dgamma");
            assert_close(&dbeta64, &dbeta, 1e-11, "dbeta");
        }
    }
}

fn pools() -> impl Strategy<Value = PoolGeometry> {
    let windows = prop::sample::select(vec![(1, 1, 0), (2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]);
    (1..=3usize, 3..=9usize, 3..=9usize, 1..=5usize, windows)
        .prop_map(|(n, h, w, c, (side, stride, pad))| PoolGeometry { n, h, w, c, side, stride, pad })
}

fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![Activation::LEAKY_RELU, Activation::RELU, Activation::IDENTITY])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fused_passes_equal_their_composition(
        pool in pools(), norm: bool, affine: bool, activation in activations()
    ) {
        Layer { pool, norm, affine, activation }.assert_fused_is_the_composition();
    }

    /// ⟨pool'(x)·u, v⟩ = ⟨u, pool'(x)ᵀ·v⟩: for a fixed argmax a pool is a linear map.
    #[test]
    fn a_pool_and_its_backward_pass_are_adjoint(g in pools()) {
        let (x, u, v) = (noise(0, g.x_len()), noise(1, g.x_len()), noise(2, g.y_len()));
        let (mut y, mut argmax, mut back) = (vec![0.0; g.y_len()], vec![0; g.y_len()], vec![f64::NAN; g.x_len()]);
        pool::forward(&g, &x, &mut y, &mut argmax);
        pool::backward(&g, &v, &argmax, &mut back);
        let (oh, ow) = (g.oh(), g.ow());
        let chosen: Vec<f64> = (0..g.y_len())
            .map(|i| {
                let (n, pixel, c) = (i / (oh * ow * g.c), i / g.c % (oh * ow), i % g.c);
                u[(n * g.h * g.w + g.pixel([pixel / ow, pixel % ow], g.tap(argmax[i]))) * g.c + c]
            })
            .collect();
        // Products of f64 numbers of size 1, summed.
        prop_assert!((dot(&chosen, &v) - dot(&u, &back)).abs() < 1e-11);
    }
}

#[test]
fn gradients_by_finite_differences() {
    for (side, stride, pad) in [(1, 1, 0), (2, 2, 0), (3, 2, 1)] {
        for activation in [Activation::LEAKY_RELU, Activation::RELU, Activation::IDENTITY] {
            let pool = PoolGeometry { n: 2, h: 5, w: 4, c: 3, side, stride, pad };
            for (norm, affine) in [(true, true), (true, false), (false, false)] {
                let layer = Layer { pool, norm, affine, activation };
                let (x, (gamma, beta), dy) = (layer.x(), layer.affine(), noise(3, pool.y_len()));
                let (_, _, [dx, dgamma, dbeta]) = layer.fused::<f64>(&dy, true);
                let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| dot(&layer.plain(x, gamma, beta).0, &dy);
                assert_gradient(|x| loss(x, &gamma, &beta), &x, &dx, GRADIENT_BOUND, "dx");
                if affine {
                    assert_gradient(|g| loss(&x, g, &beta), &gamma, &dgamma, GRADIENT_BOUND, "dgamma");
                    assert_gradient(|b| loss(&x, &gamma, b), &beta, &dbeta, GRADIENT_BOUND, "dbeta");
                }
            }
        }
    }
}

/// Batch statistics, and the running ones: unbiased variance, mean moved by the bias that the batch's values lack.
fn assert_statistics<T: Real>(pixels: usize, c: usize, bound: f64) {
    let (x, bias, running) = (noise(0, pixels * c), noise(1, c), noise(2, 2 * c));
    let (batch, workspace) = (vec![f64::NAN; 2 * c], 2 * c * pixels.div_ceil(1));
    let (mut memory, [x_view, bias_view, running_view, batch_view]) =
        memory::<T, 4>([&x, &bias, &running, &batch], &[], workspace);
    let half = |view: View, start: usize| View { start, len: c, ..view };
    let step = Stats {
        x: x_view,
        c,
        bias: Some(bias_view),
        mean: half(batch_view, 0),
        var: half(batch_view, c),
        running_mean: half(running_view, 0),
        running_var: half(running_view, c),
    };
    step.cpu(&mut memory, 0.1);
    let (mean, var) = statistics(&x, c);
    let scale = |values: &[T]| of::<f64>(values);
    for ch in 0..c {
        let unbiased = var[ch] * pixels as f64 / (pixels as f64 - 1.0).max(1.0);
        let expected = [
            mean[ch],
            var[ch],
            0.9 * running[ch] + 0.1 * (mean[ch] + bias[ch]),
            0.9 * running[c + ch] + 0.1 * unbiased,
        ];
        let (batch, running) = (scale(memory.get(batch_view)), scale(memory.get(running_view)));
        for (ours, expected) in [batch[ch], batch[c + ch], running[ch], running[c + ch]].into_iter().zip(expected) {
            assert!((ours - expected).abs() <= bound, "{ours} {expected}, {pixels} pixels of {c}");
        }
    }
}

#[test]
fn statistics_follow_their_formula() {
    for (pixels, c) in [(1, 3), (2, 1), (77, 5), (2048, 2), (2049, 3), (10_000, 4)] {
        assert_statistics::<f64>(pixels, c, 1e-13);
        // Values of size 1 to 5 in sums of `pixels`.
        assert_statistics::<f32>(pixels, c, 2.0 * f32_bound(pixels));
    }
}
