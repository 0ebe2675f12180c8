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

/// The file that is locked. It is gone once its holder has ended in peace.
const LOCK: &str = ".fcdd.lock";

/// Time between two signs of life of a holder.
const BEAT: Duration = Duration::from_secs(10);

/// A holder on another machine without a sign of life for so long has ended: several beats, since a busy file server delays them.
const SILENCE: Duration = Duration::from_secs(60);

/// Time between two looks at a folder that someone else holds.
const LOOK: Duration = Duration::from_millis(50);

/// A folder that is this process's own for as long as this lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    folder: PathBuf,
    /// Folders that were made for it, from the inside out: those that are empty in the end go with it.
    made: Vec<PathBuf>,
    /// Locked while it is open.
    _file: File,
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
        let path = folder.join(LOCK);
        claim(folder, made, &path).map_err(Error::io("lock", path))
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
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            let _ = heart.join();
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
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        let (process, host) = text.trim_end().split_once(' ')?;
        Some(Holder { process: process.parse().ok()?, host: host.to_string() })
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

fn claim(folder: &Path, made: Vec<PathBuf>, path: &Path) -> io::Result<Claim> {
    loop {
        let file = match File::options().read(true).write(true).create(true).truncate(false).open(path) {
            // On Windows, a file that another process is about to remove.
            Err(e) if cfg!(windows) && e.kind() == io::ErrorKind::PermissionDenied => return Ok(Claim::Theirs(None)),
            // Another process, which had made the folder, has just ended and left nothing.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                fs::create_dir_all(folder)?;
                continue;
            }
            file => file?,
        };
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Ok(Claim::Theirs(Holder::read(&file))),
            // The heartbeat alone has to do.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => false,
            Err(TryLockError::Error(e)) => return Err(e),
        };
        if !is_still(&file, path)? {
            continue; // its holder has ended, and removed it, since it was opened
        }
        let this = Holder::this();
        if let Some(holder) = Holder::read(&file)
            && (!locked || holder.host != this.host)
            && age(&file, folder)? < SILENCE
        {
            return Ok(Claim::Theirs(Some(holder)));
        }
        failpoint!("lock");
        file.set_len(0)?;
        this.write(&file)?;
        failpoint!("locked");
        let (stop, stopped) = mpsc::channel();
        let beating = file.try_clone()?;
        let heart = thread::spawn(move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = this.write(&beating); // of a full disk nothing is lost but the sign of life
            }
        });
        let folder = folder.to_path_buf();
        return Ok(Claim::Ours(FolderLock { folder, made, _file: file, heart: Some((stop, heart)) }));
    }
}

/// Whether an open file is the one that lies at a path.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let opened = file.metadata()?;
    match fs::metadata(path) {
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

/// How long ago a file was written, by the clock of the file system: machines' clocks differ.
fn age(file: &File, folder: &Path) -> io::Result<Duration> {
    let now = files::temporary(folder)?;
    now.as_file().write_all(b"now")?;
    let now = now.as_file().metadata()?.modified()?;
    Ok(now.duration_since(file.metadata()?.modified()?).unwrap_or_default())
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
        let long_ago = SystemTime::now() - 2 * SILENCE;
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        drop(FolderLock::new(root.path()).unwrap());
        fs::write(&path, format!("7 {}\n", host())).unwrap();
        drop(FolderLock::new(root.path()).unwrap());
    }
}
