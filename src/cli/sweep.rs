//! `fcdd sweep`

use std::path::{Path, PathBuf};

use super::common::{choose, print_json, print_lines, stop_flag, terminal};
use super::flags::in_flags;
use super::settings::Choices;
use super::slurm::write_slurm;
use super::terminal::log;
use super::{ERROR, INTERRUPTED, Outcome};
use crate::device::{self, Device, DeviceChoice};
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::run::context::Context;
use crate::run::directory;
use crate::run::kind::Kind;
use crate::run::output::check_kind;
use crate::run::report::quoted;
use crate::run::shard::Shard;
use crate::run::sweep::plan::{SweepPlan, unfinished};
use crate::run::sweep::summary::Summary;
use crate::run::sweep::work::work;
use crate::run::sweep::{sum_up, tables};
use crate::run::train::check_place;

/// Train with several seeds, on each class of a dataset, and summarise
///
/// The same command given again keeps the runs that are finished and goes on with the others; given to several processes at once, they
/// share the runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder for the runs, each in normal_CLASS/it_SEED (of pascalvoc too, whose CLASS is the anomalous one), and for their summary
    #[arg(long, value_name = "DIR", required_unless_present = "summary", display_order = 1)]
    out: Option<PathBuf>,
    /// Classes by number or name, each of which is the normal one in its runs (of pascalvoc the anomalous one) [default: all]
    #[arg(long, value_name = "C,…", value_delimiter = ',', allow_negative_numbers = true)]
    classes: Vec<String>,
    /// Runs per class, with the seeds 0 to N−1
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    #[command(flatten)]
    choices: Choices<true>,
    /// Train nothing: summarise the finished runs of the sweep in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "shard", "slurm"])]
    summary: Option<PathBuf>,
    /// Train one of N equal parts of the runs: 1/2 on one machine and 2/2 on another, with a common folder
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Train nothing: write slurm.sh into the folder, an array job of Slurm with one task per run, each on a GPU unless --devices is cpu
    #[arg(long, conflicts_with = "shard")]
    slurm: bool,
    /// Where to compute: auto, cpu, or GPUs by number, over which the runs are spread
    #[arg(long, alias = "device", value_name = "D,…", value_delimiter = ',', default_value = "auto")]
    devices: Vec<DeviceChoice>,
    /// Runs at once on each device
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, program: &Path) -> Result<Outcome> {
    let Args { choices, classes, seeds, out, summary, shard, slurm, devices, jobs, json } = args;
    if let Some(folder) = summary {
        if !choices.is_empty() || !classes.is_empty() {
            let problem = "--summary only reads finished runs, and takes no settings";
            return Err(Error::setting(problem, "give the folder alone"));
        }
        return show(&sum_up(&folder)?, &folder, json).map(|()| Outcome::Fine);
    }
    let out = out.ok_or_else(|| Error::setting("no folder for the sweep", "name one with --out DIR"))?;
    let plan = SweepPlan::new(choices.settings()?, &classes, seeds)?;
    plan.settings.check()?;
    check_place(&plan.settings, &out)?;
    check_kind(&out, Kind::Sweep)?;
    if slurm {
        let path = write_slurm(program, &plan, &out, devices != [DeviceChoice::Cpu])?;
        print_lines(&format!("submit it with: sbatch {}", quoted(&path.to_string_lossy())))?;
        return Ok(Outcome::Fine);
    }
    let stop = stop_flag()?;
    let devices = open(&devices, jobs)?;
    let mut runs = plan.runs(&out);
    if let Some(shard) = shard {
        runs = shard.of(runs);
    }
    let of = runs.len();
    let left = unfinished(runs)?;
    plan.check_images(&out, &Context { device: &devices[0], observer: terminal(), stop: &stop })?;
    plan.save(&out)?;
    log(format!("{} of {of} runs to do{}", left.len(), if left.len() < of { "; finished ones are kept" } else { "" }));
    // A sweep that is killed leaves a summary of what there was; the last one tells what is wrong with it, if anything is.
    let failures = work(&devices, &left, terminal(), &stop, &|| drop(sum_up(&out)));
    failures
        .iter()
        .for_each(|failure| log(format!("error: {}: {}", failure.run, in_flags(&failure.error.to_string()))));
    show(&sum_up(&out)?, &out, json)?;
    if stop.is_requested() {
        log("stopped; give the same command again to go on: finished runs are kept");
        return Ok(Outcome::Ended(INTERRUPTED));
    }
    Ok(if failures.is_empty() { Outcome::Fine } else { Outcome::Ended(ERROR) })
}

/// Opens each device once per run at a time: runs on one GPU have streams of their own.
fn open(choices: &[DeviceChoice], jobs: u8) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for &choice in choices {
        devices.push(choose(choice)?);
        for _ in 1..jobs {
            devices.push(device::choose(choice)?.0);
        }
    }
    Ok(devices)
}

fn show(summary: &Summary, folder: &Path, json: bool) -> Result<()> {
    if let Some(missing) = tables::missing(summary) {
        log(missing);
    }
    if json {
        return print_json(summary);
    }
    print_lines(&tables::plain(summary))?;
    tables::notes(summary).iter().try_for_each(|note| print_lines(note))?;
    print_lines(&format!("report  {}", folder.join(directory::REPORT).printable()))
}
