//! Values of the net's input as values of an image's own pixels.

use std::sync::Arc;

use rayon::prelude::*;

use crate::data::counted::Counted;
use crate::data::resize_mode::Region;
use crate::report::resample::BilinearMap;

/// A value for each pixel of an image, 0 where the net has not seen it or where it does not count. Only those of the net's input are kept; the others are interpolated
/// when they are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PixelMap {
    /// [input_size.0, input_size.1]
    input: Vec<f32>,
    /// Of the net's input, or of the canvas of its tiles.
    input_size: (usize, usize),
    /// (height, width) of the image.
    size: (usize, usize),
    /// What the net has seen of it.
    seen: Region,
    /// Which of its pixels count; None for all.
    counted: Option<Arc<Counted>>,
}

impl PixelMap {
    /// Of an image that is the net's input, or a canvas, of (height, width), all of which counts.
    pub(crate) fn new(input: Vec<f32>, size: (usize, usize)) -> PixelMap {
        PixelMap { input, input_size: size, size, seen: Region::whole(size), counted: None }
    }

    /// The same of an image of which a part counts.
    pub(crate) fn counting(self, counted: Option<Arc<Counted>>) -> PixelMap {
        PixelMap { counted, ..self }
    }

    /// The same of an image of (height, width) of which the input shows a part.
    pub(crate) fn within(self, size: (usize, usize), seen: Region) -> PixelMap {
        PixelMap { size, seen, ..self }
    }

    /// (height, width) of the image.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// All values.
    pub(crate) fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.size.0 * self.size.1];
        self.paint(&mut values, 1, |pixel, value| pixel[0] = value);
        values
    }

    /// Its rows one after the other.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<f32>> {
        let Region { top, left, height, width } = self.seen;
        let between = BilinearMap::new(self.input_size, (height, width));
        (0..self.size.0).map(move |y| {
            let mut row = vec![0.0; self.size.1];
            if let Some(y) = y.checked_sub(top).filter(|&y| y < height) {
                row[left..left + width].iter_mut().zip(between.row(&self.input, y)).for_each(|(to, value)| *to = value);
            }
            if let Some(counted) = &self.counted {
                row.iter_mut().zip(counted.row(y, self.size)).for_each(|(value, counts)| *value *= f32::from(counts));
            }
            row
        })
    }

    /// Does something to each pixel of `n` values that the net has seen and that counts, with the value there.
    pub(crate) fn paint<T: Send>(&self, pixels: &mut [T], n: usize, set: impl Fn(&mut [T], f32) + Sync) {
        let Region { top, left, height, width } = self.seen;
        let between = BilinearMap::new(self.input_size, (height, width));
        pixels.par_chunks_mut(self.size.1 * n).skip(top).take(height).enumerate().with_min_len(16).for_each(
            |(y, row)| {
                let row = row[left * n..(left + width) * n].chunks_exact_mut(n).zip(between.row(&self.input, y));
                match &self.counted {
                    None => row.for_each(|(pixel, value)| set(pixel, value)),
                    Some(counted) => {
                        let counts = counted.row(top + y, self.size).skip(left);
                        row.zip(counts).filter(|(_, counts)| *counts).for_each(|((pixel, value), _)| set(pixel, value));
                    }
                }
            },
        );
    }
}
