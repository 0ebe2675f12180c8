//! One step of a plan, of whatever kind. What a kind does and costs stands in its own file under [`crate::steps`].

use crate::device::cuda::DeviceBuffers;
use crate::device::{DType, HostBuffers};
use crate::error::CudaError;
use crate::real::{Real, rounded_to_bf16};
use crate::steps::cast::{Cast, CastWeights};
use crate::steps::conv::{Dgrad, Fprop, Wgrad};
use crate::steps::dropout::Dropout;
use crate::steps::fcdd_loss::{MapLoss, PseudoHuberBackward};
use crate::steps::head::{Head, HeadBackward};
use crate::steps::hsc_loss::{GradientHeatmap, HscLoss, HscScore};
use crate::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use crate::steps::operation::{Access, Hyper, Operation, Sums};
use crate::steps::optimizer::{Adam, Sgd};
use crate::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};
use crate::steps::reshape::Reshape;
use crate::steps::upsample::{Upsample, UpsampleAdjoint};
use crate::steps::upsample_nearest::{UpsampleNearest2x, UpsampleNearest2xBackward};

/// One operation with its geometry and the buffers it reads and writes.
#[derive(Clone, Debug)]
pub enum Step {
    ConvFprop(Fprop),
    ConvDgrad(Dgrad),
    ConvWgrad(Wgrad),
    NormActPool(NormActPool),
    NormActPoolBackward(NormActPoolBackward),
    Head(Head),
    HeadBackward(HeadBackward),
    MapLoss(MapLoss),
    PseudoHuberBackward(PseudoHuberBackward),
    Upsample(Upsample),
    UpsampleAdjoint(UpsampleAdjoint),
    HscScore(HscScore),
    HscLoss(HscLoss),
    GradientHeatmap(GradientHeatmap),
    Reconstruction(Reconstruction),
    ReconstructionLoss(ReconstructionLoss),
    Reshape(Reshape),
    UpsampleNearest2x(UpsampleNearest2x),
    UpsampleNearest2xBackward(UpsampleNearest2xBackward),
    Dropout(Dropout),
    Sgd(Sgd),
    Adam(Adam),
    Cast(Cast),
    CastWeights(CastWeights),
}

/// Hands a step of whatever kind to an expression over [`Operation`].
macro_rules! of_any_kind {
    ($of:expr, $step:ident => $body:expr) => {
        match $of {
            Step::ConvFprop($step) => $body,
            Step::ConvDgrad($step) => $body,
            Step::ConvWgrad($step) => $body,
            Step::NormActPool($step) => $body,
            Step::NormActPoolBackward($step) => $body,
            Step::Head($step) => $body,
            Step::HeadBackward($step) => $body,
            Step::MapLoss($step) => $body,
            Step::PseudoHuberBackward($step) => $body,
            Step::Upsample($step) => $body,
            Step::UpsampleAdjoint($step) => $body,
            Step::HscScore($step) => $body,
            Step::HscLoss($step) => $body,
            Step::GradientHeatmap($step) => $body,
            Step::Reconstruction($step) => $body,
            Step::ReconstructionLoss($step) => $body,
            Step::Reshape($step) => $body,
            Step::UpsampleNearest2x($step) => $body,
            Step::UpsampleNearest2xBackward($step) => $body,
            Step::Dropout($step) => $body,
            Step::Sgd($step) => $body,
            Step::Adam($step) => $body,
            Step::Cast($step) => $body,
            Step::CastWeights($step) => $body,
        }
    };
}

impl Step {
    /// See [`Operation::kind`].
    pub fn kind(&self) -> &'static str {
        of_any_kind!(self, step => step.kind())
    }

    /// See [`Operation::reads`].
    pub fn reads(&self) -> Access {
        of_any_kind!(self, step => step.reads())
    }

    /// See [`Operation::writes`].
    pub fn writes(&self) -> Access {
        of_any_kind!(self, step => step.writes())
    }

    /// Runs the CPU form, and rounds what it wrote to bf16 where it is that: the sums of a step are never rounded on the way, as on a
    /// GPU.
    pub fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        self.cpu_unrounded(memory, hyper);
        for (_, view) in self.writes().reals {
            if view.dtype == DType::Bf16 {
                memory.get_mut(view).iter_mut().for_each(|v| *v = T::of(rounded_to_bf16(v.f64())));
            }
        }
    }

    /// Runs the CPU form; what it writes to bf16 is not rounded yet.
    pub fn cpu_unrounded<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        of_any_kind!(self, step => step.cpu(memory, hyper));
    }

    /// See [`Operation::workspace`].
    pub fn workspace(&self) -> usize {
        of_any_kind!(self, step => step.workspace())
    }

    /// See [`Operation::cuda`]; errors tell the step and its lengths.
    pub fn cuda(&self, memory: &DeviceBuffers) -> Result<(), CudaError> {
        of_any_kind!(self, step => step.cuda(memory))
            .map_err(|source| CudaError::Step { step: self.describe(), source: Box::new(source) })
    }

    /// See [`Operation::cuda_workspace`].
    pub fn cuda_workspace(&self) -> usize {
        of_any_kind!(self, step => step.cuda_workspace())
    }

    /// See [`Operation::launches`].
    pub fn launches(&self) -> usize {
        of_any_kind!(self, step => step.launches())
    }

    /// See [`Operation::flops`].
    pub fn flops(&self) -> u64 {
        of_any_kind!(self, step => step.flops())
    }

    /// See [`Operation::sums`].
    pub fn sums(&self, output: &str, largest: &[f64], exact: &HostBuffers<f64>) -> Sums {
        of_any_kind!(self, step => step.sums(output, largest, exact))
    }

    /// See [`Operation::on_tensor_cores`].
    pub fn on_tensor_cores(&self) -> bool {
        of_any_kind!(self, step => step.on_tensor_cores())
    }

    /// Bytes that the step has to move: each operand read or written once, scratch space aside.
    pub fn bytes(&self) -> u64 {
        self.reads().bytes() + self.writes().bytes()
    }

    /// Shape of the step's layer ([`Operation::layer`]); the length of its longest result where it belongs to none.
    pub fn shape(&self) -> String {
        let longest = || self.writes().reals.iter().map(|(_, view)| view.len).max().unwrap_or(0);
        of_any_kind!(self, step => step.layer()).unwrap_or_else(|| format!("{} values", longest()))
    }

    /// Kind and lengths of what it reads and writes, such as `conv_fprop (x 784, w 200 → y 6272)`.
    pub fn describe(&self) -> String {
        let list = |access: Access| {
            access.reals.iter().map(|(name, view)| format!("{name} {}", view.len)).collect::<Vec<_>>().join(", ")
        };
        format!("{} ({} → {})", self.kind(), list(self.reads()), list(self.writes()))
    }
}
