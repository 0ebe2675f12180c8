//! Confetti: dark and coloured squares of many sizes, rotated, then blurred; added to a sample it looks like dirt and damage.
//!
//! At 240 px (paper, appendix on MVTec-AD; authors' code): squares of side 8…54 with a random colour in [−256, 0), 1.8e-5 per
//! pixel, plus squares of −255 in every channel, 1.2e-5 per pixel; blurred with a 25 × 25 Gaussian of σ = 5, border reflected,
//! truncated to integers. One colour per square, as the paper says (the code draws it per size of square); squares are
//! clipped at the border.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::blobs::{Blob, BlobSet, Colour, GpuSquares, Look};
use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::kernels::{self, BlurParameters};
use crate::device::cuda::{Buffer, Cuda, Result};
use crate::rng::Stream;
use crate::steps::blur::{gaussian_weights, reflect};

/// The mode.
pub(crate) const CONFETTI: Mode = Mode {
    word: "confetti",
    explanation: "Blurred dark and coloured squares, rotated; for adding to a sample only",
    stands_alone: false,
    made_of: MadeOf::Numbers,
    prepare: |side, channels| Arc::new(ConfettiNoise { confetti: Confetti::new(side), channels }),
    checksums: &[("malformed-normal", 0xa4ae_26bc), ("malformed-normal-gt", 0x8732_b594)],
};

/// The side that the figures above are for.
const REFERENCE: usize = 240;
/// Half of the blur's kernel there, without the centre, and its standard deviation.
const RADIUS: f64 = 12.0;
const SIGMA: f64 = 5.0;
/// Weights of the blur are multiples of 2⁻¹⁶ that sum to exactly one: a constant area keeps its value.
const ONE: i32 = 1 << 16;

/// The tables of confetti for images of one side.
#[derive(Clone, Debug)]
pub(crate) struct Confetti {
    side: usize,
    sets: [BlobSet; 2],
    /// An odd number of weights, in units of 1 / [`ONE`].
    weights: Vec<i32>,
}

/// Memory of the blur that a thread reuses.
#[derive(Default)]
pub(crate) struct BlurScratch {
    padded: Vec<i32>,
    rows: Vec<i32>,
    sums: Vec<i64>,
}

impl Confetti {
    /// Confetti for images of `side × side` pixels; lengths scale by side / 240.
    pub(crate) fn new(side: usize) -> Confetti {
        let set = |number, rate, colour| {
            let look = Look { smallest: 8.0, largest: 54.0, rotated: true, colour };
            BlobSet::new(number, rate, look, side, REFERENCE)
        };
        let scale = side as f64 / REFERENCE as f64;
        let taps = 2 * (RADIUS * scale).round() as usize + 1;
        Confetti {
            side,
            sets: [set(0, 1.8e-5, Colour::Dark), set(1, 1.2e-5, Colour::Constant(-255))],
            weights: integer_weights(taps, SIGMA * scale),
        }
    }

    /// Fills `noise` with `side² · channels` values in −511…0.
    pub(crate) fn fill(
        &self,
        stream: Stream,
        channels: usize,
        blobs: &mut Vec<Blob>,
        blur_scratch: &mut BlurScratch,
        noise: &mut [i16],
    ) {
        noise.fill(0);
        for set in &self.sets {
            set.add(stream, self.side, channels, blobs, noise);
        }
        blur(noise, self.side, channels, &self.weights, blur_scratch);
    }
}

/// Confetti for images of so many channels.
#[derive(Debug)]
struct ConfettiNoise {
    confetti: Confetti,
    channels: usize,
}

/// Squares in device memory, and their blur.
struct GpuConfetti {
    squares: GpuSquares,
    blur: GpuBlur,
}

/// The weights of a blur in device memory.
pub(super) struct GpuBlur {
    weights: Buffer<i32>,
    /// A batch blurred along its rows.
    rows: Buffer<i32>,
}

impl Noise for ConfettiNoise {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]) {
        self.confetti.fill(stream, self.channels, &mut scratch.blobs, &mut scratch.blur, noise);
    }

    fn on_gpu(&self, cuda: &Arc<Cuda>, batch: usize) -> Result<Box<dyn GpuNoise>> {
        let Confetti { side, sets, weights } = &self.confetti;
        let blur = GpuBlur::new(cuda, weights, batch * side * side * self.channels)?;
        Ok(Box::new(GpuConfetti { squares: GpuSquares::new(cuda, sets)?, blur }))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for GpuConfetti {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        self.squares.enqueue(batch)?;
        self.blur.enqueue(batch)
    }
}

impl GpuBlur {
    /// For batches of up to `len` values.
    pub(super) fn new(cuda: &Arc<Cuda>, weights: &[i32], len: usize) -> Result<GpuBlur> {
        Ok(GpuBlur { weights: cuda.upload(weights)?, rows: cuda.alloc(len)? })
    }

    /// Blurs the noise of a batch: two launches.
    pub(super) fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let parameters = BlurParameters {
            draw: batch.draw,
            weights: self.weights.pointer(),
            noise: batch.values,
            rows: self.rows.pointer_mut(),
            taps: self.weights.len() as i32,
            side: batch.side as i32,
            channels: batch.channels as i32,
        };
        let launch = || batch.launch(batch.image_len(), 0);
        // SAFETY: the draw names the batch's samples; both buffers have room for its images.
        unsafe {
            kernels::confetti::confetti_blur_rows(launch(), &parameters)?;
            kernels::confetti::confetti_blur_columns(launch(), &parameters)
        }
    }
}

/// A normalised Gaussian in units of 1 / [`ONE`]; what rounding leaves over goes to the centre.
pub(super) fn integer_weights(taps: usize, sigma: f64) -> Vec<i32> {
    let exact = gaussian_weights::<f64>(taps, sigma);
    let mut weights: Vec<i32> = exact.iter().map(|w| (w * f64::from(ONE)).round() as i32).collect();
    weights[taps / 2] += ONE - weights.iter().sum::<i32>();
    weights
}

/// Separable blur with reflected border in integers, truncated towards zero at the end. Exact, so in any order of summation.
pub(super) fn blur(noise: &mut [i16], side: usize, channels: usize, weights: &[i32], scratch: &mut BlurScratch) {
    let (radius, stride) = ((weights.len() / 2) as isize, side * channels);
    let BlurScratch { padded, rows, sums } = scratch;
    rows.clear();
    rows.resize(noise.len(), 0);
    for (row, out) in noise.chunks_exact(stride).zip(rows.chunks_exact_mut(stride)) {
        padded.clear();
        for x in -radius..side as isize + radius {
            let source = reflect(x, side) * channels;
            padded.extend(row[source..source + channels].iter().map(|&v| i32::from(v)));
        }
        for (t, &weight) in weights.iter().enumerate() {
            for (sum, &value) in out.iter_mut().zip(&padded[t * channels..]) {
                *sum += weight * value;
            }
        }
    }
    for (y, out) in noise.chunks_exact_mut(stride).enumerate() {
        sums.clear();
        sums.resize(stride, 0);
        for (t, &weight) in weights.iter().enumerate() {
            let source = reflect(y as isize + t as isize - radius, side) * stride;
            for (sum, &value) in sums.iter_mut().zip(&rows[source..source + stride]) {
                *sum += i64::from(weight) * i64::from(value);
            }
        }
        for (value, &sum) in out.iter_mut().zip(sums.iter()) {
            *value = (sum / (i64::from(ONE) * i64::from(ONE))) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use crate::steps::blur::gaussian_blur;

    #[test]
    fn the_kernel_scales_and_sums_to_one() {
        for (side, taps) in [(240, 25), (256, 27), (224, 23), (120, 13), (28, 3), (9, 1), (1, 1)] {
            let confetti = Confetti::new(side);
            assert_eq!(confetti.weights.len(), taps, "{side}");
            assert_eq!(confetti.weights.iter().sum::<i32>(), ONE);
        }
    }

    #[test]
    fn the_integer_blur_is_the_blur() {
        let (side, channels) = (40, 3);
        let mut noise: Vec<i16> = (0..side * side * channels).map(|i| (i * 7919 % 1023) as i16 - 511).collect();
        let exact: Vec<f64> = noise.iter().map(|&v| f64::from(v)).collect();
        let exact = gaussian_blur(&exact, side, side, channels, 25, 5.0);
        blur(&mut noise, side, channels, &integer_weights(25, 5.0), &mut BlurScratch::default());
        for (&value, &exact) in noise.iter().zip(&exact) {
            assert!((f64::from(value) - exact.trunc()).abs() <= f64::from((exact.fract().abs() - 0.5).abs() > 0.49));
        }
        let mut flat = vec![-255i16; 32 * 32];
        blur(&mut flat, 32, 1, &integer_weights(5, 0.8), &mut BlurScratch::default());
        assert!(flat.iter().all(|&v| v == -255), "a constant area keeps its value");
    }

    #[test]
    fn it_darkens_a_few_per_cent_of_the_pixels() {
        let confetti = Confetti::new(240);
        let (mut blobs, mut scratch, mut noise) = (Vec::new(), BlurScratch::default(), vec![0; 240 * 240]);
        let n = 100;
        let mut changed = 0;
        for sample in 0..n {
            confetti.fill(Stream::new(3, Purpose::Anomaly, 1, sample), 1, &mut blobs, &mut scratch, &mut noise);
            assert!(noise.iter().all(|v| (-511..=0).contains(v)) && noise.iter().any(|&v| v < 0));
            changed += noise.iter().filter(|&&v| v < 0).count();
        }
        let share = changed as f64 / f64::from(n) / 57_600.0;
        assert!((0.03..0.15).contains(&share), "{share}");
    }
}
