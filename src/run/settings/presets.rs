//! A dataset's preset as settings, beside what is the same for all datasets.

use super::Settings;
use crate::data::image_source::Hold;
use crate::datasets::DatasetKind;
use crate::datasets::preset::Preset;
use crate::device::DType;
use crate::metrics::image_score::ImageScore;
use crate::model::Objective;
use crate::steps::hsc_loss::Gradient;

impl Settings {
    /// The paper's settings for a dataset, where it has any; for folders, what works without pretrained weights.
    pub fn preset(dataset: DatasetKind) -> Settings {
        let Preset {
            class,
            net,
            side,
            pipeline,
            supervise,
            noise,
            maps,
            epochs,
            passes,
            batch,
            optimizer,
            lr,
            weight_decay,
            schedule,
            sigma,
            quantile,
            reestimate,
        } = (dataset.preset)();
        Settings {
            dataset,
            data: None,
            class: class.to_string(),
            objective: Objective::Fcdd,
            net: net.to_string(),
            weights: None,
            gradient: Gradient::Grad,
            precision: DType::F32,
            bias: true,
            side,
            pipeline,
            supervise,
            noise: noise.into(),
            outliers: None,
            oe_limit: None,
            offline_supervision: false,
            as_published: false,
            part_gap: None,
            skip_broken: false,
            maps,
            epochs,
            passes,
            batch,
            optimizer,
            lr,
            weight_decay,
            schedule,
            sigma,
            image_score: ImageScore::Mean,
            quantile,
            reestimate,
            seed: 0,
            hold: Hold::Auto,
        }
    }
}
