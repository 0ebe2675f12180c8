//! Hypersphere classification: gradients by finite differences, labels that do not depend on each other, outputs near zero.

use crate::support::{GRADIENT_BOUND, assert_close, assert_gradient, memory, noise, of};
use fcdd::real::Real;
use fcdd::steps::fcdd_loss::anomalous_loss;
use fcdd::steps::hsc_loss::{Gradient, GradientHeatmap, HscLoss, HscScore, HscTraining};
use fcdd::steps::operation::{Hyper, Operation};

const N: usize = 4;
const LENGTH: usize = 7;

/// Scores, losses (none without labels) and gradients of the vectors.
fn evaluated<T: Real>(o: &[f64], labels: Option<&[f64]>) -> [Vec<T>; 3] {
    let image = vec![f64::NAN; N];
    let buffers = [o, labels.unwrap_or(&image), &image, &image, &vec![f64::NAN; o.len()]];
    let (mut memory, [o, label_view, score, loss, d_o]) = memory::<T, 5>(buffers, &[], 0);
    let training = labels.map(|_| HscTraining { labels: label_view, loss });
    HscScore { o, score }.cpu(&mut memory, &Hyper::IDLE);
    HscLoss { o, score, training, d_o }.cpu(&mut memory, &Hyper::IDLE);
    [score, loss, d_o].map(|view| memory.get(view).to_vec())
}

#[test]
fn gradients_by_finite_differences() {
    let o = noise(0, N * LENGTH);
    for labels in [[0.0, 1.0, 0.0, 1.0], [1.0; N], [0.0; N]] {
        let mean = |o: &[f64]| evaluated::<f64>(o, Some(&labels))[1].iter().sum::<f64>() / N as f64;
        let [_, _, gradient] = evaluated::<f64>(&o, Some(&labels));
        assert_gradient(mean, &o, &gradient, GRADIENT_BOUND, &format!("{labels:?}"));
    }
    // Without labels: each image's own score, not divided by their number.
    let sum = |o: &[f64]| evaluated::<f64>(o, None)[0].iter().sum::<f64>();
    assert_gradient(sum, &o, &evaluated::<f64>(&o, None)[2], GRADIENT_BOUND, "the score");
}

#[test]
fn a_batch_of_anomalies_alone_stays_anomalous() {
    let [scores, losses, _] = evaluated::<f64>(&noise(0, N * LENGTH), Some(&[1.0; N]));
    for (s, loss) in scores.into_iter().zip(losses) {
        assert_eq!(loss, anomalous_loss(s).0);
    }
}

#[test]
fn small_outputs_keep_their_digits_in_f32() {
    for size in [1.0, 1e-2, 1e-4, 1e-6] {
        let o: Vec<f64> = of(&of::<f32>(&noise(0, N * LENGTH).iter().map(|v| size * v).collect::<Vec<f64>>()));
        let labels = [0.0, 1.0, 0.0, 1.0];
        let (f32s, f64s) = (evaluated::<f32>(&o, Some(&labels)), evaluated::<f64>(&o, Some(&labels)));
        for (ours, exact) in f32s.iter().zip(&f64s) {
            // A handful of roundings of 6e-8 in sum, root, exponential and logarithm.
            assert_close(ours, exact, 1e-6, &format!("outputs of size {size}"));
        }
    }
}

#[test]
fn heatmaps_add_the_magnitudes_of_the_channels() {
    let (x, dx) = ([1.0, -2.0, 3.0, 0.5, 0.0, 4.0], [-1.0, 0.5, 2.0, 8.0, 7.0, -0.25]);
    let (mut memory, [x, dx, heatmap]) = memory::<f64, 3>([&x, &dx, &[f64::NAN; 2]], &[], 0);
    for (gradient, expected) in [(Gradient::Grad, [3.5, 15.25]), (Gradient::Xgrad, [8.0, 5.0])] {
        GradientHeatmap { gradient, x, dx, heatmap }.cpu(&mut memory, &Hyper::IDLE);
        assert_eq!(memory.get(heatmap), expected);
    }
}
