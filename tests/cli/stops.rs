//! Signals: what they stop, how soon, and what is left.
#![cfg(unix)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Scratch, wait_for};

/// Two long epochs: 600 steps each.
const LONG: &str = "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 4 --passes 50 --epochs 2 --optimizer adam --lr 1e-3 \
                    --outliers cifar100:outliers.bin --device cpu";

fn start(scratch: &Scratch, words: &str) -> Child {
    let mut command = scratch.command();
    command.args(words.split_whitespace()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn epochs(scratch: &Scratch, run: &str) -> usize {
    fs::read_to_string(scratch.path(run).join("history.csv")).map_or(0, |history| history.lines().count().max(1) - 1)
}

/// The losses of a history, without its speeds.
fn losses(scratch: &Scratch, run: &str) -> Vec<String> {
    let history = fs::read_to_string(scratch.path(run).join("history.csv")).unwrap();
    history.lines().map(|line| line.rsplit_once(',').unwrap().0.to_string()).collect()
}

#[test]
fn a_stop_in_mid_epoch_is_answered_soon_and_resumes_to_the_same_bits() {
    let scratch = Scratch::new().with_data();
    scratch.run(&format!("{LONG} --out whole")).expect_success();
    let mut child = start(&scratch, &format!("{LONG} --out cut"));
    let mut stops = 0;
    while epochs(&scratch, "cut") < 2 && stops < 3 {
        wait_for(|| scratch.path("cut/preview.png").exists());
        // Some steps into the epoch: the state that is saved now is of no whole one.
        std::thread::sleep(Duration::from_millis(100));
        let asked = Instant::now();
        signal(&child, "-TERM");
        let code = child.wait().unwrap().code();
        // A step here takes milliseconds; three seconds for a model, and as many for a busy machine.
        assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
        stops += usize::from(code == Some(130) && scratch.was_stopped_within_an_epoch("cut"));
        fs::remove_file(scratch.path("cut/preview.png")).unwrap();
        child = start(&scratch, "train --resume cut");
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(stops > 0, "stopped within an epoch");
    for name in ["model.safetensors", "state.safetensors"] {
        assert!(scratch.tensors(&format!("cut/{name}")) == scratch.tensors(&format!("whole/{name}")), "{name}");
    }
    assert_eq!(losses(&scratch, "cut"), losses(&scratch, "whole"));
    assert!(fs::read(scratch.path("cut/scores.csv")).unwrap() == fs::read(scratch.path("whole/scores.csv")).unwrap());
}

/// As nohup starts a program.
#[test]
fn an_ignored_signal_stays_ignored() {
    let scratch = Scratch::new().with_data();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fcdd")]);
    command.args(LONG.replace("--epochs 2", "--epochs 1000").split_whitespace()).args(["--out", "run"]);
    command.current_dir(scratch.path("")).stderr(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    wait_for(|| scratch.path("run/preview.png").exists());
    signal(&child, "-HUP");
    // Long enough for a stop.
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none() && !scratch.path("run/model.safetensors").exists());
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(scratch.path("run/state.safetensors").exists());
}
