//! Sets of squares at random places: a small table of squares per image, gathered per pixel.

#![allow(unsafe_code)] // launches

use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::kernels::{self, ColourKind, SquaresParameters, constants};
use crate::device::cuda::{Buffer, Cuda, Result};
use crate::rng::{Stream, sin_cos_turns};

/// The mode of small squares, meant for 28 to 32 px.
pub(crate) const BLOB: Mode = Mode {
    word: "blob",
    explanation: "Small white squares",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |side, channels| {
        let look = Look { smallest: 6.0, largest: 6.0, rotated: false, colour: Colour::Constant(255) };
        Arc::new(Squares { side, channels, sets: vec![BlobSet::new(0, 0.002, look, side, side.min(32))] })
    },
    checksums: &[("noise", 0x0d43_038e), ("malformed-normal", 0x55b5_b7fb), ("malformed-normal-gt", 0xd3a4_3124)],
};

/// The mode of larger squares, given for 240 px.
pub(crate) const MIXED_BLOB: Mode = Mode {
    word: "mixed-blob",
    explanation: "Larger white squares and squares of random colours",
    stands_alone: true,
    made_of: MadeOf::Numbers,
    prepare: |side, channels| {
        let set = |number, colour| {
            let look = Look { smallest: 34.0, largest: 34.0, rotated: false, colour };
            BlobSet::new(number, 1e-5, look, side, 240)
        };
        Arc::new(Squares { side, channels, sets: vec![set(0, Colour::Constant(255)), set(1, Colour::Bright)] })
    },
    checksums: &[("noise", 0x882e_150d), ("malformed-normal", 0xd8f4_b292), ("malformed-normal-gt", 0x1237_9ed8)],
};

/// Numbers of a stream that belong to one set: the count, then [`PER_BLOB`] for each square.
const PER_SET: u32 = 4096;
/// Numbers of a stream per square: row, column, side, angle, three channels; one is unused.
const PER_BLOB: u32 = constants::blobs::PER_SQUARE as u32;
/// Bytes of a [`Blob`] in shared memory: six floats and three shorts, in whole words.
const GPU_BLOB: usize = 32;

/// How squares are coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// The same value in every channel.
    Constant(i16),
    /// 0…255, at random per square and channel.
    Bright,
    /// −256…−1, at random per square and channel.
    Dark,
}

/// What squares look like at the side their figures are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Smallest side in pixels.
    pub smallest: f64,
    /// Largest side in pixels; every whole number of pixels between is as likely.
    pub largest: f64,
    /// Whether squares are turned by up to ±45°.
    pub rotated: bool,
    /// Their colour.
    pub colour: Colour,
}

/// Squares of one look, as many as a rate per pixel gives. Later squares lie over earlier ones.
#[derive(Clone, Debug)]
pub(crate) struct BlobSet {
    /// Which numbers of a stream it uses.
    first: u32,
    /// `counts[k]`: 2³² times the probability of at most `k` squares.
    counts: Vec<u32>,
    smallest: u32,
    largest: u32,
    rotated: bool,
    colour: Colour,
}

/// One rectangle: a pixel belongs to it if, seen from the centre and turned back, it is less than half a side away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob {
    /// Centre in pixels.
    pub row: f32,
    pub column: f32,
    /// Half of its sides along and across.
    pub half: [f32; 2],
    /// Of the angle that it is turned by.
    pub sine: f32,
    pub cosine: f32,
    /// Added to the channels.
    pub colour: [i16; 3],
}

impl BlobSet {
    /// The set with this `number` (0, 1 …) among those of a mode, for images of `side × side` pixels, when `rate` per pixel and
    /// `look` are given for images of `reference × reference`.
    pub(crate) fn new(number: u32, rate: f64, look: Look, side: usize, reference: usize) -> BlobSet {
        let scaled = |length: f64| ((length * side as f64 / reference as f64).round() as u32).max(1);
        BlobSet {
            first: number * PER_SET,
            counts: poisson_table(rate * (reference * reference) as f64),
            smallest: scaled(look.smallest),
            largest: scaled(look.largest),
            rotated: look.rotated,
            colour: look.colour,
        }
    }

    /// Adds the squares that a stream gives to `noise` (`side² · channels` values); they are clipped at the border.
    pub(crate) fn add(&self, stream: Stream, side: usize, channels: usize, blobs: &mut Vec<Blob>, noise: &mut [i16]) {
        self.draw(stream, side, blobs);
        paint(blobs, side, channels, noise);
    }

    /// Draws the table of squares. Centres are pixels of the image, so that each square covers one at least.
    fn draw(&self, stream: Stream, side: usize, blobs: &mut Vec<Blob>) {
        blobs.clear();
        for b in 0..self.count(stream.bits(self.first)) {
            let index = self.first + PER_BLOB * (b + 1);
            let edge = self.smallest + stream.below(index + 2, self.largest - self.smallest + 1);
            // An eighth of a turn to either side: a quarter of the signed angle.
            let turn = if self.rotated { (stream.bits(index + 3) as i32 >> 2) as u32 } else { 0 };
            let [sine, cosine] = sin_cos_turns(turn);
            let random = |c: u32| (stream.bits(index + 4 + c) >> 24) as i16;
            blobs.push(Blob {
                row: stream.below(index, side as u32) as f32,
                column: stream.below(index + 1, side as u32) as f32,
                half: [edge as f32 * 0.5; 2],
                sine,
                cosine,
                colour: match self.colour {
                    Colour::Constant(value) => [value; 3],
                    Colour::Bright => [0, 1, 2].map(random),
                    Colour::Dark => [0, 1, 2].map(|c| random(c) - 256),
                },
            });
        }
    }

    /// Numbers of a row of [`BlobSet::row`].
    const ROW: usize = constants::blobs::SET_ROW as usize;

    /// The set as `kernels/blobs.cu` reads it; `start` is where its distribution function lies among other numbers.
    fn row(&self, start: usize) -> [u32; BlobSet::ROW] {
        let (kind, constant) = match self.colour {
            Colour::Constant(value) => (ColourKind::Constant, value as u32),
            Colour::Bright => (ColourKind::Bright, 0),
            Colour::Dark => (ColourKind::Dark, 0),
        };
        let (start, counts) = (start as u32, self.counts.len() as u32);
        [self.first, start, counts, self.smallest, self.largest, u32::from(self.rotated), kind as u32, constant]
    }

    /// The most squares that an image can have.
    fn most(&self) -> usize {
        self.counts.len().max(1)
    }

    /// How many squares: the inverse of the distribution function at one uniform number; at least one.
    fn count(&self, bits: u32) -> u32 {
        (self.counts.iter().take_while(|&&below| bits >= below).count() as u32).max(1)
    }
}

impl Blob {
    fn covers(&self, y: usize, x: usize) -> bool {
        let (dy, dx) = (y as f32 - self.row, x as f32 - self.column);
        let u = self.cosine * dx + self.sine * dy;
        let v = self.cosine * dy - self.sine * dx;
        let [along, across] = self.half;
        (-along..along).contains(&u) && (-across..across).contains(&v)
    }
}

/// Sets of squares for images of one shape.
#[derive(Debug)]
struct Squares {
    side: usize,
    channels: usize,
    sets: Vec<BlobSet>,
}

/// Sets of squares in device memory.
pub(crate) struct GpuSquares {
    tables: Buffer<u32>,
    sets: usize,
    /// The most squares that an image can have.
    most: usize,
}

impl Noise for Squares {
    fn fill(&self, stream: Stream, _given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]) {
        noise.fill(0);
        for set in &self.sets {
            set.add(stream, self.side, self.channels, &mut scratch.blobs, noise);
        }
    }

    fn on_gpu(&self, cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(GpuSquares::new(cuda, &self.sets)?))
    }
}

impl GpuSquares {
    /// Uploads the tables of up to `MOST_SETS` sets.
    pub(crate) fn new(cuda: &Arc<Cuda>, sets: &[BlobSet]) -> Result<GpuSquares> {
        assert!(sets.len() <= constants::blobs::MOST_SETS as usize, "{} sets of squares", sets.len());
        let mut start = sets.len() * BlobSet::ROW;
        let mut tables = Vec::new();
        for set in sets {
            tables.extend(set.row(start));
            start += set.counts.len();
        }
        tables.extend(sets.iter().flat_map(|set| &set.counts));
        let most = sets.iter().map(BlobSet::most).sum();
        Ok(GpuSquares { tables: cuda.upload(&tables)?, sets: sets.len(), most })
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for GpuSquares {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let parameters = SquaresParameters {
            draw: batch.draw,
            tables: self.tables.pointer(),
            noise: batch.values,
            sets: self.sets as i32,
            side: batch.side as i32,
            channels: batch.channels as i32,
        };
        // SAFETY: the draw names the batch's samples, the values have room for its images, and shared memory for the most squares; the
        // tables are those of so many sets.
        unsafe { kernels::blobs::blobs_squares(batch.launch(batch.pixels(), self.most * GPU_BLOB), &parameters) }
    }
}

/// Adds a table of rectangles to `noise` (`side² · channels` values), clipped at the border; later ones lie over earlier ones.
pub(crate) fn paint(blobs: &[Blob], side: usize, channels: usize, noise: &mut [i16]) {
    for (y, row) in noise.chunks_exact_mut(side * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            if let Some(blob) = blobs.iter().rev().find(|blob| blob.covers(y, x)) {
                for (value, colour) in pixel.iter_mut().zip(blob.colour) {
                    *value += colour;
                }
            }
        }
    }
}

/// The distribution function of the Poisson law with this mean, times 2³², up to where it is one to 32 bits.
fn poisson_table(mean: f64) -> Vec<u32> {
    let mut table = Vec::new();
    let (mut probability, mut sum) = ((-mean).exp(), 0.0);
    let most = PER_SET / PER_BLOB - 2;
    for k in 1..=most {
        sum += probability;
        let scaled = (sum * 4_294_967_296.0).round();
        if scaled >= f64::from(u32::MAX) {
            break;
        }
        table.push(scaled as u32);
        probability *= mean / f64::from(k);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn stream(sample: u32) -> Stream {
        Stream::new(11, Purpose::Anomaly, 0, sample)
    }

    fn set(look: Look, side: usize) -> BlobSet {
        BlobSet::new(0, 1.8e-5, look, side, 240)
    }

    const LOOK: Look = Look { smallest: 8.0, largest: 54.0, rotated: true, colour: Colour::Dark };

    #[test]
    fn counts_follow_the_poisson_law_cut_off_at_one() {
        let mean = 2.0f64;
        let set = BlobSet::new(0, mean, LOOK, 1, 1);
        let n = 40_000;
        let drawn: Vec<u32> = (0..n).map(|sample| set.count(stream(sample).bits(0))).collect();
        let share = |k: u32| drawn.iter().filter(|&&c| c == k).count() as f64 / f64::from(n);
        let none = (-mean).exp();
        for (k, expected) in
            [(0, 0.0), (1, none * 3.0), (2, none * 2.0), (3, none * 4.0 / 3.0), (6, none * 64.0 / 720.0)]
        {
            assert!((share(k) - expected).abs() < 0.01, "{k}: {} {expected}", share(k));
        }
        assert_eq!(set.count(u32::MAX), set.counts.len() as u32);
        assert!(set.counts.len() < 30, "{}", set.counts.len());
    }

    #[test]
    fn upright_squares_have_their_size() {
        let look = Look { smallest: 5.0, largest: 6.0, rotated: false, colour: Colour::Constant(9) };
        let (mut sizes, mut blobs) = (std::collections::BTreeSet::new(), Vec::new());
        for sample in 0..100 {
            let mut noise = vec![0; 240 * 240];
            set(look, 240).add(stream(sample), 240, 1, &mut blobs, &mut noise);
            let inside = |v: f32| (10.0..230.0).contains(&v);
            if blobs.len() == 1 && inside(blobs[0].row) && inside(blobs[0].column) {
                sizes.insert(noise.iter().filter(|&&v| v == 9).count());
            }
        }
        assert!(sizes.into_iter().eq([25, 36]));
    }

    #[test]
    fn rotation_keeps_the_area_and_later_squares_cover_earlier_ones() {
        let (mut blobs, mut tilted) = (Vec::new(), 0);
        for sample in 0..200 {
            let mut noise = vec![0; 240 * 240 * 3];
            set(LOOK, 240).add(stream(sample), 240, 3, &mut blobs, &mut noise);
            let last = blobs.last().unwrap();
            assert!(last.cosine >= 0.707 && last.sine.abs() <= 0.7072);
            let pixels = noise.chunks(3).filter(|&pixel| pixel == last.colour).count() as f32;
            let area = 4.0 * last.half[0] * last.half[1];
            let inside = |v: f32| (40.0..200.0).contains(&v);
            if inside(last.row) && inside(last.column) {
                assert!((pixels - area).abs() < 0.3 * area.sqrt() * 4.0 + 4.0, "{pixels} {area}");
                tilted += u32::from(last.sine.abs() > 0.35);
            }
            assert!(noise.iter().all(|v| (-256..=0).contains(v)));
        }
        assert!(tilted > 20);
    }

    #[test]
    fn sizes_scale_with_the_side() {
        let small = set(LOOK, 24);
        assert_eq!((small.smallest, small.largest), (1, 5));
        assert_eq!(small.counts, set(LOOK, 240).counts);
    }
}
