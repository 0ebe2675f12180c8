//! Bytes that are read from the front. What is not there is an error: the file was cut short.

use super::REMEDY;
use crate::error::{Error, Result};

/// Bytes and how far they were read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// How many bytes were read.
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Reader<'a> {
        Reader { bytes, at }
    }

    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(cut)?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| cut())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length or a place.
    pub(super) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.u64()?).map_err(|_| cut())
    }

    /// Up to the end of a line, which is passed over.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(cut)?;
        self.at += end + 1;
        Ok(&rest[..end])
    }
}

/// The error of a file that ends too soon.
pub(super) fn cut() -> Error {
    Error::setting("is cut short", REMEDY)
}

/// The error of a file that says what cannot be.
pub(super) fn damaged(problem: impl Into<String>) -> Error {
    Error::setting(problem, REMEDY)
}
