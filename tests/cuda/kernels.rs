//! The tests' own kernels (`kernels/*.cu`), with a launch stub for each that `build.rs` generates as it does for the library's, and what
//! these stubs launch with: a module and a stream beside those of the device under test, in the same context.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaStream, sys};
use cudarc::nvrtc::Ptx;
use fcdd::device::cuda::kernels::{Image, Kernel};
use fcdd::device::cuda::{Argument, Pointer, PointerMut, TensorMap};

use crate::support::Gpu;

include!(concat!(env!("OUT_DIR"), "/test_kernels.rs"));

/// The kernels on a device, and a stream for them. Memory is the device's: whoever launches sees to it that its stream is idle.
pub struct Kernels {
    stream: Arc<CudaStream>,
    functions: Vec<CudaFunction>,
}

/// A launch to be filled with a kernel and its arguments, by the stubs.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    kernels: &'a Kernels,
    blocks: u32,
    threads: u32,
    shared: u32,
    ahead: bool,
}

/// The driver's error of a call.
type Result<T> = std::result::Result<T, sys::CUresult>;

impl Kernels {
    pub fn load(_gpu: &Gpu) -> Kernels {
        let context = CudaContext::new(0).unwrap();
        let module = |image: &Image| context.load_module(Ptx::from_binary(image.code.to_vec())).unwrap();
        let modules: Vec<_> = IMAGES.iter().map(module).collect();
        let function = |kernel: &Kernel| modules[kernel.image].load_function(kernel.name).unwrap();
        Kernels { stream: context.new_stream().unwrap(), functions: KERNELS.iter().map(function).collect() }
    }

    /// A launch of some blocks, with so many bytes of dynamic shared memory each.
    pub fn launch(&self, blocks: u32, threads: u32, shared: u32) -> Launch<'_> {
        Launch { kernels: self, blocks, threads, shared, ahead: false }
    }

    /// Waits for all launches.
    pub fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(|error| error.0)
    }
}

impl Launch<'_> {
    fn run(self, kernel: usize, arguments: &[&dyn Argument]) -> Result<()> {
        let function = &self.kernels.functions[kernel];
        let most_shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most_shared, self.shared as i32).map_err(|error| error.0)?;
        let mut parameters: Vec<_> = arguments.iter().map(|argument| argument.location()).collect();
        let mut ahead = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: self.blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: self.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared,
            hStream: self.kernels.stream.cu_stream(),
            attrs: &raw mut ahead,
            numAttrs: u32::from(self.ahead),
        };
        // SAFETY: the stub was generated from the kernel's signature, so the arguments have its parameters' number and types; the call
        // copies them. The tests wait for a kernel before they free what it was given.
        let status = unsafe {
            let (function, extra) = (function.cu_function(), std::ptr::null_mut());
            sys::cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), extra)
        };
        if status == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err(status) }
    }
}
