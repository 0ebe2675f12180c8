//! A plan: the buffers and the steps that a net was lowered to, for one batch size. Devices interpret it; launch counts, memory
//! layout and step-by-step comparison of devices and precisions all follow from it.

use std::sync::Arc;

use crate::device::cuda::{self, Cuda, DeviceBuffers};
use crate::device::{DType, HostBuffers, Packing, View};
use crate::real::Real;
use crate::steps::Step;

/// Views that callers fill and read.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// All parameters, laid out by [`crate::model::weights::Layout`].
    pub params: View,
    /// Running statistics of the norms.
    pub stats: View,
    /// Images [n, side, side, channels], normalised; of a head ([`crate::model::NetPart`]) the features.
    pub input: View,
    /// The net's output: of FCDD the map z [n, u, u], of HSC the vectors o [n, length], of an autoencoder the reconstruction, shaped as
    /// the input. Of the features of a net these.
    pub output: View,
    /// Image scores \[n\]; features have neither these nor maps.
    pub score: View,
    /// Anomaly map: of FCDD a [n, u, u], of HSC the gradient of the score [n, side, side], of an autoencoder the squared error, shaped as
    /// the input.
    pub map: View,
    /// The map at the input's size: of FCDD upsampled by receptive fields [n, side, side], else the map itself. Of a head the map [n, u, u]
    /// that its loss is taken over ([`crate::steps::upsample::GaussianTaps::folded`]).
    pub heatmap: View,
    /// What training adds.
    pub training: Option<TrainingPorts>,
}

/// Views of a training plan.
#[derive(Clone, Copy, Debug)]
pub struct TrainingPorts {
    /// 0 normal, 1 anomalous, \[n\].
    pub labels: View,
    /// Ground-truth maps, for the map loss, of the heatmap's size: [n, side, side], of a head [n, u, u].
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

/// Lengths of the buffers, in elements, and the data types of the reals.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    pub reals: Vec<(usize, DType)>,
    pub bytes: Vec<usize>,
}

/// A lowered net.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Images per batch.
    pub batch: usize,
    pub buffers: Buffers,
    /// Views of constants, written before the first step.
    pub constants: Vec<(View, Vec<f64>)>,
    /// What kernels read of the plan itself.
    pub tables: Vec<Vec<i32>>,
    pub ports: Ports,
    /// Training mode: input to output and score, batch statistics, running statistics updated.
    pub forward: Vec<Step>,
    /// Losses and gradients of the trained parameters.
    pub backward: Vec<Step>,
    pub update: Vec<Step>,
    /// Run after the weights were replaced from outside.
    pub renew: Vec<Step>,
    /// Evaluation mode: input to output and scores, with the running statistics.
    pub infer: Vec<Step>,
    /// Map and heatmap of what was inferred.
    pub heatmaps: Vec<Step>,
}

impl Plan {
    /// Every step, phase after phase.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.renew, &self.forward, &self.backward, &self.update, &self.infer, &self.heatmaps].into_iter().flatten()
    }

    /// GPU memory for the plan, with its constants and tables.
    ///
    /// # Errors
    /// Those of an allocation, and a step that [may not run](Step::cuda_check) on a GPU.
    pub fn cuda_memory(&self, cuda: &Arc<Cuda>) -> cuda::Result<DeviceBuffers> {
        self.steps().try_for_each(Step::cuda_check)?;
        let mut memory = DeviceBuffers::new(cuda, &self.buffers.reals, &self.buffers.bytes, self.cuda_workspace())?;
        for (view, values) in &self.constants {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            memory.write(*view, &values)?;
        }
        for table in &self.tables {
            memory.hold_table(table.clone())?;
        }
        Ok(memory)
    }

    /// Host memory for the plan; constants are still to be written.
    pub fn host_memory<T: Real>(&self) -> HostBuffers<T> {
        let lengths: Vec<usize> = self.buffers.reals.iter().map(|&(len, _)| len).collect();
        let mut memory = HostBuffers::new(&lengths, &self.buffers.bytes, self.workspace());
        self.packings().into_iter().for_each(|packing| memory.reserve(packing));
        memory
    }

    /// Weights that steps keep packed on the CPU, each once.
    fn packings(&self) -> Vec<Packing> {
        let mut packings = Vec::new();
        for packing in self.steps().filter_map(Step::packing) {
            if !packings.contains(&packing) {
                packings.push(packing);
            }
        }
        packings
    }

    /// The largest workspace of any step on the CPU, in elements.
    pub fn workspace(&self) -> usize {
        self.steps().map(Step::workspace).max().unwrap_or(0)
    }

    /// The largest workspace of any step on the GPU, in elements.
    pub fn cuda_workspace(&self) -> usize {
        self.steps().map(Step::cuda_workspace).max().unwrap_or(0)
    }

    /// Bytes of host memory that the plan needs.
    pub fn host_bytes<T>(&self) -> usize {
        let Buffers { reals, bytes } = &self.buffers;
        let packed: usize = self.packings().iter().map(|packing| packing.len).sum();
        let reals = reals.iter().map(|(len, _)| len).sum::<usize>() + packed + self.workspace();
        reals * size_of::<T>() + bytes.iter().sum::<usize>()
    }

    /// Bytes of GPU memory that the plan needs.
    pub fn cuda_bytes(&self) -> usize {
        let Buffers { reals, bytes } = &self.buffers;
        let reals: usize = reals.iter().map(|(len, dtype)| len * dtype.size()).sum();
        let tables: usize = self.tables.iter().map(Vec::len).sum();
        reals + self.cuda_workspace() * size_of::<f32>() + bytes.iter().sum::<usize>() + tables * size_of::<i32>()
    }
}
