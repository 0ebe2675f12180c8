//! What a plan can do.

use crate::device::DType;
use crate::error::{Error, Result};
use crate::model::arch::{Arch, NetPart};
use crate::model::image_score::ImageScore;
use crate::steps::hsc_loss::Gradient;
use crate::steps::upsample::MIN_SIGMA;

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
    /// σ of the Gaussian that heatmaps are upsampled with, for FCDD: 0.001 pixels or more.
    pub sigma: f64,
    /// What heatmaps show, for HSC.
    pub gradient: Gradient,
    /// Take the sums of all convolutions product by product on the CPU too.
    pub exact: bool,
    /// None for inference alone, which needs far less memory.
    pub training: Option<TrainingOptions>,
}

impl PlanOptions {
    /// Fails where no net, or not this one, can do what is asked, whatever its layers.
    pub(super) fn check(&self, arch: &Arch) -> Result<()> {
        let PlanOptions { batch, side, dtype, sigma, training, .. } = *self;
        let (in_bf16, has_head) = (dtype == DType::Bf16, arch.objective.has_head());
        let (problem, legal) = if batch == 0 || side == 0 {
            (format!("cannot take {batch} images of {side}×{side} pixels"), "`batch` and `side` are 1 or more")
        } else if !(sigma >= MIN_SIGMA && sigma.is_finite()) {
            (format!("cannot upsample with a Gaussian of `sigma` {sigma}"), "choose 0.001 pixels or more")
        } else if in_bf16 && !has_head {
            ("computes in f32 alone".to_string(), "choose `precision` f32")
        } else if in_bf16 && training.is_some_and(|training| training.input_grad) {
            ("computes the gradient of its input in f32 alone".to_string(), "choose `precision` f32")
        } else if !has_head && training.is_some_and(|training| training.maps) {
            ("learns from labels alone, not from ground-truth maps".to_string(), "choose `maps` false")
        } else if training.is_some() && arch.part == NetPart::Features {
            ("would train its features, which are fixed".to_string(), "train its head, or the whole net")
        } else {
            return Ok(());
        };
        Err(Error::setting(format!("{} {problem}", arch.name), legal))
    }
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
