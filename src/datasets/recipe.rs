//! How a dataset's images become inputs: the transforms of the paper's experiments.
//!
//! Recipes follow the authors' code. Where images are held at another side than the net's, a nearest resize follows unless the
//! recipe says otherwise.

use crate::data::constants;
use crate::data::image_source::ImageSource;
use crate::data::jitter::Amounts;
use crate::data::levels::Levels;
use crate::data::pipeline::{PipelineKind, Preprocessing, Transform};
use crate::data::resize_mode::ResizeMode;
use crate::error::Result;

/// Mean and standard deviation of each colour.
pub(crate) type Moments = [[f32; 3]; 2];

/// Those of ImageNet, which the authors use whatever the class.
pub(crate) const IMAGENET_MOMENTS: Moments = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// What a dataset's images pass on their way to the net.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// How images of any shape become squares of the raw side.
    pub resize: fn(PipelineKind) -> ResizeMode,
    /// The raw side where the net's is 224 and images are augmented, for crops to be taken from; in proportion at other sides.
    pub raw_side: usize,
    /// What of a raw image a test image shows.
    pub view: SeenPart,
    /// The transforms of bytes that training images pass, down to the net's side.
    pub augment: fn(&Augment) -> Vec<Transform>,
    /// The noise that training images get.
    pub noise: ImageNoise,
    /// Mean and standard deviation that scale colours; None where they are those of the normal images.
    pub mean_std: Option<Moments>,
    /// Whether local contrast normalisation is followed by one scaling of all channels, not one of each.
    pub joint_extremes: bool,
}

/// What of a raw image a test image shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenPart {
    /// All of it.
    Whole,
    /// Its centre, unless [masks](PipelineKind::Aug1Masks) ask for all of it.
    Centre,
}

/// Noise on images in [0, 1].
#[derive(Clone, Copy, Debug)]
pub enum ImageNoise {
    /// Of this standard deviation. None where contrast is normalised.
    Plain { std: f32 },
    /// On every other image, with a standard deviation of this share of the image's, and clamped. The authors multiply noise by
    /// `x.std()`, of all values of the image as it is by then, and by 0 or 1.
    Spread { share: f32 },
}

/// What augmentation depends on.
pub struct Augment<'a> {
    pub kind: PipelineKind,
    pub channels: usize,
    /// Of the net's inputs.
    pub side: usize,
    /// How a test image comes to the side.
    pub whole: &'a [Transform],
}

impl Augment<'_> {
    /// Colour jitter; grey images have no colours to change.
    pub fn jitter(&self, amounts: Amounts) -> Transform {
        match self.channels {
            1 => Transform::Jitter(Amounts { saturation: 0.0, hue: 0.0, ..amounts }),
            _ => Transform::Jitter(amounts),
        }
    }

    /// The same amount of each.
    pub fn jitter_all(&self, amount: f32) -> Transform {
        self.jitter(Amounts::all(amount))
    }

    /// These transforms, then all of the image.
    pub fn then_whole(&self, first: Vec<Transform>) -> Vec<Transform> {
        [&first, self.whole].concat()
    }

    /// A random crop to the side.
    pub fn crop(&self) -> Vec<Transform> {
        if self.whole.is_empty() { Vec::new() } else { vec![Transform::Crop { side: self.side }] }
    }

    /// A random crop to the side or what test images show, with probability 0.5 each.
    pub fn crop_or_whole(&self) -> Transform {
        Transform::Choice { first: self.crop(), second: self.whole.to_vec() }
    }
}

impl Recipe {
    /// The side that images are held at for inputs of `side`, before augmentation; the side itself where nothing is augmented.
    pub fn raw_side(&self, kind: PipelineKind, side: usize) -> usize {
        let held = if kind.augments() { self.raw_side } else { 224 };
        (side * held + 112) / 224
    }

    /// The transforms, with the constants of the normal training images (at the raw side).
    pub fn preprocessing(
        &self,
        kind: PipelineKind,
        raw_side: usize,
        side: usize,
        channels: usize,
        normal: &ImageSource,
    ) -> Result<Preprocessing> {
        self.scaled(kind, raw_side, side, channels, |unscaled| match self.fixed_scaling(kind, channels) {
            Some(scaling) => Ok(scaling),
            None if kind.normalises_contrast() => constants::lcn_extremes(unscaled, normal, self.joint_extremes),
            None => constants::mean_std(unscaled, normal),
        })
    }

    /// The transforms with another last one, which is told all those before it.
    pub(crate) fn scaled(
        &self,
        kind: PipelineKind,
        raw_side: usize,
        side: usize,
        channels: usize,
        scaling: impl FnOnce(&Preprocessing) -> Result<Transform>,
    ) -> Result<Preprocessing> {
        let whole = self.whole(kind, raw_side, side);
        let mut train = if kind.augments() {
            (self.augment)(&Augment { kind, channels, side, whole: &whole })
        } else {
            whole.clone()
        };
        let mut test = whole;
        test.push(if kind.normalises_contrast() { Transform::Lcn } else { Transform::ToUnit });
        let resize = (self.resize)(kind);
        let unscaled =
            Preprocessing { channels, raw_side, resize, levels: Levels::ALL, side, train: test.clone(), test };
        unscaled.check()?;
        let scaling = scaling(&unscaled)?;
        train.extend(self.floats(kind));
        train.push(scaling.clone());
        let mut test = unscaled.test;
        test.push(scaling);
        let preprocessing = Preprocessing { train, test, ..unscaled };
        preprocessing.check()?;
        Ok(preprocessing)
    }

    /// The last transform, where its constants do not depend on the images.
    pub(crate) fn fixed_scaling(&self, kind: PipelineKind, channels: usize) -> Option<Transform> {
        let fixed = if kind == PipelineKind::Imagenet { Some(IMAGENET_MOMENTS) } else { self.mean_std };
        let [mean, std] = fixed.filter(|_| channels == 3 && !kind.normalises_contrast())?;
        Some(Transform::MeanStd { mean: mean.to_vec(), std: std.to_vec() })
    }

    /// How a test image comes to the side.
    fn whole(&self, kind: PipelineKind, raw_side: usize, side: usize) -> Vec<Transform> {
        if raw_side == side {
            Vec::new()
        } else if self.view == SeenPart::Centre && kind != PipelineKind::Aug1Masks {
            vec![Transform::CentreCrop { side }]
        } else {
            vec![Transform::ResizeNearest { side }]
        }
    }

    /// How a training image becomes floats, up to their scaling.
    fn floats(&self, kind: PipelineKind) -> Vec<Transform> {
        use Transform::*;
        let noisy = match self.noise {
            ImageNoise::Plain { std } => vec![ToUnit, Noise { std }],
            ImageNoise::Spread { share } => vec![ToUnit, SpreadNoise { share }, Clamp],
        };
        let then = |last| [noisy.clone(), vec![last]].concat();
        match (kind, self.noise) {
            (PipelineKind::None, _) => vec![ToUnit],
            (PipelineKind::Lcn, _) | (PipelineKind::Lcnaug1, ImageNoise::Plain { .. }) => vec![Lcn],
            (PipelineKind::Lcnaug1, ImageNoise::Spread { .. }) => then(Lcn),
            (PipelineKind::Aug1Blackcenter, _) => then(BlackOut { border: false }),
            (PipelineKind::Aug1BlackcenterInverted, _) => then(BlackOut { border: true }),
            (PipelineKind::Aug1 | PipelineKind::Aug1Masks | PipelineKind::Imagenet, _) => noisy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use crate::datasets::DatasetKind;
    use crate::datasets::cifar10::CIFAR10;
    use crate::datasets::custom::CUSTOM;
    use crate::datasets::fmnist::FMNIST;
    use crate::datasets::folder::FOLDER;
    use crate::datasets::imagenet::IMAGENET;
    use crate::datasets::mnist::MNIST;
    use crate::datasets::mvtec::MVTEC;
    use crate::datasets::pascalvoc::{self, PASCALVOC};
    use crate::named::Named;
    use Transform::*;

    fn new(kind: PipelineKind, dataset: DatasetKind, raw: usize, side: usize, channels: usize) -> Preprocessing {
        let pixels = (0..3 * raw * raw * channels).map(|i| (i * 7 % 251) as u8).collect();
        let images = Images { count: 3, height: raw, width: raw, channels, pixels }.into();
        dataset.recipe.preprocessing(kind, raw, side, channels, &images).unwrap()
    }

    /// At the side of the net; what comes after the last transform is its scaling.
    fn lists(kind: PipelineKind, dataset: DatasetKind, side: usize, channels: usize) -> [Vec<Transform>; 2] {
        let p = new(kind, dataset, dataset.recipe.raw_side(kind, side), side, channels);
        assert_eq!(p.train.last(), p.test.last());
        [p.train, p.test].map(|mut list| {
            let scaling = list.pop();
            assert_eq!(matches!(scaling, Some(MinMax { .. })), kind.normalises_contrast());
            list
        })
    }

    #[test]
    fn small_sets_are_the_papers() {
        let [train, test] = lists(PipelineKind::Lcnaug1, FMNIST, 28, 1);
        assert_eq!(train, [PadCrop { pad: 2 }, Flip, Lcn]);
        assert_eq!(test, [Lcn]);
        let [train, test] = lists(PipelineKind::Aug1, FMNIST, 28, 1);
        let grey = Jitter(Amounts { brightness: 0.1, contrast: 0.1, ..Amounts::default() });
        assert_eq!(train, [grey, PadCrop { pad: 3 }, Flip, ToUnit, Noise { std: 0.01 }]);
        assert_eq!(test, [ToUnit]);
        let cifar = [Jitter(Amounts::all(0.01)), PadCrop { pad: 4 }, Flip, ToUnit, Noise { std: 0.001 }];
        assert_eq!(lists(PipelineKind::Aug1, CIFAR10, 32, 3), [cifar.to_vec(), vec![ToUnit]]);
        for (kind, border) in [(PipelineKind::Aug1Blackcenter, false), (PipelineKind::Aug1BlackcenterInverted, true)] {
            let [train, test] = lists(kind, CIFAR10, 32, 3);
            assert_eq!(train, [&cifar[..], &[BlackOut { border }]].concat());
            assert_eq!(test, [ToUnit]);
        }
        assert_eq!(lists(PipelineKind::None, MNIST, 28, 1), [[ToUnit], [ToUnit]]);
        assert_eq!(lists(PipelineKind::Lcn, CIFAR10, 32, 3), [[Lcn], [Lcn]]);
    }

    #[test]
    fn large_sets_are_the_papers() {
        let faint = Amounts { brightness: 0.005, contrast: 0.0005, saturation: 0.0005, hue: 0.0005 };
        let choice = |first, second| Choice { first: vec![first], second: vec![second] };
        let cut_or_whole = choice(Crop { side: 224 }, ResizeNearest { side: 224 });
        let colours = choice(Jitter(Amounts::all(0.04)), Jitter(faint));
        let [train, test] = lists(PipelineKind::Lcnaug1, MVTEC, 224, 3);
        assert_eq!(train, [cut_or_whole.clone(), colours, ToUnit, SpreadNoise { share: 0.1 }, Clamp, Lcn]);
        assert_eq!(test, [ResizeNearest { side: 224 }, Lcn]);
        let photo = Jitter(Amounts::all(0.01));
        let ends = [ToUnit, Noise { std: 0.001 }];
        for dataset in [IMAGENET, CUSTOM] {
            let [train, test] = lists(PipelineKind::Aug1, dataset, 224, 3);
            assert_eq!(train, [&[photo.clone(), Flip, Crop { side: 224 }], &ends[..]].concat());
            assert_eq!(test, [CentreCrop { side: 224 }, ToUnit]);
        }
        let [train, test] = lists(PipelineKind::Aug1Masks, CUSTOM, 224, 3);
        assert_eq!(train, [&[cut_or_whole, Flip, photo.clone()], &ends[..]].concat());
        assert_eq!(test, [ResizeNearest { side: 224 }, ToUnit]);
        let [train, test] = lists(PipelineKind::Aug1, PASCALVOC, 224, 3);
        assert_eq!(train, [&[photo], &ends[..]].concat());
        assert_eq!(test, [ToUnit]);
    }

    #[test]
    fn folders_are_shifted_and_nothing_is_cut_off() {
        let [train, test] = lists(PipelineKind::Lcnaug1, FOLDER, 32, 3);
        let amounts = Amounts { brightness: 0.04, contrast: 0.04, ..Amounts::default() };
        assert_eq!(train, [Jitter(amounts), Shift { pad: 2 }, Flip, Lcn]);
        assert_eq!(test, [Lcn]);
        let p = new(PipelineKind::None, MNIST, 28, 32, 1);
        assert_eq!(p.train, p.test);
        assert_eq!(p.test[..2], [ResizeNearest { side: 32 }, ToUnit]);
    }

    #[test]
    fn scalings_are_fixed_joint_or_of_each_channel() {
        let scaling = |kind, dataset, channels| new(kind, dataset, 40, 40, channels).test.pop().unwrap();
        let fixed = |[mean, std]: [[f32; 3]; 2]| MeanStd { mean: mean.to_vec(), std: std.to_vec() };
        assert_eq!(scaling(PipelineKind::Aug1, IMAGENET, 3), fixed(IMAGENET_MOMENTS));
        assert_eq!(scaling(PipelineKind::Aug1, PASCALVOC, 3), fixed(pascalvoc::MOMENTS));
        assert_eq!(scaling(PipelineKind::Imagenet, FOLDER, 3), fixed(IMAGENET_MOMENTS));
        assert!(matches!(scaling(PipelineKind::Imagenet, FOLDER, 1), MeanStd { mean, .. } if mean.len() == 1));
        assert_ne!(scaling(PipelineKind::Aug1, CUSTOM, 3), fixed(IMAGENET_MOMENTS));
        let extremes = |dataset| {
            let scaling = scaling(PipelineKind::Lcn, dataset, 3);
            let MinMax { min, max } = scaling else { panic!("{scaling:?}") };
            (min, max)
        };
        let ((joint, _), (each, top)) = (extremes(CIFAR10), extremes(MVTEC));
        assert!(joint == [joint[0]; 3] && each.contains(&joint[0]) && top.len() == 3);
    }

    #[test]
    fn raw_sides_are_the_papers_and_in_proportion() {
        let of = |dataset: DatasetKind, side| dataset.recipe.raw_side(PipelineKind::Aug1, side);
        for (dataset, side, raw) in [
            (FMNIST, 28, 28),
            (CIFAR10, 32, 32),
            (MVTEC, 224, 240),
            (MVTEC, 64, 69),
            (IMAGENET, 224, 256),
            (CUSTOM, 224, 248),
            (PASCALVOC, 224, 224),
            (FOLDER, 200, 200),
        ] {
            assert_eq!(of(dataset, side), raw, "{dataset:?}");
        }
        assert_eq!(MVTEC.recipe.raw_side(PipelineKind::Lcn, 224), 224);
    }

    #[test]
    fn resize_modes_are_the_papers() {
        let of = |dataset: DatasetKind, kind| (dataset.recipe.resize)(kind);
        assert_eq!(of(MVTEC, PipelineKind::Aug1Masks), ResizeMode::FloorNearest);
        assert_eq!(of(CUSTOM, PipelineKind::Aug1Masks), ResizeMode::Nearest);
        assert_eq!(of(CUSTOM, PipelineKind::Aug1), ResizeMode::ShortSide);
        assert_eq!(of(IMAGENET, PipelineKind::Aug1), ResizeMode::ShortSide);
        assert_eq!(of(PASCALVOC, PipelineKind::Aug1), ResizeMode::Squash);
    }

    /// Every kind goes with every set, at the sides of the nets and at small ones.
    #[test]
    fn every_recipe_can_run() {
        for dataset in DatasetKind::all() {
            for kind in PipelineKind::all() {
                for (side, channels) in [(1, 3), (7, 1), (32, 3), (100, 3)] {
                    new(kind, dataset, dataset.recipe.raw_side(kind, side), side, channels);
                }
            }
        }
    }
}
