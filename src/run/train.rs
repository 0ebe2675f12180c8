//! The verb `train`: epochs of steps, a state after each, and a calibrated model at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::directory::{self, RunDirectory};
use super::layout::{draw_from, lay_out};
use super::model::Model;
use super::pictures;
use super::prepare::{Task, prepare};
use super::progress::{Progress, say};
use super::render::Renderer;
use super::score::Scorer;
use super::settings::{Moved, Settings};
use super::state::{Epoch, State};
use super::stop::Stop;
use crate::data::ahead::ahead;
use crate::data::batches::{Batch, Fingerprint, Ingredients, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::device::Device;
use crate::device::cuda::{Cuda, Staging};
use crate::engine::lower::{Options, Training};
use crate::engine::{Hyper, Network};
use crate::error::{CudaError, Error, Result};
use crate::files;
use crate::metrics::quantile;
use crate::model::Weights;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::checkpoint::take_pretrained;
use crate::model::weights::Layout;
use crate::report::heatmap::Scale;
use crate::report::png::save_png;

/// Batches over which running statistics are re-estimated ("precise BN", Wu & Johnson 2021).
const REESTIMATION_BATCHES: u32 = 10;

/// Quantile of the nominal training scores that becomes the threshold.
pub const THRESHOLD_QUANTILE: f64 = 0.99;

/// Nominal training images, at most, that threshold and colour scale are calibrated on.
const CALIBRATION_IMAGES: usize = 512;

/// What a training run ended in.
pub struct Trained {
    pub model: Model,
    pub history: Vec<Epoch>,
    /// Stopped by Ctrl-C, as a rule before its last epoch.
    pub interrupted: bool,
}

/// Trains in a new folder. `chosen` are test images that the caller means to picture afterwards: if one does not exist, no run is
/// begun.
pub fn start(
    device: &Device,
    settings: &Settings,
    out: &Path,
    chosen: &[usize],
    stop: &Stop,
) -> Result<(Trained, Task, RunDirectory)> {
    let settings = settings.clone().located()?;
    settings.check()?;
    initial(&settings)?; // weights that cannot be had begin no run
    let task = prepare(&settings)?;
    task.test.check(chosen)?;
    let directory = RunDirectory::create(out)?;
    directory.write_json(directory::CONFIG, &settings)?;
    let trained = train(device, &task.set, &settings, None, Some(&directory), stop)?;
    Ok((trained, task, directory))
}

/// Continues a run from its last finished epoch, with its own settings but for data that has `moved`; the result is bit for bit that
/// of an uninterrupted run on the same device.
pub fn resume(
    device: &Device,
    run: &Path,
    moved: Moved,
    chosen: &[usize],
    stop: &Stop,
) -> Result<(Trained, Task, RunDirectory)> {
    let directory = RunDirectory::open(run)?;
    let settings: Settings = directory.read_json(directory::CONFIG)?;
    let settings = settings.moved(moved)?.located()?;
    let path = directory.file(directory::STATE);
    let state = if path.exists() { Some(State::load(&path)?) } else { None };
    let task = prepare(&settings)?;
    task.test.check(chosen)?;
    if let Some(state) = &state {
        same_images(state.fingerprint, task.set.fingerprint()?)?;
    }
    files::remove_unfinished(directory.path())?;
    directory.write_json(directory::CONFIG, &settings)?;
    let trained = train(device, &task.set, &settings, state, Some(&directory), stop)?;
    Ok((trained, task, directory))
}

/// Fails unless a run finds the images again that it began with.
fn same_images(then: Fingerprint, now: Fingerprint) -> Result<()> {
    if then == now {
        return Ok(());
    }
    let how = match then.nominal == now.nominal {
        true => "as many good ones, but not the same".to_string(),
        false => format!("{} good ones then, {} now", then.nominal, now.nominal),
    };
    Err(Error::setting(
        format!("the images to learn from are not those that the run began with ({how})"),
        "restore them, name their folder by --data or --outliers, or train anew with another --out",
    ))
}

/// Trains on a set. With a folder, a preview of the set is left there before, the state after each epoch and the model at the end,
/// also when `stop` is raised.
pub fn train(
    device: &Device,
    set: &TrainingSet,
    settings: &Settings,
    state: Option<State>,
    directory: Option<&RunDirectory>,
    stop: &Stop,
) -> Result<Trained> {
    let mut trainer = Trainer::new(device, set, settings, state)?;
    if let Some(directory) = directory {
        save_png(directory.file(directory::PREVIEW), &pictures::preview(set, settings)?)?;
    }
    let remaining = u64::from(settings.epochs.saturating_sub(trainer.epochs_done()));
    let mut progress = Progress::new("training", remaining * set.len() as u64);
    let started = Instant::now();
    let heeding = stop.heed();
    while trainer.epochs_done() < settings.epochs && !stop.is_wished() {
        if trainer.epoch(&mut progress, stop)?
            && let Some(directory) = directory
        {
            trainer.state()?.save(&directory.file(directory::STATE))?;
            directory::write_csv(&directory.file(directory::HISTORY), &trainer.history)?;
        }
    }
    drop(heeding);
    let epochs = trainer.epochs_done();
    if settings.reestimate && epochs == settings.epochs {
        trainer.reestimate()?;
    }
    let Ingredients { preprocessing, others, .. } = set.ingredients();
    let mut model = Model { card: Model::card(settings, preprocessing, epochs), weights: trainer.weights()? };
    model.card.unjudged = others.as_ref().map_or_else(Vec::new, |others| others.unjudged.clone());
    let history = std::mem::take(&mut trainer.history);
    drop(trainer); // its memory may be what judging needs
    calibrate(device, &mut model, set)?;
    if let Some(directory) = directory {
        model.save(&directory.file(directory::MODEL))?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let verb = if epochs < settings.epochs { "stopped" } else { "trained" };
    progress.finish(&format!("{verb} after {epochs} of {} epochs, {seconds:.1} s", settings.epochs));
    Ok(Trained { model, history, interrupted: stop.is_wished() })
}

/// The weights that a run starts from.
fn initial(settings: &Settings) -> Result<Weights> {
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

/// A network in training.
struct Trainer<'a> {
    set: &'a TrainingSet,
    settings: &'a Settings,
    network: Network<f32>,
    feeding: Feeding,
    steps: u64,
    history: Vec<Epoch>,
    fingerprint: Fingerprint,
}

impl Trainer<'_> {
    fn new<'a>(
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
            Device::Cpu => Feeding::Host,
            Device::Cuda(cuda) => attach(&mut network, cuda, set)?,
        };
        Ok(Trainer { set, settings, network, feeding, steps, history, fingerprint: set.fingerprint()? })
    }

    fn epochs_done(&self) -> u32 {
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
    fn epoch(&mut self, progress: &mut Progress, stop: &Stop) -> Result<bool> {
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
            Feeding::Host => self.epoch_by_batches(epoch, &order, &hypers, progress, stop)?,
            _ => self.epoch_on_gpu(epoch, &order, &hypers, progress, stop)?,
        };
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
                if stop.is_wished() {
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
                if stop.is_wished() {
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
            !stop.is_wished()
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
    fn reestimate(&mut self) -> Result<()> {
        let epochs = self.settings.epochs;
        let batch = self.network.options().batch;
        for i in 0..REESTIMATION_BATCHES {
            // Each batch from an epoch of its own, after the last trained one: small sets have fewer than ten batches.
            let order = self.set.order(epochs + i);
            self.fill(epochs + i, &order[..batch])?;
            let norm_momentum = 1.0 / f64::from(i + 1);
            self.network.forward(batch, &Hyper { lr: 0.0, weight_decay: 0.0, step: 0, norm_momentum })?;
        }
        Ok(())
    }

    /// The present weights. A loss that was a number does not vouch for them: the update came after it.
    fn weights(&self) -> Result<Weights> {
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
        Error::Numeric { problem, remedy: format!("train with a lower --lr than {}", self.settings.lr) }
    }

    fn state(&self) -> Result<State> {
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
            say(format!(
                "the images do not fit into GPU memory ({asked} MiB asked, {free} free): batches are made on the CPU"
            ));
            return Ok(Feeding::Host);
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

/// Sets the model's threshold, the [`THRESHOLD_QUANTILE`] of nominal training scores, and its colour scale: from the minimum to the
/// run's quantile over heatmaps of training samples, anomalies included.
fn calibrate(device: &Device, model: &mut Model, set: &TrainingSet) -> Result<()> {
    let (mut scorer, renderer) = (Scorer::new(device, model)?, Renderer::new(model)?);
    let nominal = &set.ingredients().nominal;
    let step = nominal.count().div_ceil(CALIBRATION_IMAGES);
    let images = nominal.select(&(0..nominal.count()).step_by(step).collect::<Vec<_>>());
    let mut scores = Vec::with_capacity(images.count());
    scorer.score(&images, false, |_, judgement| {
        scores.push(judgement.score);
        Ok(())
    })?;
    model.card.threshold = quantile(&scores, THRESHOLD_QUANTILE);

    let epoch = model.card.settings.epochs;
    let order = set.order(epoch);
    let n = scorer.batch_size().min(order.len());
    let mut labels = vec![0.0; n];
    let mut reference = Vec::new();
    let fill = |input: &mut [f32]| set.fill(epoch, &order[..n], input, &mut labels, None);
    scorer.batch(n, fill, true, |_, judgement| {
        reference.extend(renderer.of_heatmap(judgement.heatmap));
        Ok(())
    })?;
    model.card.scale = Scale::of(&reference, model.card.settings.quantile);
    Ok(())
}
