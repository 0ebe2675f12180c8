//! Contact sheets of test images and of training samples, with their scores and heatmaps.

use image::RgbImage;

use super::evaluate::Tested;
use super::heatmap::Renderer;
use super::model::Model;
use super::prepare::TestSet;
use super::score::{Scorer, Shown};
use super::select::{extremes, spaced};
use super::settings::Settings;
use crate::data::batches::{Batch, TrainingSet};
use crate::data::image_source::ImageSource;
use crate::data::image_source::spread;
use crate::data::images::{Images, Mask};
use crate::data::pipeline::Preprocessing;
use crate::data::resize_mode::{Region, ResizeMode};
use crate::device::Device;
use crate::error::Result;
use crate::report::heatmap::Scale;
use crate::report::sheet::{Group, Row, Tile, sheet, whole_enlargement};
use crate::report::significant;
use crate::steps::fcdd_loss::UNMARKED;

/// Tiles side by side.
const COLUMNS: usize = 10;

/// Side of a tile in pixels, at most.
const TILE: usize = 96;

/// Samples of the dataset's preview, at most: fewer where a batch has fewer.
const PREVIEW: usize = 120;

/// Training samples that are scored for their overview, at most.
const TRAINING_SAMPLES: usize = 128;

/// Images of an overview: the first of each label, and those at either end of each label's scores.
const FIRST: usize = 20;
const EXTREMES: usize = 10;

/// Images per label, equally spaced by score.
const SPACED: usize = 6;

/// Images per label, at most, that decide the shared colour scale.
pub(crate) const REFERENCE: usize = 64;

const LABELS: [(&str, bool); 2] = [("normal", false), ("anomalous", true)];

/// The first training samples after augmentation, with their maps where the run trains on maps.
pub(crate) fn preview(set: &TrainingSet, settings: &Settings) -> Result<RgbImage> {
    let samples = &set.order(0)[..settings.batch.min(PREVIEW).min(set.len())];
    let drawn = Drawn::new(set, 0, samples, settings.maps)?;
    let rows = |shown: &[usize]| {
        let label = |i: usize| if drawn.labels[i] { "anomalous" } else { "normal" };
        let samples = shown.iter().map(|&i| Tile::new(rgb(&drawn.images, i), label(i)));
        if !settings.maps {
            return vec![Row::new("", samples)];
        }
        let maps = shown.iter().map(|&i| Tile::new(mask_image(drawn.masks[i].as_ref()), ""));
        vec![Row::new("sample", samples), Row::new("map", maps)]
    };
    let all: Vec<usize> = (0..samples.len()).collect();
    let group = Group { heading: String::new(), rows: all.chunks(COLUMNS).flat_map(rows).collect() };
    sheet("Training samples after augmentation", &[group], whole_enlargement(settings.side, TILE))
}

/// Training samples as the net gets them.
struct Drawn {
    /// n [side, side, channels], preprocessed.
    inputs: Vec<f32>,
    /// The same to look at.
    images: Images,
    labels: Vec<bool>,
    /// What the map loss gets; none without maps, and of anomalies that are not marked.
    masks: Vec<Option<Mask>>,
}

impl Drawn {
    fn new(set: &TrainingSet, epoch: u32, samples: &[u32], maps: bool) -> Result<Drawn> {
        let preprocessing = &set.data().preprocessing;
        let (n, side, channels) = (samples.len(), preprocessing.side, preprocessing.channels);
        let Batch { inputs, labels, maps: truth } = set.batch(epoch, samples, maps)?;
        let pixels = inputs.chunks_exact(preprocessing.input_len()).flat_map(|input| preprocessing.viewable(input));
        let images = Images { count: n, pixels: pixels.collect(), ..Images::empty(side, side, channels) };
        let mask = |map: &[f32]| {
            let pixels = || map.iter().map(|&v| u8::from(v > 0.5)).collect();
            let is_known = map.iter().all(|&v| v != UNMARKED);
            is_known.then(|| Mask { height: side, width: side, pixels: pixels() })
        };
        let masks = truth.chunks_exact(side * side).map(mask).collect();
        Ok(Drawn { labels: labels.iter().map(|&l| l > 0.0).collect(), inputs, images, masks })
    }
}

/// An overview of training samples: those of one more epoch, since the net has been fitted to those of the epochs before.
pub(crate) fn training_overview(device: &Device, set: &TrainingSet, model: &Model) -> Result<RgbImage> {
    let epoch = model.meta.settings.epochs;
    let order = set.order(epoch);
    let drawn = Drawn::new(set, epoch, &order[..TRAINING_SAMPLES.min(order.len())], model.meta.settings.maps)?;
    let mut scorer = Scorer::new(device, model)?;
    let (mut scores, mut maps) = (Vec::new(), Vec::new());
    let size = set.data().preprocessing.input_len();
    for inputs in drawn.inputs.chunks(scorer.batch_size() * size) {
        scorer.batch(
            inputs.len() / size,
            |input| {
                input.copy_from_slice(inputs);
                Ok(())
            },
            Shown::Maps,
            |_, scored| {
                scores.push(scored.score);
                maps.extend_from_slice(scored.map);
                Ok(())
            },
        )?;
    }
    let captions = scores.iter().map(|&score| significant(f64::from(score))).collect();
    let seen = Region::whole((drawn.images.height, drawn.images.width));
    let shown = ShownImages { images: &drawn.images.into(), seen, masks: &drawn.masks };
    Gallery::new(model, Renderer::new(model)?.of_all(), shown, captions, drawn.labels, scores, &maps)?
        .overview("Training samples after augmentation, with the heatmaps of the trained model")
}

/// Images to show.
struct ShownImages<'a> {
    images: &'a ImageSource,
    /// What of each image the net has seen.
    seen: Region,
    /// One per image, or none at all.
    masks: &'a [Option<Mask>],
}

/// Scored images to choose from.
pub(crate) struct Gallery<'a> {
    shown: ShownImages<'a>,
    resize: ResizeMode,
    captions: Vec<String>,
    labels: Vec<bool>,
    scores: Vec<f32>,
    /// Anomaly maps [n, …].
    maps: &'a [f32],
    renderer: Renderer,
    side: usize,
    quantile: f64,
    /// Of all images with a common scale.
    shared: Scale<f32>,
}

/// What a row shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Input,
    /// Heatmap on a scale of its own: where within the image the anomaly lies.
    Local,
    /// Heatmap on the common scale: which images are anomalous.
    Shared,
    Mask,
}

impl<'a> Gallery<'a> {
    /// The test images.
    pub(crate) fn of_test(model: &Model, test: &'a TestSet, tested: &'a Tested) -> Result<Gallery<'a>> {
        let score = |s: &f32| significant(f64::from(*s));
        let scores: Vec<f32> = tested.scores.iter().map(|row| row.score).collect();
        let captions = tested.scores.iter().zip(&scores).enumerate();
        let captions = captions.map(|(i, (row, s))| format!("{}\n{}\n#{i}", score(s), row.class)).collect();
        let labels = tested.scores.iter().map(|row| row.label == 1).collect();
        let Preprocessing { raw_side, .. } = model.meta.preprocessing;
        let seen = model.meta.preprocessing.seen((raw_side, raw_side));
        let shown = ShownImages { images: &test.split.images, seen, masks: &test.split.masks };
        Gallery::new(model, Renderer::new(model)?, shown, captions, labels, scores, &tested.maps)
    }

    fn new(
        model: &Model,
        renderer: Renderer,
        shown: ShownImages<'a>,
        captions: Vec<String>,
        labels: Vec<bool>,
        scores: Vec<f32>,
        maps: &'a [f32],
    ) -> Result<Gallery<'a>> {
        let (side, quantile) = (model.meta.settings.side, model.meta.settings.quantile);
        let Preprocessing { resize, .. } = model.meta.preprocessing;
        let shared = Scale { minimum: 0.0, range: 0.0 };
        let mut gallery = Gallery { shown, resize, captions, labels, scores, maps, renderer, side, quantile, shared };
        gallery.shared = Scale::of(&gallery.reference(), quantile);
        Ok(gallery)
    }

    /// Heatmaps of as many normal as anomalous images, spread evenly over the set; of the one label there is, if there is one.
    fn reference(&self) -> Vec<f32> {
        let labels = LABELS.map(|(_, label)| self.labelled(label));
        let smallest = labels.iter().map(Vec::len).filter(|&n| n > 0).min().unwrap_or(0).min(REFERENCE);
        let chosen = labels.iter().flat_map(|label| spread(label.len(), smallest).into_iter().map(|i| label[i]));
        chosen.flat_map(|i| self.heatmap(i)).collect()
    }

    fn labelled(&self, label: bool) -> Vec<usize> {
        (0..self.labels.len()).filter(|&i| self.labels[i] == label).collect()
    }

    fn heatmap(&self, i: usize) -> Vec<f32> {
        let len = self.maps.len() / self.scores.len();
        self.renderer.of_map(&self.maps[i * len..][..len])
    }

    /// The first images of each label, then those with the lowest and the highest scores of each.
    pub(crate) fn overview(&self, title: &str) -> Result<RgbImage> {
        let mut groups = Vec::new();
        for (name, label) in LABELS {
            let of = self.labelled(label);
            let first: Vec<usize> = of.iter().copied().take(FIRST).collect();
            groups.push((format!("The first {name} images"), first));
        }
        for (name, label) in LABELS {
            let of = self.labelled(label);
            for (which, highest) in [("lowest", false), ("highest", true)] {
                let heading = format!("{name} images with the {which} scores");
                groups.push((capitalised(&heading), extremes(&of, &self.scores, EXTREMES, highest)));
            }
        }
        self.sheet(title, groups, &[Show::Input, Show::Shared, Show::Mask])
    }

    /// Images equally spaced by score, per label, on both scales, as the paper shows them.
    pub(crate) fn spaced(&self) -> Result<RgbImage> {
        let group = |(name, label): (&str, bool)| {
            (format!("{}, from the lowest score to the highest", capitalised(name)), {
                spaced(&self.labelled(label), &self.scores, SPACED)
            })
        };
        let title = "Test images equally spaced by score";
        self.sheet(title, LABELS.map(group).into(), &[Show::Input, Show::Local, Show::Shared, Show::Mask])
    }

    /// These images.
    pub(crate) fn chosen(&self, indices: &[usize]) -> Result<RgbImage> {
        let groups = vec![(String::new(), indices.to_vec())];
        self.sheet("Chosen test images", groups, &[Show::Input, Show::Local, Show::Shared, Show::Mask])
    }

    fn sheet(&self, title: &str, groups: Vec<(String, Vec<usize>)>, shows: &[Show]) -> Result<RgbImage> {
        let mut parts = Vec::new();
        for (mut heading, indices) in groups {
            // What belongs to the same images stays together: longer lists continue below a space, without a heading.
            for indices in indices.chunks(COLUMNS) {
                parts.push(Group { heading: std::mem::take(&mut heading), rows: self.rows(indices, shows)? });
            }
        }
        sheet(title, &parts, whole_enlargement(self.side, TILE))
    }

    fn rows(&self, indices: &[usize], shows: &[Show]) -> Result<Vec<Row>> {
        let inputs = self.shown.images.load(indices)?;
        let both = shows.contains(&Show::Local);
        let shown = shows.iter().filter(|&&show| show != Show::Mask || !self.shown.masks.is_empty());
        let row = |&show: &Show| {
            let title = match show {
                Show::Input => "input",
                Show::Local => "heatmap, own scale",
                Show::Shared if both => "heatmap, common scale",
                Show::Shared => "heatmap",
                Show::Mask => "mask",
            };
            Row::new(title, indices.iter().enumerate().map(|(k, &i)| self.tile(&inputs, k, i, show)))
        };
        Ok(shown.map(row).collect())
    }

    /// What is shown of image `i`, which is the `k`-th of `inputs`.
    fn tile(&self, inputs: &Images, k: usize, i: usize, show: Show) -> Tile {
        let hot = |local: bool| {
            let map = self.heatmap(i);
            let scale = if local { Scale::of(&map, self.quantile) } else { self.shared };
            self.renderer.heatmap(scale, map, None).within((inputs.height, inputs.width), self.shown.seen).to_image()
        };
        match show {
            Show::Input => Tile::new(rgb(inputs, k), self.captions[i].as_str()),
            Show::Local => Tile::new(hot(true), ""),
            Show::Shared => Tile::new(hot(false), ""),
            Show::Mask => {
                // Squashed or cut as the image beside it.
                let fitted = self.shown.masks[i].as_ref().map(|mask| self.resize.square_mask(mask, inputs.height));
                Tile::new(mask_image(fitted.as_ref()), "")
            }
        }
    }
}

/// One of the images in colour.
pub(crate) fn rgb(images: &Images, i: usize) -> RgbImage {
    let (image, width, channels) = (images.image(i), images.width, images.channels);
    RgbImage::from_fn(width as u32, images.height as u32, |x, y| {
        let at = (y as usize * width + x as usize) * channels;
        image::Rgb(if channels == 3 { [image[at], image[at + 1], image[at + 2]] } else { [image[at]; 3] })
    })
}

/// A mask in black and white; an image without pixels where there is none.
pub(crate) fn mask_image(mask: Option<&Mask>) -> RgbImage {
    let Some(Mask { height, width, pixels }) = mask else { return RgbImage::new(0, 0) };
    RgbImage::from_fn(*width as u32, *height as u32, |x, y| {
        image::Rgb([255 * pixels[y as usize * width + x as usize]; 3])
    })
}

fn capitalised(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect()
}
