//! What is refused before anything is loaded: settings that cannot work, and those that would do nothing.

use std::fmt::Display;
use std::path::Path;

use super::Settings;
use crate::data::pipeline::MAX_SIDE;
use crate::data::resize_mode::ResizeMode;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::data::tiles::STEP;
use crate::datasets::folder::FOLDER;
use crate::device::DType;
use crate::error::{Error, Result};
use crate::model::image_score::ImageScore;
use crate::model::pretrained::PRETRAINED;
use crate::model::{Arch, Objective};
use crate::named::Named;
use crate::printable::Printable;
use crate::run::calibration;
use crate::steps::hsc_loss::Gradient;

/// Views of an image, at most.
const MAX_VIEWS: u32 = 1000;

/// Per cent of the good images that are held out for the threshold, at most: the others are to be learned from.
const MAX_CALIBRATION_SHARE: u32 = 20;

/// Images per batch, at most.
pub(crate) const MAX_BATCH: usize = 1 << 16;

/// Refuses a pretrained net without the weights that it starts from.
pub(super) fn pretrained(s: &Settings, arch: &Arch) -> Result<()> {
    if arch.pretrained && s.weights.is_none() {
        let problem = format!("{} starts from weights that were trained on ImageNet, and none are named", arch.name);
        return Err(Error::setting(problem, PRETRAINED));
    }
    Ok(())
}

pub(super) fn supervise(s: &Settings) -> Result<()> {
    s.supervise.check(&s.noise)?;
    if s.objective == Objective::Ae && s.supervise != Supervise::Unsupervised {
        let remedy = "an autoencoder learns from good images alone: choose `supervise` unsupervised, or leave it out";
        return refuse("supervise", format!("{} with `objective` ae", s.supervise.word()), remedy);
    }
    Ok(())
}

/// Refuses a noise mode that no word names: what is trained with it could not be read again.
pub(super) fn noise(s: &Settings) -> Result<()> {
    match s.noise.modes().iter().find(|(mode, _)| matches!(mode, NoiseMode::Own(_))) {
        Some((mode, _)) => {
            refuse("noise", format!("{} is no mode of the library's", mode.word()), "choose one of those")
        }
        None => Ok(()),
    }
}

pub(super) fn outliers(s: &Settings) -> Result<()> {
    let draws = s.supervise.draws_outliers(&s.noise);
    match &s.outliers {
        None if draws => Err(Error::setting(
            "the noise mode 'outliers' needs images to draw from",
            "name them with `outliers` mnist:DIR, cifar100:PATH, images:DIR …, or choose another `noise`",
        )),
        Some(outliers) if !draws => {
            let (supervise, noise) = (s.supervise.word(), &s.noise);
            Err(Error::setting(
                format!("`outliers` {outliers}: `supervise` {supervise} with `noise` {noise} uses no outliers"),
                "leave `outliers` out, or choose `noise` outliers and `supervise` noise",
            ))
        }
        _ if s.learns_mvtec_gt() && !(s.dataset.labels_good && s.supervise == Supervise::Noise) => refuse(
            "outliers",
            "mvtec_gt needs a dataset of good and defective images, whose labelled anomalies take the place of good ones",
            "train on mvtec, custom or a folder, with `supervise` noise",
        ),
        _ => Ok(()),
    }
}

pub(super) fn labelled(s: &Settings) -> Result<()> {
    let Some(labelled) = &s.labelled else { return Ok(()) };
    if !s.dataset.labels_good {
        let remedy =
            "train on a folder, mvtec or custom, or choose `supervise` other, which learns from the other classes";
        return refuse("labelled", format!("{labelled}: {} has no good and defective images", s.dataset), remedy);
    }
    if s.supervise == Supervise::Unsupervised || s.learns_mvtec_gt() {
        let remedy = "choose another `supervise`, leave `outliers` mvtec_gt out, or leave it out";
        return refuse(
            "labelled",
            format!("{labelled} with `supervise` unsupervised, or with `outliers` mvtec_gt, has no effect"),
            remedy,
        );
    }
    Ok(())
}

pub(super) fn labelled_share(s: &Settings) -> Result<()> {
    within("labelled_share", s.labelled_share, 100)?;
    if s.labelled_share == Settings::preset(s.dataset).labelled_share
        || (s.labelled.is_some() && s.supervise.makes_noise())
    {
        return Ok(());
    }
    let problem =
        format!("{} has an effect only where `labelled` defects stand beside artificial ones", s.labelled_share);
    refuse("labelled_share", problem, "name some with `labelled`, or leave it out")
}

pub(super) fn oe_limit(s: &Settings) -> Result<()> {
    match s.oe_limit {
        Some(limit) if s.outliers.is_none() && !s.learns_labelled() => {
            let problem = format!("{limit} has no effect without `outliers`, `labelled` or `supervise` other");
            refuse("oe_limit", problem, "name some, or leave it out")
        }
        Some(0) => refuse("oe_limit", "0 leaves nothing to learn from", "give at least 1"),
        _ => Ok(()),
    }
}

pub(super) fn maps(s: &Settings) -> Result<()> {
    let remedy = "only `objective` fcdd learns from ground-truth maps: choose `maps` false, or leave it out";
    of_objective(s, Objective::Fcdd, "maps", s.maps.then_some("true"), remedy)
}

pub(super) fn fit(s: &Settings) -> Result<()> {
    let Some(fit) = s.fit else { return Ok(()) };
    if s.dataset != FOLDER {
        return refuse(
            "fit",
            format!("{fit} with {}", s.dataset),
            "leave it out: only folders of your own are fitted otherwise",
        );
    }
    match fit {
        ResizeMode::Squash => Ok(()),
        ResizeMode::Letterbox | ResizeMode::Tile { .. } if s.objective != Objective::Fcdd || !s.maps => refuse(
            "fit",
            format!("{fit} without ground-truth maps"),
            "choose `objective` fcdd and `maps` true, which leave padding out, or `fit` squash",
        ),
        ResizeMode::Letterbox | ResizeMode::Tile { .. } if s.offline_supervision => refuse(
            "fit",
            format!("{fit} with anomalies that are made before training"),
            "leave `offline_supervision` out, or choose `fit` squash",
        ),
        // Tiles lie at multiples of a step.
        ResizeMode::Tile { side, overlap } if (overlap * s.side).div_ceil(side) + STEP > s.side => refuse(
            "fit",
            format!("{fit} with `side` {}: tiles would overlap by more than they can", s.side),
            &match s.side.checked_sub(STEP) {
                None | Some(0) => format!("choose a `side` of more than {STEP} pixels"),
                Some(most) => format!("choose an OVERLAP of at most {}, or a larger `side`", most * side / s.side),
            },
        ),
        ResizeMode::Letterbox | ResizeMode::Tile { .. } => Ok(()),
        ResizeMode::Nearest | ResizeMode::FloorNearest | ResizeMode::ShortSide => {
            refuse("fit", fit, "choose squash, letterbox or tile:SIDE,OVERLAP")
        }
    }
}

/// Refuses masks where images are learned from as a whole.
pub(super) fn mask(s: &Settings, name: &str, mask: Option<&Path>) -> Result<()> {
    let Some(mask) = mask.map(Path::printable) else { return Ok(()) };
    if s.dataset != FOLDER {
        let remedy = "leave it out: only of images in folders of your own parts are left out";
        return refuse(name, format!("{mask} with {}", s.dataset), remedy);
    }
    if s.objective != Objective::Fcdd || !s.maps {
        let remedy = "choose `objective` fcdd and `maps` true, which learn pixel by pixel, or leave it out";
        return refuse(name, format!("{mask} without ground-truth maps"), remedy);
    }
    if s.offline_supervision {
        let remedy = "do without `offline_supervision`, or leave it out";
        return refuse(name, format!("{mask} with anomalies that are made before training"), remedy);
    }
    Ok(())
}

pub(super) fn precision(s: &Settings) -> Result<()> {
    let other = (s.precision != DType::F32).then(|| s.precision.word());
    of_objective(
        s,
        Objective::Fcdd,
        "precision",
        other,
        "only `objective` fcdd computes in bf16: choose `precision` f32, or leave it out",
    )
}

pub(super) fn gradient(s: &Settings) -> Result<()> {
    let other = (s.gradient != Gradient::Grad).then(|| s.gradient.word());
    let remedy = "leave it out: only heatmaps of `objective` hsc are gradients";
    of_objective(s, Objective::Hsc, "gradient", other, remedy)
}

/// Refuses scores of maps of the objective whose score comes first: its map is a gradient of that.
pub(super) fn image_score(s: &Settings) -> Result<()> {
    match s.image_score {
        ImageScore::Mean => Ok(()),
        _ if s.objective == Objective::Hsc => refuse(
            "image_score",
            format!("{} with `objective` hsc", s.image_score),
            "leave it out: hsc scores an image without a map",
        ),
        ImageScore::Top(percent) if !(percent > 0.0 && percent <= 100.0) => refuse(
            "image_score",
            format!("top:{percent}"),
            "choose a share above 0 and up to 100 per cent, such as top:1",
        ),
        _ => Ok(()),
    }
}

/// Refuses to wait for a better epoch where no anomalies are made by which it would be told.
pub(super) fn patience(s: &Settings) -> Result<()> {
    let Some(patience) = s.patience else { return Ok(()) };
    if !s.supervise.makes_noise() || s.learns_mvtec_gt() || s.outliers_are_normal() {
        let remedy =
            "choose a `supervise` that makes anomalies of good images, such as malformed-normal-gt, or leave it out";
        return refuse("patience", format!("{patience} has no effect where no anomalies are made"), remedy);
    }
    Ok(())
}

pub(super) fn calibration_share(s: &Settings) -> Result<()> {
    match s.calibration_share {
        0..=MAX_CALIBRATION_SHARE => Ok(()),
        share => refuse("calibration_share", share, &format!("choose 0 to {MAX_CALIBRATION_SHARE} per cent")),
    }
}

pub(super) fn fpr(s: &Settings) -> Result<()> {
    let Some(fpr) = s.fpr else { return Ok(()) };
    if !(calibration::LEAST_RATE..=calibration::MOST_RATE).contains(&fpr) {
        return refuse(
            "fpr",
            format!("{fpr} is no false positive rate"),
            "choose one from 0.0001 to 0.5, such as 0.01 for 1 %",
        );
    }
    if s.calibration_share == 0 {
        let remedy = "hold some out with `calibration_share` 20, or leave it out and calibrate the model on new images";
        return refuse("fpr", format!("{fpr} is nothing that images which were learned from can promise"), remedy);
    }
    Ok(())
}

pub(super) fn part_gap(s: &Settings) -> Result<()> {
    if s.dataset.labels_good && s.calibration_share > 0 {
        return Ok(());
    }
    about_labelled(s, "part_gap", s.part_gap.is_some())
}

pub(super) fn views(s: &Settings) -> Result<()> {
    let Some(views) = s.views else { return Ok(()) };
    if !s.arch()?.fixed {
        return refuse(
            "views",
            format!("{views} with `net` {}", s.net),
            "leave it out: only nets whose name ends in _MS keep views",
        );
    }
    within("views", views, MAX_VIEWS)
}

/// Refuses what changes augmentation where there is none.
pub(super) fn augments(s: &Settings, name: &str, chosen: bool) -> Result<()> {
    if !chosen || s.pipeline.augments() {
        return Ok(());
    }
    let problem = format!("has no effect with `pipeline` {}, which augments nothing", s.pipeline.word());
    refuse(name, problem, "choose another `pipeline`, or leave it out")
}

pub(super) fn brightness(s: &Settings) -> Result<()> {
    match s.brightness {
        Some(amount) if !(0.0..=1.0).contains(&amount) => {
            refuse("brightness", format!("{amount} is no amount of change"), "choose 0 to 1, such as 0.1")
        }
        amount => augments(s, "brightness", amount.is_some()),
    }
}

/// Refuses a value that only one objective knows.
fn of_objective(s: &Settings, objective: Objective, name: &str, value: Option<&str>, remedy: &str) -> Result<()> {
    match value.filter(|_| s.objective != objective) {
        Some(value) => refuse(name, format!("{value} with `objective` {}", s.objective.word()), remedy),
        None => Ok(()),
    }
}

/// Refuses what is about labelled anomalies where none are learned from.
pub(super) fn about_labelled(s: &Settings, name: &str, chosen: bool) -> Result<()> {
    if !chosen || (s.dataset.labels_good && s.learns_labelled()) {
        return Ok(());
    }
    let remedy = "name `labelled` defects, choose `supervise` other or `outliers` mvtec_gt:DIR, or leave it out";
    refuse(
        name,
        "has an effect only where labelled anomalies of a dataset of good and defective images are learned from",
        remedy,
    )
}

/// Refuses numbers outside of 1 to `most`.
pub(super) fn within(name: &str, value: u32, most: u32) -> Result<()> {
    if (1..=most).contains(&value) { Ok(()) } else { refuse(name, value, &format!("choose 1 to {most}")) }
}

/// Refuses sides and batches that a net cannot take, and those for which the lengths of its buffers would overflow.
pub(crate) fn check_size(arch: &Arch, side: usize, batch: usize) -> Result<()> {
    if !(1..=MAX_SIDE).contains(&side) {
        return refuse("side", side, &format!("choose 1 to {MAX_SIDE} pixels, such as {}", arch.side));
    }
    if !(1..=MAX_BATCH).contains(&batch) {
        return refuse("batch", batch, &format!("choose 1 to {MAX_BATCH} images"));
    }
    arch.shapes(batch, side).map(|_| ())
}

/// The error of a setting with a value. In messages the names of settings stand in backticks.
pub(super) fn refuse(name: &str, value: impl Display, remedy: &str) -> Result<()> {
    Err(Error::setting(format!("`{name}` {value}"), remedy))
}
