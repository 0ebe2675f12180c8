//! A run's folder and the files in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::lock::FolderLock;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::files::Appending;
use crate::printable::{Printable, csv_cell};
use crate::{files, json};

/// The whole run on one page.
pub(crate) const REPORT: &str = "report.html";
/// Settings of the run.
pub(crate) const CONFIG: &str = "config.json";
/// One line per epoch.
pub(crate) const HISTORY: &str = "history.csv";
/// The trained model.
pub(crate) const MODEL: &str = "model.safetensors";
/// What resuming needs, as of the last epoch that was saved.
pub(crate) const STATE: &str = "state.safetensors";
/// Training samples of the first batch, after augmentation.
pub(crate) const PREVIEW: &str = "preview.png";
/// Which part of each image was learned from, where not all of it was: a mask that `--roi` takes.
pub(crate) const COUNTED: &str = "counted.png";
/// Losses over the epochs.
pub(crate) const LOSS_PLOT: &str = "loss.svg";
/// Training samples with the trained model's heatmaps.
pub(crate) const TRAINING_OVERVIEW: &str = "overview_training.png";
/// Figures on the test split.
pub(crate) const EVALUATION: &str = "evaluation.json";
/// Score of each test image.
pub(crate) const SCORES: &str = "scores.csv";
/// Regions of each image that was predicted.
pub(crate) const REGIONS: &str = "regions.csv";
/// Histogram of the scores.
pub(crate) const SCORES_PLOT: &str = "scores.svg";
/// Anomaly map of each test image before upsampling, in the order of the scores: float32 [n, u, u] for `numpy.load`.
pub(crate) const MAPS: &str = "maps.npy";
/// ROC curves of the images and of the pixels, point by point, and as a plot.
pub(crate) const ROC: &str = "roc.csv";
pub(crate) const PIXEL_ROC: &str = "roc_pixels.csv";
pub(crate) const ROC_PLOT: &str = "roc.svg";
/// That of the pixels, where it stands by itself.
pub(crate) const PIXEL_ROC_PLOT: &str = "roc_pixels.svg";
/// Test images with their scores and heatmaps.
pub(crate) const OVERVIEW: &str = "overview.png";
/// Test images equally spaced by score, as in the paper's figures.
pub(crate) const PAPER: &str = "paper.png";
/// Test images that the user asked for.
pub(crate) const CHOSEN: &str = "chosen.png";

/// All of these: what a run's folder may hold of the program's.
pub(crate) const FILES: [&str; 19] = [
    REPORT,
    CONFIG,
    HISTORY,
    MODEL,
    STATE,
    PREVIEW,
    COUNTED,
    LOSS_PLOT,
    TRAINING_OVERVIEW,
    EVALUATION,
    SCORES,
    SCORES_PLOT,
    MAPS,
    ROC,
    PIXEL_ROC,
    ROC_PLOT,
    OVERVIEW,
    PAPER,
    CHOSEN,
];

/// Those of a test: first the page that tells of it, last what names the model that all of them are of.
pub(crate) const OF_TEST: [&str; 11] =
    [REPORT, SCORES, SCORES_PLOT, MAPS, ROC, PIXEL_ROC, ROC_PLOT, OVERVIEW, PAPER, CHOSEN, EVALUATION];

/// A run's folder.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// Where the run is written to.
    lock: Option<FolderLock>,
}

impl RunDirectory {
    /// A new run in a folder, which must not hold one yet; one that ended before there was anything to keep does not count.
    pub(crate) fn create(lock: FolderLock) -> Result<RunDirectory> {
        let path = lock.folder();
        if let Some(name) = [STATE, MODEL].into_iter().find(|name| path.join(name).exists()) {
            return Err(match path.join(CONFIG).exists() {
                true => Error::file(path, "already holds a run", "continue it with `resume`, or choose another `out`"),
                // Imported, or copied by itself.
                false => Error::file(path, format!("already holds a {name}"), "choose another `out`, or move it away"),
            });
        }
        files::remove_unfinished(path)?;
        Ok(RunDirectory { path: path.to_path_buf(), lock: Some(lock) })
    }

    /// A run in a folder that takes the place of an earlier one; files of other programs stay.
    pub(crate) fn replace(lock: FolderLock) -> Result<RunDirectory> {
        FILES.iter().try_for_each(|name| files::remove(&lock.folder().join(name)))?;
        RunDirectory::create(lock)
    }

    /// An existing run to go on with.
    pub(crate) fn go_on(lock: FolderLock) -> Result<RunDirectory> {
        let directory = RunDirectory::open(lock.folder())?;
        files::remove_unfinished(lock.folder())?;
        Ok(RunDirectory { lock: Some(lock), ..directory })
    }

    /// The folder of a model, whether that of its run or not.
    pub(crate) fn of_model(lock: FolderLock) -> Result<RunDirectory> {
        files::remove_unfinished(lock.folder())?;
        Ok(RunDirectory { path: lock.folder().to_path_buf(), lock: Some(lock) })
    }

    /// An existing run to read.
    pub(crate) fn open(path: &Path) -> Result<RunDirectory> {
        match files::open(&path.join(CONFIG)) {
            Ok(_) => Ok(RunDirectory { path: path.to_path_buf(), lock: None }),
            Err(Error::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                let remedy = "name the folder of a run";
                Err(Error::file(path, format!("is not the folder of a run: it has no {CONFIG}"), remedy))
            }
            Err(error) => Err(error),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a model was trained, by whatever there is left of its state.
    pub(crate) fn is_trained(&self) -> bool {
        self.file(MODEL).exists()
    }

    /// A file of the run, which is to be written. Fails where the folder is no longer this process's own.
    pub(crate) fn to_write(&self, name: &str) -> Result<PathBuf> {
        self.lock.as_ref().map_or(Ok(()), FolderLock::check).map(|()| self.file(name))
    }

    /// Writes a value as JSON.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        write_json(&self.to_write(name)?, value)
    }

    /// The settings of the run, which can be trained with.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let settings: Settings = self.read_json(CONFIG)?;
        settings.check().map_err(|e| {
            // Its keys, which are no flags here.
            let problem = format!("holds settings that cannot be used: {}", e.to_string().replace('`', "\""));
            Error::file(self.file(CONFIG), problem, "restore it, or start a new run")
        })?;
        Ok(settings)
    }

    /// Reads a value from JSON.
    pub(crate) fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.file(name);
        json::parse(&files::read_text(&path)?)
            .map_err(|e| Error::file(&path, format!("cannot be read ({e})"), "restore it, or start a new run"))
    }
}

/// Writes a value as indented JSON, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::internal(format!("{} cannot be written as JSON ({e})", path.printable())))?;
    bytes.push(b'\n');
    files::write_atomically(path, &bytes)
}

/// Writes rows as CSV with a header line, atomically.
pub(crate) fn write_csv(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<()> {
    files::write_atomically(path, &csv_of(path, rows, true)?)
}

fn csv_of(path: &Path, rows: impl IntoIterator<Item = impl Serialize>, with_header: bool) -> Result<Vec<u8>> {
    let bug = |e: String| Error::internal(format!("{} cannot be written as CSV ({e})", path.printable()));
    let mut plain = csv::WriterBuilder::new().has_headers(with_header).from_writer(Vec::new());
    for row in rows {
        plain.serialize(row).map_err(|e| bug(e.to_string()))?;
    }
    let plain = plain.into_inner().map_err(|e| bug(e.to_string()))?;
    csv_of_cells(csv::ReaderBuilder::new().has_headers(false).from_reader(plain.as_slice()).records()).map_err(bug)
}

/// Rows of cells as CSV, none of which is a formula or holds control characters.
pub(crate) fn csv_of_cells(
    rows: impl IntoIterator<Item = csv::Result<csv::StringRecord>>,
) -> std::result::Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let row = row.map_err(|e| e.to_string())?;
        writer.write_record(row.iter().map(|cell| csv_cell(cell).into_owned())).map_err(|e| e.to_string())?;
    }
    writer.into_inner().map_err(|e| e.to_string())
}

/// A table in CSV whose rows are written as they come.
pub(crate) struct CsvTable {
    file: Appending,
    is_empty: bool,
}

impl CsvTable {
    /// A table of some rows at first, in place of any that is there.
    pub(crate) fn new(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<CsvTable> {
        let rows = csv_of(path, rows, true)?;
        files::write_atomically(path, &rows)?;
        CsvTable::go_on(path, rows.len() as u64)
    }

    /// One that is there, of which so many bytes are kept.
    pub(crate) fn go_on(path: &Path, len: u64) -> Result<CsvTable> {
        Ok(CsvTable { file: Appending::open(path, len)?, is_empty: len == 0 })
    }

    /// Whether it has no rows yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Bytes of all its rows.
    pub(crate) fn len(&self) -> u64 {
        self.file.len()
    }

    /// Adds rows at once: a program that is killed leaves all of them or none.
    pub(crate) fn push(&mut self, rows: &[impl Serialize]) -> Result<()> {
        let bytes = csv_of(self.file.path(), rows, self.is_empty)?;
        self.file.append(&bytes)?;
        self.is_empty &= rows.is_empty();
        Ok(())
    }
}
