//! One process at a time writes into a folder: a lock that ends with its process, and tells who holds it.
//!
//! The lock is the operating system's, on the file [`LOCK`]. Where a file system does not pass such locks on to other machines, the
//! holder's heartbeat speaks instead: it writes the file again every few seconds, and while it does, no other machine takes the folder.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::files;
use crate::printable::escaped;

/// The file that is locked. It is gone once its holder has ended in peace.
pub(crate) const LOCK: &str = ".fcdd.lock";

/// Bytes of a lock that are read, which has the name of a machine.
const LONGEST: u64 = 512;

/// Time between two signs of life of a holder.
const BEAT: Duration = Duration::from_secs(10);

/// A holder on another machine without a sign of life for so long has ended: several beats, since a busy file server delays them.
const SILENCE: Duration = Duration::from_secs(60);

/// Time between two looks at a folder that someone else holds.
const LOOK: Duration = Duration::from_millis(50);

/// Times that a folder which is removed by others, or its lock, is made again.
const TRIES: u32 = 1000;

/// A folder that is this process's own for as long as this lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    folder: PathBuf,
    /// Folders that were made for it, from the inside out: those that are empty in the end go with it.
    made: Vec<PathBuf>,
    /// Locked while it is open.
    file: File,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Who holds a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    process: u32,
    host: String,
}

/// What came of trying to take a folder.
pub(crate) enum Claim {
    Ours(FolderLock),
    /// None where the file does not tell.
    Theirs(Option<Holder>),
}

impl FolderLock {
    /// Takes a folder, which is created where it is not there.
    ///
    /// # Errors
    /// Where another process works in it.
    pub(crate) fn new(folder: &Path) -> Result<FolderLock> {
        match FolderLock::claim(folder)? {
            Claim::Ours(lock) => Ok(lock),
            Claim::Theirs(holder) => Err(Error::file(
                folder,
                format!("is in use by {}", described(holder.as_ref())),
                "wait until that has ended, end it, or name another folder",
            )),
        }
    }

    /// Takes a folder as soon as it is free: for work of moments.
    ///
    /// # Errors
    /// Where another process still works in it after a minute.
    pub(crate) fn wait(folder: &Path) -> Result<FolderLock> {
        let asked = Instant::now();
        while asked.elapsed() < SILENCE {
            if let Claim::Ours(lock) = FolderLock::claim(folder)? {
                return Ok(lock);
            }
            thread::sleep(LOOK);
        }
        FolderLock::new(folder)
    }

    /// Takes a folder, which is created where it is not there, unless another process has it.
    pub(crate) fn claim(folder: &Path) -> Result<Claim> {
        let absent = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let made = absent.map(Path::to_path_buf).collect();
        files::create_folder(folder)?;
        claim(folder, made)
    }

    /// Removes what a killed program has left in a folder: not where another process works, which removes it at its own end.
    pub(crate) fn tidy(folder: &Path) -> Result<()> {
        if folder.join(LOCK).exists()
            && let Claim::Ours(_ours) = FolderLock::claim(folder)?
        {
            files::remove_unfinished(folder)?;
        }
        Ok(())
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fails where the folder has been moved or removed: what lies at its path now is not this process's own. Asked before each write.
    pub(crate) fn check(&self) -> Result<()> {
        let path = self.folder.join(LOCK);
        if is_still(&self.file, &path).map_err(Error::io("find", path))? {
            return Ok(());
        }
        let problem = "was moved or removed, or its lock was, while this process worked in it";
        Err(Error::file(&self.folder, problem, "nothing more was written: what there was before has gone with it"))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            let _ = heart.join();
        }
        if self.check().is_err() {
            return;
        }
        failpoint!("unlock");
        // Removed while it is still locked: who has opened it meanwhile will find that it is another one now.
        let _ = fs::remove_file(self.folder.join(LOCK));
        let _ = self.made.iter().take_while(|folder| fs::remove_dir(folder).is_ok()).count();
    }
}

impl Holder {
    fn this() -> Holder {
        Holder { process: std::process::id(), host: host() }
    }

    fn read(mut file: &File) -> Option<Holder> {
        let mut text = String::new();
        file.rewind().and_then(|()| file.take(LONGEST).read_to_string(&mut text)).ok()?;
        let (process, host) = text.trim_end().split_once(' ')?;
        Some(Holder { process: process.parse().ok()?, host: escaped(host).into_owned() })
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        file.rewind()?;
        writeln!(file, "{self}")
    }
}

/// As it stands in the file: number and machine.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.process, self.host)
    }
}

/// A holder as a person reads it.
pub(crate) fn described(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { process, host }) => format!("process {process} on {host}"),
        None => "another process".to_string(),
    }
}

fn claim(folder: &Path, made: Vec<PathBuf>) -> Result<Claim> {
    let path = folder.join(LOCK);
    let failed = || Error::io("lock", &path);
    for _ in 0..TRIES {
        let file = match open(&path) {
            // On Windows, a file that another process is about to remove.
            Err(e) if cfg!(windows) && e.kind() == io::ErrorKind::PermissionDenied => return Ok(Claim::Theirs(None)),
            Err(_) if path.is_symlink() => {
                let problem = "is a link, and what it leads to would be written";
                return Err(Error::file(path, problem, "remove it: a lock is a file of its own"));
            }
            // Another process, which had made the folder, has just ended and left nothing.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                files::create_folder(folder)?;
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            file => file.map_err(failed())?,
        };
        if !file.metadata().map_err(failed())?.is_file() {
            return Err(Error::file(path, "is no file", "remove it: a lock is a file of its own"));
        }
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Ok(Claim::Theirs(Holder::read(&file))),
            // The heartbeat alone has to do.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => false,
            Err(TryLockError::Error(e)) => return Err(failed()(e)),
        };
        if !is_still(&file, &path).map_err(failed())? {
            continue; // its holder has ended, and removed it, since it was opened
        }
        let this = Holder::this();
        if let Some(holder) = Holder::read(&file)
            && (!locked || holder.host != this.host)
            && is_alive(&file, folder).map_err(failed())?
        {
            return Ok(Claim::Theirs(Some(holder)));
        }
        // Where it cannot be written, as on a full disk, it goes again, and the folders that were made for it.
        let mut lock = FolderLock { folder: folder.to_path_buf(), made, file, heart: None };
        failpoint!("lock");
        lock.file.set_len(0).and_then(|()| this.write(&lock.file)).map_err(failed())?;
        failpoint!("locked");
        let (stop, stopped) = mpsc::channel();
        let beating = lock.file.try_clone().map_err(failed())?;
        // Without this thread the lock holds all the same, on this machine.
        let heart = thread::Builder::new().spawn(move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = this.write(&beating); // of a full disk nothing is lost but the sign of life
            }
        });
        lock.heart = heart.ok().map(|heart| (stop, heart));
        return Ok(Claim::Ours(lock));
    }
    Err(Error::file(folder, "is removed again whenever it is to be locked", "name a folder that is there and stays"))
}

/// Opens or makes the lock: not what a link leads to.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    options.read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether an open file is the one that lies at a path.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// An open file cannot be removed there.
#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Whether a lock was written a moment ago, by the clock of the file system: machines' clocks differ. A time that lies as far ahead tells of
/// a clock that was set back, not of life.
fn is_alive(file: &File, folder: &Path) -> io::Result<bool> {
    let now = files::temporary(folder)?;
    now.as_file().write_all(b"now")?;
    let (now, written) = (now.as_file().metadata()?.modified()?, file.metadata()?.modified()?);
    Ok(now.duration_since(written).unwrap_or_else(|ahead| ahead.duration()) < SILENCE)
}

/// The name of this machine.
fn host() -> String {
    let named = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok()));
    named
        .map(|name| name.trim().to_string())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this machine".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::SystemTime;

    #[test]
    fn a_folder_is_held_once_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("runs/run");
        let lock = FolderLock::new(&folder).unwrap();
        let told = FolderLock::new(&folder).unwrap_err().to_string();
        let who = format!("process {} on {}", std::process::id(), host());
        assert!(told.contains(&who) && told.contains("another folder"), "{told}");
        drop(lock);
        assert!(!root.path().join("runs").exists());
        // A folder that was there stays, and so does one that holds something.
        fs::create_dir_all(&folder).unwrap();
        drop(FolderLock::new(&folder).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let lock = FolderLock::new(&folder.join("it")).unwrap();
        fs::write(folder.join("it/model"), "").unwrap();
        drop(lock);
        assert_eq!(fs::read_dir(folder.join("it")).unwrap().count(), 1);
    }

    /// The file, and the folder with it, is removed and made anew all the time meanwhile.
    #[test]
    fn of_many_that_want_a_folder_one_has_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let (within, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        if let Claim::Ours(lock) = FolderLock::claim(&folder).unwrap() {
                            assert_eq!(within.fetch_add(1, Ordering::SeqCst), 0);
                            thread::yield_now();
                            within.fetch_sub(1, Ordering::SeqCst);
                            done.fetch_add(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(done.into_inner() > 0);
    }

    /// What another machine holds is its own while it gives signs of life, also where locks do not reach that far; what a killed
    /// process of this machine held is free at once.
    #[test]
    fn a_heartbeat_counts_where_locks_do_not_reach() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(LOCK);
        fs::write(&path, "7 elsewhere\n").unwrap();
        assert!(FolderLock::new(root.path()).unwrap_err().to_string().contains("process 7 on elsewhere"));
        // A clock that was set back by an hour does not lend an hour of life.
        for (written, is_alive) in [
            (SystemTime::now() - 2 * SILENCE, false),
            (SystemTime::now() + 60 * SILENCE, false),
            (SystemTime::now() + SILENCE / 2, true),
        ] {
            fs::write(&path, "7 elsewhere\n").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
            assert_eq!(FolderLock::new(root.path()).is_err(), is_alive);
        }
        fs::write(&path, format!("7 {}\n", host())).unwrap();
        drop(FolderLock::new(root.path()).unwrap());
    }

    /// A lock that is a link would have what it leads to written.
    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (folder, theirs) = (root.path().join("run"), root.path().join("notes"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&theirs, folder.join(LOCK)).unwrap();
        for is_there in [false, true] {
            let told = FolderLock::new(&folder).unwrap_err().to_string();
            assert!(told.contains(LOCK) && told.contains("is a link") && told.contains("remove it"), "{told}");
            assert_eq!(theirs.exists(), is_there);
            fs::write(&theirs, "theirs").unwrap();
        }
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    }

    /// What lies at its path then is another's.
    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_moved_is_no_longer_held() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let lock = FolderLock::new(&folder).unwrap();
        lock.check().unwrap();
        fs::rename(&folder, root.path().join("moved")).unwrap();
        let told = lock.check().unwrap_err().to_string();
        assert!(told.contains("moved or removed"), "{told}");
        let other = FolderLock::new(&folder).unwrap();
        assert!(lock.check().is_err());
        drop(lock);
        other.check().unwrap();
    }
}
