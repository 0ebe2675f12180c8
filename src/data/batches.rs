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

mod offline;

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
    /// How an epoch goes through them.
    pub rounds: Rounds,
    /// Of all randomness.
    pub seed: u64,
}

/// How an epoch goes through the nominal images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Passes over them, each in another order and augmented afresh.
    pub passes: u32,
    /// Samples of a pass, at most: where there are more, each pass leaves out others.
    pub at_most: Option<usize>,
    /// Whether anomalies are made once, as many as there are nominal images, and stand beside these instead of replacing some.
    pub offline: bool,
}

impl Default for Rounds {
    /// One pass over all of them, with fresh anomalies.
    fn default() -> Rounds {
        Rounds { passes: 1, at_most: None, offline: false }
    }
}

/// True anomalies with their ground truth, where known.
#[derive(Clone, Debug)]
pub struct Others {
    /// The anomalies.
    pub images: Images,
    /// A mask at the raw side per image, or none at all. An image without mask is anomalous everywhere.
    pub masks: Vec<Option<Mask>>,
    /// Names of test images that they are, or that show the same parts: these say nothing about what was learned.
    pub unjudged: Vec<String>,
}

/// Tells images apart from others: how many are nominal, and a checksum of all that are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub nominal: usize,
    pub checksum: u32,
}

/// A training set that batches are drawn from.
///
/// A sample is a picture on one of the epoch's passes: picture p on pass k is sample k · pictures + p. The pictures are the nominal
/// images, followed by the anomalies where these were made beforehand. What becomes of a sample depends only on (seed, epoch, sample):
/// without anomalies of its own the set replaces it by one on a fair coin (number 0 of its `Supervise` stream), which anomaly or
/// outlier by number 1 of that stream; noise comes from its `Anomaly` stream; then it passes the training transforms.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    ingredients: Ingredients,
    synthesiser: Synthesiser,
    /// The anomalies of [`Rounds::offline`], one for each nominal image.
    made: Option<Others>,
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
        Others { images, masks, unjudged: Vec::new() }
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
            Some(Others { images, masks, .. }) if *supervise == Supervise::Other => {
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
        let mut set = TrainingSet { ingredients, synthesiser, made: None };
        if set.ingredients.rounds.offline {
            set.made = Some(set.make_anomalies()?);
        }
        let passes = set.ingredients.rounds.passes;
        if passes == 0 || u32::try_from(set.pictures()).ok().and_then(|n| n.checked_mul(passes)).is_none() {
            let problem = format!("{passes} passes over {} pictures in an epoch", set.pictures());
            return Err(Error::setting(
                problem,
                "choose other --passes: the samples of an epoch are numbered by 32 bits",
            ));
        }
        Ok(set)
    }

    /// What the set is made of.
    pub fn ingredients(&self) -> &Ingredients {
        &self.ingredients
    }

    /// What makes its artificial anomalies.
    pub(crate) fn synthesiser(&self) -> &Synthesiser {
        &self.synthesiser
    }

    /// The anomalies that stand beside the nominal images.
    pub(crate) fn made(&self) -> Option<&Others> {
        self.made.as_ref()
    }

    /// Pictures to draw from: nominal images and, where these were made beforehand, as many anomalies.
    fn pictures(&self) -> usize {
        self.ingredients.nominal.count + self.made.as_ref().map_or(0, |made| made.images.count)
    }

    /// Samples of a pass.
    fn per_pass(&self) -> usize {
        self.pictures().min(self.ingredients.rounds.at_most.unwrap_or(usize::MAX))
    }

    /// Samples per epoch.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> usize {
        self.per_pass() * self.ingredients.rounds.passes as usize
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
        let (pictures, per_pass) = (self.pictures() as u32, self.per_pass());
        let pass = |pass: u32| {
            let order = Stream::new(self.ingredients.seed, Purpose::Shuffle, epoch, pass).permutation(pictures);
            order.into_iter().take(per_pass).map(move |picture| pass * pictures + picture)
        };
        (0..self.ingredients.rounds.passes).flat_map(pass).collect()
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
        let picture = sample as usize % self.pictures();
        let anomalous = match &self.made {
            Some(_) => picture >= nominal.count,
            None => *supervise != Supervise::Unsupervised && self.chance(epoch, sample).bits(0) >> 31 == 1,
        };
        match &self.made {
            Some(made) if anomalous => scratch.take(made, picture - nominal.count),
            None if anomalous => self.make_anomaly(scratch, picture, epoch, sample),
            _ => scratch.load(nominal.image(picture), nominal.channels, 0),
        }
        let mask = map.map(|map| (scratch.mask.as_slice(), map));
        preprocessing.train_with(&mut scratch.transforms, &scratch.image, mask, (*seed, epoch, sample), input);
        f32::from(u8::from(anomalous))
    }

    /// What decides whether a sample becomes an anomaly, and which.
    fn chance(&self, epoch: u32, sample: u32) -> Stream {
        Stream::new(self.ingredients.seed, Purpose::Supervise, epoch, sample)
    }

    /// Puts into `scratch` the anomaly that a nominal picture becomes as a sample.
    fn make_anomaly(&self, scratch: &mut Scratch, picture: usize, epoch: u32, sample: u32) {
        let Ingredients { nominal, others, supervise, rounds, seed, .. } = &self.ingredients;
        let chance = self.chance(epoch, sample);
        let drawn = nominal.image(picture);
        if let (Supervise::Other, Some(others)) = (supervise, others) {
            return scratch.take(others, chance.below(1, others.images.count as u32) as usize);
        }
        scratch.load(drawn, nominal.channels, 1);
        self.make_noise(scratch, chance, Stream::new(*seed, Purpose::Anomaly, epoch, sample));
        match supervise {
            Supervise::Noise => malform::replace(&scratch.noise, &mut scratch.image),
            _ if rounds.offline => {
                malform::malform_by_brightness(&scratch.noise, &mut scratch.image, nominal.channels);
            }
            _ => malform::malform(&scratch.noise, &mut scratch.image),
        }
        if *supervise == Supervise::MalformedNormalGt {
            malform::mark_changes(drawn, &scratch.image, nominal.channels, &mut scratch.mask);
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

impl Scratch {
    /// Takes an image whose ground truth is the same everywhere.
    fn load(&mut self, image: &[u8], channels: usize, truth: u8) {
        self.image.clear();
        self.image.extend_from_slice(image);
        self.mask.clear();
        self.mask.resize(image.len() / channels, truth);
    }

    /// Takes a true anomaly with its mask; without one all of it is anomalous.
    fn take(&mut self, Others { images, masks, .. }: &Others, pick: usize) {
        self.load(images.image(pick), images.channels, 1);
        if let Some(Some(mask)) = masks.get(pick) {
            self.mask.copy_from_slice(&mask.pixels);
        }
    }
}

#[cfg(test)]
mod tests;
