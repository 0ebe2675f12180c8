//! Receiver operating characteristic: exact, ties averaged, for images and for many millions of pixels.

use crate::{Error, Result};
use rayon::slice::ParallelSliceMut;

/// A ROC curve from (0, 0) to (1, 1), with scikit-learn's (1.3 and later) conventions.
#[derive(Clone, Debug, PartialEq)]
pub struct RocCurve {
    /// False positive rate per point.
    pub fpr: Vec<f64>,
    /// True positive rate per point.
    pub tpr: Vec<f64>,
    /// A sample counts as positive from this score on; falling, the first is infinite.
    pub thresholds: Vec<f64>,
}

/// Area under the ROC curve of one score per sample, where `true` labels an anomaly: the probability that an anomalous sample
/// scores above a nominal one, with ½ for a tie. `None` when one of the two classes is missing; an error for NaN scores.
///
/// # Panics
/// When the lengths differ.
pub fn auroc(scores: &[f32], labels: &[bool]) -> Result<Option<f64>> {
    Ok(collect(scores, labels)?.auroc())
}

/// The ROC curve of one score per sample. `drop_intermediate` leaves out points on straight lines between their neighbours.
/// `None` when one of the two classes is missing; an error for NaN scores.
///
/// # Panics
/// When the lengths differ.
pub fn roc_curve(scores: &[f32], labels: &[bool], drop_intermediate: bool) -> Result<Option<RocCurve>> {
    Ok(collect(scores, labels)?.curve(drop_intermediate))
}

fn collect(scores: &[f32], labels: &[bool]) -> Result<PixelRoc> {
    let mut roc = PixelRoc::default();
    roc.extend(scores, labels, |&label| label)?;
    Ok(roc)
}

/// Collects the pixels of a test set image by image for one exact ROC.
///
/// Memory: 4 bytes per pixel, the score's bits in an order-preserving form, in one list per class; up to three times that for a
/// moment while a list moves to a larger place. Results do not depend on the order of pushing or on the number of threads.
#[derive(Clone, Debug, Default)]
pub struct PixelRoc {
    nominal: Vec<u32>,
    anomalous: Vec<u32>,
}

impl PixelRoc {
    /// Adds an image: one score per pixel, and a mask that is 0 for nominal pixels. NaN scores are an error and add nothing.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn push(&mut self, scores: &[f32], mask: &[u8]) -> Result<()> {
        self.extend(scores, mask, |&m| m != 0)
    }

    /// Area under the ROC curve so far, as [`auroc`]. Sorts in place; more images may follow.
    pub fn auroc(&mut self) -> Option<f64> {
        self.sort();
        let (n, p) = (self.nominal.len() as u128, self.anomalous.len() as u128);
        // Twice the number of pairs in the right order, ties counting once.
        let mut twice_won = 0u128;
        let mut nominal_above = 0;
        for (_, nominal, anomalous) in self.steps() {
            nominal_above += nominal;
            twice_won += anomalous as u128 * (2 * (n - nominal_above as u128) + nominal as u128);
        }
        (n > 0 && p > 0).then(|| twice_won as f64 / (2 * n * p) as f64)
    }

    /// The ROC curve so far, as [`roc_curve`]. Sorts in place; more images may follow.
    pub fn curve(&mut self, drop_intermediate: bool) -> Option<RocCurve> {
        if self.nominal.is_empty() || self.anomalous.is_empty() {
            return None;
        }
        self.sort();
        let mut counts = [0, 0];
        let mut points = Vec::new();
        for (key, nominal, anomalous) in self.steps() {
            counts = [counts[0] + nominal, counts[1] + anomalous];
            points.push((f64::from(score(key)), counts));
        }
        let straight = |i: usize| {
            let at = |i: usize| points[i].1;
            (0..2).all(|axis| at(i)[axis] - at(i - 1)[axis] == at(i + 1)[axis] - at(i)[axis])
        };
        let last = points.len() - 1;
        let kept = (0..=last).filter(|&i| !drop_intermediate || i == 0 || i == last || !straight(i)).map(|i| points[i]);
        let mut curve = RocCurve { fpr: Vec::new(), tpr: Vec::new(), thresholds: Vec::new() };
        for (threshold, [false_positives, true_positives]) in std::iter::once((f64::INFINITY, [0, 0])).chain(kept) {
            curve.fpr.push(false_positives as f64 / self.nominal.len() as f64);
            curve.tpr.push(true_positives as f64 / self.anomalous.len() as f64);
            curve.thresholds.push(threshold);
        }
        Some(curve)
    }

    /// The ROC curve so far with the points that are at least `step` apart from the one before along either axis, and the last:
    /// what a plot of many millions of pixels needs, in no more memory. Sorts in place; more images may follow.
    pub fn outline(&mut self, step: f64) -> Option<RocCurve> {
        if self.nominal.is_empty() || self.anomalous.is_empty() {
            return None;
        }
        self.sort();
        let mut curve = RocCurve { fpr: vec![0.0], tpr: vec![0.0], thresholds: vec![f64::INFINITY] };
        let (n, p) = (self.nominal.len(), self.anomalous.len());
        let (mut false_positives, mut true_positives, mut kept) = (0, 0, (0.0, 0.0));
        for (key, nominal, anomalous) in self.steps() {
            false_positives += nominal;
            true_positives += anomalous;
            let at = (false_positives as f64 / n as f64, true_positives as f64 / p as f64);
            if at.0 - kept.0 >= step || at.1 - kept.1 >= step || (false_positives, true_positives) == (n, p) {
                curve.fpr.push(at.0);
                curve.tpr.push(at.1);
                curve.thresholds.push(f64::from(score(key)));
                kept = at;
            }
        }
        Some(curve)
    }

    fn extend<L>(&mut self, scores: &[f32], labels: &[L], is_anomalous: impl Fn(&L) -> bool) -> Result<()> {
        assert_eq!(scores.len(), labels.len(), "one label per score");
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Numeric {
                problem: format!("score {at} of {} is not a number", scores.len()),
                remedy: "the net has diverged: train it again with a lower learning rate".into(),
            });
        }
        for (&score, label) in scores.iter().zip(labels) {
            let list = if is_anomalous(label) { &mut self.anomalous } else { &mut self.nominal };
            list.push(key(score));
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.nominal.par_sort_unstable();
        self.anomalous.par_sort_unstable();
    }

    /// From the highest score down: each distinct key of the sorted lists, with how many nominal and anomalous pixels have it.
    fn steps(&self) -> impl Iterator<Item = (u32, usize, usize)> {
        let (mut nominal, mut anomalous) = (&self.nominal[..], &self.anomalous[..]);
        std::iter::from_fn(move || {
            let key = nominal.last().max(anomalous.last()).copied()?;
            Some((key, take(&mut nominal, key), take(&mut anomalous, key)))
        })
    }
}

/// Cuts the run of `key` off the end of a sorted list; its length.
fn take(list: &mut &[u32], key: u32) -> usize {
    let run = list.iter().rev().take_while(|&&k| k == key).count();
    *list = &list[..list.len() - run];
    run
}

/// Bits that sort as the scores do; the two zeros are one.
fn key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The score of a [`key`].
fn score(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // from sklearn.metrics import roc_auc_score, roc_curve  # 1.9.1
    // s = [.1, .4, .35, .8, .4, .4, .7, .05]; y = [0, 0, 1, 1, 1, 0, 1, 0]
    const SCORES: [f32; 8] = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.7, 0.05];
    const LABELS: [bool; 8] = [false, false, true, true, true, false, true, false];

    /// roc_auc_score(y, s)
    #[test]
    fn area_equals_scikit_learn() {
        assert_eq!(auroc(&SCORES, &LABELS).unwrap(), Some(0.8125));
    }

    /// roc_curve(y, s, drop_intermediate=False) and roc_curve(y, s)
    #[test]
    fn curve_equals_scikit_learn() {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let all = roc_curve(&SCORES, &LABELS, false).unwrap().unwrap();
        assert_eq!(all.fpr, [0.0, 0.0, 0.0, 0.5, 0.5, 0.75, 1.0]);
        assert_eq!(all.tpr, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(all.thresholds, wide(&[f32::INFINITY, 0.8, 0.7, 0.4, 0.35, 0.1, 0.05]));
        let dropped = roc_curve(&SCORES, &LABELS, true).unwrap().unwrap();
        assert_eq!(dropped.fpr, [0.0, 0.0, 0.0, 0.5, 0.5, 1.0]);
        assert_eq!(dropped.tpr, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(dropped.thresholds, wide(&[f32::INFINITY, 0.8, 0.7, 0.4, 0.35, 0.05]));
    }

    #[test]
    fn an_outline_is_the_curve_without_its_small_steps() {
        let mut roc = collect(&SCORES, &LABELS).unwrap();
        assert_eq!(roc.outline(0.0), roc.curve(false));
        let outline = roc.outline(0.5).unwrap();
        assert_eq!((outline.fpr, outline.tpr), (vec![0.0, 0.0, 0.5, 1.0], vec![0.0, 0.5, 0.75, 1.0]));
        assert_eq!(collect(&[1.0], &[true]).unwrap().outline(0.1), None);
    }

    #[test]
    fn a_missing_class_has_no_curve() {
        assert_eq!(auroc(&[], &[]).unwrap(), None);
        assert_eq!(auroc(&[1.0, 2.0], &[true, true]).unwrap(), None);
        assert_eq!(roc_curve(&[1.0, 2.0], &[false, false], true).unwrap(), None);
    }

    #[test]
    fn nan_is_an_error_and_adds_nothing() {
        let mut roc = PixelRoc::default();
        roc.push(&[0.0, 1.0], &[0, 1]).unwrap();
        let error = roc.push(&[0.5, f32::NAN], &[1, 0]).unwrap_err();
        assert!(matches!(&error, Error::Numeric { problem, .. } if problem.contains("score 1 of 2")), "{error}");
        assert_eq!(roc.auroc(), Some(1.0));
    }

    #[test]
    fn keys_sort_like_scores() {
        let scores = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 3.0, f32::INFINITY];
        assert!(scores.map(key).is_sorted());
        assert_eq!(scores.map(|s| score(key(s))), scores);
        assert_eq!(key(-0.0), key(0.0));
    }

    /// Small integers make ties; halves of negative ones test the sign.
    fn cases() -> impl Strategy<Value = Vec<(f32, bool)>> {
        prop::collection::vec(((-6i8..6).prop_map(|v| f32::from(v) * 0.5), any::<bool>()), 0..60)
    }

    proptest! {
        #[test]
        fn area_equals_the_share_of_ordered_pairs(cases in cases()) {
            let of = |class: bool| cases.iter().filter(move |c| c.1 == class).map(|c| c.0);
            let pairs: Vec<f64> = of(true)
                .flat_map(|a| of(false).map(move |n| if a > n { 1.0 } else if a == n { 0.5 } else { 0.0 }))
                .collect();
            let expected = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
            let (scores, labels): (Vec<f32>, Vec<bool>) = cases.iter().copied().unzip();
            prop_assert_eq!(auroc(&scores, &labels).unwrap(), expected);
            // In pieces, backwards, as pixels.
            let mut roc = PixelRoc::default();
            for piece in cases.chunks(7).rev() {
                let (scores, mask): (Vec<f32>, Vec<u8>) = piece.iter().map(|&(s, l)| (s, u8::from(l))).unzip();
                roc.push(&scores, &mask).unwrap();
            }
            prop_assert_eq!(roc.auroc(), expected);
        }

        #[test]
        fn area_under_either_curve_is_the_same(cases in cases()) {
            let (scores, labels): (Vec<f32>, Vec<bool>) = cases.into_iter().unzip();
            for drop_intermediate in [false, true] {
                let area = roc_curve(&scores, &labels, drop_intermediate).unwrap().map(|curve| {
                    (1..curve.fpr.len())
                        .map(|i| (curve.fpr[i] - curve.fpr[i - 1]) * (curve.tpr[i] + curve.tpr[i - 1]) / 2.0)
                        .sum::<f64>()
                });
                match (area, auroc(&scores, &labels).unwrap()) {
                    (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }
}
