//! Thresholds: what they promise, how they are set anew, and what images are called by them.

use std::fs;

use serde_json::Value;

use crate::support::{Scratch, png, png_with};

/// The words that train on `parts`, of good images of all sizes.
pub const TRAIN: &str = "train parts --net FCDD_CNN32_S --side 32 --batch 8 --epochs 1 --device cpu";

/// `parts` with good images, `fresh` with others, `bad` with those of another kind.
pub fn parts(good: u32) -> Scratch {
    let scratch = Scratch::new();
    for i in 0..good {
        scratch.write(&format!("parts/{i}.png"), &png(32 + i % 7, 40 + i % 11));
    }
    for i in 0..20 {
        scratch.write(&format!("fresh/{i}.png"), &png_with(33 + i % 5, 40 + i % 11, 92));
    }
    for i in 0..5 {
        scratch.write(&format!("bad/{i}.png"), &png_with(34 + i, 42, 97));
    }
    scratch
}

fn scores(of: &Value) -> Vec<f64> {
    let mut scores: Vec<f64> =
        of["predictions"].as_array().unwrap().iter().map(|row| row["score"].as_f64().unwrap()).collect();
    scores.sort_by(f64::total_cmp);
    scores
}

#[test]
fn images_that_are_held_out_set_the_threshold() {
    let scratch = parts(60);
    let trained = scratch.run(&format!("{TRAIN} --fpr 0.1 --out run"));
    let told = trained.expect_success().stderr();
    assert!(told.contains("12 of 60 good images are held out"), "{told}");
    assert!(trained.stdout().contains("at most 10 % of good images exceed it, by 12 images"), "{}", trained.stdout());
    let info = scratch.run("info run --json").expect_success().json();
    let calibration = &info["calibration"];
    assert_eq!(calibration["false_positive_rate"], 0.1);
    // The 12th of 12 rising scores: one in 13 would exceed it.
    assert_eq!((calibration["scores"].as_array().unwrap().len(), &calibration["scores"][11]), (12, &info["threshold"]));
    // Those that are held out do not depend on the epochs, and what is learned does not depend on the rate.
    scratch.run(&format!("{TRAIN} --out least")).expect_success();
    assert_eq!(scratch.tensors("run/model.safetensors"), scratch.tensors("least/model.safetensors"));
    let least = scratch.run("info least").expect_success().stdout();
    assert!(least.contains("at most 7.7 % of good images exceed it, by 12 images"), "{least}");
    // All are learned from where that is asked for.
    let all = scratch.run(&format!("{TRAIN} --calibration-share 0 --out all"));
    assert!(!all.expect_success().stderr().contains("held out") && all.stdout().contains("promises nothing"));

    for (flags, words) in [
        ("--fpr 0.01", &["a false positive rate of 1 % takes 99", "of 60", "gives 12", "7.7 %"][..]),
        ("--fpr 0", &["--fpr 0", "such as 0.01"]),
        ("--fpr 0.1 --calibration-share 0", &["--fpr 0.1", "--calibration-share 20"]),
        ("--calibration-share 21", &["--calibration-share 21", "0 to 20"]),
    ] {
        scratch.run(&format!("{TRAIN} {flags} --out none")).expect_error(words);
    }
    assert!(!scratch.path("none").exists());
    // Too few to hold any out.
    let few = parts(19);
    let trained = few.run(&format!("{TRAIN} --out run"));
    assert!(trained.expect_success().stderr().contains("of 19 good images none are held out"), "{}", trained.stderr());
    assert!(trained.stdout().contains("it promises nothing of new images"), "{}", trained.stdout());
}

#[test]
fn a_model_is_calibrated_on_new_images() {
    let scratch = parts(24);
    for i in 0..3 {
        scratch.write(&format!("test/good/{i}.png"), &png_with(34, 41 + i, 92));
        scratch.write(&format!("test/long/{i}.png"), &png(80, 20 + i));
        scratch.write(&format!("test/wide/{i}.png"), &png(20, 80 + i));
    }
    scratch.run(&format!("{TRAIN} --out run")).expect_success();
    scratch.run("evaluate run --data test --out run").expect_success();
    assert!(scratch.path("run/evaluation.json").exists());
    let before = scratch.run("info run --json").expect_success().json();
    let weights = scratch.tensors("run/model.safetensors");

    let calibrated = scratch.run("calibrate run --good fresh --bad bad --fpr 0.1 --json").expect_success().json();
    let fresh = scores(&scratch.run("predict run fresh --out of-fresh --json").expect_success().json());
    // The 19th of 20: two of 21 are a tenth.
    assert_eq!(calibrated["threshold"].as_f64(), Some(fresh[18]));
    assert_eq!(calibrated["earlier_threshold"], before["threshold"]);
    assert_eq!((&calibrated["false_positive_rate"], &calibrated["bad_images"]), (&Value::from(0.05), &Value::from(5)));
    assert_eq!(scratch.run("info run --json").expect_success().json()["threshold"], calibrated["threshold"]);
    assert_eq!(scratch.tensors("run/model.safetensors"), weights);
    // Figures of the earlier threshold would pass for those of this one.
    assert!(!scratch.path("run/evaluation.json").exists() && scratch.path("run/history.csv").exists());
    // What is promised at least can be asked for as it is told.
    scratch.run("calibrate run --good fresh --fpr 0.0477").expect_success();
    let least = scratch.run("calibrate run --good fresh").expect_success().stdout();
    assert!(least.contains("at most 4.77 % of good images exceed it, by 20 images"), "{least}");

    let evaluated = scratch.run("evaluate run --data test --out eval --json").expect_success().json();
    assert_eq!((&evaluated["nominal"], &evaluated["anomalous"]), (&Value::from(3), &Value::from(6)));
    let kinds = evaluated["breakdown"]["kinds"].as_array().unwrap();
    let names: Vec<&Value> = kinds.iter().map(|kind| &kind["kind"]).collect();
    assert_eq!(names, ["long", "wide"]);
    let report = fs::read_to_string(scratch.path("eval/report.html")).unwrap();
    let order = [
        "Does it work?",
        "Where does it fail?",
        "By which threshold?",
        "What did it learn from?",
        "How can it be had again?",
    ];
    let places: Vec<usize> = order.iter().map(|words| report.find(words).unwrap()).collect();
    assert!(places.is_sorted() && report.contains("Fewer than 20 normal images"));

    // A copy beside a run is no part of it.
    scratch.run("evaluate run --data test --out run").expect_success();
    fs::copy(scratch.path("run/model.safetensors"), scratch.path("run/copy.safetensors")).unwrap();
    scratch.run("calibrate run/copy.safetensors --good fresh --fpr 0.2").expect_success();
    assert!(scratch.path("run/evaluation.json").exists());

    let by = |rule: &str| {
        let words = format!("calibrate run --good fresh --bad bad --by {rule} --json");
        scratch.run(&words).expect_success().json()["threshold"].as_f64().unwrap()
    };
    let capped = by("capped --fpr 0.1");
    assert_eq!(capped, fresh[17], "two of 20 exceed it");
    let bad = scores(&scratch.run("predict run bad --no-input-check --out of-bad --json").expect_success().json());
    for rule in ["f1", "youden"] {
        let threshold = by(rule);
        assert!(!fresh.contains(&threshold) && !bad.contains(&threshold), "{rule}: between scores");
    }
    for (words, says) in [
        ("run --good fresh --fpr 0.01", &["takes 99", "--good gives 20", "4.77 %"][..]),
        ("run --good nowhere --by f1", &["defective images", "--bad"]), // before anything is read
        ("run --good fresh/0.png", &["0.png: is a file", "name the folder"]),
        ("run --good test", &["test: holds good images in test/good and others", "in test/long"]),
        ("run --good fresh --bad bad --by f1 --fpr 0.1", &["--fpr", "--by promise or capped"]),
        ("run --good nowhere", &["nowhere"]),
        ("run --good run", &["holds no images"]),
        ("test --good fresh", &["holds no model"]),
    ] {
        scratch.run(&format!("calibrate {words}")).expect_error(says);
    }
}

#[test]
fn images_are_called_by_threshold_and_band() {
    let scratch = parts(24);
    scratch.run(&format!("{TRAIN} --out run")).expect_success();
    scratch.run("calibrate run --good fresh --fpr 0.1").expect_success();
    let found = scratch.run("predict run fresh bad --no-input-check --out out --json").expect_success().json();
    let rows = found["predictions"].as_array().unwrap();
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    let mut ordered: Vec<&Value> = rows.iter().collect();
    ordered.sort_by(|a, b| number(a, "score").total_cmp(&number(b, "score")));
    for pair in ordered.windows(2) {
        let rises = number(pair[0], "score") < number(pair[1], "score");
        assert_eq!(rises, number(pair[0], "normalized_score") < number(pair[1], "normalized_score"));
    }
    for row in rows {
        let above = number(row, "score") > number(row, "threshold");
        assert_eq!((above, &row["verdict"] == "anomalous"), (number(row, "normalized_score") > 0.5, above), "{row}");
    }
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    assert!(
        table.starts_with(
            "image,score,normalized_score,threshold,verdict,reason,heatmap,overlay,mask,map,region_count\n"
        ),
        "{table}"
    );

    let within = |row: &&Value| (0.3..=0.7).contains(&number(row, "normalized_score"));
    let near = rows.iter().filter(within).count();
    let unsure =
        scratch.run("predict run fresh bad --no-input-check --unsure 0.3,0.7 --out out --json").expect_success().json();
    let called = unsure["predictions"].as_array().unwrap().iter().filter(|row| row["verdict"] == "unsure").count();
    assert!(called == near && called > 0, "{called}");
    scratch.run("predict run fresh --unsure 0.6,0.7 --out out").expect_error(&["--unsure 0.6,0.7", "0.45,0.6"]);

    // Scores of the images that it was calibrated on are no drift, others are.
    assert_eq!(
        (&found["drift"]["images"], &found["drift"]["calibration_images"]),
        (&Value::from(25), &Value::from(20))
    );
    let same = scratch.run("predict run fresh --out out --json").expect_success().json();
    assert_eq!((&same["drift"]["statistic"], &same["drift"]["p_value"]), (&Value::from(0.0), &Value::from(1.0)));

    // Exit codes.
    let code = |words: &str| scratch.run(&format!("predict run {words} --no-input-check --out out")).0.status.code();
    assert_eq!(code("fresh bad --threshold 0 --fail-on-anomaly"), Some(3));
    assert_eq!(code("fresh bad --threshold 1e30 --fail-on-anomaly"), Some(0));
    assert_eq!(code("fresh bad --threshold 0"), Some(0));
    scratch.write("bad/none.png", b"none");
    assert_eq!(code("bad --threshold 0 --fail-on-anomaly"), Some(2), "what could not be judged is worse");
}

#[test]
fn images_that_cannot_be_judged_are_told() {
    let scratch = parts(40);
    let trained = scratch.run(&format!("{TRAIN} --out run"));
    trained.expect_success();
    let save = |name: &str, image: image::RgbImage| image.save(scratch.path(name)).unwrap();
    fs::create_dir_all(scratch.path("odd")).unwrap();
    save("odd/black.png", image::RgbImage::new(35, 45));
    save("odd/white.png", image::RgbImage::from_pixel(35, 45, image::Rgb([255; 3])));
    let noise =
        |x: u32, y: u32| (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503_777)).wrapping_mul(2_246_822_519) >> 24;
    save("odd/noise.png", image::RgbImage::from_fn(35, 45, |x, y| image::Rgb([noise(x, y) as u8; 3])));
    scratch.write("odd/double.png", &png(70, 90));
    scratch.write("odd/half.png", &png(17, 22));
    scratch.write("odd/wide.png", &png(90, 20));
    let ran = scratch.run("predict run odd fresh --out out");
    assert_eq!(ran.0.status.code(), Some(4), "{}", ran.stderr());
    for (image, reason) in [
        ("black", "too dark"),
        ("white", "white in parts"),
        ("noise", "noisy, or too sharp"),
        ("double", "too wide"),
        ("half", "too narrow"),
        ("wide", "of another shape"),
    ] {
        let stdout = ran.stdout();
        let line = stdout.lines().find(|line| line.contains(&format!("odd/{image}.png"))).unwrap();
        assert!(line.starts_with("unusable") && line.contains(reason), "{image}: {line}");
    }
    assert_eq!(ran.stdout().lines().filter(|line| line.starts_with("unusable")).count(), 6, "{}", ran.stdout());
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    assert!(
        table
            .lines()
            .any(|row| row.contains("black.png") && row.contains(",unusable,") && row.contains("too dark: brightness"))
    );
    let all = scratch.run("predict run odd fresh --no-input-check --out out");
    assert!(!all.expect_success().stdout().contains("unusable"));
    let told = scratch.run("info run").expect_success().stdout();
    assert!(told.contains("at most 4.77 % of good ones, by 40 images") && told.contains("  brightness"), "{told}");

    // A test counts them.
    for i in 0..3 {
        scratch.write(&format!("test/good/{i}.png"), &png(34, 41 + i));
        scratch.write(&format!("test/scratch/{i}.png"), &png(35, 42 + i));
    }
    fs::copy(scratch.path("odd/black.png"), scratch.path("test/scratch/black.png")).unwrap();
    let tested = scratch.run("evaluate run --data test --out eval --json").expect_success().json();
    assert_eq!(tested["breakdown"]["unusable"], serde_json::json!([0, 1]));
    assert!(fs::read_to_string(scratch.path("eval/scores.csv")).unwrap().contains(",unusable,"));
    assert!(
        fs::read_to_string(scratch.path("eval/report.html"))
            .unwrap()
            .contains("0 normal and 1 anomalous ones look otherwise")
    );

    let few = parts(19);
    let trained = few.run(&format!("{TRAIN} --out run"));
    assert!(
        trained.expect_success().stderr().contains("too few to tell which images cannot be judged"),
        "{}",
        trained.stderr()
    );
    few.run("predict run bad --out out").expect_success();
}

/// Good parts as a camera of 12 bits writes them into files of 16, and the same as 8 bits and as all of 16.
#[test]
fn twelve_bits_in_files_of_sixteen_are_seen_for_what_they_are() {
    let scratch = Scratch::new();
    let sample = |x: u32, y: u32, i: u32| (40 + 5 * (x % 8) + 4 * (y % 9) + 3 * (i % 7) + (x * y + i) % 5) * 16;
    let save = |name: &str, i: u32, scale: fn(u32) -> u32| {
        fs::create_dir_all(scratch.path(name).parent().unwrap()).unwrap();
        let pixel = |x, y| image::Luma([scale(sample(x, y, i)) as u16]);
        image::ImageBuffer::from_fn(32, 32, pixel).save(scratch.path(name)).unwrap();
    };
    for i in 0..24 {
        save(&format!("data/{i:02}.png"), i, |v| v);
    }
    let trained = scratch.run("train data --net FCDD_CNN32_S --side 32 --batch 8 --epochs 1 --device cpu --out run");
    let said = "12 significant bits: 0 is black, 4095 white";
    assert!(trained.expect_success().stderr().contains(said), "{}", trained.stderr());
    let told = scratch.run("info run").expect_success().stdout();
    assert!(told.contains(said) && told.contains("significant bits  11"), "{told}");

    save("new/twelve.png", 30, |v| v);
    save("new/twelve.tif", 30, |v| v);
    save("odd/sixteen.png", 30, |v| v * 16);
    let byte = |x, y| image::Luma([((sample(x, y, 30) * 255 + 2047) / 4095) as u8]);
    for name in ["eight.png", "eight.bmp", "eight.webp"] {
        let eight = image::GrayImage::from_fn(32, 32, byte);
        // WebP has no grey.
        image::DynamicImage::from(eight).to_rgb8().save(scratch.path(&format!("new/{name}"))).unwrap();
    }
    // A PNM tells what is white.
    let samples = (0..32 * 32).flat_map(|i| (sample(i % 32, i / 32, 30) as u16).to_be_bytes());
    scratch
        .write("new/told.pgm", &b"P5\n# a camera\n32 32\n4095\n".iter().copied().chain(samples).collect::<Vec<u8>>());
    let ran = scratch.run("predict run new odd --device cpu --out out --json");
    assert_eq!(ran.0.status.code(), Some(4), "{}", ran.stderr());
    let images = ran.json();
    let images = images["predictions"].as_array().unwrap();
    assert_eq!(images.len(), 7);
    let of = |name: &str| images.iter().find(|image| image["image"].as_str().unwrap().ends_with(name)).unwrap();
    for name in ["twelve.tif", "eight.png", "eight.bmp", "eight.webp", "told.pgm"] {
        assert_eq!(of(name)["score"], of("twelve.png")["score"], "{name}");
        assert_eq!(of(name)["verdict"], of("twelve.png")["verdict"], "{name}");
    }
    let odd = of("sixteen.png");
    assert_eq!(odd["verdict"], "unusable");
    assert!(odd["reason"].as_str().unwrap().starts_with("of more bits: 15 of 16 are significant"), "{odd}");

    // Of few images that much is known.
    for i in 0..10 {
        save(&format!("few/{i:02}.png"), i, |v| v);
    }
    let words = "train few --net FCDD_CNN32_S --side 32 --batch 8 --epochs 1 --device cpu --out of-few";
    assert!(!scratch.run(words).expect_success().stderr().contains("in one depth"));
    assert_eq!(scratch.run("predict of-few odd --out out-few").0.status.code(), Some(4));
    save("few/10.png", 40, |v| v * 16);
    let mixed = scratch.run(&words.replace("of-few", "mixed"));
    assert!(mixed.expect_success().stderr().contains("of 16 with 12 to 16 significant bits"), "{}", mixed.stderr());
}

/// A copy of a folder's files.
pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn what_a_calibration_replaces_is_replaced_as_a_whole() {
    let scratch = parts(30);
    scratch.run(&format!("{TRAIN} --out run")).expect_success();
    let calibrated = || scratch.run("calibrate run --good fresh --json").expect_success().json();
    let threshold = || scratch.run("info run --json").expect_success().json()["threshold"].clone();
    let set = calibrated()["threshold"].clone();
    // The run's page stays, and tells of the new threshold.
    let page = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(page.contains("has not been tested since its threshold was set anew"));
    // A run that is over learns nothing more.
    let resumed = scratch.run("train --resume run");
    assert!(resumed.expect_success().stderr().contains("the threshold stays at"), "{}", resumed.stderr());
    assert_eq!(threshold(), set);

    // Test images.
    copy(&scratch.path("fresh"), &scratch.path("set/good"));
    copy(&scratch.path("bad"), &scratch.path("set/wide"));

    // Beside a copy of the model, files of other programs are their own, and one of them a `config.json`.
    fs::create_dir(scratch.path("theirs")).unwrap();
    fs::copy(scratch.path("run/model.safetensors"), scratch.path("theirs/model.safetensors")).unwrap();
    let others = ["chosen.png", "config.json", "maps.npy", "report.html", "roc.csv", "roc.svg", "scores.csv"];
    others.iter().for_each(|name| drop(scratch.write(&format!("theirs/{name}"), b"theirs")));
    let others_format = scratch.write("fresh/z.gif", b"GIF89a");
    let ran = scratch.run("calibrate theirs --good fresh --by capped --fpr 0.2");
    assert!(ran.expect_success().stderr().contains("the first is z.gif"), "{}", ran.stderr());
    fs::remove_file(others_format).unwrap();
    scratch.run("evaluate theirs --data set").expect_error(&["theirs/", "is no result of evaluate", "--out"]);
    for name in others {
        assert_eq!(fs::read(scratch.path("theirs").join(name)).unwrap(), b"theirs", "{name}");
    }

    // A model by itself, with figures beside it.
    fs::create_dir(scratch.path("alone")).unwrap();
    fs::copy(scratch.path("run/model.safetensors"), scratch.path("alone/m.safetensors")).unwrap();
    scratch.run("evaluate alone/m.safetensors --data set").expect_success();
    assert!(scratch.path("alone/evaluation.json").exists());
    // Where the model cannot be written nothing changes.
    let files =
        || scratch.files("alone").into_iter().map(|name| (fs::read(scratch.path("alone").join(&name)).unwrap(), name));
    let before: Vec<_> = files().collect();
    #[cfg(unix)]
    {
        let ran = scratch.run_with_file_limit(8, "calibrate alone/m.safetensors --good fresh");
        ran.expect_error(&["m.safetensors", "too large"]);
        assert!(files().eq(before.iter().cloned()));
        if let Some(ran) = scratch.run_with_mounted("alone/m.safetensors", "calibrate alone/m.safetensors --good fresh")
        {
            ran.expect_error(&["m.safetensors", "busy"]);
            assert!(files().eq(before.iter().cloned()));
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let model = scratch.path("alone/m.safetensors");
        symlink(&model, scratch.path("link")).unwrap();
        scratch.run("calibrate link --good fresh").expect_error(&["link: is a link to", "m.safetensors"]);
        let allow = |mode: u32| fs::set_permissions(&model, PermissionsExt::from_mode(mode)).unwrap();
        allow(0o444);
        scratch.run("calibrate alone/m.safetensors --good fresh").expect_error(&["m.safetensors: is read-only"]);
        assert!(files().eq(before.iter().cloned()));
        // What a killed program has left, and who may read the model.
        scratch.write("alone/.fcdd-left", b"unfinished");
        allow(0o600);
        scratch.run("calibrate alone/m.safetensors --good fresh --by capped --fpr 0.2").expect_success();
        assert_eq!(fs::metadata(&model).unwrap().permissions().mode() & 0o777, 0o600);
        // Figures of the threshold before are gone.
        assert_eq!(scratch.files("alone"), ["m.safetensors"]);
        // Those that a kill has left are told, and removed by the next call.
        let told = || scratch.run("info alone/m.safetensors").expect_success().stdout();
        assert!(!told().contains("another threshold"));
        let figures = before.iter().filter(|(_, name)| name != "m.safetensors");
        figures.for_each(|(bytes, name)| fs::write(scratch.path("alone").join(name), bytes).unwrap());
        assert!(told().contains("figures beside it   of another threshold"), "{}", told());
        scratch.run("calibrate alone/m.safetensors --good fresh --by capped --fpr 0.1").expect_success();
        assert_eq!(scratch.files("alone"), ["m.safetensors"]);

        // A page that does not fit, though the model does, changes nothing either.
        let before = fs::read(scratch.path("run/model.safetensors")).unwrap();
        let kib = before.len().div_ceil(1024) + 8;
        assert!(fs::metadata(scratch.path("run/report.html")).unwrap().len() as usize > 1024 * kib);
        let ran = scratch.run_with_file_limit(kib, "calibrate run --good fresh --fpr 0.2");
        ran.expect_error(&["report.html", "too large"]);
        assert!(fs::read(scratch.path("run/model.safetensors")).unwrap() == before);
        assert!(scratch.path("run/report.html").exists());
    }
}
