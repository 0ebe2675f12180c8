//! Scoring images with a trained model.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::heatmap::Renderer;
use super::model::{Model, ModelMeta};
use super::settings::Settings;
use super::stitch::Stitching;
use crate::data::canvases::Canvases;
use crate::data::counted::Counted;
use crate::data::cuda::DeviceTestSet;
use crate::data::image_source::ImageSource;
use crate::data::images::Images;
use crate::data::pipeline::Preprocessing;
use crate::data::prefetch::{Job, prefetched};
use crate::data::tiles::TileGrid;
use crate::device::Device;
use crate::engine::Network;
use crate::engine::lower::PlanOptions;
use crate::engine::network::Heatmaps;
use crate::error::{Error, Result};
use crate::memory;
use crate::model::Objective;
use crate::model::image_score::ImageScore;
use crate::steps::upsample::ReceptiveField;

/// Images per batch where memory allows it: enough to fill the cores, little enough memory for inputs of 224 pixels.
const BATCH: usize = 16;

/// Batches of raw images in memory: one in use, one ready, one in the making.
const AHEAD: usize = 3;

/// What a model says of one image.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    pub score: f32,
    /// Anomaly map: of FCDD [u, u], of HSC [side, side], of an autoencoder [side, side, channels]. The score follows from it as
    /// `image_score` says, but for HSC. Unless asked for it may be empty.
    pub map: &'a [f32],
    /// The map at the input's size: of FCDD upsampled to [side, side], else the map itself. Empty unless asked for.
    pub heatmap: &'a [f32],
    /// Of an image that the net sees in tiles, whose map and heatmap are those of its canvas.
    pub(crate) canvas: Option<ScoredCanvas<'a>>,
}

/// What maps and heatmaps of a canvas look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoredCanvas<'a> {
    pub grid: &'a TileGrid,
    /// (rows, columns) of the map.
    pub cells: (usize, usize),
}

impl Scored<'_> {
    /// (height, width) of the heatmap, where the net's input has this side.
    pub(crate) fn heatmap_size(&self, side: usize) -> (usize, usize) {
        self.canvas.map_or((side, side), |canvas| canvas.grid.canvas())
    }
}

/// What is wanted besides scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    /// Anomaly maps.
    Maps,
    /// Anomaly maps and heatmaps.
    Heatmaps,
}

/// A model laid out for inference.
pub(crate) struct Scorer {
    network: Network<f32>,
    image_score: ImageScore,
    /// On a GPU: where it turns images into inputs.
    raw: Option<DeviceTestSet>,
    preprocessing: Preprocessing,
    renderer: Renderer,
    /// Of the maps of tiles, where the net sees such.
    field: Option<ReceptiveField>,
    /// Which part of each image counts; None where all of it does.
    counted: Option<Arc<CountedCells>>,
}

/// Which cells of a map count.
struct CountedCells {
    counted: Counted,
    /// Those of the map of one input.
    of_input: Vec<bool>,
}

/// The score of an image by those cells of its map that count.
pub(super) fn score_of(image_score: ImageScore, map: &[f32], counts: &[bool]) -> f32 {
    let channels = map.len() / counts.len();
    let cells = map.chunks_exact(channels).zip(counts).filter(|(_, counts)| **counts);
    let values: Vec<f32> = cells.flat_map(|(cell, _)| cell).copied().collect();
    image_score.of(mean(&values), &values)
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64) as f32
}

impl Scorer {
    /// Lays out a model on a device.
    pub(crate) fn new(device: &Device, model: &Model) -> Result<Scorer> {
        let ModelMeta { settings, preprocessing, .. } = &model.meta;
        let Settings { side, sigma, gradient, precision: dtype, .. } = *settings;
        let options = PlanOptions {
            batch: BATCH,
            side,
            dtype,
            sigma,
            gradient,
            exact: model.meta.settings.exact,
            training: None,
        };
        let network = Network::for_inference(device, &model.arch()?, options, &model.weights)?;
        let raw = match device {
            Device::Cpu => None,
            Device::Cuda(cuda) => Some(DeviceTestSet::with_room(cuda, preprocessing, network.options().batch)?),
        };
        let tiled = preprocessing.resize.makes_canvases();
        let field = if tiled { Some(model.arch()?.receptive_field(side)?) } else { None };
        let (image_score, preprocessing, renderer) =
            (settings.image_score, preprocessing.clone(), Renderer::new(model)?);
        let counted = model.meta.counted.clone().map(|counted| {
            let shape = renderer.map_shape();
            Arc::new(CountedCells { of_input: counted.cells((shape[0], shape[1])), counted })
        });
        Ok(Scorer { network, image_score, raw, preprocessing, renderer, field, counted })
    }

    /// Scores a set of raw images: the next are read while one batch is scored. `visit` gets each image's index and what was found.
    pub(crate) fn score(
        &mut self,
        images: &ImageSource,
        shown: Shown,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        if let ImageSource::Canvases(canvases) = images {
            return self.score_all(canvases, shown, visit);
        }
        let (batch, all) = (self.batch_size(), (0..images.count()).collect::<Vec<_>>());
        let jobs = all
            .chunks(batch)
            .map(|indices| Job { bytes: indices.len() * images.image_len(), make: || images.load(indices) });
        prefetched(AHEAD * batch * images.image_len(), jobs, |mut batches| {
            let mut first = 0;
            batches.try_for_each(|images| {
                let images = images?;
                self.score_batch(&images, shown, |i, scored| visit(first + i, scored))?;
                first += images.count;
                Ok(())
            })
        })
    }

    /// The same of a set of canvases.
    fn score_all(
        &mut self,
        canvases: &Canvases,
        shown: Shown,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let len = self.preprocessing.raw_form().image_len();
        let bytes: Vec<usize> = (0..canvases.count()).map(|i| canvases.grid(i).count() * len).collect();
        // As many as fill a batch, or one that takes several.
        let runs = memory::runs(&bytes, self.batch_size() * len);
        let most = runs.iter().map(|run| bytes[run.clone()].iter().sum()).max().unwrap_or(0);
        let load = |run: Range<usize>| run.into_par_iter().map(|i| canvases.load(i)).collect::<Result<Vec<Images>>>();
        let jobs = runs
            .into_iter()
            .map(|run| Job { bytes: bytes[run.clone()].iter().sum(), make: move || (run.start, load(run)) });
        prefetched(AHEAD.min(2) * most, jobs, |mut loaded| {
            loaded.try_for_each(|(first, canvases)| {
                self.score_canvases(&canvases?, shown, |i, scored| visit(first + i, scored))
            })
        })
    }

    /// Scores canvases: their tiles, a batch at a time, whose maps become one of each canvas.
    pub(crate) fn score_canvases(
        &mut self,
        canvases: &[Images],
        shown: Shown,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let form = self.preprocessing.raw_form();
        let Some(field) = self.field else {
            return Err(Error::internal("a net that sees whole images was given canvases"));
        };
        let grids: Vec<TileGrid> = canvases.iter().map(|canvas| form.tiles_of((canvas.height, canvas.width))).collect();
        let tiles_of = |(i, grid): (usize, &TileGrid)| (0..grid.count()).map(move |tile| (i, tile));
        let tiles: Vec<(usize, usize)> = grids.iter().enumerate().flat_map(tiles_of).collect();
        let mut maps = vec![Vec::new(); canvases.len()];
        for some in tiles.chunks(self.batch_size()) {
            let mut seen = Images { count: some.len(), ..Images::empty(form.side, form.side, form.channels) };
            seen.pixels.resize(some.len() * form.image_len(), 0);
            let windows = seen.pixels.par_chunks_exact_mut(form.image_len()).zip(some);
            windows.for_each(|(out, &(i, tile))| canvases[i].window(grids[i].place(tile), form.side, out));
            self.infer(&seen, Shown::Maps, |k, scored| {
                maps[some[k].0].extend_from_slice(scored.map);
                Ok(())
            })?;
        }
        for (i, (grid, maps)) in grids.iter().zip(&maps).enumerate() {
            let stitching = Stitching::new(grid, field);
            let map = stitching.stitch(maps);
            let score = match &self.counted {
                Some(cells) => score_of(self.image_score, &map, &cells.counted.cells(stitching.size())),
                None => self.image_score.of(mean(&map), &map),
            };
            let heatmap = if shown == Shown::Heatmaps { self.renderer.of_canvas(&map, grid) } else { Vec::new() };
            let canvas = Some(ScoredCanvas { grid, cells: stitching.size() });
            visit(i, Scored { score, map: &map, heatmap: &heatmap, canvas })?;
        }
        Ok(())
    }

    /// Scores at most [`Scorer::batch_size`] raw images.
    pub(crate) fn score_batch(
        &mut self,
        images: &Images,
        shown: Shown,
        mut visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let Some(cells) = self.counted.clone() else { return self.infer(images, shown, visit) };
        // Of what counts the net has no score of its own.
        let shown = if shown == Shown::Nothing { Shown::Maps } else { shown };
        let image_score = self.image_score;
        self.infer(images, shown, |i, scored| {
            visit(i, Scored { score: score_of(image_score, scored.map, &cells.of_input), ..scored })
        })
    }

    /// The same by all of each image.
    fn infer(&mut self, images: &Images, shown: Shown, visit: impl FnMut(usize, Scored) -> Result<()>) -> Result<()> {
        let Scorer { network, raw, preprocessing, .. } = self;
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
        hand_out(&mut self.network, self.image_score, n, shown, visit)
    }

    /// Scores `n` inputs that `fill` writes, n [side, side, channels], already preprocessed; at most [`Scorer::batch_size`].
    pub(crate) fn batch(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
        shown: Shown,
        visit: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        fill(self.network.input(n)?)?;
        self.network.infer(n)?;
        hand_out(&mut self.network, self.image_score, n, shown, visit)
    }

    /// Whether anomaly maps come with the scores, at no cost: all but those that are gradients.
    pub(crate) fn maps_are_by_products(&self) -> bool {
        self.network.arch().objective != Objective::Hsc
    }

    /// Largest batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.network.options().batch
    }

    /// Side of inputs and heatmaps.
    pub(crate) fn side(&self) -> usize {
        self.network.options().side
    }
}

/// Hands out what a network's last inference, of `n` images, found.
pub(super) fn hand_out(
    network: &mut Network<f32>,
    image_score: ImageScore,
    n: usize,
    shown: Shown,
    mut visit: impl FnMut(usize, Scored) -> Result<()>,
) -> Result<()> {
    let means = network.scores(n)?.to_vec();
    if let Some(score) = means.iter().find(|score| !score.is_finite()) {
        let problem = format!(
            "the model's score of an image is {score}, not a finite number: its weights are damaged or diverged"
        );
        return Err(Error::Numeric { problem, remedy: "copy it again, or train again with a lower `lr`".into() });
    }
    let Heatmaps { maps, heatmaps } = match shown {
        Shown::Nothing if image_score == ImageScore::Mean => Heatmaps { maps: &[], heatmaps: &[] },
        Shown::Nothing | Shown::Maps => Heatmaps { maps: network.maps(n)?, heatmaps: &[] },
        Shown::Heatmaps => network.heatmaps(n)?,
    };
    let all = means.iter().zip(parts(maps, n)).zip(parts(heatmaps, n)).enumerate();
    for (i, ((&mean, map), heatmap)) in all {
        visit(i, Scored { score: image_score.of(mean, map), map, heatmap, canvas: None })?;
    }
    Ok(())
}

/// A batch's values image by image; nothing for each of `n` images if there are none.
fn parts(values: &[f32], n: usize) -> impl Iterator<Item = &[f32]> {
    let len = values.len() / n.max(1);
    (0..n).map(move |i| &values[i * len..(i + 1) * len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pipeline::PipelineKind;
    use crate::data::resize_mode::ResizeMode;
    use crate::datasets::folder::FOLDER;
    use crate::model::Weights;
    use crate::rng::{Purpose, Stream};

    /// Noise over a gradient.
    fn image(height: usize, width: usize) -> Images {
        let noise = Stream::new(1, Purpose::Check, 0, 0);
        let value = |i: usize| {
            (noise.bits(i as u32) >> 26) as u8 + (100 * (i / width) / height + 80 * (i % width) / width) as u8
        };
        Images { count: 1, height, width, channels: 3, pixels: (0..3 * height * width).map(|i| value(i / 3)).collect() }
    }

    /// A net of random weights that sees inputs of a side.
    fn model(side: usize, fit: ResizeMode, pipeline: PipelineKind) -> Model {
        let mut settings = Settings::folder("parts");
        (settings.net, settings.side, settings.fit, settings.pipeline) =
            ("FCDD_CNN32_S".to_string(), side, Some(fit), pipeline);
        settings.image_score = ImageScore::Mean;
        let normal = ImageSource::from(image(side, side));
        let preprocessing = FOLDER.recipe.preprocessing(pipeline, side, side, 3, &normal).unwrap();
        let scaling = FOLDER.recipe.preprocessing(pipeline, 64, 64, 3, &image(64, 64).into()).unwrap().test.pop();
        let mut preprocessing = Preprocessing { resize: fit, ..preprocessing };
        *preprocessing.test.last_mut().unwrap() = scaling.unwrap();
        let weights = Weights::init(&settings.arch().unwrap(), 1);
        Model { meta: Model::meta(&settings, &preprocessing, 1), weights }
    }

    /// Score, map and heatmap of an image.
    fn scored(model: &Model, image: &Images) -> (f32, Vec<f32>, Vec<f32>) {
        let mut scorer = Scorer::new(&Device::Cpu, model).unwrap();
        let form = model.meta.preprocessing.raw_form();
        let (image, mut found) = (form.of(image), (0.0, Vec::new(), Vec::new()));
        let visit = |_: usize, scored: Scored| {
            found = (scored.score, scored.map.to_vec(), scored.heatmap.to_vec());
            Ok(())
        };
        match form.resize.makes_canvases() {
            true => scorer.score_canvases(&[image], Shown::Heatmaps, visit).unwrap(),
            false => scorer.score_batch(&image, Shown::Heatmaps, visit).unwrap(),
        }
        found
    }

    fn largest(values: &[f32]) -> f32 {
        values.iter().fold(0.0, |most, value| value.abs().max(most))
    }

    /// Where tiles overlap by a receptive field, an image in tiles has the map of the image as one input: rounding apart, whose f32 sums are of
    /// up to 1152 products.
    #[test]
    fn tiles_give_the_map_of_the_whole() {
        let image = image(128, 128);
        let whole = scored(&model(128, ResizeMode::Squash, PipelineKind::None), &image);
        let tiled = scored(&model(64, ResizeMode::Tile { side: 64, overlap: 16 }, PipelineKind::None), &image);
        assert_eq!((whole.1.len(), tiled.1.len(), tiled.2.len()), (32 * 32, 32 * 32, 128 * 128));
        let apart = |a: &[f32], b: &[f32]| {
            let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            largest(&apart) / largest(b)
        };
        assert!(apart(&tiled.1, &whole.1) < 1e-5, "{}", apart(&tiled.1, &whole.1));
        assert!(apart(&tiled.2, &whole.2) < 1e-5, "{}", apart(&tiled.2, &whole.2));
        assert!((tiled.0 / whole.0 - 1.0).abs() < 1e-5, "{} {}", tiled.0, whole.0);
        // By what counts too, which is less than all.
        let counted: Counted = serde_json::from_str(r#"{"height":1,"width":4,"runs":[1,2,1]}"#).unwrap();
        let by_middle = |side, fit| {
            let mut model = model(side, fit, PipelineKind::None);
            model.meta.count(counted.clone()).unwrap();
            scored(&model, &image).0
        };
        let middle = by_middle(128, ResizeMode::Squash);
        assert!((by_middle(64, ResizeMode::Tile { side: 64, overlap: 16 }) / middle - 1.0).abs() < 1e-5, "{middle}");
        let columns = whole.1.chunks(32).flat_map(|row| &row[8..24]).sum::<f32>() / 512.0;
        assert!((middle / columns - 1.0).abs() < 1e-5 && middle != whole.0, "{middle} {columns} {}", whole.0);
        // With less overlap cells at the borders of tiles see padding, but none inside of these.
        let apart_of = |overlap, pipeline| {
            let whole = scored(&model(128, ResizeMode::Squash, pipeline), &image);
            let tiled = scored(&model(64, ResizeMode::Tile { side: 64, overlap }, pipeline), &image);
            apart(&tiled.1, &whole.1)
        };
        assert!(apart_of(0, PipelineKind::None) > 1e-3);
    }

    /// Images of any shape have heatmaps of their canvas's size, and cells for all of it.
    #[test]
    fn canvases_of_any_shape_are_scored() {
        let tile = ResizeMode::Tile { side: 32, overlap: 8 };
        for (height, width) in [(1, 1), (30, 500), (65, 64), (7, 200)] {
            for (fit, canvas) in [(tile, (2 * height, 2 * width)), (ResizeMode::Letterbox, letterboxed(height, width))]
            {
                let (score, map, heatmap) = scored(&model(64, fit, PipelineKind::Lcn), &image(height, width));
                assert!(score.is_finite() && score > 0.0, "{fit} {height}×{width}");
                assert_eq!(map.len(), canvas.0.div_ceil(4) * canvas.1.div_ceil(4), "{fit} {height}×{width}");
                assert_eq!(heatmap.len(), canvas.0 * canvas.1);
            }
        }
    }

    fn letterboxed(height: usize, width: usize) -> (usize, usize) {
        let along = |side: usize| ((128 * side + height.max(width)) / (2 * height.max(width))).max(1);
        (along(height), along(width))
    }
}
