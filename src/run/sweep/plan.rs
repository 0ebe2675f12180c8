//! Which runs a sweep consists of, and how far each of them is.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PLAN;
use crate::datasets::dataset::{class_index, known_classes};
use crate::error::{Error, Result};
use crate::printable::escaped;
use crate::run::context::Context;
use crate::run::directory::{self, RunDirectory, write_json};
use crate::run::figures::Evaluation;
use crate::run::kind::Kind;
use crate::run::lock::FolderLock;
use crate::run::model::{Model, ModelMeta};
use crate::run::output::check_kind;
use crate::run::prepare::prepare;
use crate::run::settings::Settings;
use crate::run::state::State;
use crate::run::train::same_images;
use crate::{files, json};

/// Runs of a class, at most: what a plan asks for, all of its runs, is held in memory.
const MOST_SEEDS: u64 = 10_000;

/// What a sweep goes over, kept as `sweep.json` in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SweepPlan {
    /// Of every run, but for class and seed.
    pub settings: Settings,
    /// Names of the classes, in the order of the dataset.
    pub classes: Vec<String>,
    /// Runs per class; their seeds count from 0.
    pub seeds: u64,
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub settings: Settings,
    pub folder: PathBuf,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is nothing to go on from.
    New,
    /// Its training or its test was cut short.
    Begun,
    Complete,
}

impl SweepPlan {
    /// The runs of some classes, named or numbered as the dataset has them; of all its classes if there are none.
    pub(crate) fn new(settings: Settings, classes: &[String], seeds: u64) -> Result<SweepPlan> {
        if seeds > MOST_SEEDS {
            return Err(Error::setting(format!("`seeds` {seeds} is too many"), format!("choose up to {MOST_SEEDS}")));
        }
        let settings = settings.located()?;
        let known = known_classes(settings.dataset, settings.data.as_deref())?;
        let wanted = classes.iter().map(|class| class_index(&known, class)).collect::<Result<Vec<_>>>()?;
        let all = wanted.is_empty();
        let classes =
            known.into_iter().enumerate().filter(|(i, _)| all || wanted.contains(&(*i as u16))).map(|(_, name)| name);
        Ok(SweepPlan { settings, classes: classes.collect(), seeds })
    }

    /// The plan of the sweep in a folder.
    pub(crate) fn of(folder: &Path) -> Result<SweepPlan> {
        let path = folder.join(PLAN);
        if !path.is_file() {
            let remedy = "name the folder of a sweep";
            return Err(Error::file(folder, format!("is not the folder of a sweep: it has no {PLAN}"), remedy));
        }
        let wrong = |problem: String| Error::file(&path, problem, "delete it and start the sweep again");
        let plan: SweepPlan =
            json::parse(&files::read_text(&path)?).map_err(|e| wrong(format!("cannot be read ({e})")))?;
        let is_name = |class: &&String| Path::new(class).components().eq([Component::Normal(class.as_ref())]);
        if let Some(class) = plan.classes.iter().find(|class| !is_name(class)) {
            return Err(wrong(format!("names a class {class:?}, which is no name of a folder")));
        }
        if !(1..=MOST_SEEDS).contains(&plan.seeds) {
            return Err(wrong(format!("has {} seeds, where there are from 1 to {MOST_SEEDS}", plan.seeds)));
        }
        Ok(plan)
    }

    /// Writes the plan into a folder. A sweep that is there already grows by these classes and seeds; it has to be one with the same
    /// settings.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let _lock = FolderLock::wait(folder)?;
        check_kind(folder, Kind::Sweep)?; // what came there until it was this process's own
        files::remove_unfinished(folder)?;
        let mut plan = self.clone();
        if folder.join(PLAN).exists() {
            let there = SweepPlan::of(folder)?;
            let Settings { class, seed, .. } = &self.settings;
            let settings = Settings { class: class.clone(), seed: *seed, ..there.settings };
            same(&settings, &self.settings, folder)?;
            let known = known_classes(self.settings.dataset, self.settings.data.as_deref())?;
            plan.classes =
                known.into_iter().filter(|c| self.classes.contains(c) || there.classes.contains(c)).collect();
            plan.seeds = self.seeds.max(there.seeds);
        }
        write_json(&folder.join(PLAN), &plan)
    }

    /// Fails where runs of the sweep in a folder have learned from other images than those that this plan names. They are looked at where
    /// these lie elsewhere than those did.
    pub(crate) fn check_images(&self, folder: &Path, context: &Context) -> Result<()> {
        if !folder.join(PLAN).exists() {
            return Ok(());
        }
        let (now, then) = (&self.settings, SweepPlan::of(folder)?.settings);
        let places = |s: &Settings| (s.data.clone(), s.roi.clone(), s.ignore.clone(), s.outliers.clone());
        if places(now) == places(&then) {
            return Ok(());
        }
        let runs = self.runs(folder);
        for class in &self.classes {
            let mut of_class = runs.iter().filter(|run| run.settings.class == *class);
            let begun = of_class.find_map(|run| Some((run, State::load(&run.folder.join(directory::STATE)).ok()?)));
            let Some((run, state)) = begun else { continue };
            let set = prepare(&run.settings, context)?.set;
            same_images(state.fingerprint, set.fingerprint_like(state.fingerprint)?).map_err(|e| e.at(&run.folder))?;
        }
        Ok(())
    }

    /// The words of the command that does the sweep into `out`: every flag, so that no default matters.
    pub(crate) fn command(&self, out: &str) -> Vec<String> {
        let own = ["--classes", &self.classes.join(","), "--seeds", &self.seeds.to_string(), "--out", out];
        let words = ["fcdd", "sweep"].into_iter().map(str::to_string);
        words.chain(self.settings.words(|setting| !setting.per_run)).chain(own.map(str::to_string)).collect()
    }

    /// The runs below a sweep's folder: of the first seed for every class, then of the next one.
    pub(crate) fn runs(&self, folder: &Path) -> Vec<Run> {
        let of_seed = |seed| {
            self.classes.iter().map(move |class| Run {
                folder: class_folder(folder, class).join(format!("it_{seed}")),
                settings: Settings { class: class.clone(), seed, ..self.settings.clone() },
            })
        };
        (0..self.seeds).flat_map(of_seed).collect()
    }
}

/// Those of the runs that are not complete.
///
/// # Errors
/// Where a folder holds a run with other settings.
pub(crate) fn unfinished(runs: Vec<Run>) -> Result<Vec<Run>> {
    let all = runs.into_iter().map(|run| run.status().map(|status| (run, status))).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().filter(|(_, status)| *status != Status::Complete).map(|(run, _)| run).collect())
}

/// Folder of a class's runs.
pub(crate) fn class_folder(folder: &Path, class: &str) -> PathBuf {
    folder.join(format!("normal_{class}"))
}

impl Run {
    /// What people know it by.
    pub(crate) fn name(&self) -> String {
        format!("class {}, seed {}", escaped(&self.settings.class), self.settings.seed)
    }

    /// Its figures, if it is complete.
    ///
    /// # Errors
    /// As of [`Run::status`].
    pub(crate) fn evaluation(&self) -> Result<Option<Evaluation>> {
        Ok(match self.status()? {
            Status::Complete => Some(RunDirectory::open(&self.folder)?.read_json(directory::EVALUATION)?),
            Status::New | Status::Begun => None,
        })
    }

    /// The class of other settings, by this run's word for it: runs may have it by number.
    fn class_of(&self, there: &Settings) -> String {
        let Settings { dataset, data, class, .. } = &self.settings;
        let index = |known: &[String], class: &str| class_index(known, class).ok();
        let is_same = there.class != *class
            && known_classes(*dataset, data.as_deref())
                .is_ok_and(|known| index(&known, class).is_some_and(|own| index(&known, &there.class) == Some(own)));
        if is_same { class.clone() } else { there.class.clone() }
    }

    /// How far it is.
    ///
    /// # Errors
    /// Where the folder holds a run with other settings, class and seed among them. Data may have moved.
    pub(crate) fn status(&self) -> Result<Status> {
        let Ok(run) = RunDirectory::open(&self.folder) else { return Ok(Status::New) };
        // What cannot be read is told when it is this run's turn, and holds up no other.
        let Ok(there) = run.settings() else { return Ok(Status::Begun) };
        same(&Settings { class: self.class_of(&there), ..there.clone() }, &self.settings, &self.folder)?;
        Ok(if is_complete(&run, &there) {
            Status::Complete
        } else if [directory::STATE, directory::MODEL].iter().any(|name| run.file(name).exists()) {
            Status::Begun
        } else {
            Status::New
        })
    }
}

/// Fails where settings differ in more than the place of the data.
fn same(there: &Settings, wanted: &Settings, folder: &Path) -> Result<()> {
    let other = there.differences(wanted);
    if other.is_empty() {
        return Ok(());
    }
    let problem = format!("holds runs with other settings ({})", other.join("; "));
    Err(Error::file(folder, problem, "choose another `out`, or the same settings as there"))
}

/// Whether the run of these settings is trained for all its epochs and tested, with all its files: its page comes last.
fn is_complete(run: &RunDirectory, settings: &Settings) -> bool {
    let is_whole = |model: ModelMeta| model.is_whole() && model.settings.differences(settings).is_empty();
    let model = run.file(directory::MODEL);
    // What cannot be read is made again, and so are figures of another model or on other images.
    let is_own = |evaluation: Evaluation| {
        let curves = [(directory::ROC, evaluation.image_auroc), (directory::PIXEL_ROC, evaluation.pixel_auroc)];
        curves.iter().all(|(curve, area)| run.file(curve).is_file() == area.is_some())
            && evaluation.is_of(settings)
            && Model::load(&model).is_ok_and(|model| evaluation.is_by(&model))
    };
    [directory::MODEL, directory::EVALUATION, directory::REPORT].iter().all(|name| run.file(name).is_file())
        && ModelMeta::read(&model).is_ok_and(is_whole)
        && run.read_json(directory::EVALUATION).is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::mnist::MNIST;
    use crate::datasets::outliers::OutlierSource;

    fn source(text: &str) -> Option<OutlierSource> {
        Some(text.parse().unwrap())
    }

    fn plan(data: &Path, classes: &[&str], seeds: u64) -> Result<SweepPlan> {
        let outliers = source("cifar100:o.bin");
        let settings = Settings::preset(MNIST).with_anomalies(outliers, None);
        let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
        SweepPlan::new(Settings { data: Some(data.to_path_buf()), ..settings }, &classes, seeds)
    }

    #[test]
    fn classes_are_those_asked_for_or_all() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(plan(data.path(), &[], 1).unwrap().classes.len(), 10);
        let some = plan(data.path(), &["7", "3", "7"], 2).unwrap();
        assert_eq!(some.classes, ["3", "7"]);
        let names: Vec<String> = some.runs(Path::new("d")).iter().map(|run| run.folder.display().to_string()).collect();
        assert_eq!(names, ["d/normal_3/it_0", "d/normal_7/it_0", "d/normal_3/it_1", "d/normal_7/it_1"]);
        let error = plan(data.path(), &["ten"], 1).unwrap_err().to_string();
        assert!(error.contains("'ten'") && error.contains("by number from 0"), "{error}");
    }

    #[test]
    fn a_sweep_grows_but_does_not_mix() {
        let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plan(data.path(), &["3"], 2).unwrap().save(out.path()).unwrap();
        plan(data.path(), &["1"], 1).unwrap().save(out.path()).unwrap();
        let there = SweepPlan::of(out.path()).unwrap();
        assert_eq!((there.classes, there.seeds), (vec!["1".to_string(), "3".to_string()], 2));
        let mut other = plan(data.path(), &["1"], 1).unwrap();
        other.settings.lr = 1.0;
        let error = other.save(out.path()).unwrap_err().to_string();
        assert!(error.contains("lr 0.01 there, 1.0 now") && error.contains("another `out`"), "{error}");
        other = plan(data.path(), &["1"], 1).unwrap();
        other.settings.outliers = source("images:o");
        assert!(other.save(out.path()).unwrap_err().to_string().contains("outliers"));
        // Data that lies elsewhere now is the same data.
        other.settings.outliers = source("cifar100:elsewhere/o.bin");
        other.save(out.path()).unwrap();
    }

    #[test]
    fn seeds_are_bounded_and_other_results_stay_apart() {
        let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(plan(data.path(), &["3"], MOST_SEEDS + 1).unwrap_err().to_string().contains("10000"));
        let mut changed = plan(data.path(), &["3"], 2).unwrap();
        for seeds in [0, MOST_SEEDS + 1, 4_000_000_000] {
            changed.seeds = seeds;
            write_json(&out.path().join(PLAN), &changed).unwrap();
            let error = SweepPlan::of(out.path()).unwrap_err().to_string();
            assert!(error.contains(PLAN) && error.contains(&format!("has {seeds} seeds")), "{error}");
        }
        // What came there while its turn was waited for.
        let taken = tempfile::tempdir().unwrap();
        std::fs::write(taken.path().join("compare.csv"), "run,net,side,epochs\n").unwrap();
        let error = plan(data.path(), &["3"], 1).unwrap().save(taken.path()).unwrap_err().to_string();
        assert!(error.contains("compare.csv") && !taken.path().join(PLAN).exists(), "{error}");
    }
}
