//! Gaussian blur of one image (NHWC): normalised separable kernel, border reflected without repeating the edge.

use crate::real::Real;

/// `k` weights of a Gaussian with standard deviation `sigma`, centred, summing to 1. For even `k` the centre lies between
/// two taps.
pub(crate) fn gaussian_weights<T: Real>(k: usize, sigma: f64) -> Vec<T> {
    let centre = (k as f64 - 1.0) / 2.0;
    let weights: Vec<f64> = (0..k).map(|i| (-(i as f64 - centre).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| T::of(w / sum)).collect()
}

/// Index in `0..n` of position `i` when the image is mirrored at its first and last sample: … 2 1 | 0 1 2 … n−1 | n−2 ….
pub(crate) fn reflect(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period as isize) as usize;
    i.min(period - i)
}

/// Blurs an image of `height × width × channels` values with a kernel of `k × k` taps (`k` odd).
pub(crate) fn gaussian_blur<T: Real>(
    image: &[T],
    height: usize,
    width: usize,
    channels: usize,
    k: usize,
    sigma: f64,
) -> Vec<T> {
    let weights = gaussian_weights::<T>(k, sigma);
    let tap = |i: usize, t: usize, n: usize| reflect(i as isize + t as isize - (k / 2) as isize, n);
    let along = |source: &[T], place: &dyn Fn(usize, usize, usize) -> usize| -> Vec<T> {
        let value = |i: usize| {
            let (y, x, c) = (i / (width * channels), i / channels % width, i % channels);
            weights.iter().enumerate().map(|(t, &w)| w * source[place(y, x, t) * channels + c]).sum()
        };
        (0..source.len()).map(value).collect()
    };
    let rows = along(image, &|y, x, t| y * width + tap(x, t, width));
    along(&rows, &|y, x, t| tap(y, t, height) * width + x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_a_normalised_gaussian() {
        let w = gaussian_weights::<f64>(3, 1.0);
        approx::assert_relative_eq!(w[0] / w[1], (-0.5f64).exp(), max_relative = 1e-14);
        approx::assert_relative_eq!(w.iter().sum::<f64>(), 1.0, max_relative = 1e-14);
        assert_eq!(gaussian_weights::<f32>(1, 2.0), [1.0]);
    }

    #[test]
    fn reflection_folds_any_position() {
        let folded: Vec<usize> = (-4..8).map(|i| reflect(i, 3)).collect();
        assert_eq!(folded, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(reflect(-9, 1), 0);
    }

    #[test]
    fn an_impulse_becomes_the_kernel_and_constants_stay() {
        let (h, w, c) = (7, 9, 2);
        let mut image = vec![0.0f64; h * w * c];
        image[(3 * w + 4) * c + 1] = 1.0;
        let blurred = gaussian_blur(&image, h, w, c, 3, 0.8);
        let g = gaussian_weights::<f64>(3, 0.8);
        for y in 0..3 {
            for x in 0..3 {
                approx::assert_relative_eq!(blurred[((y + 2) * w + x + 3) * c + 1], g[y] * g[x], max_relative = 1e-14);
            }
        }
        approx::assert_relative_eq!(blurred.iter().sum::<f64>(), 1.0, max_relative = 1e-14);
        let flat = gaussian_blur(&vec![3.0f64; h * w * c], h, w, c, 25, 5.0);
        assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-13));
    }
}
