//! Every step except convolutions, at odd, tiny and production-like shapes.

use fcdd::device::{ByteBufferId, ByteView, DType, HostBuffers, View};
use fcdd::engine::Step;
use fcdd::steps::activation::Activation;
use fcdd::steps::conv;
use fcdd::steps::fcdd_loss::{MapLoss, OUTSIDE, PseudoHuberBackward, UNMARKED};
use fcdd::steps::head::{Head, HeadBackward, LabelLoss};
use fcdd::steps::norm::{Affine, Norm};
use fcdd::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use fcdd::steps::optimizer::{Adam, Sgd};
use fcdd::steps::pool::PoolGeometry;
use fcdd::steps::upsample::{GaussianTaps, ReceptiveField, Upsample, UpsampleAdjoint};

use crate::numbers::{memory, noise};
use crate::support::{Gpu, on_device, round};

/// Images, sides and channels: tiny, odd, beyond a tile of 512 pixels, wider than 32 channels.
const MAPS: [(usize, usize, usize, usize); 7] =
    [(1, 1, 1, 1), (3, 5, 7, 3), (1, 2, 9, 8), (5, 11, 10, 33), (2, 24, 23, 12), (2, 28, 28, 8), (7, 14, 14, 64)];

/// Windows: none, the nets' own, overlapping with padding, gaps between windows, larger than the stride.
const WINDOWS: [(usize, usize, usize); 5] = [(1, 1, 0), (2, 2, 0), (3, 2, 1), (2, 3, 0), (3, 1, 1)];

/// Memory for norm, activation and pool: x, mean, var, γ, β, y, dx, dγβ.
fn norm_act_pool_memory(g: &PoolGeometry) -> (HostBuffers<f64>, [View; 8]) {
    let c = g.c;
    let variance: Vec<f64> = noise(2, c).iter().map(|v| f64::from((v * v + 0.1) as f32)).collect();
    let buffers = [
        &noise(0, g.x_len())[..],
        &noise(1, c),
        &variance,
        &noise(3, c),
        &noise(4, c),
        &noise(5, g.y_len()),
        &vec![0.0; g.x_len()],
        &vec![0.0; 2 * c],
    ];
    memory(buffers, &[g.y_len()], 4 * c * (g.n + 2))
}

#[test]
fn norm_act_pool_and_backward() {
    on_device(|gpu| norm_act_pools(gpu, DType::F32));
}

/// Over maps of f32 or bf16.
pub fn norm_act_pools(gpu: &Gpu, dtype: DType) {
    for (n, h, w, c) in MAPS {
        for (side, stride, pad) in WINDOWS {
            let pool = PoolGeometry { n, h, w, c, side, stride, pad };
            if h + 2 * pad < side || w + 2 * pad < side {
                continue;
            }
            // With a norm and γ, β; with a norm alone; without.
            for (norms, affine) in [(true, true), (true, false), (false, false)] {
                let (mut memory, [x, mean, var, gamma, beta, y, dx, daffine]) = norm_act_pool_memory(&pool);
                let [x, y, dx] = [x, y, dx].map(|view| View { dtype, ..view });
                round(&mut memory, &[x, y]);
                let affine = affine.then_some(Affine { gamma, beta });
                let norm = norms.then_some(Norm { mean, var, affine, eps: 1e-4 });
                let activation = if c % 2 == 0 { Activation::RELU } else { Activation::LEAKY_RELU };
                let argmax = ByteView { buffer: ByteBufferId(0), len: pool.y_len() };
                let what = format!("{pool:?}, norm {norms}, affine {}", affine.is_some());
                for argmax in [Some(argmax), None] {
                    let step = Step::NormActPool(NormActPool { pool, norm, activation, x, y, argmax });
                    gpu.agrees(&what, &step, &memory);
                    gpu.has_the_cpus_bits(&what, &step, &memory);
                    step.cpu(&mut memory, &fcdd::run::verify::stepwise::HYPER);
                }
                let daffine = affine
                    .map(|_| Affine { gamma: View { len: c, ..daffine }, beta: View { start: c, len: c, ..daffine } });
                let (dy, batch_statistics) = (y, true);
                let argmax = (pool.side > 1).then_some(argmax);
                let backward =
                    NormActPoolBackward { pool, norm, batch_statistics, activation, x, argmax, dy, dx, daffine };
                gpu.agrees(&what, &Step::NormActPoolBackward(backward), &memory);
                let fixed = NormActPoolBackward { batch_statistics: false, daffine: None, ..backward };
                gpu.agrees(&format!("{what}, fixed"), &Step::NormActPoolBackward(fixed), &memory);
            }
        }
    }
}

/// A head over maps of u² pixels: with labels, and without.
fn head(n: usize, u: usize, c: usize) -> conv::ConvGeometry {
    conv::ConvGeometry { n, h: u, w: u, c, k: 1, side: 1, stride: 1, pad: 0 }
}

#[test]
fn heads_and_backward() {
    on_device(|gpu| heads(gpu, DType::F32));
}

/// Over features of f32 or bf16: channels in vectors and one by one, fewer and more than a warp reads at once.
pub fn heads(gpu: &Gpu, dtype: DType) {
    let sizes = [(1, 1, 1), (2, 3, 3), (5, 7, 8), (3, 6, 33), (2, 9, 128), (3, 28, 16), (1, 5, 520), (130, 3, 8)];
    for (n, u, c) in sizes {
        let geometry = head(n, u, c);
        let pixels = geometry.pixels();
        for labels in [|i: usize| (i % 2) as f64, |_| 0.0, |_| 1.0] {
            let labels: Vec<f64> = (0..n).map(labels).collect();
            let (zeros, image) = (vec![0.0; pixels], vec![0.0; n]);
            let x = noise(0, geometry.x_len());
            let buffers = [
                &x[..],
                &noise(1, c),
                &noise(2, 1),
                &zeros,
                &zeros,
                &image,
                &labels,
                &image,
                &noise(3, pixels),
                &vec![0.0; geometry.x_len()],
                &vec![0.0; c + 1],
            ];
            let (mut memory, [x, w, b, z, a, score, labels, loss, dz, dx, grads]) =
                memory(buffers, &[], head_workspace(geometry));
            let [x, dx] = [x, dx].map(|view| View { dtype, ..view });
            round(&mut memory, &[x]);
            let what = format!("{n} maps of {u}² of {c}");
            for (b, labels) in [(Some(b), Some(LabelLoss { labels, loss, dz })), (None, None)] {
                gpu.agrees(&what, &Step::Head(Head { geometry, x, w, b, z, a, score, labels }), &memory);
            }
            let (dw, db) = (View { len: c, ..grads }, View { start: c, len: 1, ..grads });
            for (dx, db) in [(Some(dx), Some(db)), (None, None)] {
                gpu.agrees(&what, &Step::HeadBackward(HeadBackward { geometry, x, w, dz, dx, dw, db }), &memory);
            }
            gpu.agrees(&what, &Step::PseudoHuberBackward(PseudoHuberBackward { z, da: a, dz }), &memory);
        }
    }
}

/// Workspace of a head on the CPU, forward and backward.
fn head_workspace(geometry: conv::ConvGeometry) -> usize {
    let forward = conv::cpu::fprop_workspace(&geometry, conv::Algorithm::Direct);
    let backward = conv::cpu::dgrad_workspace(&geometry, conv::Algorithm::Direct);
    forward.max(backward).max(conv::cpu::wgrad_workspace(&geometry, conv::Algorithm::Direct))
}

/// Scores from nearly zero to far beyond where exp(−s) vanishes in f32.
#[test]
fn losses_of_small_and_large_scores() {
    on_device(|gpu| {
        let scores: Vec<f64> = (-40..8).map(|e| 2f64.powi(e)).collect();
        let n = scores.len();
        let labels: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i != 3))).collect();
        for i in 0..n {
            // One image at a time: relative to the largest loss of a batch, errors of the others would go unnoticed.
            let (score, label) = ([scores[3], scores[i]], [labels[3], labels[i]]);
            // (s + 1)² = z² + 1, for an image of one pixel and a head whose output is its input.
            let z = score.map(|s| f64::from((s * (s + 2.0)).sqrt() as f32));
            let buffers = [&z[..], &[1.0], &[0.0; 2], &[0.0; 2], &[0.0; 2], &label, &[0.0; 2], &[0.0; 2]];
            let geometry = head(2, 1, 1);
            let (memory, [x, w, z, a, score, labels, loss, dz]) = memory(buffers, &[], head_workspace(geometry));
            let labels = Some(LabelLoss { labels, loss, dz });
            let head = Head { geometry, x, w, b: None, z, a, score, labels };
            gpu.agrees(&format!("score {}", scores[i]), &Step::Head(head), &memory);
        }
    });
}

#[test]
fn map_loss() {
    on_device(|gpu| {
        for (n, side) in [(1, 1), (3, 5), (4, 28), (2, 65)] {
            let pixels = side * side;
            let a: Vec<f64> = noise(0, n * pixels).iter().map(|v| v.abs()).collect();
            // The first image has no anomaly, the second only anomalies, the others some.
            let maps: Vec<f64> = (0..n * pixels)
                .map(|i| f64::from(u8::from(i / pixels == 1 || (i / pixels > 1 && i % 3 == 0))))
                .collect();
            // And the same where those of the last image are not marked; many of its values are equal.
            let of_last = |values: &[f64], changed: fn(f64) -> f64| {
                let (first, last) = values.split_at((n - 1) * pixels);
                first.iter().copied().chain(last.iter().map(|&v| changed(v))).collect::<Vec<f64>>()
            };
            // Of the first image half lies outside.
            let bounded = |maps: &[f64]| {
                let outside = |(i, &g): (usize, &f64)| if i < pixels / 2 { f64::from(OUTSIDE) } else { g };
                maps.iter().enumerate().map(outside).collect::<Vec<f64>>()
            };
            let (unmarked, coarse) =
                (of_last(&maps, |_| f64::from(UNMARKED)), of_last(&a, |v| (4.0 * v).floor() / 4.0));
            for (a, maps, top) in [
                (&a, &maps, 1),
                (&a, &unmarked, 1),
                (&coarse, &unmarked, pixels.div_ceil(7)),
                (&a, &unmarked, pixels),
                (&a, &bounded(&maps), 1),
                (&coarse, &bounded(&unmarked), pixels),
            ] {
                let (memory, [a, maps, loss, da]) =
                    memory([&a[..], maps, &vec![0.0; n], &vec![0.0; n * pixels]], &[], 0);
                let step = Step::MapLoss(MapLoss { a, maps, top, loss, da });
                gpu.agrees(&format!("{n} maps of {side}², {top} highest"), &step, &memory);
            }
        }
    });
}

#[test]
fn upsample_and_adjoint() {
    on_device(|gpu| {
        let field = |n, jump, size, shift| ReceptiveField { n, jump, size, shift };
        for (n, field, side) in [
            (1, field(1, 1, 1, 0.0), 1),
            (3, field(3, 4, 6, 1.5), 12),
            (2, field(7, 4, 18, 1.5), 28),
            (5, field(5, 2, 31, -3.0), 11),
            (2, field(28, 8, 93, 0.5), 224),
        ] {
            let (u, taps) = (field.n, GaussianTaps::new(field, side, 2.0));
            let kernel: Vec<f64> = taps.kernel().iter().map(|&g| f64::from(g as f32)).collect();
            let buffers = [&noise(0, n * u * u)[..], &kernel, &noise(1, n * side * side)];
            let (memory, [a, kernel, out]) = memory(buffers, &[], n * u * side);
            let what = format!("{field:?} to {side}");
            gpu.agrees(&what, &Step::Upsample(Upsample { taps: taps.clone(), kernel, u, a, out }), &memory);
            let adjoint = UpsampleAdjoint { taps, kernel, u, dout: out, da: a };
            gpu.agrees(&what, &Step::UpsampleAdjoint(adjoint), &memory);
        }
    });
}

#[test]
fn optimizers() {
    on_device(|gpu| {
        for len in [1, 255, 256, 257, 10_007] {
            let positive: Vec<f64> = noise(3, len).iter().map(|v| v.abs()).collect();
            let moments = [&noise(2, len)[..], &positive].concat();
            let buffers = [&noise(0, len)[..], &noise(1, len), &moments];
            let (memory, [params, grads, moments]) = memory(buffers, &[], 0);
            let [m, v] = [0, len].map(|start| View { start, len, ..moments });
            let what = format!("{len} parameters");
            for step in [Step::Sgd(Sgd { params, grads, momentum: m }), Step::Adam(Adam { params, grads, m, v })] {
                gpu.agrees(&what, &step, &memory);
                gpu.has_the_cpus_bits(&what, &step, &memory);
            }
        }
    });
}

/// A step that writes a view in the middle of a buffer does not change what lies around it.
#[test]
fn neighbours_in_a_buffer_stay() {
    on_device(|gpu: &Gpu| {
        let lengths = [300, 100, 300];
        let part = |buffer: usize| View { start: 100, ..View::of(buffer, 100) };
        let grads = View::of(1, 100);
        let step = Step::Sgd(Sgd { params: part(0), grads, momentum: part(2) });
        let fcdd::device::Device::Cuda(cuda) = &gpu.device else { panic!("a GPU") };
        let lengths = lengths.map(|len| (len, DType::F32));
        let mut memory = fcdd::device::cuda::DeviceBuffers::new(cuda, &lengths, &[], 0).unwrap();
        let whole = View::of(0, 300);
        memory.write(whole, &[7.0; 300]).unwrap();
        memory.write(grads, &[1.0; 100]).unwrap();
        memory.begin(&[fcdd::run::verify::stepwise::HYPER.row()], 0).unwrap();
        step.cuda(&memory).unwrap();
        let mut after = [0.0; 300];
        memory.read(whole, &mut after).unwrap();
        assert!(
            after[..100].iter().chain(&after[200..]).all(|&v| v == 7.0) && after[100..200].iter().all(|&v| v < 7.0)
        );
    });
}
