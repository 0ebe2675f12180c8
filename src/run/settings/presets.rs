//! The paper's choice of settings for each dataset, and ours for a folder of the user's.

use super::Settings;
use crate::data::dataset::DatasetKind;
use crate::data::pipeline::PipelineKind;
use crate::data::store::Hold;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::model::Objective;
use crate::steps::hsc_loss::Gradient;

impl Settings {
    /// The paper's settings for a dataset, where it has any; for folders, what works without pretrained weights.
    pub fn preset(dataset: DatasetKind) -> Settings {
        let small = Settings {
            dataset,
            data: None,
            class: "0".to_string(),
            objective: Objective::Fcdd,
            net: "FCDD_CNN28_W".to_string(),
            weights: None,
            gradient: Gradient::Grad,
            precision: DType::F32,
            bias: true,
            side: 28,
            pipeline: PipelineKind::Lcnaug1,
            supervise: Supervise::Noise,
            noise: NoiseMode::Outliers,
            outliers: None,
            oe_limit: None,
            offline_supervision: false,
            as_published: false,
            part_gap: None,
            skip_broken: false,
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
            seed: 0,
            hold: Hold::Auto,
        };
        match dataset {
            DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist => small,
            DatasetKind::Cifar10 | DatasetKind::Cifar100 => thirty_two(small),
            DatasetKind::Mvtec => Settings {
                net: "FCDD_CNN224_VGG_F".to_string(),
                side: 224,
                supervise: Supervise::MalformedNormal,
                noise: NoiseMode::Confetti,
                maps: true,
                epochs: 200,
                passes: 10,
                lr: 1e-3,
                weight_decay: 1e-4,
                schedule: Schedule::Lambda { gamma: 0.985 },
                sigma: 12.0,
                quantile: 0.99,
                ..small
            },
            DatasetKind::Imagenet => {
                let net = "FCDD_CNN224_VGG_NOPT".to_string();
                Settings { net, side: 224, sigma: 8.0, quantile: 0.97, ..thirty_two(small) }
            }
            DatasetKind::Pascalvoc => Settings {
                dataset,
                class: "horse".to_string(),
                quantile: 0.99,
                ..Settings::preset(DatasetKind::Imagenet)
            },
            DatasetKind::Custom => Settings {
                net: "FCDD_CNN224_VGG_F".to_string(),
                side: 224,
                pipeline: PipelineKind::Aug1,
                epochs: 200,
                lr: 1e-3,
                schedule: Schedule::Lambda { gamma: 0.985 },
                sigma: 10.0,
                quantile: 0.97,
                ..small
            },
            DatasetKind::Folder => Settings {
                net: "FCDD_CNN224".to_string(),
                side: 224,
                pipeline: PipelineKind::Lcnaug1,
                supervise: Supervise::MalformedNormalGt,
                noise: NoiseMode::FineConfetti,
                maps: true,
                epochs: 50,
                batch: 8,
                optimizer: Optimizer::Adam,
                lr: 1e-3,
                schedule: Schedule::Lambda { gamma: 0.9 },
                sigma: 4.0,
                quantile: 0.99,
                reestimate: true,
                ..small
            },
        }
    }
}

/// The paper's settings for CIFAR-10, which the sets of photographs share in part.
fn thirty_two(base: Settings) -> Settings {
    Settings {
        net: "FCDD_CNN32_LW3K".to_string(),
        side: 32,
        pipeline: PipelineKind::Aug1,
        epochs: 600,
        batch: 200,
        optimizer: Optimizer::Adam,
        lr: 1e-3,
        schedule: Schedule::Milestones { gamma: 0.1, epochs: vec![400, 500] },
        ..base
    }
}
