//! What is found of an image, drawn on the image itself.

use super::heatmap::{Heatmap, blend};
use super::regions::Regions;
use crate::data::images::Images;

/// Opacity of a heatmap over its image.
const ALPHA: f32 = 0.45;

/// The colour of contours: one that materials rarely have.
const CONTOUR: [u8; 3] = [255, 0, 160];

/// Of an image with more pixels along its longer side, contours are wider than one: for each so many of them by one on either side.
const PIXELS_PER_WIDTH: usize = 1000;

/// An image's rows under the colours of its heatmap.
pub(crate) fn tinted(image: &Images, heatmap: &Heatmap) -> impl Iterator<Item = Vec<u8>> {
    heatmap.rows().enumerate().map(|(y, colours)| {
        let mut row = image.rgb_row(y);
        blend(&mut row, &colours, ALPHA);
        row
    })
}

/// An image's rows with the borders of its regions drawn on them.
pub(crate) fn outlined(image: &Images, regions: &Regions) -> impl Iterator<Item = Vec<u8>> {
    let reach = image.height.max(image.width) / PIXELS_PER_WIDTH;
    let mut border: Vec<(usize, usize)> = regions.borders.iter().flatten().map(|&(x, y)| (y, x)).collect();
    border.sort_unstable();
    (0..image.height).map(move |y| {
        let mut row = image.rgb_row(y);
        let pixels = row.as_chunks_mut::<3>().0;
        let from = border.partition_point(|&(row, _)| row + reach < y);
        for &(_, x) in border[from..].iter().take_while(|&&(row, _)| row <= y + reach) {
            pixels[x.saturating_sub(reach)..(x + reach + 1).min(image.width)].fill(CONTOUR);
        }
        row
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::pixel_map::PixelMap;

    #[test]
    fn contours_are_drawn_on_the_image_as_it_is() {
        let mut values = vec![0.0; 5 * 6];
        for (y, x) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)] {
            values[y * 6 + x] = 1.0;
        }
        let regions = Regions::of(&PixelMap::new(values, (5, 6)), 0.5, 1);
        let image = Images { count: 1, pixels: (0..30).collect(), ..Images::empty(5, 6, 1) };
        let drawn: Vec<u8> = outlined(&image, &regions).flatten().collect();
        for (i, pixel) in drawn.chunks(3).enumerate() {
            let (y, x) = (i / 6, i % 6);
            let is_border = (1..=3).contains(&y) && (1..=3).contains(&x) && (y, x) != (2, 2);
            assert_eq!(pixel, if is_border { CONTOUR } else { [i as u8; 3] }, "{y} {x}");
        }
        let mask: Vec<u8> = regions.mask((5, 6)).flatten().collect();
        assert_eq!(mask.iter().map(|&m| usize::from(m)).sum::<usize>(), 9 * 255);
        assert_eq!((mask[6], mask[7], mask[2 * 6 + 2], mask[29]), (0, 255, 255, 0));
        // Of a large image they are wider.
        let tall = Images { count: 1, pixels: vec![7; 3 * 2000], ..Images::empty(2000, 3, 1) };
        let mut values = vec![0.0; 3 * 2000];
        values[3 * 1000 + 1] = 1.0;
        let regions = Regions::of(&PixelMap::new(values, (2000, 3)), 0.5, 1);
        let marked = outlined(&tall, &regions).flatten().collect::<Vec<u8>>();
        assert_eq!(marked.chunks(3).filter(|pixel| *pixel == CONTOUR).count(), 5 * 3, "two on either side");
    }
}
