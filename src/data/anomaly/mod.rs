//! Artificial anomalies, made at the raw side before augmentation: noise as integers, and what it does to an image.
//!
//! Sizes in the paper and in the authors' code hold for the sides of its data sets. Here they follow the side S, so that an
//! anomaly looks alike at any size: `mixed-blob` and `confetti` scale from 240 px (lengths by S/240, rates per pixel by
//! (240/S)², so that as many squares are expected); `blob` is meant for 28 to 32 px, holds as it is up to 32 px and scales
//! from there on. Each set of squares has at least one.

pub mod blobs;
pub mod confetti;
pub mod fine_confetti;
pub mod malform;
pub mod noise;

use crate::data::supervise::NoiseMode;
use crate::rng::Stream;
use blobs::{BlobSet, Colour, Look};
use confetti::Confetti;
use fine_confetti::FineConfetti;

/// Makes the noise of one mode for images of one shape: `side × side × channels` integers in −511…511, added to or clamped to
/// bytes by [`malform`].
#[derive(Clone, Debug)]
pub struct Synthesiser {
    side: usize,
    channels: usize,
    recipe: Recipe,
}

/// A mode with the tables it needs.
#[derive(Clone, Debug)]
pub(crate) enum Recipe {
    Gaussian,
    Uniform,
    Solid,
    Squares(Vec<BlobSet>),
    Confetti(Confetti),
    FineConfetti(FineConfetti),
    /// Images of another set, which the caller holds.
    Outliers,
}

/// Memory that a thread reuses from image to image.
#[derive(Default)]
pub struct Scratch {
    normals: Vec<f32>,
    blobs: Vec<blobs::Blob>,
    blur: confetti::BlurScratch,
}

impl Synthesiser {
    /// Prepares a mode for images of a shape.
    pub fn new(mode: NoiseMode, side: usize, channels: usize) -> Synthesiser {
        let recipe = match mode {
            NoiseMode::Gaussian => Recipe::Gaussian,
            NoiseMode::Uniform => Recipe::Uniform,
            NoiseMode::Solid => Recipe::Solid,
            NoiseMode::Blob => {
                let look = Look { smallest: 6.0, largest: 6.0, rotated: false, colour: Colour::Constant(255) };
                Recipe::Squares(vec![BlobSet::new(0, 0.002, look, side, side.min(32))])
            }
            NoiseMode::MixedBlob => {
                let set = |number, colour| {
                    let look = Look { smallest: 34.0, largest: 34.0, rotated: false, colour };
                    BlobSet::new(number, 1e-5, look, side, 240)
                };
                Recipe::Squares(vec![set(0, Colour::Constant(255)), set(1, Colour::Bright)])
            }
            NoiseMode::Confetti => Recipe::Confetti(Confetti::new(side)),
            NoiseMode::FineConfetti => Recipe::FineConfetti(FineConfetti::new(side)),
            NoiseMode::Outliers => Recipe::Outliers,
        };
        Synthesiser { side, channels, recipe }
    }

    /// The mode with its tables.
    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Fills `noise` (`side² · channels` values, NHWC) from a stream. `outlier` is the image that serves as noise in the mode
    /// [`NoiseMode::Outliers`], unused in others.
    pub fn fill(&self, stream: Stream, outlier: Option<&[u8]>, scratch: &mut Scratch, noise: &mut [i16]) {
        assert_eq!(noise.len(), self.side * self.side * self.channels);
        match &self.recipe {
            Recipe::Gaussian => noise::gaussian(stream, &mut scratch.normals, noise),
            Recipe::Uniform => noise::uniform(stream, noise),
            Recipe::Solid => noise::solid(stream, self.channels, noise),
            Recipe::Squares(sets) => {
                noise.fill(0);
                for set in sets {
                    set.add(stream, self.side, self.channels, &mut scratch.blobs, noise);
                }
            }
            Recipe::Confetti(confetti) => {
                confetti.fill(stream, self.channels, &mut scratch.blobs, &mut scratch.blur, noise);
            }
            Recipe::FineConfetti(confetti) => {
                confetti.fill(stream, self.channels, &mut scratch.blobs, &mut scratch.blur, noise);
            }
            Recipe::Outliers => {
                for (value, &byte) in noise.iter_mut().zip(outlier.into_iter().flatten()) {
                    *value = i16::from(byte);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::Named;
    use crate::rng::Purpose;

    /// Every mode, at any side from one pixel on, makes noise that is not zero (but for chance in `solid` and the like).
    #[test]
    fn every_mode_at_every_size() {
        for mode in NoiseMode::all() {
            for side in [1, 2, 3, 9, 10, 28, 32, 33, 64, 240] {
                for channels in [1, 3] {
                    let outlier = vec![7; side * side * channels];
                    let synthesiser = Synthesiser::new(mode, side, channels);
                    let mut scratch = Scratch::default();
                    for sample in 0..3 {
                        let mut noise = vec![i16::MAX; side * side * channels];
                        let stream = Stream::new(5, Purpose::Anomaly, 0, sample);
                        synthesiser.fill(stream, Some(&outlier), &mut scratch, &mut noise);
                        assert!(noise.iter().all(|v| v.abs() <= 511), "{mode:?} {side}");
                        assert!(noise.iter().any(|&v| v != 0), "{mode:?} {side}");
                    }
                }
            }
        }
    }
}
