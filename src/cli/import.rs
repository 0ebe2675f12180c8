//! `fcdd import`

use std::path::PathBuf;

use super::Outcome;
use super::common::{context, named, print_json, print_lines};
use crate::device::Device;
use crate::error::Result;
use crate::run::import::{Imported, Request, import};

/// Make a model of a snapshot that the authors' PyTorch code has written
///
/// The model scores images as theirs does. Nothing in the file is run. What the files do not tell is listed: a threshold among it, which
/// `fcdd calibrate` sets by good images.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The training state, snapshot.pt, or the state_dict of its net in safetensors
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The config.txt that lies beside it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder for the model
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Folder of the images that it was trained on, laid out as the dataset: by its good images inputs are scaled, where the authors' code
    /// has no constants of its own
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// It was trained with --ground-truth-maps, of which config.txt does not tell
    #[arg(long)]
    masks: bool,
    /// Print what came of it as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let Args { snapshot, config, out, data, masks, json } = args;
    let request = Request { snapshot, config, data, masks };
    let imported = import(&context(&Device::Cpu), &request, &out)?;
    if json {
        print_json(&imported)?;
        return Ok(Outcome::Fine);
    }
    let Imported { model, net, epochs, unknown } = &imported;
    print_lines(&named("net", format!("{net}, {epochs} epochs")))?;
    print_lines(&named("model", model))?;
    unknown.iter().try_for_each(|unknown| print_lines(&named("not known", unknown)))?;
    Ok(Outcome::Fine)
}
