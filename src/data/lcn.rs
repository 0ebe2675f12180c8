//! Local contrast normalisation of one image: subtract the mean of all its values, divide by their scale.
//!
//! The scale is the mean absolute value (`l1`, what the paper's experiments use) or, in the authors' second variant, the
//! root of the sum of squares divided by the number of values (`l2`). Order of the values does not matter. A constant image
//! has no contrast and becomes zeros.
//!
//! This is the formula on real numbers, for checks. Training and test images are bytes when they are normalised, for which
//! `contrast` has an exact integer form.

use crate::real::{Real, sum, sum_over};

/// `(x − mean) / mean(|x − mean|)` over all values of one image, in place.
pub(crate) fn lcn_l1<T: Real>(image: &mut [T]) {
    normalise(image, |centred, n| sum_over(0..centred.len(), |i| centred[i].abs()) / n);
}

/// `(x − mean) / (√Σ(x − mean)² / n)` over all `n` values of one image, in place.
pub(crate) fn lcn_l2<T: Real>(image: &mut [T]) {
    normalise(image, |centred, n| sum_over(0..centred.len(), |i| centred[i] * centred[i]).sqrt() / n);
}

fn normalise<T: Real>(image: &mut [T], scale: impl Fn(&[T], T) -> T) {
    let Some(&first) = image.first() else { return };
    if image.iter().all(|&v| v == first) {
        image.fill(T::zero());
        return;
    }
    let n = T::of(image.len() as f64);
    let mean = sum(image) / n;
    for value in image.iter_mut() {
        *value -= mean;
    }
    let scale = scale(image, n);
    for value in image.iter_mut() {
        *value /= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formulas() {
        let mut l1 = [0.0f64, 1.0, 2.0, 5.0];
        let mut l2 = l1;
        lcn_l1(&mut l1); // mean 2, mean absolute deviation 1.5
        lcn_l2(&mut l2); // root of the sum of squares √14, over 4
        for (i, centred) in [-2.0, -1.0, 0.0, 3.0].into_iter().enumerate() {
            approx::assert_relative_eq!(l1[i], centred / 1.5);
            approx::assert_relative_eq!(l2[i], centred / (14f64.sqrt() / 4.0), max_relative = 1e-15);
        }
    }

    #[test]
    fn scale_and_offset_do_not_matter() {
        let image: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 101)).collect();
        let (mut a, mut b) = (image.clone(), image.iter().map(|v| v / 255.0 + 3.0).collect::<Vec<_>>());
        lcn_l1(&mut a);
        lcn_l1(&mut b);
        approx::assert_relative_eq!(a.as_slice(), b.as_slice(), max_relative = 1e-10);
    }

    #[test]
    fn constant_and_empty_images() {
        let mut image = [0.1f32; 784]; // its mean is not exactly 0.1
        lcn_l1(&mut image);
        assert_eq!(image, [0.0; 784]);
        let mut image = [0.1f32; 3];
        lcn_l2(&mut image);
        assert_eq!(image, [0.0; 3]);
        lcn_l1::<f32>(&mut []);
    }
}
