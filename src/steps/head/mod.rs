//! The head of an FCDD net, in one pass each way: the steps `head` and `head_backward`.
//!
//! The 1×1 convolution to the map z of one channel, the anomaly map a = √(z²+1) − 1 (paper, section 4), image scores, and in training with
//! labels also the losses and their gradient by z. The formulas are in [`super::fcdd_loss`].

mod cuda;

use rayon::prelude::*;

use super::access::elements;
use super::conv::{Algorithm, ConvGeometry, cpu as conv, reference};
use super::fcdd_loss::{anomalous_loss, pseudo_huber, pseudo_huber_slope};
use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums, apart};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::{Real, sum};

/// z, a and scores of x; with labels also losses and dz.
///
/// The score of an image is the mean of a over its pixels. x may be bf16, all else is f32.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// 1×1, of one output channel.
    pub geometry: ConvGeometry,
    /// [n, u, u, c]
    pub x: View,
    /// \[c\]
    pub w: View,
    pub b: Option<View>,
    /// [n, u, u]
    pub z: View,
    /// [n, u, u]
    pub a: View,
    /// \[n\]
    pub score: View,
    pub labels: Option<LabelLoss>,
}

/// What is learned from labels: the loss of each image, and its gradient by z.
///
/// Normal (label 0): the score s. Anomalous (label 1): −log(1 − exp(−s)). A batch with a single label value trains as if normal,
/// whatever the value: the authors' rule. The loss of the batch is the mean.
#[derive(Clone, Copy, Debug)]
pub struct LabelLoss {
    /// 0 or 1 per image, \[n\].
    pub labels: View,
    /// \[n\]
    pub loss: View,
    /// [n, u, u]
    pub dz: View,
}

/// What is wrong with the geometry of a head.
fn fault(g: &ConvGeometry) -> Option<String> {
    let head = g.is_pointwise() && g.k == 1;
    g.fault().or_else(|| (!head).then(|| "it is no 1×1 convolution to one channel".into()))
}

impl Operation for Head {
    fn kind(&self) -> &'static str {
        "head"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        fault(&self.geometry)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["w", "b"]
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x"])
    }

    fn variant(&self) -> String {
        format!("{} {}", self.b.is_some(), self.labels.is_some())
    }

    fn reads(&self) -> Access {
        let g = &self.geometry;
        Access::new([("x", self.x, elements([g.pixels(), g.c])), ("w", self.w, g.c)]).and("b", self.b, 1).and(
            "labels",
            self.labels.map(|of| of.labels),
            g.n,
        )
    }

    fn writes(&self) -> Access {
        let g = &self.geometry;
        Access::new([("z", self.z, g.pixels()), ("a", self.a, g.pixels()), ("score", self.score, g.n)])
            .and("loss", self.labels.map(|of| of.loss), g.n)
            .and("dz", self.labels.map(|of| of.dz), g.pixels())
    }

    fn sums(&self, output: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        let (c, product) = (self.geometry.c, largest[0] * largest[1]);
        match output {
            "z" => Sums { terms: c, scale: product },
            // What is wrong with z by rounding is in all that follows.
            _ => {
                let scale = if output == "dz" { 0.0 } else { product };
                Sums { terms: c + self.z.len / self.score.len, scale }
            }
        }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let (mut z, mut workspace) = (memory.take(self.z.buffer), memory.take_workspace());
        let (x, w, b) = (memory.get(self.x), memory.get(self.w), memory.get_opt(self.b));
        conv::fprop(&self.geometry, Algorithm::Direct, [x, w], b, &mut z[self.z.range()], &mut workspace);
        memory.put(self.z.buffer, z);
        memory.put_workspace(workspace);
        self.scores(memory);
        if let Some(labels) = &self.labels {
            self.learn(labels, memory);
        }
    }

    fn workspace(&self) -> usize {
        conv::fprop_workspace(&self.geometry, Algorithm::Direct)
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::head(self, memory)
    }

    fn flops(&self) -> u64 {
        self.geometry.flops()
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }
}

impl Head {
    /// a and scores from z.
    fn scores<T: Real>(&self, memory: &mut HostBuffers<T>) {
        let (mut a, mut score) = (memory.take(self.a.buffer), memory.take(self.score.buffer));
        let pixels = self.z.len / self.score.len;
        let images = a[self.a.range()].par_chunks_exact_mut(pixels).zip(memory.get(self.z).par_chunks_exact(pixels));
        images.zip(&mut score[self.score.range()]).for_each(|((a, z), score)| {
            a.iter_mut().zip(z).for_each(|(a, &z)| *a = pseudo_huber(z));
            *score = sum(a) / T::of(pixels as f64);
        });
        memory.put(self.a.buffer, a);
        memory.put(self.score.buffer, score);
    }

    /// Losses and dz from z and scores.
    fn learn<T: Real>(&self, of: &LabelLoss, memory: &mut HostBuffers<T>) {
        let (mut loss, mut dz) = (memory.take(of.loss.buffer), memory.take(of.dz.buffer));
        let (labels, scores) = (memory.get(of.labels), memory.get(self.score));
        let single = labels.iter().all(|&l| l == labels[0]);
        let pixels = self.z.len / labels.len();
        let per_value = T::of(1.0 / self.z.len as f64);
        dz[of.dz.range()]
            .par_chunks_exact_mut(pixels)
            .zip(memory.get(self.z).par_chunks_exact(pixels))
            .zip(loss[of.loss.range()].par_iter_mut().zip(labels.par_iter().zip(scores)))
            .for_each(|((dz, z), (loss, (&label, &score)))| {
                let anomalous = label > T::zero() && !single;
                let (value, slope) = if anomalous { anomalous_loss(score) } else { (score, T::one()) };
                *loss = value;
                dz.iter_mut().zip(z).for_each(|(d, &z)| *d = slope * per_value * pseudo_huber_slope(z));
            });
        memory.put(of.loss.buffer, loss);
        memory.put(of.dz.buffer, dz);
    }
}

/// dx, dw and db from dz.
#[derive(Clone, Copy, Debug)]
pub struct HeadBackward {
    pub geometry: ConvGeometry,
    pub x: View,
    pub w: View,
    pub dz: View,
    /// As x; None where no layer below is trained.
    pub dx: Option<View>,
    pub dw: View,
    /// In the buffer of dw.
    pub db: Option<View>,
}

impl Operation for HeadBackward {
    fn kind(&self) -> &'static str {
        "head_backward"
    }

    fn counted(&self) -> usize {
        self.geometry.counted()
    }

    fn wrong_numbers(&self) -> Option<String> {
        let apart = || self.db.and_then(|db| apart([("dw", self.dw), ("db", db)]));
        fault(&self.geometry).or_else(apart)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["w", "dw", "db"]
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::alike(&["x", "dx"])
    }

    fn variant(&self) -> String {
        format!("{} {}", self.db.is_some(), self.dx.is_some())
    }

    fn reads(&self) -> Access {
        let g = &self.geometry;
        Access::new([("x", self.x, elements([g.pixels(), g.c])), ("w", self.w, g.c), ("dz", self.dz, g.pixels())])
    }

    fn writes(&self) -> Access {
        let g = &self.geometry;
        Access::new([("dw", self.dw, g.c)]).and("db", self.db, 1).and("dx", self.dx, elements([g.pixels(), g.c]))
    }

    fn sums(&self, output: &str, largest: &[f64], _: &HostBuffers<f64>) -> Sums {
        match output {
            "dx" => Sums::NONE,
            "db" => Sums { terms: self.dz.len, scale: largest[2] },
            _ => Sums { terms: self.dz.len, scale: largest[0] * largest[2] },
        }
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let g = &self.geometry;
        let (mut grads, mut workspace) = (memory.take(self.dw.buffer), memory.take_workspace());
        let dz = memory.get(self.dz);
        conv::wgrad(g, Algorithm::Direct, [memory.get(self.x), dz], &mut grads[self.dw.range()], &mut workspace);
        if let Some(db) = self.db {
            reference::bias_grad(g, dz, &mut grads[db.range()]);
        }
        memory.put(self.dw.buffer, grads);
        if let Some(view) = self.dx {
            let mut dx = memory.take(view.buffer);
            let operands = [self.dz, self.w].map(|view| memory.get(view));
            conv::dgrad(g, Algorithm::Direct, operands, &mut dx[view.range()], &mut workspace);
            memory.put(view.buffer, dx);
        }
        memory.put_workspace(workspace);
    }

    fn workspace(&self) -> usize {
        conv::wgrad_workspace(&self.geometry, Algorithm::Direct)
            .max(conv::dgrad_workspace(&self.geometry, Algorithm::Direct))
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }

    fn launches(&self) -> usize {
        2
    }

    fn cuda_workspace(&self) -> usize {
        cuda::backward_workspace(self)
    }

    fn flops(&self) -> u64 {
        // Two passes of the convolution.
        2 * self.geometry.flops()
    }

    fn layer(&self) -> Option<String> {
        Some(self.geometry.layer())
    }
}

impl HeadBackward {
    /// Sums that are wanted: of each channel, and of the bias.
    fn sums(&self) -> usize {
        self.geometry.c + usize::from(self.db.is_some())
    }
}
