//! PyTorch's files, read without doing what they say. `torch.save` writes a pickle, a program for a machine that may call any function of
//! Python's: the machine here knows what dictionaries of tensors are made with, and refuses everything else by its name.
//!
//! | file | holds |
//! | --- | --- |
//! | [`zip`] | the archive that PyTorch writes since 1.6: stored entries, looked up by their names |
//! | [`legacy`] | the format before: pickles and storages one after the other |
//! | [`pickle`] | the machine |
//! | [`reader`] | the bytes that it reads |
//! | [`objects`] | what it makes, and how much of it |
//! | [`tensor`] | tensors as views of storages |
//!
//! Beside the file itself a reader holds at most [`objects::MOST`] small objects; values of a tensor are made when they are asked for.

mod legacy;
mod objects;
mod pickle;
mod reader;
mod tensor;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod writer;
mod zip;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::objects::{Id, Object, Objects};
use self::tensor::Tensor;
use super::checkpoint::{self, NamedTensors};
use crate::error::{Error, Result};
use crate::files;
use crate::printable::escaped;

/// For files that are cut short or were changed.
const REMEDY: &str = "copy or download it again";

/// For files that hold more than tensors.
const STATE_DICT: &str = "save its state_dict instead: torch.save(model.state_dict(), 'weights.pth')";

/// Where the bytes of each storage lie in the file, by its key.
type Storages = BTreeMap<String, Range<usize>>;

/// A file of PyTorch's.
pub(crate) struct TorchFile {
    path: PathBuf,
    bytes: Vec<u8>,
    objects: Objects,
    root: Id,
    storages: Storages,
}

/// Reads a file of weights as a whole, and tells whether it is one of PyTorch's. Others are [safetensors files](checkpoint::read).
pub(crate) fn read(path: &Path, remedy: &str) -> Result<(Vec<u8>, bool)> {
    let mut begin = Vec::new();
    files::open(path)?.take(BEGIN).read_to_end(&mut begin).map_err(Error::io("read", path))?;
    let is_torch = is_torch(path, &begin);
    let bytes = if is_torch { files::read(path)? } else { checkpoint::read(path, remedy)? };
    Ok((bytes, is_torch))
}

/// Bytes that tell whose a file is.
const BEGIN: u64 = 64;

/// Whether a file is one of PyTorch's, by what it begins with or by its name.
fn is_torch(path: &Path, bytes: &[u8]) -> bool {
    let is_named = path.extension().is_some_and(|end| ["pt", "pth"].iter().any(|own| end.eq_ignore_ascii_case(own)));
    is_named || zip::is_zip(bytes) || legacy::is_legacy(bytes)
}

impl TorchFile {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// A file that is none of PyTorch's, is cut short, or holds something else than numbers, texts, lists, dictionaries and tensors.
    pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<TorchFile> {
        let parsed = if zip::is_zip(&bytes) {
            zip::parse(&bytes)
        } else if legacy::is_legacy(&bytes) {
            legacy::parse(&bytes)
        } else {
            Err(Error::setting("is not a file of PyTorch's", "name one that torch.save has written"))
        };
        let (objects, root, storages) = parsed.map_err(|error| error.at(path))?;
        objects.check_tree(root).map_err(|error| error.at(path))?;
        Ok(TorchFile { path: path.to_path_buf(), bytes, objects, root, storages })
    }

    /// What was saved.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { file: self, id: self.root }
    }
}

/// Something in a file.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    file: &'a TorchFile,
    id: Id,
}

impl<'a> Value<'a> {
    /// What a dictionary has under a name; None where it has nothing, and of what is no dictionary.
    pub(crate) fn get(self, name: &str) -> Option<Value<'a>> {
        self.entries().into_iter().flatten().rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The whole number that it is.
    pub(crate) fn integer(self) -> Option<i64> {
        self.file.objects.integer(self.id)
    }

    /// The names of a dictionary and what lies under them; None of what is no dictionary.
    fn entries(self) -> Option<impl DoubleEndedIterator<Item = (&'a str, Value<'a>)>> {
        let Value { file, id } = self;
        let Object::Dict(entries) = file.objects.get(id) else { return None };
        let named = |&(key, value): &(Id, Id)| Some((file.objects.text(key)?, Value { file, id: value }));
        Some(entries.iter().filter_map(named))
    }

    /// The tensors of a dictionary by their names.
    ///
    /// # Errors
    /// What is no dictionary, or holds no tensors.
    pub(crate) fn tensors(self) -> Result<StateDict<'a>> {
        let Value { file, .. } = self;
        let refused = |problem: String| Err(Error::file(&file.path, problem, STATE_DICT));
        let Some(entries) = self.entries() else {
            return refused(format!("holds {}, not tensors by their names", file.objects.get(self.id).kind()));
        };
        let (mut tensors, mut others) = (BTreeMap::new(), Vec::new());
        for (name, value) in entries {
            if let Object::Tensor(tensor) = file.objects.get(value.id) {
                tensors.insert(name, &**tensor);
            } else {
                others.push(escaped(name));
            }
        }
        if tensors.is_empty() {
            others.truncate(5);
            let names = if others.is_empty() { "nothing".to_string() } else { others.join(", ") };
            return refused(format!("holds no tensors by their names, but {names}"));
        }
        Ok(StateDict { file, tensors })
    }
}

/// Tensors by their names.
pub(crate) struct StateDict<'a> {
    file: &'a TorchFile,
    tensors: BTreeMap<&'a str, &'a Tensor>,
}

impl StateDict<'_> {
    fn bytes_of(&self, tensor: &Tensor) -> &[u8] {
        self.file.storages.get(&tensor.storage.key).map_or(&[], |range| &self.file.bytes[range.clone()])
    }
}

impl NamedTensors for StateDict<'_> {
    fn path(&self) -> &Path {
        &self.file.path
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().copied().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape().to_vec())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let Some(tensor) = self.tensors.get(name) else { return Ok(Vec::new()) };
        tensor.floats(self.bytes_of(tensor)).ok_or_else(|| tensor.storage.kind.name().to_string())
    }

    fn integer(&self, name: &str) -> Option<i64> {
        let tensor = self.tensors.get(name)?;
        tensor.integer(self.bytes_of(tensor))
    }
}
