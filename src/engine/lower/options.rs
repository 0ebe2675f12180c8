//! What a plan can do.

use crate::device::DType;
use crate::model::image_score::ImageScore;
use crate::steps::hsc_loss::Gradient;

/// Which optimizer a plan updates with.
#[derive(
    Clone,
    Copy,
    Debug,
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
pub enum Optimizer {
    /// Nesterov momentum 0.9
    Sgd,
    /// β 0.9 and 0.999
    Adam,
}

/// What a plan can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanOptions {
    /// Images per batch.
    pub batch: usize,
    /// Input side in pixels.
    pub side: usize,
    /// Data type of activations, their gradients and the weights that they are multiplied with; parameters, statistics, scores and maps
    /// are f32.
    pub dtype: DType,
    /// σ of the Gaussian that heatmaps are upsampled with, for FCDD.
    pub sigma: f64,
    /// What heatmaps show, for HSC.
    pub gradient: Gradient,
    /// None for inference alone, which needs far less memory.
    pub training: Option<TrainingOptions>,
}

/// What a training plan can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingOptions {
    pub optimizer: Optimizer,
    /// Train on ground-truth maps instead of labels, which FCDD alone can.
    pub maps: bool,
    /// Also compute the gradient of the input.
    pub input_grad: bool,
    /// Seed of the dropout.
    pub seed: u64,
    /// Where maps are learned from, the score that images without one are learned by.
    pub label_score: ImageScore,
}
