//! Heatmaps in colour, alone and over the inspected image.

use super::jet::jet;
use image::{Rgb, RgbImage};

/// A map of values in 0…1 in the colours of [`jet`].
///
/// # Panics
/// When the map does not hold `width * height` values.
pub fn heatmap(map: &[f32], width: u32, height: u32) -> RgbImage {
    assert_eq!(map.len(), width as usize * height as usize, "a map of {width} × {height}");
    RgbImage::from_fn(width, height, |x, y| Rgb(jet(map[(y * width + x) as usize])))
}

/// The image with a map of its own size (values in 0…1) laid over it: `alpha` = 0 shows the image alone, 1 the heatmap alone.
///
/// # Panics
/// When the map does not have one value per pixel.
pub fn blend(image: &RgbImage, map: &[f32], alpha: f32) -> RgbImage {
    let mut blended = heatmap(map, image.width(), image.height());
    for (over, under) in blended.iter_mut().zip(image.iter()) {
        let (o, u) = (f32::from(*over), f32::from(*under));
        *over = (u + (o - u) * alpha + 0.5) as u8;
    }
    blended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_leads_from_the_image_to_the_heatmap() {
        let image = RgbImage::from_raw(2, 1, vec![10, 20, 30, 200, 100, 0]).unwrap();
        assert_eq!(blend(&image, &[0.0, 1.0], 0.0), image);
        assert_eq!(blend(&image, &[0.0, 1.0], 1.0), heatmap(&[0.0, 1.0], 2, 1));
        assert_eq!(blend(&image, &[0.0, 1.0], 0.5).into_raw(), [5, 10, 79, 164, 50, 0]);
    }
}
