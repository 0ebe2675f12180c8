//! Settings as keyword arguments.

use std::path::PathBuf;

use fcdd::Settings;
use fcdd::settings::{DatasetKind, Named, Setting, ValueForm};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::errors::{raised, wrong};

/// The settings of a dataset, or of a folder of images where none is named, with what is given. None is as if it were left out; `class` is
/// a word of the language, and the setting an argument `class_`.
pub(crate) fn of(
    dataset: Option<&str>,
    data: Option<PathBuf>,
    given: Option<&Bound<'_, PyDict>>,
) -> PyResult<Settings> {
    let dataset = match dataset {
        Some(word) => DatasetKind::parse(word).ok_or_else(|| {
            let words: Vec<&str> = DatasetKind::all().into_iter().map(Named::word).collect();
            wrong(format!("there is no dataset '{word}'"), &format!("choose one of {}", words.join(", ")))
        })?,
        None => Settings::folder("").dataset,
    };
    let mut texts = Vec::new();
    if let Some(data) = data {
        texts.push(("data".to_string(), unicode(data)?));
    }
    for (name, value) in given.into_iter().flatten().filter(|(_, value)| !value.is_none()) {
        let name: String = name.extract()?;
        texts.push((if name == "class_" { "class".to_string() } else { name }, text(&value)?));
    }
    let texts: Vec<(&str, String)> = texts.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    Settings::with(dataset, &texts).map_err(raised)
}

/// A value as settings are written.
fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(is_on) = value.cast::<PyBool>() {
        return Ok(is_on.is_true().to_string());
    }
    match value.extract::<PathBuf>() {
        Ok(path) => unicode(path),
        Err(_) => Ok(value.str()?.to_string()),
    }
}

fn unicode(path: PathBuf) -> PyResult<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| wrong(format!("{} is not named in Unicode", path.to_string_lossy()), "rename it"))
}

/// What a setting is called, what its values look like, the words that it chooses from, and what it means.
type About = (&'static str, &'static str, Vec<&'static str>, String);

/// All settings, of which `scripts/python-settings` makes the keyword arguments that type checkers know.
#[pyfunction]
pub(crate) fn settings() -> Vec<About> {
    let about = |setting: &Setting| {
        let words =
            |words: fn() -> Vec<(&'static str, &'static str)>| words().into_iter().map(|(word, _)| word).collect();
        let (form, words) = match setting.form() {
            ValueForm::Bool => ("bool", Vec::new()),
            ValueForm::Integer => ("integer", Vec::new()),
            ValueForm::Number => ("number", Vec::new()),
            ValueForm::Path => ("path", Vec::new()),
            ValueForm::Choice(all) => ("choice", words(all)),
            _ => ("text", Vec::new()),
        };
        (setting.name(), form, words, setting.about().to_string())
    };
    let datasets = DatasetKind::all().into_iter().map(Named::word).collect();
    let dataset = ("dataset", "choice", datasets, "The dataset, where it is not a folder of your own".to_string());
    Setting::all().iter().map(about).chain([dataset]).collect()
}
