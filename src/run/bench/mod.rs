//! The verb `bench`: how fast this machine trains and judges, step by step beside the floors that its own speed sets.

mod costs;
mod drawn;
mod latency;
mod peaks;

use std::time::Instant;

use serde::Serialize;

use super::layout::lay_out;
use super::settings::{check_size, word};
use crate::device::{Device, Format};
use crate::engine::lower::{self, Optimizer, Training};
use crate::engine::{Hyper, Network, Step};
use crate::error::{Error, Result};
use crate::metrics::quantile;
use crate::model::arch::{Arch, NORM_MOMENTUM};
use crate::model::{Weights, baselines};
use crate::rng::{Purpose, Stream};
use crate::steps::hsc_loss::Gradient;

pub use costs::{Cost, Work};
pub use latency::Latency;
pub use peaks::{Copier, Peaks};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
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
    pub format: Format,
    /// Timed batches or pictures; others go before them, to warm up.
    pub repeats: usize,
    /// Whether a GPU is to compute, or its work to be counted.
    pub on_gpu: bool,
}

/// Times of one net and task. `benches/peer` prints the same fields for PyTorch.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// With a time and a floor for each step, from further batches with a clock around each step; without for [`Task::Predict`].
    #[serde(flatten)]
    pub work: Work,
    /// What computes, and how.
    pub mode: String,
    pub threads: usize,
    /// Time of each batch, in the order of running.
    pub seconds: Vec<f64>,
    /// At the median time.
    pub images_per_second: f64,
}

impl Timing {
    /// The time that a share `q` of the batches does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        quantile(&self.seconds, q)
    }
}

impl Task {
    /// Runs one batch of a network that [`network`] made for this task.
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
        let problem = "--task predict judges one picture at a time, at the net's own side";
        return Err(Error::setting(problem, "leave --batch and --side out"));
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

/// Times a net on random images; `peaks` are those of the device, for floors.
pub fn bench(device: &Device, peaks: Option<&Peaks>, options: &Options) -> Result<Timing> {
    let mut work = Work::count(options)?;
    let (seconds, how) = match (options.task, device) {
        (Task::Predict, _) => {
            let mut latency = Latency::new(device, &options.net)?;
            (repeated(options.repeats, || latency.judge())?, "")
        }
        (Task::Train, Device::Cuda(cuda)) => {
            let mut network = prepared(device, options)?;
            let seconds = drawn::train(&mut network, cuda, options.repeats)?;
            work.note(&steps(device, &mut network, options)?, peaks);
            (seconds, ", batches drawn, graph")
        }
        (Task::Infer, Device::Cuda(cuda)) => {
            let mut network = prepared(device, options)?;
            let plan = network.plan(work.batch)?;
            let whole: Vec<Step> = costs::steps(plan, options.task).cloned().collect();
            let copier = Copier::new(cuda)?;
            let mut infer = || network.time(&whole, &HYPER, || copier.run());
            infer()?;
            let seconds = (0..options.repeats).map(|_| infer()).collect::<Result<_>>()?;
            drop(copier);
            work.note(&steps(device, &mut network, options)?, peaks);
            (seconds, ", inputs cold")
        }
        (Task::Train | Task::Infer, Device::Cpu) => {
            let mut network = prepared(device, options)?;
            let mut hyper = HYPER;
            let seconds = repeated(options.repeats, || {
                hyper.step += 1;
                options.task.run(&mut network, work.batch, &hyper)
            })?;
            work.note(&steps(device, &mut network, options)?, peaks);
            (seconds, "")
        }
    };
    Ok(Timing {
        mode: format!("fcdd {} {}{}{how}", device.name(), word(options.format), switches(device)),
        threads: rayon::current_num_threads(),
        images_per_second: work.batch as f64 / quantile(&seconds, 0.5),
        seconds,
        work,
    })
}

/// What is switched on that is not the usual.
fn switches(device: &Device) -> String {
    let Device::Cuda(cuda) = device else { return String::new() };
    let on = [(" pdl", cuda.launches_ahead()), (" wgmma", cuda.has_wgmma())];
    on.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect()
}

/// Small steps, so that nothing diverges however many there are.
const HYPER: Hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: NORM_MOMENTUM };

/// A network laid out for a task, with a batch of random images, every other one anomalous.
pub fn network(device: &Device, net: &str, task: Task, batch: usize, side: Option<usize>) -> Result<Network<f32>> {
    let on_gpu = matches!(device, Device::Cuda(_));
    prepared(
        device,
        &Options { net: net.to_string(), task, batch: Some(batch), side, format: Format::F32, repeats: 0, on_gpu },
    )
}

fn prepared(device: &Device, options: &Options) -> Result<Network<f32>> {
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
    let batch = network.options().batch;
    let steps: Vec<Step> = costs::steps(network.plan(batch)?, options.task).cloned().collect();
    let copier = match device {
        Device::Cpu => None,
        Device::Cuda(cuda) => Some(Copier::new(cuda)?),
    };
    let mut laps = vec![Vec::new(); steps.len()];
    for _ in 0..options.repeats {
        for (step, laps) in steps.iter().zip(&mut laps) {
            let flush = || copier.as_ref().map_or(Ok(()), Copier::run);
            laps.push(network.time(std::slice::from_ref(step), &HYPER, flush)?);
        }
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
