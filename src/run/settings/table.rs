//! The table of settings: a setting is a field of [`Settings`], whose docs are its help, its default in `presets.rs` or, where it depends
//! on the dataset, `datasets/preset.rs`, and its line here, which says what it is called and what is refused. The command line's flags, the
//! command that reproduces a run and the page of a run are made from it.

use std::fmt;

use super::Settings;
use super::check::{self, refuse, within};
use super::docs;
use super::value::{SettingValue, ValueForm};
use crate::data::augmentation::Rotation;
use crate::data::supervise::Supervise;
use crate::error::Result;
use crate::model::Objective;
use crate::steps::upsample::MIN_SIGMA;

/// What there is to know of one of the [`Settings`], for programs that offer them to people: its values can be given as text
/// ([`Settings::with`]).
pub struct Setting {
    /// Its field in [`Settings`].
    pub(crate) name: &'static str,
    pub(crate) group: SettingGroup,
    /// Its name in a table.
    pub(crate) title: &'static str,
    pub(crate) form: ValueForm,
    /// What stands for its value in help.
    pub(crate) placeholder: &'static str,
    /// The value that is chosen by naming the setting alone, for those that are on or off.
    pub(crate) switch: Option<bool>,
    /// Whether it tells apart the runs of a sweep.
    pub(crate) per_run: bool,
    read: fn(&mut Settings, &str) -> Result<(), String>,
    text: fn(&Settings) -> Option<String>,
    shown: fn(&Settings) -> Option<String>,
    matters: fn(&Settings) -> bool,
    check: fn(&Settings) -> Result<()>,
}

/// Epochs, at most: some more are numbered after the last for samples that the net was not trained on.
pub(crate) const MAX_EPOCHS: u32 = 1_000_000;

/// Passes of an epoch, at most.
const MAX_PASSES: u32 = 1000;

/// What settings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingGroup {
    Daily,
    Anomalies,
    Optimisation,
    Heatmaps,
    /// What the paper's experiments vary.
    Paper,
}

/// The setting that a field holds.
macro_rules! setting {
    ($field:ident, $group:ident, $title:literal) => {
        Setting {
            name: stringify!($field),
            group: SettingGroup::$group,
            title: $title,
            form: form(|settings| &settings.$field),
            placeholder: "N",
            switch: None,
            per_run: false,
            read: |settings, text| SettingValue::read(text).map(|value| settings.$field = value),
            text: |settings| settings.$field.text(),
            shown: |settings| settings.$field.shown(),
            matters: |_| true,
            check: |_| Ok(()),
        }
    };
}

/// The form of a field's values.
const fn form<T: SettingValue>(_: fn(&Settings) -> &T) -> ValueForm {
    T::FORM
}

/// All settings but the dataset, in the order that help and pages have them.
pub(crate) static SETTINGS: [Setting; 45] = [
    setting!(data, Daily, "Data").value("PATH"),
    setting!(epochs, Daily, "Epochs").check(|s| within("epochs", s.epochs, MAX_EPOCHS)),
    setting!(side, Daily, "Input side").value("PIXELS"),
    setting!(fit, Daily, "Fit").value("FIT").check(check::fit),
    setting!(roi, Daily, "Mask of what counts").value("MASK").check(|s| check::mask(s, "roi", s.roi.as_deref())),
    setting!(ignore, Daily, "Mask of what does not count")
        .value("MASK")
        .check(|s| check::mask(s, "ignore", s.ignore.as_deref())),
    setting!(net, Daily, "Net").value("NET"),
    setting!(weights, Daily, "Pretrained weights").value("FILE"),
    setting!(batch, Daily, "Images per step").value("N"),
    setting!(flips, Daily, "Mirror images").value("AXES").check(|s| check::augments(s, "flips", s.flips.is_some())),
    setting!(rotate, Daily, "Turns")
        .value("ANGLES")
        .shown_where(|s| s.rotate != Rotation::None)
        .check(|s| check::augments(s, "rotate", s.rotate != Rotation::None)),
    setting!(brightness, Daily, "Brightness and contrast changed by").value("SHARE").check(check::brightness),
    setting!(precision, Daily, "Precision").value("PRECISION").check(check::precision),
    setting!(exact, Daily, "All products of convolutions").switch(true),
    setting!(hold, Daily, "Held in memory").value("WHEN"),
    setting!(skip_broken, Daily, "Broken images left out").switch(true),
    setting!(seed, Daily, "Seed").per_run(),
    setting!(supervise, Anomalies, "Anomalies").value("MODE").check(check::supervise),
    setting!(noise, Anomalies, "Noise").value("MODE").shown_where(|s| s.supervise.makes_noise()).check(check::noise),
    setting!(outliers, Anomalies, "Outliers").value("KIND:PATH").check(check::outliers),
    setting!(labelled, Anomalies, "Labelled defects").value("DIR").check(check::labelled),
    setting!(labelled_share, Anomalies, "Labelled defects, per cent of anomalies")
        .value("PERCENT")
        .shown_where(|s| s.labelled.is_some() && s.supervise.makes_noise())
        .check(check::labelled_share),
    setting!(oe_limit, Anomalies, "Outliers or labelled defects at most").check(check::oe_limit),
    setting!(maps, Anomalies, "Ground-truth maps").shown_where(|s| s.objective == Objective::Fcdd).check(check::maps),
    setting!(part_gap, Anomalies, "Part gap").check(check::part_gap),
    setting!(lr, Optimisation, "Learning rate").value("LR").check(|s| match s.lr {
        lr if lr.is_finite() && lr > 0.0 => Ok(()),
        lr => refuse("lr", format!("{lr} is not a learning rate"), "choose a positive number, such as 1e-3"),
    }),
    setting!(schedule, Optimisation, "Schedule").value("SCHEDULE").check(|s| match s.schedule.gamma() {
        gamma if gamma.is_finite() && gamma > 0.0 => Ok(()),
        gamma => refuse(
            "schedule",
            format!("{gamma} is no factor of a learning rate"),
            "choose one above 0, such as lambda:0.98",
        ),
    }),
    setting!(optimizer, Optimisation, "Optimizer").value("OPTIMIZER"),
    setting!(weight_decay, Optimisation, "Weight decay").value("W").check(|s| match s.weight_decay {
        weight if weight.is_finite() && weight >= 0.0 => Ok(()),
        weight => refuse("weight_decay", format!("{weight} is not a weight decay"), "choose 0 or more"),
    }),
    setting!(patience, Optimisation, "Epochs without a better one")
        .check(|s| within("patience", s.patience.unwrap_or(1), MAX_EPOCHS).and_then(|()| check::patience(s))),
    setting!(calibration_share, Optimisation, "Good images held out for the threshold, per cent")
        .value("PERCENT")
        .check(check::calibration_share),
    setting!(fpr, Optimisation, "False positive rate").value("RATE").check(check::fpr),
    setting!(passes, Optimisation, "Passes per epoch").check(|s| within("passes", s.passes, MAX_PASSES)),
    setting!(views, Optimisation, "Views per image").check(check::views),
    setting!(reestimate, Optimisation, "Statistics re-estimated"),
    setting!(sigma, Heatmaps, "Gaussian of the heatmaps")
        .value("PIXELS")
        .shown_where(|s| s.objective != Objective::Ae)
        .check(|s| match s.sigma {
            sigma if sigma.is_finite() && sigma >= MIN_SIGMA => Ok(()),
            sigma => refuse(
                "sigma",
                format!("{sigma} is not a standard deviation"),
                &format!("choose {MIN_SIGMA} pixels or more"),
            ),
        }),
    setting!(image_score, Heatmaps, "Score of an image")
        .value("SCORE")
        .shown_where(|s| s.objective != Objective::Hsc)
        .check(check::image_score),
    setting!(quantile, Heatmaps, "Hottest colour").value("Q").check(|s| match s.quantile {
        quantile if quantile > 0.0 && quantile <= 1.0 => Ok(()),
        quantile => refuse("quantile", format!("{quantile} is not a quantile"), "choose a number in (0, 1]"),
    }),
    setting!(class, Paper, "Class").value("CLASS").per_run(),
    setting!(objective, Paper, "Objective").value("OBJECTIVE"),
    setting!(gradient, Paper, "Gradient")
        .value("GRADIENT")
        .shown_where(|s| s.objective == Objective::Hsc)
        .check(check::gradient),
    setting!(bias, Paper, "Biases").switch(false),
    setting!(pipeline, Paper, "Preprocessing").value("PIPELINE"),
    setting!(offline_supervision, Paper, "Anomalies made before training").switch(true).check(|s| {
        match s.offline_supervision && s.supervise == Supervise::Unsupervised {
            false => Ok(()),
            true => refuse(
                "offline_supervision",
                "has no effect with `supervise` unsupervised",
                "choose another `supervise`, or leave it out",
            ),
        }
    }),
    setting!(as_published, Paper, "Tested on what was learned from")
        .switch(true)
        .check(|s| check::about_labelled(s, "as_published", s.as_published)),
];

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Setting {
    /// All settings but the dataset.
    pub fn all() -> &'static [Setting] {
        &SETTINGS
    }

    /// Its field in [`Settings`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What its values look like.
    pub fn form(&self) -> ValueForm {
        self.form
    }

    /// What it means, without the stop.
    pub fn about(&self) -> &'static str {
        docs(self.name).trim().trim_end_matches('.')
    }

    /// What stands for its value in help.
    const fn value(self, placeholder: &'static str) -> Setting {
        Setting { placeholder, ..self }
    }

    /// Naming it chooses `on`, and where it is left out the opposite holds.
    const fn switch(self, on: bool) -> Setting {
        Setting { switch: Some(on), ..self }
    }

    const fn per_run(self) -> Setting {
        Setting { per_run: true, ..self }
    }

    /// A page leaves it out where it does nothing.
    const fn shown_where(self, matters: fn(&Settings) -> bool) -> Setting {
        Setting { matters, ..self }
    }

    /// What refuses values that cannot work, and those that would do nothing.
    const fn check(self, check: fn(&Settings) -> Result<()>) -> Setting {
        Setting { check, ..self }
    }

    /// The setting of a field.
    pub(crate) fn of(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Sets it to what a text says, or says what it could be set to.
    pub(crate) fn read(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.read)(settings, text)
    }

    /// Its value, as [`Setting::read`] reads it; None where it is not set.
    pub(crate) fn text(&self, settings: &Settings) -> Option<String> {
        (self.text)(settings)
    }

    /// Its value as a page shows it; None where it is not set or does nothing.
    pub(crate) fn shown(&self, settings: &Settings) -> Option<String> {
        let is_off = self.switch.is_some_and(|on| self.text(settings) != Some(on.to_string()));
        (self.shown)(settings).filter(|_| !is_off && (self.matters)(settings))
    }

    /// Refuses its value where it cannot work or would do nothing.
    pub(super) fn refuse(&self, settings: &Settings) -> Result<()> {
        (self.check)(settings)
    }

    /// As a flag of the program.
    pub(crate) fn flag(&self) -> String {
        let without = if self.switch == Some(false) { "no-" } else { "" };
        format!("{without}{}", self.name.replace('_', "-"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::datasets::fmnist::FMNIST;
    use crate::datasets::folder::FOLDER;

    #[test]
    fn every_field_has_a_line() {
        let settings = serde_json::to_value(Settings::preset(FOLDER)).unwrap();
        let fields: BTreeSet<&str> = settings.as_object().unwrap().keys().map(String::as_str).collect();
        let lines: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).chain(["dataset"]).collect();
        assert_eq!(lines, fields);
        assert_eq!(lines.len(), SETTINGS.len() + 1, "each has one");
    }

    #[test]
    fn augmentation_is_changed_within_limits_and_where_there_is_some() {
        let refused = |given: &[(&str, &str)], words: &str| {
            let given: Vec<_> = given.iter().map(|&(name, text)| (name, text.to_string())).collect();
            let error = Settings::with(FOLDER, &given).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        for pipeline in ["none", "lcn"] {
            for (name, text) in [("flips", "none"), ("rotate", "quarter"), ("brightness", "0")] {
                refused(&[("pipeline", pipeline), (name, text)], &format!("`{name}` has no effect"));
            }
        }
        for amount in ["-0.1", "1.5", "nan"] {
            refused(&[("brightness", amount)], "no amount of change");
        }
    }

    #[test]
    fn settings_are_named_and_given_as_text() {
        let given = |name: &'static str, text: &str| Settings::with(FMNIST, &[(name, text.to_string())]);
        assert_eq!(given("epochs", "3").unwrap().epochs, 3);
        // What follows from what is given.
        assert_eq!(given("objective", "ae").unwrap().supervise, Supervise::Unsupervised);
        assert_eq!(given("net", "FCDD_CNN224").unwrap().side, 224);
        for (name, text, words) in [
            ("epochs", "many", "`epochs` many"),
            ("objective", "other", "choose one of fcdd, hsc, ae"),
            ("epoch", "3", "no setting 'epoch'"),
        ] {
            let error = given(name, text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
