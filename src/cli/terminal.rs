//! Progress and notes on standard error: bars where a person looks on, plain lines elsewhere.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::flags::in_flags;
use crate::printable::{escaped, escaped_lines};
use crate::run::context::{Event, Observer};

/// The bars of all tasks under way, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Time between plain lines of a task.
const INTERVAL: Duration = Duration::from_secs(10);

/// A message on standard error. If it cannot be written, the work goes on all the same.
pub(super) fn log(message: impl Display) {
    let message = escaped_lines(&message.to_string());
    let _ = BARS.suspend(|| writeln!(std::io::stderr(), "{message}"));
}

/// Shows what it is told on standard error.
#[derive(Default)]
pub(super) struct Terminal {
    /// What to say once the first task begins.
    opening: Mutex<Vec<String>>,
    tasks: Mutex<HashMap<String, ShownTask>>,
}

/// A task under way.
struct ShownTask {
    bar: Option<ProgressBar>,
    started: Instant,
    /// When its last plain line was written.
    told: Instant,
}

impl ShownTask {
    fn new(total: u64) -> ShownTask {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::new(total));
            let template = "{msg} {wide_bar} {percent}% {per_sec} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                let rate = |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                    let _ = write!(w, "{:.0} images/s", state.per_sec());
                };
                bar.set_style(style.with_key("per_sec", rate));
            }
            bar
        });
        let now = Instant::now();
        ShownTask { bar, started: now, told: now }
    }

    /// Shows how it stands; on plain lines, every [`INTERVAL`].
    fn show(&mut self, task: &str, done: u64, total: u64, detail: &dyn Fn() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(escaped(&format!("{task} {}", detail())).into_owned());
            bar.set_position(done);
        } else if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            let left = Duration::from_secs_f64((total.saturating_sub(done)) as f64 / rate.max(1e-9));
            let (percent, left) = (100 * done / total.max(1), indicatif::HumanDuration(left));
            let detail = Some(detail()).filter(|detail| !detail.is_empty()).map(|detail| format!("{detail}, "));
            log(format!("{task} {percent}%, {}{rate:.0} images/s, {left} left", detail.unwrap_or_default()));
        }
    }
}

impl Terminal {
    /// Keeps a message until the first task begins: by then, all that was asked for has been checked.
    pub(super) fn log_once_begun(&self, message: String) {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// The work begins.
    pub(super) fn begin(&self) {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(log);
    }
}

impl Observer for Terminal {
    fn observe(&self, event: Event) {
        let tasks = || self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Progress { task, done, total, detail } => {
                self.begin();
                tasks()
                    .entry(task.to_string())
                    .or_insert_with(|| ShownTask::new(total))
                    .show(task, done, total, detail);
            }
            Event::Finished { task, summary } => {
                if let Some(ShownTask { bar: Some(bar), .. }) = tasks().remove(task) {
                    bar.finish_and_clear();
                    BARS.remove(&bar);
                }
                log(summary);
            }
            Event::Note(note) => log(in_flags(note)),
        }
    }
}
