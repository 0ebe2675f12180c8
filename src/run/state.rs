//! What resuming needs: the optimizer's state, the weights and the history as of the epoch after which it was saved.
//!
//! Randomness is counter-based, so no generator has a state: an epoch's number gives its permutation and augmentation.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};

use crate::data::fingerprint::Fingerprint;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Weights, checkpoint};

/// The header entry that holds the [`Header`].
const ENTRY: &str = "state";

/// One epoch of the history.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u32,
    pub lr: f64,
    /// Mean loss over all images, over the normal and over the anomalous ones (empty where there were none).
    pub loss: f64,
    #[serde(rename = "loss_nominal")]
    pub loss_normal: Option<f64>,
    pub loss_anomalous: Option<f64>,
    pub images_per_second: f64,
}

/// The state of a run after an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub weights: Weights,
    pub moments: Vec<f32>,
    /// Updates made.
    pub steps: u64,
    pub history: Vec<Epoch>,
    /// Of the images that the run learns from.
    pub fingerprint: Fingerprint,
}

/// The part of the state that is not tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    steps: u64,
    batches: u64,
    history: Vec<Epoch>,
    fingerprint: Fingerprint,
}

impl State {
    /// Writes the state atomically.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let bug =
            |e: String| Error::internal(format!("{}: the training state cannot be written ({e})", path.display()));
        let header = Header {
            steps: self.steps,
            batches: self.weights.batches,
            history: self.history.clone(),
            fingerprint: self.fingerprint,
        };
        let header = serde_json::to_string(&header).map_err(|e| bug(e.to_string()))?;
        let tensors = [("moments", &self.moments), ("params", &self.weights.params), ("stats", &self.weights.stats)];
        let views: Result<Vec<_>, _> = tensors
            .map(|(name, data)| {
                TensorView::new(Dtype::F32, vec![data.len()], bytemuck::cast_slice(data)).map(|view| (name, view))
            })
            .into_iter()
            .collect();
        let header = Some(HashMap::from([(ENTRY.to_string(), header)]));
        let bytes = views.and_then(|views| serialize(views, header)).map_err(|e| bug(e.to_string()))?;
        files::write_atomically(path, &bytes)
    }

    /// Reads a state.
    pub(crate) fn load(path: &Path) -> Result<State> {
        let remedy = "the run cannot be resumed; start a new one";
        let bytes = files::read(path)?;
        let file = checkpoint::TensorFile::parse(path, &bytes, remedy)?;
        let broken = |problem: String| Error::file(path, problem, remedy);
        let header = file.header.get(ENTRY).ok_or_else(|| broken("holds no training state".into()))?;
        let header: Header =
            serde_json::from_str(header).map_err(|e| broken(format!("its training state cannot be read ({e})")))?;
        let read = |name: &str| {
            let tensor = file.tensors.tensor(name).ok().and_then(|tensor| checkpoint::floats(&tensor));
            tensor.ok_or_else(|| broken(format!("has no float32 tensor '{name}'")))
        };
        let weights = Weights { params: read("params")?, stats: read("stats")?, batches: header.batches };
        let Header { steps, history, fingerprint, .. } = header;
        Ok(State { weights, moments: read("moments")?, steps, history, fingerprint })
    }
}
