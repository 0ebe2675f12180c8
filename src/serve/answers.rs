//! What people say of images, as a folder to train on: `DIR/NAME/train/good` and `DIR/NAME/train/defect`, of each model.

use std::collections::HashMap;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, Request, State, rejection};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Service;
use super::detect::{Sent, aside};
use super::failure::{Failure, json};
use crate::error::{Error, Result};
use crate::files;
use crate::run::lock::FolderLock;

/// Characters of a file's own name that are kept.
const LONGEST: usize = 60;

/// The folder that answers are saved in: this process's own while it runs.
pub(super) struct Answers {
    folder: FolderLock,
    /// One at a time: an image has one answer.
    turn: Mutex<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    answer: Answer,
    /// The file's own name.
    #[serde(default)]
    name: String,
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Good,
    Defect,
    /// An earlier answer is taken back.
    None,
}

#[derive(Serialize)]
struct Saved {
    /// Within the folder of answers; none where the answer was taken back.
    saved: Option<String>,
}

pub(super) async fn answer(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, rejection::PathRejection>,
    given: Result<Query<Given>, rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let (Path(model), Query(given)) = (name?, given?);
    let served = service.models.get(&model)?;
    if service.answers.is_none() {
        let message = "this service saves no answers; start it with --answers DIR";
        return Err(Failure::new(StatusCode::NOT_FOUND, message));
    }
    let Sent::One(held) = service.receive(request).await? else {
        return Err(Failure::bad("an answer is of one image: send its bytes, not a form"));
    };
    let _place = service.limits.places(1)?;
    served.check(&service, held.bytes.clone()).await?;
    let shared = service.clone();
    let saved = aside(move || {
        let answers = shared.answers.as_ref().ok_or_else(Failure::internal)?;
        answers.save(&model, &given, &held.bytes).map_err(|e| Failure::of(&e))
    });
    Ok(json(&Saved { saved: saved.await? }))
}

impl Answers {
    /// Takes the folder, and ends what a killed service has begun there.
    ///
    /// # Errors
    /// A folder that cannot be made, or that another service saves in.
    pub(super) fn new(folder: &FilePath) -> Result<Answers> {
        let answers = Answers { folder: FolderLock::new(folder)?, turn: Mutex::new(()) };
        for model in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let model = model.map_err(Error::io("read", folder))?.path();
            Answers::keep_the_last_of_each(&model)?;
        }
        Ok(answers)
    }

    /// Removes unfinished files of a model's folder, and of an image with several answers all but the last.
    fn keep_the_last_of_each(model: &FilePath) -> Result<()> {
        let mut answers: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for folder in [Answer::Good, Answer::Defect].map(|answer| model.join("train").join(answer.folder())) {
            if !folder.is_dir() {
                continue;
            }
            files::remove_unfinished(&folder)?;
            for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
                let path = entry.map_err(Error::io("read", &folder))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if let Some((checksum, _)) = name.split_once('-') {
                    answers.entry(checksum.to_string()).or_default().push(path);
                }
            }
        }
        for (checksum, paths) in answers.into_iter().filter(|(_, paths)| paths.len() > 1) {
            let mut saved = Vec::new();
            for path in paths {
                // Files that are called so by chance are somebody's own.
                if checksum_of(&files::read(&path)?) == checksum {
                    let time = path.metadata().and_then(|file| file.modified()).map_err(Error::io("read", &path))?;
                    saved.push((time, path));
                }
            }
            saved.sort();
            saved.pop();
            saved.iter().try_for_each(|(_, earlier)| files::remove(earlier))?;
        }
        Ok(())
    }

    /// Saves an image where its answer belongs, and nowhere else. Returns its place within the folder.
    fn save(&self, model: &str, Given { answer, name }: &Given, image: &[u8]) -> Result<Option<String>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.folder.check()?;
        let root = self.folder.folder();
        // Told by its bytes: under another name it is the same image. The name's end stays, which may tell the part.
        let checksum = checksum_of(image);
        let file = format!("{checksum}-{}.{}", safe(name), extension(image));
        let place = |answer: Answer| FilePath::new(model).join("train").join(answer.folder());
        let mut saved = None;
        if *answer != Answer::None {
            let within = place(*answer).join(&file);
            let path = root.join(&within);
            path.parent().map_or(Ok(()), files::create_folder)?;
            files::write_atomically(&path, image)?;
            saved = Some(within);
        }
        for other in [Answer::Good, Answer::Defect] {
            let folder = root.join(place(other));
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.map_err(Error::io("read", &folder))?.path();
                let is_same = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&checksum));
                if is_same && saved.as_ref().is_none_or(|saved| root.join(saved) != path) {
                    files::remove(&path)?;
                }
            }
        }
        Ok(saved.map(|saved| saved.to_string_lossy().into_owned()))
    }
}

impl Answer {
    fn folder(self) -> &'static str {
        match self {
            Answer::Good => "good",
            Answer::Defect | Answer::None => "defect",
        }
    }
}

/// What an image's file begins its name with.
fn checksum_of(image: &[u8]) -> String {
    format!("{:016x}", xxh3_64(image))
}

/// The stem of a file's name, of letters, digits, '-' and '_' alone; its last characters where it is long.
fn safe(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let stem: Vec<char> = stem.chars().map(safe).collect();
    let kept: String = stem[stem.len().saturating_sub(LONGEST)..].iter().collect();
    if kept.is_empty() { "image".into() } else { kept }
}

/// By what an image's file is known: its first bytes, whatever it was called.
fn extension(image: &[u8]) -> &'static str {
    match image {
        [0x89, b'P', ..] => "png",
        [0xFF, 0xD8, ..] => "jpg",
        [b'B', b'M', ..] => "bmp",
        [b'I', b'I', ..] | [b'M', b'M', ..] => "tif",
        [b'R', b'I', ..] => "webp",
        _ => "pnm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere() {
        for (name, kept) in [
            ("part 007.png", "part_007"),
            ("../../etc/passwd", "passwd"),
            ("a\\b\\c.tif", "c"),
            ("..", "_"),
            (".png", "_png"),
            ("", "image"),
            ("teil\u{202e}\n\u{1b}[1m=ü.jpg", "teil____1m__"),
            ("=1+1.png", "_1_1"),
        ] {
            assert_eq!(safe(name), kept, "{name:?}");
        }
        assert_eq!(safe(&format!("{}42.png", "x".repeat(300))), format!("{}42", "x".repeat(LONGEST - 2)));
    }

    #[test]
    fn an_image_has_one_answer() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("answers");
        let answers = Answers::new(&folder).unwrap();
        let save = |answer, name: &str, image: &[u8]| {
            answers.save("run", &Given { answer, name: name.into() }, image).unwrap()
        };
        let there = || {
            let mut there: Vec<String> = files::below(&folder.join("run"))
                .unwrap()
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect();
            there.iter_mut().for_each(|path| *path = path.replace(|c: char| c.is_ascii_hexdigit(), ""));
            there
        };
        assert!(save(Answer::Good, "a 1.png", b"\x89PNG one").unwrap().starts_with("run/train/good/"));
        save(Answer::Good, "z 2.png", b"\x89PNG two");
        assert_eq!(there().len(), 2);
        // Otherwise, by another name, and taken back.
        let second = save(Answer::Defect, "t 3.png", b"\x89PNG one").unwrap();
        assert!(second.starts_with("run/train/defect/") && second.ends_with("-t_3.png") && there().len() == 2);
        assert_eq!((save(Answer::None, "", b"\x89PNG one"), there().len()), (None, 1));
    }

    #[test]
    fn what_a_killed_service_left_is_put_right() {
        let root = tempfile::tempdir().unwrap();
        let answers = Answers::new(root.path()).unwrap();
        let save = |answer| {
            let given = Given { answer, name: "a.png".into() };
            root.path().join(answers.save("run", &given, b"\x89PNG one").unwrap().unwrap())
        };
        let good = save(Answer::Good);
        let earlier = fs::read(&good).unwrap();
        let defect = save(Answer::Defect);
        // Killed before the earlier answer was removed.
        fs::write(&good, earlier).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&good).unwrap().set_modified(long_ago).unwrap();
        let unfinished = good.with_file_name(".fcdd-left");
        let theirs = good.with_file_name(format!("{}-their-own.png", checksum_of(b"\x89PNG one")));
        [&unfinished, &theirs].iter().for_each(|path| fs::write(path, "").unwrap());
        assert!(Answers::new(root.path()).err().unwrap().to_string().contains("in use"));
        drop(answers);
        Answers::new(root.path()).unwrap();
        assert_eq!([&good, &defect, &unfinished, &theirs].map(|path| path.exists()), [false, true, false, true]);
    }
}
