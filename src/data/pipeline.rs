//! Preprocessing as data: a list of transforms for training and one for testing.
//!
//! The lists are plain values that serialise; the test list travels inside the model file. Each dataset writes its own,
//! [`crate::data::interpret`] runs them. An image passes a list as bytes first (geometry, colour jitter), then [`Transform::ToUnit`] or [`Transform::Lcn`]
//! turns it into floats, which the rest scales. A ground-truth map takes the geometric transforms only.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::data::images::Mask;
use crate::data::jitter::Amounts;
use crate::data::levels::Levels;
use crate::data::resize_mode::{RawForm, Region, ResizeMode};
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
    /// Bytes: cut out the `side × side` pixels in the middle.
    CentreCrop {
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
    /// Bytes: mirror top and bottom with probability ½.
    FlipVertical,
    /// Bytes: turn clockwise by 0, 90, 180 or 270°, each as likely.
    QuarterTurn,
    /// Bytes: brightness, contrast, saturation and hue change at random, as torchvision's `ColorJitter` does.
    Jitter(Amounts),
    /// Bytes: with probability ½ each, one of two lists, which end at the same side and hold no other choice.
    Choice {
        /// What passes on heads.
        first: Vec<Transform>,
        /// And on tails.
        second: Vec<Transform>,
    },
    /// Bytes to floats: divide by 255.
    ToUnit,
    /// Local contrast normalisation (l1) over all values of the image, bytes or floats in [0, 1]; constant images become zeros.
    Lcn,
    /// Floats: add normal noise.
    Noise {
        /// Its standard deviation.
        std: f32,
    },
    /// Floats straight from [`Transform::ToUnit`]: with probability ½, add normal noise in proportion to the standard deviation of
    /// the image's values.
    SpreadNoise {
        /// Its standard deviation as a share of the image's.
        share: f32,
    },
    /// Floats: what lies outside [0, 1] becomes 0 or 1.
    Clamp,
    /// Floats: the centre, a margin of a fifth of the side left out on each side, becomes 0. The map stays.
    BlackOut {
        /// Whether the margin becomes 0 instead.
        border: bool,
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
pub enum PipelineKind {
    /// The dataset's augmentation, local contrast normalisation, scaled to the minimum and maximum over the normal images
    Lcnaug1,
    /// The dataset's augmentation, scaled by mean and standard deviation of the normal images
    Aug1,
    /// As aug1, for custom data with masks: the whole image is scored, not its centre
    Aug1Masks,
    /// As aug1; the centre of each training image, 60 % of its side, is black
    Aug1Blackcenter,
    /// As aug1; all but the centre of each training image, 60 % of its side, is black
    Aug1BlackcenterInverted,
    /// As aug1, with the mean and standard deviation of ImageNet, for pretrained nets
    Imagenet,
    /// No augmentation; local contrast normalisation, scaled to the minimum and maximum over the normal images
    Lcn,
    /// No augmentation; scaled by mean and standard deviation of the normal images
    None,
}

impl PipelineKind {
    /// Whether inputs are normalised in contrast, so that their brightness does not compare.
    pub(crate) fn normalises_contrast(self) -> bool {
        matches!(self, PipelineKind::Lcnaug1 | PipelineKind::Lcn)
    }

    /// Whether training images are augmented.
    pub(crate) fn augments(self) -> bool {
        !matches!(self, PipelineKind::Lcn | PipelineKind::None)
    }
}

/// How an image of the raw side becomes an input of the net, in training and in testing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Channels throughout: 1 or 3.
    pub channels: usize,
    /// Side of the images that come in.
    pub raw_side: usize,
    /// How images are brought to that side.
    #[serde(default, rename = "fit")]
    pub resize: ResizeMode,
    /// How samples of 16 bits become bytes.
    #[serde(default)]
    pub levels: Levels,
    /// Side of the inputs that go out.
    pub side: usize,
    /// What training samples pass.
    pub train: Vec<Transform>,
    /// What test samples pass: nothing random.
    pub test: Vec<Transform>,
}

impl Preprocessing {
    /// The raw images that come in.
    pub fn raw_form(&self) -> RawForm {
        RawForm { side: self.raw_side, channels: self.channels, resize: self.resize, levels: self.levels }
    }

    /// The part of an image of (height, width) that a test input shows.
    pub fn seen(&self, size: (usize, usize)) -> Region {
        let cropped = |(from, region): (usize, Region), transform: &Transform| {
            let to = transform.side_after(from);
            (to, if matches!(transform, Transform::CentreCrop { .. }) { region.centre(from, to) } else { region })
        };
        self.test.iter().fold((self.raw_side, self.resize.region(size)), cropped).1
    }

    /// The part of an image's mask that a test input shows, at the image's own size.
    pub fn visible<'a>(&self, mask: &'a Mask) -> Cow<'a, Mask> {
        let Region { top, left, height, width } = self.seen((mask.height, mask.width));
        if (height, width) == (mask.height, mask.width) {
            return Cow::Borrowed(mask);
        }
        let rows = mask.pixels.chunks_exact(mask.width).skip(top).take(height);
        let pixels = rows.flat_map(|row| &row[left..left + width]).copied().collect();
        Cow::Owned(Mask { height, width, pixels })
    }

    /// Values per input: `side * side * channels`.
    pub fn input_len(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// An input of the net as bytes to look at, the last scaling undone. Local contrast normalisation has no scale of its own:
    /// there the smallest value becomes black and the largest white.
    pub fn viewable(&self, input: &[f32]) -> Vec<u8> {
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
        self.levels.check()?;
        if self.test.iter().any(Transform::is_random) {
            return fail("of test images is random".to_string());
        }
        for list in [&self.train, &self.test] {
            let count = list.iter().map(|transform| transform.parts().len()).sum::<usize>();
            if count > MOST_TRANSFORMS {
                return fail(format!("of {count} transforms ({MOST_TRANSFORMS} are possible)"));
            }
            let (mut side, mut form) = (self.raw_side, Form::Bytes);
            for transform in list {
                match transform.form_after(form) {
                    Some(after) if transform.fits(side, self.channels) => form = after,
                    _ => return fail(format!("has {transform:?} where it cannot stand")),
                }
                side = transform.side_after(side);
            }
            if side != self.side || form == Form::Bytes {
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

/// What the values of an image are between two transforms.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Bytes,
    /// Bytes over 255.
    Unit,
    /// Floats in [0, 1].
    Clamped,
    Floats,
}

/// How many numbers of a sample's `Augment` stream a list takes.
pub(crate) fn draws_of(list: &[Transform]) -> u32 {
    list.iter().map(Transform::draws).sum()
}

/// The side of an image after a list.
fn side_of(list: &[Transform], before: usize) -> usize {
    list.iter().fold(before, |side, transform| transform.side_after(side))
}

impl Transform {
    fn is_random(&self) -> bool {
        matches!(self, Transform::Noise { .. }) || self.draws() > 0
    }

    /// How many numbers of a sample's `Augment` stream it takes.
    pub(crate) fn draws(&self) -> u32 {
        match self {
            Transform::PadCrop { .. } | Transform::Shift { .. } | Transform::Crop { .. } => 2,
            Transform::Flip | Transform::FlipVertical | Transform::QuarterTurn | Transform::SpreadNoise { .. } => 1,
            Transform::Jitter(amounts) => amounts.draws(),
            Transform::Choice { first, second } => 1 + draws_of(first) + draws_of(second),
            _ => 0,
        }
    }

    /// Whether it turns bytes into floats.
    pub(crate) fn makes_floats(&self) -> bool {
        matches!(self, Transform::ToUnit | Transform::Lcn)
    }

    /// The transforms that it consists of: itself, or those of both lists of a choice.
    pub(crate) fn parts(&self) -> Vec<&Transform> {
        match self {
            Transform::Choice { first, second } => first.iter().chain(second).collect(),
            _ => vec![self],
        }
    }

    /// What it makes of an image's values; None where it cannot take them.
    fn form_after(&self, before: Form) -> Option<Form> {
        use Transform::*;
        match (self, before) {
            (Lcn, Form::Bytes | Form::Unit | Form::Clamped) => Some(Form::Floats),
            (ToUnit, Form::Bytes) => Some(Form::Unit),
            (SpreadNoise { .. }, Form::Unit) => Some(Form::Floats),
            (Lcn | ToUnit | SpreadNoise { .. }, _) => None,
            (Noise { .. } | Clamp | BlackOut { .. } | MinMax { .. } | MeanStd { .. }, Form::Bytes) => None,
            (Clamp, _) => Some(Form::Clamped),
            (Noise { .. } | BlackOut { .. } | MinMax { .. } | MeanStd { .. }, _) => Some(Form::Floats),
            (_, Form::Bytes) => Some(Form::Bytes),
            _ => None,
        }
    }

    /// The side of an image afterwards.
    pub(crate) fn side_after(&self, before: usize) -> usize {
        match self {
            Transform::Crop { side } | Transform::CentreCrop { side } | Transform::ResizeNearest { side } => *side,
            Transform::Choice { first, .. } => side_of(first, before),
            _ => before,
        }
    }

    /// Whether the transform can be applied to an image of this side and these channels.
    fn fits(&self, before: usize, channels: usize) -> bool {
        let per_channel = |a: &[f32], b: &[f32]| a.len() == channels && b.len() == channels;
        match self {
            Transform::PadCrop { pad } => *pad <= MAX_SIDE,
            Transform::Shift { pad } => *pad < before,
            Transform::Crop { side } | Transform::CentreCrop { side } => (1..=before).contains(side),
            Transform::ResizeNearest { side } => (1..=MAX_SIDE).contains(side),
            Transform::Jitter(amounts) => amounts.are_valid(),
            Transform::Noise { std: size } | Transform::SpreadNoise { share: size } => size.is_finite(),
            Transform::Choice { first, second } => {
                let fits = |list: &[Transform]| {
                    let mut side = before;
                    list.iter().all(|transform| {
                        let good = !matches!(transform, Transform::Choice { .. })
                            && transform.form_after(Form::Bytes) == Some(Form::Bytes)
                            && transform.fits(side, channels);
                        side = transform.side_after(side);
                        good
                    })
                };
                fits(first) && fits(second) && side_of(first, before) == side_of(second, before)
            }
            Transform::MinMax { min, max } => per_channel(min, max) && min.iter().zip(max).all(|(a, b)| a < b),
            Transform::MeanStd { mean, std } => per_channel(mean, std) && std.iter().all(|&s| s > 0.0),
            Transform::Flip
            | Transform::FlipVertical
            | Transform::QuarterTurn
            | Transform::ToUnit
            | Transform::Lcn
            | Transform::Clamp
            | Transform::BlackOut { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_source::ImageSource;
    use crate::data::images::Images;
    use crate::datasets::DatasetKind;
    use crate::datasets::custom::CUSTOM;
    use crate::datasets::folder::FOLDER;
    use crate::datasets::imagenet::IMAGENET;
    use crate::datasets::mvtec::MVTEC;
    use crate::named::Named;
    use Transform::*;

    fn images(side: usize, channels: usize) -> ImageSource {
        let pixels = (0..3 * side * side * channels).map(|i| (i * 7 % 251) as u8).collect();
        Images { count: 3, height: side, width: side, channels, pixels }.into()
    }

    fn new(kind: PipelineKind, dataset: DatasetKind, raw: usize, side: usize, channels: usize) -> Preprocessing {
        dataset.recipe.preprocessing(kind, raw, side, channels, &images(raw, channels)).unwrap()
    }

    #[test]
    fn what_an_input_shows_is_known() {
        let whole = Region::whole((40, 80));
        assert_eq!(new(PipelineKind::Aug1, MVTEC, 32, 28, 3).seen((40, 80)), whole);
        let cropped = new(PipelineKind::Aug1, IMAGENET, 32, 28, 1);
        // 28 of 32 rows and columns of the centre square; 2 of 32 are 2.5 of 40.
        assert_eq!(cropped.seen((40, 80)), Region { top: 3, left: 23, height: 35, width: 35 });
        // A raw image that is bright where an input is said to show it.
        let raw = (0..32 * 32).map(|i| u8::from((2..30).contains(&(i / 32)) && (2..30).contains(&(i % 32))) * 200);
        let raw = Images { count: 1, height: 32, width: 32, channels: 1, pixels: raw.collect() };
        assert_eq!(cropped.seen((32, 32)), Region { top: 2, left: 2, height: 28, width: 28 });
        let mut input = vec![0.0; cropped.input_len()];
        cropped.apply_test(&raw.pixels, &mut input);
        assert_eq!(cropped.viewable(&input), [200; 28 * 28]);

        let mut mask = Mask { height: 40, width: 80, pixels: vec![0; 40 * 80] };
        mask.pixels[3 * 80 + 23] = 1;
        let visible = cropped.visible(&mask);
        assert_eq!((visible.height, visible.width, visible.pixels[0]), (35, 35, 1));
        assert_eq!(*new(PipelineKind::Aug1Masks, CUSTOM, 32, 28, 3).visible(&mask), mask);
    }

    #[test]
    fn inputs_can_be_looked_at() {
        for (kind, channels) in [(PipelineKind::None, 1), (PipelineKind::Aug1, 3), (PipelineKind::Lcnaug1, 3)] {
            let p = new(kind, FOLDER, 4, 4, channels);
            let image: Vec<u8> = (0..16 * channels).map(|i| (i * 5) as u8).collect();
            let mut input = vec![0.0; p.input_len()];
            p.apply_test(&image, &mut input);
            let stretched: Vec<u8> = match kind {
                PipelineKind::Lcnaug1 => image.iter().map(|&v| (f32::from(v) * 255.0 / 235.0).round() as u8).collect(),
                _ => image,
            };
            assert_eq!(p.viewable(&input), stretched, "{kind:?}");
        }
        assert_eq!(new(PipelineKind::Lcnaug1, FOLDER, 1, 1, 1).viewable(&[0.5]), [0], "constant images");
    }

    #[test]
    fn lists_survive_json() {
        for kind in PipelineKind::all() {
            let p = new(kind, MVTEC, 34, 32, 3);
            let json = serde_json::to_string(&p).unwrap();
            assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), p, "{json}");
        }
        // As models held it when only brightness and contrast changed.
        let jitter: Transform = serde_json::from_str(r#"{"jitter":{"brightness":0.1,"contrast":0.2}}"#).unwrap();
        assert_eq!(jitter, Jitter(Amounts { brightness: 0.1, contrast: 0.2, ..Amounts::default() }));
    }

    #[test]
    fn lists_that_cannot_run_are_refused() {
        let good = new(PipelineKind::Lcnaug1, FOLDER, 32, 28, 1);
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
        refused(|p| p.test.insert(0, FlipVertical));
        refused(|p| p.test.insert(0, QuarterTurn));
        refused(|p| p.test.swap(1, 2));
        refused(|p| p.test.push(Lcn));
        refused(|p| p.train[0] = Crop { side: 40 });
        refused(|p| p.train[0] = CentreCrop { side: 40 });
        refused(|p| p.train[0] = Jitter(Amounts { hue: 0.6, ..Amounts::default() }));
        refused(|p| p.train[0] = Jitter(Amounts { contrast: f32::NAN, ..Amounts::default() }));
        refused(|p| p.train[0] = SpreadNoise { share: 0.1 });
        refused(|p| p.train[0] = Choice { first: vec![Flip], second: vec![Crop { side: 9 }] });
        refused(|p| p.train[0] = Choice { first: vec![ToUnit], second: vec![ToUnit] });
        refused(|p| p.train[0] = Choice { first: vec![], second: vec![Choice { first: vec![], second: vec![] }] });
        refused(|p| p.train[0] = Choice { first: vec![Flip; MOST_TRANSFORMS], second: vec![] });
        refused(|p| p.test.insert(0, Choice { first: vec![], second: vec![] }));
        refused(|p| p.train.push(Lcn));
        refused(|p| p.train.push(SpreadNoise { share: 0.1 }));
        refused(|p| p.train.push(Noise { std: f32::INFINITY }));
        refused(|p| p.test[2] = MinMax { min: vec![f32::NAN], max: vec![1.0] });
        refused(|p| p.test[2] = MeanStd { mean: vec![0.0], std: vec![0.0] });
    }
}
