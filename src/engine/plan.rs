//! A plan: the buffers and the steps that a net was lowered to, for one batch size. Devices interpret it; launch counts, memory
//! layout and step-by-step comparison of devices and precisions all follow from it.

use std::sync::Arc;

use crate::device::cuda::{self, Cuda, Memory};
use crate::device::{ByteView, Format, Host, View};
use crate::error::CudaError;
use crate::real::{Real, rounded_to_bf16};
use crate::steps::cast::{Cast, CastWeights};
use crate::steps::conv::{Dgrad, Fprop, Wgrad};
use crate::steps::dropout::Dropout;
use crate::steps::enlarge::{Enlarge, EnlargeAdjoint};
use crate::steps::fcdd_loss::{MapLoss, PseudoHuberBackward};
use crate::steps::head::{Head, HeadBackward};
use crate::steps::hsc_loss::{GradientHeatmap, HscLoss, HscScore};
use crate::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use crate::steps::optimizer::{Adam, Sgd};
use crate::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};
use crate::steps::reshape::Reshape;
use crate::steps::upsample::{Upsample, UpsampleAdjoint};

/// Numbers that change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    pub lr: f64,
    pub weight_decay: f64,
    /// Updates made so far, this one included: counts from 1.
    pub step: u64,
    /// Weight of this batch in the norms' running statistics; 0.1 in training.
    pub norm_momentum: f64,
}

impl Hyper {
    /// As the kernels read them: see `kernels/step.cuh`.
    pub fn row(&self) -> [f32; Memory::HYPER] {
        let (rate, root) = Adam::corrected(self.lr, self.step);
        let [lr, weight_decay, norm_momentum, rate, root] =
            [self.lr, self.weight_decay, self.norm_momentum, rate, root].map(|v| v as f32);
        [lr, weight_decay, norm_momentum, rate, root, f32::from_bits(self.step as u32), 0.0, 0.0]
    }
}

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
    Enlarge(Enlarge),
    EnlargeAdjoint(EnlargeAdjoint),
    Dropout(Dropout),
    Sgd(Sgd),
    Adam(Adam),
    Cast(Cast),
    CastWeights(CastWeights),
}

impl Step {
    /// The step's kind, as its file and kernel are called.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::ConvFprop(_) => "conv_fprop",
            Step::ConvDgrad(_) => "conv_dgrad",
            Step::ConvWgrad(_) => "conv_wgrad",
            Step::NormActPool(_) => "norm_act_pool",
            Step::NormActPoolBackward(_) => "norm_act_pool_backward",
            Step::Head(_) => "head",
            Step::HeadBackward(_) => "head_backward",
            Step::MapLoss(_) => "map_loss",
            Step::PseudoHuberBackward(_) => "pseudo_huber_backward",
            Step::Upsample(_) => "upsample",
            Step::UpsampleAdjoint(_) => "upsample_adjoint",
            Step::HscScore(_) => "hsc_score",
            Step::HscLoss(_) => "hsc_loss",
            Step::GradientHeatmap(_) => "gradient_heatmap",
            Step::Reconstruction(_) => "reconstruction",
            Step::ReconstructionLoss(_) => "reconstruction_loss",
            Step::Reshape(_) => "reshape",
            Step::Enlarge(_) => "enlarge",
            Step::EnlargeAdjoint(_) => "enlarge_adjoint",
            Step::Dropout(_) => "dropout",
            Step::Sgd(_) => "sgd",
            Step::Adam(_) => "adam",
            Step::Cast(_) => "cast",
            Step::CastWeights(_) => "cast_weights",
        }
    }

    /// Runs the CPU form, and rounds what it wrote to bf16 where it is that: the sums of a step are never rounded on the way, as on a
    /// GPU.
    pub fn cpu<T: Real>(&self, memory: &mut Host<T>, hyper: &Hyper) {
        self.cpu_unrounded(memory, hyper);
        for (_, view) in self.writes().reals {
            if view.format == Format::Bf16 {
                memory.get_mut(view).iter_mut().for_each(|v| *v = T::of(rounded_to_bf16(v.f64())));
            }
        }
    }

    /// Runs the CPU form; what it writes to bf16 is not rounded yet.
    pub fn cpu_unrounded<T: Real>(&self, memory: &mut Host<T>, hyper: &Hyper) {
        match self {
            Step::ConvFprop(s) => s.cpu(memory, hyper.norm_momentum),
            Step::ConvDgrad(s) => s.cpu(memory),
            Step::ConvWgrad(s) => s.cpu(memory),
            Step::NormActPool(s) => s.cpu(memory),
            Step::NormActPoolBackward(s) => s.cpu(memory),
            Step::Head(s) => s.cpu(memory),
            Step::HeadBackward(s) => s.cpu(memory),
            Step::MapLoss(s) => s.cpu(memory),
            Step::PseudoHuberBackward(s) => s.cpu(memory),
            Step::Upsample(s) => s.cpu(memory),
            Step::UpsampleAdjoint(s) => s.cpu(memory),
            Step::HscScore(s) => s.cpu(memory),
            Step::HscLoss(s) => s.cpu(memory),
            Step::GradientHeatmap(s) => s.cpu(memory),
            Step::Reconstruction(s) => s.cpu(memory),
            Step::ReconstructionLoss(s) => s.cpu(memory),
            Step::Reshape(s) => s.cpu(memory),
            Step::Enlarge(s) => s.cpu(memory),
            Step::EnlargeAdjoint(s) => s.cpu(memory),
            Step::Dropout(s) => s.cpu(memory, hyper.step),
            Step::Sgd(s) => s.cpu(memory, hyper.lr, hyper.weight_decay),
            Step::Adam(s) => s.cpu(memory, hyper.lr, hyper.weight_decay, hyper.step),
            Step::Cast(s) => s.cpu(memory),
            Step::CastWeights(s) => s.cpu(memory),
        }
    }

    /// Runs the GPU form: launches its kernels and returns. The workspace of `memory` holds at least [`Step::cuda_workspace`] elements.
    pub fn cuda(&self, memory: &Memory) -> Result<(), CudaError> {
        match self {
            Step::ConvFprop(s) => s.cuda(memory),
            Step::ConvDgrad(s) => s.cuda(memory),
            Step::ConvWgrad(s) => s.cuda(memory),
            Step::NormActPool(s) => s.cuda(memory),
            Step::NormActPoolBackward(s) => s.cuda(memory),
            Step::Head(s) => s.cuda(memory),
            Step::HeadBackward(s) => s.cuda(memory),
            Step::MapLoss(s) => s.cuda(memory),
            Step::PseudoHuberBackward(s) => s.cuda(memory),
            Step::Upsample(s) => s.cuda(memory),
            Step::UpsampleAdjoint(s) => s.cuda(memory),
            Step::HscScore(s) => s.cuda(memory),
            Step::HscLoss(s) => s.cuda(memory),
            Step::GradientHeatmap(s) => s.cuda(memory),
            Step::Reconstruction(s) => s.cuda(memory),
            Step::ReconstructionLoss(s) => s.cuda(memory),
            Step::Reshape(s) => s.cuda(memory),
            Step::Enlarge(s) => s.cuda(memory),
            Step::EnlargeAdjoint(s) => s.cuda(memory),
            Step::Dropout(s) => s.cuda(memory),
            Step::Sgd(s) => s.cuda(memory),
            Step::Adam(s) => s.cuda(memory),
            Step::Cast(s) => s.cuda(memory),
            Step::CastWeights(s) => s.cuda(memory),
        }
        .map_err(|source| CudaError::Step { step: self.describe(), source: Box::new(source) })
    }

    /// Kind and lengths of what it reads and writes, such as `conv_fprop (x 784, w 200 → y 6272)`.
    pub fn describe(&self) -> String {
        let list = |access: super::access::Access| {
            access.reals.iter().map(|(name, view)| format!("{name} {}", view.len)).collect::<Vec<_>>().join(", ")
        };
        format!("{} ({} → {})", self.kind(), list(self.reads()), list(self.writes()))
    }

    /// Floating-point operations of a convolution, a multiply-add counted as two; 0 for all other steps.
    pub fn flops(&self) -> u64 {
        match self {
            Step::ConvFprop(s) => s.geometry.flops(),
            Step::ConvDgrad(s) => s.geometry.flops(),
            Step::ConvWgrad(s) => s.geometry.flops(),
            Step::Head(s) => s.geometry.flops(),
            // Two of its passes.
            Step::HeadBackward(s) => 2 * s.geometry.flops(),
            _ => 0,
        }
    }

    /// Scratch elements that the CPU form needs.
    pub fn workspace(&self) -> usize {
        match self {
            Step::ConvFprop(s) => s.workspace(),
            Step::ConvDgrad(s) => s.workspace(),
            Step::ConvWgrad(s) => s.workspace(),
            Step::Head(s) => s.workspace(),
            Step::HeadBackward(s) => s.workspace(),
            Step::NormActPool(s) => s.workspace(),
            Step::NormActPoolBackward(s) => s.workspace(),
            Step::Upsample(s) => s.workspace(),
            Step::UpsampleAdjoint(s) => s.workspace(),
            _ => 0,
        }
    }

    /// Scratch elements that the GPU form needs.
    pub fn cuda_workspace(&self) -> usize {
        match self {
            Step::ConvFprop(s) => s.cuda_workspace(),
            Step::ConvWgrad(s) => s.cuda_workspace(),
            Step::HeadBackward(s) => s.cuda_workspace(),
            Step::NormActPoolBackward(s) => s.cuda_workspace(),
            Step::Upsample(s) => s.workspace(),
            Step::UpsampleAdjoint(s) => s.workspace(),
            _ => 0,
        }
    }
}

/// Views that callers fill and read.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// All parameters, laid out by [`crate::model::weights::Layout`].
    pub params: View,
    /// Running statistics of the norms.
    pub stats: View,
    /// Images [n, side, side, channels], normalised.
    pub input: View,
    /// The net's output: of FCDD the map z [n, u, u], of HSC the vectors o [n, length], of an autoencoder the reconstruction, shaped as
    /// the input.
    pub output: View,
    /// Image scores \[n\].
    pub score: View,
    /// Anomaly map: of FCDD a [n, u, u], of HSC the gradient of the score [n, side, side], of an autoencoder the squared error, shaped as
    /// the input.
    pub map: View,
    /// The map at the input's size: of FCDD upsampled by receptive fields [n, side, side], else the map itself.
    pub heatmap: View,
    /// What training adds.
    pub training: Option<TrainingPorts>,
}

/// Views of a training plan.
#[derive(Clone, Copy, Debug)]
pub struct TrainingPorts {
    /// 0 nominal, 1 anomalous, \[n\].
    pub labels: View,
    /// Ground-truth maps [n, side, side], for the map loss.
    pub maps: Option<View>,
    /// Loss of each image, \[n\].
    pub loss: View,
    pub grads: View,
    /// The optimizer's state: momentum, or first and second moments, as long as the parameters each.
    pub moments: View,
    /// Gradient of the input, where it was asked for.
    pub input_grad: Option<View>,
}

impl Ports {
    /// Every port, for memory that holds nothing else.
    pub fn views(&self) -> Vec<View> {
        let Ports { params, stats, input, output, score, map, heatmap, training } = *self;
        let mut views = vec![params, stats, input, output, score, map, heatmap];
        if let Some(TrainingPorts { labels, maps, loss, grads, moments, input_grad }) = training {
            views.extend([labels, loss, grads, moments]);
            views.extend([maps, input_grad].into_iter().flatten());
        }
        views
    }
}

/// Lengths of the buffers, in elements, and what the reals are.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    pub reals: Vec<(usize, Format)>,
    pub bytes: Vec<usize>,
}

impl Buffers {
    /// Host memory of these lengths.
    pub fn host<T: Real>(&self, workspace: usize) -> Host<T> {
        let lengths: Vec<usize> = self.reals.iter().map(|&(len, _)| len).collect();
        Host::new(&lengths, &self.bytes, workspace)
    }
}

/// A lowered net.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Images per batch.
    pub batch: usize,
    pub buffers: Buffers,
    /// Views that hold the same numbers for ever, written before the first step.
    pub constants: Vec<(View, Vec<f64>)>,
    /// What kernels read of the plan itself.
    pub tables: Vec<(ByteView, Vec<i32>)>,
    pub ports: Ports,
    /// Training mode: input to output and score, batch statistics, running statistics updated.
    pub forward: Vec<Step>,
    /// Losses and gradients of the trained parameters.
    pub backward: Vec<Step>,
    pub update: Vec<Step>,
    /// Run when the weights were replaced from outside.
    pub renew: Vec<Step>,
    /// Evaluation mode: input to output and scores, with the running statistics.
    pub infer: Vec<Step>,
    /// Map and heatmap of what was inferred.
    pub explain: Vec<Step>,
}

impl Plan {
    /// Every step, phase after phase.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.renew, &self.forward, &self.backward, &self.update, &self.infer, &self.explain].into_iter().flatten()
    }

    /// GPU memory for the plan, with its constants and tables.
    pub fn cuda_memory(&self, cuda: &Arc<Cuda>) -> cuda::Result<Memory> {
        let mut memory = Memory::new(cuda, &self.buffers.reals, &self.buffers.bytes, self.cuda_workspace())?;
        for (view, values) in &self.constants {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            memory.write(*view, &values)?;
        }
        for (view, values) in &self.tables {
            memory.write_bytes(*view, bytemuck::cast_slice(values))?;
        }
        Ok(memory)
    }

    /// Scratch elements that the hungriest step needs on the CPU.
    pub fn workspace(&self) -> usize {
        self.steps().map(Step::workspace).max().unwrap_or(0)
    }

    /// Scratch elements that the hungriest step needs on the GPU.
    pub fn cuda_workspace(&self) -> usize {
        self.steps().map(Step::cuda_workspace).max().unwrap_or(0)
    }

    /// Bytes of GPU memory that the plan needs.
    pub fn cuda_bytes(&self) -> usize {
        let Buffers { reals, bytes } = &self.buffers;
        let reals: usize = reals.iter().map(|(len, format)| len * format.size()).sum();
        reals + self.cuda_workspace() * size_of::<f32>() + bytes.iter().sum::<usize>()
    }
}
