//! The verb `bench`: how fast this machine trains and judges, and what the time goes to by kind of step.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use tempfile::TempDir;

use super::layout::lay_out;
use super::model::Model;
use super::score::Scorer;
use super::settings::{Settings, check_size};
use crate::data::dataset::DatasetKind;
use crate::data::images::{Images, read_picture};
use crate::data::pipeline::Preprocessing;
use crate::data::surfaces::{Surface, synthesise};
use crate::device::Device;
use crate::engine::lower::{self, Optimizer, Training};
use crate::engine::{Hyper, Network, Step};
use crate::error::{Error, Result};
use crate::metrics::quantile;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::{Weights, nets};
use crate::report::png::save_png;
use crate::rng::{Purpose, Stream};

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
    /// Images per batch; None for the size of the paper's experiments, and for [`Task::Predict`].
    pub batch: Option<usize>,
    /// Input side in pixels; None for the net's own, and for [`Task::Predict`].
    pub side: Option<usize>,
    /// Timed batches or pictures; one more goes before them.
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
    /// Time by kind of step, from further batches with a clock around each step; empty for `predict`.
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
    /// 10⁹ operations of convolutions per second; 0 for other kinds.
    pub gflops: f64,
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
            network.heatmaps(batch)?;
        }
        Ok(())
    }
}

/// Times a net on random images.
pub fn bench(device: &Device, options: &Options) -> Result<Timing> {
    let arch = nets::by_name(&options.net, true)?;
    let side = options.side.unwrap_or(arch.side);
    let paper = match arch.side {
        28 => 128,
        32 => 200,
        _ => 16,
    };
    if options.task == Task::Predict && (options.batch.is_some() || options.side.is_some()) {
        let problem = "--task predict judges one picture at a time, at the net's own side";
        return Err(Error::setting(problem, "leave --batch and --side out"));
    }
    let batch = if options.task == Task::Predict { 1 } else { options.batch.unwrap_or(paper) };
    check_size(&arch, side, batch)?;
    let (seconds, kinds) = match options.task {
        Task::Predict => {
            let mut latency = Latency::new(device, &options.net)?;
            (repeated(options.repeats, || latency.judge())?, Vec::new())
        }
        Task::Train | Task::Infer => batches(device, options, batch)?,
    };
    Ok(Timing {
        net: arch.name,
        task: options.task,
        mode: format!("fcdd {} f32", device.name()),
        threads: rayon::current_num_threads(),
        batch,
        side,
        images_per_second: batch as f64 / quantile(&seconds, 0.5),
        seconds,
        kinds,
    })
}

/// A network laid out for a task, with a batch of random images, every other one anomalous.
pub fn network(device: &Device, net: &str, task: Task, batch: usize, side: Option<usize>) -> Result<Network<f32>> {
    let arch = nets::by_name(net, true)?;
    let training = Training { optimizer: Optimizer::Sgd, maps: false, input_grad: false };
    let training = (task == Task::Train).then_some(training);
    let options = lower::Options { batch, side: side.unwrap_or(arch.side), sigma: 1.2, training };
    let mut network = lay_out(device, &arch, options, &Weights::init(&arch, 0))?;
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(network.input(batch)?);
    if training.is_some() {
        let (_, labels, _) = network.training_inputs(batch)?;
        labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f32);
    }
    Ok(network)
}

/// Times of whole batches, then by kind of step.
fn batches(device: &Device, options: &Options, batch: usize) -> Result<(Vec<f64>, Vec<Kind>)> {
    let mut network = network(device, &options.net, options.task, batch, options.side)?;
    let mut hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 0, norm_momentum: NORM_MOMENTUM };
    let seconds = repeated(options.repeats, || {
        hyper.step += 1;
        options.task.run(&mut network, batch, &hyper)
    })?;
    let plan = network.plan(batch)?.clone();
    let phases = match options.task {
        Task::Train => vec![&plan.forward, &plan.backward, &plan.update],
        Task::Infer | Task::Predict => vec![&plan.infer, &plan.upsample],
    };
    let steps: Vec<&Step> = phases.into_iter().flatten().collect();
    let mut laps = vec![Vec::new(); steps.len()];
    for _ in 0..options.repeats {
        hyper.step += 1;
        for (step, laps) in steps.iter().zip(&mut laps) {
            let started = Instant::now();
            network.run_step(step, &hyper)?;
            laps.push(started.elapsed().as_secs_f64());
        }
    }
    let mut kinds = BTreeMap::new();
    for (step, laps) in steps.iter().zip(&laps) {
        let kind = kinds.entry(step.kind()).or_insert(Kind { kind: step.kind(), steps: 0, seconds: 0.0, gflops: 0.0 });
        kind.steps += 1;
        kind.seconds += quantile(laps, 0.5);
        kind.gflops += step.flops() as f64 / 1e9;
    }
    let mut kinds: Vec<Kind> = kinds.into_values().map(|k| Kind { gflops: k.gflops / k.seconds, ..k }).collect();
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok((seconds, kinds))
}

/// Judging one picture of 640 × 640 pixels from its file.
pub struct Latency {
    scorer: Scorer,
    preprocessing: Preprocessing,
    folder: TempDir,
}

impl Latency {
    /// A net with random weights, and a picture to judge.
    pub fn new(device: &Device, net: &str) -> Result<Latency> {
        const SIDE: u32 = 640;
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let pixels = synthesise(Surface::Woven, None, SIDE as usize, 0, 0).pixels;
        let picture = image::RgbImage::from_raw(SIDE, SIDE, pixels).unwrap_or_else(|| image::RgbImage::new(SIDE, SIDE));
        save_png(folder.path().join("picture.png"), &picture)?;
        let arch = nets::by_name(net, true)?;
        let preset = Settings::preset(DatasetKind::Folder);
        let settings = Settings { net: net.to_string(), side: arch.side, ..preset };
        let picture = read_picture(&folder.path().join("picture.png"), arch.channels)?;
        let nominal = picture.resized(arch.side).into();
        let (dataset, side, channels) = (settings.dataset, arch.side, arch.channels);
        let preprocessing = Preprocessing::new(settings.pipeline, dataset, side, side, channels, &nominal)?;
        let card = Model::card(&settings, &preprocessing, 0);
        let scorer = Scorer::new(device, &Model { card, weights: Weights::init(&arch, 0) })?;
        Ok(Latency { scorer, preprocessing, folder })
    }

    /// Decodes, resizes, normalises and judges the picture.
    pub fn judge(&mut self) -> Result<()> {
        let picture: Images = read_picture(&self.folder.path().join("picture.png"), self.preprocessing.channels)?;
        self.scorer.score_batch(&picture.resized(self.preprocessing.raw_side), true, |_, _| Ok(()))
    }
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
