//! A net in memory: its plans and its values, ready for training and inference.

use std::time::Instant;

use super::gpu::{EpochLog, Gpu, RunningEpoch};
use super::lower::{PlanOptions, lower};
use super::plan::{Plan, Ports, TrainingPorts};
use super::{Hyper, Step};
use crate::device::cuda::{self, BatchSource, DeviceSlice, Replays};
use crate::device::{Device, HostBuffers, View};
use crate::error::{CudaError, Error, Result};
use crate::memory::room_for;
use crate::model::{Arch, NetPart, Weights};
use crate::real::Real;

/// Input, labels and, for the map loss, maps of a batch.
pub(crate) type TrainingInputs<'a, T> = (&'a mut [T], &'a mut [T], Option<&'a mut [T]>);

/// A net on a device: on the CPU in f32, or in f64 as reference; on a GPU in f32, or with activations of bf16 ([`PlanOptions::dtype`]).
///
/// On a GPU too, inputs and results lie in host memory: each call copies what it needs. [`Network::epoch`] trains without copies.
pub struct Network<T> {
    arch: Arch,
    options: PlanOptions,
    /// The plan of the full batch first, then one per smaller batch met.
    plans: Vec<Plan>,
    /// All buffers on the CPU; on a GPU the ports alone.
    memory: HostBuffers<T>,
    gpu: Option<Gpu>,
    batches: u64,
    /// Of the last forward pass: its backward pass reads the same.
    hyper: Hyper,
}

impl<T: Real> Network<T> {
    /// Lays out memory on the CPU for batches of up to `options.batch` images and loads the weights.
    pub fn new(arch: &Arch, options: PlanOptions, weights: &Weights) -> Result<Network<T>> {
        Network::on(&Device::Cpu, arch, options, weights)
    }

    /// Lays out memory on a device for batches of up to `options.batch` images and loads the weights.
    ///
    /// # Errors
    /// If the shapes are impossible, or there is too little memory: of a GPU the error tells which batch would fit.
    pub fn on(device: &Device, arch: &Arch, options: PlanOptions, weights: &Weights) -> Result<Network<T>> {
        let plan = lower(arch, &options)?;
        let (memory, gpu) = match device {
            Device::Cpu => {
                plan.steps().try_for_each(Step::check)?;
                let PlanOptions { batch, side, .. } = options;
                let what = format!("{} for {batch} images of {side}×{side} pixels", arch.name);
                room_for(&what, plan.host_bytes::<T>(), "choose a smaller side or batch")?;
                (plan.host_memory(), None)
            }
            Device::Cuda(_) if size_of::<T>() != size_of::<f32>() => {
                return Err(Error::setting("a GPU computes in f32 alone", "choose `device` cpu"));
            }
            Device::Cuda(_) if arch.part == NetPart::Head => {
                return Err(Error::internal("heads are trained apart on the CPU alone"));
            }
            Device::Cuda(cuda) => {
                let bytes_of =
                    |batch| lower(arch, &PlanOptions { batch, ..options }).ok().map(|plan| plan.cuda_bytes());
                let gpu = Gpu::new(cuda, &plan, bytes_of)?;
                let mut lengths = vec![0; plan.buffers.reals.len()];
                for view in plan.ports.views() {
                    lengths[view.buffer.0] = plan.buffers.reals[view.buffer.0].0;
                }
                (HostBuffers::new(&lengths, &[], 0), Some(gpu))
            }
        };
        let (plans, arch, hyper) = (vec![plan], arch.clone(), Hyper::IDLE);
        let mut network = Network { arch, options, plans, memory, gpu, batches: 0, hyper };
        if network.gpu.is_none() {
            for (view, values) in &network.plans[0].constants {
                network.memory.get_mut(*view).iter_mut().zip(values).for_each(|(to, &value)| *to = T::of(value));
            }
        }
        network.set_weights(weights)?;
        Ok(network)
    }

    /// [`Network::on`] for inference alone; where memory is nearly full, for fewer images at a time.
    pub(crate) fn for_inference(
        device: &Device,
        arch: &Arch,
        mut options: PlanOptions,
        weights: &Weights,
    ) -> Result<Network<T>> {
        loop {
            let batch = options.batch;
            match Network::on(device, arch, options, weights) {
                Err(Error::Cuda(CudaError::OutOfMemory { batch: Some(fits), .. })) if fits < batch => {
                    options.batch = fits
                }
                Err(Error::OutOfMemory { .. }) if batch > 1 => options.batch = batch / 2,
                network => return network,
            }
        }
    }

    /// Replaces parameters and running statistics.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        let Ports { params, stats, .. } = self.plans[0].ports;
        if (weights.params.len(), weights.stats.len()) != (params.len, stats.len) {
            let Weights { params: p, stats: s, .. } = weights;
            let found = format!("{} parameters and {} statistics of norms", p.len(), s.len());
            return Err(Error::setting(
                format!("the weights have {found}, {} has {} and {}", self.arch.name, params.len, stats.len),
                "choose the weights of this net",
            ));
        }
        let copy = |to: &mut [T], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f64::from(f)));
        };
        copy(self.memory.get_mut(params), &weights.params);
        copy(self.memory.get_mut(stats), &weights.stats);
        self.batches = weights.batches;
        self.upload(&[params, stats])?;
        self.run(self.options.batch, None, |plan| &plan.renew)
    }

    /// The present parameters and running statistics, rounded to f32.
    pub fn weights(&self) -> Result<Weights> {
        let Ports { params, stats, .. } = self.plans[0].ports;
        let rounded = |view| -> Result<Vec<f32>> { Ok(self.read(view)?.iter().map(|v| v.f64() as f32).collect()) };
        Ok(Weights { params: rounded(params)?, stats: rounded(stats)?, batches: self.batches })
    }

    /// A port's present values.
    pub fn read(&self, view: View) -> Result<Vec<T>> {
        match &self.gpu {
            None => Ok(self.memory.get(view).to_vec()),
            Some(gpu) => {
                let mut values = vec![T::default(); view.len];
                gpu.memory.read(view, bytemuck::cast_slice_mut(&mut values))?;
                Ok(values)
            }
        }
    }

    /// Copies ports from host memory to the GPU.
    fn upload(&mut self, views: &[View]) -> Result<()> {
        if let Some(gpu) = &mut self.gpu {
            for &view in views {
                gpu.memory.write(view, bytemuck::cast_slice(self.memory.get(view)))?;
            }
        }
        Ok(())
    }

    /// Copies ports from the GPU to host memory.
    fn download(&mut self, views: &[View]) -> Result<()> {
        if let Some(gpu) = &self.gpu {
            for &view in views {
                gpu.memory.read(view, bytemuck::cast_slice_mut(self.memory.get_mut(view)))?;
            }
        }
        Ok(())
    }

    /// The net.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// What the network was laid out for.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// The host memory: on the CPU that of all steps, on a GPU that of the ports.
    pub fn memory(&mut self) -> &mut HostBuffers<T> {
        &mut self.memory
    }

    /// The plan for a batch of `n` images, lowered the first time it is asked for.
    ///
    /// # Errors
    /// If memory was laid out for smaller batches, if `n` is zero, or if the net cannot be lowered: laid out for training, it has no plan
    /// of one image where a norm reads one pixel, not for inference either.
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
        let plan = lower(&self.arch, &PlanOptions { batch: n, ..self.options })?;
        // Steps may take more scratch space of a smaller batch: sums are cut into parts by its size.
        match &mut self.gpu {
            Some(gpu) => gpu.reserve(&plan)?,
            None => self.memory.reserve_workspace(plan.workspace()),
        }
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    /// Input, labels and, for the map loss, maps of a batch of `n` images: to be filled before [`Network::train`].
    pub fn training_inputs(&mut self, n: usize) -> Result<TrainingInputs<'_, T>> {
        let ports = self.plan(n)?.ports;
        let TrainingPorts { labels, maps, .. } = training_ports(&ports)?;
        let disjoint = || Error::internal("the plan's inputs overlap");
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
        self.run(n, Some(hyper), |plan| &plan.update)?;
        let loss = training_ports(&self.plan(n)?.ports)?.loss;
        self.download(&[loss])?;
        Ok(self.memory.get(loss))
    }

    /// The forward pass in training mode: batch statistics, running statistics updated.
    pub fn forward(&mut self, n: usize, hyper: &Hyper) -> Result<()> {
        let ports = self.plan(n)?.ports;
        let TrainingPorts { labels, maps, .. } = training_ports(&ports)?;
        self.upload(&[ports.input, labels])?;
        self.upload(maps.as_slice())?;
        self.run(n, Some(hyper), |plan| &plan.forward)?;
        self.hyper = *hyper;
        self.batches += 1;
        Ok(())
    }

    /// Losses and gradients of the batch that [`Network::forward`] ran on.
    pub fn backward(&mut self, n: usize) -> Result<()> {
        let hyper = self.hyper;
        self.run(n, Some(&hyper), |plan| &plan.backward)
    }

    /// Evaluation mode on the `n` images that were filled in: image scores \[n\].
    pub fn infer(&mut self, n: usize) -> Result<&[T]> {
        let input = self.plan(n)?.ports.input;
        self.upload(&[input])?;
        self.score(n)
    }

    /// [`Network::infer`] on inputs [n, side, side, channels] that `feed` makes on the GPU by launching kernels.
    pub fn infer_fed(&mut self, n: usize, feed: impl FnOnce(DeviceSlice<'_, f32>) -> cuda::Result<()>) -> Result<&[T]> {
        let ports = self.plan(n)?.ports;
        feed(self.gpu()?.memory.slice(ports.input))?;
        self.score(n)
    }

    /// Runs the inference steps on the inputs that lie in the device's memory.
    fn score(&mut self, n: usize) -> Result<&[T]> {
        self.run(n, None, |plan| &plan.infer)?;
        let score = self.plan(n)?.ports.score;
        self.download(&[score])?;
        self.scores(n)
    }

    /// Features of the `n` images that were filled in, by the layers of [`NetPart::Features`].
    pub fn features(&mut self, n: usize) -> Result<&[T]> {
        self.infer(n)?;
        let output = self.plan(n)?.ports.output;
        self.download(&[output])?;
        Ok(self.memory.get(output))
    }

    /// The scores that the last inference, of `n` images, found.
    pub fn scores(&mut self, n: usize) -> Result<&[T]> {
        let score = self.plan(n)?.ports.score;
        Ok(self.memory.get(score))
    }

    /// Anomaly maps of the images that [`Network::infer`] scored; [`Ports`] has their shape. Those of HSC are computed now.
    pub fn maps(&mut self, n: usize) -> Result<&[T]> {
        if self.arch.objective.shows_gradients() {
            self.run(n, None, |plan| &plan.heatmaps)?;
        }
        let map = self.plan(n)?.ports.map;
        self.download(&[map])?;
        Ok(self.memory.get(map))
    }

    /// Maps and heatmaps of the images that [`Network::infer`] scored; [`Ports`] has their shapes.
    pub fn heatmaps(&mut self, n: usize) -> Result<Heatmaps<'_, T>> {
        self.run(n, None, |plan| &plan.heatmaps)?;
        let Ports { map, heatmap, .. } = self.plan(n)?.ports;
        self.download(&[map])?;
        if heatmap != map {
            self.download(&[heatmap])?;
        }
        Ok(Heatmaps { maps: self.memory.get(map), heatmaps: self.memory.get(heatmap) })
    }

    /// Attaches a source of batches on the GPU, for epochs of up to `samples` samples.
    pub fn attach(&mut self, source: Box<dyn BatchSource>, samples: usize) -> Result<()> {
        let stride = self.options.batch;
        self.gpu()?.attach(source, samples, stride)
    }

    /// Trains an epoch: the samples in `order`, a batch for each of `hypers`. Before each step `before` is called, with the losses so
    /// far and the number of samples whose steps are done or launched; it fills the inputs in ([`Network::training_inputs`]) unless a source
    /// on the GPU is attached. Where it returns false the epoch ends there, and so does the log.
    ///
    /// With an attached source every step is a replayed graph and the host waits at the epoch's end alone: there are no losses before, and
    /// until then nothing else that takes hyperparameters may run; inference may.
    pub fn epoch(
        &mut self,
        epoch: u32,
        order: &[u32],
        hypers: &[Hyper],
        mut before: impl FnMut(&mut Network<T>, &EpochLog, usize) -> Result<bool>,
    ) -> Result<EpochLog> {
        let attached = self.gpu.as_mut().filter(|gpu| gpu.is_attached());
        let running = attached.map(|gpu| gpu.begin_epoch(epoch, order, hypers)).transpose()?;
        let (mut log, mut done) = (EpochLog::default(), 0);
        for (samples, hyper) in order.chunks(self.options.batch).zip(hypers) {
            if !before(self, &log, done)? {
                break;
            }
            match &running {
                Some(running) => self.replay(running, samples.len())?,
                None => self.train_logged(samples.len(), hyper, &mut log)?,
            }
            done += samples.len();
        }
        match running {
            Some(running) => self.gpu()?.end_epoch(running, done),
            None => Ok(log),
        }
    }

    /// Replays the training step on the next `n` images of the attached source.
    fn replay(&mut self, epoch: &RunningEpoch, n: usize) -> Result<()> {
        let (index, stride) = (self.plan_index(n)?, self.options.batch);
        let plan = &self.plans[index];
        let gpu = self.gpu.as_mut().ok_or_else(not_on_a_gpu)?;
        gpu.step(epoch, plan, &training_ports(&plan.ports)?, stride)?;
        self.batches += 1;
        Ok(())
    }

    /// [`Network::train`], whose losses are added to a log.
    fn train_logged(&mut self, n: usize, hyper: &Hyper, log: &mut EpochLog) -> Result<()> {
        let f32s = |values: &[T]| values.iter().map(|v| v.f64() as f32).collect::<Vec<_>>();
        let losses = f32s(self.train(n, hyper)?);
        log.losses.extend(losses);
        let labels = training_ports(&self.plan(n)?.ports)?.labels;
        log.labels.extend(f32s(self.memory.get(labels)));
        Ok(())
    }

    fn gpu(&mut self) -> Result<&mut Gpu> {
        self.gpu.as_mut().ok_or_else(not_on_a_gpu)
    }

    /// The optimizer's state, as long as [`Network::set_moments`] wants it.
    pub fn moments(&self) -> Result<Vec<T>> {
        self.read(training_ports(&self.plans[0].ports)?.moments)
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
        self.upload(&[view])
    }

    /// One step of a plan by itself, with the hyperparameters of the last forward pass; on a GPU it is launched and not awaited.
    pub fn launch(&mut self, step: &Step) -> Result<()> {
        match &mut self.gpu {
            Some(gpu) => gpu.run(std::slice::from_ref(step), None)?,
            None => step.cpu(&mut self.memory, &self.hyper),
        }
        Ok(())
    }

    /// Captures steps of a plan as one graph, for `work` to launch as often as it likes: each time they run on what then lies in the
    /// GPU's memory, with the same hyperparameters.
    pub fn captured<R>(
        &mut self,
        steps: &[Step],
        hyper: &Hyper,
        work: impl FnOnce(&Network<T>, Replays<'_>) -> Result<R>,
    ) -> Result<R> {
        let gpu = self.gpu()?;
        let (graph, cuda) = (gpu.capture(steps, hyper)?, gpu.memory.cuda().clone());
        // SAFETY: nothing that the graph names can move meanwhile: the network is only lent.
        #[allow(unsafe_code)]
        let done = work(self, unsafe { graph.replays() });
        cuda.synchronize()?;
        done
    }

    /// Seconds that steps of a plan take: on a GPU by its own clock, right after the work that `before` launches there.
    pub fn time(&mut self, steps: &[Step], hyper: &Hyper, before: impl FnOnce() -> cuda::Result<()>) -> Result<f64> {
        match &mut self.gpu {
            Some(gpu) => gpu.time(steps, hyper, before),
            None => {
                let started = Instant::now();
                on_cpu(steps, &mut self.memory, hyper);
                Ok(started.elapsed().as_secs_f64())
            }
        }
    }

    fn run(&mut self, n: usize, hyper: Option<&Hyper>, phase: impl Fn(&Plan) -> &Vec<Step>) -> Result<()> {
        let index = self.plan_index(n)?;
        let steps = phase(&self.plans[index]);
        match &mut self.gpu {
            Some(gpu) => gpu.run(steps, hyper)?,
            None => on_cpu(steps, &mut self.memory, hyper.unwrap_or(&Hyper::IDLE)),
        }
        Ok(())
    }
}

/// Runs steps as one task, whose thread takes part in each of them: else threads would be woken for each.
fn on_cpu<T: Real>(steps: &[Step], memory: &mut HostBuffers<T>, hyper: &Hyper) {
    rayon::scope(|_| steps.iter().for_each(|step| step.cpu(memory, hyper)));
}

/// Where the anomalies of a batch's images lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heatmaps<'a, T> {
    pub maps: &'a [T],
    pub heatmaps: &'a [T],
}

fn not_on_a_gpu() -> Error {
    Error::internal("this network is not on a GPU")
}

fn training_ports(ports: &Ports) -> Result<TrainingPorts> {
    ports.training.ok_or_else(|| {
        Error::setting("this network was laid out for inference alone", "lay it out with training options")
    })
}
