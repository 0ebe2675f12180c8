//! Artificial anomalies on the GPU: tables of a mode, and the launches that fill a batch with noise.

use std::sync::Arc;

use super::{Bytes, Draw};
use crate::data::anomaly::Recipe;
use crate::data::anomaly::blobs::BlobSet;
use crate::device::cuda::{Buffer, Cuda, Launch, Result, kernels};

/// Threads per block, and values that each is meant to make.
const THREADS: u32 = 256;
const PER_THREAD: usize = 4;
/// Bytes of a rectangle in shared memory.
const BLOB: usize = 32;

/// A mode with its tables, and the noise of a batch, in device memory.
pub(super) struct Noise {
    cuda: Arc<Cuda>,
    side: usize,
    channels: usize,
    source: Source,
    blur: Option<Blur>,
    /// An image's values one after the other, of −511…511.
    values: Buffer<i16>,
}

/// What noise is made of before it is blurred.
enum Source {
    Gaussian,
    Uniform,
    Solid,
    Squares {
        tables: Buffer<u32>,
        sets: usize,
        most: usize,
    },
    Strips {
        halves: Buffer<f32>,
        strengths: Buffer<i32>,
    },
    /// With a count of 0, one was staged for each image of the batch.
    Outliers {
        images: Bytes,
        count: usize,
    },
}

struct Blur {
    weights: Buffer<i32>,
    /// A batch blurred along its rows.
    rows: Buffer<i32>,
}

impl Noise {
    /// For batches of up to `batch` images of `side × side`. `outliers` are those of the mode that has them.
    pub fn new(
        cuda: &Arc<Cuda>,
        recipe: &Recipe,
        outliers: (Bytes, usize),
        (side, channels): (usize, usize),
        batch: usize,
    ) -> Result<Noise> {
        let len = batch * side * side * channels;
        let blur = |weights: &[i32]| -> Result<_> {
            Ok(Some(Blur { weights: cuda.upload(weights)?, rows: cuda.alloc(len)? }))
        };
        let (source, blur) = match recipe {
            Recipe::Gaussian => (Source::Gaussian, None),
            Recipe::Uniform => (Source::Uniform, None),
            Recipe::Solid => (Source::Solid, None),
            Recipe::Squares(sets) => (Source::squares(cuda, sets)?, None),
            Recipe::Confetti(confetti) => (Source::squares(cuda, confetti.sets())?, blur(confetti.weights())?),
            Recipe::FineConfetti(confetti) => {
                let (halves, strengths) = confetti.tables();
                let source = Source::Strips { halves: cuda.upload(halves)?, strengths: cuda.upload(strengths)? };
                (source, blur(confetti.weights())?)
            }
            Recipe::Outliers => {
                let (images, count) = outliers;
                (Source::Outliers { images, count }, None)
            }
        };
        Ok(Noise { cuda: cuda.clone(), side, channels, source, blur, values: cuda.alloc(len)? })
    }

    /// Where [`Noise::enqueue`] leaves its values.
    pub fn values(&self) -> &Buffer<i16> {
        &self.values
    }

    /// Makes the noise of those images of a batch of `n` that become anomalies: one launch, three where it is blurred.
    pub fn enqueue(&self, n: usize, draw: Draw<'_>) -> Result<()> {
        let Draw { clock, order, stride, seed, supervise } = draw;
        let (side, channels) = (self.side as i32, self.channels as i32);
        let pixels = self.side * self.side;
        let len = pixels * self.channels;
        let values = self.values.pointer_mut();
        let launch = |items: usize, shared: usize| -> Launch<'_> {
            let parts = items.div_ceil(THREADS as usize * PER_THREAD).min(1 << 15);
            self.cuda.launch([n as u32, parts as u32, 1], THREADS, shared as u32)
        };
        match &self.source {
            Source::Gaussian => {
                let launch = launch(len, 0);
                kernels::noise::noise_gaussian(launch, clock, order, stride, seed, supervise, len as u32, values)?;
            }
            Source::Uniform => {
                let launch = launch(len, 0);
                kernels::noise::noise_uniform(launch, clock, order, stride, seed, supervise, len as u32, values)?;
            }
            Source::Solid => {
                let (launch, len, channels) = (launch(len, 0), len as u32, channels as u32);
                kernels::noise::noise_solid(launch, clock, order, stride, seed, supervise, len, channels, values)?;
            }
            Source::Outliers { images, count } => {
                let (launch, len, count) = (launch(len, 0), len as u32, *count as u32);
                let images = images.pointer();
                kernels::noise::noise_outliers(
                    launch, images, count, clock, order, stride, seed, supervise, len, values,
                )?;
            }
            Source::Squares { tables, sets, most } => {
                let (launch, tables, sets) = (launch(pixels, most * BLOB), tables.pointer(), *sets as i32);
                kernels::blobs::blobs_squares(
                    launch, tables, sets, clock, order, stride, seed, supervise, side, channels, values,
                )?;
            }
            Source::Strips { halves, strengths } => {
                let (launch, halves, strengths) = (launch(pixels, 0), halves.pointer(), strengths.pointer());
                kernels::blobs::blobs_strips(
                    launch, halves, strengths, clock, order, stride, seed, supervise, side, channels, values,
                )?;
            }
        }
        if let Some(Blur { weights, rows }) = &self.blur {
            let (weights, taps, rows) = (weights.pointer(), weights.len() as i32, rows.pointer_mut());
            kernels::confetti::confetti_blur_rows(
                launch(len, 0),
                values.read(),
                weights,
                taps,
                clock,
                order,
                stride,
                seed,
                supervise,
                side,
                channels,
                rows,
            )?;
            kernels::confetti::confetti_blur_columns(
                launch(len, 0),
                rows.read(),
                weights,
                taps,
                clock,
                order,
                stride,
                seed,
                supervise,
                side,
                channels,
                values,
            )?;
        }
        Ok(())
    }
}

impl Source {
    fn squares(cuda: &Arc<Cuda>, sets: &[BlobSet]) -> Result<Source> {
        let mut start = sets.len() * BlobSet::ROW;
        let mut tables = Vec::new();
        for set in sets {
            tables.extend(set.row(start));
            start += set.counts().len();
        }
        tables.extend(sets.iter().flat_map(BlobSet::counts));
        let most = sets.iter().map(BlobSet::most).sum();
        Ok(Source::Squares { tables: cuda.upload(&tables)?, sets: sets.len(), most })
    }
}
