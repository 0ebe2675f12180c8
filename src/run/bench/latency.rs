//! The latency of judging one picture from its file.

use tempfile::TempDir;

use crate::data::images::{Images, read_image};
use crate::data::pipeline::Preprocessing;
use crate::data::surfaces::{Surface, synthesise};
use crate::datasets::folder::FOLDER;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::{Weights, baselines};
use crate::report::png::save_png;
use crate::run::model::Model;
use crate::run::score::{Scored, Scorer};
use crate::run::settings::Settings;

/// Judging one picture of 640 × 640 pixels from its file.
pub struct Latency {
    scorer: Scorer,
    preprocessing: Preprocessing,
    folder: TempDir,
}

impl Latency {
    /// A net with random weights, and a picture to judge.
    pub fn new(device: &Device, net: &str) -> Result<Latency> {
        const SIDE: u32 = 640;
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let pixels = synthesise(Surface::Woven, None, SIDE as usize, 0, 0).pixels;
        let picture = image::RgbImage::from_raw(SIDE, SIDE, pixels).unwrap_or_else(|| image::RgbImage::new(SIDE, SIDE));
        save_png(folder.path().join("picture.png"), &picture)?;
        let arch = baselines::any(net, true)?;
        let preset = Settings::preset(FOLDER);
        let settings = Settings { net: arch.name.clone(), side: arch.side, ..preset.with_objective(arch.objective) };
        let picture = read_image(&folder.path().join("picture.png"), arch.channels)?;
        let nominal = picture.resized(arch.side).into();
        let (dataset, side, channels) = (settings.dataset, arch.side, arch.channels);
        let preprocessing = dataset.recipe.preprocessing(settings.pipeline, side, side, channels, &nominal)?;
        let meta = Model::meta(&settings, &preprocessing, 0);
        let scorer = Scorer::new(device, &Model { meta, weights: Weights::init(&arch, 0) })?;
        Ok(Latency { scorer, preprocessing, folder })
    }

    /// Decodes, resizes, normalises and judges the picture.
    pub fn judge(&mut self, visit: impl FnMut(usize, Scored) -> Result<()>) -> Result<()> {
        let picture: Images = read_image(&self.folder.path().join("picture.png"), self.preprocessing.channels)?;
        self.scorer.score_batch(&picture.resized(self.preprocessing.raw_side), true, visit)
    }
}
