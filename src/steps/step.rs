//! One step of a plan, of whatever kind. What a kind does and costs stands in its own file under [`crate::steps`].

use crate::device::cuda::{self, Cuda, DeviceBuffers};
use crate::device::{HostBuffers, Packing, View};
use crate::error::{CudaError, Error, Result};
use crate::real::Real;
use crate::steps::access::CheckedBuffers;
use crate::steps::conv::candidates::Candidate;
use crate::steps::operation::{Access, Hyper, Operation, Sums};
use crate::steps::{
    add, average_pool, cast, concat, conv, dropout, fcdd_loss, head, hsc_loss, norm_act_pool, optimizer,
    reconstruction_loss, reshape, upsample, upsample_nearest,
};

/// The kinds of steps, a line each; what a kind does and costs stands in its own file.
macro_rules! steps {
    ($d:tt $($kind:ident: $type:ty,)*) => {
        /// One operation with its geometry and the buffers it reads and writes.
        #[derive(Clone, Debug)]
        pub enum Step {
            $($kind($type),)*
        }

        $(impl From<$type> for Step {
            fn from(step: $type) -> Step {
                Step::$kind(step)
            }
        })*

        /// Hands a step of whatever kind to an expression over [`Operation`].
        macro_rules! of_any_kind {
            ($d of:expr, $d step:ident => $d body:expr) => {
                match $d of {
                    $(Step::$kind($d step) => $d body,)*
                }
            };
        }
    };
}

steps! { $
    ConvFprop: conv::Fprop,
    ConvDgrad: conv::Dgrad,
    ConvWgrad: conv::Wgrad,
    NormActPool: norm_act_pool::NormActPool,
    NormActPoolBackward: norm_act_pool::NormActPoolBackward,
    Head: head::Head,
    HeadBackward: head::HeadBackward,
    MapLoss: fcdd_loss::MapLoss,
    PseudoHuberBackward: fcdd_loss::PseudoHuberBackward,
    Upsample: upsample::Upsample,
    UpsampleAdjoint: upsample::UpsampleAdjoint,
    HscScore: hsc_loss::HscScore,
    HscLoss: hsc_loss::HscLoss,
    GradientHeatmap: hsc_loss::GradientHeatmap,
    Reconstruction: reconstruction_loss::Reconstruction,
    ReconstructionLoss: reconstruction_loss::ReconstructionLoss,
    Add: add::Add,
    AddBackward: add::AddBackward,
    Concat: concat::Concat,
    ConcatBackward: concat::ConcatBackward,
    AveragePool: average_pool::AveragePool,
    AveragePoolBackward: average_pool::AveragePoolBackward,
    Reshape: reshape::Reshape,
    UpsampleNearest2x: upsample_nearest::UpsampleNearest2x,
    UpsampleNearest2xBackward: upsample_nearest::UpsampleNearest2xBackward,
    Dropout: dropout::Dropout,
    Sgd: optimizer::Sgd,
    Adam: optimizer::Adam,
    Cast: cast::Cast,
    CastWeights: cast::CastWeights,
}

impl Step {
    /// See [`Operation::kind`].
    pub fn kind(&self) -> &'static str {
        of_any_kind!(self, step => step.kind())
    }

    /// See [`Operation::counted`].
    pub fn counted(&self) -> usize {
        of_any_kind!(self, step => step.counted())
    }

    /// Kind, lengths and [`Operation::variant`]: what tells it apart from all other steps.
    pub fn signature(&self) -> String {
        format!("{} {}", self.describe(), of_any_kind!(self, step => step.variant()))
    }

    /// See [`Operation::settle`].
    pub fn settle(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        of_any_kind!(self, step => step.settle(memory, hyper));
    }

    /// See [`Operation::sample`].
    pub fn sample(&self, products: usize) -> Option<(Step, Vec<usize>)> {
        of_any_kind!(self, step => step.sample(products).map(|(sample, lengths)| (Step::from(sample), lengths)))
    }

    /// See [`Operation::formula`].
    pub fn formula(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        of_any_kind!(self, step => step.formula(memory, hyper));
    }

    /// See [`Operation::complete`].
    pub fn complete(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        of_any_kind!(self, step => step.complete(memory, hyper));
    }

    /// See [`Operation::reads`].
    pub fn reads(&self) -> Access {
        of_any_kind!(self, step => step.reads())
    }

    /// See [`Operation::writes`].
    pub fn writes(&self) -> Access {
        of_any_kind!(self, step => step.writes())
    }

    /// Runs the CPU form, and rounds what it wrote to bf16 where it is that, unless the memory [is kept unrounded](HostBuffers::keep_unrounded): the
    /// sums of a step are never rounded on the way, as on a GPU.
    pub fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let rounds = |&(_, view): &(_, View)| memory.rounds(view) && !of_any_kind!(self, step => step.rounds());
        let rounded: Vec<(View, u64)> = self
            .writes()
            .reals
            .into_iter()
            .filter(rounds)
            .map(|(_, view)| (view, memory.version(view.buffer)))
            .collect();
        of_any_kind!(self, step => step.cpu(memory, hyper));
        for (view, before) in rounded {
            // What was left as it was is rounded already.
            if memory.version(view.buffer) != before {
                memory.round(view);
            }
        }
    }

    /// Runs the CPU form; what it writes to bf16 is not rounded yet.
    pub fn cpu_unrounded<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        memory.without_rounding(|memory| of_any_kind!(self, step => step.cpu(memory, hyper)));
    }

    /// See [`Operation::packing`].
    pub fn packing(&self) -> Option<Packing> {
        of_any_kind!(self, step => step.packing())
    }

    /// See [`Operation::fault`]; the error tells the step.
    pub fn check(&self) -> Result<()> {
        let fault = of_any_kind!(self, step => step.fault());
        fault.map_or(Ok(()), |reason| Err(Error::internal(format!("step {}: {reason}", self.describe()))))
    }

    /// See [`Operation::cuda_fault`]; the error tells the step.
    pub fn cuda_check(&self) -> cuda::Result<()> {
        of_any_kind!(self, step => step.cuda_fault()).map_or(Ok(()), |reason| Err(self.refused(reason)))
    }

    fn refused(&self, reason: String) -> CudaError {
        let source = Box::new(CudaError::Refused { reason });
        CudaError::Step { step: self.describe(), source }
    }

    /// See [`Operation::workspace`].
    pub fn workspace(&self) -> usize {
        of_any_kind!(self, step => step.workspace())
    }

    /// See [`Operation::cuda`]; a step that may not run there ([`Step::cuda_check`]), or whose operands or workspace are not in this memory, is
    /// refused. Errors tell the step and its lengths.
    pub fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        self.cuda_check()?;
        if let Some(problem) = [self.reads(), self.writes()].iter().find_map(|operands| operands.lacking(memory)) {
            return Err(self.refused(problem));
        }
        let (needed, found) = (self.cuda_workspace(), memory.workspace_len());
        if needed > found {
            return Err(self.refused(format!("its workspace has {found} elements, {needed} are needed")));
        }
        of_any_kind!(self, step => step.cuda(&CheckedBuffers(memory)))
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
    pub fn sums(&self, output: &str, largest: &[f64], reference: &HostBuffers<f64>) -> Sums {
        of_any_kind!(self, step => step.sums(output, largest, reference))
    }

    /// See [`Operation::candidates`]; a step that may not run on a GPU ([`Step::cuda_check`]) has none.
    pub fn candidates(&self, cuda: &Cuda) -> Vec<Candidate<'_>> {
        if self.cuda_check().is_err() {
            return Vec::new();
        }
        of_any_kind!(self, step => step.candidates(cuda))
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
