//! Two devices or precisions over one plan, step by step from the same inputs.
//!
//! Every step runs twice on the same f32 numbers: in f64 on the CPU, and in f32 on what is tested. Its outputs are compared within
//! a bound from the arithmetic of that one step. Then the f64 outputs, rounded to f32, become inputs of the steps after it. So no
//! error is carried on, and inputs within rounding of a decision (the sign before an activation) are moved off it first: a
//! difference is the step's own.

use super::compare::{Distance, ratio, worse};
use super::nets::Batch;
use super::{Check, Report, plain};
use crate::device::{ByteView, Host, View};
use crate::engine::lower::{self, Training};
use crate::engine::{Hyper, Network, Plan, Step};
use crate::error::Result;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::{Arch, Weights};
use crate::steps::norm_act_pool::NormActPoolBackward;

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// A winner of a pool may differ where two values of a window round alike: this part of all, and two more.
const DIFFERENT_WINNERS: f64 = 1e-5;

/// What runs the steps of a plan in f32 in memory of its own.
pub trait Tested {
    /// Writes inputs.
    fn write(&mut self, view: View, values: &[f32]);
    /// Writes the winners of a pool.
    fn write_bytes(&mut self, view: ByteView, values: &[u8]);
    /// Runs a step.
    fn run(&mut self, step: &Step, hyper: &Hyper) -> Result<()>;
    /// Reads outputs.
    fn read(&mut self, view: View) -> Vec<f32>;
    /// Reads the winners of a pool.
    fn read_bytes(&mut self, view: ByteView) -> Vec<u8>;
}

impl Tested for Host<f32> {
    fn write(&mut self, view: View, values: &[f32]) {
        self.get_mut(view).copy_from_slice(values);
    }

    fn write_bytes(&mut self, view: ByteView, values: &[u8]) {
        let mut bytes = self.take_bytes(view.buffer);
        bytes[..view.len].copy_from_slice(values);
        self.put_bytes(view.buffer, bytes);
    }

    fn run(&mut self, step: &Step, hyper: &Hyper) -> Result<()> {
        step.cpu(self, hyper);
        Ok(())
    }

    fn read(&mut self, view: View) -> Vec<f32> {
        self.get(view).to_vec()
    }

    fn read_bytes(&mut self, view: ByteView) -> Vec<u8> {
        self.bytes(view).to_vec()
    }
}

/// Compares the f32 form of every step of a net's training plan on the CPU with its f64 form.
pub fn networks(
    name: &str,
    arch: &Arch,
    weights: &Weights,
    batch: &Batch,
    training: Training,
    report: &mut Report,
) -> Result<()> {
    let options = lower::Options { batch: batch.n, side: batch.side, sigma: 2.0, training: Some(training) };
    let mut exact = Network::<f64>::new(arch, options, weights)?;
    let mut tested = Network::<f32>::new(arch, options, weights)?;
    batch.fill(&mut exact)?;
    let plan = exact.plan(batch.n)?.clone();
    steps(name, &plan, exact.memory(), tested.memory(), report)
}

/// Compares every step of a plan. `exact` holds the plan's inputs as f32 numbers.
pub fn steps(
    name: &str,
    plan: &Plan,
    exact: &mut Host<f64>,
    tested: &mut dyn Tested,
    report: &mut Report,
) -> Result<()> {
    let hyper = Hyper { lr: 0.01, weight_decay: 1e-3, step: 1, norm_momentum: NORM_MOMENTUM };
    for (number, step) in plan.steps().enumerate() {
        if let Step::NormActPoolBackward(step) = step {
            leave_decisions(step, exact);
        }
        let (reads, writes) = (step.reads(), step.writes());
        // What is not written must not pass for right.
        for &(_, view) in &writes.reals {
            tested.write(view, &vec![f32::NAN; view.len]);
        }
        for &(_, view) in &reads.reals {
            tested.write(view, &plain::of::<f32>(exact.get(view)));
        }
        if let Some(view) = reads.argmax {
            tested.write_bytes(view, exact.bytes(view));
        }
        let inputs: Vec<f64> = reads.reals.iter().map(|&(_, view)| largest(exact.get(view))).collect();
        step.cpu(exact, &hyper);
        tested.run(step, &hyper)?;
        for &(output, view) in &writes.reals {
            let ours: Vec<f64> = plain::of(&tested.read(view));
            let distance = Distance::new(&ours, exact.get(view));
            let (length, scale) = sum(step, output, &inputs);
            let error = ratio(distance.max_abs, worse(scale, distance.largest));
            let bound = 4.0 * ROUNDOFF * ((length as f64).sqrt() + 8.0);
            let detail = format!("f32 against f64 from the same inputs, sums of {length}");
            report.add(Check::measured(format!("{name} step {number} {} {output}", step.kind()), error, bound, detail));
            let rounded: Vec<f64> = plain::of(&plain::of::<f32>(exact.get(view)));
            exact.get_mut(view).copy_from_slice(&rounded);
        }
        if let Some(view) = writes.argmax {
            let different = tested.read_bytes(view).iter().zip(exact.bytes(view)).filter(|(a, b)| a != b).count();
            let bound = 2.0 + DIFFERENT_WINNERS * view.len as f64;
            let detail = format!("different winners among {}", view.len);
            let name = format!("{name} step {number} {} argmax", step.kind());
            report.add(Check::measured(name, different as f64, bound, detail));
        }
    }
    Ok(())
}

/// How many terms a value of an output sums, and what its rounding errors are relative to, if that is larger than the output: the
/// rounding errors of a sum of n terms of either sign grow like √n times the sum's own size.
fn sum(step: &Step, output: &str, inputs: &[f64]) -> (usize, f64) {
    match step {
        Step::ConvFprop(s) => (s.geometry.taps(), 0.0),
        Step::ConvDgrad(s) => (s.geometry.taps() / s.geometry.c * s.geometry.k, 0.0),
        Step::ConvWgrad(s) => (s.geometry.pixels(), 0.0),
        // A mean may cancel: it is as exact as the values are large.
        Step::NormStats(s) => (s.x.len / s.c, if output.ends_with("mean") { inputs[2] } else { 0.0 }),
        Step::NormActPool(_) => (1, 0.0),
        Step::NormActPoolBackward(s) => (s.pool.n * s.pool.h * s.pool.w, 0.0),
        Step::PseudoHuber(s) => (s.z.len / s.score.len, 0.0),
        Step::LabelLoss(s) => (s.z.len / s.loss.len, 0.0),
        Step::MapLoss(s) => (s.a.len / s.loss.len, 0.0),
        Step::Upsample(s) => (s.u * s.u, 0.0),
        Step::UpsampleAdjoint(s) => (s.taps.side() * s.taps.side(), 0.0),
        Step::PseudoHuberBackward(_) | Step::Sgd(_) | Step::Adam(_) => (1, 0.0),
    }
}

/// The largest magnitude.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| worse(v.abs(), m))
}

/// Moves inputs of an activation whose sign is within rounding to the side that it says.
fn leave_decisions(step: &NormActPoolBackward, memory: &mut Host<f64>) {
    let Some(norm) = step.norm else { return };
    let mut x = memory.take(step.x.buffer);
    let (mean, var) = (memory.get(norm.mean), memory.get(norm.var));
    let affine = norm.affine.map(|a| (memory.get(a.gamma), memory.get(a.beta)));
    for (i, x) in x[step.x.range()].iter_mut().enumerate() {
        let c = i % step.pool.c;
        let (gamma, beta) = affine.map_or((1.0, 0.0), |(gamma, beta)| (gamma[c], beta[c]));
        let scale = gamma / (var[c] + norm.eps).sqrt();
        let shift = beta - mean[c] * scale;
        let size = (scale * *x).abs() + (mean[c] * scale).abs() + beta.abs();
        let value = scale * *x + shift;
        if value.abs() <= 8.0 * ROUNDOFF * size && scale != 0.0 {
            let away = if (value > 0.0) == (scale > 0.0) { 1.0 } else { -1.0 };
            *x = f64::from((*x + away * 32.0 * ROUNDOFF * size / scale.abs()) as f32);
        }
    }
    memory.put(step.x.buffer, x);
}
