//! Checks and their results.

use serde::Serialize;

use super::golden::GoldenFile;
use crate::device::Device;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
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
    pub outcome: CheckOutcome,
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
        let outcome = if error <= bound { CheckOutcome::Passed } else { CheckOutcome::Failed };
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
            outcome: CheckOutcome::Skipped,
            error: 0.0,
            bound: 0.0,
            detail: why.into(),
            seconds: None,
        }
    }
}

/// The three figures that close a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckCounts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// Counts checks on their way to the caller.
pub struct CheckReport<'a> {
    sink: &'a mut dyn FnMut(&Check),
    summary: CheckCounts,
    /// What is verified.
    device: &'a Device,
}

impl<'a> CheckReport<'a> {
    /// Collects checks of a device for `sink`.
    pub fn new(device: &'a Device, sink: &'a mut dyn FnMut(&Check)) -> CheckReport<'a> {
        CheckReport { sink, summary: CheckCounts::default(), device }
    }

    /// What was counted so far.
    pub(super) fn summary(&self) -> CheckCounts {
        self.summary
    }

    /// Hands a check on.
    pub fn add(&mut self, check: Check) {
        match check.outcome {
            CheckOutcome::Passed => self.summary.passed += 1,
            CheckOutcome::Failed => self.summary.failed += 1,
            CheckOutcome::Skipped => self.summary.skipped += 1,
        }
        (self.sink)(&check);
    }

    /// What is verified. It computes in f32; f64 is the CPU's.
    pub(super) fn device(&self) -> &Device {
        self.device
    }

    /// Skips a file as a whole.
    pub(super) fn skip_file(&mut self, file: &GoldenFile, why: impl Into<String>) {
        file.disregard();
        self.add(Check::skipped(file.name.as_str(), why));
    }
}

/// The arithmetic that a value was computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    F32,
    F64,
}

impl Precision {
    pub(super) fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }
}
