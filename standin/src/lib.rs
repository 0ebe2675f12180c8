//! A CPU stand-in of the CUDA driver, for testing kernels and the code that launches them where there is no GPU.
//!
//! [`activate`] loads a library that implements the CUDA driver API on the CPU. Its name is `libcuda.so`, so code that asks the dynamic
//! loader for the driver afterwards, as cudarc does at its first call, gets this library. The kernels are the same `.cu` files that nvcc
//! compiles for a GPU, compiled by g++; see the README of this crate for what that shows and what it cannot.
//!
//! ```no_run
//! use fcdd_standin::{Mode, Options, Order};
//!
//! fcdd_standin::activate(&Options { mode: Mode::Checked, order: Order::Shuffled(7), ..Options::default() }).unwrap();
//! // From here on cudarc finds one device, and a fault of a kernel says what it was:
//! println!("{:?}", fcdd_standin::last_report());
//! ```

use std::ffi::{CStr, c_char, c_int, c_ulonglong};
use std::path::Path;
use std::sync::Mutex;

/// How the kernels are compiled. One mode per process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Optimised; finds faults by guard pages, NaN-filled memory and the rules of barriers and collectives.
    Plain,
    /// Every access is checked for bounds, initialisation, alignment and races; 2 to 15 times slower.
    Checked,
}

/// The order in which blocks, and within a block threads, are run. Correct kernels give the same results in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last; each runs until it has to wait.
    Ascending,
    /// From the last to the first.
    Descending,
    /// Blocks permuted; at each switch any thread that can run, chosen by this seed.
    Shuffled(u64),
}

/// When the data of an asynchronous copy (`cp.async`) arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpAsync {
    /// As late as allowed, at the wait for it: with a missing wait, kernels read old data.
    Late,
    /// At once: where a buffer is overwritten too early, kernels read new data.
    Early,
}

/// How the stand-in behaves. Other settings are made by environment variables and [`set_device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    pub order: Order,
    /// Streams run when something waits for them, instead of at once.
    pub lazy: bool,
    pub cp_async: CpAsync,
    /// Threads of the host that run blocks; [`Mode::Checked`] uses one.
    pub threads: usize,
    /// Faults are kept for [`last_report`] only, not printed.
    pub quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Plain,
            order: Order::Ascending,
            lazy: false,
            cp_async: CpAsync::Late,
            threads: 1,
            quiet: false,
        }
    }
}

/// What the device looks like to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number of devices, 0 to 8.
    pub count: u32,
    /// Memory in MiB; allocations beyond it fail.
    pub memory_mib: u64,
    /// As `cuDriverGetVersion` returns it, 13000 for CUDA 13.0. Below 12000 no module loads.
    pub driver_version: u32,
    /// 75 for sm_75: below 80 the instructions of `ptx.cuh` are illegal.
    pub compute_capability: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self { count: 1, memory_mib: 8192, driver_version: 13000, compute_capability: 90 }
    }
}

/// Why the stand-in cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Its libraries were not built, for this reason.
    NotBuilt(&'static str),
    /// A library did not load.
    Load(String),
    /// This process already uses the other mode.
    OtherMode(Mode),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::NotBuilt(why) => write!(f, "the stand-in of the CUDA driver was not built: {why}"),
            Self::Load(why) => write!(f, "the stand-in of the CUDA driver does not load: {why}"),
            Self::OtherMode(mode) => write!(f, "the stand-in of the CUDA driver is already in use in mode {mode:?}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// A module image (fatbin) that the stand-in accepts and that has every kernel: for programs that were built without nvcc and have no real
/// image.
pub const EMPTY_FATBIN: [u8; 16] = [0x50, 0xED, 0x55, 0xBA, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The loaded library. It stays for the life of the process: the driver's handles point into it.
struct Library {
    mode: Mode,
    set: unsafe extern "C" fn(*const c_char, c_ulonglong) -> c_int,
    report: unsafe extern "C" fn(*mut c_char, usize) -> c_int,
    reset: unsafe extern "C" fn() -> c_int,
    statistics: unsafe extern "C" fn(*mut c_ulonglong) -> c_int,
}

static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

fn library<T>(f: impl FnOnce(&Library) -> T) -> Option<T> {
    LIBRARY.lock().unwrap_or_else(|e| e.into_inner()).as_ref().map(f)
}

/// Makes the stand-in the CUDA driver of this process. Must be called before the first call of CUDA; later calls with the same mode change
/// the other options. The environment variables `STANDIN_…` for these options are read by [`Options::from_environment`] only.
pub fn activate(options: &Options) -> Result<(), Unavailable> {
    let mut slot = LIBRARY.lock().unwrap_or_else(|e| e.into_inner());
    match &*slot {
        Some(library) if library.mode != options.mode => return Err(Unavailable::OtherMode(library.mode)),
        Some(_) => {}
        None => *slot = Some(load(options.mode)?),
    }
    drop(slot);
    set_order(options.order);
    set_lazy(options.lazy);
    set_cp_async(options.cp_async);
    set("threads", options.threads.max(1) as u64);
    set("quiet", u64::from(options.quiet));
    Ok(())
}

impl Options {
    /// The options that `STANDIN_ORDER`, `STANDIN_LAZY`, `STANDIN_CP_ASYNC`, `STANDIN_THREADS` and `STANDIN_QUIET` ask for.
    pub fn from_environment(mode: Mode) -> Self {
        let word = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let number = |name: &str| word(name).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        Self {
            mode,
            order: match word("STANDIN_ORDER").as_deref() {
                None | Some("ascending") => Order::Ascending,
                Some("descending") => Order::Descending,
                Some(_) => Order::Shuffled(number("STANDIN_ORDER")),
            },
            lazy: number("STANDIN_LAZY") != 0,
            cp_async: if word("STANDIN_CP_ASYNC").as_deref() == Some("early") { CpAsync::Early } else { CpAsync::Late },
            threads: number("STANDIN_THREADS").max(1) as usize,
            quiet: number("STANDIN_QUIET") != 0,
        }
    }
}

fn load(mode: Mode) -> Result<Library, Unavailable> {
    let folder = built(mode)?;
    let failed = |e: libloading::Error| Unavailable::Load(e.to_string());
    // SAFETY: the library is the one that build.rs has made; its initialisation reads the environment.
    let library = unsafe { libloading::Library::new(folder.join("libcuda.so")) }.map_err(failed)?;
    // SAFETY: these are the signatures of driver/context.cpp.
    let functions = unsafe {
        Library {
            mode,
            set: *library.get(b"standin_set\0").map_err(failed)?,
            report: *library.get(b"standin_report\0").map_err(failed)?,
            reset: *library.get(b"standin_reset\0").map_err(failed)?,
            statistics: *library.get(b"standin_statistics\0").map_err(failed)?,
        }
    };
    std::mem::forget(library);
    Ok(functions)
}

fn set(name: &str, value: u64) {
    let name = std::ffi::CString::new(name).expect("a setting's name");
    // SAFETY: the function takes a C string and a number, and locks the driver.
    library(|l| unsafe { (l.set)(name.as_ptr(), value) });
}

/// Changes the order of blocks and threads for the launches that follow. These functions do nothing before [`activate`].
pub fn set_order(order: Order) {
    let (order, seed) = match order {
        Order::Ascending => (0, 0),
        Order::Descending => (1, 0),
        Order::Shuffled(seed) => (2, seed),
    };
    set("seed", seed);
    set("order", order);
}

/// Whether streams run only when something waits for them. Queued operations run first.
pub fn set_lazy(lazy: bool) {
    set("lazy", u64::from(lazy));
}

/// When asynchronous copies arrive.
pub fn set_cp_async(when: CpAsync) {
    set("early_copies", u64::from(when == CpAsync::Early));
}

/// What the device looks like from now on.
pub fn set_device(device: Device) {
    set("devices", u64::from(device.count));
    set("memory", device.memory_mib);
    set("driver_version", u64::from(device.driver_version));
    set("compute_capability", u64::from(device.compute_capability));
}

/// The mode in use, if the stand-in is active.
pub fn active() -> Option<Mode> {
    library(|l| l.mode)
}

/// The last fault: kernel, block, thread, and what happened.
pub fn last_report() -> Option<String> {
    library(|l| {
        let mut text = [0; 4096];
        // SAFETY: the function writes at most so many bytes, with a zero at the end.
        let length = unsafe { (l.report)(text.as_mut_ptr(), text.len()) };
        // SAFETY: see above.
        (length > 0).then(|| unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    })
    .flatten()
}

/// Clears the sticky error of a fault, the report, active captures and queued operations; a real driver has no such function.
pub fn reset() {
    // SAFETY: the function has no arguments and locks the driver.
    library(|l| unsafe { (l.reset)() });
}

/// What has been executed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub launches: u64,
    pub blocks: u64,
    pub threads: u64,
    /// Switches from one thread of a block to another.
    pub switches: u64,
}

/// Counts of the process since the stand-in was loaded.
pub fn statistics() -> Statistics {
    library(|l| {
        let mut n = [0; 4];
        // SAFETY: the function writes four numbers.
        unsafe { (l.statistics)(n.as_mut_ptr()) };
        Statistics { launches: n[0], blocks: n[1], threads: n[2], switches: n[3] }
    })
    .unwrap_or_default()
}

fn built(mode: Mode) -> Result<&'static Path, Unavailable> {
    match option_env!("STANDIN_UNAVAILABLE") {
        Some(why) => Err(Unavailable::NotBuilt(why)),
        None => Ok(match mode {
            Mode::Plain => Path::new(concat!(env!("STANDIN_LIBRARIES"), "/plain")),
            Mode::Checked => Path::new(concat!(env!("STANDIN_LIBRARIES"), "/checked")),
        }),
    }
}

/// The folder of the stand-in's `libcuda.so`, for `LD_LIBRARY_PATH`. `None` where it could not be built.
pub fn library_dir(mode: Mode) -> Option<&'static Path> {
    built(mode).ok()
}
