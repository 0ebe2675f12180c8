//! The idx format of MNIST, Fashion-MNIST and EMNIST: a big-endian header, then bytes; plain or gzipped.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::{files, memory};

/// First four bytes of a file of images: unsigned bytes, three dimensions.
const IMAGES_MAGIC: u32 = 0x0000_0803;
/// First four bytes of a file of labels: unsigned bytes, one dimension.
const LABELS_MAGIC: u32 = 0x0000_0801;

const DOWNLOAD_AGAIN: &str = "download it again";

/// Bytes that gzip packs into one, at most (RFC 1951: 258 of them take two bits, beside headers).
const MOST_PACKED: usize = 1040;

/// Reads `STEM-images-idx3-ubyte` and `STEM-labels-idx1-ubyte` (each plain or `.gz`) from a folder: grey images, labels.
pub(crate) fn read_pair(folder: &Path, stem: &str) -> Result<(Images, Vec<u8>)> {
    let (image_path, image_bytes) = read_plain_or_gz(folder, &format!("{stem}-images-idx3-ubyte"))?;
    let images = parse_images(&image_bytes, &image_path)?;
    let (label_path, label_bytes) = read_plain_or_gz(folder, &format!("{stem}-labels-idx1-ubyte"))?;
    let labels = parse_labels(&label_bytes, &label_path)?;
    if labels.len() != images.count {
        let problem = format!("{} labels, but {} holds {} images", labels.len(), image_path.printable(), images.count);
        return Err(Error::file(label_path, problem, "take both files from the same download"));
    }
    Ok((images, labels))
}

/// Images of an idx3 file's bytes; `path` is for messages.
pub(crate) fn parse_images(bytes: &[u8], path: &Path) -> Result<Images> {
    let ([count, height, width], pixels) = parse(bytes, path, IMAGES_MAGIC, "images")?;
    if height == 0 || width == 0 {
        return Err(Error::file(path, format!("images of {height}×{width} pixels"), DOWNLOAD_AGAIN));
    }
    Ok(Images { count, height, width, channels: 1, pixels: pixels.to_vec() })
}

/// Labels of an idx1 file's bytes; `path` is for messages.
pub(crate) fn parse_labels(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    let ([_count], labels) = parse(bytes, path, LABELS_MAGIC, "labels")?;
    Ok(labels.to_vec())
}

/// Checks the header and splits it from the content, whose length must be the product of the dimensions.
fn parse<'a, const D: usize>(bytes: &'a [u8], path: &Path, magic: u32, what: &str) -> Result<([usize; D], &'a [u8])> {
    let word = |i: usize| bytes.get(4 * i..4 * i + 4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    if word(0) != Some(magic) {
        let problem = format!("not an idx file of {what} (it should start with {magic:#010x})");
        return Err(Error::file(path, problem, "check that images and labels were not swapped, or download it again"));
    }
    let mut shape = [0; D];
    for (d, size) in shape.iter_mut().enumerate() {
        *size = word(1 + d).ok_or_else(|| Error::file(path, "cut short within its header", DOWNLOAD_AGAIN))? as usize;
    }
    let content = &bytes[4 * (1 + D)..];
    if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(content.len()) {
        let problem = format!("the header announces {shape:?} bytes, the file holds {}", content.len());
        return Err(Error::file(path, problem, DOWNLOAD_AGAIN));
    }
    Ok((shape, content))
}

/// The content of `folder/name` or `folder/name.gz` (also spelt `….idx3-ubyte`), and which of them it was.
fn read_plain_or_gz(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let dotted = name.replace("-idx", ".idx");
    let spellings = [name.to_string(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")];
    let Some(path) = spellings.iter().map(|s| folder.join(s)).find(|p| p.is_file()) else {
        let problem = format!("holds neither {name} nor {name}.gz");
        let (images, labels) = (name.replace("labels-idx1", "images-idx3"), name.replace("images-idx3", "labels-idx1"));
        let remedy = format!(
            "name the folder with the idx files with `data` or `outliers`; expected are these, plain or gzipped:\n  DIR/{images}.gz\n  \
             DIR/{labels}.gz"
        );
        return Err(Error::file(folder, problem, remedy));
    };
    let bytes = files::read(&path)?;
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok((path, bytes));
    }
    let unpacked = unpacked(&bytes, &path)?;
    Ok((path, unpacked))
}

/// The content of a gzip file of the idx format: no more than its header announces, and a byte that shows that there is more.
fn unpacked(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    let damaged =
        |e: io::Error| Error::file(path, format!("the gzip data is cut short or damaged ({e})"), DOWNLOAD_AGAIN);
    let mut packed = MultiGzDecoder::new(bytes);
    let mut plain = Vec::new();
    // The longest header is of three dimensions.
    packed.by_ref().take(16).read_to_end(&mut plain).map_err(damaged)?;
    let word =
        |i: usize| plain.get(4 * i..4 * i + 4).map_or(0, |w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]) as usize);
    let dimensions = if word(0) == IMAGES_MAGIC as usize { 1..4 } else { 1..2 };
    let announced = dimensions.map(word).fold(1, usize::saturating_mul).saturating_add(16);
    if announced > bytes.len().saturating_mul(MOST_PACKED) {
        let problem = format!("announces {}, more than is packed in so few bytes", memory::in_words(announced));
        return Err(Error::file(path, problem, DOWNLOAD_AGAIN));
    }
    memory::fits(&format!("the contents of {}", path.printable()), announced, "allow the program more memory")?;
    packed.take(announced as u64 + 1).read_to_end(&mut plain).map_err(damaged)?;
    Ok(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    /// An idx3 file of `count` images of 28×28 whose pixels are all `value(i)`.
    pub(crate) fn idx_images(count: usize, value: impl Fn(usize) -> u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = [IMAGES_MAGIC, count as u32, 28, 28].iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes.extend((0..count).flat_map(|i| [value(i); 784]));
        bytes
    }

    pub(crate) fn idx_labels(labels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [LABELS_MAGIC, labels.len() as u32].iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes.extend_from_slice(labels);
        bytes
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn message(images: &[u8], labels: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("t-images-idx3-ubyte.gz"), images).unwrap();
        fs::write(dir.path().join("t-labels-idx1-ubyte"), labels).unwrap();
        match read_pair(dir.path(), "t") {
            Ok((images, labels)) => format!("{} {}", images.count, labels.len()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn reads_plain_and_gz_and_says_what_is_wrong() {
        let (images, labels) = (idx_images(2, |i| i as u8), idx_labels(&[3, 4]));
        assert_eq!(message(&gzip(&images), &labels), "2 2");
        assert_eq!(message(&images, &gzip(&labels)), "2 2");
        let zipped = gzip(&images);
        let cut = message(&zipped[..zipped.len() / 2], &labels);
        assert!(
            cut.contains("t-images-idx3-ubyte.gz") && cut.contains("cut short") && cut.contains("download"),
            "{cut}"
        );
        assert!(message(&gzip(&labels), &labels).contains("not an idx file of images"));
        // No more is unpacked than the header announces, and a byte.
        let bomb = message(&gzip(&[&*images, &[0; 1 << 26]].concat()), &labels);
        assert!(bomb.contains("announces [2, 28, 28] bytes, the file holds 1585"), "{bomb}");
        let mut claims = images.clone();
        claims[4..12].fill(0x7F);
        assert!(message(&gzip(&claims), &labels).contains("more than is packed in so few bytes"));
        assert!(message(&images[..images.len() - 1], &labels).contains("announces"));
        let mismatch = message(&images, &idx_labels(&[1, 2, 3]));
        assert!(mismatch.contains("t-labels-idx1-ubyte") && mismatch.contains("3 labels"), "{mismatch}");
        let absent = read_pair(Path::new("/nonexistent"), "t").unwrap_err().to_string();
        assert!(absent.contains("/nonexistent") && absent.contains("`data`"), "{absent}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64), kind in 0..3) {
            let magic = [IMAGES_MAGIC, LABELS_MAGIC, 0][kind as usize];
            bytes.splice(0..0, magic.to_be_bytes());
            let _ = parse_images(&bytes, Path::new("x"));
            let _ = parse_labels(&bytes, Path::new("x"));
        }
    }
}
