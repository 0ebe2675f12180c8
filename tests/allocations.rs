//! Steps allocate nothing: memory is laid out once. Convolutions are left out, since the matrix product's crate packs its operands
//! in space of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use fcdd::device::DType;
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use fcdd::engine::{Hyper, Network};
use fcdd::model::{Weights, nets};
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;

/// Counts allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
    for (name, side) in [("CNN28", 28), ("CNN32_S", 32), ("CNN224", 64)] {
        for (optimizer, maps) in [(Optimizer::Sgd, false), (Optimizer::Adam, true)] {
            let arch = nets::by_name(name, true).unwrap();
            let training =
                Some(TrainingOptions { optimizer, maps, input_grad: false, seed: 0, label_score: ImageScore::Mean });
            let options = PlanOptions {
                batch: 8,
                side,
                dtype: DType::F32,
                sigma: 1.2,
                gradient: Gradient::Grad,
                exact: false,
                training,
            };
            let mut network = Network::<f32>::new(&arch, options, &Weights::init(&arch, 0)).unwrap();
            let hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: 0.1 };
            // The first step warms the thread pool up.
            network.train(8, &hyper).unwrap();
            let plan = network.plan(8).unwrap().clone();
            let steps = [&plan.forward, &plan.backward, &plan.update].into_iter().flatten();
            for step in steps.filter(|step| step.flops() == 0) {
                // A thread of the pool that wakes for the first time allocates something of its own, once; a step that allocates does
                // so each time.
                let mut allocated = || {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    step.cpu(network.memory(), &hyper);
                    ALLOCATIONS.load(Ordering::Relaxed) - before
                };
                let least = (0..4).map(|_| allocated()).min();
                assert_eq!(least, Some(0), "{name} {optimizer:?} {}", step.kind());
            }
        }
    }
}
