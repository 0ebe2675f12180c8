//! `optim_*`: parameters after each of a few training steps, under each optimizer and schedule of the manifest.

use std::collections::BTreeMap;

use super::batch::CheckBatch;
use super::check::{CheckReport, Precision};
use super::compare::{Ours, compare_all};
use super::golden::{Config, GoldenFile};
use super::nets;
use crate::device::{DType, Device};
use crate::engine::lower::{self, Optimizer, TrainingOptions};
use crate::engine::schedule::Schedule;
use crate::engine::{Hyper, Network};
use crate::error::Result;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::image_score::ImageScore;
use crate::model::weights::Layout;
use crate::model::{Arch, Weights};
use crate::real::Real;
use crate::steps::hsc_loss::Gradient;

/// Checks the file.
pub(super) fn check(file: &GoldenFile, net: &str, report: &mut CheckReport) -> Result<()> {
    let Ok(arch) = crate::model::nets::by_name(net, file.entry.bias.unwrap_or(true)) else {
        report.skip_file(file, format!("this build has no net {net}"));
        return Ok(());
    };
    let weights = nets::weights(&arch, file, ["param0", "buffer0"])?;
    let mut batches = Vec::new();
    while file.find(&format!("batch{}/input", batches.len())).is_some() {
        let i = batches.len();
        batches.push(CheckBatch::from(&arch, file, &format!("batch{i}/input"), &format!("batch{i}/labels"))?);
    }
    let Some(first) = batches.first() else { return Err(file.error("has no tensor 'batch0/input'")) };
    if batches.iter().any(|b| (b.n, b.side) != (first.n, first.side)) {
        return Err(file.error("batches of different shapes"));
    }
    for (name, config) in &file.entry.configs {
        let run = OptimizerRun { arch: &arch, weights: &weights, batches: &batches, name, file };
        let (optimizer, schedule) = settings(file, config)?;
        let mut f64s = run.values::<f64>(&Device::Cpu, config, optimizer, &schedule)?;
        compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
        let mut f32s = run.values::<f32>(report.device(), config, optimizer, &schedule)?;
        compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)?;
    }
    Ok(())
}

/// Optimizer and schedule of a configuration.
fn settings(file: &GoldenFile, config: &Config) -> Result<(Optimizer, Schedule)> {
    let optimizer = match config.opt.as_str() {
        "sgd" => Optimizer::Sgd,
        "adam" => Optimizer::Adam,
        other => return Err(file.error(format!("the manifest names the unknown optimizer '{other}'"))),
    };
    let schedule = match (config.sched.as_str(), config.sched_params.as_slice()) {
        ("lambda", &[gamma]) => Schedule::Lambda { gamma },
        ("milestones", &[gamma, ref epochs @ ..]) => {
            Schedule::Milestones { gamma, epochs: epochs.iter().map(|&e| e as u32).collect() }
        }
        (other, _) => return Err(file.error(format!("the manifest names the unknown schedule '{other}'"))),
    };
    Ok((optimizer, schedule))
}

/// One configuration's training run.
struct OptimizerRun<'a> {
    arch: &'a Arch,
    weights: &'a Weights,
    batches: &'a [CheckBatch],
    name: &'a str,
    file: &'a GoldenFile,
}

impl OptimizerRun<'_> {
    /// Trains one step per batch, each an epoch of its own; everything that the file may hold of it, by key.
    fn values<T: Real>(
        &self,
        device: &Device,
        config: &Config,
        optimizer: Optimizer,
        schedule: &Schedule,
    ) -> Result<BTreeMap<String, Ours>> {
        let (n, side) = (self.batches[0].n, self.batches[0].side);
        let training =
            Some(TrainingOptions { optimizer, maps: false, input_grad: false, seed: 0, label_score: ImageScore::Mean });
        let options = lower::PlanOptions {
            batch: n,
            side,
            dtype: DType::F32,
            sigma: 1.0,
            gradient: Gradient::Grad,
            exact: true,
            training,
        };
        let mut network = Network::<T>::on(device, self.arch, options, self.weights)?;
        let ports = network.plan(n)?.ports;
        let mut found = BTreeMap::new();
        let mut figures: [(&str, Vec<f64>); 4] =
            [("lr", vec![]), ("loss", vec![]), ("err_normal", vec![]), ("err_anomalous", vec![])];
        for (epoch, batch) in self.batches.iter().enumerate() {
            let lr = schedule.rate(config.lr, epoch as u32);
            let step = epoch as u64 + 1;
            batch.fill(&mut network)?;
            let hyper = Hyper { lr, weight_decay: config.wdk, step, norm_momentum: NORM_MOMENTUM };
            let losses = Ours::values(network.train(n, &hyper)?).values;
            let mean = |wanted: &dyn Fn(f64) -> bool| {
                let chosen =
                    losses.iter().zip(&batch.labels).filter(|&(_, &label)| wanted(label)).map(|(loss, _)| loss);
                chosen.clone().sum::<f64>() / chosen.count() as f64
            };
            let values = [lr, mean(&|_| true), mean(&|label| label == 0.0), mean(&|label| label == 1.0)];
            figures.iter_mut().zip(values).for_each(|((_, all), value)| all.push(value));
            let params = network.read(ports.params)?;
            for param in &Layout::new(self.arch).params {
                let inside = &params[param.start..param.start + param.len()];
                let outside: Vec<T> = (0..param.len()).map(|i| inside[param.inside(i)]).collect();
                found.insert(format!("{}/step{step}/param/{}", self.name, param.name), Ours::values(&outside));
            }
        }
        for (name, values) in figures {
            found.insert(format!("{}/{name}", self.name), Ours::values(&values));
        }
        // Parameters without a gradient are skipped by the optimizers: no weight decay either.
        for (norm, _) in &self.arch.unused_norms {
            for part in ["weight", "bias"].into_iter().filter(|_| self.arch.bias) {
                let kept = &self.file.get(&format!("param0/{norm}.{part}"))?.values;
                for step in 1..=self.batches.len() {
                    found.insert(format!("{}/step{step}/param/{norm}.{part}", self.name), Ours::values(kept));
                }
            }
        }
        let after = format!("{}/after/buffer", self.name);
        let mut give = |key, ours| drop(found.insert(key, ours));
        nets::buffers(self.arch, &mut network, self.file, ["buffer0", &after], &mut give)?;
        self.batches[0].fill(&mut network)?;
        network.infer(n)?;
        give(format!("{}/after/out_eval_batch0", self.name), Ours::values(&network.read(ports.output)?));
        Ok(found)
    }
}
