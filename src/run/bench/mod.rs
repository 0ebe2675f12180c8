//! The verb `bench`: how fast this machine trains and judges, step by step beside the floors that its own speed sets.

mod agreement;
mod costs;
mod drawn;
mod latency;
mod peaks;
mod tiles;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::layout::lay_out;
use super::settings::check_size;
use crate::device::cuda::{Cuda, Mark};
use crate::device::{DType, Device, View};
use crate::engine::lower::{self, Optimizer, Training};
use crate::engine::{Hyper, Network, Step};
use crate::error::{Error, Result};
use crate::metrics::quantile;
use crate::model::arch::{Arch, NORM_MOMENTUM};
use crate::model::{Weights, baselines};
use crate::named::Named;
use crate::rng::{Purpose, Stream};
use crate::steps::hsc_loss::Gradient;

pub use costs::{Cost, Work};
pub use latency::Latency;
pub use peaks::{Copier, Peaks};
pub use tiles::{TileTiming, tiles};

/// What is timed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr, strum::EnumMessage, Serialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Forward, backward and update of one batch
    Train,
    /// Scores and heatmaps of one batch
    Infer,
    /// One picture from its file: decoding, resizing, normalising, inference, heatmap
    Predict,
}

/// What to time.
#[derive(Clone, Debug)]
pub struct Options {
    pub net: String,
    pub task: Task,
    /// Images per batch; None for the size of the paper's experiments, on the CPU 16 at 224 pixels, and for [`Task::Predict`].
    pub batch: Option<usize>,
    /// Input side in pixels; None for the net's own, and for [`Task::Predict`].
    pub side: Option<usize>,
    /// Of the values between layers.
    pub format: DType,
    /// Timed batches or pictures; others go before them, to warm up.
    pub repeats: usize,
    /// Whether a GPU is to compute, or its work to be counted.
    pub on_gpu: bool,
}

/// How a GPU was made to run the batches of a timing. One replayed graph on a batch that lies in its memory, in caches as warm as the batch
/// before left them: as `benches/peer/gpu.py` times PyTorch.
pub const FIXED: &str = "graph, fixed batch";
/// One replayed graph that also draws its batch: as a run trains.
pub const DRAWN: &str = "graph, batches drawn";
/// Launch by launch, with nothing of the inputs in the caches.
pub const COLD: &str = "launch by launch, inputs cold";

/// Times of one net and task, run in one way. `benches/peer` prints the same fields for PyTorch.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// With a time and a floor for each step, from further batches with a clock around each step; without for [`Task::Predict`].
    #[serde(flatten)]
    pub work: Work,
    /// What computes, and how.
    pub mode: String,
    /// [`FIXED`], [`DRAWN`] or [`COLD`]; empty on the CPU, and for [`Task::Predict`].
    #[serde(skip_serializing_if = "str::is_empty")]
    pub how: &'static str,
    pub threads: usize,
    /// Time of each batch, in the order of running.
    pub seconds: Vec<f64>,
    /// At the median time.
    pub images_per_second: f64,
}

/// What stands in place of a timing where results are wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    pub net: String,
    pub task: Task,
    pub batch: usize,
    pub side: usize,
    pub mode: String,
    pub error: String,
}

impl Refusal {
    /// Of a task that [`bench()`] did not time.
    pub fn new(device: &Device, options: &Options, error: &Error) -> Result<Refusal> {
        let Work { net, task, batch, side, .. } = Work::count(options)?;
        Ok(Refusal { net, task, batch, side, mode: mode(device, options), error: error.to_string() })
    }
}

impl Timing {
    /// The time that a share `q` of the batches does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        quantile(&self.seconds, q)
    }
}

impl Task {
    /// Runs one batch of a network that was laid out for this task.
    pub fn run(self, network: &mut Network<f32>, batch: usize, hyper: &Hyper) -> Result<()> {
        if self == Task::Train {
            network.train(batch, hyper)?;
        } else {
            network.infer(batch)?;
            network.explain(batch)?;
        }
        Ok(())
    }
}

/// Images per batch where none are asked for.
fn usual_batch(side: usize, on_gpu: bool) -> usize {
    match side {
        32 => 200,
        224 if !on_gpu => 16,
        _ => 128,
    }
}

/// How a net is laid out for a task.
fn lowered(arch: &Arch, options: &Options) -> Result<lower::Options> {
    let side = options.side.unwrap_or(arch.side);
    if options.task == Task::Predict && (options.batch.is_some() || options.side.is_some()) {
        let problem = "`task` predict judges one picture at a time, at the net's own side";
        return Err(Error::setting(problem, "leave `batch` and `side` out"));
    }
    let batch = match options.task {
        Task::Predict => 1,
        Task::Train | Task::Infer => options.batch.unwrap_or_else(|| usual_batch(arch.side, options.on_gpu)),
    };
    check_size(arch, side, batch)?;
    let training = Training { optimizer: Optimizer::Sgd, maps: false, input_grad: false, seed: 0 };
    let training = (options.task == Task::Train).then_some(training);
    Ok(lower::Options { batch, side, format: options.format, sigma: 1.2, gradient: Gradient::Grad, training })
}

/// Times tasks of one net on random images, on a GPU in each way in which a batch can be run; `peaks` are those of the device, for
/// floors.
///
/// # Errors
/// Above all [`Error::Numeric`] where results are wrong: then nothing of this net has a time.
pub fn bench(device: &Device, peaks: Option<&Peaks>, tasks: &[Options]) -> Result<Vec<Timing>> {
    if let Device::Cuda(cuda) = device {
        tasks.iter().try_for_each(|options| agreement::check(device, cuda, options))?;
    }
    let timings = tasks.iter().map(|options| timed(device, peaks, options)).collect::<Result<Vec<_>>>()?;
    Ok(timings.concat())
}

/// One task, in each way.
fn timed(device: &Device, peaks: Option<&Peaks>, options: &Options) -> Result<Vec<Timing>> {
    let mut work = Work::count(options)?;
    let ways = if options.task == Task::Predict {
        let mut latency = Latency::new(device, &options.net)?;
        vec![("", repeated(options.repeats, || latency.judge(|_, _| Ok(())))?)]
    } else {
        let mut network = prepared(device, options)?;
        let ways = match device {
            Device::Cpu => {
                let mut hyper = HYPER;
                let run = || {
                    hyper.step += 1;
                    options.task.run(&mut network, work.batch, &hyper)
                };
                vec![("", repeated(options.repeats, run)?)]
            }
            Device::Cuda(cuda) => on_a_gpu(cuda, &mut network, options)?,
        };
        let result = result(&mut network, options.task)?;
        finite(options, "the results of the last batch", &network.read(result)?)?;
        work.note(&steps(device, &mut network, options)?, peaks);
        ways
    };
    let timing = |(how, seconds): (&'static str, Vec<f64>)| Timing {
        mode: [mode(device, options).as_str(), how]
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
        how,
        threads: rayon::current_num_threads(),
        images_per_second: work.batch as f64 / quantile(&seconds, 0.5),
        seconds,
        work: work.clone(),
    };
    Ok(ways.into_iter().map(timing).collect())
}

/// Seconds of each batch in each way of a GPU, by its own clock; as many batches go before them.
fn on_a_gpu(cuda: &Arc<Cuda>, network: &mut Network<f32>, options: &Options) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let plan = 2 * options.repeats + 1;
    let mut marks = Vec::new();
    replayed(network, options.task, plan, |_| {
        marks.push(cuda.mark()?);
        Ok(())
    })?;
    let fixed = (FIXED, laps(&marks)?);
    let other = if options.task == Task::Train {
        let (losses, marks) = drawn::train(network, cuda, plan)?;
        finite(options, "the losses of drawn batches", &losses)?;
        (DRAWN, laps(&marks)?)
    } else {
        let (steps, copier) = (whole(network, options.task)?, Copier::new(cuda)?);
        let mut infer = || network.time(&steps, &HYPER, || copier.run());
        infer()?;
        (COLD, (0..options.repeats).map(|_| infer()).collect::<Result<_>>()?)
    };
    Ok(vec![fixed, other])
}

/// Runs a task so often as one replayed graph, on the batch that lies in the GPU's memory; calls `after` each launch.
fn replayed(
    network: &mut Network<f32>,
    task: Task,
    plan: usize,
    mut after: impl FnMut(&Network<f32>) -> Result<()>,
) -> Result<()> {
    let steps = whole(network, task)?;
    network.captured(&steps, &HYPER, |network, graph| {
        (0..plan).try_for_each(|_| {
            graph.launch()?;
            after(network)
        })
    })
}

/// Seconds from each mark to the next, without the first half: they warm up.
fn laps(marks: &[Mark]) -> Result<Vec<f64>> {
    let pairs = marks.windows(2).skip(marks.len() / 2);
    pairs.map(|pair| Ok(pair[1].seconds_since(&pair[0])?)).collect()
}

/// The steps of a task, in the order of running.
pub fn whole(network: &mut Network<f32>, task: Task) -> Result<Vec<Step>> {
    let batch = network.options().batch;
    Ok(costs::steps(network.plan(batch)?, task).cloned().collect())
}

/// Where the losses of a training step lie, or the scores of what was judged.
fn result(network: &mut Network<f32>, task: Task) -> Result<View> {
    let batch = network.options().batch;
    let ports = network.plan(batch)?.ports;
    Ok(ports.training.filter(|_| task == Task::Train).map_or(ports.score, |training| training.loss))
}

/// Refuses what is no number.
fn finite(options: &Options, what: &str, values: &[f32]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let problem = format!("{} {}: {what}: not all are finite numbers", options.net, options.task.word());
    Err(Error::Numeric { problem, remedy: NOT_TIMED.into() })
}

/// What is done about wrong results.
const NOT_TIMED: &str = "this net is not timed; verify tells which step is at fault";

/// What computes.
fn mode(device: &Device, options: &Options) -> String {
    format!("fcdd {} {}{}", device.name(), options.format.word(), switches(device))
}

/// What is switched on that is not the usual.
fn switches(device: &Device) -> String {
    let Device::Cuda(cuda) = device else { return String::new() };
    let on = [(" pdl", cuda.launches_ahead()), (" wgmma", cuda.has_wgmma())];
    on.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect()
}

/// Small steps, so that nothing diverges however many there are.
pub const HYPER: Hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: NORM_MOMENTUM };

/// A network laid out for a task, with a batch of random images, every other one anomalous; it has run once.
pub fn prepared(device: &Device, options: &Options) -> Result<Network<f32>> {
    let arch = baselines::any(&options.net, true)?;
    let lowered = lowered(&arch, options)?;
    let mut network = lay_out(device, &arch, lowered, &Weights::init(&arch, 0))?;
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(network.input(lowered.batch)?);
    if lowered.training.is_some() {
        let (_, labels, _) = network.training_inputs(lowered.batch)?;
        labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f32);
    }
    options.task.run(&mut network, lowered.batch, &HYPER)?; // which takes the batch to the device, too
    Ok(network)
}

/// Median seconds of each step by itself, the steps in their order. On a GPU each is timed after a copy that leaves nothing of its
/// inputs in the caches; on the CPU they are as warm as the steps before left them.
fn steps(device: &Device, network: &mut Network<f32>, options: &Options) -> Result<Vec<f64>> {
    let steps = whole(network, options.task)?;
    let copier = match device {
        Device::Cpu => None,
        Device::Cuda(cuda) => Some(Copier::new(cuda)?),
    };
    let mut laps = vec![Vec::new(); steps.len()];
    let mut run = || -> Result<()> {
        for _ in 0..options.repeats {
            for (step, laps) in steps.iter().zip(&mut laps) {
                let flush = || copier.as_ref().map_or(Ok(()), Copier::run);
                laps.push(network.time(std::slice::from_ref(step), &HYPER, flush)?);
            }
        }
        Ok(())
    };
    match device {
        Device::Cpu => run()?,
        Device::Cuda(cuda) => cuda.profiled(run)?,
    }
    Ok(laps.iter().map(|laps| quantile(laps, 0.5)).collect())
}

/// Runs once to warm up, then `repeats` times; seconds of each.
fn repeated(repeats: usize, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    run()?;
    let timed = |_| {
        let started = Instant::now();
        run()?;
        Ok(started.elapsed().as_secs_f64())
    };
    (0..repeats).map(timed).collect()
}
