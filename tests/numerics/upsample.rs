//! Receptive-field upsampling against the transposed convolution that defines it, and its adjoint.

use crate::support::{assert_close, dot, f32_bound, noise, of};
use fcdd::model::nets;
use fcdd::steps::upsample::{GaussianTaps, ReceptiveField, adjoint, gaussian_kernel, upsample};
use proptest::prelude::*;

/// Algorithm 1 as the paper states it: a two-dimensional transposed convolution, then a crop.
fn direct(field: ReceptiveField, side: usize, sigma: f64, a: &[f64]) -> Vec<f64> {
    let (u, r, j) = (field.n, field.size, field.jump);
    let g = gaussian_kernel(r, sigma);
    let even = usize::from(r % 2 == 0);
    let output_padding = side - (u - 1) * j - 1 - even;
    let wide = (u - 1) * j + r + output_padding;
    let mut full = vec![0.0; wide * wide];
    for (i, &value) in a.iter().enumerate() {
        let (row, column) = (i / u * j, i % u * j);
        for y in 0..r {
            for x in 0..r {
                full[(row + y) * wide + column + x] += value * g[y] * g[x];
            }
        }
    }
    let first = (r - 1) / 2 - field.shift.trunc() as usize;
    let rows = full.chunks_exact(wide).skip(first).take(side);
    rows.flat_map(|row| row[first..first + side].to_vec()).collect()
}

/// Upsamples one map.
fn ours(taps: &GaussianTaps, u: usize, a: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; taps.side() * taps.side()];
    upsample(taps, u, a, &mut out, &mut vec![f64::NAN; u * taps.side()]);
    out
}

#[test]
fn every_net_upsamples_as_the_transposed_convolution_does() {
    for name in nets::names() {
        let arch = nets::by_name(&name, true).unwrap();
        let field = arch.receptive_field(arch.side).unwrap();
        let a = noise(0, field.n * field.n);
        for sigma in [1.2, 8.0] {
            let taps = GaussianTaps::new(field, arch.side, sigma);
            // Products of two factors instead of one, sums of a few dozen terms.
            assert_close(&ours(&taps, field.n, &a), &direct(field, arch.side, sigma, &a), 1e-13, &name);
            let (mut out, mut workspace) = (vec![0.0f32; arch.side * arch.side], vec![0.0; field.n * arch.side]);
            upsample(&taps, field.n, &of::<f32>(&a), &mut out, &mut workspace);
            assert_close(&out, &direct(field, arch.side, sigma, &a), f32_bound(field.n * field.n), &name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any field, also where the nets of the paper have none, several maps at once.
    #[test]
    fn upsampling_and_its_adjoint(
        n in 1..=3usize, u in 1..=9usize, jump in 1..=8usize, size in 2..=40usize, half in 0..=7u32, extra in 0..=9usize
    ) {
        let field = ReceptiveField { n: u, jump, size, shift: f64::from(half) / 2.0 };
        let side = (u - 1) * jump + 1 + extra;
        let taps = GaussianTaps::new(field, side, 1.5);
        let (a, b) = (noise(0, n * u * u), noise(1, n * side * side));
        let (mut up, mut down) = (vec![f64::NAN; b.len()], vec![f64::NAN; a.len()]);
        let mut workspace = vec![f64::NAN; n * u * side];
        upsample(&taps, u, &a, &mut up, &mut workspace);
        adjoint(&taps, u, &b, &mut down, &mut workspace);
        // Sums of f64 products: rounding against the product of the norms.
        let scale = dot(&up, &up).sqrt() * dot(&b, &b).sqrt();
        prop_assert!((dot(&up, &b) - dot(&a, &down)).abs() <= 1e-13 * scale + 1e-300);
        for (a, up) in a.chunks_exact(u * u).zip(up.chunks_exact(side * side)) {
            prop_assert_eq!(ours(&taps, u, a), up);
        }
    }
}

/// A linear map's gradient: finite differences of ⟨upsample(a), b⟩ give the adjoint's values.
#[test]
fn gradient_by_finite_differences() {
    let field = nets::by_name("CNN28", true).unwrap().receptive_field(28).unwrap();
    let taps = GaussianTaps::new(field, 28, 1.2);
    let (a, b) = (noise(0, field.n * field.n), noise(1, 28 * 28));
    let mut da = vec![f64::NAN; a.len()];
    adjoint(&taps, field.n, &b, &mut da, &mut vec![0.0; field.n * 28]);
    let loss = |a: &[f64]| dot(&ours(&taps, field.n, a), &b);
    crate::support::assert_gradient(loss, &a, &da, crate::support::GRADIENT_BOUND, "da");
}
