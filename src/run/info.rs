//! The subcommand `info`: this machine, this build, and the nets; or a model.

use std::path::Path;

use serde::Serialize;

use super::calibration::Calibration;
use super::directory::EVALUATION;
use super::figures::Evaluation;
use super::model::{Model, model_folder};
use super::settings::Settings;
use crate::data::appearance::InputCheck;
use crate::data::levels::Levels;
use crate::device::cuda::{Cuda, Description, kernels};
use crate::error::Result;
use crate::model::{Objective, baselines, nets};
use crate::{files, json};

/// What `info` tells.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Info {
    pub build: &'static str,
    pub cpu_threads: usize,
    pub cuda: CudaInfo,
    pub nets: Vec<Net>,
}

/// The CUDA side of the build and of the machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CudaInfo {
    /// Release of the nvcc that compiled the kernels; none in a build without them.
    pub nvcc: Option<&'static str>,
    /// Architectures that the kernels were compiled for.
    pub architectures: &'static [&'static str],
    pub device: Option<Description>,
    /// Why there is no device that can be used.
    pub problem: Option<String>,
}

impl CudaInfo {
    fn collect() -> CudaInfo {
        let (device, problem) = match Cuda::open(0).and_then(|cuda| cuda.describe()) {
            Ok(device) => (Some(device), None),
            Err(error) => (None, Some(error.in_brief())),
        };
        CudaInfo { nvcc: kernels::NVCC, architectures: kernels::ARCHITECTURES, device, problem }
    }
}

/// A net at its own input side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Net {
    pub name: String,
    pub objective: Objective,
    pub channels: usize,
    pub side: usize,
    /// Side of the output map, of FCDD nets alone, as the next two.
    pub map_side: Option<usize>,
    /// Input pixels between neighbouring outputs.
    pub jump: Option<usize>,
    /// Side of the receptive field.
    pub receptive_field: Option<usize>,
    pub parameters: usize,
    /// FLOPs per image of the forward pass, and of forward and backward.
    pub forward_flops: u64,
    pub training_flops: u64,
}

/// What `info MODEL` tells.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelInfo {
    pub net: String,
    pub objective: Objective,
    pub side: usize,
    /// How images come to that side.
    pub fit: String,
    /// How samples of 16 bits become bytes.
    pub levels: Levels,
    pub image_score: String,
    pub epochs: u32,
    pub threshold: f32,
    /// None in models of version 0.1.
    pub calibration: Option<Calibration>,
    pub input_check: Option<InputCheck>,
    /// Where the figures beside it are of another threshold: a call that set this one was ended before it removed them.
    pub figures_of_threshold: Option<f32>,
    /// The share of each image that counts, where not all of it does.
    pub counted_share: Option<f64>,
    /// The file that it was imported from: it has no threshold until it is calibrated.
    pub imported: Option<String>,
    pub version: String,
}

/// Collects what there is to know of a model.
pub(crate) fn model_info(path: &Path) -> Result<ModelInfo> {
    let model = Model::load(path)?;
    let figures = files::read_text(&model_folder(path).join(EVALUATION)).ok();
    let figures = figures.and_then(|figures| json::parse::<Evaluation>(&figures).ok());
    let is_earlier =
        |figures: &Evaluation| figures.is_by_at_any_threshold(&model) && figures.threshold != model.threshold();
    let figures_of_threshold = figures.filter(is_earlier).map(|figures| figures.threshold);
    let meta = model.meta;
    let Settings { net, objective, side, image_score, .. } = meta.settings;
    Ok(ModelInfo {
        net,
        objective,
        side,
        fit: meta.preprocessing.resize.to_string(),
        levels: meta.preprocessing.levels,
        image_score: image_score.to_string(),
        epochs: meta.epochs,
        threshold: meta.threshold,
        calibration: meta.calibration,
        input_check: meta.input_check,
        figures_of_threshold,
        counted_share: meta.counted.map(|counted| counted.share()),
        imported: meta.imported,
        version: meta.version,
    })
}

/// Collects it all.
pub(crate) fn info() -> Result<Info> {
    let net = |name: String| -> Result<Net> {
        let arch = baselines::any(&name, true)?;
        let field = (arch.objective == Objective::Fcdd).then(|| arch.receptive_field(arch.side)).transpose()?;
        let (forward_flops, training_flops) = arch.flops(arch.side)?;
        Ok(Net {
            objective: arch.objective,
            channels: arch.channels,
            side: arch.side,
            map_side: field.map(|field| field.n),
            jump: field.map(|field| field.jump),
            receptive_field: field.map(|field| field.size),
            parameters: arch.parameters(),
            forward_flops,
            training_flops,
            name,
        })
    };
    Ok(Info {
        build: env!("FCDD_BUILD"),
        cpu_threads: rayon::current_num_threads(),
        cuda: CudaInfo::collect(),
        nets: nets::names().into_iter().chain(baselines::names()).map(net).collect::<Result<_>>()?,
    })
}
