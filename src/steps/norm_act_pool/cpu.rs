//! Norm, activation and pool as they run on the CPU: blocks of channels that stay in registers, image by image.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{NormActPool, NormActPoolBackward};
use crate::device::HostBuffers;
use crate::device::simd::{prefetch, vectorised};
use crate::real::{LANES, Real};
use crate::steps::norm::scale_shift;
use crate::steps::pool::PoolGeometry;

/// [`NormActPool`].
pub(super) fn forward<T: Real>(step: &NormActPool, memory: &mut HostBuffers<T>) {
    let (mut y, mut workspace) = (memory.take(step.y.buffer), memory.take_workspace());
    let mut argmax = step.argmax.map(|view| memory.take_bytes(view.buffer));
    let g = &step.pool;
    let (scale, shift) = workspace[..2 * g.c].split_at_mut(g.c);
    scale_shift(step.norm, memory, scale, shift);
    let channels = Channels { scale, shift, slope: T::of(step.activation.slope) };
    let (x, rounded) = (memory.get(step.x), memory.rounds(step.y));
    let (in_row, out_row) = (g.h * g.w * g.c, g.oh() * g.ow() * g.c);
    let images = y[step.y.range()].par_chunks_exact_mut(out_row).zip(x.par_chunks_exact(in_row));
    match &mut argmax {
        Some(argmax) => images.zip(argmax[..g.y_len()].par_chunks_exact_mut(out_row)).for_each(|((y, x), argmax)| {
            Arch::new().dispatch(Forward::<T, true> { g, channels: &channels, x, y, argmax, rounded });
        }),
        None => images.for_each(|(y, x)| {
            Arch::new().dispatch(Forward::<T, false> { g, channels: &channels, x, y, argmax: &mut [], rounded });
        }),
    }
    if let (Some(view), Some(argmax)) = (step.argmax, argmax) {
        memory.put_bytes(view.buffer, argmax);
    }
    memory.put(step.y.buffer, y);
    memory.put_workspace(workspace);
}

/// Per-channel values that a pass reads.
struct Channels<'a, T> {
    scale: &'a [T],
    shift: &'a [T],
    slope: T,
}

/// Registers of a pixel that are read one after the other for each tap. With all taps of a register first, reads jump between the rows of a window:
/// the processor does not fetch them ahead, and waits for memory.
const REGISTERS: usize = 8;

/// Outputs ahead, whose inputs are fetched.
const AHEAD: usize = 2;

/// As many of 64 channels, or 32, of which a net's first layers often are.
const HALF: usize = REGISTERS / 2;

/// One image forward.
struct Forward<'a, T, const WINNERS: bool> {
    g: &'a PoolGeometry,
    channels: &'a Channels<'a, T>,
    /// [h, w, c]
    x: &'a [T],
    /// [oh, ow, c]
    y: &'a mut [T],
    /// The winning taps; empty where they are not wanted.
    argmax: &'a mut [u8],
    /// Whether y is rounded to bf16.
    rounded: bool,
}

impl<T: Real, const WINNERS: bool> WithSimd for Forward<'_, T, WINNERS> {
    type Output = ();

    /// Fills y and argmax: the largest activation over each window, and the first tap that has it.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let out_row = self.g.ow() * self.g.c;
        for (row, y) in std::mem::take(&mut self.y).chunks_exact_mut(out_row).enumerate() {
            self.row(simd, row, y);
            if self.rounded {
                T::round_to_bf16(y);
            }
        }
    }
}

impl<T: Real, const WINNERS: bool> Forward<'_, T, WINNERS> {
    /// A row of outputs.
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize, y: &mut [T]) {
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        for (column, y) in y.chunks_exact_mut(self.g.c).enumerate() {
            let mut first = 0;
            for y in y.chunks_mut(REGISTERS * width) {
                // Of lengths that the compiler knows, all numbers stay in registers.
                match y.len() {
                    len if len == REGISTERS * width => {
                        self.channels::<S, REGISTERS>(simd, [row, column], first, &mut y[..REGISTERS * width]);
                    }
                    len if len == HALF * width => {
                        self.channels::<S, HALF>(simd, [row, column], first, &mut y[..HALF * width]);
                    }
                    _ => self.channels::<S, REGISTERS>(simd, [row, column], first, y),
                }
                first += y.len();
            }
        }
    }

    /// Channels of an output from `first` on, at most `N` registers.
    #[inline(always)]
    fn channels<S: Simd, const N: usize>(&mut self, simd: S, at: [usize; 2], first: usize, y: &mut [T]) {
        let (g, x, len) = (self.g, self.x, y.len());
        let width = size_of::<T::Vector<S>>() / size_of::<T>();
        let (scale, shift) = (&self.channels.scale[first..][..len], &self.channels.shift[first..][..len]);
        let (zero, slope) = (T::splat(simd, T::zero()), T::splat(simd, self.channels.slope));
        let [rows, columns] = g.taps(at[0], at[1]);
        let mut best = [T::splat(simd, T::neg_infinity()); N];
        let mut winner = [T::splat(simd, T::of((rows.start * g.side + columns.start) as f64)); N];
        for r in rows {
            for s in columns.clone() {
                let begin = g.pixel(at, [r, s]) * g.c + first;
                if let Some(ahead) = x.get(begin + AHEAD * g.stride * g.c..).and_then(|ahead| ahead.get(..len)) {
                    prefetch(ahead);
                }
                let x = &x[begin..][..len];
                let tap = T::splat(simd, T::of((r * g.side + s) as f64));
                for i in 0..N {
                    let begin = i * width;
                    if begin >= len {
                        break;
                    }
                    let [scale, shift, x] =
                        [T::load(simd, &scale[begin..]), T::load(simd, &shift[begin..]), T::load(simd, &x[begin..])];
                    let v = T::plus(simd, T::times(simd, scale, x), shift);
                    let v = T::greater(simd, v, zero, [v, T::times(simd, slope, v)]);
                    if WINNERS {
                        winner[i] = T::equal(simd, v, v, [T::greater(simd, v, best[i], [tap, winner[i]]), tap]);
                    }
                    best[i] = T::equal(simd, v, v, [T::greater(simd, v, best[i], [v, best[i]]), v]);
                }
            }
        }
        if WINNERS {
            let argmax = &mut self.argmax[(at[0] * g.ow() + at[1]) * g.c + first..][..len];
            for (argmax, winner) in argmax.chunks_mut(width).zip(winner) {
                let mut taps = [T::zero(); LANES];
                T::store(simd, &mut taps[..argmax.len()], winner);
                argmax.iter_mut().zip(taps).for_each(|(argmax, tap)| *argmax = tap.f64() as u8);
            }
        }
        for (i, y) in y.chunks_mut(width).enumerate() {
            T::store(simd, y, best[i]);
        }
    }
}

/// One image backward.
struct Backward<'a, T> {
    g: &'a PoolGeometry,
    channels: &'a Channels<'a, T>,
    mean: &'a [T],
    /// [h, w, c]
    x: &'a [T],
    /// [oh, ow, c]
    dy: &'a [T],
    /// None where the only tap of each window wins.
    argmax: Option<&'a [u8]>,
    /// [h, w, c], the gradient before the activation.
    dx: &'a mut [T],
    /// Σ dx·(x − mean) and Σ dx of each channel.
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();

    /// Fills dx and sums.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (c, w, width) = (self.g.c, self.g.w, size_of::<T::Vector<S>>() / size_of::<T>());
        let (dx, sums) = (std::mem::take(&mut self.dx), std::mem::take(&mut self.sums));
        sums.fill(T::zero());
        for (pixel, dx) in dx.chunks_exact_mut(c).enumerate() {
            let at = [pixel / w, pixel % w];
            let outputs = self.g.outputs(at[0], at[1]);
            let mut first = 0;
            for dx in dx.chunks_mut(REGISTERS * width) {
                match dx.len() {
                    len if len == REGISTERS * width => {
                        let dx = &mut dx[..REGISTERS * width];
                        self.channels::<S, REGISTERS>(simd, at, &outputs, first, dx, sums);
                    }
                    len if len == HALF * width => {
                        self.channels::<S, HALF>(simd, at, &outputs, first, &mut dx[..HALF * width], sums);
                    }
                    _ => self.channels::<S, REGISTERS>(simd, at, &outputs, first, dx, sums),
                }
                first += dx.len();
            }
        }
    }
}

impl<T: Real> Backward<'_, T> {
    /// Channels of an input pixel from `first` on, at most `N` registers: gathers from the windows that it won, in their order.
    #[inline(always)]
    fn channels<S: Simd, const N: usize>(
        &self,
        simd: S,
        [i, j]: [usize; 2],
        [rows, columns]: &[Range<usize>; 2],
        first: usize,
        dx: &mut [T],
        sums: &mut [T],
    ) {
        let (g, len, width) = (self.g, dx.len(), size_of::<T::Vector<S>>() / size_of::<T>());
        let (zero, slope) = (T::splat(simd, T::zero()), T::splat(simd, self.channels.slope));
        let mut d = [zero; N];
        for p in rows.clone() {
            for q in columns.clone() {
                let tap = (i + g.pad - p * g.stride) * g.side + j + g.pad - q * g.stride;
                let tap = T::splat(simd, T::of(tap as f64));
                let out = (p * g.ow() + q) * g.c + first;
                let dy = &self.dy[out..][..len];
                let argmax = self.argmax.map(|argmax| &argmax[out..][..len]);
                for (k, d) in d.iter_mut().enumerate() {
                    let begin = k * width;
                    if begin >= len {
                        break;
                    }
                    let dy = T::load(simd, &dy[begin..]);
                    let won = match argmax {
                        Some(argmax) => T::equal(simd, T::of_bytes(simd, &argmax[begin..]), tap, [dy, zero]),
                        None => dy,
                    };
                    *d = T::plus(simd, *d, won);
                }
            }
        }
        let x = &self.x[(i * g.w + j) * g.c + first..][..len];
        let [scale, shift, mean] = [self.channels.scale, self.channels.shift, self.mean];
        let [scale, shift, mean] = [&scale[first..][..len], &shift[first..][..len], &mean[first..][..len]];
        let (dgamma, dbeta) = sums.split_at_mut(g.c);
        let (dgamma, dbeta) = (&mut dgamma[first..][..len], &mut dbeta[first..][..len]);
        for (k, d) in d.into_iter().enumerate() {
            let begin = k * width;
            if begin >= len {
                break;
            }
            let x = T::load(simd, &x[begin..]);
            let [scale, shift, mean] =
                [T::load(simd, &scale[begin..]), T::load(simd, &shift[begin..]), T::load(simd, &mean[begin..])];
            let v = T::plus(simd, T::times(simd, scale, x), shift);
            let d = T::greater(simd, v, zero, [d, T::times(simd, slope, d)]);
            let of_gamma = T::times(simd, d, T::minus(simd, x, mean));
            let sum = T::plus(simd, T::load(simd, &dgamma[begin..]), of_gamma);
            T::store(simd, &mut dgamma[begin..], sum);
            let sum = T::plus(simd, T::load(simd, &dbeta[begin..]), d);
            T::store(simd, &mut dbeta[begin..], sum);
            T::store(simd, &mut dx[begin..], d);
        }
    }
}

/// [`NormActPoolBackward`]: one pass brings `dy` back through pool and activation and sums dγ and dβ per image, a second one applies
/// the norm's gradient. The images' sums are merged in order.
pub(super) fn backward<T: Real>(step: &NormActPoolBackward, memory: &mut HostBuffers<T>) {
    let (mut dx, mut workspace) = (memory.take(step.dx.buffer), memory.take_workspace());
    let g = &step.pool;
    let c = g.c;
    let (in_row, out_row) = (g.h * g.w * c, g.oh() * g.ow() * c);
    let (channel, sums) = workspace.split_at_mut(4 * c);
    let (scale_and_shift, centre) = channel.split_at_mut(2 * c);
    let (scale, shift) = scale_and_shift.split_at_mut(c);
    scale_shift(step.norm, memory, scale, shift);
    let (mean, rstd) = centre.split_at_mut(c);
    if let Some(norm) = step.norm {
        mean.copy_from_slice(memory.get(norm.mean));
        for (r, &v) in rstd.iter_mut().zip(memory.get(norm.var)) {
            *r = (v + T::of(norm.eps)).sqrt().recip();
        }
    } else {
        mean.fill(T::zero());
    }
    let (scale, shift, mean, rstd) = (&*scale, &*shift, &*mean, &*rstd);
    let channels = Channels { scale, shift, slope: T::of(step.activation.slope) };
    let x = memory.get(step.x);
    let (dy, argmax) = (memory.get(step.dy), step.argmax.map(|view| memory.bytes(view)));
    dx[step.dx.range()]
        .par_chunks_exact_mut(in_row)
        .zip(x.par_chunks_exact(in_row))
        .zip(dy.par_chunks_exact(out_row))
        .zip(sums.par_chunks_exact_mut(2 * c))
        .enumerate()
        .for_each(|(image, (((dx, x), dy), sums))| {
            let argmax = argmax.map(|argmax| &argmax[image * out_row..][..out_row]);
            Arch::new().dispatch(Backward { g, channels: &channels, mean, x, dy, argmax, dx, sums });
        });

    if step.norm.is_some() && !step.batch_statistics {
        dx[step.dx.range()].par_chunks_exact_mut(in_row).for_each(|dx| {
            vectorised(|| {
                for dx in dx.chunks_exact_mut(c) {
                    dx.iter_mut().zip(scale).for_each(|(d, &scale)| *d *= scale);
                }
            });
        });
    } else if step.norm.is_some() {
        let (total, rest) = sums[..2 * c * g.n].split_at_mut(2 * c);
        for part in rest.chunks_exact(2 * c) {
            total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
        }
        let (dgamma, dbeta) = total.split_at_mut(c);
        dgamma.iter_mut().zip(rstd).for_each(|(d, &r)| *d *= r);
        if let Some(affine) = step.daffine {
            memory.get_mut(affine.gamma).copy_from_slice(dgamma);
            memory.get_mut(affine.beta).copy_from_slice(dbeta);
        }
        // dx = scale · (d − dβ/M − (x − mean) · rstd · dγ/M)
        let per_pixel = T::of(1.0 / (g.n * g.h * g.w) as f64);
        dbeta.iter_mut().for_each(|d| *d *= per_pixel);
        dgamma.iter_mut().zip(rstd).for_each(|(d, &r)| *d *= r * per_pixel);
        let (dgamma, dbeta, x) = (&*dgamma, &*dbeta, memory.get(step.x));
        dx[step.dx.range()].par_chunks_exact_mut(in_row).zip(x.par_chunks_exact(in_row)).for_each(|(dx, x)| {
            vectorised(|| {
                for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for i in 0..c {
                        dx[i] = scale[i] * (dx[i] - dbeta[i] - (x[i] - mean[i]) * dgamma[i]);
                    }
                }
            });
        });
    }
    memory.put(step.dx.buffer, dx);
    memory.put_workspace(workspace);
}
