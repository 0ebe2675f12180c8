//! How well scores tell anomalous images and pixels from normal ones.
//!
//! | file | holds |
//! | --- | --- |
//! | [`scores`] | collects the scores of images or pixels, and ranks them once for all figures |
//! | [`roc`] | area under the ROC curve, and the curve |
//! | [`precision_recall`] | average precision, best F1 |
//! | [`pro`] | per-region overlap |
//! | [`regions`], [`contour`] | connected regions of a mask; their outer borders |
//! | [`conformal`] | thresholds that keep to a false positive rate |
//! | [`intervals`] | within what figures would lie on other images like these |
//! | [`two_samples`] | whether scores come from where others came from |
//!
//! Every figure counts all scores as they are, without bins: samples with equal scores enter together. Counts are
//! integers, so no figure depends on the order of collecting or on the number of threads.

use crate::real::Real;

pub(crate) mod conformal;
pub(crate) mod contour;
pub(crate) mod intervals;
pub(crate) mod precision_recall;
pub(crate) mod pro;
pub(crate) mod regions;
pub(crate) mod roc;
pub(crate) mod scores;
pub(crate) mod two_samples;

/// The smallest value that a share `q` of all values does not exceed; 0 without values.
pub fn quantile<T: Real>(values: &[T], q: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.f64().total_cmp(&b.f64()));
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0f32];
        assert_eq!([0.0, 0.2, 0.21, 0.5, 0.99, 1.0].map(|q| quantile(&values, q)), [1.0, 1.0, 2.0, 3.0, 5.0, 5.0]);
        assert_eq!(quantile::<f64>(&[], 0.5), 0.0);
    }
}
