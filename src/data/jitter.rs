//! Colour jitter on bytes: brightness and contrast, as torchvision does through Pillow.

use crate::data::images::luma;
use crate::rng::Draws;

/// Multiplies brightness and contrast by random factors from `1 ± brightness` and `1 ± contrast`, in random order, in place.
/// Three draws: order, brightness factor, contrast factor.
pub fn jitter(image: &mut [u8], channels: usize, brightness: f32, contrast: f32, draws: &mut Draws) {
    let brightness_first = draws.coin();
    let [bright, steep] = [brightness, contrast].map(|amount| draws.range((1.0 - amount).max(0.0), 1.0 + amount));
    if brightness_first {
        blend(image, 0, bright);
    }
    let grey = mean_luma(image, channels);
    blend(image, grey, steep);
    if !brightness_first {
        blend(image, 0, bright);
    }
}

/// `base + factor · (value − base)`, truncated to a byte: Pillow's `Image.blend` of a constant image with this one.
fn blend(image: &mut [u8], base: u8, factor: f32) {
    let base = f32::from(base);
    let table: [u8; 256] = std::array::from_fn(|v| {
        let blended = base + factor * (v as f32 - base);
        blended.clamp(0.0, 255.0) as u8
    });
    for value in image {
        *value = table[usize::from(*value)];
    }
}

/// Mean brightness, rounded half up.
fn mean_luma(image: &[u8], channels: usize) -> u8 {
    let sum: u64 = match channels {
        3 => image.chunks_exact(3).map(|p| u64::from(luma([p[0], p[1], p[2]]))).sum(),
        _ => image.iter().map(|&v| u64::from(v)).sum(),
    };
    let n = (image.len() / channels) as u64;
    ((2 * sum + n) / (2 * n)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn blends_as_pillow() {
        // Values of Pillow 12: ImageEnhance.Brightness(image).enhance(1.05), Contrast(image).enhance(0.5) and 1.3.
        let blended = |base, factor| {
            let mut image = [0, 10, 100, 255];
            blend(&mut image, base, factor);
            image
        };
        assert_eq!(blended(0, 1.05), [0, 10, 104, 255]);
        assert_eq!(blended(91, 0.5), [45, 50, 95, 173]);
        assert_eq!(blended(91, 1.3), [0, 0, 102, 255]);
        assert_eq!(mean_luma(&[0, 10, 100, 255], 1), 91);
        assert_eq!(mean_luma(&[255, 0, 0, 0, 0, 255], 3), 53); // (76 + 29) / 2 = 52.5
    }

    #[test]
    fn no_amount_changes_nothing_and_amounts_bound_the_change() {
        let image: Vec<u8> = (0..=255).collect();
        for sample in 0..50 {
            let mut draws = Stream::new(4, Purpose::Augment, 0, sample).draws();
            let mut same = image.clone();
            jitter(&mut same, 1, 0.0, 0.0, &mut draws);
            assert_eq!(same, image);
            let mut changed = image.clone();
            jitter(&mut changed, 1, 0.1, 0.1, &mut draws);
            assert_ne!(changed, image);
            assert!(changed.iter().zip(&image).all(|(&a, &b)| a.abs_diff(b) <= 42), "{changed:?}");
        }
    }
}
