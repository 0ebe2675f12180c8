//! Where memory lives and what computes: host buffers, and what the CPU forms lean on (the matrix product, vector instructions); the
//! CUDA device. Every `unsafe` block of the crate is here.
//!
//! What the compiler does not check is asked of callers, in the docs of [`cuda::Cuda::capture`], [`cuda::DeviceBuffers::reserve_workspace`],
//! [`cuda::DeviceBuffers::reserve_hyper`] and [`cuda::PointerMut::offset`]: a launch reads and writes only where memory is. `engine::gpu` answers
//! for the graphs, each step's launcher for its offsets.

pub mod cuda;
pub mod host;
pub mod matmul;
pub mod simd;

use std::str::FromStr;
use std::sync::Arc;

pub use host::{BufferId, ByteBufferId, ByteView, DType, HostBuffers, View};

use crate::error::{CudaError, Error, Result};
use cuda::Cuda;

/// Where to compute: `auto`, `cpu`, `cuda` or the number of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU where one can be used, else the CPU.
    Auto,
    Cpu,
    /// The GPU of this number, from 0.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Choice> {
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            number => number.parse().map(Choice::Cuda).map_err(|_| {
                Error::setting(format!("'{text}' is no device"), "choose auto, cpu, cuda or the number of a GPU")
            }),
        }
    }
}

/// What computes.
#[derive(Clone)]
pub enum Device {
    Cpu,
    Cuda(Arc<Cuda>),
}

impl Device {
    /// The first GPU where one can be used, else the CPU.
    pub fn auto() -> Result<Device> {
        Ok(choose(Choice::Auto)?.0)
    }

    /// `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

/// Settles a choice. The second value says why a GPU is not used where that was left open. Devices that are opened apart work apart,
/// also on one GPU.
pub fn choose(choice: Choice) -> Result<(Device, Option<CudaError>)> {
    match choice {
        Choice::Cpu => Ok((Device::Cpu, None)),
        Choice::Cuda(number) => Ok((Device::Cuda(Cuda::open(number)?), None)),
        Choice::Auto => Ok(match Cuda::open(0) {
            Ok(cuda) => (Device::Cuda(cuda), None),
            Err(error) => (Device::Cpu, Some(error)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_words_and_numbers() {
        let read = |text: &str| text.parse::<Choice>();
        for (text, choice) in
            [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda", Choice::Cuda(0)), ("3", Choice::Cuda(3))]
        {
            assert_eq!(read(text).unwrap(), choice);
        }
        assert!(read("gpu").unwrap_err().to_string().contains("cpu, cuda or the number"));
    }
}
