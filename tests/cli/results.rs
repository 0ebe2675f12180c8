//! What a run's folder holds: arrays, tables, images, and the page that shows them.

use std::fs;

use crate::runs::TEST_FILES;
use crate::support::{Ran, Scratch, png};

#[test]
fn maps_load_and_their_means_are_the_scores() {
    let scratch = Scratch::new().with_run();
    let bytes = fs::read(scratch.path("run/maps.npy")).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0);
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (32, 7, 7), }"), "{header}");
    assert!(header.ends_with(" \n"));
    let values = bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let values: Vec<f32> = values.collect();
    assert_eq!(values.len(), 32 * 49);

    let mut scores = csv::Reader::from_path(scratch.path("run/scores.csv")).unwrap();
    let column = scores.headers().unwrap().iter().position(|name| name == "score").unwrap();
    for (row, map) in scores.records().zip(values.chunks(49)) {
        let score: f32 = row.unwrap()[column].parse().unwrap();
        let mean = map.iter().sum::<f32>() / 49.0;
        assert!((mean - score).abs() <= 1e-5 * score.abs(), "{mean} is not {score}");
    }
}

#[test]
fn the_roc_table_has_the_area_of_the_figures() {
    let scratch = Scratch::new().with_run();
    let evaluation: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.path("run/evaluation.json")).unwrap()).unwrap();
    let mut table = csv::Reader::from_path(scratch.path("run/roc.csv")).unwrap();
    assert_eq!(table.headers().unwrap(), ["false_positive_rate", "true_positive_rate", "threshold"].as_slice());
    let points: Vec<(f64, f64, f64)> = table.deserialize().map(Result::unwrap).collect();
    let last = points[points.len() - 1];
    assert_eq!((points[0], last.0, last.1), ((0.0, 0.0, f64::INFINITY), 1.0, 1.0));
    let area: f64 = points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[1].1 + p[0].1) / 2.0).sum();
    assert!((area - evaluation["image_auroc"].as_f64().unwrap()).abs() < 1e-9, "{area}");
}

/// Where no file tells of results, those of other programs have names of ours by chance.
#[test]
fn files_of_other_programs_are_not_replaced() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/a.png", &png(28, 28));
    let page = fs::read(scratch.path("run/report.html")).unwrap();
    let settings =
        "fmnist --data data --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin --epochs 1 --device cpu";
    let train = &format!("train {settings} --class 0");
    let sweep = &format!("sweep {settings} --classes 0 --seeds 1");
    let job = &format!("{sweep} --slurm");
    for (words, name) in [
        ("predict run images --device cpu", "scores.csv"),
        ("predict run images", "regions.csv"),
        ("predict run images", "a_heatmap.png"),
        ("evaluate run", "scores.csv"),
        ("evaluate run", "roc.csv"),
        ("evaluate run", "report.html"),
        ("evaluate run", "evaluation.json"),
        ("evaluate run", "maps.npy"),
        ("compare run run", "compare.csv"),
        ("compare run run", "compare.png"),
        (train, "config.json"),
        (train, "loss.svg"),
        (train, "history.csv"),
        (train, "report.html"),
        (train, "model.safetensors"),
        (train, "state.safetensors"),
        (sweep, "summary.json"),
        (sweep, "roc_pixels.svg"),
        (job, "slurm.sh"),
        ("demo", "woven/data/train/good/000.png"),
    ] {
        scratch.write(&format!("out/{name}"), b"<html>name,town\nAnn,Bern\n");
        let ran = scratch.run(&format!("{words} --out out"));
        ran.expect_error(&[name, "move it away"]);
        assert_eq!(scratch.files("out"), [name], "{words}");
        assert_eq!(fs::read(scratch.path("out").join(name)).unwrap(), b"<html>name,town\nAnn,Bern\n");
        fs::remove_file(scratch.path("out").join(name)).unwrap();
    }
    // A name of ours beside it tells nothing.
    for (words, name, beside) in [
        (train.as_str(), "config.json", "scores.csv"),
        ("evaluate run", "scores.csv", "evaluation.json"),
        ("compare run run", "compare.csv", "compare.png"),
    ] {
        for name in [name, beside] {
            scratch.write(&format!("out/{name}"), b"theirs");
        }
        scratch.run(&format!("{words} --out out")).expect_error(&["is no result of", "move it away"]);
        for name in [name, beside] {
            assert_eq!(fs::read(scratch.path("out").join(name)).unwrap(), b"theirs");
            fs::remove_file(scratch.path("out").join(name)).unwrap();
        }
    }
    // Tables of other programs have some of our columns, a picture of theirs beside them may have a name of ours.
    for (words, name, theirs) in [
        (
            "predict run images --what mask --device cpu",
            "scores.csv",
            "score,image,label,annotator\n0.5,a.png,scratch,Eve\n",
        ),
        ("predict run images --what mask --device cpu", "scores.csv", "image,score,annotator\na.png,0.5,Eve\n"),
        ("evaluate run --device cpu", "scores.csv", "image,score,annotator\na.png,0.5,Eve\n"),
        ("predict run images --what regions --device cpu", "regions.csv", "image,region,town\n"),
        (train.as_str(), "history.csv", "epoch,loss,val_loss\n1,0.5,0.6\n"),
    ] {
        for (name, holds) in [(name, theirs), ("a_mask.png", "theirs"), ("roc.svg", "theirs")] {
            scratch.write(&format!("out/{name}"), holds.as_bytes());
        }
        scratch.run(&format!("{words} --out out")).expect_error(&["is no result of", "move it away"]);
        for (name, holds) in [(name, theirs), ("a_mask.png", "theirs"), ("roc.svg", "theirs")] {
            assert_eq!(fs::read_to_string(scratch.path("out").join(name)).unwrap(), holds, "{words}");
            fs::remove_file(scratch.path("out").join(name)).unwrap();
        }
    }
    // A job script that this program wrote is replaced.
    scratch.run(&format!("{job} --out job")).expect_success();
    scratch.run(&format!("{job} --out job")).expect_success();
    // What an earlier version left, or was left over, is ours.
    scratch.write("out/report.html", &page);
    scratch.write("out/scores.csv", b"image,label,score\n");
    scratch.run("evaluate run --out out --device cpu").expect_success();
    // Beside results, what was changed is still one of them.
    scratch.write("out/scores.csv", b"image;label;score\n");
    scratch.run("evaluate run --out out --device cpu").expect_success();
}

#[test]
fn the_folder_is_of_one_test() {
    let scratch = Scratch::new().with_run();
    let chosen = scratch.path("run/chosen.png");
    let report = || fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(!chosen.exists() && !report().contains("Chosen test images"));
    scratch.run("evaluate run --viz-ids 31,0,0").expect_success();
    assert!(chosen.exists() && report().contains("Chosen test images"));
    assert!(report().contains("All epochs as a table"), "the training is still told");
    scratch.run("evaluate run --data ./data").expect_success();
    assert!(!report().contains("Test data"), "it is the run's own data");
    assert!(!chosen.exists() && !report().contains("Chosen test images"));

    // Elsewhere the report is the same: its training is found beside the model.
    scratch.run("evaluate run --out eval").expect_success();
    assert_eq!(scratch.files("eval"), TEST_FILES);
    assert_eq!(fs::read_to_string(scratch.path("eval/report.html")).unwrap(), report());
}

#[test]
fn the_page_stands_alone() {
    let scratch = Scratch::new().with_run();
    let report = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    for outside in ["<script", "<link", "url(", "href=", "src=\"http", "@import"] {
        assert!(!report.contains(outside), "{outside}");
    }
    assert_eq!(report.matches("src=\"data:image/png;base64,").count(), 4);
    assert_eq!(report.matches("<img").count(), report.matches(" alt=\"").count());
    assert_eq!(report.matches("<svg").count(), 3);
    let path = |name: &str| scratch.path(name).canonicalize().unwrap().display().to_string();
    let outliers = format!("cifar100:{}", path("outliers.bin"));
    let command = format!("fcdd train fmnist --data {} ", path("data"));
    for words in ["class t-shirt", "image AUROC", &outliers, &command, " --class 0 "] {
        assert!(report.contains(words), "{words}");
    }
}

/// The names of folders and files are other people's.
#[cfg(unix)]
#[test]
fn hostile_names_inject_nothing() {
    let scratch = Scratch::new();
    let (root, defect) = ("<img src=x>&'", "\"><script>alert(1)<");
    for i in 0..4 {
        scratch.write(&format!("{root}/train/good/{i}.png"), &png(32, 32));
    }
    scratch.write(&format!("{root}/test/good/0.png"), &png(32, 32));
    scratch.write(&format!("{root}/test/{defect}/0.png"), &png(40, 32));
    scratch.write(&format!("{root}/test/x\nimage AUROC \u{1b}[2J/0.png"), &png(32, 40));
    let flags = "--net FCDD_CNN32_S --side 32 --epochs 1 --out run";
    let ran = scratch.command().args(["train", "folder", "--data", root]).args(flags.split(' ')).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(!report.contains("<script") && !report.contains("<img src=x") && !report.contains('\u{1b}'));
    // The table of kinds has a row for each, whatever its name.
    let table = String::from_utf8_lossy(&ran.stdout);
    assert!(table.contains("x\\u{a}image AUROC") && table.contains("\\u{1b}[2J"), "{table}");
    assert!(!table.contains('\u{1b}') && !table.contains("\nimage AUROC"), "{table}");
    assert!(report.contains(r"/&lt;img src=x&gt;&amp;'\'''"), "quoted for a shell");
}

/// A folder holds results of one subcommand: every other one leaves it as it is.
/// Where nobody may write, the superuser neither.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_to_is_named_with_what_to_do() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    for words in ["predict run a.png --out /sys/fcdd", "evaluate run --out /sys/fcdd", "compare run --out /sys/fcdd"] {
        scratch.run(&format!("{words} --device cpu")).expect_error(&["/sys/fcdd: cannot be written to", "--out"]);
    }
}

#[test]
fn results_of_subcommands_do_not_mix() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let small =
        "fmnist --data data --net FCDD_CNN28 --batch 32 --epochs 1 --outliers cifar100:outliers.bin --device cpu";
    let verbs = [
        ("train", format!("train {small} --class 1 --seed 5")),
        ("evaluate", "evaluate run".to_string()),
        ("predict", "predict run a.png".to_string()),
        ("compare", "compare run".to_string()),
        ("sweep", format!("sweep {small} --classes 0 --seeds 1")),
    ];
    for (verb, words) in &verbs {
        scratch.run(&format!("{words} --out of-{verb}")).expect_success();
    }
    scratch.write("of-demo/demo.json", br#"{"figures": [], "overview": ""}"#);
    let contents = |folder: &str| -> Vec<(String, Vec<u8>)> {
        let read = |name: String| (name.clone(), fs::read(scratch.path(folder).join(&name)).unwrap());
        scratch.files(folder).into_iter().map(read).collect()
    };
    let demo = ("demo", "demo --epochs 1".to_string());
    for (there, _) in verbs.iter().chain([&demo]) {
        let folder = format!("of-{there}");
        let before = contents(&folder);
        for (verb, words) in verbs.iter().chain([&demo]).filter(|(verb, _)| verb != there) {
            let told = format!("belongs to results of {there}, and those of {verb} would mix with them");
            scratch.run(&format!("{words} --out {folder}")).expect_error(&[&folder, &told, "another folder for --out"]);
            assert!(contents(&folder) == before, "{verb} in {folder}");
        }
    }
    // The same again is at home there, and so is the test of a run.
    for (verb, words) in &verbs[1..] {
        scratch.run(&format!("{words} --out of-{verb}")).expect_success();
    }
    scratch.run("evaluate of-train").expect_success();
    scratch.run("evaluate run --out of-train").expect_error(&["of-train", "belongs to results of train"]);
}

/// Unfinished results of another subcommand are not taken for one's own, nor removed.
#[test]
fn unfinished_results_of_another_subcommand_are_left_alone() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let journal = br#"{"kind": "predict", "request": "x", "results": ["b_heatmap.png", "b_overlay.png"]}"#;
    scratch.write("out.partial/unfinished.json", journal);
    scratch.write("out.partial/b_heatmap.png", b"theirs");
    for words in [
        "evaluate run --out out",
        "compare run --out out",
        "sweep fmnist --data data --outliers cifar100:outliers.bin --out out",
    ] {
        scratch.run(words).expect_error(&["out.partial/unfinished.json", "belongs to results of predict"]);
    }
    scratch.train("--out out").expect_error(&["out.partial/unfinished.json", "belongs to results of predict"]);
    assert!(!scratch.path("out").exists());
    assert_eq!(scratch.files("out.partial"), ["b_heatmap.png", "unfinished.json"]);
    // Of evaluate, another call does not go on with what one of another model has left.
    fs::create_dir(scratch.path("out")).unwrap();
    scratch.write("test/unfinished.json", br#"{"kind": "evaluate"}"#);
    scratch.write("test/chosen.png", b"of another model");
    scratch.run("evaluate run --out test").expect_success();
    assert_eq!(scratch.files("test"), TEST_FILES);
}

/// A changed `unfinished.json` reaches no file outside of its folder.
#[test]
fn a_changed_journal_removes_nothing() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    scratch.write("theirs_heatmap.png", b"theirs");
    scratch.run("predict run a.png --out out").expect_success();
    scratch.write("out.partial/unfinished.json", br#"{"kind": "predict", "publishing": ["../theirs_heatmap.png"]}"#);
    scratch.run("predict run a.png --out out").expect_error(&[
        "unfinished.json",
        "was changed",
        "../theirs_heatmap.png",
    ]);
    assert_eq!(fs::read(scratch.path("theirs_heatmap.png")).unwrap(), b"theirs");
    assert_eq!(scratch.files("out"), ["a_heatmap.png", "a_overlay.png", "scores.csv"]);
}

/// A model is tested in its own folder, however it is named.
#[test]
fn a_model_file_is_tested_where_it_lies() {
    let scratch = Scratch::new().with_run();
    let before = scratch.files("run");
    scratch.run("evaluate run/model.safetensors").expect_success();
    assert_eq!(scratch.files("run"), before);
    let mut command = scratch.command();
    command.current_dir(scratch.path("run")).args(["evaluate", "model.safetensors", "--data", "../data"]);
    Ran(command.output().unwrap()).expect_success();
    assert_eq!(scratch.files("run"), before);
    // Another model's figures are not the run's.
    fs::copy(scratch.path("run/model.safetensors"), scratch.path("run/best.safetensors")).unwrap();
    scratch.run("evaluate run/best.safetensors").expect_error(&["run", "belongs to results of train", "--out"]);
}
