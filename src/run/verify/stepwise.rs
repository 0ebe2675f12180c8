//! Two devices or precisions over one plan, step by step from the same inputs.
//!
//! Every step runs twice on the same f32 numbers: in f64 on the CPU, and in f32 on what is tested. Its outputs are compared within
//! a bound from the arithmetic of that one step, what is kept in bf16 within that and the rounding to it. Then the f64 outputs, rounded
//! to what they are kept in, become inputs of the steps after it. So no
//! error is carried on, and inputs within rounding of a decision (the sign before an activation) are moved off it first: a
//! difference is the step's own.

use std::time::Instant;

use super::batch::CheckBatch;
use super::check::{Check, CheckReport};
use super::compare::{Distance, ratio, worse};
use super::convert;
use crate::device::cuda::DeviceBuffers;
use crate::device::{ByteView, DType, Device, HostBuffers, View};
use crate::engine::lower::{self, TrainingOptions};
use crate::engine::{Hyper, Network, Plan, Step};
use crate::error::Result;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::{Arch, Weights};
use crate::real::{BF16_ROUNDOFF, ROUNDOFF, Real, rounded_to_bf16};
use crate::steps::hsc_loss::Gradient;
use crate::steps::operation::Sums;

/// Hyperparameters of checked steps.
pub const HYPER: Hyper = Hyper { lr: 0.01, weight_decay: 1e-3, step: 1, norm_momentum: NORM_MOMENTUM };

/// A winner of a pool may differ where two values of a window round alike: this part of all, and two more.
const DIFFERENT_WINNERS: f64 = 1e-5;

/// Runs the steps of a plan in f32, in memory of its own.
pub enum TestedDevice {
    Cpu(HostBuffers<f32>),
    Cuda(Box<DeviceBuffers>),
}

impl TestedDevice {
    /// Memory for a plan.
    pub fn for_plan(device: &Device, plan: &Plan) -> Result<TestedDevice> {
        Ok(match device {
            Device::Cpu => TestedDevice::Cpu(plan.host_memory()),
            Device::Cuda(cuda) => TestedDevice::Cuda(Box::new(plan.cuda_memory(cuda)?)),
        })
    }

    /// Memory of the given lengths for one step; winners of a pool have as many bytes as its output.
    pub fn for_step(device: &Device, step: &Step, lengths: &[usize]) -> Result<TestedDevice> {
        let bytes: Vec<usize> =
            [step.reads().argmax, step.writes().argmax].into_iter().flatten().map(|b| b.len).collect();
        Ok(match device {
            Device::Cpu => TestedDevice::Cpu(HostBuffers::new(lengths, &bytes, step.workspace())),
            Device::Cuda(cuda) => {
                let mut reals: Vec<_> = lengths.iter().map(|&len| (len, DType::F32)).collect();
                for (_, view) in step.reads().reals.into_iter().chain(step.writes().reals) {
                    reals[view.buffer.0].1 = view.dtype;
                }
                TestedDevice::Cuda(Box::new(DeviceBuffers::new(cuda, &reals, &bytes, step.cuda_workspace())?))
            }
        })
    }

    /// `f32 on DEVICE`, for the words of a check.
    fn name(&self) -> &'static str {
        match self {
            TestedDevice::Cpu(_) => "f32",
            TestedDevice::Cuda(_) => "f32 on the GPU",
        }
    }

    fn write(&mut self, view: View, values: &[f32]) -> Result<()> {
        match self {
            TestedDevice::Cpu(memory) => memory.get_mut(view).copy_from_slice(values),
            TestedDevice::Cuda(memory) => memory.write(view, values)?,
        }
        Ok(())
    }

    fn write_bytes(&mut self, view: ByteView, values: &[u8]) -> Result<()> {
        match self {
            TestedDevice::Cpu(memory) => {
                let mut bytes = memory.take_bytes(view.buffer);
                bytes[..view.len].copy_from_slice(values);
                memory.put_bytes(view.buffer, bytes);
            }
            TestedDevice::Cuda(memory) => memory.write_bytes(view, values)?,
        }
        Ok(())
    }

    /// Reads an output.
    pub fn read(&self, view: View) -> Result<Vec<f32>> {
        match self {
            TestedDevice::Cpu(memory) => Ok(memory.get(view).to_vec()),
            TestedDevice::Cuda(memory) => {
                let mut values = vec![0.0; view.len];
                memory.read(view, &mut values)?;
                Ok(values)
            }
        }
    }

    /// Reads the winners of a pool.
    pub fn read_bytes(&self, view: ByteView) -> Result<Vec<u8>> {
        match self {
            TestedDevice::Cpu(memory) => Ok(memory.bytes(view).to_vec()),
            TestedDevice::Cuda(memory) => {
                let mut values = vec![0; view.len];
                memory.read_bytes(view, &mut values)?;
                Ok(values)
            }
        }
    }

    /// Runs a step on inputs from `source` (their values rounded to f32), with outputs that were poisoned before.
    pub fn run<T: Real>(&mut self, step: &Step, source: &HostBuffers<T>, hyper: &Hyper) -> Result<()> {
        let (reads, writes) = (step.reads(), step.writes());
        // What is not written must not pass for right.
        for &(_, view) in &writes.reals {
            self.write(view, &vec![f32::NAN; view.len])?;
        }
        if let Some(view) = writes.argmax {
            self.write_bytes(view, &vec![u8::MAX; view.len])?;
        }
        for &(_, view) in &reads.reals {
            self.write(view, &convert::of::<f32>(source.get(view)))?;
        }
        if let Some(view) = reads.argmax {
            self.write_bytes(view, source.bytes(view))?;
        }
        if let TestedDevice::Cuda(memory) = self {
            memory.begin(&[hyper.row()], 0)?;
        }
        self.again(step, hyper)
    }

    /// Runs a step on the inputs that are there, to its end.
    fn again(&mut self, step: &Step, hyper: &Hyper) -> Result<()> {
        match self {
            TestedDevice::Cpu(memory) => step.cpu(memory, hyper),
            TestedDevice::Cuda(memory) => {
                step.cuda(memory)?;
                memory.cuda().synchronize()?;
            }
        }
        Ok(())
    }

    /// Seconds that a step takes after a first run: the median of three. Steps that read what they write go on from there; their
    /// outputs are to be read before.
    pub fn time(&mut self, step: &Step, hyper: &Hyper) -> Result<f64> {
        let mut laps = [0.0; 3];
        for lap in &mut laps {
            let started = Instant::now();
            self.again(step, hyper)?;
            *lap = started.elapsed().as_secs_f64();
        }
        laps.sort_by(f64::total_cmp);
        Ok(laps[1])
    }
}

/// Compares the f32 form of every step of a net's training plan on the tested device with its f64 form on the CPU.
pub fn networks(
    name: &str,
    arch: &Arch,
    weights: &Weights,
    batch: &CheckBatch,
    dtype: DType,
    training: TrainingOptions,
    report: &mut CheckReport,
) -> Result<()> {
    let options = lower::PlanOptions {
        batch: batch.n,
        side: batch.side,
        dtype,
        sigma: 2.0,
        gradient: Gradient::Grad,
        // As a GPU does: bounds are those of what is computed.
        exact: matches!(report.device(), Device::Cuda(_)),
        training: Some(training),
    };
    let mut reference = Network::<f64>::new(arch, options, weights)?;
    batch.fill(&mut reference)?;
    let plan = reference.plan(batch.n)?.clone();
    let mut tested = TestedDevice::for_plan(report.device(), &plan)?;
    steps(name, &plan, reference.memory(), &mut tested, report)
}

/// Compares every step of a plan. `reference` holds the plan's inputs as f32 numbers.
pub fn steps(
    name: &str,
    plan: &Plan,
    reference: &mut HostBuffers<f64>,
    tested: &mut TestedDevice,
    report: &mut CheckReport,
) -> Result<()> {
    // The Gaussian of the upsampling is no f32 number.
    for (view, _) in &plan.constants {
        round(reference, *view);
    }
    for (number, next) in plan.steps().enumerate() {
        step(&format!("{name} step {number} {}", next.kind()), next, reference, tested, report)?;
    }
    Ok(())
}

/// Compares one step, from the inputs that `reference` holds as f32 numbers; leaves the reference outputs there, rounded to f32.
pub fn step(
    name: &str,
    step: &Step,
    reference: &mut HostBuffers<f64>,
    tested: &mut TestedDevice,
    report: &mut CheckReport,
) -> Result<()> {
    compare(name, step, |reference| step.cpu_unrounded(reference, &HYPER), reference, tested, report)
}

/// Compares one step with its plain formula.
pub(super) fn step_by_formula(
    name: &str,
    step: &Step,
    reference: &mut HostBuffers<f64>,
    tested: &mut TestedDevice,
    report: &mut CheckReport,
) -> Result<()> {
    compare(name, step, |reference| step.formula(reference, &HYPER), reference, tested, report)
}

fn compare(
    name: &str,
    step: &Step,
    compute: impl FnOnce(&mut HostBuffers<f64>),
    reference: &mut HostBuffers<f64>,
    tested: &mut TestedDevice,
    report: &mut CheckReport,
) -> Result<()> {
    step.settle(reference, &HYPER);
    let (reads, writes) = (step.reads(), step.writes());
    let inputs: Vec<f64> = reads.reals.iter().map(|&(_, view)| largest(reference.get(view))).collect();
    let sums: Vec<Sums> = writes.reals.iter().map(|&(output, _)| step.sums(output, &inputs, reference)).collect();
    tested.run(step, reference, &HYPER)?;
    compute(reference);
    let mut checks = Vec::new();
    for (&(output, view), sums) in writes.reals.iter().zip(sums) {
        checks.push(compared(&format!("{name} {output}"), step, tested, view, reference, sums)?);
        round(reference, view);
    }
    if let Some(view) = writes.argmax {
        let different = tested.read_bytes(view)?.iter().zip(reference.bytes(view)).filter(|(a, b)| a != b).count();
        let bound = 2.0 + DIFFERENT_WINNERS * view.len as f64;
        let detail = format!("different winners among {}", view.len);
        checks.push(Check::measured(format!("{name} argmax"), different as f64, bound, detail));
    }
    let seconds = tested.time(step, &HYPER)?;
    for check in checks {
        report.add(Check { seconds: Some(seconds), ..check });
    }
    Ok(())
}

/// An output of a step against the reference.
fn compared(
    name: &str,
    step: &Step,
    tested: &TestedDevice,
    view: View,
    reference: &HostBuffers<f64>,
    sums: Sums,
) -> Result<Check> {
    let Sums { terms, scale } = sums;
    let mut ours: Vec<f64> = convert::of(&tested.read(view)?);
    if view.dtype == DType::Bf16 {
        // A value that rounding to nearest accounts for is that of the reference.
        ours.iter_mut().zip(reference.get(view)).for_each(|(ours, &reference)| {
            let rounding = BF16_ROUNDOFF * power_of_two_below(reference.abs().max(ours.abs()));
            *ours = if (*ours - reference).abs() <= rounding {
                reference
            } else {
                *ours + rounding.copysign(reference - *ours)
            };
        });
    }
    let distance = Distance::new(&ours, reference.get(view));
    let error = ratio(distance.max_abs, worse(scale, distance.largest));
    let on_tensor_cores = matches!(tested, TestedDevice::Cuda(_)) && step.on_tensor_cores();
    let cut_off = if on_tensor_cores { cut_off(terms) } else { 0.0 };
    let bound = ROUNDOFF * (4.0 * ((terms as f64).sqrt() + 8.0) + cut_off);
    let detail = format!("{} against f64 from the same inputs, sums of {terms}", tested.name());
    Ok(Check::measured(name, error, bound, detail))
}

/// What tensor cores cut off of a sum, in units of the roundoff: each instruction takes eight (compute capability 8.x) or sixteen terms
/// and cuts the sum off, always towards zero, by up to twice what rounding is off by. So these errors grow with their number.
fn cut_off(terms: usize) -> f64 {
    2.0 * (terms as f64 / 8.0)
}

/// Rounds a view to what it is kept in.
pub fn round(memory: &mut HostBuffers<f64>, view: View) {
    memory.get_mut(view).iter_mut().for_each(|v| {
        *v = match view.dtype {
            DType::F32 => f64::from(*v as f32),
            DType::Bf16 => rounded_to_bf16(*v),
        }
    });
}

/// The power of two at a positive number or below it.
fn power_of_two_below(value: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    f64::from_bits(value.to_bits() & EXPONENT)
}

/// The largest magnitude.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| worse(v.abs(), m))
}
