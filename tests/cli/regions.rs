//! Predicting for work: regions, masks and maps; lists of images, lines of JSON, shards.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Ran, Scratch, map, png};

/// A run, and two images of other sizes than the net's input.
fn scratch() -> Scratch {
    let scratch = Scratch::new().with_run();
    scratch.write("parts/a.png", &png(90, 60));
    scratch.write("parts/deep/b.png", &png(40, 70));
    scratch
}

#[test]
fn each_of_what_is_wanted_is_left_and_nothing_else() {
    let scratch = scratch();
    for (what, files) in [
        ("scores", vec!["scores.csv"]),
        ("overlay", vec!["a_overlay.png", "deep/b_overlay.png", "scores.csv"]),
        ("scores,heatmap", vec!["a_heatmap.png", "deep/b_heatmap.png", "scores.csv"]),
        ("mask,map", vec!["a_map.npy", "a_mask.png", "deep/b_map.npy", "deep/b_mask.png", "scores.csv"]),
        ("regions", vec!["regions.csv", "scores.csv"]),
    ] {
        scratch.run(&format!("predict run parts --what {what} --out out")).expect_success();
        assert_eq!(scratch.files("out"), files, "{what}, in the place of those before");
    }
    let table = |out: &str| fs::read_to_string(scratch.path(out).join("scores.csv")).unwrap();
    let scores = |out: &str| -> Vec<String> {
        table(out).lines().map(|line| line.split(',').take(5).collect::<Vec<_>>().join(",")).collect()
    };
    scratch.run("predict run parts --out drawn").expect_success();
    scratch.run("predict run parts --what scores --out scored").expect_success();
    assert_eq!(scores("drawn"), scores("scored"), "whatever is drawn");
    assert!(table("scored").lines().nth(1).unwrap().ends_with(",,,,,"), "{}", table("scored"));
    // A test has the same columns, and labels.
    let columns = "score,normalized_score,threshold,verdict,reason";
    assert!(table("scored").starts_with(&format!("image,{columns},heatmap,overlay,mask,map,region_count\n")));
    assert!(table("run").starts_with(&format!("image,class,label,{columns}\n")), "{}", table("run"));
}

/// Mask, map, regions and overlay tell the same.
#[test]
fn regions_are_those_of_the_map() {
    let scratch = scratch();
    scratch.run("predict run parts --what map --out maps").expect_success();
    let (values, (height, width)) = map(&scratch, "maps/a_map.npy");
    assert_eq!((height, width, values.len()), (60, 90, 60 * 90));
    let mut sorted = values.clone();
    sorted.sort_by(f32::total_cmp);
    let threshold = sorted[values.len() * 9 / 10];
    let words = format!("predict run parts --what overlay,mask,regions --pixel-threshold {threshold}");
    let report = scratch.run(&format!("{words} --out out --json")).expect_success().json();
    let mask = image::open(scratch.path("out/a_mask.png")).unwrap().into_luma8();
    let above = values.iter().map(|&value| if value > threshold { 255 } else { 0 });
    assert!(mask.dimensions() == (90, 60) && above.eq(mask.pixels().map(|pixel| pixel.0[0])));
    let found = report["predictions"][0]["regions"].as_array().unwrap();
    let area = |region: &serde_json::Value| region["area"].as_u64().unwrap() as usize;
    let marked = mask.pixels().filter(|pixel| pixel.0[0] == 255).count();
    assert!(!found.is_empty() && found.iter().map(area).sum::<usize>() == marked);
    assert_eq!(report["predictions"][0]["region_count"].as_u64().unwrap() as usize, found.len());
    let peak = |i: usize| found[i]["peak"].as_f64().unwrap() as f32;
    assert_eq!(peak(0), sorted[values.len() - 1]);
    assert!((1..found.len()).all(|i| peak(i) <= peak(i - 1)));
    // The overlay is the image but for contours, through their corners.
    let (overlay, image) =
        ["out/a_overlay.png", "parts/a.png"].map(|name| image::open(scratch.path(name)).unwrap().into_rgb8()).into();
    let differs = |x: u64, y: u64| overlay.get_pixel(x as u32, y as u32) != image.get_pixel(x as u32, y as u32);
    let contours = found.iter().flat_map(|region| region["contour"].as_array().unwrap());
    assert!(contours.clone().count() > 2);
    assert!(contours.into_iter().all(|corner| differs(corner[0].as_u64().unwrap(), corner[1].as_u64().unwrap())));
    let drawn = overlay.enumerate_pixels().filter(|(x, y, pixel)| *pixel != image.get_pixel(*x, *y));
    assert!(drawn.clone().count() < 60 * 90 / 4 && drawn.into_iter().all(|(x, y, _)| mask.get_pixel(x, y).0 == [255]));
    // The table has the same numbers.
    let table = fs::read_to_string(scratch.path("out/regions.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("image,region,x,y,width,height,area,peak,peak_x,peak_y,mean,contour"));
    let first: Vec<&str> = lines.next().unwrap().splitn(12, ',').collect();
    let keys = ["x", "y", "width", "height", "area", "peak", "peak_x", "peak_y", "mean"];
    assert_eq!(first[..2], ["parts/a.png", "1"]);
    assert!(
        keys.iter().zip(&first[2..]).all(|(key, cell)| found[0][key].to_string().as_str() == *cell),
        "{first:?} {}",
        found[0]
    );
    // Small ones are left out, of the mask too.
    let largest = found.iter().map(area).max().unwrap();
    let report = scratch.run(&format!("{words} --min-area {} --out out --json", largest + 1)).expect_success().json();
    assert_eq!(report["predictions"][0]["regions"].as_array().unwrap().len(), 0);
    let mask = image::open(scratch.path("out/a_mask.png")).unwrap().into_luma8();
    assert!(mask.pixels().all(|pixel| pixel.0 == [0]));
    let speed = &report["speed"];
    let [p50, p99] = ["latency_p50_ms", "latency_p99_ms"].map(|key| speed[key].as_f64().unwrap());
    assert!(speed["images_per_second"].as_f64().unwrap() > 0.0 && 0.0 < p50 && p50 <= p99);
    // No region at all is a table all the same.
    scratch.run("predict run parts --what regions --pixel-threshold 1e9 --out out").expect_success();
    let empty = fs::read_to_string(scratch.path("out/regions.csv")).unwrap();
    assert_eq!(empty.trim_end(), table.lines().next().unwrap());
}

#[test]
fn regions_take_a_threshold_of_pixels() {
    let scratch = Scratch::new();
    scratch.write("a.png", &png(40, 30));
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/run-0.1/run");
    for what in ["regions", "mask", "scores,mask"] {
        let ran = scratch.run(&format!("predict {old} a.png --what {what} --out out"));
        ran.expect_error(&["fcdd calibrate", "--pixel-threshold"]);
        assert!(!scratch.path("out").exists());
    }
    scratch.run(&format!("predict {old} a.png --what regions --pixel-threshold 0.1 --out out")).expect_success();
    // Without one the overlay has the heatmap's colours.
    scratch.run(&format!("predict {old} a.png --out out")).expect_success();
    for value in ["-1", "nan", "inf"] {
        scratch
            .run(&format!("predict {old} a.png --what regions --pixel-threshold {value} --out out"))
            .expect_error(&["--pixel-threshold", "value of an anomaly map"]);
    }
    for flag in ["--pixel-threshold 0.1", "--min-area 4"] {
        let ran = scratch.run(&format!("predict {old} a.png --what scores,heatmap {flag} --out out"));
        ran.expect_error(&[flag.split(' ').next().unwrap(), "--what", "overlay, mask, regions"]);
    }
}

/// Runs `fcdd` with a text on standard input.
fn with_input(scratch: &Scratch, words: &str, text: &[u8]) -> Ran {
    let mut command = scratch.command();
    command.args(words.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    Ran(child.wait_with_output().unwrap())
}

#[test]
fn a_list_on_standard_input_is_told_line_by_line() {
    let scratch = scratch();
    scratch.write("parts/broken.png", b"no image");
    let list = b"parts/a.png\r\n\nparts/broken.png\nparts/none.png\nparts/deep\n";
    let ran = with_input(&scratch, "predict run parts/a.png - --what scores,regions --out out --jsonl", list);
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
    let objects: Vec<serde_json::Value> =
        ran.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let images: Vec<&str> = objects.iter().filter_map(|object| object["image"].as_str()).collect();
    assert_eq!(images, ["parts/a.png", "parts/a.png", "parts/deep/b.png"]);
    let errors: Vec<&str> = objects.iter().filter_map(|object| object["error"].as_str()).collect();
    assert!(errors.len() == 2 && errors[0].contains("broken.png") && errors[1].contains("none.png"), "{errors:?}");
    assert!(objects[0]["score"].is_number() && objects[0]["regions"].is_array());
    let told = ran.stderr().lines().filter(|line| line.starts_with("error: ")).count();
    assert!(told == 2 && ran.stderr().contains("images/s, latency"), "{}", ran.stderr());
    with_input(&scratch, "predict run - --out other", b"\n").expect_error(&["standard input lists no images"]);
    with_input(&scratch, "predict run - --out other", &[b'x'; 1 << 16]).expect_error(&["standard input", "is no path"]);
}

/// Shards are all of it once, and do not touch each other.
#[test]
fn shards_share_the_images_and_no_folder() {
    let scratch = Scratch::new().with_run();
    for i in 0..5 {
        scratch.write(&format!("parts/{i}.png"), &png(28, 28 + i));
    }
    for shard in ["1/2", "2/2"] {
        scratch.run(&format!("predict run parts --what heatmap --shard {shard} --out out")).expect_success();
    }
    let files = ["0_heatmap.png", "2_heatmap.png", "4_heatmap.png", "scores.csv"];
    assert_eq!((scratch.files("out/1-of-2"), scratch.files("out").len()), (files.map(str::to_string).to_vec(), 7));
    let table = fs::read_to_string(scratch.path("out/2-of-2/scores.csv")).unwrap();
    assert!(table.lines().count() == 3 && table.contains("parts/1.png") && table.contains("parts/3.png"), "{table}");
    // More shards than images.
    scratch.run("predict run parts/0.png --shard 2/2 --out few").expect_success();
    assert!(scratch.files("few").is_empty());
    let refused = scratch.run("predict run parts --shard 3/2 --out out");
    assert!(refused.0.status.code() == Some(2) && refused.stderr().contains("I/N"), "{}", refused.stderr());
}
