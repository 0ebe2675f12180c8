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
mod tests {
    use super::*;
    use crate::data::anomaly::malform::malform;
    use crate::rng::Purpose;

    const SIDE: usize = 224;

    fn stream(sample: u32) -> Stream {
        Stream::new(5, Purpose::Anomaly, 2, sample)
    }

    /// Patches as images of a side take them.
    fn drawn(side: usize, count: u32) -> Vec<Patch> {
        let tables = Tables::new(side);
        (0..count).map(|sample| Patch::draw(stream(sample), sample % MOST_PATCHES, side, &tables)).collect()
    }

    /// A gradient with some texture, another one for each salt.
    fn texture(side: usize, channels: usize, salt: u32) -> Vec<u8> {
        let n = side * side * channels;
        let random = Stream::new(1, Purpose::Check, salt, 0);
        (0..n).map(|i| (60 + 80 * i / n) as u8 + (random.bits(i as u32) >> 26) as u8).collect()
    }

    #[test]
    fn patches_are_the_described_ones() {
        let patches = drawn(SIDE, 4000);
        let is_block = |patch: &&Patch| {
            let tables = Tables::new(SIDE);
            !(tables.lengths.contains(&patch.along) && tables.widths.contains(&patch.across))
        };
        let pixels = |half: i32| f64::from(half) / 128.0;
        let (mut areas, mut aspects) = (Vec::new(), Vec::new());
        for block in patches.iter().filter(is_block) {
            areas.push(pixels(block.along) * pixels(block.across) / (SIDE * SIDE) as f64);
            aspects.push(pixels(block.along) / pixels(block.across));
        }
        let share = |count: usize| count as f64 / patches.len() as f64;
        // Standard deviation 0.008.
        let half = 0.46..0.54;
        assert!(half.contains(&share(areas.len())), "{} of {} are blocks", areas.len(), patches.len());
        let strips = patches.iter().filter(|patch| !is_block(patch));
        let [lengths, widths]: [Vec<f64>; 2] =
            strips.map(|strip| [pixels(strip.along), pixels(strip.across)]).fold([vec![], vec![]], |mut all, new| {
                all.iter_mut().zip(new).for_each(|(all, new)| all.push(new));
                all
            });
        // Their whole range is used, evenly on a logarithmic scale: the geometric mean of its ends is the middle.
        for (values, [low, high]) in [(areas, AREAS), (aspects, ASPECTS), (lengths, LENGTHS), (widths, WIDTHS)] {
            let [least, most] = [f64::min, f64::max].map(|of| values.iter().copied().reduce(of).unwrap());
            assert!((least / low - 1.0).abs() < 0.02 && (most / high - 1.0).abs() < 0.02, "{least} to {most}");
            let below = values.iter().filter(|&&value| value < (low * high).sqrt()).count() as f64;
            assert!((below / values.len() as f64 - 0.5).abs() < 0.05, "{below} of {} in {low} to {high}", values.len());
        }
        for of in [
            |patch: &&Patch| patch.from_other,
            |patch: &&Patch| patch.flips[0],
            |patch: &&Patch| patch.flips[1],
            |patch: &&Patch| patch.transposes,
            |patch: &&Patch| patch.cosine > 0,
            |patch: &&Patch| patch.brightness > 0,
            |patch: &&Patch| patch.contrast > 255,
            |patch: &&Patch| patch.roll[0] < SIDE / 2,
        ] {
            assert!(half.contains(&share(patches.iter().filter(of).count())));
        }
        for patch in &patches {
            assert!((180..=332).contains(&patch.contrast) && (-25..=25).contains(&patch.brightness));
            assert!((4096.0 / 1.5..=4096.0 / 0.299).contains(&f64::from(patch.sharpness)));
            assert!(
                (16380i64.pow(2)..=16384i64.pow(2))
                    .contains(&(i64::from(patch.sine).pow(2) + i64::from(patch.cosine).pow(2)))
            );
            for (centre, extent) in patch.centre.into_iter().zip(patch.extents()) {
                assert!(extent <= centre && centre + extent <= 256 * SIDE as i32, "{patch:?} lies inside");
            }
        }
    }

    #[test]
    fn edges_are_those_of_a_gaussian_blur() {
        let curve = Tables::new(SIDE).curve;
        let at = |sigmas: f64| f64::from(curve[(64.0 + 16.0 * sigmas) as usize]) / 32768.0;
        for (sigmas, value) in
            [(-4.0, 0.0), (-1.0, 0.158_655), (0.0, 0.5), (1.0, 0.841_345), (2.0, 0.977_250), (4.0, 1.0)]
        {
            assert!((at(sigmas) - value).abs() < 2e-5, "{sigmas}: {}", at(sigmas));
        }
        assert!(curve.is_sorted());
        // An upright edge of σ = 1 px at 100 px: one pixel on, half a pixel further at its centre, covers Φ(−0.5) and so on.
        let patch = Patch {
            centre: [128 * SIDE as i32; 2],
            along: 256 * 12,
            across: 256 * 12,
            sine: 0,
            cosine: 16384,
            sharpness: 4096,
            from_other: false,
            flips: [false; 2],
            transposes: false,
            roll: [0; 2],
            contrast: 256,
            brightness: 0,
        };
        for (x, value) in
            [(99, 0.066_807), (100, 0.308_538), (101, 0.691_462), (112, 1.0), (124, 0.308_538), (130, 0.0)]
        {
            let x = if x < 112 { x - 1 } else { x };
            let covered = f64::from(patch.coverage(&curve, 112, x)) / 65536.0;
            assert!((covered - value).abs() < 1e-4, "{x}: {covered}");
        }
    }

    /// The GPU leaves out what lies beyond the bounds, so nothing may be covered there.
    #[test]
    fn coverage_is_a_share_and_ends_within_the_bounds() {
        for side in [1, 2, 9, 40, SIDE, 700] {
            let curve = Tables::new(side).curve;
            for patch in drawn(side, if side > SIDE { 12 } else { 60 }) {
                let [rows, columns] = patch.bounds(side);
                let mut sum = 0.0;
                for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                    let covered = patch.coverage(&curve, y, x);
                    assert!((0..=65536).contains(&covered), "{covered}");
                    assert!(covered == 0 || rows.contains(&y) && columns.contains(&x), "{side}: {patch:?} at {y}, {x}");
                    sum += f64::from(covered) / 65536.0;
                }
                // A blur keeps the area, but for what it moves beyond the image's border and for the pixel grid.
                let [along, across] = [patch.along, patch.across].map(|half| f64::from(half) / 128.0);
                if side >= SIDE {
                    let rim = 2.0 * (along + across);
                    assert!((sum - along * across).abs() < 0.1 * rim + 1.0 || sum < along * across, "{patch:?}: {sum}");
                    assert!(sum > along * across - 0.6 * rim, "{patch:?}: {sum}");
                }
            }
        }
    }

    /// Where nothing else is changed, bytes of the source stand in a patch as they are.
    #[test]
    fn a_patch_holds_bytes_of_its_source() {
        let (side, channels) = (64, 3);
        let plain = Patch {
            centre: [256 * 30, 256 * 40],
            along: 256 * 14,
            across: 256 * 10,
            sine: 0,
            cosine: 16384,
            sharpness: 4096 * 3,
            from_other: true,
            flips: [false; 2],
            transposes: false,
            roll: [0; 2],
            contrast: 256,
            brightness: 0,
        };
        let (normal, other) = (texture(side, channels, 1), texture(side, channels, 2));
        let curve = Tables::new(side).curve;
        let pasted = |patch: Patch| {
            let mut image = normal.clone();
            patch.paste(&other, (side, channels), &curve, &mut image);
            image
        };
        let pixel = |image: &[u8], y: usize, x: usize| image[(y * side + x) * channels..][..channels].to_vec();
        let turned = Patch { along: plain.across, across: plain.along, sine: 16384, cosine: 0, ..plain };
        for (patch, source) in [
            (plain, (|y, x| (y, x)) as fn(usize, usize) -> (usize, usize)),
            (turned, |y, x| (y, x)),
            (Patch { flips: [true, false], ..plain }, |y, x| (63 - y, x)),
            (Patch { flips: [false, true], ..plain }, |y, x| (y, 63 - x)),
            (Patch { transposes: true, ..plain }, |y, x| (x, y)),
            (Patch { roll: [50, 3], ..plain }, |y, x| ((y + 50) % 64, x + 3)),
        ] {
            let image = pasted(patch);
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                // Rows 20 to 40 and columns 26 to 54, and two pixels of edge to either side.
                let [inside, outside] =
                    [(22..38, 28..52), (18..42, 24..56)].map(|(ys, xs)| ys.contains(&y) && xs.contains(&x));
                let (from_y, from_x) = source(y, x);
                if inside {
                    assert_eq!(pixel(&image, y, x), pixel(&other, from_y, from_x), "{patch:?} at {y}, {x}");
                } else if !outside {
                    assert_eq!(pixel(&image, y, x), pixel(&normal, y, x), "{patch:?} at {y}, {x}");
                }
            }
        }
        // Half the contrast about the mean of the source, and ten levels more.
        let changed = pasted(Patch { contrast: 128, brightness: 10, ..plain });
        let mean = plain.mean(&other, side, channels);
        let of_source: Vec<i32> = other.iter().map(|&v| i32::from(v)).collect();
        let exact = of_source.iter().sum::<i32>() / of_source.len() as i32;
        assert!((mean - exact).abs() < 20, "{mean} {exact}");
        for (now, then) in pixel(&changed, 30, 40).into_iter().zip(pixel(&other, 30, 40)) {
            assert_eq!(i32::from(now), mean + ((i32::from(then) - mean + 1) >> 1) + 10);
        }
    }

    #[test]
    fn noise_is_the_pixels_that_change_by_more_than_two_levels() {
        for channels in [1, 3] {
            let (normal, other) = (texture(SIDE, channels, 3), texture(SIDE, channels, 4));
            let given = Ingredients { normal: &normal, other: Some(&other) };
            let cutpaste = CutPaste { side: SIDE, channels, tables: Tables::new(SIDE) };
            let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
            let (n, mut shares, mut small) = (200, Vec::new(), 0);
            for sample in 0..n {
                cutpaste.fill(stream(sample), given, &mut scratch, &mut noise);
                let mut image = normal.clone();
                malform(&noise, &mut image);
                let mut changed = 0;
                for ((noise, before), after) in
                    noise.chunks(channels).zip(normal.chunks(channels)).zip(image.chunks(channels))
                {
                    let most = before.iter().zip(after).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    assert!(most == 0 || most > 2, "{before:?} became {after:?}");
                    assert!(noise.iter().all(|&v| (most > 0) == (v != 0) && (v == 0 || (1024..1280).contains(&v))));
                    changed += usize::from(most > 0);
                    small += usize::from(most == 3);
                }
                shares.push(changed as f64 / (SIDE * SIDE) as f64);
            }
            let mean = shares.iter().sum::<f64>() / f64::from(n);
            // Two patches on average: of blocks 3.2 % of the area, of strips 0.4 %; overlaps and pixels that happen to be alike take some
            // away, soft edges add some.
            assert!((0.02..0.05).contains(&mean), "{mean}");
            assert!(shares.iter().all(|&share| share > 0.0 && share < 0.35), "{shares:?}");
            assert!(small > 0, "changes of three levels count");
        }
    }

    #[test]
    fn half_of_the_patches_come_from_each_image() {
        // Without contrast a patch has its source's level, and 25 more or less.
        let (normal, other) = (vec![60; SIDE * SIDE], vec![180; SIDE * SIDE]);
        let cutpaste = CutPaste { side: SIDE, channels: 1, tables: Tables::new(SIDE) };
        let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
        let mut levels = [0; 2];
        for sample in 0..300 {
            cutpaste.fill(
                stream(sample),
                Ingredients { normal: &normal, other: Some(&other) },
                &mut scratch,
                &mut noise,
            );
            let has = |range: std::ops::RangeInclusive<i16>| noise.iter().any(|v| range.contains(&(v - REPLACED)));
            levels[0] += u32::from(has(35..=57) || has(63..=85));
            levels[1] += u32::from(has(155..=205));
        }
        // An image has none of one kind with probability (1/2 + 1/4 + 1/8) / 3 = 0.29; edges have levels between.
        assert!(levels[1] > 180 && levels[1] < 245 && levels[0] > 180, "{levels:?}");
    }

    #[test]
    fn small_images_are_mostly_changed_too() {
        for side in [1, 4, 28, 64] {
            let (normal, other) = (texture(side, 1, 5), texture(side, 1, 6));
            let cutpaste = CutPaste { side, channels: 1, tables: Tables::new(side) };
            let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
            let mut changed = 0;
            for sample in 0..200 {
                cutpaste.fill(
                    stream(sample),
                    Ingredients { normal: &normal, other: Some(&other) },
                    &mut scratch,
                    &mut noise,
                );
                changed += u32::from(noise.iter().any(|&v| v != 0));
            }
            assert!(changed >= if side >= 28 { 195 } else { 100 }, "{changed} of 200 at {side} px");
        }
    }
}
