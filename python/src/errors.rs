//! The library's errors as Python's exceptions, which are in `fcdd/_errors.py`.

use fcdd::{CudaError, Error};
use pyo3::prelude::*;

/// The exception of an error.
pub(crate) fn raised(error: Error) -> PyErr {
    let class = match &error {
        Error::Io { .. } | Error::File { .. } => "FileError",
        Error::Setting { .. } => "SettingError",
        Error::Cuda(CudaError::OutOfMemory { .. }) | Error::OutOfMemory { .. } => "OutOfMemoryError",
        Error::Cuda(_) => "CudaError",
        Error::Numeric { .. } => "NumericError",
        Error::Internal { .. } => "InternalError",
        _ => "Error",
    };
    exception(class, &error.problem(), error.remedy().as_deref())
}

/// An argument that cannot work.
pub(crate) fn wrong(problem: impl AsRef<str>, remedy: &str) -> PyErr {
    exception("SettingError", problem.as_ref(), Some(remedy))
}

fn exception(class: &str, problem: &str, remedy: Option<&str>) -> PyErr {
    Python::attach(|py| {
        let made = || py.import("fcdd._errors")?.getattr(class)?.call1((problem, remedy));
        made().map_or_else(|error| error, PyErr::from_value)
    })
}
