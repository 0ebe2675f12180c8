//! The commands of docs/experiments.md: the settings of each are accepted as they stand, and each runs (of a loop the first round), on tiny
//! data laid out as the page says, with a small net.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::process::Command;

use image::{ImageFormat, RgbImage};

use crate::support::{Ran, Scratch, gzip};

/// Flags whose value makes a command no other one: those of loops.
const VARIED: [&str; 3] = ["--oe-limit", "--sigma", "--out"];

#[test]
fn the_documented_experiments_run() {
    let scratch = Scratch::new();
    write_data(&scratch);
    let nets: BTreeSet<String> = {
        let info = scratch.run("info --json").expect_success().json();
        info["nets"].as_array().unwrap().iter().map(|net| net["name"].as_str().unwrap().to_string()).collect()
    };
    let commands = documented();
    let mut known = BTreeSet::new();
    for words in &commands {
        if let Some(net) = value(words, "--net") {
            assert!(nets.contains(net), "{net} is no net: {words:?}");
        }
        if words[0] == "sweep" {
            // Checks the settings and lays out the runs, but trains none.
            let words = [with_data(words), vec!["--slurm".to_string()]].concat();
            let ran = Ran(scratch.command().args(&words).output().unwrap());
            assert!(ran.0.status.success(), "{words:?}: {}", ran.stderr());
        }
        if words[0] == "sweep" && !known.insert(without(words, &VARIED)) {
            continue;
        }
        let small = if words[0] == "sweep" { small(words) } else { words.clone() };
        let ran = Ran(scratch.command().args(&small).output().unwrap());
        assert!(ran.0.status.success(), "{small:?}: {}", ran.stderr());
    }
    assert!(commands.len() > 60, "{} commands", commands.len());
}

/// The words of each `fcdd …` in the page's blocks of shell commands, loops unrolled.
fn documented() -> Vec<Vec<String>> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/experiments.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    // In place of the program: its words, each ended by \x1f, in a line.
    let script =
        format!("set -eu\nfcdd() {{ printf '%s\\x1f' \"$@\"; printf '\\n'; }}\n{}", blocks.collect::<String>());
    let ran = Ran(Command::new("bash").args(["-c", &script]).output().unwrap());
    let lines = ran.expect_success().stdout();
    lines.lines().map(|line| line.split_terminator('\x1f').map(str::to_string).collect()).collect()
}

fn value<'a>(words: &'a [String], flag: &str) -> Option<&'a String> {
    words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1))
}

/// The words without these flags and their values.
fn without(words: &[String], flags: &[&str]) -> Vec<String> {
    let mut left = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if flags.contains(&word.as_str()) {
            words.next();
        } else {
            left.push(word.clone());
        }
    }
    left
}

/// The words, with data for the set that is found by itself.
fn with_data(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    if words[1] == "fmnist" {
        words.extend(["--data", "data/fmnist"].map(str::to_string));
    }
    words
}

/// A sweep for tiny data: one class, one seed, one epoch, a small net that needs no pretrained weights.
fn small(words: &[String]) -> Vec<String> {
    let mut small = without(&with_data(words), &["--net", "--weights", "--classes"]);
    let (class, size) = match words[1].as_str() {
        "fmnist" => ("bag", "28"),
        "mvtec" => ("bottle", "32"),
        "pascalvoc" => ("horse", "32"),
        _ => ("0", "32"),
    };
    let net = match value(words, "--objective").map(String::as_str) {
        Some("hsc") => format!("CNN{size}"),
        Some("ae") => format!("AE{size}"),
        _ if size == "32" => "FCDD_CNN32_S".to_string(),
        _ => format!("FCDD_CNN{size}"),
    };
    let flags = ["--net", &net, "--side", size, "--classes", class, "--seeds", "1", "--epochs", "1", "--batch", "8"];
    small.extend(flags.map(str::to_string));
    small.extend(["--devices", "cpu"].map(str::to_string));
    small
}

/// Everything under `data` that the page lists, a few images of each.
fn write_data(scratch: &Scratch) {
    write_idx(scratch, "fmnist/train", 0);
    write_idx(scratch, "fmnist/t10k", 0);
    write_idx(scratch, "emnist/emnist-letters-train", 1);
    for i in 1..=5 {
        scratch.write(&format!("data/cifar10/data_batch_{i}.bin"), &records(1));
    }
    scratch.write("data/cifar10/test_batch.bin", &records(1));
    for split in ["train", "test"] {
        scratch.write(&format!("data/cifar100/{split}.bin"), &records(2));
    }
    for id in IMAGENET_30.split_whitespace() {
        for (split, count) in [("train", 4), ("val", 1)] {
            (0..count).for_each(|i| image(scratch, &format!("data/imagenet/{split}/{id}/{i}.JPEG")));
        }
    }
    for i in 0..4 {
        image(scratch, &format!("data/imagenet/train/n01440764/{i}.JPEG"));
        image(scratch, &format!("data/imagenet22k/n00004475/{i}.JPEG"));
        for class in ["bottle", "cable"] {
            image(scratch, &format!("data/mvtec/{class}/train/good/{i}.png"));
            image(scratch, &format!("data/mvtec/{class}/train/good/{}.png", i + 4));
            image(scratch, &format!("data/mvtec/{class}/test/good/{i}.png"));
            image(scratch, &format!("data/mvtec/{class}/test/broken/{i}.png"));
            let mask = image::GrayImage::from_fn(40, 40, |x, _| image::Luma([if x < 9 { 255 } else { 0 }]));
            let mask = image::DynamicImage::ImageLuma8(mask);
            write_image(scratch, &format!("data/mvtec/{class}/ground_truth/broken/{i}_mask.png"), &mask);
        }
    }
    for (list, first) in [("trainval", 0), ("test", 12)] {
        let line = |i: u32| format!("{i:06} {}\n", if i.is_multiple_of(4) { " 1" } else { "-1" });
        let lines: String = (first..first + 12).map(line).collect();
        scratch.write(&format!("data/voc/ImageSets/Main/horse_{list}.txt"), lines.as_bytes());
        (first..first + 12).for_each(|i| image(scratch, &format!("data/voc/JPEGImages/{i:06}.jpg")));
    }
}

/// Forty images of ten classes as idx files, labels from `first`.
fn write_idx(scratch: &Scratch, stem: &str, first: u8) {
    let mut pixels = [0x803u32, 40, 28, 28].map(u32::to_be_bytes).concat();
    pixels.extend(noise(40 * 784));
    let mut classes = [0x801u32, 40].map(u32::to_be_bytes).concat();
    classes.extend((0..40).map(|i| first + i % 10));
    scratch.write(&format!("data/{stem}-images-idx3-ubyte.gz"), &gzip(&pixels));
    scratch.write(&format!("data/{stem}-labels-idx1-ubyte.gz"), &gzip(&classes));
}

/// Twenty records of CIFAR, with one label of ten or two.
fn records(labels: usize) -> Vec<u8> {
    let record = |i: u8| [vec![i % 10; labels], noise(3072)].concat();
    (0..20).flat_map(record).collect()
}

fn noise(n: u32) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn image(scratch: &Scratch, path: &str) {
    let pixels = noise(40 * 40 * 3 + 100);
    // Each path another part of the noise.
    let start = path.bytes().map(usize::from).sum::<usize>() % 100;
    let image = RgbImage::from_raw(40, 40, pixels[start..][..40 * 40 * 3].to_vec()).unwrap();
    write_image(scratch, path, &image.into());
}

fn write_image(scratch: &Scratch, path: &str, image: &image::DynamicImage) {
    let format = if path.ends_with("png") { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    scratch.write(path, &bytes.into_inner());
}

/// The classes that ImageNet-30 is made of.
const IMAGENET_30: &str = "n12267677 n02690373 n02701002 n01698640 n02787622 n02793495 n02837789 n03196217 n02268443 n03255030 n03384352 n03443371 \
    n03452741 n07697537 n03544143 n03717622 n03788195 n03804744 n03891332 n03938244 n04086273 n03187595 n04147183 n04252077 n04254680 n01498041 \
    n07745940 n04389033 n04442312 n09472597";
