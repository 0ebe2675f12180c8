//! Lowers a net to a plan of steps and runs it forward, backward and update.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod gpu;
pub mod lower;
pub(crate) mod network;
pub(crate) mod plan;
pub(crate) mod schedule;

pub use network::Network;
pub use plan::Plan;

pub use crate::steps::Step;
pub use crate::steps::operation::Hyper;
