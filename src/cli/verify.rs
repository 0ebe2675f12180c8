//! `fcdd verify`

use std::path::PathBuf;

use serde::Serialize;

use super::common::{DeviceArg, print_json, print_lines, terminal};
use super::{CHECK_FAILED, Outcome};
use crate::error::Result;
use crate::run::verify::{self, Check, CheckCounts, CheckOutcome, VerifyOptions};

/// Check the numerics of this build on this machine; the exit code is 1 if a check fails
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Compare with the golden files in this folder, which has a manifest.json, instead of running this machine's own checks
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    /// Print all checks as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `verify --json` prints.
#[derive(Serialize)]
struct VerifyReport {
    summary: CheckCounts,
    checks: Vec<Check>,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let mut checks = Vec::new();
    let summary = verify::verify(&VerifyOptions { golden: args.golden, device }, &mut |check: &Check| {
        terminal().begin();
        if args.json {
            checks.push(check.clone());
        } else {
            // A closed pipe must not stop the checks: their outcome is the exit code.
            let _ = print_lines(&line(check));
        }
    })?;
    let failed = summary.failed > 0;
    if args.json {
        print_json(&VerifyReport { summary, checks })?;
    } else {
        print_lines(&format!("{} passed, {} failed, {} skipped", summary.passed, summary.failed, summary.skipped))?;
    }
    Ok(if failed { Outcome::Ended(CHECK_FAILED) } else { Outcome::Fine })
}

/// One check as a line.
fn line(check: &Check) -> String {
    let word = match check.outcome {
        CheckOutcome::Passed => "ok",
        CheckOutcome::Failed => "FAILED",
        CheckOutcome::Skipped => "skipped",
    };
    let relation = if check.outcome == CheckOutcome::Failed { ">" } else { "≤" };
    let figures = match check.bound > 0.0 {
        true => format!(" {:.2e} {relation} {:.1e}", check.error, check.bound),
        false => String::new(),
    };
    let detail = if check.detail.is_empty() { String::new() } else { format!(" ({})", check.detail) };
    let time = check.seconds.map(|seconds| format!(", {:.1} µs", seconds * 1e6)).unwrap_or_default();
    format!("{word:<7} {}{figures}{detail}{time}", check.name)
}
