//! `fcdd verify`: the numerics of this build on this machine, against the authors' golden files or against themselves.
//!
//! All knowledge of the golden format lives here. What a file holds follows from its manifest entry and its name; every tensor of
//! every file is an input, is compared, or is reported as skipped by name.

pub mod batches;
mod compare;
mod curves;
mod execute;
pub mod golden;
mod images;
mod layers;
mod losses;
mod nets;
mod optimizer;
mod pictures;
mod plain;
mod selfcheck;
pub mod stepwise;
mod upsampling;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::Objective;
use crate::named::Named;
use compare::Ours;
use golden::{File, Manifest};

/// What to verify.
#[derive(Clone)]
pub struct Options {
    /// A golden folder; without one, this machine is checked against itself.
    pub golden: Option<PathBuf>,
    /// What computes in f32; f64 is the CPU's.
    pub device: Device,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// Not checked; the detail says why.
    Skipped,
}

/// One check and its result.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// File, arithmetic and tensor, such as `net_FCDD_CNN28 f64 grad/conv1.weight`.
    pub name: String,
    pub outcome: Outcome,
    /// The measured error, in the units of the bound.
    pub error: f64,
    /// The largest error that passes.
    pub bound: f64,
    /// What the error is relative to, or why the check was skipped.
    pub detail: String,
    /// What the checked step takes, where one was timed.
    pub seconds: Option<f64>,
}

impl Check {
    /// A check that passes if `error` is at most `bound`; NaN fails.
    pub fn measured(name: impl Into<String>, error: f64, bound: f64, detail: impl Into<String>) -> Check {
        let outcome = if error <= bound { Outcome::Passed } else { Outcome::Failed };
        Check { name: name.into(), outcome, error, bound, detail: detail.into(), seconds: None }
    }

    /// A check of something that is right or wrong.
    pub fn exact(name: impl Into<String>, right: bool, detail: impl Into<String>) -> Check {
        Check::measured(name, if right { 0.0 } else { 1.0 }, 0.0, detail)
    }

    /// Something that is not checked.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Check {
        Check {
            name: name.into(),
            outcome: Outcome::Skipped,
            error: 0.0,
            bound: 0.0,
            detail: why.into(),
            seconds: None,
        }
    }
}

/// The three figures that close a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// Counts checks on their way to the caller.
pub struct Report<'a> {
    sink: &'a mut dyn FnMut(&Check),
    summary: Summary,
    /// What is verified.
    device: &'a Device,
}

impl<'a> Report<'a> {
    /// Collects checks of a device for `sink`.
    pub fn new(device: &'a Device, sink: &'a mut dyn FnMut(&Check)) -> Report<'a> {
        Report { sink, summary: Summary::default(), device }
    }

    /// Hands a check on.
    pub fn add(&mut self, check: Check) {
        match check.outcome {
            Outcome::Passed => self.summary.passed += 1,
            Outcome::Failed => self.summary.failed += 1,
            Outcome::Skipped => self.summary.skipped += 1,
        }
        (self.sink)(&check);
    }

    /// What is verified. It computes in f32; f64 is the CPU's.
    fn device(&self) -> &Device {
        self.device
    }

    /// Skips a file as a whole.
    fn skip_file(&mut self, file: &File, why: impl Into<String>) {
        file.disregard();
        self.add(Check::skipped(file.name.as_str(), why));
    }
}

/// Runs all checks, handing each to `sink` as it ends.
///
/// # Errors
/// If the golden folder cannot be read, contradicts its manifest, or holds nothing that could be checked. A wrong number is no error but
/// a failed check.
pub fn verify(options: &Options, sink: &mut dyn FnMut(&Check)) -> Result<Summary> {
    let mut report = Report::new(&options.device, sink);
    match &options.golden {
        Some(folder) => {
            golden_folder(folder, &mut report)?;
            if report.summary.passed + report.summary.failed == 0 {
                return Err(Error::file(folder, "holds nothing that can be checked", golden::REMEDY));
            }
        }
        None => selfcheck::run(&mut report)?,
    }
    Ok(report.summary)
}

/// Checks every file of a golden folder, and names those that are listed but absent or present but not listed.
fn golden_folder(folder: &Path, report: &mut Report) -> Result<()> {
    let manifest = Manifest::read(folder)?;
    for (file_name, entry) in &manifest.files {
        if !folder.join(file_name).exists() {
            report.add(Check::skipped(file_name.as_str(), "listed in the manifest, not in this folder"));
            continue;
        }
        let file = File::read(folder, file_name, entry)?;
        golden_file(folder, &manifest, &file, report)?;
        for key in file.unread() {
            report.add(Check::skipped(format!("{} {key}", file.name), "no check for this tensor"));
        }
    }
    let present = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    for item in present {
        let name = item.map_err(Error::io("list", folder))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") && !manifest.files.contains_key(&name) {
            report.add(Check::skipped(name, "in this folder, not listed in the manifest"));
        }
    }
    Ok(())
}

/// Checks one file by its kind.
fn golden_file(folder: &Path, manifest: &Manifest, file: &File, report: &mut Report) -> Result<()> {
    let name = file.name.as_str();
    match (file.entry.objective.as_deref(), file.entry.net.as_deref()) {
        (Some(objective), Some(net)) => match Objective::parse(objective) {
            Some(objective) => nets::check(folder, manifest, file, objective, net, report),
            None => {
                report.skip_file(file, format!("this build has no objective {objective}"));
                Ok(())
            }
        },
        (None, Some(net)) if !file.entry.configs.is_empty() => optimizer::check(file, net, report),
        (None, None) if name.starts_with("loss_fcdd") => losses::check(file, report),
        (None, None) if name.starts_with("loss_hsc") => losses::check_hsc(file, report),
        (None, None) if name.starts_with("receptive_upsample") => upsampling::check(file, report),
        (None, None) if name.starts_with("gkern") => upsampling::check_kernels(file, report),
        (None, None) if name.starts_with("roc") => curves::check(file, report),
        (None, None) if name.starts_with("lcn") => images::check_lcn(file, report),
        (None, None) if name.starts_with("heatmap_norm") => pictures::check(file, report),
        (None, None) if name.starts_with("smooth_noise") => images::check_blur(file, report),
        _ => {
            report.skip_file(file, "this build has no operations of this kind");
            Ok(())
        }
    }
}

/// Compares every tensor that a case gives a value for.
fn compare_all(
    file: &File,
    precision: Precision,
    given: &mut dyn FnMut(&str) -> Option<Ours>,
    report: &mut Report,
) -> Result<()> {
    for key in file.keys() {
        if let Some(ours) = given(key) {
            report.add(compare::tensor(file, key, precision, &ours)?);
        }
    }
    Ok(())
}

/// The arithmetic that a value was computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    F64,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }
}
