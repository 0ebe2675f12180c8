//! The device that the benches run on, and its clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use fcdd::device::cuda::Mark;
use fcdd::device::{DType, Device, DeviceChoice, choose};

/// The GPU where there is one, else the CPU; says once which.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let (device, why_not) = choose(DeviceChoice::Auto).unwrap();
        match &device {
            Device::Cuda(cuda) => eprintln!("on {}, timed with CUDA events", cuda.describe().unwrap().name),
            Device::Cpu => {
                let why_not = why_not.map(|error| format!(": {}", error.in_brief())).unwrap_or_default();
                eprintln!("on the CPU, {} threads, in wall-clock time{why_not}", rayon::current_num_threads());
            }
        }
        device
    })
}

/// The types that nets are timed in: bf16 only on a GPU, since the CPU emulates it.
pub fn dtypes() -> &'static [DType] {
    match device() {
        Device::Cuda(cuda) if cuda.has_bf16().unwrap() => &[DType::F32, DType::Bf16],
        _ => &[DType::F32],
    }
}

/// Criterion with the device's clock; without plots, which would need a font.
pub fn criterion() -> Criterion<Clock> {
    device();
    let criterion = Criterion::default().with_measurement(Clock(WallTime)).without_plots().sample_size(10);
    criterion.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

/// On a GPU the time between two CUDA events, on the CPU wall-clock time.
pub struct Clock(WallTime);

/// When something began.
pub enum Start {
    Wall(Instant),
    Device(Mark),
}

impl Measurement for Clock {
    type Intermediate = Start;
    type Value = Duration;

    fn start(&self) -> Start {
        match device() {
            Device::Cpu => Start::Wall(self.0.start()),
            Device::Cuda(cuda) => Start::Device(cuda.mark().unwrap()),
        }
    }

    fn end(&self, start: Start) -> Duration {
        match (start, device()) {
            (Start::Device(start), Device::Cuda(cuda)) => {
                Duration::from_secs_f64(cuda.mark().unwrap().seconds_since(&start).unwrap())
            }
            (Start::Wall(start), _) => self.0.end(start),
            (Start::Device(_), Device::Cpu) => unreachable!("the device stays the same"),
        }
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        self.0.add(a, b)
    }

    fn zero(&self) -> Duration {
        self.0.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}
