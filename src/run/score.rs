//! Judging images with a trained model.

use super::model::Model;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::engine::Network;
use crate::engine::lower::Options;
use crate::error::Result;

/// Images per batch: enough to fill the cores, little enough memory for inputs of 224 pixels.
const BATCH: usize = 16;

/// A model laid out for inference.
pub struct Scorer {
    network: Network<f32>,
    preprocessing: Preprocessing,
    side: usize,
}

impl Scorer {
    /// Lays out a model.
    pub fn new(model: &Model) -> Result<Scorer> {
        let card = &model.card;
        let options = Options { batch: BATCH, side: card.side, sigma: card.sigma, training: None };
        Ok(Scorer {
            network: Network::new(&model.arch()?, options, &model.weights)?,
            preprocessing: card.preprocessing.clone(),
            side: card.side,
        })
    }

    /// Scores images of the raw side. `visit` gets each image's index, score and heatmap [side, side], the latter empty unless
    /// `heatmaps`.
    pub fn score(
        &mut self,
        images: &Images,
        heatmaps: bool,
        mut visit: impl FnMut(usize, f32, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        while first < images.count {
            let n = BATCH.min(images.count - first);
            let preprocessing = self.preprocessing.clone();
            let fill = |input: &mut [f32]| preprocessing.test_batch(images, first..first + n, input);
            self.batch(n, fill, heatmaps, |i, score, map| visit(first + i, score, map))?;
            first += n;
        }
        Ok(())
    }

    /// Scores `n` inputs that `fill` writes, n [side, side, channels], already preprocessed; at most [`Scorer::batch_size`].
    pub fn batch(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        heatmaps: bool,
        mut visit: impl FnMut(usize, f32, &[f32]) -> Result<()>,
    ) -> Result<()> {
        fill(self.network.input(n)?);
        let (_, scores) = self.network.infer(n)?;
        let scores = scores.to_vec();
        let maps = if heatmaps { self.network.heatmaps(n)? } else { &[] };
        let pixels = self.side * self.side;
        for (i, &score) in scores.iter().enumerate() {
            visit(i, score, if heatmaps { &maps[i * pixels..(i + 1) * pixels] } else { &[] })?;
        }
        Ok(())
    }

    /// Largest batch.
    pub fn batch_size(&self) -> usize {
        BATCH
    }

    /// Side of inputs and heatmaps.
    pub fn side(&self) -> usize {
        self.side
    }
}
