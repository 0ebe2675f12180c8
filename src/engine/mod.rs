//! Lowers a net to a plan of steps and runs it forward, backward and update.

pub mod gpu;
pub mod lower;
pub mod network;
pub mod plan;
pub mod schedule;
pub mod step;

pub use network::Network;
pub use plan::Plan;
pub use step::Step;

pub use crate::steps::operation::Hyper;
