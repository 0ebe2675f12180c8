//! Weights as safetensors with PyTorch's names and layouts, both ways.
//!
//! A file written here loads into the authors' PyTorch modules (`load_state_dict`, strict), and their state dict, saved as
//! safetensors, loads here. The header carries text entries of ours beside the tensors.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::arch::Arch;
use super::weights::{Layout, Weights};
use crate::error::{Error, Result};
use crate::files;
use crate::printable::Printable;

/// Serialises weights and header entries.
pub(crate) fn to_bytes(arch: &Arch, weights: &Weights, header: HashMap<String, String>) -> Result<Vec<u8>> {
    let layout = Layout::new(arch);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut push = |name: String, shape: &[usize], values: &[f32]| {
        tensors.push((name, Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    };
    for param in &layout.params {
        let inside = &weights.params[param.start..][..param.len()];
        let outside: Vec<f32> = (0..param.len()).map(|i| inside[param.inside(i)]).collect();
        push(param.name.clone(), &param.shape, &outside);
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

/// Where the weights of pretrained nets are to be had.
pub(crate) const PRETRAINED: &str = "name a safetensors file of torchvision's or timm's vgg11_bn (vgg16 for VGG16 nets, resnet18 for RESNET18 nets) with `weights` FILE, such as \
     model.safetensors of https://huggingface.co/timm/vgg11_bn.tv_in1k (`fcdd weights` shows where the others are), or choose a NOPT net, which starts from \
     scratch";

/// The name of a tensor in files of whole VGG nets and ResNets; None for tensors that only our nets have.
fn pretrained_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix("encoder.").unwrap_or(name);
    let name = name.strip_prefix("vgg.").unwrap_or(name);
    let parts = ["features.", "classifier.", "conv1.", "bn1.", "layer"];
    parts.iter().any(|part| name.starts_with(part)).then_some(name)
}

/// Replaces the feature layers' weights and statistics by those of a pretrained net's file.
///
/// # Errors
/// Where the net has no pretrained layers; where the file lacks one of them or holds it in another shape.
pub(crate) fn take_pretrained(arch: &Arch, path: &Path, weights: &mut Weights) -> Result<()> {
    if !arch.pretrained {
        let problem = format!("`weights` {}: no layer of {} is pretrained", path.printable(), arch.name);
        return Err(Error::setting(problem, "leave it out, or choose a VGG or RESNET18 net"));
    }
    let bytes = files::read(path)?;
    let file = TensorFile::parse(path, &bytes, PRETRAINED)?;
    file.fill(arch, weights, pretrained_name)
}

/// An opened safetensors file of any content.
pub(crate) struct TensorFile<'a> {
    path: &'a Path,
    pub tensors: SafeTensors<'a>,
    /// Text entries of the header.
    pub header: HashMap<String, String>,
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
        let layout = Layout::new(arch);
        let mut weights =
            Weights { params: vec![0.0; layout.params_len], stats: vec![0.0; layout.stats_len], batches: 0 };
        self.fill(arch, &mut weights, |name| Some(name))?;
        for norm in &layout.norms {
            let tracked = self.tensors.tensor(&format!("{}.num_batches_tracked", norm.name)).ok();
            let count = tracked.and_then(|t| t.data().try_into().ok()).map_or(0, u64::from_le_bytes);
            weights.batches = weights.batches.max(count);
        }
        Ok(weights)
    }

    /// Reads parameters and running statistics under the names that `stored` gives them; those without one stay as they are.
    fn fill(&self, arch: &Arch, weights: &mut Weights, stored: fn(&str) -> Option<&str>) -> Result<()> {
        let layout = Layout::new(arch);
        for param in &layout.params {
            let Some(name) = stored(&param.name) else { continue };
            let values = self.tensor(arch, name, &param.shape)?;
            for (i, value) in values.into_iter().enumerate() {
                weights.params[param.start + param.inside(i)] = value;
            }
        }
        for norm in &layout.norms {
            for (part, start) in [("running_mean", norm.start), ("running_var", norm.start + norm.c)] {
                let name = format!("{}.{part}", norm.name);
                let Some(name) = stored(&name) else { continue };
                let values = self.tensor(arch, name, &[norm.c])?;
                if let Some(variance) = values.iter().find(|&&v| part == "running_var" && v < 0.0) {
                    let problem = format!("tensor '{name}' holds {variance}, which is not a variance");
                    return Err(Error::file(self.path, problem, "copy the file again, or train again"));
                }
                weights.stats[start..start + norm.c].copy_from_slice(&values);
            }
        }
        Ok(())
    }

    /// A finite f32 tensor of the given shape.
    fn tensor(&self, arch: &Arch, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let other_net = format!(
            "the file belongs to another net than {}, or to one with or without biases: name the file of this net",
            arch.name
        );
        let Ok(tensor) = self.tensors.tensor(name) else {
            return Err(Error::file(self.path, format!("has no tensor '{name}'"), other_net));
        };
        if tensor.shape() != shape {
            let problem = format!("tensor '{name}' has shape {:?}, {} needs {shape:?}", tensor.shape(), arch.name);
            return Err(Error::file(self.path, problem, other_net));
        }
        let Some(values) = floats(&tensor) else {
            let problem = format!("tensor '{name}' is {:?}", tensor.dtype());
            return Err(Error::file(self.path, problem, "convert it to float32"));
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(Error::file(
                self.path,
                format!("tensor '{name}' holds {} at element {i}", values[i]),
                "the training diverged; train again with a lower `lr`",
            )),
            None => Ok(values),
        }
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
        assert_eq!(file.tensor(&arch, "bn2d3.weight", &[128]).unwrap(), vec![1.0; 128]);
    }

    #[test]
    fn pretrained_features_replace_the_initial_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vgg.safetensors");
        let scratch = nets::by_name("CNN224_VGG_NOPT", true).unwrap();
        let mut source = Weights::init(&scratch, 1);
        source.stats.iter_mut().for_each(|v| *v += 0.5);
        std::fs::write(&path, to_bytes(&scratch, &source, HashMap::new()).unwrap()).unwrap();
        let arch = nets::by_name("CNN224_VGG_F", true).unwrap();
        let initial = Weights::init(&arch, 2);
        let mut weights = initial.clone();
        take_pretrained(&arch, &path, &mut weights).unwrap();
        let head = Layout::new(&arch).param("conv_final.weight").unwrap().start;
        assert_eq!(weights.params[..head], source.params[..head]);
        assert_eq!(weights.params[head..], initial.params[head..], "the head is not in the file");
        assert_eq!(weights.stats, source.stats);
        let refused = |net: &str| {
            let arch = nets::by_name(net, true).unwrap();
            take_pretrained(&arch, &path, &mut Weights::init(&arch, 0)).unwrap_err().to_string()
        };
        assert!(refused("CNN224_VGG16").contains("features.2.weight"), "{}", refused("CNN224_VGG16"));
        assert!(refused("CNN28").contains("no layer of FCDD_CNN28 is pretrained"));
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
