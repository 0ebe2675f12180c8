//! Judging images with a trained model.

use super::layout::lay_out;
use super::model::{Model, ModelMeta};
use super::settings::Settings;
use crate::data::ahead::ahead;
use crate::data::cuda::DeviceTestSet;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::data::store::ImageSource;
use crate::device::Device;
use crate::engine::Network;
use crate::engine::lower::Options;
use crate::engine::network::Explanation;
use crate::error::{CudaError, Error, Result};

/// Images per batch where memory allows it: enough to fill the cores, little enough memory for inputs of 224 pixels.
const BATCH: usize = 16;

/// What a model says of one image.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    pub score: f32,
    /// Anomaly map: of FCDD [u, u], of HSC [side, side], of an autoencoder [side, side, channels]. Its mean is the score, but for HSC.
    /// Empty unless asked for.
    pub map: &'a [f32],
    /// The map at the input's size: of FCDD upsampled to [side, side], else the map itself. Empty unless asked for.
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
        let ModelMeta { settings, preprocessing, .. } = &model.meta;
        let Settings { side, sigma, gradient, precision: format, .. } = *settings;
        let options = |batch| Options { batch, side, format, sigma, gradient, training: None };
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
    /// gets each image's index and judgement, with map and heatmap if `explained`.
    pub fn score(
        &mut self,
        images: &ImageSource,
        explained: bool,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let (batch, all) = (self.batch_size(), (0..images.count()).collect::<Vec<_>>());
        ahead(all.chunks(batch).map(|indices| images.load(indices)), |mut batches| {
            let mut first = 0;
            batches.try_for_each(|images| {
                let images = images?;
                self.score_batch(&images, explained, |i, scored| visit(first + i, scored))?;
                first += images.count;
                Ok(())
            })
        })
    }

    /// Scores at most [`Scorer::batch_size`] raw images.
    pub fn score_batch(
        &mut self,
        images: &Images,
        explained: bool,
        visit: impl FnMut(usize, Scored) -> Result<()>,
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
        hand_out(network, n, explained, visit)
    }

    /// Scores `n` inputs that `fill` writes, n [side, side, channels], already preprocessed; at most [`Scorer::batch_size`].
    pub fn batch(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
        explained: bool,
        visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        fill(self.network.input(n)?)?;
        self.network.infer(n)?;
        hand_out(&mut self.network, n, explained, visit)
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
    explained: bool,
    mut visit: impl FnMut(usize, Scored) -> Result<()>,
) -> Result<()> {
    let scores = network.scores(n)?.to_vec();
    if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
        let problem =
            format!("the model's score of an image is {score}, no finite number: its weights are damaged or diverged");
        return Err(Error::Numeric { problem, remedy: "copy it again, or train again with a lower `lr`".into() });
    }
    let Explanation { maps, heatmaps } =
        if explained { network.explain(n)? } else { Explanation { maps: &[], heatmaps: &[] } };
    let judgements = scores.iter().zip(parts(maps, n)).zip(parts(heatmaps, n)).enumerate();
    for (i, ((&score, map), heatmap)) in judgements {
        visit(i, Scored { score, map, heatmap })?;
    }
    Ok(())
}

/// A batch's values image by image; nothing for each of `n` images if there are none.
fn parts(values: &[f32], n: usize) -> impl Iterator<Item = &[f32]> {
    let len = values.len() / n.max(1);
    (0..n).map(move |i| &values[i * len..(i + 1) * len])
}
