//! Whole trainings and inference with the features that are off by default, WGMMA and programmatic dependent launch (PDL), launch by launch
//! and as replayed graphs. PDL changes when kernels begin, not what they compute: the bits are the same. WGMMA adds in another order.

use fcdd::data::supervise::{NoiseMode, Supervise};
use fcdd::device::DType;
use fcdd::engine::Network;
use fcdd::engine::lower::{Optimizer, PlanOptions};
use fcdd::model::{Weights, nets};
use fcdd::rng::{Purpose, Stream};
use fcdd::steps::hsc_loss::Gradient;

use crate::epoch::{COUNT, State, Trained, by_graphs, one_by_one, set};
use crate::support::{Gpu, Switch, on_device};

const WGMMA: &[Switch] = &[Switch::Wgmma];
const PDL: &[Switch] = &[Switch::Pdl];
const BOTH: &[Switch] = &[Switch::Wgmma, Switch::Pdl];

/// FCDD_CNN28_W, whose second layer has enough channels for WGMMA; without a GPU, and if WGMMA is not tested, the smaller FCDD_CNN28.
fn net(gpu: &Gpu, on: &[Switch]) -> &'static str {
    let wide = gpu.mode.is_none() || on.contains(&Switch::Wgmma);
    if wide && !gpu.is_checked() { "FCDD_CNN28_W" } else { "FCDD_CNN28" }
}

/// Trains with some switches on; None on a device that lacks one. On a GPU for many epochs, since wrong overlaps of kernels may be rare.
fn training(gpu: &Gpu, net: &'static str, on: &[Switch], dtype: DType, graphs: bool) -> Option<State> {
    let set = set(Supervise::MalformedNormalGt, NoiseMode::Blob);
    let epochs = if gpu.mode.is_none() { 30 } else { 1 };
    let trained = Trained { net, dtype, optimizer: Optimizer::Sgd, maps: true, epochs };
    gpu.switched(
        on,
        || if graphs { by_graphs(&gpu.device, &set, trained, false) } else { one_by_one(gpu, &set, trained) },
    )
}

/// Scores, maps and heatmaps with some switches on; None on a device that lacks one.
fn inference(gpu: &Gpu, net: &str, on: &[Switch], dtype: DType) -> Option<[Vec<f32>; 3]> {
    let arch = nets::by_name(net, true).unwrap();
    let options =
        PlanOptions { batch: 3, side: 28, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: true, training: None };
    gpu.switched(on, || {
        let mut net = Network::<f32>::on(&gpu.device, &arch, options, &Weights::init(&arch, 3)).unwrap();
        Stream::new(5, Purpose::Check, 0, 9).fill_normal(net.input(3).unwrap());
        let scores = net.infer(3).unwrap().to_vec();
        let heatmaps = net.heatmaps(3).unwrap();
        [scores, heatmaps.maps.to_vec(), heatmaps.heatmaps.to_vec()]
    })
}

/// Asserts that results have the same bits with PDL (`with`) as without it (`without`).
fn same_bits(gpu: &Gpu, without: &[Switch], with: &[Switch], dtype: DType) {
    let net = net(gpu, with);
    for graphs in [false, true] {
        let (plain, ahead) = (training(gpu, net, without, dtype, graphs), training(gpu, net, with, dtype, graphs));
        assert!(ahead.is_none() || plain == ahead, "{dtype:?}, graphs {graphs}: the bits of a training differ");
    }
    let (plain, ahead) = (inference(gpu, net, without, dtype), inference(gpu, net, with, dtype));
    assert!(ahead.is_none() || plain == ahead, "{dtype:?}: the bits of inference differ");
}

#[test]
fn pdl_leaves_the_bits_of_f32() {
    on_device(|gpu| same_bits(gpu, &[], PDL, DType::F32));
}

#[test]
fn pdl_leaves_the_bits_of_bf16() {
    on_device(|gpu| same_bits(gpu, &[], PDL, DType::Bf16));
}

#[test]
fn pdl_leaves_the_bits_of_wgmma() {
    on_device(|gpu| same_bits(gpu, WGMMA, BOTH, DType::Bf16));
}

/// The mean loss of the first epoch with WGMMA is that without it, within 2 %: two trainings in bf16 in which some sums are rounded the other
/// way may differ by as much (`network::training_in_bf16_follows_the_cpus`), and by more later. Scores, maps and heatmaps of one pass are
/// closer: each of four layers rounds to bf16, by 2⁻⁹ of a value, and some values are rounded the other way.
#[test]
fn wgmma_follows_the_plain_kernels() {
    on_device(|gpu| {
        let net = net(gpu, WGMMA);
        let plain = training(gpu, net, &[], DType::Bf16, true).unwrap();
        let Some(ours) = training(gpu, net, WGMMA, DType::Bf16, true) else { return };
        let sum = |losses: &[f32]| losses[..COUNT].iter().map(|&loss| f64::from(loss)).sum::<f64>();
        let apart = (sum(&ours.2) / sum(&plain.2) - 1.0).abs();
        assert!(apart <= 0.02, "{apart:e}");
        let (plain, ours) = (inference(gpu, net, &[], DType::Bf16).unwrap(), inference(gpu, net, WGMMA, DType::Bf16));
        for (what, (a, b)) in ["scores", "maps", "heatmaps"].iter().zip(ours.iter().flatten().zip(&plain)) {
            let apart = crate::network::distance(a, b);
            assert!(apart <= 4.0 / 256.0, "{what}: {apart:e}");
        }
    });
}
