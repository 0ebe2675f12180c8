//! Fine confetti: specks, strips and patches of all sizes, dark or bright, faint or strong; added to a sample.
//!
//! The paper's confetti is large, dark, and strong somewhere in every image, so that the loss of an image is won by its easiest
//! square. Real defects are also thin, bright or faint. Here an image holds few rectangles, each side log-uniform on its own
//! (so that strips come out as often as patches), of either sign, and all of an image share one strength, log-uniform too: faint
//! images have to be told by faint marks. A light blur softens the edges.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::blobs::{Blob, paint};
use crate::data::anomaly::confetti::{BlurScratch, GpuBlur, blur, integer_weights};
use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::kernels::{self, StripsParameters, constants};
use crate::device::cuda::{Buffer, Cuda, Result};
use crate::rng::{Stream, sin_cos_turns};

/// The mode.
pub(crate) const FINE_CONFETTI: Mode = Mode {
    word: "fine-confetti",
    explanation: "Specks, strips and patches of all sizes, dark or bright, faint or strong; for adding to a sample only",
    stands_alone: false,
    made_of: MadeOf::Numbers,
    prepare: |side, channels| Arc::new(FineConfettiNoise { confetti: FineConfetti::new(side), channels }),
    checksums: &[("malformed-normal", 0x11f8_1024), ("malformed-normal-gt", 0x55e6_3b27)],
};

/// The side that the lengths below are for.
const REFERENCE: f64 = 240.0;
/// Sides of the rectangles: from a pixel (at most 128 px) to the largest square of the paper's confetti.
const SIDES: [f64; 2] = [1.5, 54.0];
/// Standard deviation of the blur.
const SIGMA: f64 = 1.5;
/// Strength that an image's colours are scaled by, of 256.
const STRENGTHS: [f64; 2] = [24.0, 256.0];
/// Rectangles per image, at most; every number from 1 is as likely.
const MOST: u32 = constants::blobs::MOST_STRIPS as u32;
/// Entries of the tables that log-uniform values are drawn from.
const ENTRIES: usize = constants::blobs::ENTRIES as usize;
/// Numbers of a stream per rectangle: row, column, two sides, angle, sign, brightness, three channels.
const PER_BLOB: u32 = constants::blobs::PER_STRIP as u32;

/// The tables of fine confetti for images of one side.
#[derive(Clone, Debug)]
pub(crate) struct FineConfetti {
    side: usize,
    /// Half sides of rectangles.
    halves: Vec<f32>,
    strengths: Vec<i32>,
    /// Weights of the blur.
    weights: Vec<i32>,
}

impl FineConfetti {
    /// Fine confetti for images of `side × side` pixels; lengths scale by side / 240.
    pub(crate) fn new(side: usize) -> FineConfetti {
        let scale = side as f64 / REFERENCE;
        let spaced =
            |[low, high]: [f64; 2]| (0..ENTRIES).map(move |i| low * (high / low).powf(i as f64 / (ENTRIES - 1) as f64));
        let sigma = (SIGMA * scale).max(0.3);
        FineConfetti {
            side,
            halves: spaced(SIDES).map(|length| (length * scale).max(1.0) as f32 * 0.5).collect(),
            strengths: spaced(STRENGTHS).map(|s| s.round() as i32).collect(),
            weights: integer_weights(2 * (2.5 * sigma).ceil() as usize + 1, sigma),
        }
    }

    /// Fills `noise` with `side² · channels` values in −255…255.
    pub(crate) fn fill(
        &self,
        stream: Stream,
        channels: usize,
        blobs: &mut Vec<Blob>,
        blur_scratch: &mut BlurScratch,
        noise: &mut [i16],
    ) {
        let pick = |index: u32| stream.below(index, ENTRIES as u32) as usize;
        let strength = self.strengths[pick(1)];
        blobs.clear();
        for b in 0..1 + stream.below(0, MOST) {
            let index = 2 + PER_BLOB * b;
            let [sine, cosine] = sin_cos_turns(stream.bits(index + 4));
            let sign = if stream.bits(index + 5) >> 31 == 1 { 1 } else { -1 };
            let brightness = 128 + stream.below(index + 6, 128) as i32;
            // Grey for the most part: each channel keeps three quarters of the brightness or more.
            let channel = |c: u32| {
                let kept = 192 + stream.below(index + 7 + c, 65) as i32;
                (sign * ((brightness * kept * strength) >> 16).max(1)) as i16
            };
            blobs.push(Blob {
                row: stream.below(index, self.side as u32) as f32,
                column: stream.below(index + 1, self.side as u32) as f32,
                half: [self.halves[pick(index + 2)], self.halves[pick(index + 3)]],
                sine,
                cosine,
                colour: [channel(0), channel(1), channel(2)],
            });
        }
        noise.fill(0);
        paint(blobs, self.side, channels, noise);
        blur(noise, self.side, channels, &self.weights, blur_scratch);
    }
}

/// Fine confetti for images of so many channels.
#[derive(Debug)]
struct FineConfettiNoise {
    confetti: FineConfetti,
    channels: usize,
}

/// Its tables in device memory.
struct GpuFineConfetti {
    halves: Buffer<f32>,
    strengths: Buffer<i32>,
    blur: GpuBlur,
}

impl Noise for FineConfettiNoise {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]) {
        self.confetti.fill(stream, self.channels, &mut scratch.blobs, &mut scratch.blur, noise);
    }

    fn on_gpu(&self, cuda: &Arc<Cuda>, batch: usize) -> Result<Box<dyn GpuNoise>> {
        let FineConfetti { side, halves, strengths, weights } = &self.confetti;
        let blur = GpuBlur::new(cuda, weights, batch * side * side * self.channels)?;
        Ok(Box::new(GpuFineConfetti { halves: cuda.upload(halves)?, strengths: cuda.upload(strengths)?, blur }))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for GpuFineConfetti {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let parameters = StripsParameters {
            draw: batch.draw,
            halves: self.halves.pointer(),
            strengths: self.strengths.pointer(),
            noise: batch.values,
            side: batch.side as i32,
            channels: batch.channels as i32,
        };
        // SAFETY: the draw names the batch's samples, the values have room for its images; the tables have all their entries.
        unsafe { kernels::blobs::blobs_strips(batch.launch(batch.pixels(), 0), &parameters) }?;
        self.blur.enqueue(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// Images of 240 × 240 pixels: their rectangles and their noise.
    fn drawn(channels: usize, visit: &mut dyn FnMut(&[Blob], &[i16])) {
        let confetti = FineConfetti::new(240);
        let (mut blobs, mut scratch) = (Vec::new(), BlurScratch::default());
        for sample in 0..300 {
            let mut noise = vec![i16::MAX; 240 * 240 * channels];
            let stream = Stream::new(5, Purpose::Anomaly, 2, sample);
            confetti.fill(stream, channels, &mut blobs, &mut scratch, &mut noise);
            visit(&blobs, &noise);
        }
    }

    #[test]
    fn an_image_holds_one_to_six_rectangles_of_either_sign() {
        let (mut counts, mut signs) = ([0; MOST as usize + 1], [0; 2]);
        drawn(1, &mut |blobs, noise| {
            counts[blobs.len()] += 1;
            blobs.iter().for_each(|blob| signs[usize::from(blob.colour[0] > 0)] += 1);
            assert!(noise.iter().all(|v| (-255..=255).contains(v)), "no value leaves the range of a byte's changes");
            // Where all rectangles have one sign, so has the noise.
            for sign in [-1, 1] {
                if blobs.iter().all(|blob| blob.colour[0].signum() == sign) {
                    assert!(noise.iter().all(|v| v * sign >= 0));
                }
            }
        });
        // 50 of 300 images each, standard deviation 6.5; half of about 1050 rectangles, standard deviation 16.
        assert!(counts[0] == 0 && counts[1..].iter().all(|n| (24..=76).contains(n)), "{counts:?}");
        let [dark, bright] = signs;
        assert!(i32::abs(dark - bright) < 130, "{dark} dark, {bright} bright");
    }

    #[test]
    fn an_image_has_one_strength_and_strengths_span_their_range() {
        let (mut weakest, mut strongest, mut below_middle) = (i16::MAX, 0, 0);
        drawn(3, &mut |blobs, noise| {
            let sizes = || blobs.iter().map(|blob| blob.colour.map(|c| c.abs()));
            // Brightness 128…255 and a channel's share of three quarters or more: a factor of 8/3, and rounding.
            let (least, most) = (sizes().flatten().min().unwrap(), sizes().flatten().max().unwrap());
            assert!(f32::from(most) <= 2.67 * (f32::from(least) + 1.0), "{least} to {most} in one image");
            (weakest, strongest) = (weakest.min(most), strongest.max(most));
            // The middle of the strengths on a logarithmic scale, √(24 · 256) = 78 of 256, times a mean brightness of about 200.
            below_middle += i32::from(most < 61);
            let loudest = noise.iter().map(|v| v.abs()).max().unwrap();
            assert!(loudest <= most, "the blur only softens");
        });
        assert!((9..=24).contains(&weakest) && strongest > 220, "{weakest} to {strongest}");
        assert!((110..=190).contains(&below_middle), "{below_middle} of 300 images are faint");
    }
}
