//! `fcdd predict --watch`: a folder that images come to, each of which is scored as it comes.
//!
//! | file | holds |
//! | --- | --- |
//! | `inbox` | what the system tells of the folder |
//! | `arrivals` | which images are to be scored, and when |
//! | `record` | what was scored, for the next call |
//!
//! Images that have come at the same time are scored together; those that come meanwhile are the next. What the system tells is only a hint: files
//! are looked at themselves, and the whole folder now and then.

mod arrivals;
mod inbox;
mod record;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::{Map, Value, json};

pub(crate) use self::inbox::Inbox;

use self::arrivals::{Arrivals, Settled, name_of};
use self::record::{Record, Scored};
use super::ahead::scored_ahead;
use super::draw::draw;
use super::jobs::{ImageJob, Names};
use super::request::{of_model, wanted};
use super::what::PredictOptions;
use super::{ImageReport, Places};
use crate::data::folder::{Found, images_that_open, is_image_within};
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::run::context::Context;
use crate::run::detector::{Detector, Kept};
use crate::run::input::Input;
use crate::run::model::Model;
use crate::run::output::resolved;
use crate::run::verdict::{DecisionRule, Verdict};

/// Images that are taken on together, at most: so many are not interrupted by new ones.
const TOGETHER: usize = 256;

/// Time between two looks at whether the folder is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Time between two looks at all of its images where the system tells of new ones, and where it cannot.
const SWEEP: Duration = Duration::from_secs(60);
const UNTOLD: Duration = Duration::from_secs(2);

/// What is watched.
pub(crate) struct Watched<'a> {
    pub folder: &'a Path,
    /// For how long a file has not changed that counts as whole.
    pub settle: Duration,
    /// Time between two looks, where the system is not to tell of new images.
    pub poll: Option<Duration>,
    /// What the system tells.
    pub inbox: &'a Inbox,
}

/// Has the system tell of a folder; else says why it does not.
type Listen<'a> = &'a mut dyn FnMut(&Path) -> std::result::Result<(), String>;

/// What came of a watch.
#[derive(Debug, Default)]
pub(crate) struct WatchCounts {
    pub good: u64,
    pub unsure: u64,
    pub anomalous: u64,
    pub unusable: u64,
    /// Files that are no images.
    pub unreadable: u64,
    /// Files that went before they could be read.
    pub gone: u64,
}

/// Scores the images of a folder, and those that come to it until a stop is requested, leaving what is asked for in `out`. `listen` has the
/// system tell of a folder into the inbox, which is asked for again where that has ended. What is found is told as it comes, and so are images
/// that cannot be read.
pub(crate) fn watch(
    context: &Context,
    model: &Model,
    watched: &Watched,
    out: &Path,
    options: &PredictOptions,
    listen: Listen,
    found: &mut dyn FnMut(std::result::Result<&ImageReport, &Error>),
) -> Result<WatchCounts> {
    let rule = options.rule(model)?;
    let detector = Detector::new(model, context.device)?.deciding_by(rule);
    let folder = watched.folder;
    check_apart(folder, out)?;
    let mut arrivals = Arrivals::new(folder, watched.settle);
    let (mut names, mut scored) = (Names::default(), 0_u64);
    let mut known = |image: Scored| {
        scored += 1;
        if !image.name.is_empty() {
            names.take(&image.name);
        }
        arrivals.done(&image.image, image.file);
    };
    let record = Record::begin(out, &request(model, rule, options, folder)?, options, &mut known)?;
    found_in(context, folder)?.notes().iter().for_each(|note| context.note(note));
    let counts = WatchCounts::default();
    let mut work = Work { context, watched, out, options, detector, arrivals, names, record, counts, found };
    let mut outlook = Outlook::new(watched.poll);
    outlook.look(&mut work, listen);
    context.note(format!("watching {}: {scored} images are scored already", folder.printable()));
    while !context.stop.is_requested() {
        let next = work.arrivals.next().map_or(outlook.next(), |next| next.min(outlook.next()));
        let hints = watched.inbox.wait(next.min(Instant::now() + LOOK));
        outlook.is_listening &= !hints.is_lost;
        let now = Instant::now();
        for path in &hints.changed {
            work.hint(path, &mut outlook, |arrivals| arrivals.changed(path, now));
        }
        for path in &hints.renamed {
            work.hint(path, &mut outlook, |arrivals| arrivals.renamed(path, now));
        }
        outlook.look(&mut work, listen);
        work.score_due()?;
    }
    Ok(work.counts)
}

/// Fails where there is no folder, or results would come to lie among its images or images among results.
fn check_apart(folder: &Path, out: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "is no folder that can be watched", "create it, or name another"));
    }
    let (images, results) = (resolved(folder), resolved(out));
    if results.starts_with(&images) || images.starts_with(&results) {
        let problem = format!("this folder and the watched one, {}, lie within each other", folder.printable());
        return Err(Error::file(out, problem, "choose another folder for `out`"));
    }
    Ok(())
}

/// What a watch is of: the same again goes on with its results.
fn request(model: &Model, rule: DecisionRule, options: &PredictOptions, folder: &Path) -> Result<Map<String, Value>> {
    let request = json!({
        "folder": name_of(&folder.canonicalize().map_err(Error::io("read", folder))?),
        "model": of_model(model)?,
        "what": wanted(options),
        "threshold": rule.threshold(),
        "pixel_threshold": rule.pixel_threshold(),
        "min_area": options.min_area,
        "unsure": rule.unsure(),
        "input_check": rule.checks_input(),
    });
    match request {
        Value::Object(request) => Ok(request),
        _ => Err(Error::internal("a request is no object")),
    }
}

/// When the folder is looked at as a whole.
struct Outlook {
    poll: Option<Duration>,
    /// Whether the system tells of it, and of which folder that was.
    is_listening: bool,
    identity: Option<(u64, u64)>,
    /// Whether something asks for a look, and when there may be one.
    is_asked: bool,
    soon: Instant,
    /// When it is looked at in any case.
    next: Instant,
    /// Whether links lead out of the folder to others, of which the system does not tell.
    has_links: bool,
    /// What was told last of a folder that cannot be looked at.
    trouble: String,
}

impl Outlook {
    fn new(poll: Option<Duration>) -> Outlook {
        let now = Instant::now();
        Outlook {
            poll,
            is_listening: false,
            identity: None,
            is_asked: false,
            soon: now,
            next: now,
            has_links: false,
            trouble: String::new(),
        }
    }

    fn notice_links(&mut self, context: &Context, found: &Found) {
        let first = found.links.first();
        if let (Some(first), false, None) = (first, self.has_links, self.poll) {
            let seconds = UNTOLD.as_secs();
            let first = first.printable();
            context.note(format!("{first} is a link: the system does not tell what comes to where it leads, so all is looked at every {seconds} seconds"));
        }
        self.has_links = first.is_some();
    }

    fn next(&self) -> Instant {
        if self.is_asked { self.soon } else { self.next }
    }

    /// Looks at all images, if it is time or something was lost.
    fn look(&mut self, work: &mut Work, listen: Listen) {
        let (context, folder) = (work.context, work.watched.folder);
        let identity = identity(folder);
        let is_lost = self.poll.is_none() && !self.is_listening || identity != self.identity;
        self.is_asked |= is_lost;
        let begun = Instant::now();
        if begun < self.next() {
            return;
        }
        if is_lost && self.poll.is_none() && identity.is_some() {
            match listen(folder) {
                Ok(()) => self.is_listening = true,
                Err(_) if !folder.is_dir() => {}
                Err(reason) => {
                    let (folder, seconds) = (folder.printable(), UNTOLD.as_secs());
                    context.note(format!("the system does not tell what comes to {folder} ({reason}): it is looked at every {seconds} seconds"));
                    self.poll = Some(UNTOLD);
                }
            }
        }
        self.identity = identity;
        // After the system has begun to tell: what comes from now on is told.
        let (is_read, trouble) = match found_in(context, folder) {
            Ok(found) => {
                self.notice_links(context, &found);
                let places = found.images.iter().filter_map(|path| path.strip_prefix(folder).ok());
                work.arrivals.found(places, Instant::now());
                (true, found.closed.first().map(|(_, error)| error.to_string()).unwrap_or_default())
            }
            Err(_) if !folder.is_dir() => {
                (false, format!("{} is gone: what comes once it is there again is scored", folder.printable()))
            }
            Err(error) => (false, error.to_string()),
        };
        if trouble != self.trouble {
            let again = || format!("all of {} is there again", folder.printable());
            context.note(if trouble.is_empty() { again() } else { trouble.clone() });
        }
        // Where a look takes long there is time for more than looking.
        let pause = if is_read { 10 * begun.elapsed() } else { LOOK };
        let rest = match self.poll {
            // Once more, for what came before the system began to tell of a new folder.
            _ if self.is_asked => LOOK,
            Some(poll) => poll,
            None if self.has_links => UNTOLD,
            None => SWEEP,
        };
        self.soon = Instant::now() + pause;
        self.next = self.soon + if is_read { rest } else { Duration::ZERO };
        (self.trouble, self.is_asked) = (trouble, false);
    }
}

/// The images of a folder, or some of them where a stop is requested.
fn found_in(context: &Context, folder: &Path) -> Result<Found> {
    images_that_open(folder, &|| context.stop.is_requested())
}

/// What tells a folder from another in its place; None where there is none.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    let there = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        drop(there);
        Some((0, 0))
    }
}

/// A watch under way.
struct Work<'a> {
    context: &'a Context<'a>,
    watched: &'a Watched<'a>,
    out: &'a Path,
    options: &'a PredictOptions,
    detector: Detector,
    arrivals: Arrivals,
    /// Of what was drawn.
    names: Names,
    record: Record,
    counts: WatchCounts,
    found: &'a mut dyn FnMut(std::result::Result<&ImageReport, &Error>),
}

impl Work<'_> {
    /// Something is told of a path.
    fn hint(&mut self, path: &Path, outlook: &mut Outlook, of_image: impl FnOnce(&mut Arrivals)) {
        let folder = self.watched.folder;
        if folder.join(path).is_dir() {
            outlook.is_asked = true;
        } else if is_image_within(folder, path) {
            of_image(&mut self.arrivals);
        }
    }

    /// Scores the images whose files have rested.
    fn score_due(&mut self) -> Result<()> {
        let (settled, gone) = self.arrivals.due(Instant::now(), TOGETHER);
        for path in gone {
            self.counts.gone += 1;
            let path = self.watched.folder.join(path);
            self.context.note(format!("{} was moved or removed before it could be read", path.printable()));
        }
        if settled.is_empty() {
            return Ok(());
        }
        let inputs: Vec<Input> = settled.iter().map(|one| Input::File(self.watched.folder.join(&one.path))).collect();
        let groups = self.detector.groups(inputs.into_iter(), self.options.wanted());
        let mut left = settled.into_iter();
        scored_ahead(groups, |groups| {
            for group in groups {
                self.take(group?.into_iter().zip(left.by_ref()).collect())?;
                if self.context.stop.is_requested() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Draws some images, adds their rows, and tells of them.
    fn take(&mut self, group: Vec<(Result<Kept>, Settled)>) -> Result<()> {
        self.record.check()?;
        let (mut images, mut readable) = (Vec::new(), Vec::new());
        for (kept, settled) in group {
            match kept {
                Ok(kept) => {
                    let image = self.watched.folder.join(&settled.path);
                    let is_drawn = self.options.drawn().next().is_some();
                    let name = if is_drawn { self.names.of(&settled.path) } else { String::new() };
                    images.push(Scored { image: name_of(&settled.path), file: settled.stamp, name: name.clone() });
                    readable.push((ImageJob { image, name }, kept));
                }
                Err(error) if error.is_of_the_process() => {
                    if self.arrivals.put_off(settled, Instant::now()) {
                        self.context.note(format!("{error}; it is tried again"));
                    }
                }
                Err(error) => {
                    if self.arrivals.is_given_up(settled, Instant::now()) {
                        self.counts.unreadable += 1;
                        (self.found)(Err(&error));
                    }
                }
            }
        }
        if images.is_empty() {
            return Ok(());
        }
        let check = || self.record.check();
        let places = Places { options: self.options, out: self.out, place: self.out, check: &check };
        let drawn = readable.into_par_iter().map(|(job, kept)| draw(&job, kept, &places));
        let (reports, errors): (Vec<ImageReport>, Vec<Vec<Error>>) = drawn.unzip();
        for error in errors.into_iter().flatten() {
            if error.is_full() || error.is_of_the_process() {
                return Err(error); // without rows, so that the images are scored once there is what was lacking
            }
            self.context.note(error);
        }
        self.record.tables.push(reports.iter())?;
        images.iter().for_each(|image| self.arrivals.done(&image.image, image.file));
        self.record.commit(images)?;
        for report in &reports {
            self.counts.count(report.prediction.verdict);
            (self.found)(Ok(report));
        }
        Ok(())
    }
}

impl WatchCounts {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Good => self.good += 1,
            Verdict::Unsure => self.unsure += 1,
            Verdict::Anomalous => self.anomalous += 1,
            Verdict::Unusable => self.unusable += 1,
        }
    }
}
