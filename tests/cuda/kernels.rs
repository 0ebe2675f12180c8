//! The tests' own kernels (`kernels/*.cu`). `build.rs` generates a function that launches each, as for the library's kernels. They use a
//! module and a stream of their own, in the context of the device under test.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, CudaStream, sys};
use cudarc::nvrtc::Ptx;
use fcdd::device::cuda::kernels::{Image, Kernel};
use fcdd::device::cuda::{Pointer, PointerMut, TensorMap};

use crate::support::{Gpu, on_device, skipped};

include!(concat!(env!("OUT_DIR"), "/test_kernels.rs"));

/// The kernels on a device, and a stream for them. Memory belongs to the device: before a launch the device's own stream must be idle.
pub struct Kernels {
    stream: Arc<CudaStream>,
    functions: Vec<CudaFunction>,
}

/// A launch to which a generated function adds the kernel and its parameters.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    kernels: &'a Kernels,
    blocks: u32,
    threads: u32,
    shared: u32,
    ahead: bool,
}

/// The result of a driver call.
type Result<T> = std::result::Result<T, sys::CUresult>;

/// The compute capability that a primitive needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// This compute capability (7.5, which all kernels need, 8.0 or 9.0) or a later one.
    Since(i32),
    /// 9.0 alone (sm_90a).
    Sm90a,
}

/// Runs a test if the device has this compute capability and the build has code for it.
pub fn with_kernels(needs: Needs, test: impl FnOnce(&Gpu, &Kernels)) {
    on_device(|gpu| {
        let device = gpu.cuda().describe().unwrap();
        let (major, minor) = device.compute_capability;
        let compiled =
            |least| ARCHITECTURES.iter().any(|a| a.rsplit('_').next().and_then(|a| a.parse().ok()) >= Some(least));
        let runs = match needs {
            // The stand-in compiles the kernels by itself.
            _ if gpu.mode.is_some() => true,
            Needs::Since(least) => 10 * major + minor >= least && compiled(least),
            Needs::Sm90a => (major, minor) == (9, 0) && ARCHITECTURES.contains(&"sm_90"),
        };
        if !runs {
            let wanted = if let Needs::Since(least) = needs { format!("sm_{least} or later") } else { "sm_90a".into() };
            let built = format!("{} by nvcc {}", ARCHITECTURES.join(" "), NVCC.unwrap_or_default());
            return skipped(&format!(
                "needs {wanted}; {} is sm_{major}{minor}, this build is for {built}",
                device.name
            ));
        }
        test(gpu, &Kernels::load());
    });
}

impl Kernels {
    fn load() -> Kernels {
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

    /// The launches of `work`, captured.
    pub fn capture(&self, work: impl FnOnce()) -> CudaGraph {
        self.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        work();
        self.stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().expect("launches")
    }

    /// Waits for all launches.
    pub fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(|error| error.0)
    }
}

impl Launch<'_> {
    /// Whether it may begin before the launches before it have ended (programmatic dependent launch).
    pub fn ahead(self, ahead: bool) -> Self {
        Launch { ahead, ..self }
    }

    /// # Safety
    /// `P` is the struct that the kernel takes, and its pointers are those of buffers that the kernel stays inside.
    unsafe fn run<P>(self, kernel: usize, parameters: &P) -> Result<()> {
        let function = &self.kernels.functions[kernel];
        let most_shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most_shared, self.shared as i32).map_err(|error| error.0)?;
        let mut parameters = [(&raw const *parameters).cast_mut().cast()];
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
        // SAFETY: the kernel has one parameter, which is such a struct; the call copies it. The tests wait for a kernel before they free what
        // it was given.
        let status = unsafe {
            let (function, extra) = (function.cu_function(), std::ptr::null_mut());
            sys::cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), extra)
        };
        if status == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err(status) }
    }
}
