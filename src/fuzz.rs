//! What reads files from outside, as functions of a file's bytes: the targets of `fuzz/`. Whatever the bytes are, none may panic, take longer
//! than 10 seconds, or hold more memory than it was given.

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use tempfile::TempDir;

use crate::data::cifar::{self, CifarLabels};
use crate::data::decode::{ImageBytes, ImageFile, read_mask};
use crate::data::idx;
use crate::datasets::{cifar10, pascalvoc};
use crate::memory::for_images;
use crate::model::checkpoint::NamedTensors;
use crate::model::torch::TorchFile;
use crate::model::torch::writer::with_pickle;
use crate::run::directory::RunDirectory;
use crate::run::import::settings_of;
use crate::run::model::Model;
use crate::run::state::State;
use crate::run::sweep::plan::SweepPlan;

/// A parser with its name.
pub type Target = (&'static str, fn(&[u8]));

/// All parsers; a corpus of each lies in `fuzz/corpus`.
pub const TARGETS: [Target; 13] = [
    ("model", model),
    ("state", state),
    ("torch", torch),
    ("pickle", pickle),
    ("authors_config", authors_config),
    ("config", config),
    ("sweep", sweep),
    ("idx", idx),
    ("cifar", cifar),
    ("cifar_labels", cifar_labels),
    ("voc", voc),
    ("image", image),
    ("image_header", image_header),
];

/// Hands a file of these bytes and of this name, in a folder of its own, to a parser.
fn with_file(name: &str, bytes: &[u8], parse: impl FnOnce(&Path)) {
    thread_local!(static FOLDER: TempDir = TempDir::with_prefix("fcdd-fuzz-").expect("a folder for a file"));
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("room for a file");
        parse(&path);
        fs::remove_file(path).expect("a file that is ours");
    });
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

/// A file of safetensors. Bytes that begin with a brace are its header, behind which come as many zeros as that announces.
fn tensors(bytes: &[u8]) -> Cow<'_, [u8]> {
    const MOST: u64 = 4 << 20;
    if bytes.first() != Some(&b'{') {
        return Cow::Borrowed(bytes);
    }
    let header: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let ends = header.as_object().into_iter().flat_map(|tensors| tensors.values());
    let end = ends.filter_map(|tensor| tensor["data_offsets"][1].as_u64()).max().unwrap_or(0).min(MOST);
    let mut file = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    file.resize(file.len() + end as usize, 0);
    Cow::Owned(file)
}

/// `model.safetensors`: header, card and weights.
fn model(bytes: &[u8]) {
    with_file("model.safetensors", &tensors(bytes), |path| drop(Model::load(path)));
}

/// `state.safetensors`.
fn state(bytes: &[u8]) {
    with_file("state.safetensors", &tensors(bytes), |path| drop(State::load(path)));
}

/// A file of PyTorch's, and the values of its tensors.
fn torch(bytes: &[u8]) {
    let Ok(file) = TorchFile::parse(Path::new("file.pth"), bytes.to_vec()) else { return };
    for tensors in
        [file.root().tensors().ok(), file.root().get("net").and_then(|net| net.tensors().ok())].iter().flatten()
    {
        let names = tensors.names();
        // Each is as long as its storage at most, of which there may be many.
        names.iter().take(64).for_each(|name| drop((tensors.floats(name), tensors.integer(name))));
    }
}

/// The pickle of such a file, which has one storage of four floats.
fn pickle(bytes: &[u8]) {
    torch(&with_pickle(bytes));
}

/// `config.txt` of the authors' runner.
fn authors_config(bytes: &[u8]) {
    with_file("config.txt", bytes, |path| drop(settings_of(path)));
}

/// `config.json`.
fn config(bytes: &[u8]) {
    with_file("config.json", bytes, |path| drop(RunDirectory::open(&folder_of(path)).and_then(|run| run.settings())));
}

/// `sweep.json`.
fn sweep(bytes: &[u8]) {
    with_file("sweep.json", bytes, |path| drop(SweepPlan::of(&folder_of(path))));
}

/// Files of idx: images, labels, or either in gzip, as the first byte says.
fn idx(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => drop(idx::parse_images(bytes, Path::new("images"))),
        1 => drop(idx::parse_labels(bytes, Path::new("labels"))),
        _ => with_file("t-images-idx3-ubyte.gz", bytes, |path| drop(idx::read_pair(&folder_of(path), "t"))),
    }
}

/// Records of CIFAR-10 or, with an odd first byte, of CIFAR-100.
fn cifar(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let labels = if kind % 2 == 0 { CifarLabels::One } else { CifarLabels::CoarseAndFine };
    drop(cifar::parse(bytes, labels, Path::new("records")));
}

/// The labels of CIFAR-10's sheets. The sheets themselves are images.
fn cifar_labels(bytes: &[u8]) {
    with_file("labels.json", bytes, |path| drop(cifar10::labels(path)));
}

/// A list of Pascal VOC.
fn voc(bytes: &[u8]) {
    with_file("list.txt", bytes, |path| drop(pascalvoc::parse(path, Path::new("JPEGImages"))));
}

/// An image of any format: row by row, and whole and as a mask where that takes no more than images may; from a file and from memory.
fn image(bytes: &[u8]) {
    with_file("image", bytes, |path| {
        let opened = || ImageFile::open(path).ok();
        let held = ImageFile::of(ImageBytes::Memory(bytes.to_vec().into())).ok();
        drop(held.map(|file| file.rows(|_| {})));
        let whole = || opened().filter(|file| file.bytes_whole() <= for_images());
        drop(opened().map(|file| file.rows(|_| {})));
        drop(whole().map(|file| file.over_black().read()));
        drop(whole().map(read_mask));
    });
}

/// An image whose head claims what the first bytes say: format, width, height, depth, kind of colour, compression.
fn image_header(bytes: &[u8]) {
    let Some((head, data)) = bytes.split_at_checked(12) else { return };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (width, height) = (word(1), word(5));
    let [depth, colour, compression] = [head[9], head[10], head[11]];
    let claims = Claims { width, height, depth, colour, compression };
    match head[0] % 5 {
        0 => image(&claims.png(data)),
        1 => image(&claims.bmp(data)),
        2 => image(&claims.tiff(data)),
        3 => image(&claims.jpeg(data)),
        _ => image(&claims.pnm(data)),
    }
}

struct Claims {
    width: u32,
    height: u32,
    depth: u8,
    colour: u8,
    compression: u8,
}

impl Claims {
    fn png(&self, data: &[u8]) -> Vec<u8> {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(data);
            [&(data.len() as u32).to_be_bytes(), &kind[..], data, &crc.sum().to_be_bytes()].concat()
        };
        let [width, height] = [self.width, self.height].map(u32::to_be_bytes);
        let header = [&width[..], &height, &[self.depth, self.colour, 0, 0, self.compression & 1]].concat();
        let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
        let pixels = pixels.write_all(data).and_then(|()| pixels.finish()).unwrap_or_default();
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &pixels), chunk(b"IEND", &[])].concat()
    }

    fn bmp(&self, data: &[u8]) -> Vec<u8> {
        let [width, height] = [self.width, self.height].map(u32::to_le_bytes);
        let head = [&b"BM"[..], &[0; 8], &54u32.to_le_bytes(), &40u32.to_le_bytes(), &width, &height].concat();
        [&head, &[1, 0, self.depth, 0, self.compression, 0, 0, 0][..], &[0; 20], data].concat()
    }

    fn tiff(&self, data: &[u8]) -> Vec<u8> {
        let entry = |tag: u16, value: u32| {
            [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let samples = u32::from(self.colour >> 4);
        let entries = [
            (256, self.width),
            (257, self.height),
            (258, u32::from(self.depth)),
            (259, u32::from(self.compression)),
            (262, u32::from(self.colour & 15)),
            (273, 8 + 2 + 9 * 12 + 4),
            (277, samples),
            (278, self.height),
            (279, data.len() as u32),
        ]
        .map(|(tag, value)| entry(tag, value));
        [&b"II*\0"[..], &8u32.to_le_bytes(), &9u16.to_le_bytes(), &entries.concat(), &[0; 4], data].concat()
    }

    fn jpeg(&self, data: &[u8]) -> Vec<u8> {
        let [width, height] = [self.width, self.height].map(|side| (side as u16).to_be_bytes());
        let components = self.colour % 5;
        let parts: Vec<u8> = (1..=components).flat_map(|number| [number, self.compression, 0]).collect();
        let length = (8 + 3 * u16::from(components)).to_be_bytes();
        let kind = [0xC0, 0xC1, 0xC2, 0xC9][usize::from(self.colour >> 6)];
        [&[0xFF, 0xD8, 0xFF, kind][..], &length, &[self.depth], &height, &width, &[components], &parts, data].concat()
    }

    fn pnm(&self, data: &[u8]) -> Vec<u8> {
        let Claims { width, height, depth, colour, .. } = self;
        [format!("P{} {width} {height} {depth}\n", colour % 8).as_bytes(), data].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of the corpus, among them all that has ever failed.
    #[test]
    fn the_corpus_is_read_or_refused() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, parse) in TARGETS {
            let files: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name} has no corpus");
            files.iter().for_each(|file| parse(&fs::read(file).unwrap()));
        }
    }
}
