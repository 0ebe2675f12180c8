//! The convolution kernels: odd and tiny shapes, each kind of layer of the nets, random shapes.

use fcdd::device::{DType, HostBuffers, View};
use fcdd::engine::Step;
use fcdd::real::rounded_to_bf16;
use fcdd::run::verify::stepwise::{HYPER, TestedDevice};
use fcdd::steps::activation::Activation;
use fcdd::steps::conv::weights::WeightForm;
use fcdd::steps::conv::{Algorithm, ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad};
use fcdd::steps::norm::{Affine, Norm, Stats};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::numbers::{memory, noise};
use crate::support::{Gpu, on_device};

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// Bound of the rounding errors of a sum of products of either sign, in units of the roundoff times the sum of their magnitudes. Each error
/// is relative to a partial sum, most of which are far smaller than that, so a few roundings cover all.
const ROUNDINGS: f64 = 8.0;

fn geometry(n: usize, [h, w]: [usize; 2], c: usize, k: usize, [side, stride, pad]: [usize; 3]) -> ConvGeometry {
    ConvGeometry { n, h, w, c, k, side, stride, pad }
}

/// Compares all passes of a convolution on the device with the CPU in f64. `offset` elements lie before each operand.
fn passes(gpu: &Gpu, g: &ConvGeometry, bias: bool, offset: usize) {
    let (steps, memory) = steps(g, bias, offset);
    for step in steps {
        let what = format!("{} {g:?}, bias {bias}, offset {offset}", step.kind());
        gpu.agrees(&what, &step, &memory);
        each_element_agrees(gpu, &what, &step, &memory);
    }
}

/// fprop, dgrad and wgrad of one convolution, and memory with their inputs.
fn steps(g: &ConvGeometry, bias: bool, offset: usize) -> ([Step; 3], HostBuffers<f64>) {
    let lengths = [g.x_len(), g.w_len(), g.k, g.y_len(), g.w_len() + g.k];
    let buffers: [Vec<f64>; 5] = std::array::from_fn(|i| noise(i as u32, offset + lengths[i]));
    let [x, w, b, y, grads] = std::array::from_fn(|i| View { start: offset, ..View::of(i, lengths[i]) });
    let (dw, db) = (View { len: g.w_len(), ..grads }, View { start: offset + g.w_len(), len: g.k, ..grads });
    let steps = [
        Step::ConvFprop(Fprop {
            geometry: *g,
            x,
            w,
            b: bias.then_some(b),
            y,
            stats: None,
            epilogue: Epilogue::NONE,
            algorithm: Algorithm::Direct,
        }),
        Step::ConvDgrad(Dgrad { geometry: *g, dy: y, w, dx: x, algorithm: Algorithm::Direct }),
        Step::ConvWgrad(Wgrad { geometry: *g, x, dy: y, dw, db: bias.then_some(db), algorithm: Algorithm::Direct }),
    ];
    let workspace = steps.iter().map(Step::workspace).max().unwrap_or(0);
    let (memory, _) = memory(buffers.each_ref().map(Vec::as_slice), &[], workspace);
    (steps, memory)
}

/// |error| ≤ roundings · ε · Σ |a||b| for each element by itself, so that an error in a small element is found beside large ones.
fn each_element_agrees(gpu: &Gpu, what: &str, step: &Step, memory: &HostBuffers<f64>) {
    let mut tested = TestedDevice::for_step(&gpu.device, step, &memory.lengths()).unwrap();
    tested.run(step, memory, &HYPER).unwrap();
    let (mut exact, mut magnitudes) = (memory.clone(), memory.clone());
    for (_, view) in step.reads().reals {
        magnitudes.get_mut(view).iter_mut().for_each(|v| *v = v.abs());
    }
    step.cpu(&mut exact, &HYPER);
    step.cpu(&mut magnitudes, &HYPER);
    for (name, view) in step.writes().reals {
        let (ours, exact, magnitudes) = (tested.read(view).unwrap(), exact.get(view), magnitudes.get(view));
        for (i, ((&ours, exact), magnitude)) in ours.iter().zip(exact).zip(magnitudes).enumerate() {
            let (error, bound) = ((f64::from(ours) - exact).abs(), ROUNDINGS * ROUNDOFF * magnitude);
            assert!(error <= bound, "{what}: {name}[{i}] = {ours}, not {exact}: {error:e} > {bound:e}");
        }
    }
}

/// Extreme sides of kernels and images: one pixel, more padding than image, kernels larger than the image, strides that skip pixels.
#[test]
fn tiny_shapes() {
    on_device(|gpu| {
        for (image, window) in [
            ([1, 1], [1, 1, 0]),
            ([1, 1], [3, 1, 1]),
            ([2, 1], [5, 1, 2]),
            ([1, 3], [5, 2, 3]),
            ([3, 2], [1, 2, 1]),
            ([4, 5], [2, 3, 0]),
            ([3, 3], [1, 3, 2]),
        ] {
            for (c, k) in [(1, 1), (3, 2), (4, 8), (5, 9)] {
                passes(gpu, &geometry(1, image, c, k, window), true, 0);
            }
        }
    });
}

/// Channels around the tiles' sides, strides 1 to 3, padding 0 to 3, even kernels.
#[test]
fn odd_shapes() {
    on_device(|gpu| {
        for (i, (c, k)) in
            [(3, 17), (33, 5), (7, 65), (12, 24), (66, 31), (20, 68), (1, 129), (36, 2)].into_iter().enumerate()
        {
            let window = [[3, 2, 5, 1, 4][i % 5], 1 + i % 3, i % 4];
            let image = [5 + i, 11 - i];
            let n = if gpu.is_checked() { 1 } else { 3 };
            passes(gpu, &geometry(n, image, c, k, window), i % 2 == 0, 0);
        }
    });
}

/// Operands that are not aligned to 16 bytes are read element by element.
#[test]
fn unaligned_operands() {
    on_device(|gpu| {
        for offset in [1, 2, 4] {
            passes(gpu, &geometry(2, [6, 5], 8, 12, [3, 1, 1]), true, offset);
            passes(gpu, &geometry(2, [3, 5], 16, 1, [1, 1, 0]), true, offset);
        }
    });
}

/// Each kind of layer of the nets, with all its channels, but few images or smaller maps.
#[test]
fn layers_of_the_nets() {
    on_device(|gpu| {
        let shrink = |n: usize| if gpu.is_checked() { 1 } else { n };
        for (n, side, c, k, window) in [
            // First layers, one and three channels.
            (2, 28, 1, 8, [5, 1, 2]),
            (1, 28, 1, 128, [5, 1, 2]),
            (1, 32, 3, 32, [3, 1, 1]),
            (1, 56, 3, 8, [5, 1, 2]),
            (1, 20, 3, 64, [3, 1, 1]),
            (1, 17, 3, 32, [13, 1, 6]),
            // Middle layers.
            (2, 14, 8, 16, [5, 1, 2]),
            (1, 28, 8, 32, [5, 1, 2]),
            (1, 16, 32, 64, [3, 1, 1]),
            (1, 9, 64, 128, [3, 1, 1]),
            (1, 8, 64, 128, [5, 1, 2]),
            (1, 6, 128, 256, [3, 1, 1]),
            (1, 4, 256, 128, [3, 1, 1]),
            (1, 7, 256, 512, [1, 1, 0]),
            (1, 12, 32, 64, [3, 2, 1]),
            // Heads.
            (3, 7, 16, 1, [1, 1, 0]),
            (2, 8, 128, 1, [1, 1, 0]),
            (1, 28, 512, 1, [1, 1, 0]),
        ] {
            let g = geometry(shrink(n), [side, side], c, k, window);
            if !(gpu.is_checked() && g.flops() > 4_000_000) {
                passes(gpu, &g, k == 1 || k == 128, 0);
            }
        }
    });
}

/// Enough blocks that the largest tiles are chosen, and several parts of wgrad.
#[test]
fn large_grids() {
    on_device(|gpu| {
        if gpu.is_checked() {
            return;
        }
        passes(gpu, &geometry(2, [150, 170], 4, 65, [1, 1, 0]), true, 0);
        passes(gpu, &geometry(2, [150, 170], 65, 4, [1, 1, 0]), false, 0);
        passes(gpu, &geometry(3, [130, 131], 3, 2, [3, 1, 1]), true, 0);
        // The widest tiles, over several steps of depth, by single channels and by four. Slow, so only the passes that use these tiles.
        for narrow in [3, 4] {
            let wide = 64 + narrow;
            for (pass, c, k) in [(0, narrow, wide), (1, wide, narrow)] {
                let g = geometry(1, [226, 225], c, k, [3, 1, 1]);
                let (steps, memory) = steps(&g, true, 0);
                each_element_agrees(gpu, &format!("{} {g:?}", steps[pass].kind()), &steps[pass], &memory);
            }
        }
    });
}

#[test]
fn random_shapes() {
    on_device(|gpu| {
        let cases = if gpu.is_checked() { 10 } else { 60 };
        let sizes = (1..=3usize, 1..=12usize, 1..=12usize, 1..=70usize, 1..=70usize);
        let shapes = (sizes, 1..=5usize, 1..=3usize, 0..=3usize, any::<bool>()).prop_filter(
            "no output, or too much of it",
            |((n, h, w, c, k), side, stride, pad, _)| {
                h.min(w) + 2 * pad >= *side
                    && geometry(*n, [*h, *w], *c, *k, [*side, *stride, *pad]).flops() < 4_000_000
            },
        );
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&shapes, |((n, h, w, c, k), side, stride, pad, bias)| {
                passes(gpu, &geometry(n, [h, w], c, k, [side, stride, pad]), bias, 0);
                Ok(())
            })
            .unwrap();
    });
}

/// Statistics for a norm: every tile shape, filled and partly filled.
#[test]
fn statistics_of_the_outputs() {
    on_device(|gpu| {
        let shapes = [
            geometry(1, [1, 1], 1, 1, [1, 1, 0]),
            geometry(2, [9, 8], 1, 16, [5, 1, 2]),
            geometry(3, [13, 12], 4, 8, [3, 1, 1]),
            geometry(2, [19, 11], 8, 30, [3, 1, 1]),
            geometry(2, [10, 9], 3, 70, [3, 2, 1]),
            geometry(1, [170, 150], 2, 130, [1, 1, 0]),
        ];
        for (i, g) in shapes.into_iter().filter(|g| !(gpu.is_checked() && g.pixels() > 1000)).enumerate() {
            statistics(gpu, g, DType::F32, i % 2 == 0);
        }
    });
}

/// The epilogue: norms with and without γ and β, activations, biases, for every tile shape.
#[test]
fn epilogues_of_the_outputs() {
    on_device(|gpu| {
        let shapes = [
            geometry(1, [1, 1], 1, 1, [1, 1, 0]),
            geometry(2, [9, 8], 1, 16, [5, 1, 2]),
            geometry(3, [13, 12], 4, 7, [3, 1, 1]),
            geometry(2, [19, 11], 8, 30, [3, 1, 1]),
            geometry(2, [10, 9], 3, 70, [3, 2, 1]),
            geometry(1, [170, 150], 2, 130, [1, 1, 0]),
        ];
        for g in shapes.into_iter().filter(|g| !(gpu.is_checked() && g.pixels() > 1000)) {
            epilogues(gpu, g, DType::F32);
        }
    });
}

/// Tests the epilogues of a convolution with operands of a type.
pub fn epilogues(gpu: &Gpu, g: ConvGeometry, dtype: DType) {
    let (x, w) = operands(&g, dtype);
    let nothing = vec![0.0; g.y_len()];
    let fixed: Vec<f64> = noise(2, 4 * g.k).iter().map(|v| f64::from((0.25 + v.abs()) as f32)).collect();
    let buffers = [&x[..], &w, &nothing, &fixed, &noise(3, g.k)];
    let whole = |i: usize| View { dtype: if i < 3 { dtype } else { DType::F32 }, ..View::of(i, buffers[i].len()) };
    let [x, w, y, fixed, b] = std::array::from_fn(whole);
    let quarter = |i: usize| View { start: i * g.k, len: g.k, ..fixed };
    let norm = |affine: bool| Norm {
        mean: quarter(0),
        var: quarter(1),
        affine: affine.then(|| Affine { gamma: quarter(2), beta: quarter(3) }),
        eps: 1e-3,
    };
    let all = [
        (Some(norm(true)), Activation::LEAKY_RELU, true),
        (Some(norm(true)), Activation::IDENTITY, false),
        (Some(norm(false)), Activation::RELU, true),
        (None, Activation::LEAKY_RELU, true),
    ];
    // Geometries with many pixels are here for their tiles.
    for &(norm, activation, bias) in if g.pixels() > 1000 { &all[..1] } else { &all } {
        let epilogue = Epilogue { norm, activation };
        let fprop = Step::ConvFprop(Fprop {
            geometry: g,
            x,
            w,
            b: bias.then_some(b),
            y,
            stats: None,
            epilogue,
            algorithm: Algorithm::Direct,
        });
        let (memory, _) = memory(buffers, &[], fprop.workspace());
        gpu.agrees(&format!("{g:?}, {epilogue:?}, bias {bias}"), &fprop, &memory);
    }
}

/// Images with a mean far from zero, where sums of squares cancel, and weights as the convolution reads them.
fn operands(g: &ConvGeometry, dtype: DType) -> (Vec<f64>, Vec<f64>) {
    let rounded = |v: f64| if dtype == DType::Bf16 { rounded_to_bf16(v) } else { f64::from(v as f32) };
    let x = noise(0, g.x_len()).iter().map(|v| rounded(v + 4.0)).collect();
    let mut w = vec![0.0; if dtype == DType::Bf16 { WeightForm::Krsc.len(g) } else { g.w_len() }];
    let rows = w.len() / g.k;
    for row in w.chunks_exact_mut(rows) {
        row[..g.taps()].iter_mut().zip(noise(1, g.taps())).for_each(|(w, v)| *w = rounded(v));
    }
    (x, w)
}

/// Tests the statistics of a convolution with operands of a type; its bias only moves the running mean.
pub fn statistics(gpu: &Gpu, g: ConvGeometry, dtype: DType, bias: bool) {
    let (x, w) = operands(&g, dtype);
    let running: Vec<f64> = noise(2, 2 * g.k).iter().map(|v| v.abs()).collect();
    let nothing = vec![0.0; g.y_len().max(2 * g.k)];
    let buffers = [&x[..], &w, &nothing[..g.y_len()], &nothing[..2 * g.k], &running, &noise(3, g.k)];
    let whole = |i: usize| View { dtype: if i < 3 { dtype } else { DType::F32 }, ..View::of(i, buffers[i].len()) };
    let [x, w, y, batch, running, b] = std::array::from_fn(whole);
    let [mean, running_mean] = [batch, running].map(|view| View { len: g.k, ..view });
    let [var, running_var] = [batch, running].map(|view| View { start: g.k, len: g.k, ..view });
    let stats = Stats { x: y, c: g.k, bias: bias.then_some(b), mean, var, running_mean, running_var };
    let fprop = Step::ConvFprop(Fprop {
        geometry: g,
        x,
        w,
        b: None,
        y,
        stats: Some(stats),
        epilogue: Epilogue::NONE,
        algorithm: Algorithm::Direct,
    });
    let (memory, _) = memory(buffers, &[], fprop.workspace());
    gpu.agrees(&format!("{g:?}, bias {bias}"), &fprop, &memory);
}
