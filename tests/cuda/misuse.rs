//! What safe code may ask of the device is refused where a kernel would leave its memory or miss what it waits for.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fcdd::data::cuda::{DeviceSet, DeviceTestSet};
use fcdd::data::supervise::{NoiseMode, Supervise};
use fcdd::device::cuda::{Buffer, Cuda, DeviceBuffers};
use fcdd::device::{DType, View};
use fcdd::engine::Step;
use fcdd::steps::activation::Activation;
use fcdd::steps::add::Add;
use fcdd::steps::conv::{ConvGeometry, Wgrad};

use crate::epoch::{BATCH, COUNT, Trained, hypers, set};
use crate::support::{Gpu, on_device};

fn add(y: View) -> Step {
    Add { activation: Activation::IDENTITY, a: View::of(1, 8), b: View::of(2, 8), y }.into()
}

fn buffers(gpu: &Gpu, lengths: [usize; 3]) -> DeviceBuffers {
    DeviceBuffers::new(gpu.cuda(), &lengths.map(|len| (len, DType::F32)), &[], 0).unwrap()
}

#[test]
fn steps_whose_operands_do_not_fit() {
    on_device(|gpu| {
        let memory = buffers(gpu, [1 << 16, 8, 8]);
        let error = add(View::of(0, 1 << 16)).cuda(&memory).unwrap_err().to_string();
        assert!(error.contains("its a has 8 elements, 65536 are needed"), "{error}");
        // The last element of the view would be the first of all memory again.
        let wraps = add(View { start: usize::MAX - 3, len: 8, ..View::of(0, 8) });
        assert!(catch_unwind(AssertUnwindSafe(|| wraps.cuda(&memory))).is_err());
        assert!(
            catch_unwind(AssertUnwindSafe(|| add(View { start: 1 << 16, ..View::of(0, 8) }).cuda(&memory))).is_err()
        );
        add(View::of(0, 8)).cuda(&memory).unwrap();
        gpu.cuda().synchronize().unwrap();
    });
}

#[test]
fn steps_without_their_workspace() {
    on_device(|gpu| {
        let geometry = ConvGeometry { n: 64, h: 16, w: 16, c: 4, k: 8, side: 3, stride: 1, pad: 1 };
        let views = [geometry.x_len(), geometry.y_len(), geometry.w_len()];
        let memory = buffers(gpu, views);
        let [x, dy, dw] = [0, 1, 2].map(|i| View::of(i, views[i]));
        let step = Step::from(Wgrad { geometry, x, dy, dw, db: None });
        assert!(step.cuda_workspace() > 0);
        let error = step.cuda(&memory).unwrap_err().to_string();
        assert!(error.contains("its workspace has 0 elements"), "{error}");
    });
}

#[test]
fn more_memory_than_there_can_be() {
    on_device(|gpu| {
        // 2⁶² · 4 bytes are 0 in 64 bits.
        let error = gpu.cuda().alloc::<f32>(1 << 62).err().unwrap().to_string();
        assert!(error.contains("out of GPU memory"), "{error}");
    });
}

#[test]
fn batches_that_have_no_room() {
    on_device(|gpu| {
        let set = set(Supervise::MalformedNormalGt, NoiseMode::Blob);
        let (cuda, p) = (gpu.cuda(), &set.data().preprocessing);
        let device = DeviceSet::new(cuda, &set, BATCH).unwrap();
        let room = |len| cuda.zeros::<f32>(len).unwrap();
        let made = |inputs: usize, labels: usize, maps: usize| {
            let [inputs, labels, maps] = [inputs, labels, maps].map(room);
            let into = [&inputs, &labels, &maps].map(Buffer::as_slice);
            device.draw(0, &set.order(0), (0, BATCH), into).map(drop).map_err(|error| error.to_string())
        };
        let (inputs, pixels) = (BATCH * p.input_len(), BATCH * p.side * p.side);
        made(inputs, BATCH, pixels).unwrap();
        assert!(made(inputs - 1, BATCH, pixels).unwrap_err().contains("values of inputs"));
        assert!(made(inputs, BATCH - 1, pixels).unwrap_err().contains("labels"));
        assert!(made(inputs, BATCH, pixels - 1).unwrap_err().contains("pixels of maps"));
        let tests = DeviceTestSet::with_room(cuda, p, 4).unwrap();
        let error = tests.enqueue(0, 4, room(4 * p.input_len() - 1).as_slice()).unwrap_err().to_string();
        assert!(error.contains("values of inputs"), "{error}");
        let beyond = || tests.enqueue(usize::MAX - 1, 4, room(4 * p.input_len()).as_slice());
        assert!(catch_unwind(AssertUnwindSafe(beyond)).is_err());
        cuda.synchronize().unwrap();
    });
}

/// Each opening of a device has a stream of its own: steps would not wait for a batch that is made in another's.
#[test]
fn batches_of_another_opening_of_the_device() {
    on_device(|gpu| {
        let set = set(Supervise::Unsupervised, NoiseMode::Confetti);
        let there = DeviceSet::new(&Cuda::open(0).unwrap(), &set, BATCH).unwrap();
        let mut network = Trained::PLAIN.network(&gpu.device);
        network.attach(Box::new(there), COUNT).unwrap();
        let error = network.epoch(0, &set.order(0), &hypers(0), |_, _, _| Ok(true)).unwrap_err().to_string();
        assert!(error.contains("another opening of a device"), "{error}");
    });
}

/// Within an epoch its order and hyperparameters are in use.
#[test]
fn epochs_within_epochs() {
    on_device(|gpu| {
        let set = set(Supervise::Unsupervised, NoiseMode::Confetti);
        let mut network = Trained::PLAIN.network(&gpu.device);
        let source = || Box::new(DeviceSet::new(gpu.cuda(), &set, BATCH).unwrap());
        network.attach(source(), COUNT).unwrap();
        let order = set.order(0);
        let log = network.epoch(0, &order, &hypers(0), |network, _, _| {
            assert!(network.epoch(0, &order, &hypers(0), |_, _, _| Ok(true)).is_err());
            assert!(network.attach(source(), 1).is_err());
            Ok(true)
        });
        assert_eq!(log.unwrap().losses.len(), COUNT);
        // What runs after the last batch has hyperparameters too.
        let step = network.plan(BATCH).unwrap().update[0].clone();
        network.launch(&step).unwrap();
        gpu.cuda().synchronize().unwrap();
    });
}
