//! `heatmap_norm`: heatmaps as they are shown.

use std::collections::BTreeMap;

use super::check::{CheckReport, Precision};
use super::compare::{Ours, compare_all};
use super::convert;
use super::golden::GoldenFile;
use crate::error::Result;
use crate::model::nets;
use crate::real::Real;
use crate::report::{heatmap, jet, resample};
use crate::steps::upsample;

/// Checks `<t>/local_q<q>`, `<t>/global_q<q>`, `x/global_ref_q<q>`, the whole pipeline `pipe/<net>/…`, and the colour map.
pub(super) fn check(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    let mut f64s = heatmaps::<f64>(file)?;
    compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
    let mut f32s = heatmaps::<f32>(file)?;
    compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)?;
    Ok(())
}

/// All normalised maps and coloured heatmaps of the file.
fn heatmaps<T: Real>(file: &GoldenFile) -> Result<BTreeMap<String, Ours>> {
    let mut found = BTreeMap::new();
    for key in file.keys() {
        let Some((tensor, norm)) = key.rsplit_once('/') else { continue };
        let Some((kind, q)) = norm.rsplit_once("_q") else { continue };
        let (Ok(q), Some(maps)) = (q.parse::<f64>(), file.find(tensor)) else { continue };
        let mut values: Vec<T> = convert::of(&maps.values);
        let reference: Option<Vec<T>> =
            file.find("ref").filter(|_| kind == "global_ref").map(|r| convert::of(&r.values));
        match kind {
            "local" => heatmap::local_norm(&mut values, maps.values.len() / maps.shape[0].max(1), q),
            "global" | "global_ref" => heatmap::global_norm(&mut values, reference.as_deref(), q),
            _ => continue,
        }
        found.insert(key.to_string(), Ours::values(&values));
    }
    for case in file.cases("lowres") {
        pipeline::<T>(file, case, &mut found)?;
    }
    let table: Vec<f64> = jet::JET.iter().flatten().map(|&v| f64::from(v)).collect();
    found.insert("jet_lut".into(), Ours::values(&table));
    Ok(found)
}

/// From a low-resolution map to an image: upsampled by receptive field, reduced to `maxres` where it is larger, normalised,
/// coloured. The reference of the global normalisation is not upsampled there.
fn pipeline<T: Real>(file: &GoldenFile, case: &str, found: &mut BTreeMap<String, Ours>) -> Result<()> {
    let net = case.rsplit('/').next().unwrap_or(case);
    let (low, reference) = (file.get(&format!("{case}/lowres"))?, file.get(&format!("{case}/lowres_ref"))?);
    let Ok(arch) = nets::by_name(net, true) else { return Ok(()) };
    let (n, u) = (low.shape[0], low.shape[low.shape.len() - 1]);
    let field = arch.receptive_field(arch.side)?;
    if field.n != u || low.values.len() != n * u * u {
        return Err(file.error(format!("'{case}/lowres' has shape {:?}, not that of {net}", low.shape)));
    }
    for norm in ["local", "global"] {
        let key = format!("{case}/{norm}/gray");
        let note = file.listed(&key).note.unwrap_or_default();
        let setting = |name: &str| -> Option<f64> {
            note.split([' ', ';']).find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        let (Some(sigma), Some(q), Some(largest)) = (setting("std"), setting("qu"), setting("maxres")) else {
            return Err(file.error(format!("the manifest's note on '{key}' names no std, qu and maxres")));
        };
        let mut maps = vec![T::zero(); n * arch.side * arch.side];
        let mut workspace = vec![T::zero(); n * u * arch.side];
        let taps = upsample::GaussianTaps::new(field, arch.side, sigma);
        upsample::upsample(&taps, u, &convert::of::<T>(&low.values), &mut maps, &mut workspace);
        let side = arch.side.min(largest as usize);
        let reduce = |map: &[T]| resample::nearest(map, (arch.side, arch.side), (side, side));
        let mut maps: Vec<T> = maps.chunks_exact(arch.side * arch.side).flat_map(reduce).collect();
        match norm {
            "local" => heatmap::local_norm(&mut maps, side * side, q),
            _ => heatmap::global_norm(&mut maps, Some(&convert::of::<T>(&reference.values)), q),
        }
        let coloured: Vec<f64> = maps.iter().flat_map(|&v| jet::jet_rgb(v).map(f64::from)).collect();
        found.insert(format!("{case}/{norm}/jet"), Ours::values(&convert::to_nchw(&coloured, n, 3)));
        found.insert(key, Ours::values(&maps));
    }
    Ok(())
}
