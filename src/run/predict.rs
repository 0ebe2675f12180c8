//! The verb `predict`: a score, a heatmap and an overlay for any picture.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use super::directory::{self, write_csv};
use super::model::Model;
use super::progress::{Progress, log};
use super::render::Renderer;
use super::score::Scorer;
use crate::data::folder::{self, left_alone};
use crate::data::images::{Images, read_image};
use crate::data::resize_mode::{RawForm, ResizeMode};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files;
use crate::report::overlay::{blend, heatmap};
use crate::report::png::save_png;
use crate::report::resample::bilinear;

/// Opacity of the heatmap over the image.
const ALPHA: f32 = 0.45;

/// Judgement of one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// As text: names of files need not be.
    pub image: String,
    pub score: f32,
    pub threshold: f32,
    pub anomalous: bool,
    pub heatmap: String,
    pub overlay: String,
}

/// What came of a set of pictures.
pub struct Predictions {
    pub done: Vec<Prediction>,
    /// Pictures that could not be read, without which the others were judged; and what ended the judging, if anything did.
    pub failed: Vec<Error>,
}

/// Judges pictures, and those in folders, writing `NAME_heatmap.png`, `NAME_overlay.png` and `scores.csv` into `out`.
pub fn predict(
    device: &Device,
    model: &Model,
    paths: &[PathBuf],
    out: &Path,
    threshold: Option<f32>,
) -> Result<Predictions> {
    if let Some(threshold) = threshold.filter(|threshold| !threshold.is_finite()) {
        return Err(Error::setting(format!("--threshold {threshold} is no score"), "choose a number, such as 0.5"));
    }
    check_out(out)?;
    let jobs = jobs(paths, out)?;
    check_inputs_stay(&jobs)?;
    let (mut scorer, renderer) = (Scorer::new(device, model)?, Renderer::new(model)?);
    files::create_folder(out)?;
    let threshold = threshold.unwrap_or(model.meta.threshold);
    let mut progress = Progress::new("predicting", jobs.len() as u64);
    let mut predictions = Predictions { done: Vec::new(), failed: Vec::new() };
    for jobs in jobs.chunks(scorer.batch_size()) {
        let read: Vec<Result<Images>> = jobs.par_iter().map(|job| read_image(&job.image, 3)).collect();
        let (mut originals, mut raw) = (Vec::new(), Vec::new());
        for (job, picture) in jobs.iter().zip(read) {
            match picture {
                Ok(picture) => {
                    let RawForm { side, channels, resize } = model.meta.preprocessing.raw_form();
                    raw.push(resize.apply(picture.clone().with_channels(channels), side));
                    originals.push((job, picture));
                }
                Err(error) => predictions.failed.push(error),
            }
        }
        let mut judged = Vec::new();
        if let Some(batch) = join(&raw) {
            let scored = scorer.score_batch(&batch, true, |_, scored| {
                judged.push((scored.score, renderer.of_heatmap(scored.heatmap)));
                Ok(())
            });
            // A model that does not answer in numbers will not do so for the others: the table is of those before.
            if let Err(error) = scored {
                predictions.failed.push(error);
                break;
            }
        }
        let side = scorer.side();
        let written: Vec<Result<Prediction>> = originals
            .into_par_iter()
            .zip(judged)
            .map(|((job, picture), (score, map))| {
                draw(model.meta.preprocessing.resize, job, picture, renderer.scaled(model.meta.scale, map), side)?;
                let [image, heatmap, overlay] =
                    [&job.image, &job.heatmap, &job.overlay].map(|path| path.display().to_string());
                Ok(Prediction { image, score, threshold, anomalous: score > threshold, heatmap, overlay })
            })
            .collect();
        for prediction in written {
            predictions.done.push(prediction?);
        }
        progress.advance(jobs.len() as u64, String::new);
    }
    if !predictions.done.is_empty() {
        write_csv(&out.join(directory::SCORES), &predictions.done)?;
    }
    progress.finish(&format!("judged {} pictures", predictions.done.len()));
    Ok(predictions)
}

/// One picture and where its results go.
#[derive(Clone, Debug, PartialEq)]
struct Job {
    image: PathBuf,
    heatmap: PathBuf,
    overlay: PathBuf,
}

/// Fails if the table of scores would take the place of another one: that of a run, or of an evaluation elsewhere.
fn check_out(out: &Path) -> Result<()> {
    let Some(file) = [directory::CONFIG, directory::EVALUATION].into_iter().find(|name| out.join(name).exists()) else {
        return Ok(());
    };
    let problem = format!("holds results of training or evaluation ({file}), which those of predict would replace");
    Err(Error::file(out, problem, "choose another folder for --out"))
}

/// Fails if a result would take the place of a picture that is to be judged.
fn check_inputs_stay(jobs: &[Job]) -> Result<()> {
    let images: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.image.canonicalize().ok()).collect();
    for Job { image, heatmap, overlay } in jobs {
        if let Some(result) =
            [heatmap, overlay].into_iter().find(|result| result.canonicalize().is_ok_and(|path| images.contains(&path)))
        {
            let problem = format!("is to be judged, but a result of {} would replace it", image.display());
            return Err(Error::file(result, problem, "choose another folder for --out"));
        }
    }
    Ok(())
}

/// All pictures that the paths name; those in a folder without the heatmaps and overlays that an earlier `predict` left in `out`,
/// where that lies in the folder. Results of a folder's pictures keep their place within it; equal names get a number.
fn jobs(paths: &[PathBuf], out: &Path) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut taken = HashSet::new();
    // Only a folder with a table of scores holds results.
    let earlier = if out.join(directory::SCORES).is_file() { out.canonicalize().ok() } else { None };
    let mut skipped = 0;
    for path in paths {
        let mut found = if path.is_dir() { folder::images(path, true)? } else { vec![path.clone()] };
        if let Some(out) = earlier.as_ref().filter(|_| path.is_dir()) {
            let all = found.len();
            found.retain(|image| !is_result(image, out));
            skipped += all - found.len();
        }
        if path.is_dir() {
            left_alone(&found).iter().for_each(log);
        }
        if found.is_empty() {
            return Err(Error::file(
                path,
                "holds no pictures",
                "name a picture or a folder of PNG, JPEG, BMP, TIFF or WebP",
            ));
        }
        for image in found {
            let relative = image.strip_prefix(path).ok().filter(|r| !r.as_os_str().is_empty());
            let stem = relative.unwrap_or_else(|| image.file_name().map_or(image.as_path(), Path::new));
            // As text, in which names that differ may be equal.
            let stem = stem.with_extension("").display().to_string();
            let mut name = stem.clone();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{stem}_{number}");
            }
            let result = |kind: &str| out.join(format!("{name}_{kind}.png"));
            jobs.push(Job { heatmap: result("heatmap"), overlay: result("overlay"), image });
        }
    }
    if skipped > 0 {
        log(format!("skipped {skipped} pictures in {} that are results: *_heatmap.png, *_overlay.png", out.display()));
    }
    Ok(jobs)
}

/// Whether a picture is named as a result and lies in `out`, an absolute path.
fn is_result(image: &Path, out: &Path) -> bool {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    (name.ends_with("_heatmap.png") || name.ends_with("_overlay.png"))
        && image.canonicalize().is_ok_and(|image| image.starts_with(out))
}

/// Images of one shape as one batch.
fn join(images: &[Images]) -> Option<Images> {
    let (first, rest) = images.split_first()?;
    let mut all = first.clone();
    rest.iter().for_each(|image| all.push(image));
    Some(all)
}

/// Writes heatmap and overlay at the picture's own size, of temperatures on the model's fixed scale: a good part looks cold.
fn draw(fit: ResizeMode, job: &Job, picture: Images, map: Vec<f32>, side: usize) -> Result<()> {
    let (height, width) = (picture.height, picture.width);
    // What the model has not seen stays cold.
    let seen = fit.region((height, width));
    let part = bilinear(&map, (side, side), (seen.height, seen.width));
    let mut map = vec![0.0; height * width];
    for (row, part) in map.chunks_exact_mut(width).skip(seen.top).zip(part.chunks_exact(seen.width)) {
        row[seen.left..seen.left + seen.width].copy_from_slice(part);
    }
    if let Some(folder) = job.heatmap.parent() {
        files::create_folder(folder)?;
    }
    save_png(&job.heatmap, &heatmap(&map, width as u32, height as u32))?;
    let rgb = RgbImage::from_raw(width as u32, height as u32, picture.pixels)
        .ok_or_else(|| Error::file(&job.image, "its pixels do not fill its size", "save the picture again"))?;
    save_png(&job.overlay, &blend(&rgb, &map, ALPHA))
}
