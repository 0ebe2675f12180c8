//! `fcdd bench`

use super::Outcome;
use super::common::{DeviceArg, print_json, print_lines};
use crate::error::Result;
use crate::run::bench::{Options, Task, Timing, bench};

/// Time training steps and inference, by kind of step.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nets; `fcdd info` lists them
    #[arg(value_name = "NET", default_values = ["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"])]
    nets: Vec<String>,
    /// What to time [default: both]
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Images per batch [default: 128 at 28 pixels, 200 at 32, 16 at 224]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Input side in pixels [default: the net's]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Timed batches of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    #[command(flatten)]
    device: DeviceArg,
    /// Print all timings as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `bench --json` prints.
#[derive(serde::Serialize)]
struct Report {
    timings: Vec<Timing>,
}

pub fn run(args: Args) -> Result<Outcome> {
    args.device.choose()?;
    let tasks = args.task.map_or(vec![Task::Train, Task::Infer], |task| vec![task]);
    let mut timings = Vec::new();
    for net in &args.nets {
        for &task in &tasks {
            let batch = args.batch.map(|n| n as usize);
            let repeats = usize::from(args.repeats);
            let timing = bench(&Options { net: net.clone(), task, batch, side: args.side, repeats })?;
            if !args.json {
                print_lines(&describe(&timing))?;
            }
            timings.push(timing);
        }
    }
    if args.json {
        print_json(&Report { timings })?;
    }
    Ok(Outcome::Fine)
}

/// A timing as lines of text.
fn describe(t: &Timing) -> String {
    let fold = |f: fn(f64, f64) -> f64| t.seconds.iter().copied().reduce(f).unwrap_or(0.0) * 1e3;
    let mut lines = vec![format!(
        "{} {:?}, {} images of {}², {} threads: {:.1} images/s, {:.1} GFLOP/s ({:.1} to {:.1} ms)",
        t.net,
        t.task,
        t.batch,
        t.side,
        t.threads,
        t.images_per_second,
        t.gflops,
        fold(f64::min),
        fold(f64::max),
    )];
    let total: f64 = t.kinds.iter().map(|k| k.seconds).sum();
    for k in &t.kinds {
        let (share, work) = (100.0 * k.seconds / total, if k.gflops > 0.0 { k.gflops } else { f64::NAN });
        let rate = if work.is_nan() { String::new() } else { format!("{work:>9.1} GFLOP/s") };
        lines.push(format!("  {:<24} {:>2} steps {:>9.2} ms {share:>5.1} %{rate}", k.kind, k.steps, k.seconds * 1e3));
    }
    lines.join("\n")
}
