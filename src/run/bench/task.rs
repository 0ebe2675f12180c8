//! The tasks of the benchmark, and how a net is laid out for them.

use serde::Serialize;

use crate::device::DType;
use crate::engine::lower::{self, Optimizer, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::{Error, Result};
use crate::model::Arch;
use crate::model::image_score::ImageScore;
use crate::run::settings::check_size;
use crate::steps::hsc_loss::Gradient;

/// What is timed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr, strum::EnumMessage, Serialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum BenchTask {
    /// Forward, backward and update of one batch
    Train,
    /// Scores and heatmaps of one batch
    Infer,
    /// One image from its file: decoding, resizing, normalising, inference, heatmap
    Predict,
}

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    pub net: String,
    pub task: BenchTask,
    /// Images per batch; None for the size of the paper's experiments, on the CPU 16 at 224 pixels, and for [`BenchTask::Predict`].
    pub batch: Option<usize>,
    /// Input side in pixels; None for the net's own, and for [`BenchTask::Predict`].
    pub side: Option<usize>,
    /// Of the values between layers.
    pub dtype: DType,
    /// Take all products of convolutions on the CPU too.
    pub exact: bool,
    /// Timed batches or images; others run before them as a warm-up.
    pub repeats: usize,
    /// Whether a GPU is to compute, or its work to be counted.
    pub on_gpu: bool,
}

impl BenchTask {
    /// Runs one batch of a network that was laid out for this task.
    pub fn run(self, network: &mut Network<f32>, batch: usize, hyper: &Hyper) -> Result<()> {
        if self == BenchTask::Train {
            network.train(batch, hyper)?;
        } else {
            network.infer(batch)?;
            network.heatmaps(batch)?;
        }
        Ok(())
    }
}

/// Images per batch where none are asked for.
fn usual_batch(side: usize, on_gpu: bool) -> usize {
    match side {
        32 => 200,
        224 if !on_gpu => 16,
        _ => 128,
    }
}

/// How a net is laid out for a task.
pub(super) fn lowered(arch: &Arch, options: &BenchOptions) -> Result<lower::PlanOptions> {
    let side = options.side.unwrap_or(arch.side);
    if options.task == BenchTask::Predict && (options.batch.is_some() || options.side.is_some()) {
        let problem = "`task` predict scores one image at a time, at the net's own side";
        return Err(Error::setting(problem, "leave `batch` and `side` out"));
    }
    let batch = match options.task {
        BenchTask::Predict => 1,
        BenchTask::Train | BenchTask::Infer => options.batch.unwrap_or_else(|| usual_batch(arch.side, options.on_gpu)),
    };
    check_size(arch, side, batch)?;
    let training = TrainingOptions {
        optimizer: Optimizer::Sgd,
        maps: false,
        input_grad: false,
        seed: 0,
        label_score: ImageScore::Mean,
    };
    let training = (options.task == BenchTask::Train).then_some(training);
    Ok(lower::PlanOptions {
        batch,
        side,
        dtype: options.dtype,
        sigma: 1.2,
        gradient: Gradient::Grad,
        exact: options.exact,
        training,
    })
}
