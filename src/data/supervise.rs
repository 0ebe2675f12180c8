//! Who becomes an anomaly in training, and what of.

use serde::{Deserialize, Serialize};

use crate::data::anomaly::MadeOf;
pub use crate::data::anomaly::NoiseMode;
pub use crate::data::anomaly::mix::NoiseMix;
use crate::error::{Error, Result};
use crate::named::Named;

/// What the net learns anomalies from. In every mode but the first, each drawn normal sample gives way to an anomaly with
/// probability ½, afresh in each epoch, unless [anomalies are made beforehand](crate::data::batches::EpochPlan::offline).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    Serialize,
    Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Supervise {
    /// No anomalies: normal samples only
    Unsupervised,
    /// Labelled anomalies: defects of a folder, or training images of the other classes
    Other,
    /// An artificial image or an outlier takes the sample's place
    Noise,
    /// Noise is added to the sample; the whole image counts as anomalous
    MalformedNormal,
    /// Noise is added to the sample, and the pixels it changed are the ground-truth map
    MalformedNormalGt,
}

impl Supervise {
    /// Whether anomalies are made, so that [`NoiseMode`] matters.
    pub fn makes_noise(self) -> bool {
        matches!(self, Supervise::Noise | Supervise::MalformedNormal | Supervise::MalformedNormalGt)
    }

    /// Whether an anomaly is the drawn sample with something added, not another image in its place.
    pub(crate) fn alters(self) -> bool {
        matches!(self, Supervise::MalformedNormal | Supervise::MalformedNormalGt)
    }

    /// Whether anomalies are made of images of another dataset.
    pub(crate) fn draws_outliers(self, noise: &NoiseMix) -> bool {
        self.makes_noise() && noise.modes().iter().any(|(mode, _)| mode.made_of() == MadeOf::Outliers)
    }

    /// Fails where this noise cannot serve.
    pub(crate) fn check(self, noise: &NoiseMix) -> Result<()> {
        match noise.modes().iter().find(|(mode, _)| !mode.stands_alone()) {
            Some((mode, _)) if self == Supervise::Noise => Err(Error::setting(
                format!("{} only changes an image and cannot replace one", mode.word()),
                "choose `supervise` malformed-normal or malformed-normal-gt, or another `noise`",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_hyphens_and_underscores() {
        for word in ["malformed-normal-gt", "malformed_normal_gt"] {
            assert_eq!(Supervise::parse(word).unwrap(), Supervise::MalformedNormalGt);
        }
        for word in ["mixed-blob", "mixed_blob"] {
            assert_eq!(NoiseMode::parse(word).unwrap(), NoiseMode::MixedBlob);
        }
        assert_eq!(serde_json::to_string(&Supervise::MalformedNormal).unwrap(), "\"malformed-normal\"");
    }
}
