//! Convolution as it runs on the CPU: matrix products, by the form that suits the shape.
//!
//! | pass | form |
//! | --- | --- |
//! | fprop | [`super::direct`]: the input is read in place, or as the bf16 that it holds; or [`super::winograd`] |
//! | dgrad, stride 1 | fprop of `dy` with the flipped weights |
//! | dgrad, other strides | [`super::im2col`]: a product per tile of `dy`, folded back (col2im) |
//! | wgrad | [`super::im2col`], or [`super::winograd`] |
//!
//! The bits do not depend on the number of threads: fprop is cut by it, but no sum crosses a cut; wgrad is cut by its shape alone, and its
//! partial sums are merged in a fixed order.

use super::weights::WeightForm;
use super::winograd::Winograd;
use super::{ConvGeometry, Dgrad, Fprop, direct, im2col, uncast, winograd};
use crate::device::product::bf16::{self, Pairs};
use crate::device::product::{pack, packed_len};
use crate::device::{DType, HostBuffers, Packing, View};
use crate::real::Real;

/// How the CPU takes the sums of products of a convolution. A GPU takes them directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// All products of the formula.
    Direct,
    /// Fewer products of transformed tiles: [`super::winograd`].
    Winograd,
}

impl Algorithm {
    /// The faster one for a pass forward, of values of a type; `exact` leaves no choice.
    pub(crate) fn of_fprop(g: &ConvGeometry, dtype: DType, exact: bool) -> Algorithm {
        // Products of bf16 take half as long; those of transformed tiles are of f32.
        let products = match dtype {
            DType::F32 => 1.0,
            DType::Bf16 => 0.5,
        };
        Algorithm::faster(g, products, exact)
    }

    /// The faster one for the gradient of the input.
    pub(crate) fn of_dgrad(g: &ConvGeometry, dtype: DType, exact: bool) -> Algorithm {
        flipped(g).map_or(Algorithm::Direct, |g| Algorithm::of_fprop(&g, dtype, exact))
    }

    /// The faster one for the gradient of the weights, whose products are of f32.
    pub(crate) fn of_wgrad(g: &ConvGeometry, exact: bool) -> Algorithm {
        Algorithm::faster(g, 1.0, exact)
    }

    fn faster(g: &ConvGeometry, products: f64, exact: bool) -> Algorithm {
        match Winograd::of(g) {
            Some(winograd) if !exact && winograd.pays(products) => Algorithm::Winograd,
            _ => Algorithm::Direct,
        }
    }

    /// Terms of a sum, and how far its rounding errors exceed those of as many products.
    pub(super) fn sums(self, g: &ConvGeometry) -> (usize, f64) {
        match self {
            Algorithm::Direct => (g.taps(), 1.0),
            Algorithm::Winograd => winograd::sums(g),
        }
    }

    /// The same of the gradient of the weights.
    pub(super) fn wgrad_sums(self, g: &ConvGeometry) -> (usize, f64) {
        match self {
            Algorithm::Direct => (g.pixels(), 1.0),
            Algorithm::Winograd => winograd::wgrad_sums(g),
        }
    }

    /// How that convolution is computed, if it is.
    fn winograd(self, g: &ConvGeometry) -> Option<Winograd> {
        if self == Algorithm::Winograd { Winograd::of(g) } else { None }
    }

    /// What is wrong where it does not suit a convolution.
    pub(super) fn fault(self, g: Option<&ConvGeometry>) -> Option<String> {
        let suits = self == Algorithm::Direct || g.is_some_and(|g| Winograd::of(g).is_some());
        (!suits).then(|| "Winograd's filtering does not suit its shape".into())
    }
}

/// What takes the sums of a convolution.
#[derive(Clone, Copy)]
enum By {
    /// [`direct::fprop`]
    Direct,
    /// [`direct::fprop_of_bf16`]
    Pairs(Pairs),
    Winograd(Winograd),
}

/// A convolution with stride 1: a pass forward, or the gradient of the input, which is a pass of dy with the flipped weights.
#[derive(Clone, Copy)]
struct Convolution {
    g: ConvGeometry,
    by: By,
    flipped: bool,
}

impl Convolution {
    fn fprop(g: &ConvGeometry, algorithm: Algorithm) -> Convolution {
        Convolution::new(*g, algorithm, false)
    }

    /// None where the stride leaves gaps.
    fn dgrad(g: &ConvGeometry, algorithm: Algorithm) -> Option<Convolution> {
        flipped(g).map(|g| Convolution::new(g, algorithm, true))
    }

    fn new(g: ConvGeometry, algorithm: Algorithm, flipped: bool) -> Convolution {
        Convolution { g, by: algorithm.winograd(&g).map_or(By::Direct, By::Winograd), flipped }
    }

    /// The same of values of a type: all products are those of bf16, where values are and the processor multiplies them.
    fn of(self, dtype: DType) -> Convolution {
        match (self.by, dtype, Pairs::detect()) {
            (By::Direct, DType::Bf16, Some(pairs)) => Convolution { by: By::Pairs(pairs), ..self },
            _ => self,
        }
    }

    /// The same in memory of numbers that are not f32, or not rounded to bf16.
    fn in_memory<T: Real>(self, memory: &HostBuffers<T>, x: View) -> Convolution {
        match self.by {
            By::Pairs(_) if !memory.rounds(x) || T::f32s(&[]).is_none() => Convolution { by: By::Direct, ..self },
            By::Pairs(_) | By::Direct | By::Winograd(_) => self,
        }
    }

    /// How its weights are packed.
    fn packing(&self, w: View, b: Option<View>) -> Packing {
        let form = match (self.by, self.flipped) {
            (By::Direct, false) => "fprop",
            (By::Direct, true) => "dgrad",
            (By::Pairs(_), false) => "fprop of bf16",
            (By::Pairs(_), true) => "dgrad of bf16",
            (By::Winograd(_), false) => "fprop by Winograd",
            (By::Winograd(_), true) => "dgrad by Winograd",
        };
        let ConvGeometry { c, k, side, .. } = self.g;
        Packing { w, b, form, of: [c, k, side], len: self.packed_len() }
    }

    /// Elements of the packed weights.
    fn packed_len(&self) -> usize {
        match self.by {
            By::Direct => packed_len(self.g.taps(), self.g.k),
            By::Pairs(_) => bf16::packed_len(direct::runs(&self.g), self.g.k),
            By::Winograd(by) => by.packed_len(),
        }
    }

    /// Scratch elements, of packing too.
    fn workspace(&self) -> usize {
        match self.by {
            By::Direct => direct::workspace(&self.g),
            By::Pairs(_) => direct::bf16_workspace(&self.g).max(direct::workspace(&self.g)),
            By::Winograd(by) => by.workspace().max(by.packing_len()),
        }
    }

    /// Packs weights [k, side, side, c] of the pass forward.
    fn pack<T: Real>(&self, w: &[T], b: Option<&[T]>, packed: &mut [T], workspace: &mut [T]) {
        let ConvGeometry { c, k, side, .. } = self.g;
        let (taps, first) = (side * side, |k: usize| b.map_or(T::zero(), |b| b[k]));
        let factor = |term: usize, column: usize| {
            let (tap, channel) = (term / c, term % c);
            w[if self.flipped { (channel * taps + taps - 1 - tap) * k + column } else { column * taps * c + term }]
        };
        match (self.by, T::f32s_mut(packed)) {
            (By::Winograd(by), _) => by.pack(w, b, self.flipped, packed, workspace),
            (By::Pairs(pairs), Some(packed)) => {
                let (first, factor) = (|k| first(k).f64() as f32, |term, column| factor(term, column).f64() as f32);
                pairs.pack(direct::runs(&self.g), k, first, factor, packed);
            }
            (By::Direct | By::Pairs(_), _) => pack(taps * c, k, first, factor, packed),
        }
    }

    /// The pass forward with packed weights, its outputs `rounded` to bf16.
    fn run<T: Real>(&self, x: &[T], packed: &[T], rounded: bool, y: &mut [T], workspace: &mut [T]) {
        match self.by {
            By::Direct => direct::fprop(&self.g, [x, packed], rounded, y, workspace),
            By::Winograd(by) => by.fprop([x, packed], rounded, y, workspace),
            By::Pairs(pairs) => {
                let (reads, writes) = ([x, packed].map(T::f32s), [y, workspace].map(T::f32s_mut));
                let ([Some(x), Some(packed)], [Some(y), Some(workspace)]) = (reads, writes) else {
                    unreachable!("in memory of others all products are of their type");
                };
                direct::fprop_of_bf16(&self.g, pairs, [x, packed], rounded, y, workspace);
            }
        }
    }

    /// The same on views: weights are packed where they have changed.
    fn step<T: Real>(&self, memory: &mut HostBuffers<T>, x: View, w: Weights, b: Option<View>, y: View, rounded: bool) {
        let this = self.in_memory(memory, x);
        let packing = this.packing(w.view, b);
        let (mut packed, is_current) = memory.take_packed(packing);
        let (mut out, mut workspace) = (memory.take(y.buffer), memory.take_workspace());
        if !is_current {
            this.pack(&uncast(w.geometry, memory, w.view, w.form), memory.get_opt(b), &mut packed, &mut workspace);
        }
        this.run(memory.get(x), &packed, rounded, &mut out[y.range()], &mut workspace);
        memory.put(y.buffer, out);
        memory.put_workspace(workspace);
        memory.put_packed(packing, packed);
    }
}

/// Weights of a step, cast where they are bf16.
struct Weights<'a> {
    geometry: &'a ConvGeometry,
    view: View,
    form: WeightForm,
}

impl Fprop {
    fn on_cpu(&self) -> Convolution {
        Convolution::fprop(&self.geometry, self.algorithm).of(self.x.dtype)
    }

    pub(super) fn wrong_algorithm(&self) -> Option<String> {
        self.algorithm.fault(Some(&self.geometry))
    }

    pub(super) fn packed(&self) -> Packing {
        self.on_cpu().packing(self.w, self.b)
    }

    /// Scratch elements of the sums.
    pub(super) fn sums_workspace(&self) -> usize {
        self.on_cpu().workspace()
    }

    /// The convolution, without its epilogue; its outputs are `rounded` to bf16.
    pub(super) fn convolve<T: Real>(&self, memory: &mut HostBuffers<T>, rounded: bool) {
        let w = Weights { geometry: &self.geometry, view: self.w, form: WeightForm::Krsc };
        self.on_cpu().step(memory, self.x, w, self.b, self.y, rounded);
    }
}

impl Dgrad {
    fn on_cpu(&self) -> Option<Convolution> {
        Convolution::dgrad(&self.geometry, self.algorithm).map(|convolution| convolution.of(self.dy.dtype))
    }

    pub(super) fn wrong_algorithm(&self) -> Option<String> {
        self.algorithm.fault(flipped(&self.geometry).as_ref())
    }

    pub(super) fn packed(&self) -> Option<Packing> {
        self.on_cpu().map(|convolution| convolution.packing(self.w, None))
    }

    pub(super) fn sums_workspace(&self) -> usize {
        self.on_cpu().map_or_else(|| im2col::dgrad_workspace(&self.geometry), |convolution| convolution.workspace())
    }

    pub(super) fn convolve<T: Real>(&self, memory: &mut HostBuffers<T>) {
        let w = Weights { geometry: &self.geometry, view: self.w, form: WeightForm::Flipped };
        let rounded = memory.rounds(self.dx);
        if let Some(convolution) = self.on_cpu() {
            return convolution.step(memory, self.dy, w, None, self.dx, rounded);
        }
        let (mut dx, mut workspace) = (memory.take(self.dx.buffer), memory.take_workspace());
        let weights = uncast(w.geometry, memory, w.view, w.form);
        im2col::dgrad(&self.geometry, memory.get(self.dy), &weights, &mut dx[self.dx.range()], &mut workspace);
        memory.put(self.dx.buffer, dx);
        memory.put_workspace(workspace);
        if rounded {
            memory.round(self.dx);
        }
    }
}

/// Scratch elements of [`fprop`]: the packed weights, and what the form needs.
pub fn fprop_workspace(g: &ConvGeometry, algorithm: Algorithm) -> usize {
    let convolution = Convolution::fprop(g, algorithm);
    convolution.packed_len() + convolution.workspace()
}

/// Scratch elements of [`dgrad`].
pub fn dgrad_workspace(g: &ConvGeometry, algorithm: Algorithm) -> usize {
    Convolution::dgrad(g, algorithm)
        .map_or_else(|| im2col::dgrad_workspace(g), |convolution| convolution.packed_len() + convolution.workspace())
}

/// Scratch elements of [`wgrad`].
pub fn wgrad_workspace(g: &ConvGeometry, algorithm: Algorithm) -> usize {
    algorithm.winograd(g).map_or_else(|| im2col::wgrad_workspace(g), |winograd| winograd.wgrad_workspace())
}

/// Forward pass; see [`super::reference::fprop`] for the formula. `workspace` holds at least [`fprop_workspace`] elements.
pub fn fprop<T: Real>(
    g: &ConvGeometry,
    algorithm: Algorithm,
    [x, w]: [&[T]; 2],
    b: Option<&[T]>,
    y: &mut [T],
    workspace: &mut [T],
) {
    let convolution = Convolution::fprop(g, algorithm);
    let (packed, workspace) = workspace.split_at_mut(convolution.packed_len());
    convolution.pack(w, b, packed, workspace);
    convolution.run(x, packed, false, y, workspace);
}

/// Gradient of the input; see [`super::reference::dgrad`]. With stride 1 it is a convolution of `dy` with the flipped weights.
pub fn dgrad<T: Real>(g: &ConvGeometry, algorithm: Algorithm, [dy, w]: [&[T]; 2], dx: &mut [T], workspace: &mut [T]) {
    let Some(convolution) = Convolution::dgrad(g, algorithm) else {
        return im2col::dgrad(g, dy, w, dx, workspace);
    };
    let (packed, workspace) = workspace.split_at_mut(convolution.packed_len());
    convolution.pack(w, None, packed, workspace);
    convolution.run(dy, packed, false, dx, workspace);
}

/// Gradient of the weights; see [`super::reference::wgrad`].
pub fn wgrad<T: Real>(g: &ConvGeometry, algorithm: Algorithm, [x, dy]: [&[T]; 2], dw: &mut [T], workspace: &mut [T]) {
    match algorithm.winograd(g) {
        Some(winograd) => winograd.wgrad(x, dy, dw, workspace),
        None => im2col::wgrad(g, x, dy, dw, workspace),
    }
}

/// The convolution that dgrad is: input dy [n, oh, ow, k], output dx [n, h, w, c]. None where the stride leaves gaps.
fn flipped(g: &ConvGeometry) -> Option<ConvGeometry> {
    (g.stride == 1 && g.pad < g.side).then(|| ConvGeometry {
        h: g.oh(),
        w: g.ow(),
        c: g.k,
        k: g.c,
        pad: g.side - 1 - g.pad,
        ..*g
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each output has the same bits wherever its image stands in a batch, and in a batch of any size.
    #[test]
    fn an_image_is_summed_alike_in_any_batch() {
        for (side, c, k, size, pad, stride) in [
            (3, 3, 32, 28, 1, 1),
            (3, 1, 16, 9, 1, 1),
            (5, 1, 7, 12, 2, 1),
            (1, 128, 1, 28, 0, 1),
            (1, 513, 1, 7, 0, 1),
            (1, 64, 20, 5, 0, 1),
            (4, 9, 33, 4, 0, 1),
            (3, 3, 8, 17, 1, 2),
            (3, 16, 80, 15, 1, 1),
            (5, 32, 16, 7, 2, 1),
            (3, 48, 64, 2, 1, 1),
        ] {
            let g = |n| ConvGeometry { n, h: size, w: size, c, k, side, pad, stride };
            let value = |i: usize| ((i * 7919 + i * i % 97) % 1009) as f32 / 1009.0 - 0.5;
            let batch = g(7);
            let x: Vec<f32> = (0..batch.n * size * size * c).map(value).collect();
            let w: Vec<f32> = (0..batch.w_len()).map(|i| value(3 * i + 1)).collect();
            let b: Vec<f32> = (0..k).map(|i| value(5 * i + 2)).collect();
            let algorithms = [Algorithm::Direct, Algorithm::Winograd];
            let suit = algorithms.into_iter().filter(|algorithm| algorithm.fault(Some(&batch)).is_none());
            for (algorithm, b) in suit.flat_map(|algorithm| [(algorithm, None), (algorithm, Some(&b[..]))]) {
                let outputs = |g: &ConvGeometry, x: &[f32]| {
                    let mut y = vec![f32::NAN; g.pixels() * k];
                    let mut workspace = vec![f32::NAN; fprop_workspace(g, algorithm)];
                    fprop(g, algorithm, [x, &w], b, &mut y, &mut workspace);
                    y
                };
                let together = outputs(&batch, &x);
                let each = x.chunks_exact(size * size * c).flat_map(|x| outputs(&g(1), x));
                assert!(each.map(f32::to_bits).eq(together.iter().map(|v| v.to_bits())), "{batch:?}");
                let five = outputs(&g(5), &x[2 * size * size * c..]);
                assert_eq!(five, together[2 * g(1).pixels() * k..], "{batch:?}");
            }
        }
    }
}
