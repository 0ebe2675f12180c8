//! Resizing of byte images: Pillow's antialiased bilinear filter, bit for bit, and two rules of nearest neighbour.

use std::ops::Range;

use rayon::prelude::*;

/// Bytes, at least, that a task of a thread reads: some 50 µs of work.
const TASK: usize = 64 << 10;

/// Bytes, at most, that rows take once their columns are resized, if it is more than one row: an image of few columns grows by that.
const PART: usize = 1 << 20;

/// Weights are multiples of 2⁻²², as in Pillow.
pub(crate) const PRECISION: u32 = 22;

/// How one axis is resized: `from` pixels to `to`, of which those of a range are kept.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub from: usize,
    pub to: usize,
    pub kept: Range<usize>,
}

/// For each output position that is kept, the first input position and the weights from there on.
struct Taps {
    from: usize,
    spans: Vec<(usize, Vec<i32>)>,
}

/// Resizes an image by Pillow's bilinear filter as its rows come: when shrinking, the triangle widens with the ratio of each axis.
/// Columns first, each pass rounded to bytes (as Pillow up to 12; 13 begins with the rows where these shrink while the columns grow).
pub(crate) struct Bilinear {
    channels: usize,
    columns: Taps,
    rows: Taps,
    /// Rows that have come.
    came: usize,
    /// Weighted sums of the rows, [rows out, columns out, channels].
    sums: Vec<i32>,
}

impl Axis {
    /// All of an axis.
    pub(crate) fn whole(from: usize, to: usize) -> Axis {
        Axis { from, to, kept: 0..to }
    }
}

impl Bilinear {
    /// Of images with so many channels.
    pub(crate) fn new(channels: usize, rows: Axis, columns: Axis) -> Bilinear {
        let (rows, columns) = (Taps::new(rows), Taps::new(columns));
        let sums = vec![0; rows.spans.len() * columns.spans.len() * channels];
        Bilinear { channels, columns, rows, came: 0, sums }
    }

    /// Takes the next rows.
    pub(crate) fn push(&mut self, image: &[u8]) {
        let out = self.columns.spans.len() * self.channels;
        let rows = (PART / out.max(1)).max(1);
        image.chunks(rows * self.columns.from * self.channels).for_each(|part| self.push_part(part));
    }

    fn push_part(&mut self, image: &[u8]) {
        let Bilinear { channels, columns, rows, came, sums } = self;
        let (channels, stride) = (*channels, columns.spans.len() * *channels);
        let mut narrow = vec![0; image.len() / (columns.from * channels) * stride];
        let sources = image.par_chunks_exact(columns.from * channels);
        let in_task = TASK.div_ceil(columns.from * channels);
        sources.zip(narrow.par_chunks_exact_mut(stride)).with_min_len(in_task).for_each(|(source, target)| {
            for (pixel, (first, weights)) in target.chunks_exact_mut(channels).zip(&columns.spans) {
                for (c, value) in pixel.iter_mut().enumerate() {
                    let taps = source[first * channels + c..].iter().step_by(channels);
                    *value = round(weights.iter().zip(taps).map(|(w, &v)| w * i32::from(v)).sum());
                }
            }
        });
        let (start, end) = (*came, *came + narrow.len() / stride);
        // Those of the rows out that look at these: spans begin and end in order.
        let begun = rows.spans.partition_point(|(first, _)| *first < end);
        let done = rows.spans.partition_point(|(first, weights)| first + weights.len() <= start);
        let open = &rows.spans[done.min(begun)..begun];
        let sums = &mut sums[done.min(begun) * stride..begun * stride];
        let looked_at = open.first().map_or(1, |(_, weights)| weights.len().min(end - start));
        let in_task = TASK.div_ceil(looked_at.max(1) * stride);
        sums.par_chunks_exact_mut(stride).zip(open).with_min_len(in_task).for_each(|(sums, (first, weights))| {
            for y in start.max(*first)..end.min(first + weights.len()) {
                let w = weights[y - first];
                for (sum, &v) in sums.iter_mut().zip(&narrow[(y - start) * stride..][..stride]) {
                    *sum += w * i32::from(v);
                }
            }
        });
        *came = end;
    }

    /// The image, once all rows have come: [rows out, columns out, channels].
    pub(crate) fn finish(self) -> Vec<u8> {
        self.sums.into_iter().map(round).collect()
    }
}

/// Bytes of the weights by which an axis of so many pixels shrinks: each pixel has two.
pub(crate) fn table_bytes(from: usize) -> usize {
    from.saturating_mul(2 * size_of::<i32>())
}

/// The source index that nearest-neighbour resizing from `from` to `to` samples takes for output `i`, as Pillow does, by the
/// centres of pixels: ⌊(i + ½) · from / to⌋. (Pillow adds up steps in f64; where a centre meets a corner, which from 240 to 224
/// none does, it may take the pixel before.)
pub(crate) fn nearest(i: usize, from: usize, to: usize) -> usize {
    (2 * i + 1) * from / (2 * to)
}

/// The same as `torch.nn.functional.interpolate` does, by the corners of pixels: ⌊i · from / to⌋, in its f32 arithmetic, which
/// now and then falls short of a whole number. The authors store MVTec-AD so.
pub(crate) fn floor_nearest(i: usize, from: usize, to: usize) -> usize {
    ((i as f32 * (from as f32 / to as f32)) as usize).min(from - 1)
}

impl Taps {
    fn new(Axis { from, to, kept }: Axis) -> Taps {
        let ratio = from as f64 / to as f64;
        let support = ratio.max(1.0);
        let span = |i: usize| {
            let centre = (i as f64 + 0.5) * ratio;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weight = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / support).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            let scale = f64::from(1u32 << PRECISION);
            (first, (first..end).map(|x| (weight(x) / sum * scale + 0.5) as i32).collect())
        };
        Taps { from, spans: kept.map(span).collect() }
    }
}

fn round(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(image: &[u8], height: usize, width: usize, channels: usize, side: usize) -> Vec<u8> {
        resized_to(image, (height, width), channels, (side, side))
    }

    /// All rows at once, which is the same as one after the other, and as what is kept of more.
    fn resized_to(image: &[u8], from: (usize, usize), channels: usize, to: (usize, usize)) -> Vec<u8> {
        let new = |rows, columns| Bilinear::new(channels, rows, columns);
        let whole = || new(Axis::whole(from.0, to.0), Axis::whole(from.1, to.1));
        let mut at_once = whole();
        at_once.push(image);
        let at_once = at_once.finish();
        let mut by_rows = whole();
        image.chunks_exact(from.1 * channels).for_each(|row| by_rows.push(row));
        assert_eq!(by_rows.finish(), at_once);
        let (rows, columns) = (to.0 / 3..to.0, to.1 / 2..to.1);
        let axis = |from, to, kept: &Range<usize>| Axis { from, to, kept: kept.clone() };
        let mut kept = new(axis(from.0, to.0, &rows), axis(from.1, to.1, &columns));
        image.chunks(3 * from.1 * channels).for_each(|rows| kept.push(rows));
        let of_rows = at_once.chunks_exact(to.1 * channels).skip(rows.start);
        let expected: Vec<u8> = of_rows.flat_map(|row| &row[columns.start * channels..]).copied().collect();
        assert_eq!(kept.finish(), expected);
        at_once
    }

    /// The sum of values times their numbers from 1 on.
    fn weighted(values: impl IntoIterator<Item = usize>) -> usize {
        values.into_iter().zip(1..).map(|(v, i)| v * i).sum()
    }

    /// Values of Pillow 12 on a pattern of 31 × 23 pixels.
    #[test]
    fn it_is_pillows() {
        let pattern = (0..31 * 23).map(|i| ((i / 23) * 37 + (i % 23) * 91 + ((i / 23) * (i % 23)) % 17 * 5) % 256);
        let image: Vec<u8> = pattern.map(|v| v as u8).collect();
        // resize((5, 5), BILINEAR), the weighted sum of resize((40, 40), BILINEAR), a row of resize((7, 7), NEAREST)
        let small = resized(&image, 31, 23, 1, 5);
        assert_eq!(small[..10], [119, 118, 125, 123, 128, 131, 131, 123, 111, 123]);
        assert_eq!(small[20..], [127, 140, 142, 147, 129]);
        assert_eq!(weighted(resized(&image, 31, 23, 1, 40).into_iter().map(usize::from)), 166_989_999);
        // The same of resize((9, 5), BILINEAR) and resize((12, 40), BILINEAR)
        for (height, width, sum) in [(5, 9, 134_637), (40, 12, 15_074_122)] {
            let out = resized_to(&image, (31, 23), 1, (height, width));
            assert_eq!(weighted(out.into_iter().map(usize::from)), sum);
        }
        let row: Vec<u8> = (0..7).map(|x| image[nearest(2, 31, 7) * 23 + nearest(x, 23, 7)]).collect();
        assert_eq!(row, [41, 53, 126, 138, 150, 52, 64]);
    }

    /// Weighted sums of the indices that Pillow 13's resize(NEAREST) and torch 2.15's interpolate(mode="nearest") take. Of 1000 to
    /// 240, torch's arithmetic is not the exact quotient.
    #[test]
    fn neighbours_are_pillows_and_torchs() {
        for (from, to, pillow, torch) in [
            (240, 224, 4_015_032, 4_002_040),
            (900, 240, 17_319_540, 17_268_840),
            (1000, 240, 19_245_340, 19_185_386),
            (7, 240, 119_674, 119_329),
        ] {
            assert_eq!(weighted((0..to).map(|i| nearest(i, from, to))), pillow, "{from} to {to}");
            assert_eq!(weighted((0..to).map(|i| floor_nearest(i, from, to))), torch, "{from} to {to}");
        }
        assert_ne!(floor_nearest(30, 1000, 240), 30 * 1000 / 240);
    }

    #[test]
    fn channels_are_apart_and_flat_images_stay_flat() {
        let grey: Vec<u8> = (0..70).map(|i| (i * 53 % 256) as u8).collect();
        let colour: Vec<u8> = grey.iter().flat_map(|&v| [v, 255 - v, 7]).collect();
        let (one, three) = (resized(&grey, 7, 10, 1, 4), resized(&colour, 7, 10, 3, 4));
        assert!(three.chunks(3).zip(&one).all(|(pixel, &v)| pixel[0] == v && pixel[2] == 7));
        assert_eq!(resized(&[9; 500], 500, 1, 1, 3), [9; 9]);
        assert_eq!(resized(&[1, 2, 3], 1, 1, 3, 2), [1, 2, 3].repeat(4));
        assert_eq!(resized(&grey[..64], 8, 8, 1, 8), grey[..64], "the same size changes nothing");
        // More than a part.
        let tall: Vec<u8> = (0..9000).map(|i| (i * 53 % 256) as u8).collect();
        resized_to(&tall, (9000, 1), 1, (2, 400));
    }
}
