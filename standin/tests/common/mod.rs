//! A device of the stand-in for tests: used by one test at a time, since its settings and its sticky error belong to the process.

#![allow(dead_code)] // compiled into several test programs, none of which uses all of it

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, LaunchConfig};
use fcdd_standin::{Mode, Options};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct Gpu {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    pub module: Arc<CudaModule>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Gpu {
    /// The stand-in with these options; `None` where it was not built, after printing why.
    pub fn new(options: Options) -> Option<Self> {
        static LOCK: Mutex<()> = Mutex::new(());
        let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
        if let Err(why) = fcdd_standin::activate(&options) {
            assert!(std::env::var("FCDD_REQUIRE_STANDIN").map_or(true, |v| v != "1"), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        fcdd_standin::set_device(Default::default());
        fcdd_standin::reset();
        let context = CudaContext::new(0).unwrap();
        // SAFETY: the tests order their work by one stream, or by events of their own.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().unwrap();
        let module = context.load_module(cudarc::nvrtc::Ptx::from_binary(fcdd_standin::EMPTY_FATBIN.to_vec())).unwrap();
        Some(Self { context, stream, module, _one_at_a_time: guard })
    }

    pub fn plain() -> Option<Self> {
        Self::new(Options { quiet: true, ..Options::default() })
    }

    pub fn checked() -> Option<Self> {
        Self::new(Options { mode: Mode::Checked, quiet: true, ..Options::default() })
    }

    pub fn kernel(&self, name: &str) -> CudaFunction {
        self.module.load_function(name).unwrap()
    }

    pub fn sync(&self) -> Result<(), cudarc::driver::DriverError> {
        self.stream.synchronize()
    }
}

/// Blocks, threads per block, bytes of dynamic shared memory.
pub fn config(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: shared }
}

/// Launches a kernel on the device's stream.
#[macro_export]
macro_rules! launch {
    ($gpu:expr, $name:expr, $config:expr $(, $argument:expr)* $(,)?) => {{
        use cudarc::driver::PushKernelArg;
        let function = $gpu.kernel($name);
        let stream = $gpu.stream.clone();
        let config = $config;
        let mut builder = stream.launch_builder(&function);
        $(builder.arg($argument);)*
        // SAFETY: kernels of this crate with the arguments that they declare; the stand-in catches their faults.
        unsafe { builder.launch(config) }
    }};
}

/// Numbers in [-1, 1), the same in every run.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}
