//! `fcdd predict --watch`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher};

use super::Outcome;
use super::common::{context, end, on_interrupt, terminal};
use super::flags::in_flags;
use super::terminal::log;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::model::Model;
use crate::run::predict::ImageReport;
use crate::run::predict::watch::{Inbox, WatchCounts, Watched, watch};
use crate::run::predict::what::PredictOptions;
use crate::run::stop::Stop;

/// What is watched, and how.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Score the images in a folder, and those that come to it until Ctrl-C or SIGTERM
    #[arg(id = "watch", long = "watch", value_name = "DIR", conflicts_with_all = ["paths", "fail_on_anomaly", "shard", "json"])]
    pub folder: Option<PathBuf>,
    /// With --watch: milliseconds without a change after which a file counts as whole; one that is renamed into the folder does at once
    #[arg(long, conflicts_with = "paths", default_value_t = 500, value_name = "MS", value_parser = clap::value_parser!(u32).range(..=3_600_000))]
    settle_ms: u32,
    /// With --watch: look into the folder so often, in seconds, where the system does not tell of new files (network file systems)
    #[arg(long, conflicts_with = "paths", value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    poll: Option<u16>,
}

/// Watches until it is asked to stop; what is found is told.
pub(super) fn run(
    args: &WatchArgs,
    folder: &Path,
    device: &Device,
    model: &Model,
    out: &Path,
    options: &PredictOptions,
    tell: impl Fn(std::result::Result<&ImageReport, &Error>) -> Result<()>,
) -> Result<Outcome> {
    let (inbox, stop) = (Arc::new(Inbox::default()), Arc::new(Stop::new()));
    let (asked, called) = (stop.clone(), inbox.clone());
    on_interrupt(move || {
        if asked.is_requested() {
            end("stopped");
        }
        log("stopping once what is in hand is scored; press Ctrl-C again to stop at once");
        asked.request();
        called.call();
    })?;
    let watched = Watched {
        folder,
        settle: Duration::from_millis(args.settle_ms.into()),
        poll: args.poll.map(|seconds| Duration::from_secs(seconds.into())),
        inbox: &inbox,
    };
    let mut watcher = None;
    let mut listen = |folder: &Path| {
        watcher = None; // at its end it tells no more of what was there before
        watcher = Some(watcher_of(folder, inbox.clone()).map_err(|error| error.to_string())?);
        Ok(())
    };
    // What cannot be told does not stop the scoring.
    let mut told = Ok(());
    let mut found = |found: std::result::Result<&ImageReport, &Error>| {
        if let Err(error) = found {
            log(format!("error: {}", in_flags(&error.to_string())));
        }
        told = std::mem::replace(&mut told, Ok(())).and(tell(found));
    };
    terminal().begin();
    let context = Context { stop: &stop, ..context(device) };
    let counts = watch(&context, model, &watched, out, options, &mut listen, &mut found)?;
    log(describe(&counts));
    told?;
    Ok(Outcome::Fine)
}

/// Has the system tell of a folder and all within.
fn watcher_of(folder: &Path, inbox: Arc<Inbox>) -> notify::Result<RecommendedWatcher> {
    let root = folder.canonicalize().map_err(notify::Error::io)?;
    let watched = root.clone();
    // The crate does not ask whether the system has a thread left for it.
    thread::Builder::new().spawn(|| ()).map_err(notify::Error::io)?;
    // Through links the crate would enter folders by each of their names, of which there may be no end.
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(move |event| pass_on(event, &root, &inbox), config)?;
    watcher.watch(&watched, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Passes on what the system tells of a folder.
fn pass_on(event: notify::Result<notify::Event>, root: &Path, inbox: &Inbox) {
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        _ => return inbox.lost(),
    };
    for path in &event.paths {
        let Ok(place) = path.strip_prefix(root) else { continue };
        match event.kind {
            EventKind::Access(_) => {}
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                // Of an image, its absence tells.
                if place.as_os_str().is_empty() {
                    inbox.lost();
                }
            }
            EventKind::Modify(ModifyKind::Name(_)) => inbox.renamed(place.to_path_buf()),
            _ => inbox.changed(place.to_path_buf()),
        }
    }
}

/// What came of it, for the end.
fn describe(counts: &WatchCounts) -> String {
    let WatchCounts { good, unsure, anomalous, unusable, unreadable, gone } = counts;
    let scored = good + unsure + anomalous + unusable;
    let verdicts = format!("{good} good, {unsure} unsure, {anomalous} anomalous, {unusable} unusable");
    format!("scored {scored} images ({verdicts}); {unreadable} could not be read, {gone} were gone before")
}
