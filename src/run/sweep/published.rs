//! What others report on the same tasks: means over classes and five seeds of the area under the ROC curve.
//!
//! The means come from summaries of the paper (Liznerski et al., "Explainable Deep One-Class Classification", ICLR 2021) that agree
//! with its abstract. Figures per class are quoted from memory; their averages equal the means: for orientation only.

use serde::Serialize;

use crate::datasets::DatasetKind;
use crate::datasets::cifar10::CIFAR10;
use crate::datasets::fmnist::FMNIST;
use crate::datasets::imagenet::{IMAGENET, IMAGENET_30};
use crate::datasets::mvtec::MVTEC;
use crate::run::figures::Measure;

/// A row of a published table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Published {
    pub dataset: DatasetKind,
    pub method: &'static str,
    pub measure: Measure,
    /// Over the classes.
    pub mean: f64,
    /// Over the classes, where it is known.
    pub sd: Option<f64>,
    /// Per class; none, or one for each of `classes`. For orientation only.
    pub per_class: &'static [f64],
    /// Whether labelled anomalies were learned from.
    pub labelled: bool,
}

/// Classes that the published means of a dataset are over.
pub(crate) fn class_count(dataset: DatasetKind) -> usize {
    if dataset == IMAGENET { IMAGENET_30.len() } else { classes(dataset).split_whitespace().count() }
}

/// The rows that concern a dataset.
pub(crate) fn published(dataset: DatasetKind) -> Vec<Published> {
    TABLE.iter().filter(|row| row.dataset == dataset).copied().collect()
}

impl Published {
    /// The figure of one class.
    pub(crate) fn of_class(&self, class: &str) -> Option<f64> {
        let at = classes(self.dataset).split_whitespace().position(|name| name == class)?;
        self.per_class.get(at).copied()
    }
}

/// Classes in the order of the published figures; none where none are published.
fn classes(dataset: DatasetKind) -> &'static str {
    CLASSES.iter().find(|(of, _)| *of == dataset).map_or("", |(_, classes)| classes)
}

const CLASSES: [(DatasetKind, &str); 3] = [
    (FMNIST, "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"),
    (CIFAR10, "airplane automobile bird cat deer dog frog horse ship truck"),
    (
        MVTEC,
        "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper",
    ),
];

const fn image(dataset: DatasetKind, method: &'static str, mean: f64) -> Published {
    Published { dataset, method, measure: Measure::ImageAuroc, mean, sd: None, per_class: &[], labelled: false }
}

const fn pixel(method: &'static str, mean: f64) -> Published {
    Published { dataset: MVTEC, method, measure: Measure::PixelAuroc, mean, sd: None, per_class: &[], labelled: false }
}

const TABLE: [Published; 31] = [
    Published {
        per_class: &[0.82, 0.98, 0.84, 0.92, 0.87, 0.90, 0.75, 0.99, 0.86, 0.94],
        ..image(FMNIST, "FCDD, CIFAR-100 as outliers", 0.89)
    },
    image(FMNIST, "FCDD, EMNIST as outliers", 0.86),
    image(FMNIST, "AE", 0.82),
    image(FMNIST, "Deep SVDD", 0.93),
    image(FMNIST, "GEO", 0.94),
    Published {
        per_class: &[0.95, 0.96, 0.91, 0.90, 0.94, 0.93, 0.97, 0.96, 0.97, 0.96],
        ..image(CIFAR10, "FCDD, CIFAR-100 as outliers", 0.95)
    },
    image(CIFAR10, "HSC with outliers", 0.96),
    image(CIFAR10, "Deep SAD with outliers", 0.95),
    image(CIFAR10, "GEO+ with outliers", 0.96),
    image(CIFAR10, "Focal", 0.87),
    image(CIFAR10, "AE", 0.59),
    image(CIFAR10, "Deep SVDD", 0.65),
    image(CIFAR10, "GEO", 0.86),
    image(CIFAR10, "GEO+", 0.90),
    image(IMAGENET, "FCDD, ImageNet-22k as outliers", 0.94),
    image(IMAGENET, "HSC with outliers", 0.97),
    image(IMAGENET, "Deep SAD with outliers", 0.97),
    image(IMAGENET, "GEO+", 0.86),
    image(IMAGENET, "Focal", 0.56),
    image(IMAGENET, "AE", 0.56),
    Published {
        sd: Some(0.04),
        per_class: &[0.97, 0.90, 0.93, 0.96, 0.91, 0.95, 0.98, 0.94, 0.81, 0.86, 0.91, 0.94, 0.88, 0.88, 0.92],
        ..pixel("FCDD, unsupervised", 0.92)
    },
    Published {
        sd: Some(0.02),
        labelled: true,
        per_class: &[0.96, 0.93, 0.95, 0.99, 0.95, 0.97, 0.99, 0.98, 0.97, 0.93, 0.98, 0.95, 0.90, 0.94, 0.98],
        ..pixel("FCDD, one labelled anomaly per type of defect", 0.96)
    },
    pixel("AE-SS", 0.86),
    pixel("AE-L2", 0.82),
    pixel("AnoGAN", 0.74),
    pixel("CNNFD", 0.78),
    pixel("VEVAE", 0.86),
    pixel("SMAI", 0.89),
    pixel("GDR", 0.89),
    pixel("P-NET", 0.89),
    // The paper's ablation of the heatmaps' Gaussian.
    pixel("FCDD, unsupervised, Gaussian of σ = 4", 0.857),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::dataset::known_classes;

    #[test]
    fn figures_per_class_average_to_the_means() {
        let with_classes = || TABLE.iter().filter(|row| !row.per_class.is_empty());
        assert_eq!(with_classes().count(), 4);
        for row in with_classes() {
            assert_eq!(classes(row.dataset).split_whitespace().count(), row.per_class.len(), "{}", row.method);
            let mean = row.per_class.iter().sum::<f64>() / row.per_class.len() as f64;
            // Both are given to two digits.
            assert!((mean - row.mean).abs() < 0.01, "{}: {mean}", row.method);
        }
    }

    #[test]
    fn classes_are_called_as_the_data_set_calls_them() {
        let data = tempfile::tempdir().unwrap();
        let names = known_classes(FMNIST, Some(data.path())).unwrap();
        assert_eq!(names.join(" "), classes(FMNIST));
        assert_eq!(TABLE[0].of_class("bag"), Some(0.86));
        assert_eq!(TABLE[0].of_class("hat").or(TABLE[1].of_class("bag")), None);
    }
}
