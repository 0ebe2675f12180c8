//! Weights that nets start from: those of torchvision, in its own files or as safetensors.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::arch::Arch;
use super::checkpoint::{TensorFile, fill};
use super::torch::{self, TorchFile};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::printable::Printable;

/// Where the weights of pretrained nets are to be had.
pub(crate) const PRETRAINED: &str = "name torchvision's file of vgg11_bn (vgg16 for VGG16 nets, resnet18 for RESNET18 nets) with `weights` FILE or keep it \
     where PyTorch does (`fcdd weights` shows both), or a safetensors file of torchvision's or timm's weights, such as model.safetensors of \
     https://huggingface.co/timm/vgg11_bn.tv_in1k, or choose a NOPT net, which starts from scratch";

/// A file of torchvision's.
pub(crate) struct Source {
    /// What the names of its nets have.
    word: &'static str,
    /// torchvision's name of the model.
    pub model: &'static str,
    /// The file's name, which carries the beginning of its SHA-256.
    pub file: &'static str,
}

/// All of them. The first that fits a net is its own.
pub(crate) const SOURCES: [Source; 3] = [
    Source { word: "VGG16", model: "vgg16", file: "vgg16-397923af.pth" },
    Source { word: "RESNET18", model: "resnet18", file: "resnet18-f37072fd.pth" },
    Source { word: "VGG", model: "vgg11_bn", file: "vgg11_bn-6002323d.pth" },
];

impl Source {
    /// That of a net.
    pub(crate) fn of(arch: &Arch) -> Option<&'static Source> {
        SOURCES.iter().find(|source| arch.pretrained && arch.name.contains(source.word))
    }

    /// What the SHA-256 of the file begins with.
    pub(crate) fn sha256(&self) -> &'static str {
        promised_digest(Path::new(self.file)).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://download.pytorch.org/models/{}", self.file)
    }

    /// The file where PyTorch has downloaded it to.
    pub(crate) fn downloaded(&self) -> Option<PathBuf> {
        Some(cache(|name| env::var_os(name), env::home_dir())?.join(self.file)).filter(|file| file.is_file())
    }
}

/// The folder that PyTorch downloads weights into.
pub(crate) fn download_folder() -> Option<PathBuf> {
    cache(|name| env::var_os(name), env::home_dir())
}

fn cache(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let named = |name: &str| {
        let path = PathBuf::from(variable(name).filter(|path| !path.is_empty())?);
        match path.strip_prefix("~") {
            Ok(within) => Some(home.as_ref()?.join(within)),
            Err(_) => Some(path),
        }
    };
    let torch = || Some(named("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")))?.join("torch"));
    Some(named("TORCH_HOME").or_else(torch)?.join("hub/checkpoints"))
}

/// What the name of one of torchvision's files promises its SHA-256 to begin with; None of all other names.
fn promised_digest(path: &Path) -> Option<&str> {
    let (model, digest) = path.file_name()?.to_str()?.strip_suffix(".pth")?.rsplit_once('-')?;
    let is_digest = digest.len() >= 8 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_digest && SOURCES.iter().any(|source| source.model == model)).then_some(digest)
}

/// Fails unless a file is what its name promises.
fn check_digest(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some(promised) = promised_digest(path) else { return Ok(()) };
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest.starts_with(&promised.to_ascii_lowercase()) {
        return Ok(());
    }
    let problem =
        format!("its SHA-256 begins with {}, not with {promised} as its name says", &digest[..promised.len().min(64)]);
    Err(Error::file(path, problem, "download it again (`fcdd weights` shows from where)"))
}

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
    let (bytes, is_torch) = torch::read(path, PRETRAINED)?;
    if is_torch {
        check_digest(path, &bytes)?;
        let file = TorchFile::parse(path, bytes)?;
        return fill(arch, &file.root().tensors()?, weights, pretrained_name);
    }
    let file = TensorFile::parse(path, &bytes, PRETRAINED)?;
    fill(arch, &file, weights, pretrained_name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::checkpoint::{NamedTensors, to_bytes};
    use crate::model::nets;
    use crate::model::torch::writer::state_dict;
    use crate::model::weights::Layout;

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
        // The same in a file of PyTorch's.
        let bytes = std::fs::read(&path).unwrap();
        let file = TensorFile::parse(&path, &bytes, "").unwrap();
        let names = file.names();
        let floats = names.iter().filter_map(|&name| Some((name, file.shape(name)?, file.floats(name).ok()?)));
        let torch = dir.path().join("vgg.pth");
        std::fs::write(&torch, state_dict(&floats.collect::<Vec<_>>())).unwrap();
        let mut of_torch = initial.clone();
        take_pretrained(&arch, &torch, &mut of_torch).unwrap();
        assert_eq!(of_torch, weights);
        let refused = |net: &str| {
            let arch = nets::by_name(net, true).unwrap();
            take_pretrained(&arch, &path, &mut Weights::init(&arch, 0)).unwrap_err().to_string()
        };
        assert!(refused("CNN224_VGG16").contains("features.2.weight"), "{}", refused("CNN224_VGG16"));
        assert!(refused("CNN28").contains("no layer of FCDD_CNN28 is pretrained"));
    }

    #[test]
    fn downloads_lie_where_pytorch_puts_them() {
        let of = |set: &[(&str, &str)], home: Option<&str>| {
            let variable =
                |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
            cache(variable, home.map(PathBuf::from)).map(|path| path.to_str().unwrap().to_string())
        };
        let folder = |path: &str| Some(path.to_string());
        assert_eq!(of(&[], Some("/me")), folder("/me/.cache/torch/hub/checkpoints"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c")], Some("/me")), folder("/c/torch/hub/checkpoints"));
        assert_eq!(
            of(&[("XDG_CACHE_HOME", "/c"), ("TORCH_HOME", "~/t")], Some("/me")),
            folder("/me/t/hub/checkpoints")
        );
        assert_eq!(of(&[("TORCH_HOME", "/t")], None), folder("/t/hub/checkpoints"));
        assert_eq!(of(&[("TORCH_HOME", "")], None), None);
    }

    #[test]
    fn names_promise_digests_of_torchvisions_files_alone() {
        let promised = |name: &'static str| promised_digest(Path::new(name));
        assert_eq!(promised("/a/vgg16-397923af.pth"), Some("397923af"));
        assert_eq!(promised("vgg11_bn-6002323d.pth"), Some("6002323d"));
        for name in ["model-20260101.pth", "vgg16.pth", "vgg16-397923af.safetensors", "vgg16-best.pth", "vgg16-39.pth"]
        {
            assert_eq!(promised(name), None, "{name}");
        }
        // The digest of no bytes.
        check_digest(Path::new("vgg16-e3b0c442.pth"), b"").unwrap();
        let message = check_digest(Path::new("vgg16-397923af.pth"), b"").unwrap_err().to_string();
        assert!(message.contains("begins with e3b0c442, not with 397923af"), "{message}");
    }
}
