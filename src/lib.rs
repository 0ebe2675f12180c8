//! Finds defects in images of parts and surfaces after seeing good ones only, and shows where: Fully Convolutional Data Description
//! ([Liznerski et al., ICLR 2021](https://arxiv.org/abs/2007.01760)), on the CPU or in CUDA kernels of its own.
//!
//! A trained model becomes a [`Detector`], which gives each image a score, a verdict and a heatmap:
//!
//! ```no_run
//! use fcdd::{Detector, Device, Verdict};
//!
//! let detector = Detector::load("run/model.safetensors", Device::auto())?;
//! let detection = detector.detect(&image::open("part.png")?)?;
//! println!("{} {:?}", detection.score, detection.verdict);
//! if detection.verdict == Verdict::Anomalous {
//!     detection.heatmap()?.to_image().save("where.png")?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Images come in as the `DynamicImage` of the crate `image` 0.25, or as slices or buffers ([`ImageView`]).
//!
//! A [`Trainer`] makes such a model of a folder of good images:
//!
//! ```no_run
//! use fcdd::{Device, Settings, Trainer};
//!
//! let mut settings = Settings::folder("good_parts"); // or `Settings::preset`; then change its fields
//! settings.seed = 1;
//! let trained = Trainer::new(settings).train(&Device::auto())?;
//! trained.model.save("model.safetensors")?;
//! # Ok::<(), fcdd::Error>(())
//! ```
//!
//! The program `fcdd` does both from a command line, and more: it evaluates, sweeps classes and seeds, and verifies its own numerics.
//!
//! | feature | on by default | has |
//! | --- | --- | --- |
//! | `cli` | yes | the program `fcdd` with its command line |
//! | `cuda` | yes | the CUDA kernels, compiled where the build finds nvcc |
//! | `serve` | yes | `fcdd serve`, the service with its page; it brings `cli` with it |
//!
//! Modules that these pages do not show are public for the program, its Python package, its tests and its benchmarks alone, and may change at any time.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))] // paths are written for people through `printable`
#![warn(unreachable_pub)]
// what is public is meant to be
// Allowed in `device`, where kernels are launched, and for signals and limits in `cli`.
#![deny(unsafe_code, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![allow(rustdoc::private_intra_doc_links)] // docs of inner modules are read with --document-private-items
#![cfg_attr(not(feature = "serve"), allow(dead_code))] // what only the program uses, and its service, which needs `cli`

// Module layers from the top down: each imports only from those after it, no files of one import each other in a circle:
//   cli, fuzz → serve → run → datasets → report, metrics, data, engine → model → steps → device
// All of them use:
//   error, failpoint, files, json, memory, named, onnx, printable, real, rng, threads

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod data;
#[doc(hidden)]
pub mod datasets;
#[doc(hidden)]
pub mod device;
#[doc(hidden)]
pub mod engine;
mod error;
mod failpoint;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod json;
mod memory;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod named;
#[doc(hidden)]
pub mod onnx;
mod printable;
#[doc(hidden)]
pub mod real;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod rng;
#[doc(hidden)]
pub mod run;
#[cfg(feature = "serve")]
mod serve;
#[doc(hidden)]
pub mod steps;
mod threads;

pub use data::image_view::ImageView;
pub use device::Device;
pub use error::{CudaError, Error, Result};
pub use memory::limit_image_memory;
pub use run::context::Event;
pub use run::detector::{Detection, Detector};
pub use run::evaluator::Evaluator;
pub use run::figures::Evaluation;
pub use run::heatmap::Heatmap;
pub use run::input::Input;
pub use run::model::Model;
pub use run::regions::Region;
pub use run::settings::Settings;
pub use run::state::Epoch;
pub use run::stop::Stop;
pub use run::train::Trained;
pub use run::trainer::Trainer;
pub use run::verdict::Verdict;

/// What [`Settings`] chooses from.
pub mod settings {
    pub use crate::data::augmentation::{Flips, Rotation};
    pub use crate::data::image_source::Hold;
    pub use crate::data::pipeline::PipelineKind;
    pub use crate::data::resize_mode::ResizeMode;
    pub use crate::data::supervise::{NoiseMix, NoiseMode, Supervise};
    pub use crate::datasets::DatasetKind;
    pub use crate::datasets::labelled::LabelledSource;
    pub use crate::datasets::outliers::OutlierSource;
    pub use crate::device::DType;
    pub use crate::engine::lower::Optimizer;
    pub use crate::engine::schedule::Schedule;
    pub use crate::model::Objective;
    pub use crate::model::image_score::ImageScore;
    pub use crate::named::Named;
    pub use crate::run::settings::{Setting, ValueForm};
    pub use crate::steps::hsc_loss::Gradient;
}
