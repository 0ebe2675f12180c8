//! How far two tensors may be apart.
//!
//! f64: 1e-6 of the reference's largest value and of its norm; the references are stored rounded to f32, which is 6e-8.
//! f32: the manifest's `tol_f32`, ten times the worst that the authors' own float variants deviate.

use super::check::{Check, CheckReport, Precision};
use super::golden::{Deviation, GoldenFile};
use crate::error::Result;
use crate::real::Real;

/// Relative bound of the f64 checks.
pub(super) const F64_BOUND: f64 = 1e-6;

/// Floors of `tol_f32`, and what holds where the manifest gives none: relative to the largest value, and to the norm.
const F32_FLOOR: [f64; 2] = [4e-7, 1e-6];

/// Largest deviation of gradients that are mathematically zero, relative to the largest gradient of any parameter: the rounding
/// noise of sums over a batch in f64 and in f32.
const ZERO_GRADIENT: [f64; 2] = [1e-12, 1e-5];

/// A tensor that was computed here, and what to hold it against.
pub(super) struct Ours {
    pub values: Vec<f64>,
    pub rule: Rule,
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// Values, compared as such.
    Values,
    /// Values whose tolerance is capped to this relative bound, since ours cancel less than what the tolerance was measured on.
    Capped(f64),
    /// Mathematically zero: compared against the largest gradient of all parameters.
    Zero { largest: f64 },
    /// [sum, norm, min, max] (or the first two) of a tensor of `count` values.
    Summary { count: usize },
}

impl Ours {
    /// Plain values of any arithmetic.
    pub(super) fn values<T: Real>(values: &[T]) -> Ours {
        Ours { values: values.iter().map(|v| v.f64()).collect(), rule: Rule::Values }
    }

    /// The same values under another rule.
    pub(super) fn under(self, rule: Rule) -> Ours {
        Ours { rule, ..self }
    }
}

/// [sum, norm, min, max].
pub(super) fn summary(values: &[f64]) -> [f64; 4] {
    let fold = |f: fn(f64, f64) -> f64, start| values.iter().copied().fold(start, f);
    [values.iter().sum(), norm(values.iter()), fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY)]
}

/// Compares a tensor of ours with the file's.
pub(super) fn tensor(file: &GoldenFile, key: &str, precision: Precision, ours: &Ours) -> Result<Check> {
    let reference = file.get(key)?;
    let listed = file.listed(key);
    let name = format!("{} {} {key}", file.name, precision.name());
    let (ours, rule, theirs) = (&ours.values, ours.rule, &reference.values);
    if ours.len() != theirs.len() {
        let detail = format!("{} values instead of {}", ours.len(), theirs.len());
        return Ok(Check::exact(name, false, detail));
    }
    if reference.integer {
        return Ok(Check::exact(name, ours == theirs, "exactly equal"));
    }
    let distance = Distance::new(ours, theirs);
    let tolerance =
        listed.tol_f32.unwrap_or(Deviation { max_abs: F32_FLOOR[0] * distance.largest, rel_l2: F32_FLOOR[1] });
    Ok(match (rule, precision) {
        (Rule::Zero { largest }, precision) => {
            let bound = ZERO_GRADIENT[(precision == Precision::F32) as usize];
            Check::measured(name, ratio(distance.max_abs, largest), bound, "max|d| / the largest gradient")
        }
        (Rule::Summary { count }, Precision::F64) => {
            Check::measured(name, summary_error(ours, theirs, count), F64_BOUND, "relative, each figure by itself")
        }
        (Rule::Summary { count }, Precision::F32) => {
            let worst = listed.dev_full_tensor.iter().flatten().filter(|(variant, _)| variant.starts_with("f32"));
            let full = worst.fold(Deviation { max_abs: 0.0, rel_l2: 1e-7 }, |a, (_, b)| Deviation {
                max_abs: a.max_abs.max(b.max_abs),
                rel_l2: a.rel_l2.max(b.rel_l2),
            });
            let error = summary_ratio(ours, theirs, count, full);
            Check::measured(name, error, 1.0, "of what ten times the whole tensor's deviation allows")
        }
        (Rule::Values | Rule::Capped(_), Precision::F64) => {
            Check::measured(name, distance.relative(), F64_BOUND, "the larger of max|d| / max|ref| and ‖d‖ / ‖ref‖")
        }
        (rule, Precision::F32) => {
            let cap = if let Rule::Capped(cap) = rule { cap } else { f64::INFINITY };
            let max_abs = tolerance.max_abs.min(if cap.is_finite() { cap * distance.largest } else { cap });
            let rel_l2 = tolerance.rel_l2.min(cap);
            let error = worse(ratio(distance.max_abs, max_abs), ratio(distance.rel_l2, rel_l2));
            let detail = format!(
                "max|d| {:.1e} of {max_abs:.1e}, ‖d‖/‖ref‖ {:.1e} of {rel_l2:.1e}",
                distance.max_abs, distance.rel_l2
            );
            Check::measured(name, error, 1.0, detail)
        }
    })
}

/// Compares every tensor that a case gives a value for.
pub(super) fn compare_all(
    file: &GoldenFile,
    precision: Precision,
    given: &mut dyn FnMut(&str) -> Option<Ours>,
    report: &mut CheckReport,
) -> Result<()> {
    for key in file.keys() {
        if let Some(ours) = given(key) {
            report.add(tensor(file, key, precision, &ours)?);
        }
    }
    Ok(())
}

/// How far two tensors of one length are apart. NaN on either side makes every figure NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distance {
    pub max_abs: f64,
    pub rel_l2: f64,
    /// The reference's largest magnitude.
    pub largest: f64,
}

impl Distance {
    /// Between `ours` and the reference `theirs`.
    pub(super) fn new(ours: &[f64], theirs: &[f64]) -> Distance {
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| if a == b { 0.0 } else { a - b }).collect();
        let max = |values: &[f64]| values.iter().map(|v| v.abs()).fold(0.0, worse);
        Distance {
            max_abs: max(&differences),
            rel_l2: ratio(norm(differences.iter()), norm(theirs.iter())),
            largest: max(theirs),
        }
    }

    /// The larger of the two relative distances.
    pub(super) fn relative(&self) -> f64 {
        worse(ratio(self.max_abs, self.largest), self.rel_l2)
    }
}

/// The larger of two errors; NaN is the largest of all.
pub(super) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// a / b, where nothing of nothing is nothing.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

/// Euclidean norm, free of overflow and underflow.
fn norm<'a>(values: impl Iterator<Item = &'a f64> + Clone) -> f64 {
    let scale = values.clone().fold(0.0f64, |m, v| worse(v.abs(), m));
    if scale == 0.0 || !scale.is_finite() {
        return scale;
    }
    scale * values.map(|v| (v / scale).powi(2)).sum::<f64>().sqrt()
}

/// Relative error of the worst figure. A sum may cancel: rounding of `count` additions, √count · norm · 2⁻⁵², is granted to it.
fn summary_error(ours: &[f64], theirs: &[f64], count: usize) -> f64 {
    let rounding = (count as f64).sqrt() * theirs[1] * f64::EPSILON;
    let figures = ours.iter().zip(theirs).enumerate();
    figures.fold(0.0, |worst, (i, (a, b))| {
        let granted = if i == 0 { rounding / F64_BOUND } else { 0.0 };
        worse(ratio((a - b).abs(), b.abs() + granted), worst)
    })
}

/// Error of the worst figure over what a tensor ten times as far off as `full` says may show: √count·‖d‖ in the sum
/// (Cauchy–Schwarz), ‖d‖ in the norm, max|d| in the extremes.
fn summary_ratio(ours: &[f64], theirs: &[f64], count: usize, full: Deviation) -> f64 {
    let l2 = 10.0 * full.rel_l2 * theirs[1];
    let granted = [(count as f64).sqrt() * l2, l2, 10.0 * full.max_abs, 10.0 * full.max_abs];
    ours.iter()
        .zip(theirs)
        .zip(granted)
        .fold(0.0, |worst, ((a, b), granted)| worse(ratio((a - b).abs(), granted), worst))
}
