//! A dataset's preset as settings, beside what is the same for all datasets.

use super::Settings;
use crate::data::augmentation::Rotation;
use crate::data::image_source::Hold;
use crate::datasets::DatasetKind;
use crate::datasets::preset::Preset;
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::model::Objective;
use crate::named::Named;
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
            image_score,
            quantile,
            reestimate,
            calibration_share,
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
            exact: false,
            bias: true,
            side,
            fit: None,
            roi: None,
            ignore: None,
            pipeline,
            flips: None,
            rotate: Rotation::None,
            brightness: None,
            supervise,
            noise,
            outliers: None,
            labelled: None,
            labelled_share: 50,
            oe_limit: None,
            offline_supervision: false,
            as_published: false,
            part_gap: None,
            skip_broken: false,
            maps,
            epochs,
            patience: None,
            calibration_share,
            fpr: None,
            passes,
            views: None,
            batch,
            optimizer,
            lr,
            weight_decay,
            schedule,
            sigma,
            image_score,
            quantile,
            reestimate,
            seed: 0,
            hold: Hold::Auto,
        }
    }
}

/// What a small head on fixed features is trained with, whatever the dataset: it has learned in a few hundred steps. Fields of several
/// stages are wide, and so is the Gaussian.
pub(super) fn of_heads(side: usize) -> [(&'static str, String); 7] {
    [
        ("epochs", "10"),
        ("views", "2"),
        ("batch", "16"),
        ("optimizer", Optimizer::Adam.word()),
        ("lr", "1e-3"),
        ("schedule", "lambda:0.9"),
        ("sigma", &(12.0 * side as f64 / 224.0).to_string()),
    ]
    .map(|(name, text)| (name, text.to_string()))
}
