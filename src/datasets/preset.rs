//! The settings of training that depend on the dataset: the paper's, and ours for a folder of the user's.

use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMix, NoiseMode, Supervise};
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::model::image_score::ImageScore;

/// What a dataset is trained with, unless other settings are named. The fields are those of [`Settings`](crate::Settings).
#[derive(Clone, Debug)]
pub struct Preset {
    pub class: &'static str,
    pub net: &'static str,
    pub side: usize,
    pub pipeline: PipelineKind,
    pub supervise: Supervise,
    pub noise: NoiseMix,
    pub maps: bool,
    pub epochs: u32,
    pub passes: u32,
    pub batch: usize,
    pub optimizer: Optimizer,
    pub lr: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    pub sigma: f64,
    pub image_score: ImageScore,
    pub quantile: f64,
    pub reestimate: bool,
    pub calibration_share: u32,
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
            noise: NoiseMode::Outliers.into(),
            maps: false,
            epochs: 400,
            passes: 1,
            batch: 128,
            optimizer: Optimizer::Sgd,
            lr: 1e-2,
            weight_decay: 1e-6,
            schedule: Schedule::Lambda { gamma: 0.98 },
            sigma: 1.2,
            image_score: ImageScore::Mean,
            quantile: 0.85,
            reestimate: false,
            calibration_share: 0,
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
