//! `fcdd bench`

use super::Outcome;
use super::common::{DeviceArg, print_json, print_lines};
use crate::error::Result;
use crate::run::bench::{Options, Task, Timing, bench};

/// Time training steps and inference by kind of step, or the latency of judging one picture.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nets; `fcdd info` lists them
    #[arg(value_name = "NET", default_values = ["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"])]
    nets: Vec<String>,
    /// What to time [default: train and infer]
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Images per batch [default: 128 at 28 pixels, 200 at 32, 16 at 224]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Input side in pixels [default: the net's]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Timed batches of each [default: 5; 200 pictures for predict]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: Option<u16>,
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
    let device = args.device.choose()?;
    let tasks = args.task.map_or(vec![Task::Train, Task::Infer], |task| vec![task]);
    let mut timings = Vec::new();
    for net in &args.nets {
        for &task in &tasks {
            let batch = args.batch.map(|n| n as usize);
            let repeats = usize::from(args.repeats.unwrap_or(if task == Task::Predict { 200 } else { 5 }));
            let timing = bench(&device, &Options { net: net.clone(), task, batch, side: args.side, repeats })?;
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
    let [least, middle, late, most] = [0.0, 0.5, 0.99, 1.0].map(|q| t.quantile(q) * 1e3);
    let what = format!("{} {:?} {}×{}², {} threads", t.net, t.task, t.batch, t.side, t.threads);
    if t.task == Task::Predict {
        return format!("{what}: p50 {middle:.2} ms, p99 {late:.2} ms, from {} pictures", t.seconds.len());
    }
    let mut lines = vec![format!("{what}: {:.1} images/s ({least:.1} to {most:.1} ms)", t.images_per_second)];
    let total: f64 = t.kinds.iter().map(|k| k.seconds).sum();
    for k in &t.kinds {
        let rate = if k.gflops > 0.0 { format!("{:>9.1} GFLOP/s", k.gflops) } else { String::new() };
        let (milliseconds, share) = (k.seconds * 1e3, 100.0 * k.seconds / total);
        lines.push(format!("  {:<24} {:>2} steps {milliseconds:>9.2} ms {share:>5.1} %{rate}", k.kind, k.steps));
    }
    lines.join("\n")
}
