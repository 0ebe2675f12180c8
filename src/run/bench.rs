//! The verb `bench`: how fast this machine trains and judges, and what the time goes to by kind of step.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::engine::lower::{self, Optimizer, Training};
use crate::engine::{Hyper, Network, Step};
use crate::error::Result;
use crate::model::{Weights, nets};
use crate::rng::{Purpose, Stream};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Forward, backward and update of one batch
    Train,
    /// Scores and heatmaps of one batch
    Infer,
}

/// What to time.
#[derive(Clone, Debug)]
pub struct Options {
    pub net: String,
    pub task: Task,
    /// Images per batch; None for the size of the paper's experiments.
    pub batch: Option<usize>,
    /// Input side in pixels; None for the net's own.
    pub side: Option<usize>,
    /// Timed batches; one more goes before them.
    pub repeats: usize,
}

/// Times of one net and task. `benches/peer/peer.py` prints the same fields for PyTorch.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    pub net: String,
    pub task: Task,
    /// What computes, and how.
    pub mode: String,
    pub threads: usize,
    pub batch: usize,
    pub side: usize,
    /// Wall time of each batch, in the order of running.
    pub seconds: Vec<f64>,
    /// At the median time.
    pub images_per_second: f64,
    /// Convolutions alone, 10⁹ per second at the median time.
    pub gflops: f64,
    /// Share of the time by kind of step, from further batches with a clock around each step.
    pub kinds: Vec<Kind>,
}

/// What one kind of step takes.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    pub kind: &'static str,
    /// Steps of this kind in a batch.
    pub steps: usize,
    /// Median over the batches.
    pub seconds: f64,
    pub gflops: f64,
}

/// Batch sizes of the paper's experiments, by the net's input side.
fn paper_batch(side: usize) -> usize {
    match side {
        28 => 128,
        32 => 200,
        _ => 16,
    }
}

/// Times a net on random images.
pub fn bench(options: &Options) -> Result<Timing> {
    let arch = nets::by_name(&options.net, true)?;
    let (batch, side) = (options.batch.unwrap_or(paper_batch(arch.side)), options.side.unwrap_or(arch.side));
    let training = Training { optimizer: Optimizer::Sgd, maps: false, input_grad: false };
    let training = (options.task == Task::Train).then_some(training);
    let lowering = lower::Options { batch, side, sigma: 1.2, training };
    let mut network = Network::<f32>::new(&arch, lowering, &Weights::init(&arch, 0))?;
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(network.input(batch)?);
    if training.is_some() {
        let (_, labels, _) = network.training_inputs(batch)?;
        labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f32);
    }
    let mut step = 0;
    let mut hyper = || {
        step += 1;
        Hyper { lr: 1e-3, weight_decay: 1e-6, step, norm_momentum: 0.1 }
    };
    let mut run = |network: &mut Network<f32>| -> Result<f64> {
        let started = Instant::now();
        match options.task {
            Task::Train => drop(network.train(batch, &hyper())?),
            Task::Infer => {
                network.infer(batch)?;
                network.heatmaps(batch)?;
            }
        }
        Ok(started.elapsed().as_secs_f64())
    };
    run(&mut network)?;
    let seconds = (0..options.repeats).map(|_| run(&mut network)).collect::<Result<Vec<_>>>()?;

    let plan = network.plan(batch)?.clone();
    let phases = match options.task {
        Task::Train => vec![&plan.forward, &plan.backward, &plan.update],
        Task::Infer => vec![&plan.infer, &plan.upsample],
    };
    let steps: Vec<&Step> = phases.into_iter().flatten().collect();
    let mut laps = vec![Vec::new(); steps.len()];
    for _ in 0..options.repeats {
        let hyper = hyper();
        for (step, laps) in steps.iter().zip(&mut laps) {
            let started = Instant::now();
            step.cpu(network.memory(), &hyper);
            laps.push(started.elapsed().as_secs_f64());
        }
    }
    let mut kinds = BTreeMap::new();
    for (step, laps) in steps.iter().zip(&laps) {
        let kind = kinds.entry(step.kind()).or_insert(Kind { kind: step.kind(), steps: 0, seconds: 0.0, gflops: 0.0 });
        kind.steps += 1;
        kind.seconds += median(laps);
        kind.gflops += step.flops() as f64 / 1e9;
    }
    let mut kinds: Vec<Kind> = kinds.into_values().map(|k| Kind { gflops: k.gflops / k.seconds, ..k }).collect();
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let (time, flops) = (median(&seconds), steps.iter().map(|s| s.flops()).sum::<u64>());
    Ok(Timing {
        net: arch.name,
        task: options.task,
        mode: "fcdd cpu f32".to_string(),
        threads: rayon::current_num_threads(),
        batch,
        side,
        seconds,
        images_per_second: batch as f64 / time,
        gflops: flops as f64 / 1e9 / time,
        kinds,
    })
}

/// The middle value, the upper one of two; 0 without values.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
