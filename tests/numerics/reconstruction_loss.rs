//! The autoencoders' objective: gradients by finite differences, and its values by hand.

use crate::support::{GRADIENT_BOUND, assert_gradient, memory, noise};
use fcdd::steps::operation::{Hyper, Operation};
use fcdd::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};

const N: usize = 3;

/// Reconstruction, map, losses and gradient by z.
fn evaluated(x: &[f64], z: &[f64], sigmoid: bool) -> [Vec<f64>; 4] {
    let (blank, image) = (vec![f64::NAN; z.len()], vec![f64::NAN; N]);
    let buffers = [x, z, &blank, &blank, &image, &image, &blank];
    let (mut memory, [x, z, y, map, score, loss, dz]) = memory::<f64, 7>(buffers, &[], 0);
    Reconstruction { sigmoid, x, z, y, map, score }.cpu(&mut memory, &Hyper::IDLE);
    ReconstructionLoss { sigmoid, x, y, score, loss, dz }.cpu(&mut memory, &Hyper::IDLE);
    [y, map, loss, dz].map(|view| memory.get(view).to_vec())
}

#[test]
fn gradients_by_finite_differences() {
    let (x, z) = (noise(0, N * 10), noise(1, N * 10));
    for sigmoid in [false, true] {
        let mean = |z: &[f64]| evaluated(&x, z, sigmoid)[2].iter().sum::<f64>() / N as f64;
        let [.., gradient] = evaluated(&x, &z, sigmoid);
        assert_gradient(mean, &z, &gradient, GRADIENT_BOUND, &format!("sigmoid {sigmoid}"));
    }
}

#[test]
fn values_by_hand() {
    let [y, map, loss, _] = evaluated(&[0.5, 0.0, 1.0], &[0.0; N], true);
    assert_eq!((y, map, loss), (vec![0.5; N], vec![0.0, 0.25, 0.25], vec![0.0, 0.25, 0.25]));
    // For large arguments the logistic function neither overflows nor leaves 0…1.
    assert_eq!(evaluated(&[0.0; N], &[-1e4, 1e4, 0.0], true)[0], [0.0, 1.0, 0.5]);
}
