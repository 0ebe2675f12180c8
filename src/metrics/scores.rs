//! Scores of labelled samples, images or many millions of pixels: collected in any order, ranked once.

use crate::metrics::regions::region_sizes;
use crate::{Error, Result};
use rayon::slice::ParallelSliceMut;

/// Collects scores image by image.
///
/// Memory: 4 bytes per normal and 8 per anomalous sample within the capacity, and while an image is added at most 28
/// per pixel of that image; ranking adds nothing. A list that outgrows its capacity moves to a place twice as large,
/// which takes up to three times its bytes for a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    /// [`key`]s of the normal samples.
    normal: Vec<u32>,
    anomalous: Vec<Anomalous>,
    regions: usize,
}

/// An anomalous sample.
#[derive(Clone, Copy, Debug)]
struct Anomalous {
    key: u32,
    /// How many samples its region has.
    region: u32,
}

/// Scores in order, from which every figure is taken.
#[derive(Clone, Debug)]
pub(crate) struct Ranking(Scores);

/// One distinct score of a ranking.
pub(super) struct Threshold<'a> {
    /// The score: a sample counts as positive from here on.
    pub threshold: f32,
    /// How many normal samples have this score.
    pub normal: usize,
    anomalous: &'a [Anomalous],
    /// How many normal samples have this score or a higher one.
    pub false_positives: usize,
    /// How many anomalous samples have this score or a higher one.
    pub true_positives: usize,
}

impl Scores {
    /// No scores yet, with room for so many samples.
    pub(crate) fn with_capacity(normal: usize, anomalous: usize) -> Scores {
        Scores { normal: Vec::with_capacity(normal), anomalous: Vec::with_capacity(anomalous), regions: 0 }
    }

    /// Bytes of memory for so many samples.
    pub(crate) fn bytes(normal: usize, anomalous: usize) -> usize {
        normal.saturating_mul(size_of::<u32>()).saturating_add(anomalous.saturating_mul(size_of::<Anomalous>()))
    }

    /// Adds samples that stand for themselves, such as images: one score and one label each, `true` for an anomaly,
    /// which is a region of its own. NaN scores are an error and add nothing.
    ///
    /// # Panics
    /// When the lengths differ.
    pub(crate) fn push_samples(&mut self, scores: &[f32], labels: &[bool]) -> Result<()> {
        assert_eq!(scores.len(), labels.len(), "one label per score");
        let anomalous = labels.iter().filter(|&&label| label).count();
        self.push(scores, labels.iter().map(|&label| u32::from(label)), anomalous)
    }

    /// Adds the pixels of an image: scores and mask, both [height, width], the mask 0 for normal pixels. NaN scores
    /// are an error and add nothing.
    ///
    /// # Panics
    /// When the lengths differ or are not of whole rows.
    pub(crate) fn push_image(&mut self, scores: &[f32], mask: &[u8], width: usize) -> Result<()> {
        assert_eq!(scores.len(), mask.len(), "one mask value per score");
        let (sizes, regions) = region_sizes(mask, width);
        self.push(scores, sizes.into_iter(), regions)
    }

    /// Adds scores, each with the size of its sample's region, 0 for normal samples.
    fn push(&mut self, scores: &[f32], sizes: impl Iterator<Item = u32>, regions: usize) -> Result<()> {
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Numeric {
                problem: format!("score {at} of {} is not a number", scores.len()),
                remedy: "the net has diverged: train it again with a lower learning rate".into(),
            });
        }
        for (&score, region) in scores.iter().zip(sizes) {
            match region {
                0 => self.normal.push(key(score)),
                _ => self.anomalous.push(Anomalous { key: key(score), region }),
            }
        }
        self.regions += regions;
        Ok(())
    }

    /// Sorts the scores in place.
    pub(crate) fn rank(mut self) -> Ranking {
        self.normal.par_sort_unstable();
        self.anomalous.par_sort_unstable_by_key(|sample| sample.key);
        Ranking(self)
    }
}

impl Ranking {
    /// The ranking of samples that stand for themselves; see [`Scores::push_samples`].
    pub(crate) fn of_samples(scores: &[f32], labels: &[bool]) -> Result<Ranking> {
        let mut collected = Scores::default();
        collected.push_samples(scores, labels)?;
        Ok(collected.rank())
    }

    /// Numbers of normal and of anomalous samples; None where one of the classes is missing, and with it every figure.
    pub(super) fn classes(&self) -> Option<(usize, usize)> {
        let (normal, anomalous) = (self.0.normal.len(), self.0.anomalous.len());
        (normal > 0 && anomalous > 0).then_some((normal, anomalous))
    }

    /// Number of anomalous regions.
    pub(super) fn regions(&self) -> usize {
        self.0.regions
    }

    /// The distinct scores from the highest down.
    pub(super) fn steps(&self) -> impl Iterator<Item = Threshold<'_>> {
        let (mut normal, mut anomalous) = (&self.0.normal[..], &self.0.anomalous[..]);
        std::iter::from_fn(move || {
            let key = normal.last().copied().max(anomalous.last().map(|sample| sample.key))?;
            Some(Threshold {
                threshold: score(key),
                normal: cut_last(&mut normal, |&k| k == key).len(),
                anomalous: cut_last(&mut anomalous, |sample| sample.key == key),
                false_positives: self.0.normal.len() - normal.len(),
                true_positives: self.0.anomalous.len() - anomalous.len(),
            })
        })
    }
}

impl Threshold<'_> {
    /// How many anomalous samples have this score.
    pub(super) fn anomalous(&self) -> usize {
        self.anomalous.len()
    }

    /// The region sizes of the anomalous samples with this score.
    pub(super) fn region_sizes(&self) -> impl Iterator<Item = u32> {
        self.anomalous.iter().map(|sample| sample.region)
    }
}

/// Cuts the items at a list's end for which `wanted` holds off it, and returns them.
fn cut_last<'a, T>(list: &mut &'a [T], wanted: impl Fn(&T) -> bool) -> &'a [T] {
    let count = list.iter().rev().take_while(|item| wanted(item)).count();
    let (rest, last) = list.split_at(list.len() - count);
    *list = rest;
    last
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
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Eight scores with ties, and their labels, that figures of scikit-learn are quoted for:
    /// `s = [.1, .4, .35, .8, .4, .4, .7, .05]; y = [0, 0, 1, 1, 1, 0, 1, 0]`
    pub(crate) fn eight() -> Ranking {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.7, 0.05];
        Ranking::of_samples(&scores, &[false, false, true, true, true, false, true, false]).unwrap()
    }

    /// A thousand scores with many ties: `i = np.arange(1000); y = i * i % 7 < 2; s = i * 7919 % 101 + 20 * y`
    pub(crate) fn thousand() -> Ranking {
        let label = |i: u32| i * i % 7 < 2;
        let scores: Vec<f32> = (0..1000).map(|i| (i * 7919 % 101 + 20 * u32::from(label(i))) as f32).collect();
        Ranking::of_samples(&scores, &(0..1000).map(label).collect::<Vec<_>>()).unwrap()
    }

    /// Random samples. Small integers make ties; halves of negative ones test the sign.
    pub(crate) fn samples() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
        prop::collection::vec(((-6i8..6).prop_map(|v| f32::from(v) * 0.5), any::<bool>()), 0..60)
            .prop_map(|samples| samples.into_iter().unzip())
    }

    #[test]
    fn nan_is_an_error_and_adds_nothing() {
        let mut scores = Scores::default();
        scores.push_image(&[0.0, 1.0], &[0, 1], 2).unwrap();
        let error = scores.push_image(&[0.5, f32::NAN], &[1, 0], 2).unwrap_err();
        assert!(matches!(&error, Error::Numeric { problem, .. } if problem.contains("score 1 of 2")), "{error}");
        let ranking = scores.rank();
        assert_eq!((ranking.classes(), ranking.regions()), (Some((1, 1)), 1));
    }

    #[test]
    fn a_missing_class_has_no_figures() {
        for labels in [&[][..], &[true, true], &[false, false]] {
            let ranking = Ranking::of_samples(&[1.0, 2.0][..labels.len()], labels).unwrap();
            assert_eq!(ranking.auroc(), None);
            assert_eq!(ranking.roc_curve(true), None);
            assert_eq!(ranking.average_precision(), None);
            assert_eq!(ranking.best_f1(), None);
            assert_eq!(ranking.pro(), None);
        }
    }

    #[test]
    fn keys_sort_like_scores() {
        let scores = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 3.0, f32::INFINITY];
        assert!(scores.map(key).is_sorted());
        assert_eq!(scores.map(|s| score(key(s))), scores);
        assert_eq!(key(-0.0), key(0.0));
    }
}
