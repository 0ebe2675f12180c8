//! The jet colour map of matplotlib: dark blue for 0, over green, to dark red for 1.

use crate::real::Real;

/// Number of colours.
const SIZE: usize = 256;

/// Corner points (position, intensity) of each channel: the segment data of matplotlib's `_cm.py`.
const RED: [[f64; 2]; 5] = [[0.0, 0.0], [0.35, 0.0], [0.66, 1.0], [0.89, 1.0], [1.0, 0.5]];
const GREEN: [[f64; 2]; 6] = [[0.0, 0.0], [0.125, 0.0], [0.375, 1.0], [0.64, 1.0], [0.91, 0.0], [1.0, 0.0]];
const BLUE: [[f64; 2]; 5] = [[0.0, 0.5], [0.11, 1.0], [0.34, 1.0], [0.65, 0.0], [1.0, 0.0]];

/// The 256 colours, RGB in 0…1.
pub(crate) static JET: [[f32; 3]; SIZE] = table();

/// The colour of a value in 0…1, RGB in 0…1. Values outside take the colour of the nearer end, NaN that of 0.
pub(crate) fn jet_rgb(value: impl Real) -> [f32; 3] {
    // The product is exact, the cast saturates and takes NaN to 0.
    JET[((value.f64() * SIZE as f64) as usize).min(SIZE - 1)]
}

/// The colour of a value in 0…1 as RGB bytes. Values outside take the colour of the nearer end, NaN that of 0.
pub(crate) fn jet(value: f32) -> [u8; 3] {
    jet_rgb(value).map(|c| (c * 255.0 + 0.5) as u8)
}

const fn table() -> [[f32; 3]; SIZE] {
    let mut colours = [[0.0; 3]; SIZE];
    let mut i = 0;
    while i < SIZE {
        let x = i as f64 / (SIZE - 1) as f64;
        colours[i] = [interpolate(&RED, x), interpolate(&GREEN, x), interpolate(&BLUE, x)];
        i += 1;
    }
    colours
}

/// Linear between the corner points.
const fn interpolate(corners: &[[f64; 2]], x: f64) -> f32 {
    let mut k = 1;
    while corners[k][0] < x {
        k += 1;
    }
    let ([x0, y0], [x1, y1]) = (corners[k - 1], corners[k]);
    (y0 + (y1 - y0) * ((x - x0) / (x1 - x0))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `matplotlib.colormaps["jet"](i)[:3]` of matplotlib 3.11.
    #[test]
    fn colours_equal_matplotlib() {
        for (i, expected) in [
            (0, [0.0, 0.0, 0.5]),
            (1, [0.0, 0.0, 0.517_825_3]),
            (64, [0.0, 0.503_921_57, 1.0]),
            (128, [0.490_196_08, 1.0, 0.477_545_86]),
            (192, [1.0, 0.581_699_4, 0.0]),
            (254, [0.517_825_3, 0.0, 0.0]),
            (255, [0.5, 0.0, 0.0]),
        ] {
            for (ours, theirs) in JET[i].iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-6, "{i}: {:?}", JET[i]);
            }
        }
    }

    #[test]
    fn any_value_has_a_colour() {
        assert_eq!([jet(-1.0), jet(f32::NAN), jet(f32::NEG_INFINITY)], [jet(0.0); 3]);
        assert_eq!([jet(1.0), jet(7.0), jet(f32::INFINITY)], [jet(0.999); 3]);
        assert_eq!(jet(0.0), [0, 0, 128]);
        assert_eq!(jet(0.5), [125, 255, 122]);
    }
}
