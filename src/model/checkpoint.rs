//! Weights as safetensors with PyTorch's names and layouts, both ways.
//!
//! A file written here loads into the authors' PyTorch modules (`load_state_dict`, strict), and their state dict, saved as
//! safetensors, loads here. The header carries text entries of ours beside the tensors.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView, serialize};

use super::arch::Arch;
use super::weights::{Layout, Weights};
use crate::error::{Error, Result};
use crate::files;
use crate::printable::escaped;

/// Bytes of a head, at most: as many as the crate `safetensors` takes.
const LONGEST_HEAD: u64 = 100_000_000;

/// Serialises weights and header entries.
pub(crate) fn to_bytes(arch: &Arch, weights: &Weights, header: HashMap<String, String>) -> Result<Vec<u8>> {
    let layout = Layout::new(arch);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut push = |name: String, shape: &[usize], values: &[f32]| {
        tensors.push((name, Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    };
    for param in &layout.params {
        push(param.name.clone(), &param.shape, &weights.outside(param));
    }
    for norm in &layout.norms {
        let (mean, var) = weights.stats[norm.start..][..2 * norm.c].split_at(norm.c);
        push(format!("{}.running_mean", norm.name), &[norm.c], mean);
        push(format!("{}.running_var", norm.name), &[norm.c], var);
    }
    for (name, c) in &arch.unused_norms {
        let (ones, zeros) = (vec![1.0; *c], vec![0.0; *c]);
        if arch.bias {
            push(format!("{name}.weight"), &[*c], &ones);
            push(format!("{name}.bias"), &[*c], &zeros);
        }
        push(format!("{name}.running_mean"), &[*c], &zeros);
        push(format!("{name}.running_var"), &[*c], &ones);
    }
    let used = layout.norms.iter().map(|norm| (&norm.name, weights.batches));
    for (name, batches) in used.chain(arch.unused_norms.iter().map(|(name, _)| (name, 0))) {
        tensors.push((format!("{name}.num_batches_tracked"), Dtype::I64, vec![], batches.to_le_bytes().to_vec()));
    }
    let views: Result<Vec<(&str, TensorView)>, _> = tensors
        .iter()
        .map(|(name, dtype, shape, data)| {
            TensorView::new(*dtype, shape.clone(), data).map(|view| (name.as_str(), view))
        })
        .collect();
    views
        .and_then(|views| serialize(views, Some(header)))
        .map_err(|e| Error::internal(format!("the weights of {} cannot be serialised ({e})", arch.name)))
}

/// Tensors by their names, in a file of whatever format.
pub(crate) trait NamedTensors {
    /// The file.
    fn path(&self) -> &Path;

    /// The names of all tensors.
    fn names(&self) -> Vec<&str>;

    /// The shape of a tensor; None where there is none of that name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The values of a tensor that is there, in PyTorch's order.
    ///
    /// # Errors
    /// Its type, where that is no float that is read.
    fn floats(&self, name: &str) -> Result<Vec<f32>, String>;

    /// The value of a tensor that is one whole number.
    fn integer(&self, name: &str) -> Option<i64>;
}

/// The weights that a file holds, checked against the net: every tensor present, of its shape, and finite.
pub(crate) fn weights_of(arch: &Arch, file: &dyn NamedTensors) -> Result<Weights> {
    let layout = Layout::new(arch);
    let mut weights = Weights { params: vec![0.0; layout.params_len], stats: vec![0.0; layout.stats_len], batches: 0 };
    fill(arch, file, &mut weights, |name| Some(name))?;
    for norm in &layout.norms {
        let tracked = file.integer(&format!("{}.num_batches_tracked", norm.name));
        let count = tracked.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
        weights.batches = weights.batches.max(count);
    }
    Ok(weights)
}

/// A tensor that a net's own file does not have.
pub(crate) fn foreign<'a>(arch: &Arch, file: &'a dyn NamedTensors) -> Option<&'a str> {
    let layout = Layout::new(arch);
    let params: HashSet<&str> = layout.params.iter().map(|param| param.name.as_str()).collect();
    let used: HashSet<&str> = layout.norms.iter().map(|norm| norm.name.as_str()).collect();
    let unused: HashSet<&str> = arch.unused_norms.iter().map(|(name, _)| name.as_str()).collect();
    let is_own = |name: &str| match name.rsplit_once('.') {
        _ if params.contains(name) => true,
        Some((norm, "running_mean" | "running_var" | "num_batches_tracked")) => {
            used.contains(norm) || unused.contains(norm)
        }
        Some((norm, "weight" | "bias")) => unused.contains(norm),
        _ => false,
    };
    file.names().into_iter().find(|name| !is_own(name))
}

/// Reads parameters and running statistics under the names that `stored` gives them; those without one stay as they are.
pub(crate) fn fill(
    arch: &Arch,
    file: &dyn NamedTensors,
    weights: &mut Weights,
    stored: fn(&str) -> Option<&str>,
) -> Result<()> {
    let layout = Layout::new(arch);
    for param in &layout.params {
        let Some(name) = stored(&param.name) else { continue };
        let values = finite(arch, file, name, &param.shape)?;
        for (i, value) in values.into_iter().enumerate() {
            weights.params[param.start + param.inside(i)] = value;
        }
    }
    for norm in &layout.norms {
        for (part, start) in [("running_mean", norm.start), ("running_var", norm.start + norm.c)] {
            let name = format!("{}.{part}", norm.name);
            let Some(name) = stored(&name) else { continue };
            let values = finite(arch, file, name, &[norm.c])?;
            if let Some(variance) = values.iter().find(|&&v| part == "running_var" && v < 0.0) {
                let problem = format!("tensor '{name}' holds {variance}, which is not a variance");
                return Err(Error::file(file.path(), problem, "copy the file again, or train again"));
            }
            weights.stats[start..start + norm.c].copy_from_slice(&values);
        }
    }
    Ok(())
}

/// A finite tensor of the given shape.
fn finite(arch: &Arch, file: &dyn NamedTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let other_net = format!(
        "the file belongs to another net than {}, or to one with or without biases: name the file of this net",
        arch.name
    );
    let Some(stored) = file.shape(name) else {
        return Err(Error::file(file.path(), format!("has no tensor '{name}'"), other_net));
    };
    if stored != shape {
        let problem = format!("tensor '{name}' has shape {stored:?}, {} needs {shape:?}", arch.name);
        return Err(Error::file(file.path(), problem, other_net));
    }
    let values = file
        .floats(name)
        .map_err(|kind| Error::file(file.path(), format!("tensor '{name}' is {kind}"), "convert it to float32"))?;
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::file(
            file.path(),
            format!("tensor '{name}' holds {} at element {i}", values[i]),
            "the training diverged; train again with a lower `lr`",
        )),
        None => Ok(values),
    }
}

/// An opened safetensors file of any content.
pub(crate) struct TensorFile<'a> {
    path: &'a Path,
    pub tensors: SafeTensors<'a>,
    /// Text entries of the header.
    pub header: HashMap<String, String>,
}

/// Reads a safetensors file; the remedy is for others, which are not read as a whole.
pub(crate) fn read(path: &Path, remedy: &str) -> Result<Vec<u8>> {
    head(path, remedy).and_then(|_| files::read(path))
}

/// The head of a safetensors file, which tells of as many bytes as there are.
pub(crate) fn head(path: &Path, remedy: &str) -> Result<Metadata> {
    let broken = |problem: String| Error::file(path, format!("not a complete safetensors file ({problem})"), remedy);
    let mut file = files::open(path)?;
    let there = file.metadata().map_err(Error::io("read", path))?.len();
    let mut len = [0; 8];
    if there < len.len() as u64 {
        return Err(broken(format!("it has {there} bytes")));
    }
    file.read_exact(&mut len).map_err(Error::io("read", path))?;
    let head_len = u64::from_le_bytes(len);
    if head_len > LONGEST_HEAD.min(there - 8) {
        return Err(broken(format!("its head would take {head_len} bytes")));
    }
    let head: Metadata = serde_json::from_reader(BufReader::new(file.take(head_len)))
        .map_err(|e| broken(format!("its head cannot be read: {}", escaped(&e.to_string()))))?;
    let told = (8 + head_len).saturating_add(head.data_len() as u64);
    if told != there {
        return Err(broken(format!("its head tells of {told} bytes, and it has {there}")));
    }
    Ok(head)
}

impl<'a> TensorFile<'a> {
    /// Parses the bytes of `path`; the remedy is for files that are cut short or something else.
    pub(crate) fn parse(path: &'a Path, bytes: &'a [u8], remedy: &str) -> Result<TensorFile<'a>> {
        let broken = |e| Error::file(path, format!("not a complete safetensors file ({e})"), remedy);
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let header = metadata.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        Ok(TensorFile { path, tensors, header })
    }

    /// The weights, checked against the net: every tensor present, of its shape, and finite.
    pub(crate) fn weights(&self, arch: &Arch) -> Result<Weights> {
        weights_of(arch, self)
    }
}

impl NamedTensors for TensorFile<'_> {
    fn path(&self) -> &Path {
        self.path
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.tensor(name).ok().map(|tensor| tensor.shape().to_vec())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.tensors.tensor(name).map_err(|e| e.to_string())?;
        floats(&tensor).ok_or_else(|| format!("{:?}", tensor.dtype()))
    }

    fn integer(&self, name: &str) -> Option<i64> {
        let tensor = self.tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == Dtype::I64)?;
        tensor.data().try_into().ok().map(i64::from_le_bytes)
    }
}

/// The values of an f32 tensor; None for any other type.
pub(crate) fn floats(tensor: &TensorView) -> Option<Vec<f32>> {
    let bytes = (tensor.dtype() == Dtype::F32).then(|| tensor.data().as_chunks().0)?;
    Some(bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::nets;

    fn sample() -> (Arch, Weights) {
        let arch = nets::by_name("CNN32", true).unwrap();
        let mut weights = Weights::init(&arch, 5);
        weights.batches = 17;
        (arch, weights)
    }

    #[test]
    fn a_round_trip_keeps_every_bit_and_the_header() {
        let (arch, weights) = sample();
        let bytes = to_bytes(&arch, &weights, HashMap::from([("fcdd".into(), "{}".into())])).unwrap();
        let file = TensorFile::parse(Path::new("m"), &bytes, "").unwrap();
        assert_eq!(file.weights(&arch).unwrap(), weights);
        assert_eq!(file.header["fcdd"], "{}");
        // The authors' strict loading wants the norm that they never use.
        assert_eq!(finite(&arch, &file, "bn2d3.weight", &[128]).unwrap(), vec![1.0; 128]);
        assert_eq!(foreign(&arch, &file), None);
        let smaller = nets::by_name("CNN32_S", true).unwrap();
        assert!(foreign(&smaller, &file).is_some_and(|name| name.starts_with("bn2d3.")));
    }

    #[test]
    fn wrong_files_are_refused_with_the_tensor_named() {
        let (arch, mut weights) = sample();
        let other = nets::by_name("CNN32_S", true).unwrap();
        let bytes = to_bytes(&arch, &weights, HashMap::new()).unwrap();
        let error = |bytes: &[u8], arch: &Arch| {
            TensorFile::parse(Path::new("m"), bytes, "").and_then(|f| f.weights(arch)).unwrap_err().to_string()
        };
        assert!(error(&bytes, &other).contains("conv1.weight"), "{}", error(&bytes, &other));
        for cut in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(error(&bytes[..cut], &arch).contains("not a complete"));
        }
        weights.params[3] = f32::NAN;
        let bytes = to_bytes(&arch, &weights, HashMap::new()).unwrap();
        assert!(error(&bytes, &arch).contains("NaN"));
    }
}
