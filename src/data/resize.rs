//! Resizing of byte images: Pillow's antialiased bilinear filter, bit for bit, and nearest neighbour.

/// Weights are multiples of 2⁻²², as in Pillow.
const PRECISION: u32 = 22;

/// For each output position, the first input position and the weights from there on.
struct Taps {
    spans: Vec<(usize, Vec<i32>)>,
}

/// Resizes an image of `height × width × channels` bytes to `side × side`, written to `out`. When shrinking, the triangle filter
/// widens with the ratio; other shapes are squashed. Columns first, each pass rounded to bytes.
pub fn bilinear(image: &[u8], height: usize, width: usize, channels: usize, side: usize, out: &mut [u8]) {
    assert_eq!((image.len(), out.len()), (height * width * channels, side * side * channels));
    let (columns, rows) = (Taps::new(width, side), Taps::new(height, side));
    let mut narrow = vec![0; height * side * channels];
    for (source, target) in image.chunks_exact(width * channels).zip(narrow.chunks_exact_mut(side * channels)) {
        for (pixel, (first, weights)) in target.chunks_exact_mut(channels).zip(&columns.spans) {
            for (c, value) in pixel.iter_mut().enumerate() {
                let taps = source[first * channels + c..].iter().step_by(channels);
                *value = round(weights.iter().zip(taps).map(|(w, &v)| w * i32::from(v)).sum());
            }
        }
    }
    let stride = side * channels;
    let mut sums = vec![0; stride];
    for (target, (first, weights)) in out.chunks_exact_mut(stride).zip(&rows.spans) {
        sums.fill(0);
        for (w, source) in weights.iter().zip(narrow[first * stride..].chunks_exact(stride)) {
            for (sum, &v) in sums.iter_mut().zip(source) {
                *sum += w * i32::from(v);
            }
        }
        for (value, &sum) in target.iter_mut().zip(&sums) {
            *value = round(sum);
        }
    }
}

/// The source index that nearest-neighbour resizing from `from` to `to` samples takes for output `i`: ⌊(i + ½) · from / to⌋.
pub fn nearest(i: usize, from: usize, to: usize) -> usize {
    (2 * i + 1) * from / (2 * to)
}

impl Taps {
    fn new(from: usize, to: usize) -> Taps {
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
        Taps { spans: (0..to).map(span).collect() }
    }
}

fn round(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(image: &[u8], height: usize, width: usize, channels: usize, side: usize) -> Vec<u8> {
        let mut out = vec![0; side * side * channels];
        bilinear(image, height, width, channels, side, &mut out);
        out
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
        let large = resized(&image, 31, 23, 1, 40);
        assert_eq!(large.iter().zip(1u64..).map(|(&v, i)| i * u64::from(v)).sum::<u64>(), 166_989_999);
        let row: Vec<u8> = (0..7).map(|x| image[nearest(2, 31, 7) * 23 + nearest(x, 23, 7)]).collect();
        assert_eq!(row, [41, 53, 126, 138, 150, 52, 64]);
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
    }
}
