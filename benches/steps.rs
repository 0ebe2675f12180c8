//! Every step of the training and inference plans of the paper's nets by itself: `cargo bench --bench steps [-- FILTER]`.
//!
//! Criterion's `elem/s` is FLOP/s for convolutions and values read and written per second for all other steps.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcdd::device::{Choice, Format, choose};
use fcdd::engine::lower::{Optimizer, Options, Training};
use fcdd::engine::{Hyper, Network, Step};
use fcdd::model::{Weights, nets};
use fcdd::rng::{Purpose, Stream};
use fcdd::steps::hsc_loss::Gradient;

fn steps(criterion: &mut Criterion) {
    let (device, _) = choose(Choice::Auto).unwrap();
    let hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: 0.1 };
    for (name, batch, maps) in [("CNN28_W", 128, false), ("CNN32_LW3K", 200, false), ("CNN224_VGG_F", 16, true)] {
        let arch = nets::by_name(name, true).unwrap();
        let training = Some(Training { optimizer: Optimizer::Sgd, maps, input_grad: false, seed: 0 });
        let options =
            Options { batch, side: arch.side, format: Format::F32, sigma: 1.2, gradient: Gradient::Grad, training };
        let mut network = Network::<f32>::on(&device, &arch, options, &Weights::init(&arch, 0)).unwrap();
        let (input, labels, _) = network.training_inputs(batch).unwrap();
        Stream::new(0, Purpose::Check, 0, 0).fill_normal(input);
        labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f32);
        network.train(batch, &hyper).unwrap();
        let plan = network.plan(batch).unwrap().clone();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (number, step) in plan.steps().enumerate() {
            group.throughput(Throughput::Elements(work(step)));
            group.bench_function(format!("{number} {}", step.kind()), |bencher| {
                bencher.iter(|| network.run_step(step, &hyper).unwrap());
            });
        }
        group.finish();
    }
}

/// FLOPs of a convolution; values read and written by any other step.
fn work(step: &Step) -> u64 {
    let values = || step.reads().reals.into_iter().chain(step.writes().reals).map(|(_, view)| view.len as u64).sum();
    if step.flops() > 0 { step.flops() } else { values() }
}

criterion_group!(benches, steps);
criterion_main!(benches);
