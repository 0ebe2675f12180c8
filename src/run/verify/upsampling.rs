//! `receptive_upsample`, Algorithm 1 on given maps and the nearest-neighbour fallback; `gkern`, its Gaussian kernels and the rule
//! for their σ.

use std::collections::BTreeMap;

use super::check::{Check, CheckReport, Precision};
use super::compare::{Ours, compare_all};
use super::convert;
use super::execute::execute;
use super::golden::GoldenFile;
use crate::device::{Device, HostBuffers, View};
use crate::engine::Step;
use crate::error::Result;
use crate::model::nets;
use crate::real::Real;
use crate::report::resample;
use crate::steps::upsample::{GaussianTaps, ReceptiveField, Upsample, default_sigma, gaussian_kernel};

/// Checks the file.
pub(super) fn check(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    for net in file.cases("input") {
        let input = file.get(&format!("{net}/input"))?;
        let reception = &file.get(&format!("{net}/reception"))?.values;
        let (&[n, 1, u, width], &[_, jump, size, shift]) = (&input.shape[..], &reception[..]) else {
            return Err(file.error(format!("'{net}/input' or '{net}/reception' is not shaped as it should be")));
        };
        let field = ReceptiveField { n: u, jump: jump as usize, size: size as usize, shift };
        if u != width || reception[0] != u as f64 || n == 0 || jump < 1.0 || size < 2.0 {
            return Err(file.error(format!("'{net}/reception' {reception:?} does not fit its input")));
        }
        if let Ok(arch) = nets::by_name(net, true) {
            let right = arch.receptive_field(arch.side)? == field;
            report.add(Check::exact(format!("{} {net}/reception", file.name), right, format!("{reception:?}")));
        }
        // The default σ may be stored as an alias of the σ that it is.
        let aliases = file.entry.keys.iter().filter_map(|(key, listed)| Some((key, listed.alias_of.as_ref()?)));
        for (key, target) in aliases.filter(|(key, _)| key.starts_with(&format!("{net}/"))) {
            let right = *target == format!("{net}/std_{}", default_sigma(field.size));
            report.add(Check::exact(format!("{} {key}", file.name), right, format!("an alias of {target}")));
        }
        let cases = cases(file, net, field)?;
        let mut f64s = values::<f64>(&Device::Cpu, &cases, &input.values, field)?;
        compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
        let mut f32s = values::<f32>(report.device(), &cases, &input.values, field)?;
        compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)?;
    }
    Ok(())
}

/// One result of a net.
struct Case {
    key: String,
    /// Side of the upsampled map.
    side: usize,
    /// None for nearest-neighbour upsampling.
    sigma: Option<f64>,
}

/// The stored results of a net.
fn cases(file: &GoldenFile, net: &str, field: ReceptiveField) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for key in file.keys() {
        let Some(kind) = key.strip_prefix(net).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let sigma = match kind.strip_prefix("std_") {
            Some("None") => Some(default_sigma(field.size)),
            Some(sigma) => Some(sigma.parse().map_err(|_| file.error(format!("'{key}' names no σ")))?),
            None if kind == "nearest" => None,
            None => continue,
        };
        let side = file.find(key).and_then(|tensor| tensor.shape.last().copied()).unwrap_or(0);
        cases.push(Case { key: key.to_string(), side, sigma });
    }
    Ok(cases)
}

/// The upsampled maps of each case.
fn values<T: Real>(
    device: &Device,
    cases: &[Case],
    input: &[f64],
    field: ReceptiveField,
) -> Result<BTreeMap<String, Ours>> {
    let u = field.n;
    let maps: Vec<T> = convert::of(input);
    let n = maps.len() / (u * u);
    let upsampled = |case: &Case| -> Result<Vec<T>> {
        let Some(sigma) = case.sigma else {
            let nearest = |map: &[T]| resample::nearest(map, (u, u), (case.side, case.side));
            return Ok(maps.chunks_exact(u * u).flat_map(nearest).collect());
        };
        let taps = GaussianTaps::new(field, case.side, sigma);
        let lengths = [maps.len(), taps.kernel().len(), n * case.side * case.side];
        let [a, kernel, out] = std::array::from_fn(|i| View::of(i, lengths[i]));
        let mut memory = HostBuffers::new(&lengths, &[], n * u * case.side);
        memory.get_mut(a).copy_from_slice(&maps);
        memory.get_mut(kernel).copy_from_slice(&convert::of::<T>(taps.kernel()));
        execute(device, &[Step::Upsample(Upsample { taps, kernel, u, a, out })], &mut memory)?;
        Ok(memory.get(out).to_vec())
    };
    cases.iter().map(|case| Ok((case.key.clone(), Ours::values(&upsampled(case)?)))).collect()
}

/// Checks the kernels: `k<size>_std<σ or None>`, size × size.
pub(super) fn check_kernels(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    let mut found = BTreeMap::new();
    for key in file.keys() {
        let Some((size, sigma)) = key.strip_prefix('k').and_then(|rest| rest.split_once("_std")) else { continue };
        let Ok(size) = size.parse::<usize>() else { continue };
        let sigma = match sigma {
            "None" => default_sigma(size),
            sigma => sigma.parse().map_err(|_| file.error(format!("'{key}' names no σ")))?,
        };
        let g = gaussian_kernel(size, sigma);
        let outer: Vec<f64> = g.iter().flat_map(|a| g.iter().map(move |b| a * b)).collect();
        found.insert(key.to_string(), Ours::values(&outer));
    }
    if let Some(sizes) = file.find("kernel_size_to_std/k") {
        let sigmas: Vec<f64> = sizes.values.iter().map(|&size| default_sigma(size as usize)).collect();
        found.insert("kernel_size_to_std/std".into(), Ours::values(&sigmas));
    }
    compare_all(file, Precision::F64, &mut |key| found.remove(key), report)
}
