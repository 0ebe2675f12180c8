//! Receptive-field upsampling (paper, Algorithm 1) and its adjoint: the steps `upsample` and `upsample_adjoint`.
//!
//! Each value of the low-resolution map spreads a Gaussian over its receptive field. The Gaussian is separable, so the transposed
//! convolution is `A = U·a·Uᵀ` with one banded matrix U [S, n], `U[o, i] = g[o + pad − s − i·jump]`, pad = ⌊(r−1)/2⌋, s the shift
//! without its fraction (towards 0).

mod cuda;

use rayon::prelude::*;

use super::access::elements;
use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::Real;

/// Receptive field of a net's output (paper, section 3): from (side, 1, 1, 0), each layer with kernel k, stride t, padding p gives
/// n' = ⌊(n+2p−k)/t⌋+1, j' = j·t, r' = r+(k−1)·j, s' = s+((k−1)/2−p)·j.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ReceptiveField {
    /// Side of the output map.
    pub n: usize,
    /// Input pixels between neighbouring outputs.
    pub jump: usize,
    /// Side of one output's receptive field.
    pub size: usize,
    /// Offset of the first receptive field's centre.
    pub shift: f64,
}

impl ReceptiveField {
    /// Pixels of a field, or from one to the next, at most: more than images have along a side.
    pub(crate) const MOST: usize = 1 << 16;

    /// Through a layer with kernels of `side`, a stride and a padding.
    pub(crate) fn through(self, side: usize, stride: usize, pad: usize) -> ReceptiveField {
        ReceptiveField {
            n: (self.n + 2 * pad).saturating_sub(side) / stride + 1,
            jump: self.jump.saturating_mul(stride),
            size: self.size.saturating_add((side - 1).saturating_mul(self.jump)),
            shift: self.shift + ((side as f64 - 1.0) / 2.0 - pad as f64) * self.jump as f64,
        }
    }

    /// Each output twice: its two halves lie a quarter of the jump before and behind it. None where the jump has no half.
    pub(crate) fn upsampled(self) -> Option<ReceptiveField> {
        let jump = self.jump.is_multiple_of(2).then_some(self.jump / 2)?;
        Some(ReceptiveField { n: 2 * self.n, jump, shift: self.shift - jump as f64 / 2.0, ..self })
    }

    /// The smallest field that holds two of outputs in the same places; None where the outputs lie unequally far apart.
    pub(super) fn joined(self, other: ReceptiveField) -> Option<ReceptiveField> {
        if (self.n, self.jump) != (other.n, other.jump) {
            return None;
        }
        let ends = |field: ReceptiveField| {
            let half = (field.size as f64 - 1.0) / 2.0;
            (field.shift - half, field.shift + half)
        };
        let ((a, b), (c, d)) = (ends(self), ends(other));
        let (first, last) = (a.min(c), b.max(d));
        Some(ReceptiveField { size: (last - first).ceil() as usize + 1, shift: (first + last) / 2.0, ..self })
    }
}

/// Narrowest Gaussian in pixels: its square still divides.
pub(crate) const MIN_SIGMA: f64 = 1e-3;

/// Default σ of the Gaussian for receptive fields of `size`: the authors' rule, 10 from 32 pixels on.
pub fn default_sigma(size: usize) -> f64 {
    if size < 32 { (0.45 * size as f64 + 1.0).log10() + 0.25 } else { 10.0 }
}

/// The one-dimensional factor g of the Gaussian kernel: exp(−x²/2σ²), peak 1; an even kernel is the odd one below it with its
/// centre value doubled in place and everything halved.
pub fn gaussian_kernel(size: usize, sigma: f64) -> Vec<f64> {
    let odd = |size: usize| -> Vec<f64> {
        let centre = (size - 1) as f64 / 2.0;
        (0..size).map(|i| (-(i as f64 - centre).powi(2) / (2.0 * sigma * sigma)).exp()).collect()
    };
    if size % 2 == 1 {
        return odd(size);
    }
    let mut kernel = odd(size - 1);
    kernel.insert((size - 1) / 2, 1.0);
    kernel.iter_mut().for_each(|g| *g /= 2.0);
    kernel
}

/// The banded matrix U.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianTaps {
    /// The Gaussian g.
    kernel: Vec<f64>,
    /// `origin = pad − s` of the formula above.
    origin: isize,
    jump: usize,
    /// For each output pixel, its first source and the weights of it and its successors.
    rows: Vec<(usize, Vec<f64>)>,
    /// Whether they are [folded](GaussianTaps::folded).
    folded: bool,
}

impl GaussianTaps {
    /// Taps from `field.n` to `side` pixels.
    pub fn new(field: ReceptiveField, side: usize, sigma: f64) -> GaussianTaps {
        let kernel = gaussian_kernel(field.size, sigma);
        let origin = (field.size as isize - 1) / 2 - field.shift.trunc() as isize;
        // Steps of a jump of 0 are refused.
        let jump = field.jump.max(1);
        let rows = (0..side)
            .map(|o| {
                let Ok(offset) = usize::try_from(o as isize + origin) else { return (0, vec![]) };
                // The sources i whose tap, offset − i·jump, lies in the kernel.
                let first = (offset + 1).saturating_sub(kernel.len()).div_ceil(jump);
                let end = field.n.min(offset / jump + 1);
                let weights: Vec<f64> = (first..end).map(|i| kernel[offset - i * jump]).collect();
                (if weights.is_empty() { 0 } else { first }, weights)
            })
            .collect();
        GaussianTaps { kernel, origin, jump: field.jump, rows, folded: false }
    }

    /// The taps with which a loss over upsampled maps A = U·a·Uᵀ [S, S] becomes one over maps [u, u] of as many pixels as `a` has:
    /// mean(A·g) = mean(D·a·D · g'), with the folded ground truth g' = Uᵀ·g·U ∕ Uᵀ·1·U ([`GaussianTaps::fold`]) and the diagonal matrix D of
    /// u/S times the sums of U's columns. Kernels cannot take them: D is no banded matrix of one Gaussian.
    pub fn folded(&self, u: usize) -> GaussianTaps {
        let scale = u as f64 / self.side() as f64;
        let diagonal: Vec<f64> = self.sums(u).into_iter().map(|sum| sum * scale).collect();
        let rows = diagonal.iter().enumerate().map(|(i, &d)| (i, vec![d])).collect();
        GaussianTaps { kernel: diagonal, origin: 0, jump: 1, rows, folded: true }
    }

    /// The ground truth g' [u, u] of [`GaussianTaps::folded`] taps from g [S, S].
    pub fn fold<T: Real>(&self, u: usize, truth: &[T]) -> Vec<T> {
        let (mut folded, mut workspace) = (vec![T::zero(); u * u], vec![T::zero(); u * self.side()]);
        adjoint(self, u, truth, &mut folded, &mut workspace);
        let sums = self.sums(u);
        for (i, value) in folded.iter_mut().enumerate() {
            let whole = sums[i / u] * sums[i % u];
            // A field that lies outside of the image has no share in it.
            *value = if whole > 0.0 { T::of((value.f64() / whole).min(1.0)) } else { T::zero() };
        }
        folded
    }

    /// The sums of U's columns.
    fn sums(&self, u: usize) -> Vec<f64> {
        let mut sums = vec![0.0; u];
        for (first, weights) in &self.rows {
            sums[*first..].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
        }
        sums
    }

    /// The matrix U as it is, row by row: [S, u].
    pub(crate) fn matrix(&self, u: usize) -> Vec<f32> {
        let mut matrix = vec![0.0; self.side() * u];
        for (row, (first, weights)) in matrix.chunks_exact_mut(u).zip(&self.rows) {
            row[*first..].iter_mut().zip(weights).for_each(|(to, &weight)| *to = weight as f32);
        }
        matrix
    }

    /// Upsamples a row along itself.
    fn across<T: Real>(&self, a: &[T], wide: &mut [T]) {
        for (w, (first, weights)) in wide.iter_mut().zip(&self.rows) {
            *w = weights.iter().zip(&a[*first..]).map(|(&g, &a)| T::of(g) * a).sum();
        }
    }

    /// Row `row` of the upsampled map, of rows that are upsampled along themselves.
    fn down<T: Real>(&self, row: usize, wide: &[T], out: &mut [T]) {
        let (first, weights) = &self.rows[row];
        out.fill(T::zero());
        for (&g, wide) in weights.iter().zip(wide.chunks_exact(out.len()).skip(*first)) {
            let g = T::of(g);
            out.iter_mut().zip(wide).for_each(|(o, &w)| *o += g * w);
        }
    }

    /// The Gaussian g, one-dimensional.
    pub fn kernel(&self) -> &[f64] {
        &self.kernel
    }

    /// Size of g, origin and jump, as kernels take them.
    fn numbers(&self) -> [i32; 3] {
        [self.kernel.len() as i32, self.origin as i32, self.jump as i32]
    }

    /// Values of the upsampled maps of `small` values in maps [u, u].
    fn large(&self, small: usize, u: usize) -> usize {
        elements([small.checked_div(elements([u, u])).unwrap_or(0), self.side(), self.side()])
    }

    /// What kernels count, at most: values of maps [u, u], `small` in all, of the large ones, or places along a row.
    fn counted(&self, small: usize, u: usize) -> usize {
        let places = [self.side(), self.kernel.len(), self.origin.unsigned_abs(), elements([u, self.jump])];
        small.max(self.large(small, u)).max(places.into_iter().fold(0, usize::saturating_add))
    }

    /// What is wrong with its numbers.
    fn fault(&self) -> Option<String> {
        (self.jump == 0).then(|| "its outputs lie 0 pixels apart".into())
    }

    /// Why kernels cannot take them.
    fn without_kernel(&self) -> Option<String> {
        self.folded.then(|| "its taps are folded, which its kernels do not know".into())
    }

    /// Side S of the upsampled map.
    pub fn side(&self) -> usize {
        self.rows.len()
    }
}

/// `out = U·a·Uᵀ` for each image: a [n, u, u] to out [n, S, S].
#[derive(Clone, Debug)]
pub struct Upsample {
    pub taps: GaussianTaps,
    /// The Gaussian g of `taps`, where the GPU reads it.
    pub kernel: View,
    /// Side u of the low-resolution map.
    pub u: usize,
    pub a: View,
    pub out: View,
}

impl Operation for Upsample {
    fn kind(&self) -> &'static str {
        "upsample"
    }

    fn counted(&self) -> usize {
        self.taps.counted(self.a.len, self.u)
    }

    fn wrong_numbers(&self) -> Option<String> {
        self.taps.fault()
    }

    fn without_kernel(&self) -> Option<String> {
        self.taps.without_kernel()
    }

    fn variant(&self) -> String {
        format!("{:?}", self.taps)
    }

    fn reads(&self) -> Access {
        Access::new([
            ("a", self.a, whole(self.a.len, elements([self.u, self.u]))),
            ("kernel", self.kernel, self.taps.kernel.len()),
        ])
    }

    fn writes(&self) -> Access {
        Access::new([("out", self.out, self.taps.large(self.a.len, self.u))])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::of(self.u * self.u)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (mut out, mut workspace) = (memory.take(self.out.buffer), memory.take_workspace());
        upsample(&self.taps, self.u, memory.get(self.a), &mut out[self.out.range()], &mut workspace);
        memory.put(self.out.buffer, out);
        memory.put_workspace(workspace);
    }

    fn workspace(&self) -> usize {
        self.a.len / self.u * self.taps.side()
    }

    fn cuda_workspace(&self) -> usize {
        self.workspace()
    }

    fn launches(&self) -> usize {
        2
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::upsample(self, memory)
    }
}

/// `da = Uᵀ·dout·U`, the adjoint of [`Upsample`]: the gradient path of losses on the upsampled map.
#[derive(Clone, Debug)]
pub struct UpsampleAdjoint {
    pub taps: GaussianTaps,
    pub kernel: View,
    pub u: usize,
    pub dout: View,
    pub da: View,
}

impl Operation for UpsampleAdjoint {
    fn kind(&self) -> &'static str {
        "upsample_adjoint"
    }

    fn counted(&self) -> usize {
        self.taps.counted(self.da.len, self.u)
    }

    fn wrong_numbers(&self) -> Option<String> {
        self.taps.fault()
    }

    fn without_kernel(&self) -> Option<String> {
        self.taps.without_kernel()
    }

    fn variant(&self) -> String {
        format!("{:?}", self.taps)
    }

    fn reads(&self) -> Access {
        Access::new([
            ("dout", self.dout, self.taps.large(self.da.len, self.u)),
            ("kernel", self.kernel, self.taps.kernel.len()),
        ])
    }

    fn writes(&self) -> Access {
        Access::new([("da", self.da, whole(self.da.len, elements([self.u, self.u])))])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::of(self.taps.side() * self.taps.side())
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (mut da, mut workspace) = (memory.take(self.da.buffer), memory.take_workspace());
        adjoint(&self.taps, self.u, memory.get(self.dout), &mut da[self.da.range()], &mut workspace);
        memory.put(self.da.buffer, da);
        memory.put_workspace(workspace);
    }

    fn workspace(&self) -> usize {
        self.da.len / self.u * self.taps.side()
    }

    fn cuda_workspace(&self) -> usize {
        self.workspace()
    }

    fn launches(&self) -> usize {
        2
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::adjoint(self, memory)
    }
}

/// Upsamples each [u, u] map of `a` to [S, S]; `workspace` holds u·S elements per map.
pub fn upsample<T: Real>(taps: &GaussianTaps, u: usize, a: &[T], out: &mut [T], workspace: &mut [T]) {
    let side = taps.side();
    out.par_chunks_exact_mut(side * side)
        .zip(a.par_chunks_exact(u * u))
        .zip(workspace.par_chunks_exact_mut(u * side))
        .for_each(|((out, a), wide)| {
            wide.chunks_exact_mut(side).zip(a.chunks_exact(u)).for_each(|(wide, a)| taps.across(a, wide));
            (0..).zip(out.chunks_exact_mut(side)).for_each(|(row, out)| taps.down(row, wide, out));
        });
}

/// Upsamples one map with rows of `columns`' sources by different taps along its rows and columns; [rows' side, columns' side] is returned.
pub fn upsample_between(rows: &GaussianTaps, columns: &GaussianTaps, a: &[f32], u: usize) -> Vec<f32> {
    let (height, width) = (rows.side(), columns.side());
    let mut wide = vec![0.0; a.len() / u * width];
    wide.par_chunks_exact_mut(width).zip(a.par_chunks_exact(u)).for_each(|(wide, a)| columns.across(a, wide));
    let mut out = vec![0.0; height * width];
    out.par_chunks_exact_mut(width).enumerate().for_each(|(row, out)| rows.down(row, &wide, out));
    out
}

/// The adjoint of [`upsample`]: ⟨upsample(a), b⟩ = ⟨a, adjoint(b)⟩.
pub fn adjoint<T: Real>(taps: &GaussianTaps, u: usize, dout: &[T], da: &mut [T], workspace: &mut [T]) {
    let side = taps.side();
    da.par_chunks_exact_mut(u * u)
        .zip(dout.par_chunks_exact(side * side))
        .zip(workspace.par_chunks_exact_mut(u * side))
        .for_each(|((da, dout), wide)| {
            wide.fill(T::zero());
            for (dout, (first, weights)) in dout.chunks_exact(side).zip(&taps.rows) {
                for (&g, wide) in weights.iter().zip(wide.chunks_exact_mut(side).skip(*first)) {
                    let g = T::of(g);
                    wide.iter_mut().zip(dout).for_each(|(w, &d)| *w += g * d);
                }
            }
            da.fill(T::zero());
            for (da, wide) in da.chunks_exact_mut(u).zip(wide.chunks_exact(side)) {
                for (&w, (first, weights)) in wide.iter().zip(&taps.rows) {
                    for (&g, da) in weights.iter().zip(&mut da[*first..]) {
                        *da += T::of(g) * w;
                    }
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Of all sources those whose tap lies in the kernel: also where fields do not touch, or lie outside of the image.
        #[test]
        fn taps_lie_in_the_kernel(
            n in 1..12usize, side in 1..30usize, jump in 1..9usize, size in 1..14usize, shift in -40.0..40.0
        ) {
            let (kernel, centre) = (gaussian_kernel(size, 1.2), (size as isize - 1) / 2 - shift as isize);
            let taps = GaussianTaps::new(ReceptiveField { n, jump, size, shift }, side, 1.2);
            prop_assert_eq!(taps.side(), side);
            for (o, (first, weights)) in (0..).zip(&taps.rows) {
                let tap = |i: usize| usize::try_from(o + centre - (i * jump) as isize).ok();
                let expected: Vec<(usize, f64)> = (0..n).filter_map(|i| Some((i, *kernel.get(tap(i)?)?))).collect();
                let found: Vec<(usize, f64)> = (*first..).zip(weights.iter().copied()).collect();
                prop_assert_eq!(found, expected);
                prop_assert!(!weights.is_empty() || *first == 0);
            }
        }
    }
}
