//! What a model knows of the scores of good images: its threshold and what that promises, scores that people can compare, and whether new
//! images score as those did.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::two_samples::{TwoSamples, kolmogorov_smirnov};
use crate::metrics::{conformal, quantile};

/// The false positive rate that a threshold is set for where no other is asked for and there are images enough.
pub(crate) const RATE: f64 = 0.01;

/// The smallest that may be asked for.
pub(crate) const LEAST_RATE: f64 = 1e-4;

/// The largest.
pub(crate) const MOST_RATE: f64 = 0.5;

/// Fewest images whose scores say whether others come from where they came from.
const FEWEST_COMPARED: usize = 8;

/// Scores of good images, by which a threshold is set and others are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    pub images: CalibrationImages,
    /// Rising.
    pub scores: Vec<f32>,
    /// What the threshold promises: the share of good images, those to come included, whose score exceeds it, is at most this on average.
    /// None where it promises nothing.
    pub false_positive_rate: Option<f64>,
    /// Where the threshold would lie on other images like these, in 95 of 100 cases.
    pub interval: Option<[f32; 2]>,
    /// The value that the heatmaps of as many good images exceed anywhere, before they are scaled.
    pub pixel_threshold: f32,
}

/// What good images a model was calibrated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CalibrationImages {
    /// Those that it has learned from: nothing is promised.
    Learned,
    /// Some that were held out of training.
    HeldOut,
    /// Others, after training.
    Given,
    /// Some that were given after training, where it is not known what the model has learned from.
    Unchecked,
}

impl CalibrationImages {
    /// Whether they set the threshold after training.
    pub(crate) fn came_later(self) -> bool {
        matches!(self, CalibrationImages::Given | CalibrationImages::Unchecked)
    }
}

/// The false positive rate that so many images can promise, of those that were asked for or are the default.
///
/// # Errors
/// A rate that was asked for and takes more images: how many, as `source` calls them.
pub(crate) fn promised(asked: Option<f64>, images: usize, source: &str) -> Result<f64> {
    match asked {
        None => Ok(RATE.max(conformal::smallest_rate(images))),
        Some(rate) if conformal::place(images, rate).is_some() => Ok(rate),
        Some(rate) => Err(too_few(source, rate, images)),
    }
}

pub(super) fn too_few(source: &str, rate: f64, images: usize) -> Error {
    let problem = format!(
        "a false positive rate of {} % takes {} good images that nothing was learned from: {source} gives {images}",
        // As it was asked for, without what is due to rounding alone.
        (1e12 * rate).round() / 1e10,
        conformal::needed(rate)
    );
    let remedy = match images {
        0 => "add good images".to_string(),
        _ => format!("add good images, or choose {} or more", percent(conformal::smallest_rate(images))),
    };
    Error::setting(problem, remedy)
}

/// A rate that is promised, in per cent with two decimals, rounded up: what it says is kept, and can be asked for.
pub(crate) fn percent(rate: f64) -> String {
    let text = format!("{:.2}", (1e4 * rate - 1e-6).ceil() / 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Calibration {
    /// Fails unless it can be what a model was calibrated by: for values that come from a file.
    pub(crate) fn check(&self) -> Result<()> {
        let changed = |problem: &str| Err(Error::setting(problem.to_string(), "the file was changed"));
        let Calibration { scores, false_positive_rate, interval, pixel_threshold, .. } = self;
        if scores.is_empty() || scores.iter().any(|score| !score.is_finite() || *score < 0.0) || !scores.is_sorted() {
            return changed("the scores that it was calibrated on are no rising numbers from 0");
        }
        let promised = |rate: f64| rate <= MOST_RATE && conformal::place(scores.len(), rate).is_some();
        if false_positive_rate.is_some_and(|rate| !promised(rate)) {
            return changed("its scores do not promise the false positive rate of its threshold");
        }
        if !pixel_threshold.is_finite() || interval.is_some_and(|ends| !ends.is_sorted()) {
            return changed("its threshold of pixels, or the interval of its threshold, is no number");
        }
        Ok(())
    }

    /// Whether a threshold is no lower than what it promises takes, and within its interval.
    pub(crate) fn is_kept_by(&self, threshold: f32) -> bool {
        let place = self.false_positive_rate.and_then(|rate| conformal::place(self.scores.len(), rate));
        place.is_none_or(|place| self.scores[place] <= threshold)
            && self.interval.is_none_or(|[low, high]| (low..=high).contains(&threshold))
    }

    /// Whether other images score as those did that nothing was learned from; None where that cannot be told.
    pub(crate) fn compare(&self, scores: &[f32]) -> Option<TwoSamples> {
        let enough = self.scores.len().min(scores.len()) >= FEWEST_COMPARED;
        (enough && self.images != CalibrationImages::Learned).then(|| {
            let mut scores = scores.to_vec();
            scores.sort_by(f32::total_cmp);
            kolmogorov_smirnov(&self.scores, &scores)
        })
    }

    /// What the threshold promises, in words.
    pub(crate) fn promise(&self) -> String {
        let n = self.scores.len();
        let images = match self.images {
            CalibrationImages::Learned => "that were learned from",
            CalibrationImages::HeldOut => "that were held out of training",
            CalibrationImages::Given => "that nothing was learned from",
            CalibrationImages::Unchecked => "of which it is not known whether they were learned from",
        };
        match self.false_positive_rate {
            Some(rate) if self.images == CalibrationImages::Unchecked => {
                let rate = percent(rate);
                format!(
                    "at most {rate} of good images exceed it, if nothing was learned from the {n} that set it, which is not known"
                )
            }
            Some(rate) => format!("at most {} of good images exceed it, by {n} images {images}", percent(rate)),
            None => format!("it promises nothing of new images: it was set by {n} good images {images}"),
        }
    }
}

/// A score from 0 to 1 that people can compare: ½ at the threshold t, ¼ at the median m of the calibration's scores (0 without one), in the order
/// of the scores s: with x = (s − t) / (t − m), ½ + x / (2 (1 + |x|)). Where the median is not below the threshold, |t| takes the place of t − m.
pub(crate) fn normalized(score: f32, threshold: f32, calibration: Option<&Calibration>) -> f64 {
    let x = (f64::from(score) - f64::from(threshold)) / unit(threshold, calibration);
    0.5 + x / (2.0 * (1.0 + x.abs()))
}

/// What the distance of a score from the threshold is [measured](normalized) in.
pub(crate) fn unit(threshold: f32, calibration: Option<&Calibration>) -> f64 {
    let threshold = f64::from(threshold);
    let median = calibration.map_or(0.0, |calibration| f64::from(quantile(&calibration.scores, 0.5)));
    let unit = if median < threshold { threshold - median } else { threshold.abs() };
    unit.max(f64::from(f32::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the scores 1, 2 … n.
    fn calibration(n: usize, images: CalibrationImages) -> Calibration {
        let scores = (1..=n).map(|i| i as f32).collect();
        Calibration { images, scores, false_positive_rate: Some(0.1), interval: Some([1.0, 2.0]), pixel_threshold: 1.0 }
    }

    #[test]
    fn what_cannot_be_promised_is_refused_with_what_could() {
        assert_eq!(promised(None, 99, "").unwrap(), 0.01);
        assert_eq!(promised(None, 9, "").unwrap(), 0.1);
        let refused = promised(Some(0.01), 40, "a fifth of 200").unwrap_err().to_string();
        assert!(
            refused.contains("1 % takes 99") && refused.contains("gives 40") && refused.contains("2.44 %"),
            "{refused}"
        );
        // A rate is told as it was asked for: one that is only just too small is not told to be enough.
        let refused = promised(Some(0.032258), 30, "").unwrap_err().to_string();
        assert!(refused.contains("3.2258 % takes 31") && refused.contains("choose 3.23 % or more"), "{refused}");
        promised(Some(0.0323), 30, "").unwrap();
    }

    #[test]
    fn what_cannot_be_a_calibration_is_refused() {
        let good = calibration(9, CalibrationImages::Given);
        good.check().unwrap();
        for wrong in [
            Calibration { scores: Vec::new(), ..good.clone() },
            Calibration { scores: vec![1.0, f32::NAN], ..good.clone() },
            Calibration { scores: vec![2.0, 1.0], ..good.clone() },
            Calibration { false_positive_rate: Some(0.0), ..good.clone() },
            Calibration { false_positive_rate: Some(1.0), ..good.clone() },
            Calibration { interval: Some([2.0, 1.0]), ..good.clone() },
            Calibration { pixel_threshold: f32::INFINITY, ..good.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        let kept = Calibration { interval: Some([8.0, 9.5]), ..good };
        assert_eq!([8.9, 9.0, 9.5, 9.6].map(|threshold| kept.is_kept_by(threshold)), [false, true, true, false]);
    }

    #[test]
    fn normalized_scores_are_in_the_order_of_scores() {
        let calibration = calibration(99, CalibrationImages::HeldOut);
        let of = |score| normalized(score, 90.0, Some(&calibration));
        assert_eq!((of(90.0), of(50.0), of(130.0)), (0.5, 0.25, 0.75));
        // Neighbouring floats are told apart over eight decades around the threshold.
        let mut scores: Vec<f32> = (-40..=40).map(|e| 90.0 * 10f32.powf(e as f32 / 10.0)).collect();
        scores.extend(scores.clone().into_iter().map(f32::next_up));
        scores.sort_by(f32::total_cmp);
        assert!(scores.windows(2).all(|pair| pair[0] == pair[1] || of(pair[0]) < of(pair[1])));
        assert!(of(0.0) > 0.0 && of(f32::MAX) <= 1.0);
        // Without a calibration, and where all is 0.
        assert_eq!((normalized(2.0, 2.0, None), normalized(0.0, 2.0, None)), (0.5, 0.25));
        assert_eq!(normalized(0.0, 0.0, None), 0.5);
    }

    #[test]
    fn drift_is_told_by_images_that_nothing_was_learned_from() {
        let calibration = calibration(50, CalibrationImages::Given);
        let same: Vec<f32> = (0..25).map(|i| 2.0 * i as f32 + 1.5).collect();
        assert!(calibration.compare(&same).unwrap().p_value > 0.9);
        let shifted: Vec<f32> = same.iter().map(|score| score + 20.0).collect();
        assert!(calibration.compare(&shifted).unwrap().p_value < 0.01);
        assert_eq!(calibration.compare(&same[..7]), None);
        let learned = Calibration { images: CalibrationImages::Learned, ..calibration };
        assert_eq!(learned.compare(&same), None);
    }
}
