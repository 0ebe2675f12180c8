//! The format before PyTorch 1.6: a pickle each of a magic number, a version, the writer's system, what was saved, and the keys of its
//! storages; then these, each as its length and its bytes.

use super::Storages;
use super::objects::{Id, Object, Objects};
use super::pickle::Machine;
use super::reader::{Reader, damaged};
use crate::error::{Error, Result};
use crate::printable::escaped;

/// The pickle of the magic number.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// The version of the format.
const VERSION: i64 = 1001;

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

pub(super) fn parse(bytes: &[u8]) -> Result<(Objects, Id, Storages)> {
    let mut machine = Machine::default();
    let mut reader = Reader::new(bytes, MAGIC.len());
    let version = machine.run(&mut reader)?;
    if machine.objects.integer(version) != Some(VERSION) {
        return Err(Error::setting("is of another version than PyTorch's", "save it with a newer PyTorch"));
    }
    let system = machine.run(&mut reader)?;
    check_system(&machine.objects, system)?;
    let root = machine.run(&mut reader)?;
    let keys = machine.run(&mut reader)?;
    let keys = machine.objects.items(keys).ok_or_else(|| damaged("has no list of its storages"))?;
    let mut storages = Storages::new();
    for &key in keys {
        let named = machine.objects.text(key).and_then(|key| machine.storages.get_key_value(key));
        let (key, &(kind, len)) = named.ok_or_else(|| damaged("lists a storage that no tensor is of"))?;
        let stored = reader.length()?;
        if stored != len {
            let problem = format!("has {stored} elements of storage {}, which should have {len}", escaped(key));
            return Err(damaged(problem));
        }
        let start = reader.at;
        reader.take(len.checked_mul(kind.size()).ok_or_else(super::reader::cut)?)?;
        storages.insert(key.clone(), start..reader.at);
    }
    match machine.storages.keys().find(|key| !storages.contains_key(*key)) {
        Some(missing) => Err(damaged(format!("has no storage {}", escaped(missing)))),
        None => Ok((machine.objects, root, storages)),
    }
}

/// Fails unless numbers begin with their lowest byte.
fn check_system(objects: &Objects, system: Id) -> Result<()> {
    let Object::Dict(entries) = objects.get(system) else {
        return Err(damaged("does not tell the system that wrote it"));
    };
    let is_big = |&(key, value): &(Id, Id)| {
        objects.text(key) == Some("little_endian") && matches!(objects.get(value), Object::Bool(false))
    };
    if entries.iter().any(is_big) {
        return Err(big_endian());
    }
    Ok(())
}

/// The error of a file of another order of bytes.
pub(super) fn big_endian() -> Error {
    Error::setting("has its numbers in the order of big-endian machines", "save it on another machine")
}
