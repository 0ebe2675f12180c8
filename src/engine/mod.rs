//! Lowers a net to a plan of steps and runs it forward, backward and update.

pub mod access;
pub mod cost;
pub mod gpu;
pub mod lower;
pub mod network;
pub mod plan;
pub mod schedule;

pub use network::Network;
pub use plan::{Hyper, Plan, Step};
