//! Runs that meet in one folder, and what passes for a run that it is not.

use std::fs;
use std::process::{Child, Stdio};

use crate::support::{Ran, Scratch, wait_for};

/// A training without end in `run`, once it has saved a state.
fn training(scratch: &Scratch) -> Child {
    let words = "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin --epochs 100000 --out run";
    let mut command = scratch.command();
    let child = command.args(words.split(' ')).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| scratch.path("run/state.safetensors").exists());
    child
}

#[test]
fn a_run_in_use_is_refused_until_its_process_ends() {
    let scratch = Scratch::new().with_data();
    let mut first = training(&scratch);
    let config = fs::read(scratch.path("run/config.json")).unwrap();
    let process = format!("process {} on ", first.id());
    scratch.train("--epochs 1 --lr 0.5 --out run").expect_error(&["run", "in use", &process, "another folder"]);
    scratch.run("train --resume run").expect_error(&["run", "in use", &process]);
    assert!(fs::read(scratch.path("run/config.json")).unwrap() == config);
    // A killed process holds nothing.
    first.kill().unwrap();
    first.wait().unwrap();
    scratch.train("--epochs 1 --out run").expect_error(&["already holds a run"]);
    assert!(!scratch.files("run").iter().any(|name| name.starts_with('.')), "{:?}", scratch.files("run"));
}

#[test]
fn a_state_is_refused_by_other_settings() {
    let scratch = Scratch::new().with_run();
    let config = fs::read_to_string(scratch.path("run/config.json")).unwrap();
    scratch.write("run/config.json", config.replace("\"lr\": 0.01", "\"lr\": 0.02").as_bytes());
    scratch.run("train --resume run").expect_error(&["state.safetensors", "other settings", "lr 0.01 there, 0.02 now"]);
    scratch.write("run/config.json", config.as_bytes());
    // It may be prolonged, but not be of fewer epochs than it has.
    scratch.write("run/config.json", config.replace("\"epochs\": 1", "\"epochs\": 2").as_bytes());
    scratch.run("train --resume run").expect_success();
    scratch.write("run/config.json", config.as_bytes());
    scratch.run("train --resume run").expect_error(&["state.safetensors", "of epoch 2", "1 epochs"]);
    scratch.write("run/config.json", config.replace("\"epochs\": 1", "\"epochs\": 2").as_bytes());
    // Where images lie, and what is held of them, may change.
    fs::rename(scratch.path("data"), scratch.path("moved")).unwrap();
    scratch.run("train --resume run --data moved --hold never").expect_success();
}

/// Labelled defects are named anew as data is; they stay what they were.
#[test]
fn labelled_defects_may_have_moved() {
    let scratch = Scratch::new();
    for (name, least) in [("parts/1.png", 0), ("parts/2.png", 1), ("defects/1.png", 2)] {
        let image = image::GrayImage::from_fn(32, 32, |x, y| image::Luma([(x * y + least) as u8]));
        image.save(scratch.write(name, b"")).unwrap();
    }
    let net = "--net FCDD_CNN32_S --side 32 --device cpu";
    scratch.run(&format!("train parts {net} --epochs 1 --labelled defects --out run")).expect_success();
    let config = fs::read_to_string(scratch.path("run/config.json")).unwrap();
    scratch.write("run/config.json", config.replace("\"epochs\": 1", "\"epochs\": 2").as_bytes());
    fs::rename(scratch.path("defects"), scratch.path("elsewhere")).unwrap();
    scratch.run("train --resume run").expect_error(&["defects", "no folder of labelled defects"]);
    let other = scratch.run("train --resume run --labelled test");
    other.expect_error(&["--labelled test: the labelled defects of the run are", "where the same images lie now"]);
    scratch.run("train --resume run --labelled elsewhere").expect_success();
}

/// What a sweep has of a stopped run is no result, evaluated or not.
#[cfg(unix)]
#[test]
fn a_stopped_run_is_not_a_finished_one() {
    let scratch = Scratch::new().with_data();
    let mut first = training(&scratch);
    assert!(std::process::Command::new("kill").args(["-TERM", &first.id().to_string()]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    fs::create_dir_all(scratch.path("sweep/normal_t-shirt")).unwrap();
    fs::rename(scratch.path("run"), scratch.path("sweep/normal_t-shirt/it_0")).unwrap();
    scratch.run("evaluate sweep/normal_t-shirt/it_0").expect_success();
    let words = "sweep fmnist --data data --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin --epochs 100000 --classes 0 --seeds 1";
    let mut command = scratch.command();
    let mut sweep = command.args(words.split(' ')).args(["--out", "sweep"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| scratch.path("sweep/sweep.json").exists());
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    let summary = scratch.run("sweep --summary sweep --json").expect_success().json();
    assert_eq!((summary["missing"].as_array().unwrap().len(), summary["classes"].as_array().unwrap().len()), (1, 0));
}

/// A sweep of two classes with two seeds.
const SWEEP: &str =
    "sweep fmnist --data data --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin --device cpu --seeds 2";

fn sweep(scratch: &Scratch, flags: &str) -> Child {
    let words = format!("{SWEEP} {flags}");
    let mut command = scratch.command();
    command.args(words.split_whitespace()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Identical sweeps at once share the work: all end well, each run is trained once, and the table is that of one sweep.
#[test]
fn sweeps_share_their_runs() {
    let scratch = Scratch::new().with_data();
    let one = Ran(sweep(&scratch, "--classes 0,1 --epochs 20 --out one").wait_with_output().unwrap());
    one.expect_success();
    for (out, processes) in [("two", 2), ("four", 4)] {
        let sweeps: Vec<Child> =
            (0..processes).map(|_| sweep(&scratch, &format!("--classes 0,1 --epochs 20 --out {out}"))).collect();
        let ran: Vec<Ran> = sweeps.into_iter().map(|child| Ran(child.wait_with_output().unwrap())).collect();
        for ran in &ran {
            ran.expect_success();
        }
        let trained: usize = ran.iter().map(|ran| ran.stderr().matches("finished after 20 of 20 epochs").count()).sum();
        assert_eq!(trained, 4, "{out}");
        for ran in &ran {
            assert_eq!(ran.stdout().replace(&format!("report  {out}"), "report  one"), one.stdout());
        }
        assert!(
            fs::read(scratch.path(out).join("summary.csv")).unwrap()
                == fs::read(scratch.path("one/summary.csv")).unwrap()
        );
        assert_eq!(scratch.files(out), scratch.files("one"));
    }
}

/// The runs of a killed process are gone on with by those that wait for them.
#[test]
fn a_sweep_takes_over_from_a_killed_one() {
    let scratch = Scratch::new().with_data();
    let flags = "--classes 0 --epochs 300 --out sweep";
    let mut first = sweep(&scratch, flags);
    wait_for(|| scratch.path("sweep/normal_t-shirt/it_0/state.safetensors").exists());
    let second = sweep(&scratch, flags);
    wait_for(|| scratch.path("sweep/normal_t-shirt/it_1/config.json").exists());
    first.kill().unwrap();
    first.wait().unwrap();
    let second = Ran(second.wait_with_output().unwrap());
    let told = second.expect_success().stderr();
    assert!(told.contains(&format!("class t-shirt, seed 0: process {} on ", first.id())), "{told}");
    let missing = scratch.run("sweep --summary sweep --json").expect_success().json()["missing"].clone();
    assert_eq!(missing.as_array().unwrap().len(), 0);
}

#[test]
fn sweeps_of_other_classes_lose_none() {
    let scratch = Scratch::new().with_data();
    let sweeps: Vec<Child> =
        (0..4).map(|class| sweep(&scratch, &format!("--classes {} --epochs 1 --out sweep", class % 2))).collect();
    for child in sweeps {
        Ran(child.wait_with_output().unwrap()).expect_success();
    }
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(scratch.path("sweep/sweep.json")).unwrap()).unwrap();
    assert_eq!(plan["classes"], serde_json::json!(["t-shirt", "trouser"]));
    let summary = scratch.run("sweep --summary sweep --json").expect_success().json();
    assert_eq!((summary["classes"].as_array().unwrap().len(), summary["missing"].as_array().unwrap().len()), (2, 0));
}

/// What lies at the path of a run whose folder was moved is another run's.
#[cfg(unix)]
#[test]
fn a_run_whose_folder_was_moved_writes_nothing_into_another() {
    let scratch = Scratch::new().with_data();
    for is_removed in [false, true] {
        let words = "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin --epochs 100000 --out run";
        let mut command = scratch.command();
        let first = command.args(words.split(' ')).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait_for(|| scratch.path("run/history.csv").exists()); // the last of what is written together
        fs::rename(scratch.path("run"), scratch.path("moved")).unwrap();
        if is_removed {
            fs::remove_dir_all(scratch.path("moved")).unwrap();
        } else {
            scratch.train("--epochs 1 --seed 7 --out run").expect_success();
        }
        let ran = Ran(first.wait_with_output().unwrap());
        ran.expect_error(&["run", "moved or removed", "nothing more was written"]);
        assert_eq!(scratch.path("run").exists(), !is_removed);
        if !is_removed {
            scratch.train("--epochs 1 --seed 7 --out alone").expect_success();
            assert_eq!(scratch.files("run"), scratch.files("alone"));
            assert!(scratch.tensors("run/model.safetensors") == scratch.tensors("alone/model.safetensors"));
            fs::remove_dir_all(scratch.path("run")).unwrap();
            fs::remove_dir_all(scratch.path("moved")).unwrap();
        }
    }
}

/// Neither a lock that leads elsewhere is written through, nor is a folder that is gone waited for without end.
#[cfg(unix)]
#[test]
fn a_lock_stays_in_its_folder() {
    let scratch = Scratch::new().with_run();
    scratch.write("notes", b"theirs");
    std::os::unix::fs::symlink(scratch.path("notes"), scratch.path("run/.fcdd.lock")).unwrap();
    scratch.run("train --resume run").expect_error(&[".fcdd.lock", "is a link", "remove it"]);
    assert_eq!(fs::read(scratch.path("notes")).unwrap(), b"theirs");
    // A current folder that was removed.
    let fcdd = env!("CARGO_BIN_EXE_fcdd");
    let script = format!(
        "mkdir gone && cd gone && rmdir ../gone && exec {fcdd} compare '{}' --out .",
        scratch.path("larger").display()
    );
    fs::remove_file(scratch.path("run/.fcdd.lock")).unwrap();
    // What a lock tells of its holder is told as a name is, however long it is.
    scratch.write("run/.fcdd.lock", format!("77 x\nerror: {}", "fine".repeat(1 << 20)).as_bytes());
    let told = scratch.run("train --resume run");
    told.expect_error(&["in use by process 77 on x\\u{a}error: fine"]);
    assert!(told.stderr().len() < 2000);
    fs::remove_file(scratch.path("run/.fcdd.lock")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(scratch.path("run/.fcdd.lock")).status().unwrap().success());
    scratch.run("train --resume run").expect_error(&[".fcdd.lock", "is no file", "remove it"]);
    fs::remove_file(scratch.path("run/.fcdd.lock")).unwrap();
    fs::rename(scratch.path("run"), scratch.path("larger")).unwrap();
    let data = scratch.path("data");
    let script = format!("{script} --data '{}'", data.display());
    let mut command = std::process::Command::new("sh");
    let ran = Ran(command.current_dir(scratch.path("")).args(["-c", &script]).output().unwrap());
    ran.expect_error(&["removed", "name a folder that is there"]);
}
