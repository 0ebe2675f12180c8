//! `fcdd demo`

use std::path::PathBuf;

use super::common::{DeviceArg, context, print_json, print_lines, stop_flag};
use super::terminal::log;
use super::{INTERRUPTED, Outcome};
use crate::error::Result;
use crate::run::context::Context;
use crate::run::demo::{DemoFigure, demo};
use crate::run::figures::Measure;

/// Train and test on synthetic surfaces: takes about a minute, no data and no network
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder for images, models and the overview; results of an earlier demo are replaced
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Passes over the good images [default: 14]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let stop = stop_flag()?;
    let Some(report) = demo(&Context { stop: &stop, ..context(&device) }, &args.out, args.seed, args.epochs)? else {
        log("the demo was stopped before it had trained; run it again to see its figures");
        return Ok(Outcome::Ended(INTERRUPTED));
    };
    if args.json {
        print_json(&report)?;
        return Ok(Outcome::Fine);
    }
    let [image, pixel, pro] = Measure::MAIN.map(Measure::name);
    let mut lines = vec![format!("{:<8} {:<8} {image:>12} {pixel:>12} {pro:>8}", "surface", "defects")];
    for f in &report.figures {
        let DemoFigure { surface, contrast, image_auroc, pixel_auroc, pro, .. } = f;
        lines.push(format!("{surface:<8} {contrast:<8} {image_auroc:>12.4} {pixel_auroc:>12.4} {pro:>8.4}"));
    }
    lines.push(format!("\nlook at {}, and at report.html in each surface's run folder", report.overview));
    print_lines(&lines.join("\n"))?;
    Ok(Outcome::Fine)
}
