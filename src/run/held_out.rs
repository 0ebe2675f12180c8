//! Good images that are held out of training, beside an anomaly made of each: after an epoch, how well the net tells the two apart.
//!
//! The epoch that does so best is the one whose weights are kept, and where none has done better for `patience` epochs training ends.

use super::features::features_of;
use super::score::{Shown, hand_out};
use super::settings::Settings;
use super::state::Epoch;
use crate::data::batches::TrainingSet;
use crate::engine::Network;
use crate::error::{Error, Result};
use crate::metrics::scores::Ranking;
use crate::rng::{Purpose, Stream};

/// Fewest images that say something: 64 pairs of a good and an anomalous one.
const FEWEST: usize = 8;

/// Most images that are held out, and most of their tiles that are looked at: 2500 such pairs, and 100 inputs in memory.
const MOST: usize = 50;

/// Which of `count` good images are held out, in their order: a tenth, drawn by the seed. None where that is too few to tell.
pub(super) fn chosen(count: usize, seed: u64) -> Vec<usize> {
    let tenth = count / 10;
    if tenth < FEWEST {
        return Vec::new();
    }
    let order = Stream::new(seed, Purpose::HeldOut, 0, 0).permutation(count as u32);
    let mut chosen: Vec<usize> = order.into_iter().take(tenth.min(MOST)).map(|i| i as usize).collect();
    chosen.sort_unstable();
    chosen
}

/// How many good images it takes to hold some out.
pub(super) const NEEDED: usize = 10 * FEWEST;

/// What the net sees of the images that are held out: the same in each epoch.
pub(super) struct HeldOut {
    /// Of each image or tile as it is and as an anomaly; where the head alone is trained, their features.
    inputs: Vec<f32>,
    anomalous: Vec<bool>,
}

impl HeldOut {
    /// Makes the inputs, unaugmented, or by `frozen` layers their features.
    ///
    /// # Errors
    /// A file that cannot be read; features that are no numbers.
    pub(super) fn new(set: &TrainingSet, mut frozen: Option<Network<f32>>) -> Result<HeldOut> {
        let (mut inputs, mut anomalous) = (Vec::new(), Vec::new());
        for (epoch, sample) in set.both_ways(MOST) {
            let view = set.batch(epoch, &[sample], false)?;
            anomalous.push(view.labels[0] > 0.0);
            match &mut frozen {
                Some(network) => inputs.extend_from_slice(features_of(network, &view)?),
                None => inputs.extend(view.inputs),
            }
        }
        Ok(HeldOut { inputs, anomalous })
    }

    /// The area under the ROC curve of the scores that a network gives now.
    ///
    /// # Errors
    /// Scores that are no numbers.
    pub(super) fn separation(&self, network: &mut Network<f32>, settings: &Settings) -> Result<f64> {
        let len = self.inputs.len() / self.anomalous.len();
        let mut scores = Vec::with_capacity(self.anomalous.len());
        for inputs in self.inputs.chunks(network.options().batch * len) {
            let n = inputs.len() / len;
            network.input(n)?.copy_from_slice(inputs);
            network.infer(n)?;
            hand_out(network, settings.image_score, n, Shown::Nothing, |_, scored| {
                scores.push(scored.score);
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
        assert!(chosen(NEEDED - 1, 3).is_empty());
        for (count, held) in [(80, 8), (89, 8), (300, 30), (501, 50), (10_000, 50)] {
            let found = chosen(count, 3);
            assert_eq!(found.len(), held);
            assert!(found.is_sorted_by(|a, b| a < b) && found.iter().all(|&i| i < count), "{found:?}");
        }
        assert_eq!(chosen(300, 3), chosen(300, 3));
        assert_ne!(chosen(300, 3), chosen(300, 4), "the seed draws them");
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
