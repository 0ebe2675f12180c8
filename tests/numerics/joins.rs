//! Sums, concatenations and average pools against their formulas, and their backward passes as adjoints.

use crate::support::{assert_close, assert_gradient, dot, memory, noise};
use fcdd::engine::Hyper;
use fcdd::steps::activation::Activation;
use fcdd::steps::add::{Add, AddBackward};
use fcdd::steps::average_pool;
use fcdd::steps::concat::{Concat, ConcatBackward, ConcatPart};
use fcdd::steps::operation::Operation;
use fcdd::steps::pool::PoolGeometry;

#[test]
fn sums_and_their_gradients() {
    // More than one task's values.
    let len = 20_000;
    let (left, right, d) = (noise(0, len), noise(1, len), noise(2, len));
    for activation in [Activation::IDENTITY, Activation::RELU, Activation::LEAKY_RELU] {
        let (mut memory, [a, b, y, dy, dx]) = memory::<f64, 5>([&left, &right, &d, &d, &d], &[], 0);
        Add { activation, a, b, y }.cpu(&mut memory, &Hyper::IDLE);
        AddBackward { activation, y, dy, dx }.cpu(&mut memory, &Hyper::IDLE);
        let act = |sum: f64| if sum > 0.0 { sum } else { activation.slope * sum };
        let expected: Vec<f64> = left.iter().zip(&right).map(|(a, b)| act(a + b)).collect();
        assert_eq!(memory.get(y), expected);
        let loss = |a: &[f64]| a.iter().zip(&right).zip(&d).map(|((a, b), d)| act(a + b) * d).sum();
        assert_gradient(loss, &left[..50], &memory.get(dx)[..50], 1e-8, "of a term");
    }
}

#[test]
fn concatenations_and_back() {
    let pixels = 7;
    for channels in [&[2, 3][..], &[1, 4, 2], &[3, 1, 1, 5]] {
        let width: usize = channels.iter().sum();
        let joined = noise(9, pixels * width);
        let parts: [Vec<f64>; 4] = std::array::from_fn(|i| noise(i as u32, pixels * channels.get(i).unwrap_or(&0)));
        let (mut memory, [a, b, c, d, y, dy]) =
            memory::<f64, 6>([&parts[0], &parts[1], &parts[2], &parts[3], &joined, &joined], &[], 0);
        let views =
            channels.iter().zip([a, b, c, d]).map(|(&channels, view)| ConcatPart { channels, view: Some(view) });
        Concat { parts: views.clone().collect(), y }.cpu(&mut memory, &Hyper::IDLE);
        let mut first = 0;
        for (part, &c) in parts.iter().zip(channels) {
            for (pixel, row) in memory.get(y).chunks_exact(width).enumerate() {
                assert_eq!(row[first..first + c], part[pixel * c..][..c]);
            }
            first += c;
        }
        // The first part's gradient is not wanted, and so not written.
        let wanted = views.enumerate().map(|(i, part)| ConcatPart { view: part.view.filter(|_| i > 0), ..part });
        ConcatBackward { parts: wanted.collect(), dy }.cpu(&mut memory, &Hyper::IDLE);
        assert_eq!(memory.get(a), parts[0]);
        let pixel: Vec<f64> = [b, c, d][..channels.len() - 1]
            .iter()
            .zip(&channels[1..])
            .flat_map(|(&view, &c)| memory.get(view)[3 * c..4 * c].to_vec())
            .collect();
        assert_eq!(joined[3 * width + channels[0]..4 * width], pixel);
    }
}

#[test]
fn average_pools_and_their_adjoints() {
    for (h, w, side, stride) in [(4, 4, 2, 2), (5, 7, 3, 1), (7, 5, 3, 2), (6, 6, 2, 3), (3, 3, 3, 1), (4, 5, 1, 2)] {
        let g = PoolGeometry { n: 2, h, w, c: 3, side, stride, pad: 0 };
        let (x, dy) = (noise(0, g.x_len()), noise(1, g.y_len()));
        let (mut y, mut dx) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
        average_pool::forward(&g, &x, &mut y);
        average_pool::backward(&g, &dy, &mut dx);
        let at = |n: usize, i: usize, j: usize, c: usize| x[((n * h + i) * w + j) * g.c + c];
        let mut expected = Vec::new();
        for n in 0..2 {
            for (p, q) in (0..g.oh()).flat_map(|p| (0..g.ow()).map(move |q| (p, q))) {
                for c in 0..3 {
                    let window = (0..side * side).map(|i| at(n, p * stride + i / side, q * stride + i % side, c));
                    expected.push(window.sum::<f64>() / (side * side) as f64);
                }
            }
        }
        // Sums of up to nine terms in f64.
        assert_close(&y, &expected, 1e-14, &format!("{g:?}"));
        let (forth, back) = (dot(&y, &dy), dot(&x, &dx));
        assert!((forth - back).abs() <= 1e-12 * forth.abs().max(1.0), "{g:?}: {forth} {back}");
    }
}
