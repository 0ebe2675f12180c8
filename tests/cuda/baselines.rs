//! The steps that only the baselines' nets have, at odd, tiny and production-like shapes.

use fcdd::engine::Step;
use fcdd::steps::dropout::Dropout;
use fcdd::steps::hsc_loss::{Gradient, GradientHeatmap, HscLoss, HscScore, HscTraining};
use fcdd::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};
use fcdd::steps::reshape::Reshape;
use fcdd::steps::upsample_nearest::{UpsampleNearest2x, UpsampleNearest2xBackward, UpsampleNearestGeometry};

use crate::numbers::{memory, noise};
use crate::support::on_device;

#[test]
fn hsc_score_and_loss() {
    on_device(|gpu| {
        for (n, length) in [(1, 1), (3, 7), (8, 48), (130, 784), (2, 4096)] {
            for size in [1.0, 1e-3] {
                let o: Vec<f64> = noise(0, n * length).iter().map(|v| f64::from((size * v) as f32)).collect();
                let labels: Vec<f64> = (0..n).map(|i| (i % 2) as f64).collect();
                let score: Vec<f64> = noise(1, n).iter().map(|v| f64::from((size * v.abs()) as f32)).collect();
                let (memory, [o, score, labels, loss, d_o]) =
                    memory([&o[..], &score, &labels, &score, &vec![0.0; n * length]], &[], 0);
                let what = format!("{n} vectors of {length}, size {size}");
                gpu.agrees(&what, &Step::HscScore(HscScore { o, score }), &memory);
                for training in [Some(HscTraining { labels, loss }), None] {
                    gpu.agrees(&what, &Step::HscLoss(HscLoss { o, score, training, d_o }), &memory);
                }
            }
        }
    });
}

#[test]
fn gradient_heatmap() {
    on_device(|gpu| {
        for (pixels, c) in [(1, 1), (300, 3), (2 * 28 * 28, 1)] {
            let (memory, [x, dx, heatmap]) =
                memory([&noise(0, pixels * c)[..], &noise(1, pixels * c), &vec![0.0; pixels]], &[], 0);
            for gradient in [Gradient::Grad, Gradient::Xgrad] {
                let step = Step::GradientHeatmap(GradientHeatmap { gradient, x, dx, heatmap });
                gpu.agrees(&format!("{pixels} pixels of {c}, {gradient:?}"), &step, &memory);
                gpu.has_the_cpus_bits("heatmap", &step, &memory);
            }
        }
    });
}

#[test]
fn reconstruction_and_loss() {
    on_device(|gpu| {
        for (n, length) in [(1, 1), (3, 77), (5, 784), (2, 3 * 64 * 64)] {
            let blank = vec![0.0; n * length];
            let image: Vec<f64> = noise(2, n).iter().map(|v| v.abs()).collect();
            let buffers = [
                &noise(0, n * length)[..],
                &noise(1, n * length),
                &noise(3, n * length),
                &blank,
                &image,
                &image,
                &blank,
            ];
            let (memory, [x, z, y, map, score, loss, dz]) = memory(buffers, &[], 0);
            for sigmoid in [false, true] {
                let what = format!("{n} of {length}, sigmoid {sigmoid}");
                let scored = Reconstruction { sigmoid, x, z, y, map, score };
                gpu.agrees(&what, &Step::Reconstruction(scored), &memory);
                let loss = ReconstructionLoss { sigmoid, x, y, score, loss, dz };
                gpu.agrees(&what, &Step::ReconstructionLoss(loss), &memory);
            }
        }
    });
}

#[test]
fn reshape_upsample_nearest_and_dropout() {
    on_device(|gpu| {
        for (n, side, c) in [(1, 1, 1), (3, 4, 3), (2, 7, 16), (5, 11, 33)] {
            let geometry = UpsampleNearestGeometry { n, side, c };
            let (small, large) = (noise(0, geometry.small_len()), noise(1, geometry.large_len()));
            let (memory, [x, y, dy, dx]) = memory([&small[..], &large, &large, &small], &[], 0);
            for step in [
                Step::UpsampleNearest2x(UpsampleNearest2x { geometry, x, y }),
                Step::UpsampleNearest2xBackward(UpsampleNearest2xBackward { geometry, dy, dx }),
                Step::Reshape(Reshape { rows: c, columns: side * side, x, y: dx }),
                Step::Reshape(Reshape { rows: side * side, columns: c, x, y: dx }),
                Step::Dropout(Dropout { seed: 1 << 40 | 3, number: 0, x: dy, y: dy, n }),
                Step::Dropout(Dropout { seed: 1 << 40 | 3, number: 2, x: dy, y, n }),
            ] {
                let what = format!("{geometry:?}");
                gpu.agrees(&what, &step, &memory);
                gpu.has_the_cpus_bits(&format!("{} {what}", step.kind()), &step, &memory);
            }
        }
    });
}
