//! The FCDD objective (paper, section 4): its formulas, and the steps `map_loss` and `pseudo_huber_backward`.
//!
//! Per pixel a = √(z²+1) − 1; the image score s is the mean of a over its pixels. All forms are free of cancellation:
//! a = z²/(√(z²+1)+1), and log(1 − exp(−s)) as in [`anomalous_loss`]. Losses are means over the batch. Learning from labels is fused
//! with the head of the net: `head.rs`.

mod cuda;

use std::f64::consts::LN_2;

use rayon::prelude::*;

use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::{Real, sum_over};

/// Keeps the logarithm finite at s = 0; the authors' constant.
const TINY: f64 = 1e-31;

/// a = √(z²+1) − 1.
pub fn pseudo_huber<T: Real>(z: T) -> T {
    z * z / ((z * z + T::one()).sqrt() + T::one())
}

/// da/dz = z/√(z²+1).
pub fn pseudo_huber_slope<T: Real>(z: T) -> T {
    z / (z * z + T::one()).sqrt()
}

/// Loss of an anomalous image, −log(1 − exp(−s) + 1e-31), and its derivative by s.
///
/// Up to s = ln 2 through expm1, which keeps the digits of a small 1 − exp(−s); above through log1p, which keeps those of its small
/// distance from 1 (Mächler, "Accurately computing log(1 − exp(−|a|))", 2012). There the constant is far below the rounding.
pub fn anomalous_loss<T: Real>(s: T) -> (T, T) {
    let outside = (-s).exp();
    let inside = -(-s).exp_m1() + T::of(TINY);
    let log = if s.f64() > LN_2 { (-outside).ln_1p() } else { inside.ln() };
    (-log, -outside / inside)
}

/// Ground truth of a pixel of an anomalous image of which nobody has marked where the anomaly is.
pub const UNMARKED: f32 = -1.0;

/// Ground truth of a pixel that belongs to no image: padding.
pub const OUTSIDE: f32 = -2.0;

/// Loss with a ground-truth map per image, and its gradient by the upsampled anomaly map A [n, S, S]:
/// mean(A·(1−g)) + (−log(1 − exp(−mean(A·g))) if g has any 1). Both means run over all pixels but those that are [`OUTSIDE`].
///
/// An image with a pixel that is [`UNMARKED`] is learned from by its label alone: −log(1 − exp(−s)), where its score s is the mean of its
/// `top` highest values of A, of fewer in proportion where pixels are outside. Where several equal the least of these, each counts for the
/// same share of those places that are left.
#[derive(Clone, Copy, Debug)]
pub struct MapLoss {
    pub a: View,
    /// Ground truth g, 0, 1, [`UNMARKED`] or [`OUTSIDE`], [n, S, S].
    pub maps: View,
    /// Values of an image, at least one, that its score is the mean of where it is unmarked.
    pub top: usize,
    pub loss: View,
    pub da: View,
}

impl Operation for MapLoss {
    fn kind(&self) -> &'static str {
        "map_loss"
    }

    fn counted(&self) -> usize {
        self.a.len
    }

    fn variant(&self) -> String {
        self.top.to_string()
    }

    fn wrong_numbers(&self) -> Option<String> {
        let pixels = self.a.len / self.loss.len.max(1);
        (!(1..=pixels).contains(&self.top)).then(|| format!("it scores by {} of {pixels} pixels", self.top))
    }

    fn reads(&self) -> Access {
        Access::new([("a", self.a, whole(self.a.len, self.loss.len)), ("maps", self.maps, self.a.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("loss", self.loss, self.loss.len), ("da", self.da, self.a.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::of(self.a.len / self.loss.len)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (mut loss, mut da) = (memory.take(self.loss.buffer), memory.take(self.da.buffer));
        let pixels = self.a.len / self.loss.len;
        let outside = |g: T| g == T::of(f64::from(OUTSIDE));
        da[self.da.range()]
            .par_chunks_exact_mut(pixels)
            .zip(memory.get(self.a).par_chunks_exact(pixels).zip(memory.get(self.maps).par_chunks_exact(pixels)))
            .zip(&mut loss[self.loss.range()])
            .for_each(|((da, (a, g)), loss)| {
                let shown = g.iter().filter(|&&g| !outside(g)).count();
                let per_pixel = T::of(1.0 / shown.max(1) as f64);
                let per_value = T::of(1.0 / (self.loss.len * shown.max(1)) as f64);
                if g.iter().any(|&g| g == T::of(f64::from(UNMARKED))) {
                    let values: Vec<T> = a.iter().zip(g).filter(|&(_, &g)| !outside(g)).map(|(&a, _)| a).collect();
                    let top = Top::of(&values, (self.top * shown / pixels).max(1));
                    let (value, slope) = anomalous_loss(top.mean);
                    *loss = value;
                    let per_image = slope * T::of(1.0 / self.loss.len as f64);
                    let share = |a: T, g: T| if outside(g) { T::zero() } else { top.share(a) };
                    da.iter_mut().zip(a.iter().zip(g)).for_each(|(d, (&a, &g))| *d = share(a, g) * per_image);
                    return;
                }
                // What is outside counts for nothing.
                let marked = |g: T| if outside(g) { T::zero() } else { g };
                let unmarked = |g: T| if outside(g) { T::zero() } else { T::one() - g };
                let inside = sum_over(0..pixels, |i| a[i] * marked(g[i])) * per_pixel;
                let rest = sum_over(0..pixels, |i| a[i] * unmarked(g[i])) * per_pixel;
                let (value, slope) =
                    if g.iter().any(|&g| g > T::zero()) { anomalous_loss(inside) } else { (T::zero(), T::zero()) };
                *loss = rest + value;
                da.iter_mut().zip(g).for_each(|(d, &g)| *d = (unmarked(g) + marked(g) * slope) * per_value);
            });
        memory.put(self.loss.buffer, loss);
        memory.put(self.da.buffer, da);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::map_loss(self, memory)
    }
}

/// The highest values of a map.
struct Top<T> {
    /// The least of them.
    least: T,
    /// Their mean.
    mean: T,
    /// What a value above the least, and one equal to it, counts for in the mean.
    shares: [T; 2],
}

impl<T: Real> Top<T> {
    /// The `count` highest.
    fn of(a: &[T], count: usize) -> Top<T> {
        let mut values: Vec<f64> = a.iter().map(|a| a.f64()).collect();
        let (_, &mut least, _) = values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        let least = T::of(least);
        let [above, equal] = [|a: T, b: T| a > b, |a, b| a == b].map(|is| a.iter().filter(|&&a| is(a, least)).count());
        let each = 1.0 / count as f64;
        let shares = [each, each * (count - above) as f64 / equal.max(1) as f64].map(T::of);
        let mut top = Top { least, mean: T::zero(), shares };
        top.mean = sum_over(0..a.len(), |i| a[i] * top.share(a[i]));
        top
    }

    /// What a value counts for in the mean.
    fn share(&self, a: T) -> T {
        if a > self.least {
            self.shares[0]
        } else if a == self.least {
            self.shares[1]
        } else {
            T::zero()
        }
    }
}

/// dz = da · da/dz, for losses on the anomaly map.
#[derive(Clone, Copy, Debug)]
pub struct PseudoHuberBackward {
    pub z: View,
    pub da: View,
    pub dz: View,
}

impl Operation for PseudoHuberBackward {
    fn kind(&self) -> &'static str {
        "pseudo_huber_backward"
    }

    fn counted(&self) -> usize {
        self.z.len
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        Access::new([("z", self.z, self.z.len), ("da", self.da, self.z.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("dz", self.dz, self.z.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut dz = memory.take(self.dz.buffer);
        let terms = memory.get(self.z).iter().zip(memory.get(self.da));
        dz[self.dz.range()].iter_mut().zip(terms).for_each(|(dz, (&z, &da))| *dz = da * pseudo_huber_slope(z));
        memory.put(self.dz.buffer, dz);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::pseudo_huber_backward(self, memory)
    }
}
