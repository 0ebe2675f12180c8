//! Good images that are held out of training. Some are there to tell which epoch is best, beside an anomaly made of each: after an epoch, how
//! well the net tells the two apart. The epoch that does so best is the one whose weights are kept, and where none has done better for
//! `patience` epochs training ends. Others are there to [calibrate](super::calibration) the threshold.

use super::features::{features_of, inside};
use super::score::{Shown, hand_out, score_of};
use super::settings::Settings;
use super::state::Epoch;
use crate::data::batches::TrainingSet;
use crate::engine::Network;
use crate::error::{Error, Result};
use crate::metrics::scores::Ranking;
use crate::rng::{Purpose, Stream};
use crate::steps::upsample::GaussianTaps;

/// Fewest images that say something: 64 pairs of a good and an anomalous one.
const FEWEST: usize = 8;

/// Most images that are held out, and most of their tiles that are looked at: 2500 such pairs, and 100 inputs in memory.
const MOST: usize = 50;

/// Fewest images to calibrate on: they promise a false positive rate of a fifth.
const FEWEST_CALIBRATED: usize = 4;

/// Most: they promise a quarter of a per cent.
const MOST_CALIBRATED: usize = 400;

/// Which good images are learned from, and which are held out, each in their order.
#[derive(Debug, PartialEq)]
pub(super) struct Divided {
    pub learned: Vec<usize>,
    /// To tell which epoch is best: a tenth of all, drawn by the seed. Empty unless asked for, or where that is too few to tell.
    pub epochs: Vec<usize>,
    /// To calibrate the threshold. Empty unless asked for, or where there are too few.
    pub calibration: Vec<usize>,
}

/// How many are held out, if any.
pub(super) struct Division<'a> {
    pub seed: u64,
    pub epochs: bool,
    /// Per cent of all to calibrate on.
    pub calibration: u32,
    /// The part that each image shows, by its number: images of one part are held out for calibration together, since the score of an
    /// image whose part was learned from says nothing of new parts.
    pub parts: &'a [usize],
}

impl Division<'_> {
    /// Divides good images, one for each entry of `parts`.
    pub(super) fn divide(&self) -> Divided {
        let count = self.parts.len();
        let drawn = |of: &[usize], number| {
            let order = Stream::new(self.seed, Purpose::HeldOut, number, 0).permutation(of.len() as u32);
            order.into_iter().map(|place| of[place as usize]).collect::<Vec<_>>()
        };
        let all: Vec<usize> = (0..count).collect();
        let most = (count * self.calibration as usize / 100).min(MOST_CALIBRATED);
        let mut calibration = Vec::new();
        if most >= FEWEST_CALIBRATED {
            let mut parts: Vec<usize> = self.parts.to_vec();
            parts.sort_unstable();
            parts.dedup();
            for part in drawn(&parts, 1) {
                let of_part = all.iter().filter(|&&i| self.parts[i] == part);
                if calibration.len() + of_part.clone().count() <= most {
                    calibration.extend(of_part);
                }
            }
            calibration.sort_unstable();
        }
        let left: Vec<usize> = all.into_iter().filter(|i| calibration.binary_search(i).is_err()).collect();
        let tenth = if self.epochs { count / 10 } else { 0 };
        let mut epochs = drawn(&left, 0);
        epochs.truncate(if tenth < FEWEST { 0 } else { tenth.min(MOST) });
        epochs.sort_unstable();
        let learned = left.into_iter().filter(|i| epochs.binary_search(i).is_err()).collect();
        Divided { learned, epochs, calibration }
    }
}

/// How many good images it takes to tell which epoch is best.
pub(super) const NEEDED: usize = 10 * FEWEST;

/// How many it takes to calibrate on per cent of them.
pub(super) fn needed_to_calibrate(share: u32) -> usize {
    (100 * FEWEST_CALIBRATED).div_ceil(share.max(1) as usize)
}

/// What the net sees of the images that are held out: the same in each epoch.
pub(super) struct HeldOut {
    /// Of each image or tile as it is and as an anomaly, an even number; where the head alone is trained, their features.
    inputs: Vec<f32>,
    anomalous: Vec<bool>,
    /// Of each, the cells of its map that it is scored by; nothing where those are all.
    cells: Vec<Vec<bool>>,
}

impl HeldOut {
    /// Makes the inputs, unaugmented, or by `frozen` layers their features.
    ///
    /// # Errors
    /// A file that cannot be read; features that are no numbers.
    pub(super) fn new(set: &TrainingSet, settings: &Settings, mut frozen: Option<Network<f32>>) -> Result<HeldOut> {
        let (mut inputs, mut anomalous, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        let field = if set.data().is_bounded() { Some(settings.arch()?.receptive_field(settings.side)?) } else { None };
        let taps = field.map(|field| (GaussianTaps::new(field, settings.side, settings.sigma), field.n));
        for (epoch, sample) in set.both_ways(MOST) {
            let view = set.batch(epoch, &[sample], taps.is_some())?;
            anomalous.push(view.labels[0] > 0.0);
            cells.extend(taps.iter().map(|(taps, u)| inside(taps, *u, &view.maps)));
            match &mut frozen {
                Some(network) => inputs.extend_from_slice(features_of(network, &view)?),
                None => inputs.extend(view.inputs),
            }
        }
        Ok(HeldOut { inputs, anomalous, cells })
    }

    /// The area under the ROC curve of the scores that a network gives now.
    ///
    /// # Errors
    /// Scores that are no numbers.
    pub(super) fn separation(&self, network: &mut Network<f32>, settings: &Settings) -> Result<f64> {
        let len = self.inputs.len() / self.anomalous.len();
        let mut scores = Vec::with_capacity(self.anomalous.len());
        let shown = if self.cells.is_empty() { Shown::Nothing } else { Shown::Maps };
        // Of an even number of inputs none is left alone: a net that is trained has no plan of one image where a norm reads one pixel.
        let batch = network.options().batch;
        let at_once = if batch == 1 { 1 } else { batch - batch % 2 };
        for inputs in self.inputs.chunks(at_once * len) {
            let n = inputs.len() / len;
            network.input(n)?.copy_from_slice(inputs);
            network.infer(n)?;
            hand_out(network, settings.image_score, n, shown, |_, scored| {
                let by_cells = |cells: &Vec<bool>| score_of(settings.image_score, scored.map, cells);
                scores.push(self.cells.get(scores.len()).map_or(scored.score, by_cells));
                Ok(())
            })?;
        }
        let area = Ranking::of_samples(&scores, &self.anomalous)?.auroc();
        area.ok_or_else(|| Error::internal("nothing was held out"))
    }
}

/// The epoch that separates best; of several the last, which has learned for longest. None where nothing was held out.
pub(super) fn best(history: &[Epoch]) -> Option<&Epoch> {
    history.iter().filter(|epoch| epoch.separation.is_some()).max_by(|a, b| by_separation(a, b))
}

/// Whether so many epochs have separated no better than one before them.
pub(super) fn on_plateau(history: &[Epoch], patience: u32) -> bool {
    let Some(best) = best(history) else { return false };
    let first = history.iter().position(|epoch| epoch.separation == best.separation);
    first.is_some_and(|first| history.len() - 1 - first >= patience as usize)
}

fn by_separation(a: &Epoch, b: &Epoch) -> std::cmp::Ordering {
    let of = |epoch: &Epoch| epoch.separation.unwrap_or_default();
    of(a).total_cmp(&of(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(separations: &[f64]) -> Vec<Epoch> {
        let epoch = |(i, &separation): (usize, &f64)| Epoch {
            epoch: i as u32 + 1,
            lr: 1.0,
            loss: 1.0,
            loss_normal: None,
            loss_anomalous: None,
            separation: Some(separation),
            images_per_second: 1.0,
        };
        separations.iter().enumerate().map(epoch).collect()
    }

    #[test]
    fn a_tenth_is_held_out_and_none_of_few() {
        let divided = |count: usize, seed, epochs, calibration| {
            let parts: Vec<usize> = (0..count).collect();
            let divided = Division { seed, epochs, calibration, parts: &parts }.divide();
            let mut all = [divided.learned.as_slice(), &divided.epochs, &divided.calibration].concat();
            assert!([&divided.learned, &divided.epochs, &divided.calibration].iter().all(|some| some.is_sorted()));
            all.sort_unstable();
            assert_eq!(all, parts, "each image is in one of them");
            divided
        };
        let sizes = |count, calibration| {
            let Divided { learned, epochs, calibration } = divided(count, 3, true, calibration);
            (learned.len(), epochs.len(), calibration.len())
        };
        assert_eq!(sizes(NEEDED - 1, 0), (NEEDED - 1, 0, 0));
        for (count, held) in [(80, 8), (89, 8), (300, 30), (501, 50), (10_000, 50)] {
            assert_eq!(sizes(count, 0), (count - held, held, 0));
        }
        assert_eq!(
            [19, 20, 100, 300].map(|count| sizes(count, 20)),
            [(19, 0, 0), (16, 0, 4), (70, 10, 20), (210, 30, 60)]
        );
        assert_eq!(sizes(10_000, 20), (9550, 50, 400));
        assert_eq!((needed_to_calibrate(20), needed_to_calibrate(15)), (20, 27));
        assert_eq!(divided(300, 3, false, 0).learned.len(), 300);
        assert_eq!(divided(300, 3, true, 20), divided(300, 3, true, 20));
        assert_ne!(divided(300, 3, true, 20).calibration, divided(300, 4, true, 20).calibration, "the seed draws them");
    }

    #[test]
    fn parts_are_calibrated_on_or_learned_from() {
        let parts: Vec<usize> = (0..100).map(|i| i / 7).collect();
        let Divided { learned, calibration, .. } =
            Division { seed: 1, epochs: false, calibration: 20, parts: &parts }.divide();
        assert!((14..=20).contains(&calibration.len()), "{calibration:?}");
        assert!(calibration.iter().all(|&i| learned.iter().all(|&j| parts[i] != parts[j])));
    }

    #[test]
    fn the_last_of_the_best_is_kept_and_patience_counts_from_the_first() {
        let best_of = |separations: &[f64]| best(&history(separations)).map(|epoch| epoch.epoch);
        assert_eq!(best_of(&[]), None);
        assert_eq!(best_of(&[0.5, 0.9, 0.7]), Some(2));
        assert_eq!(best_of(&[0.5, 0.9, 0.7, 0.9]), Some(4));
        let plateau = |separations: &[f64], patience| on_plateau(&history(separations), patience);
        assert!(!plateau(&[], 1) && !plateau(&[0.5], 1) && !plateau(&[0.5, 0.6], 1));
        assert!(plateau(&[0.6, 0.5], 1) && plateau(&[0.6, 0.6], 1));
        assert!(!plateau(&[0.6, 0.5, 0.6], 3) && plateau(&[0.6, 0.5, 0.6, 0.6], 3));
        assert!(!plateau(&[0.6, 0.5, 0.5, 0.7], 3));
    }

    #[test]
    fn where_nothing_is_held_out_there_is_no_plateau() {
        let without: Vec<Epoch> =
            history(&[0.0; 9]).into_iter().map(|epoch| Epoch { separation: None, ..epoch }).collect();
        assert!(best(&without).is_none() && !on_plateau(&without, 1));
    }
}
