//! A network in training: epochs of steps, fed from host memory or on a GPU, and the state that a run goes on from.

use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, Progress};
use super::features::{self, Features};
use super::held_out::{self, HeldOut};
use super::reduction::reduce;
use super::settings::Settings;
use super::state::{Epoch, State};
use crate::data::batches::{Batch, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::data::fingerprint::Fingerprint;
use crate::data::prefetch::{Job, prefetched};
use crate::device::Device;
use crate::device::cuda::{Cuda, Staging};
use crate::engine::gpu::EpochLog;
use crate::engine::lower::{PlanOptions, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::{CudaError, Error, Result};
use crate::model::arch::NORM_MOMENTUM;
use crate::model::pretrained::take_pretrained;
use crate::model::weights::Layout;
use crate::model::{Arch, NetPart, Weights};

/// Batches over which running statistics are re-estimated ("precise BN", Wu & Johnson 2021).
const REESTIMATION_BATCHES: u32 = 10;

/// Batches in memory: one in use, one ready, one in the making.
const AHEAD: usize = 3;

/// The weights that a run starts from.
pub(super) fn initial(settings: &Settings) -> Result<Weights> {
    let arch = settings.arch()?;
    let mut weights = Weights::init(&arch, settings.seed);
    if let Some(path) = &settings.weights {
        take_pretrained(&arch, path, &mut weights)?;
    }
    Ok(weights)
}

/// Who makes the batches.
enum Feeding {
    /// The CPU.
    Host,
    /// The GPU, of the set in its memory.
    Device,
    /// The GPU, of what the host stages for each batch.
    Staged(Box<Staging>),
}

/// What the host has made for a step.
enum Made {
    Batch(Batch),
    /// What a batch is made of.
    Staged(Vec<u8>),
    /// Nothing: the GPU has it all.
    Nothing,
}

/// Makes what a step on some samples needs.
type Make<'a> = dyn Fn(&[u32]) -> Result<Made> + Sync + 'a;

/// A network in training.
pub(super) struct TrainingLoop<'a> {
    set: &'a TrainingSet,
    settings: &'a Settings,
    network: Network<f32>,
    feeding: Feeding,
    /// Where the head alone is trained, on features.
    features: Option<Features>,
    held_out: Option<HeldOut>,
    /// Weights after the epoch that separates best, where images are held out.
    best: Option<Weights>,
    /// Of whole epochs.
    steps: u64,
    pub(super) history: Vec<Epoch>,
    /// Of the samples that an epoch which was stopped on the way has got through: whole batches.
    begun: EpochLog,
    fingerprint: Fingerprint,
}

impl TrainingLoop<'_> {
    pub(super) fn new<'a>(
        context: &Context,
        set: &'a TrainingSet,
        settings: &'a Settings,
        state: Option<State>,
    ) -> Result<TrainingLoop<'a>> {
        let arch = settings.arch()?;
        let Settings { optimizer, maps, seed, .. } = *settings;
        let training = TrainingOptions { optimizer, maps, input_grad: false, seed, label_score: settings.image_score };
        let options = PlanOptions {
            batch: settings.batch.min(set.len()),
            side: settings.side,
            dtype: settings.precision,
            sigma: settings.sigma,
            gradient: settings.gradient,
            exact: settings.exact,
            training: Some(training),
        };
        let mut weights = match &state {
            Some(state) => state.weights.clone(),
            None => initial(settings)?,
        };
        let layout = Layout::new(&arch);
        if (weights.params.len(), weights.stats.len()) != (layout.params_len, layout.stats_len) {
            let problem = "the training state belongs to another net than the run's settings name";
            return Err(Error::setting(problem, "restore the run's config.json, or start a new run"));
        }
        if state.is_none() {
            reduce(context, set, settings, &mut weights)?;
        }
        let done = state.as_ref().is_some_and(|state| is_done(settings, &state.history));
        let features = match (context.device, settings.views) {
            (Device::Cpu, Some(views)) => Some(Features::compute(context, set, settings, &weights, views, !done)?),
            // On a GPU the frozen layers run in each step, on the same views.
            (Device::Cuda(_), _) | (Device::Cpu, None) => None,
        };
        let frozen = || features::network(settings.arch()?, settings, &weights);
        let held_out = match set.held_out() {
            Some(held_out) => Some(HeldOut::new(held_out, settings, features.as_ref().map(|_| frozen()).transpose()?)?),
            None => None,
        };
        let part = if features.is_some() { NetPart::Head } else { NetPart::Whole };
        let mut network = Network::on(context.device, &Arch { part, ..arch }, options, &weights)?;
        let (mut steps, mut history, mut begun, mut best) = (0, Vec::new(), EpochLog::default(), None);
        if let Some(state) = state {
            network.set_moments(&state.moments)?;
            (steps, history, begun, best) = (state.steps, state.history, state.begun, state.best);
        }
        if !begun.losses.len().is_multiple_of(options.batch) || begun.losses.len() >= set.len().max(1) {
            let problem = "the training state tells of an epoch that is not one of this run";
            return Err(Error::setting(problem, "start a new run"));
        }
        let feeding = match context.device {
            Device::Cpu => Feeding::Host,
            Device::Cuda(cuda) => attach(&mut network, cuda, set, context)?,
        };
        let fingerprint = set.fingerprint()?;
        Ok(TrainingLoop {
            set,
            settings,
            network,
            feeding,
            features,
            held_out,
            best,
            steps,
            history,
            begun,
            fingerprint,
        })
    }

    pub(super) fn epochs_done(&self) -> u32 {
        self.history.len() as u32
    }

    /// Whether no epoch is left to train.
    pub(super) fn is_done(&self) -> bool {
        is_done(self.settings, &self.history)
    }

    /// Seconds that the features of a view took; 0 where there are none.
    pub(super) fn seconds_per_view(&self) -> f64 {
        self.features.as_ref().map_or(0.0, |features| features.seconds_per_view)
    }

    /// Samples of the next epoch that are done.
    pub(super) fn samples_begun(&self) -> usize {
        self.begun.losses.len()
    }

    /// One epoch, or what is left of it; false if it was stopped on the way.
    pub(super) fn epoch(&mut self, progress: &mut Progress, context: &Context) -> Result<bool> {
        let epoch = self.epochs_done();
        let lr = self.settings.schedule.rate(self.settings.lr, epoch);
        let started = Instant::now();
        let order = self.set.order(epoch);
        let batch = self.network.options().batch;
        let batches = order.len().div_ceil(batch) as u64;
        let mut log = std::mem::take(&mut self.begun);
        let before = log.losses.len();
        let hyper = |step| Hyper {
            lr,
            weight_decay: self.settings.weight_decay,
            step: self.steps + step,
            norm_momentum: NORM_MOMENTUM,
        };
        let hypers: Vec<Hyper> = ((before / batch) as u64 + 1..=batches).map(hyper).collect();
        let EpochLog { losses, labels } = self.steps_of(epoch, &order[before..], &hypers, progress, context)?;
        log.losses.extend(losses);
        log.labels.extend(labels);
        if log.losses.len() < order.len() {
            self.begun = log;
            return Ok(false);
        }
        let mut tally = Tally::default();
        tally.add(&log, 0);
        self.steps += batches;
        let [normal, anomalous] = tally.class_means();
        let images_per_second = (order.len() - before) as f64 / started.elapsed().as_secs_f64();
        if self.held_out.is_some() && self.settings.reestimate {
            // The separation is that of what would be kept.
            self.reestimate()?;
        }
        let separated = |held_out: &HeldOut| held_out.separation(&mut self.network, self.settings);
        let separation = self.held_out.as_ref().map(separated).transpose()?;
        self.history.push(Epoch {
            epoch: epoch + 1,
            lr,
            loss: tally.mean().unwrap_or_default(),
            loss_normal: normal,
            loss_anomalous: anomalous,
            separation,
            images_per_second,
        });
        if held_out::best(&self.history).is_some_and(|best| best.epoch == epoch + 1) {
            self.best = Some(self.weights()?);
        }
        Ok(true)
    }

    /// The steps of an epoch, until it ends or is stopped. What the host makes for a step it makes while the net trains on those before.
    fn steps_of(
        &mut self,
        epoch: u32,
        order: &[u32],
        hypers: &[Hyper],
        progress: &mut Progress,
        context: &Context,
    ) -> Result<EpochLog> {
        let TrainingLoop { set, settings, network, feeding, features, .. } = self;
        let features = features.as_ref();
        let (set, batch, drawn) = (*set, network.options().batch, settings.drawn(epoch));
        let diverged = |sample: usize| {
            let step = hypers[sample / batch].step;
            diverged(settings, format!("the loss is no longer a number in epoch {}, step {step}", epoch + 1))
        };
        let make_batch = |samples: &[u32]| made(set, settings, features, drawn, samples).map(Made::Batch);
        let make_staged = |samples: &[u32]| {
            let mut bytes = vec![0; set.staged_len(batch)];
            set.stage(drawn, samples, batch, &mut bytes).map(|()| Made::Staged(bytes))
        };
        let make_nothing = |_: &[u32]| Ok(Made::Nothing);
        let (bytes, make): (usize, &Make) = match feeding {
            Feeding::Host => match features {
                Some(features) => (features.batch_bytes(batch), &make_batch),
                None => (set.batch_bytes(batch, settings.maps), &make_batch),
            },
            Feeding::Staged(_) => (set.staged_len(batch), &make_staged),
            Feeding::Device => (0, &make_nothing),
        };
        let jobs = order.chunks(batch).map(|samples| Job { bytes, make: move || make(samples) });
        let (mut tally, mut before) = (Tally::default(), 0);
        let log = prefetched(AHEAD * bytes, jobs, |mut made| {
            network.epoch(drawn, order, hypers, |network, log, done| {
                if let Some(sample) = tally.add(log, tally.count()) {
                    return Err(diverged(sample));
                }
                let (total, loss) = (settings.epochs, tally.mean());
                progress.advance((done - before) as u64, || match loss {
                    Some(loss) => format!("epoch {}/{total}, loss {loss:.4}", epoch + 1),
                    None => format!("epoch {}/{total}", epoch + 1),
                });
                before = done;
                if context.stop.is_requested() {
                    return Ok(false);
                }
                match (made.next().transpose()?, &mut *feeding) {
                    (Some(Made::Batch(batch)), _) => take(network, &batch)?,
                    (Some(Made::Staged(bytes)), Feeding::Staged(staging)) => staging.stage(&bytes)?,
                    _ => {}
                }
                Ok(true)
            })
        })?;
        progress.advance((log.losses.len() - before) as u64, String::new);
        match log.losses.iter().position(|loss| !loss.is_finite()) {
            Some(sample) => Err(diverged(sample)),
            None => Ok(log),
        }
    }

    /// Goes back to the weights of the best epoch; returns which one that is. None where none is told from the others.
    pub(super) fn take_best(&mut self) -> Result<Option<u32>> {
        let Some(best) = &self.best else { return Ok(None) };
        self.network.set_weights(best)?;
        Ok(held_out::best(&self.history).map(|best| best.epoch))
    }

    /// Replaces the running statistics by the plain average over some training batches; the weights stay.
    pub(super) fn reestimate(&mut self) -> Result<()> {
        let epochs = self.settings.epochs;
        let batch = self.network.options().batch;
        for i in 0..REESTIMATION_BATCHES {
            // Each batch from an epoch of its own, after the last trained one: small sets have fewer than ten batches.
            let (order, drawn) = (self.set.order(epochs + i), self.settings.drawn(epochs + i));
            let batch_of = made(self.set, self.settings, self.features.as_ref(), drawn, &order[..batch])?;
            take(&mut self.network, &batch_of)?;
            let norm_momentum = 1.0 / f64::from(i + 1);
            self.network.forward(batch, &Hyper { norm_momentum, ..Hyper::IDLE })?;
        }
        Ok(())
    }

    /// The present weights. They may be no numbers though the loss was one: the update came after it.
    pub(super) fn weights(&self) -> Result<Weights> {
        let weights = self.network.weights()?;
        if weights.are_finite() {
            Ok(weights)
        } else {
            Err(diverged(self.settings, "the net's weights are no longer numbers".to_string()))
        }
    }

    pub(super) fn state(&self) -> Result<State> {
        Ok(State {
            weights: self.weights()?,
            moments: self.network.moments()?,
            best: self.best.clone(),
            steps: self.steps,
            history: self.history.clone(),
            begun: self.begun.clone(),
            fingerprint: self.fingerprint,
            settings: Some(self.settings.clone()),
        })
    }
}

/// Whether a training with this history is over: all epochs are done, or none has been better for a while.
fn is_done(settings: &Settings, history: &[Epoch]) -> bool {
    history.len() as u32 >= settings.epochs
        || settings.patience.is_some_and(|patience| held_out::on_plateau(history, patience))
}

/// Makes a batch of samples as they are drawn in an epoch: of inputs, or of the features that were computed of them.
fn made(
    set: &TrainingSet,
    settings: &Settings,
    features: Option<&Features>,
    epoch: u32,
    samples: &[u32],
) -> Result<Batch> {
    match features {
        Some(features) => Ok(features.batch(epoch, samples)),
        None => set.batch(epoch, samples, settings.maps),
    }
}

/// Copies a batch into the network's inputs.
fn take(network: &mut Network<f32>, batch: &Batch) -> Result<()> {
    let (input, labels, maps) = network.training_inputs(batch.labels.len())?;
    input.copy_from_slice(&batch.inputs);
    labels.copy_from_slice(&batch.labels);
    if let Some(maps) = maps {
        maps.copy_from_slice(&batch.maps);
    }
    Ok(())
}

fn diverged(settings: &Settings, problem: String) -> Error {
    let Settings { lr, weight_decay, .. } = settings;
    // So much takes away what there is.
    let remedy = match *weight_decay >= 1.0 {
        true => format!("train with less `weight_decay` than {weight_decay:?}"),
        false => format!("train with a lower `lr` than {lr:?}"),
    };
    Error::Numeric { problem, remedy }
}

/// Makes the GPU draw the network's batches: of the whole set in its memory, or of what is staged where the set is not held. If there
/// is no room, they come from host memory.
fn attach(network: &mut Network<f32>, cuda: &Arc<Cuda>, set: &TrainingSet, context: &Context) -> Result<Feeding> {
    let batch = network.options().batch;
    let there = if set.is_staged() {
        DeviceSet::staged(cuda, set, batch).map(|(there, staging)| (there, Feeding::Staged(Box::new(staging))))
    } else {
        DeviceSet::new(cuda, set, batch).map(|there| (there, Feeding::Device))
    };
    let (there, feeding) = match there {
        Ok(there) => there,
        Err(CudaError::OutOfMemory { asked, free, .. }) => {
            let [asked, free] = [asked, free].map(|bytes| bytes >> 20);
            context.note(format!(
                "the images do not fit into GPU memory ({asked} MiB are needed, {free} free): batches are made on the CPU"
            ));
            return Ok(Feeding::Host);
        }
        Err(error) => return Err(error.into()),
    };
    network.attach(Box::new(there), set.len())?;
    Ok(feeding)
}

/// Sums of losses over an epoch, apart for normal and anomalous images.
#[derive(Default)]
struct Tally {
    sum: [f64; 2],
    count: [usize; 2],
}

impl Tally {
    /// Counts the samples of a log from `first` on; returns the first whose loss is no number.
    fn add(&mut self, log: &EpochLog, first: usize) -> Option<usize> {
        for (&loss, &label) in log.losses.iter().zip(&log.labels).skip(first) {
            self.sum[usize::from(label > 0.0)] += f64::from(loss);
            self.count[usize::from(label > 0.0)] += 1;
        }
        (first..log.losses.len()).find(|&sample| !log.losses[sample].is_finite())
    }

    /// Samples so far.
    fn count(&self) -> usize {
        self.count.iter().sum()
    }

    /// Over all samples; None before the first.
    fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum.iter().sum::<f64>() / self.count() as f64)
    }

    /// Means of the normal and the anomalous images, where there were any.
    fn class_means(&self) -> [Option<f64>; 2] {
        [0, 1].map(|i| (self.count[i] > 0).then(|| self.sum[i] / self.count[i] as f64))
    }
}
