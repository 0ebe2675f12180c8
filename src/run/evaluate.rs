//! The subcommand `evaluate`: figures on the test split.

use rayon::prelude::*;

use super::breakdown::{Breakdown, Score};
use super::context::Context;
use super::figures::Evaluation;
use super::heatmap::Renderer;
use super::model::Model;
use super::overlap::Overlap;
use super::prepare::TestSet;
use super::score::{Scored, Scorer, Shown};
use super::verdict::{DecisionRule, Verdict};
use crate::data::images::Mask;
use crate::data::pipeline::Preprocessing;
use crate::data::split::Split;
use crate::error::Result;
use crate::memory;
use crate::metrics::roc::RocCurve;
use crate::metrics::scores::{Ranking, Scores};
use crate::report::resample::{highest, nearest};

/// Points of a pixel ROC curve are at least this far apart along one of the axes.
const CURVE_STEP: f64 = 1e-3;

/// A model's scores on a test split.
#[derive(Clone, Debug)]
pub(crate) struct Tested {
    pub evaluation: Evaluation,
    /// One per image.
    pub scores: Vec<Score>,
    /// Anomaly maps [n, …], each shaped as [`Renderer::map_shape`] says; of images that are seen in tiles the highest values of as many parts.
    pub maps: Vec<f32>,
    /// ROC curve over all pixels, thinned to steps of a thousandth; None without masks.
    pub pixel_curve: Option<RocCurve>,
}

/// Scores the test images, each of which is told to `found`, and sums it up.
pub(crate) fn evaluate(
    context: &Context,
    model: &Model,
    test: &TestSet,
    found: &mut dyn FnMut(&Score) -> Result<()>,
) -> Result<Tested> {
    let TestSet { split, class_names, class, .. } = test;
    let mut scorer = Scorer::new(context.device, model)?;
    let side = scorer.side();
    let rule = DecisionRule::of(&model.meta);
    let preprocessing = &model.meta.preprocessing;
    let reasons = reasons(model, split, rule)?;
    let mut pixels = room_for_pixels(split, preprocessing, context);
    let mut pointing = Pointing::default();
    let mut rows = Vec::with_capacity(split.images.count());
    let mut maps = Vec::new();
    let mut progress = context.task("evaluating", split.images.count() as u64);
    let renderer = Renderer::new(model)?;
    let map_shape = renderer.map_shape();
    scorer.score(&split.images, Shown::Heatmaps, |i, scored| {
        let size = scored.heatmap_size(side);
        let Scored { score, map, heatmap, canvas } = scored;
        match (canvas, map_shape.as_slice()) {
            // Of canvases of all sizes what a table of one shape can hold.
            (Some(canvas), &[rows, columns]) => maps.extend(highest(map, canvas.cells, (rows, columns))),
            _ => maps.extend_from_slice(map),
        }
        if let Some(Some(mask)) = split.masks.get(i) {
            let mask = preprocessing.visible(mask);
            let heatmap = renderer.counted(heatmap.to_vec(), size);
            pointing.add(&heatmap, size, &mask);
            if let Some(pixels) = &mut pixels {
                let heatmap = nearest(&heatmap, size, (mask.height, mask.width));
                pixels.push_image(&heatmap, &mask.pixels, mask.width)?;
            }
        }
        let class_name = class_names.get(usize::from(split.classes[i])).cloned().unwrap_or_default();
        let (normalized_score, verdict) = rule.decide(score, model.meta.calibration.as_ref());
        let reason = reasons.get(i).map_or(String::new(), |reasons| reasons.join("; "));
        let verdict = if reason.is_empty() { verdict } else { Verdict::Unusable };
        let row = Score {
            image: split.names[i].clone(),
            class: class_name,
            label: u8::from(split.classes[i] != *class),
            score,
            normalized_score,
            threshold: rule.threshold(),
            verdict,
            reason,
        };
        found(&row)?;
        rows.push(row);
        progress.advance(1, String::new);
        Ok(())
    })?;
    progress.finish(&format!("evaluated {} images", rows.len()));
    let labels: Vec<bool> = rows.iter().map(|r| r.label == 1).collect();
    let scores: Vec<f32> = rows.iter().map(|r| r.score).collect();
    let rate = |label: u8| {
        let of: Vec<&Score> = rows.iter().filter(|r| r.label == label).collect();
        (!of.is_empty()).then(|| of.iter().filter(|r| r.score > rule.threshold()).count() as f64 / of.len() as f64)
    };
    let (images, pixels) = (Ranking::of_samples(&scores, &labels)?, pixels.unwrap_or_default().rank());
    let best = images.best_f1();
    let evaluation = Evaluation {
        data: test.data.as_deref().map(|data| data.to_string_lossy().into_owned()),
        model: Some(model.checksum()),
        image_auroc: images.auroc(),
        image_average_precision: images.average_precision(),
        image_f1_max: best.map(|best| best.f1),
        // The model calls scores *above* its threshold anomalous, so the lowest anomalous score has to exceed it.
        image_f1_threshold: best.map(|best| best.threshold.next_down()),
        pixel_auroc: pixels.auroc(),
        pixel_average_precision: pixels.average_precision(),
        pro: pixels.pro(),
        pointing_game: pointing.share(),
        normal: labels.iter().filter(|&&l| !l).count(),
        anomalous: labels.iter().filter(|&&l| l).count(),
        threshold: rule.threshold(),
        false_positive_rate: rate(0),
        true_positive_rate: rate(1),
        breakdown: Breakdown::new(&rows, rule.threshold())?,
        overlap: Overlap::of(&test.ids, &rows, &model.meta.calibrated_on),
    };
    evaluation.overlap.in_words(rows.len()).iter().for_each(|note| context.note(note));
    Ok(Tested { evaluation, scores: rows, maps, pixel_curve: pixels.roc_outline(CURVE_STEP) })
}

/// Why images of a split cannot be judged; nothing where nobody can tell.
fn reasons(model: &Model, split: &Split, rule: DecisionRule) -> Result<Vec<Vec<String>>> {
    let checks = model.meta.input_check.is_some() || model.meta.preprocessing.levels.significant().is_some();
    if !checks || split.originals.is_empty() {
        return Ok(Vec::new());
    }
    let of = |i: usize| Ok(rule.reasons(&split.images.seen(i)?, &split.originals[i], &model.meta));
    (0..split.images.count()).into_par_iter().map(of).collect()
}

/// The pointing game (Zhang et al., ECCV 2016): how often the hottest pixel of an image is an anomalous one.
#[derive(Default)]
struct Pointing {
    hits: usize,
    all: usize,
}

impl Pointing {
    /// Counts a heatmap of some (height, width), unless nothing is marked. Of equally hot pixels the first counts.
    fn add(&mut self, heatmap: &[f32], (height, width): (usize, usize), mask: &Mask) {
        if !mask.any() {
            return;
        }
        let hotter = |best: usize, i: usize| if heatmap[i] > heatmap[best] { i } else { best };
        let hottest = (0..heatmap.len()).fold(0, hotter);
        // The pixel of the mask that has its centre.
        let at = |i: usize, from: usize, to: usize| (2 * i + 1) * to / (2 * from);
        let (y, x) = (at(hottest / width, height, mask.height), at(hottest % width, width, mask.width));
        self.hits += usize::from(mask.pixels[y * mask.width + x]);
        self.all += 1;
    }

    /// The share of hits; None of no images.
    fn share(&self) -> Option<f64> {
        (self.all > 0).then(|| self.hits as f64 / self.all as f64)
    }
}

/// A collection with room for the pixels of a split's masks; None, with a note that says why, where there is no memory for them: what was trained
/// for hours is not to be lost for its pixel figures.
fn room_for_pixels(split: &Split, preprocessing: &Preprocessing, context: &Context) -> Option<Scores> {
    let masks = || split.masks.iter().flatten().map(|mask| preprocessing.visible(mask));
    let all: usize = masks().map(|mask| mask.pixels.len()).sum();
    let anomalous: usize = masks().map(|mask| mask.pixels.iter().filter(|&&m| m != 0).count()).sum();
    let bytes = Scores::bytes(all - anomalous, anomalous);
    match memory::fits("the scores of all pixels", bytes, "test on fewer or smaller images to have them") {
        Ok(()) => Some(Scores::with_capacity(all - anomalous, anomalous)),
        Err(error) => {
            context.note(format!("no figures over pixels: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_a_hottest_pixel_inside_of_a_mask() {
        let mask = |pixels: [u8; 8]| Mask { height: 2, width: 4, pixels: pixels.to_vec() };
        let right = mask([0, 0, 0, 1, 0, 0, 0, 1]);
        let mut pointing = Pointing::default();
        pointing.add(&[0.1, 0.5, 0.2], (1, 3), &mask([0; 8]));
        assert_eq!(pointing.share(), None, "nothing is marked");
        pointing.add(&[0.1, 0.2, 0.5], (1, 3), &right);
        pointing.add(&[0.1, 0.5, 0.2], (1, 3), &right);
        pointing.add(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (2, 4), &right);
        // Of equally hot ones the first.
        pointing.add(&[1.0, 1.0], (1, 2), &right);
        assert_eq!(pointing.share(), Some(0.5));
    }
}
