//! What a net says of an image is a function of the net and the image alone, bit for bit: not of the images beside it, their number and
//! order, or the number of threads.

use fcdd::device::{DType, Device};
use fcdd::engine::Network;
use fcdd::engine::lower::PlanOptions;
use fcdd::model::{Weights, baselines};
use fcdd::rng::{Purpose, Stream};
use fcdd::steps::hsc_loss::Gradient;

/// Images that are scored, and the largest batch.
const COUNT: usize = 16;

/// Bits of an image's score and of its heatmap.
type Said = (u32, Vec<u32>);

/// What a net says of [`COUNT`] images of noise, the same whether each is alone, or in batches of several sizes and orders.
pub fn said_in_any_company(device: &Device, dtype: DType, net: &str, side: usize) -> Vec<Said> {
    let arch = baselines::any(net, true).unwrap();
    let options =
        PlanOptions { batch: COUNT, side, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: false, training: None };
    let mut network = Network::<f32>::on(device, &arch, options, &Weights::init(&arch, 3)).unwrap();
    let len = network.input(1).unwrap().len();
    let mut images = vec![0.0; COUNT * len];
    Stream::new(5, Purpose::Check, 0, 0).fill_normal(&mut images);
    let mut said = |order: &[usize], batch: usize| {
        let mut said: Vec<Option<Said>> = vec![None; COUNT];
        for some in order.chunks(batch) {
            let input = network.input(some.len()).unwrap();
            for (target, &i) in input.chunks_exact_mut(len).zip(some) {
                target.copy_from_slice(&images[i * len..][..len]);
            }
            let scores: Vec<u32> = network.infer(some.len()).unwrap().iter().map(|score| score.to_bits()).collect();
            let heatmaps = network.heatmaps(some.len()).unwrap().heatmaps;
            let heatmaps = heatmaps.chunks_exact(heatmaps.len() / some.len());
            for ((&i, score), heatmap) in some.iter().zip(scores).zip(heatmaps) {
                said[i] = Some((score, heatmap.iter().map(|value| value.to_bits()).collect()));
            }
        }
        said.into_iter().map(Option::unwrap).collect::<Vec<Said>>()
    };
    let in_order: Vec<usize> = (0..COUNT).collect();
    // 5 and 16 have no common factor: every image, in another order.
    let shuffled: Vec<usize> = (0..COUNT).map(|i| i * 5 % COUNT).collect();
    let alone = said(&in_order, 1);
    for (order, batch) in [(&in_order, 7), (&in_order, COUNT), (&shuffled, COUNT), (&shuffled, 3)] {
        let together = said(order, batch);
        for (i, (alone, together)) in alone.iter().zip(together).enumerate() {
            assert!(*alone == together, "{net} {dtype:?}: image {i} in batches of {batch}");
        }
    }
    alone
}

/// Nets of every kind, and sides that keep them small.
pub const NETS: [(&str, usize); 9] = [
    ("FCDD_CNN28", 28),
    ("FCDD_CNN28_W", 28),
    ("FCDD_CNN32_LW3K", 32),
    ("FCDD_CNN224", 64),
    ("FCDD_CNN224_VGG_NOPT", 64),
    ("FCDD_RESNET18_NOPT", 64),
    ("FCDD_VGG11_MS", 32),
    ("CNN28", 28),
    ("AE28", 28),
];
