//! The subcommand `predict`: a score, a heatmap and an overlay for any image.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use super::context::Context;
use super::detector::{Detection, Detector, Input, Kept, Verdict};
use super::directory::{self, write_csv};
use super::heatmap::blend;
use super::model::Model;
use crate::data::folder::{self, left_alone};
use crate::error::{Error, Result};
use crate::files;
use crate::report::png::save_png;

/// Opacity of the heatmap over the image.
const ALPHA: f32 = 0.45;

/// What was found of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Prediction {
    /// As text: names of files need not be.
    pub image: String,
    pub score: f32,
    pub threshold: f32,
    pub anomalous: bool,
    pub heatmap: String,
    pub overlay: String,
}

/// What came of a set of images.
pub(crate) struct Predictions {
    pub done: Vec<Prediction>,
    /// Images that could not be read, without which the others were scored; and what ended the scoring, if anything did.
    pub failed: Vec<Error>,
}

/// Scores images, and those in folders, writing `NAME_heatmap.png`, `NAME_overlay.png` and `scores.csv` into `out`.
pub(crate) fn predict(
    context: &Context,
    model: &Model,
    paths: &[PathBuf],
    out: &Path,
    threshold: Option<f32>,
) -> Result<Predictions> {
    let mut detector = Detector::new(model, context.device)?;
    if let Some(threshold) = threshold {
        detector = detector.with_threshold(threshold)?;
    }
    check_out(out)?;
    let jobs = jobs(paths, out, context)?;
    check_inputs_stay(&jobs)?;
    files::create_folder(out)?;
    let mut progress = context.task("predicting", jobs.len() as u64);
    let mut predictions = Predictions { done: Vec::new(), failed: Vec::new() };
    let inputs: Vec<Input> = jobs.iter().map(|job| Input::File(job.image.clone())).collect();
    let mut jobs = jobs.iter();
    for group in detector.groups(inputs.into_iter(), true) {
        let group = match group {
            Ok(group) => group,
            // A model that does not answer in numbers will not do so for the others: the table is of those before.
            Err(error) => {
                predictions.failed.push(error);
                break;
            }
        };
        let n = group.len() as u64;
        let mut detected = Vec::new();
        for (kept, job) in group.into_iter().zip(jobs.by_ref()) {
            match kept {
                Ok(kept) => detected.push((job, kept)),
                Err(error) => predictions.failed.push(error),
            }
        }
        let written: Vec<Result<Prediction>> = detected.into_par_iter().map(|(job, kept)| draw(job, kept)).collect();
        for prediction in written {
            predictions.done.push(prediction?);
        }
        progress.advance(n, String::new);
    }
    if !predictions.done.is_empty() {
        write_csv(&out.join(directory::SCORES), &predictions.done)?;
    }
    progress.finish(&format!("scored {} images", predictions.done.len()));
    Ok(predictions)
}

/// One image and where its results go.
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
    Err(Error::file(out, problem, "choose another folder for `out`"))
}

/// Fails if a result would take the place of an image that is to be scored.
fn check_inputs_stay(jobs: &[Job]) -> Result<()> {
    let images: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.image.canonicalize().ok()).collect();
    for Job { image, heatmap, overlay } in jobs {
        if let Some(result) =
            [heatmap, overlay].into_iter().find(|result| result.canonicalize().is_ok_and(|path| images.contains(&path)))
        {
            let problem =
                format!("is one of the images to score, but a result of {} would replace it", image.display());
            return Err(Error::file(result, problem, "choose another folder for `out`"));
        }
    }
    Ok(())
}

/// All images that the paths name; those in a folder without the heatmaps and overlays that an earlier `predict` left in `out`,
/// where that lies in the folder. Results of a folder's images keep their place within it; equal names get a number.
fn jobs(paths: &[PathBuf], out: &Path, context: &Context) -> Result<Vec<Job>> {
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
            left_alone(&found).iter().for_each(|note| context.note(note));
        }
        if found.is_empty() {
            return Err(Error::file(
                path,
                "holds no images",
                "name an image, or a folder of PNG, JPEG, BMP, TIFF, WebP or PNM files",
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
        context.note(format!(
            "skipped {skipped} images in {} that are results: *_heatmap.png, *_overlay.png",
            out.display()
        ));
    }
    Ok(jobs)
}

/// Whether an image is named as a result and lies in `out`, an absolute path.
fn is_result(image: &Path, out: &Path) -> bool {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    (name.ends_with("_heatmap.png") || name.ends_with("_overlay.png"))
        && image.canonicalize().is_ok_and(|image| image.starts_with(out))
}

/// Writes heatmap and overlay at the image's own size, on the model's fixed scale: a good part looks cold.
fn draw(job: &Job, (detection, image): Kept) -> Result<Prediction> {
    let colours = detection.heatmap()?.to_image();
    if let Some(folder) = job.heatmap.parent() {
        files::create_folder(folder)?;
    }
    save_png(&job.heatmap, &colours)?;
    let mut overlay = image
        .and_then(|image| RgbImage::from_raw(image.width as u32, image.height as u32, image.with_channels(3).pixels))
        .ok_or_else(|| Error::internal(format!("the pixels of {} were not kept", job.image.display())))?;
    blend(&mut overlay, &colours, ALPHA);
    drop(colours);
    save_png(&job.overlay, &overlay)?;
    let [image, heatmap, overlay] = [&job.image, &job.heatmap, &job.overlay].map(|path| path.display().to_string());
    let Detection { score, threshold, verdict, .. } = detection;
    Ok(Prediction { image, score, threshold, anomalous: verdict == Verdict::Anomalous, heatmap, overlay })
}
