//! `fcdd bench`

use super::common::{DeviceArg, choice, print_json, print_lines, terminal};
use super::flags::in_flags;
use super::terminal::log;
use super::{CHECK_FAILED, Outcome};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::run::bench::{BenchOptions, BenchTask, Cost, Peaks, Refusal, TileTiming, Timing, Work, bench, tiles};

/// Time training and inference, beside the least time that this machine could take
///
/// That least time, the floor, is the longer of two: the operations at the rate of a matrix product, and the bytes (each operand of a
/// step once) at that of a copy, both measured first. On a GPU, training and inference are timed as one replayed graph on a batch that
/// stays in its memory (as benches/peer/gpu.py times PyTorch); training also with drawing the batch, as a run does it; inference also
/// launch by launch with cold caches, and so are single steps. With FCDD_WGMMA=1 or FCDD_PDL=1 the
/// results are first compared with those without: a net whose results differ is not timed, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Nets; `fcdd info` lists them
    #[arg(value_name = "NET", default_values = ["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"])]
    nets: Vec<String>,
    /// What to time [default: train and infer]
    #[arg(long, value_parser = choice::<BenchTask>())]
    task: Option<BenchTask>,
    /// Images per batch [default: 200 at 32 pixels, 128 at other sides; on the CPU 16 at 224]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Input side in pixels [default: the net's]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Precision of the values between layers, and of the matrix product that floors are measured with
    #[arg(long, value_parser = choice::<DType>(), default_value = "f32")]
    precision: DType,
    /// Take all products of convolutions on the CPU too, not the fewer ones of Winograd's minimal filtering
    #[arg(long)]
    exact: bool,
    /// Timed batches of each [default: 5; 200 images for predict]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: Option<u16>,
    /// Count operations, bytes and the launches of a GPU, and run nothing; no device is needed
    #[arg(long)]
    count: bool,
    /// Time every tile that the bf16 convolutions of a training step could be computed in on a GPU, the chosen one among them, and print
    /// JSON
    #[arg(long, conflicts_with_all = ["task", "precision", "count", "layers"])]
    tiles: bool,
    /// A line per step instead of one per kind of step
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Print everything, layers included, as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `bench --json` prints.
#[derive(serde::Serialize)]
struct BenchReport {
    /// None where no step is timed by itself.
    peaks: Option<Peaks>,
    timings: Vec<BenchEntry>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum BenchEntry {
    /// A timing and its sums.
    Timed {
        #[serde(flatten)]
        timing: Timing,
        kinds: Vec<Cost>,
        total: Cost,
    },
    Refused(Refusal),
}

/// What `bench --tiles` prints.
#[derive(serde::Serialize)]
struct Tiles {
    tiles: Vec<TileTiming>,
}

/// What `bench --count --json` prints.
#[derive(serde::Serialize)]
struct Counts {
    counts: Vec<Counted>,
}

/// A count and its sums.
#[derive(serde::Serialize)]
struct Counted {
    #[serde(flatten)]
    work: Work,
    kinds: Vec<Cost>,
    total: Cost,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    if args.count {
        return count(&args);
    }
    let device = args.device.choose()?;
    if args.tiles {
        return time_tiles(&args, &device);
    }
    let options = options(&args, matches!(device, Device::Cuda(_)));
    options.iter().try_for_each(|options| Work::count(options).map(drop))?; // refuses what cannot be timed
    terminal().begin();
    let peaks =
        if args.task == Some(BenchTask::Predict) { None } else { Some(Peaks::measure(&device, args.precision)?) };
    if let Some(peaks) = peaks.as_ref().filter(|_| !args.json) {
        print_lines(&format!(
            "peaks: copy {:.1} GB/s, matrix product {:.1} GFLOP/s ({})",
            peaks.bytes_per_second / 1e9,
            peaks.flops_per_second / 1e9,
            peaks.product
        ))?;
    }
    let mut timings = Vec::new();
    let mut outcome = Outcome::Fine;
    for tasks in options.chunk_by(|a, b| a.net == b.net) {
        match bench(&device, peaks.as_ref(), tasks) {
            Ok(found) => {
                if !args.json {
                    print_lines(&describe(&found, args.layers))?;
                }
                timings.extend(found.into_iter().map(|timing| {
                    let (kinds, total) = (timing.work.kinds(), timing.work.total());
                    BenchEntry::Timed { timing, kinds, total }
                }));
            }
            Err(error @ Error::Numeric { .. }) => {
                log(format!("error: {}", in_flags(&error.to_string())));
                outcome = Outcome::Ended(CHECK_FAILED);
                for options in tasks {
                    timings.push(BenchEntry::Refused(Refusal::new(&device, options, &error)?));
                }
            }
            Err(error) => return Err(error),
        }
    }
    if args.json {
        print_json(&BenchReport { peaks, timings })?;
    }
    Ok(outcome)
}

fn time_tiles(args: &Args, device: &Device) -> Result<Outcome> {
    let Device::Cuda(cuda) = device else {
        return Err(Error::setting("the CPU computes in no tiles", "leave --tiles out, or choose a GPU with --device"));
    };
    terminal().begin();
    let options =
        args.nets.iter().map(|net| BenchOptions { dtype: DType::Bf16, ..args.options(net, BenchTask::Train, true) });
    let timed = options.map(|options| tiles(cuda, &options)).collect::<Result<Vec<_>>>()?;
    print_json(&Tiles { tiles: timed.into_iter().flatten().collect() })?;
    Ok(Outcome::Fine)
}

impl Args {
    fn options(&self, net: &str, task: BenchTask, on_gpu: bool) -> BenchOptions {
        BenchOptions {
            net: net.to_string(),
            task,
            batch: self.batch.map(|n| n as usize),
            side: self.side,
            repeats: usize::from(self.repeats.unwrap_or(if task == BenchTask::Predict { 200 } else { 5 })),
            dtype: self.precision,
            exact: self.exact,
            on_gpu,
        }
    }
}

/// What is to be timed or counted, one after the other.
fn options(args: &Args, on_gpu: bool) -> Vec<BenchOptions> {
    let tasks = args.task.map_or(vec![BenchTask::Train, BenchTask::Infer], |task| vec![task]);
    args.nets.iter().flat_map(|net| tasks.iter().map(move |&task| args.options(net, task, on_gpu))).collect()
}

fn count(args: &Args) -> Result<Outcome> {
    let works = options(args, args.device.is_cuda()).iter().map(Work::count).collect::<Result<Vec<_>>>()?;
    if args.json {
        let counted = |work: Work| Counted { kinds: work.kinds(), total: work.total(), work };
        print_json(&Counts { counts: works.into_iter().map(counted).collect() })?;
    } else {
        for work in &works {
            print_lines(&format!("{}\n{}", title(work), table(work, args.layers)))?;
        }
    }
    Ok(Outcome::Fine)
}

fn title(work: &Work) -> String {
    format!("{} {:?} {}×{}²", work.net, work.task, work.batch, work.side)
}

/// Timings of a net as lines of text, a table after those of each task.
fn describe(timings: &[Timing], layers: bool) -> String {
    let tasks = timings.chunk_by(|a, b| a.work.task == b.work.task);
    tasks.map(|of_task| task(of_task, layers)).collect::<Vec<_>>().join("\n")
}

fn task(timings: &[Timing], layers: bool) -> String {
    let lines = timings.iter().map(summary);
    let table = timings.first().filter(|t| t.work.task != BenchTask::Predict).map(|t| table(&t.work, layers));
    lines.chain(table).collect::<Vec<_>>().join("\n")
}

fn summary(t: &Timing) -> String {
    let [least, middle, late, most] = [0.0, 0.5, 0.99, 1.0].map(|q| t.quantile(q) * 1e3);
    let what = format!("{}, {} threads, {}", title(&t.work), t.threads, t.mode);
    if t.work.task == BenchTask::Predict {
        return format!("{what}: p50 {middle:.2} ms, p99 {late:.2} ms, from {} images", t.seconds.len());
    }
    let rate = t.images_per_second;
    let floor = t.work.total().floor.map_or(0.0, |floor| floor * 1e3);
    let reached = 100.0 * floor / middle;
    format!(
        "{what}: {rate:.1} images/s, {middle:.3} ms ({least:.3} to {most:.3}), {reached:.1} % of the floor of {floor:.3} ms"
    )
}

/// Costs in columns: by kind of step or by layer, then their sum.
fn table(work: &Work, layers: bool) -> String {
    let timed = work.layers.iter().all(|c| c.seconds.is_some());
    let mut head = format!("  {:<47} {:>5} {:>8} {:>10} {:>9}", "step by step", "steps", "launches", "GFLOP", "MB");
    if timed {
        head += &format!(" {:>10} {:>10} {:>9}", "floor ms", "ms", "% of floor");
    }
    let mut costs = if layers { work.layers.clone() } else { work.kinds() };
    costs.push(work.total());
    let row = |c: &Cost| {
        let (gflop, mb) = (c.flops as f64 / 1e9, c.bytes as f64 / 1e6);
        let mut row =
            format!("  {:<22} {:<24} {:>5} {:>8} {gflop:>10.3} {mb:>9.2}", c.kind, c.shape, c.steps, c.launches);
        if let (Some(floor), Some(seconds), Some(reached)) = (c.floor, c.seconds, c.reached()) {
            row += &format!(" {:>10.4} {:>10.4} {:>9.1}", floor * 1e3, seconds * 1e3, reached * 100.0);
        }
        row
    };
    std::iter::once(head).chain(costs.iter().map(row)).collect::<Vec<_>>().join("\n")
}
