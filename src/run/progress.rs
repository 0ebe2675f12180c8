//! Progress on standard error: bars where a person looks on, plain lines elsewhere.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bars of all tasks under way, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

thread_local! {
    /// What this thread's lines begin with.
    static PREFIX: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does some work whose progress is shown under a name: there may be other such work at the same time, in other threads.
pub fn under_name<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let before = PREFIX.replace(format!("{name}: "));
    let done = work();
    PREFIX.set(before);
    done
}

/// One line on standard error. If it cannot be written, the work goes on all the same.
pub fn log(line: impl Display) {
    let line = prefixed(line);
    let _ = BARS.suspend(|| writeln!(std::io::stderr(), "{line}"));
}

fn prefixed(line: impl Display) -> String {
    PREFIX.with_borrow(|prefix| format!("{prefix}{line}"))
}

/// Time between plain lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress of one task of known length.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    total: u64,
    done: u64,
    started: Instant,
    spoken: Instant,
}

impl Progress {
    /// Starts a task of `total` images.
    pub fn new(what: &str, total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::new(total));
            let template = "{msg} {wide_bar} {percent}% {per_sec} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                let rate = |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                    let _ = write!(w, "{:.0} images/s", state.per_sec());
                };
                bar.set_style(style.with_key("per_sec", rate));
            }
            bar.set_message(prefixed(what));
            bar
        });
        let now = Instant::now();
        Progress { bar, what: what.to_string(), total, done: 0, started: now, spoken: now }
    }

    /// `images` more are done; `note` tells how things stand, such as the loss.
    pub fn advance(&mut self, images: u64, note: impl FnOnce() -> String) {
        self.done += images;
        match &self.bar {
            Some(bar) => {
                bar.set_message(prefixed(format_args!("{} {}", self.what, note())));
                bar.inc(images);
            }
            None if self.spoken.elapsed() >= INTERVAL => {
                self.spoken = Instant::now();
                let rate = self.done as f64 / self.started.elapsed().as_secs_f64();
                let left = Duration::from_secs_f64((self.total.saturating_sub(self.done)) as f64 / rate.max(1e-9));
                let percent = 100 * self.done / self.total.max(1);
                let left = indicatif::HumanDuration(left);
                let note =
                    Some(note()).filter(|note| !note.is_empty()).map(|note| format!("{note}, ")).unwrap_or_default();
                log(format!("{} {percent}%, {note}{rate:.0} images/s, {left} left", self.what));
            }
            None => {}
        }
    }

    /// Ends the bar and leaves one line in its place.
    pub fn finish(self, line: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
            BARS.remove(&bar);
        }
        log(line);
    }
}
