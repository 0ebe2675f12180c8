//! The one error type. Every message says what was wrong, where, and what to do about it; `main` prints it once.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in any room of the house.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something on a path.
    #[error("cannot {action} {}: {}", path.display(), explain(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file was read but does not hold what it should.
    #[error("{}: {problem}; {remedy}", path.display())]
    File { path: PathBuf, problem: String, remedy: String },
    /// A setting or a combination of settings that cannot work.
    #[error("{problem}; {remedy}")]
    Setting { problem: String, remedy: String },
    /// The numbers stopped being numbers.
    #[error("{problem}; {remedy}")]
    Numeric { problem: String, remedy: String },
    /// A mistake of this program, whatever it was given.
    #[error("{problem}; please report this as a bug")]
    Internal { problem: String },
}

/// `std::result::Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on I/O results: `fs::read(p).map_err(Error::io("read", p))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file whose content is at fault.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A setting that is at fault.
    pub fn setting(problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setting { problem: problem.into(), remedy: remedy.into() }
    }

    /// Something that cannot happen unless this program is at fault.
    pub fn internal(problem: impl Into<String>) -> Error {
        Error::Internal { problem: problem.into() }
    }
}

/// The system's words, with the remedy where there is an obvious one.
fn explain(source: &io::Error) -> String {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => "check the spelling of the path",
        io::ErrorKind::PermissionDenied => "check its permissions",
        io::ErrorKind::StorageFull => "free some space and run again",
        io::ErrorKind::AlreadyExists => "move what is there away, or choose another name",
        io::ErrorKind::NotADirectory => "a file stands where a folder is needed",
        io::ErrorKind::IsADirectory => "name a file, not a folder",
        _ => return source.to_string(),
    };
    format!("{source}; {remedy}")
}
