//! The FCDD objective: gradients by finite differences, its special cases, and outputs near zero.

use crate::support::{assert_close, assert_gradient, largest, memory, noise, of};
use fcdd::device::HostBuffers;
use fcdd::model::nets;
use fcdd::real::Real;
use fcdd::steps::conv::ConvGeometry;
use fcdd::steps::fcdd_loss::{
    MapLoss, OUTSIDE, PseudoHuberBackward, UNMARKED, anomalous_loss, pseudo_huber, pseudo_huber_slope,
};
use fcdd::steps::head::{Head, LabelLoss};
use fcdd::steps::operation::{Hyper, Operation};
use fcdd::steps::upsample::{GaussianTaps, Upsample, UpsampleAdjoint};

const N: usize = 4;
const U: usize = 7;

/// Room for a head.
const WORKSPACE: usize = 1 << 12;

/// A head with one input channel and weight 1, so that its z is its input.
fn passing(len: usize) -> ConvGeometry {
    ConvGeometry { n: len / (U * U), h: U, w: U, c: 1, k: 1, side: 1, stride: 1, pad: 0 }
}

/// Losses and gradient by z under labels.
fn by_labels<T: Real>(z: &[f64], labels: &[f64]) -> (Vec<T>, Vec<T>) {
    let (map, image) = (vec![f64::NAN; z.len()], vec![f64::NAN; labels.len()]);
    let buffers = [z, &[1.0], &map, labels, &map, &image, &image, &map];
    let (mut memory, [x, w, z, labels, a, score, loss, dz]) = memory::<T, 8>(buffers, &[], WORKSPACE);
    let labels = Some(LabelLoss { labels, loss, dz });
    Head { geometry: passing(x.len), x, w, b: None, z, a, score, labels }.cpu(&mut memory, &Hyper::IDLE);
    (memory.get(loss).to_vec(), memory.get(dz).to_vec())
}

/// Losses and gradient by z under maps of 28 × 28 pixels.
fn by_maps<T: Real>(z: &[f64], maps: &[f64]) -> (Vec<T>, Vec<T>) {
    let taps = GaussianTaps::new(nets::by_name("CNN28", true).unwrap().receptive_field(28).unwrap(), 28, 1.2);
    let n = z.len() / (U * U);
    let (low, high, image) = (vec![f64::NAN; z.len()], vec![f64::NAN; maps.len()], vec![f64::NAN; n]);
    let kernel = taps.kernel().to_vec();
    let buffers = [z, &[1.0], &low, maps, &low, &image, &high, &image, &high, &low, &low, &kernel];
    let (mut memory, [x, w, z, maps, a, score, heatmap, loss, d_heatmap, da, dz, kernel]) =
        memory::<T, 12>(buffers, &[], WORKSPACE.max(n * U * 28));
    let memory: &mut HostBuffers<T> = &mut memory;
    Head { geometry: passing(x.len), x, w, b: None, z, a, score, labels: None }.cpu(memory, &Hyper::IDLE);
    Upsample { taps: taps.clone(), kernel, u: U, a, out: heatmap }.cpu(memory, &Hyper::IDLE);
    MapLoss { a: heatmap, maps, top: 24, loss, da: d_heatmap }.cpu(memory, &Hyper::IDLE);
    UpsampleAdjoint { taps, kernel, u: U, dout: d_heatmap, da }.cpu(memory, &Hyper::IDLE);
    PseudoHuberBackward { z, da, dz }.cpu(memory, &Hyper::IDLE);
    (memory.get(loss).to_vec(), memory.get(dz).to_vec())
}

/// Ground-truth maps: nothing anomalous, everything, the lower half, a single pixel.
fn maps() -> Vec<f64> {
    let mut maps = vec![0.0; N * 28 * 28];
    maps[784..2 * 784].fill(1.0);
    maps[2 * 784 + 392..3 * 784].fill(1.0);
    maps[3 * 784 + 30] = 1.0;
    maps
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn gradients_by_finite_differences() {
    let z = noise(0, N * U * U);
    for labels in [[0.0, 1.0, 1.0, 0.0], [0.0; 4], [1.0; 4]] {
        let (_, dz) = by_labels::<f64>(&z, &labels);
        // Gradients are of size 1/200, so the rounding error of the loss is relatively larger.
        assert_gradient(|z| mean(&by_labels::<f64>(z, &labels).0), &z, &dz, 1e-7, "labels");
    }
    let maps = maps();
    let (_, dz) = by_maps::<f64>(&z, &maps);
    assert_gradient(|z| mean(&by_maps::<f64>(z, &maps).0), &z, &dz, 1e-7, "maps");
    // A place of which nothing is known is enough.
    let mut unmarked = maps;
    unmarked[784 + 5] = f64::from(UNMARKED);
    unmarked[3 * 784..].fill(f64::from(UNMARKED));
    unmarked[2 * 784 + 300..2 * 784 + 500].fill(f64::from(OUTSIDE));
    let (_, dz) = by_maps::<f64>(&z, &unmarked);
    assert_gradient(|z| mean(&by_maps::<f64>(z, &unmarked).0), &z, &dz, 1e-7, "labels in the place of maps");
}

/// The score of an image whose map is not known is the mean of its highest values; those that equal the least of these share what is left.
#[test]
fn an_unmarked_image_is_learned_from_by_its_highest_values() {
    let a = [1.0, 4.0, 2.0, 2.0, 2.0, 0.5];
    let of = |top: usize| {
        let buffers = [&a[..], &[f64::from(UNMARKED); 6], &[f64::NAN], &[f64::NAN; 6]];
        let (mut memory, [a, maps, loss, da]) = memory::<f64, 4>(buffers, &[], 0);
        MapLoss { a, maps, top, loss, da }.cpu(&mut memory, &Hyper::IDLE);
        (memory.get(loss)[0], memory.get(da).to_vec())
    };
    for (top, shares) in
        [(1, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]), (3, [0.0, 3.0, 2.0, 2.0, 2.0, 0.0].map(|v| v / 9.0)), (6, [1.0 / 6.0; 6])]
    {
        let score: f64 = a.iter().zip(shares).map(|(a, share)| a * share).sum();
        let (loss, slope) = anomalous_loss(score);
        let (found, da) = of(top);
        assert_close(&[found], &[loss], 1e-14, "loss");
        assert_close(&da, &shares.map(|share| share * slope), 1e-14, "gradient");
    }
    // What is outside of an image is as if it were not there.
    let [without, with] = [a[..4].to_vec(), a.to_vec()].map(|a| {
        let maps: Vec<f64> = [1.0, 0.0, 1.0, 0.0, f64::from(OUTSIDE), f64::from(OUTSIDE)][..a.len()].to_vec();
        let unmarked = maps.iter().map(|&g| if g < 0.0 { g } else { f64::from(UNMARKED) }).collect();
        [maps, unmarked].map(|maps| {
            let buffers = [&a[..], &maps, &[f64::NAN], &vec![f64::NAN; a.len()]];
            let (mut memory, [a, maps, loss, da]) = memory::<f64, 4>(buffers, &[], 0);
            MapLoss { a, maps, top: a.len / 2, loss, da }.cpu(&mut memory, &Hyper::IDLE);
            (memory.get(loss)[0], memory.get(da).to_vec())
        })
    });
    for (without, with) in without.into_iter().zip(with) {
        assert_close(&[with.0], &[without.0], 1e-14, "loss with pixels outside");
        assert_close(&with.1, &[without.1, vec![0.0; 2]].concat(), 1e-14, "gradient with pixels outside");
    }
    // Where the score is the mean of all values, the loss is that of a map that is one everywhere.
    let (mut memory, [a, maps, loss, da]) = memory::<f64, 4>([&a[..], &[1.0; 6], &[f64::NAN], &[f64::NAN; 6]], &[], 0);
    MapLoss { a, maps, top: 6, loss, da }.cpu(&mut memory, &Hyper::IDLE);
    assert_close(memory.get(loss), &[of(6).0], 1e-14, "loss of ones");
    assert_close(memory.get(da), &of(6).1, 1e-14, "gradient of ones");
}

#[test]
fn a_batch_of_one_label_trains_as_if_normal() {
    let z = noise(0, N * U * U);
    assert_eq!(by_labels::<f64>(&z, &[0.0; N]), by_labels::<f64>(&z, &[1.0; N]));
    let mixed = by_labels::<f64>(&z, &[0.0, 1.0, 0.0, 1.0]).0;
    let normal = by_labels::<f64>(&z, &[0.0; N]).0;
    assert_eq!((mixed[0], mixed[2]), (normal[0], normal[2]));
    assert!(mixed[1] != normal[1]);
    // −log(1 − exp(−s)) as it is written.
    assert!((mixed[1] + (1.0 - (-normal[1]).exp()).ln()).abs() < 1e-12);
}

/// In f32 the formulas of the paper lose all digits for outputs below 1e-4; the forms used here keep them.
#[test]
fn small_outputs_keep_their_digits_in_f32() {
    let labels = [0.0, 1.0, 0.0, 1.0];
    for size in [1.0, 1e-2, 1e-4, 1e-7] {
        let z: Vec<f64> = of(&of::<f32>(&noise(0, N * U * U).iter().map(|z| z * size).collect::<Vec<_>>()));
        let ((loss, dz), (exact, exact_dz)) = (by_labels::<f32>(&z, &labels), by_labels::<f64>(&z, &labels));
        // A dozen roundings of 6e-8: squares, root, sum of 49, exponential, logarithm.
        assert_close(&loss, &exact, 1e-6, "loss");
        assert_close(&dz, &exact_dz, 1e-6, "gradient");
        let ((loss, dz), (exact, exact_dz)) = (by_maps::<f32>(&z, &maps()), by_maps::<f64>(&z, &maps()));
        assert_close(&loss, &exact, 2e-6, "map loss");
        assert_close(&dz, &exact_dz, 4e-6, "map gradient");
    }
}

/// Losses of anomalous images with large scores s are as small as exp(−s), and have full relative precision.
#[test]
fn large_scores_keep_their_digits_in_f32() {
    for i in 0..=250 {
        let s = 5.0 + 0.1 * i as f32;
        let ((loss, slope), (exact, exact_slope)) = (anomalous_loss(s), anomalous_loss(f64::from(s)));
        // Roundings of the exponential, the logarithm and the quotient.
        assert_close(&[loss], &[exact], 1e-6, &format!("loss at {s}"));
        assert_close(&[slope], &[exact_slope], 1e-6, &format!("slope at {s}"));
        // −log(1 − x) = x + x²/2 + x³/3 + …
        let x = (-f64::from(s)).exp();
        assert_close(&[exact], &[x + x * x / 2.0 + x.powi(3) / 3.0 + x.powi(4) / 4.0], 1e-9, "series");
    }
    // Both forms meet at ln 2.
    let [below, above] = [-1e-6, 1e-6].map(|by| anomalous_loss(std::f32::consts::LN_2 + by).0);
    assert!((below - above - 2e-6).abs() < 2e-7, "{below} {above}");
}

#[test]
fn zero_outputs_have_finite_losses_and_no_gradient() {
    let z = vec![0.0; N * U * U];
    let (loss, dz) = by_labels::<f32>(&z, &[0.0, 1.0, 1.0, 0.0]);
    // −log(1e-31)
    assert_close(&loss, &[0.0, 71.380_138, 71.380_138, 0.0], 1e-6, "loss");
    assert_eq!(largest(&of::<f64>(&dz)), 0.0);
    let (loss, dz) = by_maps::<f32>(&z, &maps());
    assert!(loss.iter().all(|l| l.is_finite()) && dz.iter().all(|&d| d == 0.0));
}

#[test]
fn pieces_follow_their_formulas() {
    for i in -50..=50 {
        let z = f64::from(i) * 0.3;
        assert!((pseudo_huber(z) - ((z * z + 1.0).sqrt() - 1.0)).abs() < 1e-14);
        assert_gradient(|z| pseudo_huber(z[0]), &[z + 0.01], &[pseudo_huber_slope(z + 0.01)], 1e-8, "slope");
        let s = f64::from(i + 51) * 0.1;
        // From s = 0.1 on the formula of the paper is accurate to 1e-14. At s = 10 the slope is 4e-5, so an error of 2e-11 is relatively larger.
        assert!((anomalous_loss(s).0 + (1.0 - (-s).exp() + 1e-31).ln()).abs() < 1e-12);
        assert_gradient(|s| anomalous_loss(s[0]).0, &[s], &[anomalous_loss(s).1], 1e-6, "anomalous");
    }
}
