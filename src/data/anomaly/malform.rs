//! What noise does to an image: a value is added to a byte, or takes its place.

use crate::device::cuda::kernels::constants;

/// A value of noise from which on a byte takes its place: this much more than the byte.
pub(crate) const REPLACED: i16 = constants::source::REPLACED as i16;

/// An image in the sample's place: the noise clamped to bytes.
pub(crate) fn replace(noise: &[i16], image: &mut [u8]) {
    for (value, &n) in image.iter_mut().zip(noise) {
        *value = n.clamp(0, 255) as u8;
    }
}

/// Adds noise to an image, clamped to bytes. Where that leaves the image almost as it was (mean signed change below 0.025 of
/// 255, as for dark noise on black), the inverted noise is used if it changes more. What replaces a byte has no inverse.
pub(crate) fn malform(noise: &[i16], image: &mut [u8]) {
    let change = |sign: i16| -> i64 {
        let changes = image.iter().zip(noise).map(|(&v, &n)| i64::from(changed(v, n, sign)) - i64::from(v));
        changes.sum::<i64>().abs()
    };
    let plus = change(1);
    // |plus| / n < 0.025 in integers.
    let sign = if 40 * plus < image.len() as i64 && change(-1) > plus { -1 } else { 1 };
    for (value, &n) in image.iter_mut().zip(noise) {
        *value = changed(*value, n, sign);
    }
}

/// Adds noise to an image, clamped to bytes; inverted in the pixels whose mean brightness exceeds 0.11 · 255.
pub(crate) fn malform_by_brightness(noise: &[i16], image: &mut [u8], channels: usize) {
    for (pixel, noise) in image.chunks_exact_mut(channels).zip(noise.chunks_exact(channels)) {
        let sum: u32 = pixel.iter().map(|&v| u32::from(v)).sum();
        // sum / channels > 28.05 in integers.
        let sign = if 100 * sum > 2805 * channels as u32 { -1 } else { 1 };
        for (value, &n) in pixel.iter_mut().zip(noise) {
            *value = changed(*value, n, sign);
        }
    }
}

/// Marks in `mask` the pixels of which some channel differs, with 1, others with 0.
pub(crate) fn mark_changes(before: &[u8], after: &[u8], channels: usize, mask: &mut [u8]) {
    for ((mark, a), b) in mask.iter_mut().zip(before.chunks_exact(channels)).zip(after.chunks_exact(channels)) {
        *mark = u8::from(a != b);
    }
}

/// A byte after noise of a sign.
fn changed(value: u8, noise: i16, sign: i16) -> u8 {
    let after = if noise >= REPLACED { noise - REPLACED } else { i16::from(value) + sign * noise };
    after.clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_clamped_or_added() {
        let noise = [-300, -1, 0, 12, 300];
        let mut image = [9; 5];
        replace(&noise, &mut image);
        assert_eq!(image, [0, 0, 0, 12, 255]);
        let mut image = [100; 5];
        malform(&noise, &mut image);
        assert_eq!(image, [0, 99, 100, 112, 255]);
    }

    #[test]
    fn noise_that_shows_nothing_is_inverted() {
        let noise = [-200, 0, 0, 0];
        let mut black = [0; 4];
        malform(&noise, &mut black);
        assert_eq!(black, [200, 0, 0, 0]);
        let mut white = [255; 4];
        malform(&noise, &mut white);
        assert_eq!(white, [55, 255, 255, 255]);
        // Just at the threshold (one level over 40 values) the noise stays.
        let mut image = [0; 40];
        image[0] = 1;
        let mut noise = [0; 40];
        noise[0] = -200;
        malform(&noise, &mut image);
        assert_eq!(image, [0; 40]);
        let mut mask = [7; 2];
        mark_changes(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 0, 6], 3, &mut mask);
        assert_eq!(mask, [0, 1]);
        // Neither direction changes anything.
        malform(&[0; 40], &mut image);
        assert_eq!(image, [0; 40]);
    }

    #[test]
    fn what_takes_a_bytes_place_has_no_sign() {
        let noise = [REPLACED, REPLACED + 7, 0, REPLACED + 255, -3, 0];
        let image = [9, 200, 30, 40, 50, 60];
        let mut added = image;
        malform(&noise, &mut added);
        assert_eq!(added, [0, 7, 30, 255, 47, 60]);
        // Bright pixels take inverted noise, but bytes as they are.
        let mut beforehand = image;
        malform_by_brightness(&noise, &mut beforehand, 3);
        assert_eq!(beforehand, [0, 7, 30, 255, 53, 60]);
    }

    #[test]
    fn beforehand_bright_pixels_take_inverted_noise() {
        // Means 28, 28⅓ and 200 around the limit of 28.05.
        let mut image = [28, 28, 28, 28, 28, 29, 200, 200, 200];
        malform_by_brightness(&[-5, 10, 0, -5, 10, 0, -100, 1, 300], &mut image, 3);
        assert_eq!(image, [23, 38, 28, 33, 18, 29, 255, 199, 0]);
    }
}
