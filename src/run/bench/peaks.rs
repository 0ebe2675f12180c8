//! What the device reaches at best: the speeds that floors are reckoned with.

#![allow(unsafe_code)] // launches

use std::sync::Arc;
use std::time::Instant;

use half::bf16;
use rayon::prelude::*;
use serde::Serialize;

use crate::device::cuda::kernels::{CopyParameters, constants};
use crate::device::cuda::{self, Buffer, Cuda, DeviceBuffers, kernels};
use crate::device::matmul::{Matrix, matmul};
use crate::device::product::Runs;
use crate::device::product::bf16::{Pairs, packed_len};
use crate::device::{DType, Device, View};
use crate::error::Result;
use crate::named::Named;
use crate::rng::{Purpose, Stream};
use crate::steps::Step;
use crate::steps::conv::{Algorithm, ConvGeometry, Epilogue, Fprop};

/// Runs of each measurement; the fastest counts.
const RUNS: usize = 10;

/// Floats of each side of a copy, 256 MiB: more than any cache holds.
const COPIED: usize = 64 << 20;

const THREADS: u32 = constants::copy::THREADS as u32;

/// Measured speeds.
#[derive(Clone, Debug, Serialize)]
pub struct Peaks {
    /// Of a copy in memory; bytes read and bytes written both count.
    pub bytes_per_second: f64,
    /// Of a matrix product, a multiply-add counted as two operations.
    pub flops_per_second: f64,
    /// What was multiplied, and with what.
    pub product: String,
}

impl Peaks {
    /// Measures a device.
    ///
    /// # Errors
    /// Where a GPU has no memory for it: 129 MiB for the product, for the copy a quarter of what is free or at most 512 MiB.
    pub fn measure(device: &Device, dtype: DType) -> Result<Peaks> {
        match device {
            Device::Cpu => Ok(on_the_cpu(dtype)),
            Device::Cuda(cuda) => on_a_gpu(cuda, dtype),
        }
    }

    /// Least seconds for so many operations and bytes: the longer of computing and moving.
    pub fn floor(&self, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.flops_per_second).max(bytes as f64 / self.bytes_per_second)
    }
}

/// The least seconds of some runs, after one that warms up.
fn least(mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    run()?;
    (0..RUNS).try_fold(f64::INFINITY, |least, _| Ok(least.min(run()?)))
}

fn on_the_cpu(dtype: DType) -> Peaks {
    /// Side of the matrices; each thread multiplies a pair of its own.
    const SIDE: usize = 768;
    const PIECE: usize = 1 << 16;
    let threads = rayon::current_num_threads();
    let fastest = |run: &mut dyn FnMut()| {
        run();
        let seconds = (0..RUNS).map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64()
        });
        seconds.fold(f64::INFINITY, f64::min)
    };
    let (from, mut to) = (vec![1.0f32; COPIED], vec![0.0f32; COPIED]);
    let copy = fastest(&mut || {
        to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    drop((from, to));
    let (mut a, mut out) = (vec![0.0f32; SIDE * SIDE], vec![0.0f32; threads * SIDE * SIDE]);
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(&mut a);
    let factor = Matrix::row_major(&a, SIDE, SIDE);
    // Without instructions of bf16 its products are those of f32.
    let (product, by) = match Pairs::detect().filter(|_| dtype == DType::Bf16) {
        None => {
            let product = fastest(&mut || {
                out.par_chunks_exact_mut(SIDE * SIDE).for_each(|out| matmul(out, factor, factor, false));
            });
            (product, "f32, gemm,")
        }
        Some(pairs) => {
            let left: Vec<bf16> = a.iter().map(|&v| bf16::from_f32(v)).collect();
            let runs = Runs { count: 1, len: SIDE, apart: 0 };
            let mut packed = vec![0.0; packed_len(runs, SIDE)];
            pairs.pack(runs, SIDE, |_| 0.0, |row, column| a[row * SIDE + column], &mut packed);
            let product = fastest(&mut || {
                out.par_chunks_exact_mut(SIDE * SIDE)
                    .for_each(|out| pairs.multiply(&left, |row| row * SIDE, runs, &packed, out, SIDE));
            });
            (product, "bf16, ours,")
        }
    };
    Peaks {
        bytes_per_second: (2 * size_of::<f32>() * COPIED) as f64 / copy,
        flops_per_second: (threads * 2 * SIDE.pow(3)) as f64 / product,
        product: format!("{SIDE}×{SIDE}×{SIDE} {by} on each of {threads} threads"),
    }
}

fn on_a_gpu(cuda: &Arc<Cuda>, dtype: DType) -> Result<Peaks> {
    let copier = Copier::new(cuda)?;
    let copy = least(|| Ok(timed(cuda, || copier.run())?))?;
    let bytes_per_second = copier.bytes() as f64 / copy;
    drop(copier);
    let (geometry, product) = product(cuda, dtype)?;
    Ok(Peaks {
        bytes_per_second,
        flops_per_second: geometry.flops() as f64 / product,
        product: format!(
            "{}×{}×{} {}, our 3×3 convolution",
            geometry.pixels(),
            geometry.taps(),
            geometry.k,
            dtype.word()
        ),
    })
}

/// Channels into and out of the product that a GPU is measured with.
const CHANNELS: usize = 256;

/// A 3×3 convolution that keeps the GPU busy, and the seconds it takes: of more and more pixels, until it takes a millisecond. A byte of it
/// takes a thousand operations and more, so that nothing but computing bounds it.
fn product(cuda: &Arc<Cuda>, dtype: DType) -> Result<(ConvGeometry, f64)> {
    const LEAST: usize = 64;
    const MOST: usize = 65536;
    const WIDTH: usize = 16;
    let view = |number, len| View { dtype, ..View::of(number, len) };
    let whole = [MOST * CHANNELS, 9 * CHANNELS * CHANNELS, MOST * CHANNELS];
    let mut memory = DeviceBuffers::new(cuda, &whole.map(|len| (len, dtype)), &[], 0)?;
    let mut values = vec![0.0; whole[0]];
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(&mut values);
    memory.write(view(0, whole[0]), &values)?;
    memory.write(view(1, whole[1]), &values[..whole[1]])?;
    let mut pixels = LEAST;
    loop {
        let geometry =
            ConvGeometry { n: 1, h: pixels / WIDTH, w: WIDTH, c: CHANNELS, k: CHANNELS, side: 3, stride: 1, pad: 1 };
        let [x, w, y] = [(0, geometry.x_len()), (1, geometry.w_len()), (2, geometry.y_len())].map(|(i, n)| view(i, n));
        let step =
            Fprop { geometry, x, w, b: None, y, stats: None, epilogue: Epilogue::NONE, algorithm: Algorithm::Direct };
        let seconds = least(|| Ok(timed(cuda, || Step::from(step).cuda(&memory))?))?;
        if seconds >= 1e-3 || pixels == MOST {
            return Ok((geometry, seconds));
        }
        pixels *= 2;
    }
}

/// Seconds by the device's clock from the first launch of `work` to the end of its last.
fn timed(cuda: &Arc<Cuda>, work: impl FnOnce() -> cuda::Result<()>) -> cuda::Result<f64> {
    let start = cuda.mark()?;
    work()?;
    cuda.mark()?.seconds_since(&start)
}

/// Copies more than the caches of a GPU hold.
pub struct Copier {
    cuda: Arc<Cuda>,
    from: Buffer<f32>,
    to: Buffer<f32>,
}

impl Copier {
    /// Room for 256 MiB and their copy, or for an eighth of the free memory where that is less.
    ///
    /// # Errors
    /// Where even that cannot be had.
    pub fn new(cuda: &Arc<Cuda>) -> Result<Copier> {
        cuda.synchronize()?; // what was freed before counts as free from then on
        let fits = cuda.describe()?.free / 8 / size_of::<f32>();
        let len = COPIED.min(fits).next_multiple_of(4);
        Ok(Copier { cuda: cuda.clone(), from: cuda.zeros(len)?, to: cuda.zeros(len)? })
    }

    /// Launches the copy.
    pub fn run(&self) -> cuda::Result<()> {
        let quads = self.from.len() / 4;
        let parameters = CopyParameters { from: self.from.pointer(), to: self.to.pointer_mut(), quads: quads as i32 };
        // SAFETY: both buffers have so many quads.
        unsafe { kernels::copy::copy_quads(self.cuda.launch_per_item(quads, THREADS), &parameters) }
    }

    /// Bytes that a copy reads and writes.
    fn bytes(&self) -> usize {
        2 * size_of::<f32>() * self.from.len()
    }
}
