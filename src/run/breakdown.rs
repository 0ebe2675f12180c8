//! What the figures of a test rest on: each kind of defect by itself, intervals, and the worst of the wrong verdicts.

use serde::{Deserialize, Serialize};

use super::select::extremes;
use super::verdict::Verdict;
use crate::error::Result;
use crate::metrics::intervals;
use crate::metrics::scores::Ranking;

/// Misses and false alarms that are named, at most.
const NAMED: usize = 10;

/// Fewer good images than these say little of how many are called anomalous.
pub(crate) const FEW_GOOD: usize = 20;

/// Score of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Score {
    pub image: String,
    /// The image's class.
    pub class: String,
    /// 1 for every class but the normal one.
    pub label: u8,
    pub score: f32,
    pub normalized_score: f64,
    pub threshold: f32,
    pub verdict: Verdict,
    /// Why the image cannot be judged, the worst reason first; else empty.
    pub reason: String,
}

/// A figure, and within what it would lie on other images like these, in 95 of 100 cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval(pub Option<[f64; 2]>);

/// Figures of one kind of defect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KindFigures {
    /// Its folder, or its class.
    pub kind: String,
    pub images: usize,
    /// Area under the ROC curve of these images' scores and those of all good ones; None without any.
    pub image_auroc: Option<f64>,
    pub image_auroc_interval: Interval,
    /// The share of these images that are called anomalous.
    pub true_positive_rate: f64,
    pub true_positive_rate_interval: Interval,
}

/// An image with a wrong verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WrongVerdict {
    pub image: String,
    pub class: String,
    pub score: f32,
}

/// What the figures of a test rest on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Breakdown {
    /// Of the whole test.
    pub image_auroc_interval: Interval,
    pub false_positive_rate_interval: Interval,
    pub true_positive_rate_interval: Interval,
    /// In the order of their names.
    pub kinds: Vec<KindFigures>,
    /// Anomalous images that were called good, from the lowest score up, and good ones that were called anomalous, from the highest down.
    pub misses: Vec<WrongVerdict>,
    pub false_alarms: Vec<WrongVerdict>,
    /// Good and anomalous images above the threshold, with those below the confusion matrix.
    pub called_anomalous: [usize; 2],
    /// Good and anomalous images that cannot be judged; they count in the figures all the same.
    pub unusable: [usize; 2],
}

impl Breakdown {
    /// Of the rows of a test.
    ///
    /// # Errors
    /// Scores that are no numbers.
    pub(crate) fn new(rows: &[Score], threshold: f32) -> Result<Breakdown> {
        let called_anomalous = |images: &[usize]| images.iter().filter(|&&i| rows[i].score > threshold).count();
        let [good, anomalous] = by_label(rows);
        let mut kinds: Vec<&str> = anomalous.iter().map(|&i| rows[i].class.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let of_kind = |kind: &str| {
            let images: Vec<usize> = anomalous.iter().copied().filter(|&i| rows[i].class == kind).collect();
            let (found, n) = (called_anomalous(&images), images.len());
            Ok(KindFigures {
                kind: kind.to_string(),
                images: n,
                image_auroc: auroc(rows, &good, &images)?,
                image_auroc_interval: auroc_interval(rows, &good, &images),
                true_positive_rate: found as f64 / n as f64,
                true_positive_rate_interval: Interval(Some(intervals::share(found, n))),
            })
        };
        let rate = |of: &[usize]| Interval((!of.is_empty()).then(|| intervals::share(called_anomalous(of), of.len())));
        let scores: Vec<f32> = rows.iter().map(|row| row.score).collect();
        let wrong_verdicts = |of: &[usize], as_: Verdict| {
            let wrong: Vec<usize> = of.iter().copied().filter(|&i| rows[i].verdict == as_).collect();
            let worst = extremes(&wrong, &scores, NAMED, as_ == Verdict::Anomalous);
            let named = |i: usize| WrongVerdict {
                image: rows[i].image.clone(),
                class: rows[i].class.clone(),
                score: rows[i].score,
            };
            worst.into_iter().map(named).collect()
        };
        Ok(Breakdown {
            image_auroc_interval: auroc_interval(rows, &good, &anomalous),
            false_positive_rate_interval: rate(&good),
            true_positive_rate_interval: rate(&anomalous),
            kinds: kinds.into_iter().map(of_kind).collect::<Result<_>>()?,
            misses: wrong_verdicts(&anomalous, Verdict::Good),
            false_alarms: wrong_verdicts(&good, Verdict::Anomalous),
            called_anomalous: [called_anomalous(&good), called_anomalous(&anomalous)],
            unusable: [&good, &anomalous]
                .map(|of| of.iter().filter(|&&i| rows[i].verdict == Verdict::Unusable).count()),
        })
    }
}

impl Interval {
    /// As text after its figure.
    pub(crate) fn in_words(self) -> String {
        self.0.map_or(String::new(), |[low, high]| format!(" ({low:.2}–{high:.2})"))
    }
}

/// The area under the ROC curve of some good and some anomalous images.
fn auroc(rows: &[Score], good: &[usize], anomalous: &[usize]) -> Result<Option<f64>> {
    let scores: Vec<f32> = good.iter().chain(anomalous).map(|&i| rows[i].score).collect();
    let labels: Vec<bool> = (0..scores.len()).map(|i| i >= good.len()).collect();
    Ok(Ranking::of_samples(&scores, &labels)?.auroc())
}

fn auroc_interval(rows: &[Score], good: &[usize], anomalous: &[usize]) -> Interval {
    interval(good, anomalous, |good, anomalous| auroc(rows, good, anomalous).ok().flatten())
}

/// Of a figure of some good and some anomalous images.
fn interval(
    good: &[usize],
    anomalous: &[usize],
    figure: impl Fn(&[usize], &[usize]) -> Option<f64> + Sync,
) -> Interval {
    Interval(intervals::bootstrap(&[good.len(), anomalous.len()], |drawn| {
        let of = |places: &[usize], all: &[usize]| places.iter().map(|&place| all[place]).collect::<Vec<_>>();
        figure(&of(&drawn[0], good), &of(&drawn[1], anomalous))
    }))
}

/// Indices of the good and of the anomalous images.
fn by_label(rows: &[Score]) -> [Vec<usize>; 2] {
    [0, 1].map(|label| (0..rows.len()).filter(|&i| rows[i].label == label).collect())
}

/// Within what the difference of two models' areas under the ROC curve would lie, b's less a's, which scored the same images: of each draw of
/// images both areas are taken.
pub(crate) fn difference(a: &[Score], b: &[Score]) -> Interval {
    let [good, anomalous] = by_label(a);
    interval(&good, &anomalous, |good, anomalous| {
        let area = |rows| auroc(rows, good, anomalous).ok().flatten();
        Some(area(b)? - area(a)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(scores: &[(&str, f32)]) -> Vec<Score> {
        let row = |(i, &(class, score)): (usize, &(&str, f32))| Score {
            image: format!("{class}/{i}.png"),
            class: class.to_string(),
            label: u8::from(class != "good"),
            score,
            normalized_score: 0.5,
            threshold: 1.0,
            verdict: if score > 1.0 { Verdict::Anomalous } else { Verdict::Good },
            reason: String::new(),
        };
        scores.iter().enumerate().map(row).collect()
    }

    #[test]
    fn each_kind_is_measured_by_itself() {
        let rows = rows(&[
            ("good", 0.1),
            ("good", 0.2),
            ("good", 0.3),
            ("good", 1.5),
            ("scratch", 2.0),
            ("scratch", 3.0),
            ("hole", 0.25),
            ("hole", 4.0),
            ("hole", 0.05),
        ]);
        let breakdown = Breakdown::new(&rows, 1.0).unwrap();
        let [hole, scratch] = breakdown.kinds.as_slice() else { panic!("{breakdown:?}") };
        assert_eq!((hole.kind.as_str(), hole.images, hole.image_auroc), ("hole", 3, Some(0.5)));
        assert_eq!(
            (scratch.kind.as_str(), scratch.image_auroc, scratch.true_positive_rate),
            ("scratch", Some(1.0), 1.0)
        );
        assert_eq!(hole.true_positive_rate, 1.0 / 3.0);
        let [low, high] = hole.image_auroc_interval.0.unwrap();
        assert!(low < 0.2 && high > 0.8, "three images say little: {low} {high}");
        let names = |images: &[WrongVerdict]| images.iter().map(|image| image.image.clone()).collect::<Vec<_>>();
        assert_eq!(names(&breakdown.misses), ["hole/8.png", "hole/6.png"]);
        assert_eq!(names(&breakdown.false_alarms), ["good/3.png"]);
        assert_eq!(breakdown.false_positive_rate_interval.0, Some(intervals::share(1, 4)));
        assert_eq!(breakdown.called_anomalous, [1, 3]);
        // A test of good images alone has what can be had.
        let good = Breakdown::new(&rows[..4], 1.0).unwrap();
        assert_eq!(
            (good.kinds.len(), good.image_auroc_interval.0, good.true_positive_rate_interval.0),
            (0, None, None)
        );
    }

    #[test]
    fn models_are_compared_on_the_same_draws() {
        let a: Vec<(&str, f32)> =
            (0..40).map(|i| (if i % 2 == 0 { "good" } else { "hole" }, (i * 7 % 40) as f32)).collect();
        // The same order of scores: no difference in any draw, however far the areas themselves spread.
        let b: Vec<(&str, f32)> = a.iter().map(|&(class, score)| (class, 2.0 * score)).collect();
        assert_eq!(difference(&rows(&a), &rows(&b)).0, Some([0.0, 0.0]));
        let better: Vec<(&str, f32)> =
            a.iter().map(|&(class, score)| (class, if class == "hole" { score + 30.0 } else { score })).collect();
        let [low, _] = difference(&rows(&a), &rows(&better)).0.unwrap();
        assert!(low > 0.0, "{low}");
    }
}
