//! Epochs as replayed graphs against the same steps launched one by one.

use std::sync::Arc;

use fcdd::data::batches::{Ingredients, TrainingSet};
use fcdd::data::cuda::DeviceSet;
use fcdd::data::dataset::DatasetKind;
use fcdd::data::images::Images;
use fcdd::data::pipeline::{PipelineKind, Preprocessing};
use fcdd::data::store::Store;
use fcdd::data::supervise::{NoiseMode, Supervise};
use fcdd::device::Device;
use fcdd::engine::lower::{Optimizer, Options, Training};
use fcdd::engine::{Hyper, Network};
use fcdd::model::{Weights, nets};
use fcdd::rng::{Purpose, Stream};

use crate::support::{Gpu, on_device};

/// Images of the set; the last batch of an epoch is a short one.
const COUNT: usize = 11;
const BATCH: usize = 4;

fn set() -> TrainingSet {
    let mut pixels = vec![0.0; COUNT * 784];
    Stream::new(2, Purpose::Check, 0, 0).fill_normal(&mut pixels);
    let pixels = pixels.iter().map(|v| (128.0 + 40.0 * v).clamp(0.0, 255.0) as u8).collect();
    let nominal = Store::from(Images { count: COUNT, height: 28, width: 28, channels: 1, pixels });
    TrainingSet::new(Ingredients {
        preprocessing: Preprocessing::new(PipelineKind::Lcnaug1, DatasetKind::Fmnist, 28, 28, 1, &nominal).unwrap(),
        nominal,
        others: None,
        outliers: None,
        supervise: Supervise::MalformedNormalGt,
        noise: NoiseMode::Blob,
        seed: 4,
    })
    .unwrap()
}

fn network(device: &Device, optimizer: Optimizer, maps: bool) -> Network<f32> {
    let arch = nets::by_name("FCDD_CNN28", true).unwrap();
    let training = Some(Training { optimizer, maps, input_grad: false });
    Network::on(device, &arch, Options { batch: BATCH, side: 28, sigma: 1.2, training }, &Weights::init(&arch, 3))
        .unwrap()
}

/// Each step with another learning rate, so that a wrong row of the table shows.
fn hypers(epoch: u32) -> Vec<Hyper> {
    let steps = COUNT.div_ceil(BATCH) as u64;
    let step = |i: u64| i + 1 + u64::from(epoch) * steps;
    (0..steps)
        .map(|i| Hyper { lr: 1e-3 * step(i) as f64, weight_decay: 1e-4, step: step(i), norm_momentum: 0.1 })
        .collect()
}

/// What training leaves: weights, the optimizer's state, every loss.
type State = (Weights, Vec<f32>, Vec<f32>);

fn one_by_one(gpu: &Gpu, set: &TrainingSet, optimizer: Optimizer, maps: bool) -> State {
    let mut network = network(&gpu.device, optimizer, maps);
    let mut losses = Vec::new();
    for epoch in 0..2 {
        for (samples, hyper) in set.order(epoch).chunks(BATCH).zip(hypers(epoch)) {
            let (input, labels, maps) = network.training_inputs(samples.len()).unwrap();
            set.fill(epoch, samples, input, labels, maps).unwrap();
            losses.extend_from_slice(network.train(samples.len(), &hyper).unwrap());
        }
    }
    (network.weights().unwrap(), network.moments().unwrap(), losses)
}

fn by_graphs(gpu: &Gpu, set: &TrainingSet, optimizer: Optimizer, maps: bool) -> State {
    let mut network = network(&gpu.device, optimizer, maps);
    let there = Arc::new(DeviceSet::new(gpu.cuda(), set, BATCH).unwrap());
    let feed = move |b: fcdd::engine::gpu::Batch<'_>| {
        there.enqueue(b.n, b.stride, b.clock, b.order, b.input, b.labels, b.maps)
    };
    network.attach(Box::new(feed), COUNT).unwrap();
    let mut losses = Vec::new();
    for epoch in 0..2 {
        let log = network.epoch(epoch, &set.order(epoch), &hypers(epoch), |_| true).unwrap();
        losses.extend(log.losses);
        let anomalous = |&sample: &u32| Stream::new(4, Purpose::Supervise, epoch, sample).bits(0) >> 31;
        assert!(
            log.labels.iter().map(|&l| l as u32).eq(set.order(epoch).iter().map(anomalous)),
            "labels of epoch {epoch}"
        );
    }
    (network.weights().unwrap(), network.moments().unwrap(), losses)
}

#[test]
fn graphs_leave_the_bits_of_single_steps() {
    on_device(|gpu| {
        let set = set();
        for (optimizer, maps) in [(Optimizer::Sgd, false), (Optimizer::Adam, true)] {
            let expected = one_by_one(gpu, &set, optimizer, maps);
            gpu.in_every_order(|order| {
                assert!(by_graphs(gpu, &set, optimizer, maps) == expected, "{optimizer:?}, maps {maps}, {order}");
            });
        }
    });
}

/// An epoch that is stopped ends after the step that was launched, with the log of its samples.
#[test]
fn a_stopped_epoch_has_a_short_log() {
    on_device(|gpu| {
        let set = set();
        let mut network = network(&gpu.device, Optimizer::Sgd, false);
        let there = DeviceSet::new(gpu.cuda(), &set, BATCH).unwrap();
        let feed = move |b: fcdd::engine::gpu::Batch<'_>| {
            there.enqueue(b.n, b.stride, b.clock, b.order, b.input, b.labels, b.maps)
        };
        network.attach(Box::new(feed), COUNT).unwrap();
        let log = network.epoch(0, &set.order(0), &hypers(0), |launched| launched < BATCH).unwrap();
        assert_eq!((log.losses.len(), log.labels.len()), (BATCH, BATCH));
        assert!(log.losses.iter().all(|loss| loss.is_finite() && *loss > 0.0));
        // The next epoch starts afresh.
        assert_eq!(network.epoch(0, &set.order(0), &hypers(0), |_| true).unwrap().losses.len(), COUNT);
    });
}
