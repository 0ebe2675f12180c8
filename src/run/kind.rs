//! Kinds of results. A folder holds those of one subcommand, told by its files: no other one writes there.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::directory::{
    CONFIG, EVALUATION, FILES, MODEL, OF_TEST, OVERVIEW, PIXEL_ROC_PLOT, REGIONS, REPORT, ROC_PLOT, SCORES, STATE,
};
use super::own_files::{DEMO, PLAN, SHEET, SLURM, SUMMARY, SUMMARY_CSV, SUMMARY_MD, TABLE, WATCH, columns, is_own};
use crate::data::folder::OF_PREDICTIONS;
use crate::data::surfaces::Surface;
use crate::files;

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
        let is_ours = |name: &&str| is_own(folder, name) == Some(true);
        match self {
            Kind::Train => Some(CONFIG).filter(is_ours),
            // That of a run is a part of it.
            Kind::Evaluate => Some(EVALUATION).filter(|name| is_ours(name) && !is_ours(&CONFIG)),
            // That of a watch is a part of it.
            Kind::Predict => Some(SCORES).filter(|_| is_of_predictions(folder) && !folder.join(WATCH).exists()),
            Kind::Watch => Some(WATCH).filter(is_ours),
            Kind::Compare => Some(TABLE).filter(is_ours),
            Kind::Sweep => Some(PLAN).filter(is_ours),
            Kind::Demo => Some(DEMO).filter(is_ours),
        }
    }

    /// A file that such results, which have these names beside their own, would replace and that is another program's, where no file tells of
    /// results: one that does not hold what ours do; or any, where nothing there is known to be ours.
    pub(crate) fn foreign_in(self, folder: &Path, results: &[String]) -> Option<String> {
        let mut there = self.written(folder);
        there.extend_from_slice(results);
        there.retain(|name| folder.join(name).is_file());
        let are_own: Vec<Option<bool>> = there.iter().map(|name| is_own(folder, name)).collect();
        let foreign = are_own.iter().position(|is_own| *is_own == Some(false));
        let unknown = (!are_own.contains(&Some(true))).then_some(0);
        foreign.or(unknown).and_then(|place| there.into_iter().nth(place))
    }

    /// Names of what is written into a folder, as far as they are known beforehand. Those of a model and a state are not among them: training
    /// replaces neither.
    fn written(self, folder: &Path) -> Vec<String> {
        let below = |within: &Path| {
            let files = files::below(&folder.join(within)).unwrap_or_default();
            files.iter().filter_map(|name| within.join(name).to_str().map(str::to_string)).collect::<Vec<_>>()
        };
        let fixed: Vec<&str> = match self {
            Kind::Train => FILES.into_iter().filter(|name| ![MODEL, STATE].contains(name)).collect(),
            Kind::Watch => vec![SCORES, REGIONS],
            Kind::Sweep => vec![SUMMARY, SUMMARY_CSV, SUMMARY_MD, REPORT, ROC_PLOT, PIXEL_ROC_PLOT, SLURM],
            Kind::Demo => vec![DEMO, OVERVIEW],
            Kind::Evaluate | Kind::Predict | Kind::Compare => self.names().to_vec(),
        };
        let within: Vec<String> = match self {
            Kind::Watch => below(Path::new("")).into_iter().filter(|name| is_of_prediction(name)).collect(),
            Kind::Demo => Surface::ALL
                .iter()
                .flat_map(|surface| {
                    let run = FILES.iter().map(|name| format!("{}/run/{name}", surface.name()));
                    below(&Path::new(surface.name()).join("data")).into_iter().chain(run)
                })
                .collect(),
            _ => Vec::new(),
        };
        fixed.into_iter().map(str::to_string).chain(within).collect()
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
        self.names().contains(&name) || self == Kind::Predict && is_of_prediction(name)
    }

    /// The results in a folder, by their names in it: for those of predict, the table and what it names.
    pub(crate) fn results_in(self, folder: &Path) -> Vec<String> {
        let fixed = self.names().iter().filter(|name| folder.join(name).exists()).map(|name| name.to_string());
        let mut results: Vec<String> = fixed.collect();
        if self == Kind::Predict
            && is_own(folder, SCORES) == Some(true)
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

/// Whether a file is named as what is drawn of a prediction.
fn is_of_prediction(name: &str) -> bool {
    OF_PREDICTIONS.iter().any(|end| name.ends_with(end))
}

/// The table of scores in a folder.
fn scores(folder: &Path) -> Option<csv::Reader<std::fs::File>> {
    files::open(&folder.join(SCORES)).ok().map(csv::Reader::from_reader)
}

/// Whether it is one of predict.
fn is_of_predictions(folder: &Path) -> bool {
    is_own(folder, SCORES) == Some(true)
        && columns(folder, SCORES).is_some_and(|columns| columns.iter().any(|name| name == "heatmap"))
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

    /// A file of ours in a few words.
    fn ours(name: &str) -> &'static str {
        match name {
            CONFIG => r#"{"dataset": "folder", "net": "FCDD_CNN28", "side": 28}"#,
            EVALUATION => r#"{"image_auroc": null, "nominal": 0, "anomalous": 0}"#,
            PLAN => r#"{"settings": {}, "classes": [], "seeds": 1}"#,
            DEMO => r#"{"figures": [], "overview": ""}"#,
            WATCH => r#"{"folder": "in", "model": ""}"#,
            TABLE => "run,net,side,epochs\n",
            _ => "image,score\n",
        }
    }

    #[test]
    fn a_folder_is_told_by_its_files() {
        let told = |files: &[&str], text: fn(&str) -> &'static str| -> Vec<Kind> {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| fs::write(folder.path().join(name), text(name)).unwrap());
            Kind::VARIANTS.iter().copied().filter(|kind| kind.told_by(folder.path()).is_some()).collect()
        };
        for (files, kinds) in [
            (&[][..], &[][..]),
            (&["notes.txt", "scores.csv", "model.safetensors"], &[]),
            (&["config.json", "evaluation.json", "scores.csv"], &[Kind::Train]),
            (&["evaluation.json", "scores.csv"], &[Kind::Evaluate]),
            (&["watch.json", "scores.csv"], &[Kind::Watch]),
            (&["compare.csv"], &[Kind::Compare]),
            (&["compare.png"], &[]),
            (&["sweep.json", "report.html"], &[Kind::Sweep]),
            (&["demo.json", "overview.png"], &[Kind::Demo]),
        ] {
            assert_eq!(told(files, ours), kinds, "{files:?}");
            for foreign in ["", "{}", "{\"a\": [", "name;town\n", "<html>"] {
                let other: fn(&str) -> &'static str = match foreign {
                    "" => |_| "",
                    "{}" => |_| "{}",
                    "{\"a\": [" => |_| "{\"a\": [",
                    "<html>" => |_| "<html>",
                    _ => |_| "name;town\n",
                };
                assert_eq!(told(files, other), [], "{files:?} with {foreign}");
            }
        }
    }

    /// Nothing that a call would write over is another program's by chance of its name.
    #[test]
    fn what_is_not_known_as_ours_is_another_programs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (kind, name) in [
            (Kind::Train, "config.json"),
            (Kind::Train, "loss.svg"),
            (Kind::Evaluate, "maps.npy"),
            (Kind::Compare, "compare.png"),
            (Kind::Sweep, "slurm.sh"),
            (Kind::Sweep, "summary.md"),
            (Kind::Watch, "deep/a_mask.png"),
            (Kind::Demo, "woven/data/train/good/000.png"),
        ] {
            write(name, "theirs");
            assert_eq!(kind.foreign_in(folder.path(), &[]).as_deref(), Some(name), "{kind:?}");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let results = ["deep/a_mask.png".to_string()];
        write(&results[0], "theirs");
        assert_eq!(Kind::Predict.foreign_in(folder.path(), &results).as_ref(), Some(&results[0]));
        // Beside what is known as ours, what cannot be told is ours too, and what is known as another's is not.
        write(SCORES, ours(SCORES));
        assert_eq!(Kind::Predict.foreign_in(folder.path(), &results), None);
        write(REGIONS, "name;town\n");
        assert_eq!(Kind::Predict.foreign_in(folder.path(), &results).as_deref(), Some(REGIONS));
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
        let rows = "a,1,elsewhere/out/a_heatmap.png,out/deep/b_overlay.png,out/a_mask.png,out/a_map.npy\nb,1,out/notes.txt,../theirs_heatmap.png,,\nc,1,link/theirs_heatmap.png,,,\n";
        fs::write(folder.join(SCORES), format!("image,score,heatmap,overlay,mask,map\n{rows}")).unwrap();
        assert_eq!(Kind::Predict.told_by(&folder), Some(SCORES));
        let drawn = [SCORES, "a_heatmap.png", "deep/b_overlay.png", "a_mask.png", "a_map.npy"];
        assert_eq!(Kind::Predict.results_in(&folder), drawn);
        // As version 0.1 left them.
        fs::write(folder.join(SCORES), "image,score,heatmap,overlay\na,1,out/a_heatmap.png,out/deep/b_overlay.png\n")
            .unwrap();
        assert_eq!(Kind::Predict.results_in(&folder), drawn[..3]);
    }
}
