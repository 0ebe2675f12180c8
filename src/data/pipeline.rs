//! Preprocessing as data: a list of transforms for training and one for testing.
//!
//! The lists are plain values that serialise; the test list travels inside the model file. [`crate::data::interpret`] runs
//! them. An image passes a list as bytes first (geometry, colour jitter), then [`Transform::ToUnit`] or [`Transform::Lcn`]
//! turns it into floats, which the rest scales. A ground-truth map takes the geometric transforms only.

use serde::{Deserialize, Serialize};

use crate::data::constants;
use crate::data::dataset::DatasetKind;
use crate::data::fit::{Fit, RawForm};
use crate::data::store::Store;
use crate::error::{Error, Result};

/// One step of preprocessing. Images are square, of some side, with the channels of their [`Preprocessing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// Bytes: add `pad` black pixels on each side, then cut out the former side at a random place.
    PadCrop {
        /// Pixels on each side.
        pad: usize,
    },
    /// Bytes: shift by up to `pad` pixels each way; what is missing is mirrored in from the border.
    Shift { pad: usize },
    /// Bytes: cut out `side × side` pixels at a random place.
    Crop {
        /// Side afterwards.
        side: usize,
    },
    /// Bytes: with probability ½ each, [`Transform::Crop`] or [`Transform::ResizeNearest`].
    CropOrResize {
        /// Side afterwards.
        side: usize,
    },
    /// Bytes: nearest neighbour by pixel centres (as Pillow) to `side × side`.
    ResizeNearest {
        /// Side afterwards.
        side: usize,
    },
    /// Bytes: mirror left and right with probability ½.
    Flip,
    /// Bytes: brightness and contrast times random factors from 1 ± the given amount, in random order (as torchvision).
    Jitter {
        /// Largest change of brightness, as a share.
        brightness: f32,
        /// Largest change of contrast, as a share.
        contrast: f32,
    },
    /// Bytes to floats: divide by 255.
    ToUnit,
    /// Bytes to floats: local contrast normalisation (l1) over all values of the image; constant images become zeros.
    Lcn,
    /// Floats: add normal noise.
    Noise {
        /// Its standard deviation.
        std: f32,
    },
    /// Floats: `(x − min) / (max − min)`, one pair per channel.
    MinMax {
        /// What becomes 0, per channel.
        min: Vec<f32>,
        /// What becomes 1, per channel.
        max: Vec<f32>,
    },
    /// Floats: `(x − mean) / std`, one pair per channel.
    MeanStd {
        /// Mean per channel.
        mean: Vec<f32>,
        /// Standard deviation per channel.
        std: Vec<f32>,
    },
}

/// The named recipes of the paper's experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PipelineKind {
    /// Random crops and flips, local contrast normalisation, scaled by its extremes over the nominal images
    Lcnaug1,
    /// Colour jitter, random crops and flips, a little noise, mean and standard deviation of the nominal images
    Aug1,
    /// No augmentation; mean and standard deviation of the nominal images
    None,
}

/// How an image of the raw side becomes an input of the net, in training and in testing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Channels throughout: 1 or 3.
    pub channels: usize,
    /// Side of the images that come in.
    pub raw_side: usize,
    /// How pictures are brought to that side.
    #[serde(default)]
    pub fit: Fit,
    /// Side of the inputs that go out.
    pub side: usize,
    /// What training samples pass.
    pub train: Vec<Transform>,
    /// What test samples pass: nothing random.
    pub test: Vec<Transform>,
}

impl Preprocessing {
    /// The recipe of a data set, with the constants of its nominal training images (at the raw side).
    ///
    /// Recipes of the small sets follow the authors' code. Where images are held at another side than the net's, a nearest
    /// resize follows the crop. Folders of pictures are shifted with mirrored borders instead of cropped: the net sees the
    /// texture at the scale, and the borders as whole, as it will when it judges.
    pub fn new(
        kind: PipelineKind,
        dataset: DatasetKind,
        raw_side: usize,
        side: usize,
        channels: usize,
        nominal: &Store,
    ) -> Result<Preprocessing> {
        let whole = if raw_side == side { Vec::new() } else { vec![Transform::ResizeNearest { side }] };
        let (normalise, scaling) = match kind {
            PipelineKind::Lcnaug1 => {
                (Transform::Lcn, constants::lcn_extremes as fn(&Preprocessing, &Store) -> Result<Transform>)
            }
            PipelineKind::Aug1 | PipelineKind::None => (Transform::ToUnit, constants::mean_std as _),
        };
        let mut train = augmentation(kind, dataset, side, &whole);
        let mut test = whole;
        test.push(normalise.clone());
        let fit = Fit::of(dataset, false);
        let unscaled = Preprocessing { channels, raw_side, fit, side, train: test.clone(), test };
        unscaled.check()?;
        let scaling = scaling(&unscaled, nominal)?;
        train.push(normalise);
        if kind == PipelineKind::Aug1 {
            train.push(Transform::Noise { std: amounts(dataset).noise });
        }
        train.push(scaling.clone());
        let mut test = unscaled.test;
        test.push(scaling);
        let preprocessing = Preprocessing { train, test, ..unscaled };
        preprocessing.check()?;
        Ok(preprocessing)
    }

    /// The raw images that come in.
    pub fn raw_form(&self) -> RawForm {
        RawForm { side: self.raw_side, channels: self.channels, fit: self.fit }
    }

    /// Values per input: `side * side * channels`.
    pub fn input_len(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// An input of the net as bytes to look at, the last scaling undone. Local contrast normalisation has no scale of its own:
    /// there the smallest value becomes black and the largest white.
    pub fn picture(&self, input: &[f32]) -> Vec<u8> {
        let undone = |(i, &x): (usize, &f32)| match self.test.last() {
            Some(Transform::MinMax { min, max }) => {
                x * (max[i % self.channels] - min[i % self.channels]) + min[i % self.channels]
            }
            Some(Transform::MeanStd { mean, std }) => x * std[i % self.channels] + mean[i % self.channels],
            _ => x,
        };
        let values: Vec<f32> = input.iter().enumerate().map(undone).collect();
        let (low, high) = if self.test.contains(&Transform::Lcn) {
            values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
        } else {
            (0.0, 1.0)
        };
        let span = if high > low { high - low } else { 1.0 };
        values.iter().map(|v| ((v - low) / span * 255.0).round() as u8).collect()
    }

    /// Fails unless both lists turn bytes of the raw side into floats of the side: for values that come from a file. Applying
    /// lists that pass never panics.
    pub fn check(&self) -> Result<()> {
        let fail =
            |problem: String| Err(Error::setting(format!("preprocessing {problem}"), "use a model or recipe of fcdd"));
        if !matches!(self.channels, 1 | 3) {
            return fail(format!("of {} channels", self.channels));
        }
        if !(1..=MAX_SIDE).contains(&self.raw_side) || !(1..=MAX_SIDE).contains(&self.side) {
            return fail(format!("from {} to {} px (1 to {MAX_SIDE} are possible)", self.raw_side, self.side));
        }
        if self.test.iter().any(Transform::is_random) {
            return fail("of test images is random".to_string());
        }
        for list in [&self.train, &self.test] {
            if list.len() > MOST_TRANSFORMS {
                return fail(format!("of {} transforms ({MOST_TRANSFORMS} are possible)", list.len()));
            }
            let (mut side, mut floats) = (self.raw_side, false);
            for transform in list {
                if floats != transform.takes_floats() || !transform.fits(side, self.channels) {
                    return fail(format!("has {transform:?} where it cannot stand"));
                }
                side = transform.side_after(side);
                floats |= matches!(transform, Transform::ToUnit | Transform::Lcn);
            }
            if side != self.side || !floats {
                return fail(format!("does not end in floats of {} px", self.side));
            }
        }
        Ok(())
    }
}

/// Largest side of an image in pixels: keeps the integer sums over an image from overflowing.
pub const MAX_SIDE: usize = 1 << 12;

/// Transforms in a list: room that a GPU keeps for it.
pub(crate) const MOST_TRANSFORMS: usize = 32;

impl Transform {
    fn is_random(&self) -> bool {
        use Transform::*;
        matches!(
            self,
            PadCrop { .. } | Shift { .. } | Crop { .. } | CropOrResize { .. } | Flip | Jitter { .. } | Noise { .. }
        )
    }

    /// How many numbers of a sample's `Augment` stream it takes.
    pub(crate) fn draws(&self) -> u32 {
        use Transform::*;
        match self {
            PadCrop { .. } | Shift { .. } | Crop { .. } => 2,
            CropOrResize { .. } | Jitter { .. } => 3,
            Flip => 1,
            ResizeNearest { .. } | ToUnit | Lcn | Noise { .. } | MinMax { .. } | MeanStd { .. } => 0,
        }
    }

    fn takes_floats(&self) -> bool {
        matches!(self, Transform::Noise { .. } | Transform::MinMax { .. } | Transform::MeanStd { .. })
    }

    /// The side of an image afterwards.
    pub(crate) fn side_after(&self, before: usize) -> usize {
        match *self {
            Transform::Crop { side } | Transform::CropOrResize { side } | Transform::ResizeNearest { side } => side,
            _ => before,
        }
    }

    /// Whether the transform can be applied to an image of this side and these channels.
    fn fits(&self, before: usize, channels: usize) -> bool {
        let per_channel = |a: &[f32], b: &[f32]| a.len() == channels && b.len() == channels;
        match self {
            Transform::PadCrop { pad } => *pad <= MAX_SIDE,
            Transform::Shift { pad } => *pad < before,
            Transform::Crop { side } | Transform::CropOrResize { side } => (1..=before).contains(side),
            Transform::ResizeNearest { side } => (1..=MAX_SIDE).contains(side),
            Transform::MinMax { min, max } => per_channel(min, max) && min.iter().zip(max).all(|(a, b)| a < b),
            Transform::MeanStd { mean, std } => per_channel(mean, std) && std.iter().all(|&s| s > 0.0),
            Transform::Flip
            | Transform::Jitter { .. }
            | Transform::ToUnit
            | Transform::Lcn
            | Transform::Noise { .. } => true,
        }
    }
}

/// How much each data set is augmented.
struct Amounts {
    jitter: f32,
    pad_lcnaug1: usize,
    pad_aug1: usize,
    noise: f32,
}

fn amounts(dataset: DatasetKind) -> Amounts {
    match dataset {
        DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist => {
            Amounts { jitter: 0.1, pad_lcnaug1: 2, pad_aug1: 3, noise: 0.01 }
        }
        DatasetKind::Cifar10 | DatasetKind::Cifar100 => {
            Amounts { jitter: 0.01, pad_lcnaug1: 4, pad_aug1: 4, noise: 0.001 }
        }
        DatasetKind::Mvtec
        | DatasetKind::Imagenet
        | DatasetKind::Pascalvoc
        | DatasetKind::Custom
        | DatasetKind::Folder => Amounts { jitter: 0.04, pad_lcnaug1: 0, pad_aug1: 0, noise: 0.01 },
    }
}

/// The transforms on bytes that training samples pass; `whole` is how a test image comes to the side.
fn augmentation(kind: PipelineKind, dataset: DatasetKind, side: usize, whole: &[Transform]) -> Vec<Transform> {
    let Amounts { jitter, pad_lcnaug1, pad_aug1, .. } = amounts(dataset);
    let jitter = Transform::Jitter { brightness: jitter, contrast: jitter };
    match (kind, dataset) {
        (PipelineKind::None, _) => whole.to_vec(),
        (PipelineKind::Lcnaug1 | PipelineKind::Aug1, DatasetKind::Folder) => {
            [&[jitter, Transform::Shift { pad: side / 16 }, Transform::Flip], whole].concat()
        }
        (PipelineKind::Lcnaug1, _) => [&[Transform::PadCrop { pad: pad_lcnaug1 }, Transform::Flip], whole].concat(),
        (PipelineKind::Aug1, _) => [&[jitter, Transform::PadCrop { pad: pad_aug1 }, Transform::Flip], whole].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use Transform::*;

    fn images(side: usize, channels: usize) -> Store {
        let pixels = (0..3 * side * side * channels).map(|i| (i * 7 % 251) as u8).collect();
        Images { count: 3, height: side, width: side, channels, pixels }.into()
    }

    fn new(kind: PipelineKind, dataset: DatasetKind, raw: usize, side: usize, channels: usize) -> Preprocessing {
        Preprocessing::new(kind, dataset, raw, side, channels, &images(raw, channels)).unwrap()
    }

    #[test]
    fn recipes_are_the_papers() {
        let p = new(PipelineKind::Lcnaug1, DatasetKind::Fmnist, 28, 28, 1);
        assert_eq!(p.train[..3], [PadCrop { pad: 2 }, Flip, Lcn]);
        assert!(matches!(&p.train[3..], [MinMax { .. }]));
        assert_eq!(p.test, [Lcn, p.train[3].clone()]);
        let p = new(PipelineKind::Aug1, DatasetKind::Fmnist, 28, 28, 1);
        let jitter = Jitter { brightness: 0.1, contrast: 0.1 };
        assert_eq!(p.train[..5], [jitter, PadCrop { pad: 3 }, Flip, ToUnit, Noise { std: 0.01 }]);
        assert!(matches!(&p.train[5..], [MeanStd { .. }]));
        let p = new(PipelineKind::None, DatasetKind::Mnist, 28, 32, 1);
        assert_eq!(p.train, p.test);
        assert_eq!(p.test[..2], [ResizeNearest { side: 32 }, ToUnit]);
        let p = new(PipelineKind::Lcnaug1, DatasetKind::Folder, 32, 28, 3);
        assert_eq!(p.train[..2], [Jitter { brightness: 0.04, contrast: 0.04 }, Shift { pad: 1 }]);
        assert_eq!(p.test[..2], [ResizeNearest { side: 28 }, Lcn]);
        assert!(matches!(&p.test[2], MinMax { min, .. } if min.len() == 3));
    }

    #[test]
    fn inputs_can_be_looked_at() {
        for (kind, channels) in [(PipelineKind::None, 1), (PipelineKind::Aug1, 3), (PipelineKind::Lcnaug1, 3)] {
            let p = new(kind, DatasetKind::Folder, 4, 4, channels);
            let image: Vec<u8> = (0..16 * channels).map(|i| (i * 5) as u8).collect();
            let mut input = vec![0.0; p.input_len()];
            p.apply_test(&image, &mut input);
            let stretched: Vec<u8> = match kind {
                PipelineKind::Lcnaug1 => image.iter().map(|&v| (f32::from(v) * 255.0 / 235.0).round() as u8).collect(),
                _ => image,
            };
            assert_eq!(p.picture(&input), stretched, "{kind:?}");
        }
        assert_eq!(new(PipelineKind::Lcnaug1, DatasetKind::Folder, 1, 1, 1).picture(&[0.5]), [0], "constant images");
    }

    #[test]
    fn lists_survive_json() {
        for kind in [PipelineKind::Lcnaug1, PipelineKind::Aug1, PipelineKind::None] {
            let p = new(kind, DatasetKind::Cifar100, 32, 32, 3);
            let json = serde_json::to_string(&p).unwrap();
            assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), p, "{json}");
        }
    }

    #[test]
    fn lists_that_cannot_run_are_refused() {
        let good = new(PipelineKind::Lcnaug1, DatasetKind::Folder, 32, 28, 1);
        let refused = |change: fn(&mut Preprocessing)| {
            let mut p = good.clone();
            change(&mut p);
            assert!(p.check().is_err(), "{p:?}");
        };
        refused(|p| p.channels = 2);
        refused(|p| p.channels = 3);
        refused(|p| p.side = 27);
        refused(|p| p.raw_side = 0);
        refused(|p| p.raw_side = usize::MAX);
        refused(|p| p.test.clear());
        refused(|p| p.train = [vec![Flip; MOST_TRANSFORMS], p.train.clone()].concat());
        refused(|p| p.test.insert(0, Flip));
        refused(|p| p.test.swap(1, 2));
        refused(|p| p.test.push(Lcn));
        refused(|p| p.train[0] = Crop { side: 40 });
        refused(|p| p.test[2] = MinMax { min: vec![f32::NAN], max: vec![1.0] });
        refused(|p| p.test[2] = MeanStd { mean: vec![0.0], std: vec![0.0] });
    }
}
