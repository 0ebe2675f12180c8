//! A scratch folder with data, and the program.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// The words that train on the folders of [`Scratch::with_folders`].
pub const ON_FOLDERS: &str =
    "train folder --data parts --net FCDD_CNN32_S --side 32 --batch 4 --noise outliers --outliers images:other";

/// A scratch folder.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `fcdd` with these words in the scratch folder.
    pub fn run(&self, words: &str) -> Ran {
        let words: Vec<&str> = words.split_whitespace().collect();
        Ran(self.command().args(words).output().unwrap())
    }

    /// The same where no file may outgrow so many KiB.
    pub fn run_with_file_limit(&self, kib: usize, words: &str) -> Ran {
        self.run_after("bash", &format!("ulimit -f {kib}"), words)
    }

    /// The same where a file is a mount point, so that no other takes its place; none where nothing may be mounted here.
    pub fn run_with_mounted(&self, file: &str, words: &str) -> Option<Ran> {
        const APART: &str = "unshare -rm bash"; // mounts are of this process alone
        let mount = format!("mount --bind {file} {file}");
        let mounts = self.shell(APART, &mount).is_ok_and(|tried| tried.status.success());
        mounts.then(|| self.run_after(APART, &mount, words))
    }

    fn run_after(&self, shell: &str, before: &str, words: &str) -> Ran {
        let script = format!("{before} && exec {} {words} --device cpu", env!("CARGO_BIN_EXE_fcdd"));
        Ran(self.shell(shell, &script).unwrap())
    }

    fn shell(&self, shell: &str, script: &str) -> io::Result<Output> {
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-c", script]).current_dir(self.path("")).output()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
        // What PyTorch has downloaded on this machine counts no more than what else lies there.
        command.current_dir(self.0.path()).env("TORCH_HOME", self.path("torch"));
        command
    }

    /// Names of all files below a folder of the scratch folder, sorted.
    pub fn files(&self, folder: &str) -> Vec<String> {
        fn collect(folder: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, root, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let root = self.path(folder);
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        found.sort();
        found
    }

    /// A small Fashion-MNIST in `data`: class 0 is smooth, class 1 striped; 96 images to train on, 32 to test on. Also `outliers`,
    /// CIFAR-100 records of coloured noise.
    pub fn with_data(self) -> Scratch {
        for (stem, count) in [("train", 96), ("t10k", 32)] {
            let (images, labels) = idx(count);
            self.write(&format!("data/{stem}-images-idx3-ubyte.gz"), &gzip(&images));
            self.write(&format!("data/{stem}-labels-idx1-ubyte.gz"), &gzip(&labels));
        }
        let records: Vec<u8> = (0..40 * 3074u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut records = records;
        records.chunks_exact_mut(3074).for_each(|r| (r[0], r[1]) = (0, 0));
        self.write("outliers.bin", &records);
        self
    }

    /// The same with 200 images to train on, 100 of a class: enough to hold some out.
    pub fn with_more_images(self) -> Scratch {
        let (images, labels) = idx(200);
        self.write("data/train-images-idx3-ubyte.gz", &gzip(&images));
        self.write("data/train-labels-idx1-ubyte.gz", &gzip(&labels));
        self
    }

    /// Trains the smallest net on the small data and returns its run folder `run`.
    pub fn with_run(self) -> Scratch {
        let scratch = self.with_data();
        scratch.train("--epochs 1 --out run").expect_success();
        scratch
    }

    /// Folders of images of several sizes: `parts` as MVTec-AD's, without masks, and `other`.
    pub fn with_folders(self) -> Scratch {
        for i in 0..9 {
            self.write(&format!("parts/train/good/{i}.png"), &png(32 + i, 40));
            self.write(&format!("other/{i}.png"), &png(50, 33 + i));
        }
        for i in 0..3 {
            self.write(&format!("parts/test/good/{i}.png"), &png(41, 32 + i));
            self.write(&format!("parts/test/bad/{i}.png"), &png(90 - i, 32));
        }
        self
    }

    /// The numbers of a safetensors file, without its head.
    pub fn tensors(&self, name: &str) -> Vec<u8> {
        let bytes = fs::read(self.path(name)).unwrap();
        let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + head..].to_vec()
    }

    /// Whether a run's state is of an epoch that was begun, whose losses so far it holds.
    #[cfg(unix)]
    pub fn was_stopped_within_an_epoch(&self, run: &str) -> bool {
        let state = fs::read(self.path(run).join("state.safetensors"));
        state.is_ok_and(|state| String::from_utf8_lossy(&state[..4000.min(state.len())]).contains("\"losses\""))
    }

    /// Trains the smallest net on the small data with more flags.
    pub fn train(&self, flags: &str) -> Ran {
        let base = "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin";
        self.run(&format!("{base} {flags}"))
    }
}

/// A model file without its checksum, as earlier versions wrote it: what is changed in it is read.
pub fn without_checksum(model: &[u8]) -> Vec<u8> {
    let (length, rest) = model.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header = std::str::from_utf8(header).unwrap();
    let (before, after) = header.split_once(r#",\"checksum\":\""#).unwrap();
    let header = before.to_string() + after.split_once(r#"\""#).unwrap().1;
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
}

/// Images and labels as idx files; image i is of class i % 2.
pub fn idx(count: u32) -> (Vec<u8>, Vec<u8>) {
    let mut images = [0x803u32, count, 28, 28].map(u32::to_be_bytes).concat();
    for i in 0..count {
        for p in 0..784u32 {
            let (y, x) = (p / 28, p % 28);
            let smooth = 40 + 3 * y + 2 * x + i % 13;
            let striped = if (x + i) % 4 < 2 { 250 } else { 10 };
            images.push(if i % 2 == 0 { smooth } else { striped } as u8);
        }
    }
    let mut labels = [0x801u32, count].map(u32::to_be_bytes).concat();
    labels.extend((0..count).map(|i| (i % 2) as u8));
    (images, labels)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG of `side × side` black pixels of one bit, interlaced if so, that compresses to next to nothing.
pub fn vast_png(side: u32, interlaced: bool) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let [a, b, c, d] = side.to_be_bytes();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let row = vec![0; 1 + side.div_ceil(8) as usize];
    (0..if interlaced { 1 } else { side }).for_each(|_| packed.write_all(&row).unwrap());
    let head = [a, b, c, d, a, b, c, d, 1, 0, 0, 0, u8::from(interlaced)];
    let data = packed.finish().unwrap();
    let chunks = [chunk(b"IHDR", &head), chunk(b"IDAT", &data), chunk(b"IEND", b"")];
    [b"\x89PNG\r\n\x1a\n", chunks.concat().as_slice()].concat()
}

/// A PNG of a colour gradient.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    png_with(width, height, 90)
}

/// The same with another blue.
pub fn png_with(width: u32, height: u32, blue: u8) -> Vec<u8> {
    let image = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, blue]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// What the program did.
pub struct Ran(pub Output);

impl Ran {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn expect_success(&self) -> &Ran {
        assert!(self.0.status.success(), "exit {:?}: {}", self.0.status.code(), self.stderr());
        self
    }

    /// Exit code 2, and one line of error that holds all these words; only the drawing of a folder's tree may follow it.
    pub fn expect_error(&self, words: &[&str]) -> &Ran {
        let stderr = self.stderr();
        assert_eq!(self.0.status.code(), Some(2), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one line of error: {stderr}");
        let mut after = stderr.lines().skip_while(|l| *l != errors[0]).skip(1);
        assert!(after.all(|l| l.starts_with("  DIR/")), "nothing after the error: {stderr}");
        for word in words {
            assert!(errors[0].contains(word), "'{word}' is not in: {}", errors[0]);
        }
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|e| panic!("{e}: {}", self.stdout()))
    }
}

/// The values of a map, and its (height, width).
pub fn map(scratch: &Scratch, name: &str) -> (Vec<f32>, (usize, usize)) {
    let bytes = fs::read(scratch.path(name)).unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let head = String::from_utf8_lossy(&bytes[10..end]).into_owned();
    let shape = head.split('(').nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let shape: Vec<usize> = shape.split(", ").map(|side| side.parse().unwrap()).collect();
    (bytes[end..].as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect(), (shape[0], shape[1]))
}

/// Waits until something has come about.
pub fn wait_for(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(120), "waited too long");
        sleep(Duration::from_millis(5));
    }
}
