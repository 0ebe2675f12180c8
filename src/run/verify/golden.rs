//! Golden files: a folder with a `manifest.json` and the safetensors files that it describes.
//!
//! What is wrong with the folder itself (a file cut short, a shape that contradicts the manifest, a NaN) is an error; a file that
//! the manifest lists and the folder lacks is for the caller to report.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::checkpoint;
use crate::{files, json};

/// What to do about a folder that is not whole.
pub(crate) const REMEDY: &str = "copy the golden folder again from where it was made";

/// The manifest of a golden folder.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// What each file holds.
    pub files: BTreeMap<String, GoldenEntry>,
}

/// One file in the manifest. Only files of nets name a net and an objective.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GoldenEntry {
    pub net: Option<String>,
    pub bias: Option<bool>,
    pub objective: Option<String>,
    pub n_params: Option<usize>,
    /// The file with the parameters and buffers, where it is another one.
    pub param_and_buffer_keys_in: Option<String>,
    pub max_abs_over_all_param_grads: Option<f64>,
    /// Parameters that the loss does not depend on, although they are used.
    pub zero_grad_params: Vec<String>,
    /// Norms by module.
    pub bn: BTreeMap<String, NormInfo>,
    /// Optimizer settings by name.
    pub configs: BTreeMap<String, Config>,
    pub keys: BTreeMap<String, Key>,
}

/// Constants of one norm.
#[derive(Clone, Debug, Deserialize)]
pub struct NormInfo {
    pub eps: f64,
    pub momentum: f64,
    pub affine: bool,
}

/// Settings of one optimizer run.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    pub lr: f64,
    /// Weight decay.
    pub wdk: f64,
    /// γ, and for `milestones` the epochs.
    pub sched_params: Vec<f64>,
    pub opt: String,
    pub sched: String,
}

/// One tensor in the manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Key {
    pub shape: Option<Vec<usize>>,
    pub dtype: Option<String>,
    pub note: Option<String>,
    /// The tensor that this one equals; then it is not stored.
    pub alias_of: Option<String>,
    pub tol_f32: Option<Deviation>,
    /// Deviation of the tensor that this one summarises, per variant of float arithmetic.
    pub dev_full_tensor: Option<BTreeMap<String, Deviation>>,
}

/// A distance between two tensors.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Deviation {
    pub max_abs: f64,
    pub rel_l2: f64,
}

/// A tensor, whatever its type, as doubles: all values of the format are exact in them.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    /// True for integers, which are compared exactly.
    pub integer: bool,
}

/// A golden file with its manifest entry. It remembers which tensors were asked for.
#[derive(Debug)]
pub struct GoldenFile {
    /// Name without the extension.
    pub name: String,
    path: PathBuf,
    pub entry: GoldenEntry,
    tensors: BTreeMap<String, Tensor>,
    read: RefCell<BTreeSet<String>>,
}

impl Manifest {
    /// Reads the manifest of a golden folder.
    pub(crate) fn read(folder: &Path) -> Result<Manifest> {
        let path = folder.join("manifest.json");
        let bytes = files::read(&path)?;
        json::parse(&bytes).map_err(|e| Error::file(&path, format!("is not a golden manifest ({e})"), REMEDY))
    }
}

impl GoldenFile {
    /// Reads and checks a file against its manifest entry.
    pub fn read(folder: &Path, file_name: &str, entry: &GoldenEntry) -> Result<GoldenFile> {
        let path = folder.join(file_name);
        let bytes = files::read(&path)?;
        let fail = |problem: String| Error::file(&path, problem, REMEDY);
        let parsed = checkpoint::TensorFile::parse(&path, &bytes, REMEDY)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.tensors.iter() {
            let (values, dtype) = decode(view.dtype(), view.data())
                .ok_or_else(|| fail(format!("tensor '{name}' has the unknown type {:?}", view.dtype())))?;
            if let Some(listed) = entry.keys.get(name) {
                if listed.shape.as_deref().is_some_and(|shape| shape != view.shape()) {
                    let problem = format!("has shape {:?}, the manifest says {:?}", view.shape(), listed.shape);
                    return Err(fail(format!("tensor '{name}' {problem}")));
                }
                if listed.dtype.as_deref().is_some_and(|listed| listed != dtype) {
                    return Err(fail(format!("tensor '{name}' is {dtype}, the manifest says {:?}", listed.dtype)));
                }
            }
            // ROC thresholds start at infinity; nothing else in the format is infinite, and nothing at all is NaN.
            let unbounded = name.ends_with("/thresholds");
            if let Some(i) = values.iter().position(|v| v.is_nan() || (v.is_infinite() && !unbounded)) {
                return Err(fail(format!("tensor '{name}' holds {} at element {i}", values[i])));
            }
            let integer = dtype.starts_with("int");
            tensors.insert(name.to_string(), Tensor { shape: view.shape().to_vec(), values, integer });
        }
        if let Some((missing, _)) = entry.keys.iter().find(|(k, v)| v.alias_of.is_none() && !tensors.contains_key(*k)) {
            return Err(fail(format!("has no tensor '{missing}', which the manifest lists")));
        }
        let name = file_name.trim_end_matches(".safetensors").to_string();
        Ok(GoldenFile { name, path, entry: entry.clone(), tensors, read: RefCell::default() })
    }

    /// A tensor that the check cannot do without.
    pub fn get(&self, key: &str) -> Result<&Tensor> {
        self.find(key).ok_or_else(|| Error::file(&self.path, format!("has no tensor '{key}'"), REMEDY))
    }

    /// A tensor, if the file has it.
    pub fn find(&self, key: &str) -> Option<&Tensor> {
        let tensor = self.tensors.get(key)?;
        self.read.borrow_mut().insert(key.to_string());
        Some(tensor)
    }

    /// Names of all tensors.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensors that nothing has asked for.
    pub fn unread(&self) -> Vec<&str> {
        self.keys().filter(|key| !self.read.borrow().contains(*key)).collect()
    }

    /// Counts every tensor as asked for: the file is skipped as a whole.
    pub fn disregard(&self) {
        self.read.borrow_mut().extend(self.tensors.keys().cloned());
    }

    /// Prefixes of the keys that end in `/last`: the cases of a file with several.
    pub fn cases(&self, last: &str) -> Vec<&str> {
        self.keys().filter_map(|key| key.strip_suffix(last)?.strip_suffix('/')).collect()
    }

    /// What the manifest says of a tensor.
    pub fn listed(&self, key: &str) -> Key {
        self.entry.keys.get(key).cloned().unwrap_or_default()
    }

    /// An error that names this file.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem, REMEDY)
    }
}

/// Values as doubles and the type's name in the manifest.
#[expect(clippy::wildcard_enum_match_arm, reason = "the formats of another crate, of which four are read")]
fn decode(dtype: Dtype, data: &[u8]) -> Option<(Vec<f64>, &'static str)> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => (each(data, |b| f64::from(f32::from_le_bytes(b))), "float32"),
        Dtype::F64 => (each(data, f64::from_le_bytes), "float64"),
        Dtype::I32 => (each(data, |b| f64::from(i32::from_le_bytes(b))), "int32"),
        Dtype::I64 => (each(data, |b| i64::from_le_bytes(b) as f64), "int64"),
        _ => return None,
    })
}
