//! Every step of every net on the verified device, at the shapes of the net's own layers, against the CPU in f64.
//!
//! Steps whose plain formula takes long, such as convolutions, are checked against it on fewer pixels; the others run at full size.

use std::collections::BTreeSet;

use super::batch::noise;
use super::check::CheckReport;
use super::convert;
use super::stepwise::{self, HYPER, TestedDevice};
use crate::device::{DType, Device, HostBuffers};
use crate::engine::lower::{self, Optimizer, TrainingOptions, lower};
use crate::engine::{Plan, Step};
use crate::error::Result;
use crate::model::image_score::ImageScore;
use crate::model::{Objective, baselines, nets};
use crate::steps::hsc_loss::Gradient;

/// Products that a plain formula is given.
const PRODUCTS: usize = 1 << 24;

/// Nets with more parameters are left out, the baselines' VGGs: their fully connected layers take gigabytes, and their other steps are
/// of kinds that smaller nets have.
const MOST_PARAMETERS: usize = 1 << 25;

/// A normal and an anomalous image.
const BATCH: usize = 2;

/// Checks each step once that differs from those before.
pub(super) fn check(report: &mut CheckReport) -> Result<()> {
    let mut seen = BTreeSet::new();
    for net in nets::names().into_iter().chain(baselines::names()) {
        let arch = baselines::any(&net, true)?;
        if arch.parameters() > MOST_PARAMETERS {
            continue;
        }
        let plans = [(Optimizer::Sgd, false, Gradient::Grad), (Optimizer::Adam, true, Gradient::Xgrad)];
        let algorithms = algorithms(report.device());
        let plans = plans.into_iter().flat_map(|plan| algorithms.iter().map(move |&exact| (plan, exact)));
        for ((optimizer, maps, gradient), exact) in plans {
            let maps = maps && arch.objective == Objective::Fcdd;
            let training =
                Some(TrainingOptions { optimizer, maps, input_grad: true, seed: 1, label_score: ImageScore::Mean });
            let dtype = DType::F32;
            let options =
                lower::PlanOptions { batch: BATCH, side: arch.side, dtype, sigma: 2.0, gradient, exact, training };
            let plan = lower(&arch, &options)?;
            Walk { name: &net, plan: &plan, seen: &mut seen }.run(report)?;
        }
    }
    Ok(())
}

/// Whether to take all products: a GPU does in any case, the CPU may do without.
fn algorithms(device: &Device) -> &'static [bool] {
    match device {
        Device::Cpu => &[false, true],
        Device::Cuda(_) => &[true],
    }
}

/// The steps of one plan in turn.
struct Walk<'a> {
    name: &'a str,
    plan: &'a Plan,
    /// What was checked before, in this plan or in another.
    seen: &'a mut BTreeSet<String>,
}

impl Walk<'_> {
    fn run(&mut self, report: &mut CheckReport) -> Result<()> {
        let plan = self.plan;
        if plan.steps().all(|step| self.seen.contains(&step.signature())) {
            return Ok(());
        }
        let mut reference = plan.host_memory::<f64>();
        prepare(plan, &mut reference);
        let mut tested = TestedDevice::for_plan(report.device(), plan)?;
        for (number, step) in plan.steps().enumerate() {
            let new = self.seen.insert(step.signature());
            if let Some((sample, lengths)) = step.sample(PRODUCTS) {
                if new {
                    by_formula(self.name, step, &sample, &lengths, report)?;
                }
                // At full size it would take long: what follows gets made-up values.
                let (reads, writes) = (step.reads().reals, step.writes().reals);
                for &(_, view) in writes.iter().filter(|written| !reads.iter().any(|(_, read)| *read == written.1)) {
                    reference.get_mut(view).copy_from_slice(&noise(number as u32, view.len));
                }
                step.complete(&mut reference, &HYPER);
                writes.iter().for_each(|&(_, view)| stepwise::round(&mut reference, view));
            } else if new {
                let name = format!("{} {}", self.name, step.describe());
                stepwise::step(&name, step, &mut reference, &mut tested, report)?;
            } else {
                step.cpu(&mut reference, &HYPER);
            }
        }
        Ok(())
    }
}

/// Fills what no step writes: parameters and constants with noise or what they are, every other image anomalous, with its upper half
/// marked.
fn prepare(plan: &Plan, reference: &mut HostBuffers<f64>) {
    let ports = plan.ports;
    reference.get_mut(ports.params).copy_from_slice(&noise(0, ports.params.len));
    reference.get_mut(ports.input).copy_from_slice(&noise(1, ports.input.len));
    reference.get_mut(ports.output).copy_from_slice(&noise(2, ports.output.len));
    for (view, values) in &plan.constants {
        reference.get_mut(*view).copy_from_slice(&convert::of::<f64>(&convert::of::<f32>(values)));
    }
    let Some(training) = ports.training else { return };
    reference.get_mut(training.labels).iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f64);
    if let Some(maps) = training.maps {
        let pixels = maps.len / plan.batch;
        reference.get_mut(maps)[pixels..pixels + pixels / 2].fill(1.0);
    }
}

/// A sample of a step on the verified device against its plain formula.
fn by_formula(net: &str, step: &Step, sample: &Step, lengths: &[usize], report: &mut CheckReport) -> Result<()> {
    let mut reference = HostBuffers::<f64>::new(lengths, &[], sample.workspace());
    for (i, &(name, view)) in sample.reads().reals.iter().enumerate() {
        let values = reference.get_mut(view);
        values.copy_from_slice(&noise(i as u32, view.len));
        if name.ends_with("var") {
            values.iter_mut().for_each(|var| *var = f64::from((0.5 + var.abs()) as f32));
        }
    }
    let mut tested = TestedDevice::for_step(report.device(), sample, lengths)?;
    let name = format!("{net} {} {}, sampled as {}", step.kind(), step.shape(), sample.shape());
    stepwise::step_by_formula(&name, sample, &mut reference, &mut tested, report)
}
