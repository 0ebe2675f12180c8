//! Images that a model knows: what it has learned from, what set its threshold, and what is the same.

use std::fs;

use serde_json::Value;

use crate::calibrate::{TRAIN, copy, parts};
use crate::support::{Scratch, png, png_with, without_checksum};

#[test]
fn nothing_is_concluded_from_images_that_were_learned_from() {
    let scratch = parts(40);
    for i in 0..6 {
        scratch.write(&format!("data/test/scratch/{i}.png"), &png(64 + i, 41));
        scratch.write(&format!("data/test/good/{i}.png"), &png_with(34 + i, 42, 91));
    }
    copy(&scratch.path("parts"), &scratch.path("data/train/good"));
    let words = TRAIN.replace("train parts", "train data") + " --labelled test --oe-limit 2 --out run";
    scratch.run(&words).expect_success();
    // The same defects in other folders, and under other names.
    copy(&scratch.path("data/test/scratch"), &scratch.path("other/dents"));
    copy(&scratch.path("data/test/good"), &scratch.path("other/good"));
    fs::rename(scratch.path("other/dents/0.png"), scratch.path("other/dents/first.png")).unwrap();
    for data in ["data", "data/test", "other"] {
        let tested = scratch.run(&format!("evaluate run --data {data} --out eval --json")).expect_success().json();
        assert_eq!(tested["anomalous"], 4, "{data}");
    }
    let learned = scratch.run("evaluate run --data data/train --out eval2");
    assert!(learned.expect_success().stderr().contains("test images are left out"), "{}", learned.stderr());

    let own = scratch.run("calibrate run --good data/train/good --json");
    let told = own.expect_success().stderr();
    assert!(told.contains("of 40 images are left out") && told.contains("has learned from them"), "{told}");
    // A fifth was held out, and nothing was learned from it.
    assert_eq!(own.json()["good_images"], 8);
    scratch.run("calibrate run --good fresh --bad fresh --by f1").expect_error(&["fresh", "among the good ones too"]);
    // Copies count once: here, and in training, where too few are refused before it begins.
    copy(&scratch.path("fresh"), &scratch.path("twice"));
    for i in 0..20 {
        fs::copy(scratch.path(&format!("fresh/{i}.png")), scratch.path(&format!("twice/again-{i}.png"))).unwrap();
    }
    let twice = TRAIN.replace("train parts", "train twice");
    scratch.run(&format!("{twice} --fpr 0.12 --out of-twice")).expect_error(&["takes 8", "gives 4"]);
    copy(&scratch.path("fresh"), &scratch.path("again"));
    fs::rename(scratch.path("again"), scratch.path("fresh/again")).unwrap();
    // Black frames say nothing of good ones; a net sees one in all of them.
    for i in 0..3 {
        image::RgbImage::new(35 + i, 45).save(scratch.path(&format!("fresh/black{i}.png"))).unwrap();
    }
    let ran = scratch.run("calibrate run --good fresh --json");
    let told = ran.expect_success().stderr();
    assert!(
        told.contains("22 of 43 images are left out: they are copies") && told.contains("1 of 21 images"),
        "{told}"
    );
    assert_eq!(ran.json()["good_images"], 20);
}

#[test]
fn a_test_tells_what_it_shares() {
    let scratch = parts(40);
    scratch.run(&format!("{TRAIN} --out run")).expect_success();
    copy(&scratch.path("fresh"), &scratch.path("test/good"));
    copy(&scratch.path("bad"), &scratch.path("test/wide"));
    let shared = |words: &str| {
        let ran = scratch.run(&format!("evaluate run --data test --out eval {words}"));
        ran.expect_success();
        (ran.json()["overlap"].clone(), ran.stderr())
    };
    let (none, told) = shared("--json");
    assert_eq!(none, serde_json::json!({ "set_threshold": 0, "copies": 0, "of_both_labels": null }));
    assert!(!told.contains("of these"), "{told}");
    // A third of the good ones set the threshold; one stands twice, and one under a defect too.
    for i in 0..7 {
        scratch.write(&format!("some/{i}.png"), &png_with(33 + i % 5, 40 + i, 92));
    }
    scratch.run("calibrate run --good some").expect_success();
    fs::copy(scratch.path("test/good/0.png"), scratch.path("test/good/again.png")).unwrap();
    fs::copy(scratch.path("test/good/9.png"), scratch.path("test/wide/good.png")).unwrap();
    let (found, told) = shared("--json");
    assert_eq!((&found["set_threshold"], &found["copies"]), (&Value::from(8), &Value::from(2)));
    assert_eq!(found["of_both_labels"], serde_json::json!(["good/9.png", "wide/good.png"]));
    for words in ["8 of these 27 images set the threshold: rates at it are better", "2 of these 27 images are copies"] {
        assert!(told.contains(words), "{told}");
        assert!(fs::read_to_string(scratch.path("eval/report.html")).unwrap().contains(words));
    }
    assert!(told.contains("good/9.png and wide/good.png are the same image"), "{told}");
    // Those that were held out set it too.
    scratch.run(&format!("{TRAIN} --out other")).expect_success();
    copy(&scratch.path("parts"), &scratch.path("own/good"));
    let own = scratch.run("evaluate other --data own --out own-eval --json").expect_success().json();
    assert_eq!((&own["nominal"], &own["overlap"]["set_threshold"]), (&Value::from(8), &Value::from(8)));
}

#[test]
fn an_image_is_good_or_a_defect() {
    let scratch = parts(40);
    copy(&scratch.path("bad"), &scratch.path("defects"));
    fs::copy(scratch.path("parts/0.png"), scratch.path("defects/good.png")).unwrap();
    let train = format!("{TRAIN} --labelled defects --out run");
    scratch.run(&train).expect_error(&["1 of the good images", "labelled defects too, such as 0.png"]);
    fs::remove_file(scratch.path("defects/good.png")).unwrap();
    scratch.run(&train).expect_success();
}

/// What sets of images in one file, or of others, have taught a model is not known by its pixels.
#[test]
fn what_is_not_known_is_not_claimed() {
    let scratch = Scratch::new().with_run();
    for i in 0..20 {
        scratch.write(&format!("fresh/{i}.png"), &png_with(28, 28, 5 * i));
    }
    let ran = scratch.run("calibrate run --good fresh --fpr 0.1");
    assert!(ran.expect_success().stderr().contains("does not tell what it has learned from"), "{}", ran.stderr());
    let shown = scratch.run("info run").expect_success().stdout();
    for told in [ran.stdout(), shown, fs::read_to_string(scratch.path("run/report.html")).unwrap()] {
        assert!(told.contains("which is not known") && !told.contains("nothing was learned from,"), "{told}");
    }
    assert_eq!(scratch.run("info run --json").expect_success().json()["calibration"]["images"], "unchecked");
    // Of a folder it is known, or was removed.
    let folder = parts(40);
    folder.run(&format!("{TRAIN} --out run")).expect_success();
    let model = without_checksum(&fs::read(folder.path("run/model.safetensors")).unwrap());
    let begins = br#"\"learned\":["#;
    let from = model.windows(begins.len()).position(|bytes| bytes == begins).unwrap() + begins.len();
    let to = from + model[from..].iter().position(|&byte| byte == b']').unwrap();
    let mut changed = model;
    changed[from..to].fill(b' ');
    folder.write("changed.safetensors", &changed);
    folder.run("info changed.safetensors").expect_error(&["changed.safetensors", "which images it has learned from"]);
}
