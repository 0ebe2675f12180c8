//! Where the bytes of an image lie, which decoders read from, and read anew.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::Fault;
use crate::error::{Error, Result};
use crate::files;
use crate::printable::Printable;

/// A file, or the bytes of one in memory.
#[derive(Clone, Debug)]
pub(crate) enum ImageBytes {
    File(PathBuf),
    Memory(Arc<Vec<u8>>),
}

impl ImageBytes {
    /// All of them from the beginning, as a stream, and how many there are.
    pub(super) fn open(&self) -> Result<(Stream, u64)> {
        match self {
            ImageBytes::File(path) => {
                let file = files::open(path)?;
                let len = file.metadata().map_err(Error::io("read", path))?.len();
                Ok((Stream::File(file), len))
            }
            ImageBytes::Memory(bytes) => Ok((Stream::Memory(Cursor::new(Held(bytes.clone()))), bytes.len() as u64)),
        }
    }

    /// All of them in memory.
    pub(super) fn read(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            ImageBytes::File(path) => files::read(path).map(Cow::Owned),
            ImageBytes::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// What is wrong with them.
    pub(super) fn fault(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        match self {
            ImageBytes::File(path) => Error::file(path, problem, remedy),
            ImageBytes::Memory(_) => Error::setting(format!("the image: {}", problem.into()), remedy),
        }
    }

    /// That decoding them takes too much memory.
    pub(super) fn too_large(&self, problem: String, remedy: &str) -> Error {
        let image = match self {
            ImageBytes::File(path) => path.printable(),
            ImageBytes::Memory(_) => "the image".to_string(),
        };
        Error::OutOfMemory { problem: format!("{image}: {problem}"), remedy: remedy.into() }
    }

    /// The error of what was not read.
    pub(super) fn refused(&self, fault: Fault) -> Error {
        match fault {
            Fault::Content(why) => self.unreadable(&why),
            Fault::Process(Error::OutOfMemory { problem, remedy }) => self.too_large(problem, &remedy),
            Fault::Process(error) => error,
        }
    }

    /// The error of what cannot be read as an image.
    pub(super) fn unreadable(&self, why: &str) -> Error {
        let why = in_plain_words(why);
        let remedy = match self {
            ImageBytes::File(_) => "give a whole PNG, JPEG, BMP, TIFF, WebP or PNM file, or remove this one",
            ImageBytes::Memory(_) => "give a whole PNG, JPEG, BMP, TIFF, WebP or PNM file",
        };
        self.fault(format!("not a readable image ({why})"), remedy)
    }
}

/// What decoders say, without words about themselves and with others for what helps nobody.
fn in_plain_words(why: &str) -> String {
    const WORDS: [(&str, &str); 3] = [
        ("failed to fill whole buffer", "it is cut short"),
        ("The image format could not be determined", "it is no image of a known format"),
        (
            "no lzw end code found",
            "its LZW data end otherwise than the decoder takes them; save it with deflate or without compression",
        ),
    ];
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ").replace("[strict-mode]: ", "");
    match WORDS.iter().find(|(theirs, _)| why.contains(theirs)) {
        Some((_, ours)) => ours.to_string(),
        None => why,
    }
}

/// Bytes that several readers share.
pub(super) struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes on their way to a decoder.
pub(super) enum Stream {
    File(File),
    Memory(Cursor<Held>),
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::File(file) => file.read(into),
            Stream::Memory(bytes) => bytes.read(into),
        }
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Stream::File(file) => file.seek(to),
            Stream::Memory(bytes) => bytes.seek(to),
        }
    }
}
