//! The module `fcdd._native`: the library's calls for Python, whose package is in `fcdd/`. The docs here are what Python's `help` shows.

mod detector;
mod device;
mod errors;
mod images;
mod settings;
mod training;
mod watched;

use pyo3::prelude::*;

// As that of the program, which is in here.
#[global_allocator]
static ALLOCATOR: fcdd::cli::Allocator = fcdd::cli::Allocator;

#[pymodule]
mod _native {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use super::detector::{Detection, Detector, Region};
    #[pymodule_export]
    use super::settings::settings;
    #[pymodule_export]
    use super::training::{Trained, evaluate, resume, train};
    #[pymodule_export]
    use super::watched::Event;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Limits the memory, in bytes, that a call takes for image files while they are decoded; half of what is free unless it is called. A
    /// file that takes more is refused.
    #[pyfunction]
    fn limit_image_memory(bytes: usize) {
        fcdd::limit_image_memory(bytes);
    }

    /// Runs the program `fcdd` with the words of its command line; returns its exit code.
    #[pyfunction]
    fn run_program(py: Python<'_>, words: Vec<OsString>) -> u8 {
        py.detach(|| fcdd::cli::main(words))
    }
}
