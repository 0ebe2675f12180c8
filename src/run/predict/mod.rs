//! The subcommand `predict`: a score for any image, and what is drawn of it.

mod ahead;
mod draw;
mod jobs;
mod request;
pub(crate) mod speed;
mod tables;
pub(crate) mod watch;
pub(crate) mod what;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::ahead::scored_ahead;
use self::draw::draw;
use self::jobs::{ImageJob, check_inputs_stay, jobs};
use self::request::request;
use self::speed::{Pace, Speed};
use self::tables::{Tables, earlier};
use self::what::PredictOptions;
use super::calibration::Calibration;
use super::context::Context;
use super::detector::{Detector, Kept};
use super::directory;
use super::input::Input;
use super::kind::Kind;
use super::model::{Model, NO_THRESHOLD};
use super::output::{Output, check_outside};
use super::regions::Region;
use super::verdict::Verdict;
use crate::error::{Error, Result};
use crate::metrics::two_samples::TwoSamples;
use crate::printable::Printable;

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
    /// Empty where it is not wanted, or could not be written.
    pub heatmap: String,
    pub overlay: String,
    pub mask: String,
    pub map: String,
    /// None where regions are not wanted, or could not be found.
    pub region_count: Option<usize>,
}

/// The same with its regions, where they are wanted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ImageReport {
    #[serde(flatten)]
    pub prediction: Prediction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
}

/// What came of a set of images.
pub(crate) struct Predictions {
    pub done: Vec<Prediction>,
    /// Images that could not be read and results that could not be written, without which the others were scored; and what ended the
    /// scoring, if anything did.
    pub failed: Vec<Error>,
    /// How their scores compare with those of the good images that the threshold was set by; None where that cannot be told.
    pub drift: Option<Drift>,
    /// None where nothing was left to score.
    pub speed: Option<Speed>,
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

/// Scores images, and those in folders, leaving what is asked for in `out`, or where it is of a [shard](PredictOptions::shard) in a folder within. Rows
/// of the tables are written, and told to `found`, as they come, and so are images that cannot be read.
pub(crate) fn predict(
    context: &Context,
    model: &Model,
    paths: &[PathBuf],
    out: &Path,
    options: &PredictOptions,
    found: &mut dyn FnMut(std::result::Result<&ImageReport, &Error>),
) -> Result<Predictions> {
    let rule = options.rule(model)?;
    if !model.meta.has_threshold() && options.decision.threshold.is_none() {
        context.note(format!("the threshold: {NO_THRESHOLD}"));
    }
    let detector = Detector::new(model, context.device)?.deciding_by(rule);
    let own = options.shard.map(|shard| out.join(shard.folder()));
    let out = own.as_deref().unwrap_or(out);
    paths.iter().try_for_each(|path| check_outside(out, path))?;
    let mut jobs = jobs(paths, context)?;
    if let Some(shard) = options.shard {
        jobs = shard.of(jobs);
    }
    check_inputs_stay(&jobs, out, options)?;
    let results = jobs.iter().flat_map(|job| job.results(options)).collect();
    let request = request(model, rule, options, &jobs)?;
    let output = Output::begin(out, Kind::Predict, &[], Some(request), results)?;
    let place = output.place().to_path_buf();
    let reports = if output.resumed { earlier(&place, &jobs, options, out) } else { vec![None; jobs.len()] };
    reports.iter().flatten().for_each(|report| found(Ok(report)));
    let left: Vec<usize> = (0..jobs.len()).filter(|&i| reports[i].is_none()).collect();
    if output.resumed {
        context.note(format!(
            "going on in {}: {} of {} images are scored",
            place.printable(),
            jobs.len() - left.len(),
            jobs.len()
        ));
    }
    let tables = Tables::new(&place, options, reports.iter().flatten())?;
    let rows = reports.into_iter().map(|report| report.map(|report| report.prediction)).collect();
    let check = || output.check();
    let places = Places { options, out, place: &place, check: &check };
    let mut work = Work {
        jobs: &jobs,
        places,
        tables,
        rows,
        failed: Vec::new(),
        table_failures: Vec::new(),
        disk_is_full: false,
        pace: Pace::new(),
    };
    let mut progress = context.task("predicting", left.len() as u64);
    let inputs: Vec<Input> = left.iter().map(|&i| Input::File(jobs[i].image.clone())).collect();
    let mut left = left.into_iter();
    let mut answers = true;
    scored_ahead(detector.groups(inputs.into_iter(), options.wanted()), |groups| -> Result<()> {
        for group in groups {
            output.to_write(directory::SCORES)?;
            match group {
                Ok(group) => {
                    let n = group.len() as u64;
                    work.take(group.into_iter().zip(left.by_ref()).collect(), found);
                    progress.advance(n, String::new);
                }
                // A model that does not answer in numbers will not do so for the others: the table is of those before.
                Err(error) => {
                    work.failed.push(error);
                    answers = false;
                }
            }
        }
        Ok(())
    })?;
    let Work { tables, rows, mut failed, table_failures, disk_is_full, pace, .. } = work;
    let done: Vec<Prediction> = rows.into_iter().flatten().collect();
    let speed = pace.speed();
    let so_fast = speed.map_or(String::new(), |speed| format!(": {speed}"));
    progress.finish(&format!("scored {} images{so_fast}", done.len()));
    // In the order of the images, those of an earlier call among them.
    let finished = tables.finish(&place, &done).and_then(|()| match answers && !disk_is_full {
        _ if done.is_empty() => Ok(()), // and nothing is replaced
        true => output.finish(),
        false => {
            context.note(format!("what there is lies in {}: the same command goes on with it", place.printable()));
            Ok(())
        }
    });
    failed.extend(finished.err().filter(|error| !table_failures.contains(&error.to_string())));
    let drift = model.meta.calibration.as_ref().and_then(|calibration| Drift::of(calibration, &done));
    Ok(Predictions { done, failed, drift, speed })
}

/// What is left of images, and where.
#[derive(Clone, Copy)]
struct Places<'a> {
    options: &'a PredictOptions,
    /// The folder that they will lie in, and the one that they are made in.
    out: &'a Path,
    place: &'a Path,
    /// Fails where that is not this process's own any more.
    check: &'a (dyn Fn() -> Result<()> + Sync),
}

/// Results in the making.
struct Work<'a> {
    jobs: &'a [ImageJob],
    places: Places<'a>,
    tables: Tables,
    rows: Vec<Option<Prediction>>,
    failed: Vec<Error>,
    /// What tables have failed with: on a full disk they do so at each of their rows.
    table_failures: Vec<String>,
    disk_is_full: bool,
    pace: Pace,
}

impl Work<'_> {
    /// Draws some images, adds their rows, and tells of them.
    fn take(
        &mut self,
        group: Vec<(Result<Kept>, usize)>,
        found: &mut dyn FnMut(std::result::Result<&ImageReport, &Error>),
    ) {
        let begun: Vec<Instant> = group.iter().flat_map(|(kept, _)| kept).map(|kept| kept.begun).collect();
        let (jobs, places) = (self.jobs, self.places);
        let drawn = group.into_par_iter().map(|(kept, i)| (i, kept.map(|kept| draw(&jobs[i], kept, &places))));
        let mut new = Vec::new();
        for (i, drawn) in drawn.collect::<Vec<_>>() {
            new.push(drawn.map(|(report, errors)| {
                errors.into_iter().for_each(|error| self.fail(error));
                self.rows[i] = Some(report.prediction.clone());
                report
            }));
        }
        if let Err(error) = self.tables.push(new.iter().flatten())
            && !self.table_failures.contains(&error.to_string())
        {
            self.table_failures.push(error.to_string());
            self.fail(error);
        }
        self.pace.done(&begun);
        for one in new {
            found(one.as_ref());
            self.failed.extend(one.err());
        }
    }

    /// A result could not be written.
    fn fail(&mut self, error: Error) {
        self.disk_is_full |= error.is_full();
        self.failed.push(error);
    }
}
