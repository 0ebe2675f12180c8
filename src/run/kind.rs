//! Kinds of results. A folder holds those of one subcommand, told by its files: no other one writes there.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::directory::{CONFIG, EVALUATION, FILES, HISTORY, OF_TEST, PIXEL_ROC, REGIONS, REPORT, ROC, SCORES};
use crate::data::folder::OF_PREDICTIONS;
use crate::files;
use crate::report::html;

/// Heatmaps of several models, and the table of their figures.
pub(crate) const SHEET: &str = "compare.png";
pub(crate) const TABLE: &str = "compare.csv";

/// Columns that tables have, whatever the version: what has others is none of ours.
const COLUMNS: [(&str, &[&str]); 6] = [
    (SCORES, &["image", "score"]),
    (REGIONS, &["image", "region"]),
    (TABLE, &["run", "net"]),
    (HISTORY, &["epoch"]),
    (ROC, &["false_positive_rate", "true_positive_rate"]),
    (PIXEL_ROC, &["false_positive_rate", "true_positive_rate"]),
];

/// The plan of a sweep.
pub(crate) const PLAN: &str = "sweep.json";

/// Figures of a demo.
pub(crate) const DEMO: &str = "demo.json";

/// What a folder of images is watched for, and by.
pub(crate) const WATCH: &str = "watch.json";

/// Of which subcommand results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Train,
    Evaluate,
    Predict,
    Watch,
    Compare,
    Sweep,
    Demo,
}

/// What a row of a table of predictions names.
#[derive(Deserialize)]
struct Drawn {
    heatmap: String,
    overlay: String,
    #[serde(default)]
    mask: String,
    #[serde(default)]
    map: String,
}

impl Kind {
    /// The subcommand.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Train => "train",
            Kind::Evaluate => "evaluate",
            Kind::Predict => "predict",
            Kind::Watch => "predict --watch",
            Kind::Compare => "compare",
            Kind::Sweep => "sweep",
            Kind::Demo => "demo",
        }
    }

    /// A file that tells that a folder holds such results.
    pub(crate) fn told_by(self, folder: &Path) -> Option<&'static str> {
        let is_there = |name: &&str| folder.join(name).exists();
        match self {
            Kind::Train => Some(CONFIG).filter(is_there),
            // That of a run is a part of it.
            Kind::Evaluate => Some(EVALUATION).filter(|name| is_there(name) && !is_there(&CONFIG)),
            // That of a watch is a part of it.
            Kind::Predict => Some(SCORES).filter(|_| is_of_predictions(folder) && !is_there(&WATCH)),
            Kind::Watch => Some(WATCH).filter(is_there),
            Kind::Compare => [TABLE, SHEET].into_iter().find(|name| is_there(name) && !is_foreign(folder, name)),
            Kind::Sweep => Some(PLAN).filter(is_there),
            Kind::Demo => Some(DEMO).filter(is_there),
        }
    }

    /// A file that has the name of such a result and is of another program, where no file tells of results.
    pub(crate) fn foreign_in(self, folder: &Path) -> Option<&'static str> {
        let names = match self {
            Kind::Train => &FILES,
            Kind::Sweep | Kind::Demo => &[REPORT][..],
            Kind::Evaluate | Kind::Predict | Kind::Watch | Kind::Compare => self.names(),
        };
        names.iter().copied().find(|name| is_foreign(folder, name))
    }

    /// Names of results that take the place of earlier ones.
    fn names(self) -> &'static [&'static str] {
        match self {
            Kind::Evaluate => &OF_TEST,
            Kind::Predict => &[SCORES, REGIONS],
            Kind::Compare => &[TABLE, SHEET],
            Kind::Train | Kind::Watch | Kind::Sweep | Kind::Demo => &[],
        }
    }

    /// Whether a file of this name may be such a result, and go with others of its kind.
    pub(crate) fn names_result(self, name: &str) -> bool {
        self.names().contains(&name) || self == Kind::Predict && OF_PREDICTIONS.iter().any(|end| name.ends_with(end))
    }

    /// The results in a folder, by their names in it: for those of predict, the table and what it names.
    pub(crate) fn results_in(self, folder: &Path) -> Vec<String> {
        let fixed = self.names().iter().filter(|name| folder.join(name).exists()).map(|name| name.to_string());
        let mut results: Vec<String> = fixed.collect();
        if self == Kind::Predict
            && let Some(mut table) = scores(folder)
        {
            let rows = table.deserialize::<Drawn>().map_while(Result::ok);
            let named = rows.flat_map(|row| [row.heatmap, row.overlay, row.mask, row.map]);
            results.extend(
                named.filter_map(|path| within(Path::new(&path), folder)).filter(|name| self.names_result(name)),
            );
        }
        results
    }
}

/// A table in a folder.
fn table(folder: &Path, name: &str) -> Option<csv::Reader<File>> {
    files::open(&folder.join(name)).ok().map(csv::Reader::from_reader)
}

/// The table of scores in a folder.
fn scores(folder: &Path) -> Option<csv::Reader<File>> {
    table(folder, SCORES)
}

/// Whether a file in a folder has the name of a table or page of ours, and is none. A table without any columns is one of ours that was
/// begun; of images there is no telling.
fn is_foreign(folder: &Path, name: &str) -> bool {
    if name == REPORT {
        return files::open(&folder.join(name)).is_ok_and(|page| !html::is_page(page));
    }
    let Some((_, own)) = COLUMNS.iter().find(|(table, _)| *table == name) else { return false };
    let Some(mut table) = table(folder, name) else { return false };
    let is_own = |columns: &csv::StringRecord| {
        columns.is_empty() || own.iter().all(|own| columns.iter().any(|column| column == *own))
    };
    !table.headers().is_ok_and(is_own)
}

/// Whether it is one of predict.
fn is_of_predictions(folder: &Path) -> bool {
    scores(folder)
        .is_some_and(|mut table| table.headers().is_ok_and(|names| names.iter().any(|name| name == "heatmap")))
}

/// The end of a path that is a file's place in a folder, however the folder was named then.
fn within(path: &Path, folder: &Path) -> Option<String> {
    let parts: Vec<_> = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let mut ends = (0..parts.len()).map(|skipped| parts[skipped..].iter().collect::<PathBuf>());
    let end = ends.find(|end| folder.join(end).is_file() && files::is_within(folder, end))?;
    Some(end.to_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_is_told_by_its_files() {
        let told = |files: &[&str]| -> Vec<Kind> {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| fs::write(folder.path().join(name), "image,score\n").unwrap());
            Kind::VARIANTS.iter().copied().filter(|kind| kind.told_by(folder.path()).is_some()).collect()
        };
        assert_eq!(told(&[]), []);
        assert_eq!(told(&["notes.txt", "scores.csv", "model.safetensors"]), []);
        assert_eq!(told(&["config.json", "evaluation.json", "scores.csv"]), [Kind::Train]);
        assert_eq!(told(&["evaluation.json", "scores.csv"]), [Kind::Evaluate]);
        assert_eq!(told(&["compare.png"]), [Kind::Compare]);
        assert_eq!(told(&["compare.csv"]), [], "of other columns");
        assert_eq!(told(&["sweep.json", "report.html"]), [Kind::Sweep]);
        assert_eq!(told(&["demo.json", "overview.png"]), [Kind::Demo]);
    }

    /// A table may have been changed to name what predict has not written.
    #[test]
    fn results_of_predict_are_what_its_table_names_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("out");
        fs::create_dir_all(folder.join("deep")).unwrap();
        for name in
            ["a_heatmap.png", "a_mask.png", "a_map.npy", "deep/b_overlay.png", "notes.txt", "../theirs_heatmap.png"]
        {
            fs::write(folder.join(name), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path(), folder.join("link")).unwrap();
        let rows = "elsewhere/out/a_heatmap.png,out/deep/b_overlay.png,out/a_mask.png,out/a_map.npy\nout/notes.txt,../theirs_heatmap.png,,\nlink/theirs_heatmap.png,,,\n";
        fs::write(folder.join(SCORES), format!("heatmap,overlay,mask,map\n{rows}")).unwrap();
        assert_eq!(Kind::Predict.told_by(&folder), Some(SCORES));
        let drawn = [SCORES, "a_heatmap.png", "deep/b_overlay.png", "a_mask.png", "a_map.npy"];
        assert_eq!(Kind::Predict.results_in(&folder), drawn);
        // As version 0.1 left them.
        fs::write(folder.join(SCORES), "heatmap,overlay\nout/a_heatmap.png,out/deep/b_overlay.png\n").unwrap();
        assert_eq!(Kind::Predict.results_in(&folder), drawn[..3]);
    }
}
