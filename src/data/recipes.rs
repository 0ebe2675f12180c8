//! The lists of transforms of the paper's experiments, per data set and kind.

use crate::data::constants;
use crate::data::dataset::DatasetKind;
use crate::data::fit::ResizeMode;
use crate::data::jitter::Amounts;
use crate::data::pipeline::{PipelineKind, Preprocessing, Transform};
use crate::data::store::ImageSource;
use crate::error::Result;

/// Mean and standard deviation per channel that the authors use whatever the class.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const PASCALVOC: [[f32; 3]; 2] = [[0.4469, 0.4227, 0.3906], [0.2691, 0.2659, 0.2789]];

/// The side that a data set is held at for inputs of `side`, before augmentation: for inputs of 224 px MVTec-AD 240, ImageNet 256
/// and custom pictures 248, of which 224 are cut out, in proportion at other sides. Else, and where nothing is augmented, the
/// side itself: the paper's small sets are, and folders lose no detail to a second resize.
pub fn raw_side(dataset: DatasetKind, kind: PipelineKind, side: usize) -> usize {
    let held = match dataset {
        _ if !kind.augments() => 224,
        DatasetKind::Mvtec => 240,
        DatasetKind::Imagenet => 256,
        DatasetKind::Custom => 248,
        _ => 224,
    };
    (side * held + 112) / 224
}

impl Preprocessing {
    /// The recipe of a data set, with the constants of its nominal training images (at the raw side).
    ///
    /// Recipes follow the authors' code. Where images of other sets are held at another side than the net's, a nearest resize
    /// follows. Folders of pictures are shifted with mirrored borders instead of cropped: the net sees the texture at the scale,
    /// and the borders as whole, as it will when it judges.
    pub fn new(
        kind: PipelineKind,
        dataset: DatasetKind,
        raw_side: usize,
        side: usize,
        channels: usize,
        nominal: &ImageSource,
    ) -> Result<Preprocessing> {
        let whole = whole(kind, dataset, raw_side, side);
        let mut train =
            if kind.augments() { augmentation(kind, dataset, channels, side, &whole) } else { whole.clone() };
        let mut test = whole;
        test.push(if kind.normalises_contrast() { Transform::Lcn } else { Transform::ToUnit });
        let fit = ResizeMode::of(dataset, kind == PipelineKind::Aug1Masks);
        let unscaled = Preprocessing { channels, raw_side, fit, side, train: test.clone(), test };
        unscaled.check()?;
        let scaling = scaling(kind, dataset, &unscaled, nominal)?;
        train.extend(floats(kind, dataset));
        train.push(scaling.clone());
        let mut test = unscaled.test;
        test.push(scaling);
        let preprocessing = Preprocessing { train, test, ..unscaled };
        preprocessing.check()?;
        Ok(preprocessing)
    }
}

/// How a test image comes to the side.
fn whole(kind: PipelineKind, dataset: DatasetKind, raw_side: usize, side: usize) -> Vec<Transform> {
    match dataset {
        _ if raw_side == side => Vec::new(),
        DatasetKind::Imagenet | DatasetKind::Custom if kind != PipelineKind::Aug1Masks => {
            vec![Transform::CentreCrop { side }]
        }
        _ => vec![Transform::ResizeNearest { side }],
    }
}

/// The transforms of bytes that training images pass. `whole` is how a test image comes to the side.
fn augmentation(
    kind: PipelineKind,
    dataset: DatasetKind,
    channels: usize,
    side: usize,
    whole: &[Transform],
) -> Vec<Transform> {
    use Transform::*;
    // Grey images have no colours to change.
    let jitter = |amounts: Amounts| match channels {
        1 => Jitter(Amounts { saturation: 0.0, hue: 0.0, ..amounts }),
        _ => Jitter(amounts),
    };
    let all = |amount| jitter(Amounts::all(amount));
    let cut = || if whole.is_empty() { Vec::new() } else { vec![Crop { side }] };
    let cut_or_whole = Choice { first: cut(), second: whole.to_vec() };
    let is_lcn = kind.normalises_contrast();
    let list = match dataset {
        DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist if is_lcn => vec![PadCrop { pad: 2 }, Flip],
        DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist => vec![all(0.1), PadCrop { pad: 3 }, Flip],
        DatasetKind::Cifar10 | DatasetKind::Cifar100 if is_lcn => vec![PadCrop { pad: 4 }, Flip],
        DatasetKind::Cifar10 | DatasetKind::Cifar100 => vec![all(0.01), PadCrop { pad: 4 }, Flip],
        DatasetKind::Pascalvoc => vec![all(0.01)],
        DatasetKind::Folder => {
            let amounts = Amounts { brightness: 0.04, contrast: 0.04, ..Amounts::default() };
            vec![Jitter(amounts), Shift { pad: side / 16 }, Flip]
        }
        DatasetKind::Mvtec => {
            let faint = Amounts { brightness: 0.005, ..Amounts::all(0.0005) };
            return vec![cut_or_whole, Choice { first: vec![all(0.04)], second: vec![jitter(faint)] }];
        }
        DatasetKind::Custom if kind == PipelineKind::Aug1Masks => return vec![cut_or_whole, Flip, all(0.01)],
        DatasetKind::Imagenet | DatasetKind::Custom => return [vec![all(0.01), Flip], cut()].concat(),
    };
    [&list, whole].concat()
}

/// How a training image becomes floats, up to their scaling.
fn floats(kind: PipelineKind, dataset: DatasetKind) -> Vec<Transform> {
    use Transform::*;
    let mut list = match (kind, dataset) {
        (PipelineKind::None, _) => vec![ToUnit],
        (PipelineKind::Lcn, _) => vec![Lcn],
        // The authors multiply noise by `x.std()`, of all values of the image as it is by then, and by 0 or 1.
        (_, DatasetKind::Mvtec) => vec![ToUnit, SpreadNoise { share: 0.1 }, Clamp],
        (PipelineKind::Lcnaug1, _) => return vec![Lcn],
        (_, DatasetKind::Fmnist | DatasetKind::Mnist | DatasetKind::Emnist | DatasetKind::Folder) => {
            vec![ToUnit, Noise { std: 0.01 }]
        }
        _ => vec![ToUnit, Noise { std: 0.001 }],
    };
    match kind {
        PipelineKind::Lcnaug1 => list.push(Lcn),
        PipelineKind::Aug1Blackcenter => list.push(BlackOut { border: false }),
        PipelineKind::Aug1BlackcenterInverted => list.push(BlackOut { border: true }),
        _ => {}
    }
    list
}

/// The last transform, with its constants.
fn scaling(
    kind: PipelineKind,
    dataset: DatasetKind,
    unscaled: &Preprocessing,
    nominal: &ImageSource,
) -> Result<Transform> {
    if kind.normalises_contrast() {
        let jointly = matches!(dataset, DatasetKind::Cifar10 | DatasetKind::Cifar100);
        return constants::lcn_extremes(unscaled, nominal, jointly);
    }
    let fixed = match dataset {
        _ if unscaled.channels != 3 => None,
        _ if kind == PipelineKind::Imagenet => Some(IMAGENET),
        DatasetKind::Imagenet => Some(IMAGENET),
        DatasetKind::Pascalvoc => Some(PASCALVOC),
        _ => None,
    };
    match fixed {
        Some([mean, std]) => Ok(Transform::MeanStd { mean: mean.to_vec(), std: std.to_vec() }),
        None => constants::mean_std(unscaled, nominal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use crate::named::Named;
    use Transform::*;

    fn new(kind: PipelineKind, dataset: DatasetKind, raw: usize, side: usize, channels: usize) -> Preprocessing {
        let pixels = (0..3 * raw * raw * channels).map(|i| (i * 7 % 251) as u8).collect();
        let images = Images { count: 3, height: raw, width: raw, channels, pixels }.into();
        Preprocessing::new(kind, dataset, raw, side, channels, &images).unwrap()
    }

    /// At the side of the net; what comes after the last transform is its scaling.
    fn lists(kind: PipelineKind, dataset: DatasetKind, side: usize, channels: usize) -> [Vec<Transform>; 2] {
        let p = new(kind, dataset, raw_side(dataset, kind, side), side, channels);
        assert_eq!(p.train.last(), p.test.last());
        [p.train, p.test].map(|mut list| {
            let scaling = list.pop();
            assert_eq!(matches!(scaling, Some(MinMax { .. })), kind.normalises_contrast());
            list
        })
    }

    #[test]
    fn small_sets_are_the_papers() {
        let [train, test] = lists(PipelineKind::Lcnaug1, DatasetKind::Fmnist, 28, 1);
        assert_eq!(train, [PadCrop { pad: 2 }, Flip, Lcn]);
        assert_eq!(test, [Lcn]);
        let [train, test] = lists(PipelineKind::Aug1, DatasetKind::Fmnist, 28, 1);
        let grey = Jitter(Amounts { brightness: 0.1, contrast: 0.1, ..Amounts::default() });
        assert_eq!(train, [grey, PadCrop { pad: 3 }, Flip, ToUnit, Noise { std: 0.01 }]);
        assert_eq!(test, [ToUnit]);
        let cifar = [Jitter(Amounts::all(0.01)), PadCrop { pad: 4 }, Flip, ToUnit, Noise { std: 0.001 }];
        assert_eq!(lists(PipelineKind::Aug1, DatasetKind::Cifar10, 32, 3), [cifar.to_vec(), vec![ToUnit]]);
        for (kind, border) in [(PipelineKind::Aug1Blackcenter, false), (PipelineKind::Aug1BlackcenterInverted, true)] {
            let [train, test] = lists(kind, DatasetKind::Cifar10, 32, 3);
            assert_eq!(train, [&cifar[..], &[BlackOut { border }]].concat());
            assert_eq!(test, [ToUnit]);
        }
        assert_eq!(lists(PipelineKind::None, DatasetKind::Mnist, 28, 1), [[ToUnit], [ToUnit]]);
        assert_eq!(lists(PipelineKind::Lcn, DatasetKind::Cifar10, 32, 3), [[Lcn], [Lcn]]);
    }

    #[test]
    fn large_sets_are_the_papers() {
        let faint = Amounts { brightness: 0.005, contrast: 0.0005, saturation: 0.0005, hue: 0.0005 };
        let choice = |first, second| Choice { first: vec![first], second: vec![second] };
        let cut_or_whole = choice(Crop { side: 224 }, ResizeNearest { side: 224 });
        let colours = choice(Jitter(Amounts::all(0.04)), Jitter(faint));
        let [train, test] = lists(PipelineKind::Lcnaug1, DatasetKind::Mvtec, 224, 3);
        assert_eq!(train, [cut_or_whole.clone(), colours, ToUnit, SpreadNoise { share: 0.1 }, Clamp, Lcn]);
        assert_eq!(test, [ResizeNearest { side: 224 }, Lcn]);
        let photo = Jitter(Amounts::all(0.01));
        let ends = [ToUnit, Noise { std: 0.001 }];
        for dataset in [DatasetKind::Imagenet, DatasetKind::Custom] {
            let [train, test] = lists(PipelineKind::Aug1, dataset, 224, 3);
            assert_eq!(train, [&[photo.clone(), Flip, Crop { side: 224 }], &ends[..]].concat());
            assert_eq!(test, [CentreCrop { side: 224 }, ToUnit]);
        }
        let [train, test] = lists(PipelineKind::Aug1Masks, DatasetKind::Custom, 224, 3);
        assert_eq!(train, [&[cut_or_whole, Flip, photo.clone()], &ends[..]].concat());
        assert_eq!(test, [ResizeNearest { side: 224 }, ToUnit]);
        let [train, test] = lists(PipelineKind::Aug1, DatasetKind::Pascalvoc, 224, 3);
        assert_eq!(train, [&[photo], &ends[..]].concat());
        assert_eq!(test, [ToUnit]);
    }

    #[test]
    fn folders_are_shifted_and_nothing_is_cut_off() {
        let [train, test] = lists(PipelineKind::Lcnaug1, DatasetKind::Folder, 32, 3);
        let amounts = Amounts { brightness: 0.04, contrast: 0.04, ..Amounts::default() };
        assert_eq!(train, [Jitter(amounts), Shift { pad: 2 }, Flip, Lcn]);
        assert_eq!(test, [Lcn]);
        let p = new(PipelineKind::None, DatasetKind::Mnist, 28, 32, 1);
        assert_eq!(p.train, p.test);
        assert_eq!(p.test[..2], [ResizeNearest { side: 32 }, ToUnit]);
    }

    #[test]
    fn scalings_are_fixed_joint_or_of_each_channel() {
        let scaling = |kind, dataset, channels| new(kind, dataset, 40, 40, channels).test.pop().unwrap();
        let fixed = |[mean, std]: [[f32; 3]; 2]| MeanStd { mean: mean.to_vec(), std: std.to_vec() };
        assert_eq!(scaling(PipelineKind::Aug1, DatasetKind::Imagenet, 3), fixed(IMAGENET));
        assert_eq!(scaling(PipelineKind::Aug1, DatasetKind::Pascalvoc, 3), fixed(PASCALVOC));
        assert_eq!(scaling(PipelineKind::Imagenet, DatasetKind::Folder, 3), fixed(IMAGENET));
        assert!(
            matches!(scaling(PipelineKind::Imagenet, DatasetKind::Folder, 1), MeanStd { mean, .. } if mean.len() == 1)
        );
        assert_ne!(scaling(PipelineKind::Aug1, DatasetKind::Custom, 3), fixed(IMAGENET));
        let extremes = |dataset| match scaling(PipelineKind::Lcn, dataset, 3) {
            MinMax { min, max } => (min, max),
            other => panic!("{other:?}"),
        };
        let ((joint, _), (each, top)) = (extremes(DatasetKind::Cifar10), extremes(DatasetKind::Mvtec));
        assert!(joint == [joint[0]; 3] && each.contains(&joint[0]) && top.len() == 3);
    }

    #[test]
    fn raw_sides_are_the_papers_and_in_proportion() {
        let of = |dataset, side| raw_side(dataset, PipelineKind::Aug1, side);
        for (dataset, side, raw) in [
            (DatasetKind::Fmnist, 28, 28),
            (DatasetKind::Cifar10, 32, 32),
            (DatasetKind::Mvtec, 224, 240),
            (DatasetKind::Mvtec, 64, 69),
            (DatasetKind::Imagenet, 224, 256),
            (DatasetKind::Custom, 224, 248),
            (DatasetKind::Pascalvoc, 224, 224),
            (DatasetKind::Folder, 200, 200),
        ] {
            assert_eq!(of(dataset, side), raw, "{dataset:?}");
        }
        assert_eq!(raw_side(DatasetKind::Mvtec, PipelineKind::Lcn, 224), 224);
    }

    /// Every kind goes with every set, at the sides of the nets and at small ones.
    #[test]
    fn every_recipe_can_run() {
        for dataset in DatasetKind::all() {
            for kind in PipelineKind::all() {
                for (side, channels) in [(1, 3), (7, 1), (32, 3), (100, 3)] {
                    new(kind, dataset, raw_side(dataset, kind, side), side, channels);
                }
            }
        }
    }
}
