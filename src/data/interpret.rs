//! Runs the lists of transforms of [`crate::data::pipeline`] on the CPU.
//!
//! Random numbers: a transform takes a fixed number of draws from the sample's `Augment` stream in the order of the list
//! (`PadCrop`, `Shift`, `Crop` 2; `Flip`, `SpreadNoise` 1; `Jitter` 3, or 5 where it mixes channels; `Choice` 1, then those of
//! both of its lists, taken or not), and noise takes normal `i` of the sample's `AugmentNoise` stream for value `i`.

use std::ops::Range;

use rayon::prelude::*;

use crate::data::contrast::{Histogram, lcn};
use crate::data::images::Images;
use crate::data::jitter::jitter;
use crate::data::pipeline::{Preprocessing, Transform, draws_of};
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
        let mut floats = false;
        for transform in list {
            match transform {
                Transform::ToUnit => look_up(&canvas.scratch.image, &unit_table(), out),
                Transform::Lcn if floats => lcn(out),
                Transform::Lcn => {
                    look_up(&canvas.scratch.image, &Histogram::new(&canvas.scratch.image).lcn_table(), out)
                }
                Transform::Noise { std } => add_noise(*std, noise, &mut canvas.scratch.normals, out),
                Transform::SpreadNoise { share } => {
                    if draws.coin() {
                        let std = share * Histogram::new(&canvas.scratch.image).deviation();
                        add_noise(std, noise, &mut canvas.scratch.normals, out);
                    }
                }
                Transform::Clamp => out.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0)),
                Transform::BlackOut { border } => self.black_out(*border, out),
                Transform::MinMax { min, max } => self.scale(out, |c, value| (value - min[c]) / (max[c] - min[c])),
                Transform::MeanStd { mean, std } => self.scale(out, |c, value| (value - mean[c]) / std[c]),
                of_bytes => canvas.apply(of_bytes, &mut draws),
            }
            floats |= transform.makes_floats();
        }
        if let Some((_, map)) = mask {
            assert_eq!(map.len(), self.side * self.side);
            for (value, &byte) in map.iter_mut().zip(&canvas.scratch.mask) {
                *value = f32::from(byte);
            }
        }
    }

    /// Changes every value as its channel wants.
    fn scale(&self, out: &mut [f32], change: impl Fn(usize, f32) -> f32) {
        for pixel in out.chunks_exact_mut(self.channels) {
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = change(c, *value);
            }
        }
    }

    fn black_out(&self, border: bool, out: &mut [f32]) {
        let margin = self.side / 5;
        let central = margin..self.side - margin;
        for (p, pixel) in out.chunks_exact_mut(self.channels).enumerate() {
            let in_centre = central.contains(&(p / self.side)) && central.contains(&(p % self.side));
            if in_centre != border {
                pixel.fill(0.0);
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

    /// Runs a transform of bytes.
    fn apply(&mut self, transform: &Transform, draws: &mut Draws) {
        let mut offset = |places: usize| [(); 2].map(|()| draws.below(places as u32) as usize);
        match transform {
            Transform::PadCrop { pad } => {
                let offset = offset(2 * pad + 1);
                self.crop(self.side, *pad, offset);
            }
            Transform::Shift { pad } => {
                let offset = offset(2 * pad + 1);
                self.shift(*pad, offset);
            }
            Transform::Crop { side } => {
                let offset = offset(self.side - side + 1);
                self.crop(*side, 0, offset);
            }
            Transform::CentreCrop { side } => self.crop(*side, 0, [(self.side - side) / 2; 2]),
            Transform::ResizeNearest { side } => self.resize(*side),
            Transform::Flip => {
                if draws.coin() {
                    let last = self.side - 1;
                    self.gather(last + 1, Some, |x| Some(last - x));
                }
            }
            Transform::Jitter(amounts) => jitter(&mut self.scratch.image, self.channels, amounts, draws),
            Transform::Choice { first, second } => {
                let (taken, before, after) =
                    if draws.coin() { (first, 0, draws_of(second)) } else { (second, draws_of(first), 0) };
                draws.skip(before);
                taken.iter().for_each(|transform| self.apply(transform, draws));
                draws.skip(after);
            }
            // Checked lists have none of these among bytes.
            Transform::ToUnit
            | Transform::Lcn
            | Transform::Noise { .. }
            | Transform::SpreadNoise { .. }
            | Transform::Clamp
            | Transform::BlackOut { .. }
            | Transform::MinMax { .. }
            | Transform::MeanStd { .. } => {}
        }
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

fn add_noise(std: f32, stream: Stream, normals: &mut Vec<f32>, out: &mut [f32]) {
    normals.resize(out.len(), 0.0);
    stream.fill_normal(normals);
    for (value, normal) in out.iter_mut().zip(normals) {
        *value += std * *normal;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn preprocessing(raw_side: usize, side: usize, channels: usize, train: Vec<Transform>) -> Preprocessing {
        let test = vec![Transform::ResizeNearest { side }, Transform::ToUnit];
        let p = Preprocessing { channels, raw_side, side, train, test };
        p.check().unwrap();
        p
    }

    proptest! {
        /// Whatever the augmentation does to an image, it does to the map: pixels are marked by their value.
        #[test]
        fn maps_follow_their_images(seed: u64, sample: u32, channels in prop_oneof![Just(1usize), Just(3)]) {
            let geometry = vec![
                Transform::PadCrop { pad: 3 },
                Transform::Shift { pad: 2 },
                Transform::Choice {
                    first: vec![Transform::Crop { side: 10 }],
                    second: vec![Transform::ResizeNearest { side: 11 }, Transform::Flip, Transform::Crop { side: 10 }],
                },
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

    /// Numbers are left out for the list that is not taken, so that what follows draws the same.
    #[test]
    fn either_list_is_taken_and_the_rest_does_not_notice() {
        let choice = |first, second| vec![Transform::Choice { first, second }, Transform::Flip, Transform::ToUnit];
        let shift = Transform::PadCrop { pad: 1 };
        let both = [
            preprocessing(3, 3, 1, choice(vec![shift.clone()], vec![Transform::ResizeNearest { side: 3 }])),
            preprocessing(3, 3, 1, choice(vec![Transform::ResizeNearest { side: 3 }], vec![shift])),
        ];
        let image: Vec<u8> = (1..10).collect();
        let mut unmoved = [0; 2];
        for sample in 0..400 {
            let made = both.each_ref().map(|p| {
                let mut out = [0.0; 9];
                p.apply_train(&image, None, 3, 0, sample, &mut out);
                out
            });
            let [plain, flipped] = [[0, 1, 2], [2, 1, 0]].map(|row| [0, 3, 6].map(|y| row.map(|x| y + x)).concat());
            let is = |out: &[f32; 9], order: &[usize]| {
                order.iter().zip(out).all(|(&i, &v)| v * 255.0 == f32::from(image[i]))
            };
            // One of the two left the image where it was, flipped or not.
            let straight = made.each_ref().map(|out| is(out, &plain) || is(out, &flipped));
            assert!(straight[0] || straight[1], "{sample}");
            for (count, straight) in unmoved.iter_mut().zip(straight) {
                *count += u32::from(straight);
            }
        }
        // A half, and of the other half the ninth that is not shifted; a standard error is 10.
        assert!(unmoved.iter().all(|count| (180..270).contains(count)), "{unmoved:?}");
    }

    #[test]
    fn centres_and_borders_are_cut_or_blackened() {
        let image: Vec<u8> = (0..100).collect();
        let p = preprocessing(10, 4, 1, vec![Transform::CentreCrop { side: 4 }, Transform::ToUnit]);
        let mut out = [0.0; 16];
        p.apply_train(&image, None, 0, 0, 0, &mut out);
        assert_eq!(out[..5].iter().map(|v| (v * 255.0).round()).collect::<Vec<_>>(), [33.0, 34.0, 35.0, 36.0, 43.0]);
        let [centre, border] = [false, true].map(|border| {
            let p = preprocessing(10, 10, 1, vec![Transform::ToUnit, Transform::BlackOut { border }]);
            let mut out = [9.0; 100];
            p.apply_train(&[255; 100], None, 0, 0, 0, &mut out);
            out
        });
        for (i, pair) in centre.iter().zip(&border).enumerate() {
            let in_centre = (2..8).contains(&(i / 10)) && (2..8).contains(&(i % 10));
            assert_eq!(pair, if in_centre { (&0.0, &1.0) } else { (&1.0, &0.0) });
        }
    }

    #[test]
    fn spread_noise_follows_the_image_and_the_coin() {
        let list = vec![Transform::ToUnit, Transform::SpreadNoise { share: 0.1 }, Transform::Clamp];
        let p = preprocessing(20, 20, 1, list);
        let image: Vec<u8> = (0..400).map(|i| 100 + (i % 2) as u8 * 51).collect(); // its deviation is 0.1
        let (mut noisy, mut squares) = (0, 0.0);
        for sample in 0..300 {
            let mut out = [0.0; 400];
            p.apply_train(&image, None, 1, 0, sample, &mut out);
            let square: f32 = out.iter().zip(&image).map(|(v, &b)| (v - f32::from(b) / 255.0).powi(2)).sum();
            noisy += u32::from(square > 0.0);
            squares += square;
        }
        assert!((120..180).contains(&noisy), "{noisy}"); // a standard error is 9
        assert!((squares / (400 * noisy) as f32 - 1e-4).abs() < 3e-6, "{squares}"); // and 0.6e-6
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
