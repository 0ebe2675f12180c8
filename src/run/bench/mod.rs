//! The subcommand `bench`: how fast this machine trains and infers, step by step beside the floors that its own speed sets.

mod agreement;
mod costs;
mod drawn;
mod latency;
mod peaks;
mod task;
mod tiles;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::device::cuda::{Cuda, Mark};
use crate::device::{Device, View};
use crate::engine::{Hyper, Network, Step};
use crate::error::{Error, Result};
use crate::metrics::quantile;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::{Weights, baselines};
use crate::named::Named;
use crate::rng::{Purpose, Stream};

use task::lowered;

pub use costs::{Cost, Work};
pub use latency::Latency;
pub use peaks::{Copier, Peaks};
pub use task::{BenchOptions, BenchTask};
pub use tiles::{TileTiming, tiles};

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
    /// With a time and a floor for each step, from further batches with a clock around each step; without for [`BenchTask::Predict`].
    #[serde(flatten)]
    pub work: Work,
    /// What computes, and how.
    pub mode: String,
    /// [`FIXED`], [`DRAWN`] or [`COLD`]; empty on the CPU, and for [`BenchTask::Predict`].
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
    pub task: BenchTask,
    pub batch: usize,
    pub side: usize,
    pub mode: String,
    pub error: String,
}

impl Refusal {
    /// Of a task that [`bench()`] did not time.
    pub fn new(device: &Device, options: &BenchOptions, error: &Error) -> Result<Refusal> {
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

/// Times tasks of one net on random images, on a GPU in each way in which a batch can be run; `peaks` are those of the device, for
/// floors.
///
/// # Errors
/// Above all [`Error::Numeric`] where results are wrong: then nothing of this net has a time.
pub fn bench(device: &Device, peaks: Option<&Peaks>, tasks: &[BenchOptions]) -> Result<Vec<Timing>> {
    if let Device::Cuda(cuda) = device {
        tasks.iter().try_for_each(|options| agreement::check(device, cuda, options))?;
    }
    let timings = tasks.iter().map(|options| timed(device, peaks, options)).collect::<Result<Vec<_>>>()?;
    Ok(timings.concat())
}

/// One task, in each way.
fn timed(device: &Device, peaks: Option<&Peaks>, options: &BenchOptions) -> Result<Vec<Timing>> {
    let mut work = Work::count(options)?;
    let ways = if options.task == BenchTask::Predict {
        let mut latency = Latency::new(device, &options.net)?;
        vec![("", repeated(options.repeats, || latency.score(|_, _| Ok(())))?)]
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
fn on_a_gpu(
    cuda: &Arc<Cuda>,
    network: &mut Network<f32>,
    options: &BenchOptions,
) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let plan = 2 * options.repeats + 1;
    let mut marks = Vec::new();
    replayed(network, options.task, plan, |_| {
        marks.push(cuda.mark()?);
        Ok(())
    })?;
    let fixed = (FIXED, laps(&marks)?);
    let other = if options.task == BenchTask::Train {
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
    task: BenchTask,
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
pub fn whole(network: &mut Network<f32>, task: BenchTask) -> Result<Vec<Step>> {
    let batch = network.options().batch;
    Ok(costs::steps(network.plan(batch)?, task).cloned().collect())
}

/// The view of the losses of a training step, or of the scores of an inference.
fn result(network: &mut Network<f32>, task: BenchTask) -> Result<View> {
    let batch = network.options().batch;
    let ports = network.plan(batch)?.ports;
    Ok(ports.training.filter(|_| task == BenchTask::Train).map_or(ports.score, |training| training.loss))
}

/// Fails where a value is NaN or infinite.
fn finite(options: &BenchOptions, what: &str, values: &[f32]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let problem = format!("{} {}: {what}: not all are finite numbers", options.net, options.task.word());
    Err(Error::Numeric { problem, remedy: NOT_TIMED.into() })
}

/// What is done about wrong results.
const NOT_TIMED: &str = "this net is not timed; `fcdd verify` shows which step is at fault";

/// Device, data type and switches.
fn mode(device: &Device, options: &BenchOptions) -> String {
    format!("fcdd {} {}{}", device.name(), options.dtype.word(), switches(device))
}

/// What is switched on beside the defaults.
fn switches(device: &Device) -> String {
    let Device::Cuda(cuda) = device else { return String::new() };
    let on = [(" pdl", cuda.launches_ahead()), (" wgmma", cuda.has_wgmma())];
    on.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect()
}

/// Small steps, so that nothing diverges however many there are.
pub const HYPER: Hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: NORM_MOMENTUM };

/// A network laid out for a task, with a batch of random images, every other one anomalous; it has run once.
pub fn prepared(device: &Device, options: &BenchOptions) -> Result<Network<f32>> {
    let arch = baselines::any(&options.net, true)?;
    let lowered = lowered(&arch, options)?;
    let mut network = Network::on(device, &arch, lowered, &Weights::init(&arch, 0))?;
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
fn steps(device: &Device, network: &mut Network<f32>, options: &BenchOptions) -> Result<Vec<f64>> {
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
