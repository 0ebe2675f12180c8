//! What becomes of one sample: itself, or the anomaly that takes its place, then augmented and normalised.

use super::{LabelledAnomalies, TrainingData, TrainingSet};
use crate::data::anomaly::{self, Ingredients, MadeOf, malform};
use crate::data::image_source::{ImageSource, spread};
use crate::data::images::OUTSIDE;
use crate::data::interpret;
use crate::data::supervise::Supervise;
use crate::data::tiles::{TileAxis, TileGrid, Window};
use crate::error::Result;
use crate::rng::{Purpose, Stream, scaled};

/// Memory that a thread reuses from sample to sample.
#[derive(Default)]
pub(super) struct SampleScratch {
    /// The normal image that was drawn.
    drawn: Vec<u8>,
    /// What becomes of it.
    pub(super) image: Vec<u8>,
    /// An outlier, or another good image.
    other: Vec<u8>,
    pub(super) mask: Vec<u8>,
    noise: Vec<i16>,
    anomaly: anomaly::Scratch,
    transforms: interpret::TransformScratch,
}

impl TrainingSet {
    /// Writes what a sample is made of.
    pub(super) fn stage_one(&self, epoch: u32, sample: u32, [image, other, mask]: [&mut [u8]; 3]) -> Result<()> {
        let TrainingData { normal, labelled, supervise, counted, .. } = &self.data;
        let anomalous = self.is_anomalous(epoch, sample);
        let (places, own) = (Places::of(self.chance(epoch, sample)), self.image_of(sample));
        let window = match labelled.as_ref().filter(|_| anomalous && self.is_labelled(epoch, sample)) {
            Some(labelled) => {
                let pick = self.pick(epoch, sample, labelled.images.count());
                labelled.read(pick, places, other, mask)?
            }
            None => {
                if self.data.is_bounded() {
                    mask.fill(0);
                }
                let window = normal.window(own, places.own, counted.as_ref());
                if !anomalous || supervise.alters() {
                    normal.read_window(own, &window, image)?;
                }
                if anomalous && let Some((images, i)) = self.ingredient(own, epoch, sample) {
                    images.read_window(i, &images.window(i, places.other, None), other)?;
                }
                window
            }
        };
        self.mark_outside(mask, &window);
        Ok(())
    }

    /// Makes one sample; returns its label.
    pub(super) fn fill_one(
        &self,
        scratch: &mut SampleScratch,
        epoch: u32,
        sample: u32,
        input: &mut [f32],
        map: Option<&mut [f32]>,
    ) -> Result<f32> {
        let TrainingData { normal, preprocessing, counted, seed, .. } = &self.data;
        let (anomalous, image) = (self.is_anomalous(epoch, sample), self.image_of(sample));
        let places = Places::of(self.chance(epoch, sample));
        let window = match &self.made {
            Some(made) if anomalous => scratch.take(made, image - normal.count(), places)?,
            None if anomalous => self.make_anomaly(scratch, image, epoch, sample)?,
            _ => {
                scratch.image.resize(normal.image_len(), 0);
                scratch.truth(preprocessing.raw_side, 0);
                let window = normal.window(image, places.own, counted.as_ref());
                normal.read_window(image, &window, &mut scratch.image)?;
                window
            }
        };
        self.mark_outside(&mut scratch.mask, &window);
        let mask = map.map(|map| (scratch.mask.as_slice(), map));
        preprocessing.train_with(&mut scratch.transforms, &scratch.image, mask, (*seed, epoch, sample), input);
        Ok(f32::from(u8::from(anomalous)))
    }

    /// Marks in a ground truth what lies beyond the image that its square is of, and what of that does not count.
    fn mark_outside(&self, truth: &mut [u8], window: &Window) {
        let side = self.data.preprocessing.raw_side;
        if let Some(counted) = &self.data.counted {
            counted.leave_out(truth, side, window);
        }
        let (rows, columns) = window.shown(side);
        if (rows, columns) == (side, side) {
            return;
        }
        for (y, row) in truth.chunks_exact_mut(side).enumerate() {
            row[if y < rows { columns } else { 0 }..].fill(OUTSIDE);
        }
    }

    /// What decides whether a sample becomes an anomaly, and which.
    fn chance(&self, epoch: u32, sample: u32) -> Stream {
        Stream::new(self.data.seed, Purpose::Supervise, epoch, sample)
    }

    /// The index of the image that a sample is drawn from.
    fn image_of(&self, sample: u32) -> usize {
        sample as usize % self.images()
    }

    fn is_anomalous(&self, epoch: u32, sample: u32) -> bool {
        let TrainingData { normal, supervise, .. } = &self.data;
        match self.made {
            Some(_) => self.image_of(sample) >= normal.count(),
            None => *supervise != Supervise::Unsupervised && self.chance(epoch, sample).bits(0) >> 31 == 1,
        }
    }

    /// Of normal images, `most` of them spread evenly, the first epoch that leaves each as it is and the first that makes an anomaly of it, each
    /// with the sample: of sets that make anomalies as they go.
    pub(crate) fn both_ways(&self, most: usize) -> Vec<(u32, u32)> {
        let first = |sample, anomalous| (0..).find(|&epoch| self.is_anomalous(epoch, sample) == anomalous);
        let ways = |sample| [false, true].map(|anomalous| first(sample, anomalous).map(|epoch| (epoch, sample)));
        spread(self.data.normal.count(), most).into_iter().flat_map(|i| ways(i as u32)).flatten().collect()
    }

    /// Whether an anomalous sample is a labelled anomaly.
    fn is_labelled(&self, epoch: u32, sample: u32) -> bool {
        self.data.labelled_lots().has(self.chance(epoch, sample).bits(3))
    }

    /// Which of `count` labelled anomalies or outliers an anomalous sample takes.
    fn pick(&self, epoch: u32, sample: u32, count: usize) -> usize {
        self.chance(epoch, sample).below(1, count as u32) as usize
    }

    /// The number of the noise mode that makes an artificial anomaly.
    fn mode(&self, epoch: u32, sample: u32) -> usize {
        let bits = self.chance(epoch, sample).bits(3);
        (0..self.data.noise.modes().len()).find(|&number| self.noise_lots(number).has(bits)).unwrap_or_default()
    }

    /// Another of the normal images, each as likely; the same where there is no other.
    fn another(&self, image: usize, epoch: u32, sample: u32) -> usize {
        let count = self.data.normal.count();
        let step = 1 + self.chance(epoch, sample).below(2, (count as u32 - 1).max(1)) as usize;
        (image + step) % count
    }

    /// The image that the noise of a sample is made of beside its own: an outlier, or another good image, where there is one.
    pub(super) fn ingredient(&self, image: usize, epoch: u32, sample: u32) -> Option<(&ImageSource, usize)> {
        let TrainingData { normal, outliers, noise, .. } = &self.data;
        match noise.modes()[self.mode(epoch, sample)].0.made_of() {
            MadeOf::Numbers => None,
            MadeOf::Outliers => outliers.as_ref().map(|images| (images, self.pick(epoch, sample, images.count()))),
            MadeOf::GoodImages => Some((normal, self.another(image, epoch, sample))),
        }
    }

    /// Puts into `scratch` the anomaly that a normal image becomes as a sample; returns what it shows.
    pub(super) fn make_anomaly(
        &self,
        scratch: &mut SampleScratch,
        image: usize,
        epoch: u32,
        sample: u32,
    ) -> Result<Window> {
        let TrainingData { normal, labelled, supervise, plan, preprocessing, counted, .. } = &self.data;
        let (channels, side) = (preprocessing.channels, preprocessing.raw_side);
        let places = Places::of(self.chance(epoch, sample));
        if let Some(labelled) = labelled.as_ref().filter(|_| self.is_labelled(epoch, sample)) {
            return scratch.take(labelled, self.pick(epoch, sample, labelled.images.count()), places);
        }
        scratch.drawn.resize(normal.image_len(), 0);
        let window = normal.window(image, places.own, counted.as_ref());
        if supervise.alters() {
            normal.read_window(image, &window, &mut scratch.drawn)?;
        }
        scratch.image.clone_from(&scratch.drawn);
        scratch.truth(side, 1);
        self.make_noise(scratch, image, epoch, sample)?;
        match supervise {
            Supervise::Noise => malform::replace(&scratch.noise, &mut scratch.image),
            _ if plan.offline => malform::malform_by_brightness(&scratch.noise, &mut scratch.image, channels),
            _ => malform::malform(&scratch.noise, &mut scratch.image),
        }
        if *supervise == Supervise::MalformedNormalGt {
            malform::mark_changes(&scratch.drawn, &scratch.image, channels, &mut scratch.mask);
        }
        Ok(window)
    }

    fn make_noise(&self, scratch: &mut SampleScratch, image: usize, epoch: u32, sample: u32) -> Result<()> {
        let SampleScratch { drawn, other, noise, anomaly, .. } = scratch;
        let other = match self.ingredient(image, epoch, sample) {
            Some((images, i)) => {
                other.resize(drawn.len(), 0);
                let window = images.window(i, Places::of(self.chance(epoch, sample)).other, None);
                images.read_window(i, &window, other)?;
                Some(other.as_slice())
            }
            None => None,
        };
        noise.resize(drawn.len(), 0);
        let content = Stream::new(self.data.seed, Purpose::Anomaly, epoch, sample);
        self.synthesiser.fill(self.mode(epoch, sample), content, Ingredients { normal: drawn, other }, anomaly, noise);
        Ok(())
    }
}

impl SampleScratch {
    /// Ground truth that is the same everywhere.
    fn truth(&mut self, side: usize, truth: u8) {
        self.mask.clear();
        self.mask.resize(side * side, truth);
    }

    /// Takes an anomaly with what is known of where it is.
    fn take(&mut self, anomalies: &LabelledAnomalies, pick: usize, places: Places) -> Result<Window> {
        self.image.resize(anomalies.images.image_len(), 0);
        self.truth(anomalies.images.shape()[0], 0);
        anomalies.read(pick, places, &mut self.image, &mut self.mask)
    }
}

/// What decides where in their canvases the squares of a sample lie, where its images have canvases: numbers 4 to 8 of its `Supervise` stream.
#[derive(Clone, Copy)]
pub(super) struct Places {
    own: [u32; 2],
    other: [u32; 2],
    /// Which of the pixels that are marked a labelled anomaly shows.
    mark: u32,
}

impl Places {
    fn of(chance: Stream) -> Places {
        let [a, b, c, d] = chance.block(1);
        Places { own: [a, b], other: [c, d], mark: chance.bits(8) }
    }
}

impl LabelledAnomalies {
    /// Writes an image and its ground truth, a byte per pixel; of a canvas a square that shows an anomaly, as far as it is known where these are.
    /// Returns what it shows.
    fn read(&self, i: usize, places: Places, image: &mut [u8], truth: &mut [u8]) -> Result<Window> {
        let ImageSource::Canvases(canvases) = &self.images else {
            self.images.read(i, image)?;
            self.write_truth(i, truth);
            let [height, width, _] = self.images.shape();
            return Ok(Window::of_all((height, width)));
        };
        let (grid, mask) = (canvases.grid(i), self.masks.get(i).and_then(Option::as_ref));
        let (TileGrid { rows, columns }, canvas) = (grid, grid.canvas());
        let marked = mask.and_then(|mask| {
            let mut marked = (0..mask.pixels.len()).filter(|&pixel| mask.pixels[pixel] == 1);
            let count = marked.clone().count();
            marked.nth(scaled(places.mark, count)).map(|pixel| [pixel / mask.width, pixel % mask.width])
        });
        let start = |axis: &TileAxis, k: usize| {
            axis.start(marked.map_or((0, axis.len - 1), |pixel| (pixel[k], pixel[k])), places.other[k])
        };
        let (top, left) = (start(rows, 0), start(columns, 1));
        canvases.window(i, (top, left), image)?;
        truth.fill(self.without_mask);
        if let Some(mask) = mask {
            let source = mask.pixels.chunks_exact(mask.width).skip(top);
            for (truth, mask) in truth.chunks_exact_mut(rows.side).zip(source) {
                truth.iter_mut().zip(&mask[left..]).for_each(|(truth, &mask)| *truth = mask);
            }
        }
        Ok(Window { place: (top, left), canvas })
    }
}
