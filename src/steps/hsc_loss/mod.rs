//! The objective of hypersphere classification (Ruff et al. 2020), a baseline: the steps `hsc_score`, `hsc_loss` and
//! `gradient_heatmap`.
//!
//! The score of an image is the pseudo-Huber length of its output vector, s = √(Σo² + 1) − 1, computed without cancellation as
//! Σo²/(√(Σo² + 1) + 1).

mod cuda;

use rayon::prelude::*;

use super::fcdd_loss::anomalous_loss;
use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, View};
use crate::real::{Real, sum_over};

/// Scores \[n\] of the vectors o [n, length].
#[derive(Clone, Copy, Debug)]
pub struct HscScore {
    pub o: View,
    pub score: View,
}

impl Operation for HscScore {
    fn kind(&self) -> &'static str {
        "hsc_score"
    }

    fn counted(&self) -> usize {
        self.o.len
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        Access::new([("o", self.o, whole(self.o.len, self.score.len))])
    }

    fn writes(&self) -> Access {
        Access::new([("score", self.score, self.score.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::of(self.o.len / self.score.len)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut score = memory.take(self.score.buffer);
        let vectors = memory.get(self.o).chunks_exact(self.o.len / self.score.len);
        for (score, o) in score[self.score.range()].iter_mut().zip(vectors) {
            let square = sum_over(0..o.len(), |i| o[i] * o[i]);
            *score = square / ((square + T::one()).sqrt() + T::one());
        }
        memory.put(self.score.buffer, score);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::score(self, memory)
    }
}

/// Gradient by the vectors o: of the batch's mean loss in training, of each image's own score otherwise.
#[derive(Clone, Copy, Debug)]
pub struct HscLoss {
    pub o: View,
    pub score: View,
    pub training: Option<HscTraining>,
    /// do [n, length]
    pub d_o: View,
}

/// Normal images (label 0) lose their score s, anomalous ones (1) −log(1 − exp(−s)); unlike FCDD whatever the other labels are.
#[derive(Clone, Copy, Debug)]
pub struct HscTraining {
    /// 0 or 1 per image, \[n\].
    pub labels: View,
    /// Loss of each image, \[n\].
    pub loss: View,
}

impl Operation for HscLoss {
    fn kind(&self) -> &'static str {
        "hsc_loss"
    }

    fn counted(&self) -> usize {
        self.o.len
    }

    fn variant(&self) -> String {
        self.training.is_some().to_string()
    }

    fn reads(&self) -> Access {
        let n = self.score.len;
        Access::new([("o", self.o, whole(self.o.len, n)), ("score", self.score, n)]).and(
            "labels",
            self.training.map(|training| training.labels),
            n,
        )
    }

    fn writes(&self) -> Access {
        Access::new([("do", self.d_o, self.o.len)]).and(
            "loss",
            self.training.map(|training| training.loss),
            self.score.len,
        )
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut d_o = memory.take(self.d_o.buffer);
        let mut loss = self.training.map(|training| memory.take(training.loss.buffer));
        let (scores, labels) = (memory.get(self.score), memory.get_opt(self.training.map(|training| training.labels)));
        let length = self.o.len / self.score.len;
        let vectors = memory.get(self.o).chunks_exact(length);
        for (i, (d_o, o)) in d_o[self.d_o.range()].chunks_exact_mut(length).zip(vectors).enumerate() {
            let s = scores[i];
            let mut slope = T::one();
            if let (Some(training), Some(labels), Some(loss)) = (self.training, labels, &mut loss) {
                let (value, by_score) = if labels[i] > T::zero() { anomalous_loss(s) } else { (s, T::one()) };
                loss[training.loss.start + i] = value;
                slope = by_score * T::of(1.0 / scores.len() as f64);
            }
            // ds/do = o/√(Σo² + 1), and the root is s + 1.
            let factor = slope / (s + T::one());
            d_o.iter_mut().zip(o).for_each(|(d, &o)| *d = factor * o);
        }
        if let (Some(training), Some(loss)) = (self.training, loss) {
            memory.put(training.loss.buffer, loss);
        }
        memory.put(self.d_o.buffer, d_o);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::loss(self, memory)
    }
}

/// What a heatmap takes of the gradient of the score.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    serde::Serialize,
    serde::Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Gradient {
    /// Its magnitude
    #[default]
    Grad,
    /// The magnitude of its product with the input
    Xgrad,
}

/// Heatmaps [n, pixels]: Σ_c |dx|, or Σ_c |x·dx|, over the channels of each pixel.
#[derive(Clone, Copy, Debug)]
pub struct GradientHeatmap {
    pub gradient: Gradient,
    /// [n, pixels, c]
    pub x: View,
    pub dx: View,
    pub heatmap: View,
}

impl Operation for GradientHeatmap {
    fn kind(&self) -> &'static str {
        "gradient_heatmap"
    }

    fn counted(&self) -> usize {
        self.heatmap.len.max(self.x.len.checked_div(self.heatmap.len).unwrap_or(0))
    }

    fn variant(&self) -> String {
        format!("{:?}", self.gradient)
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, whole(self.x.len, self.heatmap.len)), ("dx", self.dx, self.x.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("heatmap", self.heatmap, self.heatmap.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::of(self.x.len / self.heatmap.len)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut heatmap = memory.take(self.heatmap.buffer);
        let (x, dx, c) = (memory.get(self.x), memory.get(self.dx), self.x.len / self.heatmap.len);
        heatmap[self.heatmap.range()].par_iter_mut().enumerate().for_each(|(pixel, heat)| {
            let values = pixel * c..(pixel + 1) * c;
            *heat = match self.gradient {
                Gradient::Grad => dx[values].iter().map(|d| d.abs()).sum(),
                Gradient::Xgrad => values.map(|i| (x[i] * dx[i]).abs()).sum(),
            };
        });
        memory.put(self.heatmap.buffer, heatmap);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::heatmap(self, memory)
    }
}
