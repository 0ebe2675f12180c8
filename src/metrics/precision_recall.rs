//! Precision and recall.

use super::scores::Ranking;

/// The best compromise between precision and recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BestF1 {
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// A sample counts as positive from this score on; the highest such score where several reach the best F1.
    pub threshold: f32,
}

impl Ranking {
    /// Average precision Σ (Rₙ − Rₙ₋₁) Pₙ over all thresholds, as scikit-learn's `average_precision_score`. None where
    /// a class is missing.
    pub(crate) fn average_precision(&self) -> Option<f64> {
        let (_, anomalous) = self.classes()?;
        let sum: f64 = self
            .steps()
            .map(|step| {
                let selected = step.true_positives + step.false_positives;
                step.anomalous() as f64 * (step.true_positives as f64 / selected as f64)
            })
            .sum();
        Some(sum / anomalous as f64)
    }

    /// The highest F1 = 2 PR / (P + R) over all thresholds (F1-max). None where a class is missing.
    pub(crate) fn best_f1(&self) -> Option<BestF1> {
        let (_, anomalous) = self.classes()?;
        let mut best = BestF1 { f1: 0.0, threshold: f32::INFINITY };
        for step in self.steps() {
            let selected = step.true_positives + step.false_positives;
            let f1 = 2.0 * step.true_positives as f64 / (selected + anomalous) as f64;
            if f1 > best.f1 {
                best = BestF1 { f1, threshold: step.threshold };
            }
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scores::tests::{eight, samples, thousand};
    use super::*;
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    /// `average_precision_score(y, s)`, scikit-learn 1.9.1
    #[test]
    fn average_precision_equals_scikit_learn() {
        assert_relative_eq!(eight().average_precision().unwrap(), 0.8166666666666667, max_relative = 1e-15);
        assert_relative_eq!(thousand().average_precision().unwrap(), 0.6518007258533199, max_relative = 1e-14);
    }

    /// `p, r, t = precision_recall_curve(y, s); f = 2 * p * r / (p + r); f[:-1].max(), t[f[:-1].argmax()]`,
    /// scikit-learn 1.9.1
    #[test]
    fn best_f1_equals_scikit_learn() {
        assert_eq!(eight().best_f1(), Some(BestF1 { f1: 0.8, threshold: 0.35 }));
        let BestF1 { f1, threshold } = thousand().best_f1().unwrap();
        assert_relative_eq!(f1, 0.6509505703422053, max_relative = 1e-15);
        assert_eq!(threshold, 20.0);
    }

    #[test]
    fn perfect_and_constant_scores() {
        let perfect = Ranking::of_samples(&[0.1, 0.8, 0.2, 0.7], &[false, true, false, true]).unwrap();
        assert_eq!(perfect.average_precision(), Some(1.0));
        assert_eq!(perfect.best_f1(), Some(BestF1 { f1: 1.0, threshold: 0.7 }));
        // All or none: precision is the share of anomalies, recall 1.
        let constant = Ranking::of_samples(&[0.5; 4], &[false, true, false, false]).unwrap();
        assert_eq!(constant.average_precision(), Some(0.25));
        assert_eq!(constant.best_f1(), Some(BestF1 { f1: 0.4, threshold: 0.5 }));
    }

    #[test]
    fn the_highest_of_equally_good_thresholds_counts() {
        // F1 is ⅔ with the first sample and with all four.
        let ranking = Ranking::of_samples(&[4.0, 3.0, 2.0, 1.0], &[true, false, false, true]).unwrap();
        assert_eq!(ranking.best_f1(), Some(BestF1 { f1: 2.0 / 3.0, threshold: 4.0 }));
    }

    proptest! {
        #[test]
        fn both_equal_their_definitions((scores, labels) in samples()) {
            let ranking = Ranking::of_samples(&scores, &labels).unwrap();
            let positives = labels.iter().filter(|&&l| l).count() as f64;
            let mut thresholds = scores.clone();
            thresholds.sort_by(|a, b| b.total_cmp(a));
            thresholds.dedup();
            let (mut recall_before, mut average_precision, mut best) = (0.0, 0.0, 0.0f64);
            for threshold in thresholds {
                let selected = (0..scores.len()).filter(|&i| scores[i] >= threshold);
                let selected: Vec<bool> = selected.map(|i| labels[i]).collect();
                let hits = selected.iter().filter(|&&l| l).count() as f64;
                let (precision, recall) = (hits / selected.len() as f64, hits / positives);
                average_precision += (recall - recall_before) * precision;
                recall_before = recall;
                if hits > 0.0 {
                    best = best.max(2.0 * precision * recall / (precision + recall));
                }
            }
            match (ranking.average_precision(), ranking.best_f1()) {
                (Some(ours), Some(f1)) => {
                    prop_assert!((ours - average_precision).abs() < 1e-12, "{} {}", ours, average_precision);
                    prop_assert!((f1.f1 - best).abs() < 1e-12, "{} {}", f1.f1, best);
                }
                neither => {
                    prop_assert_eq!(neither, (None, None));
                    prop_assert!(positives == 0.0 || positives == labels.len() as f64);
                }
            }
        }
    }
}
