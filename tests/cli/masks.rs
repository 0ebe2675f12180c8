//! Masks of what counts: for one call, and stored with a model.

use std::path::Path;

use serde_json::Value;

use crate::support::{Scratch, map, png, png_with};

/// A mask in `name` that is white where it says so.
fn mask(scratch: &Scratch, name: &str, (width, height): (u32, u32), white: impl Fn(u32, u32) -> bool) {
    let grey = |x, y| image::Luma([if white(x, y) { 255 } else { 0 }]);
    image::GrayImage::from_fn(width, height, grey).save(scratch.path(name)).unwrap();
}

/// A run, images of which the left half is to count, and masks of either half and of all.
fn scratch() -> Scratch {
    let scratch = Scratch::new().with_run();
    for i in 0..12 {
        scratch.write(&format!("parts/{i:02}.png"), &png_with(56 + 4 * i, 84, 40 + 10 * i as u8));
    }
    mask(&scratch, "left.png", (2, 1), |x, _| x == 0);
    mask(&scratch, "right.png", (200, 40), |x, _| x >= 100);
    mask(&scratch, "all.png", (3, 3), |_, _| true);
    scratch
}

fn predicted(scratch: &Scratch, flags: &str, out: &str) -> Vec<Value> {
    let report = scratch.run(&format!("predict run parts {flags} --out {out} --json")).expect_success().json();
    report["predictions"].as_array().unwrap().clone()
}

fn scores(rows: &[Value]) -> Vec<f64> {
    rows.iter().map(|row| row["score"].as_f64().unwrap()).collect()
}

#[test]
fn what_does_not_count_is_in_no_result() {
    let scratch = scratch();
    let whole = predicted(&scratch, "--what map,regions --pixel-threshold 1e-6", "whole");
    let left = predicted(&scratch, "--what map,mask,heatmap,regions --pixel-threshold 1e-6 --roi left.png", "left");
    // The map has seven columns of cells: the mean of four and that of three are its mean.
    mask(&scratch, "four.png", (70, 30), |x, _| x < 40);
    let [four, three] = ["--roi", "--ignore"]
        .map(|flag| scores(&predicted(&scratch, &format!("--what scores {flag} four.png"), "some")));
    for ((whole, four), three) in scores(&whole).iter().zip(&four).zip(&three) {
        assert!(((4.0 * four + 3.0 * three) / 7.0 / whole - 1.0).abs() < 1e-5, "{whole} {four} {three}");
    }
    assert_ne!(four, three);
    // Either flag says the same; more masks leave less.
    let same = predicted(&scratch, "--what scores --ignore right.png", "same");
    assert_eq!(scores(&same), scores(&left));
    let all = predicted(&scratch, "--what scores --roi all.png", "all");
    assert!(scores(&all).iter().zip(scores(&whole)).all(|(all, whole)| (all / whole - 1.0).abs() < 1e-6));
    // Maps are those of the whole image within, and 0 without.
    let (before, (height, width)) = map(&scratch, "whole/03_map.npy");
    let (after, size) = map(&scratch, "left/03_map.npy");
    assert_eq!((size, width % 2), ((height, width), 0));
    let expected = before.iter().enumerate().map(|(i, &value)| if i % width < width / 2 { value } else { 0.0 });
    assert!(expected.eq(after.iter().copied()) && before.iter().any(|&value| value > 0.0));
    let cold = image::open(scratch.path("left/03_heatmap.png")).unwrap().into_rgb8();
    assert!(cold.enumerate_pixels().all(|(x, _, pixel)| (x as usize) < width / 2 || pixel.0 == [0, 0, 128]));
    let white = image::open(scratch.path("left/03_mask.png")).unwrap().into_luma8();
    assert!(white.enumerate_pixels().all(|(x, _, pixel)| (x as usize) < width / 2 || pixel.0 == [0]));
    let regions = left[3]["regions"].as_array().unwrap();
    let end = |region: &Value| (region["x"].as_u64().unwrap() + region["width"].as_u64().unwrap()) as usize;
    assert!(!regions.is_empty() && regions.iter().all(|region| end(region) <= width / 2));

    let told = scratch.run("predict run parts --what scores --roi left.png --out left").expect_success().stderr();
    assert!(told.contains("threshold was set without these masks") && told.contains("fcdd calibrate"), "{told}");
    for (flags, words) in [
        ("--roi left.png --ignore left.png", &["no pixel of an image would count", "--roi"][..]),
        ("--roi none.png", &["none.png"]),
        ("--ignore run/config.json", &["config.json", "not a readable image"]),
    ] {
        scratch.run(&format!("predict run parts {flags} --out no")).expect_error(words);
    }
    assert!(!scratch.path("no").exists());
    let hsc =
        "train fmnist --data data --class 0 --objective hsc --net CNN28 --batch 32 --outliers cifar100:outliers.bin";
    scratch.run(&format!("{hsc} --epochs 1 --out hsc")).expect_success();
    scratch.run("predict hsc parts --roi left.png --out no").expect_error(&["hsc", "--roi and --ignore"]);
}

/// Calibrated with a mask, a model has it wherever it is used, and keeps it where it is trained on.
#[test]
fn masks_are_stored_with_the_model() {
    let scratch = scratch();
    for i in 0..20 {
        scratch.write(&format!("fresh/{i}.png"), &png(40 + i, 50));
    }
    let by_mask = predicted(&scratch, "--what scores --roi left.png", "before");
    let before = scratch.run("info run --json").expect_success().json();
    assert!(before["counted_share"].is_null());
    let calibrated = scratch.run("calibrate run --good fresh --fpr 0.1 --roi left.png --json").expect_success().json();
    let good = scratch.run("predict run fresh --what scores --out good --json");
    assert!(!good.expect_success().stderr().contains("without these masks"));
    let mut good = scores(good.json()["predictions"].as_array().unwrap());
    good.sort_by(f64::total_cmp);
    assert_eq!(calibrated["threshold"].as_f64(), Some(good[18]), "the 19th of 20 scores, of what counts");
    assert_eq!(scores(&predicted(&scratch, "--what scores", "after")), scores(&by_mask));
    assert_eq!(scratch.run("info run --json").expect_success().json()["counted_share"], 0.5);
    assert!(scratch.run("info run").expect_success().stdout().contains("50 % count"));
    // Calibrated again without one, and trained for another epoch.
    scratch.run("calibrate run --good fresh --fpr 0.1").expect_success();
    let more = |config: &Path| {
        let text = std::fs::read_to_string(config).unwrap();
        std::fs::write(config, text.replace("\"epochs\": 1,", "\"epochs\": 2,")).unwrap();
    };
    more(&scratch.path("run/config.json"));
    scratch.run("train --resume run").expect_success();
    let info = scratch.run("info run --json").expect_success().json();
    assert_eq!((&info["epochs"], &info["counted_share"]), (&Value::from(2), &Value::from(0.5)));
    scratch.run("evaluate run --out eval").expect_success();
}
