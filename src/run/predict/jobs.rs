//! The images that are to be scored, and the names of their results.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::what::{PredictOptions, What};
use crate::data::folder::images_that_open;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::run::context::Context;
use crate::run::kind::Kind;

/// One image, and the name of its results in the folder for them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ImageJob {
    pub image: PathBuf,
    pub name: String,
}

impl ImageJob {
    /// The name of a result.
    pub(super) fn result(&self, what: What) -> String {
        format!("{}_{}", self.name, what.ending())
    }

    /// The names of all its results.
    pub(super) fn results(&self, options: &PredictOptions) -> impl Iterator<Item = String> {
        options.drawn().map(|what| self.result(what))
    }
}

/// The names that results have taken: 16 bytes for each, whatever their length.
#[derive(Default)]
pub(super) struct Names {
    /// By the checksum of a name, the number that the last one of it got.
    numbers: HashMap<u64, u32>,
}

impl Names {
    /// Takes the name of an image by its place in a folder, as text, in which names that differ may be equal: of these the later ones get a
    /// number.
    pub(super) fn of(&mut self, image: &Path) -> String {
        let stem = image.with_extension("").printable();
        if self.take(&stem) {
            return stem;
        }
        let sum = xxh3_64(stem.as_bytes());
        let mut number = self.numbers.get(&sum).copied().unwrap_or(1);
        loop {
            number += 1;
            let name = format!("{stem}_{number}");
            if self.take(&name) {
                self.numbers.insert(sum, number);
                return name;
            }
        }
    }

    /// Takes a name; whether it was free.
    pub(super) fn take(&mut self, name: &str) -> bool {
        match self.numbers.entry(xxh3_64(name.as_bytes())) {
            Entry::Vacant(free) => {
                free.insert(1);
                true
            }
            Entry::Occupied(_) => false,
        }
    }
}

/// All images that the paths name. Results of a folder's images keep their place within it; equal names get a number.
pub(super) fn jobs(paths: &[PathBuf], context: &Context) -> Result<Vec<ImageJob>> {
    let mut jobs = Vec::new();
    let mut names = Names::default();
    for path in paths {
        let mut found = vec![path.clone()];
        if path.is_dir() {
            let in_folder = images_that_open(path, &|| false)?;
            in_folder.notes().iter().for_each(|note| context.note(note));
            found = in_folder.images;
            // Told and counted as an image that cannot be read.
            found.extend(in_folder.closed.into_iter().map(|(folder, _)| folder));
        }
        if found.is_empty() {
            return Err(Error::file(
                path,
                "holds no images",
                "name an image, or a folder of PNG, JPEG, BMP, TIFF, WebP or PNM files",
            ));
        }
        for image in found {
            let relative = image.strip_prefix(path).ok().filter(|r| !r.as_os_str().is_empty());
            let stem = relative.unwrap_or_else(|| image.file_name().map_or(image.as_path(), Path::new));
            let name = names.of(stem);
            jobs.push(ImageJob { image, name });
        }
    }
    Ok(jobs)
}

/// Fails if a result would take the place of an image that is to be scored, or if that is one of the results that will be replaced.
pub(super) fn check_inputs_stay(jobs: &[ImageJob], out: &Path, options: &PredictOptions) -> Result<()> {
    let images: HashMap<PathBuf, &ImageJob> =
        jobs.iter().filter_map(|job| Some((job.image.canonicalize().ok()?, job))).collect();
    let replaced = |result: &str| out.join(result).canonicalize().is_ok_and(|path| images.contains_key(&path));
    for job in jobs {
        if let Some(result) = job.results(options).find(|result| replaced(result)) {
            let problem =
                format!("is one of the images to score, but a result of {} would replace it", job.image.printable());
            return Err(Error::file(out.join(result), problem, "choose another folder for `out`"));
        }
    }
    match Kind::Predict.results_in(out).into_iter().find(|result| replaced(result)) {
        Some(result) => {
            let problem = "is one of the images to score, but is among the results that will be replaced";
            Err(Error::file(out.join(result), problem, "choose another folder for `out`"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_get_numbers() {
        let mut names = Names::default();
        assert!(names.take("b_2"));
        let named = ["a.png", "in/a.png", "a.jpg", "a_2.png", "b.png", "b.png", "a.bmp"]
            .map(|image| names.of(Path::new(image)));
        assert_eq!(named, ["a", "in/a", "a_2", "a_2_2", "b", "b_3", "a_3"]);
    }
}
