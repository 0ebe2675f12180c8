//! A net in memory: its plans and its numbers, ready to train and to judge.

use super::lower::{Options, lower};
use super::plan::{Hyper, Plan, Ports, Step, TrainingPorts};
use crate::device::Host;
use crate::error::{Error, Result};
use crate::model::{Arch, Weights};
use crate::real::Real;

/// Input, labels and, for the map loss, maps of a batch.
pub type TrainingInputs<'a, T> = (&'a mut [T], &'a mut [T], Option<&'a mut [T]>);

/// A net on the CPU, in f32 for work and f64 for proof.
pub struct Network<T> {
    arch: Arch,
    options: Options,
    /// The plan of the full batch first, then one per smaller batch met.
    plans: Vec<Plan>,
    memory: Host<T>,
    batches: u64,
}

impl<T: Real> Network<T> {
    /// Lays out memory for batches of up to `options.batch` images and loads the weights.
    pub fn new(arch: &Arch, options: Options, weights: &Weights) -> Result<Network<T>> {
        let plan = lower(arch, &options)?;
        let memory = Host::new(&plan.buffers.reals, &plan.buffers.bytes, plan.workspace());
        let mut network = Network { arch: arch.clone(), options, plans: vec![plan], memory, batches: 0 };
        network.set_weights(weights);
        Ok(network)
    }

    /// Replaces parameters and running statistics.
    pub fn set_weights(&mut self, weights: &Weights) {
        let Ports { params, stats, .. } = self.plans[0].ports;
        let copy = |to: &mut [T], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f64::from(f)));
        };
        copy(self.memory.get_mut(params), &weights.params);
        copy(self.memory.get_mut(stats), &weights.stats);
        self.batches = weights.batches;
    }

    /// The present parameters and running statistics, rounded to f32.
    pub fn weights(&self) -> Weights {
        let Ports { params, stats, .. } = self.plans[0].ports;
        let copy = |from: &[T]| from.iter().map(|v| v.f64() as f32).collect();
        Weights { params: copy(self.memory.get(params)), stats: copy(self.memory.get(stats)), batches: self.batches }
    }

    /// What the network was laid out for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The memory, for reading and filling ports.
    pub fn memory(&mut self) -> &mut Host<T> {
        &mut self.memory
    }

    /// The plan for a batch of `n` images, lowered the first time it is asked for.
    ///
    /// # Errors
    /// If memory was laid out for smaller batches, if `n` is zero, or if the net cannot be lowered.
    pub fn plan(&mut self, n: usize) -> Result<&Plan> {
        let index = self.plan_index(n)?;
        Ok(&self.plans[index])
    }

    fn plan_index(&mut self, n: usize) -> Result<usize> {
        if let Some(index) = self.plans.iter().position(|p| p.batch == n) {
            return Ok(index);
        }
        if n == 0 || n > self.options.batch {
            return Err(Error::setting(
                format!("a batch of {n} images does not fit a network laid out for 1 to {}", self.options.batch),
                "use a smaller batch",
            ));
        }
        self.plans.push(lower(&self.arch, &Options { batch: n, ..self.options })?);
        Ok(self.plans.len() - 1)
    }

    /// Input, labels and, for the map loss, maps of a batch of `n` images: to be filled before [`Network::train`].
    pub fn training_inputs(&mut self, n: usize) -> Result<TrainingInputs<'_, T>> {
        let ports = self.plan(n)?.ports;
        let TrainingPorts { labels, maps, .. } = training_ports(&ports)?;
        let disjoint = || Error::setting("the plan's inputs overlap", "please report this as a bug");
        match maps {
            Some(maps) => {
                let views = [ports.input, labels, maps];
                let [input, labels, maps] = self.memory.get_many_mut(views).ok_or_else(disjoint)?;
                Ok((input, labels, Some(maps)))
            }
            None => {
                let [input, labels] = self.memory.get_many_mut([ports.input, labels]).ok_or_else(disjoint)?;
                Ok((input, labels, None))
            }
        }
    }

    /// Input of a batch of `n` images, to be filled before [`Network::infer`].
    pub fn input(&mut self, n: usize) -> Result<&mut [T]> {
        let view = self.plan(n)?.ports.input;
        Ok(self.memory.get_mut(view))
    }

    /// One training step on the `n` images that were filled in; returns each image's loss.
    pub fn train(&mut self, n: usize, hyper: &Hyper) -> Result<&[T]> {
        self.forward(n, hyper)?;
        self.backward(n)?;
        self.run(n, hyper, |plan| &plan.update)?;
        let ports = self.plan(n)?.ports;
        Ok(self.memory.get(training_ports(&ports)?.loss))
    }

    /// The forward pass in training mode: batch statistics, running statistics updated.
    pub fn forward(&mut self, n: usize, hyper: &Hyper) -> Result<()> {
        self.run(n, hyper, |plan| &plan.forward)?;
        self.batches += 1;
        Ok(())
    }

    /// Losses and gradients of the batch that [`Network::forward`] ran on.
    pub fn backward(&mut self, n: usize) -> Result<()> {
        self.run(n, &IDLE, |plan| &plan.backward)
    }

    /// Evaluation mode on the `n` images that were filled in: anomaly maps [n, u, u] and image scores \[n\].
    pub fn infer(&mut self, n: usize) -> Result<(&[T], &[T])> {
        self.run(n, &IDLE, |plan| &plan.infer)?;
        let ports = self.plan(n)?.ports;
        Ok((self.memory.get(ports.anomaly), self.memory.get(ports.score)))
    }

    /// Heatmaps [n, side, side] of the anomaly maps that [`Network::infer`] left.
    pub fn heatmaps(&mut self, n: usize) -> Result<&[T]> {
        self.run(n, &IDLE, |plan| &plan.upsample)?;
        let view = self.plan(n)?.ports.heatmap;
        Ok(self.memory.get(view))
    }

    /// The optimizer's state, as long as [`Network::set_moments`] wants it.
    pub fn moments(&self) -> Result<&[T]> {
        let view = training_ports(&self.plans[0].ports)?.moments;
        Ok(self.memory.get(view))
    }

    /// Replaces the optimizer's state.
    pub fn set_moments(&mut self, moments: &[T]) -> Result<()> {
        let view = training_ports(&self.plans[0].ports)?.moments;
        if moments.len() != view.len {
            return Err(Error::setting(
                format!("the optimizer's state has {} numbers, {} are needed", moments.len(), view.len),
                "resume with the net and optimizer that the run was started with",
            ));
        }
        self.memory.get_mut(view).copy_from_slice(moments);
        Ok(())
    }

    fn run(&mut self, n: usize, hyper: &Hyper, phase: impl Fn(&Plan) -> &Vec<Step>) -> Result<()> {
        let index = self.plan_index(n)?;
        for step in phase(&self.plans[index]) {
            step.cpu(&mut self.memory, hyper);
        }
        Ok(())
    }
}

/// For phases that read no hyper-parameter.
const IDLE: Hyper = Hyper { lr: 0.0, weight_decay: 0.0, step: 0, norm_momentum: 0.0 };

fn training_ports(ports: &Ports) -> Result<TrainingPorts> {
    ports.training.ok_or_else(|| {
        Error::setting("this network was laid out for inference alone", "lay it out with training options")
    })
}
