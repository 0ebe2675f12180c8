//! Sums, concatenations and average pools, of f32 and bf16, read value by value and 16 bytes at a time.

use fcdd::device::{DType, View};
use fcdd::engine::Step;
use fcdd::steps::activation::Activation;
use fcdd::steps::add::{Add, AddBackward};
use fcdd::steps::average_pool::{AveragePool, AveragePoolBackward};
use fcdd::steps::concat::{Concat, ConcatBackward, ConcatPart};
use fcdd::steps::pool::PoolGeometry;

use crate::numbers::{memory, noise};
use crate::support::{Gpu, on_device, round};

const DTYPES: [DType; 2] = [DType::F32, DType::Bf16];

/// A step agrees with the CPU and, its sums being the CPU's, has its bits in f32.
fn check(gpu: &Gpu, what: &str, dtype: DType, step: &Step, memory: &fcdd::device::HostBuffers<f64>) {
    gpu.agrees(what, step, memory);
    if dtype == DType::F32 {
        gpu.has_the_cpus_bits(what, step, memory);
    }
}

#[test]
fn sums() {
    on_device(|gpu| {
        for (len, dtype) in [1, 7, 8, 1000, 4096, 70_001].into_iter().flat_map(|len| DTYPES.map(|dtype| (len, dtype))) {
            let buffers = [&noise(0, len)[..], &noise(1, len), &noise(2, len), &noise(3, len)];
            let (mut memory, views) = memory(buffers, &[], 0);
            let [a, b, y, dx] = views.map(|view| View { dtype, ..view });
            round(&mut memory, &[a, b, y]);
            for activation in [Activation::IDENTITY, Activation::RELU, Activation::LEAKY_RELU] {
                let what = format!("{len} of {dtype:?}, {activation:?}");
                check(gpu, &what, dtype, &Step::Add(Add { activation, a, b, y }), &memory);
                check(gpu, &what, dtype, &Step::AddBackward(AddBackward { activation, y, dy: b, dx }), &memory);
            }
        }
    });
}

#[test]
fn concatenations() {
    on_device(|gpu| {
        for (pixels, channels) in [
            (1, &[1, 1][..]),
            (9, &[8, 16]),
            (300, &[3, 5, 2]),
            (50, &[4, 4, 8]),
            (33, &[8, 8, 16, 32]),
            (77, &[1, 2, 3, 4]),
        ] {
            for dtype in DTYPES {
                let width: usize = channels.iter().sum();
                let lengths: [usize; 4] = std::array::from_fn(|i| pixels * channels.get(i).unwrap_or(&0));
                let parts = lengths.map(|len| noise(len as u32, len));
                let joined = noise(9, pixels * width);
                let (mut memory, [a, b, c, d, y]) =
                    memory([&parts[0][..], &parts[1], &parts[2], &parts[3], &joined], &[], 0);
                let [a, b, c, d, y] = [a, b, c, d, y].map(|view| View { dtype, ..view });
                round(&mut memory, &[a, b, c, d, y]);
                let what = format!("{pixels} pixels of {channels:?}, {dtype:?}");
                for left_out in [None, Some(0), Some(1)] {
                    let part = |(i, (&channels, view)): (usize, (&usize, View))| ConcatPart {
                        channels,
                        view: Some(view).filter(|_| left_out != Some(i)),
                    };
                    let parts = channels.iter().zip([a, b, c, d]).enumerate().map(part);
                    let backward = ConcatBackward { parts: parts.clone().collect(), dy: y };
                    check(gpu, &what, dtype, &Step::ConcatBackward(backward), &memory);
                    if left_out.is_none() {
                        check(gpu, &what, dtype, &Step::Concat(Concat { parts: parts.collect(), y }), &memory);
                    }
                }
            }
        }
    });
}

#[test]
fn average_pools() {
    on_device(|gpu| {
        for (n, h, w, c) in [(1, 3, 3, 1), (2, 7, 5, 3), (3, 8, 8, 8), (1, 14, 9, 16)] {
            for (side, stride) in [(2, 2), (3, 1), (3, 2), (2, 3), (1, 1)] {
                for dtype in DTYPES {
                    let geometry = PoolGeometry { n, h, w, c, side, stride, pad: 0 };
                    let buffers = [&noise(0, geometry.x_len())[..], &noise(1, geometry.y_len())];
                    let (mut memory, [x, y]) = memory(buffers, &[], 0);
                    let [x, y] = [x, y].map(|view| View { dtype, ..view });
                    round(&mut memory, &[x, y]);
                    let what = format!("{geometry:?}, {dtype:?}");
                    check(gpu, &what, dtype, &Step::AveragePool(AveragePool { geometry, x, y }), &memory);
                    let backward = AveragePoolBackward { geometry, dy: y, dx: x };
                    check(gpu, &what, dtype, &Step::AveragePoolBackward(backward), &memory);
                }
            }
        }
    });
}
