//! `fcdd info`

use super::Outcome;
use super::common::{print_json, print_lines};
use super::flags::in_flags;
use crate::error::Result;
use crate::run::info::{CudaInfo, info};

/// Show this build, its devices and its nets
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
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
