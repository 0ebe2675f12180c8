//! Datasets of images: labelled anomalies, outliers, anomalies made beforehand, trees that are not as they should be.

use std::fs;

use crate::support::Scratch;

const SMALL: &str = "--net FCDD_CNN32_S --side 32 --batch 8";

/// A grey image with a bright square of `side` pixels.
fn part(side: u32, shade: u8) -> Vec<u8> {
    part_turned(0, side, shade)
}

/// The same of another part.
fn part_turned(turn: u32, side: u32, shade: u8) -> Vec<u8> {
    let pixel = |x: u32, y: u32| if x < side && y < side { 250 } else { shade + ((x * 7 + y * 3 + turn) % 16) as u8 };
    let image = image::GrayImage::from_fn(32, 32, |x, y| image::Luma([pixel(x, y)]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A class of MVTec-AD in `tiles`: two kinds of defects, each of four parts that were taken twice; of the first, part 0 has an
/// empty mask.
fn tiles() -> Scratch {
    let scratch = Scratch::new();
    for i in 0..24u8 {
        scratch.write(&format!("tiles/train/good/exp1_num_{}.png", 100 + i), &part(0, 40 + i));
    }
    for i in 0..8u8 {
        scratch.write(&format!("tiles/test/good/exp1_num_{}.png", 200 + i), &part_turned(1, 0, 44 + i));
        for (kind, side) in [("chip", 10), ("hole", 14)] {
            let name = format!("{kind}/exp{}_num_{}{}", i % 2, side, i / 2);
            scratch.write(&format!("tiles/test/{name}.png"), &part(side, 50 + i));
            let marked = if kind == "chip" && i < 2 { 0 } else { side };
            let mask =
                image::GrayImage::from_fn(32, 32, |x, y| image::Luma([255 * u8::from(x < marked && y < marked)]));
            let path = scratch.write(&format!("tiles/ground_truth/{name}_mask.png"), b"");
            mask.save(path).unwrap();
        }
    }
    scratch
}

/// The tested images of a run, by name.
fn tested(scratch: &Scratch, run: &str) -> Vec<String> {
    let table = fs::read_to_string(scratch.path(&format!("{run}/scores.csv"))).unwrap();
    table.lines().skip(1).map(|line| line.split(',').next().unwrap().to_string()).collect()
}

#[test]
fn labelled_anomalies_leave_the_evaluation() {
    let scratch = tiles();
    let words =
        format!("train mvtec --data tiles {SMALL} --outliers mvtec_gt:tiles --oe-limit 1 --epochs 2 --passes 2");
    let report = scratch.run(&format!("{words} --out one --json")).expect_success().json();
    // After so few steps pixels are told apart well, images not yet.
    assert!(report["pixel_auroc"].as_f64().unwrap() > 0.9, "bright squares: {report}");
    assert_eq!(tested(&scratch, "one").len(), 24 - 2, "one of each kind of defect was learned from");
    // Evaluated anew, and from a model alone, the same images are tested on.
    let before = fs::read(scratch.path("one/scores.csv")).unwrap();
    scratch.run("evaluate one").expect_success();
    assert!(fs::read(scratch.path("one/scores.csv")).unwrap() == before);
    fs::rename(scratch.path("tiles"), scratch.path("moved")).unwrap();
    scratch.run("evaluate one/model.safetensors --data moved --out again").expect_success();
    assert!(fs::read(scratch.path("again/scores.csv")).unwrap() == before);
    fs::rename(scratch.path("moved"), scratch.path("tiles")).unwrap();

    scratch.run(&format!("{words} --part-gap 0 --out parts")).expect_success();
    let names = tested(&scratch, "parts");
    assert_eq!(names.len(), 24 - 4, "a part's second image goes with the first");
    let empty = "test/chip/exp0_num_100.png".to_string();
    assert!(names.contains(&empty), "what has an empty mask is not learned from");
    scratch.run(&format!("{words} --as-published --out published")).expect_success();
    assert_eq!(tested(&scratch, "published").len(), 24);
}

#[test]
fn other_takes_labelled_anomalies_of_either_split() {
    let scratch = tiles();
    let words = format!("train folder --data tiles {SMALL} --supervise other --epochs 1");
    scratch.run(&format!("{words} --out none")).expect_error(&["no labelled anomalies", "--oe-limit"]);
    scratch.run(&format!("{words} --oe-limit 2 --out test")).expect_success();
    assert_eq!(tested(&scratch, "test").len(), 24 - 4);
    scratch.write("tiles/train/chip/exp3_num_101.png", &part(12, 60));
    scratch.run(&format!("{words} --out train")).expect_success();
    assert_eq!(tested(&scratch, "train").len(), 24, "those of the training split are in no test");
    scratch.run(&format!("{words} --part-gap 0 --out parts")).expect_success();
    let names = tested(&scratch, "parts");
    assert!(names.len() == 22 && !names.contains(&"test/chip/exp1_num_101.png".to_string()), "{names:?}");
}

/// Labelled defects beside artificial ones: from either split, or a folder of them, with masks for some.
#[test]
fn labelled_defects_stand_beside_artificial_ones() {
    let scratch = tiles();
    let words = format!("train folder --data tiles {SMALL} --epochs 1");
    let ran = scratch.run(&format!("{words} --labelled test --oe-limit 2 --out test"));
    assert!(!ran.expect_success().stderr().contains("no mask"), "{}", ran.stderr());
    assert_eq!(tested(&scratch, "test").len(), 24 - 4);
    // Those of a folder within the data leave the test too; one of two has a mask.
    scratch.write("tiles/test/new/1.png", &part(10, 60));
    scratch.write("tiles/ground_truth/new/1_mask.png", &part(10, 60));
    scratch.write("tiles/test/new/2.png", &part(11, 60));
    scratch.write("tiles/ground_truth/new/2_mask.png", &part(0, 60));
    scratch.write("tiles/test/new/ground_truth/2_mask.png", &part(12, 60));
    let ran = scratch.run(&format!("{words} --labelled tiles/test/new --labelled-share 80 --out folder"));
    let stderr = ran.expect_success().stderr();
    assert!(
        stderr.contains("1 of 2 labelled anomalies have no mask") && stderr.contains("--image-score top:1"),
        "{stderr}"
    );
    let names = tested(&scratch, "folder");
    assert!(names.len() == 24 && names.iter().all(|name| !name.contains("/new/")), "{names:?}");
    // Where they lie elsewhere, and are all there is to learn from.
    fs::rename(scratch.path("tiles/test/new"), scratch.path("new")).unwrap();
    fs::remove_dir_all(scratch.path("tiles/ground_truth/new")).unwrap();
    scratch.run(&format!("{words} --labelled new --supervise other --out alone")).expect_success();
    assert_eq!(tested(&scratch, "alone").len(), 24);
    for (flags, told) in [
        ("--labelled absent", ["absent", "no folder of labelled defects"]),
        ("--labelled tiles/test", ["good", "--labelled test"]),
        ("--labelled train", ["no labelled anomalies to train on", "--labelled"]),
        ("--labelled new --supervise unsupervised", ["--labelled", "unsupervised"]),
        ("--labelled new --labelled-share 0", ["--labelled-share 0", "1 to 100"]),
        ("--labelled new --labelled-share 20 --supervise other", ["--labelled-share 20", "artificial"]),
        ("--labelled new --out new/run", ["new/run", "new"]),
    ] {
        let out = if flags.contains("--out") { "" } else { " --out refused" };
        scratch.run(&format!("{words} {flags}{out}")).expect_error(&told);
        assert!(scratch.files("refused").is_empty());
    }
}

#[test]
fn parts_that_take_good_images_out_of_the_test_are_told() {
    let scratch = tiles();
    let words = format!("train folder --data tiles {SMALL} --supervise other --oe-limit 1 --epochs 1");
    // A hole has number 140 to 143, the good ones 200 to 207, chips 100 to 103.
    let ran = scratch.run(&format!("{words} --part-gap 57 --out all"));
    let stderr = ran.expect_success().stderr();
    assert!(stderr.contains("--part-gap 57 leaves 8 of 8 normal and 16 of 16 anomalous test images out"), "{stderr}");
    assert!(stderr.contains("none of 24 test images is left: the model will not be measured"), "{stderr}");
    let report = fs::read_to_string(scratch.path("all/report.html")).unwrap();
    assert!(report.contains("all test images were learned from, or show parts that were"), "{report}");
    scratch.run("evaluate all").expect_error(&["all 24 test images", "--data"]);
    // By steps of 1 all chips are one part, and all holes.
    let stderr = scratch.run(&format!("{words} --part-gap 1 --out defects")).expect_success().stderr();
    assert!(stderr.contains("leaves 0 of 8 normal and 16 of 16 anomalous"), "{stderr}");
    let stderr = scratch.run(&format!("{words} --part-gap 0 --out parts")).expect_success().stderr();
    assert!(!stderr.contains("--part-gap"), "{stderr}");
}

/// Killed or not, on one pass or several, with anomalies made beforehand: the same bits.
#[test]
fn offline_supervision_resumes() {
    let scratch = tiles();
    let words =
        format!("train folder --data tiles {SMALL} --offline-supervision --passes 2 --supervise malformed-normal-gt");
    scratch.run(&format!("{words} --epochs 2 --out whole")).expect_success();
    scratch.run(&format!("{words} --epochs 1 --out half")).expect_success();
    let config = fs::read_to_string(scratch.path("half/config.json")).unwrap();
    assert!(config.contains("\"epochs\": 1"), "{config}");
    scratch.write("half/config.json", config.replace("\"epochs\": 1", "\"epochs\": 2").as_bytes());
    scratch.run("train --resume half").expect_success();
    let same = |name: &str| {
        fs::read(scratch.path(&format!("half/{name}"))).unwrap()
            == fs::read(scratch.path(&format!("whole/{name}"))).unwrap()
    };
    assert!(same("model.safetensors") && same("maps.npy"));
    let history = fs::read_to_string(scratch.path("whole/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 3);
}

#[test]
fn pascal_voc_rates_its_class() {
    let scratch = Scratch::new();
    for i in 0..16u8 {
        let side = if i % 2 == 0 { 12 } else { 0 };
        scratch.write(&format!("voc/JPEGImages/{i:06}.jpg"), &part(side, 30 + i));
        scratch.write(&format!("other/{i}.png"), &part(0, 80 + i));
    }
    for (split, images) in [("trainval", 0..8), ("test", 8..16)] {
        let list: String = images.map(|i| format!("{i:06} {}\n", if i % 2 == 0 { "1" } else { "-1" })).collect();
        scratch.write(&format!("voc/ImageSets/Main/horse_{split}.txt"), list.as_bytes());
    }
    scratch.write("other/broken.png", b"no image");
    let words =
        format!("sweep pascalvoc --data voc {SMALL} --pipeline none --outliers images:other --epochs 60 --lr 1e-2");
    let ran = scratch.run(&format!("{words} --classes horse --seeds 1 --device cpu --out sweep"));
    assert!(ran.expect_success().stderr().contains("skipped 1 of 17 images"), "{}", ran.stderr());
    assert!(ran.stdout().contains("anomalous class"), "{}", ran.stdout());
    let evaluation = fs::read(scratch.path("sweep/normal_horse/it_0/evaluation.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&evaluation).unwrap();
    assert_eq!((report["nominal"].as_u64(), report["anomalous"].as_u64()), (Some(4), Some(4)));
    assert!(report["image_auroc"].as_f64().unwrap() > 0.9, "horses have a bright square: {report}");
}

#[test]
fn trees_and_flags_that_are_refused() {
    let scratch = tiles();
    let train = |flags: &str| scratch.run(&format!("train mvtec --data tiles {SMALL} --out run {flags}"));
    train("--outliers mvtec_gt:elsewhere").expect_error(&["own test images", "--data"]);
    train("--outliers mvtec_gt:tiles --supervise malformed-normal").expect_error(&["mvtec_gt", "--supervise noise"]);
    train("--as-published").expect_error(&["--as-published", "labelled anomalies"]);
    train("--part-gap 5").expect_error(&["--part-gap"]);
    train("--passes 0").expect_error(&["--passes 0"]);
    train("--oe-limit 0 --supervise other").expect_error(&["--oe-limit 0"]);
    train("--supervise unsupervised --offline-supervision").expect_error(&["--offline-supervision"]);
    scratch.run("train imagenet --data tiles --out run").expect_error(&["n12267677", "expected layout:"]);
    scratch
        .run("train cifar10 --data tiles --noise uniform --supervise noise --out run")
        .expect_error(&["data_batch_1"]);
    scratch.run("train mnist --data tiles --out run").expect_error(&["expected are these, plain or gzipped"]);
    scratch.run("train pascalvoc --data tiles --out run").expect_error(&["horse_trainval.txt"]);
    scratch.write("tiles/train/good/broken.png", b"no image");
    let flags = "--epochs 1 --supervise unsupervised";
    train(flags).expect_error(&["broken.png", "--skip-broken"]);
    assert!(scratch.files("run").is_empty());
    for hold in ["always", "never"] {
        let words = format!("train mvtec --data tiles {SMALL} --out {hold} {flags} --skip-broken --hold {hold}");
        let ran = scratch.run(&words);
        assert!(ran.expect_success().stderr().contains("skipped 1 of 25 images"), "{}", ran.stderr());
    }
}

/// A grey image with texture, and with a bright square where `defect` says so.
fn board((width, height): (u32, u32), salt: u32, defect: Option<(u32, u32)>) -> Vec<u8> {
    let is_defect =
        |x: u32, y: u32| defect.is_some_and(|(left, top)| (left..left + 6).contains(&x) && (top..top + 6).contains(&y));
    let pixel =
        |x: u32, y: u32| if is_defect(x, y) { 250 } else { (60 + (x * 5 + y * 3 + salt) % 16 + salt / 16) as u8 };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::GrayImage::from_fn(width, height, |x, y| image::Luma([pixel(x, y)]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Boards of 96 × 64 pixels, with small defects and their masks.
fn boards() -> Scratch {
    let scratch = Scratch::new();
    for i in 0..12 {
        scratch.write(&format!("boards/train/good/{i:02}.png"), &board((96, 64), i, None));
    }
    for i in 0..6 {
        scratch.write(&format!("boards/test/good/{i}.png"), &board((96, 64), 20 + i, None));
        let at = (13 * i, 9 * i);
        scratch.write(&format!("boards/test/dot/{i}.png"), &board((96, 64), 30 + i, Some(at)));
        let mask = image::GrayImage::from_fn(96, 64, |x, y| {
            image::Luma([255 * u8::from((at.0..at.0 + 6).contains(&x) && (at.1..at.1 + 6).contains(&y))])
        });
        mask.save(scratch.write(&format!("boards/ground_truth/dot/{i}_mask.png"), b"")).unwrap();
    }
    scratch
}

/// Images are seen in tiles or with their own aspect: small defects are found at full resolution, heatmaps have the images' sizes.
#[test]
fn images_are_fitted_as_is_asked() {
    let scratch = boards();
    let words =
        "train boards --net FCDD_CNN32_S --side 32 --batch 8 --lr 1e-2 --epochs 12 --device cpu --image-score max";
    for fit in ["tile:32,16", "letterbox", "tile:48"] {
        let out = fit.replace([':', ','], "-");
        let report = scratch.run(&format!("{words} --fit {fit} --out {out} --json")).expect_success().json();
        if fit == "tile:32,16" {
            assert!(report["image_auroc"].as_f64().unwrap() > 0.9, "{fit}: {report}");
            assert!(report["pixel_auroc"].as_f64().unwrap() > 0.9, "{fit}: {report}");
        }
        // Tested again the same comes out.
        let before = fs::read(scratch.path(&format!("{out}/scores.csv"))).unwrap();
        scratch.run(&format!("evaluate {out} --out again --device cpu")).expect_success();
        assert!(fs::read(scratch.path("again/scores.csv")).unwrap() == before, "{fit}");
        fs::remove_dir_all(scratch.path("again")).unwrap();
        for (name, size) in [("flat", (500, 30)), ("tall", (7, 90)), ("same", (96, 64))] {
            scratch.write(&format!("new/{name}.png"), &board(size, 3, None));
        }
        scratch.run(&format!("predict {out} new --out results --device cpu")).expect_success();
        for (name, size) in [("flat", (500, 30)), ("tall", (7, 90)), ("same", (96, 64))] {
            for kind in ["heatmap", "overlay"] {
                let path = scratch.path(&format!("results/{name}_{kind}.png"));
                assert_eq!(image::image_dimensions(path).unwrap(), size, "{fit}");
            }
        }
        fs::remove_dir_all(scratch.path("results")).unwrap();
    }
    // Streamed from files, the same bits.
    scratch.run(&format!("{words} --fit tile:32,16 --hold never --out streamed")).expect_success();
    let maps = |run: &str| fs::read(scratch.path(&format!("{run}/maps.npy"))).unwrap();
    assert!(maps("streamed") == maps("tile-32-16"));
    // A file whose end is missing is left out, whether or not images are held.
    let good = fs::read(scratch.path("boards/train/good/00.png")).unwrap();
    scratch.write("boards/train/good/broken.png", &good[..good.len() / 2]);
    let once = words.replace("--epochs 12", "--epochs 1 --skip-broken --hold never");
    let left_out = scratch.run(&format!("{once} --fit tile:32,16 --out left-out")).expect_success().stderr();
    assert!(left_out.contains("skipped 1 of 13 images"), "{left_out}");
    assert!(left_out.contains("decoded again, which is slow"), "{left_out}");
    fs::remove_file(scratch.path("boards/train/good/broken.png")).unwrap();
    // Labelled defects with masks are shown where they are; without masks a tile may show none.
    scratch.run(&format!("{words} --fit tile:32,16 --labelled test --oe-limit 2 --out labelled")).expect_success();
    scratch.write("dots/1.png", &board((96, 64), 3, Some((40, 20))));
    let labelled = format!("{words} --labelled dots");
    scratch.run(&format!("{labelled} --fit tile:32,16 --out none")).expect_error(&["no mask", "--fit"]);
    scratch.run(&format!("{labelled} --fit letterbox --out whole")).expect_success();
    for (flags, told) in [
        ("--fit nearest", ["--fit nearest", "letterbox"]),
        ("--fit letterbox --maps false", ["--fit letterbox", "--maps"]),
        ("--fit tile:32 --offline-supervision", ["--fit tile:32,8", "--offline-supervision"]),
        ("--fit tile:64,33", ["--fit tile:64,33", "at most 32"]),
    ] {
        scratch.run(&format!("{words} {flags} --out refused")).expect_error(&told);
    }
    let small = words.replace("--side 32", "--side 16");
    scratch
        .run(&format!("{small} --fit tile:32 --out refused"))
        .expect_error(&["--fit tile:32,8", "more than 16 pixels"]);
    // Each pixel as large as the net's input: 6 GB an image.
    scratch.write("large/1.png", &board((3000, 2000), 1, None));
    let enlarged = scratch.run("train large --net FCDD_CNN32_S --side 32 --device cpu --fit tile:1 --out refused");
    enlarged.expect_error(&["3000 × 2000 pixels", "--fit tile:1,0", "--memory"]);
    scratch
        .run("train mvtec --data boards --net FCDD_CNN224 --fit letterbox --out refused")
        .expect_error(&["--fit letterbox with mvtec"]);
}
