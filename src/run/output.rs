//! Results of a subcommand in a folder `OUT`: what is unfinished says so, and what replaces earlier results does so as a whole.
//!
//! Where `OUT` holds no results yet, they are made in it; otherwise in `OUT.partial` beside it, and published once they are all there.
//! A folder of results in the making holds [`JOURNAL`]: a killed program leaves them to read, and the same command goes on with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory::{self, write_json};
use super::lock::FolderLock;
use crate::data::folder::holds_images;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::{files, json};

/// Says that the results beside it are unfinished, and of what.
pub(crate) const JOURNAL: &str = "unfinished.json";

/// Files that tell of others: while results are replaced, the first to go and the last to come.
const TELLING: [&str; 3] = [directory::REPORT, directory::EVALUATION, directory::SCORES];

/// What [`JOURNAL`] holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Journal {
    /// What was asked for: the same again goes on.
    request: String,
    /// Results to come, by their names in the folder.
    #[serde(default)]
    results: Vec<String>,
    /// Everything is there and on its way to the folder beside: these files of it go first.
    #[serde(default)]
    publishing: Option<Vec<String>>,
}

/// Results in the making.
pub(crate) struct Output {
    lock: FolderLock,
    /// Where they are made.
    place: PathBuf,
    /// Whether earlier ones are gone on with.
    pub resumed: bool,
}

impl Output {
    /// Begins results in a folder, or goes on with those of the same request; what a killed program was doing there is brought to an
    /// end. `results` are their names, where they are not known from elsewhere, and `replaces` tells whether earlier ones lie there.
    pub(crate) fn begin(
        out: &Path,
        request: String,
        results: Vec<String>,
        replaces: impl FnOnce() -> bool,
    ) -> Result<Output> {
        let lock = FolderLock::new(out)?;
        let partial = partial(out)?;
        if let Some(Journal { publishing: Some(old), .. }) = Journal::of(&partial)? {
            publish(&partial, out, old)?;
        }
        let begun = Journal::of(out)?.map_or_else(Vec::new, |there| there.results);
        let folders = results.iter().chain(&begun).filter_map(|name| Path::new(name).parent());
        let folders: BTreeSet<PathBuf> = folders.map(|folder| out.join(folder)).chain([out.to_path_buf()]).collect();
        folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| files::remove_unfinished(folder))?;
        if partial.is_dir() {
            files::remove_unfinished_below(&partial)?;
        }
        let asked =
            |folder: &Path| -> Result<bool> { Ok(Journal::of(folder)?.is_some_and(|there| there.request == request)) };
        if asked(out)? {
            return Ok(Output { lock, place: out.to_path_buf(), resumed: true });
        }
        let replaces = replaces() || out.join(JOURNAL).exists();
        if replaces && asked(&partial)? {
            return Ok(Output { lock, place: partial, resumed: true });
        }
        if partial.exists() {
            if Journal::of(&partial)?.is_none()
                && fs::read_dir(&partial).is_ok_and(|mut entries| entries.next().is_some())
            {
                let remedy = format!("move it away: results that replace those in {} are made there", out.printable());
                return Err(Error::file(&partial, "holds files that are no unfinished results", remedy));
            }
            discard(&partial)?;
        }
        let place = if replaces { partial } else { out.to_path_buf() };
        files::create_folder(&place)?;
        Journal { request, results, publishing: None }.write(&place)?;
        Ok(Output { lock, place, resumed: false })
    }

    /// The folder that they are made in.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// All results are there: they take the place of the `old` ones, named by their paths in the folder.
    ///
    /// # Errors
    /// Of what could not be put in place; everything else is.
    pub(crate) fn finish(self, mut old: Vec<String>) -> Result<()> {
        let out = self.lock.folder();
        if self.place == out {
            return files::remove(&out.join(JOURNAL));
        }
        if let Some(unfinished) = Journal::of(out)? {
            old.extend(unfinished.results);
            old.push(JOURNAL.to_string());
        }
        Journal { publishing: Some(old.clone()), ..Journal::default() }.write(&self.place)?;
        publish(&self.place, out, old)
    }
}

/// What ends by an error before there is any result leaves nothing.
impl Drop for Output {
    fn drop(&mut self) {
        let table = self.place.join(directory::SCORES);
        let has_rows = fs::metadata(&table).is_ok_and(|table| table.len() > 0);
        let is_there = |name: &String| name != directory::SCORES && self.place.join(name).exists();
        if let Ok(Some(Journal { results, publishing: None, .. })) = Journal::of(&self.place)
            && !has_rows
            && !results.iter().any(is_there)
        {
            let _ = files::remove(&table).and_then(|()| files::remove(&self.place.join(JOURNAL)));
            if self.place != self.lock.folder() {
                let _ = files::remove_folder(&self.place);
            }
        }
    }
}

impl Journal {
    /// That of a folder; None where it has none.
    fn of(folder: &Path) -> Result<Option<Journal>> {
        let path = folder.join(JOURNAL);
        if !path.is_file() {
            return Ok(None);
        }
        let broken =
            |e| Error::file(&path, format!("cannot be read ({e})"), "delete it together with the results beside it");
        json::parse(&files::read(&path)?).map(Some).map_err(broken)
    }

    fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(JOURNAL), self)
    }
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

/// The path from the root of what is there or will be.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    there.map_or(path.clone(), |(above, rest)| above.join(rest))
}

/// Brings an end to what a killed program was doing beside a folder that is this process's own: results that were all there are put in
/// place, others are removed.
pub(crate) fn settle(out: &Path) -> Result<()> {
    let partial = partial(out)?;
    match Journal::of(&partial)? {
        None => Ok(()),
        Some(Journal { publishing: Some(old), .. }) => publish(&partial, out, old),
        Some(_) => discard(&partial),
    }
}

/// `OUT.partial`.
fn partial(out: &Path) -> Result<PathBuf> {
    let path = out.canonicalize().map_err(Error::io("find", out))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::file(out, "is no folder for results", "choose another folder for `out`"));
    };
    let mut name = name.to_os_string();
    name.push(".partial");
    Ok(parent.join(name))
}

/// Puts results in the place of the old ones. Killed anywhere on the way, the next call of it ends in the same.
fn publish(partial: &Path, out: &Path, mut old: Vec<String>) -> Result<()> {
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
    Journal { publishing: Some(Vec::new()), ..Journal::default() }.write(partial)?;
    // While the others are on their way, those that tell of them are in neither folder by their names.
    let hidden = TELLING.map(|name| (name, PathBuf::from(format!(".{name}"))));
    for (name, hidden) in hidden.iter().filter(|(name, _)| partial.join(name).exists()) {
        files::rename(&partial.join(name), &partial.join(hidden))?;
    }
    let mut new = files::below(partial)?;
    new.retain(|path| *path != Path::new(JOURNAL) && hidden.iter().all(|(_, hidden)| path != hidden));
    let moved = files::move_all(partial, out, &new);
    for (name, hidden) in hidden.iter().rev().filter(|(_, hidden)| partial.join(hidden).exists()) {
        files::rename(&partial.join(hidden), &out.join(name))?;
    }
    discard(partial)?;
    moved
}

/// Removes unfinished results: first what tells of them, last what says that they are ours.
fn discard(partial: &Path) -> Result<()> {
    let mut files = files::below(partial)?;
    files.retain(|path| *path != Path::new(JOURNAL));
    files.sort_by_key(|path| !path.to_str().is_some_and(|name| TELLING.contains(&name)));
    files.iter().try_for_each(|path| files::remove(&partial.join(path)))?;
    let folders = fs::read_dir(partial).map_err(Error::io("read", partial))?.flatten().map(|entry| entry.path());
    folders.filter(|path| path.is_dir()).try_for_each(fs::remove_dir_all).map_err(Error::io("remove", partial))?;
    files::remove(&partial.join(JOURNAL))?;
    files::remove_folder(partial).map_err(Error::io("remove", partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn there(folder: &Path) -> Vec<String> {
        files::below(folder).unwrap().iter().map(|path| path.printable()).collect()
    }

    fn begin(out: &Path, request: &str) -> Output {
        let replaces = || out.join(directory::SCORES).exists();
        Output::begin(out, request.into(), vec!["a".into(), "deep/b".into()], replaces).unwrap()
    }

    /// Killed on the way or not, a folder ends with the new results and what is not ours.
    #[test]
    fn results_are_replaced_as_a_whole_wherever_it_was_killed() {
        for killed in 0..5 {
            let root = tempfile::tempdir().unwrap();
            let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
            for name in ["scores.csv", "a", "deep/b", "notes.txt"] {
                write(out.join(name), "old");
            }
            let output = begin(&out, "x");
            assert_eq!((output.place(), output.resumed), (partial.canonicalize().unwrap().as_path(), false));
            for name in ["scores.csv", "a", "new/c"] {
                write(partial.join(name), "new");
            }
            let old: Vec<String> = ["a", "deep/b", "scores.csv"].map(str::to_string).to_vec();
            match killed {
                0 => output.finish(old).unwrap(),
                _ => {
                    drop(output);
                    Journal { publishing: Some(old), ..Journal::default() }.write(&partial).unwrap();
                    if killed > 1 {
                        fs::remove_file(out.join("scores.csv")).unwrap();
                    }
                    if killed > 2 {
                        fs::remove_file(out.join("a")).unwrap();
                        fs::remove_dir_all(out.join("deep")).unwrap();
                        Journal { publishing: Some(Vec::new()), ..Journal::default() }.write(&partial).unwrap();
                    }
                    if killed > 3 {
                        fs::rename(partial.join("scores.csv"), partial.join(".scores.csv")).unwrap();
                        fs::rename(partial.join("a"), out.join("a")).unwrap();
                    }
                    drop(begin(&out, "y")); // whatever comes next
                }
            }
            assert_eq!(there(&out), ["a", "new/c", "notes.txt", "scores.csv"], "{killed}");
            assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "new", "{killed}");
            assert!(!partial.exists() && !out.join("deep").exists());
        }
    }

    #[test]
    fn the_same_request_goes_on_and_another_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
        let nothing = begin(&out, "x");
        assert!(out.join(JOURNAL).exists());
        drop(nothing);
        assert!(!out.exists(), "nothing came of it");
        let some = begin(&out, "x");
        write(out.join("a"), "unfinished");
        drop(some);
        assert!(begin(&out, "x").resumed);
        // Unfinished results are replaced like others, with all that was to come of them.
        let other = begin(&out, "y");
        assert!(!other.resumed && other.place().ends_with("out.partial"));
        write(partial.join("c"), "new");
        write(partial.join("scores.csv"), "a row");
        drop(other);
        write(partial.join(".fcdd-x1"), "cut short");
        assert!(begin(&out, "y").resumed && !partial.join(".fcdd-x1").exists());
        begin(&out, "y").finish(Vec::new()).unwrap();
        assert_eq!(there(&out), ["c", "scores.csv"]);
        // Nor does what was killed while it was removed pass for results.
        let gone = begin(&out, "x");
        write(partial.join("deep/b"), "new");
        drop(gone);
        discard(&partial).unwrap();
        assert!(!partial.exists());
        // What is not ours is not removed.
        write(out.join("scores.csv"), "old");
        write(partial.join("theirs"), "");
        let refused = Output::begin(&out, "z".into(), Vec::new(), || true).err().unwrap().to_string();
        assert!(refused.contains("out.partial") && refused.contains("move it away"), "{refused}");
        assert!(partial.join("theirs").exists());
    }

    #[test]
    fn results_lie_beside_images_not_among_them() {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join("parts");
        write(images.join("good/a.PNG"), "");
        for inside in ["parts", "parts/out", "parts/good/deep/out", "other/../parts/out"] {
            fs::create_dir_all(root.path().join("other")).unwrap();
            assert!(check_outside(&root.path().join(inside), &images).is_err(), "{inside}");
        }
        for beside in ["out", "parts-run", "parts.partial"] {
            check_outside(&root.path().join(beside), &images).unwrap();
        }
        fs::remove_file(images.join("good/a.PNG")).unwrap();
        check_outside(&images, &images).unwrap();
    }
}
