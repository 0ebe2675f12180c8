//! Model files and run folders of earlier versions keep working.

use std::path::Path;

use crate::support::Scratch;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/run-0.1");

/// A scratch folder with the run of version 0.1.0 and its data.
fn with_run_of_0_1() -> Scratch {
    fn copy(scratch: &Scratch, from: &Path, to: &str) {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = format!("{to}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                copy(scratch, &path, &to);
            } else {
                scratch.write(&to, &std::fs::read(&path).unwrap());
            }
        }
    }
    let scratch = Scratch::new();
    copy(&scratch, Path::new(GOLDEN), ".");
    scratch
}

/// Images and scores of a table.
fn scores(scratch: &Scratch, name: &str) -> Vec<(String, f64)> {
    let text = std::fs::read_to_string(scratch.path(name)).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split(',').collect();
        (columns[0].to_string(), columns[3].parse().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

/// The same images with the same scores, but for the rounding of another CPU's vector instructions: the sums of the last layers
/// differ by some 1e-6 of them, three steps of Adam multiply that.
fn expect_scores(scratch: &Scratch, ours: &str, then: &str, tolerance: f64) {
    let (ours, then) = (scores(scratch, ours), scores(scratch, then));
    assert_eq!(ours.len(), then.len());
    for ((image, score), (image_then, score_then)) in ours.iter().zip(&then) {
        assert_eq!(image, image_then);
        assert!((score - score_then).abs() <= tolerance * score_then, "{image}: {score}, then {score_then}");
    }
}

#[test]
fn a_model_of_0_1_scores_as_it_did() {
    let scratch = with_run_of_0_1();
    scratch.run("evaluate run/model.safetensors --data data --out now").expect_success();
    expect_scores(&scratch, "now/scores.csv", "scores.csv", 1e-4);
}

#[test]
fn a_run_of_0_1_is_resumed() {
    let scratch = with_run_of_0_1();
    scratch.run("train --resume run --data data").expect_success();
    let history = std::fs::read_to_string(scratch.path("run/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 4, "{history}");
    expect_scores(&scratch, "run/scores.csv", "scores_resumed.csv", 1e-3);
}
