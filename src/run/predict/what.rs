//! What is asked of `predict`: what it leaves of each image, and by what images are judged.

use strum::{EnumMessage, IntoStaticStr, VariantArray};

use crate::error::{Error, Result};
use crate::named::Named;
use crate::run::detector::no_pixel_threshold;
use crate::run::input::Wanted;
use crate::run::model::Model;
use crate::run::shard::Shard;
use crate::run::verdict::DecisionRule;

/// What is left of each image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum What {
    /// scores.csv, which is always written: given alone, nothing else is
    Scores,
    /// NAME_heatmap.png: the anomaly map in colours
    Heatmap,
    /// NAME_overlay.png: the image with the contours of its regions; without a threshold of pixels, with the heatmap over it
    Overlay,
    /// NAME_mask.png: the pixels of its regions in white, all others in black
    Mask,
    /// NAME_map.npy: the values of the anomaly map, float32 [height, width]
    Map,
    /// regions.csv: a row for each region
    Regions,
}

/// What is drawn of an image, in the order of the table's columns.
pub(super) const DRAWN: [What; 4] = [What::Heatmap, What::Overlay, What::Mask, What::Map];

impl What {
    /// How names of files end.
    pub(super) fn ending(self) -> &'static str {
        match self {
            What::Heatmap => "heatmap.png",
            What::Overlay => "overlay.png",
            What::Mask => "mask.png",
            What::Map => "map.npy",
            What::Scores | What::Regions => "csv",
        }
    }
}

/// How verdicts follow from scores, and regions from maps, where it is not as the model has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecisionOptions {
    pub threshold: Option<f32>,
    pub pixel_threshold: Option<f32>,
    /// The normalized scores from and to which images are called unsure.
    pub unsure: Option<[f64; 2]>,
    /// Whether images are judged that look otherwise than all good ones.
    pub without_input_check: bool,
}

impl DecisionOptions {
    fn of(self, model: &Model) -> Result<DecisionRule> {
        let rule = DecisionRule::of(&model.meta).checking_input(!self.without_input_check);
        let rule = self.threshold.map_or(Ok(rule), |threshold| rule.with_threshold(threshold))?;
        let rule = self.pixel_threshold.map_or(Ok(rule), |threshold| rule.with_pixel_threshold(threshold))?;
        self.unsure.map_or(Ok(rule), |band| rule.with_unsure(band))
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct PredictOptions {
    pub what: Vec<What>,
    pub decision: DecisionOptions,
    /// Pixels that a region has at least; None for one.
    pub min_area: Option<usize>,
    /// Which part of the images.
    pub shard: Option<Shard>,
}

impl PredictOptions {
    /// Whether this is left.
    pub(super) fn wants(&self, what: What) -> bool {
        self.what.contains(&what)
    }

    /// What is drawn.
    pub(super) fn drawn(&self) -> impl Iterator<Item = What> {
        DRAWN.into_iter().filter(|&what| self.wants(what))
    }

    /// What it takes of the detector.
    pub(super) fn wanted(&self) -> Wanted {
        let heatmaps = self.what.iter().any(|&what| what != What::Scores);
        Wanted { heatmaps, pixels: self.wants(What::Overlay) }
    }

    /// The rule that images are judged by.
    ///
    /// # Errors
    /// What is no threshold or band; regions without a threshold of pixels, and what decides of regions where none are asked for.
    pub(super) fn rule(&self, model: &Model) -> Result<DecisionRule> {
        let rule = self.decision.of(model)?;
        let wants = |any: &[What]| any.iter().any(|&what| self.wants(what));
        if wants(&[What::Mask, What::Regions]) && rule.pixel_threshold().is_none() {
            return Err(no_pixel_threshold());
        }
        let given =
            [("`pixel_threshold`", self.decision.pixel_threshold.is_some()), ("`min_area`", self.min_area.is_some())];
        let of_regions = [What::Overlay, What::Mask, What::Regions];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) if !wants(&of_regions) => {
                let problem = format!("{name} decides of regions, and `what` asks for none");
                Err(Error::setting(problem, format!("leave it out, or add {}", of_regions.map(Named::word).join(", "))))
            }
            _ => Ok(rule),
        }
    }
}
