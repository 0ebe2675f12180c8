//! Host buffers, and what the CPU forms need (matrix product, vector instructions); the CUDA device.
//!
//! `unsafe` is here and where kernels are launched (`steps/*/cuda`, `data/cuda`, the noise modes in `data/anomaly`, `engine::gpu`,
//! `run::bench::peaks`) or captured launches are handed out again (`engine::network`), each time with a line that says why it holds; and in
//! `cli::signals` and `cli::limits`, which ask the system and its allocator. What is checked before a launch: that a view lies in
//! its buffer and has its numbers, that every operand has the length that the step's geometry asks for and the workspace what it needs, that
//! windows fit into their maps, that nothing which a kernel counts is beyond its 32 bits, that no operand is empty, that operands start where
//! a kernel reads 16 bytes at a time, that what a step writes overlaps nothing that it may not ([`crate::steps::Step::cuda_check`]), that memory
//! from outside is long enough, starts there too, and is of the same opening of the device ([`cuda::DeviceSlice`]), that a table of places is
//! the step's own ([`cuda::DeviceBuffers::table`]), that nothing takes the hyperparameters of an epoch away from it
//! ([`crate::engine::Network::epoch`]); at compile time, that a struct of parameters is laid out as the kernel takes it. What is left to
//! whoever writes device memory: that the numbers which kernels take as places there (the order of the samples) are such places.

#![allow(unsafe_code)]

pub mod cuda;
pub(crate) mod host;
pub(crate) mod matmul;
pub mod product;
pub(crate) mod simd;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use host::{BufferId, ByteBufferId, ByteView, DType, HostBuffers, Packing, View};

use crate::error::{CudaError, Error, Result};
use cuda::Cuda;

/// Where to compute: `auto`, `cpu`, `cuda` or the number of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where one can be used, else the CPU.
    Auto,
    Cpu,
    /// The GPU of this number, from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeviceChoice> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            number => number.parse().map(DeviceChoice::Cuda).map_err(|_| {
                Error::setting(format!("'{text}' is no device"), "choose auto, cpu, cuda or the number of a GPU")
            }),
        }
    }
}

/// Where a model computes: on the CPU or on one GPU.
///
/// [`Device::auto`] does not tell why it took no GPU; who wants to know it asks for the GPU:
///
/// ```
/// use fcdd::Device;
///
/// let device = Device::gpu(0).unwrap_or_else(|why| {
///     eprintln!("computing on the CPU: {why}");
///     Device::Cpu
/// });
/// # assert!(["cpu", "cuda"].contains(&device.name()));
/// ```
#[derive(Clone)]
pub enum Device {
    /// All cores of the CPU.
    Cpu,
    /// A GPU that [`Device::gpu`] or [`Device::auto`] has opened. Clones share what was opened.
    Cuda(Arc<Cuda>),
}

impl Device {
    /// The first GPU where one can be used, else the CPU. Why it is the CPU, [`Device::gpu`] of 0 tells.
    pub fn auto() -> Device {
        Device::gpu(0).unwrap_or(Device::Cpu)
    }

    /// The GPU of this number, from 0.
    ///
    /// # Errors
    /// Where that GPU cannot be used, an [`Error::Cuda`] with the reason: a build without kernels, no driver or one that is too old, no such
    /// GPU, one that this build has no kernels for, or one that fails.
    pub fn gpu(number: usize) -> Result<Device> {
        Ok(choose(DeviceChoice::Cuda(number))?.0)
    }

    /// `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "Cpu",
            Device::Cuda(_) => "Cuda",
        })
    }
}

/// Opens the chosen device. The second value is the reason why [`DeviceChoice::Auto`] took no GPU. Each opening has a stream of its own,
/// also on the same GPU.
pub fn choose(choice: DeviceChoice) -> Result<(Device, Option<CudaError>)> {
    match choice {
        DeviceChoice::Cpu => Ok((Device::Cpu, None)),
        DeviceChoice::Cuda(number) => Ok((Device::Cuda(Cuda::open(number)?), None)),
        DeviceChoice::Auto => Ok(match Cuda::open(0) {
            Ok(cuda) => (Device::Cuda(cuda), None),
            Err(error) => (Device::Cpu, Some(error)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed() {
        let read = |text: &str| text.parse::<DeviceChoice>();
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(read(text).unwrap(), choice);
        }
        assert!(read("gpu").unwrap_err().to_string().contains("cpu, cuda or the number"));
    }
}
