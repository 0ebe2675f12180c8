//! What a model says of good images, and the threshold that follows from it.

use super::calibration::{Calibration, CalibrationImages, too_few};
use super::heatmap::Renderer;
use super::model::Model;
use super::score::{Scorer, Shown};
use crate::data::image_source::ImageSource;
use crate::device::Device;
use crate::error::Result;
use crate::metrics::{conformal, intervals, quantile};

/// Of scores that promise nothing: the quantile that becomes the threshold.
const QUANTILE: f64 = 0.99;

/// Images that are calibrated on, at most, where nothing is promised.
const MOST: usize = 512;

/// What a model says of good images: of each its score and the highest value of its heatmap, before scaling.
#[derive(Clone, Debug, Default)]
pub(crate) struct CalibrationScores {
    scores: Vec<f32>,
    peaks: Vec<f32>,
}

impl CalibrationScores {
    /// Scores images.
    ///
    /// # Errors
    /// A file that cannot be read, a device without memory, scores that are no numbers.
    pub(crate) fn new(device: &Device, model: &Model, images: &ImageSource) -> Result<CalibrationScores> {
        let (mut scorer, renderer) = (Scorer::new(device, model)?, Renderer::new(model)?);
        let side = scorer.side();
        let mut measured = CalibrationScores::default();
        scorer.score(images, Shown::Heatmaps, |_, scored| {
            let (height, width) = scored.heatmap_size(side);
            let heatmap = match scored.canvas {
                Some(_) => scored.heatmap.to_vec(),
                None => renderer.of_heatmap(scored.heatmap),
            };
            let peak = renderer.counted(heatmap, (height, width)).into_iter().fold(f32::NEG_INFINITY, f32::max);
            measured.scores.push(scored.score);
            measured.peaks.push(peak);
            Ok(())
        })?;
        measured.scores.sort_by(f32::total_cmp);
        measured.peaks.sort_by(f32::total_cmp);
        Ok(measured)
    }

    /// Rising.
    pub(crate) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// How many images they are of.
    pub(crate) fn count(&self) -> usize {
        self.scores.len()
    }

    /// Every so many of these images, that they are not more than need be where nothing is promised.
    pub(crate) fn some_of(images: &ImageSource) -> ImageSource {
        let step = images.count().div_ceil(MOST).max(1);
        images.select(&(0..images.count()).step_by(step).collect::<Vec<_>>())
    }

    /// The threshold for a false positive rate, as [promised](super::calibration::promised), and what there is to know of it.
    pub(crate) fn for_rate(self, images: CalibrationImages, rate: f64) -> Result<(f32, Calibration)> {
        let place = conformal::place(self.count(), rate).ok_or_else(|| too_few("`fpr`", rate, self.count()))?;
        let interval = intervals::bootstrap(&[self.count()], |drawn| {
            let mut drawn = drawn[0].clone();
            drawn.sort_unstable();
            Some(f64::from(self.scores[drawn[place]]))
        });
        let calibration = Calibration {
            images,
            false_positive_rate: Some(rate),
            interval: interval.map(|ends| ends.map(|end| end as f32)),
            pixel_threshold: self.peaks[place],
            scores: self.scores,
        };
        Ok((calibration.scores[place], calibration))
    }

    /// The same at a threshold that was chosen otherwise, which promises nothing; of pixels the quantile of those images whose scores do not
    /// exceed it.
    pub(crate) fn at(self, images: CalibrationImages, threshold: f32) -> Calibration {
        let below = self.scores.iter().filter(|&&score| score <= threshold).count();
        let share = below as f64 / self.count().max(1) as f64;
        let pixel_threshold = quantile(&self.peaks, share);
        Calibration { images, scores: self.scores, false_positive_rate: None, interval: None, pixel_threshold }
    }

    /// The same at the quantile of what was learned from.
    pub(crate) fn of_learned(self) -> (f32, Calibration) {
        let threshold = quantile(&self.scores, QUANTILE);
        let pixel_threshold = quantile(&self.peaks, QUANTILE);
        let images = CalibrationImages::Learned;
        (
            threshold,
            Calibration { images, scores: self.scores, false_positive_rate: None, interval: None, pixel_threshold },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores_of(n: usize) -> CalibrationScores {
        let scores: Vec<f32> = (1..=n).map(|i| i as f32).collect();
        CalibrationScores { peaks: scores.iter().map(|score| 10.0 * score).collect(), scores }
    }

    #[test]
    fn thresholds_promise_what_there_are_images_for() {
        let (threshold, calibration) = scores_of(99).for_rate(CalibrationImages::HeldOut, 0.01).unwrap();
        assert_eq!((threshold, calibration.pixel_threshold), (99.0, 990.0));
        let (threshold, calibration) = scores_of(99).for_rate(CalibrationImages::HeldOut, 0.1).unwrap();
        assert_eq!((threshold, calibration.pixel_threshold), (90.0, 900.0));
        let [low, high] = calibration.interval.unwrap();
        // The 90th of 99 that were drawn: ±2 standard deviations of √(99·0.9·0.1) ≈ 3.
        assert!((82.0..=86.0).contains(&low) && (94.0..=97.0).contains(&high), "{low} {high}");
        calibration.check().unwrap();
        // Where it lies among other images like these, it lies among these.
        for n in [1, 2, 5, 9, 30] {
            for rate in [1.0 / (n + 1) as f64, 0.2, 0.5].into_iter().filter(|&rate| conformal::place(n, rate).is_some())
            {
                let (threshold, calibration) = scores_of(n).for_rate(CalibrationImages::Given, rate).unwrap();
                assert!(calibration.is_kept_by(threshold), "{n} {rate} {calibration:?}");
            }
        }
        let (threshold, calibration) = scores_of(200).of_learned();
        assert_eq!((threshold, calibration.false_positive_rate), (198.0, None));
        assert_eq!(scores_of(10).at(CalibrationImages::Given, 5.5).pixel_threshold, 50.0);
    }
}
