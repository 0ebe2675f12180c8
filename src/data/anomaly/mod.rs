//! Artificial anomalies, made at the raw side before augmentation: noise as integers, and what it does to an image.
//!
//! Sizes in the paper and in the authors' code hold for the sides of its datasets. Here they follow the side S, so that an
//! anomaly looks alike at any size: `mixed-blob` and `confetti` scale from 240 px (lengths by S/240, rates per pixel by
//! (240/S)², so that as many squares are expected); `blob` is meant for 28 to 32 px, holds as it is up to 32 px and scales
//! from there on. Each set of squares has at least one.

//!
//! A mode is a file here that holds all there is to know of it, and a line of the table below. CONTRIBUTING.md says how to add one.

pub(crate) mod blobs;
pub(crate) mod confetti;
pub(crate) mod cutpaste;
pub(crate) mod fine_confetti;
pub(crate) mod gaussian;
pub mod gpu;
pub(crate) mod malform;
pub mod mix;
pub(crate) mod outliers;
pub(crate) mod solid;
pub(crate) mod uniform;

use std::fmt::Debug;
use std::sync::Arc;

use crate::device::cuda::{self, Cuda};
use crate::named::Named;
use crate::rng::Stream;
use gpu::GpuNoise;
use mix::NoiseMix;

/// All that the program knows of a mode.
#[derive(Debug)]
pub struct Mode {
    /// Its word, such as `mixed-blob`, on the command line and in files: it stays as it is.
    pub word: &'static str,
    /// What it is, in a line.
    pub explanation: &'static str,
    /// Whether this noise is something to see by itself: confetti is changes to an image, mostly of nothing and some below 0.
    pub stands_alone: bool,
    /// What it is made of, beside the image that it changes.
    pub made_of: MadeOf,
    /// Prepares it for images of `side × side × channels`.
    pub prepare: fn(side: usize, channels: usize) -> Arc<dyn Noise>,
    /// CRC-32 of the batches that `fcdd verify` draws, by the word of the way of supervision: the bits that they have everywhere.
    pub checksums: &'static [(&'static str, u32)],
}

/// What noise is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeOf {
    /// Random numbers alone.
    Numbers,
    /// An image of another dataset.
    Outliers,
    /// The image that it changes and another good one.
    GoodImages,
}

/// Images that noise is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ingredients<'a> {
    /// The image that it changes; any bytes where an image is replaced.
    pub normal: &'a [u8],
    /// An outlier or another good image, by what the mode is made of.
    pub other: Option<&'a [u8]>,
}

/// A mode prepared for images of one shape, with the tables it needs.
pub trait Noise: Debug + Send + Sync {
    /// Fills `noise` (`side² · channels` values, NHWC) from a stream and what it is made of: in −511…511, to be added to bytes, or
    /// [`REPLACED`](malform::REPLACED) and a byte, which takes the image's place.
    fn fill(&self, stream: Stream, given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]);

    /// The same on a GPU, with the same bits: uploads the tables. A batch is of up to `batch` images.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    fn on_gpu(&self, cuda: &Arc<Cuda>, batch: usize) -> cuda::Result<Box<dyn GpuNoise>>;
}

/// The modes, by the names of [`NoiseMode`].
macro_rules! modes {
    ($(#[doc = $doc:literal] $name:ident: $mode:expr,)*) => {
        /// What artificial anomalies are made of.
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub enum NoiseMode {
            $(#[doc = $doc] $name,)*
            /// One that no word names: for tests of the layers below [`Settings`](crate::Settings), which refuse it.
            #[doc(hidden)]
            Own(&'static Mode),
        }

        impl NoiseMode {
            /// All that the program knows of it.
            #[doc(hidden)]
            pub fn mode(self) -> &'static Mode {
                match self {
                    $(NoiseMode::$name => &$mode,)*
                    NoiseMode::Own(mode) => mode,
                }
            }
        }

        impl Named for NoiseMode {
            fn all() -> Vec<NoiseMode> {
                vec![$(NoiseMode::$name),*]
            }

            fn word(self) -> &'static str {
                self.mode().word
            }

            fn explanation(self) -> &'static str {
                self.mode().explanation
            }
        }

        /// One text for the library's pages and the program's help.
        #[test]
        fn docs_are_the_explanations() {
            $(assert_eq!($doc.trim(), $mode.explanation);)*
        }
    };
}

modes! {
    /// Gaussian noise per value, σ = 64 of 255
    Gaussian: gaussian::GAUSSIAN,
    /// Uniform noise per value
    Uniform: uniform::UNIFORM,
    /// One random colour per image
    Solid: solid::SOLID,
    /// Small white squares
    Blob: blobs::BLOB,
    /// Larger white squares and squares of random colours
    MixedBlob: blobs::MIXED_BLOB,
    /// Blurred dark and coloured squares, rotated; for adding to a sample only
    Confetti: confetti::CONFETTI,
    /// Specks, strips and patches of all sizes, dark or bright, faint or strong; for adding to a sample only
    FineConfetti: fine_confetti::FINE_CONFETTI,
    /// Blocks and strips of good images, pasted in with soft edges; for changing a sample only
    CutPaste: cutpaste::CUTPASTE,
    /// Images of another dataset (outlier exposure)
    Outliers: outliers::OUTLIERS,
}

impl NoiseMode {
    /// See [`Mode::stands_alone`].
    pub fn stands_alone(self) -> bool {
        self.mode().stands_alone
    }

    /// See [`Mode::made_of`].
    pub(crate) fn made_of(self) -> MadeOf {
        self.mode().made_of
    }
}

impl PartialEq for NoiseMode {
    fn eq(&self, other: &NoiseMode) -> bool {
        self.word() == other.word()
    }
}

impl Eq for NoiseMode {}

/// Makes the noise of some modes for images of one shape: `side × side × channels` integers, of which [`malform`] says what they do to bytes.
#[derive(Clone, Debug)]
pub struct Synthesiser {
    len: usize,
    /// Of each mode of a mix, in its order.
    noises: Vec<Arc<dyn Noise>>,
}

/// Memory that a thread reuses from image to image.
#[derive(Default)]
pub struct Scratch {
    normals: Vec<f32>,
    blobs: Vec<blobs::Blob>,
    blur: confetti::BlurScratch,
    pasted: Vec<u8>,
}

impl Synthesiser {
    /// Prepares the modes of a mix for images of a shape.
    pub fn new(mix: &NoiseMix, side: usize, channels: usize) -> Synthesiser {
        let noises = mix.modes().iter().map(|(mode, _)| (mode.mode().prepare)(side, channels)).collect();
        Synthesiser { len: side * side * channels, noises }
    }

    /// The modes with their tables.
    pub(crate) fn noises(&self) -> impl ExactSizeIterator<Item = &dyn Noise> {
        self.noises.iter().map(|noise| &**noise)
    }

    /// See [`Noise::fill`]; of the mode with this number.
    pub fn fill(
        &self,
        number: usize,
        stream: Stream,
        given: Ingredients<'_>,
        scratch: &mut Scratch,
        noise: &mut [i16],
    ) {
        assert_eq!(noise.len(), self.len);
        self.noises[number].fill(stream, given, scratch, noise);
    }
}

#[cfg(test)]
mod tests {
    use super::malform::REPLACED;
    use super::*;
    use crate::rng::Purpose;

    /// Every mode, at any side from one pixel on, makes noise that is not zero (but for chance in `solid` and the like); one made of good
    /// images may find nothing to change, and names bytes instead of changes.
    #[test]
    fn every_mode_at_every_size() {
        for mode in NoiseMode::all() {
            for side in [1, 2, 3, 9, 10, 28, 32, 33, 64, 240] {
                for channels in [1, 3] {
                    let n = side * side * channels;
                    let texture = |step: usize| (0..n).map(|i| ((i * step + 7) % 251) as u8).collect::<Vec<_>>();
                    let (normal, other) = (texture(31), texture(47));
                    let given = Ingredients { normal: &normal, other: Some(&other) };
                    let synthesiser = Synthesiser::new(&mode.into(), side, channels);
                    let mut scratch = Scratch::default();
                    for sample in 0..3 {
                        let mut noise = vec![i16::MAX; side * side * channels];
                        let stream = Stream::new(5, Purpose::Anomaly, 0, sample);
                        synthesiser.fill(0, stream, given, &mut scratch, &mut noise);
                        let is_byte = |v: i16| (REPLACED..REPLACED + 256).contains(&v);
                        if mode.made_of() == MadeOf::GoodImages {
                            assert!(noise.iter().all(|&v| v == 0 || is_byte(v)), "{mode:?} {side}");
                        } else {
                            assert!(noise.iter().all(|v| v.abs() <= 511), "{mode:?} {side}");
                            assert!(noise.iter().any(|&v| v != 0), "{mode:?} {side}");
                        }
                    }
                }
            }
        }
    }
}
