//! A network in training: epochs of steps, fed from host memory or on a GPU, and the state that a run goes on from.

use std::sync::Arc;
use std::time::Instant;

use super::layout::{draw_from, lay_out};
use super::progress::{Progress, log};
use super::settings::Settings;
use super::state::{Epoch, State};
use super::stop::Stop;
use crate::data::ahead::ahead;
use crate::data::batches::{Batch, Fingerprint, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::device::Device;
use crate::device::cuda::{Cuda, Staging};
use crate::engine::lower::{Options, Training};
use crate::engine::{Hyper, Network};
use crate::error::{CudaError, Error, Result};
use crate::model::Weights;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::checkpoint::take_pretrained;
use crate::model::weights::Layout;

/// Batches over which running statistics are re-estimated ("precise BN", Wu & Johnson 2021).
const REESTIMATION_BATCHES: u32 = 10;

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
    HostBuffers,
    /// The GPU, of the set in its memory.
    Device,
    /// The GPU, of what the host stages for each batch.
    Staged(Box<Staging>),
}

/// A network in training.
pub(super) struct Trainer<'a> {
    set: &'a TrainingSet,
    settings: &'a Settings,
    network: Network<f32>,
    feeding: Feeding,
    steps: u64,
    pub(super) history: Vec<Epoch>,
    fingerprint: Fingerprint,
}

impl Trainer<'_> {
    pub(super) fn new<'a>(
        device: &Device,
        set: &'a TrainingSet,
        settings: &'a Settings,
        state: Option<State>,
    ) -> Result<Trainer<'a>> {
        let arch = settings.arch()?;
        let Settings { optimizer, maps, seed, .. } = *settings;
        let training = Training { optimizer, maps, input_grad: false, seed };
        let options = Options {
            batch: settings.batch.min(set.len()),
            side: settings.side,
            format: settings.precision,
            sigma: settings.sigma,
            gradient: settings.gradient,
            training: Some(training),
        };
        let weights = match &state {
            Some(state) => state.weights.clone(),
            None => initial(settings)?,
        };
        let layout = Layout::new(&arch);
        if (weights.params.len(), weights.stats.len()) != (layout.params_len, layout.stats_len) {
            let problem = "the training state belongs to another net than the run's settings name";
            return Err(Error::setting(problem, "restore the run's config.json, or start a new run"));
        }
        let mut network = lay_out(device, &arch, options, &weights)?;
        let (mut steps, mut history) = (0, Vec::new());
        if let Some(state) = state {
            network.set_moments(&state.moments)?;
            (steps, history) = (state.steps, state.history);
        }
        let feeding = match device {
            Device::Cpu => Feeding::HostBuffers,
            Device::Cuda(cuda) => attach(&mut network, cuda, set)?,
        };
        Ok(Trainer { set, settings, network, feeding, steps, history, fingerprint: set.fingerprint()? })
    }

    pub(super) fn epochs_done(&self) -> u32 {
        self.history.len() as u32
    }

    /// Draws a batch into the network's inputs; returns which of its images are anomalous.
    fn fill(&mut self, epoch: u32, samples: &[u32]) -> Result<Vec<bool>> {
        let (input, labels, maps) = self.network.training_inputs(samples.len())?;
        self.set.fill(epoch, samples, input, labels, maps)?;
        Ok(labels.iter().map(|&l| l > 0.0).collect())
    }

    /// Copies a batch into the network's inputs; returns which of its images are anomalous.
    fn take(&mut self, batch: &Batch) -> Result<Vec<bool>> {
        let (input, labels, maps) = self.network.training_inputs(batch.labels.len())?;
        input.copy_from_slice(&batch.inputs);
        labels.copy_from_slice(&batch.labels);
        if let Some(maps) = maps {
            maps.copy_from_slice(&batch.maps);
        }
        Ok(labels.iter().map(|&l| l > 0.0).collect())
    }

    /// One epoch; false if it was stopped on the way.
    pub(super) fn epoch(&mut self, progress: &mut Progress, stop: &Stop) -> Result<bool> {
        let epoch = self.epochs_done();
        let lr = self.settings.schedule.rate(self.settings.lr, epoch);
        let started = Instant::now();
        let order = self.set.order(epoch);
        let batches = order.len().div_ceil(self.network.options().batch) as u64;
        let hyper = |step| Hyper {
            lr,
            weight_decay: self.settings.weight_decay,
            step: self.steps + step,
            norm_momentum: NORM_MOMENTUM,
        };
        let hypers: Vec<Hyper> = (1..=batches).map(hyper).collect();
        let tally = match self.feeding {
            Feeding::HostBuffers => self.epoch_by_batches(epoch, &order, &hypers, progress, stop)?,
            _ => self.epoch_on_gpu(epoch, &order, &hypers, progress, stop)?,
        };
        if let Some(outliers) = &self.set.data().outliers {
            outliers
                .take_replaced()
                .into_iter()
                .for_each(|file| log(format!("took another outlier in its place: {file}")));
        }
        let Some(tally) = tally else { return Ok(false) };
        self.steps += batches;
        let [nominal, anomalous] = tally.class_means();
        self.history.push(Epoch {
            epoch: epoch + 1,
            lr,
            loss: tally.mean(),
            loss_nominal: nominal,
            loss_anomalous: anomalous,
            images_per_second: self.set.len() as f64 / started.elapsed().as_secs_f64(),
        });
        Ok(true)
    }

    /// Trains on batches that are drawn in host memory; None if it was stopped on the way.
    fn epoch_by_batches(
        &mut self,
        epoch: u32,
        order: &[u32],
        hypers: &[Hyper],
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<Option<Tally>> {
        let mut tally = Tally::default();
        let mut step = |trainer: &mut Self, labels: Vec<bool>, hyper: &Hyper| {
            let losses = trainer.network.train(labels.len(), hyper)?;
            let n = labels.len() as u64;
            tally.add(losses.iter().zip(labels).map(|(&loss, anomalous)| (loss, anomalous)));
            if !tally.is_finite() {
                return Err(trainer.loss_diverged(epoch, hyper.step));
            }
            let (total, loss) = (trainer.settings.epochs, tally.mean());
            progress.advance(n, || format!("epoch {}/{total}, loss {loss:.4}", epoch + 1));
            Ok(())
        };
        let batches = order.chunks(self.network.options().batch);
        if self.set.is_held() {
            for (samples, hyper) in batches.zip(hypers) {
                if stop.is_requested() {
                    return Ok(None);
                }
                let labels = self.fill(epoch, samples)?;
                step(self, labels, hyper)?;
            }
            return Ok(Some(tally));
        }
        // Files are read and decoded while the net trains on the batch before.
        let (set, maps) = (self.set, self.settings.maps);
        let finished = ahead(batches.map(|samples| set.batch(epoch, samples, maps)), |batches| {
            for (batch, hyper) in batches.zip(hypers) {
                if stop.is_requested() {
                    return Ok::<_, Error>(false);
                }
                let labels = self.take(&batch?)?;
                step(self, labels, hyper)?;
            }
            Ok(true)
        });
        Ok(finished?.then_some(tally))
    }

    /// Trains on batches that the GPU draws; None if it was stopped on the way.
    fn epoch_on_gpu(
        &mut self,
        epoch: u32,
        order: &[u32],
        hypers: &[Hyper],
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<Option<Tally>> {
        let (total, mut before) = (self.settings.epochs, 0);
        let mut advance = |launched: usize| {
            progress.advance((launched - before) as u64, || format!("epoch {}/{total}", epoch + 1));
            before = launched;
            !stop.is_requested()
        };
        let (set, batch) = (self.set, self.network.options().batch);
        let network = &mut self.network;
        let log = match &mut self.feeding {
            Feeding::Staged(staging) => {
                let stage = |samples: &[u32]| {
                    let mut bytes = vec![0; set.staged_len(batch)];
                    set.stage(epoch, samples, batch, &mut bytes).map(|()| bytes)
                };
                ahead(order.chunks(batch).map(stage), |mut staged| {
                    network.epoch(epoch, order, hypers, |launched| {
                        if !advance(launched) {
                            return Ok(false);
                        }
                        if let Some(bytes) = staged.next() {
                            staging.stage(&bytes?)?;
                        }
                        Ok(true)
                    })
                })?
            }
            _ => network.epoch(epoch, order, hypers, |launched| Ok(advance(launched)))?,
        };
        advance(log.losses.len());
        if log.losses.len() < order.len() {
            return Ok(None);
        }
        if let Some(sample) = log.losses.iter().position(|loss| !loss.is_finite()) {
            return Err(self.loss_diverged(epoch, hypers[sample / self.network.options().batch].step));
        }
        let mut tally = Tally::default();
        tally.add(log.losses.iter().zip(&log.labels).map(|(&loss, &label)| (loss, label > 0.0)));
        Ok(Some(tally))
    }

    /// Replaces the running statistics by the plain average over some training batches; the weights stay.
    pub(super) fn reestimate(&mut self) -> Result<()> {
        let epochs = self.settings.epochs;
        let batch = self.network.options().batch;
        for i in 0..REESTIMATION_BATCHES {
            // Each batch from an epoch of its own, after the last trained one: small sets have fewer than ten batches.
            let order = self.set.order(epochs + i);
            self.fill(epochs + i, &order[..batch])?;
            let norm_momentum = 1.0 / f64::from(i + 1);
            self.network.forward(batch, &Hyper { norm_momentum, ..Hyper::IDLE })?;
        }
        Ok(())
    }

    /// The present weights. A loss that was a number does not vouch for them: the update came after it.
    pub(super) fn weights(&self) -> Result<Weights> {
        let weights = self.network.weights()?;
        if weights.are_finite() {
            Ok(weights)
        } else {
            Err(self.diverged("the net's weights are no longer numbers".into()))
        }
    }

    fn loss_diverged(&self, epoch: u32, step: u64) -> Error {
        self.diverged(format!("the loss is no longer a number in epoch {}, step {step}", epoch + 1))
    }

    fn diverged(&self, problem: String) -> Error {
        Error::Numeric { problem, remedy: format!("train with a lower `lr` than {}", self.settings.lr) }
    }

    pub(super) fn state(&self) -> Result<State> {
        Ok(State {
            weights: self.weights()?,
            moments: self.network.moments()?,
            steps: self.steps,
            history: self.history.clone(),
            fingerprint: self.fingerprint,
        })
    }
}

/// Makes the GPU draw the network's batches: of the whole set in its memory, or of what is staged where the set is not held. If there
/// is no room, they come from host memory.
fn attach(network: &mut Network<f32>, cuda: &Arc<Cuda>, set: &TrainingSet) -> Result<Feeding> {
    let batch = network.options().batch;
    let there = if set.is_held() {
        DeviceSet::new(cuda, set, batch).map(|there| (there, Feeding::Device))
    } else {
        DeviceSet::staged(cuda, set, batch).map(|(there, staging)| (there, Feeding::Staged(Box::new(staging))))
    };
    let (there, feeding) = match there {
        Ok(there) => there,
        Err(CudaError::OutOfMemory { asked, free, .. }) => {
            let [asked, free] = [asked, free].map(|bytes| bytes >> 20);
            log(format!(
                "the images do not fit into GPU memory ({asked} MiB asked, {free} free): batches are made on the CPU"
            ));
            return Ok(Feeding::HostBuffers);
        }
        Err(error) => return Err(error.into()),
    };
    draw_from(network, there, set.len())?;
    Ok(feeding)
}

/// Sums of losses over an epoch, apart for nominal and anomalous images.
#[derive(Default)]
struct Tally {
    sum: [f64; 2],
    count: [u64; 2],
}

impl Tally {
    /// Counts losses of images, with whether they are anomalous.
    fn add(&mut self, losses: impl Iterator<Item = (f32, bool)>) {
        for (loss, anomalous) in losses {
            self.sum[usize::from(anomalous)] += f64::from(loss);
            self.count[usize::from(anomalous)] += 1;
        }
    }

    fn is_finite(&self) -> bool {
        self.sum.iter().all(|s| s.is_finite())
    }

    fn mean(&self) -> f64 {
        self.sum.iter().sum::<f64>() / self.count.iter().sum::<u64>().max(1) as f64
    }

    /// Means of the nominal and the anomalous images, where there were any.
    fn class_means(&self) -> [Option<f64>; 2] {
        [0, 1].map(|i| (self.count[i] > 0).then(|| self.sum[i] / self.count[i] as f64))
    }
}
