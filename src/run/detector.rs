//! Detection for other programs: a model on a device, images in, scores and heatmaps out.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::heatmap::{Heatmap, Renderer};
use super::input::{Input, Opened, Prepared, Wanted};
use super::model::{Model, ModelMeta};
use super::pixel_map::PixelMap;
use super::regions::{Region, Regions};
use super::score::{Scored, Scorer, Shown};
use super::verdict::{DecisionRule, Verdict};
use crate::data::image_view::ImageView;
use crate::data::images::Images;
use crate::data::prefetch::{Items, Job, prefetching};
use crate::data::resize_mode::{self, RawForm};
use crate::data::tiles::TileGrid;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::{memory, threads};

/// Bytes of images that are brought to the net's input at the same time where memory is ample; a larger one is alone.
const GROUP: usize = 64 << 20;

/// Groups that are read ahead, at most: enough to keep the net busy, few enough that an image's score does not come long after its file was read.
const AHEAD: usize = 4;

/// A trained model on a device, ready to score images.
///
/// It may be shared by threads, tasks of rayon among them: each prepares its images by itself, and they take turns at the net, which uses
/// all cores or the GPU. Cloning it shares the model and its memory.
///
/// ```no_run
/// use fcdd::{Detector, Device, Verdict};
///
/// let detector = Detector::load("run/model.safetensors", Device::auto())?;
/// let detection = detector.detect(&image::open("part.png")?)?;
/// if detection.verdict == Verdict::Anomalous {
///     detection.heatmap()?.to_image().save("where.png")?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Detector {
    shared: Arc<Shared>,
    rule: DecisionRule,
}

struct Shared {
    drawing: Arc<Drawing>,
    scorer: Mutex<Scorer>,
    batch: usize,
}

/// What turns anomaly maps into heatmaps, without the net.
struct Drawing {
    meta: ModelMeta,
    renderer: Renderer,
}

/// The result for one image.
///
/// It holds what [`Detection::heatmap`] needs, so that this works also after the [`Detector`] is dropped: its anomaly map. Of HSC, whose map is
/// a gradient, that is the image and the detector's model, whose memory, on a GPU too, is given back with the last of both.
#[non_exhaustive]
#[derive(Clone)]
pub struct Detection {
    /// How anomalous the image is: 0 or more, without an upper bound. Scores are comparable within one model only.
    pub score: f32,
    /// The same as a number from 0 to 1 that people can compare: 0.5 at the threshold, 0.25 at the median of the good images that the
    /// threshold was set by, in the order of the scores.
    pub normalized_score: f64,
    /// The score above which images are anomalous.
    pub threshold: f32,
    /// What follows from the two, unless the image cannot be judged.
    pub verdict: Verdict,
    /// Why it cannot, the worst reason first; else nothing.
    pub reasons: Vec<String>,
    /// The value of the [map](Detection::map) above which pixels are anomalous: the model's, unless the detector has
    /// [another](Detector::with_pixel_threshold). None of a model that knows none.
    pub pixel_threshold: Option<f32>,
    drawing: Arc<Drawing>,
    /// (height, width) of the image.
    size: (usize, usize),
    evidence: Evidence,
}

/// What the heatmap is made from once it is asked for.
#[derive(Clone)]
enum Evidence {
    /// The anomaly map.
    Map(Vec<f32>),
    /// The heatmap as the net made it, or that of a canvas.
    Heatmap(Vec<f32>),
    /// The raw image, to be scored again: the map is the gradient of the score.
    Raw(Vec<u8>, Arc<Shared>),
}

impl Detector {
    /// Loads a model file, or the model of a run's folder, on a device.
    ///
    /// # Errors
    /// A file that is no whole model, or of a newer format than this version reads; a device without memory for it.
    pub fn load(path: impl AsRef<Path>, device: Device) -> Result<Detector> {
        Detector::new(&Model::load(path)?, &device)
    }

    /// A detector of a model in memory.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn new(model: &Model, device: &Device) -> Result<Detector> {
        let scorer = Scorer::new(device, model)?;
        let shared = Shared {
            drawing: Arc::new(Drawing { meta: model.meta.clone(), renderer: Renderer::new(model)? }),
            batch: scorer.batch_size(),
            scorer: Mutex::new(scorer),
        };
        Ok(Detector { shared: Arc::new(shared), rule: DecisionRule::of(&model.meta) })
    }

    /// The score above which images are called anomalous. What a model's own promises is told by `fcdd info MODEL`.
    pub fn threshold(&self) -> f32 {
        self.rule.threshold()
    }

    /// The same detector with another threshold.
    ///
    /// # Errors
    /// A threshold that is no score: below 0 or not finite. The largest number below 0 is taken; a score of 0 exceeds it.
    pub fn with_threshold(self, threshold: f32) -> Result<Detector> {
        Ok(Detector { rule: self.rule.with_threshold(threshold)?, ..self })
    }

    /// The value of an anomaly map above which pixels are anomalous; None of a model that knows none.
    pub fn pixel_threshold(&self) -> Option<f32> {
        self.rule.pixel_threshold()
    }

    /// The same detector with another threshold of pixels.
    ///
    /// # Errors
    /// A threshold that is no value of a map: below 0 or not finite.
    pub fn with_pixel_threshold(self, threshold: f32) -> Result<Detector> {
        Ok(Detector { rule: self.rule.with_pixel_threshold(threshold)?, ..self })
    }

    /// The same detector, which calls images [`Verdict::Unsure`] whose normalized score is from `low` to `high`.
    ///
    /// # Errors
    /// What is no band around 0.5, where the threshold is.
    pub fn with_unsure(self, low: f64, high: f64) -> Result<Detector> {
        Ok(Detector { rule: self.rule.with_unsure([low, high])?, ..self })
    }

    /// The same detector with another rule.
    pub(super) fn deciding_by(self, rule: DecisionRule) -> Detector {
        Detector { rule, ..self }
    }

    /// The same detector, which does not look at what images look like: none is [`Verdict::Unusable`].
    pub fn without_input_check(self) -> Detector {
        Detector { rule: self.rule.checking_input(false), ..self }
    }

    /// The form in which [`Detector::score`] takes images.
    pub(crate) fn form(&self) -> RawForm {
        self.shared.drawing.meta.preprocessing.raw_form()
    }

    /// How many images [`Detector::score`] takes at most.
    pub(crate) fn batch(&self) -> usize {
        self.shared.batch
    }

    /// Scores images that are prepared, together.
    pub(crate) fn score(&self, images: Vec<Prepared>) -> Result<Vec<Kept>> {
        self.shared.score(images, Wanted::NOTHING, self.rule)
    }

    /// Scores one image in memory.
    ///
    /// # Errors
    /// An image without pixels; a score that is no number, from damaged weights; a GPU that fails.
    pub fn detect<'a>(&self, image: impl Into<ImageView<'a>>) -> Result<Detection> {
        let image = image.into().checked()?;
        let prepared = Prepared::of(&image, &self.form())?;
        let mut scored = self.score(vec![prepared])?;
        scored.pop().map(|kept| kept.detection).ok_or_else(|| Error::internal("an image has no score"))
    }

    /// Scores images in their order, several at a time, 16 of most nets; the next are read and resized in threads of their own meanwhile,
    /// a few such groups at most, and as far as they fit into memory ([`limit_image_memory`](crate::limit_image_memory)). The first answer comes once so many images are
    /// there, or no more come: for images that come one by one, from a camera, use [`Detector::detect`].
    ///
    /// # Errors
    /// A file that cannot be read fails alone; where the model or the GPU fails, that error is the last item.
    ///
    /// ```no_run
    /// # use fcdd::{Detector, Device};
    /// # let detector = Detector::load("run", Device::Cpu)?;
    /// for detection in detector.detect_iter(["a.png", "b.png"]) {
    ///     println!("{}", detection?.score);
    /// }
    /// # Ok::<(), fcdd::Error>(())
    /// ```
    ///
    /// Images in memory are handed over, here a recording as `Vec<u8>`s up to one of another size:
    ///
    /// ```no_run
    /// # use fcdd::{Detector, Device, ImageView};
    /// # let detector = Detector::load("run", Device::Cpu)?;
    /// # let recording: Vec<Vec<u8>> = Vec::new();
    /// let images = recording.into_iter().map_while(|grey| ImageView::grey8(grey, 480, 640).ok());
    /// for detection in detector.detect_iter(images) {
    ///     println!("{}", detection?.score);
    /// }
    /// # Ok::<(), fcdd::Error>(())
    /// ```
    pub fn detect_iter<I>(&self, images: I) -> impl Iterator<Item = Result<Detection>> + use<I>
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: Into<Input> + 'static>,
    {
        let groups = self.groups(images.into_iter().map(Into::into), Wanted::NOTHING);
        Flat { groups, ready: VecDeque::new() }
    }

    /// The same, as many images at a time as are scored together, and what else is wanted of them.
    pub(super) fn groups(&self, images: impl Iterator<Item = Input> + Send + 'static, wanted: Wanted) -> Groups {
        let Detector { shared, rule } = self.clone();
        let (form, batch) = (self.form(), shared.batch);
        let memory = memory::for_images();
        let (limit, in_group) = ((memory / 2).min(4 * GROUP), GROUP.min(memory / 8));
        let opened = images.map(move |input| {
            let opened = input.open();
            (opened.as_ref().map_or(0, |opened| opened.bytes(&form, wanted)), opened)
        });
        let mut opened = opened.peekable();
        let jobs = std::iter::from_fn(move || {
            let (mut bytes, first) = opened.next()?;
            let mut group = vec![first];
            while let Some((more, next)) =
                opened.next_if(|(more, _)| group.len() < batch && bytes.saturating_add(*more) <= in_group)
            {
                bytes += more;
                group.push(next);
            }
            let prepare = move |opened: Result<Opened>| opened?.prepare(&form, wanted);
            let bytes = bytes.max(limit / (1 + AHEAD));
            Some(Job { bytes, make: move || group.into_par_iter().map(prepare).collect() })
        });
        let prepared = prefetching(limit, jobs);
        Groups { detector: shared, wanted, rule, prepared, failed: false }
    }
}

/// A detection, and what was kept to draw it.
pub(crate) struct Kept {
    pub detection: Detection,
    /// The pixels of a file, where they were wanted and not too many.
    pub image: Option<Images>,
    /// Whether they are not too many.
    pub can_be_drawn: bool,
    /// When the image began to be decoded.
    pub begun: Instant,
}

impl Kept {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.detection.evidence {
            Evidence::Map(values) | Evidence::Heatmap(values) => size_of_val(values.as_slice()),
            Evidence::Raw(raw, _) => raw.len(),
        };
        values + self.image.as_ref().map_or(0, |image| image.pixels.len())
    }
}

/// Detections of several images at a time.
pub(super) struct Groups {
    detector: Arc<Shared>,
    wanted: Wanted,
    rule: DecisionRule,
    prepared: Items<'static, Vec<Result<Prepared>>>,
    failed: bool,
}

impl Iterator for Groups {
    type Item = Result<Vec<Result<Kept>>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let (mut errors, mut prepared) = (Vec::new(), Vec::new());
        for one in self.prepared.next()? {
            errors.push(one.map(|one| prepared.push(one)).err());
        }
        let scored = self.detector.score(prepared, self.wanted, self.rule);
        self.failed = scored.is_err();
        Some(scored.map(|scored| {
            let mut scored = scored.into_iter();
            errors.into_iter().filter_map(|error| error.map(Err).or_else(|| scored.next().map(Ok))).collect()
        }))
    }
}

/// One detection after the other.
struct Flat {
    groups: Groups,
    ready: VecDeque<Result<Kept>>,
}

impl Iterator for Flat {
    type Item = Result<Detection>;

    fn next(&mut self) -> Option<Result<Detection>> {
        while self.ready.is_empty() {
            match self.groups.next()? {
                Ok(group) => self.ready.extend(group),
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(|kept| kept.map(|kept| kept.detection))
    }
}

impl Shared {
    /// The scorer, when it is this thread's turn. One that panicked has left nothing behind: each batch is filled in anew.
    fn scorer(&self) -> MutexGuard<'_, Scorer> {
        self.scorer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scores at most a batch of images.
    fn score(self: &Arc<Shared>, mut images: Vec<Prepared>, wanted: Wanted, rule: DecisionRule) -> Result<Vec<Kept>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let reasons = |image: &Prepared| rule.reasons(&image.raw, &image.original, &self.drawing.meta);
        let reasons: Vec<Vec<String>> = images.par_iter().map(reasons).collect();
        let mut evidence = Vec::with_capacity(images.len());
        let mut turn = self.scorer();
        let scorer = &mut *turn;
        let by_product = scorer.maps_are_by_products();
        let shown = if wanted.heatmaps {
            Shown::Heatmaps
        } else if by_product {
            Shown::Maps
        } else {
            Shown::Nothing
        };
        let found = |_: usize, Scored { score, map, heatmap, .. }: Scored| {
            evidence.push((score, if wanted.heatmaps { heatmap } else { map }.to_vec()));
            Ok(())
        };
        threads::computing(|| match self.drawing.meta.preprocessing.resize.makes_canvases() {
            true => {
                let canvases: Vec<Images> = images.iter_mut().map(|image| image.raw.take()).collect();
                scorer.score_canvases(&canvases, shown, found)
            }
            false => {
                scorer.score_batch(&self.raw(images.iter().map(|image| image.raw.pixels.as_slice())), shown, found)
            }
        })?;
        drop(turn);
        let kept = images.into_iter().zip(evidence).zip(reasons).map(|((prepared, (score, values)), reasons)| {
            let Prepared { raw, original, image, can_be_drawn, begun } = prepared;
            let size = original.size();
            let evidence = match (wanted.heatmaps, by_product) {
                (true, _) => Evidence::Heatmap(values),
                (false, true) => Evidence::Map(values),
                (false, false) => Evidence::Raw(raw.pixels, self.clone()),
            };
            let (normalized_score, verdict) = rule.decide(score, self.drawing.meta.calibration.as_ref());
            let verdict = if reasons.is_empty() { verdict } else { Verdict::Unusable };
            let (threshold, pixel_threshold) = (rule.threshold(), rule.pixel_threshold());
            let drawing = self.drawing.clone();
            let detection = Detection {
                score,
                normalized_score,
                threshold,
                verdict,
                reasons,
                pixel_threshold,
                drawing,
                size,
                evidence,
            };
            Kept { detection, image, can_be_drawn, begun }
        });
        Ok(kept.collect())
    }

    /// Raw images as one batch.
    fn raw<'a>(&self, images: impl Iterator<Item = &'a [u8]>) -> Images {
        let RawForm { side, channels, .. } = self.drawing.meta.preprocessing.raw_form();
        let pixels: Vec<u8> = images.flatten().copied().collect();
        Images { count: pixels.len() / (side * side * channels), pixels, ..Images::empty(side, side, channels) }
    }
}

impl fmt::Debug for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detection { score, normalized_score, threshold, verdict, .. } = self;
        let mut shown = f.debug_struct("Detection");
        shown
            .field("score", score)
            .field("normalized_score", normalized_score)
            .field("threshold", threshold)
            .field("verdict", verdict)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.shared.drawing.meta.settings;
        let mut shown = f.debug_struct("Detector");
        shown.field("net", &settings.net).field("side", &settings.side).field("rule", &self.rule);
        shown.finish_non_exhaustive()
    }
}

impl Detection {
    /// (height, width) of the image, and of its heatmap and its map.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Where in the image the anomaly lies, at the image's own size.
    ///
    /// # Errors
    /// Of nets whose map is a gradient of the score (HSC), which is computed only now: a GPU that fails.
    pub fn heatmap(&self) -> Result<Heatmap> {
        let Drawing { meta, renderer } = &*self.drawing;
        Ok(renderer.heatmap(meta.scale, self.values()?, self.canvas()).within(self.size, self.seen()))
    }

    /// The anomaly map as it is before scaling, at the image's own size: [height, width], of 0 or more, in the units of the pixel threshold.
    /// What the net has not seen of the image is 0.
    ///
    /// # Errors
    /// As of [`Detection::heatmap`].
    pub fn map(&self) -> Result<Vec<f32>> {
        Ok(self.pixel_map()?.values())
    }

    /// Where the [map](Detection::map) exceeds a threshold, or [that of the detection](Detection::pixel_threshold): connected regions of at
    /// least so many pixels, those with the highest peaks first.
    ///
    /// # Errors
    /// As of [`Detection::heatmap`]; a detection without a threshold of pixels, where none is given.
    pub fn regions(&self, pixel_threshold: Option<f32>, min_area: usize) -> Result<Vec<Region>> {
        let threshold = pixel_threshold.or(self.pixel_threshold).ok_or_else(no_pixel_threshold)?;
        Ok(Regions::of(&self.pixel_map()?, threshold, min_area).regions)
    }

    /// The map, whose values at the image's own size are made as they are asked for.
    pub(crate) fn pixel_map(&self) -> Result<PixelMap> {
        let map = self.drawing.renderer.unscaled(self.values()?, self.canvas());
        Ok(map.within(self.size, self.seen()))
    }

    /// (height, width) of the canvas, where the net sees one.
    fn canvas(&self) -> Option<(usize, usize)> {
        self.tiles().map(|grid| grid.canvas())
    }

    fn tiles(&self) -> Option<TileGrid> {
        self.drawing.meta.preprocessing.raw_form().tiles(self.size)
    }

    /// What the net has seen of the image.
    fn seen(&self) -> resize_mode::Region {
        self.drawing.meta.preprocessing.seen(self.size)
    }

    /// Values before scaling, of the net's input or of the canvas.
    fn values(&self) -> Result<Vec<f32>> {
        let renderer = &self.drawing.renderer;
        Ok(match (&self.evidence, self.tiles()) {
            (Evidence::Map(map), Some(grid)) => renderer.of_canvas(map, &grid),
            (Evidence::Heatmap(heatmap), Some(_)) => heatmap.clone(),
            (Evidence::Map(map), None) => renderer.of_map(map),
            (Evidence::Heatmap(heatmap), None) => renderer.of_heatmap(heatmap),
            (Evidence::Raw(raw, detector), _) => {
                let mut values = Vec::new();
                let raw = detector.raw(std::iter::once(raw.as_slice()));
                let mut turn = detector.scorer();
                let scorer = &mut *turn;
                threads::computing(|| {
                    scorer.score_batch(&raw, Shown::Heatmaps, |_, scored| {
                        values = renderer.of_heatmap(scored.heatmap);
                        Ok(())
                    })
                })?;
                values
            }
        })
    }
}

/// What is asked for takes a pixel threshold, and there is none.
pub(super) fn no_pixel_threshold() -> Error {
    Error::setting(
        "regions and masks take a threshold of pixels, and the model has none",
        "set it by good images with `fcdd calibrate`, or give one as `pixel_threshold`",
    )
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;

    use super::*;

    #[test]
    fn a_detection_outlives_its_detector_without_the_net() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-0.1");
        let detector = Detector::load(golden.join("run"), Device::Cpu).unwrap();
        let net = Arc::downgrade(&detector.shared);
        let detection = detector.detect(&DynamicImage::new_luma8(40, 30)).unwrap();
        drop(detector);
        assert!(net.upgrade().is_none());
        assert_eq!((detection.heatmap().unwrap().height(), detection.heatmap().unwrap().width()), (30, 40));
    }
}
