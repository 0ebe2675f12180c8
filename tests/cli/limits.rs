//! Under a limit of memory the program works or says that it cannot; it never aborts.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{ON_FOLDERS, Ran, Scratch, png, vast_png};

/// Runs the program in an address space of so many KiB, as on a machine with many cores.
fn within(scratch: &Scratch, kib: usize, words: &str) -> Ran {
    let script = format!("ulimit -v {kib}; exec {} {words}", env!("CARGO_BIN_EXE_fcdd"));
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("RAYON_NUM_THREADS", "32").current_dir(scratch.path(""));
    Ran(command.output().unwrap())
}

/// Images that do not fit are refused.
#[test]
fn a_limit_of_the_process_is_kept() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/a.png", &png(40, 30));
    scratch.write("images/vast.png", &vast_png(30_000, true));
    let ran = within(&scratch, 1_500_000, "predict run images --out out");
    assert_eq!((ran.0.status.code(), ran.stdout().lines().count()), (Some(2), 1), "{}", ran.stderr());
    ran.expect_error(&["vast.png", "to decode"]);
}

/// Files grown by zeros without end: none is read whole to see that.
#[test]
fn files_that_cannot_be_ours_are_told_by_name() {
    for (name, words, problem) in [
        ("run/config.json", "train --resume run", "has 8.0 GiB"),
        ("run/unfinished.json", "evaluate run", "has 8.0 GiB"),
        ("run/model.safetensors", "info run", "tells of"),
        ("run/state.safetensors", "train --resume run", "tells of"),
        ("out/scores.csv", "predict run parts/train --out out", "is no result of predict"),
        ("weights", "train parts --net FCDD_CNN224_VGG --weights weights --out new", "not a complete safetensors file"),
    ] {
        let scratch = Scratch::new().with_run().with_folders();
        fs::create_dir(scratch.path("out")).unwrap();
        let file = fs::File::options().append(true).create(true).open(scratch.path(name));
        file.unwrap().set_len(8 << 30).unwrap();
        let began = Instant::now();
        within(&scratch, 1_500_000, words).expect_error(&[name, problem]);
        assert!(began.elapsed() < Duration::from_secs(10), "{name}");
    }
}

#[test]
fn threads_that_the_environment_asks_for_have_a_bound() {
    let scratch = Scratch::new();
    let info = |threads: &str| Ran(scratch.command().arg("info").env("RAYON_NUM_THREADS", threads).output().unwrap());
    info("5000").expect_error(&["RAYON_NUM_THREADS", "1024"]);
    info("3").expect_success();
}

#[test]
fn too_little_to_start_is_said_at_once() {
    let scratch = Scratch::new().with_run();
    for words in ["predict run images --out out", "info", "train fmnist --out new"] {
        within(&scratch, 60_000, words).expect_error(&["58.6 MiB", "64.0 MiB", "allow it more"]);
    }
    assert!(!scratch.path("out").exists() && !scratch.path("new").exists());
}

#[test]
fn with_little_memory_it_works_or_says_so() {
    let scratch = Scratch::new().with_run().with_folders();
    scratch.write("images/a.png", &png(40, 30));
    for (megabytes, least) in [(64, 2), (256, 4), (1024, 5)] {
        let (train, mb) = (ON_FOLDERS.replacen("train", "", 1), megabytes);
        let mut done = 0;
        for words in [
            format!("predict run images --device cpu --out predicted{mb}"),
            format!("train {train} --epochs 1 --device cpu --out trained{mb}"),
            format!("evaluate run --device cpu --out evaluated{mb}"),
            format!("sweep {train} --epochs 1 --seeds 1 --device cpu --out swept{mb}"),
            format!("compare run run --out compared{mb}"),
            format!("train parts --net FCDD_CNN224 --side 224 --batch 64 --epochs 1 --device cpu --out large{mb}"),
            "info".to_string(),
        ] {
            let ran = within(&scratch, megabytes << 10, &words);
            match ran.0.status.code() {
                Some(0) => done += 1,
                Some(2) => assert!(ran.stderr().contains("memory"), "{megabytes} MB, {words}: {}", ran.stderr()),
                code => panic!("{megabytes} MB, {words}: ended with {code:?}: {}", ran.stderr()),
            }
        }
        assert!(done >= least, "{mb} MB: {done} worked");
    }
}

/// A file that outgrows its limit is told of like a full disk, and what was saved before stays.
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let scratch = Scratch::new().with_folders();
    let train = ON_FOLDERS.replacen("train", "", 1);
    let ran = scratch.run_with_file_limit(4, &format!("train {train} --epochs 1 --out run"));
    ran.expect_error(&["run", "too large"]);
    assert!(!scratch.path("run/.fcdd.lock").exists());
    // Where not even the lock can be written, nothing is left of the folders that were made for it.
    let ran = scratch.run_with_file_limit(0, &format!("train {train} --epochs 1 --out deep/run"));
    ran.expect_error(&["cannot lock deep/run/.fcdd.lock", "too large"]);
    assert!(!scratch.path("deep").exists());
}

/// Files that do not fit are told of, and those that are there are whole: small images too, whose last bytes are written at the end, and
/// the rows of the table.
#[test]
fn files_within_a_limit_are_whole_and_others_are_told() {
    let scratch = Scratch::new().with_run();
    for i in 0..60 {
        scratch.write(&format!("images/{i:02}.png"), &png(20 + 3 * i, 30));
    }
    let ran = scratch.run_with_file_limit(3, "predict run images --out out");
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
    let drawn: Vec<String> = scratch.files("out").into_iter().filter(|name| name.ends_with(".png")).collect();
    assert!((1..120).contains(&drawn.len()), "some fit: {}", drawn.len());
    for name in &drawn {
        image::open(scratch.path("out").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let told = ran.stderr().lines().filter(|line| line.starts_with("error") && line.contains(".png: ")).count();
    assert_eq!(drawn.len() + told, 120, "{}", ran.stderr());
    let of_table = ran.stderr().lines().filter(|line| line.contains("scores.csv")).count();
    assert_eq!(of_table, 1, "a table that is full fails at each of its rows: {}", ran.stderr());
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    assert!(table.ends_with('\n') && table.lines().count() > 1, "{table}");
}

/// It is told by its own name, not by that of the unfinished file.
#[test]
fn an_array_that_does_not_fit_is_told_by_its_name() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/a.png", &png(80, 80));
    let ran = scratch.run_with_file_limit(2, "predict run images --what map --out out");
    ran.expect_error(&["cannot write out/a_map.npy: File too large"]);
}

/// What fails for lack of open files or memory says nothing of an image: none is left out for it.
#[test]
fn what_the_process_lacks_is_no_fault_of_images() {
    let scratch = Scratch::new().with_run();
    for i in 0..100 {
        scratch.write(&format!("images/{i:02}.png"), &png(40, 30 + i));
    }
    let with_files = |most: usize, words: &str| {
        let script = format!("ulimit -n {most}; exec {} {words} --device cpu", env!("CARGO_BIN_EXE_fcdd"));
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env("RAYON_NUM_THREADS", "4").current_dir(scratch.path(""));
        Ran(command.output().unwrap())
    };
    let model = fs::read(scratch.path("run/model.safetensors")).unwrap();
    let calibrate = "calibrate run --good images --skip-broken";
    with_files(10, calibrate).expect_error(&["images/", "ulimit -n"]);
    scratch.write("images/vast.png", &vast_png(12_000, true));
    scratch.run(&format!("{calibrate} --memory 100M --device cpu")).expect_error(&["vast.png", "to decode"]);
    assert!(fs::read(scratch.path("run/model.safetensors")).unwrap() == model);
    // As many are open at a time as the threads need, not all.
    fs::remove_file(scratch.path("images/vast.png")).unwrap();
    let train = "train images --net FCDD_CNN32_S --side 32 --batch 8 --epochs 1 --out of_images";
    with_files(60, train).expect_success();
}

/// Threads do not keep what they have freed for themselves: 32 of them would reserve 64 MiB of addresses each.
#[cfg(target_env = "gnu")]
#[test]
fn memory_that_was_freed_is_shared_by_all_threads() {
    let scratch = Scratch::new().with_run();
    for i in 0..64 {
        scratch.write(&format!("images/{i}.png"), &png(200, 200));
    }
    let mut command = scratch.command();
    command.args(["predict", "run", "images", "--out", "out", "--threads", "32"]).stdout(Stdio::null());
    let mut running = command.spawn().unwrap();
    let status = format!("/proc/{}/status", running.id());
    let mut most = 0;
    while running.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmPeak:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = peak.unwrap_or(0).max(most);
        sleep(Duration::from_millis(1));
    }
    assert!(running.wait().unwrap().success());
    // 1.2 GB otherwise, 0.3 GB so.
    assert!((1..600 << 10).contains(&most), "{most} KiB");
}
