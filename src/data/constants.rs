//! Constants of the normal training images: extremes after local contrast normalisation; mean and standard deviation.

use rayon::prelude::*;

use crate::data::image_source::ImageSource;
use crate::data::interpret::TransformScratch;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::error::{Error, Result};

/// [`Transform::MinMax`] with each channel's smallest and largest value over the images, or `jointly` those of all channels. The
/// images pass the test list of `unscaled` first. Where all values of a channel are equal, it is only shifted.
pub(crate) fn lcn_extremes(unscaled: &Preprocessing, images: &ImageSource, jointly: bool) -> Result<Transform> {
    let each = per_image(unscaled, images, [f32::INFINITY, f32::NEG_INFINITY], |[min, max], value| {
        [min.min(value), max.max(value)]
    })?;
    let extreme = |c: usize| {
        let (first, step) = if jointly { (0, 1) } else { (c, unscaled.channels) };
        let values = each.iter().skip(first).step_by(step);
        values.fold([f32::INFINITY, f32::NEG_INFINITY], |a, b| [a[0].min(b[0]), a[1].max(b[1])])
    };
    let extremes: Vec<[f32; 2]> = (0..unscaled.channels).map(extreme).collect();
    let min: Vec<f32> = extremes.iter().map(|e| e[0]).collect();
    let max = extremes.iter().map(|e| if e[0] < e[1] { e[1] } else { e[0] + 1.0 }).collect();
    Ok(Transform::MinMax { min, max })
}

/// [`Transform::MeanStd`] with each channel's mean and (population) standard deviation over the images, which pass the test
/// list of `unscaled` first. Where all values of a channel are equal, it is only shifted.
pub(crate) fn mean_std(unscaled: &Preprocessing, images: &ImageSource) -> Result<Transform> {
    let each = per_image(unscaled, images, [0.0f64; 2], |[sum, squares], value| {
        let value = f64::from(value);
        [sum + value, squares + value * value]
    })?;
    let n = (images.count() * unscaled.side * unscaled.side) as f64;
    let moments = |c: usize| {
        let of_channel = each.iter().skip(c).step_by(unscaled.channels);
        let [sum, squares] = of_channel.fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
        [sum / n, squares / n - (sum / n) * (sum / n)]
    };
    let moments: Vec<[f64; 2]> = (0..unscaled.channels).map(moments).collect();
    let mean = moments.iter().map(|m| m[0] as f32).collect();
    // Values are in [0, 1] and of 8 bits: a variance below 1e-12 is rounding.
    let std = moments.iter().map(|m| if m[1] > 1e-12 { m[1].sqrt() as f32 } else { 1.0 }).collect();
    Ok(Transform::MeanStd { mean, std })
}

/// Folds the values of each channel of each transformed image, in order: `count * channels` results, images outermost.
fn per_image<T: Copy + Send + Sync>(
    unscaled: &Preprocessing,
    images: &ImageSource,
    start: T,
    step: impl Fn(T, f32) -> T + Sync,
) -> Result<Vec<T>> {
    if images.count() == 0 {
        return Err(Error::setting("there is no normal image", "give at least one to learn from"));
    }
    let channels = unscaled.channels;
    let mut results = vec![start; images.count() * channels];
    let read: Vec<Result<()>> = results
        .par_chunks_mut(channels)
        .enumerate()
        .map_init(
            || (TransformScratch::default(), vec![0; images.image_len()], vec![0.0; unscaled.input_len()], None),
            |(scratch, image, buffer, last), (i, results)| {
                images.read_next(i, last, image)?;
                unscaled.test_with(scratch, image, buffer);
                for pixel in buffer.chunks_exact(channels) {
                    for (result, &value) in results.iter_mut().zip(pixel) {
                        *result = step(*result, value);
                    }
                }
                Ok(())
            },
        )
        .collect();
    read.into_iter().collect::<Result<()>>()?;
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use crate::data::pipeline::PipelineKind;
    use crate::data::resize_mode::ResizeMode;
    use crate::datasets::dataset::{Dataset, DatasetSource};
    use crate::datasets::fmnist::{DEBIAN, FMNIST};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    fn unscaled(last: Transform, side: usize, channels: usize) -> Preprocessing {
        Preprocessing {
            channels,
            raw_side: side,
            resize: ResizeMode::Squash,
            side,
            train: vec![last.clone()],
            test: vec![last],
        }
    }

    #[test]
    fn by_hand() {
        let images: ImageSource =
            Images { count: 2, height: 1, width: 1, channels: 3, pixels: vec![0, 255, 51, 255, 255, 102] }.into();
        let Transform::MeanStd { mean, std } = mean_std(&unscaled(Transform::ToUnit, 1, 3), &images).unwrap() else {
            panic!("a mean and a deviation")
        };
        approx::assert_relative_eq!(mean.as_slice(), [0.5, 1.0, 0.3].as_slice(), max_relative = 1e-6);
        approx::assert_relative_eq!(std.as_slice(), [0.5, 1.0, 0.1].as_slice(), max_relative = 1e-6);
        // Deviations (−2, −1, 0, 3) over their mean size 1.5; the second image is constant.
        let images: ImageSource =
            Images { count: 2, height: 2, width: 2, channels: 1, pixels: vec![0, 1, 2, 5, 7, 7, 7, 7] }.into();
        let extremes = lcn_extremes(&unscaled(Transform::Lcn, 2, 1), &images, false).unwrap();
        assert_eq!(extremes, Transform::MinMax { min: vec![-2.0 / 1.5], max: vec![2.0] });
        let constant = images.select(&[1]);
        let extremes = lcn_extremes(&unscaled(Transform::Lcn, 2, 1), &constant, false).unwrap();
        assert_eq!(extremes, Transform::MinMax { min: vec![0.0], max: vec![1.0] });
        assert!(lcn_extremes(&unscaled(Transform::Lcn, 2, 1), &images.select(&[]), false).is_err());
    }

    /// The authors typed these into their source; here they come out of the data. Runs where the data is: in the folder that
    /// FCDD_FMNIST names, or in that of Debian's package.
    #[test]
    fn fashion_mnist_has_the_published_extremes() {
        let named = std::env::var_os("FCDD_FMNIST").map(PathBuf::from);
        if named.is_none() && !Path::new(DEBIAN).exists() {
            // Past the harness, which shows what a test prints only where it fails.
            let _ = writeln!(std::io::stderr(), "skipped: there is no {DEBIAN}");
            return;
        }
        let set = Dataset::load(&DatasetSource::new(FMNIST, named.as_deref(), 28, 1)).unwrap();
        let published: [(f64, f64); 10] = [
            (-2.68124, 24.85431),
            (-2.57786, 11.1698),
            (-2.80817, 19.13355),
            (-1.95337, 18.65673),
            (-2.61039, 19.16669),
            (-1.23585, 28.46309),
            (-3.25161, 24.19682),
            (-1.08144, 16.87881),
            (-3.6561, 11.35028),
            (-1.38591, 11.42665),
        ];
        for (class, (low, high)) in published.into_iter().enumerate() {
            let normal = set.train.images.select(&set.train.indices(|c| usize::from(c) == class));
            let p = FMNIST.recipe.preprocessing(PipelineKind::Lcnaug1, 28, 28, 1, &normal).unwrap();
            let Some(Transform::MinMax { min, max }) = p.test.last() else { panic!("{p:?}") };
            let (min, max) = (f64::from(min[0]), f64::from(max[0]));
            assert!((min - low).abs() < 2e-5 && (max - high).abs() < 2e-5, "class {class}: {min} {max}");
        }
    }
}
