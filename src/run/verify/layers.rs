//! Every step of every net on the verified device, at the shapes of the net's own layers, against the CPU in f64.
//!
//! Convolutions are checked against the plain formula, larger ones on fewer pixels; the steps between them run at full size.

use std::collections::BTreeSet;

use super::batch::noise;
use super::check::{Check, CheckReport};
use super::convert;
use super::stepwise::{self, HYPER, TestedDevice};
use crate::device::{DType, HostBuffers, View};
use crate::engine::lower::{self, Optimizer, TrainingOptions, lower};
use crate::engine::{Plan, Step};
use crate::error::{Error, Result};
use crate::model::{Objective, baselines, nets};
use crate::steps::activation;
use crate::steps::conv::{ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad, reference};
use crate::steps::hsc_loss::Gradient;
use crate::steps::norm::{self, Affine, Norm, Stats};
use crate::steps::operation::Sums;

/// Products per pass that the plain convolutions are given; larger layers run on fewer pixels.
const PRODUCTS: usize = 1 << 24;

/// Nets with more parameters are left out, the baselines' VGGs: their fully connected layers take gigabytes, and their other steps are
/// of kinds that smaller nets have.
const MOST_PARAMETERS: usize = 1 << 25;

/// A nominal and an anomalous image.
const BATCH: usize = 2;

/// Checks each step once that differs from those before.
pub(super) fn check(report: &mut CheckReport) -> Result<()> {
    let mut seen = BTreeSet::new();
    for net in nets::names().into_iter().chain(baselines::names()) {
        let arch = baselines::any(&net, true)?;
        if arch.parameters() > MOST_PARAMETERS {
            continue;
        }
        for (optimizer, maps, gradient) in
            [(Optimizer::Sgd, false, Gradient::Grad), (Optimizer::Adam, true, Gradient::Xgrad)]
        {
            let maps = maps && arch.objective == Objective::Fcdd;
            let training = Some(TrainingOptions { optimizer, maps, input_grad: true, seed: 1 });
            let dtype = DType::F32;
            let options = lower::PlanOptions { batch: BATCH, side: arch.side, dtype, sigma: 2.0, gradient, training };
            let plan = lower(&arch, &options)?;
            Walk { name: &net, plan: &plan, seen: &mut seen }.run(report)?;
        }
    }
    Ok(())
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
        let mut exact = plan.buffers.host::<f64>(plan.workspace());
        prepare(plan, &mut exact);
        let mut tested = TestedDevice::for_plan(report.device(), plan)?;
        for (number, step) in plan.steps().enumerate() {
            let new = self.seen.insert(step.signature());
            if let Step::ConvFprop(Fprop { geometry, .. })
            | Step::ConvDgrad(Dgrad { geometry, .. })
            | Step::ConvWgrad(Wgrad { geometry, .. }) = step
            {
                if new {
                    convolution(self.name, step, geometry, report)?;
                }
                let stats = if let Step::ConvFprop(fprop) = step { fprop.stats } else { None };
                let outputs = step.writes().reals.into_iter().map(|(_, view)| view);
                for view in outputs.take(if stats.is_some() { 1 } else { usize::MAX }) {
                    exact.get_mut(view).copy_from_slice(&noise(number as u32, view.len));
                }
                // Those of the noise, which the steps behind normalise.
                if let Some(stats) = stats {
                    stats.cpu(&mut exact, HYPER.norm_momentum);
                    for view in [stats.mean, stats.var] {
                        stepwise::round(&mut exact, view);
                    }
                }
            } else if new {
                let name = format!("{} {}", self.name, step.describe());
                stepwise::step(&name, step, &mut exact, &mut tested, report)?;
            } else {
                step.cpu(&mut exact, &HYPER);
            }
        }
        Ok(())
    }
}

/// Fills what no step writes: parameters and constants with noise or what they are, every other image anomalous, with its upper half
/// marked.
fn prepare(plan: &Plan, exact: &mut HostBuffers<f64>) {
    let ports = plan.ports;
    exact.get_mut(ports.params).copy_from_slice(&noise(0, ports.params.len));
    exact.get_mut(ports.input).copy_from_slice(&noise(1, ports.input.len));
    exact.get_mut(ports.output).copy_from_slice(&noise(2, ports.output.len));
    for (view, values) in &plan.constants {
        exact.get_mut(*view).copy_from_slice(&convert::of::<f64>(&convert::of::<f32>(values)));
    }
    let Some(training) = ports.training else { return };
    exact.get_mut(training.labels).iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f64);
    if let Some(maps) = training.maps {
        let pixels = maps.len / plan.batch;
        exact.get_mut(maps)[pixels..pixels + pixels / 2].fill(1.0);
    }
}

/// One pass of a convolution on the verified device against the plain formula, on as many pixels as the plain formula can afford.
fn convolution(net: &str, step: &Step, full: &ConvGeometry, report: &mut CheckReport) -> Result<()> {
    let pixels = (PRODUCTS / full.w_len()).clamp(1, full.h * full.w);
    let side = ((pixels as f64).sqrt() as usize).max(full.side).min(full.h);
    let g = ConvGeometry { n: 1, h: side, w: side, ..*full };
    let lengths = [g.x_len(), g.w_len(), g.k, g.y_len(), g.w_len() + g.k, 2 * g.k, 2 * g.k, 4 * g.k];
    let view = |buffer: usize| View::of(buffer, lengths[buffer]);
    let [x, w, b, y, grads, batch, running, fixed] = std::array::from_fn(view);
    let [dw, db] = [View { len: g.w_len(), ..grads }, View { start: g.w_len(), len: g.k, ..grads }];
    let [mean, running_mean] = [batch, running].map(|view| View { len: g.k, ..view });
    let [var, running_var] = [batch, running].map(|view| View { start: g.k, len: g.k, ..view });
    let stats = Stats { x: y, c: g.k, bias: None, mean, var, running_mean, running_var };
    let quarter = |i: usize| View { start: i * g.k, len: g.k, ..fixed };
    let fixed_norm = |norm: Norm| Norm {
        mean: quarter(0),
        var: quarter(1),
        affine: norm.affine.map(|_| Affine { gamma: quarter(2), beta: quarter(3) }),
        ..norm
    };
    let (step, terms) = if let Step::ConvDgrad(_) = step {
        (Step::ConvDgrad(Dgrad { geometry: g, dy: y, w, dx: x }), g.taps() / g.c * g.k)
    } else if let Step::ConvWgrad(s) = step {
        (Step::ConvWgrad(Wgrad { geometry: g, x, dy: y, dw, db: s.db.map(|_| db) }), g.pixels())
    } else if let Step::ConvFprop(s) = step {
        let (b, stats) = (s.b.map(|_| b), s.stats.map(|_| stats));
        let epilogue = Epilogue { norm: s.epilogue.norm.map(fixed_norm), ..s.epilogue };
        (Step::ConvFprop(Fprop { geometry: g, x, w, b, y, stats, epilogue }), g.taps())
    } else {
        return Err(Error::internal(format!("{} is no convolution", step.kind())));
    };
    let mut exact = HostBuffers::<f64>::new(&lengths, &[], step.workspace());
    for (i, view) in [x, w, b, y, fixed].into_iter().enumerate() {
        exact.get_mut(view).copy_from_slice(&noise(i as u32, view.len));
    }
    exact.get_mut(quarter(1)).iter_mut().for_each(|var| *var = f64::from((0.5 + var.abs()) as f32));
    let mut tested = TestedDevice::for_step(report.device(), &step, &lengths)?;
    tested.run(&step, &exact, &HYPER)?;
    let (xs, ws, dys) = (exact.get(x).to_vec(), exact.get(w).to_vec(), exact.get(y).to_vec());
    let bias = exact.get(b).to_vec();
    if let Step::ConvFprop(s) = &step {
        reference::fprop(&g, &xs, &ws, s.b.map(|_| bias.as_slice()), exact.get_mut(y));
        if let Some(norm) = s.epilogue.norm {
            let [mean, var, gamma, beta] = std::array::from_fn(|i| exact.get(quarter(i)).to_vec());
            let (affine, x) = (norm.affine.map(|_| (&gamma[..], &beta[..])), exact.get(y).to_vec());
            norm::forward(&x, &mean, &var, affine, norm.eps, exact.get_mut(y));
        }
        activation::forward(s.epilogue.activation, exact.get_mut(y));
        if let Some(stats) = s.stats {
            stats.cpu(&mut exact, HYPER.norm_momentum);
        }
    } else if let Step::ConvDgrad(_) = &step {
        reference::dgrad(&g, &dys, &ws, exact.get_mut(x));
    } else if let Step::ConvWgrad(s) = &step {
        reference::wgrad(&g, &xs, &dys, exact.get_mut(dw));
        if s.db.is_some() {
            reference::bias_grad(&g, &dys, exact.get_mut(db));
        }
    }
    let mut checks = Vec::new();
    for (output, view) in step.writes().reals {
        let name = format!(
            "{net} {} {}x{} {}→{} stride {} at {side} of {} {output}",
            step.kind(),
            g.side,
            g.side,
            g.c,
            g.k,
            g.stride,
            full.h
        );
        // Statistics may cancel: they are as exact as the operands, whose largest values are about 1.
        let scale = if output == "y" || !matches!(step, Step::ConvFprop(_)) { 0.0 } else { 1.0 };
        checks.push(stepwise::compared(&name, &step, &tested, view, &exact, Sums { terms, scale })?);
    }
    let seconds = Some(tested.time(&step, &HYPER)?);
    for check in checks {
        report.add(Check { seconds, ..check });
    }
    Ok(())
}
