//! Receiver operating characteristic.

use super::scores::{Ranking, Threshold};

/// A ROC curve from (0, 0) to (1, 1), with scikit-learn's (1.3 and later) conventions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RocCurve {
    /// False positive rate per point.
    pub fpr: Vec<f64>,
    /// True positive rate per point.
    pub tpr: Vec<f64>,
    /// A sample counts as positive from this score on; falling, the first is infinite.
    pub thresholds: Vec<f64>,
}

impl Ranking {
    /// The score from which on a sample counts as positive where true and false positive rate differ most (Youden's index, Cancer 3, 1950); the
    /// highest of several. None where a class is missing.
    pub(crate) fn best_youden(&self) -> Option<f32> {
        let (normal, anomalous) = self.classes()?;
        let index = |step: &Threshold| {
            step.true_positives as f64 / anomalous as f64 - step.false_positives as f64 / normal as f64
        };
        let steps = self.steps().map(|step| (index(&step), step.threshold));
        steps.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, threshold)| threshold)
    }

    /// Area under the ROC curve: the probability that an anomalous sample scores above a normal one, with ½ for a tie.
    /// None where a class is missing.
    pub(crate) fn auroc(&self) -> Option<f64> {
        let (normal, anomalous) = self.classes()?;
        // Twice the number of pairs in the right order, ties counting once.
        let won = |below: usize, tied: usize| 2 * below as u128 + tied as u128;
        let twice_won: u128 =
            self.steps().map(|step| step.anomalous() as u128 * won(normal - step.false_positives, step.normal)).sum();
        Some(twice_won as f64 / (2 * normal as u128 * anomalous as u128) as f64)
    }

    /// The ROC curve. `drop_intermediate` leaves out points on straight lines between their neighbours. None where a
    /// class is missing.
    pub(crate) fn roc_curve(&self, drop_intermediate: bool) -> Option<RocCurve> {
        let (normal, anomalous) = self.classes()?;
        let points: Vec<_> =
            self.steps().map(|step| (f64::from(step.threshold), [step.false_positives, step.true_positives])).collect();
        let straight = |i: usize| {
            let at = |i: usize| points[i].1;
            (0..2).all(|axis| at(i)[axis] - at(i - 1)[axis] == at(i + 1)[axis] - at(i)[axis])
        };
        let last = points.len() - 1;
        let kept = (0..=last).filter(|&i| !drop_intermediate || i == 0 || i == last || !straight(i)).map(|i| points[i]);
        let mut curve = RocCurve { fpr: Vec::new(), tpr: Vec::new(), thresholds: Vec::new() };
        for (threshold, [false_positives, true_positives]) in std::iter::once((f64::INFINITY, [0, 0])).chain(kept) {
            curve.fpr.push(false_positives as f64 / normal as f64);
            curve.tpr.push(true_positives as f64 / anomalous as f64);
            curve.thresholds.push(threshold);
        }
        Some(curve)
    }

    /// The ROC curve with the points that are at least `step` apart from the one before along either axis, and the last: what a
    /// plot of many millions of pixels needs, in no more memory. None where a class is missing.
    pub(crate) fn roc_outline(&self, step: f64) -> Option<RocCurve> {
        let (normal, anomalous) = self.classes()?;
        let mut curve = RocCurve { fpr: vec![0.0], tpr: vec![0.0], thresholds: vec![f64::INFINITY] };
        let mut kept = (0.0, 0.0);
        for point in self.steps() {
            let at = (point.false_positives as f64 / normal as f64, point.true_positives as f64 / anomalous as f64);
            if at.0 - kept.0 >= step || at.1 - kept.1 >= step || at == (1.0, 1.0) {
                curve.fpr.push(at.0);
                curve.tpr.push(at.1);
                curve.thresholds.push(f64::from(point.threshold));
                kept = at;
            }
        }
        Some(curve)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scores::tests::{eight, samples, thousand};
    use super::super::scores::{Ranking, Scores};
    use proptest::prelude::*;

    /// `roc_auc_score(y, s)`, scikit-learn 1.9.1
    #[test]
    fn area_equals_scikit_learn() {
        assert_eq!(eight().auroc(), Some(0.8125));
        approx::assert_relative_eq!(thousand().auroc().unwrap(), 0.6768899908502711, max_relative = 1e-14);
    }

    /// `roc_curve(y, s, drop_intermediate=False)` and `roc_curve(y, s)`, scikit-learn 1.9.1
    #[test]
    fn curve_equals_scikit_learn() {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let all = eight().roc_curve(false).unwrap();
        assert_eq!(all.fpr, [0.0, 0.0, 0.0, 0.5, 0.5, 0.75, 1.0]);
        assert_eq!(all.tpr, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(all.thresholds, wide(&[f32::INFINITY, 0.8, 0.7, 0.4, 0.35, 0.1, 0.05]));
        let dropped = eight().roc_curve(true).unwrap();
        assert_eq!(dropped.fpr, [0.0, 0.0, 0.0, 0.5, 0.5, 1.0]);
        assert_eq!(dropped.tpr, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(dropped.thresholds, wide(&[f32::INFINITY, 0.8, 0.7, 0.4, 0.35, 0.05]));
    }

    /// `fpr, tpr, t = roc_curve(y, s); t[(tpr - fpr).argmax()]`, scikit-learn 1.9.1, by the curve above
    #[test]
    fn the_best_difference_is_that_of_the_curve() {
        assert_eq!(eight().best_youden(), Some(0.7));
        assert_eq!(Ranking::of_samples(&[1.0], &[true]).unwrap().best_youden(), None);
        let curve = thousand().roc_curve(false).unwrap();
        let differences: Vec<f64> = curve.tpr.iter().zip(&curve.fpr).map(|(t, f)| t - f).collect();
        let best = differences.iter().copied().fold(0.0, f64::max);
        let at = differences.iter().position(|&d| d == best).unwrap();
        assert_eq!(thousand().best_youden().map(f64::from), Some(curve.thresholds[at]));
    }

    #[test]
    fn an_outline_is_the_curve_without_its_small_steps() {
        let eight = eight();
        assert_eq!(eight.roc_outline(0.0), eight.roc_curve(false));
        let outline = eight.roc_outline(0.5).unwrap();
        assert_eq!((outline.fpr, outline.tpr), (vec![0.0, 0.0, 0.5, 1.0], vec![0.0, 0.5, 0.75, 1.0]));
        assert_eq!(Ranking::of_samples(&[1.0], &[true]).unwrap().roc_outline(0.1), None);
    }

    proptest! {
        #[test]
        fn area_equals_the_share_of_ordered_pairs((scores, labels) in samples()) {
            let of = |class: bool| scores.iter().zip(&labels).filter(move |s| *s.1 == class).map(|s| *s.0);
            let pairs: Vec<f64> = of(true)
                .flat_map(|a| of(false).map(move |n| if a > n { 1.0 } else if a == n { 0.5 } else { 0.0 }))
                .collect();
            let expected = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
            prop_assert_eq!(Ranking::of_samples(&scores, &labels).unwrap().auroc(), expected);
            // In pieces, backwards.
            let mut pieces = Scores::default();
            for (scores, labels) in scores.chunks(7).zip(labels.chunks(7)).rev() {
                pieces.push_samples(scores, labels).unwrap();
            }
            prop_assert_eq!(pieces.rank().auroc(), expected);
        }

        #[test]
        fn area_under_either_curve_is_the_same((scores, labels) in samples()) {
            let ranking = Ranking::of_samples(&scores, &labels).unwrap();
            for drop_intermediate in [false, true] {
                let area = ranking.roc_curve(drop_intermediate).map(|curve| {
                    (1..curve.fpr.len())
                        .map(|i| (curve.fpr[i] - curve.fpr[i - 1]) * (curve.tpr[i] + curve.tpr[i - 1]) / 2.0)
                        .sum::<f64>()
                });
                match (area, ranking.auroc()) {
                    (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }
}
