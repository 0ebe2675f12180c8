//! Files are written whole or not at all: to a temporary file in the same folder, synced, then renamed over the target. The rename is
//! synced too: after a power cut, what was told to be written is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::failpoint::failpoint;

/// How names of unfinished files begin.
const UNFINISHED: &str = ".fcdd-";

/// Replaces `path` by `bytes` atomically.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let file = begin(path)?;
        failpoint!("create");
        file.as_file().write_all(bytes)?; // by itself, the wrapper adds its own name to errors
        keep(file, path)
    };
    write().map_err(Error::io("write", path))
}

/// An unfinished file that will take the place of `path`; it is removed unless it is [kept](keep).
pub(crate) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    temporary(folder_of(path))
}

/// Ends an unfinished file: it is `path` from now on.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    failpoint!("sync");
    file.as_file().sync_all()?;
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
fn folder_of(path: &Path) -> &Path {
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

/// Creates a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    failpoint!("folder");
    fs::create_dir_all(path).map_err(Error::io("create the folder", path))
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    failpoint!("remove");
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes the unfinished files that a killed program has left in a folder.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The same in a folder and those within.
pub(crate) fn remove_unfinished_below(folder: &Path) -> Result<()> {
    let is_unfinished =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
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

/// Removes an empty folder.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    failpoint!("remove_folder");
    fs::remove_dir(path)
}

/// Gives a file another name, for good.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    failpoint!("move");
    fs::rename(from, to).and_then(|()| sync_folder(folder_of(to))).map_err(Error::io("write", to))
}

/// Moves files from one folder to their places in another, where folders are created as needed. What cannot be moved does not hold up
/// the others; the first error is returned.
pub(crate) fn move_all(from: &Path, to: &Path, files: &[PathBuf]) -> Result<()> {
    let moved = files.iter().map(|file| {
        let target = to.join(file);
        create_folder(folder_of(&target))?;
        failpoint!("move");
        fs::rename(from.join(file), &target).map_err(Error::io("write", target))
    });
    let moved: Vec<Result<()>> = moved.collect();
    let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(&to.join(file)).to_path_buf()).collect();
    let synced = folders
        .iter()
        .filter(|folder| folder.is_dir())
        .map(|folder| sync_folder(folder).map_err(Error::io("write", folder)));
    moved.into_iter().chain(synced).collect()
}

/// Opens a file to read it: not a pipe or a device, which may never end.
pub(crate) fn open(path: &Path) -> Result<fs::File> {
    if !fs::metadata(path).map_err(Error::io("read", path))?.is_file() {
        return Err(Error::file(path, "not a regular file", "name a file, or move this one away"));
    }
    fs::File::open(path).map_err(Error::io("read", path))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn written_files_have_the_permissions_of_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        fs::File::create(folder.path().join("any")).unwrap();
        write_atomically(&folder.path().join("ours"), b"words").unwrap();
        assert_eq!(mode("ours"), mode("any"));
    }
}
