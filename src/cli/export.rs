//! `fcdd export`

use std::path::PathBuf;

use super::Outcome;
use super::common::{named, print_json, print_lines};
use crate::error::Result;
use crate::memory;
use crate::run::export::{Exported, Format, export};

/// Write a model for programs other than fcdd: an ONNX graph, or weights for PyTorch
///
/// The ONNX graph takes images at the size of the net's input and gives score, anomaly map, heatmap and verdict. What fcdd does besides is listed.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("format").required(true))]
pub(super) struct Args {
    /// Folder of a run, or a model file
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// File for an ONNX graph (opset 18) of all of the model, from images to verdicts
    #[arg(long, value_name = "FILE", group = "format")]
    onnx: Option<PathBuf>,
    /// File for the weights as the state_dict of the authors' PyTorch module, in safetensors
    #[arg(long, value_name = "FILE", group = "format")]
    torch: Option<PathBuf>,
    /// The ONNX graph takes images of any size, and resizes them
    #[arg(long, conflicts_with = "torch")]
    with_resize: bool,
    /// Channels of the images that the ONNX graph takes: 1 (grey) or 3 (red, green, blue) [default: those of the net]
    #[arg(long, value_name = "N", conflicts_with = "torch")]
    channels: Option<usize>,
    /// Print what came of it as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let Args { model, onnx, torch, with_resize, channels, json } = args;
    let of_onnx = onnx.map(|file| (Format::Onnx { channels, with_resize }, file));
    let Some((format, file)) = of_onnx.or(torch.map(|file| (Format::Torch, file))) else { return Ok(Outcome::Fine) };
    let exported = export(&model, format, file)?;
    if json {
        print_json(&exported)?;
        return Ok(Outcome::Fine);
    }
    let Exported { file, net, bytes, not_included } = &exported;
    print_lines(&named("net", net))?;
    print_lines(&named("written", format!("{file}, {}", memory::in_words(*bytes))))?;
    not_included.iter().try_for_each(|what| print_lines(&named("not included", what)))?;
    Ok(Outcome::Fine)
}
