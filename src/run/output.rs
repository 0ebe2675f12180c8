//! Results of a subcommand in a folder `OUT`: what is unfinished says so, and what replaces earlier results does so as a whole.
//!
//! Where `OUT` holds no results yet, they are made in it; otherwise in `OUT.partial` beside it, and published once they are all there.
//! A folder of results in the making holds [`JOURNAL`]: a killed program leaves them to read, and the same command goes on with them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::directory::{self, RunDirectory, write_json};
use super::kind::Kind;
use super::lock::{FolderLock, LOCK};
use crate::data::folder::holds_images;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::{files, json};

/// Says that the results beside it are unfinished, and of what.
pub(crate) const JOURNAL: &str = "unfinished.json";

/// Files that tell of others: while results are replaced, the first to go and the last to come.
const TELLING: [&str; 3] = [directory::REPORT, directory::EVALUATION, directory::SCORES];

/// Tables whose rows are written as they come: there from the beginning, empty.
const TABLES: [&str; 2] = [directory::SCORES, directory::REGIONS];

/// What [`JOURNAL`] holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Journal {
    kind: Kind,
    /// What was asked for: the same again goes on. None where nothing is gone on with.
    #[serde(default)]
    request: Option<String>,
    /// Results to come, by their names in the folder, where the kind does not tell them.
    #[serde(default)]
    results: Vec<String>,
    /// Everything is there and on its way to the folder beside: these files of it go first.
    #[serde(default)]
    publishing: Option<Vec<String>>,
}

/// Results in the making.
pub(crate) struct Output {
    kind: Kind,
    lock: FolderLock,
    /// Where they are made.
    place: PathBuf,
    /// Of that folder, where it is another: it could be named as one of results.
    beside: Option<FolderLock>,
    /// Whether earlier ones are gone on with.
    pub resumed: bool,
}

impl Output {
    /// Begins results in a folder, or goes on with those of the same request; what a killed program was doing there is brought to an
    /// end. `beside` are other kinds of results that may lie there; `results` are names that the kind does not tell.
    pub(crate) fn begin(
        out: &Path,
        kind: Kind,
        beside: &[Kind],
        request: Option<String>,
        results: Vec<String>,
    ) -> Result<Output> {
        let lock = lock(out, "the results are to lie there")?;
        if !holds_results(out, kind, beside)? {
            refuse_foreign(out, kind, &results)?;
        }
        refuse_links(out, &results)?;
        let partial = partial(out)?;
        let beside = if partial.is_dir() { Some(FolderLock::new(&partial)?) } else { None };
        if let Some(Journal { publishing: Some(old), .. }) = Journal::of(&partial, out)? {
            publish(&partial, out, kind, old)?;
        }
        let begun = Journal::of(out, out)?;
        let names = results.iter().chain(begun.iter().flat_map(|begun| &begun.results));
        let folders =
            names.filter(|name| files::is_within(out, Path::new(name))).filter_map(|name| Path::new(name).parent());
        let folders: BTreeSet<PathBuf> = folders.map(|folder| out.join(folder)).chain([out.to_path_buf()]).collect();
        folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| files::remove_unfinished(folder))?;
        if partial.is_dir() {
            files::remove_unfinished_below(&partial)?;
        }
        let asked = |begun: Option<Journal>| request.is_some() && begun.is_some_and(|begun| begun.request == request);
        let replaces = begun.is_some() || !kind.results_in(out).is_empty();
        if asked(begun) {
            // Of another call, which was killed too.
            if partial.exists() {
                discard(&partial, out)?;
            }
            return Ok(Output { kind, lock, place: out.to_path_buf(), beside: None, resumed: true });
        }
        if replaces && asked(Journal::of(&partial, out)?) {
            return Ok(Output { kind, lock, place: partial, beside, resumed: true });
        }
        if partial.exists() {
            discard(&partial, out)?;
        }
        let beside = if replaces { Some(making(&partial, out)?) } else { None };
        let place = if replaces { partial } else { out.to_path_buf() };
        Journal { kind, request, results, publishing: None }.write(&place)?;
        Ok(Output { kind, lock, place, beside, resumed: false })
    }

    /// The folder that they are made in.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The path of one of them, which is to be written. Fails where the folder is no longer this process's own.
    pub(crate) fn to_write(&self, name: &str) -> Result<PathBuf> {
        self.check().map(|()| self.place.join(name))
    }

    /// Fails where the folders are not this process's own any more.
    pub(crate) fn check(&self) -> Result<()> {
        [Some(&self.lock), self.beside.as_ref()].into_iter().flatten().try_for_each(FolderLock::check)
    }

    /// All results are there: they take the place of those that lie in the folder.
    ///
    /// # Errors
    /// Of what could not be put in place; everything else is.
    pub(crate) fn finish(self) -> Result<()> {
        self.check()?;
        let (out, kind) = (self.lock.folder(), self.kind);
        if self.place == out {
            return files::remove(&out.join(JOURNAL));
        }
        let mut old = kind.results_in(out);
        if let Some(unfinished) = Journal::of(out, out)? {
            old.extend(unfinished.results);
            old.push(JOURNAL.to_string());
        }
        Journal::publishing(kind, old.clone()).write(&self.place)?;
        let published = publish(&self.place, out, kind, old);
        published.map_err(|error| match self.place.join(JOURNAL).exists() {
            true => {
                let problem = format!("holds all results, which could not be put in place: {error}");
                Error::file(&self.place, problem, "once that is mended, the same command does it")
            }
            false => error,
        })
    }
}

/// What ends by an error before there is any result leaves nothing.
impl Drop for Output {
    fn drop(&mut self) {
        let tables = TABLES.map(|name| self.place.join(name));
        let has_rows = tables.iter().any(|table| fs::metadata(table).is_ok_and(|table| table.len() > 0));
        let is_there = |name: &String| !TABLES.contains(&name.as_str()) && self.place.join(name).exists();
        if self.check().is_ok()
            && let Ok(Some(Journal { results, publishing: None, .. })) = Journal::of(&self.place, self.lock.folder())
            && !has_rows
            && !self.kind.results_in(&self.place).iter().chain(&results).any(is_there)
        {
            let removed = tables.iter().try_for_each(|table| files::remove(table));
            let _ = removed.and_then(|()| files::remove(&self.place.join(JOURNAL)));
            if let Some(lock) = self.beside.take() {
                drop(lock);
                let _ = files::remove_folder(&self.place);
            }
        }
    }
}

impl Journal {
    /// Of results that are all there.
    fn publishing(kind: Kind, old: Vec<String>) -> Journal {
        Journal { kind, request: None, results: Vec::new(), publishing: Some(old) }
    }

    /// That of a folder, about results in `out`; None where it has none.
    fn of(folder: &Path, out: &Path) -> Result<Option<Journal>> {
        let path = folder.join(JOURNAL);
        if !path.is_file() {
            return Ok(None);
        }
        let remedy = "delete it together with the results beside it";
        let journal: Journal = json::parse(&files::read_text(&path)?)
            .map_err(|e| Error::file(&path, format!("cannot be read ({e})"), remedy))?;
        // Files of these names are removed.
        let is_result = |name: &&String| {
            (name.as_str() == JOURNAL || journal.kind.names_result(name)) && files::is_within(out, Path::new(name))
        };
        match journal.results.iter().chain(journal.publishing.iter().flatten()).find(|name| !is_result(name)) {
            Some(name) => {
                let (word, out) = (journal.kind.word(), out.printable());
                let problem = format!("was changed: {name:?} is no result of {word} in {out}");
                Err(Error::file(path, problem, remedy))
            }
            None => Ok(Some(journal)),
        }
    }

    fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(JOURNAL), self)
    }
}

/// Fails where a folder, or what is unfinished beside it, holds results of another subcommand, or files of other programs that results would
/// replace.
pub(crate) fn check_kind(out: &Path, own: Kind) -> Result<()> {
    if holds_results(out, own, &[])? { Ok(()) } else { refuse_foreign(out, own, &[]) }
}

/// Whether a folder, or what is unfinished beside it, holds results of a subcommand or of those that may lie `beside`.
///
/// # Errors
/// Where they are of others.
pub(crate) fn holds_results(out: &Path, own: Kind, beside: &[Kind]) -> Result<bool> {
    let partial = partial(out)?;
    let finished = Kind::VARIANTS.iter().filter_map(|&kind| Some((kind, out.join(kind.told_by(out)?))));
    let unfinished = [out, &partial].map(|folder| {
        Journal::of(folder, out).map(|journal| journal.map(|journal| (journal.kind, folder.join(JOURNAL))))
    });
    let [here, there] = unfinished;
    let results: Vec<(Kind, PathBuf)> = finished.chain(here?).chain(there?).collect();
    match results.iter().find(|(kind, _)| *kind != own && !beside.contains(kind)) {
        Some((kind, file)) => {
            let problem =
                format!("belongs to results of {}, and those of {} would mix with them", kind.word(), own.word());
            Err(Error::file(file, problem, "choose another folder for `out`, or move those results away"))
        }
        None => Ok(!results.is_empty()),
    }
}

/// Fails where results, which have these names beside their own, would replace files of other programs. Results that are there tell that such a
/// file is one of them, though it was changed.
fn refuse_foreign(out: &Path, own: Kind, results: &[String]) -> Result<()> {
    let Some(name) = own.foreign_in(out, results) else { return Ok(()) };
    let problem = format!("is no result of {}, and one of this name would replace it", own.word());
    Err(Error::file(out.join(name), problem, "move it away, or choose another folder for `out`"))
}

/// Fails where a result would be written through a link within the folder, in the place of what lies elsewhere.
fn refuse_links(out: &Path, results: &[String]) -> Result<()> {
    let outside = |name: &&String| out.join(name).exists() && !files::is_within(out, Path::new(name));
    let Some(name) = results.iter().find(outside) else { return Ok(()) };
    let problem = "lies behind a link, and a result of this name would replace it";
    Err(Error::file(out.join(name), problem, "remove the link, or choose another folder for `out`"))
}

/// Fails where results would come to lie among the images of a folder, to be taken for some of them.
pub(crate) fn check_outside(out: &Path, images: &Path) -> Result<()> {
    let images = images.canonicalize().ok().filter(|images| images.is_dir());
    if let Some(images) = images
        && resolved(out).starts_with(&images)
        && holds_images(&images)
    {
        let problem =
            format!("lies in the folder of images {}, where results would be taken for images", images.printable());
        return Err(Error::file(out, problem, "choose another folder for `out`"));
    }
    Ok(())
}

/// The path from the root of what is there or will be: `..` leads out of a folder that is yet to be made as out of any.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    let Some((above, rest)) = there else { return path };
    let Some(place) = rest.components().position(|part| part == Component::ParentDir) else { return above.join(rest) };
    let parts = |from, n| rest.components().skip(from).take(n).collect::<PathBuf>();
    let left = above.join(parts(0, place));
    // What comes after it may be there.
    resolved(&left.parent().unwrap_or(&left).join(parts(place + 1, usize::MAX)))
}

/// Says of results that are made in place, in a folder that is this process's own, that they are unfinished: whatever comes of them, the same
/// subcommand may write there again.
pub(crate) fn begin_in_place(out: &Path, kind: Kind) -> Result<()> {
    check_kind(out, kind)?;
    files::remove_unfinished(out)?;
    Journal { kind, request: None, results: Vec::new(), publishing: None }.write(out)
}

/// Says that they are all there.
pub(crate) fn finish_in_place(out: &Path) -> Result<()> {
    files::remove(&out.join(JOURNAL))
}

/// Removes what tests of a run's earlier model have left, also of one that was killed on the way: it would pass for the new model's.
pub(crate) fn forget_test(directory: &RunDirectory) -> Result<()> {
    let out = directory.path();
    let partial = partial(out)?;
    if Journal::of(&partial, out)?.is_some() {
        let _lock = FolderLock::new(&partial)?;
        discard(&partial, out)?;
    }
    directory::OF_TEST.into_iter().chain([JOURNAL]).try_for_each(|name| files::remove(&directory.to_write(name)?))
}

/// Makes `OUT.partial`.
fn making(partial: &Path, out: &Path) -> Result<FolderLock> {
    lock(partial, &format!("what replaces the results in {} is made there", out.printable()))
}

/// Takes a folder, which is created where it is not there. Where the system forbids that, the error says what for.
fn lock(folder: &Path, purpose: &str) -> Result<FolderLock> {
    FolderLock::new(folder).map_err(|error| match error {
        Error::Io { source, .. } if is_forbidden(&source) => {
            let problem = format!("cannot be written to ({source}), and {purpose}");
            Error::file(folder, problem, "allow to write there, or name another folder for `out`")
        }
        other => other,
    })
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// `OUT.partial`.
fn partial(out: &Path) -> Result<PathBuf> {
    let path = resolved(out);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::file(out, "is no folder for results", "choose another folder for `out`"));
    };
    let mut name = name.to_os_string();
    name.push(".partial");
    let partial = parent.join(name);
    if partial.is_symlink() {
        let problem = format!("is a link, where results that replace those in {} are made", out.printable());
        return Err(Error::file(partial, problem, "move it away"));
    }
    Ok(partial)
}

/// Puts results in the place of the old ones. Killed anywhere on the way, the next call of it ends in the same.
fn publish(partial: &Path, out: &Path, kind: Kind, mut old: Vec<String>) -> Result<()> {
    let tells = |name: &str| TELLING.contains(&name);
    old.sort_by_key(|name| !tells(name));
    for name in &old {
        let path = out.join(name);
        if path.is_file() {
            files::remove(&path)?;
        }
        // Folders that are empty now were made for results.
        let above = path.ancestors().skip(1).take_while(|folder| *folder != out);
        let _ = above.take_while(|folder| files::remove_folder(folder).is_ok()).count();
    }
    // From here on, what lies there is new.
    Journal::publishing(kind, Vec::new()).write(partial)?;
    // While the others are on their way, those that tell of them are in neither folder by their names.
    for (name, hidden) in hidden().iter().filter(|(name, _)| partial.join(name).exists()) {
        files::rename(&partial.join(name), &partial.join(hidden))?;
    }
    let mut new = files::below(partial)?;
    new.retain(|path| is_result(kind, path));
    let moved = files::move_all(partial, out, &new);
    if moved.as_ref().is_err_and(Error::is_full) {
        return moved; // on another file system; once there is space, the next call goes on
    }
    for (name, hidden) in hidden().iter().rev().filter(|(_, hidden)| partial.join(hidden).exists()) {
        files::rename(&partial.join(hidden), &out.join(name))?;
    }
    discard(partial, out)?;
    moved
}

/// What tells of other results, and its name while these are on their way.
fn hidden() -> [(&'static str, PathBuf); 3] {
    TELLING.map(|name| (name, PathBuf::from(format!(".{name}"))))
}

/// Whether a file, by its path among them, is one of some results.
fn is_result(kind: Kind, path: &Path) -> bool {
    path.to_str().is_some_and(|name| kind.names_result(name))
}

/// Removes unfinished results: first what tells of them, last what says that they are ours.
fn discard(partial: &Path, out: &Path) -> Result<()> {
    let mut files = files::below(partial)?;
    let kind = Journal::of(partial, out)?.map(|journal| journal.kind);
    let is_ours = |path: &PathBuf| {
        kind.is_some_and(|kind| is_result(kind, path))
            || [JOURNAL, LOCK].iter().any(|name| path == Path::new(name))
            || hidden().iter().any(|(_, hidden)| path == hidden)
            || files::is_unfinished(path)
    };
    if let Some(other) = files.iter().find(|path| !is_ours(path)) {
        let problem = format!("holds files that are no unfinished results ({})", other.printable());
        let remedy = format!("move it away: results that replace those in {} are made there", out.printable());
        return Err(Error::file(partial, problem, remedy));
    }
    files.retain(|path| ![JOURNAL, LOCK].iter().any(|name| path == Path::new(name)));
    files.sort_by_key(|path| !path.to_str().is_some_and(|name| TELLING.contains(&name)));
    files.iter().try_for_each(|path| files::remove(&partial.join(path)))?;
    let folders = fs::read_dir(partial).map_err(Error::io("read", partial))?.flatten().map(|entry| entry.path());
    folders.filter(|path| path.is_dir()).try_for_each(fs::remove_dir_all).map_err(Error::io("remove", partial))?;
    [JOURNAL, LOCK].iter().try_for_each(|name| files::remove(&partial.join(name)))?;
    files::remove_folder(partial).map_err(Error::io("remove", partial))
}

#[cfg(test)]
mod tests;
