//! What tells one call of `predict` from another.

use std::fmt::Debug;
use std::fs::Metadata;

use xxhash_rust::xxh3::Xxh3;

use super::jobs::ImageJob;
use super::what::{PredictOptions, What};
use crate::error::{Error, Result};
use crate::named::Named;
use crate::run::model::Model;
use crate::run::verdict::DecisionRule;

/// A checksum over values of any length.
struct Sum(Xxh3);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// That of a model begins with its metadata and weights.
    fn of_model(model: &Model) -> Result<Sum> {
        let meta = serde_json::to_vec(&model.meta)
            .map_err(|e| Error::internal(format!("the model's metadata cannot be written ({e})")))?;
        let mut sum = Sum(Xxh3::new());
        sum.add(&meta);
        sum.add(bytemuck::cast_slice(&model.weights.params));
        sum.add(bytemuck::cast_slice(&model.weights.stats));
        Ok(sum)
    }

    fn digest(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

/// The checksum of a model and of what counts of its images.
pub(super) fn of_model(model: &Model) -> Result<String> {
    Sum::of_model(model).map(|sum| sum.digest())
}

/// What is wanted of each image, in words.
pub(super) fn wanted(options: &PredictOptions) -> Vec<&'static str> {
    What::all().into_iter().filter(|&what| options.wants(what)).map(Named::word).collect()
}

/// What tells the same request from another: the model, the rule, what is wanted, and the images as they are now.
pub(super) fn request(
    model: &Model,
    rule: DecisionRule,
    options: &PredictOptions,
    jobs: &[ImageJob],
) -> Result<String> {
    let mut sum = Sum::of_model(model)?;
    sum.add(&rule.threshold().to_le_bytes());
    rule.unsure().iter().flatten().for_each(|end| sum.add(&end.to_le_bytes()));
    sum.add(&[u8::from(rule.checks_input())]);
    let what = wanted(options);
    sum.add(format!("{what:?} {:?} {:?}", rule.pixel_threshold(), options.min_area).as_bytes());
    for job in jobs {
        let file = std::fs::metadata(&job.image).ok().map(|file| (file.len(), file.modified().ok(), changed(&file)));
        sum.add(format!("{:?} {} {file:?}", job.image, job.name).as_bytes());
    }
    Ok(sum.digest())
}

/// What tells a file from another in its place, or from one that was written into, whatever its size and time are made to be.
#[cfg(unix)]
fn changed(file: &Metadata) -> impl Debug + use<> {
    use std::os::unix::fs::MetadataExt;
    (file.ino(), file.ctime(), file.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> impl Debug + use<> {}
