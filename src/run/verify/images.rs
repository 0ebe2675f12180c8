//! `lcn`, local contrast normalisation; `smooth_noise`, the blur of artificial anomalies.

use std::collections::BTreeMap;

use super::check::{CheckReport, Precision};
use super::compare::{Ours, compare_all};
use super::convert;
use super::golden::GoldenFile;
use crate::data::lcn;
use crate::error::Result;
use crate::real::Real;
use crate::steps::blur;

/// Checks `<image>/{input,l1,l2}`.
pub(super) fn check_lcn(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    let images = file.cases("input");
    let mut f64s = contrast::<f64>(file, &images)?;
    compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
    let mut f32s = contrast::<f32>(file, &images)?;
    compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)
}

/// Both normalisations of each image.
fn contrast<T: Real>(file: &GoldenFile, images: &[&str]) -> Result<BTreeMap<String, Ours>> {
    let mut found = BTreeMap::new();
    for image in images {
        let input: Vec<T> = convert::of(&file.get(&format!("{image}/input"))?.values);
        for (name, normalise) in [("l1", lcn::lcn_l1::<T> as fn(&mut [T])), ("l2", lcn::lcn_l2::<T>)] {
            let mut values = input.clone();
            normalise(&mut values);
            found.insert(format!("{image}/{name}"), Ours::values(&values));
        }
    }
    Ok(found)
}

/// Checks `out_k<k>_std<σ>`, blurred and truncated to integers, and `blurred_float_k<k>_std<σ>`.
pub(super) fn check_blur(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    let mut f64s = blurred::<f64>(file)?;
    compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
    let mut f32s = blurred::<f32>(file)?;
    // Truncated, a rounding next to an integer makes a difference of one: integers are compared where they are exact, in f64.
    f32s.retain(|key, _| key.starts_with("blurred_float_"));
    compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)
}

/// The blurred noise, for each kernel that the file names.
fn blurred<T: Real>(file: &GoldenFile) -> Result<BTreeMap<String, Ours>> {
    let input = file.get("input")?;
    let [n, c, h, w] = input.shape[..] else {
        return Err(file.error(format!("'input' has shape {:?}, not [n, c, h, w]", input.shape)));
    };
    let images: Vec<T> = convert::of(&convert::to_nhwc(&input.values, n, c));
    let mut found = BTreeMap::new();
    for key in file.keys() {
        let truncated = key.starts_with("out_k");
        let kernel = key.strip_prefix("out_k").or_else(|| key.strip_prefix("blurred_float_k"));
        let Some((k, sigma)) = kernel.and_then(|kernel| kernel.split_once("_std")) else { continue };
        let (Ok(k), Ok(sigma)) = (k.parse::<usize>(), sigma.parse()) else { continue };
        let blur = |image| blur::gaussian_blur(image, h, w, c, k, sigma);
        let values: Vec<f64> = images.chunks_exact(h * w * c).flat_map(blur).map(|v: T| v.f64()).collect();
        let values: Vec<f64> = values.into_iter().map(|v| if truncated { v.trunc() } else { v }).collect();
        found.insert(key.to_string(), Ours::values(&convert::to_nchw(&values, n, c)));
    }
    Ok(found)
}
