//! NumPy's file format for arrays (`.npy`, version 1.0).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::files;

/// The part before the values is padded to a multiple of this, so that they can be mapped into memory.
const ALIGNMENT: usize = 64;

/// Writes an array of float32 in C order, for `numpy.load`.
///
/// # Panics
/// When the values do not fill the shape, or its text exceeds the format's 65,535 bytes.
pub(crate) fn save_npy(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    files::write_atomically(path, &npy(shape, values))
}

/// Such an array that is written part by part: whole or not at all.
pub(crate) struct NpyFile {
    path: PathBuf,
    unfinished: NamedTempFile,
    /// The same file: by itself, the wrapper adds its own name to errors.
    written: BufWriter<File>,
}

impl NpyFile {
    /// Begins one of a shape.
    pub(crate) fn begin(path: &Path, shape: &[usize]) -> Result<NpyFile> {
        let begin = || {
            let unfinished = files::begin(path)?;
            let mut written = BufWriter::new(unfinished.as_file().try_clone()?);
            written.write_all(&head(shape))?;
            Ok(NpyFile { path: path.to_path_buf(), unfinished, written })
        };
        begin().map_err(Error::io("write", path))
    }

    /// Adds the next values.
    pub(crate) fn push(&mut self, values: &[f32]) -> Result<()> {
        self.written.write_all(&bytes_of(values)).map_err(Error::io("write", &self.path))
    }

    /// Ends it, once all values are there.
    pub(crate) fn finish(self) -> Result<()> {
        let NpyFile { path, unfinished, mut written } = self;
        written.flush().and_then(|()| files::keep(unfinished, &path)).map_err(Error::io("write", path))
    }
}

fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of an array of shape {shape:?}");
    [head(shape), bytes_of(values)].concat()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What comes before the values.
fn head(shape: &[usize]) -> Vec<u8> {
    let mut axes = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if shape.len() == 1 {
        // Python's tuple of one.
        axes.push(',');
    }
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // Two bytes for the length and one for the line's end.
    let length = (bytes.len() + 2 + dictionary.len() + 1).next_multiple_of(ALIGNMENT) - bytes.len() - 2;
    assert!(length <= usize::from(u16::MAX), "the shape is too long for a .npy file");
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.save(file, numpy.array([[1.5, -2.0]], "<f4"))` of NumPy 2, byte for byte.
    #[test]
    fn bytes_equal_numpy() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend(format!("{text:<117}\n").bytes());
        expected.extend([0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0]);
        assert_eq!(npy(&[1, 2], &[1.5, -2.0]), expected);
        assert!(npy(&[3], &[0.0; 3]).windows(4).any(|w| w == b"(3,)"), "a tuple of one has a comma");
        assert_eq!(npy(&[0, 7, 7], &[]).len() % ALIGNMENT, 0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.npy");
        let mut file = NpyFile::begin(&path, &[1, 2]).unwrap();
        assert!(!path.exists(), "it is not whole");
        [1.5, -2.0].iter().for_each(|&value| file.push(&[value]).unwrap());
        file.finish().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), expected);
    }
}
