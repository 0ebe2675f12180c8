//! The one error type. Messages say what was wrong, where, and what to do about it as far as that is known; `main` prints them once.

use crate::printable::Printable;
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong anywhere in the program.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something on a path.
    #[error("cannot {action} {}: {source}{}", path.printable(), obvious_remedy(source).map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file was read but does not hold what it should.
    #[error("{}: {problem}; {remedy}", path.printable())]
    File { path: PathBuf, problem: String, remedy: String },
    /// A setting or a combination of settings that cannot work. Names in backticks, here and in other errors, are fields of
    /// [`Settings`](crate::Settings) or flags of the program, which the library has as [`Trainer::resume`](crate::Trainer::resume) (`resume`),
    /// the folder of [`Trainer::in_folder`](crate::Trainer::in_folder) (`out`), [`limit_image_memory`](crate::limit_image_memory)
    /// (`memory`) and [`Device`](crate::Device) (`device`).
    #[error("{problem}; {remedy}")]
    Setting { problem: String, remedy: String },
    /// The GPU, its driver, or a kernel.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// Values that are NaN or infinite, or differ from those expected.
    #[error("{problem}; {remedy}")]
    Numeric { problem: String, remedy: String },
    /// More memory than there is.
    #[error("{problem}; {remedy}")]
    OutOfMemory { problem: String, remedy: String },
    /// A bug of this program.
    #[error("{problem}; please report this as a bug")]
    Internal { problem: String },
}

/// What can go wrong between this program and a GPU.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The crate was built without kernels: without nvcc, or without the feature `cuda`.
    #[error("this build has no CUDA kernels; install nvcc (scripts/get-nvcc) and build again, or choose `device` cpu")]
    NoKernels,
    /// There is no driver to load.
    #[error("no CUDA driver was found (libcuda.so); install NVIDIA's driver, or choose `device` cpu")]
    NoDriver,
    /// The driver is older than the kernels.
    #[error(
        "the NVIDIA driver supports CUDA {found}, but this build's kernels need {needed}; update the driver, or choose `device` cpu"
    )]
    DriverTooOld { found: String, needed: String },
    /// There is a driver, but no GPU, or none that this process may see.
    #[error("the CUDA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or choose `device` cpu")]
    NoDevice,
    /// There are GPUs, but none of this number.
    #[error(
        "there is no GPU {number}; the driver sees {count}, numbered from 0: check nvidia-smi and CUDA_VISIBLE_DEVICES"
    )]
    NoSuchDevice { number: usize, count: i32 },
    /// The kernels were compiled for other GPUs.
    #[error(
        "the kernels of this build ({architectures}) do not run on {name}, compute capability {}.{}; build again with \
         FCDD_CUDA_ARCHS={}{} (75 or higher), or choose `device` cpu", compute_capability.0,
        compute_capability.1, compute_capability.0, compute_capability.1
    )]
    UnsupportedDevice { name: String, compute_capability: (i32, i32), architectures: String },
    /// The GPU is too old for `precision` bf16.
    #[error("bf16 needs tensor cores of compute capability 8.0 or newer, which this GPU lacks; choose `precision` f32")]
    NoBf16,
    /// More memory than the GPU has free, in bytes. `batch` is the largest that would fit, where that is known.
    #[error("out of GPU memory: {} were asked for, {} are free; {}", size(*asked), size(*free), smaller(*batch))]
    OutOfMemory { asked: usize, free: usize, batch: Option<usize> },
    /// The driver did not take a kernel's launch.
    #[error(
        "kernel {kernel} (kernels/{file}.cu; {shape}) could not be launched: {reason}; please report this as a bug"
    )]
    Launch { kernel: &'static str, file: &'static str, shape: String, reason: String },
    /// A launch whose memory does not fit it.
    #[error("{reason}; please report this as a bug")]
    Refused { reason: String },
    /// The launch error of one step of a plan.
    #[error("step {step}: {source}")]
    Step { step: String, source: Box<CudaError> },
    /// Another call of the driver failed, or a kernel that was launched before it.
    #[error(
        "the GPU failed to {action}: {reason}; if other programs run well on it, run this one under compute-sanitizer and report its output"
    )]
    Call { action: &'static str, reason: String },
}

impl CudaError {
    /// Why a GPU cannot be used, in a few words.
    pub fn in_brief(&self) -> String {
        match self {
            CudaError::NoKernels => "this build has no CUDA kernels".to_string(),
            CudaError::NoDriver => "no CUDA driver".to_string(),
            CudaError::DriverTooOld { found, needed } => {
                format!("the CUDA driver is too old: {found}, {needed} is needed")
            }
            CudaError::NoDevice => "no GPU".to_string(),
            other => other.to_string(),
        }
    }
}

/// Bytes as a person reads them.
fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{bytes} B") } else { format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)) }
}

fn smaller(batch: Option<usize>) -> String {
    match batch {
        Some(batch) => format!("a batch of {batch} would fit (`batch` {batch})"),
        None => "free memory that other programs hold, or choose `device` cpu".to_string(),
    }
}

/// `std::result::Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What was wrong, and where: the message without its [remedy](Error::remedy).
    pub fn problem(&self) -> String {
        let message = self.to_string();
        let without = |remedy: String| Some(message.strip_suffix(&remedy)?.strip_suffix("; ")?.to_string());
        self.remedy().and_then(without).unwrap_or(message)
    }

    /// What to do about it, as far as that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Error::Io { source, .. } => obvious_remedy(source).map(str::to_string),
            Error::File { remedy, .. }
            | Error::Setting { remedy, .. }
            | Error::Numeric { remedy, .. }
            | Error::OutOfMemory { remedy, .. } => Some(remedy.clone()),
            // Their messages end in it.
            Error::Cuda(_) | Error::Internal { .. } => Some(self.to_string().rsplit_once("; ")?.1.to_string()),
        }
    }

    /// For `map_err` on I/O results: `fs::read(p).map_err(Error::io("read", p))`.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file whose content is at fault.
    pub(crate) fn file(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The same of one of several files or folders, which the message then begins with.
    pub(crate) fn at(self, place: &Path) -> Error {
        match self {
            Error::File { path, problem, remedy } => {
                Error::file(place, format!("{}: {problem}", path.printable()), remedy)
            }
            Error::Setting { problem, remedy } | Error::OutOfMemory { problem, remedy } => {
                Error::file(place, problem, remedy)
            }
            other => other,
        }
    }

    /// Whether the process lacked open files or memory: another call may do what failed.
    pub(crate) fn is_of_the_process(&self) -> bool {
        match self {
            #[cfg(unix)]
            Error::Io { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
            }
            Error::OutOfMemory { .. } => true,
            _ => false,
        }
    }

    /// Whether a disk was full, so that nothing more can be written.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// A setting that is at fault.
    pub(crate) fn setting(problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setting { problem: problem.into(), remedy: remedy.into() }
    }

    /// Something that cannot happen unless this program is at fault.
    pub(crate) fn internal(problem: impl Into<String>) -> Error {
        Error::Internal { problem: problem.into() }
    }
}

/// What to do about what the system refuses, where that is obvious.
fn obvious_remedy(source: &io::Error) -> Option<&'static str> {
    #[cfg(unix)]
    if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return Some("allow more open files (`ulimit -n`)");
    }
    #[cfg(unix)]
    if source.raw_os_error() == Some(libc::ELOOP) {
        return Some("mend the links, which lead in a circle");
    }
    match source.kind() {
        io::ErrorKind::NotFound => Some("check the spelling of the path"),
        io::ErrorKind::PermissionDenied => Some("check its permissions"),
        io::ErrorKind::StorageFull => Some("free some space and run again"),
        io::ErrorKind::AlreadyExists => Some("move what is there away, or choose another name"),
        io::ErrorKind::NotADirectory => {
            Some("a file stands where a folder is needed: move it away, or name another folder")
        }
        io::ErrorKind::IsADirectory => Some("name a file, not a folder"),
        io::ErrorKind::InvalidFilename => Some("choose a shorter name"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_problem_and_the_remedy() {
        let says = |error: Error, problem: &str, remedy: Option<&str>| {
            assert_eq!((error.problem().as_str(), error.remedy().as_deref()), (problem, remedy));
            let message = remedy.map_or(problem.to_string(), |remedy| format!("{problem}; {remedy}"));
            assert_eq!(error.to_string(), message);
        };
        let remedy = "leave it out; or choose 1";
        says(Error::setting("`fpr` 2; 3", remedy), "`fpr` 2; 3", Some(remedy));
        says(Error::file("a; b", "is empty", "write it"), "a; b: is empty", Some("write it"));
        let io = |kind: io::ErrorKind| Error::io("read", "a.png")(kind.into());
        says(
            io(io::ErrorKind::PermissionDenied),
            "cannot read a.png: permission denied",
            Some("check its permissions"),
        );
        says(io(io::ErrorKind::TimedOut), "cannot read a.png: timed out", None);
        #[cfg(unix)]
        assert!(
            obvious_remedy(&io::Error::from_raw_os_error(libc::EMFILE))
                .is_some_and(|remedy| remedy.contains("ulimit -n"))
        );
        says(Error::internal("two; three"), "two; three", Some("please report this as a bug"));
        let step = CudaError::Step { step: "conv1".into(), source: Box::new(CudaError::NoBf16) };
        let problem = "step conv1: bf16 needs tensor cores of compute capability 8.0 or newer, which this GPU lacks";
        says(step.into(), problem, Some("choose `precision` f32"));
        let size = CudaError::OutOfMemory { asked: 3 << 20, free: 5, batch: Some(4) };
        says(
            size.into(),
            "out of GPU memory: 3.0 MiB were asked for, 5 B are free",
            Some("a batch of 4 would fit (`batch` 4)"),
        );
    }
}
