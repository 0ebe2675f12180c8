//! Where memory lives: host buffers, and what the CPU forms lean on: the matrix product, vector instructions. Every `unsafe` of the crate is in this room.

pub mod host;
pub mod matmul;
pub mod simd;

pub use host::{BufferId, ByteBufferId, ByteView, Host, View};

use crate::error::{Error, Result};

/// State of the CUDA back end, for `fcdd info`.
pub const CUDA: &str = "none: this build has no CUDA kernels";

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The GPU where one can be used, else the CPU
    Auto,
    Cpu,
    Cuda,
}

/// Settles a choice. The CPU is all that this build has.
pub fn choose(choice: Choice) -> Result<()> {
    match choice {
        Choice::Auto | Choice::Cpu => Ok(()),
        Choice::Cuda => {
            Err(Error::setting("this build has no CUDA kernels", "choose --device cpu, or leave the flag out"))
        }
    }
}
