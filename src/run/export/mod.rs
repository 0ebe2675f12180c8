//! The subcommand `export`: a model for programs other than fcdd.

mod onnx;
mod preprocessing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::lock::{Claim, FolderLock};
use super::model::Model;
use crate::error::Result;
use crate::files;
use crate::model::checkpoint;
use crate::printable::Printable;

/// What a model becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// A graph from images to scores, heatmaps and verdicts.
    Onnx {
        /// Channels in which images come; None for those of the net.
        channels: Option<usize>,
        /// Whether images come in any size.
        with_resize: bool,
    },
    /// The weights as the state dict of the authors' module, in safetensors.
    Torch,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Exported {
    pub file: String,
    pub net: String,
    pub bytes: usize,
    /// What of the model the file does not have.
    pub not_included: Vec<String>,
}

/// Writes a model into a file of another format, which must not be there.
///
/// # Errors
/// A model that cannot be read, or that the format cannot hold; a file that is there, or that cannot be written.
pub(crate) fn export(model: &Path, format: Format, file: PathBuf) -> Result<Exported> {
    // What a killed export has left in the folder goes; where another process works, its files stay.
    let folder = files::folder_of(&file);
    let lock = if folder.is_dir() { FolderLock::claim(folder).ok() } else { None };
    if let Some(Claim::Ours(_)) = &lock {
        files::remove_unfinished(folder)?;
    }
    if file.symlink_metadata().is_ok() {
        return Err(files::is_there(&file));
    }
    let model = Model::load(model)?;
    let (bytes, not_included) = match format {
        Format::Onnx { channels, with_resize } => {
            let onnx::OnnxFile { bytes, not_included } = onnx::to_onnx(&model, channels, with_resize)?;
            (bytes, not_included)
        }
        Format::Torch => {
            let header = HashMap::from([("format".to_string(), "pt".to_string())]);
            let rest = "all but the weights: preprocessing, threshold and colour scale";
            (checkpoint::to_bytes(&model.arch()?, &model.weights, header)?, vec![rest.to_string()])
        }
    };
    files::write_new(&file, &bytes)?;
    let net = model.meta.settings.net;
    Ok(Exported { file: file.printable(), net, bytes: bytes.len(), not_included })
}
