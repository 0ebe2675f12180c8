//! What a model is measured by on a test split: one table for evaluations, comparisons, sweeps, the demo and their pages.

use std::path::Path;

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::breakdown::{Breakdown, Interval};
use super::model::Model;
use super::overlap::Overlap;
use super::settings::Settings;

/// Figures of a model on test images; as JSON, `evaluation.json` of a run's folder.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Folder or file of the test images; None where the dataset was found by itself, and in evaluations of version 0.1.
    #[serde(default)]
    pub data: Option<String>,
    /// Checksum of the model; None in evaluations of version 0.1.
    #[serde(default)]
    pub model: Option<String>,
    /// Area under the ROC curve of the image scores; None where a class is missing.
    pub image_auroc: Option<f64>,
    /// Average precision of the image scores; None where a class is missing.
    pub image_average_precision: Option<f64>,
    /// The best F1 that any threshold reaches on the image scores, where scores above it are anomalous. None where a class is missing.
    pub image_f1_max: Option<f64>,
    /// That threshold.
    pub image_f1_threshold: Option<f32>,
    /// Area under the ROC curve over all pixels at the masks' own sizes; None without masks, or without memory for the scores.
    pub pixel_auroc: Option<f64>,
    /// Average precision over the same pixels.
    pub pixel_average_precision: Option<f64>,
    /// Per-region overlap over the same pixels, up to a false positive rate of 0.3; None without any anomalous pixel.
    pub pro: Option<f64>,
    /// The share of the images with any anomalous pixel whose hottest pixel is one; None without such.
    #[serde(default)]
    pub pointing_game: Option<f64>,
    /// Normal images.
    #[serde(rename = "nominal")]
    pub normal: usize,
    /// Anomalous images.
    pub anomalous: usize,
    /// The model's threshold.
    pub threshold: f32,
    /// The share of the normal images above it; None without any.
    pub false_positive_rate: Option<f64>,
    /// The share of the anomalous images above it; None without any.
    pub true_positive_rate: Option<f64>,
    /// What these rest on; nothing in evaluations of version 0.1.
    #[serde(default)]
    pub(crate) breakdown: Breakdown,
    /// What makes them say less than they seem to.
    #[serde(default)]
    pub(crate) overlap: Overlap,
}

impl Evaluation {
    /// Whether it is, as far as it tells, of the test images that a run's settings name.
    pub(crate) fn is_of(&self, settings: &Settings) -> bool {
        let named = settings.data.as_deref().map(Path::to_string_lossy);
        self.data.is_none() || self.data.as_deref() == named.as_deref()
    }

    /// Whether it is, with figures that can be, of a model.
    pub(crate) fn is_by(&self, model: &Model) -> bool {
        let (both, good, anomalous) = (self.normal > 0 && self.anomalous > 0, self.normal > 0, self.anomalous > 0);
        let told = [
            (self.image_auroc, both),
            (self.image_average_precision, both),
            (self.image_f1_max, both),
            (self.false_positive_rate, good),
            (self.true_positive_rate, anomalous),
        ];
        self.model.as_ref() == Some(&model.checksum())
            && told.iter().all(|(figure, is_told)| figure.is_some() == *is_told)
            && self.figures().iter().all(|(_, figure)| (0.0..=1.0).contains(figure))
    }

    /// Whether it is of a model with this threshold or another one.
    pub(crate) fn is_by_at_any_threshold(&self, model: &Model) -> bool {
        self.model == Some(model.checksum_at(self.threshold))
    }

    /// The figures that the test split has.
    pub(crate) fn figures(&self) -> Vec<(Measure, f64)> {
        Measure::VARIANTS.iter().filter_map(|&measure| Some((measure, measure.of(self)?))).collect()
    }
}

/// A figure of an [`Evaluation`]; as JSON and in tables of files it has the name of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    ImageAuroc,
    ImageAveragePrecision,
    ImageF1Max,
    PixelAuroc,
    PixelAveragePrecision,
    Pro,
    PointingGame,
    FalsePositiveRate,
    TruePositiveRate,
}

/// What there is to know of a measure.
struct About {
    key: &'static str,
    name: &'static str,
    reading: &'static str,
    of: fn(&Evaluation) -> Option<f64>,
}

impl Measure {
    /// What tables show that have many rows.
    pub(crate) const MAIN: [Measure; 3] = [Measure::ImageAuroc, Measure::PixelAuroc, Measure::Pro];

    /// Its name in files.
    pub(crate) fn key(self) -> &'static str {
        self.about().key
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        self.about().name
    }

    /// How to read it.
    pub(crate) fn reading(self) -> &'static str {
        self.about().reading
    }

    /// Its value, where the test split has one.
    pub(crate) fn of(self, evaluation: &Evaluation) -> Option<f64> {
        (self.about().of)(evaluation)
    }

    /// Within what its value would lie on other images like these, where that is told.
    pub(crate) fn interval(self, evaluation: &Evaluation) -> Interval {
        let breakdown = &evaluation.breakdown;
        match self {
            Measure::ImageAuroc => breakdown.image_auroc_interval,
            Measure::FalsePositiveRate => breakdown.false_positive_rate_interval,
            Measure::TruePositiveRate => breakdown.true_positive_rate_interval,
            Measure::ImageAveragePrecision
            | Measure::ImageF1Max
            | Measure::PixelAuroc
            | Measure::PixelAveragePrecision
            | Measure::Pro
            | Measure::PointingGame => Interval::default(),
        }
    }

    fn about(self) -> About {
        match self {
            Measure::ImageAuroc => About {
                key: "image_auroc",
                name: "image AUROC",
                reading: "how often an anomalous image scores higher than a normal one: 1 is perfect, 0.5 is guessing",
                of: |e| e.image_auroc,
            },
            Measure::ImageAveragePrecision => About {
                key: "image_average_precision",
                name: "image AP",
                reading: "average precision: the share of anomalous images among those above a threshold, averaged over the anomalous \
                          images found; guessing reaches their share of the test images",
                of: |e| e.image_average_precision,
            },
            Measure::ImageF1Max => About {
                key: "image_f1_max",
                name: "image F1-max",
                reading: "F1, the harmonic mean of precision and recall, at the threshold where it is highest",
                of: |e| e.image_f1_max,
            },
            Measure::PixelAuroc => About {
                key: "pixel_auroc",
                name: "pixel AUROC",
                reading: "as image AUROC, of all pixels; large defects count more than small ones",
                of: |e| e.pixel_auroc,
            },
            Measure::PixelAveragePrecision => About {
                key: "pixel_average_precision",
                name: "pixel AP",
                reading: "as image AP, of all pixels; strict where few pixels are anomalous",
                of: |e| e.pixel_average_precision,
            },
            Measure::Pro => About {
                key: "pro",
                name: "PRO",
                reading: "per-region overlap: the covered share of each defect, whatever its size, averaged up to a false positive rate \
                          of 0.3",
                of: |e| e.pro,
            },
            Measure::PointingGame => About {
                key: "pointing_game",
                name: "pointing game",
                reading: "of the images with a marked defect, the share whose heatmap is hottest inside of one",
                of: |e| e.pointing_game,
            },
            Measure::FalsePositiveRate => About {
                key: "false_positive_rate",
                name: "false positive rate",
                reading: "the share of the normal images whose score exceeds the model's threshold",
                of: |e| e.false_positive_rate,
            },
            Measure::TruePositiveRate => About {
                key: "true_positive_rate",
                name: "true positive rate",
                reading: "the share of the anomalous images whose score exceeds the model's threshold",
                of: |e| e.true_positive_rate,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of evaluations and of sweeps call a figure the same.
    #[test]
    fn keys_are_the_fields_of_an_evaluation() {
        let evaluation: Evaluation = serde_json::from_value(serde_json::json!({
            "data": "parts",
            "image_auroc": 0.1, "image_average_precision": 0.2, "image_f1_max": 0.3, "image_f1_threshold": 9.0, "pixel_auroc": 0.4,
            "pixel_average_precision": 0.5, "pro": 0.6, "pointing_game": 0.9, "nominal": 1, "anomalous": 1, "threshold": 9.0,
            "false_positive_rate": 0.7, "true_positive_rate": 0.8
        }))
        .unwrap();
        let fields = serde_json::to_value(&evaluation).unwrap();
        for &measure in Measure::VARIANTS {
            assert_eq!(measure.of(&evaluation), fields[measure.key()].as_f64(), "{measure:?}");
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.key());
        }
    }
}
