//! CutPaste (Li et al., CVPR 2021): blocks and strips of good images, pasted with soft edges where they do not belong.
//!
//! An image takes one to three patches, half of them from itself, half from another good image. Half are blocks of 0.5–10 % of its area,
//! half strips of 3–16 × 10–70 px (at 224 px; lengths scale by side/224), turned by any angle, anywhere inside the image. The source is
//! rolled, flipped and transposed by whole pixels, so that its grain stays as it is; its contrast and brightness change. Edges are those of a
//! Gaussian blur of σ 0.3–1.5 px, at any side: an image that was resized is about as sharp. Changes of up to two levels do not count.
//!
//! All is integers, so that `kernels/cutpaste.cu` has the same bits: lengths in units of 2⁻⁸ px, angles of 2⁻¹⁴.

#![allow(unsafe_code)] // launches

use std::ops::Range;
use std::sync::Arc;

use crate::data::anomaly::gpu::{GpuBatch, GpuNoise};
use crate::data::anomaly::malform::REPLACED;
use crate::data::anomaly::{Ingredients, MadeOf, Mode, Noise, Scratch};
use crate::device::cuda::kernels::{self, CutPasteParameters, constants};
use crate::device::cuda::{Buffer, Cuda, Result};
use crate::rng::{Stream, sin_cos_turns};

/// The mode.
pub(crate) const CUTPASTE: Mode = Mode {
    word: "cutpaste",
    explanation: "Blocks and strips of good images, pasted in with soft edges; for changing a sample only",
    stands_alone: false,
    made_of: MadeOf::GoodImages,
    prepare: |side, channels| Arc::new(CutPaste { side, channels, tables: Tables::new(side) }),
    checksums: &[("malformed-normal", 0x1a9f_9355), ("malformed-normal-gt", 0x75c7_9dfa)],
};

/// The side that lengths of strips are for.
const REFERENCE: f64 = 224.0;
/// Strips' length and width there.
const LENGTHS: [f64; 2] = [10.0, 70.0];
const WIDTHS: [f64; 2] = [3.0, 16.0];
/// Blocks' share of the area, and their length by their width.
const AREAS: [f64; 2] = [0.005, 0.1];
const ASPECTS: [f64; 2] = [0.3, 1.0 / 0.3];
/// Standard deviations of the blur at the edge, in pixels.
const SIGMAS: [f64; 2] = [0.3, 1.5];

const MOST_PATCHES: u32 = constants::cutpaste::MOST_PATCHES as u32;
/// Numbers of a stream per patch. The first ones hold the count of patches.
const PER_PATCH: u32 = constants::cutpaste::PER_PATCH as u32;
/// Entries of the tables that log-uniform values are drawn from.
const ENTRIES: usize = constants::cutpaste::ENTRIES as usize;
/// The entry of the edge's curve at the edge itself.
const MIDDLE: i32 = constants::cutpaste::MIDDLE;
/// How far beyond a patch's border its edge may still show.
const MARGIN: i32 = constants::cutpaste::MARGIN;
/// Changes of up to so many levels do not count.
const UNSEEN: u8 = constants::cutpaste::UNSEEN as u8;

/// CutPaste for images of one shape.
#[derive(Debug)]
struct CutPaste {
    side: usize,
    channels: usize,
    tables: Tables,
}

/// Its tables in device memory.
struct GpuCutPaste {
    tables: Buffer<i32>,
}

/// What patches are drawn from, log-uniform, and the curve of their edges.
#[derive(Debug)]
struct Tables {
    /// Half of a square block's side.
    blocks: [i32; ENTRIES],
    /// Roots of length by width, in units of 2⁻¹²; those of width by length are the same ones backwards.
    aspects: [i32; ENTRIES],
    /// Half of a strip's length and width.
    lengths: [i32; ENTRIES],
    widths: [i32; ENTRIES],
    /// 2¹² / σ, σ in pixels: steps of the curve per length, of 2⁻¹⁶.
    sharpnesses: [i32; ENTRIES],
    /// The normal distribution function in steps of σ/16, in units of 2⁻¹⁵.
    curve: [i32; 2 * MIDDLE as usize + 1],
}

/// A rectangle, what is pasted into it, and how it is changed. Rows stand before columns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Patch {
    centre: [i32; 2],
    /// Half sides, along and across.
    along: i32,
    across: i32,
    sine: i32,
    cosine: i32,
    sharpness: i32,
    from_other: bool,
    flips: [bool; 2],
    transposes: bool,
    /// How far the source is moved, in pixels.
    roll: [usize; 2],
    /// In units of 2⁻⁸.
    contrast: i32,
    brightness: i32,
}

impl Tables {
    /// For images of `side × side` pixels.
    fn new(side: usize) -> Tables {
        let spaced =
            |[low, high]: [f64; 2]| std::array::from_fn(|i| low * (high / low).powf(i as f64 / (ENTRIES - 1) as f64));
        let rounded = |values: [f64; ENTRIES], unit: f64| values.map(|value| (value * unit).round() as i32);
        let halves = |values: [f64; ENTRIES], scale: f64| rounded(values, 128.0 * scale).map(|half| half.max(128));
        let scale = side as f64 / REFERENCE;
        Tables {
            blocks: halves(spaced(AREAS).map(f64::sqrt), side as f64),
            aspects: rounded(spaced(ASPECTS).map(f64::sqrt), 4096.0),
            lengths: halves(spaced(LENGTHS), scale),
            widths: halves(spaced(WIDTHS), scale),
            sharpnesses: spaced(SIGMAS).map(|sigma| (4096.0 / sigma).round() as i32),
            // Symmetrical to the bit, 0 and 1 at the ends.
            curve: std::array::from_fn(|i| {
                let steps = i as i32 - MIDDLE;
                let from_middle = match steps.abs() {
                    MIDDLE => 16384,
                    steps => (beyond_half(f64::from(steps) / 16.0) * 32768.0).round() as i32,
                };
                16384 + steps.signum() * from_middle
            }),
        }
    }

    /// All of them one after the other, as the kernel finds them.
    fn all(&self) -> Vec<i32> {
        let Tables { blocks, aspects, lengths, widths, sharpnesses, curve } = self;
        [blocks.as_slice(), aspects, lengths, widths, sharpnesses, curve].concat()
    }
}

/// Φ(x) − ½ of the normal distribution, for x ≥ 0 that are not large.
fn beyond_half(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..64 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// A number times another in units of 2⁻¹⁴, plus the same of a second pair.
fn turned([a, b]: [i32; 2], [x, y]: [i32; 2]) -> i32 {
    ((i64::from(a) * i64::from(x) + i64::from(b) * i64::from(y)) >> 14) as i32
}

impl Patch {
    /// The patch of a stream with this number.
    fn draw(stream: Stream, number: u32, side: usize, tables: &Tables) -> Patch {
        let first = PER_PATCH / 4 * (number + 1);
        let [form, place, look] = [0, 1, 2].map(|block| stream.block(first + block));
        let scaled = |bits: u32, n: i32| ((u64::from(bits) * n as u64) >> 32) as i32;
        let entry = |bits: u32| scaled(bits, ENTRIES as i32) as usize;
        let coin = |bit: u32| form[0] >> bit & 1 == 1;
        let (size, shape) = (entry(form[1]), entry(form[2]));
        let [along, across] = if coin(31) {
            [tables.lengths[size], tables.widths[shape]]
        } else {
            [shape, ENTRIES - 1 - shape].map(|shape| ((tables.blocks[size] * tables.aspects[shape]) >> 12).max(128))
        };
        let [sine, cosine] = sin_cos_turns(form[3] >> 1).map(|v| (v * 16384.0) as i32);
        let mut patch = Patch {
            centre: [128 * side as i32; 2],
            along,
            across,
            sine,
            cosine,
            sharpness: tables.sharpnesses[entry(look[2])],
            from_other: coin(30),
            flips: [coin(29), coin(28)],
            transposes: coin(27),
            roll: [2, 3].map(|number| scaled(place[number], side as i32) as usize),
            contrast: 180 + scaled(look[0], 153),
            brightness: scaled(look[1], 51) - 25,
        };
        let extents = patch.extents();
        for ((centre, extent), bits) in patch.centre.iter_mut().zip(extents).zip(place) {
            let room = 256 * side as i32 - 2 * extent;
            if room > 0 {
                *centre = extent + scaled(bits, room + 1);
            }
        }
        patch
    }

    /// Half of the rows and columns that it takes.
    fn extents(&self) -> [i32; 2] {
        let (sine, cosine) = (self.sine.abs(), self.cosine.abs());
        [[sine, cosine], [cosine, sine]].map(|axis| turned(axis, [self.along, self.across]))
    }

    /// The rows and columns that it may change.
    fn bounds(&self, side: usize) -> [Range<usize>; 2] {
        let extents = self.extents();
        [0, 1].map(|axis| {
            let (centre, reach) = (self.centre[axis] - 128, extents[axis] + MARGIN);
            let first = (centre - reach + 255).div_euclid(256).max(0) as usize;
            let last = (centre + reach).div_euclid(256) as usize; // no centre lies outside of the image
            first..(last + 1).min(side)
        })
    }

    /// How much of a pixel it covers, of 2¹⁶.
    fn coverage(&self, curve: &[i32], y: usize, x: usize) -> i32 {
        let [dy, dx] = [256 * y as i32 + 128 - self.centre[0], 256 * x as i32 + 128 - self.centre[1]];
        let covered = |distance: i32| {
            let step = (distance.clamp(-32768, 32768) * self.sharpness + 32768) >> 16;
            curve[(step.clamp(-MIDDLE, MIDDLE) + MIDDLE) as usize]
        };
        let between = |half: i32, at: i32| covered(half - at) + covered(half + at) - 32768;
        let along = between(self.along, turned([self.cosine, self.sine], [dx, dy]));
        let across = between(self.across, turned([self.cosine, -self.sine], [dy, dx]));
        (along * across + 8192) >> 14
    }

    /// The pixel of the source that is pasted at (y, x).
    fn source(&self, side: usize, y: usize, x: usize) -> usize {
        let mut place = [(y + self.roll[0]) % side, (x + self.roll[1]) % side];
        for (at, flipped) in place.iter_mut().zip(self.flips) {
            if flipped {
                *at = side - 1 - *at;
            }
        }
        let [y, x] = place;
        if self.transposes { x * side + y } else { y * side + x }
    }

    /// The mean of 4 × 4 points of what is pasted: contrast is about it.
    fn mean(&self, from: &[u8], side: usize, channels: usize) -> i32 {
        let mut sum = 0;
        for point in 0..16 {
            let (u, v) = ((self.along * (2 * (point / 4) - 3)) >> 2, (self.across * (2 * (point % 4) - 3)) >> 2);
            let offset = [turned([self.sine, self.cosine], [u, v]), turned([self.cosine, -self.sine], [u, v])];
            let [y, x] =
                [0, 1].map(|axis| ((self.centre[axis] + offset[axis]) >> 8).clamp(0, side as i32 - 1) as usize);
            let pixel = &from[self.source(side, y, x) * channels..][..channels];
            sum += pixel.iter().map(|&v| i32::from(v)).sum::<i32>();
        }
        (sum + 8 * channels as i32) / (16 * channels as i32)
    }

    /// Pastes from one image into another.
    fn paste(&self, from: &[u8], (side, channels): (usize, usize), curve: &[i32], image: &mut [u8]) {
        let mean = self.mean(from, side, channels);
        let [rows, columns] = self.bounds(side);
        for (y, x) in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
            let coverage = self.coverage(curve, y, x);
            if coverage == 0 {
                continue;
            }
            let source = &from[self.source(side, y, x) * channels..];
            for (value, &new) in image[(y * side + x) * channels..][..channels].iter_mut().zip(source) {
                let old = i32::from(*value);
                let contrasted = (self.contrast * (i32::from(new) - mean) + 128) >> 8;
                let new = (mean + contrasted + self.brightness).clamp(0, 255);
                *value = (old + ((coverage * (new - old) + 32768) >> 16)) as u8;
            }
        }
    }
}

impl Noise for CutPaste {
    fn fill(&self, stream: Stream, given: Ingredients<'_>, scratch: &mut Scratch, noise: &mut [i16]) {
        let CutPaste { side, channels, tables } = self;
        let Ingredients { normal, other } = given;
        let pasted = &mut scratch.pasted;
        pasted.clear();
        pasted.extend_from_slice(normal);
        for number in 0..1 + stream.below(0, MOST_PATCHES) {
            let patch = Patch::draw(stream, number, *side, tables);
            let from = other.filter(|_| patch.from_other).unwrap_or(normal);
            patch.paste(from, (*side, *channels), &tables.curve, pasted);
        }
        let pixels = normal.chunks_exact(*channels).zip(pasted.chunks_exact(*channels));
        for (noise, (before, after)) in noise.chunks_exact_mut(*channels).zip(pixels) {
            let seen = before.iter().zip(after).any(|(&before, &after)| before.abs_diff(after) > UNSEEN);
            for (noise, &after) in noise.iter_mut().zip(after) {
                *noise = if seen { REPLACED + i16::from(after) } else { 0 };
            }
        }
    }

    fn on_gpu(&self, cuda: &Arc<Cuda>, _batch: usize) -> Result<Box<dyn GpuNoise>> {
        Ok(Box::new(GpuCutPaste { tables: cuda.upload(&self.tables.all())? }))
    }
}

// SAFETY: the launches name its own buffers and the batch.
unsafe impl GpuNoise for GpuCutPaste {
    fn enqueue(&self, batch: &GpuBatch<'_>) -> Result<()> {
        let parameters = CutPasteParameters {
            draw: batch.draw,
            normals: batch.normals,
            others: batch.others,
            tables: self.tables.pointer(),
            noise: batch.values,
            count: batch.normal_count,
            side: batch.side as i32,
            channels: batch.channels as i32,
        };
        // SAFETY: the draw names the batch's samples; images and values have room for them, the tables have all their entries.
        unsafe { kernels::cutpaste::cutpaste_patches(batch.launch(batch.pixels(), 0), &parameters) }
    }
}

#[cfg(test)]
mod tests;
