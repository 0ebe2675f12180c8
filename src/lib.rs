//! FCDD: Fully Convolutional Data Description (Liznerski et al., ICLR 2021) as a hand-written kernel engine.
//!
//! Modules, from the top down; each imports only from those after it:
//! `cli` → [`run`] → [`report`], [`metrics`], [`data`], [`engine`] → [`model`] → [`steps`] → [`device`].
//! [`error`], [`files`], [`memory`], [`real`] and [`rng`] are used by all of them.

#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
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

pub use error::{Error, Result};
