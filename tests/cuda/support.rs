//! The device that the tests run on, and the comparison of a step with the CPU.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fcdd::device::cuda::Cuda;
use fcdd::device::{DType, Device, HostBuffers, View};
use fcdd::engine::Step;
use fcdd::real::rounded_to_bf16;
use fcdd::run::verify::stepwise::{self, HYPER, TestedDevice};
use fcdd::run::verify::{Check, CheckOutcome, CheckReport};
use fcdd_standin::{Mode, Options, Order};

/// The device of a test. One test holds it at a time, since the stand-in's order belongs to the process.
pub struct Gpu {
    pub device: Device,
    pub mode: Option<Mode>,
    _alone: MutexGuard<'static, ()>,
}

/// The device, for one test alone. Without a device the test is to be skipped, or fails if `FCDD_REQUIRE_STANDIN` is set.
pub fn gpu() -> Option<Gpu> {
    static ALONE: Mutex<()> = Mutex::new(());
    static DEVICE: OnceLock<Result<(Device, Option<Mode>), String>> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match DEVICE.get_or_init(open) {
        Ok((device, mode)) => Some(Gpu { device: device.clone(), mode: *mode, _alone: alone }),
        Err(why) if std::env::var_os("FCDD_REQUIRE_STANDIN").is_some() => panic!("no device to test on: {why}"),
        Err(why) => {
            skipped(why);
            None
        }
    }
}

/// Prints why a test is skipped, directly to stderr: the test harness shows the output of failed tests only.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Rounds the values in views of bf16.
pub fn round(memory: &mut HostBuffers<f64>, views: &[View]) {
    for view in views.iter().filter(|view| view.dtype == DType::Bf16) {
        memory.get_mut(*view).iter_mut().for_each(|v| *v = rounded_to_bf16(*v));
    }
}

/// Runs a test on the device, if there is one.
pub fn on_device(test: impl FnOnce(&Gpu)) {
    if let Some(gpu) = gpu() {
        test(&gpu);
    }
}

fn open() -> Result<(Device, Option<Mode>), String> {
    let mode = match std::env::var("FCDD_TEST_DEVICE").as_deref() {
        Ok("gpu") => None,
        Ok("standin") => Some(Mode::Plain),
        Ok("checked") => Some(Mode::Checked),
        Ok(other) => return Err(format!("FCDD_TEST_DEVICE={other} is none of gpu, standin, checked")),
        Err(_) if Path::new("/dev/nvidiactl").exists() => None,
        Err(_) => Some(Mode::Plain),
    };
    if let Some(mode) = mode {
        fcdd_standin::activate(&Options { mode, ..Options::default() }).map_err(|e| e.to_string())?;
    }
    let cuda = Cuda::open(0).map_err(|e| e.to_string())?;
    // Always on in the checked mode, so that kernels that do not wait for the previous ones are found.
    cuda.launch_ahead(cuda.launches_ahead() || mode == Some(Mode::Checked));
    Ok((Device::Cuda(cuda), mode))
}

/// Features of a device that are off unless `FCDD_WGMMA=1` or `FCDD_PDL=1` turns them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// WGMMA, compute capability 9.0.
    Wgmma,
    /// Programmatic dependent launch, since compute capability 9.0.
    Pdl,
}

impl Switch {
    fn is_on(self, cuda: &Cuda) -> bool {
        match self {
            Switch::Wgmma => cuda.has_wgmma(),
            Switch::Pdl => cuda.launches_ahead(),
        }
    }

    fn set(self, cuda: &Cuda, on: bool) {
        match self {
            Switch::Wgmma => cuda.use_wgmma(on),
            Switch::Pdl => cuda.launch_ahead(on),
        }
    }
}

impl Gpu {
    /// Runs `work` with exactly these switches on, then restores them. Nothing is run on a device that lacks one of them.
    pub fn switched<T>(&self, on: &[Switch], work: impl FnOnce() -> T) -> Option<T> {
        let cuda = self.cuda();
        let all = [Switch::Wgmma, Switch::Pdl];
        let before = all.map(|switch| switch.is_on(cuda));
        all.iter().for_each(|switch| switch.set(cuda, on.contains(switch)));
        let missing = on.iter().find(|switch| !switch.is_on(cuda));
        // They belong to the device, which all tests share: restored even if `work` panics.
        let done = missing.is_none().then(|| catch_unwind(AssertUnwindSafe(work)));
        all.iter().zip(before).for_each(|(switch, on)| switch.set(cuda, on));
        if let Some(switch) = missing {
            let _ = writeln!(std::io::stderr(), "skipped: this device has no {switch:?}");
        }
        done.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// The device itself.
    pub fn cuda(&self) -> &Arc<Cuda> {
        let Device::Cuda(cuda) = &self.device else { unreachable!("tests of the GPU run on one") };
        cuda
    }

    /// Runs `work` in every order of blocks and threads, and with lazy streams; on a GPU, and in the slow checked mode, twice.
    pub fn in_every_order(&self, mut work: impl FnMut(&str)) {
        if self.mode != Some(Mode::Plain) {
            // Twice, so that results which must not differ between runs can be compared.
            work("once");
            return work("again");
        }
        for (name, order, lazy) in [
            ("ascending", Order::Ascending, false),
            ("descending", Order::Descending, false),
            ("shuffled", Order::Shuffled(5), false),
            ("lazy", Order::Ascending, true),
        ] {
            fcdd_standin::set_order(order);
            fcdd_standin::set_lazy(lazy);
            // The order belongs to the process: restored even if `work` panics.
            let done = catch_unwind(AssertUnwindSafe(|| work(name)));
            fcdd_standin::set_order(Order::Ascending);
            fcdd_standin::set_lazy(false);
            done.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }

    /// Whether cases should be small: in the slow mode that checks every access, and with `FCDD_TEST_SMALL`, which is for compute-sanitizer.
    pub fn is_checked(&self) -> bool {
        self.mode == Some(Mode::Checked) || std::env::var_os("FCDD_TEST_SMALL").is_some()
    }

    /// Asserts that a step gives the CPU's bits in f32; for kernels with the CPU's arithmetic, operation by operation.
    #[track_caller]
    pub fn has_the_cpus_bits(&self, what: &str, step: &Step, memory: &HostBuffers<f64>) {
        let [ours, cpus] = [&self.device, &Device::Cpu].map(|device| {
            let mut tested = TestedDevice::for_step(device, step, &memory.lengths()).unwrap();
            tested.run(step, memory, &HYPER).unwrap();
            let writes = step.writes();
            let reals = writes.reals.iter().flat_map(|&(_, view)| tested.read(view).unwrap()).map(f32::to_bits);
            let argmax = writes.argmax.map(|view| tested.read_bytes(view).unwrap());
            (reals.collect::<Vec<_>>(), argmax)
        });
        let differ = ours.0.iter().zip(&cpus.0).filter(|(a, b)| a != b).count();
        assert!(ours == cpus, "{what}: {differ} of {} values are not the CPU's", ours.0.len());
    }

    /// Asserts that a step on the device agrees with the CPU in f64 from the same f32 inputs, within the bound of its arithmetic, and that it has
    /// the same bits in every order. Outputs are filled with NaN first. `memory` holds the inputs.
    #[track_caller]
    pub fn agrees(&self, what: &str, step: &Step, memory: &HostBuffers<f64>) {
        let mut bits: Option<Vec<Vec<u32>>> = None;
        self.in_every_order(|order| {
            let mut failed = Vec::new();
            let mut sink = |check: &Check| {
                if check.outcome == CheckOutcome::Failed {
                    failed.push(format!("{} {:.2e} > {:.2e}", check.name, check.error, check.bound));
                }
            };
            let mut tested = TestedDevice::for_step(&self.device, step, &memory.lengths()).unwrap();
            let mut exact = memory.clone();
            let name = format!("{what}, {order}:");
            if let Err(error) =
                stepwise::step(&name, step, &mut exact, &mut tested, &mut CheckReport::new(&self.device, &mut sink))
            {
                panic!("{name} {error}; {}", fcdd_standin::last_report().unwrap_or_default());
            }
            assert!(failed.is_empty(), "{failed:#?}");
            // The comparison changes inputs and outputs, so the step runs once more from the original memory to compare the bits.
            tested.run(step, memory, &HYPER).unwrap();
            let writes = step.writes();
            let outputs = writes.reals.iter().map(|&(_, view)| tested.read(view).unwrap());
            let these: Vec<Vec<u32>> = outputs.map(|values| values.iter().map(|v| v.to_bits()).collect()).collect();
            assert!(
                bits.as_ref().is_none_or(|bits| *bits == these),
                "{name} the bits differ from those of the first order"
            );
            bits = Some(these);
        });
    }
}
