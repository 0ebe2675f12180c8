//! When a training ends: on a plateau, with the weights of its best epoch; after as many epochs as fit into some minutes.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ran, Scratch, wait_for};

/// Trains on 100 good images of class 0, of which 10 are held out.
const TRAIN: &str = "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 16 --optimizer adam --lr 1e-3 --device cpu \
                     --supervise malformed-normal --noise confetti";

/// A column of a run's history.
fn column(scratch: &Scratch, run: &str, name: &str) -> Vec<Option<f64>> {
    let history = fs::read_to_string(scratch.path(run).join("history.csv")).unwrap();
    let mut rows = history.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = rows.next().unwrap().iter().position(|&column| column == name).unwrap();
    rows.map(|row| row[place].parse().ok()).collect()
}

fn config(scratch: &Scratch, run: &str) -> Value {
    serde_json::from_slice(&fs::read(scratch.path(run).join("config.json")).unwrap()).unwrap()
}

/// An error of the command line, in however many lines.
fn refused(ran: &Ran, word: &str) {
    assert!(ran.0.status.code() == Some(2) && ran.stderr().contains(word), "{word}: {}", ran.stderr());
}

#[test]
fn training_ends_on_a_plateau_with_the_weights_of_the_best_epoch() {
    let scratch = Scratch::new().with_data().with_more_images();
    let trained = scratch.run(&format!("{TRAIN} --epochs 60 --patience 3 --out run --json"));
    let told = trained.expect_success().stderr();
    assert!(told.contains("10 of 100 good images are held out of training"), "{told}");
    assert!(told.contains("on 90 good images: at most 60 epochs of 6 steps (360 in all), about "), "{told}");
    let separations: Vec<f64> = column(&scratch, "run", "separation").into_iter().map(Option::unwrap).collect();
    let most = separations.iter().copied().fold(0.0, f64::max);
    let first = 1 + separations.iter().position(|&s| s == most).unwrap();
    let best = 1 + separations.iter().rposition(|&s| s == most).unwrap();
    assert!(separations.len() < 60, "{separations:?}");
    assert_eq!(separations.len(), first + 3, "three epochs were no better: {separations:?}");
    assert_eq!(trained.json()["epochs"], best, "{separations:?}");
    assert!(told.contains(&format!("finished after {} of 60 epochs", separations.len())), "{told}");
    assert!(told.contains(&format!("with the weights of epoch {best}, the best")), "{told}");
    let page = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(page.contains(&format!("The weights are those after epoch {best}")) && page.contains("--patience 3"));

    // A training that goes no further than the best epoch has the same weights.
    let short = scratch.run(&format!("{TRAIN} --epochs {best} --patience 60 --out short"));
    short.expect_success();
    assert!(scratch.tensors("run/model.safetensors") == scratch.tensors("short/model.safetensors"));
    // It is over: resuming it trains no further and ends in the same model.
    let model = fs::read(scratch.path("run/model.safetensors")).unwrap();
    fs::remove_file(scratch.path("run/model.safetensors")).unwrap();
    scratch.run("train --resume run").expect_success();
    assert!(model == fs::read(scratch.path("run/model.safetensors")).unwrap());
    assert_eq!(column(&scratch, "run", "separation").len(), separations.len());
}

#[test]
fn the_best_epoch_is_the_same_for_a_run_that_was_killed() {
    let scratch = Scratch::new().with_data().with_more_images();
    // The patience of all epochs: the run goes on after its best one.
    let train = format!("{TRAIN} --epochs 40 --passes 4 --patience 40");
    scratch.run(&format!("{train} --out whole")).expect_success();
    let words = format!("{train} --out cut");
    let mut child =
        scratch.command().args(words.split_whitespace()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| fs::read_to_string(scratch.path("cut/history.csv")).is_ok_and(|h| h.lines().count() > 3));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(column(&scratch, "cut", "separation").len() < 40, "killed on the way");
    scratch.run("train --resume cut").expect_success();
    for name in ["model.safetensors", "state.safetensors"] {
        assert!(scratch.tensors(&format!("cut/{name}")) == scratch.tensors(&format!("whole/{name}")), "{name}");
    }
    for name in ["separation", "loss"] {
        assert_eq!(column(&scratch, "cut", name), column(&scratch, "whole", name), "{name}");
    }
    assert!(fs::read(scratch.path("cut/scores.csv")).unwrap() == fs::read(scratch.path("whole/scores.csv")).unwrap());
}

/// What is held out leaves one for a last batch of 19: a net whose norm reads one pixel is not trained on such, and looks at it all the same.
#[test]
fn what_is_held_out_fills_no_batches() {
    let scratch = Scratch::new().with_data().with_more_images();
    let net = "--objective hsc --net CNN32 --side 32 --supervise malformed-normal --noise confetti --device cpu";
    let train = format!("train fmnist --data data --class 0 {net} --epochs 2 --patience 2 --batch 19 --out run");
    let ran = scratch.run(&train);
    assert!(ran.expect_success().stderr().contains("10 of 100 good images are held out"), "{}", ran.stderr());
    assert!(column(&scratch, "run", "separation").iter().all(Option::is_some));
}

#[test]
fn where_there_are_few_images_none_are_held_out() {
    let scratch = Scratch::new().with_data();
    let ran = scratch.run(&format!("{TRAIN} --epochs 4 --patience 1 --out run"));
    let told = ran.expect_success().stderr();
    assert!(told.contains("--patience 1 does nothing: of 48 good images none can be held out"), "{told}");
    assert_eq!(column(&scratch, "run", "separation"), [None; 4]);
    // As if it had not been asked for.
    scratch.run(&format!("{TRAIN} --epochs 4 --out plain")).expect_success();
    assert!(scratch.tensors("run/model.safetensors") == scratch.tensors("plain/model.safetensors"));
}

#[test]
fn patience_needs_anomalies_that_are_made() {
    let scratch = Scratch::new().with_data().with_more_images();
    for flags in ["--supervise unsupervised", "--supervise other", "--objective ae"] {
        let train = format!("train fmnist --data data --class 0 --patience 3 {flags} --out no");
        scratch.run(&train).expect_error(&["--patience 3", "no anomalies are made"]);
    }
    scratch.run(&format!("{TRAIN} --patience 0 --out no")).expect_error(&["--patience 0", "choose 1 to"]);
}

/// A run of a sweep that ended on a plateau is complete.
#[test]
fn a_sweep_does_not_go_on_with_runs_that_ended_on_a_plateau() {
    let scratch = Scratch::new().with_data().with_more_images();
    let words =
        TRAIN.replace("train fmnist", "sweep fmnist").replace("--class 0", "--classes 0").replace("--device cpu", "");
    let sweep = || scratch.run(&format!("{words} --epochs 60 --patience 2 --out sweep --json"));
    let first = sweep().expect_success().json();
    assert!(first["missing"].as_array().unwrap().is_empty(), "{first}");
    let run = "sweep/normal_t-shirt/it_0";
    assert!(column(&scratch, run, "loss").len() < 60);
    let written = || fs::metadata(scratch.path(run).join("model.safetensors")).unwrap().modified().unwrap();
    let before = written();
    sweep().expect_success();
    assert_eq!(written(), before, "it is not trained again");
}

#[test]
fn minutes_become_epochs_that_are_recorded() {
    let scratch = Scratch::new().with_data();
    // Three seconds.
    let ran = scratch.run(&format!("{TRAIN} --minutes 0.05 --out run"));
    let told = ran.expect_success().stderr();
    let epochs = config(&scratch, "run")["epochs"].as_u64().unwrap();
    assert!(epochs >= 1 && column(&scratch, "run", "loss").len() as u64 == epochs, "{epochs}");
    let said = format!(
        "training FCDD_CNN28 at 28 px on 48 good images: {epochs} epochs of 3 steps ({} in all), about ",
        3 * epochs
    );
    assert!(told.contains(&said), "{told}");
    assert!(fs::read_to_string(scratch.path("run/report.html")).unwrap().contains(&format!("--epochs {epochs} ")));
    // The timing has left no trace: the recorded number gives the same bits.
    scratch.run(&format!("{TRAIN} --epochs {epochs} --out again")).expect_success();
    assert!(scratch.tensors("run/model.safetensors") == scratch.tensors("again/model.safetensors"));
    assert!(scratch.tensors("run/state.safetensors") == scratch.tensors("again/state.safetensors"));

    for (flags, word) in [
        ("--minutes 0", "write a number above 0"),
        ("--minutes -3", "write a number above 0"),
        ("--minutes inf", "write a number above 0"),
        ("--minutes soon", "write a number above 0"),
        ("--minutes 1 --epochs 3", "cannot be used with"),
    ] {
        refused(&scratch.run(&format!("{TRAIN} {flags} --out no")), word);
    }
    assert!(!scratch.path("no").exists());
    scratch.run("train --resume run --minutes 1").expect_error(&["--resume", "its own settings"]);
}
