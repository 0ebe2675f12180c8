//! What resuming needs: the optimizer's state, the weights, the history, and the losses of an epoch in which it was saved.
//!
//! Randomness is counter-based, so no generator has a state: an epoch's number gives its permutation and augmentation.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::directory::CONFIG;
use super::settings::Settings;
use crate::data::fingerprint::Fingerprint;
use crate::engine::gpu::EpochLog;
use crate::error::{Error, Result};
use crate::model::{Weights, checkpoint};
use crate::printable::Printable;
use crate::{files, json};

/// The header entry that holds the [`Header`].
const ENTRY: &str = "state";

/// One epoch of the history.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u32,
    /// Learning rate of all its steps.
    pub lr: f64,
    /// Mean loss over all images.
    pub loss: f64,
    /// Mean loss over the normal images; None where there were none.
    #[serde(rename = "loss_nominal")]
    pub loss_normal: Option<f64>,
    /// Mean loss over the anomalous images; None where there were none.
    pub loss_anomalous: Option<f64>,
    /// How well the scores of good images that are held out are told from those of anomalies made of them: the area under the ROC curve;
    /// None where none are held out.
    #[serde(default)]
    pub separation: Option<f64>,
    /// Images that were trained on in a second of this epoch, drawing them included.
    pub images_per_second: f64,
}

/// The state of a run after an epoch, or in one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub weights: Weights,
    pub moments: Vec<f32>,
    /// Those of the epoch that separates best, where images are held out.
    pub best: Option<Weights>,
    /// Updates made in whole epochs.
    pub steps: u64,
    pub history: Vec<Epoch>,
    /// Of the samples that the next epoch has got through.
    pub begun: EpochLog,
    /// Of the images that the run learns from.
    pub fingerprint: Fingerprint,
    /// Of the run; None in states of version 0.1.
    pub settings: Option<Settings>,
}

/// The part of the state that is not tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    steps: u64,
    batches: u64,
    #[serde(default)]
    best_batches: Option<u64>,
    history: Vec<Epoch>,
    fingerprint: Fingerprint,
    #[serde(default)]
    settings: Option<Settings>,
}

impl State {
    /// Writes the state atomically.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let bug =
            |e: String| Error::internal(format!("{}: the training state cannot be written ({e})", path.printable()));
        let header = Header {
            steps: self.steps,
            batches: self.weights.batches,
            best_batches: self.best.as_ref().map(|best| best.batches),
            history: self.history.clone(),
            fingerprint: self.fingerprint,
            settings: self.settings.clone(),
        };
        let header = serde_json::to_string(&header).map_err(|e| bug(e.to_string()))?;
        let EpochLog { losses, labels } = &self.begun;
        let Weights { params, stats, .. } = &self.weights;
        let mut tensors = vec![("moments", &self.moments), ("params", params), ("stats", stats)];
        if let Some(Weights { params, stats, .. }) = &self.best {
            tensors.extend([("best_params", params), ("best_stats", stats)]);
        }
        if !losses.is_empty() {
            tensors.extend([("labels", labels), ("losses", losses)]);
        }
        let views: Result<Vec<_>, _> = tensors
            .into_iter()
            .map(|(name, data)| {
                TensorView::new(Dtype::F32, vec![data.len()], bytemuck::cast_slice(data)).map(|view| (name, view))
            })
            .collect();
        let header = Some(HashMap::from([(ENTRY.to_string(), header)]));
        let bytes = views.and_then(|views| serialize(views, header)).map_err(|e| bug(e.to_string()))?;
        files::write_atomically(path, &bytes)
    }

    /// Reads a state.
    pub(crate) fn load(path: &Path) -> Result<State> {
        let remedy = "the run cannot be resumed; start a new one";
        let bytes = checkpoint::read(path, remedy)?;
        let file = checkpoint::TensorFile::parse(path, &bytes, remedy)?;
        let broken = |problem: String| Error::file(path, problem, remedy);
        let header = file.header.get(ENTRY).ok_or_else(|| broken("holds no training state".into()))?;
        let header: Header =
            json::parse(header.as_bytes()).map_err(|e| broken(format!("its training state cannot be read ({e})")))?;
        let read = |name: &str| {
            let tensor = file.tensors.tensor(name).ok().and_then(|tensor| checkpoint::floats(&tensor));
            tensor.ok_or_else(|| broken(format!("has no float32 tensor '{name}'")))
        };
        let weights = Weights { params: read("params")?, stats: read("stats")?, batches: header.batches };
        let of_best = |batches| -> Result<Weights> {
            Ok(Weights { params: read("best_params")?, stats: read("best_stats")?, batches })
        };
        let best = header.best_batches.map(of_best).transpose()?;
        if ![Some(&weights), best.as_ref()].into_iter().flatten().all(Weights::are_finite) {
            return Err(broken("holds weights that are no numbers".into()));
        }
        if best.is_some() != header.history.iter().any(|epoch| epoch.separation.is_some()) {
            return Err(broken("does not hold the weights of the best epoch of its history".into()));
        }
        if best
            .as_ref()
            .is_some_and(|best| (best.params.len(), best.stats.len()) != (weights.params.len(), weights.stats.len()))
        {
            return Err(broken("holds weights of the best epoch that are those of another net".into()));
        }
        // Those of version 0.1 were saved after epochs alone.
        let begun = match file.tensors.tensor("losses") {
            Ok(_) => EpochLog { losses: read("losses")?, labels: read("labels")? },
            Err(_) => EpochLog::default(),
        };
        if begun.losses.len() != begun.labels.len() {
            return Err(broken("has other numbers of losses than of labels".into()));
        }
        let Header { steps, history, fingerprint, settings, .. } = header;
        Ok(State { weights, moments: read("moments")?, best, steps, history, begun, fingerprint, settings })
    }

    /// Fails where the state at `path` is of a run with other settings. More epochs than it was begun with prolong a run.
    pub(crate) fn check(&self, settings: &Settings, path: &Path) -> Result<()> {
        let then = self.settings.clone().map(|then| Settings { epochs: settings.epochs, ..then });
        let other = then.map_or_else(Vec::new, |then| then.differences(settings));
        let (done, asked) = (self.history.len(), settings.epochs);
        if other.is_empty() && done > asked as usize {
            let problem = format!("is of epoch {done}, and its {CONFIG} has {asked} epochs");
            return Err(Error::file(path, problem, format!("restore the run's {CONFIG}, or start a new run")));
        }
        if other.is_empty() {
            return Ok(());
        }
        let problem = format!("belongs to a run with other settings than its {CONFIG} ({})", other.join("; "));
        Err(Error::file(path, problem, format!("restore the run's {CONFIG}, or start a new run")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fingerprint::Checksum;

    fn state(separation: Option<f64>) -> State {
        let weights = |value: f32| Weights { params: vec![value; 3], stats: vec![value; 2], batches: value as u64 };
        let epoch = Epoch {
            epoch: 1,
            lr: 0.1,
            loss: 2.0,
            loss_normal: Some(1.0),
            loss_anomalous: Some(3.0),
            separation,
            images_per_second: 4.0,
        };
        State {
            weights: weights(5.0),
            moments: vec![0.5; 3],
            best: separation.map(|_| weights(4.0)),
            steps: 7,
            history: vec![epoch],
            begun: EpochLog::default(),
            fingerprint: Fingerprint { normal: 2, checksum: Checksum::Crc32(9), counted: None },
            settings: None,
        }
    }

    #[test]
    fn the_best_weights_are_kept_and_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        for separation in [None, Some(0.75)] {
            let state = state(separation);
            state.save(&path).unwrap();
            assert_eq!(State::load(&path).unwrap(), state);
        }
        let refused = |state: State, words: &str| {
            state.save(&path).unwrap();
            let message = State::load(&path).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        refused(State { best: None, ..state(Some(0.75)) }, "does not hold the weights of the best epoch");
        refused(State { best: state(Some(0.75)).best, ..state(None) }, "does not hold the weights of the best epoch");
        let other = Weights { params: vec![1.0], stats: vec![1.0], batches: 1 };
        refused(State { best: Some(other), ..state(Some(0.75)) }, "another net");
        for value in [f32::NAN, f32::INFINITY] {
            let Weights { stats, batches, .. } = state(None).weights;
            let weights = Weights { params: vec![5.0, value, 5.0], stats, batches };
            refused(State { weights, ..state(None) }, "no numbers");
        }
    }
}
