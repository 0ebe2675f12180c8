//! Convolution: the fast forms against the formula, the adjoint identities, finite differences.

use crate::support::{
    GRADIENT_BOUND, assert_close, assert_gradient, assert_within, dot, f32_bound, largest, noise, of,
};
use fcdd::real::Real;
use fcdd::steps::conv::{Algorithm, ConvGeometry, cpu, reference};
use proptest::prelude::*;

/// For sums of at most some thousand products in f64: a few roundings of 1e-16 each.
const F64_BOUND: f64 = 1e-12;

/// Any shape that has an output: odd and even, a kernel larger than the input, padding larger than the kernel.
fn geometries() -> impl Strategy<Value = ConvGeometry> {
    let sizes = (1..=3usize, 1..=9usize, 1..=9usize, 1..=5usize, 1..=5usize);
    (sizes, prop::sample::select(vec![1usize, 2, 3, 5]), 1..=3usize, 0..=6usize)
        .prop_map(|((n, h, w, c, k), side, stride, pad)| ConvGeometry { n, h, w, c, k, side, stride, pad })
        .prop_filter("no output", |g| g.h.min(g.w) + 2 * g.pad >= g.side)
}

/// Whole registers of channels, tiles that images fill and do not fill.
fn shapes_of_winograd() -> impl Strategy<Value = ConvGeometry> {
    let channels = || prop::sample::select(vec![16usize, 32, 48, 80]);
    (1..=3usize, 1..=9usize, 1..=9usize, channels(), channels(), prop::sample::select(vec![3usize, 5]), 0..=2usize)
        .prop_map(|(n, h, w, c, k, side, pad)| ConvGeometry { n, h, w, c, k, side, stride: 1, pad })
        .prop_filter("no output", |g| g.h.min(g.w) + 2 * g.pad >= g.side)
}

/// The three passes: y, dx, dw, db.
struct Passes<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
    db: Vec<T>,
}

fn operands<T: Real>(g: &ConvGeometry) -> [Vec<T>; 4] {
    [noise(0, g.x_len()), noise(1, g.w_len()), noise(2, g.k), noise(3, g.y_len())].map(|v| of(&v))
}

/// Outputs start as NaN, so that a value that is not written is found.
fn blank<T: Real>(g: &ConvGeometry) -> Passes<T> {
    let [y, dx, dw, db] = [g.y_len(), g.x_len(), g.w_len(), g.k].map(|len| vec![T::nan(); len]);
    Passes { y, dx, dw, db }
}

fn plain<T: Real>(g: &ConvGeometry) -> Passes<T> {
    let ([x, w, b, dy], mut out) = (operands::<T>(g), blank(g));
    reference::fprop(g, &x, &w, Some(&b), &mut out.y);
    reference::dgrad(g, &dy, &w, &mut out.dx);
    reference::wgrad(g, &x, &dy, &mut out.dw);
    reference::bias_grad(g, &dy, &mut out.db);
    out
}

fn fast<T: Real>(g: &ConvGeometry, algorithm: Algorithm) -> Passes<T> {
    let ([x, w, b, dy], mut out) = (operands::<T>(g), blank(g));
    let scratch = |len: usize| vec![T::nan(); len];
    cpu::fprop(g, algorithm, [&x, &w], Some(&b), &mut out.y, &mut scratch(cpu::fprop_workspace(g, algorithm)));
    cpu::dgrad(g, algorithm, [&dy, &w], &mut out.dx, &mut scratch(cpu::dgrad_workspace(g, algorithm)));
    cpu::wgrad(g, algorithm, [&x, &dy], &mut out.dw, &mut scratch(cpu::wgrad_workspace(g, algorithm)));
    reference::bias_grad(g, &dy, &mut out.db);
    out
}

fn assert_forms_agree(g: &ConvGeometry, algorithm: Algorithm) {
    let (exact, f64s, f32s) = (plain::<f64>(g), fast::<f64>(g, algorithm), fast::<f32>(g, algorithm));
    // See `rounding_errors_of_winograd`.
    let growth = if algorithm == Algorithm::Winograd { 4.0 } else { 1.0 };
    for (what, exact, f64s, f32s, length) in [
        ("fprop", &exact.y, &f64s.y, &f32s.y, g.taps()),
        ("dgrad", &exact.dx, &f64s.dx, &f32s.dx, g.side * g.side * g.k),
        ("wgrad", &exact.dw, &f64s.dw, &f32s.dw, g.pixels()),
        ("bias", &exact.db, &f64s.db, &f32s.db, g.pixels()),
    ] {
        assert_close(f64s, exact, growth * F64_BOUND, &format!("{what} f64 {g:?}"));
        // Products of two standard normal numbers: a sum of them has this size, although a single one may cancel.
        let size = (length as f64).sqrt().max(largest(exact));
        assert_within(f32s, exact, growth * f32_bound(length) * size, &format!("{what} f32 {g:?}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_forms_equal_the_formula(g in geometries()) {
        assert_forms_agree(&g, Algorithm::Direct);
    }

    #[test]
    fn winograd_equals_the_formula(g in shapes_of_winograd()) {
        assert_forms_agree(&g, Algorithm::Winograd);
    }

    #[test]
    fn the_passes_are_adjoint(g in geometries()) {
        let [x, w, _, dy] = operands::<f64>(&g);
        let passes = fast::<f64>(&g, Algorithm::Direct);
        let mut y = vec![0.0; g.y_len()];
        reference::fprop(&g, &x, &w, None, &mut y);
        // ⟨conv(x, w), dy⟩ = ⟨x, dgrad(dy, w)⟩ = ⟨w, wgrad(x, dy)⟩, each a sum of f64 products of size 1.
        let scale = dot(&y, &y).sqrt() * dot(&dy, &dy).sqrt() + 1.0;
        prop_assert!((dot(&y, &dy) - dot(&x, &passes.dx)).abs() <= 1e-13 * scale);
        prop_assert!((dot(&y, &dy) - dot(&w, &passes.dw)).abs() <= 1e-13 * scale);
    }
}

/// Several tiles and parts, a tail that does not fill one, and the channel counts of the nets.
#[test]
fn shapes_beyond_a_tile() {
    for (n, side_of_image, c, k, side, pad) in
        [(3, 67, 3, 8, 5, 2), (2, 33, 64, 16, 3, 1), (5, 28, 16, 1, 1, 0), (1, 129, 1, 4, 3, 1), (2, 31, 7, 5, 2, 1)]
    {
        for stride in [1, 2] {
            let g = ConvGeometry { n, h: side_of_image, w: side_of_image, c, k, side, stride, pad };
            assert_forms_agree(&g, Algorithm::Direct);
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    for (side, stride, pad) in [(1, 1, 0), (2, 1, 0), (3, 1, 1), (3, 2, 2), (5, 1, 2)] {
        let g = ConvGeometry { n: 2, h: 5, w: 4, c: 2, k: 3, side, stride, pad };
        let g = ConvGeometry { h: g.h.max(side), w: g.w.max(side), ..g };
        let ([x, w, b, dy], passes) = (operands::<f64>(&g), fast::<f64>(&g, Algorithm::Direct));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut y = vec![0.0; g.y_len()];
            let mut workspace = vec![0.0; cpu::fprop_workspace(&g, Algorithm::Direct)];
            cpu::fprop(&g, Algorithm::Direct, [x, w], Some(b), &mut y, &mut workspace);
            dot(&y, &dy)
        };
        assert_gradient(|x| loss(x, &w, &b), &x, &passes.dx, GRADIENT_BOUND, "dx");
        assert_gradient(|w| loss(&x, w, &b), &w, &passes.dw, GRADIENT_BOUND, "dw");
        assert_gradient(|b| loss(&x, &w, b), &b, &passes.db, GRADIENT_BOUND, "db");
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for (k, algorithm) in [(24, Algorithm::Direct), (32, Algorithm::Winograd)] {
        let g = ConvGeometry { n: 3, h: 41, w: 37, c: 16, k, side: 3, stride: 1, pad: 1 };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fast::<f32>(&g, algorithm))
        };
        let one = on(1);
        for threads in [2, 3, 5] {
            let many = on(threads);
            let same = one.y == many.y && one.dx == many.dx && one.dw == many.dw;
            assert!(same, "{algorithm:?}, {threads} threads");
        }
    }
}

/// Memory laid out for one thread is enough for any number of threads.
#[test]
fn scratch_for_fewer_threads_is_enough() {
    use Algorithm::{Direct, Winograd};
    for (c, side, algorithm) in [(16, 3, Direct), (2, 3, Direct), (8, 1, Direct), (16, 3, Winograd)] {
        let g = ConvGeometry { n: 2, h: 33, w: 37, c, k: 16, side, stride: 1, pad: side / 2 };
        let [x, w, b, _] = operands::<f64>(&g);
        let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut scratch = vec![f64::NAN; pool(1).install(|| cpu::fprop_workspace(&g, algorithm))];
        let mut y = vec![f64::NAN; g.y_len()];
        pool(5).install(|| cpu::fprop(&g, algorithm, [&x, &w], Some(&b), &mut y, &mut scratch));
        assert_close(&y, &plain::<f64>(&g).y, 4.0 * F64_BOUND, &format!("{g:?}"));
    }
}

/// Root mean squares of the errors in f32, over those of all products, for layers of the nets: near 1.8 for 3×3 kernels and 1.3 for 5×5, of the
/// gradient of the weights near 3 and 7.
#[test]
fn rounding_errors_of_winograd() {
    for (c, k, side, size) in [(64, 128, 3, 24), (256, 64, 3, 12), (128, 128, 5, 14)] {
        let g = ConvGeometry { n: 1, h: size, w: size, c, k, side, stride: 1, pad: side / 2 };
        let exact = plain::<f64>(&g);
        let error = |algorithm: Algorithm| {
            let found = fast::<f32>(&g, algorithm);
            [(&found.y, &exact.y), (&found.dx, &exact.dx), (&found.dw, &exact.dw)].map(|(found, exact)| {
                let squares = found.iter().zip(exact).map(|(&found, exact)| (f64::from(found) - exact).powi(2));
                squares.sum::<f64>().sqrt()
            })
        };
        let (winograd, direct) = (error(Algorithm::Winograd), error(Algorithm::Direct));
        for (pass, (winograd, direct)) in winograd.into_iter().zip(direct).enumerate() {
            let ratio = winograd / direct;
            assert!(ratio < [2.5, 2.5, 9.0][pass], "{g:?} pass {pass}: {ratio}");
        }
    }
}
