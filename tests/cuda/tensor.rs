//! The convolutions on the tensor cores, and the casts that make their operands: against the CPU in f64 on the same bf16 operands.

use cudarc::driver::DeviceRepr;
use fcdd::device::cuda::{Buffer, Pointer};
use fcdd::steps::cast;
use fcdd::steps::conv::tensor::{self, Output};
use fcdd::steps::conv::{Geometry, reference};
use half::bf16;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::numbers::noise;
use crate::support::{Gpu, gpu};

/// Half the distance between neighbours, relative to the number: of bf16, and of f32.
const ROUNDOFF_BF16: f64 = 1.0 / 256.0;
const ROUNDOFF_F32: f64 = 1.0 / 16_777_216.0;

/// What the tensor cores may be off by in sums of `length` products, relative to the sum of the products' magnitudes, of which no
/// partial sum is larger: each of the `length / 16` instructions adds to the sum once, and cuts off instead of rounding (2⁻²³);
/// eight more for what follows in f32, the bias and the sums of parts.
fn sum_bound(length: usize) -> f64 {
    2.0 * ROUNDOFF_F32 * (length as f64 / 16.0 + 8.0)
}

/// Runs a test where there are tensor cores that know bf16.
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
    fn new(g: &Geometry) -> Operands {
        let rounded = |i, len| noise(i, len).into_iter().map(|v| bf16::from_f64(v).to_f64()).collect();
        Operands { x: rounded(0, g.x_len()), w: rounded(1, g.w_len()), b: noise(2, g.k), dy: rounded(3, g.y_len()) }
    }

    fn magnitudes(&self) -> Operands {
        let of = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Operands { x: of(&self.x), w: of(&self.w), b: of(&self.b), dy: of(&self.dy) }
    }

    /// y, dx, dw and db.
    fn results(&self, g: &Geometry, bias: bool) -> [Vec<f64>; 4] {
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

fn bf16s(values: &[f64]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f64(v)).collect()
}

fn download<T: DeviceRepr + Copy>(buffer: &Buffer<T>, fill: T) -> Vec<T> {
    let mut values = vec![fill; buffer.len()];
    buffer.read(0, &mut values).unwrap();
    values
}

/// All passes of a convolution on the device, once, into poisoned memory: y and dx in bf16 and in f32, dw, db.
fn run(gpu: &Gpu, g: &Geometry, operands: &Operands, bias: bool) -> [Vec<f32>; 6] {
    let cuda = gpu.cuda();
    let (x, dy) = (cuda.upload(&bf16s(&operands.x)).unwrap(), cuda.upload(&bf16s(&operands.dy)).unwrap());
    let (master, b) = (cuda.upload(&f32s(&operands.w)).unwrap(), cuda.upload(&f32s(&operands.b)).unwrap());
    let poisoned = |len| cuda.upload(&vec![f32::NAN; len]).unwrap();
    let poisoned_bf16 = |len| cuda.upload(&vec![bf16::NAN; len]).unwrap();
    let (w, turned) = (poisoned_bf16(tensor::weights_len(g)), poisoned_bf16(tensor::turned_weights_len(g)));
    tensor::cast_weights(cuda, g, master.pointer(), w.pointer_mut()).unwrap();
    tensor::cast_turned_weights(cuda, g, master.pointer(), turned.pointer_mut()).unwrap();

    let (y, exact_y) = (poisoned_bf16(g.y_len()), poisoned(g.y_len()));
    let (dx, exact_dx) = (poisoned_bf16(g.x_len()), poisoned(g.x_len()));
    let bias_pointer = if bias { b.pointer() } else { Pointer::null() };
    for y in [Output::Bf16(y.pointer_mut()), Output::F32(exact_y.pointer_mut())] {
        tensor::fprop(cuda, g, x.pointer(), w.pointer(), bias_pointer, y).unwrap();
    }
    for dx in [Output::Bf16(dx.pointer_mut()), Output::F32(exact_dx.pointer_mut())] {
        tensor::dgrad(cuda, g, dy.pointer(), turned.pointer(), dx).unwrap();
    }
    let (dw, db) = (poisoned(g.w_len()), poisoned(g.k));
    let workspace = poisoned(tensor::wgrad_workspace(g, bias));
    let wanted = bias.then(|| db.pointer_mut());
    tensor::wgrad(cuda, g, x.pointer(), dy.pointer(), dw.pointer_mut(), wanted, workspace.pointer_mut()).unwrap();

    if let Err(error) = cuda.synchronize() {
        panic!("{g:?}: {error}; {}", fcdd_standin::last_report().unwrap_or_default());
    }
    let rounded = |buffer| download(buffer, bf16::ZERO).into_iter().map(bf16::to_f32).collect();
    let exact = |buffer| download(buffer, 0.0);
    [rounded(&y), exact(&exact_y), rounded(&dx), exact(&exact_dx), exact(&dw), exact(&db)]
}

/// Asserts that all passes give what the CPU gives in f64, each element within the bound of its own sum, and the same bits in every
/// order.
fn passes(gpu: &Gpu, g: &Geometry, bias: bool) {
    let operands = Operands::new(g);
    let [y, dx, dw, db] = operands.results(g, bias);
    let [y_size, dx_size, dw_size, db_size] = operands.magnitudes().results(g, bias);
    let [fprop, dgrad, wgrad] = [g.taps(), g.side * g.side * g.k, g.pixels()].map(sum_bound);
    let mut bits: Option<[Vec<u32>; 6]> = None;
    gpu.in_every_order(|order| {
        let ours = run(gpu, g, &operands, bias);
        let these = ours.each_ref().map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        if let Some(bits) = &bits {
            return assert!(*bits == these, "{g:?}: other bits {order}");
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
            if name == "db" && !bias {
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

fn geometry(n: usize, [h, w]: [usize; 2], c: usize, k: usize, [side, pad]: [usize; 2]) -> Geometry {
    Geometry { n, h, w, c, k, side, stride: 1, pad }
}

/// Sides of kernels and images that leave little, more padding than kernel, channels of one chunk and of single ones.
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

/// Each kind of layer of the nets: few images or a smaller map than the nets', all their channels.
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
            // Between.
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

/// As many blocks as make the largest tiles worth their while, and several parts of wgrad with sums of the bias.
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

/// The largest tile asks for more shared memory than every kernel may have; a capture is not disturbed by that.
#[test]
fn captured() {
    on_tensor_cores(|gpu| {
        let (cuda, g) = (gpu.cuda(), geometry(1, [184, 184], 8, 65, [1, 0]));
        let operands = Operands::new(&g);
        let (x, w) = (cuda.upload(&bf16s(&operands.x)).unwrap(), cuda.upload(&bf16s(&operands.w)).unwrap());
        let [direct, replayed] = [0, 1].map(|_| cuda.upload(&vec![bf16::NAN; g.y_len()]).unwrap());
        let fprop = |y: &Buffer<bf16>| {
            let y = Output::Bf16(y.pointer_mut());
            tensor::fprop(cuda, &g, x.pointer(), w.pointer(), Pointer::null(), y)
        };
        cuda.capture(|| fprop(&replayed)).unwrap().launch().unwrap();
        fprop(&direct).unwrap();
        let [direct, replayed] = [&direct, &replayed].map(|y| download(y, bf16::ZERO));
        assert!(direct.iter().all(|v| !v.is_nan()) && direct == replayed);
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

/// Every kind of f32 has the bits of the definition, at any length; ties, overflow, denormals, NaN.
#[test]
fn casts_round_to_nearest_even() {
    on_tensor_cores(|gpu| {
        let cuda = gpu.cuda();
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
        for len in [1, 7, 8, 9, 300, 2048, 5001] {
            let mut values = f32s(&noise(0, len));
            values.iter_mut().zip(special).for_each(|(v, special)| *v = special);
            let (x, y) = (cuda.upload(&values).unwrap(), cuda.upload(&vec![bf16::NAN; len]).unwrap());
            cast::values(cuda, x.pointer(), y.pointer_mut(), len).unwrap();
            let ours = download(&y, bf16::ZERO);
            assert!(
                values.iter().zip(&ours).all(|(v, ours)| bf16::from_f32(*v).to_bits() == ours.to_bits()),
                "{len} values"
            );
        }
        let (x, y) = (cuda.upload(&[f32::NAN]).unwrap(), cuda.upload(&[bf16::ZERO]).unwrap());
        cast::values(cuda, x.pointer(), y.pointer_mut(), 1).unwrap();
        assert!(download(&y, bf16::ZERO)[0].is_nan());
    });
}

/// Rows of weights, straight and turned around, with zeros behind their ends.
#[test]
fn cast_weights() {
    on_tensor_cores(|gpu| {
        let cuda = gpu.cuda();
        for (c, k, side) in [(8, 8, 3), (3, 40, 5), (1, 8, 5), (40, 72, 2), (70, 3, 3), (33, 1, 1)] {
            let g = geometry(1, [9, 9], c, k, [side, 0]);
            let values = f32s(&noise(0, g.w_len()));
            let x = cuda.upload(&values).unwrap();
            let [w, turned] = [tensor::weights_len(&g), tensor::turned_weights_len(&g)]
                .map(|len| cuda.upload(&vec![bf16::NAN; len]).unwrap());
            tensor::cast_weights(cuda, &g, x.pointer(), w.pointer_mut()).unwrap();
            tensor::cast_turned_weights(cuda, &g, x.pointer(), turned.pointer_mut()).unwrap();
            let (mut expected, mut expected_turned) = (vec![bf16::ZERO; w.len()], vec![bf16::ZERO; turned.len()]);
            let taps = side * side;
            for (i, &value) in values.iter().enumerate() {
                let (at_k, tap, at_c) = (i / c / taps, i / c % taps, i % c);
                expected[at_k * (w.len() / k) + tap * c + at_c] = bf16::from_f32(value);
                expected_turned[at_c * (turned.len() / c) + (taps - 1 - tap) * k + at_k] = bf16::from_f32(value);
            }
            assert_eq!(download(&w, bf16::NAN), expected, "{g:?}");
            assert_eq!(download(&turned, bf16::NAN), expected_turned, "{g:?}");
        }
    });
}
