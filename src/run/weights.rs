//! The subcommand `weights`: where the weights that pretrained nets start from are to be had, and whether a file is fit.

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::model::checkpoint::take_pretrained;
use crate::model::{Weights, baselines, nets};

/// torchvision's files: what a net's name has where it starts from one, the model, and the file's name, which carries the beginning of its
/// SHA-256. The first that fits a net is its own.
const FILES: [(&str, &str, &str); 3] = [
    ("VGG16", "vgg16", "vgg16-397923af.pth"),
    ("RESNET18", "resnet18", "resnet18-f37072fd.pth"),
    ("VGG", "vgg11_bn", "vgg11_bn-6002323d.pth"),
];

/// Weights that nets start from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PretrainedFile {
    /// torchvision's name of the model.
    pub model: &'static str,
    pub url: String,
    /// What the SHA-256 of the file there begins with.
    pub sha256: &'static str,
    /// The nets that start from them.
    pub nets: Vec<String>,
}

/// All that pretrained nets start from.
pub(crate) fn sources() -> Result<Vec<PretrainedFile>> {
    let mut sources = FILES.map(|(_, model, file)| {
        let sha256 = file.trim_end_matches(".pth").rsplit('-').next().unwrap_or_default();
        PretrainedFile { model, url: format!("https://download.pytorch.org/models/{file}"), sha256, nets: Vec::new() }
    });
    for name in nets::names().into_iter().chain(baselines::names()) {
        let own = FILES.iter().position(|(word, ..)| name.contains(word));
        if let Some(own) = own.filter(|_| baselines::any(&name, true).is_ok_and(|arch| arch.pretrained)) {
            sources[own].nets.push(name);
        }
    }
    Ok(sources.into())
}

/// Checks that a file holds the weights that a net starts from.
///
/// # Errors
/// A net that starts from none; the first tensor that the file lacks, or holds in another shape.
pub(crate) fn check(file: &Path, net: &str) -> Result<()> {
    let arch = baselines::any(net, true)?;
    take_pretrained(&arch, file, &mut Weights::init(&arch, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pretrained_net_has_a_source() {
        let sources = sources().unwrap();
        let listed: usize = sources.iter().map(|source| source.nets.len()).sum();
        let names = nets::names().into_iter().chain(baselines::names());
        let pretrained = names.filter(|name| baselines::any(name, true).unwrap().pretrained).count();
        assert_eq!(listed, pretrained);
        let of = |net: &str| sources.iter().find(|source| source.nets.iter().any(|name| name == net)).unwrap();
        assert_eq!((of("FCDD_VGG16_MS").model, of("FCDD_VGG16_MS").sha256), ("vgg16", "397923af"));
        assert_eq!((of("FCDD_VGG11_MS").model, of("FCDD_CNN224_VGG_F").model), ("vgg11_bn", "vgg11_bn"));
        assert_eq!(of("FCDD_RESNET18_MS").url, "https://download.pytorch.org/models/resnet18-f37072fd.pth");
    }
}
