//! Judging images with a trained model.

use super::layout::lay_out;
use super::model::{Card, Model};
use crate::data::ahead::ahead;
use crate::data::cuda::DeviceTestSet;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::data::store::Store;
use crate::device::Device;
use crate::engine::Network;
use crate::engine::lower::Options;
use crate::error::{CudaError, Error, Result};
use crate::steps::upsample::{Taps, upsample};

/// Images per batch where memory allows it: enough to fill the cores, little enough memory for inputs of 224 pixels.
const BATCH: usize = 16;

/// What a model says of one image.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    pub score: f32,
    /// Anomaly map [u, u], the mean of which is the score.
    pub map: &'a [f32],
    /// The map at the input's size [side, side]; empty unless asked for.
    pub heatmap: &'a [f32],
}

/// A model laid out for inference.
pub struct Scorer {
    network: Network<f32>,
    /// On a GPU: where it turns images into inputs.
    raw: Option<DeviceTestSet>,
    preprocessing: Preprocessing,
}

impl Scorer {
    /// Lays out a model on a device.
    pub fn new(device: &Device, model: &Model) -> Result<Scorer> {
        let Card { settings, preprocessing, .. } = &model.card;
        let options = |batch| Options { batch, side: settings.side, sigma: settings.sigma, training: None };
        let arch = model.arch()?;
        let network = match lay_out(device, &arch, options(BATCH), &model.weights) {
            // A GPU that is nearly full judges fewer images at a time.
            Err(Error::Cuda(CudaError::OutOfMemory { batch: Some(batch), .. })) => {
                lay_out(device, &arch, options(batch), &model.weights)?
            }
            network => network?,
        };
        let batch = network.options().batch;
        let raw = match device {
            Device::Cpu => None,
            Device::Cuda(cuda) => Some(DeviceTestSet::with_room(cuda, preprocessing, batch)?),
        };
        Ok(Scorer { network, raw, preprocessing: preprocessing.clone() })
    }

    /// Scores a set of raw images, of which a few batches are in memory at a time: the next are read while one is judged. `visit`
    /// gets each image's index and judgement, with its heatmap if `heatmaps`.
    pub fn score(
        &mut self,
        images: &Store,
        heatmaps: bool,
        mut visit: impl FnMut(usize, Judgement) -> Result<()>,
    ) -> Result<()> {
        let (batch, all) = (self.batch_size(), (0..images.count()).collect::<Vec<_>>());
        ahead(all.chunks(batch).map(|indices| images.load(indices)), |mut batches| {
            let mut first = 0;
            batches.try_for_each(|images| {
                let images = images?;
                self.score_batch(&images, heatmaps, |i, judgement| visit(first + i, judgement))?;
                first += images.count;
                Ok(())
            })
        })
    }

    /// Scores at most [`Scorer::batch_size`] raw images.
    pub fn score_batch(
        &mut self,
        images: &Images,
        heatmaps: bool,
        visit: impl FnMut(usize, Judgement) -> Result<()>,
    ) -> Result<()> {
        let Scorer { network, raw, preprocessing } = self;
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
        hand_out(network, n, heatmaps, visit)
    }

    /// Scores `n` inputs that `fill` writes, n [side, side, channels], already preprocessed; at most [`Scorer::batch_size`].
    pub fn batch(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
        heatmaps: bool,
        visit: impl FnMut(usize, Judgement) -> Result<()>,
    ) -> Result<()> {
        fill(self.network.input(n)?)?;
        self.network.infer(n)?;
        hand_out(&mut self.network, n, heatmaps, visit)
    }

    /// Largest batch.
    pub fn batch_size(&self) -> usize {
        self.network.options().batch
    }

    /// Side of inputs and heatmaps.
    pub fn side(&self) -> usize {
        self.network.options().side
    }
}

/// Hands out what the last inference, of `n` images, found.
fn hand_out(
    network: &mut Network<f32>,
    n: usize,
    heatmaps: bool,
    mut visit: impl FnMut(usize, Judgement) -> Result<()>,
) -> Result<()> {
    let (maps, scores) = network.judged(n)?;
    let (maps, scores) = (maps.to_vec(), scores.to_vec());
    let heatmaps = if heatmaps { network.heatmaps(n)? } else { &[] };
    if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
        let problem =
            format!("the model's score of an image is {score}, no finite number: its weights are damaged or diverged");
        return Err(Error::Numeric { problem, remedy: "copy it again, or train again with a lower --lr".into() });
    }
    let judgements = scores.iter().zip(parts(&maps, n)).zip(parts(heatmaps, n)).enumerate();
    for (i, ((&score, map), heatmap)) in judgements {
        visit(i, Judgement { score, map, heatmap })?;
    }
    Ok(())
}

/// A batch's values image by image; nothing for each of `n` images if there are none.
fn parts(values: &[f32], n: usize) -> impl Iterator<Item = &[f32]> {
    let len = values.len() / n.max(1);
    (0..n).map(move |i| &values[i * len..(i + 1) * len])
}

/// Receptive-field upsampling of a model's anomaly maps, without its net: for pictures of images that were scored before.
pub struct Upsampler {
    taps: Taps,
    u: usize,
}

impl Upsampler {
    /// For the maps of a model.
    pub fn new(model: &Model) -> Result<Upsampler> {
        let settings = &model.card.settings;
        let field = model.arch()?.receptive_field(settings.side);
        Ok(Upsampler { taps: Taps::new(field, settings.side, settings.sigma), u: field.n })
    }

    /// Values per anomaly map: u².
    pub fn map_len(&self) -> usize {
        self.u * self.u
    }

    /// Heatmaps [n, side, side] of the anomaly maps [n, u, u].
    pub fn heatmaps(&self, maps: &[f32]) -> Vec<f32> {
        let (n, side) = (maps.len() / self.map_len(), self.taps.side());
        let mut heatmaps = vec![0.0; n * side * side];
        upsample(&self.taps, self.u, maps, &mut heatmaps, &mut vec![0.0; n * self.u * side]);
        heatmaps
    }
}
