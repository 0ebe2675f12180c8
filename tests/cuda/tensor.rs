//! Compares the convolutions on the tensor cores with the CPU in f64 on the same bf16 operands; and tests the casts that make the operands.

use fcdd::device::cuda::DeviceBuffers;
use fcdd::device::{DType, View};
use fcdd::engine::Step;
use fcdd::real::rounded_to_bf16;
use fcdd::run::verify::stepwise::HYPER;
use fcdd::steps::cast::{Cast, CastLayer, CastWeights};
use fcdd::steps::conv::weights::WeightForm;
use fcdd::steps::conv::{Algorithm, ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad, reference};
use half::bf16;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::conv::{epilogues, statistics};
use crate::numbers::{memory, noise};
use crate::support::{Gpu, Switch, gpu, on_device};

/// Unit roundoff of bf16, and of f32.
const ROUNDOFF_BF16: f64 = 1.0 / 256.0;
const ROUNDOFF_F32: f64 = 1.0 / 16_777_216.0;

/// Error bound of the tensor cores for sums of `length` products, relative to the sum of the products' magnitudes, which bounds every partial
/// sum. Eight products are added to the accumulator at once, and the result is truncated instead of rounded (2⁻²³); eight roundings more are
/// for the f32 arithmetic that follows, the bias and the sums of parts. Hopper adds sixteen products at once, but Ampere and Ada (compute
/// capability 8.x) split the sixteen of an instruction into two blocks of eight.
fn sum_bound(length: usize) -> f64 {
    2.0 * ROUNDOFF_F32 * (length as f64 / 8.0 + 8.0)
}

/// Runs a test if the device has tensor cores for bf16.
fn on_tensor_cores(test: impl FnOnce(&Gpu)) {
    if let Some(gpu) = gpu().filter(|gpu| gpu.cuda().describe().unwrap().compute_capability >= (8, 0)) {
        test(&gpu);
    }
}

/// Random operands of a convolution as the device has them, in f64.
struct Operands {
    x: Vec<f64>,
    w: Vec<f64>,
    b: Vec<f64>,
    dy: Vec<f64>,
}

impl Operands {
    fn new(g: &ConvGeometry) -> Operands {
        let rounded = |i, len| noise(i, len).into_iter().map(rounded_to_bf16).collect();
        Operands { x: rounded(0, g.x_len()), w: rounded(1, g.w_len()), b: noise(2, g.k), dy: rounded(3, g.y_len()) }
    }

    fn magnitudes(&self) -> Operands {
        let of = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Operands { x: of(&self.x), w: of(&self.w), b: of(&self.b), dy: of(&self.dy) }
    }

    /// y, dx, dw and db.
    fn results(&self, g: &ConvGeometry, bias: bool) -> [Vec<f64>; 4] {
        let mut results = [g.y_len(), g.x_len(), g.w_len(), g.k].map(|len| vec![0.0; len]);
        let [y, dx, dw, db] = &mut results;
        reference::fprop(g, &self.x, &self.w, bias.then_some(&self.b), y);
        reference::dgrad(g, &self.dy, &self.w, dx);
        reference::wgrad(g, &self.x, &self.dy, dw);
        reference::bias_grad(g, &self.dy, db);
        results
    }
}

fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Memory for all passes of a convolution, filled with operands and poisoned results, and its views.
struct Passes {
    memory: DeviceBuffers,
    steps: Vec<Step>,
    /// y and dx in bf16 and in f32, dw, db.
    results: [View; 6],
}

impl Passes {
    fn new(gpu: &Gpu, g: &ConvGeometry, operands: &Operands, bias: bool) -> Passes {
        let forms = [WeightForm::Krsc, WeightForm::Flipped];
        let [krsc, flipped] = forms.map(|form| form.len(g));
        let lengths = [
            (g.x_len(), DType::Bf16),
            (g.w_len(), DType::F32),
            (krsc + flipped, DType::Bf16),
            (g.k, DType::F32),
            (g.y_len(), DType::Bf16),
            (g.y_len(), DType::Bf16),
            (g.y_len(), DType::F32),
            (g.x_len(), DType::Bf16),
            (g.x_len(), DType::F32),
            (g.w_len() + g.k, DType::F32),
        ];
        let view = |i: usize| View { dtype: lengths[i].1, ..View::of(i, lengths[i].0) };
        let [x, params, casts, b, dy, y, exact_y, dx, exact_dx, grads] = std::array::from_fn(view);
        let [w, flipped] = [(0, krsc), (krsc, flipped)].map(|(start, len)| View { start, len, ..casts });
        let layers = forms.into_iter().zip([w, flipped]);
        let layers = layers.map(|(form, target)| CastLayer { form, geometry: *g, source: params, target }).collect();
        let cast = CastWeights { params, casts, layers };
        let (dw, db) = (View { len: g.w_len(), ..grads }, View { start: g.w_len(), len: g.k, ..grads });
        let wanted = |view| bias.then_some(view);
        let fprop = |y| {
            Step::ConvFprop(Fprop {
                geometry: *g,
                x,
                w,
                b: wanted(b),
                y,
                stats: None,
                epilogue: Epilogue::NONE,
                algorithm: Algorithm::Direct,
            })
        };
        let dgrad = |dx| Step::ConvDgrad(Dgrad { geometry: *g, dy, w: flipped, dx, algorithm: Algorithm::Direct });
        let table = cast.table();
        let steps = vec![
            Step::CastWeights(cast),
            fprop(y),
            fprop(exact_y),
            dgrad(dx),
            dgrad(exact_dx),
            Step::ConvWgrad(Wgrad { geometry: *g, x, dy, dw, db: wanted(db), algorithm: Algorithm::Direct }),
        ];
        let workspace = steps.iter().map(Step::cuda_workspace).max().unwrap_or(0);
        let mut memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[], workspace).unwrap();
        for (view, values) in [(x, &operands.x), (params, &operands.w), (b, &operands.b), (dy, &operands.dy)] {
            memory.write(view, &f32s(values)).unwrap();
        }
        for view in [casts, y, exact_y, dx, exact_dx, grads] {
            memory.write(view, &vec![f32::NAN; view.len]).unwrap();
        }
        memory.hold_table(table).unwrap();
        Passes { memory, steps, results: [y, exact_y, dx, exact_dx, dw, db] }
    }

    fn read(&self, view: View) -> Vec<f32> {
        let mut values = vec![0.0; view.len];
        self.memory.read(view, &mut values).unwrap();
        values
    }
}

/// All passes of a convolution on the device, once.
fn run(gpu: &Gpu, g: &ConvGeometry, operands: &Operands, bias: bool) -> [Vec<f32>; 6] {
    let passes = Passes::new(gpu, g, operands, bias);
    // Gradients of a stride are computed in f32 alone.
    let steps = if g.stride > 1 { &passes.steps[..3] } else { &passes.steps };
    for step in steps {
        step.cuda(&passes.memory).unwrap();
    }
    if let Err(error) = gpu.cuda().synchronize() {
        panic!("{g:?}: {error}; {}", fcdd_standin::last_report().unwrap_or_default());
    }
    passes.results.map(|view| passes.read(view))
}

/// Asserts that all passes give what the CPU gives in f64, each element within the bound of its own sum, and the same bits in every
/// order.
fn passes(gpu: &Gpu, g: &ConvGeometry, bias: bool) {
    let operands = Operands::new(g);
    let [y, dx, dw, db] = operands.results(g, bias);
    let [y_size, dx_size, dw_size, db_size] = operands.magnitudes().results(g, bias);
    let [fprop, dgrad, wgrad] = [g.taps(), g.side * g.side * g.k, g.pixels()].map(sum_bound);
    let mut bits: Option<[Vec<u32>; 6]> = None;
    gpu.in_every_order(|order| {
        let ours = run(gpu, g, &operands, bias);
        let these = ours.each_ref().map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        if let Some(bits) = &bits {
            return assert!(*bits == these, "{g:?}: the bits differ {order}");
        }
        bits = Some(these);
        let checks = [
            ("y", &y, &y_size, fprop, ROUNDOFF_BF16),
            ("y in f32", &y, &y_size, fprop, 0.0),
            ("dx", &dx, &dx_size, dgrad, ROUNDOFF_BF16),
            ("dx in f32", &dx, &dx_size, dgrad, 0.0),
            ("dw", &dw, &dw_size, wgrad, 0.0),
            ("db", &db, &db_size, wgrad, 0.0),
        ];
        for ((name, exact, sizes, relative, rounding), ours) in checks.into_iter().zip(&ours) {
            if name == "db" && !bias || g.stride > 1 && !name.starts_with('y') {
                continue;
            }
            for (i, ((&ours, exact), size)) in ours.iter().zip(exact).zip(sizes).enumerate() {
                let summing = relative * size;
                let bound = summing + rounding * (exact.abs() + summing);
                let error = (f64::from(ours) - exact).abs();
                assert!(error <= bound, "{g:?}, bias {bias}: {name}[{i}] = {ours}, not {exact}: {error:e} > {bound:e}");
            }
        }
    });
}

fn geometry(n: usize, [h, w]: [usize; 2], c: usize, k: usize, [side, pad]: [usize; 2]) -> ConvGeometry {
    ConvGeometry { n, h, w, c, k, side, stride: 1, pad }
}

/// Extreme sides of kernels and images, more padding than kernel, channels that fill one chunk and single channels.
#[test]
fn tiny_shapes() {
    on_tensor_cores(|gpu| {
        for (image, window) in
            [([1, 1], [1, 0]), ([1, 1], [3, 1]), ([2, 1], [5, 2]), ([3, 2], [1, 2]), ([4, 5], [2, 0]), ([1, 3], [4, 3])]
        {
            for (c, k) in [(8, 8), (1, 8), (8, 1), (3, 5), (16, 24)] {
                passes(gpu, &geometry(1, image, c, k, window), true);
            }
        }
    });
}

/// Channels around the tiles' sides, pixels that fill no tile.
#[test]
fn odd_shapes() {
    on_tensor_cores(|gpu| {
        for (i, (c, k)) in [(8, 17), (40, 8), (24, 72), (3, 33), (72, 30), (136, 16), (16, 136), (5, 66), (64, 3)]
            .into_iter()
            .enumerate()
        {
            let window = [[3, 2, 5, 1][i % 4], i % 3];
            let n = if gpu.is_checked() { 1 } else { 3 };
            passes(gpu, &geometry(n, [5 + i, 11 - i], c, k, window), i % 2 == 0);
        }
    });
}

/// Forward passes with strides, packed and not, with statistics and epilogues.
#[test]
fn strides() {
    on_tensor_cores(|gpu| {
        for (i, (c, k)) in [(3, 64), (8, 17), (64, 128), (5, 3), (16, 70)].into_iter().enumerate() {
            for (stride, window) in [(2, [7, 3]), (2, [3, 1]), (2, [1, 0]), (3, [2, 0]), (4, [3, 2])] {
                let g = ConvGeometry { stride, ..geometry(2, [9 + i, 12 - i], c, k, window) };
                if !(gpu.is_checked() && g.flops() > 2_000_000) {
                    passes(gpu, &g, i % 2 == 0);
                }
            }
            let g = ConvGeometry { stride: 2, ..geometry(2, [10, 9], c, k, [3, 1]) };
            statistics(gpu, g, DType::Bf16, true);
            epilogues(gpu, g, DType::Bf16);
        }
    });
}

/// Each kind of layer of the nets, with all its channels, but few images or smaller maps.
#[test]
fn layers_of_the_nets() {
    on_tensor_cores(|gpu| {
        for (side, c, k, window) in [
            // First layers.
            (28, 1, 8, [5, 2]),
            (14, 1, 128, [5, 2]),
            (16, 3, 32, [5, 2]),
            (12, 3, 128, [3, 1]),
            (10, 3, 64, [3, 1]),
            (9, 3, 32, [13, 6]),
            // Middle layers.
            (14, 8, 16, [5, 2]),
            (5, 128, 128, [5, 2]),
            (5, 128, 256, [3, 1]),
            (4, 256, 256, [3, 1]),
            (5, 256, 128, [3, 1]),
            (3, 512, 512, [3, 1]),
            // Heads.
            (7, 16, 1, [1, 0]),
            (6, 512, 1, [1, 0]),
        ] {
            let g = geometry(1, [side, side], c, k, window);
            if !(gpu.is_checked() && g.flops() > 8_000_000) {
                passes(gpu, &g, k == 1 || k == 128);
            }
        }
    });
}

/// Enough blocks that the largest tiles are chosen, and several parts of wgrad with sums of the bias.
#[test]
fn large_grids() {
    on_tensor_cores(|gpu| {
        if gpu.is_checked() {
            return passes(gpu, &geometry(1, [33, 34], 8, 8, [1, 0]), true);
        }
        passes(gpu, &geometry(1, [190, 180], 8, 66, [1, 0]), true);
        passes(gpu, &geometry(1, [185, 184], 66, 8, [1, 0]), false);
        passes(gpu, &geometry(2, [131, 130], 40, 16, [3, 1]), true);
        passes(gpu, &geometry(2, [45, 40], 3, 40, [3, 1]), true);
    });
}

/// The largest tile needs more shared memory than a kernel has by default; asking for it does not invalidate a capture.
#[test]
fn captured() {
    on_tensor_cores(|gpu| {
        let g = geometry(1, [184, 184], 8, 65, [1, 0]);
        let operands = Operands::new(&g);
        let [direct, replayed] = [0, 1].map(|_| Passes::new(gpu, &g, &operands, false));
        let fprop = |passes: &Passes| passes.steps[..2].iter().try_for_each(|step| step.cuda(&passes.memory));
        // SAFETY: the memory is there until it has been read.
        unsafe { gpu.cuda().capture(|| fprop(&replayed)).unwrap().launch() }.unwrap();
        fprop(&direct).unwrap();
        let [direct, replayed] = [&direct, &replayed].map(|passes| passes.read(passes.results[0]));
        assert!(direct.iter().all(|v| !v.is_nan()) && direct == replayed);
    });
}

/// WGMMA, within the same bounds: layers of the nets, images and channels that fill no tile, one step of the depth and many,
/// statistics, epilogues.
#[test]
fn wgmma_of_many_shapes() {
    on_device(|gpu| {
        gpu.switched(&[Switch::Wgmma], || {
            for (side, c, k, window) in [
                (5, 128, 128, [5, 2]),
                (5, 128, 256, [3, 1]),
                (4, 256, 256, [3, 1]),
                (3, 512, 512, [3, 1]),
                (7, 64, 72, [1, 0]),
                (6, 64, 136, [3, 2]),
                (9, 64, 200, [2, 0]),
                (3, 64, 128, [5, 1]),
                (12, 64, 65, [3, 1]),
                (24, 64, 72, [1, 0]),
            ] {
                let g = geometry(2, [side, side + 1], c, k, window);
                if !(gpu.is_checked() && g.flops() > 4_000_000) {
                    passes(gpu, &g, k % 16 == 0);
                }
            }
            statistics(gpu, geometry(2, [10, 9], 64, 70, [3, 1]), DType::Bf16, true);
            epilogues(gpu, geometry(2, [10, 9], 64, 70, [3, 1]), DType::Bf16);
        });
    });
}

#[test]
fn random_shapes() {
    on_tensor_cores(|gpu| {
        let cases = if gpu.is_checked() { 8 } else { 40 };
        let sizes = (1..=3usize, 1..=12usize, 1..=12usize, 1..=20usize, 1..=20usize);
        let shapes = (sizes, any::<[bool; 2]>(), 1..=5usize, 0..=5usize, any::<bool>())
            .prop_map(|((n, h, w, c, k), chunks, side, pad, bias)| {
                let channels = |whole: bool, c: usize| if whole { 8 * c.div_ceil(2) } else { c };
                (geometry(n, [h, w], channels(chunks[0], c), channels(chunks[1], k), [side, pad]), bias)
            })
            .prop_filter("no output, or too much of it", |(g, _)| {
                g.h.min(g.w) + 2 * g.pad >= g.side && g.flops() < 4_000_000
            });
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&shapes, |(g, bias)| {
                passes(gpu, &g, bias);
                Ok(())
            })
            .unwrap();
    });
}

/// Statistics for a norm, computed from the sums of a convolution before they are rounded: every tile shape, filled and partly filled.
#[test]
fn statistics_and_epilogues_of_the_outputs() {
    on_tensor_cores(|gpu| {
        let shapes = [
            geometry(1, [3, 2], 8, 8, [1, 0]),
            geometry(2, [9, 8], 1, 16, [5, 2]),
            geometry(2, [12, 11], 8, 40, [3, 1]),
            geometry(2, [10, 9], 3, 70, [3, 1]),
            geometry(1, [190, 180], 8, 66, [1, 0]),
            geometry(1, [185, 184], 16, 65, [1, 0]),
        ];
        for g in shapes.into_iter().filter(|g| !(gpu.is_checked() && g.pixels() > 500)) {
            statistics(gpu, g, DType::Bf16, false);
            epilogues(gpu, g, DType::Bf16);
        }
    });
}

/// Casts of all kinds of f32 (ties, overflow, denormals, NaN) have the bits of the definition, at any length.
#[test]
fn casts_round_to_nearest_even() {
    on_tensor_cores(|gpu| {
        let special = [
            0.0,
            -0.0,
            1.0 + 1.0 / 256.0,
            1.0 + 3.0 / 256.0,
            f32::MAX,
            f32::INFINITY,
            -f32::INFINITY,
            1e-40,
            f32::MIN_POSITIVE,
        ];
        let cast = |values: &[f32]| {
            let len = values.len();
            let lengths = [(len, DType::F32), (len, DType::Bf16)];
            let mut memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[], 0).unwrap();
            let (x, y) = (View::of(0, len), View::of(1, len).bf16());
            memory.write(x, values).unwrap();
            Step::Cast(Cast { x, y }).cuda(&memory).unwrap();
            let mut rounded = vec![0.0; len];
            memory.read(y, &mut rounded).unwrap();
            rounded
        };
        for len in [1, 7, 8, 9, 300, 2048, 5001] {
            let mut values = f32s(&noise(0, len));
            values.iter_mut().zip(special).for_each(|(v, special)| *v = special);
            let same = |(v, ours): (&f32, &f32)| bf16::from_f32(*v).to_f32().to_bits() == ours.to_bits();
            assert!(values.iter().zip(&cast(&values)).all(same), "{len} values");
        }
        assert!(cast(&[f32::NAN])[0].is_nan());
    });
}

/// The weights of several layers at once, KRSC and flipped, with zeros after the ends of rows.
#[test]
fn cast_weights() {
    on_tensor_cores(|gpu| {
        let shapes = [(8, 8, 3), (3, 40, 5), (1, 8, 5), (40, 72, 2), (70, 3, 3), (33, 1, 1)];
        let shapes = shapes.map(|(c, k, side)| geometry(1, [9, 9], c, k, [side, 0]));
        let (mut source, mut target, mut layers) = (3, 0, Vec::new());
        let (params, casts) = (View::of(0, 0), View::of(1, 0).bf16());
        for geometry in shapes {
            let place = View { start: source, len: geometry.w_len(), ..params };
            for form in [WeightForm::Krsc, WeightForm::Flipped] {
                let len = form.len(&geometry);
                layers.push(CastLayer { form, geometry, source: place, target: View { start: target, len, ..casts } });
                target += len;
            }
            source += geometry.w_len() + 1;
        }
        let values = noise(0, source);
        let (params, casts) = (View { len: source, ..params }, View { len: target, ..casts });
        let step = CastWeights { params, casts, layers };
        let (mut host, _) = memory([&values[..], &vec![f64::NAN; target]], &[], 0);
        let lengths = [(source, DType::F32), (target, DType::Bf16)];
        let mut there = DeviceBuffers::new(gpu.cuda(), &lengths, &[], 0).unwrap();
        there.write(params, &f32s(&values)).unwrap();
        there.write(casts, &vec![f32::NAN; target]).unwrap();
        there.hold_table(step.table()).unwrap();
        let step = Step::CastWeights(step);
        step.cuda(&there).unwrap();
        step.cpu(&mut host, &HYPER);
        let mut ours = vec![0.0; target];
        there.read(casts, &mut ours).unwrap();
        let expected = f32s(host.get(casts));
        let differ = (0..target).filter(|&i| ours[i] != expected[i]).collect::<Vec<_>>();
        assert!(differ.is_empty(), "{} of {target}, the first {:?}", differ.len(), differ.first());
        // Both forms give back the original weights.
        let Step::CastWeights(step) = &step else { return };
        for layer in &step.layers {
            let mut restored = vec![f64::NAN; layer.source.len];
            layer.form.restore(&layer.geometry, host.get(layer.target), &mut restored);
            let rounded = host.get(layer.source).iter().map(|&v| rounded_to_bf16(v));
            assert!(rounded.eq(restored), "{layer:?}");
        }
    });
}

/// Norm, activation and pool over bf16 maps, forward and backward, with channels in chunks and one by one.
#[test]
fn norm_act_pool_of_bf16() {
    on_tensor_cores(|gpu| crate::steps::norm_act_pools(gpu, DType::Bf16));
}

#[test]
fn heads_of_bf16() {
    on_tensor_cores(|gpu| crate::steps::heads(gpu, DType::Bf16));
}
