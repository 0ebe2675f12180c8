//! The latency of scoring one image from its file.

use image::RgbImage;
use tempfile::TempDir;

use crate::data::decode::read_image;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::data::surfaces::{Surface, synthesise};
use crate::datasets::folder::FOLDER;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::{Weights, baselines};
use crate::report::png::save_png;
use crate::run::model::Model;
use crate::run::score::{Scored, Scorer, Shown};
use crate::run::settings::Settings;

/// Scores one image of 640 × 640 pixels from its file.
pub struct Latency {
    scorer: Scorer,
    preprocessing: Preprocessing,
    folder: TempDir,
}

impl Latency {
    /// A net with random weights, and an image to score.
    pub fn new(device: &Device, net: &str) -> Result<Latency> {
        const SIDE: u32 = 640;
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let pixels = synthesise(Surface::Woven, None, SIDE as usize, 0, 0).pixels;
        let image = RgbImage::from_raw(SIDE, SIDE, pixels).unwrap_or_else(|| RgbImage::new(SIDE, SIDE));
        save_png(folder.path().join("image.png"), &image)?;
        let arch = baselines::any(net, true)?;
        let preset = Settings::preset(FOLDER);
        let settings = Settings { net: arch.name.clone(), side: arch.side, ..preset.with_objective(arch.objective) };
        let image = read_image(&folder.path().join("image.png"), arch.channels)?;
        let normal = image.resized(arch.side).into();
        let (dataset, side, channels) = (settings.dataset, arch.side, arch.channels);
        let preprocessing = dataset.recipe.preprocessing(settings.pipeline, side, side, channels, &normal)?;
        let meta = Model::meta(&settings, &preprocessing, 0);
        let scorer = Scorer::new(device, &Model { meta, weights: Weights::init(&arch, 0) })?;
        Ok(Latency { scorer, preprocessing, folder })
    }

    /// Decodes, resizes, normalises and scores the image.
    pub fn score(&mut self, visit: impl FnMut(usize, Scored) -> Result<()>) -> Result<()> {
        let image: Images = read_image(&self.folder.path().join("image.png"), self.preprocessing.channels)?;
        self.scorer.score_batch(&image.resized(self.preprocessing.raw_side), Shown::Heatmaps, visit)
    }
}
