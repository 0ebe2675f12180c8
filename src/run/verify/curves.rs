//! `roc`: the area under the curve and its points.

use std::collections::BTreeMap;

use super::check::{Check, CheckReport, Precision};
use super::compare::{Ours, Rule, compare_all};
use super::golden::GoldenFile;
use crate::error::Result;
use crate::metrics::scores::Ranking;

/// Checks areas and curves: `<case>/{scores,labels,auc}` and `<case>/drop_intermediate_<True|False>/{fpr,tpr,thresholds}`.
pub(super) fn check(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    let mut found = BTreeMap::new();
    for case in file.cases("scores") {
        let scores: Vec<f32> = file.get(&format!("{case}/scores"))?.values.iter().map(|&s| s as f32).collect();
        let labels: Vec<bool> = file.get(&format!("{case}/labels"))?.values.iter().map(|&l| l == 1.0).collect();
        if scores.len() != labels.len() {
            return Err(file.error(format!("scores and labels of '{case}' differ in number")));
        }
        let ranking = Ranking::of_samples(&scores, &labels)?;
        let Some(area) = ranking.auroc() else {
            report.add(Check::exact(format!("{} {case}", file.name), false, "only one class, no curve"));
            continue;
        };
        found.insert(format!("{case}/auc"), Ours::values(&[area]));
        for (drop, name) in [(true, "True"), (false, "False")] {
            let Some(curve) = ranking.roc_curve(drop) else { continue };
            for (part, values) in [("fpr", curve.fpr), ("tpr", curve.tpr), ("thresholds", curve.thresholds)] {
                found.insert(format!("{case}/drop_intermediate_{name}/{part}"), Ours { values, rule: Rule::Values });
            }
        }
    }
    compare_all(file, Precision::F64, &mut |key| found.remove(key), report)
}
