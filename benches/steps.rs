//! Every step of the training and inference plans of the paper's nets by itself, each kind and shape once:
//! `cargo bench --bench steps [-- FILTER]`, such as `-- 'conv_wgrad/cuda bf16'`.
//!
//! On a GPU timed with CUDA events and with cold caches: before each step an untimed copy evicts them. On the CPU the caches are as the
//! previous run left them. Criterion's `elem/s` is FLOP/s for convolutions, and values read and written per second for all other steps.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fcdd::device::Device;
use fcdd::engine::lower::{self, Optimizer, TrainingOptions, lower};
use fcdd::engine::{Hyper, Network, Step};
use fcdd::model::{Arch, Weights, nets};
use fcdd::named::Named;
use fcdd::rng::{Purpose, Stream};
use fcdd::run::bench::Copier;
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;

use support::{Clock, device, dtypes};

/// A net, laid out when the first of its steps is timed.
struct Net {
    arch: Arch,
    options: lower::PlanOptions,
    network: Option<Network<f32>>,
}

impl Net {
    /// The network, after one training step: every buffer holds realistic values.
    fn network(&mut self) -> &mut Network<f32> {
        let Net { arch, options, network } = self;
        network.get_or_insert_with(|| {
            let batch = options.batch;
            let mut network = Network::on(device(), arch, *options, &Weights::init(arch, 0)).unwrap();
            let (input, labels, _) = network.training_inputs(batch).unwrap();
            Stream::new(0, Purpose::Check, 0, 0).fill_normal(input);
            labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % 2) as f32);
            network.train(batch, &Hyper { lr: 1e-3, weight_decay: 1e-6, step: 1, norm_momentum: 0.1 }).unwrap();
            network
        })
    }
}

fn steps(criterion: &mut Criterion<Clock>) {
    let copier = match device() {
        Device::Cpu => None,
        Device::Cuda(cuda) => Some(Copier::new(cuda).unwrap()),
    };
    let flush = || copier.as_ref().map_or(Ok(()), Copier::run).unwrap();
    let large = if copier.is_some() { 128 } else { 16 };
    let mut nets = Vec::new();
    let mut by_kind: BTreeMap<&str, Vec<(usize, String, Step)>> = BTreeMap::new();
    let mut met = BTreeSet::new();
    for (name, batch, maps) in
        [("CNN28", 128, false), ("CNN28_W", 128, false), ("CNN32_LW3K", 200, false), ("CNN224_VGG_F", large, true)]
    {
        for &dtype in dtypes() {
            let arch = nets::by_name(name, true).unwrap();
            let training = Some(TrainingOptions {
                optimizer: Optimizer::Sgd,
                maps,
                input_grad: false,
                seed: 0,
                label_score: ImageScore::Mean,
            });
            let (side, gradient) = (arch.side, Gradient::Grad);
            let options = lower::PlanOptions { batch, side, dtype, sigma: 1.2, gradient, exact: false, training };
            let plan = lower(&arch, &options).unwrap();
            let phases = [
                ("train", [&plan.forward, &plan.backward, &plan.update]),
                ("infer", [&plan.infer, &plan.heatmaps, &plan.renew]),
            ];
            for (phase, step) in
                phases.iter().flat_map(|(phase, of)| of.iter().copied().flatten().map(move |s| (phase, s)))
            {
                let (dtype, shape) = (dtype.word(), step.shape());
                // A step that is the same in training and inference is timed once.
                let is_new = met.insert(format!("{dtype} {shape} {}", step.describe()));
                let id = format!("{} {dtype} {phase} {shape}", device().name());
                let steps = by_kind.entry(step.kind()).or_default();
                if is_new && steps.iter().all(|(_, other, _)| *other != id) {
                    steps.push((nets.len(), id, step.clone()));
                }
            }
            nets.push(Net { arch, options, network: None });
        }
    }
    for (kind, steps) in by_kind {
        let mut group = criterion.benchmark_group(kind);
        for (net, id, step) in steps {
            group.throughput(Throughput::Elements(work(&step)));
            group.bench_function(id, |bencher| {
                let network = nets[net].network();
                bencher.iter_batched(flush, |()| network.launch(&step).unwrap(), BatchSize::PerIteration);
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

criterion_group! { name = benches; config = support::criterion(); targets = steps }
criterion_main!(benches);
