//! Training batches: draw, replace by anomalies, augment, normalise.

use flate2::Crc;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::anomaly::{self, Synthesiser, malform};
use crate::data::dataset::Split;
use crate::data::images::{Images, Mask};
use crate::data::interpret;
use crate::data::pipeline::Preprocessing;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};

/// What a training set is made of. All images have the raw side and the channels of the preprocessing.
#[derive(Clone, Debug)]
pub struct Ingredients {
    /// Nominal samples, each drawn once per epoch.
    pub nominal: Images,
    /// True anomalies, for [`Supervise::Other`].
    pub others: Option<Others>,
    /// Images of another set, for [`NoiseMode::Outliers`].
    pub outliers: Option<Images>,
    /// Augmentation and normalisation.
    pub preprocessing: Preprocessing,
    /// What anomalies are.
    pub supervise: Supervise,
    /// What artificial anomalies are made of; unused where none are made.
    pub noise: NoiseMode,
    /// Of all randomness.
    pub seed: u64,
}

/// True anomalies with their ground truth, where known.
#[derive(Clone, Debug)]
pub struct Others {
    /// The anomalies.
    pub images: Images,
    /// A mask at the raw side per image, or none at all. An image without mask is anomalous everywhere.
    pub masks: Vec<Option<Mask>>,
}

/// Tells images apart from others: how many are nominal, and a checksum of all that are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub nominal: usize,
    pub checksum: u32,
}

/// A training set that batches are drawn from.
///
/// A sample is the number of a nominal image. What becomes of it depends only on (seed, epoch, sample): on a fair coin (number
/// 0 of its `Supervise` stream) it is replaced by an anomaly, which anomaly or outlier by number 1 of that stream; noise comes
/// from its `Anomaly` stream; then it passes the training transforms.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    ingredients: Ingredients,
    synthesiser: Synthesiser,
}

/// Memory that a thread reuses from sample to sample.
#[derive(Default)]
struct Scratch {
    image: Vec<u8>,
    mask: Vec<u8>,
    noise: Vec<i16>,
    anomaly: anomaly::Scratch,
    transforms: interpret::Scratch,
}

impl Others {
    /// The images of a split at `indices`, with masks brought to the raw side by nearest neighbour.
    pub fn new(split: &Split, indices: &[usize]) -> Others {
        let images = split.images.select(indices);
        let masks = if split.masks.is_empty() {
            Vec::new()
        } else {
            let at_raw_side = |&i: &usize| split.masks[i].as_ref().map(|m| m.resized(images.height, images.width));
            indices.iter().map(at_raw_side).collect()
        };
        Others { images, masks }
    }
}

impl TrainingSet {
    /// Checks that the ingredients fit together.
    pub fn new(ingredients: Ingredients) -> Result<TrainingSet> {
        let Ingredients { nominal, others, outliers, preprocessing, supervise, noise, .. } = &ingredients;
        preprocessing.check()?;
        supervise.check(*noise)?;
        let (side, channels) = (preprocessing.raw_side, preprocessing.channels);
        let usable = |images: &Images, what: &str, remedy: &str| {
            if images.count == 0 || u32::try_from(images.count).is_err() {
                return Err(Error::setting(format!("{} {what}", images.count), remedy));
            }
            if (images.height, images.width, images.channels) != (side, side, channels) {
                let (h, w, c) = (images.height, images.width, images.channels);
                let problem = format!("{what} of {h}×{w}×{c} where preprocessing takes {side}×{side}×{channels}");
                return Err(Error::setting(problem, "load them at the raw side and channels of the preprocessing"));
            }
            Ok(())
        };
        usable(nominal, "nominal training images", "give at least one good picture")?;
        let uses_outliers = supervise.draws_outliers(*noise);
        match outliers {
            Some(images) if uses_outliers => usable(images, "outliers", "choose another source of outliers")?,
            None if uses_outliers => {
                let remedy =
                    "name one by --outliers (mnist:DIR, cifar100:FILE, images:DIR …) or choose another --noise";
                return Err(Error::setting("no source of outliers is given", remedy));
            }
            _ => {}
        }
        match others {
            Some(Others { images, masks }) if *supervise == Supervise::Other => {
                usable(images, "true anomalies to train on", "choose another --supervise")?;
                let fits = |mask: &Mask| (mask.height, mask.width) == (side, side);
                if !masks.is_empty() && (masks.len() != images.count || !masks.iter().flatten().all(fits)) {
                    return Err(Error::setting("masks that do not match the true anomalies", "give one per image"));
                }
            }
            None if *supervise == Supervise::Other => {
                return Err(Error::setting("there are no true anomalies to train on", "choose another --supervise"));
            }
            _ => {}
        }
        let synthesiser = Synthesiser::new(*noise, side, channels);
        Ok(TrainingSet { ingredients, synthesiser })
    }

    /// What the set is made of.
    pub fn ingredients(&self) -> &Ingredients {
        &self.ingredients
    }

    /// What makes its artificial anomalies.
    pub(crate) fn synthesiser(&self) -> &Synthesiser {
        &self.synthesiser
    }

    /// Samples per epoch: the number of nominal images.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> usize {
        self.ingredients.nominal.count
    }

    /// What tells the set's images from others.
    pub fn fingerprint(&self) -> Fingerprint {
        let Ingredients { nominal, others, outliers, .. } = &self.ingredients;
        let mut checksum = Crc::new();
        let others = others.as_ref().map(|others| &others.images);
        [Some(nominal), others, outliers.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|images| checksum.update(&images.pixels));
        Fingerprint { nominal: nominal.count, checksum: checksum.sum() }
    }

    /// The samples in the order of an epoch.
    pub fn order(&self, epoch: u32) -> Vec<u32> {
        Stream::new(self.ingredients.seed, Purpose::Shuffle, epoch, 0).permutation(self.len() as u32)
    }

    /// Makes a batch of `n = samples.len()` images: `inputs` takes n × side × side × channels floats (NHWC), `labels` n floats
    /// (1 for anomalies, else 0), `maps`, where wanted, n × side × side floats (1 where anomalous, else 0).
    ///
    /// Maps of nominal samples are 0; of `noise` and `malformed-normal` 1; of `malformed-normal-gt` 1 where noise changed the
    /// pixel; of true anomalies their mask, or 1 without one. All follow the image through crops and flips; what padding
    /// brings in is 0.
    pub fn fill(&self, epoch: u32, samples: &[u32], inputs: &mut [f32], labels: &mut [f32], maps: Option<&mut [f32]>) {
        let p = &self.ingredients.preprocessing;
        let (n, map_len) = (samples.len(), p.side * p.side);
        assert_eq!((inputs.len(), labels.len()), (n * p.input_len(), n));
        let images = inputs.par_chunks_mut(p.input_len()).zip(labels).zip(samples);
        let one = |scratch: &mut Scratch, (((input, label), &sample), map): (((&mut [f32], &mut f32), &u32), _)| {
            *label = self.fill_one(scratch, epoch, sample, input, map);
        };
        match maps {
            Some(maps) => {
                assert_eq!(maps.len(), n * map_len);
                images.zip(maps.par_chunks_mut(map_len).map(Some)).for_each_init(Scratch::default, one);
            }
            None => images.zip((0..n).into_par_iter().map(|_| None)).for_each_init(Scratch::default, one),
        }
    }

    /// Makes one sample; returns its label.
    fn fill_one(
        &self,
        scratch: &mut Scratch,
        epoch: u32,
        sample: u32,
        input: &mut [f32],
        map: Option<&mut [f32]>,
    ) -> f32 {
        let Ingredients { nominal, preprocessing, supervise, seed, .. } = &self.ingredients;
        let drawn = nominal.image(sample as usize);
        let chance = Stream::new(*seed, Purpose::Supervise, epoch, sample);
        let anomalous = *supervise != Supervise::Unsupervised && chance.bits(0) >> 31 == 1;
        scratch.image.clear();
        scratch.image.extend_from_slice(drawn);
        scratch.mask.clear();
        scratch.mask.resize(nominal.height * nominal.width, u8::from(anomalous));
        if anomalous && *supervise == Supervise::Other {
            self.take_true_anomaly(scratch, chance);
        } else if anomalous {
            self.make_noise(scratch, chance, Stream::new(*seed, Purpose::Anomaly, epoch, sample));
            match supervise {
                Supervise::Noise => malform::replace(&scratch.noise, &mut scratch.image),
                _ => malform::malform(&scratch.noise, &mut scratch.image),
            }
            if *supervise == Supervise::MalformedNormalGt {
                malform::mark_changes(drawn, &scratch.image, nominal.channels, &mut scratch.mask);
            }
        }
        let mask = map.map(|map| (scratch.mask.as_slice(), map));
        preprocessing.train_with(&mut scratch.transforms, &scratch.image, mask, (*seed, epoch, sample), input);
        f32::from(u8::from(anomalous))
    }

    /// Puts one of the true anomalies into `scratch`, whose mask is all one.
    fn take_true_anomaly(&self, scratch: &mut Scratch, chance: Stream) {
        if let Some(Others { images, masks }) = &self.ingredients.others {
            let pick = chance.below(1, images.count as u32) as usize;
            scratch.image.copy_from_slice(images.image(pick));
            if let Some(Some(mask)) = masks.get(pick) {
                scratch.mask.copy_from_slice(&mask.pixels);
            }
        }
    }

    fn make_noise(&self, scratch: &mut Scratch, chance: Stream, content: Stream) {
        let outlier = match (&self.ingredients.outliers, self.ingredients.noise) {
            (Some(images), NoiseMode::Outliers) => Some(images.image(chance.below(1, images.count as u32) as usize)),
            _ => None,
        };
        scratch.noise.resize(scratch.image.len(), 0);
        self.synthesiser.fill(content, outlier, &mut scratch.anomaly, &mut scratch.noise);
    }
}

#[cfg(test)]
mod tests;
