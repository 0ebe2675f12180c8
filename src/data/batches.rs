//! Training batches: draw, replace by anomalies, augment, normalise. What becomes of one sample is in `sample`, anomalies that are made
//! before training are in `offline`.

use rayon::prelude::*;

use crate::data::anomaly::Synthesiser;
use crate::data::counted::Counted;
use crate::data::fingerprint::{Fingerprint, Sum};
use crate::data::image_source::ImageSource;
use crate::data::images::{Mask, UNMARKED};
use crate::data::labelled::marks;
use crate::data::pipeline::Preprocessing;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::Split;
use crate::data::supervise::{NoiseMix, Supervise};
use crate::device::cuda::kernels::Lots;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};

mod offline;
mod sample;

use sample::SampleScratch;

/// What a training set is made of. All images have the raw side and the channels of the preprocessing.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// Normal samples, each drawn once per epoch.
    pub normal: ImageSource,
    /// Labelled anomalies, for [`Supervise::Other`] and beside artificial ones.
    pub labelled: Option<LabelledAnomalies>,
    /// Of the anomalies that artificial ones would be, per cent that are labelled ones instead.
    pub labelled_share: u32,
    /// Images of another set, for [`NoiseMode::Outliers`](crate::data::supervise::NoiseMode::Outliers).
    pub outliers: Option<ImageSource>,
    /// Which part of each image counts; None where all of it does. Of what does not count nothing is learned.
    pub counted: Option<Counted>,
    /// Augmentation and normalisation.
    pub preprocessing: Preprocessing,
    /// What anomalies are.
    pub supervise: Supervise,
    /// What artificial anomalies are made of; unused where none are made.
    pub noise: NoiseMix,
    /// How an epoch goes through them.
    pub plan: EpochPlan,
    /// Of all randomness.
    pub seed: u64,
}

impl TrainingData {
    /// What chooses labelled anomalies among all.
    pub(crate) fn labelled_lots(&self) -> Lots {
        match self.supervise {
            Supervise::Unsupervised => Lots::NONE,
            Supervise::Other => Lots::ALL,
            Supervise::Noise | Supervise::MalformedNormal | Supervise::MalformedNormalGt => {
                self.noise.labelled_lots(self.labelled_share)
            }
        }
    }

    /// Whether parts of its samples are no part of what is learned from: what lies beyond a canvas, and what does not count.
    pub(crate) fn is_bounded(&self) -> bool {
        matches!(self.normal, ImageSource::Tiles(_)) || self.counted.is_some()
    }

    /// Whether some anomalies are labelled ones.
    pub(crate) fn learns_labelled(&self) -> bool {
        self.labelled_lots().until > 0
    }
}

/// How an epoch goes through the normal images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochPlan {
    /// Passes over them, each in another order and augmented afresh.
    pub passes: u32,
    /// Samples of a pass, at most: where there are more, each pass leaves out others.
    pub at_most: Option<usize>,
    /// Whether anomalies are made once, as many as there are normal images, and stand beside these instead of replacing some.
    pub offline: bool,
}

impl Default for EpochPlan {
    /// One pass over all of them, with fresh anomalies.
    fn default() -> EpochPlan {
        EpochPlan { passes: 1, at_most: None, offline: false }
    }
}

/// Labelled anomalies with their ground truth, where known.
#[derive(Clone, Debug)]
pub struct LabelledAnomalies {
    /// The anomalies.
    pub images: ImageSource,
    /// A mask at the raw side, or of a canvas's size, per image, or none at all.
    pub masks: Vec<Option<Mask>>,
    /// The ground truth of each pixel of an image without mask: 1, or 2 where nobody knows it ([`MapLoss`](crate::steps::fcdd_loss::MapLoss)).
    pub without_mask: u8,
    /// Names of test images that they are, or that show the same parts: these say nothing about what was learned.
    pub untested: Vec<String>,
}

/// A training set that batches are drawn from.
///
/// A sample is an image on one of the epoch's passes: image p on pass k is sample k · images + p. The images are the normal
/// images, followed by the anomalies where these were made beforehand. What becomes of a sample depends only on (seed, epoch, sample):
/// without anomalies of its own the set replaces it by one on a fair coin (number 0 of its `Supervise` stream), which anomaly or
/// outlier by number 1 of that stream, which other good image its noise is made of by number 2, whether it is a labelled one and which of
/// several modes makes it otherwise by number 3, where in their canvases its images lie by numbers 4 to 8;
/// noise comes from its `Anomaly` stream; then it passes the training transforms.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    data: TrainingData,
    synthesiser: Synthesiser,
    /// The anomalies of [`EpochPlan::offline`], one for each normal image.
    made: Option<LabelledAnomalies>,
    /// Good images that nothing is learned from, and what makes anomalies of them.
    held_out: Option<Box<TrainingSet>>,
    /// Others, as they are scored.
    calibration: Option<ImageSource>,
}

/// A batch of training samples, as [`TrainingSet::fill`] makes it.
pub struct Batch {
    /// n [side, side, channels].
    pub inputs: Vec<f32>,
    /// One for each image.
    pub labels: Vec<f32>,
    /// n [side, side]; empty unless asked for.
    pub maps: Vec<f32>,
}

impl LabelledAnomalies {
    /// The images of a split at `indices`, with masks fitted to the raw side as the images are ([`choose`](crate::data::labelled::choose) leaves
    /// out what then marks nothing); without one, nothing is known of where they are anomalous.
    pub fn new(split: &Split, indices: &[usize], fit: ResizeMode, counted: Option<&Counted>) -> LabelledAnomalies {
        let images = split.images.select(indices);
        let masks = if split.masks.is_empty() {
            Vec::new()
        } else {
            let side = images.shape()[0];
            let at_raw_side = |&i: &usize| split.masks[i].as_ref().map(|mask| marks(mask, fit, side, counted));
            indices.iter().map(at_raw_side).collect()
        };
        LabelledAnomalies { images, masks, without_mask: UNMARKED, untested: Vec::new() }
    }

    /// Writes the ground truth of an image: a byte per pixel.
    pub(crate) fn write_truth(&self, i: usize, truth: &mut [u8]) {
        match self.masks.get(i) {
            Some(Some(mask)) => truth.copy_from_slice(&mask.pixels),
            _ => truth.fill(self.without_mask),
        }
    }
}

impl TrainingSet {
    /// Checks that images, preprocessing and supervision fit together.
    pub fn new(data: TrainingData) -> Result<TrainingSet> {
        let TrainingData { normal, labelled, outliers, preprocessing, supervise, noise, labelled_share, .. } = &data;
        preprocessing.check()?;
        supervise.check(noise)?;
        let (side, channels) = (preprocessing.raw_side, preprocessing.channels);
        let usable = |images: &ImageSource, what: &str, remedy: &str| {
            if images.count() == 0 || u32::try_from(images.count()).is_err() {
                return Err(Error::setting(format!("{} {what}", images.count()), remedy));
            }
            let [h, w, c] = images.shape();
            if [h, w, c] != [side, side, channels] {
                let problem = format!("{what} of {h}×{w}×{c} where preprocessing takes {side}×{side}×{channels}");
                return Err(Error::setting(problem, "load them at the raw side and channels of the preprocessing"));
            }
            Ok(())
        };
        usable(normal, "normal training images", "give at least one good image")?;
        let uses_outliers = supervise.draws_outliers(noise);
        match outliers {
            Some(images) if uses_outliers => usable(images, "outliers", "choose another source of outliers")?,
            None if uses_outliers => {
                let remedy =
                    "name one with `outliers` (mnist:DIR, cifar100:PATH, images:DIR …) or choose another `noise`";
                return Err(Error::setting("no source of outliers is given", remedy));
            }
            _ => {}
        }
        if *labelled_share > 100 {
            return Err(Error::setting(format!("{labelled_share} % labelled anomalies"), "choose 0 to 100"));
        }
        let learns_labelled = data.learns_labelled();
        match labelled {
            Some(LabelledAnomalies { images, masks, .. }) if learns_labelled => {
                usable(images, "labelled anomalies to train on", "choose another `supervise`")?;
                let size = |i: usize| match images {
                    ImageSource::Canvases(canvases) => canvases.grid(i).canvas(),
                    _ => (side, side),
                };
                let fits = |(i, mask): (usize, &Option<Mask>)| {
                    mask.as_ref().is_none_or(|mask| (mask.height, mask.width) == size(i))
                };
                if !masks.is_empty() && (masks.len() != images.count() || !masks.iter().enumerate().all(fits)) {
                    return Err(Error::setting("masks that do not match the labelled anomalies", "give one per image"));
                }
            }
            None if learns_labelled => {
                return Err(Error::setting(
                    "there are no labelled anomalies to train on",
                    "choose another `supervise`",
                ));
            }
            _ => {}
        }
        let synthesiser = Synthesiser::new(noise, side, channels);
        let mut set = TrainingSet { data, synthesiser, made: None, held_out: None, calibration: None };
        if set.data.plan.offline {
            if !set.is_held() {
                return Err(Error::setting(
                    "anomalies made before training need all images in memory",
                    "choose `hold` always",
                ));
            }
            if set.data.counted.is_some() {
                return Err(Error::setting(
                    "anomalies made before training are learned from as a whole",
                    "leave `roi` and `ignore` out, or do without `offline_supervision`",
                ));
            }
            set.made = Some(set.make_anomalies()?);
        }
        let passes = set.data.plan.passes;
        if passes == 0 || u32::try_from(set.images()).ok().and_then(|n| n.checked_mul(passes)).is_none() {
            let problem = format!("{passes} passes over {} images in an epoch", set.images());
            return Err(Error::setting(
                problem,
                "choose other `passes`: the samples of an epoch are numbered by 32 bits",
            ));
        }
        Ok(set)
    }

    /// The same beside good images that are held out of it.
    pub(crate) fn holding_out(self, held_out: TrainingSet) -> TrainingSet {
        TrainingSet { held_out: Some(Box::new(held_out)), ..self }
    }

    /// The good images that are held out.
    pub(crate) fn held_out(&self) -> Option<&TrainingSet> {
        self.held_out.as_deref()
    }

    /// The same beside good images whose scores are to set the threshold.
    pub(crate) fn calibrating_on(self, images: ImageSource) -> TrainingSet {
        TrainingSet { calibration: Some(images), ..self }
    }

    /// Good images whose scores set the threshold.
    pub(crate) fn calibration(&self) -> Option<&ImageSource> {
        self.calibration.as_ref()
    }

    /// The set of its first `n` normal images and of as many others.
    ///
    /// # Errors
    /// As of [`TrainingSet::new`].
    pub(crate) fn of_few(&self, n: usize) -> Result<TrainingSet> {
        let few = |images: &ImageSource| images.select(&(0..n.min(images.count())).collect::<Vec<_>>());
        let TrainingData { normal, labelled, outliers, counted, preprocessing, noise, .. } = &self.data;
        let TrainingData { labelled_share, supervise, plan, seed, .. } = self.data;
        let labelled = labelled.as_ref().map(|labelled| LabelledAnomalies {
            images: few(&labelled.images),
            masks: labelled.masks.iter().take(n).cloned().collect(),
            without_mask: labelled.without_mask,
            untested: Vec::new(),
        });
        TrainingSet::new(TrainingData {
            normal: few(normal),
            labelled,
            labelled_share,
            outliers: outliers.as_ref().map(few),
            counted: counted.clone(),
            preprocessing: preprocessing.clone(),
            supervise,
            noise: noise.clone(),
            plan: EpochPlan { passes: 1, ..plan },
            seed,
        })
    }

    /// What the set is made of.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// What chooses the anomalies that the noise mode of a number makes.
    pub(crate) fn noise_lots(&self, number: usize) -> Lots {
        self.data.noise.lots(number, self.data.labelled_share)
    }

    /// What makes its artificial anomalies.
    pub(crate) fn synthesiser(&self) -> &Synthesiser {
        &self.synthesiser
    }

    /// The anomalies that stand beside the normal images.
    pub(crate) fn made(&self) -> Option<&LabelledAnomalies> {
        self.made.as_ref()
    }

    /// Images to draw from: normal images and, where these were made beforehand, as many anomalies.
    fn images(&self) -> usize {
        self.data.normal.count() + self.made.as_ref().map_or(0, |made| made.images.count())
    }

    /// Samples that an epoch may have: they are numbered from 0.
    pub(crate) fn samples(&self) -> u32 {
        self.images() as u32 * self.data.plan.passes
    }

    /// Samples of a pass.
    fn per_pass(&self) -> usize {
        self.images().min(self.data.plan.at_most.unwrap_or(usize::MAX))
    }

    /// Samples per epoch.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> usize {
        self.per_pass() * self.data.plan.passes as usize
    }

    /// The sets of images that it draws from.
    fn stores(&self) -> impl Iterator<Item = &ImageSource> {
        let TrainingData { normal, labelled, outliers, .. } = &self.data;
        let labelled = labelled.as_ref().map(|labelled| &labelled.images);
        [Some(normal), labelled, outliers.as_ref()].into_iter().flatten()
    }

    /// Whether all images are held in memory; else making a batch reads files.
    pub fn is_held(&self) -> bool {
        self.stores().all(|images| images.held().is_some())
    }

    /// Whether a GPU is handed what each batch is made of: it does not hold it all, or not what lies outside of each image.
    pub(crate) fn is_staged(&self) -> bool {
        !self.is_held() || self.data.is_bounded()
    }

    /// What tells the set's images from others, however they are held.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        self.fingerprint_by(Sum::default())
    }

    /// The same, of the kind of another.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprint_like(&self, other: Fingerprint) -> Result<Fingerprint> {
        self.fingerprint_by(Sum::like(other.checksum))
    }

    fn fingerprint_by(&self, mut sum: Sum) -> Result<Fingerprint> {
        let held_out = self.held_out.iter().map(|held_out| &held_out.data.normal);
        self.stores().chain(held_out).chain(&self.calibration).try_for_each(|images| images.checksum(&mut sum))?;
        let counted = self.data.counted.as_ref().map(Counted::id);
        Ok(Fingerprint { normal: self.data.normal.images().count(), checksum: sum.checksum(), counted })
    }

    /// The samples in the order of an epoch.
    pub fn order(&self, epoch: u32) -> Vec<u32> {
        let (images, per_pass) = (self.images() as u32, self.per_pass());
        let pass = |pass: u32| {
            let order = Stream::new(self.data.seed, Purpose::Shuffle, epoch, pass).permutation(images);
            order.into_iter().take(per_pass).map(move |image| pass * images + image)
        };
        (0..self.data.plan.passes).flat_map(pass).collect()
    }

    /// Makes a batch of `n = samples.len()` images: `inputs` takes n × side × side × channels floats (NHWC), `labels` n floats
    /// (1 for anomalies, else 0), `maps`, where wanted, n × side × side floats (1 where anomalous, else 0).
    ///
    /// Maps of normal samples are 0; of `noise` and `malformed-normal` 1; of `malformed-normal-gt` 1 where noise changed the
    /// pixel; of labelled anomalies their mask, or [`UNMARKED`](crate::steps::fcdd_loss::UNMARKED) without one; of what is mirrored in
    /// beyond a canvas, and of what does not count, [`OUTSIDE`](crate::steps::fcdd_loss::OUTSIDE). All follow the image through crops and flips; what padding
    /// brings in is 0.
    ///
    /// # Errors
    /// A file that cannot be read. Held sets give none.
    pub fn fill(
        &self,
        epoch: u32,
        samples: &[u32],
        inputs: &mut [f32],
        labels: &mut [f32],
        maps: Option<&mut [f32]>,
    ) -> Result<()> {
        let p = &self.data.preprocessing;
        let (n, map_len) = (samples.len(), p.side * p.side);
        assert_eq!((inputs.len(), labels.len()), (n * p.input_len(), n));
        let images = inputs.par_chunks_mut(p.input_len()).zip(labels).zip(samples);
        let one = |scratch: &mut SampleScratch,
                   (((input, label), &sample), map): (((&mut [f32], &mut f32), &u32), _)| {
            *label = self.fill_one(scratch, epoch, sample, input, map)?;
            Ok(())
        };
        match maps {
            Some(maps) => {
                assert_eq!(maps.len(), n * map_len);
                images.zip(maps.par_chunks_mut(map_len).map(Some)).try_for_each_init(SampleScratch::default, one)
            }
            None => images.zip((0..n).into_par_iter().map(|_| None)).try_for_each_init(SampleScratch::default, one),
        }
    }

    /// Bytes of a batch of `n` images.
    pub fn batch_bytes(&self, n: usize, maps: bool) -> usize {
        let p = &self.data.preprocessing;
        n * (p.input_len() + 1 + if maps { p.side * p.side } else { 0 }) * size_of::<f32>()
    }

    /// Makes a batch in memory of its own.
    ///
    /// # Errors
    /// As [`TrainingSet::fill`].
    pub fn batch(&self, epoch: u32, samples: &[u32], maps: bool) -> Result<Batch> {
        let p = &self.data.preprocessing;
        let n = samples.len();
        let map_len = if maps { n * p.side * p.side } else { 0 };
        let mut batch = Batch { inputs: vec![0.0; n * p.input_len()], labels: vec![0.0; n], maps: vec![0.0; map_len] };
        let Batch { inputs, labels, maps: truth } = &mut batch;
        self.fill(epoch, samples, inputs, labels, maps.then_some(truth.as_mut_slice()))?;
        Ok(batch)
    }

    /// Bytes that [`TrainingSet::stage`] writes for batches of up to `batch` images.
    pub fn staged_len(&self, batch: usize) -> usize {
        let p = &self.data.preprocessing;
        batch * (2 * p.raw_form().image_len() + p.raw_side * p.raw_side)
    }

    /// Writes what a batch is made of, for [`crate::data::cuda`]: room for `batch` normal images, for as many outliers or labelled
    /// anomalies and for their masks. Each has the place of its sample; what a sample does not need is left as it is.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn stage(&self, epoch: u32, samples: &[u32], batch: usize, out: &mut [u8]) -> Result<()> {
        let p = &self.data.preprocessing;
        let (len, pixels) = (p.raw_form().image_len(), p.raw_side * p.raw_side);
        let (images, rest) = out.split_at_mut(batch * len);
        let (others, masks) = rest.split_at_mut(batch * len);
        let places = images.par_chunks_mut(len).zip(others.par_chunks_mut(len)).zip(masks.par_chunks_mut(pixels));
        places
            .take(samples.len())
            .zip(samples)
            .try_for_each(|(((image, other), mask), &sample)| self.stage_one(epoch, sample, [image, other, mask]))
    }
}

#[cfg(test)]
mod tests;
