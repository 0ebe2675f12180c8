//! Files are written whole or not at all: to a temporary file in the same folder, synced, then renamed over the target. The rename is
//! synced too: after a power cut, what was told to be written is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::memory;
use crate::printable::Printable;

/// How names of unfinished files begin.
const UNFINISHED: &str = ".fcdd-";

/// Bytes for which there is room.
const SMALL: usize = 8 << 20;

/// Times that a folder which others remove is made again.
const TRIES: u32 = 100;

/// Replaces `path` by `bytes` atomically.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes)?.keep()
}

/// Writes a file that must not be there: of several processes one does.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let Staged { file, .. } = write(path, bytes)?;
    failpoint!("rename");
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(folder_of(path)).map_err(Error::io("write", path)),
        Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        Err(failed) => Err(Error::io("write", path)(failed.error)),
    }
}

/// That a file is there which must not be.
pub(crate) fn is_there(path: &Path) -> Error {
    Error::file(path, "is there already", "name another file, or move it away")
}

/// A file that is all there, beside the one whose place it will take; it is removed unless it is kept.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

/// Writes bytes that will take the place of a file, with the permissions that it has.
pub(crate) fn stage(path: &Path, bytes: &[u8]) -> Result<Staged> {
    let staged = write(path, bytes)?;
    if let Ok(there) = fs::metadata(path) {
        staged.file.as_file().set_permissions(there.permissions()).map_err(Error::io("write", path))?;
    }
    Ok(staged)
}

fn write(path: &Path, bytes: &[u8]) -> Result<Staged> {
    let write = || -> io::Result<NamedTempFile> {
        let file = begin(path)?;
        failpoint!("create");
        file.as_file().write_all(bytes)?; // by itself, the wrapper adds its own name to errors
        failpoint!("sync");
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map(|file| Staged { file, path: path.to_path_buf() }).map_err(Error::io("write", path))
}

impl Staged {
    /// It takes the place of the file.
    pub(crate) fn keep(self) -> Result<()> {
        let Staged { file, path } = self;
        persist(file, &path).map_err(Error::io("write", &path))
    }
}

/// An unfinished file that will take the place of `path`; it is removed unless it is [kept](keep).
pub(crate) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    temporary(folder_of(path))
}

/// Ends an unfinished file: it is `path` from now on.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    failpoint!("sync");
    file.as_file().sync_all()?;
    persist(file, path)
}

/// Gives a file that is all there its name.
fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    failpoint!("rename");
    file.persist(path)?;
    failpoint!("renamed");
    sync_folder(folder_of(path))
}

/// An unfinished file in a folder, which is removed unless it is persisted.
pub(crate) fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here: `tempfile` would make it private, and errors would name it instead of the file that is to be written.
    let open = |path: &Path| fs::File::options().write(true).create_new(true).open(path);
    tempfile::Builder::new().prefix(UNFINISHED).make_in(folder, open)
}

/// The folder that a path lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes what was renamed in a folder last through a power cut, where the system has a way to.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder that may be written into but not listed, and file systems that sync no folders.
        Err(e)
            if [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported].contains(&e.kind()) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Creates a folder and those above it, also while other processes remove empty ones among them.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    failpoint!("folder");
    let mut tries = 0..TRIES;
    loop {
        match fs::create_dir_all(path) {
            // What was there when it was to be made, or what it was to lie in, may be gone a moment later.
            Err(e) if [ErrorKind::AlreadyExists, ErrorKind::NotFound].contains(&e.kind()) && tries.next().is_some() => {
                thread::sleep(Duration::from_millis(1));
            }
            made => return made.map_err(Error::io("create the folder", path)),
        }
    }
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    failpoint!("remove");
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Whether a path is that of an unfinished file.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
}

/// Removes the unfinished files that a killed program has left in a folder.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if is_unfinished(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The same in a folder and those within.
pub(crate) fn remove_unfinished_below(folder: &Path) -> Result<()> {
    below(folder)?.iter().filter(|path| is_unfinished(path)).try_for_each(|path| remove(&folder.join(path)))
}

/// All files in a folder and in those within, by their paths in it, sorted.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        let path = folder.join(&within);
        for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
            let entry = entry.map_err(Error::io("read", &path))?;
            let is_folder = entry.file_type().map_err(Error::io("read", &path))?.is_dir();
            if is_folder { &mut folders } else { &mut found }.push(within.join(entry.file_name()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name leads to a place in a folder: not out of it, nor through a link.
pub(crate) fn is_within(folder: &Path, name: &Path) -> bool {
    let mut above = name.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    name.file_name().is_some()
        && name.components().all(|part| matches!(part, Component::Normal(_)))
        && !above.any(|above| folder.join(above).is_symlink())
}

/// Removes an empty folder.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    failpoint!("remove_folder");
    fs::remove_dir(path)
}

/// Gives a file another name, for good.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    move_file(from, to)?;
    sync_folder(folder_of(to)).map_err(Error::io("write", to))
}

/// Moves a file to its place, on another file system too: killed on the way, it is in one of both places, or whole in both.
fn move_file(from: &Path, to: &Path) -> Result<()> {
    failpoint!("move");
    match fs::rename(from, to) {
        Err(e) if e.kind() == ErrorKind::CrossesDevices => {
            let mut whole = open(from)?;
            let copied = begin(to).and_then(|mut copy| {
                io::copy(&mut whole, copy.as_file_mut())?;
                keep(copy, to)
            });
            copied.map_err(Error::io("write", to))?;
            remove(from)
        }
        renamed => renamed.map_err(Error::io("write", to)),
    }
}

/// Moves files from one folder to their places in another, where folders are created as needed. What cannot be moved does not hold up
/// the others; the first error is returned.
pub(crate) fn move_all(from: &Path, to: &Path, files: &[PathBuf]) -> Result<()> {
    let moved = files.iter().map(|file| {
        let target = to.join(file);
        create_folder(folder_of(&target))?;
        move_file(&from.join(file), &target)
    });
    let moved: Vec<Result<()>> = moved.collect();
    let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(&to.join(file)).to_path_buf()).collect();
    let synced = folders
        .iter()
        .filter(|folder| folder.is_dir())
        .map(|folder| sync_folder(folder).map_err(Error::io("write", folder)));
    moved.into_iter().chain(synced).collect()
}

/// A file that grows by whole pieces: of one that cannot be written nothing stays.
pub(crate) struct Appending {
    path: PathBuf,
    file: fs::File,
    /// Bytes of all whole pieces.
    len: u64,
}

impl Appending {
    /// Opens a file, which is made where it is not there, and keeps so many bytes of it.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Appending> {
        let open = || -> io::Result<fs::File> {
            let file = fs::File::options().append(true).create(true).open(path)?;
            if file.metadata()?.len() != len {
                failpoint!("truncate");
                file.set_len(len)?;
            }
            Ok(file)
        };
        Ok(Appending { path: path.to_path_buf(), file: open().map_err(Error::io("write", path))?, len })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a piece.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        failpoint!("append");
        let Err(error) = self.file.write_all(bytes) else {
            self.len += bytes.len() as u64;
            return Ok(());
        };
        let _ = self.file.set_len(self.len);
        Err(Error::io("write", &self.path)(error))
    }
}

/// Opens a file to read it: not a pipe or a device, which may never end.
pub(crate) fn open(path: &Path) -> Result<fs::File> {
    let found = fs::metadata(path).map_err(Error::io("read", path))?;
    if found.is_dir() {
        // Why it is not the folder's images that are read.
        fs::read_dir(path).map_err(Error::io("read", path))?;
    }
    if !found.is_file() {
        return Err(Error::file(path, "not a regular file", "name a file, or move this one away"));
    }
    fs::File::open(path).map_err(Error::io("read", path))
}

/// Bytes of a JSON file, at most: those that name each of millions of files.
const LONGEST_TEXT: u64 = 1 << 29;

/// Reads a JSON file of ours as a whole.
///
/// # Errors
/// As of [`read`]; one that is longer than any of ours.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>> {
    let len = open(path)?.metadata().map_err(Error::io("read", path))?.len();
    if len > LONGEST_TEXT {
        let in_words = |bytes: u64| memory::in_words(usize::try_from(bytes).unwrap_or(usize::MAX));
        let problem = format!("has {}, and files of its kind {} at most", in_words(len), in_words(LONGEST_TEXT));
        return Err(Error::file(path, problem, "restore it, or move it away"));
    }
    read(path)
}

/// Reads a whole file.
///
/// # Errors
/// A file that cannot be read, or that takes more memory than there is.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = open(path)?;
    let len = usize::try_from(file.metadata().map_err(Error::io("read", path))?.len()).unwrap_or(usize::MAX);
    if len > SMALL {
        let (what, remedy) = (format!("the bytes of {}", path.printable()), "free some memory, or name another file");
        memory::fits(&what, len, remedy).and_then(|()| memory::room_for(&what, len, remedy))?;
    }
    let mut bytes = Vec::with_capacity(len);
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn written_files_have_the_permissions_of_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        fs::File::create(folder.path().join("any")).unwrap();
        write_atomically(&folder.path().join("ours"), b"words").unwrap();
        assert_eq!(mode("ours"), mode("any"));
    }

    #[test]
    fn a_new_file_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let written = thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|i| (i, &path))
                .map(|(i, path)| scope.spawn(move || write_new(path, &[i]).map(|()| i)))
                .collect();
            writers.into_iter().filter_map(|writer| writer.join().unwrap().ok()).collect::<Vec<u8>>()
        });
        assert_eq!((written.len(), fs::read(&path).unwrap()), (1, written));
        let message = write_new(&path, b"other").unwrap_err().to_string();
        assert!(message.contains("new: is there already"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Another process that ends removes what it has made and left empty.
    #[test]
    fn a_folder_is_made_while_others_remove_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("runs/run");
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = fs::remove_dir(&folder);
                    let _ = fs::remove_dir(root.path().join("runs"));
                    // Where one core does it all, nothing else would ever be made in time.
                    thread::sleep(Duration::from_micros(50));
                }
            });
            let made: Vec<Result<()>> = (0..500).map(|_| create_folder(&folder)).collect();
            ended.store(true, Ordering::Relaxed);
            assert!(made.iter().all(Result::is_ok), "{:?}", made.iter().find(|made| made.is_err()));
        });
        // What is no folder stays an error.
        fs::write(root.path().join("file"), "").unwrap();
        create_folder(&root.path().join("file")).unwrap_err();
        create_folder(&root.path().join("file/run")).unwrap_err();
    }

    /// Links are followed by what removes and writes.
    #[test]
    fn a_name_leads_out_of_a_folder_or_does_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        fs::create_dir_all(folder.join("deep")).unwrap();
        std::os::unix::fs::symlink(root.path(), folder.join("link")).unwrap();
        std::os::unix::fs::symlink(&folder, root.path().join("ours")).unwrap();
        for (name, is_there) in [
            ("a", true),
            ("deep/a", true),
            ("new/a", true),
            ("link", true), // the link itself
            ("link/a", false),
            ("../a", false),
            ("deep/../../a", false),
            ("/a", false),
            ("", false),
            ("..", false),
        ] {
            assert_eq!(is_within(&folder, Path::new(name)), is_there, "{name}");
            assert_eq!(
                is_within(&root.path().join("ours"), Path::new(name)),
                is_there,
                "{name}, in a folder that is a link"
            );
        }
    }

    /// Where `OUT` is a mount point, what is made beside it lies on another file system.
    #[test]
    fn files_move_between_file_systems() {
        use std::os::unix::fs::MetadataExt;
        let (here, Ok(there)) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm")) else { return };
        if here.path().metadata().unwrap().dev() == there.path().metadata().unwrap().dev() {
            return; // there is but one
        }
        fs::create_dir(there.path().join("deep")).unwrap();
        let names = ["a", "deep/b"].map(PathBuf::from);
        names.iter().for_each(|name| fs::write(there.path().join(name), "new").unwrap());
        fs::write(here.path().join("a"), "an older one").unwrap();
        move_all(there.path(), here.path(), &names).unwrap();
        assert_eq!((below(here.path()).unwrap(), below(there.path()).unwrap()), (names.to_vec(), vec![]));
        assert_eq!(fs::read_to_string(here.path().join("a")).unwrap(), "new");
    }
}
