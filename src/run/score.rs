//! Scoring images with a trained model.

use super::model::{Model, ModelMeta};
use super::settings::Settings;
use crate::data::cuda::DeviceTestSet;
use crate::data::image_source::ImageSource;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::data::prefetch::{Job, prefetched};
use crate::device::Device;
use crate::engine::Network;
use crate::engine::lower::PlanOptions;
use crate::engine::network::Heatmaps;
use crate::error::{Error, Result};
use crate::model::Objective;
use crate::model::image_score::ImageScore;

/// Images per batch where memory allows it: enough to fill the cores, little enough memory for inputs of 224 pixels.
const BATCH: usize = 16;

/// Batches of raw images in memory: one in use, one ready, one in the making.
const AHEAD: usize = 3;

/// What a model says of one image.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    pub score: f32,
    /// Anomaly map: of FCDD [u, u], of HSC [side, side], of an autoencoder [side, side, channels]. The score follows from it as
    /// `image_score` says, but for HSC. Unless asked for it may be empty.
    pub map: &'a [f32],
    /// The map at the input's size: of FCDD upsampled to [side, side], else the map itself. Empty unless asked for.
    pub heatmap: &'a [f32],
}

/// What is wanted besides scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    /// Anomaly maps.
    Maps,
    /// Anomaly maps and heatmaps.
    Heatmaps,
}

/// A model laid out for inference.
pub(crate) struct Scorer {
    network: Network<f32>,
    image_score: ImageScore,
    /// On a GPU: where it turns images into inputs.
    raw: Option<DeviceTestSet>,
    preprocessing: Preprocessing,
}

impl Scorer {
    /// Lays out a model on a device.
    pub(crate) fn new(device: &Device, model: &Model) -> Result<Scorer> {
        let ModelMeta { settings, preprocessing, .. } = &model.meta;
        let Settings { side, sigma, gradient, precision: dtype, .. } = *settings;
        let options = PlanOptions { batch: BATCH, side, dtype, sigma, gradient, training: None };
        let network = Network::for_inference(device, &model.arch()?, options, &model.weights)?;
        let raw = match device {
            Device::Cpu => None,
            Device::Cuda(cuda) => Some(DeviceTestSet::with_room(cuda, preprocessing, network.options().batch)?),
        };
        Ok(Scorer { network, image_score: settings.image_score, raw, preprocessing: preprocessing.clone() })
    }

    /// Scores a set of raw images: the next are read while one batch is scored. `visit` gets each image's index and what was found.
    pub(crate) fn score(
        &mut self,
        images: &ImageSource,
        shown: Shown,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let (batch, all) = (self.batch_size(), (0..images.count()).collect::<Vec<_>>());
        let jobs = all
            .chunks(batch)
            .map(|indices| Job { bytes: indices.len() * images.image_len(), make: || images.load(indices) });
        prefetched(AHEAD * batch * images.image_len(), jobs, |mut batches| {
            let mut first = 0;
            batches.try_for_each(|images| {
                let images = images?;
                self.score_batch(&images, shown, |i, scored| visit(first + i, scored))?;
                first += images.count;
                Ok(())
            })
        })
    }

    /// Scores at most [`Scorer::batch_size`] raw images.
    pub(crate) fn score_batch(
        &mut self,
        images: &Images,
        shown: Shown,
        visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let Scorer { network, raw, preprocessing, .. } = self;
        let n = images.count;
        match raw {
            Some(raw) => {
                raw.write(0, &images.pixels)?;
                network.infer_fed(n, |input| raw.enqueue(0, n, input))?;
            }
            None => {
                preprocessing.test_batch(images, 0..n, network.input(n)?);
                network.infer(n)?;
            }
        }
        hand_out(&mut self.network, self.image_score, n, shown, visit)
    }

    /// Scores `n` inputs that `fill` writes, n [side, side, channels], already preprocessed; at most [`Scorer::batch_size`].
    pub(crate) fn batch(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
        shown: Shown,
        visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        fill(self.network.input(n)?)?;
        self.network.infer(n)?;
        hand_out(&mut self.network, self.image_score, n, shown, visit)
    }

    /// Whether anomaly maps come with the scores, at no cost: all but those that are gradients.
    pub(crate) fn maps_are_by_products(&self) -> bool {
        self.network.arch().objective != Objective::Hsc
    }

    /// Largest batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.network.options().batch
    }

    /// Side of inputs and heatmaps.
    pub(crate) fn side(&self) -> usize {
        self.network.options().side
    }
}

/// Hands out what a network's last inference, of `n` images, found.
pub(super) fn hand_out(
    network: &mut Network<f32>,
    image_score: ImageScore,
    n: usize,
    shown: Shown,
    mut visit: impl FnMut(usize, Scored) -> Result<()>,
) -> Result<()> {
    let means = network.scores(n)?.to_vec();
    if let Some(score) = means.iter().find(|score| !score.is_finite()) {
        let problem = format!(
            "the model's score of an image is {score}, not a finite number: its weights are damaged or diverged"
        );
        return Err(Error::Numeric { problem, remedy: "copy it again, or train again with a lower `lr`".into() });
    }
    let Heatmaps { maps, heatmaps } = match shown {
        Shown::Nothing if image_score == ImageScore::Mean => Heatmaps { maps: &[], heatmaps: &[] },
        Shown::Nothing | Shown::Maps => Heatmaps { maps: network.maps(n)?, heatmaps: &[] },
        Shown::Heatmaps => network.heatmaps(n)?,
    };
    let all = means.iter().zip(parts(maps, n)).zip(parts(heatmaps, n)).enumerate();
    for (i, ((&mean, map), heatmap)) in all {
        visit(i, Scored { score: image_score.of(mean, map), map, heatmap })?;
    }
    Ok(())
}

/// A batch's values image by image; nothing for each of `n` images if there are none.
fn parts(values: &[f32], n: usize) -> impl Iterator<Item = &[f32]> {
    let len = values.len() / n.max(1);
    (0..n).map(move |i| &values[i * len..(i + 1) * len])
}
