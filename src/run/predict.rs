//! The subcommand `predict`: a score, a heatmap and an overlay for any image.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::calibration::Calibration;
use super::context::Context;
use super::detector::{Detection, Detector, Input, Kept};
use super::directory::{self, CsvTable, write_csv};
use super::heatmap::blend;
use super::kind::Kind;
use super::model::Model;
use super::output::{Output, check_outside};
use super::verdict::{DecisionRule, Verdict};
use crate::data::folder::{self, left_alone};
use crate::error::{Error, Result};
use crate::metrics::two_samples::TwoSamples;
use crate::printable::Printable;
use crate::report::png::PngFile;
use crate::{files, memory};

/// Opacity of the heatmap over the image.
const ALPHA: f32 = 0.45;

/// What was found of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Prediction {
    /// As text: names of files need not be.
    pub image: String,
    pub score: f32,
    pub normalized_score: f64,
    pub threshold: f32,
    pub verdict: Verdict,
    /// Why the image cannot be judged, the worst reason first; else empty.
    pub reason: String,
    /// Empty where it could not be written.
    pub heatmap: String,
    pub overlay: String,
}

/// What came of a set of images.
pub(crate) struct Predictions {
    pub done: Vec<Prediction>,
    /// Images that could not be read and results that could not be written, without which the others were scored; and what ended the
    /// scoring, if anything did.
    pub failed: Vec<Error>,
    /// How their scores compare with those of the good images that the threshold was set by; None where that cannot be told.
    pub drift: Option<Drift>,
}

/// Whether images score as good ones did when the model was calibrated. Where many are defective they do not; otherwise light, camera or
/// product have changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Drift {
    /// How many images there are, and how many good ones they are compared with.
    pub images: usize,
    pub calibration_images: usize,
    #[serde(flatten)]
    pub test: TwoSamples,
}

impl Drift {
    fn of(calibration: &Calibration, done: &[Prediction]) -> Option<Drift> {
        let usable = done.iter().filter(|prediction| prediction.verdict != Verdict::Unusable);
        let scores: Vec<f32> = usable.map(|prediction| prediction.score).collect();
        let test = calibration.compare(&scores)?;
        Some(Drift { images: scores.len(), calibration_images: calibration.scores.len(), test })
    }
}

/// How verdicts follow from scores, where it is not as the model has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecisionOptions {
    pub threshold: Option<f32>,
    /// The normalized scores from and to which images are called unsure.
    pub unsure: Option<[f64; 2]>,
    /// Whether images are judged that look otherwise than all good ones.
    pub without_input_check: bool,
}

impl DecisionOptions {
    fn of(self, model: &Model) -> Result<DecisionRule> {
        let rule = DecisionRule::new(model.meta.threshold).checking_input(!self.without_input_check);
        let rule = self.threshold.map_or(Ok(rule), |threshold| rule.with_threshold(threshold))?;
        self.unsure.map_or(Ok(rule), |band| rule.with_unsure(band))
    }
}

/// Scores images, and those in folders, writing `NAME_heatmap.png`, `NAME_overlay.png` and `scores.csv` into `out`. Rows of the table
/// are written, and told to `found`, as they come.
pub(crate) fn predict(
    context: &Context,
    model: &Model,
    paths: &[PathBuf],
    out: &Path,
    decision: DecisionOptions,
    found: &mut dyn FnMut(&Prediction),
) -> Result<Predictions> {
    let rule = decision.of(model)?;
    let detector = Detector::new(model, context.device)?.deciding_by(rule);
    paths.iter().try_for_each(|path| check_outside(out, path))?;
    let jobs = jobs(paths, context)?;
    check_inputs_stay(&jobs, out)?;
    let results = jobs.iter().flat_map(|job| [job.result(HEATMAP), job.result(OVERLAY)]).collect();
    let request = request(model, rule, &jobs)?;
    let output = Output::begin(out, Kind::Predict, &[], Some(request), results)?;
    let place = output.place().to_path_buf();
    let path = place.join(directory::SCORES);
    let mut rows: Vec<Option<Prediction>> =
        if output.resumed { earlier(&path, &jobs, out) } else { vec![None; jobs.len()] };
    rows.iter().flatten().for_each(&mut *found);
    let mut table = CsvTable::new(&path, rows.iter().flatten())?;
    let left: Vec<usize> = (0..jobs.len()).filter(|&i| rows[i].is_none()).collect();
    if output.resumed {
        context.note(format!(
            "going on in {}: {} of {} images are scored",
            place.printable(),
            jobs.len() - left.len(),
            jobs.len()
        ));
    }
    let mut progress = context.task("predicting", left.len() as u64);
    let (mut failed, mut is_over) = (Vec::new(), true);
    let inputs: Vec<Input> = left.iter().map(|&i| Input::File(jobs[i].image.clone())).collect();
    let mut left = left.into_iter();
    for group in detector.groups(inputs.into_iter(), true) {
        output.to_write(directory::SCORES)?;
        let group = match group {
            Ok(group) => group,
            // A model that does not answer in numbers will not do so for the others: the table is of those before.
            Err(error) => {
                failed.push(error);
                is_over = false;
                break;
            }
        };
        let n = group.len() as u64;
        let mut detected = Vec::new();
        for (kept, i) in group.into_iter().zip(left.by_ref()) {
            match kept {
                Ok(kept) => detected.push((i, kept)),
                Err(error) => failed.push(error),
            }
        }
        let drawn = detected.into_par_iter().map(|(i, kept)| (i, draw(&jobs[i], kept, out, &place)));
        let mut new = Vec::new();
        for (i, (prediction, errors)) in drawn.collect::<Vec<_>>() {
            is_over &= !errors.iter().any(Error::is_full);
            failed.extend(errors);
            new.push(prediction.clone());
            rows[i] = Some(prediction);
        }
        if let Err(error) = table.push(&new) {
            is_over &= !error.is_full();
            failed.push(error);
        }
        new.iter().for_each(&mut *found);
        progress.advance(n, String::new);
    }
    let done: Vec<Prediction> = rows.into_iter().flatten().collect();
    progress.finish(&format!("scored {} images", done.len()));
    // In the order of the images, those of an earlier call among them.
    let written = if done.is_empty() { files::remove(&path) } else { write_csv(&path, &done) };
    let finished = written.and_then(|()| match is_over {
        _ if done.is_empty() => Ok(()), // and nothing is replaced
        true => output.finish(),
        false => {
            context.note(format!("what there is lies in {}: the same command goes on with it", place.printable()));
            Ok(())
        }
    });
    failed.extend(finished.err());
    let drift = model.meta.calibration.as_ref().and_then(|calibration| Drift::of(calibration, &done));
    Ok(Predictions { done, failed, drift })
}

/// How names of results end.
const HEATMAP: &str = "heatmap";
const OVERLAY: &str = "overlay";

/// What tells the same request from another: the model, the rule, and the images as they are now.
fn request(model: &Model, rule: DecisionRule, jobs: &[ImageJob]) -> Result<String> {
    let mut sum = Xxh3::new();
    let mut add = |bytes: &[u8]| {
        sum.update(&(bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    };
    let meta = serde_json::to_vec(&model.meta)
        .map_err(|e| Error::internal(format!("the model's metadata cannot be written ({e})")))?;
    add(&meta);
    add(bytemuck::cast_slice(&model.weights.params));
    add(bytemuck::cast_slice(&model.weights.stats));
    add(&rule.threshold().to_le_bytes());
    rule.unsure().iter().flatten().for_each(|end| add(&end.to_le_bytes()));
    add(&[u8::from(rule.checks_input())]);
    for job in jobs {
        let file = std::fs::metadata(&job.image).ok().map(|file| (file.len(), file.modified().ok(), changed(&file)));
        add(format!("{:?} {} {file:?}", job.image, job.name).as_bytes());
    }
    Ok(format!("{:032x}", sum.digest128()))
}

/// What tells a file from another in its place, or from one that was written into, whatever its size and time are made to be.
#[cfg(unix)]
fn changed(file: &Metadata) -> impl Debug + use<> {
    use std::os::unix::fs::MetadataExt;
    (file.ino(), file.ctime(), file.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> impl Debug + use<> {}

/// The rows that an earlier call has left, by their jobs: those whose results are all there.
fn earlier(table: &Path, jobs: &[ImageJob], out: &Path) -> Vec<Option<Prediction>> {
    let place = table.parent().unwrap_or(table);
    let there = read_table(table);
    let of = |job: &ImageJob| {
        let results = [HEATMAP, OVERLAY].map(|kind| job.result(kind));
        let shown = results.each_ref().map(|result| out.join(result).printable());
        let row = there.get(&shown[0])?;
        (row.overlay == shown[1] && results.iter().all(|result| place.join(result).is_file())).then(|| row.clone())
    };
    jobs.iter().map(of).collect()
}

/// The rows of a table by their heatmaps. One that was cut short, or is of another kind, ends before that.
fn read_table(path: &Path) -> HashMap<String, Prediction> {
    let Ok(mut table) = csv::Reader::from_path(path) else { return HashMap::new() };
    let rows = table.deserialize::<Prediction>().map_while(std::result::Result::ok);
    rows.map(|row| (row.heatmap.clone(), row)).collect()
}

/// One image, and the name of its results in the folder for them.
#[derive(Clone, Debug, PartialEq)]
struct ImageJob {
    image: PathBuf,
    name: String,
}

impl ImageJob {
    /// The name of a result.
    fn result(&self, kind: &str) -> String {
        format!("{}_{kind}.png", self.name)
    }
}

/// Fails if a result would take the place of an image that is to be scored, or if that is one of the results that will be replaced.
fn check_inputs_stay(jobs: &[ImageJob], out: &Path) -> Result<()> {
    let images: HashMap<PathBuf, &ImageJob> =
        jobs.iter().filter_map(|job| Some((job.image.canonicalize().ok()?, job))).collect();
    let replaced = |result: &str| out.join(result).canonicalize().is_ok_and(|path| images.contains_key(&path));
    for job in jobs {
        if let Some(result) =
            [HEATMAP, OVERLAY].map(|kind| job.result(kind)).into_iter().find(|result| replaced(result))
        {
            let problem =
                format!("is one of the images to score, but a result of {} would replace it", job.image.printable());
            return Err(Error::file(out.join(result), problem, "choose another folder for `out`"));
        }
    }
    match Kind::Predict.results_in(out).into_iter().find(|result| replaced(result)) {
        Some(result) => {
            let problem = "is one of the images to score, but is among the results that will be replaced";
            Err(Error::file(out.join(result), problem, "choose another folder for `out`"))
        }
        None => Ok(()),
    }
}

/// All images that the paths name. Results of a folder's images keep their place within it; equal names get a number.
fn jobs(paths: &[PathBuf], context: &Context) -> Result<Vec<ImageJob>> {
    let mut jobs = Vec::new();
    let mut taken = HashSet::new();
    for path in paths {
        let found = if path.is_dir() { folder::images(path, true)? } else { vec![path.clone()] };
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
            let stem = stem.with_extension("").printable();
            let mut name = stem.clone();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{stem}_{number}");
            }
            jobs.push(ImageJob { image, name });
        }
    }
    Ok(jobs)
}

/// Writes heatmap and overlay into `place` at the image's own size, on the model's fixed scale: a good part looks cold. The row names
/// them by where they will lie in the end, in `out`; what cannot be written leaves an empty name and an error.
fn draw(job: &ImageJob, (detection, image): Kept, out: &Path, place: &Path) -> (Prediction, Vec<Error>) {
    let image = image.ok_or_else(|| {
        let problem = format!(
            "too large to draw its heatmap and overlay: images may take {} of memory (`memory`)",
            memory::in_words(memory::for_images())
        );
        Error::file(&job.image, problem, "take its score from the table, or allow more")
    });
    let (mut names, mut errors) = ([HEATMAP, OVERLAY].map(|_| String::new()), Vec::new());
    match image.and_then(|image| Ok((detection.heatmap()?, image))) {
        Ok((colours, image)) => {
            let (height, width) = (colours.height(), colours.width());
            let begin = |kind: &str| {
                let path = place.join(job.result(kind));
                path.parent().map_or(Ok(()), files::create_folder)?;
                PngFile::begin(&path, height, width)
            };
            let mut drawn = [HEATMAP, OVERLAY].map(begin);
            let mut over = vec![0; width * 3];
            for (colours, pixels) in colours.rows().zip(image.pixels.chunks_exact(width * image.channels)) {
                if image.channels == 3 {
                    over.copy_from_slice(pixels);
                } else {
                    over.as_chunks_mut().0.iter_mut().zip(pixels).for_each(|(over, &grey)| *over = [grey; 3]);
                }
                blend(&mut over, &colours, ALPHA);
                for (file, row) in drawn.iter_mut().zip([&colours, &over]) {
                    if let Err(error) = file.as_mut().map_or(Ok(()), |file| file.push(row)) {
                        *file = Err(error);
                    }
                }
            }
            for ((name, kind), file) in names.iter_mut().zip([HEATMAP, OVERLAY]).zip(drawn) {
                match file.and_then(PngFile::finish) {
                    Ok(()) => *name = out.join(job.result(kind)).printable(),
                    Err(error) => errors.push(error),
                }
            }
        }
        Err(error) => errors.push(error),
    }
    let [heatmap, overlay] = names;
    let Detection { score, normalized_score, threshold, verdict, reasons, .. } = detection;
    let (image, reason) = (job.image.printable(), reasons.join("; "));
    (Prediction { image, score, normalized_score, threshold, verdict, reason, heatmap, overlay }, errors)
}
