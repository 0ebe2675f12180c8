//! The subcommand `weights`: where the weights that pretrained nets start from are to be had, and whether a file is fit.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::settings::Settings;
use crate::error::Result;
use crate::model::pretrained::{SOURCES, Source, take_pretrained};
use crate::model::{Weights, baselines, nets};

/// Weights that nets start from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PretrainedFile {
    /// torchvision's name of the model.
    pub model: &'static str,
    pub url: String,
    /// What the SHA-256 of the file there begins with.
    pub sha256: &'static str,
    /// Where PyTorch has downloaded it to: nets start from it where no other file is named.
    pub downloaded: Option<PathBuf>,
    /// The nets that start from them.
    pub nets: Vec<String>,
}

/// All that pretrained nets start from.
pub(crate) fn sources() -> Vec<PretrainedFile> {
    let names: Vec<String> = nets::names().into_iter().chain(baselines::names()).collect();
    let of = |source: &Source| {
        let is_own = |name: &&String| {
            baselines::any(name, true).is_ok_and(|arch| Source::of(&arch).is_some_and(|own| own.model == source.model))
        };
        PretrainedFile {
            model: source.model,
            url: source.url(),
            sha256: source.sha256(),
            downloaded: source.downloaded(),
            nets: names.iter().filter(is_own).cloned().collect(),
        }
    };
    SOURCES.iter().map(of).collect()
}

/// The file that the net of some settings starts from where they name none, if PyTorch has downloaded it.
pub(crate) fn downloaded(settings: &Settings) -> Option<PathBuf> {
    settings.weights.is_none().then(|| Source::of(&settings.arch().ok()?)?.downloaded()).flatten()
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
        let sources = sources();
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
