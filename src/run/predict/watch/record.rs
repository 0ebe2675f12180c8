//! What a watch has scored, in the folder of its results: a watch that was stopped or killed goes on from there.
//!
//! `watch.json` says what is watched and by what. `watch.log` has a line for each group of images that were scored together, written after
//! their rows: how their files were, and how long the tables are with them. What lies in a table beyond the last line is of images that
//! are scored again, and is cut off.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::arrivals::Stamp;
use crate::error::{Error, Result};
use crate::files::{self, Appending};
use crate::json;
use crate::printable::Printable;
use crate::run::directory::{REGIONS, SCORES, write_json};
use crate::run::kind::Kind;
use crate::run::lock::FolderLock;
use crate::run::output::check_kind;
use crate::run::own_files::WATCH;
use crate::run::predict::tables::{Tables, TablesLen};
use crate::run::predict::what::PredictOptions;

/// The images that were scored.
const LOG: &str = "watch.log";

/// An image that was scored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Scored {
    /// Its path in the folder.
    pub image: String,
    /// Its file then.
    pub file: Stamp,
    /// The name of its results; empty where nothing is drawn.
    pub name: String,
}

/// A line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    images: Vec<Scored>,
    tables: TablesLen,
}

/// The results of a watch, which are this process's own.
pub(super) struct Record {
    lock: FolderLock,
    pub tables: Tables,
    log: Appending,
}

impl Record {
    /// Begins results in a folder, or goes on with those that are there; tells of the images that they have.
    ///
    /// # Errors
    /// Results of another request, of another subcommand, or that were changed.
    pub(super) fn begin(
        out: &Path,
        request: &Map<String, Value>,
        options: &PredictOptions,
        scored: &mut dyn FnMut(Scored),
    ) -> Result<Record> {
        let lock = FolderLock::new(out)?;
        check_kind(out, Kind::Watch)?;
        let begun = Record::begun(out)?;
        let (mut any, log) = (false, out.join(LOG));
        let (tables, lines) = read(&log, out, &mut |image| {
            any = true;
            scored(image);
        })?;
        if let Some(begun) = begun.as_ref().filter(|_| any) {
            same(begun, request).map_err(|problem| {
                let remedy = "name another folder for `out`, or give what they were begun with";
                Error::file(out, format!("holds results of {problem}"), remedy)
            })?;
        }
        files::remove_unfinished_below(out)?;
        if begun.as_ref() != Some(request) {
            write_json(&out.join(WATCH), request)?;
        }
        let log = Appending::open(&log, lines)?;
        Ok(Record { lock, tables: Tables::go_on(out, options, tables)?, log })
    }

    /// What the results in a folder are of; None where there are none.
    fn begun(out: &Path) -> Result<Option<Map<String, Value>>> {
        let path = out.join(WATCH);
        if path.is_file() {
            let remedy = "delete it together with the results beside it, or name another folder for `out`";
            let parsed = json::parse(&files::read_text(&path)?);
            return parsed.map(Some).map_err(|e| Error::file(&path, format!("cannot be read ({e})"), remedy));
        }
        match [SCORES, REGIONS, LOG].map(|name| out.join(name)).into_iter().find(|path| path.exists()) {
            Some(path) => {
                let problem = "is there already, and a table of this name would replace it";
                Err(Error::file(path, problem, "move it away, or name another folder for `out`"))
            }
            None => Ok(None),
        }
    }

    /// Fails where the folder is no longer this process's own.
    pub(super) fn check(&self) -> Result<()> {
        self.lock.check()
    }

    /// These images are scored, with rows in the tables: from here on they are not scored again.
    pub(super) fn commit(&mut self, images: Vec<Scored>) -> Result<()> {
        let line = Line { images, tables: self.tables.len() };
        let bytes = serde_json::to_vec(&line).map_err(|e| Error::internal(format!("a line of {LOG}: {e}")))?;
        self.log.append(&[&bytes[..], b"\n"].concat())
    }
}

/// What differs between what was asked for and what is.
fn same(then: &Map<String, Value>, now: &Map<String, Value>) -> std::result::Result<(), String> {
    let keys = then.keys().chain(now.keys().filter(|key| !then.contains_key(*key)));
    for key in keys {
        let shown = |of: &Map<String, Value>| of.get(key).unwrap_or(&Value::Null).to_string();
        if then.get(key) != now.get(key) {
            return Err(match key.as_str() {
                // Of which a checksum is known.
                "model" => "another model, or of other masks".to_string(),
                key => format!("another {key}: {}, where it is {} now", shown(then), shown(now)),
            });
        }
    }
    Ok(())
}

/// Tells of the images in a log, up to a line that is cut short, or tells of more than is in the tables; the length of both with them.
fn read(log: &Path, out: &Path, scored: &mut dyn FnMut(Scored)) -> Result<(TablesLen, u64)> {
    let mut kept = (TablesLen::default(), 0);
    if !log.exists() {
        return Ok(kept);
    }
    let paths = [SCORES, REGIONS].map(|name| out.join(name));
    let [scores, regions] = paths.each_ref().map(|path| fs::metadata(path).map_or(0, |file| file.len()));
    let mut reader = BufReader::new(files::open(log)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(Error::io("read", log))?;
        if !line.ends_with(b"\n") {
            break;
        }
        let Line { images, tables } = json::parse(&line).map_err(|e| {
            let problem = format!("was changed: after {} bytes it cannot be read ({e})", kept.1);
            Error::file(log, problem, "restore it, or name another folder for `out`")
        })?;
        if tables.scores > scores || tables.regions > regions {
            break;
        }
        kept = (tables, kept.1 + line.len() as u64);
        images.into_iter().for_each(&mut *scored);
    }
    for (path, len) in paths.iter().zip([kept.0.scores, kept.0.regions]) {
        if !ends_a_row(path, len)? {
            let problem = format!("was changed: its rows are others than those of {}", log.printable());
            return Err(Error::file(path, problem, "restore it, or name another folder for `out`"));
        }
    }
    Ok(kept)
}

/// Whether so many bytes of a table end with a row.
fn ends_a_row(path: &PathBuf, len: u64) -> Result<bool> {
    let Some(last) = len.checked_sub(1) else { return Ok(true) };
    let read = || {
        let (mut file, mut byte) = (File::open(path)?, [0]);
        file.seek(SeekFrom::Start(last))?;
        file.read_exact(&mut byte).map(|()| byte == *b"\n")
    };
    read().map_err(Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::predict::what::{DecisionOptions, What};
    use crate::run::predict::{ImageReport, Prediction};
    use crate::run::verdict::Verdict;

    fn options() -> PredictOptions {
        let decision = DecisionOptions::default();
        PredictOptions { what: vec![What::Regions], decision, min_area: None, shard: None }
    }

    /// Begins with a threshold; the images that are known.
    fn begin(out: &Path, threshold: f32) -> Result<(Record, Vec<String>)> {
        let request = [("threshold".to_string(), threshold.into())].into_iter().collect();
        let mut known = Vec::new();
        Record::begin(out, &request, &options(), &mut |scored| known.push(scored.image)).map(|record| (record, known))
    }

    /// An image with a row of its own.
    fn add(record: &mut Record, image: &str) {
        let [heatmap, overlay, mask, map, reason] = [""; 5].map(str::to_string);
        let (score, threshold, normalized_score, verdict) = (0.25, 0.5, 0.25, Verdict::Good);
        let (image, region_count) = (image.to_string(), Some(0));
        let file = serde_json::from_str("7").unwrap();
        let scored = Scored { image: image.clone(), file, name: String::new() };
        let prediction = Prediction {
            image,
            score,
            normalized_score,
            threshold,
            verdict,
            reason,
            heatmap,
            overlay,
            mask,
            map,
            region_count,
        };
        record.tables.push([ImageReport { prediction, regions: Some(Vec::new()) }].iter()).unwrap();
        record.commit(vec![scored]).unwrap();
    }

    #[test]
    fn what_a_table_has_lost_is_scored_again() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let (mut record, known) = begin(&out, 0.5).unwrap();
        assert!(known.is_empty());
        drop(record);
        // Of what has no results any words are forgotten.
        (record, _) = begin(&out, 0.75).unwrap();
        let lens: Vec<u64> = ["a", "b", "c"]
            .iter()
            .map(|image| {
                add(&mut record, image);
                record.tables.len().scores
            })
            .collect();
        drop(record);
        let begun = || begin(&out, 0.75).unwrap().1;
        assert_eq!(begun(), ["a", "b", "c"]);
        let refused = begin(&out, 0.5).err().unwrap().to_string();
        assert!(refused.contains("another threshold: 0.75, where it is 0.5 now"), "{refused}");
        // As a power cut leaves it, which had kept the record and not the rows.
        let table = File::options().write(true).open(out.join(SCORES)).unwrap();
        table.set_len(lens[1] + 3).unwrap();
        assert_eq!(begun(), ["a", "b"]);
        assert_eq!(fs::metadata(out.join(SCORES)).unwrap().len(), lens[1]);
        (record, _) = begin(&out, 0.75).unwrap();
        add(&mut record, "d");
        drop(record);
        assert_eq!(begun(), ["a", "b", "d"]);
        let rows = fs::read_to_string(out.join(SCORES)).unwrap();
        assert!(rows.lines().skip(1).map(|row| &row[..2]).eq(["a,", "b,", "d,"]), "{rows}");
        // All of it.
        fs::remove_file(out.join(SCORES)).unwrap();
        assert!(begun().is_empty());
    }

    #[test]
    fn a_changed_record_is_told() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let (mut record, _) = begin(&out, 0.5).unwrap();
        add(&mut record, "a");
        drop(record);
        let log = fs::read_to_string(out.join(LOG)).unwrap();
        fs::write(out.join(LOG), format!("{log}{{}}\n")).unwrap();
        let refused = begin(&out, 0.5).err().unwrap().to_string();
        assert!(refused.contains(LOG) && refused.contains("missing field 'images'"), "{refused}");
        // Cut short by a kill.
        fs::write(out.join(LOG), format!("{log}{log:.20}")).unwrap();
        assert_eq!(begin(&out, 0.5).unwrap().1, ["a"]);
        assert_eq!(fs::read_to_string(out.join(LOG)).unwrap(), log);
    }
}
