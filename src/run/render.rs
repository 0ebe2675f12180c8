//! From a model's anomaly maps to the heatmaps that pictures show, without its net: for images that were scored before.

use super::model::Model;
use crate::error::Result;
use crate::model::{Objective, baselines, nets};
use crate::report::heatmap::Scale;
use crate::steps::blur::gaussian_blur;
use crate::steps::upsample::{GaussianTaps, upsample};

/// How a model's maps become pictures.
pub struct Renderer {
    form: Form,
    /// Side of inputs and heatmaps.
    side: usize,
}

enum Form {
    /// Upsampled by receptive fields from maps of side `u`.
    Upsampled { taps: GaussianTaps, u: usize },
    /// Gradients are blurred by a kernel of so many taps.
    Blurred { taps: usize, sigma: f64 },
    /// Errors of each channel are shown by their mean, once each is scaled.
    Averaged { channels: usize },
}

impl Renderer {
    /// For the maps of a model.
    pub fn new(model: &Model) -> Result<Renderer> {
        let (settings, arch) = (&model.meta.settings, model.arch()?);
        let (side, sigma) = (settings.side, settings.sigma);
        let form = match arch.objective {
            Objective::Fcdd => {
                let field = arch.receptive_field(side);
                Form::Upsampled { taps: GaussianTaps::new(field, side, sigma), u: field.n }
            }
            Objective::Hsc => Form::Blurred { taps: blur_taps(&arch.name)?, sigma },
            Objective::Ae => Form::Averaged { channels: arch.channels },
        };
        Ok(Renderer { form, side })
    }

    /// Shape of one map.
    pub fn map_shape(&self) -> Vec<usize> {
        let side = self.side;
        match self.form {
            Form::Upsampled { u, .. } => vec![u, u],
            Form::Averaged { channels } if channels > 1 => vec![side, side, channels],
            Form::Blurred { .. } | Form::Averaged { .. } => vec![side, side],
        }
    }

    /// The heatmap to show of a map.
    pub fn of_map(&self, map: &[f32]) -> Vec<f32> {
        match &self.form {
            Form::Upsampled { taps, u } => {
                let mut heatmap = vec![0.0; self.side * self.side];
                upsample(taps, *u, map, &mut heatmap, &mut vec![0.0; u * self.side]);
                heatmap
            }
            Form::Blurred { .. } | Form::Averaged { .. } => self.of_heatmap(map),
        }
    }

    /// The heatmap to show of a heatmap as the net gives it.
    pub fn of_heatmap(&self, heatmap: &[f32]) -> Vec<f32> {
        match self.form {
            Form::Blurred { taps, sigma } => gaussian_blur(heatmap, self.side, self.side, 1, taps, sigma),
            Form::Upsampled { .. } | Form::Averaged { .. } => heatmap.to_vec(),
        }
    }

    /// A heatmap to show as temperatures from 0 to 1, [side, side].
    pub fn scaled(&self, scale: Scale<f32>, mut heatmap: Vec<f32>) -> Vec<f32> {
        scale.apply(&mut heatmap);
        over_channels(heatmap, self.side)
    }
}

/// Taps of the blur of an HSC net's heatmaps: the receptive field of the matching FCDD net, made odd.
pub fn blur_taps(net: &str) -> Result<usize> {
    let fcdd = nets::by_name(&baselines::counterpart(net, Objective::Fcdd), true)?;
    Ok((fcdd.receptive_field(fcdd.side).size - 1) | 1)
}

/// The mean over the channels of each pixel: [side, side] from [side, side, channels].
pub fn over_channels(values: Vec<f32>, side: usize) -> Vec<f32> {
    match values.len() / (side * side) {
        1 => values,
        channels => values.chunks_exact(channels).map(|pixel| pixel.iter().sum::<f32>() / channels as f32).collect(),
    }
}
