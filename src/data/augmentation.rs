//! What a user changes of a dataset's augmentation.

use serde::{Deserialize, Serialize};

use crate::data::jitter::Amounts;
use crate::data::pipeline::Transform;

/// Which mirror images are trained on, each axis with probability ½.
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
pub enum Flips {
    /// None: left and right, top and bottom stay where they are
    None,
    /// Left and right change places
    H,
    /// Top and bottom change places
    V,
    /// Left and right, and independently top and bottom
    Hv,
}

/// By which angles training images are turned.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
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
pub enum Rotation {
    /// Not at all
    #[default]
    None,
    /// By 0, 90, 180 or 270°, each as likely; exact, pixel by pixel
    Quarter,
}

/// Changes of a list of transforms for training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Augmentation {
    /// Instead of the list's own.
    pub flips: Option<Flips>,
    /// After the list's own geometry.
    pub rotation: Rotation,
    /// The amount by which brightness and contrast change, instead of the list's own.
    pub brightness: Option<f32>,
}

impl Augmentation {
    /// A list with these changes; what is not asked for stays.
    pub(crate) fn of(&self, mut list: Vec<Transform>) -> Vec<Transform> {
        if let Some(amount) = self.brightness {
            let jitters = |t: &Transform| t.parts().iter().any(|part| matches!(part, Transform::Jitter(_)));
            if !list.iter().any(jitters) {
                list.insert(0, Transform::Jitter(Amounts::default()));
            }
            list = brightened(&list, amount);
        }
        if let Some(flips) = self.flips {
            let is_flip = |t: &Transform| matches!(t, Transform::Flip | Transform::FlipVertical);
            let at = list.iter().position(is_flip).unwrap_or_else(|| end_of_bytes(&list));
            list.retain(|transform| !is_flip(transform));
            let flips: &[Transform] = match flips {
                Flips::None => &[],
                Flips::H => &[Transform::Flip],
                Flips::V => &[Transform::FlipVertical],
                Flips::Hv => &[Transform::Flip, Transform::FlipVertical],
            };
            list.splice(at..at, flips.iter().cloned());
        }
        if self.rotation == Rotation::Quarter {
            list.insert(end_of_bytes(&list), Transform::QuarterTurn);
        }
        list
    }
}

/// A list for squares of which `shown` rows or columns show an image, at least: where that is little, shifts leave three quarters of them.
pub(crate) fn within(shown: usize, mut list: Vec<Transform>) -> Vec<Transform> {
    for transform in &mut list {
        if let Transform::Shift { pad } = transform {
            *pad = (*pad).min(shown / 4);
        }
    }
    list
}

/// The place of the transform that turns bytes into floats.
fn end_of_bytes(list: &[Transform]) -> usize {
    list.iter().position(Transform::makes_floats).unwrap_or(list.len())
}

/// A list whose brightness and contrast change by this amount wherever they change.
fn brightened(list: &[Transform], amount: f32) -> Vec<Transform> {
    let one = |transform: &Transform| match transform {
        Transform::Jitter(amounts) => {
            let amounts = Amounts { brightness: amount, contrast: amount, ..*amounts };
            (amounts != Amounts::default()).then_some(Transform::Jitter(amounts))
        }
        Transform::Choice { first, second } => {
            Some(Transform::Choice { first: brightened(first, amount), second: brightened(second, amount) })
        }
        other => Some(other.clone()),
    };
    list.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transform::*;

    fn jitter(amount: f32) -> Transform {
        Jitter(Amounts { brightness: amount, contrast: amount, ..Amounts::default() })
    }

    #[test]
    fn only_what_is_asked_for_changes() {
        let list = vec![jitter(0.04), Flip, Shift { pad: 2 }, ToUnit, Noise { std: 0.01 }];
        let of = |augmentation: Augmentation| augmentation.of(list.clone());
        assert_eq!(of(Augmentation::default()), list);
        let flips = |flips| of(Augmentation { flips: Some(flips), ..Augmentation::default() });
        assert_eq!(flips(Flips::H), list);
        assert_eq!(flips(Flips::None), [&list[..1], &list[2..]].concat());
        assert_eq!(flips(Flips::V), [&list[..1], &[FlipVertical], &list[2..]].concat());
        assert_eq!(flips(Flips::Hv), [&list[..2], &[FlipVertical], &list[2..]].concat());
        let turned = of(Augmentation { rotation: Rotation::Quarter, ..Augmentation::default() });
        assert_eq!(turned, [&list[..3], &[QuarterTurn], &list[3..]].concat());
        let brightness = |amount| of(Augmentation { brightness: Some(amount), ..Augmentation::default() });
        assert_eq!(brightness(0.3), [&[jitter(0.3)], &list[1..]].concat());
        assert_eq!(brightness(0.0), list[1..]);
    }

    #[test]
    fn shifts_leave_something_of_what_is_shown() {
        let list = |pad| vec![Shift { pad }, Flip];
        assert_eq!(within(224, list(14)), list(14));
        assert_eq!(within(13, list(14)), list(3));
        assert_eq!(within(1, list(14)), list(0));
    }

    /// Lists without flips or jitter of their own, and those where the jitter is one of two.
    #[test]
    fn what_a_list_lacks_is_added_and_choices_are_gone_through() {
        let all = Augmentation { flips: Some(Flips::V), rotation: Rotation::Quarter, brightness: Some(0.5) };
        assert_eq!(
            all.of(vec![Crop { side: 4 }, Lcn]),
            [jitter(0.5), Crop { side: 4 }, FlipVertical, QuarterTurn, Lcn]
        );
        let faint = Jitter(Amounts { hue: 0.1, ..Amounts::default() });
        let choice = |first, second| Choice { first, second };
        let dark = Augmentation { brightness: Some(0.0), ..Augmentation::default() };
        let changed = dark.of(vec![choice(vec![jitter(0.2)], vec![Jitter(Amounts { hue: 0.1, ..Amounts::all(0.0) })])]);
        assert_eq!(changed, [choice(vec![], vec![faint])]);
        assert_eq!(dark.of(vec![Lcn]), [Lcn]);
    }
}
