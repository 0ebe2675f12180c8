//! What an image is called, and by what.

use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, normalized};
use super::model::ModelMeta;
use crate::data::appearance::Appearance;
use crate::data::images::{Images, Original};
use crate::error::{Error, Result};

/// What an image is called.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The score does not exceed the threshold.
    Good,
    /// The score is near the threshold, within a band that was asked for: somebody has to look.
    Unsure,
    /// The score exceeds the threshold.
    Anomalous,
    /// The image looks otherwise than all good ones, and its score says nothing: it is black, blurred, of another size …
    Unusable,
}

impl Verdict {
    /// As tables and the program call it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Unsure => "unsure",
            Verdict::Anomalous => "anomalous",
            Verdict::Unusable => "unusable",
        }
    }
}

/// By what images are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DecisionRule {
    /// Images that score above are anomalous.
    threshold: f32,
    /// The normalized scores from and to which images are called unsure.
    unsure: Option<[f64; 2]>,
    /// Whether images that look otherwise than all good ones are told.
    checks_input: bool,
    /// Pixels whose value in the anomaly map is above are anomalous.
    pixel_threshold: Option<f32>,
}

impl DecisionRule {
    /// As a model has it.
    pub(crate) fn of(meta: &ModelMeta) -> DecisionRule {
        let pixel_threshold = meta.calibration.as_ref().map(|calibration| calibration.pixel_threshold);
        DecisionRule { threshold: meta.threshold, unsure: None, checks_input: true, pixel_threshold }
    }

    /// By another threshold.
    ///
    /// # Errors
    /// What is no score.
    pub(crate) fn with_threshold(self, threshold: f32) -> Result<DecisionRule> {
        check_threshold(threshold, "`threshold`", "a score")?;
        Ok(DecisionRule { threshold, ..self })
    }

    /// By another threshold of pixels.
    ///
    /// # Errors
    /// What is no value of an anomaly map.
    pub(crate) fn with_pixel_threshold(self, threshold: f32) -> Result<DecisionRule> {
        check_threshold(threshold, "`pixel_threshold`", "a value of an anomaly map")?;
        Ok(DecisionRule { pixel_threshold: Some(threshold), ..self })
    }

    /// With a band of normalized scores around the threshold.
    ///
    /// # Errors
    /// What is no band around ½ within 0 to 1.
    pub(crate) fn with_unsure(self, [low, high]: [f64; 2]) -> Result<DecisionRule> {
        if !(0.0..=0.5).contains(&low) || !(0.5..=1.0).contains(&high) {
            return Err(Error::setting(
                format!("`unsure` {low},{high} is no band around the threshold"),
                "choose normalized scores below and above 0.5, such as 0.45,0.6",
            ));
        }
        Ok(DecisionRule { unsure: Some([low, high]), ..self })
    }

    /// Whether it looks at inputs.
    pub(crate) fn checks_input(self) -> bool {
        self.checks_input
    }

    /// That looks at inputs, or only at scores.
    pub(crate) fn checking_input(self, checks_input: bool) -> DecisionRule {
        DecisionRule { checks_input, ..self }
    }

    /// Why an image, of (height, width) and as the net sees it, cannot be judged, the worst reason first.
    pub(crate) fn reasons(self, seen: &Images, original: &Original, meta: &ModelMeta) -> Vec<String> {
        match &meta.input_check {
            _ if !self.checks_input => Vec::new(),
            Some(check) => check.reasons(&Appearance::of(seen, original)),
            // Of few good images that much is known.
            None => {
                let expected = meta.preprocessing.levels.significant();
                expected.zip(original.bits).and_then(|(expected, bits)| expected.fault(bits)).into_iter().collect()
            }
        }
    }

    /// Images that score above are anomalous.
    pub(crate) fn threshold(self) -> f32 {
        self.threshold
    }

    /// Pixels whose value in the anomaly map is above are anomalous; None of a model that knows no such value.
    pub(crate) fn pixel_threshold(self) -> Option<f32> {
        self.pixel_threshold
    }

    /// The band of normalized scores in which images are unsure.
    pub(crate) fn unsure(self) -> Option<[f64; 2]> {
        self.unsure
    }

    /// The [normalized] score of a score, and what its image is called.
    pub(crate) fn decide(self, score: f32, calibration: Option<&Calibration>) -> (f64, Verdict) {
        let normalized = normalized(score, self.threshold, calibration);
        let verdict = match self.unsure {
            Some([low, high]) if (low..=high).contains(&normalized) => Verdict::Unsure,
            _ if score > self.threshold => Verdict::Anomalous,
            _ => Verdict::Good,
        };
        (normalized, verdict)
    }
}

/// Fails where a threshold cannot be one.
fn check_threshold(threshold: f32, name: &str, what: &str) -> Result<()> {
    if threshold.is_finite() && threshold >= 0f32.next_down() {
        return Ok(());
    }
    let remedy = "choose a number of 0 or more, such as 0.5";
    Err(Error::setting(format!("{name} {threshold} is not {what}"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_from_threshold_and_band() {
        let rule = DecisionRule { threshold: 2.0, unsure: None, checks_input: true, pixel_threshold: None };
        let verdict = |rule: DecisionRule, score| rule.decide(score, None).1;
        assert_eq!(
            [1.9, 2.0, 2.1].map(|score| verdict(rule, score)),
            [Verdict::Good, Verdict::Good, Verdict::Anomalous]
        );
        // ¼ at 0, ½ at 2 and ¾ at 4.
        let unsure = rule.with_unsure([0.45, 0.75]).unwrap();
        let verdicts = [1.0, 1.9, 2.1, 4.0, 4.1].map(|score| verdict(unsure, score));
        assert_eq!(verdicts, [Verdict::Good, Verdict::Unsure, Verdict::Unsure, Verdict::Unsure, Verdict::Anomalous]);
        for band in [[0.6, 0.7], [0.3, 0.4], [-0.1, 0.6], [0.4, 1.1], [f64::NAN, 0.6]] {
            assert!(rule.with_unsure(band).is_err(), "{band:?}");
        }
        for threshold in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(rule.with_threshold(threshold).is_err() && rule.with_pixel_threshold(threshold).is_err());
        }
        assert_eq!(rule.with_threshold(0f32.next_down()).unwrap().decide(0.0, None).1, Verdict::Anomalous);
    }
}
