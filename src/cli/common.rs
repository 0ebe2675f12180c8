//! Flags and output that subcommands share.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::INTERRUPTED;
use super::flags::in_flags;
use super::signals;
use super::terminal::{Terminal, log};
use crate::data::counted::Counted;
use crate::device::{self, Device};
use crate::error::{Error, Result};
use crate::named::Named;
use crate::printable::{escaped, escaped_lines};
use crate::run::breakdown::{FEW_GOOD, KindFigures};
use crate::run::calibration::Calibration;
use crate::run::context::Context;
use crate::run::figures::{Evaluation, Measure};
use crate::run::model::{Model, NO_THRESHOLD};
use crate::run::stop::Stop;

/// Where to compute.
#[derive(Debug, clap::Args)]
pub(super) struct DeviceArg {
    /// Where to compute: auto (the GPU where one can be used, else the CPU), cpu, cuda, or the number of a GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: device::DeviceChoice,
}

impl DeviceArg {
    /// Whether a GPU was asked for by name.
    pub(super) fn is_cuda(&self) -> bool {
        matches!(self.device, device::DeviceChoice::Cuda(_))
    }

    /// Settles the choice. Where it was left open, the [terminal] says where the work runs once that begins.
    pub(super) fn choose(&self) -> Result<Device> {
        choose(self.device)
    }
}

/// Settles a choice of device. Where it was left open, the [terminal] says where the work runs once that begins.
pub(super) fn choose(choice: device::DeviceChoice) -> Result<Device> {
    let (device, why_not) = device::choose(choice)?;
    if choice == device::DeviceChoice::Auto {
        match &device {
            Device::Cuda(cuda) => TERMINAL.log_once_begun(format!("computing on {}", cuda.describe()?.name)),
            Device::Cpu => {
                let threads = rayon::current_num_threads();
                let reason = why_not.map(|why| format!(" ({})", in_flags(&why.in_brief()))).unwrap_or_default();
                TERMINAL.log_once_begun(format!("computing on the CPU with {threads} threads{reason}"));
            }
        }
    }
    Ok(device)
}

/// What this program shows of its work.
static TERMINAL: LazyLock<Terminal> = LazyLock::new(Terminal::default);

/// Shows the work of several threads.
pub(super) fn terminal() -> &'static Terminal {
    &TERMINAL
}

/// Work on a device that is shown on the terminal, and cannot be stopped on the way.
pub(super) fn context(device: &Device) -> Context<'_> {
    Context { observer: &*TERMINAL, ..Context::silent(device) }
}

#[derive(Debug, clap::Args)]
pub(super) struct ChosenArg {
    /// Test images to show in chosen.png, by the number below them in the report (#0 is the first row of scores.csv)
    #[arg(long = "viz-ids", value_name = "I,J,…", value_delimiter = ',')]
    pub chosen: Vec<usize>,
}

/// Which part of each image counts.
#[derive(Debug, clap::Args)]
pub(super) struct MaskArgs {
    /// Mask, scaled to each image: what is dark in it is no part of score, heatmap and regions
    #[arg(long, value_name = "MASK")]
    roi: Option<PathBuf>,
    /// Mask, scaled to each image: what is bright in it is no part of score, heatmap and regions
    #[arg(long, value_name = "MASK")]
    ignore: Option<PathBuf>,
}

impl MaskArgs {
    /// What they leave; None where there are none.
    pub(super) fn read(&self) -> Result<Option<Counted>> {
        Counted::read(self.roi.as_deref(), self.ignore.as_deref())
    }
}

/// Bytes of a size such as `500M` or `2G`; a number alone is one of MiB.
pub(super) fn memory_size(text: &str) -> std::result::Result<usize, String> {
    let (number, unit) = match text.strip_suffix(['G', 'g']) {
        Some(number) => (number, 30),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 20),
    };
    let bytes = number.parse().ok().filter(|&n: &usize| n > 0).and_then(|n| n.checked_mul(1 << unit));
    bytes.ok_or_else(|| "it is no size; write MiB or GiB, such as 500M or 2G".to_string())
}

/// Prints one JSON object on standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    print_lines(&serde_json::to_string_pretty(value).map_err(no_json)?)
}

/// The same in one line.
pub(super) fn print_json_line(value: &impl Serialize) -> Result<()> {
    print_lines(&serde_json::to_string(value).map_err(no_json)?)
}

fn no_json(e: serde_json::Error) -> Error {
    Error::internal(format!("the result cannot be written as JSON ({e})"))
}

/// Prints text on standard output; a reader that has gone away is no error.
pub(super) fn print_lines(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{}", escaped_lines(text)) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output")(e)),
        _ => Ok(()),
    }
}

/// An evaluation as lines of text.
pub(super) fn describe(evaluation: &Evaluation, model: &Model) -> String {
    let Evaluation { normal, anomalous, .. } = evaluation;
    let mut lines = vec![named("test images", format!("{normal} normal, {anomalous} anomalous"))];
    let figure = |(measure, value): &(Measure, f64)| {
        named(measure.name(), format!("{value:.4}{}", measure.interval(evaluation).in_words()))
    };
    lines.extend(evaluation.figures().iter().map(figure));
    lines.push(match model.meta.has_threshold() {
        true => describe_threshold(model.threshold(), model.meta.calibration.as_ref()),
        false => no_threshold(),
    });
    if (1..FEW_GOOD).contains(normal) {
        lines.push(format!("fewer than {FEW_GOOD} normal images say little of the false positive rate"));
    }
    let kinds = &evaluation.breakdown.kinds;
    if kinds.len() > 1 {
        let name = |kind: &KindFigures| escaped(&kind.kind).into_owned();
        let width = kinds.iter().map(|kind| name(kind).chars().count()).max().unwrap_or(0).max("kind of anomaly".len());
        lines.push(format!("{:<width$}  images  {:<19}  found at the threshold", "kind of anomaly", "image AUROC"));
        lines.extend(kinds.iter().map(|kind| {
            let auroc = kind.image_auroc.map_or("–".to_string(), |area| format!("{area:.3}"));
            let auroc = auroc + &kind.image_auroc_interval.in_words();
            let found = kind.true_positive_rate_interval.in_words();
            format!("{:<width$}  {:>6}  {auroc:<19}  {:.2}{found}", name(kind), kind.images, kind.true_positive_rate)
        }));
    }
    lines.join("\n")
}

/// A threshold and what it promises, as lines of text.
pub(super) fn describe_threshold(threshold: f32, calibration: Option<&Calibration>) -> String {
    let Some(calibration) = calibration else { return named("threshold", format!("{threshold:.5}")) };
    let own = named("threshold", format!("{threshold:.5}: {}", calibration.promise()));
    let interval = calibration.interval.map_or(String::new(), |[low, high]| {
        "\n".to_string() + &named("95 % interval", format!("{low:.5} to {high:.5}, on other images like these"))
    });
    own + &interval
}

/// The same of a model that has none.
pub(super) fn no_threshold() -> String {
    named("threshold", NO_THRESHOLD)
}

/// A line with a name, in a column as wide as the longest of them, and what it names.
pub(super) fn named(name: &str, what: impl Display) -> String {
    format!("{name:<19} {what}")
}

/// Time for a model and figures of what was learned, once the states of a stopped training are saved.
const PATIENCE: Duration = Duration::from_secs(3);

/// What Ctrl-C or SIGTERM requests. Where nothing listens, and the second time, the program ends at once; otherwise soon after the last
/// listener is done.
pub(super) fn stop_flag() -> Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let requested = stop.clone();
    on_interrupt(move || {
        if !requested.request_of_listeners() {
            end("stopped; files that were finished are kept");
        }
        log("stopping after this step; press Ctrl-C again to stop at once");
        let requested = requested.clone();
        let wait = move || {
            while requested.has_listeners() {
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(PATIENCE);
            end("stopped; the training is saved, to go on with");
        };
        // Where the system refuses it, the run ends by itself once it is saved, if later.
        let _ = std::thread::Builder::new().spawn(wait);
    })?;
    Ok(stop)
}

/// Does something on Ctrl-C or SIGTERM, each time. Signals that were ignored when the program began stay ignored: nohup means what it
/// says.
pub(super) fn on_interrupt(act: impl FnMut() + Send + 'static) -> Result<()> {
    let ignored = signals::ignored();
    ctrlc::set_handler(act).map_err(|e| {
        let problem = format!("cannot start a thread that listens for Ctrl-C ({e})");
        Error::setting(problem, "allow this process more threads (`ulimit -u`, `pids.max`)")
    })?;
    signals::ignore(&ignored);
    Ok(())
}

/// Ends the program as one that was interrupted.
pub(super) fn end(why: &str) -> ! {
    log(why);
    std::process::exit(i32::from(INTERRUPTED))
}

/// Parses one of a closed set of values; help lists them with their explanations.
pub(super) fn choice<T: Named>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::all().into_iter().map(|value| possible(value.word(), value.explanation())))
        .try_map(|word| T::parse(&word).ok_or_else(|| format!("'{word}' is not one of the values")))
}

/// One of the values of a flag. An underscore stands for a hyphen.
pub(super) fn possible(word: &'static str, explanation: &'static str) -> PossibleValue {
    PossibleValue::new(word).alias(word.replace('-', "_")).help(explanation)
}
