//! Runs the lists of transforms of [`crate::data::pipeline`] on the CPU.
//!
//! Everything that depends on a whole image is exact: local contrast normalisation counts how often each byte occurs, so its
//! mean and scale are ratios of integers whatever the order of summation; then it is a table of 256 floats, as is `ToUnit`.
//! Random numbers: a transform takes a fixed number of draws from the sample's `Augment` stream in the order of the list
//! (`PadCrop`, `Crop` 2; `CropOrResize` 3; `Flip` 1; `Jitter` 3), and `Noise` takes normal `i` of the sample's `AugmentNoise`
//! stream for value `i`.

use std::ops::Range;

use rayon::prelude::*;

use crate::data::images::Images;
use crate::data::jitter::jitter;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::resize::nearest;
use crate::rng::{Draws, Purpose, Stream};
use crate::steps::blur::reflect;

/// Memory that a thread reuses from image to image.
#[derive(Default)]
pub(crate) struct Scratch {
    image: Vec<u8>,
    mask: Vec<u8>,
    spare: Vec<u8>,
    normals: Vec<f32>,
}

/// The random numbers of one image.
struct Random {
    /// For everything that is drawn once.
    draws: Draws,
    /// For noise per value.
    noise: Stream,
}

impl Preprocessing {
    /// Turns one raw image (`raw_side² · channels` bytes) into an input (`side² · channels` floats, NHWC).
    pub fn apply_test(&self, image: &[u8], out: &mut [f32]) {
        self.test_with(&mut Scratch::default(), image, out);
    }

    /// Turns the raw images of a range into inputs, in parallel: `range.len() · side² · channels` floats.
    pub fn test_batch(&self, images: &Images, range: Range<usize>, out: &mut [f32]) {
        assert_eq!(out.len(), range.len() * self.input_len());
        out.par_chunks_mut(self.input_len())
            .zip(range)
            .for_each_init(Scratch::default, |scratch, (out, i)| self.test_with(scratch, images.image(i), out));
    }

    /// Turns one raw image into a training input with the augmentation of (`seed`, `epoch`, `sample`). A ground-truth map, if
    /// given, is (`raw_side²` values 0 or 1, where to put `side²` floats 0 or 1).
    pub fn apply_train(
        &self,
        image: &[u8],
        mask: Option<(&[u8], &mut [f32])>,
        seed: u64,
        epoch: u32,
        sample: u32,
        out: &mut [f32],
    ) {
        self.train_with(&mut Scratch::default(), image, mask, (seed, epoch, sample), out);
    }

    /// [`Preprocessing::apply_test`] with memory to reuse.
    pub(crate) fn test_with(&self, scratch: &mut Scratch, image: &[u8], out: &mut [f32]) {
        // A checked test list draws nothing.
        let unused = Stream::new(0, Purpose::Augment, 0, 0);
        let random = Random { draws: unused.draws(), noise: unused };
        self.run(&self.test, scratch, image, None, random, out);
    }

    /// [`Preprocessing::apply_train`] with memory to reuse.
    pub(crate) fn train_with(
        &self,
        scratch: &mut Scratch,
        image: &[u8],
        mask: Option<(&[u8], &mut [f32])>,
        (seed, epoch, sample): (u64, u32, u32),
        out: &mut [f32],
    ) {
        let draws = Stream::new(seed, Purpose::Augment, epoch, sample).draws();
        let noise = Stream::new(seed, Purpose::AugmentNoise, epoch, sample);
        self.run(&self.train, scratch, image, mask, Random { draws, noise }, out);
    }

    fn run(
        &self,
        list: &[Transform],
        scratch: &mut Scratch,
        image: &[u8],
        mask: Option<(&[u8], &mut [f32])>,
        Random { mut draws, noise }: Random,
        out: &mut [f32],
    ) {
        assert_eq!((image.len(), out.len()), (self.raw_side * self.raw_side * self.channels, self.input_len()));
        let mut canvas = Canvas { scratch, channels: self.channels, side: self.raw_side };
        canvas.load(image, mask.as_ref().map(|(raw, _)| *raw));
        for transform in list {
            match transform {
                Transform::PadCrop { pad } => {
                    let offset = [(); 2].map(|()| draws.below(2 * *pad as u32 + 1) as usize);
                    canvas.crop(canvas.side, *pad, offset);
                }
                Transform::Shift { pad } => {
                    let offset = [(); 2].map(|()| draws.below(2 * *pad as u32 + 1) as usize);
                    canvas.shift(*pad, offset);
                }
                Transform::Crop { side } => {
                    let offset = canvas.draw_offset(*side, &mut draws);
                    canvas.crop(*side, 0, offset);
                }
                Transform::CropOrResize { side } => {
                    let crops = draws.coin();
                    let offset = canvas.draw_offset(*side, &mut draws);
                    if crops { canvas.crop(*side, 0, offset) } else { canvas.resize(*side) }
                }
                Transform::ResizeNearest { side } => canvas.resize(*side),
                Transform::Flip => {
                    if draws.coin() {
                        let last = canvas.side - 1;
                        canvas.gather(last + 1, Some, |x| Some(last - x));
                    }
                }
                Transform::Jitter { brightness, contrast } => {
                    jitter(&mut canvas.scratch.image, self.channels, *brightness, *contrast, &mut draws);
                }
                Transform::ToUnit => look_up(&canvas.scratch.image, &unit_table(), out),
                Transform::Lcn => look_up(&canvas.scratch.image, &lcn_table(&canvas.scratch.image), out),
                Transform::Noise { std } => {
                    let normals = &mut canvas.scratch.normals;
                    normals.resize(out.len(), 0.0);
                    noise.fill_normal(normals);
                    for (value, normal) in out.iter_mut().zip(normals) {
                        *value += *std * *normal;
                    }
                }
                Transform::MinMax { min, max } => {
                    for pixel in out.chunks_exact_mut(self.channels) {
                        for (c, value) in pixel.iter_mut().enumerate() {
                            *value = (*value - min[c]) / (max[c] - min[c]);
                        }
                    }
                }
                Transform::MeanStd { mean, std } => {
                    for pixel in out.chunks_exact_mut(self.channels) {
                        for (c, value) in pixel.iter_mut().enumerate() {
                            *value = (*value - mean[c]) / std[c];
                        }
                    }
                }
            }
        }
        if let Some((_, map)) = mask {
            assert_eq!(map.len(), self.side * self.side);
            for (value, &byte) in map.iter_mut().zip(&canvas.scratch.mask) {
                *value = f32::from(byte);
            }
        }
    }
}

/// An image as bytes, and its mask, on their way through the geometric transforms. An absent mask is empty.
struct Canvas<'a> {
    scratch: &'a mut Scratch,
    channels: usize,
    side: usize,
}

impl Canvas<'_> {
    fn load(&mut self, image: &[u8], mask: Option<&[u8]>) {
        self.scratch.image.clear();
        self.scratch.image.extend_from_slice(image);
        self.scratch.mask.clear();
        if let Some(mask) = mask {
            assert_eq!(mask.len(), self.side * self.side);
            self.scratch.mask.extend_from_slice(mask);
        }
    }

    /// A random top left corner (y, x) of a crop.
    fn draw_offset(&self, side: usize, draws: &mut Draws) -> [usize; 2] {
        [(); 2].map(|()| draws.below((self.side - side + 1) as u32) as usize)
    }

    /// Cuts `side × side` at `offset` (y, x) out of the image with `pad` zeros around it.
    fn crop(&mut self, side: usize, pad: usize, [oy, ox]: [usize; 2]) {
        let inside = self.side;
        let place = |offset: usize| move |i: usize| (i + offset).checked_sub(pad).filter(|&j| j < inside);
        self.gather(side, place(oy), place(ox));
    }

    /// Shifts by `offset − pad` (y, x), mirroring at the border.
    fn shift(&mut self, pad: usize, [oy, ox]: [usize; 2]) {
        let side = self.side;
        let place = |offset: usize| move |i: usize| Some(reflect((i + offset) as isize - pad as isize, side));
        self.gather(side, place(oy), place(ox));
    }

    fn resize(&mut self, side: usize) {
        let from = self.side;
        self.gather(side, |y| Some(nearest(y, from, side)), |x| Some(nearest(x, from, side)));
    }

    /// Builds image and mask anew: the pixel at (y, x) comes from (`row(y)`, `column(x)`), or is 0 where there is none.
    fn gather(&mut self, side: usize, row: impl Fn(usize) -> Option<usize>, column: impl Fn(usize) -> Option<usize>) {
        let Scratch { image, mask, spare, .. } = &mut *self.scratch;
        for (plane, channels) in [(image, self.channels), (mask, 1)] {
            if plane.is_empty() {
                continue;
            }
            spare.clear();
            spare.resize(side * side * channels, 0);
            for (y, out) in spare.chunks_exact_mut(side * channels).enumerate() {
                let Some(source) = row(y) else { continue };
                let source = &plane[source * self.side * channels..][..self.side * channels];
                for (x, pixel) in out.chunks_exact_mut(channels).enumerate() {
                    if let Some(x) = column(x) {
                        pixel.copy_from_slice(&source[x * channels..][..channels]);
                    }
                }
            }
            std::mem::swap(plane, spare);
        }
        self.side = side;
    }
}

fn look_up(bytes: &[u8], table: &[f32; 256], out: &mut [f32]) {
    for (value, &byte) in out.iter_mut().zip(bytes) {
        *value = table[usize::from(byte)];
    }
}

fn unit_table() -> [f32; 256] {
    std::array::from_fn(|v| v as f32 / 255.0)
}

/// What each byte of an image of n values becomes under LCN. With s the sum of all values and a = Σ|n·v − s|, all integers:
/// `(v − s/n) / (a/n²) = (n·v − s) · n / a`.
fn lcn_table(bytes: &[u8]) -> [f32; 256] {
    let mut histogram = [0i64; 256];
    for &byte in bytes {
        histogram[usize::from(byte)] += 1;
    }
    let n = bytes.len() as i64;
    let sum: i64 = histogram.iter().zip(0i64..).map(|(&count, v)| count * v).sum();
    let spread: i64 = histogram.iter().zip(0i64..).map(|(&count, v)| count * (n * v - sum).abs()).sum();
    if spread == 0 {
        return [0.0; 256]; // a constant image has no contrast
    }
    let scale = n as f32 / spread as f32;
    std::array::from_fn(|v| (n * v as i64 - sum) as f32 * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fit::Fit;
    use crate::steps::lcn::lcn_l1;
    use proptest::prelude::*;

    fn preprocessing(raw_side: usize, side: usize, channels: usize, train: Vec<Transform>) -> Preprocessing {
        let test = vec![Transform::ResizeNearest { side }, Transform::ToUnit];
        let p = Preprocessing { channels, raw_side, fit: Fit::Squash, side, train, test };
        p.check().unwrap();
        p
    }

    proptest! {
        #[test]
        fn lcn_of_bytes_is_the_formula(bytes in proptest::collection::vec(any::<u8>(), 1..500)) {
            let mut exact: Vec<f64> = bytes.iter().map(|&b| f64::from(b) / 255.0).collect();
            lcn_l1(&mut exact);
            let table = lcn_table(&bytes);
            for (&byte, &expected) in bytes.iter().zip(&exact) {
                let value = f64::from(table[usize::from(byte)]);
                prop_assert!((value - expected).abs() <= 1e-6 * expected.abs() + 1e-12, "{value} {expected}");
            }
        }

        /// Whatever the augmentation does to an image, it does to the map: pixels are marked by their value.
        #[test]
        fn maps_follow_their_images(seed: u64, sample: u32, channels in prop_oneof![Just(1usize), Just(3)]) {
            let geometry = vec![
                Transform::PadCrop { pad: 3 },
                Transform::Shift { pad: 2 },
                Transform::CropOrResize { side: 10 },
                Transform::Flip,
                Transform::Crop { side: 8 },
                Transform::ToUnit,
            ];
            let p = preprocessing(12, 8, channels, geometry);
            let mask: Vec<u8> = (0..144).map(|i| u8::from(i * 5 % 7 < 2)).collect();
            let image: Vec<u8> = mask.iter().flat_map(|&m| vec![255 * m; channels]).collect();
            let (mut map, mut out) = (vec![9.0; 64], vec![9.0; 64 * channels]);
            p.apply_train(&image, Some((&mask, &mut map)), seed, 3, sample, &mut out);
            for (pixel, &m) in out.chunks(channels).zip(&map) {
                prop_assert_eq!(pixel, &vec![m; channels]);
            }
        }
    }

    #[test]
    fn test_images_are_resized_by_pixel_centres() {
        let p = preprocessing(4, 2, 1, vec![Transform::Crop { side: 2 }, Transform::ToUnit]);
        let image: Vec<u8> = (0..16).collect();
        let mut out = [0.0; 4];
        p.apply_test(&image, &mut out);
        assert_eq!(out.map(|v| (v * 255.0).round()), [5.0, 7.0, 13.0, 15.0]);
    }

    #[test]
    fn crops_reach_every_place_and_pad_with_black() {
        let p = preprocessing(3, 3, 1, vec![Transform::PadCrop { pad: 1 }, Transform::ToUnit]);
        let mut seen = std::collections::BTreeSet::new();
        for sample in 0..200 {
            let mut out = [0.0; 9];
            p.apply_train(&[0, 0, 0, 0, 255, 0, 0, 0, 0], None, 1, 0, sample, &mut out);
            seen.insert(out.iter().position(|&v| v == 1.0));
        }
        assert!(seen.into_iter().eq((0..9).map(Some)), "the centre goes to each of the nine places");
        let mut out = [9.0; 9];
        let sums: f32 = (0..100)
            .map(|sample| {
                p.apply_train(&[255; 9], None, 1, 0, sample, &mut out);
                out.iter().sum::<f32>()
            })
            .sum();
        assert!(sums < 850.0, "black comes in from outside: {sums}");
    }

    #[test]
    fn flips_half_of_the_time_and_noise_has_its_deviation() {
        let p = preprocessing(2, 2, 1, vec![Transform::Flip, Transform::ToUnit, Transform::Noise { std: 0.1 }]);
        let (mut flips, mut squares) = (0, 0.0);
        for sample in 0..4000 {
            let mut out = [0.0; 4];
            p.apply_train(&[0, 255, 0, 255], None, 1, 0, sample, &mut out);
            flips += u32::from(out[0] > 0.5);
            squares += out.iter().map(|v| (v - v.round()).powi(2)).sum::<f32>();
        }
        assert!((1900..2100).contains(&flips), "{flips}");
        assert!((squares / 16_000.0 - 0.01).abs() < 5e-4, "{squares}");
    }

    #[test]
    fn a_batch_is_its_images() {
        let p = preprocessing(4, 2, 1, vec![Transform::Crop { side: 2 }, Transform::Lcn]);
        let images = Images { count: 5, height: 4, width: 4, channels: 1, pixels: (0..80).collect() };
        let (mut batch, mut one) = (vec![0.0; 3 * 4], [0.0; 4]);
        p.test_batch(&images, 1..4, &mut batch);
        p.apply_test(images.image(2), &mut one);
        assert_eq!(batch[4..8], one);
    }
}
