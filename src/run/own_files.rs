//! Files that only this program writes, told by what they hold: other programs choose the same names.

use std::fs::File;
use std::io::{Read, Take};
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

/// Columns of a table: it begins with the first of those that it always has. What lacks one of these, or has another than these and those besides, is
/// none of ours.
struct Columns {
    always: &'static [&'static str],
    besides: &'static [&'static str],
}

const COLUMNS: [(&str, Columns); 7] = [
    (SCORES, Columns { always: &["image", "score"], besides: OF_SCORES }),
    (REGIONS, Columns { always: &["image", "region"], besides: &REGION_COLUMNS }),
    (TABLE, Columns { always: &["run", "net", "side", "epochs"], besides: ANY }),
    (HISTORY, Columns { always: &["epoch", "lr", "loss"], besides: OF_HISTORY }),
    (ROC, Columns { always: &["false_positive_rate", "true_positive_rate"], besides: &["threshold"] }),
    (PIXEL_ROC, Columns { always: &["false_positive_rate", "true_positive_rate"], besides: &["threshold"] }),
    (SUMMARY_CSV, Columns { always: &["class", "measure", "mean"], besides: ANY }),
];

const OF_SCORES: &[&str] = &[
    "class",
    "label",
    "normalized_score",
    "threshold",
    "verdict",
    "reason",
    "heatmap",
    "overlay",
    "mask",
    "map",
    "region_count",
];

/// Of a table of regions, in their order.
pub(crate) const REGION_COLUMNS: [&str; 12] =
    ["image", "region", "x", "y", "width", "height", "area", "peak", "peak_x", "peak_y", "mean", "contour"];

const OF_HISTORY: &[&str] = &["loss_nominal", "loss_anomalous", "separation", "images_per_second"];

/// Tables whose columns are figures by their names.
const ANY: &[&str] = &[];

impl Columns {
    fn are(&self, found: &csv::StringRecord) -> bool {
        let known = |column: &str| self.always.contains(&column) || self.besides.contains(&column);
        found.get(0) == self.always.first().copied()
            && self.always.iter().all(|own| found.iter().any(|column| column == *own))
            && (self.besides.is_empty() || found.iter().all(known))
    }
}

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
    if let Some((_, own)) = COLUMNS.iter().find(|(of, _)| *of == name) {
        return match table(file()?).headers() {
            Ok(columns) if columns.is_empty() => None,
            Ok(columns) => Some(own.are(columns)),
            Err(_) => Some(false),
        };
    }
    if let Some((_, own)) = KEYS.iter().find(|(of, _)| *of == name) {
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
    table(files::open(&folder.join(name)).ok()?).headers().ok().cloned()
}

/// The beginning of a table, in which its columns are: a file of another program may be one line of any length.
fn table(file: File) -> csv::Reader<Take<File>> {
    const MOST: u64 = 1 << 16;
    csv::Reader::from_reader(file.take(MOST))
}

/// What a file holds, which may be another program's, of any length.
fn read(file: File) -> Option<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of any length: it is not read as a whole to see whose it is.
    #[test]
    fn a_file_without_lines_is_another_programs() {
        let folder = tempfile::tempdir().unwrap();
        for name in [SCORES, HISTORY] {
            File::create(folder.path().join(name)).unwrap().set_len(1 << 40).unwrap();
            assert_eq!(is_own(folder.path(), name), Some(false));
            assert!(columns(folder.path(), name).is_some_and(|columns| columns.len() == 1));
        }
    }
}
