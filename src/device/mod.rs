//! Where memory lives and what computes: host buffers, and what the CPU forms lean on (the matrix product, vector instructions); the
//! CUDA device. Every `unsafe` of the crate is in this room.

pub mod cuda;
pub mod host;
pub mod matmul;
pub mod simd;

use std::sync::Arc;

pub use host::{BufferId, ByteBufferId, ByteView, Host, View};

use crate::error::{CudaError, Result};
use cuda::Cuda;

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The GPU where one can be used, else the CPU
    Auto,
    Cpu,
    Cuda,
}

/// What computes.
#[derive(Clone)]
pub enum Device {
    Cpu,
    Cuda(Arc<Cuda>),
}

impl Device {
    /// `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

/// Settles a choice. The second value says why a GPU is not used where that was left open.
pub fn choose(choice: Choice) -> Result<(Device, Option<CudaError>)> {
    match choice {
        Choice::Cpu => Ok((Device::Cpu, None)),
        Choice::Cuda => Ok((Device::Cuda(Cuda::open()?), None)),
        Choice::Auto => Ok(match Cuda::open() {
            Ok(cuda) => (Device::Cuda(cuda), None),
            Err(error) => (Device::Cpu, Some(error)),
        }),
    }
}
