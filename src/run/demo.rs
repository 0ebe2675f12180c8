//! The subcommand `demo`: the whole way from good images to heatmaps, with synthetic surfaces, no data and no network.
//!
//! For each kind of surface it writes a folder of images in MVTec-AD's layout, trains on the good ones with fine confetti as the only
//! anomaly, and measures the model on defects that it has never seen, at three contrasts.

use std::collections::HashMap;
use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use super::breakdown::Score;
use super::context::Context;
use super::directory::{self, RunDirectory};
use super::evaluate::Tested;
use super::heatmap::Renderer;
use super::kind::Kind;
use super::lock::FolderLock;
use super::model::Model;
use super::output::{begin_in_place, finish_in_place};
use super::own_files::DEMO;
use super::prepare::{TestSet, prepare};
use super::results::finish;
use super::select::{extremes, spaced};
use super::settings::Settings;
use super::sheets;
use super::train;
use crate::data::images::Mask;
use crate::data::surfaces::{Contrast, Defect, Surface, synthesise};
use crate::datasets::folder::FOLDER;
use crate::engine::schedule::Schedule;
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::scores::Scores;
use crate::report::png::save_png;
use crate::report::sheet::{Group, Row, Tile, sheet};

/// Side of the images in pixels.
const SIDE: usize = 128;

/// Good images to train on, per surface.
const TRAIN: u32 = 256;

/// Good images to test on, per surface.
const TEST_GOOD: u32 = 64;

/// Defective images per surface, kind of defect and contrast.
const TEST_DEFECTS: u32 = 12;

/// Images of the overview, per contrast.
const SHOWN: usize = 8;

/// What the demo found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DemoReport {
    pub figures: Vec<DemoFigure>,
    pub overview: String,
}

/// Figures on one surface at one contrast: all good test images against the defects of that contrast.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DemoFigure {
    pub surface: &'static str,
    pub contrast: &'static str,
    pub images: usize,
    pub image_auroc: f64,
    pub pixel_auroc: f64,
    pub pro: f64,
}

/// The defects of a test set by the names of their images.
type Defects = HashMap<String, (Defect, Contrast)>;

/// A scored test image.
struct ScoredImage {
    defect: Option<(Defect, Contrast)>,
    image: RgbImage,
    mask: Mask,
    score: f32,
    /// [SIDE, SIDE]
    map: Vec<f32>,
}

/// Settings of the demo on one surface's folder.
pub(crate) fn settings(data: &Path, seed: u64, epochs: Option<u32>) -> Settings {
    let preset = Settings::preset(FOLDER);
    Settings {
        data: Some(data.to_path_buf()),
        side: SIDE,
        epochs: epochs.unwrap_or(14),
        schedule: Schedule::Lambda { gamma: 0.85 },
        seed,
        ..preset
    }
}

/// Runs the demo in `out`: SURFACE/data, SURFACE/run, overview.png and demo.json.
pub(crate) fn demo(context: &Context, out: &Path, seed: u64, epochs: Option<u32>) -> Result<Option<DemoReport>> {
    let lock = FolderLock::new(out)?;
    begin_in_place(out, Kind::Demo)?;
    let mut figures = Vec::new();
    let mut groups = Vec::new();
    for surface in Surface::ALL {
        let folder = out.join(surface.name());
        let data = folder.join("data");
        context.note(format!(
            "{}: drawing {TRAIN} good images to learn from, and test images with defects",
            surface.name()
        ));
        lock.check()?;
        let defects = write_data(surface, &data, seed)?;
        let settings = settings(&data, seed, epochs).located()?;
        let task = prepare(&settings, context).map_err(of_demo)?;
        let run = RunDirectory::replace(FolderLock::new(&folder.join("run"))?)?;
        run.write_json(directory::CONFIG, &settings)?;
        let trained = train::train(context, &task, &settings, None, Some(&run))?;
        let Some(tested) = finish(context, &trained, &task, &run, &[])? else { return Ok(None) };
        let scored = scored(&trained.model, &task.test, &tested, &defects)?;
        for contrast in Contrast::ALL {
            figures.push(figure(surface, contrast, &scored)?);
            groups.push(group(surface, contrast, &scored, &trained.model)?);
        }
    }
    let overview = out.join(directory::OVERVIEW);
    let drawn = sheet("fcdd demo: trained on good images and fine confetti alone", &groups, 112)?;
    lock.check()?;
    save_png(&overview, &drawn)?;
    let report = DemoReport { figures, overview: overview.to_string_lossy().into_owned() };
    directory::write_json(&out.join(DEMO), &report)?;
    finish_in_place(out)?;
    Ok(Some(report))
}

/// An image that cannot be read is none of the demo's, or was changed since it was drawn.
fn of_demo(error: Error) -> Error {
    match error {
        Error::File { path, problem, .. } => {
            Error::file(path, problem, "remove it, and run the demo again, which draws its images anew")
        }
        other => other,
    }
}

/// Writes a surface's training and test images, and returns what is wrong with the latter.
fn write_data(surface: Surface, data: &Path, seed: u64) -> Result<Defects> {
    let good = data.join("train/good");
    files::create_folder(&good)?;
    (0..TRAIN).into_par_iter().try_for_each(|i| {
        let image = synthesise(surface, None, SIDE, seed, i);
        save_png(good.join(format!("{i:03}.png")), &rgb(&image.pixels)?)
    })?;
    let mut wanted: Vec<Option<(Defect, Contrast)>> = vec![None; TEST_GOOD as usize];
    for defect in Defect::ALL {
        for contrast in Contrast::ALL {
            wanted.extend((0..TEST_DEFECTS).map(|_| Some((defect, contrast))));
        }
    }
    for kind in ["good"].into_iter().chain(Defect::ALL.map(Defect::name)) {
        files::create_folder(&data.join("test").join(kind))?;
        files::create_folder(&data.join("ground_truth").join(kind))?;
    }
    wanted
        .into_par_iter()
        .enumerate()
        .map(|(i, defect)| {
            // Test images are numbered after the training ones: another draw of the same surface.
            let image = synthesise(surface, defect, SIDE, seed, TRAIN + i as u32);
            let (kind, name) = match defect {
                None => ("good", format!("{i:03}")),
                Some((defect, contrast)) => (defect.name(), format!("{}_{i:03}", contrast.name())),
            };
            let file = format!("test/{kind}/{name}.png");
            save_png(data.join(&file), &rgb(&image.pixels)?)?;
            if defect.is_some() {
                let mask = image.mask.iter().flat_map(|&m| [255 * m; 3]).collect::<Vec<_>>();
                save_png(data.join(format!("ground_truth/{kind}/{name}_mask.png")), &rgb(&mask)?)?;
            }
            Ok(defect.map(|defect| (file, defect)))
        })
        .filter_map(Result::transpose)
        .collect()
}

/// Pixels [SIDE, SIDE, 3] as an image.
fn rgb(pixels: &[u8]) -> Result<RgbImage> {
    RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels.to_vec())
        .ok_or_else(|| Error::internal("a synthetic image has the wrong size"))
}

/// The test images with their scores and maps.
fn scored(model: &Model, test: &TestSet, tested: &Tested, defects: &Defects) -> Result<Vec<ScoredImage>> {
    let renderer = Renderer::new(model)?;
    let maps = tested.maps.chunks_exact(renderer.map_shape().iter().product());
    let whole = || Mask { height: SIDE, width: SIDE, pixels: vec![0; SIDE * SIDE] };
    let scored = |((i, row), map): ((usize, &Score), &[f32])| {
        Ok(ScoredImage {
            defect: defects.get(&row.image).copied(),
            image: sheets::rgb(&test.split.images.load(&[i])?, 0),
            mask: test.split.masks[i].clone().unwrap_or_else(whole),
            score: row.score,
            map: renderer.of_map(map),
        })
    };
    tested.scores.iter().enumerate().zip(maps).map(scored).collect()
}

/// Good images and those with defects of one contrast.
fn of_contrast(scored: &[ScoredImage], contrast: Contrast) -> impl Iterator<Item = &ScoredImage> {
    scored.iter().filter(move |image| image.defect.is_none_or(|(_, c)| c == contrast))
}

fn figure(surface: Surface, contrast: Contrast, scored: &[ScoredImage]) -> Result<DemoFigure> {
    let (mut images, mut pixels) = (Scores::default(), Scores::default());
    for image in of_contrast(scored, contrast) {
        images.push_samples(&[image.score], &[image.defect.is_some()])?;
        pixels.push_image(&image.map, &image.mask.pixels, SIDE)?;
    }
    let (images, pixels) = (images.rank(), pixels.rank());
    Ok(DemoFigure {
        surface: surface.name(),
        contrast: contrast.name(),
        images: of_contrast(scored, contrast).count(),
        // Both classes are always there.
        image_auroc: images.auroc().unwrap_or_default(),
        pixel_auroc: pixels.auroc().unwrap_or_default(),
        pro: pixels.pro().unwrap_or_default(),
    })
}

/// Rows of the overview for one contrast: the highest-scoring good image, then defects from the lowest score (the worst miss) to
/// the highest, equally spaced.
fn group(surface: Surface, contrast: Contrast, scored: &[ScoredImage], model: &Model) -> Result<Group> {
    let scores: Vec<f32> = scored.iter().map(|image| image.score).collect();
    let which = |wanted: &dyn Fn(Option<(Defect, Contrast)>) -> bool| -> Vec<usize> {
        (0..scored.len()).filter(|&i| wanted(scored[i].defect)).collect()
    };
    let good = extremes(&which(&|defect| defect.is_none()), &scores, 1, true);
    let defects = spaced(&which(&|defect| defect.is_some_and(|(_, c)| c == contrast)), &scores, SHOWN);
    let shown: Vec<&ScoredImage> = good.into_iter().chain(defects).map(|i| &scored[i]).collect();
    let renderer = Renderer::new(model)?;
    let input = shown.iter().map(|scored| {
        let name = scored.defect.map_or("good", |(defect, _)| defect.name());
        Tile::new(scored.image.clone(), format!("{name} {:.3}", scored.score))
    });
    let hot = shown
        .iter()
        .map(|scored| Tile::new(renderer.heatmap(model.meta.scale, scored.map.clone(), None).to_image(), ""));
    let mask = shown.iter().map(|scored| Tile::new(sheets::mask_image(Some(&scored.mask)), ""));
    Ok(Group {
        heading: format!(
            "{} surface, {} defects: the good image with the highest score, then the defects by score, the lowest first",
            surface.name(),
            contrast.name()
        ),
        rows: vec![Row::new("input, score", input), Row::new("heatmap", hot), Row::new("mask", mask)],
    })
}
