//! The settings of training that depend on the dataset: the paper's, and ours for a folder of the user's.

use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;

/// What a dataset is trained with, unless other settings are named.
#[derive(Clone, Debug)]
pub struct Preset {
    /// The class that a run is about, by index or name.
    pub class: &'static str,
    pub net: &'static str,
    /// Input side in pixels.
    pub side: usize,
    pub pipeline: PipelineKind,
    pub supervise: Supervise,
    pub noise: NoiseMode,
    /// Train on ground-truth maps instead of labels.
    pub maps: bool,
    pub epochs: u32,
    /// Passes over the normal images in an epoch.
    pub passes: u32,
    pub batch: usize,
    pub optimizer: Optimizer,
    pub lr: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    /// σ of the heatmaps' Gaussian, in input pixels.
    pub sigma: f64,
    /// Quantile of the heatmap values that is drawn as the hottest colour.
    pub quantile: f64,
    /// Re-estimate the norms' running statistics over ten training batches after the last epoch.
    pub reestimate: bool,
}

impl Preset {
    /// The paper's for small grey images, which the other presets start from.
    pub fn small_grey() -> Preset {
        Preset {
            class: "0",
            net: "FCDD_CNN28_W",
            side: 28,
            pipeline: PipelineKind::Lcnaug1,
            supervise: Supervise::Noise,
            noise: NoiseMode::Outliers,
            maps: false,
            epochs: 400,
            passes: 1,
            batch: 128,
            optimizer: Optimizer::Sgd,
            lr: 1e-2,
            weight_decay: 1e-6,
            schedule: Schedule::Lambda { gamma: 0.98 },
            sigma: 1.2,
            quantile: 0.85,
            reestimate: false,
        }
    }

    /// The paper's for small photographs.
    pub fn small_photographs() -> Preset {
        Preset {
            net: "FCDD_CNN32_LW3K",
            side: 32,
            pipeline: PipelineKind::Aug1,
            epochs: 600,
            batch: 200,
            optimizer: Optimizer::Adam,
            lr: 1e-3,
            schedule: Schedule::Milestones { gamma: 0.1, epochs: vec![400, 500] },
            ..Preset::small_grey()
        }
    }
}
