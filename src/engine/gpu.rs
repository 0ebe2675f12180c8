//! A plan on the GPU: its memory, and whole epochs as replayed CUDA graphs.

#![allow(unsafe_code)] // launches, captures and replays

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use super::plan::{Plan, TrainingPorts};
use super::{Hyper, Step};
use crate::device::DType;
use crate::device::cuda::kernels::{EndStepParameters, constants};
use crate::device::cuda::{self, BatchSource, BatchTarget, Buffer, Cuda, DeviceBuffers, Graph, Mark, kernels};
use crate::error::{CudaError, Error, Result};
use crate::steps::operation::MOST_COUNTED;

/// Threads of the kernel that ends a step.
const END_STEP_THREADS: u32 = constants::epoch::THREADS as u32;

/// Steps that the host may be ahead of the device.
const AHEAD: usize = 4;

/// Losses and labels of an epoch's samples, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochLog {
    pub losses: Vec<f32>,
    pub labels: Vec<f32>,
}

/// What trains whole epochs on the device.
struct EpochRunner {
    source: Box<dyn BatchSource>,
    /// Of the epoch's samples, `[capacity]`.
    order: Buffer<u32>,
    /// Losses, then labels, [2, capacity].
    log: Buffer<f32>,
    /// A captured step for each batch size met.
    graphs: BTreeMap<usize, Graph>,
    /// Ends of the last steps that were launched.
    launched: VecDeque<Mark>,
    /// The epoch that runs, until [`RunningEpoch`] is dropped.
    running: Weak<()>,
}

/// An epoch that runs: as long as it lives, order and hyperparameters are its own.
pub(super) struct RunningEpoch(Arc<()>);

impl EpochRunner {
    /// Fails for the epoch of another network, whose order and hyperparameters lie elsewhere.
    fn check(&self, epoch: &RunningEpoch) -> Result<()> {
        let own = Weak::ptr_eq(&self.running, &Arc::downgrade(&epoch.0));
        if own { Ok(()) } else { Err(Error::internal("the epoch is another network's")) }
    }
}

/// A network's memory on the device and what runs there.
pub(super) struct Gpu {
    pub memory: DeviceBuffers,
    epochs: Option<EpochRunner>,
}

impl Gpu {
    /// Lays out a plan's memory. `bytes_of(batch)` is what a plan for another batch would need, to tell in the error which one would fit.
    pub(super) fn new(cuda: &Arc<Cuda>, plan: &Plan, bytes_of: impl Fn(usize) -> Option<usize>) -> Result<Gpu> {
        check_sizes(plan)?;
        if plan.buffers.reals.iter().any(|&(_, dtype)| dtype == DType::Bf16) && !cuda.has_bf16()? {
            return Err(CudaError::NoBf16.into());
        }
        cuda.synchronize()?; // what was freed before counts as free from then on
        let (asked, free) = (plan.cuda_bytes(), cuda.describe()?.free);
        if asked > free {
            let fits = |batch: usize| bytes_of(batch).is_some_and(|bytes| bytes <= free);
            // The need grows with the batch: the largest that fits lies between one that does and one that does not.
            let (mut low, mut high) = (0, plan.batch);
            while high - low > 1 {
                let middle = low.midpoint(high);
                if fits(middle) { low = middle } else { high = middle }
            }
            let batch = (low > 0).then_some(low);
            return Err(CudaError::OutOfMemory { asked, free, batch }.into());
        }
        Ok(Gpu { memory: plan.cuda_memory(cuda)?, epochs: None })
    }

    /// Makes room for the scratch space of one more plan.
    pub(super) fn reserve(&mut self, plan: &Plan) -> Result<()> {
        if self.memory.reserve_workspace(plan.cuda_workspace())?
            && let Some(epochs) = &mut self.epochs
        {
            epochs.graphs.clear(); // they name the former workspace
        }
        Ok(())
    }

    /// Launches steps, with one set of hyperparameters where they read any.
    pub(super) fn run(&mut self, steps: &[Step], hyper: Option<&Hyper>) -> Result<()> {
        if let Some(hyper) = hyper {
            self.check_idle()?;
            self.memory.begin(&[hyper.row()], 0)?;
        }
        for step in steps {
            step.cuda(&self.memory)?;
        }
        Ok(())
    }

    /// Captures steps, with one set of hyperparameters. They name this memory, which must not move before the graph's last launch.
    pub(super) fn capture(&mut self, steps: &[Step], hyper: &Hyper) -> Result<Graph> {
        self.run(&[], Some(hyper))?;
        let work = || Ok(steps.iter().try_for_each(|step| step.cuda(&self.memory))?);
        // SAFETY: the steps name this memory alone; who launches the graph keeps it.
        unsafe { self.memory.cuda().capture(work) }
    }

    /// Seconds by the device's clock that steps take, right after the work that `before` launches. That keeps the device busy while the
    /// steps are launched, so that no launch is waited for.
    pub(super) fn time(
        &mut self,
        steps: &[Step],
        hyper: &Hyper,
        before: impl FnOnce() -> cuda::Result<()>,
    ) -> Result<f64> {
        self.run(&[], Some(hyper))?;
        before()?;
        let start = self.memory.cuda().mark()?;
        self.run(steps, None)?;
        Ok(self.memory.cuda().mark()?.seconds_since(&start)?)
    }

    /// Prepares epochs of up to `samples` samples in batches of `stride`.
    pub(super) fn attach(&mut self, source: Box<dyn BatchSource>, samples: usize, stride: usize) -> Result<()> {
        self.check_idle()?;
        let cuda = self.memory.cuda().clone();
        // Its graphs name memory that moves here, whatever becomes of what follows.
        self.epochs = None;
        self.memory.reserve_hyper(samples.div_ceil(stride))?;
        self.epochs = Some(EpochRunner {
            source,
            order: cuda.zeros(samples)?,
            log: cuda.zeros(2 * samples)?,
            graphs: BTreeMap::new(),
            launched: VecDeque::new(),
            running: Weak::new(),
        });
        Ok(())
    }

    /// Whether a source of batches is attached.
    pub(super) fn is_attached(&self) -> bool {
        self.epochs.is_some()
    }

    /// Fails within an epoch: its steps count on its order and hyperparameters.
    fn check_idle(&self) -> Result<()> {
        let running = self.epochs.as_ref().is_some_and(|epochs| epochs.running.strong_count() > 0);
        if running { Err(Error::internal("the network is within an epoch")) } else { Ok(()) }
    }

    /// Uploads what an epoch needs: its order and the hyperparameters of its batches.
    pub(super) fn begin_epoch(&mut self, epoch: u32, order: &[u32], hypers: &[Hyper]) -> Result<RunningEpoch> {
        self.check_idle()?;
        let rows: Vec<_> = hypers.iter().map(Hyper::row).collect();
        self.memory.begin(&rows, epoch)?;
        let epochs = self.epochs()?;
        epochs.order.write(0, order)?;
        let running = RunningEpoch(Arc::new(()));
        epochs.running = Arc::downgrade(&running.0);
        Ok(running)
    }

    /// Launches the next step of the epoch, which has to be this network's: draws the batch, trains on it, logs its losses. Captures the
    /// step when a batch size is met for the first time; nothing is allocated, copied or waited for.
    pub(super) fn step(
        &mut self,
        epoch: &RunningEpoch,
        plan: &Plan,
        ports: &TrainingPorts,
        stride: usize,
    ) -> Result<()> {
        let Gpu { memory, epochs } = self;
        let epochs = epochs.as_mut().ok_or_else(no_source)?;
        epochs.check(epoch)?;
        let graph = match epochs.graphs.remove(&plan.batch) {
            Some(graph) => graph,
            // SAFETY: the launches name the memory, the epoch's buffers and what the source holds (`BatchSource`), which live as long as the graph.
            None => unsafe { memory.cuda().capture(|| enqueue(plan, ports, stride, memory, epochs)) }?,
        };
        // SAFETY: graphs are dropped where their memory moves (`reserve`, `attach`).
        unsafe { graph.launch() }?;
        epochs.graphs.insert(plan.batch, graph);
        // The host stays a few steps ahead of the device, not an epoch, so that the progress it shows is true and it can be stopped.
        epochs.launched.push_back(memory.cuda().mark()?);
        if epochs.launched.len() > AHEAD
            && let Some(mark) = epochs.launched.pop_front()
        {
            mark.wait()?;
        }
        Ok(())
    }

    /// Waits for the epoch's end and reads its log.
    pub(super) fn end_epoch(&mut self, epoch: RunningEpoch, samples: usize) -> Result<EpochLog> {
        self.epochs()?.check(&epoch)?;
        // Whatever runs next has a row of hyperparameters.
        self.memory.begin(&[], 0)?;
        let epochs = self.epochs()?;
        let capacity = epochs.order.len();
        let (mut losses, mut labels) = (vec![0.0; samples], vec![0.0; samples]);
        epochs.log.read(0, &mut losses)?;
        epochs.log.read(capacity, &mut labels)?;
        Ok(EpochLog { losses, labels })
    }

    fn epochs(&mut self) -> Result<&mut EpochRunner> {
        self.epochs.as_mut().ok_or_else(no_source)
    }
}

/// The launches of one training step.
fn enqueue(
    plan: &Plan,
    ports: &TrainingPorts,
    stride: usize,
    memory: &DeviceBuffers,
    epochs: &EpochRunner,
) -> Result<()> {
    let into = (memory.slice(plan.ports.input), memory.slice(ports.labels), ports.maps.map(|maps| memory.slice(maps)));
    // SAFETY: the clock names a batch of the epoch's order (`begin_epoch`), of so many images.
    let target = unsafe { BatchTarget::new((plan.batch, stride), (memory.clock(), &epochs.order), into) };
    epochs.source.enqueue(target)?;
    for step in [&plan.forward, &plan.backward, &plan.update].into_iter().flatten() {
        step.cuda(memory)?;
    }
    let end = EndStepParameters {
        loss: memory.pointer(ports.loss),
        labels: memory.pointer(ports.labels),
        log: epochs.log.pointer_mut(),
        clock: memory.clock().pointer_mut(),
        n: plan.batch as i32,
        stride: stride as i32,
        capacity: epochs.order.len() as i32,
    };
    // SAFETY: a loss and a label for each image of the batch; the clock names a batch of the epoch, for which the log has room.
    unsafe { kernels::epoch::end_step(memory.cuda().launch([1, 1, 1], END_STEP_THREADS, 0), &end) }?;
    Ok(())
}

/// Steps that count too much are refused one by one; of a plan it is told what to do.
fn check_sizes(plan: &Plan) -> Result<()> {
    if let Some(step) = plan.steps().find(|step| step.counted() > MOST_COUNTED) {
        let (batch, kind) = (plan.batch, step.kind());
        let problem = format!(
            "a batch of {batch} images has more pixels or values than the kernels of {kind} count ({MOST_COUNTED})"
        );
        return Err(Error::setting(problem, "choose a smaller `batch` or `side`"));
    }
    if plan.ports.params.len > MOST_COUNTED {
        let problem = format!("the net has more parameters than the kernels count ({MOST_COUNTED})");
        return Err(Error::setting(problem, "choose a smaller net, or a smaller `side` where the net depends on it"));
    }
    Ok(())
}

fn no_source() -> Error {
    Error::internal("no source of batches was attached to the network")
}
