//! FCDD: Fully Convolutional Data Description (Liznerski et al., ICLR 2021) as a hand-written kernel engine.
//!
//! Modules, from the top down; each imports only from those after it:
//! `cli` → [`run`] → [`datasets`] → [`report`], [`metrics`], [`data`], [`engine`] → [`model`] → [`steps`] → [`device`].
//! [`error`], [`files`], [`memory`], [`named`], [`real`] and [`rng`] are used by all of them.

#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod datasets;
pub mod device;
pub mod engine;
pub mod error;
pub mod files;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod named;
pub mod real;
pub mod report;
pub mod rng;
pub mod run;
pub mod steps;

pub use data::image_view::ImageView;
pub use device::Device;
pub use error::{Error, Result};
pub use run::context::{Event, Observer};
pub use run::detector::{Detection, Detector, Input, Verdict};
pub use run::heatmap::Heatmap;
pub use run::model::Model;
pub use run::settings::Settings;
pub use run::state::Epoch;
pub use run::stop::Stop;
pub use run::train::Trained;
pub use run::trainer::Trainer;
