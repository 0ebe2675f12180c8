//! Files that claim what they do not hold, are no files, or have names that are meant to act.

use std::fs;
use std::process::Command;

use crate::support::{Ran, Scratch, gzip, png, vast_png, without_checksum};

/// Memory that images take is bounded: what is decoded by rows is scored whatever its size, and drawn as far as that fits; other
/// images beyond the limit are refused, and all others scored.
#[test]
fn images_stay_within_the_memory_that_they_may_take() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/a.png", &png(40, 30));
    scratch.write("images/vast.png", &vast_png(12_000, false));
    scratch.write("images/woven.png", &vast_png(12_000, true));
    scratch.write("images/z.png", &png(40, 30));
    let ran = scratch.run("predict run images --out out --memory 100M");
    let text = ran.stderr();
    assert_eq!((ran.0.status.code(), ran.stdout().lines().count()), (Some(2), 3), "{text}");
    let says = |words: &[&str]| {
        assert!(
            text.lines().any(|line| words.iter().all(|word| line.contains(word))),
            "no line with {words:?}: {text}"
        );
    };
    says(&["woven.png", "12000 × 12000 pixels take", "images may take 100.0 MiB (--memory)"]);
    says(&["vast.png", "too large to draw", "--memory"]);
    assert!(fs::read_to_string(scratch.path("out/scores.csv")).unwrap().contains("vast.png"));
    for flag in ["0", "x", "5T", "-1"] {
        let ran = scratch.run(&format!("predict run images --out no --memory={flag}"));
        assert!(ran.0.status.code() == Some(2) && ran.stderr().contains("500M or 2G"), "{}", ran.stderr());
    }
}

/// Names do not move the cursor, forge lines, or run as formulas or commands.
#[cfg(unix)]
#[test]
fn names_are_only_names() {
    let scratch = Scratch::new().with_run();
    for name in ["a\u{1b}[2Kb.png", "c\nanomalous 9.9 d.png", "=cmd|' /C calc'!A0.png"] {
        scratch.write(&format!("images/{name}"), &png(28, 28));
    }
    scratch.write("images/e\r.png", b"no image");
    let mut command = scratch.command();
    let paths = ["images", "images/=cmd|' /C calc'!A0.png"];
    let ran = Ran(command
        .args(["predict", "../run", ".", paths[1].trim_start_matches("images/"), "--out", "../out"])
        .current_dir(scratch.path("images"))
        .output()
        .unwrap());
    let shown = ran.stdout() + &ran.stderr();
    assert!(!shown.contains(['\u{1b}', '\r']), "{shown}");
    assert!(!ran.stdout().lines().any(|line| line.starts_with("anomalous 9.9")), "{shown}");
    assert!(shown.contains("e\\u{d}.png") && shown.contains("a\\u{1b}[2Kb.png"), "{shown}");
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(!table.contains('\u{1b}') && table.contains("\n./=cmd"), "{table}");
    // Bytes that are no text, and a name that is what these are spelt as.
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        fs::create_dir(scratch.path("odd")).unwrap();
        for name in [&b"\xff\xfe.png"[..], b"\xff.png", b"\\xff.png"] {
            fs::write(scratch.path("odd").join(std::ffi::OsStr::from_bytes(name)), png(28, 28)).unwrap();
        }
        let told = scratch.run("predict run odd --out of-odd").expect_success().stdout();
        for name in [r"odd/\xff\xfe.png", r"odd/\xff.png", r"odd/\\xff.png"] {
            assert!(told.lines().any(|line| line.split_whitespace().any(|word| word == name)), "{name}: {told}");
        }
    }
    // A job script is not written where a name could be a command in it.
    let sweep = "sweep fmnist --data data --slurm --out";
    let mut command = scratch.command();
    let ran = Ran(command.args(sweep.split(' ')).arg("sweep\ntouch pwned #").output().unwrap());
    ran.expect_error(&["line break", "--out"]);
    assert!(!scratch.path("sweep\ntouch pwned #").exists());
}

/// What is not a file is refused, where reading it may never end.
#[cfg(unix)]
#[test]
fn special_files_are_refused() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let status = Command::new("mkfifo").arg(scratch.path("pipe")).status().unwrap();
    assert!(status.success());
    fs::copy(scratch.path("run/config.json"), scratch.path("config.json")).unwrap();
    for words in ["predict pipe a.png --out out", "predict run pipe --out out", "evaluate pipe"] {
        scratch.run(words).expect_error(&["pipe", "not a regular file"]);
    }
    fs::remove_file(scratch.path("run/state.safetensors")).unwrap();
    assert!(Command::new("mkfifo").arg(scratch.path("run/state.safetensors")).status().unwrap().success());
    scratch.run("train --resume run").expect_error(&["state.safetensors"]);
}

/// A model that was damaged on its way, in weights or metadata, does not score.
#[test]
fn a_damaged_model_is_told() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let model = fs::read(scratch.path("run/model.safetensors")).unwrap();
    let threshold = model.windows(9).position(|window| window == b"threshold").unwrap();
    for place in [threshold + 14, model.len() / 2, model.len() - 1] {
        let mut damaged = model.clone();
        damaged[place] ^= 1;
        scratch.write("damaged.safetensors", &damaged);
        let ran = scratch.run("predict damaged.safetensors a.png --out out");
        ran.expect_error(&["damaged.safetensors: was damaged or changed", "copy it again"]);
    }
    // Other programs write none, nor did earlier versions.
    scratch.write("older.safetensors", &without_checksum(&model));
    scratch.run("predict older.safetensors a.png --out out").expect_success();
}

/// Numbers and names in a run's own files are checked before they act.
#[test]
fn changed_files_of_a_run_are_refused() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let model = without_checksum(&fs::read(scratch.path("run/model.safetensors")).unwrap());
    let text = String::from_utf8_lossy(&model[8..]).into_owned();
    let range = text.split_once(r#"\"range\":"#).unwrap().1.split_once('}').unwrap().0;
    for (value, shown) in [("0", "range of 0"), ("-1", "range of -1"), ("1e99", "(scale.range: number out of range")] {
        // The header keeps its length.
        let [from, to] = [range, value].map(|value| format!(r#"\"range\":{value: <width$}"#, width = range.len()));
        let at = model.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut changed = model.clone();
        changed.splice(at..at + from.len(), to.bytes());
        scratch.write("changed.safetensors", &changed);
        scratch.run("predict changed.safetensors a.png --out out").expect_error(&["changed.safetensors", shown]);
    }
    for (from, to, shown) in [
        (r#"\"unjudged\":[]"#, r#"\"unjudged\":[\"../a\"]"#, "../a"),
        (r#"\"unjudged\":[]"#, r#"\"unjudged\":[\"a\\nb\"]"#, "no name of a test image"),
        (r#"\"bias\":true"#, r#"\"bias\":false"#, "which the net of its metadata does not have"),
        (r#"\"best_of\":null"#, r#"\"best_of\":0"#, "the best, epoch 1, of 0"),
    ] {
        let head = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
        let text = std::str::from_utf8(&model[8..8 + head]).unwrap();
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let changed = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &model[8 + head..]].concat();
        scratch.write("changed.safetensors", &changed);
        scratch.run("predict changed.safetensors a.png --out out").expect_error(&["changed.safetensors", shown]);
    }
    let config = fs::read_to_string(scratch.path("run/config.json")).unwrap();
    scratch.write("run/config.json", config.replace("\"side\": 28", "\"side\": 0").as_bytes());
    let ran = scratch.run("train --resume run");
    ran.expect_error(&["config.json", "\"side\""]);
    assert!(!ran.stderr().contains("--side"), "{}", ran.stderr());
    scratch.write("run/config.json", config.replace("\"side\": 28", "\"side\": -3").as_bytes());
    scratch.run("train --resume run").expect_error(&["config.json", "side: invalid value: integer '-3'"]);
    // What stands in its place is told.
    fs::remove_file(scratch.path("run/config.json")).unwrap();
    fs::create_dir(scratch.path("run/config.json")).unwrap();
    scratch.run("train --resume run").expect_error(&["run/config.json: not a regular file"]);
    fs::remove_dir(scratch.path("run/config.json")).unwrap();
    // A key is no flag.
    scratch.write("run/config.json", config.replace("\"epochs\"", "\"epoch\"").as_bytes());
    scratch.run("train --resume run").expect_error(&["config.json", "missing field 'epochs'"]);
    // A class that leads out of the folder.
    let sweep = "sweep fmnist --data data --classes 0 --seeds 1 --epochs 1 --out sweep";
    scratch.run(sweep).expect_success();
    let plan = fs::read_to_string(scratch.path("sweep/sweep.json")).unwrap();
    let class = plan.split_once("\"classes\": [").unwrap().1.split('"').nth(1).unwrap();
    scratch.write("sweep/sweep.json", plan.replace(&format!("\"{class}\""), "\"x/../../y\"").as_bytes());
    scratch.run(sweep).expect_error(&["sweep.json", "x/../../y"]);
    assert!(!scratch.path("y").exists());
}

/// No more of a gzip file is unpacked than its header announces.
#[test]
fn gzip_files_do_not_grow() {
    let scratch = Scratch::new().with_data();
    let name = "data/train-images-idx3-ubyte.gz";
    let mut images = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*fs::read(scratch.path(name)).unwrap()), &mut images)
        .unwrap();
    images.extend(vec![0; 1 << 28]);
    scratch.write(name, &gzip(&images));
    scratch.run("train fmnist --data data --out run").expect_error(&["train-images", "announces"]);
}
