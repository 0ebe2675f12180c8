//! PyTorch's archives: ZIP files with stored entries. Entries are looked up by their names; nothing is unpacked.

use std::collections::BTreeMap;
use std::ops::Range;

use super::legacy::big_endian;
use super::objects::{Id, Objects};
use super::pickle::Machine;
use super::reader::{Reader, cut, damaged};
use super::{STATE_DICT, Storages};
use crate::error::{Error, Result};
use crate::printable::escaped;

/// How the file begins: with the head of its first entry.
const ENTRY: [u8; 4] = *b"PK\x03\x04";
/// An entry of the directory.
const LISTED: [u8; 4] = *b"PK\x01\x02";
/// The end of the directory, and with numbers of 64 bits.
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";

/// Bytes of the end, of the locator of the other end before it, and of a comment behind it at most.
const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;
const LONGEST_COMMENT: usize = 0xffff;

/// The extra field of numbers of 64 bits.
const EXTRA_64: u16 = 1;

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(&ENTRY)
}

/// What was saved, and where the storages lie.
pub(super) fn parse(bytes: &[u8]) -> Result<(Objects, Id, Storages)> {
    let archive = Archive::new(bytes)?;
    let folder = archive.folder()?;
    if archive.entries.contains_key(&format!("{folder}/constants.pkl")) {
        return Err(Error::setting("is a program of TorchScript's", STATE_DICT));
    }
    if archive.find(&format!("{folder}/byteorder"))?.is_some_and(|range| bytes[range] != *b"little") {
        return Err(big_endian());
    }
    let pickle = archive.get(&format!("{folder}/data.pkl"))?;
    let mut machine = Machine::default();
    let root = machine.run(&mut Reader::new(&bytes[..pickle.end], pickle.start))?;
    let storage = |(key, &(kind, len)): (&String, &(super::tensor::Kind, usize))| {
        let range = archive.get(&format!("{folder}/data/{key}"))?;
        if len.checked_mul(kind.size()) != Some(range.len()) {
            let (key, got) = (escaped(key), range.len());
            return Err(damaged(format!("has {got} bytes of storage {key}, which should have {len} elements")));
        }
        Ok((key.clone(), range))
    };
    let storages = machine.storages.iter().map(storage).collect::<Result<_>>()?;
    Ok((machine.objects, root, storages))
}

/// An entry, as the directory lists it.
struct Entry {
    /// Where its head begins.
    head: usize,
    len: usize,
    crc: u32,
}

struct Archive<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<String, Entry>,
}

/// Where the directory lies, and how many entries it lists.
struct Directory {
    at: usize,
    count: usize,
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    fn new(bytes: &'a [u8]) -> Result<Archive<'a>> {
        let Directory { at, count } = Directory::find(bytes)?;
        let mut reader = Reader::new(bytes, at);
        let (mut entries, mut total) = (BTreeMap::new(), 0usize);
        for _ in 0..count {
            let (name, entry) = listed(&mut reader)?;
            // However entries may lie in each other, they are no more than the file.
            total = total.saturating_add(entry.len);
            if total > bytes.len() {
                return Err(damaged("lists entries that are longer than the file"));
            }
            if entries.insert(name.clone(), entry).is_some() {
                return Err(damaged(format!("lists the entry {} twice", escaped(&name))));
            }
        }
        Ok(Archive { bytes, entries })
    }

    /// The folder within, in which all entries lie.
    fn folder(&self) -> Result<&str> {
        let folders = self.entries.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
        match folders.filter(|folder| !folder.contains('/')).collect::<Vec<_>>()[..] {
            [folder] => Ok(folder),
            [] => Err(Error::setting("is a ZIP file, but none of PyTorch's", "name one that torch.save has written")),
            _ => Err(damaged("holds more than one data.pkl")),
        }
    }

    fn get(&self, name: &str) -> Result<Range<usize>> {
        self.find(name)?.ok_or_else(|| damaged(format!("has no entry {}", escaped(name))))
    }

    /// Where the bytes of an entry lie; None where there is none of that name.
    fn find(&self, name: &str) -> Result<Option<Range<usize>>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let mut reader = Reader::new(self.bytes, entry.head);
        if reader.array()? != ENTRY {
            return Err(damaged(format!("has no entry {} where its directory says", escaped(name))));
        }
        reader.take(22)?;
        let (name_len, extra_len) = (reader.u16()?, reader.u16()?);
        if reader.take(name_len.into())? != name.as_bytes() {
            return Err(damaged(format!("has another entry than {} where its directory says", escaped(name))));
        }
        reader.take(extra_len.into())?;
        let start = reader.at;
        let mut crc = flate2::Crc::new();
        crc.update(reader.take(entry.len)?);
        if crc.sum() != entry.crc {
            return Err(damaged(format!("is damaged: the checksum of {} is wrong", escaped(name))));
        }
        Ok(Some(start..reader.at))
    }
}

impl Directory {
    /// The end of the file tells.
    fn find(bytes: &[u8]) -> Result<Directory> {
        let last = bytes.len().checked_sub(END_LEN).ok_or_else(cut)?;
        let is_end = |&at: &usize| {
            let comment = [bytes[at + END_LEN - 2], bytes[at + END_LEN - 1]].map(usize::from);
            bytes[at..].starts_with(&END) && at + END_LEN + comment[0] + 256 * comment[1] == bytes.len()
        };
        let end = (last.saturating_sub(LONGEST_COMMENT)..=last).rev().find(is_end).ok_or_else(cut)?;
        let mut reader = Reader::new(bytes, end + 8);
        let (on_disk, count, _, at) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u32()?);
        if let Some(locator) = end.checked_sub(LOCATOR_LEN).filter(|&at| bytes[at..].starts_with(&LOCATOR_64)) {
            let end = Reader::new(bytes, locator + 8).length()?;
            let mut reader = Reader::new(bytes, end);
            if reader.array()? != END_64 {
                return Err(damaged("has no directory where its end says"));
            }
            reader.take(20)?;
            let (on_disk, count, _, at) = (reader.length()?, reader.length()?, reader.length()?, reader.length()?);
            return Directory { at, count }.whole(on_disk);
        }
        Directory { at: at as usize, count: count.into() }.whole(on_disk.into())
    }

    fn whole(self, on_disk: usize) -> Result<Directory> {
        if on_disk == self.count { Ok(self) } else { Err(damaged("is a part of an archive on several disks")) }
    }
}

/// The next entry of the directory.
fn listed(reader: &mut Reader) -> Result<(String, Entry)> {
    if reader.array()? != LISTED {
        return Err(damaged("has a directory that ends too soon"));
    }
    reader.take(4)?;
    let (flags, method) = (reader.u16()?, reader.u16()?);
    reader.take(4)?;
    let (crc, packed, len) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (name_len, extra_len, comment_len) = (reader.u16()?, reader.u16()?, reader.u16()?);
    reader.take(8)?;
    let head = reader.u32()?;
    let name = reader.take(name_len.into())?;
    let mut extra = Extra::new(reader.take(extra_len.into())?)?;
    reader.take(comment_len.into())?;
    let name = std::str::from_utf8(name).map_err(|_| damaged("has an entry whose name is not in UTF-8"))?;
    let shown = escaped(name);
    if !is_plain(name) {
        return Err(damaged(format!("has an entry of the name {shown}, which leads elsewhere")));
    }
    // In this order, and only those that do not fit into 32 bits.
    let [len, packed, head] = [len, packed, head].map(|value| extra.wide(value));
    let (len, packed, head) = (len?, packed?, head?);
    if method != 0 || packed != len {
        return Err(Error::setting(
            format!("has the entry {shown} compressed, which torch.save does not do"),
            "write it with torch.save",
        ));
    }
    if flags & 1 != 0 {
        return Err(Error::setting(format!("has the entry {shown} encrypted"), "write it with torch.save"));
    }
    Ok((name.to_string(), Entry { head, len, crc }))
}

/// Whether a name is that of a file in a folder, or in one within.
fn is_plain(name: &str) -> bool {
    !name.contains(['\\', '\0']) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The numbers of 64 bits of an entry, which take the place of those that are all ones.
struct Extra<'a> {
    wide: Reader<'a>,
}

impl<'a> Extra<'a> {
    fn new(bytes: &'a [u8]) -> Result<Extra<'a>> {
        let mut reader = Reader::new(bytes, 0);
        while reader.at + 4 <= bytes.len() {
            let (kind, len) = (reader.u16()?, reader.u16()?);
            let field = reader.take(len.into())?;
            if kind == EXTRA_64 {
                return Ok(Extra { wide: Reader::new(field, 0) });
            }
        }
        Ok(Extra { wide: Reader::new(&[], 0) })
    }

    fn wide(&mut self, value: u32) -> Result<usize> {
        if value == u32::MAX { self.wide.length() } else { Ok(value as usize) }
    }
}
