//! Runs the lists of transforms of [`crate::data::pipeline`] on the CPU.
//!
//! Random numbers: a transform takes a fixed number of draws from the sample's `Augment` stream in the order of the list
//! (`PadCrop`, `Shift`, `Crop` 2; `Flip`, `FlipVertical`,
//! `QuarterTurn`, `SpreadNoise` 1; `Jitter` 3, or 5 where it mixes channels; `Choice` 1, then those of
//! both of its lists, taken or not), and noise takes normal `i` of the sample's `AugmentNoise` stream for value `i`.

use std::ops::Range;

use rayon::prelude::*;

use crate::data::contrast::{Histogram, lcn};
use crate::data::images::{self, Images};
use crate::data::jitter::jitter;
use crate::data::pipeline::{Preprocessing, Transform, draws_of};
use crate::data::resize::nearest;
use crate::rng::{Draws, Purpose, Stream};
use crate::steps::blur::reflect;
use crate::steps::fcdd_loss;

/// Memory that a thread reuses from image to image.
#[derive(Default)]
pub(crate) struct TransformScratch {
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
        self.test_with(&mut TransformScratch::default(), image, out);
    }

    /// Turns the raw images of a range into inputs, in parallel: `range.len() · side² · channels` floats.
    pub fn test_batch(&self, images: &Images, range: Range<usize>, out: &mut [f32]) {
        assert_eq!(out.len(), range.len() * self.input_len());
        out.par_chunks_mut(self.input_len())
            .zip(range)
            .for_each_init(TransformScratch::default, |scratch, (out, i)| {
                self.test_with(scratch, images.image(i), out)
            });
    }

    /// Turns one raw image into a training input with the augmentation of (`seed`, `epoch`, `sample`). A ground-truth map, if
    /// given, is (`raw_side²` bytes, where to put `side²` floats).
    pub fn apply_train(
        &self,
        image: &[u8],
        mask: Option<(&[u8], &mut [f32])>,
        seed: u64,
        epoch: u32,
        sample: u32,
        out: &mut [f32],
    ) {
        self.train_with(&mut TransformScratch::default(), image, mask, (seed, epoch, sample), out);
    }

    /// [`Preprocessing::apply_test`] with memory to reuse.
    pub(crate) fn test_with(&self, scratch: &mut TransformScratch, image: &[u8], out: &mut [f32]) {
        // A checked test list draws nothing.
        let unused = Stream::new(0, Purpose::Augment, 0, 0);
        let random = Random { draws: unused.draws(), noise: unused };
        self.run(&self.test, scratch, image, None, random, out);
    }

    /// [`Preprocessing::apply_train`] with memory to reuse.
    pub(crate) fn train_with(
        &self,
        scratch: &mut TransformScratch,
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
        scratch: &mut TransformScratch,
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
                *value = match byte {
                    images::UNMARKED => fcdd_loss::UNMARKED,
                    images::OUTSIDE => fcdd_loss::OUTSIDE,
                    marked => f32::from(marked),
                };
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
    scratch: &'a mut TransformScratch,
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
                    self.mirror([false, true]);
                }
            }
            Transform::FlipVertical => {
                if draws.coin() {
                    self.mirror([true, false]);
                }
            }
            Transform::QuarterTurn => self.turn(draws.below(4)),
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

    /// Mirrors rows (top and bottom change places), columns, or both.
    fn mirror(&mut self, [rows, columns]: [bool; 2]) {
        let last = self.side - 1;
        let place = |mirrored: bool| move |i: usize| Some(if mirrored { last - i } else { i });
        self.gather(last + 1, place(rows), place(columns));
    }

    /// Turns clockwise by so many quarters: rows and columns change places where these are odd, then each are mirrored in two of the four.
    fn turn(&mut self, quarters: u32) {
        if quarters % 2 == 1 {
            self.transpose();
        }
        self.mirror([quarters >= 2, quarters == 1 || quarters == 2]);
    }

    /// Rows become columns.
    fn transpose(&mut self) {
        let (side, TransformScratch { image, mask, spare, .. }) = (self.side, &mut *self.scratch);
        for (plane, channels) in [(image, self.channels), (mask, 1)] {
            spare.clear();
            for pixel in 0..plane.len() / channels {
                let from = pixel % side * side + pixel / side;
                spare.extend_from_slice(&plane[from * channels..][..channels]);
            }
            std::mem::swap(plane, spare);
        }
    }

    fn resize(&mut self, side: usize) {
        let from = self.side;
        self.gather(side, |y| Some(nearest(y, from, side)), |x| Some(nearest(x, from, side)));
    }

    /// Builds image and mask anew: the pixel at (y, x) comes from (`row(y)`, `column(x)`), or is 0 where there is none.
    fn gather(&mut self, side: usize, row: impl Fn(usize) -> Option<usize>, column: impl Fn(usize) -> Option<usize>) {
        let TransformScratch { image, mask, spare, .. } = &mut *self.scratch;
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
mod tests;
