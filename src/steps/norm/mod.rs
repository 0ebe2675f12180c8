//! Batch normalisation over NHWC maps (Ioffe & Szegedy 2015): the plain formulas, and its statistics, which the convolution
//! before it takes along: `stats` of `conv::Fprop`.
//!
//! A channel's statistics run over all pixels of all images. The biased variance normalises, the unbiased one enters the
//! running estimate (as PyTorch does).

pub(super) mod cuda;

use rayon::prelude::*;

use crate::device::simd::vectorised;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Pixels per tile of the statistics; tiles are merged in order, so the bits do not depend on the number of threads.
const TILE: usize = 2048;

/// Where a norm's per-channel values live.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Mean and biased variance to normalise with: the batch's in training unless the norm is fixed, the running ones otherwise. \[c\] each.
    pub mean: View,
    pub var: View,
    /// Scale and shift; None for nets without biases.
    pub affine: Option<Affine>,
    pub eps: f64,
}

impl Norm {
    /// The largest γ/√(var + ε) of any channel.
    pub(super) fn largest_scale(&self, reference: &HostBuffers<f64>) -> f64 {
        let gamma = self.affine.map(|affine| reference.get(affine.gamma));
        let scale = |(c, var): (usize, &f64)| gamma.map_or(1.0, |gamma| gamma[c]) / (var + self.eps).sqrt();
        reference.get(self.var).iter().enumerate().map(scale).fold(0.0, |largest, scale| largest.max(scale.abs()))
    }
}

/// Scale γ and shift β of a norm, \[c\] each.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    pub gamma: View,
    pub beta: View,
}

/// The norm as `scale·x + shift` per channel; (1, 0) without a norm.
pub(super) fn scale_shift<T: Real>(norm: Option<Norm>, memory: &HostBuffers<T>, scale: &mut [T], shift: &mut [T]) {
    let Some(norm) = norm else {
        scale.fill(T::one());
        shift.fill(T::zero());
        return;
    };
    let (mean, var) = (memory.get(norm.mean), memory.get(norm.var));
    for c in 0..scale.len() {
        let (gamma, beta) = match norm.affine {
            Some(affine) => (memory.get(affine.gamma)[c], memory.get(affine.beta)[c]),
            None => (T::one(), T::zero()),
        };
        scale[c] = gamma / (var[c] + T::of(norm.eps)).sqrt();
        shift[c] = beta - mean[c] * scale[c];
    }
}

/// `mean, var = statistics of x`, and the update of the running estimates
/// `running = (1 − momentum)·running + momentum·batch`.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// [pixels, c], the convolution's output without its bias.
    pub x: View,
    pub c: usize,
    /// The convolution's bias: it cancels in the normalisation and only moves the running mean.
    pub bias: Option<View>,
    /// Of the batch; both in one buffer.
    pub mean: View,
    pub var: View,
    /// In one buffer too.
    pub running_mean: View,
    pub running_var: View,
}

impl Stats {
    /// Takes them from x on the CPU.
    pub fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, momentum: f64) {
        let (mut batch, mut running) = (memory.take(self.mean.buffer), memory.take(self.running_mean.buffer));
        let mut workspace = memory.take_workspace();
        let x = memory.get(self.x);
        let pixels = x.len() / self.c;
        let (mean, var) = (self.mean.range(), self.var.range());
        statistics(x, self.c, &mut batch[mean.clone()], &mut workspace);
        // The workspace now starts with the biased variance.
        batch[var.clone()].copy_from_slice(&workspace[..self.c]);

        let momentum = T::of(momentum);
        let keep = T::one() - momentum;
        let unbias = T::of(pixels as f64 / (pixels as f64 - 1.0).max(1.0));
        let bias = memory.get_opt(self.bias);
        for c in 0..self.c {
            let shifted = batch[mean.start + c] + bias.map_or(T::zero(), |b| b[c]);
            let m = &mut running[self.running_mean.start + c];
            *m = keep * *m + momentum * shifted;
            let v = &mut running[self.running_var.start + c];
            *v = keep * *v + momentum * unbias * batch[var.start + c];
        }
        memory.put(self.mean.buffer, batch);
        memory.put(self.running_mean.buffer, running);
        memory.put_workspace(workspace);
    }

    /// Scratch elements that the CPU form needs.
    pub fn workspace(&self) -> usize {
        2 * self.c * (self.x.len / self.c).div_ceil(TILE)
    }
}

/// Mean into `mean` and biased variance into `workspace[..c]`, from (mean, M2) of each tile merged in order (Chan et al. 1983).
/// `Σx²` is never formed: it cancels.
fn statistics<T: Real>(x: &[T], c: usize, mean: &mut [T], workspace: &mut [T]) {
    let pixels = x.len() / c;
    let tiles = pixels.div_ceil(TILE);
    let parts = &mut workspace[..2 * c * tiles];
    parts.par_chunks_exact_mut(2 * c).zip(x.par_chunks(TILE * c)).for_each(|(part, x)| {
        let (mean, m2) = part.split_at_mut(c);
        vectorised(|| tile_statistics(x, mean, m2));
    });
    let (total, rest) = parts.split_at_mut(2 * c);
    let mut count = TILE.min(pixels) as f64;
    for part in rest.chunks_exact(2 * c) {
        let added = (TILE as f64).min(pixels as f64 - count);
        let sum = count + added;
        let (to_mean, to_m2) = (T::of(added / sum), T::of(count * added / sum));
        for i in 0..c {
            let delta = part[i] - total[i];
            total[i] += delta * to_mean;
            total[c + i] += part[c + i] + delta * delta * to_m2;
        }
        count = sum;
    }
    mean.copy_from_slice(&total[..c]);
    total.copy_within(c.., 0);
    let pixels = T::of(pixels as f64);
    total[..c].iter_mut().for_each(|v| *v /= pixels);
}

/// Mean and M2 = Σ(x − mean)² of one tile [pixels, c].
#[inline(always)]
fn tile_statistics<T: Real>(x: &[T], mean: &mut [T], m2: &mut [T]) {
    let c = mean.len();
    mean.fill(T::zero());
    m2.fill(T::zero());
    for pixel in x.chunks_exact(c) {
        mean.iter_mut().zip(pixel).for_each(|(m, &x)| *m += x);
    }
    let count = T::of((x.len() / c) as f64);
    mean.iter_mut().for_each(|m| *m /= count);
    for pixel in x.chunks_exact(c) {
        for ((m2, &m), &x) in m2.iter_mut().zip(mean.iter()).zip(pixel) {
            *m2 += (x - m) * (x - m);
        }
    }
}

/// `y = γ·(x − mean)/√(var + eps) + β`, the plain formula; `affine` is (γ, β).
pub fn forward<T: Real>(x: &[T], mean: &[T], var: &[T], affine: Option<(&[T], &[T])>, eps: f64, y: &mut [T]) {
    let c = mean.len();
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        let c = i % c;
        let xhat = (x - mean[c]) / (var[c] + T::of(eps)).sqrt();
        *y = affine.map_or(xhat, |(gamma, beta)| gamma[c] * xhat + beta[c]);
    }
}

/// Gradient through a norm with batch statistics, the plain formula:
/// `dβ = Σ dy`, `dγ = Σ dy·x̂`, `dx = γ/√(var + eps) · (dy − dβ/M − x̂·dγ/M)`, M pixels. In place on `dy`; returns (dγ, dβ).
pub fn backward<T: Real>(
    x: &[T],
    mean: &[T],
    var: &[T],
    gamma: Option<&[T]>,
    eps: f64,
    dy: &mut [T],
) -> (Vec<T>, Vec<T>) {
    let c = mean.len();
    let pixels = T::of((x.len() / c) as f64);
    let rstd: Vec<T> = var.iter().map(|&v| (v + T::of(eps)).sqrt().recip()).collect();
    let (mut dgamma, mut dbeta) = (vec![T::zero(); c], vec![T::zero(); c]);
    for (i, (&d, &x)) in dy.iter().zip(x).enumerate() {
        dbeta[i % c] += d;
        dgamma[i % c] += d * (x - mean[i % c]) * rstd[i % c];
    }
    for (i, (d, &x)) in dy.iter_mut().zip(x).enumerate() {
        let c = i % c;
        let xhat = (x - mean[c]) * rstd[c];
        *d = gamma.map_or(T::one(), |g| g[c]) * rstd[c] * (*d - dbeta[c] / pixels - xhat * dgamma[c] / pixels);
    }
    (dgamma, dbeta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn tiled_statistics_equal_the_formula_even_far_from_zero() {
        let (pixels, c) = (5 * TILE + 17, 3);
        let stream = Stream::new(3, Purpose::Check, 0, 0);
        let x: Vec<f32> = (0..pixels * c).map(|i| 1000.0 + (1 + i % c) as f32 * stream.normal(i as u32)).collect();
        let (mut mean, mut workspace) = (vec![0.0; c], vec![0.0; 2 * c * pixels.div_ceil(TILE)]);
        statistics(&x, c, &mut mean, &mut workspace);
        for ch in 0..c {
            let values: Vec<f64> = x.iter().skip(ch).step_by(c).map(|&v| f64::from(v)).collect();
            let exact = values.iter().sum::<f64>() / pixels as f64;
            let var = values.iter().map(|v| (v - exact).powi(2)).sum::<f64>() / pixels as f64;
            // Sums of 2048 f32 values near 1000: relative error below 2048 · 6e-8 in the worst case, far less in practice.
            approx::assert_relative_eq!(f64::from(mean[ch]), exact, max_relative = 1e-6);
            approx::assert_relative_eq!(f64::from(workspace[ch]), var, max_relative = 1e-4);
        }
    }
}
