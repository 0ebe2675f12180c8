//! Where the bytes of an image lie, which decoders read from, and read anew.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files;

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
        match self {
            ImageBytes::File(path) => Error::file(path, problem, remedy),
            ImageBytes::Memory(_) => {
                Error::OutOfMemory { problem: format!("the image: {problem}"), remedy: remedy.into() }
            }
        }
    }

    /// The error of what cannot be read as an image.
    pub(super) fn unreadable(&self, why: &str) -> Error {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        // Words of decoders about themselves.
        let why = why.replace("[strict-mode]: ", "").replace("failed to fill whole buffer", "it is cut short");
        let remedy = match self {
            ImageBytes::File(_) => "give a whole PNG, JPEG, BMP, TIFF, WebP or PNM file, or remove this one",
            ImageBytes::Memory(_) => "give a whole PNG, JPEG, BMP, TIFF, WebP or PNM file",
        };
        self.fault(format!("not a readable image ({why})"), remedy)
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
