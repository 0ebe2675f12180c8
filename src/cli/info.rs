//! `fcdd info`

use std::path::PathBuf;

use super::Outcome;
use super::common::{describe_threshold, named, no_threshold, print_json, print_lines};
use super::flags::in_flags;
use crate::data::appearance::{Bounds, InputCheck};
use crate::error::Result;
use crate::named::Named;
use crate::run::calibration::percent;
use crate::run::info::{CudaInfo, ModelInfo, info, model_info};

/// Show this build, its devices and its nets, or what there is to know of a model
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: Option<PathBuf>,
    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    if let Some(model) = &args.model {
        let info = model_info(model)?;
        return if args.json { print_json(&info) } else { print_lines(&of_model(&info)) }.map(|()| Outcome::Fine);
    }
    let info = info()?;
    if args.json {
        print_json(&info)?;
        return Ok(Outcome::Fine);
    }
    let mut lines = vec![
        format!("build  {}", info.build),
        format!("cpu    {} threads", info.cpu_threads),
        format!("cuda   {}", kernels(&info.cuda)),
        format!("       {}", device(&info.cuda)),
        String::new(),
        format!(
            "{:<22} {:>9} {:>7} {:>5} {:>9} {:>11} {:>16} {:>16}",
            "net", "input", "map", "jump", "receptive", "parameters", "forward MFLOP", "training MFLOP"
        ),
    ];
    for net in &info.nets {
        lines.push(format!(
            "{:<22} {:>9} {:>7} {:>5} {:>9} {:>11} {:>16.1} {:>16.1}",
            net.name,
            format!("{}×{}²", net.channels, net.side),
            or_dash(net.map_side.map(|side| format!("{side}²"))),
            or_dash(net.jump.map(|jump| jump.to_string())),
            or_dash(net.receptive_field.map(|side| format!("{side}²"))),
            net.parameters,
            net.forward_flops as f64 / 1e6,
            net.training_flops as f64 / 1e6,
        ));
    }
    print_lines(&lines.join("\n"))?;
    Ok(Outcome::Fine)
}

/// A model, as lines of text.
fn of_model(info: &ModelInfo) -> String {
    let ModelInfo {
        net,
        objective,
        side,
        fit,
        levels,
        image_score,
        epochs,
        threshold,
        calibration,
        input_check,
        figures_of_threshold,
        counted_share,
        imported,
        version,
    } = info;
    let origin = match imported {
        Some(file) => format!("by the authors' code, imported by fcdd {version} from {file}"),
        None => format!("by fcdd {version}"),
    };
    let threshold = match (imported, calibration) {
        (Some(_), None) => no_threshold(),
        _ => describe_threshold(*threshold, calibration.as_ref()),
    };
    let mut lines = vec![
        named("net", format!("{net} ({}), trained for {epochs} epochs {origin}", objective.word())),
        named("images", format!("{side}×{side} pixels, {fit}")),
        named("files of 16 bits", levels.in_words().unwrap_or_else(|| "0 is black, 65535 white".to_string())),
        named("score of an image", format!("{image_score} of its anomaly map")),
        threshold,
    ];
    if let Some(calibration) = calibration {
        lines.push(named(
            "pixel threshold",
            format!("{:.5}, of heatmaps before they are scaled", calibration.pixel_threshold),
        ));
    }
    if let Some(earlier) = figures_of_threshold {
        lines.push(named(
            "figures beside it",
            format!("of another threshold, {earlier:.5}: fcdd evaluate measures it at this one"),
        ));
    }
    if let Some(share) = counted_share {
        lines.push(named("of each image", format!("{:.0} % count, by masks", 100.0 * share)));
    }
    if let Some(InputCheck { images, false_alarm_rate, bits, bounds }) = input_check {
        let rate = percent(*false_alarm_rate);
        lines.push(named(
            "input check",
            format!("other images are unusable, at most {rate} of good ones, by {images} images; within:"),
        ));
        if bits.fewest < 16 {
            lines.push(named("  significant bits", bits.in_words()));
        }
        lines.extend(bounds.iter().map(Bounds::in_words).map(|(name, within)| named(&format!("  {name}"), within)));
    }
    lines.join("\n")
}

/// A figure that some nets lack.
fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "–".to_string())
}

/// What the build has for GPUs.
fn kernels(cuda: &CudaInfo) -> String {
    match cuda.nvcc {
        Some(nvcc) => format!("kernels of nvcc {nvcc} for {}", cuda.architectures.join(" ")),
        None => "no kernels in this build".to_string(),
    }
}

/// What the machine has.
fn device(cuda: &CudaInfo) -> String {
    let Some(device) = &cuda.device else {
        return format!("no GPU is used: {}", cuda.problem.as_deref().map_or("none was found".to_string(), in_flags));
    };
    let (major, minor) = device.compute_capability;
    let [free, memory] = [device.free, device.memory].map(|bytes| bytes >> 20);
    let (multiprocessors, driver) = (device.multiprocessors, device.driver);
    format!(
        "{}, compute capability {major}.{minor}, {multiprocessors} multiprocessors, {free} of {memory} MiB free, driver for CUDA {}.{}",
        device.name,
        driver / 1000,
        driver % 1000 / 10
    )
}
