//! Masks of what counts: for one call, stored with a model, and in training.

use std::fs;
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

const TRAIN: &str = "train boards --net FCDD_CNN32_S --side 32 --device cpu";

/// Grey boards of 64 × 48 pixels, whose left quarter is of another brightness on each; dents in that quarter and beside it, and masks.
fn boards(good: u32) -> Scratch {
    let scratch = Scratch::new();
    let save = |name: String, i: u32, dent: Option<u32>| {
        let grey = |x: u32, y: u32| match dent {
            Some(left) if (left..left + 8).contains(&x) && (20..28).contains(&y) => 250,
            _ if x < 16 => 40 + 37 * i % 180,
            _ => 100 + (x * 31 + y * 17 + x * y * (i + 1)) % 23,
        };
        let path = scratch.path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(64, 48, |x, y| image::Luma([grey(x, y) as u8])).save(path).unwrap();
    };
    (0..good).for_each(|i| save(format!("boards/train/good/{i:02}.png"), i, None));
    (0..3).for_each(|i| save(format!("boards/test/good/{i}.png"), 150 + i, None));
    (0..20).for_each(|i| save(format!("fresh/{i}.png"), 100 + i, None));
    fs::create_dir_all(scratch.path("boards/ground_truth/dent")).unwrap();
    for (i, left) in [4, 40].into_iter().enumerate() {
        save(format!("boards/test/dent/{i}.png"), 60, Some(left));
        let dent = |x: u32, y: u32| (left..left + 8).contains(&x) && (20..28).contains(&y);
        mask(&scratch, &format!("boards/ground_truth/dent/{i}_mask.png"), (64, 48), dent);
    }
    save("dents/0.png".into(), 61, Some(40));
    mask(&scratch, "quarter.png", (4, 3), |x, _| x == 0);
    mask(&scratch, "half.png", (4, 3), |x, _| x < 2);
    scratch
}

fn counted_share(scratch: &Scratch, run: &str) -> Value {
    scratch.run(&format!("info {run} --json")).expect_success().json()["counted_share"].clone()
}

/// However images come to the net; the run has what another needs to be the same.
#[test]
fn what_does_not_count_is_not_learned_from() {
    let scratch = boards(24);
    for fit in ["squash", "letterbox", "tile:32,8"] {
        let words = format!("{TRAIN} --epochs 2 --fit {fit}");
        let train = |flags: &str, out: &str| scratch.run(&format!("{words} {flags} --out {out} --json"));
        let masked = train("--ignore quarter.png", "masked").expect_success().json();
        assert!(masked["loss"].as_f64().unwrap().is_finite() && masked["pixel_auroc"].as_f64().is_some(), "{masked}");
        assert_eq!(counted_share(&scratch, "masked"), 0.75, "{fit}");
        assert!(!train("", "plain").expect_success().stderr().contains("% of each image count"));
        train("--roi masked/counted.png", "same").expect_success();
        let weights = |run: &str| scratch.tensors(&format!("{run}/model.safetensors"));
        assert!(weights("masked") == weights("same"), "{fit}: as the run's own mask leaves it");
        assert!(weights("masked") != weights("plain"), "{fit}");
        assert!(!scratch.path("plain/counted.png").exists());
        // Scored by what is left, as by a mask of one call.
        let scores = |run: &str, flags: &str| {
            let report = scratch.run(&format!("predict {run} fresh --what scores {flags} --out out --json"));
            scores(report.expect_success().json()["predictions"].as_array().unwrap())
        };
        assert_eq!(scores("masked", ""), scores("masked", "--ignore quarter.png"), "{fit}");
        assert_ne!(scores("masked", ""), scores("masked", "--ignore half.png"), "{fit}");
        ["masked", "plain", "same", "out"].iter().for_each(|run| fs::remove_dir_all(scratch.path(run)).unwrap());
    }
    // Labelled defects too, with masks of their own and without; of one whose marks do not count nothing could be learned.
    let labelled = format!("{TRAIN} --epochs 1 --ignore quarter.png --labelled");
    for fit in ["squash", "tile:32,8"] {
        let run = scratch.run(&format!("{labelled} test --fit {fit} --out {} --json", fit.replace([':', ','], "-")));
        assert_eq!(run.expect_success().json()["anomalous"], 1, "{fit}: the other is left to be tested on");
    }
    scratch.run(&format!("{labelled} dents --fit letterbox --labelled-share 100 --out dented")).expect_success();
    // A mask that leaves a few pixels leaves most tiles without any.
    mask(&scratch, "speck.png", (64, 48), |x, y| x == 50 && y == 20);
    let speck = scratch.run(&format!("{TRAIN} --epochs 2 --fit tile:16,4 --roi speck.png --out speck --json"));
    assert!(speck.expect_success().json()["loss"].as_f64().unwrap().is_finite());
}

/// A run goes on with the mask that it began with, wherever that lies; what a calibration stores takes its place in the model.
#[test]
fn a_run_keeps_its_mask() {
    let scratch = boards(84);
    let out = format!("{TRAIN} --epochs 1 --patience 3 --ignore quarter.png --out run");
    let told = scratch.run(&out).expect_success().stderr();
    assert!(
        told.contains("75 % of each image count, by masks") && told.contains("to tell which epoch is best"),
        "{told}"
    );
    let more = |epochs: u32| {
        let text = fs::read_to_string(scratch.path("run/config.json")).unwrap();
        let next = text.replace(&format!("\"epochs\": {},", epochs - 1), &format!("\"epochs\": {epochs},"));
        assert_ne!(next, text);
        fs::write(scratch.path("run/config.json"), next).unwrap();
    };
    more(2);
    fs::rename(scratch.path("quarter.png"), scratch.path("moved.png")).unwrap();
    scratch.run("train --resume run").expect_error(&["quarter.png"]);
    fs::copy(scratch.path("half.png"), scratch.path("quarter.png")).unwrap();
    for flags in ["", "--ignore half.png"] {
        let ran = scratch.run(&format!("train --resume run {flags}"));
        ran.expect_error(&["mask of what counts is not that which the run began with", "--ignore"]);
    }
    scratch.run("train --resume run --roi half.png").expect_error(&["--roi", "half.png: the run has none"]);
    scratch.run("train --resume run --ignore moved.png").expect_success();
    assert_eq!(counted_share(&scratch, "run"), 0.75);
    assert!(fs::read_to_string(scratch.path("run/report.html")).unwrap().contains("moved.png"));

    scratch.run("calibrate run --good fresh --fpr 0.1").expect_success();
    assert_eq!(counted_share(&scratch, "run"), 0.75);
    scratch.run("calibrate run --good fresh --fpr 0.1 --roi half.png").expect_success();
    assert_eq!(counted_share(&scratch, "run"), 0.5);
    more(3);
    scratch.run("train --resume run").expect_success();
    assert_eq!(counted_share(&scratch, "run"), 0.5);

    let sweep =
        "sweep boards --net FCDD_CNN32_S --side 32 --epochs 1 --seeds 1 --ignore moved.png --out sweep --devices cpu";
    scratch.run(sweep).expect_success();
    assert_eq!(counted_share(&scratch, "sweep/normal_good/it_0"), 0.75);
    assert!(scratch.run(sweep).expect_success().stderr().contains("0 of 1 runs to do"));
    scratch.run(&sweep.replace("moved.png", "absent.png")).expect_error(&["absent.png"]);
    scratch.run(&sweep.replace("--ignore moved.png", "--roi half.png")).expect_error(&["other settings", "ignore"]);
}

#[test]
fn training_refuses_masks_that_it_cannot_learn_by() {
    let scratch = boards(24);
    mask(&scratch, "nothing.png", (3, 3), |_, _| false);
    for (flags, words) in [
        ("--roi nothing.png", &["no pixel of an image would count", "--roi"][..]),
        ("--roi half.png --ignore half.png", &["no pixel"]),
        ("--roi none.png", &["none.png"]),
        ("--ignore boards", &["boards"]),
        ("--ignore half.png --maps false", &["--ignore", "half.png without ground-truth maps", "--maps true"]),
        ("--roi half.png --offline-supervision", &["--roi", "made before training", "--offline-supervision"]),
    ] {
        scratch.run(&format!("{TRAIN} --epochs 1 {flags} --out no")).expect_error(words);
    }
    scratch.run("train boards --objective ae --roi half.png --out no").expect_error(&[
        "--roi",
        "without ground-truth maps",
        "--objective fcdd",
    ]);
    let paper = scratch.run("train fmnist --data boards --roi half.png --out no");
    paper.expect_error(&["--roi", "half.png with fmnist", "folders of your own"]);
    assert!(!scratch.path("no").exists());
}
