//! Which images of a watched folder are to be scored, and when: those that are new or were overwritten, once their files rest.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::printable::spelt;

/// A file that has rested and cannot be read is left so long to whoever may go on writing it before it is called unreadable.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that is not there is looked for once more after so long: that it has another name may be about to be told.
const GONE: Duration = Duration::from_secs(1);

/// What tells a file from another in its place, and from itself before it was written into: of its size, time and, on Unix, inode. The time of
/// its inode is no part of it: permissions and links change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(u64);

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let file = fs::metadata(path)?;
        let text = format!("{} {:?} {}", file.len(), file.modified().ok(), inode(&file));
        Ok(Stamp(xxh3_64(text.as_bytes())))
    }
}

#[cfg(unix)]
fn inode(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// A path in the folder as text, another for each.
pub(super) fn name_of(path: &Path) -> String {
    spelt(path.as_os_str())
}

/// Images of a folder, by their paths in it.
pub(super) struct Arrivals {
    folder: PathBuf,
    settle: Duration,
    /// Files as they were scored or given up, by the checksum of their names: 16 bytes for each name that there ever was.
    seen: HashMap<u64, Stamp>,
    waiting: HashMap<PathBuf, Waiting>,
    /// When these are to be looked at.
    queue: BTreeSet<(Instant, PathBuf)>,
}

/// An image that is new or was changed.
struct Waiting {
    /// The file at the last look; None where it was not there.
    stamp: Option<Stamp>,
    /// Whether it could not be read as it was then.
    tried: bool,
    until: Instant,
}

/// An image whose file has rested.
#[derive(Debug)]
pub(super) struct Settled {
    pub path: PathBuf,
    pub stamp: Stamp,
    tried: bool,
}

impl Arrivals {
    /// Those of a folder, whose files rest once they have not changed for `settle`.
    pub(super) fn new(folder: &Path, settle: Duration) -> Arrivals {
        let (folder, seen) = (folder.to_path_buf(), HashMap::new());
        Arrivals { folder, settle, seen, waiting: HashMap::new(), queue: BTreeSet::new() }
    }

    /// An image of this name was scored as its file was then.
    pub(super) fn done(&mut self, name: &str, stamp: Stamp) {
        self.seen.insert(xxh3_64(name.as_bytes()), stamp);
    }

    /// Something may have happened to an image.
    pub(super) fn changed(&mut self, path: &Path, now: Instant) {
        let waits = self.waiting.get(path);
        match self.stamp(path) {
            Some(stamp) if self.seen(path) == Some(stamp) => self.forget(path),
            Some(stamp) if waits.is_some_and(|waiting| waiting.stamp == Some(stamp)) => {}
            Some(stamp) => self.wait(path, Some(stamp), false, now + self.settle),
            // What was scored may go; what waits will be missed in its time.
            None if waits.is_some() || self.seen(path).is_some() => {}
            None => self.wait(path, None, false, now + GONE),
        }
    }

    /// A file has taken the name of an image, or left it: it was written before, under another one.
    pub(super) fn renamed(&mut self, path: &Path, now: Instant) {
        match self.stamp(path) {
            Some(stamp) if self.seen(path) != Some(stamp) => self.wait(path, Some(stamp), false, now),
            _ => self.forget(path),
        }
    }

    /// The folder holds these images.
    pub(super) fn found<'a>(&mut self, images: impl Iterator<Item = &'a Path>, now: Instant) {
        for path in images {
            if self.stamp(path).is_some() {
                self.changed(path, now);
            }
        }
    }

    /// Images whose files have rested, so many at most, the earliest first; and those that have gone.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> (Vec<Settled>, Vec<PathBuf>) {
        let (mut settled, mut gone) = (Vec::new(), Vec::new());
        while settled.len() < most && self.next().is_some_and(|next| next <= now) {
            let Some((_, path)) = self.queue.pop_first() else { break };
            let Some(Waiting { stamp: before, tried, .. }) = self.waiting.remove(&path) else { continue };
            match (before, self.stamp(&path)) {
                (Some(before), Some(stamp)) if before == stamp => settled.push(Settled { path, stamp, tried }),
                (_, Some(stamp)) => self.wait(&path, Some(stamp), false, now + self.settle),
                (Some(_), None) => self.wait(&path, None, tried, now + GONE),
                (None, None) => gone.push(path),
            }
        }
        (settled, gone)
    }

    /// When the next image is to be looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(next, _)| *next)
    }

    /// An image could not be read. Whether it is given up: its file has rested for long; it is looked at again when that changes.
    pub(super) fn is_given_up(&mut self, settled: Settled, now: Instant) -> bool {
        let Settled { path, stamp, tried } = settled;
        match self.stamp(&path) {
            Some(now_there) if now_there != stamp => self.wait(&path, Some(now_there), false, now + self.settle),
            None => self.wait(&path, None, tried, now + GONE),
            Some(_) if tried => {
                self.done(&name_of(&path), stamp);
                return true;
            }
            Some(_) => self.wait(&path, Some(stamp), true, now + self.settle.max(PATIENCE)),
        }
        false
    }

    /// An image could not be read for lack of something that the process may have again, which says nothing of it: it is looked at once more
    /// after a while. Whether that is the first time.
    pub(super) fn put_off(&mut self, settled: Settled, now: Instant) -> bool {
        let Settled { path, stamp, tried } = settled;
        self.wait(&path, Some(stamp), true, now + self.settle.max(PATIENCE));
        !tried
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        Stamp::of(&self.folder.join(path)).ok()
    }

    fn seen(&self, path: &Path) -> Option<Stamp> {
        self.seen.get(&xxh3_64(name_of(path).as_bytes())).copied()
    }

    fn wait(&mut self, path: &Path, stamp: Option<Stamp>, tried: bool, until: Instant) {
        self.forget(path);
        self.queue.insert((until, path.to_path_buf()));
        self.waiting.insert(path.to_path_buf(), Waiting { stamp, tried, until });
    }

    fn forget(&mut self, path: &Path) {
        if let Some((path, Waiting { until, .. })) = self.waiting.remove_entry(path) {
            self.queue.remove(&(until, path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(500);

    struct Folder {
        root: tempfile::TempDir,
        arrivals: Arrivals,
        now: Instant,
    }

    impl Folder {
        fn new() -> Folder {
            let root = tempfile::tempdir().unwrap();
            let arrivals = Arrivals::new(root.path(), SETTLE);
            Folder { root, arrivals, now: Instant::now() }
        }

        fn write(&mut self, name: &str, bytes: usize) {
            fs::write(self.root.path().join(name), vec![0; bytes]).unwrap();
            self.arrivals.changed(Path::new(name), self.now);
        }

        fn remove(&mut self, name: &str) {
            fs::remove_file(self.root.path().join(name)).unwrap();
            self.arrivals.changed(Path::new(name), self.now);
        }

        fn rename(&mut self, from: &str, to: &str) {
            fs::rename(self.root.path().join(from), self.root.path().join(to)).unwrap();
            [from, to].iter().for_each(|name| self.arrivals.renamed(Path::new(name), self.now));
        }

        /// What is due after so long.
        fn after(&mut self, time: Duration) -> (Vec<Settled>, Vec<PathBuf>) {
            self.now += time;
            self.arrivals.due(self.now, 10)
        }

        /// All of it is scored.
        fn scored_after(&mut self, time: Duration) -> Vec<PathBuf> {
            let (settled, gone) = self.after(time);
            assert!(gone.is_empty(), "{gone:?}");
            settled.iter().for_each(|one| self.arrivals.done(&name_of(&one.path), one.stamp));
            settled.into_iter().map(|one| one.path).collect()
        }
    }

    fn named(name: &str) -> Vec<PathBuf> {
        vec![PathBuf::from(name)]
    }

    #[test]
    fn an_image_is_scored_once_it_rests_and_again_when_it_has_changed() {
        let mut folder = Folder::new();
        folder.write("a", 1);
        assert!(folder.scored_after(SETTLE / 2).is_empty());
        folder.write("a", 2);
        assert!(folder.scored_after(SETTLE / 2).is_empty(), "it has changed since");
        // Without being told.
        fs::write(folder.root.path().join("a"), "333").unwrap();
        assert!(folder.scored_after(SETTLE).is_empty());
        assert_eq!(folder.scored_after(SETTLE), named("a"));
        folder.arrivals.found([Path::new("a")].into_iter(), folder.now);
        folder.arrivals.changed(Path::new("a"), folder.now);
        assert_eq!(folder.arrivals.next(), None, "nothing is new");
        folder.write("a", 1);
        assert_eq!(folder.scored_after(SETTLE), named("a"));
        folder.remove("a");
        assert_eq!(folder.arrivals.next(), None, "what was scored may go");
    }

    #[test]
    fn what_takes_a_name_is_whole_and_what_leaves_one_is_no_loss() {
        let mut folder = Folder::new();
        folder.write("temporary", 1);
        folder.rename("temporary", "a");
        assert_eq!(folder.scored_after(Duration::ZERO), named("a"));
        assert_eq!(folder.arrivals.next(), None);
        // The rename is told after the name was missed.
        fs::write(folder.root.path().join("temporary"), "22").unwrap();
        fs::rename(folder.root.path().join("temporary"), folder.root.path().join("b")).unwrap();
        folder.arrivals.changed(Path::new("temporary"), folder.now);
        assert!(folder.scored_after(GONE / 2).is_empty());
        ["temporary", "b"].iter().for_each(|name| folder.arrivals.renamed(Path::new(name), folder.now));
        assert_eq!(folder.scored_after(Duration::ZERO), named("b"));
        assert_eq!(folder.arrivals.next(), None);
        // Another in the place of what was scored, of its size.
        folder.write("temporary", 2);
        folder.rename("temporary", "b");
        assert_eq!(folder.scored_after(Duration::ZERO), named("b"));
    }

    #[test]
    fn what_goes_before_it_was_read_is_missed() {
        let mut folder = Folder::new();
        folder.write("a", 1);
        folder.remove("a");
        folder.arrivals.changed(Path::new("b"), folder.now); // gone before anybody looked
        let mut gone = Vec::new();
        for _ in 0..3 {
            let (settled, missed) = folder.after(GONE);
            assert!(settled.is_empty());
            gone.extend(missed);
        }
        gone.sort();
        assert_eq!(gone, [named("a"), named("b")].concat());
        assert_eq!(folder.arrivals.next(), None);
    }

    #[test]
    fn what_cannot_be_read_is_tried_while_it_changes_and_given_up_when_it_rests() {
        let mut folder = Folder::new();
        let tries = |folder: &mut Folder, time: Duration| -> Vec<bool> {
            let (settled, _) = folder.after(time);
            settled.into_iter().map(|one| folder.arrivals.is_given_up(one, folder.now)).collect()
        };
        folder.write("a", 1);
        assert_eq!(tries(&mut folder, SETTLE), [false]);
        assert!(tries(&mut folder, SETTLE).is_empty(), "it rests");
        folder.write("a", 2);
        assert_eq!(tries(&mut folder, SETTLE), [false]);
        // It changes between the reading and the look.
        folder.write("a", 3);
        let (mut settled, _) = folder.after(SETTLE);
        fs::write(folder.root.path().join("a"), "4444").unwrap();
        assert!(!folder.arrivals.is_given_up(settled.remove(0), folder.now));
        assert_eq!(tries(&mut folder, SETTLE), [false]);
        assert_eq!(tries(&mut folder, PATIENCE), [true]);
        assert_eq!(folder.arrivals.next(), None);
        folder.arrivals.found([Path::new("a")].into_iter(), folder.now);
        assert_eq!(folder.arrivals.next(), None, "it is told once");
        folder.write("a", 5);
        assert_eq!(folder.scored_after(SETTLE), named("a"));
    }
}
