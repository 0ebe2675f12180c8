//! How the values of settings are written as text and read from it.

use std::path::PathBuf;

use crate::data::augmentation::{Flips, Rotation};
use crate::data::image_source::Hold;
use crate::data::pipeline::PipelineKind;
use crate::data::resize_mode::ResizeMode;
use crate::data::supervise::{NoiseMix, NoiseMode, Supervise};
use crate::datasets::labelled::LabelledSource;
use crate::datasets::outliers::OutlierSource;
use crate::device::DType;
use crate::engine::lower::Optimizer;
use crate::engine::schedule::Schedule;
use crate::model::Objective;
use crate::model::image_score::ImageScore;
use crate::named::Named;
use crate::steps::hsc_loss::Gradient;

/// What the text of a setting's value looks like.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum ValueForm {
    /// A name, or a notation of the setting's own.
    Text,
    /// A path of a file or folder.
    Path,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of these words, each with its explanation.
    Choice(fn() -> Vec<(&'static str, &'static str)>),
    /// Such words with commas between, and shares after colons.
    Mix(fn() -> Vec<(&'static str, &'static str)>),
}

/// What the fields of [`Settings`](super::Settings) hold.
pub(super) trait SettingValue: Sized {
    const FORM: ValueForm;

    /// Reads a value, or says why not.
    fn read(text: &str) -> Result<Self, String>;

    /// As [`SettingValue::read`] reads it; None for a value that is not set.
    fn text(&self) -> Option<String>;

    /// As a page shows it.
    fn shown(&self) -> Option<String> {
        self.text()
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const FORM: ValueForm = T::FORM;

    fn read(text: &str) -> Result<Self, String> {
        T::read(text).map(Some)
    }

    fn text(&self) -> Option<String> {
        self.as_ref().and_then(T::text)
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(T::shown)
    }
}

impl SettingValue for PathBuf {
    const FORM: ValueForm = ValueForm::Path;

    fn read(text: &str) -> Result<Self, String> {
        Ok(PathBuf::from(text))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string_lossy().into_owned())
    }
}

impl SettingValue for bool {
    const FORM: ValueForm = ValueForm::Bool;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write true or false".to_string())
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn shown(&self) -> Option<String> {
        Some(if *self { "yes" } else { "no" }.to_string())
    }
}

/// Types that are read and written by `FromStr` and `Display`.
macro_rules! plain {
    ($form:ident: $($type:ty),*) => { $(
        impl SettingValue for $type {
            const FORM: ValueForm = ValueForm::$form;

            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|e: <$type as std::str::FromStr>::Err| e.to_string())
            }

            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}

plain!(Integer: u32, u64, usize);
plain!(Number: f64);
plain!(Text: String, Hold, ImageScore, LabelledSource, OutlierSource, ResizeMode, Schedule);

impl SettingValue for NoiseMix {
    const FORM: ValueForm = ValueForm::Mix(explained::<NoiseMode>);

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: crate::error::Error| e.to_string())
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn shown(&self) -> Option<String> {
        match self.modes() {
            [(mode, _)] => Some(shown(*mode)),
            modes => {
                let of: u32 = modes.iter().map(|(_, share)| share).sum();
                let share = |(mode, share): &(NoiseMode, u32)| format!("{share} of {of}: {}", shown(*mode));
                Some(modes.iter().map(share).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// The words of a closed set, each with its explanation.
fn explained<T: Named>() -> Vec<(&'static str, &'static str)> {
    T::all().into_iter().map(|value| (value.word(), value.explanation())).collect()
}

/// A value of a closed set as a page shows it.
fn shown<T: Named>(value: T) -> String {
    let explanation = value.explanation().trim_end_matches('.');
    if explanation.is_empty() { value.word().to_string() } else { format!("{}: {explanation}", value.word()) }
}

/// Closed sets of named values.
macro_rules! named {
    ($($type:ty),*) => { $(
        impl SettingValue for $type {
            const FORM: ValueForm = ValueForm::Choice(explained::<$type>);

            fn read(text: &str) -> Result<Self, String> {
                let words = || <$type>::all().into_iter().map(Named::word).collect::<Vec<_>>().join(", ");
                Named::parse(text).ok_or_else(|| format!("choose one of {}", words()))
            }

            fn text(&self) -> Option<String> {
                Some(self.word().to_string())
            }

            fn shown(&self) -> Option<String> {
                Some(shown(*self))
            }
        }
    )* };
}

named!(Objective, Gradient, DType, PipelineKind, Flips, Rotation, Supervise, Optimizer);
