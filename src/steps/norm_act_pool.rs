//! Norm, activation and max pool fused into one pass each way: the steps `norm_act_pool` and `norm_act_pool_backward`.
//!
//! Any of the three may be absent (no norm, slope 1, 1×1 window). Pooling comes after the norm, since γ may be negative.
//! The plain operations that these passes fuse are in [`super::norm`], [`super::activation`] and [`super::pool`].

use rayon::prelude::*;

use super::activation::Activation;
use super::norm::{Affine, Norm};
use super::pool::Geometry;
use crate::device::simd::vectorised;
use crate::device::{ByteView, Host, View};
use crate::real::Real;

/// `y = pool(act(norm(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct NormActPool {
    pub pool: Geometry,
    pub norm: Option<Norm>,
    pub activation: Activation,
    /// [n, h, w, c]
    pub x: View,
    /// [n, oh, ow, c]
    pub y: View,
    /// Winning tap per output, for the backward pass; None in inference.
    pub argmax: Option<ByteView>,
}

/// `dx` from `dy`; with a norm (batch statistics) also dγ and dβ.
#[derive(Clone, Copy, Debug)]
pub struct NormActPoolBackward {
    pub pool: Geometry,
    pub norm: Option<Norm>,
    pub activation: Activation,
    pub x: View,
    pub argmax: ByteView,
    pub dy: View,
    pub dx: View,
    /// Gradients of γ and β, where they are trained.
    pub daffine: Option<Affine>,
}

impl NormActPool {
    /// Runs on the CPU.
    pub fn cpu<T: Real>(&self, memory: &mut Host<T>) {
        let (mut y, mut workspace) = (memory.take(self.y.buffer), memory.take_workspace());
        let mut argmax = self.argmax.map(|view| memory.take_bytes(view.buffer));
        let g = &self.pool;
        let (scale, shift) = workspace[..2 * g.c].split_at_mut(g.c);
        scale_shift(self.norm, memory, scale, shift);
        let pass = Pass { g, scale, shift, slope: T::of(self.activation.slope) };
        let x = memory.get(self.x);
        let (in_row, out_row) = (g.h * g.w * g.c, g.oh() * g.ow() * g.c);
        let images = y[self.y.range()].par_chunks_exact_mut(out_row).zip(x.par_chunks_exact(in_row));
        match &mut argmax {
            Some(argmax) => images
                .zip(argmax[..g.y_len()].par_chunks_exact_mut(out_row))
                .for_each(|((y, x), argmax)| vectorised(|| pass.image(x, y, Some(argmax)))),
            None => images.for_each(|(y, x)| vectorised(|| pass.image(x, y, None))),
        }
        if let (Some(view), Some(argmax)) = (self.argmax, argmax) {
            memory.put_bytes(view.buffer, argmax);
        }
        memory.put(self.y.buffer, y);
        memory.put_workspace(workspace);
    }

    /// Scratch elements that the CPU form needs.
    pub fn workspace(&self) -> usize {
        2 * self.pool.c
    }
}

/// The norm as `scale·x + shift` per channel; (1, 0) without a norm.
fn scale_shift<T: Real>(norm: Option<Norm>, memory: &Host<T>, scale: &mut [T], shift: &mut [T]) {
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

/// What the forward pass needs for each image.
struct Pass<'a, T> {
    g: &'a Geometry,
    scale: &'a [T],
    shift: &'a [T],
    slope: T,
}

impl<T: Real> Pass<'_, T> {
    /// Norm and activation of one value.
    #[inline(always)]
    fn value(&self, x: T, c: usize) -> T {
        let v = self.scale[c] * x + self.shift[c];
        if v > T::zero() { v } else { self.slope * v }
    }

    /// One image: x [h, w, c] to y [oh, ow, c], and the winning taps where they are wanted.
    #[inline(always)]
    fn image(&self, x: &[T], y: &mut [T], mut argmax: Option<&mut [u8]>) {
        let (c, ow) = (self.g.c, self.g.ow());
        for (out, y) in y.chunks_exact_mut(c).enumerate() {
            for (order, (tap, pixel)) in self.g.window(out / ow, out % ow).enumerate() {
                let x = &x[pixel * c..][..c];
                let wins = |v: T, y: T| order == 0 || v > y || v.is_nan();
                match &mut argmax {
                    Some(argmax) => {
                        for (c, ((y, a), &x)) in y.iter_mut().zip(&mut argmax[out * c..][..c]).zip(x).enumerate() {
                            let v = self.value(x, c);
                            (*y, *a) = if wins(v, *y) { (v, tap) } else { (*y, *a) };
                        }
                    }
                    None => {
                        for (c, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                            let v = self.value(x, c);
                            *y = if wins(v, *y) { v } else { *y };
                        }
                    }
                }
            }
        }
    }
}

impl NormActPoolBackward {
    /// Runs on the CPU: one pass brings `dy` back through pool and activation and sums dγ and dβ per image, a second one applies
    /// the norm's gradient. The images' sums are merged in order.
    pub fn cpu<T: Real>(&self, memory: &mut Host<T>) {
        let (mut dx, mut workspace) = (memory.take(self.dx.buffer), memory.take_workspace());
        let g = &self.pool;
        let c = g.c;
        let (in_row, out_row) = (g.h * g.w * c, g.oh() * g.ow() * c);
        let (channel, sums) = workspace.split_at_mut(4 * c);
        let (scale_and_shift, centre) = channel.split_at_mut(2 * c);
        let (scale, shift) = scale_and_shift.split_at_mut(c);
        scale_shift(self.norm, memory, scale, shift);
        let (mean, rstd) = centre.split_at_mut(c);
        if let Some(norm) = self.norm {
            mean.copy_from_slice(memory.get(norm.mean));
            for (r, &v) in rstd.iter_mut().zip(memory.get(norm.var)) {
                *r = (v + T::of(norm.eps)).sqrt().recip();
            }
        } else {
            mean.fill(T::zero());
        }
        let (scale, shift, mean, rstd) = (&*scale, &*shift, &*mean, &*rstd);
        let channels = Channels { scale, shift, mean, slope: T::of(self.activation.slope) };
        let x = memory.get(self.x);
        let (dy, argmax) = (memory.get(self.dy), memory.bytes(self.argmax));
        dx[self.dx.range()]
            .par_chunks_exact_mut(in_row)
            .zip(x.par_chunks_exact(in_row))
            .zip(dy.par_chunks_exact(out_row).zip(argmax.par_chunks_exact(out_row)))
            .zip(sums.par_chunks_exact_mut(2 * c))
            .for_each(|(((dx, x), (dy, argmax)), sums)| {
                vectorised(|| back_through_pool_and_activation(g, &channels, x, dy, argmax, dx, sums));
            });

        if self.norm.is_some() {
            let (total, rest) = sums[..2 * c * g.n].split_at_mut(2 * c);
            for part in rest.chunks_exact(2 * c) {
                total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
            }
            let (dgamma, dbeta) = total.split_at_mut(c);
            dgamma.iter_mut().zip(rstd).for_each(|(d, &r)| *d *= r);
            if let Some(affine) = self.daffine {
                memory.get_mut(affine.gamma).copy_from_slice(dgamma);
                memory.get_mut(affine.beta).copy_from_slice(dbeta);
            }
            // dx = scale · (d − dβ/M − (x − mean) · rstd · dγ/M)
            let per_pixel = T::of(1.0 / (g.n * g.h * g.w) as f64);
            dbeta.iter_mut().for_each(|d| *d *= per_pixel);
            dgamma.iter_mut().zip(rstd).for_each(|(d, &r)| *d *= r * per_pixel);
            let (dgamma, dbeta, x) = (&*dgamma, &*dbeta, memory.get(self.x));
            dx[self.dx.range()].par_chunks_exact_mut(in_row).zip(x.par_chunks_exact(in_row)).for_each(|(dx, x)| {
                vectorised(|| {
                    for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for i in 0..c {
                            dx[i] = scale[i] * (dx[i] - dbeta[i] - (x[i] - mean[i]) * dgamma[i]);
                        }
                    }
                });
            });
        }
        memory.put(self.dx.buffer, dx);
        memory.put_workspace(workspace);
    }

    /// Scratch elements that the CPU form needs.
    pub fn workspace(&self) -> usize {
        2 * self.pool.c * (self.pool.n + 2)
    }
}

/// Per-channel values that the first backward pass reads.
struct Channels<'a, T> {
    scale: &'a [T],
    shift: &'a [T],
    mean: &'a [T],
    slope: T,
}

/// One image: dy [oh, ow, c] to the gradient before the activation, dx [h, w, c]; Σ dx·(x − mean) and Σ dx into `sums`.
///
/// Each input pixel gathers from the windows that it won, in their order.
#[inline(always)]
fn back_through_pool_and_activation<T: Real>(
    g: &Geometry,
    channels: &Channels<T>,
    x: &[T],
    dy: &[T],
    argmax: &[u8],
    dx: &mut [T],
    sums: &mut [T],
) {
    let c = g.c;
    let &Channels { scale, shift, mean, slope } = channels;
    let (scale, shift, mean) = (&scale[..c], &shift[..c], &mean[..c]);
    let (dgamma, dbeta) = sums.split_at_mut(c);
    dgamma.fill(T::zero());
    dbeta.fill(T::zero());
    for (pixel, (dx, x)) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).enumerate() {
        dx.fill(T::zero());
        for (out, tap) in g.windows_over(pixel / g.w, pixel % g.w) {
            let (dy, argmax) = (&dy[out * c..][..c], &argmax[out * c..][..c]);
            for i in 0..c {
                dx[i] += if argmax[i] == tap { dy[i] } else { T::zero() };
            }
        }
        let (dgamma, dbeta) = (&mut dgamma[..c], &mut dbeta[..c]);
        for i in 0..c {
            let v = scale[i] * x[i] + shift[i];
            let d = if v > T::zero() { dx[i] } else { slope * dx[i] };
            dx[i] = d;
            dbeta[i] += d;
            dgamma[i] += d * (x[i] - mean[i]);
        }
    }
}
