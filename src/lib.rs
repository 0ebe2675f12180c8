//! FCDD: Fully Convolutional Data Description (Liznerski et al., ICLR 2021) as a hand-written kernel engine.

pub mod data;
pub mod device;
pub mod engine;
pub mod error;
pub mod files;
pub mod model;
pub mod real;
pub mod rng;
pub mod steps;

pub use error::{Error, Result};
