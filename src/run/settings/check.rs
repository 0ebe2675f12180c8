//! What is refused before anything is loaded: settings that cannot work, and flags that would do nothing.

use std::fmt::Display;

use super::Settings;
use crate::data::pipeline::MAX_SIDE;
use crate::data::supervise::Supervise;
use crate::device::DType;
use crate::error::{Error, Result};
use crate::model::checkpoint::PRETRAINED;
use crate::model::{Arch, Objective};
use crate::named::Named;
use crate::steps::hsc_loss::Gradient;

/// Images per batch, at most.
pub const MAX_BATCH: usize = 1 << 16;

/// Epochs, at most: some more are numbered after the last for samples that the net was not trained on.
const MAX_EPOCHS: u32 = 1_000_000;

/// Passes of an epoch, at most.
const MAX_PASSES: u32 = 1000;

/// Narrowest Gaussian in pixels: its square still divides.
const MIN_SIGMA: f64 = 1e-3;

impl Settings {
    /// Refuses what cannot work, and flags that would do nothing, before anything is loaded.
    pub fn check(&self) -> Result<()> {
        let arch = self.arch()?;
        check_size(&arch, self.side, self.batch)?;
        if arch.pretrained && self.weights.is_none() {
            let problem =
                format!("{} starts from weights that were trained on ImageNet, and none are named", arch.name);
            return Err(Error::setting(problem, PRETRAINED));
        }
        self.supervise.check(self.noise)?;
        self.check_objective()?;
        let draws = self.supervise.draws_outliers(self.noise);
        match &self.outliers {
            None if draws => {
                return Err(Error::setting(
                    "the noise mode 'outliers' needs images to draw from",
                    "name them with --outliers mnist:DIR, cifar100:FILE, images:DIR …, or choose another --noise",
                ));
            }
            Some(outliers) if !draws => {
                let (supervise, noise) = (self.supervise.word(), self.noise.word());
                return Err(Error::setting(
                    format!("--outliers {outliers}: --supervise {supervise} with --noise {noise} uses no outliers"),
                    "leave --outliers out, or choose --noise outliers and --supervise noise",
                ));
            }
            _ => {}
        }
        self.check_labelled()?;
        if let (Some(limit), None) = (self.oe_limit, &self.outliers)
            && self.supervise != Supervise::Other
        {
            return refuse(
                "oe-limit",
                format!("{limit} limits nothing"),
                "name images with --outliers, or leave it out",
            );
        }
        if self.oe_limit == Some(0) {
            return refuse("oe-limit", "0 leaves 0 outliers", "give at least 1, or choose another --noise");
        }
        if self.offline_supervision && self.supervise == Supervise::Unsupervised {
            return refuse("offline-supervision", "makes no anomalies", "choose another --supervise, or leave it out");
        }
        if !(1..=MAX_PASSES).contains(&self.passes) {
            return refuse("passes", self.passes, &format!("choose 1 to {MAX_PASSES}"));
        }
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return refuse("epochs", self.epochs, &format!("choose 1 to {MAX_EPOCHS}"));
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse("lr", format!("{} is no learning rate", self.lr), "choose a positive number, such as 1e-3");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight-decay", format!("{} is no weight", self.weight_decay), "choose 0 or more");
        }
        if !(self.sigma.is_finite() && self.sigma >= MIN_SIGMA) {
            let remedy = format!("choose {MIN_SIGMA} pixels or more");
            return refuse("sigma", format!("{} is no width", self.sigma), &remedy);
        }
        if !(self.quantile > 0.0 && self.quantile <= 1.0) {
            return refuse("quantile", format!("{} is no quantile", self.quantile), "choose a number in (0, 1]");
        }
        Ok(())
    }

    /// Refuses what the objective cannot learn from, and flags that are not for it.
    fn check_objective(&self) -> Result<()> {
        let objective = self.objective.word();
        if self.objective == Objective::Ae && self.supervise != Supervise::Unsupervised {
            let remedy =
                "an autoencoder learns from good images alone: choose --supervise unsupervised, or leave it out";
            return refuse("supervise", format!("{} with --objective {objective}", self.supervise.word()), remedy);
        }
        if self.objective != Objective::Fcdd && self.maps {
            let remedy = "only --objective fcdd learns from ground-truth maps: choose --maps false, or leave it out";
            return refuse("maps", format!("true with --objective {objective}"), remedy);
        }
        if self.objective != Objective::Fcdd && self.precision != DType::F32 {
            let remedy = "choose --precision f32, or leave it out";
            return refuse("precision", format!("{} with --objective {objective}", self.precision.word()), remedy);
        }
        if self.objective != Objective::Hsc && self.gradient != Gradient::Grad {
            let remedy = "leave it out: only heatmaps of --objective hsc are gradients";
            return refuse("gradient", format!("{} with --objective {objective}", self.gradient.word()), remedy);
        }
        Ok(())
    }

    /// Refuses labelled anomalies where there can be none, and flags about them where none are learned from.
    fn check_labelled(&self) -> Result<()> {
        let knows_good = self.dataset.labels_good;
        if self.learns_mvtec_gt() && !(knows_good && self.supervise == Supervise::Noise) {
            return refuse(
                "outliers mvtec_gt",
                "are labelled anomalies of the nominal class, which take the place of good pictures",
                "choose a set of good and defective pictures (mvtec, custom, folder) and --supervise noise",
            );
        }
        if knows_good && (self.learns_mvtec_gt() || self.supervise == Supervise::Other) {
            return Ok(());
        }
        let flags = [("as-published", self.as_published), ("part-gap", self.part_gap.is_some())];
        match flags.iter().find(|(_, on)| *on) {
            Some((flag, _)) => {
                let remedy = "choose --supervise other or --outliers mvtec_gt:DIR for such a set, or leave it out";
                refuse(flag, "is about labelled anomalies of a set of good and defective pictures", remedy)
            }
            None => Ok(()),
        }
    }
}

/// Refuses sides and batches that a net cannot take, and those for which the lengths of its buffers would overflow.
pub fn check_size(arch: &Arch, side: usize, batch: usize) -> Result<()> {
    if side > MAX_SIDE {
        return refuse("side", side, &format!("choose {MAX_SIDE} pixels or less, such as {}", arch.side));
    }
    if !(1..=MAX_BATCH).contains(&batch) {
        return refuse("batch", batch, &format!("choose 1 to {MAX_BATCH} images"));
    }
    arch.shapes(batch, side).map(|_| ())
}

fn refuse(flag: &str, value: impl Display, remedy: &str) -> Result<()> {
    Err(Error::setting(format!("--{flag} {value}"), remedy))
}
