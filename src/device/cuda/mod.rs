//! The CUDA device: context, one stream, the kernels of this build, memory, graphs. Launching a kernel, capturing and replaying are left
//! `unsafe`: whoever does it answers for the memory that kernels reach.
//!
//! All work goes to one stream in the order of the calls, of whatever thread, so no events are needed, and what is freed is freed after its
//! last use. Only [`Staging`] copies beside it, in a stream of its own; and launches are captured in a stream where nothing runs.

mod batch;
mod graph;
pub mod kernels;
mod launch;
mod memory;
mod staging;
mod tensor_map;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use cudarc::nvrtc::Ptx;

pub(crate) use batch::TargetParts;
pub use batch::{BatchSource, BatchTarget};
pub use graph::{Graph, Mark, Replays};
pub use launch::{Launch, Pointer, PointerMut};
pub use memory::{Buffer, DeviceBuffers, DeviceSlice, Element, Number};
pub use staging::Staging;
pub use tensor_map::{TensorMap, Windows};

use crate::error::CudaError;
use kernels::{ARCHITECTURES, IMAGES, KERNELS, NVCC};
use launch::Function;

/// `Result` of the driver's calls.
pub type Result<T> = std::result::Result<T, CudaError>;

/// A GPU that is ready to compute.
pub struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Where launches are captured; nothing runs there.
    recording: Mutex<Arc<CudaStream>>,
    /// As numbered in [`KERNELS`].
    functions: Vec<Function>,
    multiprocessors: u32,
    wgmma: AtomicBool,
    launch_ahead: AtomicBool,
}

/// Set to 1 in the environment, it makes a device of compute capability 9.0 use WGMMA (warpgroup matrix multiply-accumulate).
pub const WGMMA: &str = "FCDD_WGMMA";

/// Set to 1 in the environment, it launches each kernel ahead of the end of those before it (programmatic dependent launch).
pub const PDL: &str = "FCDD_PDL";

/// What `fcdd info` tells of a GPU.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Description {
    pub name: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    pub multiprocessors: u32,
    /// Bytes.
    pub memory: usize,
    pub free: usize,
    /// CUDA version that the driver supports, such as 13000.
    pub driver: i32,
}

impl Cuda {
    /// Opens a GPU by its number and loads every kernel. Each opening has a stream of its own.
    ///
    /// # Errors
    /// Each reason why there is none has its own: no kernels in this build, no driver, a driver too old, no device, no such device, a
    /// device that the kernels were not compiled for.
    pub fn open(number: usize) -> Result<Arc<Cuda>> {
        let Some(nvcc) = NVCC else { return Err(CudaError::NoKernels) };
        let driver = start_driver()?;
        let needed = needed_driver(nvcc);
        if driver < needed {
            return Err(CudaError::DriverTooOld { found: version(driver), needed: version(needed) });
        }
        let count = CudaContext::device_count().map_err(failed("count the devices"))?;
        if count == 0 {
            return Err(CudaError::NoDevice);
        }
        if number >= count as usize {
            return Err(CudaError::NoSuchDevice { number, count });
        }
        let context = CudaContext::new(number).map_err(failed("open the device"))?;
        // SAFETY: all work is ordered by one stream, so nothing waits for the events that cudarc would record, and a capture must
        // not meet events from outside.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed("create a stream"))?;
        let recording = Mutex::new(context.new_stream().map_err(failed("create a stream"))?);
        let mut functions = Vec::with_capacity(KERNELS.len());
        let mut modules = Vec::with_capacity(IMAGES.len());
        for image in IMAGES {
            let module = context.load_module(Ptx::from_binary(image.code.to_vec())).map_err(|error| match error.0 {
                sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => CudaError::UnsupportedDevice {
                    name: context.name().unwrap_or_default(),
                    compute_capability: context.compute_capability().unwrap_or_default(),
                    architectures: ARCHITECTURES.join(" "),
                },
                _ => failed("load the kernels")(error),
            })?;
            modules.push(module);
        }
        for kernel in KERNELS {
            let function = modules[kernel.image].load_function(kernel.name).map_err(failed("load a kernel"))?;
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
            let max_threads = function.get_attribute(most).map_err(failed("ask for a kernel's threads"))? as u32;
            functions.push(Function { function, name: kernel.name, file: IMAGES[kernel.image].file, max_threads });
        }
        let multiprocessors = context
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(failed("ask for the multiprocessors"))? as u32;
        let [wgmma, launch_ahead] = [false; 2].map(AtomicBool::new);
        let cuda = Cuda { context, stream, recording, functions, multiprocessors, wgmma, launch_ahead };
        let asked = |variable| std::env::var_os(variable).is_some_and(|on| on == "1");
        cuda.use_wgmma(asked(WGMMA));
        cuda.launch_ahead(asked(PDL));
        Ok(Arc::new(cuda))
    }

    /// Whether the kernels of bf16 run on the device: tensor cores that know it came with compute capability 8.0.
    pub fn has_bf16(&self) -> Result<bool> {
        Ok(self.context.compute_capability().map_err(failed("ask for the compute capability"))? >= (8, 0))
    }

    /// Whether convolutions use WGMMA, which compute capability 9.0 alone has.
    pub fn has_wgmma(&self) -> bool {
        self.wgmma.load(Ordering::Relaxed)
    }

    /// Whether device and build support WGMMA, be it used or not.
    pub fn can_wgmma(&self) -> bool {
        let has = self.context.compute_capability().is_ok_and(|capability| capability == (9, 0));
        // A build for other GPUs runs there from PTX, which lacks it.
        has && ARCHITECTURES.contains(&"sm_90")
    }

    /// Switches WGMMA on or off where it is supported. When a device is opened, the variable `FCDD_WGMMA` decides.
    pub fn use_wgmma(&self, on: bool) {
        self.wgmma.store(on && self.can_wgmma(), Ordering::Relaxed);
    }

    /// Whether kernels are launched ahead of the end of those before them.
    pub fn launches_ahead(&self) -> bool {
        self.launch_ahead.load(Ordering::Relaxed)
    }

    /// Switches that on or off, where the device can: since compute capability 9.0. When a device is opened, the variable `FCDD_PDL`
    /// decides. Kernels wait for those before them themselves (`kernels_before`), so the results are the same.
    pub fn launch_ahead(&self, on: bool) {
        let can = self.context.compute_capability().is_ok_and(|capability| capability >= (9, 0));
        // Code for older GPUs runs there from PTX, and does not wait.
        let generation = |name: &&str| name.split('_').nth(1).and_then(|number| number.parse::<u32>().ok());
        let compiled = ARCHITECTURES.iter().filter_map(generation).any(|number| number >= 90);
        self.launch_ahead.store(on && can && compiled, Ordering::Relaxed);
    }

    /// What the device is.
    pub fn describe(&self) -> Result<Description> {
        let (free, memory) = self.free_and_total()?;
        Ok(Description {
            name: self.context.name().map_err(failed("ask for the name"))?,
            compute_capability: self.context.compute_capability().map_err(failed("ask for the compute capability"))?,
            multiprocessors: self.multiprocessors,
            memory,
            free,
            driver: driver_version()?,
        })
    }

    /// Streaming multiprocessors. For launch shapes that do not change the result.
    pub fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    /// Waits until all work is done, and reports what went wrong in it.
    pub fn synchronize(&self) -> Result<()> {
        self.outside_of_capture("wait for the kernels")?;
        self.stream.synchronize().map_err(failed("wait for the kernels"))?;
        self.context.check_err().map_err(failed("free memory"))
    }

    /// Runs `work` as the only work that a profiler records (`ncu --profile-from-start off`).
    pub fn profiled<T, E: From<CudaError>>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.bind()?;
        // SAFETY: the context is current; without a profiler the calls do nothing.
        unsafe { sys::cuProfilerStart() }.result().map_err(failed("start the profiler"))?;
        let done = work();
        self.synchronize()?;
        // SAFETY: as above.
        unsafe { sys::cuProfilerStop() }.result().map_err(failed("stop the profiler"))?;
        done
    }

    fn free_and_total(&self) -> Result<(usize, usize)> {
        self.context.mem_get_info().map_err(failed("ask for the free memory"))
    }

    /// The driver's calls act on the context that is current on the calling thread.
    fn bind(&self) -> Result<()> {
        // What went wrong where memory was given back is not the next call's fault.
        self.context.check_err().map_err(failed("give memory back"))?;
        self.context.bind_to_thread().map_err(failed("bind the context"))
    }
}

/// Loads the driver and returns its version, as [`driver_version`] does.
fn start_driver() -> Result<i32> {
    // SAFETY: this only tries to load the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice,
        _ => failed("start the driver")(error),
    })?;
    driver_version()
}

/// CUDA version of the driver that was started, such as 13000.
fn driver_version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the driver was found and the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed("ask for the driver's version"))?;
    Ok(version)
}

/// Driver version that code of an nvcc release needs: any of the same major version (CUDA's minor version compatibility).
fn needed_driver(nvcc: &str) -> i32 {
    nvcc.split('.').next().and_then(|major| major.parse::<i32>().ok()).unwrap_or(0) * 1000
}

/// 13010 as 13.1.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// The error of a driver call: what it was to do, and the driver's reason.
fn failed(action: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError::Call { action, reason: reason(error) }
}

/// The driver's name of an error and its explanation.
fn reason(error: DriverError) -> String {
    let text = |words: std::result::Result<&std::ffi::CStr, DriverError>| {
        words.map_or_else(|_| String::new(), |w| w.to_string_lossy().into_owned())
    };
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_words() {
        assert_eq!((version(13010), version(11040)), ("13.1".into(), "11.4".into()));
        assert_eq!(needed_driver("13.0.88"), 13000);
    }
}
