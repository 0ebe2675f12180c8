//! A plan: the buffers and the steps that a net was lowered to, for one batch size. Devices interpret it; launch counts, memory
//! layout and step-by-step comparison of devices and precisions all follow from it.

use crate::device::cuda::Memory;
use crate::device::{ByteView, Host, View};
use crate::error::CudaError;
use crate::real::Real;
use crate::steps::conv::{Dgrad, Fprop, Wgrad};
use crate::steps::fcdd_loss::{LabelLoss, MapLoss, PseudoHuber, PseudoHuberBackward};
use crate::steps::norm::{Norm, Stats};
use crate::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use crate::steps::optimizer::{Adam, Sgd};
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
        [self.lr, self.weight_decay, self.norm_momentum, rate, root, 0.0, 0.0, 0.0].map(|v| v as f32)
    }
}

/// One operation with its geometry and the buffers it reads and writes.
#[derive(Clone, Debug)]
pub enum Step {
    ConvFprop(Fprop),
    ConvDgrad(Dgrad),
    ConvWgrad(Wgrad),
    NormStats(Stats),
    NormActPool(NormActPool),
    NormActPoolBackward(NormActPoolBackward),
    PseudoHuber(PseudoHuber),
    LabelLoss(LabelLoss),
    MapLoss(MapLoss),
    PseudoHuberBackward(PseudoHuberBackward),
    Upsample(Upsample),
    UpsampleAdjoint(UpsampleAdjoint),
    Sgd(Sgd),
    Adam(Adam),
}

impl Step {
    /// The step's kind, as its file and kernel are called.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::ConvFprop(_) => "conv_fprop",
            Step::ConvDgrad(_) => "conv_dgrad",
            Step::ConvWgrad(_) => "conv_wgrad",
            Step::NormStats(_) => "norm_stats",
            Step::NormActPool(_) => "norm_act_pool",
            Step::NormActPoolBackward(_) => "norm_act_pool_backward",
            Step::PseudoHuber(_) => "pseudo_huber",
            Step::LabelLoss(_) => "label_loss",
            Step::MapLoss(_) => "map_loss",
            Step::PseudoHuberBackward(_) => "pseudo_huber_backward",
            Step::Upsample(_) => "upsample",
            Step::UpsampleAdjoint(_) => "upsample_adjoint",
            Step::Sgd(_) => "sgd",
            Step::Adam(_) => "adam",
        }
    }

    /// Runs the CPU form.
    pub fn cpu<T: Real>(&self, memory: &mut Host<T>, hyper: &Hyper) {
        match self {
            Step::ConvFprop(s) => s.cpu(memory),
            Step::ConvDgrad(s) => s.cpu(memory),
            Step::ConvWgrad(s) => s.cpu(memory),
            Step::NormStats(s) => s.cpu(memory, hyper.norm_momentum),
            Step::NormActPool(s) => s.cpu(memory),
            Step::NormActPoolBackward(s) => s.cpu(memory),
            Step::PseudoHuber(s) => s.cpu(memory),
            Step::LabelLoss(s) => s.cpu(memory),
            Step::MapLoss(s) => s.cpu(memory),
            Step::PseudoHuberBackward(s) => s.cpu(memory),
            Step::Upsample(s) => s.cpu(memory),
            Step::UpsampleAdjoint(s) => s.cpu(memory),
            Step::Sgd(s) => s.cpu(memory, hyper.lr, hyper.weight_decay),
            Step::Adam(s) => s.cpu(memory, hyper.lr, hyper.weight_decay, hyper.step),
        }
    }

    /// Runs the GPU form: launches its kernels and returns. The workspace of `memory` holds at least [`Step::cuda_workspace`] elements.
    pub fn cuda(&self, memory: &Memory) -> Result<(), CudaError> {
        match self {
            Step::ConvFprop(s) => s.cuda(memory),
            Step::ConvDgrad(s) => s.cuda(memory),
            Step::ConvWgrad(s) => s.cuda(memory),
            Step::NormStats(s) => s.cuda(memory),
            Step::NormActPool(s) => s.cuda(memory),
            Step::NormActPoolBackward(s) => s.cuda(memory),
            Step::PseudoHuber(s) => s.cuda(memory),
            Step::LabelLoss(s) => s.cuda(memory),
            Step::MapLoss(s) => s.cuda(memory),
            Step::PseudoHuberBackward(s) => s.cuda(memory),
            Step::Upsample(s) => s.cuda(memory),
            Step::UpsampleAdjoint(s) => s.cuda(memory),
            Step::Sgd(s) => s.cuda(memory),
            Step::Adam(s) => s.cuda(memory),
        }
        .map_err(|source| CudaError::Step { step: self.describe(), source: Box::new(source) })
    }

    /// Kind and lengths of what it reads and writes, such as `conv_fprop (x 784, w 200 → y 6272)`.
    pub fn describe(&self) -> String {
        let list = |access: Access| {
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
            _ => 0,
        }
    }

    /// Scratch elements that the CPU form needs.
    pub fn workspace(&self) -> usize {
        match self {
            Step::ConvFprop(s) => s.workspace(),
            Step::ConvDgrad(s) => s.workspace(),
            Step::ConvWgrad(s) => s.workspace(),
            Step::NormStats(s) => s.workspace(),
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
            Step::ConvWgrad(s) => s.cuda_workspace(),
            Step::NormStats(s) => s.cuda_workspace(),
            Step::NormActPoolBackward(s) => s.cuda_workspace(),
            Step::Upsample(s) => s.workspace(),
            Step::UpsampleAdjoint(s) => s.workspace(),
            _ => 0,
        }
    }
}

/// What a step reads or writes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Named as in the step.
    pub reals: Vec<(&'static str, View)>,
    /// The winners of a pool.
    pub argmax: Option<ByteView>,
}

impl Access {
    fn new<const N: usize>(reals: [(&'static str, View); N]) -> Access {
        Access { reals: reals.to_vec(), argmax: None }
    }

    fn and(mut self, name: &'static str, view: Option<View>) -> Access {
        self.reals.extend(view.map(|view| (name, view)));
        self
    }

    fn norm(self, norm: Option<Norm>) -> Access {
        let affine = norm.and_then(|n| n.affine);
        self.and("mean", norm.map(|n| n.mean))
            .and("var", norm.map(|n| n.var))
            .and("gamma", affine.map(|a| a.gamma))
            .and("beta", affine.map(|a| a.beta))
    }
}

impl Step {
    /// What the step reads, scratch space aside.
    pub fn reads(&self) -> Access {
        match self {
            Step::ConvFprop(s) => Access::new([("x", s.x), ("w", s.w)]).and("b", s.b),
            Step::ConvDgrad(s) => Access::new([("dy", s.dy), ("w", s.w)]),
            Step::ConvWgrad(s) => Access::new([("x", s.x), ("dy", s.dy)]),
            Step::NormStats(s) => {
                let running = [("running_mean", s.running_mean), ("running_var", s.running_var)];
                Access::new(running).and("x", Some(s.x)).and("bias", s.bias)
            }
            Step::NormActPool(s) => Access::new([("x", s.x)]).norm(s.norm),
            Step::NormActPoolBackward(s) => {
                Access { argmax: Some(s.argmax), ..Access::new([("x", s.x), ("dy", s.dy)]).norm(s.norm) }
            }
            Step::PseudoHuber(s) => Access::new([("z", s.z)]),
            Step::LabelLoss(s) => Access::new([("z", s.z), ("score", s.score), ("labels", s.labels)]),
            Step::MapLoss(s) => Access::new([("a", s.a), ("maps", s.maps)]),
            Step::PseudoHuberBackward(s) => Access::new([("z", s.z), ("da", s.da)]),
            Step::Upsample(s) => Access::new([("a", s.a), ("kernel", s.kernel)]),
            Step::UpsampleAdjoint(s) => Access::new([("dout", s.dout), ("kernel", s.kernel)]),
            Step::Sgd(s) => Access::new([("params", s.params), ("grads", s.grads), ("momentum", s.momentum)]),
            Step::Adam(s) => Access::new([("params", s.params), ("grads", s.grads), ("m", s.m), ("v", s.v)]),
        }
    }

    /// What the step writes, scratch space aside.
    pub fn writes(&self) -> Access {
        match self {
            Step::ConvFprop(s) => Access::new([("y", s.y)]),
            Step::ConvDgrad(s) => Access::new([("dx", s.dx)]),
            Step::ConvWgrad(s) => Access::new([("dw", s.dw)]).and("db", s.db),
            Step::NormStats(s) => Access::new([
                ("mean", s.mean),
                ("var", s.var),
                ("running_mean", s.running_mean),
                ("running_var", s.running_var),
            ]),
            Step::NormActPool(s) => Access { argmax: s.argmax, ..Access::new([("y", s.y)]) },
            Step::NormActPoolBackward(s) => Access::new([("dx", s.dx)])
                .and("dgamma", s.daffine.map(|a| a.gamma))
                .and("dbeta", s.daffine.map(|a| a.beta)),
            Step::PseudoHuber(s) => Access::new([("a", s.a), ("score", s.score)]),
            Step::LabelLoss(s) => Access::new([("loss", s.loss), ("dz", s.dz)]),
            Step::MapLoss(s) => Access::new([("loss", s.loss), ("da", s.da)]),
            Step::PseudoHuberBackward(s) => Access::new([("dz", s.dz)]),
            Step::Upsample(s) => Access::new([("out", s.out)]),
            Step::UpsampleAdjoint(s) => Access::new([("da", s.da)]),
            Step::Sgd(s) => Access::new([("params", s.params), ("momentum", s.momentum)]),
            Step::Adam(s) => Access::new([("params", s.params), ("m", s.m), ("v", s.v)]),
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
    /// Output map z [n, u, u].
    pub z: View,
    /// Anomaly map a [n, u, u].
    pub anomaly: View,
    /// Image scores \[n\].
    pub score: View,
    /// Receptive-field upsampled anomaly map [n, side, side].
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
        let Ports { params, stats, input, z, anomaly, score, heatmap, training } = *self;
        let mut views = vec![params, stats, input, z, anomaly, score, heatmap];
        if let Some(TrainingPorts { labels, maps, loss, grads, moments, input_grad }) = training {
            views.extend([labels, loss, grads, moments]);
            views.extend([maps, input_grad].into_iter().flatten());
        }
        views
    }
}

/// Lengths of the buffers, in elements.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    pub reals: Vec<usize>,
    pub bytes: Vec<usize>,
}

/// A lowered net.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Images per batch.
    pub batch: usize,
    pub buffers: Buffers,
    /// Views that hold the same numbers for ever, written before the first step.
    pub constants: Vec<(View, Vec<f64>)>,
    pub ports: Ports,
    /// Training mode: input to output map, batch statistics, running statistics updated.
    pub forward: Vec<Step>,
    /// Losses and gradients of the trained parameters.
    pub backward: Vec<Step>,
    pub update: Vec<Step>,
    /// Evaluation mode: input to anomaly map and scores, with the running statistics.
    pub infer: Vec<Step>,
    /// Anomaly map to heatmap.
    pub upsample: Vec<Step>,
}

impl Plan {
    /// Every step, phase after phase.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.forward, &self.backward, &self.update, &self.infer, &self.upsample].into_iter().flatten()
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
        4 * (reals.iter().sum::<usize>() + self.cuda_workspace()) + bytes.iter().sum::<usize>()
    }
}
