//! The settings of new runs as flags, made from their table.

use std::ffi::{OsStr, OsString};
use std::path::{MAIN_SEPARATOR, Path};

use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use super::common::possible;
use super::flags::of_settings;
use super::terminal::log;
use crate::data::supervise::NoiseMode;
use crate::datasets::DatasetKind;
use crate::datasets::folder::FOLDER;
use crate::datasets::outliers::kinds_of_outliers;
use crate::error::{Error, Result};
use crate::named::Named;
use crate::printable::Printable;
use crate::run::settings::{Moved, SETTINGS, Setting, SettingGroup, Settings, ValueForm};
use crate::run::weights::downloaded;

/// The argument that names a dataset.
const DATASET: &str = "dataset";

/// Settings are kept as text, and data is found by its name again.
const NOT_UNICODE: &str = "is not named in Unicode: rename it";

/// What is asked of new runs: `SWEEP` leaves out what tells the runs of a sweep apart.
#[derive(Debug, Default)]
pub(super) struct Choices<const SWEEP: bool> {
    dataset: Option<GoodImages>,
    /// Names of settings, and the text for each.
    given: Vec<(&'static str, String)>,
}

/// Where good images come from.
#[derive(Clone, Debug, PartialEq)]
enum GoodImages {
    Set(DatasetKind),
    /// A folder of the user's.
    Folder(String),
}

impl<const SWEEP: bool> Choices<SWEEP> {
    pub(super) fn is_empty(&self) -> bool {
        self.dataset.is_none() && self.given.is_empty()
    }

    /// The dataset's preset with what is given.
    pub(super) fn settings(self) -> Result<Settings> {
        let Choices { dataset, mut given } = self;
        let dataset = match dataset {
            Some(GoodImages::Set(kind)) => kind,
            Some(GoodImages::Folder(path)) => {
                if let Some((_, data)) = given.iter().find(|(name, _)| *name == "data") {
                    let problem = format!("{path} and `data` {data} both name the data");
                    return Err(Error::setting(problem, "leave one of them out"));
                }
                given.push(("data", path));
                FOLDER
            }
            None => {
                let remedy = "name the folder of your images, or a dataset such as fmnist; --help lists them";
                return Err(Error::setting("no dataset is named", remedy));
            }
        };
        let mut settings = Settings::with(dataset, &given)?;
        if let Some(weights) = downloaded(&settings) {
            log(format!("no --weights given: starting from {}", weights.printable()));
            settings.weights = Some(weights);
        }
        let stands_in = !given.iter().any(|(name, _)| *name == "noise") && settings.noise != NoiseMode::Outliers;
        if stands_in && settings.supervise.makes_noise() && Settings::preset(dataset).noise == NoiseMode::Outliers {
            log(format!("no --outliers given: learning anomalies from {} added to good images", settings.noise));
        }
        Ok(settings)
    }

    /// Where the data of a run has moved and whether to hold it; None where more than that is given.
    pub(super) fn moved(self) -> Result<Option<Moved>> {
        let may = ["data", "roi", "ignore", "outliers", "labelled", "hold"];
        if self.dataset.is_some() || self.given.iter().any(|(name, _)| !may.contains(name)) {
            return Ok(None);
        }
        let moved = Moved::to_those_of(&Settings::preset(FOLDER).given(&self.given)?);
        let is_held_otherwise = self.given.iter().any(|(name, _)| *name == "hold");
        Ok(Some(Moved { hold: moved.hold.filter(|_| is_held_otherwise), ..moved }))
    }

    fn settings_table() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| !(SWEEP && setting.per_run))
    }
}

impl<const SWEEP: bool> clap::Args for Choices<SWEEP> {
    fn augment_args(command: Command) -> Command {
        let dataset = Arg::new(DATASET)
            .value_name("DIR|DATASET")
            .value_parser(GoodImagesParser)
            .help("Where good images come from: a folder of your own, or one of the datasets");
        command.arg(dataset).args(Self::settings_table().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const SWEEP: bool> FromArgMatches for Choices<SWEEP> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| match setting.switch {
            Some(on) => matches.get_flag(setting.name).then(|| (setting.name, on.to_string())),
            None => matches.get_one::<String>(setting.name).map(|text| (setting.name, text.clone())),
        };
        let dataset = matches.get_one::<GoodImages>(DATASET).cloned();
        Ok(Choices { dataset, given: Self::settings_table().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A setting as a flag.
fn arg(setting: &'static Setting) -> Arg {
    let about = setting.about();
    let about = match (setting.name, setting.switch) {
        ("outliers", _) => format!("{about}: {}", kinds_of_outliers()),
        (_, Some(false)) => format!("Leave out {}", about.replacen("The", "the", 1)),
        _ => about.to_string(),
    };
    let arg = Arg::new(setting.name).long(setting.flag()).help(of_settings(&about));
    let arg = match setting.group {
        // First of all flags.
        SettingGroup::Daily if setting.name == "data" => arg.display_order(0),
        SettingGroup::Daily => arg,
        SettingGroup::Anomalies => arg.help_heading("Anomalies"),
        SettingGroup::Optimisation => arg.help_heading("Optimisation"),
        SettingGroup::Heatmaps => arg.help_heading("Heatmaps"),
        SettingGroup::Paper => arg.help_heading("Paper experiments"),
    };
    if setting.switch.is_some() {
        return arg.action(ArgAction::SetTrue);
    }
    let arg = arg.value_name(setting.placeholder).allow_negative_numbers(true);
    match setting.form {
        ValueForm::Bool => {
            arg.value_name("BOOL").value_parser(["true", "false"]).num_args(0..=1).default_missing_value("true")
        }
        ValueForm::Choice(words) => {
            let values = words().into_iter().map(|(word, about)| possible(word, about));
            arg.value_parser(PossibleValuesParser::new(values))
        }
        ValueForm::Mix(words) => arg.value_parser(MixParser { setting, words }),
        ValueForm::Text | ValueForm::Path | ValueForm::Integer | ValueForm::Number => {
            arg.value_parser(text_parser(setting))
        }
    }
}

/// Reads a text; one that is no value of the setting is refused before anything is done.
fn text_parser(setting: &'static Setting) -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(move |text| {
        let text = text.into_string().map_err(|_| NOT_UNICODE.to_string())?;
        setting.read(&mut Settings::preset(FOLDER), &text).map(|()| text)
    })
}

/// Reads a text that is made of words, which help lists.
#[derive(Clone)]
struct MixParser {
    setting: &'static Setting,
    words: fn() -> Vec<(&'static str, &'static str)>,
}

impl TypedValueParser for MixParser {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        text_parser(self.setting).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.words)().into_iter().map(|(word, about)| possible(word, about))))
    }
}

/// A command whose help tells the defaults of a dataset.
pub(super) fn with_defaults(command: Command, dataset: DatasetKind) -> Command {
    let Ok(settings) = Settings::with(dataset, &[]) else { return command };
    command.mut_args(|arg| {
        let Some(setting) = Setting::of(arg.get_id().as_str()).filter(|setting| setting.switch.is_none()) else {
            return arg;
        };
        let default = match (setting.text(&settings), setting.name, &dataset.home) {
            (_, "class", _) if dataset.good_alone => return arg, // a folder has one class
            (Some(text), ..) => text,
            (None, "data", Some(home)) => home.path.to_string(),
            (None, ..) => return arg,
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} [default: {default}]"))
    })
}

/// The dataset that a command line names, whatever else stands there; a folder of the user's where it names none.
pub(super) fn named_dataset(command: Command, words: &[OsString]) -> DatasetKind {
    let words = words.iter().filter(|word| !["-h", "--help"].map(OsStr::new).contains(&word.as_os_str()));
    let matches = command.ignore_errors(true).try_get_matches_from(words).ok();
    let of_command = matches.as_ref().and_then(ArgMatches::subcommand).map(|(_, of_command)| of_command);
    match of_command.and_then(|matches| matches.try_get_one(DATASET).ok().flatten()) {
        Some(GoodImages::Set(kind)) => *kind,
        _ => FOLDER,
    }
}

/// Takes the word of a dataset, or the path of a folder: of one that exists, or one that is clearly meant as such.
#[derive(Clone)]
struct GoodImagesParser;

impl TypedValueParser for GoodImagesParser {
    type Value = GoodImages;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<GoodImages, clap::Error> {
        let Some(word) = value.to_str() else {
            return Err(command.clone().error(ErrorKind::InvalidUtf8, format!("the folder of images {NOT_UNICODE}")));
        };
        if let Some(kind) = DatasetKind::parse(word) {
            return Ok(GoodImages::Set(kind));
        }
        if word.contains(['/', MAIN_SEPARATOR]) || Path::new(word).exists() {
            return Ok(GoodImages::Folder(word.to_string()));
        }
        // Lists the datasets, and what else could have been meant.
        let none = PossibleValuesParser::new(datasets()).parse_ref(command, arg, value);
        none.map(GoodImages::Folder).map_err(|mut error| {
            let hint = "a folder of your own must exist: check the spelling of its path".to_string().into();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint]));
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(datasets().into_iter()))
    }
}

/// The user's own folder first.
fn datasets() -> Vec<PossibleValue> {
    let mut all = DatasetKind::all();
    all.sort_by_key(|&kind| kind != FOLDER);
    all.into_iter().map(|kind| possible(kind.word(), kind.explanation())).collect()
}
