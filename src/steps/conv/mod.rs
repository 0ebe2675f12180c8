//! Convolution: geometry, and the steps `conv_fprop`, `conv_dgrad` and `conv_wgrad`.
//!
//! Activations are NHWC, weights KRSC (output channel, kernel row, kernel column, input channel), both contiguous.

pub(crate) mod candidates;
pub mod cpu;
pub(crate) mod cuda;
mod direct;
pub(crate) mod im2col;
mod lanes;
mod padded;
pub mod reference;
mod sample;
pub mod weights;
mod winograd;

use std::borrow::Cow;

use rayon::prelude::*;

use super::access::elements;
use super::activation::Activation;
use super::norm::{Norm, Stats, scale_shift};
use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums, apart};
use super::pool::{WindowGeometry, windows};
use crate::device::cuda::{Cuda, Result};
use crate::device::simd::vectorised;
use crate::device::{DType, HostBuffers, Packing, View};
use crate::real::Real;
use candidates::Candidate;
pub use cpu::Algorithm;
use cuda::tensor::{self, Forward};
use weights::WeightForm;

/// Pixels of a stride, at most: a GPU computes the gradient of the input as one grid of blocks for each of the stride² phases, of which a
/// launch has 65,535.
pub(crate) const MOST_STRIDE: usize = 255;

/// Shapes of one convolution with a square kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConvGeometry {
    /// Images in the batch.
    pub n: usize,
    /// Input height and width.
    pub h: usize,
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Output channels.
    pub k: usize,
    /// Side of the kernel.
    pub side: usize,
    pub stride: usize,
    pub pad: usize,
}

impl ConvGeometry {
    /// As a text, such as `128×14² 128→128 5×5`.
    pub fn layer(&self) -> String {
        format!("{}×{}² {}→{} {side}×{side}", self.n, self.h, self.c, self.k, side = self.side)
    }

    /// Output height.
    pub fn oh(&self) -> usize {
        windows(self.h, self.side, self.stride, self.pad)
    }

    /// Output width.
    pub fn ow(&self) -> usize {
        windows(self.w, self.side, self.stride, self.pad)
    }

    /// Elements of the input [n, h, w, c].
    pub fn x_len(&self) -> usize {
        elements([self.n, self.h, self.w, self.c])
    }

    /// Elements of the output [n, oh, ow, k].
    pub fn y_len(&self) -> usize {
        elements([self.pixels(), self.k])
    }

    /// Elements of the weights [k, side, side, c].
    pub fn w_len(&self) -> usize {
        elements([self.k, self.taps()])
    }

    /// Products summed per output value: side · side · c.
    pub fn taps(&self) -> usize {
        elements([self.side, self.side, self.c])
    }

    /// Output pixels of the whole batch.
    pub fn pixels(&self) -> usize {
        elements([self.n, self.oh(), self.ow()])
    }

    /// Its windows.
    fn windows(&self) -> WindowGeometry {
        WindowGeometry { n: self.n, map: [self.h, self.w], side: self.side, stride: self.stride, pad: self.pad }
    }

    /// What is wrong with its numbers.
    pub(super) fn fault(&self) -> Option<String> {
        self.windows().fault()
    }

    /// What kernels count, at most: pixels, or sums of the gradient of weights and bias.
    pub(super) fn counted(&self) -> usize {
        self.windows().counted().max(self.w_len().saturating_add(self.k))
    }

    /// Whether the unfolded input is the input itself: 1×1 kernels.
    pub fn is_pointwise(&self) -> bool {
        self.side == 1 && self.stride == 1 && self.pad == 0
    }

    /// Floating-point operations of one pass (fprop, dgrad and wgrad alike), counting a multiply-add as two and padding as work; at most the
    /// largest number.
    pub fn flops(&self) -> u64 {
        elements([2, self.y_len(), self.taps()]) as u64
    }
}

/// What follows a convolution in its own pass, where nothing in between has to be kept: `y = act(norm(conv(x, w) + b))`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// With fixed statistics.
    pub norm: Option<Norm>,
    pub activation: Activation,
}

impl Epilogue {
    /// Nothing.
    pub const NONE: Epilogue = Epilogue { norm: None, activation: Activation::IDENTITY };

    /// Operations on a sum: the bias, γ/√(var + ε), its product with the mean, and what it makes of the sum.
    const OPERATIONS: usize = 8;

    /// Whether it does nothing.
    pub fn is_none(&self) -> bool {
        self.norm.is_none() && self.activation == Activation::IDENTITY
    }

    /// Applies it to pixels of as many channels as the norm has, and rounds them to bf16.
    fn cpu<T: Real>(&self, memory: &HostBuffers<T>, channels: usize, rounded: bool, y: &mut [T]) {
        let (mut scale, mut shift) = (vec![T::zero(); channels], vec![T::zero(); channels]);
        scale_shift(self.norm, memory, &mut scale, &mut shift);
        let slope = T::of(self.activation.slope);
        y.par_chunks_mut(channels * PIXELS).for_each(|y| {
            vectorised(|| {
                for y in y.chunks_exact_mut(channels) {
                    for ((y, &scale), &shift) in y.iter_mut().zip(&scale).zip(&shift) {
                        let normed = scale * *y + shift;
                        *y = if normed > T::zero() { normed } else { slope * normed };
                    }
                }
            });
            if rounded {
                T::round_to_bf16(y);
            }
        });
    }
}

/// Pixels of a task of [`Epilogue::cpu`].
const PIXELS: usize = 256;

/// `y = conv(x, w) + b`, and what its epilogue makes of it.
///
/// Either all of x, w and y are f32, or all are bf16 and w is cast in [`WeightForm::Krsc`]; sums are f32. On a GPU y may be f32 where x is
/// bf16.
#[derive(Clone, Copy, Debug)]
pub struct Fprop {
    pub geometry: ConvGeometry,
    pub x: View,
    pub w: View,
    /// None where the net has no biases, and before a norm in training mode, which cancels them.
    pub b: Option<View>,
    pub y: View,
    /// Statistics of y, taken before it is rounded to bf16, for a norm that follows: they save that norm a pass over y. None where there
    /// is an epilogue.
    pub stats: Option<Stats>,
    pub epilogue: Epilogue,
    pub algorithm: Algorithm,
}

impl Operation for Fprop {
    fn kind(&self) -> &'static str {
        "conv_fprop"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        let both = self.stats.is_some() && (self.b.is_some() || !self.epilogue.is_none());
        let both = || both.then(|| "it takes statistics of what its bias or epilogue changes".into());
        let apart = |Stats { mean, var, running_mean, running_var, .. }| {
            apart([("mean", mean), ("var", var)])
                .or_else(|| apart([("running_mean", running_mean), ("running_var", running_var)]))
        };
        let mixed = || mixed(self.x, self.w);
        let steep = || self.epilogue.activation.fault().map(|problem| format!("its activation {problem}"));
        let wrong = self.geometry.fault().or_else(mixed).or_else(both).or_else(|| self.stats.and_then(apart));
        wrong.or_else(steep).or_else(|| self.wrong_algorithm())
    }

    /// Kernels of bf16 copy x and w in chunks; those of f32 look how they lie.
    fn anywhere(&self) -> &'static [&'static str] {
        match self.x.dtype {
            DType::F32 => &["x", "w", "y", "b", "bias", "mean", "var", "running_mean", "running_var", "gamma", "beta"],
            DType::Bf16 => &["b", "bias", "mean", "var", "running_mean", "running_var", "gamma", "beta"],
        }
    }

    fn kernel_types(&self) -> NumberTypes {
        let types = NumberTypes::alike(&["x", "w"]);
        if self.x.dtype == DType::Bf16 { types.and_either(&["y"]) } else { types }
    }

    fn variant(&self) -> String {
        let Epilogue { norm, activation } = self.epilogue;
        let has = [self.b.is_some(), self.stats.is_some(), norm.is_some()];
        format!("{:?} {has:?} {activation:?} {:?}", self.geometry, self.algorithm)
    }

    fn reads(&self) -> Access {
        let g = &self.geometry;
        Access::new([("x", self.x, g.x_len()), ("w", self.w, WeightForm::Krsc.len_of(g, self.w.dtype))])
            .and("b", self.b, g.k)
            .and_reads_of(self.stats, g.k)
            .and_norm(self.epilogue.norm, g.k)
    }

    fn writes(&self) -> Access {
        let (g, stats) = (&self.geometry, self.stats);
        Access::new([("y", self.y, g.y_len())])
            .and_writes_of(stats, g.k)
            .measured("channels of statistics", stats.map_or(g.k, |s| s.c), g.k)
            .measured("values of statistics", stats.map_or(g.y_len(), |s| s.x.len), g.y_len())
    }

    fn sums(&self, output: &str, largest: &[f64], reference: &HostBuffers<f64>) -> Sums {
        // Outputs of few elements may cancel: they are as exact as the terms are large.
        let scale = largest[0] * largest[1] * self.epilogue.norm.map_or(1.0, |norm| norm.largest_scale(reference));
        let (terms, growth) = self.algorithm.sums(&self.geometry);
        let terms = terms + if self.epilogue.is_none() { 0 } else { Epilogue::OPERATIONS };
        // A square is off by twice its number times what that is off by.
        let scale = if output.ends_with("var") { scale * scale } else { scale };
        Sums { terms, scale: scale * growth }
    }

    fn sample(&self, products: usize) -> Option<(Fprop, Vec<usize>)> {
        Some(sample::of_fprop(self, products))
    }

    fn formula(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        sample::fprop(self, memory);
        self.complete(memory, hyper);
    }

    fn complete(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        if let Some(stats) = self.stats {
            stats.cpu(memory, hyper.norm_momentum);
        }
    }

    fn on_tensor_cores(&self) -> bool {
        self.x.dtype == DType::Bf16
    }

    fn candidates(&self, cuda: &Cuda) -> Vec<Candidate<'_>> {
        if self.on_tensor_cores() { self.in_tiles(cuda, &[self.reads(), self.writes()]) } else { Vec::new() }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let rounded = memory.rounds(self.y);
        self.convolve(memory, rounded && self.epilogue.is_none() && self.stats.is_none());
        if !self.epilogue.is_none() {
            let mut y = memory.take(self.y.buffer);
            self.epilogue.cpu(memory, self.geometry.k, rounded, &mut y[self.y.range()]);
            memory.put(self.y.buffer, y);
        }
        if let Some(stats) = self.stats {
            stats.cpu(memory, hyper.norm_momentum);
            if rounded {
                memory.round(self.y);
            }
        }
    }

    fn rounds(&self) -> bool {
        true
    }

    fn workspace(&self) -> usize {
        self.sums_workspace().max(self.stats.map_or(0, |stats| stats.workspace()))
    }

    fn packing(&self) -> Option<Packing> {
        Some(self.packed())
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        match self.x.dtype {
            DType::F32 => cuda::f32::fprop(self, memory),
            DType::Bf16 => {
                let by = tensor::fprop_by(memory.cuda(), Forward::of_fprop(&self.geometry));
                tensor::fprop(self, memory, by)
            }
        }
    }

    fn cuda_workspace(&self) -> usize {
        let g = &self.geometry;
        let rows = || match self.x.dtype {
            DType::F32 => cuda::f32::fprop_rows(g),
            DType::Bf16 => tensor::fprop_rows(g),
        };
        self.stats.map_or(0, |_| 2 * g.k * g.pixels().div_ceil(rows()))
    }

    fn launches(&self) -> usize {
        // The convolution takes the statistics of its tiles, another kernel merges them.
        if self.stats.is_some() { 2 } else { 1 }
    }

    fn flops(&self) -> u64 {
        self.geometry.flops()
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }
}

/// `dx = convᵀ(dy, w)`.
///
/// Either all are f32, or all are bf16 and w is cast in [`WeightForm::Flipped`]. On a GPU dx may be f32 where dy is bf16; bf16 has a stride of 1
/// there.
#[derive(Clone, Copy, Debug)]
pub struct Dgrad {
    pub geometry: ConvGeometry,
    pub dy: View,
    pub w: View,
    pub dx: View,
    pub algorithm: Algorithm,
}

impl Operation for Dgrad {
    fn kind(&self) -> &'static str {
        "conv_dgrad"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        self.geometry.fault().or_else(|| mixed(self.dy, self.w)).or_else(|| self.wrong_algorithm())
    }

    fn without_kernel(&self) -> Option<String> {
        strided(&self.geometry, self.dy)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        if self.dy.dtype == DType::F32 { &["dy", "w", "dx"] } else { &[] }
    }

    fn kernel_types(&self) -> NumberTypes {
        let types = NumberTypes::alike(&["dy", "w"]);
        if self.dy.dtype == DType::Bf16 { types.and_either(&["dx"]) } else { types }
    }

    fn variant(&self) -> String {
        format!("{:?} {:?}", self.geometry, self.algorithm)
    }

    fn reads(&self) -> Access {
        let g = &self.geometry;
        Access::new([("dy", self.dy, g.y_len()), ("w", self.w, WeightForm::Flipped.len_of(g, self.w.dtype))])
    }

    fn writes(&self) -> Access {
        Access::new([("dx", self.dx, self.geometry.x_len())])
    }

    fn sums(&self, _: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        let g = &self.geometry;
        // As of a pass forward from dy.
        let (terms, growth) = self.algorithm.sums(&ConvGeometry { c: g.k, k: g.c, ..*g });
        Sums { terms, scale: largest[0] * largest[1] * growth }
    }

    fn sample(&self, products: usize) -> Option<(Dgrad, Vec<usize>)> {
        Some(sample::of_dgrad(self, products))
    }

    fn formula(&self, memory: &mut HostBuffers<f64>, _: &Hyper) {
        sample::dgrad(self, memory);
    }

    fn on_tensor_cores(&self) -> bool {
        self.dy.dtype == DType::Bf16
    }

    fn candidates(&self, cuda: &Cuda) -> Vec<Candidate<'_>> {
        if self.on_tensor_cores() { self.in_tiles(cuda, &[self.reads(), self.writes()]) } else { Vec::new() }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        self.convolve(memory);
    }

    fn rounds(&self) -> bool {
        true
    }

    fn workspace(&self) -> usize {
        self.sums_workspace()
    }

    fn packing(&self) -> Option<Packing> {
        self.packed()
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        match self.dy.dtype {
            DType::F32 => cuda::f32::dgrad(self, memory),
            DType::Bf16 => {
                let by = tensor::fprop_by(memory.cuda(), Forward::of_dgrad(&self.geometry));
                tensor::dgrad(self, memory, by)
            }
        }
    }

    fn flops(&self) -> u64 {
        self.geometry.flops()
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }
}

/// Weights [k, side, side, c], as they are or as they were before a cast to `form`.
fn uncast<'a, T: Real>(g: &ConvGeometry, memory: &'a HostBuffers<T>, w: View, form: WeightForm) -> Cow<'a, [T]> {
    let given = memory.get(w);
    match w.dtype {
        DType::F32 => Cow::Borrowed(given),
        DType::Bf16 => {
            let mut restored = vec![T::zero(); g.w_len()];
            form.restore(g, given, &mut restored);
            Cow::Owned(restored)
        }
    }
}

/// What is wrong where values and what they are multiplied by, weights or gradients, have different types: kernels multiply one type.
fn mixed(values: View, by: View) -> Option<String> {
    (values.dtype != by.dtype).then(|| format!("it multiplies values of {:?} by those of {:?}", values.dtype, by.dtype))
}

/// Why there is no kernel: those of gradients of bf16 know stride 1 alone.
fn strided(g: &ConvGeometry, dy: View) -> Option<String> {
    let strided = g.stride > 1 && dy.dtype == DType::Bf16;
    strided.then(|| format!("its kernels of {:?} do not have its stride, {}", dy.dtype, g.stride))
}

/// `dw = dyᵀ·im2col(x)` and `db = Σ dy`.
///
/// x and dy are both f32 or both bf16, on a GPU with a stride of 1; the results are f32.
#[derive(Clone, Copy, Debug)]
pub struct Wgrad {
    pub geometry: ConvGeometry,
    pub x: View,
    pub dy: View,
    pub dw: View,
    /// In the buffer of dw. None where the bias is absent or its gradient is exactly zero (before a norm in training mode).
    pub db: Option<View>,
    pub algorithm: Algorithm,
}

impl Operation for Wgrad {
    fn kind(&self) -> &'static str {
        "conv_wgrad"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        let apart = || self.db.and_then(|db| apart([("dw", self.dw), ("db", db)]));
        let wrong = self.geometry.fault().or_else(|| mixed(self.x, self.dy)).or_else(apart);
        wrong.or_else(|| self.algorithm.fault(Some(&self.geometry)))
    }

    fn without_kernel(&self) -> Option<String> {
        strided(&self.geometry, self.dy)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        if self.x.dtype == DType::F32 { &["x", "dy", "dw", "db"] } else { &["dw", "db"] }
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x", "dy"])
    }

    fn variant(&self) -> String {
        format!("{:?} {} {:?}", self.geometry, self.db.is_some(), self.algorithm)
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.geometry.x_len()), ("dy", self.dy, self.geometry.y_len())])
    }

    fn writes(&self) -> Access {
        Access::new([("dw", self.dw, self.geometry.w_len())]).and("db", self.db, self.geometry.k)
    }

    fn sums(&self, output: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        if output == "db" {
            return Sums { terms: self.geometry.pixels(), scale: largest[1] };
        }
        let (terms, growth) = self.algorithm.wgrad_sums(&self.geometry);
        Sums { terms, scale: largest[0] * largest[1] * growth }
    }

    fn sample(&self, products: usize) -> Option<(Wgrad, Vec<usize>)> {
        Some(sample::of_wgrad(self, products))
    }

    fn formula(&self, memory: &mut HostBuffers<f64>, _: &Hyper) {
        sample::wgrad(self, memory);
    }

    fn on_tensor_cores(&self) -> bool {
        self.x.dtype == DType::Bf16
    }

    fn candidates(&self, cuda: &Cuda) -> Vec<Candidate<'_>> {
        if self.on_tensor_cores() { self.in_tiles(cuda, &[self.reads(), self.writes()]) } else { Vec::new() }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (mut grads, mut workspace) = (memory.take(self.dw.buffer), memory.take_workspace());
        let operands = [self.x, self.dy].map(|view| memory.get(view));
        cpu::wgrad(&self.geometry, self.algorithm, operands, &mut grads[self.dw.range()], &mut workspace);
        if let Some(db) = self.db {
            reference::bias_grad(&self.geometry, memory.get(self.dy), &mut grads[db.range()]);
        }
        memory.put(self.dw.buffer, grads);
        memory.put_workspace(workspace);
    }

    fn workspace(&self) -> usize {
        cpu::wgrad_workspace(&self.geometry, self.algorithm)
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        let parts = self.parts();
        cuda::sum_of_parts(self, memory, &parts, |sums| match self.x.dtype {
            DType::F32 => cuda::f32::shares(self, memory, sums),
            DType::Bf16 => tensor::shares(self, memory, tensor::wgrad_by(memory.cuda(), &self.geometry), sums),
        })
    }

    fn cuda_workspace(&self) -> usize {
        match self.parts().count {
            1 => 0,
            parts => parts * self.part_length(),
        }
    }

    fn launches(&self) -> usize {
        1 + usize::from(self.db.is_some()) + usize::from(self.parts().count > 1)
    }

    fn flops(&self) -> u64 {
        self.geometry.flops()
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }
}

impl Wgrad {
    /// How a GPU cuts the pixels.
    fn parts(&self) -> cuda::Parts {
        match self.x.dtype {
            DType::F32 => cuda::f32::parts(self),
            DType::Bf16 => tensor::parts(self),
        }
    }

    /// Sums of one part of the pixels: of the weights, and of the bias if it is wanted.
    fn part_length(&self) -> usize {
        self.geometry.w_len() + self.db.map_or(0, |_| self.geometry.k)
    }
}
