//! What a net is: its table of layers, receptive field, parameters, initialisation and files.

#![deny(clippy::wildcard_enum_match_arm)]

pub(crate) mod arch;
pub mod baselines;
pub(crate) mod checkpoint;
pub(crate) mod image_score;
pub mod layer;
pub mod nets;
pub(crate) mod onnx;
pub(crate) mod pretrained;
pub(crate) mod torch;
pub mod weights;

pub use arch::{Arch, NetPart, Node, Objective, Source};
pub use layer::{Init, Layer};
pub use weights::Weights;
