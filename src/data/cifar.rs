//! CIFAR's binary records: one label (CIFAR-10) or two (CIFAR-100), then 32×32 red, green and blue bytes.

use std::path::Path;

use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::files;

/// Side of the images.
pub(crate) const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The label bytes that a record begins with; the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CifarLabels {
    /// CIFAR-10.
    One,
    /// CIFAR-100.
    CoarseAndFine,
}

impl CifarLabels {
    fn bytes(self) -> usize {
        match self {
            CifarLabels::One => 1,
            CifarLabels::CoarseAndFine => 2,
        }
    }

    fn set(self) -> &'static str {
        match self {
            CifarLabels::One => "CIFAR-10",
            CifarLabels::CoarseAndFine => "CIFAR-100",
        }
    }
}

/// Reads a file of records: RGB images and labels.
pub(crate) fn read(path: &Path, labels: CifarLabels) -> Result<(Images, Vec<u8>)> {
    parse(&files::read(path)?, labels, path)
}

/// Images and labels of a file's bytes; `path` is for messages.
pub(crate) fn parse(bytes: &[u8], labels: CifarLabels, path: &Path) -> Result<(Images, Vec<u8>)> {
    let (head, set) = (labels.bytes(), labels.set());
    let record = head + 3 * PLANE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let problem = format!("{} bytes are not a whole number of {set} records of {record} bytes", bytes.len());
        return Err(Error::file(path, problem, format!("give a whole file of {set}'s binary version")));
    }
    let records = bytes.chunks_exact(record);
    let labels = records.clone().map(|record| record[head - 1]).collect();
    let mut pixels = Vec::with_capacity(records.len() * 3 * PLANE);
    for record in records.clone() {
        let planes = &record[head..];
        pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
    }
    Ok((Images { count: records.len(), height: SIDE, width: SIDE, channels: 3, pixels }, labels))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record with these labels whose planes are constant.
    pub(crate) fn record(labels: &[u8], [r, g, b]: [u8; 3]) -> Vec<u8> {
        [labels.to_vec(), vec![r; PLANE], vec![g; PLANE], vec![b; PLANE]].concat()
    }

    #[test]
    fn planes_become_pixels() {
        let bytes = [record(&[1, 7], [10, 20, 30]), record(&[0, 99], [1, 2, 3])].concat();
        let (images, labels) = parse(&bytes, CifarLabels::CoarseAndFine, Path::new("x")).unwrap();
        assert_eq!((images.count, labels), (2, vec![7, 99]));
        assert_eq!(images.image(0)[..6], [10, 20, 30, 10, 20, 30]);
        assert_eq!(images.image(1)[3 * PLANE - 3..], [1, 2, 3]);
        let message = parse(&bytes[1..], CifarLabels::CoarseAndFine, Path::new("cut.bin")).unwrap_err().to_string();
        assert!(message.starts_with("cut.bin: ") && message.contains("whole file of CIFAR-100"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..8000)) {
            let _ = parse(&bytes, CifarLabels::CoarseAndFine, Path::new("x"));
            let _ = parse(&bytes, CifarLabels::One, Path::new("x"));
        }
    }
}
