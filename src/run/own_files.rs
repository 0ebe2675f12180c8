//! Files that only this program writes, told by what they hold: other programs choose the same names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::directory::{CONFIG, EVALUATION, HISTORY, PIXEL_ROC, REGIONS, REPORT, ROC, SCORES};
use crate::report::html;
use crate::{files, json};

/// Heatmaps of several models, and the table of their figures.
pub(crate) const SHEET: &str = "compare.png";
pub(crate) const TABLE: &str = "compare.csv";

/// The plan of a sweep.
pub(crate) const PLAN: &str = "sweep.json";

/// Figures of a demo.
pub(crate) const DEMO: &str = "demo.json";

/// What a folder of images is watched for, and by.
pub(crate) const WATCH: &str = "watch.json";

/// The job script of a sweep, and how it begins.
pub(crate) const SLURM: &str = "slurm.sh";
pub(crate) const SLURM_BEGIN: &str = "#!/bin/bash\n# An array job of Slurm with one task a run: sbatch ";

/// Figures of a sweep as JSON, as a table and in Markdown.
pub(crate) const SUMMARY: &str = "summary.json";
pub(crate) const SUMMARY_CSV: &str = "summary.csv";
pub(crate) const SUMMARY_MD: &str = "summary.md";

/// Columns that tables have, whatever the version: what has others is none of ours.
const COLUMNS: [(&str, &[&str]); 7] = [
    (SCORES, &["image", "score"]),
    (REGIONS, &["image", "region"]),
    (TABLE, &["run", "net"]),
    (HISTORY, &["epoch"]),
    (ROC, &["false_positive_rate", "true_positive_rate"]),
    (PIXEL_ROC, &["false_positive_rate", "true_positive_rate"]),
    (SUMMARY_CSV, &["class", "measure", "mean"]),
];

/// The same of keys of objects in JSON.
const KEYS: [(&str, &[&str]); 6] = [
    (CONFIG, &["dataset", "net", "side"]),
    (EVALUATION, &["image_auroc", "nominal", "anomalous"]),
    (PLAN, &["settings", "classes", "seeds"]),
    (DEMO, &["figures", "overview"]),
    (WATCH, &["folder", "model"]),
    (SUMMARY, &["plan", "classes", "overall"]),
];

/// Whether a file in a folder is one of ours by what it holds; None where there is none, or no telling: of images, plots and arrays, and of
/// tables that were begun.
pub(crate) fn is_own(folder: &Path, name: &str) -> Option<bool> {
    let file = || files::open(&folder.join(name)).ok();
    let of =
        |all: &[(&'static str, &'static [&'static str])]| all.iter().find(|(own, _)| *own == name).map(|(_, own)| *own);
    if let Some(own) = of(&COLUMNS) {
        let mut table = csv::Reader::from_reader(file()?);
        return match table.headers() {
            Ok(columns) if columns.is_empty() => None,
            Ok(columns) => Some(own.iter().all(|own| columns.iter().any(|column| column == *own))),
            Err(_) => Some(false),
        };
    }
    if let Some(own) = of(&KEYS) {
        let object: Option<Map<String, Value>> = read(file()?).and_then(|bytes| json::parse(&bytes).ok());
        return Some(object.is_some_and(|object| own.iter().all(|key| object.contains_key(*key))));
    }
    match name {
        REPORT => Some(html::is_page(file()?)),
        SLURM => Some(read(file()?)?.starts_with(SLURM_BEGIN.as_bytes())),
        _ => None,
    }
}

/// The columns of a table in a folder.
pub(crate) fn columns(folder: &Path, name: &str) -> Option<csv::StringRecord> {
    csv::Reader::from_reader(files::open(&folder.join(name)).ok()?).headers().ok().cloned()
}

/// What a file holds, which may be another program's, of any length.
fn read(file: File) -> Option<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
