//! `fcdd verify`: the numerics of this build on this machine, against the authors' golden files or against themselves.
//!
//! All knowledge of the golden format lives here. What a file holds follows from its manifest entry and its name; every tensor of
//! every file is an input, is compared, or is reported as skipped by name.

#![deny(clippy::wildcard_enum_match_arm)]

mod batch;
pub mod batches;
pub mod by_layers;
mod check;
mod compare;
mod convert;
mod curves;
mod execute;
pub(crate) mod golden;
mod heatmaps;
mod images;
mod layers;
mod losses;
mod nets;
mod optimizer;
mod plain;
pub mod random_nets;
mod selfcheck;
pub mod stepwise;
mod upsampling;

use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::Objective;
use crate::named::Named;
use golden::{GoldenFile, Manifest};

pub use batch::CheckBatch;
pub use check::{Check, CheckCounts, CheckOutcome, CheckReport};

/// What to verify.
#[derive(Clone)]
pub struct VerifyOptions {
    /// A golden folder; without one, this machine is checked against itself.
    pub golden: Option<PathBuf>,
    /// What computes in f32; f64 is the CPU's.
    pub device: Device,
}

/// Runs all checks, handing each to `sink` as it ends.
///
/// # Errors
/// If the golden folder cannot be read, contradicts its manifest, or holds nothing that could be checked. A wrong number is no error but
/// a failed check.
pub fn verify(options: &VerifyOptions, sink: &mut dyn FnMut(&Check)) -> Result<CheckCounts> {
    let mut report = CheckReport::new(&options.device, sink);
    match &options.golden {
        Some(folder) => {
            golden_folder(folder, &mut report)?;
            if report.summary().passed + report.summary().failed == 0 {
                return Err(Error::file(folder, "holds nothing that can be checked", golden::REMEDY));
            }
        }
        None => selfcheck::run(&mut report)?,
    }
    Ok(report.summary())
}

/// Checks every file of a golden folder, and names those that are listed but absent or present but not listed.
fn golden_folder(folder: &Path, report: &mut CheckReport) -> Result<()> {
    let manifest = Manifest::read(folder)?;
    for (file_name, entry) in &manifest.files {
        if !folder.join(file_name).exists() {
            report.add(Check::skipped(file_name.as_str(), "listed in the manifest, not in this folder"));
            continue;
        }
        let file = GoldenFile::read(folder, file_name, entry)?;
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
fn golden_file(folder: &Path, manifest: &Manifest, file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
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
        (None, None) if name.starts_with("heatmap_norm") => heatmaps::check(file, report),
        (None, None) if name.starts_with("smooth_noise") => images::check_blur(file, report),
        _ => {
            report.skip_file(file, "this build has no operations of this kind");
            Ok(())
        }
    }
}
