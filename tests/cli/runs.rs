//! What the subcommands do.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::support::{ON_FOLDERS, Ran, Scratch, png, png_with, vast_png, wait_for};

/// What a test leaves where there are no masks.
pub const TEST_FILES: [&str; 9] = [
    "evaluation.json",
    "maps.npy",
    "overview.png",
    "paper.png",
    "report.html",
    "roc.csv",
    "roc.svg",
    "scores.csv",
    "scores.svg",
];

#[test]
fn train_evaluate_predict() {
    let scratch = Scratch::new().with_data();
    let trained = scratch.train("--epochs 3 --out run --json");
    let trained = trained.expect_success().json();
    let auroc = trained["image_auroc"].as_f64().unwrap();
    assert!(auroc > 0.9, "stripes against a gradient: {auroc}");
    let training =
        ["config.json", "history.csv", "loss.svg", "model.safetensors", "overview_training.png", "preview.png"];
    let mut run = [&TEST_FILES[..], &training, &["state.safetensors"]].concat();
    run.sort_unstable();
    assert_eq!(scratch.files("run"), run);
    assert_eq!(fs::read_to_string(scratch.path("run/history.csv")).unwrap().lines().count(), 4);
    assert!(trained["pro"].is_null() && trained["pixel_average_precision"].is_null(), "no masks: {trained}");

    // The threshold named with the best F1 reaches it where the program takes thresholds: scores above it are
    // anomalous.
    let scores = fs::read_to_string(scratch.path("run/scores.csv")).unwrap();
    let threshold: f32 = trained["image_f1_threshold"].to_string().parse().unwrap();
    let predicted: Vec<(bool, bool)> = scores
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|row| (row[2] == "1", row[3].parse::<f32>().unwrap() > threshold))
        .collect();
    let count = |wanted: fn(&(bool, bool)) -> bool| predicted.iter().filter(|j| wanted(j)).count() as f64;
    let f1 = 2.0 * count(|j| j.0 && j.1) / (count(|j| j.0) + count(|j| j.1));
    assert_eq!(trained["image_f1_max"].as_f64().unwrap(), f1);

    // The model alone gives the same figures, on data named anew.
    fs::rename(scratch.path("run/model.safetensors"), scratch.path("model.safetensors")).unwrap();
    let evaluated = scratch.run("evaluate model.safetensors --data data --out eval --json").expect_success().json();
    assert_eq!(evaluated["image_auroc"].as_f64().unwrap(), auroc);
    let same = |name: &str| fs::read(scratch.path(name)).unwrap();
    for name in ["scores.csv", "maps.npy", "roc.csv", "overview.png"] {
        assert!(same(&format!("run/{name}")) == same(&format!("eval/{name}")), "{name}");
    }
    assert_eq!(scratch.files("eval"), TEST_FILES);

    // Prediction needs neither training data nor square images; equal names do not collide.
    fs::remove_dir_all(scratch.path("data")).unwrap();
    scratch.write("a/part.png", &png(50, 20));
    scratch.write("b/part.png", &png(28, 28));
    let predicted = scratch.run("predict model.safetensors a/part.png b/part.png --out out --threshold 0 --json");
    let predicted = predicted.expect_success().json();
    assert_eq!(predicted["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(predicted["predictions"][0]["verdict"], "anomalous", "any score exceeds 0");
    let written = ["part_2_heatmap.png", "part_2_overlay.png", "part_heatmap.png", "part_overlay.png", "scores.csv"];
    assert_eq!(scratch.files("out"), written);
    for name in ["heatmap", "overlay"] {
        let image = image::open(scratch.path(&format!("out/part_{name}.png"))).unwrap();
        assert_eq!((image.width(), image.height()), (50, 20), "the image's own size");
    }
}

/// Training in two parts, evaluation, prediction and pages of the baselines.
#[test]
fn baselines_train_resume_evaluate_and_predict() {
    for (objective, net, flags) in [("hsc", "CNN28", "--gradient xgrad"), ("ae", "AE28", "")] {
        let scratch = Scratch::new().with_data();
        let train = format!("train fmnist --data data --objective {objective} --net {net} --batch 32 {flags}");
        scratch.run(&format!("{train} --epochs 2 --out run")).expect_success();
        let figures = scratch.run("evaluate run --out eval --json").expect_success().json();
        assert!(figures["image_auroc"].is_f64(), "{figures}");
        let read = |name: &str| fs::read(scratch.path(name)).unwrap();
        assert_eq!(read("run/maps.npy"), read("eval/maps.npy"), "{objective}");
        assert_eq!(read("run/maps.npy").len() % 64, 0, "32 maps of 28 × 28 pixels");
        // A run that lost its model is resumed to the same one.
        let model = read("run/model.safetensors");
        fs::remove_file(scratch.path("run/model.safetensors")).unwrap();
        scratch.run("train --resume run").expect_success();
        assert!(model == read("run/model.safetensors"), "{objective}");
        scratch.write("part.png", &png(50, 20));
        scratch.run("predict run part.png --out out").expect_success();
        assert!(String::from_utf8(read("run/report.html")).unwrap().contains(&format!("--objective {objective}")));
    }
}

#[test]
fn augmentation_is_the_users_to_limit() {
    let scratch = Scratch::new().with_folders();
    let train = |flags: &str| scratch.run(&format!("{ON_FOLDERS} --epochs 2 {flags}"));
    train("--out as-it-is").expect_success();
    // What a folder's recipe has, said in words, is the same run; anything else is another.
    train("--flips h --rotate none --brightness 0.04 --out said").expect_success();
    assert!(scratch.tensors("as-it-is/model.safetensors") == scratch.tensors("said/model.safetensors"));
    train("--flips hv --rotate quarter --brightness 0 --out own").expect_success();
    assert!(scratch.tensors("as-it-is/model.safetensors") != scratch.tensors("own/model.safetensors"));
    let config = fs::read_to_string(scratch.path("own/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!([&config["flips"], &config["rotate"]], ["hv", "quarter"]);
    assert_eq!(config["brightness"], 0.0);
    let model = fs::read(scratch.path("own/model.safetensors")).unwrap();
    let transforms = r#"\"train\":[{\"shift\":{\"pad\":2}},\"flip\",\"flip-vertical\",\"quarter-turn\",\"lcn\","#;
    assert!(String::from_utf8_lossy(&model[..8000]).contains(transforms), "the model knows what it was trained on");

    // Runs and models of before these settings go on as they were.
    let config = fs::read_to_string(scratch.path("as-it-is/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    for name in ["flips", "rotate", "brightness"] {
        assert!(config.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    scratch.write("as-it-is/config.json", config.to_string().as_bytes());
    scratch.run("train --resume as-it-is").expect_success();

    let lcn = "--pipeline lcn --out no";
    train(&format!("--flips v {lcn}")).expect_error(&["--flips", "lcn, which augments nothing", "--pipeline"]);
    train(&format!("--rotate quarter {lcn}")).expect_error(&["--rotate", "has no effect"]);
    train("--brightness 2 --out no").expect_error(&["--brightness 2", "choose 0 to 1"]);
    let help = scratch.run("train --help").expect_success().stdout();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["which are h for a folder", "which are 0.04 for a folder", "[default: none]"] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn bf16_rounds_everywhere_and_is_for_fcdd() {
    let scratch = Scratch::new().with_data();
    let run = |precision: &str| {
        let trained = scratch.train(&format!("--epochs 2 --precision {precision} --out {precision} --json"));
        trained.expect_success().json()["loss"].as_f64().unwrap()
    };
    let (exact, rounded) = (run("f32"), run("bf16"));
    // Values of three digits, in sums of many.
    assert!(exact != rounded && (rounded / exact - 1.0).abs() < 0.05, "{exact} {rounded}");
    // The model scores as it was trained, also where it is moved, and the page says how.
    let read = |name: &str| fs::read(scratch.path(name)).unwrap();
    scratch.run("evaluate bf16 --out eval").expect_success();
    assert!(read("bf16/maps.npy") == read("eval/maps.npy"));
    assert!(String::from_utf8(read("bf16/report.html")).unwrap().contains("--precision bf16"));
    let model = read("bf16/model.safetensors");
    fs::remove_file(scratch.path("bf16/model.safetensors")).unwrap();
    scratch.run("train --resume bf16").expect_success();
    assert!(model == read("bf16/model.safetensors"));
    scratch
        .run("train fmnist --data data --objective hsc --net CNN28 --precision bf16 --epochs 1 --out hsc")
        .expect_error(&["--precision bf16", "hsc", "f32"]);
    scratch.run("bench CNN28 --precision bf16 --count").expect_error(&["CNN28", "--precision f32"]);
}

#[test]
fn threads_do_not_change_the_bits() {
    let scratch = Scratch::new().with_data();
    for threads in [1, 2] {
        scratch.train(&format!("--epochs 2 --threads {threads} --out t{threads}")).expect_success();
    }
    let model = |name: &str| fs::read(scratch.path(name).join("model.safetensors")).unwrap();
    assert!(model("t1") == model("t2"));
    scratch.train("--epochs 2 --seed 1 --out other").expect_success();
    assert!(model("t1") != model("other"), "the seed matters");
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let scratch = Scratch::new().with_data();
    let flags = "--epochs 200 --optimizer adam --lr 1e-3";
    scratch.train(&format!("{flags} --out whole")).expect_success();

    let words = format!(
        "train fmnist --data data --class 0 --net FCDD_CNN28 --batch 32 --outliers cifar100:outliers.bin {flags} --out cut"
    );
    let mut child =
        scratch.command().args(words.split_whitespace()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| fs::read_to_string(scratch.path("cut/history.csv")).is_ok_and(|h| h.lines().count() > 3));
    child.kill().unwrap();
    child.wait().unwrap();
    let epochs = fs::read_to_string(scratch.path("cut/history.csv")).unwrap().lines().count() - 1;
    assert!(epochs < 200, "killed on the way, after {epochs} epochs");

    scratch.run("train --resume cut").expect_success();
    let file = |name: &str| fs::read(scratch.path(name)).unwrap();
    assert!(file("cut/model.safetensors") == file("whole/model.safetensors"));
    assert_eq!(file("cut/scores.csv"), file("whole/scores.csv"));
    scratch.run("train --resume nowhere").expect_error(&["nowhere", "not the folder of a run"]);
    // Without its state a run that has its model would begin anew, and replace that.
    fs::remove_file(scratch.path("cut/state.safetensors")).unwrap();
    let history = file("cut/history.csv");
    scratch.run("train --resume cut").expect_error(&["state.safetensors: is missing", "restore it"]);
    assert!(file("cut/history.csv") == history);
    // Killed before its first state.
    fs::remove_file(scratch.path("cut/model.safetensors")).unwrap();
    let begun = scratch.run("train --resume cut");
    assert!(begun.expect_success().stderr().contains("no state was saved yet"), "{}", begun.stderr());
    assert!(file("cut/model.safetensors") == file("whole/model.safetensors"));
}

#[test]
fn resuming_takes_flags_that_are_no_settings() {
    let scratch = Scratch::new().with_run();
    let history = fs::read(scratch.path("run/history.csv")).unwrap();
    fs::remove_file(scratch.path("run/history.csv")).unwrap();
    let resumed = scratch.run("train --resume run --json --threads 1 --device cpu --viz-ids 3,17");
    assert_eq!(resumed.expect_success().json()["epochs"], 1);
    assert!(scratch.path("run/chosen.png").exists());
    assert!(fs::read(scratch.path("run/history.csv")).unwrap() == history, "the history is in the state");
    scratch.run("train --resume run --viz-ids 99").expect_error(&["no test image 99"]);
    for other in ["fmnist", "--out other", "--lr 1", "--no-bias", "--seed 3", "--data data --epochs 9"] {
        scratch.run(&format!("train --resume run {other}")).expect_error(&["--resume", "its own settings"]);
    }
}

/// Neither the folder that a run was started in nor the place of its data binds it.
#[test]
fn a_run_depends_on_no_folder() {
    let scratch = Scratch::new().with_run();
    fs::create_dir(scratch.path("elsewhere")).unwrap();
    let from_elsewhere = |words: &str| {
        let mut command = scratch.command();
        let ran = command.current_dir(scratch.path("elsewhere")).args(words.split(' ')).output().unwrap();
        Ran(ran)
    };
    from_elsewhere("evaluate ../run").expect_success();
    from_elsewhere("train --resume ../run").expect_success();

    for name in ["data", "outliers.bin"] {
        fs::rename(scratch.path(name), scratch.path("elsewhere").join(name)).unwrap();
    }
    scratch.run("evaluate run").expect_error(&["data", "no such data folder", "--data DIR"]);
    scratch.run("train --resume run").expect_error(&["data", "--data DIR"]);
    scratch.run("train --resume run --data elsewhere/data").expect_error(&["outliers.bin", "--outliers KIND:PATH"]);
    let moved = "train --resume run --data elsewhere/data --outliers";
    scratch.run(&format!("{moved} images:elsewhere")).expect_error(&["images:elsewhere", "cifar100:"]);
    scratch.run(&format!("{moved} cifar100:elsewhere/outliers.bin")).expect_success();
    // From now on it is known where they are.
    scratch.run("train --resume run").expect_success();
    scratch.run("evaluate run").expect_success();
}

/// Images that are decoded anew for each batch lead to the same weights; one that cannot be read any more ends the run with an error, and
/// it goes on from where it was.
#[test]
fn a_streamed_run_ends_in_the_bits_of_a_held_one() {
    let scratch = Scratch::new().with_folders();
    for hold in ["always", "never"] {
        scratch.run(&format!("{ON_FOLDERS} --epochs 2 --device cpu --hold {hold} --out {hold}")).expect_success();
        // Noise that is made of other good images.
        let noise = "--supervise malformed-normal-gt --noise fine-confetti,cutpaste:3";
        let words = "train folder --data parts --net FCDD_CNN32_S --side 32 --batch 4 --epochs 2 --device cpu";
        scratch.run(&format!("{words} {noise} --hold {hold} --out mixed-{hold}")).expect_success();
        let file = |name: &str| fs::read_to_string(scratch.path(&format!("mixed-{hold}/{name}"))).unwrap();
        assert!(file("config.json").contains(r#""noise": "fine-confetti:1,cutpaste:3""#));
        assert!(file("report.html").contains("3 of 4: cutpaste"));
    }
    for [held, streamed] in [["always", "never"], ["mixed-always", "mixed-never"]] {
        let model = |run: &str| scratch.tensors(&format!("{run}/model.safetensors"));
        assert!(model(held) == model(streamed));
    }
    let file = |name: &str| fs::read(scratch.path(name)).unwrap();
    assert!(file("always/maps.npy") == file("never/maps.npy"));
    assert_eq!(file("always/evaluation.json"), file("never/evaluation.json"));
    let image = file("parts/train/good/3.png");
    scratch.write("parts/train/good/3.png", b"damaged");
    scratch.run("train --resume never").expect_error(&["3.png", "not a readable image"]);
    scratch.write("parts/train/good/3.png", &image);
    scratch.run("train --resume never --hold 1").expect_success();
}

#[test]
fn a_run_is_resumed_with_the_images_it_began_with() {
    let scratch = Scratch::new();
    let parts: Vec<_> = (0..4).map(|i| scratch.write(&format!("parts/{i}.png"), &png(32 + i, 32))).collect();
    let words = "train folder --data parts --net FCDD_CNN32_S --side 32 --epochs 1 --out run";
    scratch.run(words).expect_success();
    let first = fs::read(&parts[0]).unwrap();
    fs::remove_file(&parts[0]).unwrap();
    scratch.run("train --resume run").expect_error(&["4 good images then, 3 now", "restore them", "--data"]);
    scratch.write("parts/0.png", &png(99, 32));
    scratch.run("train --resume run").expect_error(&["the same number of good images, but other contents"]);
    scratch.write("parts/0.png", &first);
    // What a killed program was writing is gone afterwards.
    scratch.write("run/.fcdd-aB3dE6", b"unfinished");
    scratch.run("train --resume run").expect_success();
    assert!(!scratch.path("run/.fcdd-aB3dE6").exists());
}

#[test]
fn the_demo_replaces_only_what_it_makes() {
    let scratch = Scratch::new();
    let model = scratch.write("demo/woven/run/model.safetensors", b"theirs");
    scratch.write("demo/woven/run/notes.txt", b"theirs");
    scratch.run("demo").expect_error(&["woven/run/model.safetensors: is no result of demo"]);
    fs::remove_file(&model).unwrap();
    let killed_after = |is_far: &dyn Fn() -> bool| {
        let mut child = scratch.command().args(["demo"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait_for(is_far);
        child.kill().unwrap();
        child.wait().unwrap();
    };
    killed_after(&|| scratch.path("demo/woven/run/config.json").exists());
    // What it has left is its own.
    fs::write(&model, "older").unwrap();
    let sweep = "sweep folder --data demo/woven/data --epochs 1 --seeds 1 --out demo";
    scratch.run(sweep).expect_error(&["unfinished.json", "belongs to results of demo"]);
    killed_after(&|| !model.exists());
    assert_eq!(fs::read(scratch.path("demo/woven/run/notes.txt")).unwrap(), b"theirs");
}

#[test]
fn a_folder_without_a_finished_epoch_takes_a_new_run() {
    let scratch = Scratch::new().with_data();
    scratch.train("--epochs 1 --lr 1e300 --out run").expect_error(&["no longer a number", "--lr"]);
    assert!(scratch.path("run/config.json").exists());
    scratch.train("--epochs 1 --out run").expect_success();
    scratch.train("--epochs 1 --out run").expect_error(&["already holds a run"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_usable_model() {
    let scratch = Scratch::new().with_data();
    let words = "train fmnist --data data --class 0 --net FCDD_CNN28 --outliers cifar100:outliers.bin --epochs 100000 --out run";
    let mut child =
        scratch.command().args(words.split_whitespace()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| scratch.path("run/state.safetensors").exists());
    let interrupted = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report = || fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(report().contains("The training was stopped after") && report().contains("has not been tested"));
    for name in ["preview.png", "loss.svg", "overview_training.png"] {
        assert!(scratch.path("run").join(name).exists(), "{name}");
    }
    scratch.write("p.png", &png(28, 28));
    scratch.run("predict run p.png --out out").expect_success();
    scratch.run("evaluate run").expect_success();
    assert!(report().contains("image AUROC") && report().contains("All epochs as a table"));
}

/// Where nothing listens for a request to stop, it is not promised: here while images are read.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_outside_of_training_ends_the_program() {
    let scratch = Scratch::new();
    // Images that take seconds to read.
    for i in 0..40 {
        scratch.write(&format!("parts/{i}.png"), &vast_png(12_000, false));
    }
    let mut command = scratch.command();
    let words = "train folder --data parts --net FCDD_CNN32_S --side 32 --out run";
    let mut child = command.args(words.split(' ')).stderr(Stdio::piped()).spawn().unwrap();
    let open = format!("/proc/{}/fd", child.id());
    let reads = |file: fs::DirEntry| file.path().read_link().is_ok_and(|path| path.extension() == Some("png".as_ref()));
    wait_for(|| fs::read_dir(&open).into_iter().flatten().flatten().any(reads));
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("stopped") && !said.contains("after this step"), "{said}");
}

#[test]
fn folders_of_images_train_and_give_pixel_figures() {
    let scratch = Scratch::new();
    for i in 0..8 {
        scratch.write(&format!("parts/train/good/{i}.png"), &png(40 + i, 36));
    }
    scratch.write("parts/test/good/0.png", &png_with(40, 36, 91));
    scratch.write("parts/test/bad/0.png", &png(90, 90));
    let mask = image::GrayImage::from_fn(90, 90, |x, _| image::Luma([if x < 30 { 255 } else { 0 }]));
    fs::create_dir_all(scratch.path("parts/ground_truth/bad")).unwrap();
    mask.save(scratch.path("parts/ground_truth/bad/0_mask.png")).unwrap();
    let flags = "--net FCDD_CNN32_S --side 32 --epochs 1 --batch 4 --out run --json";
    let report = scratch.run(&format!("train folder --data parts {flags}")).expect_success().json();
    for figure in
        ["image_auroc", "image_average_precision", "image_f1_max", "pixel_auroc", "pixel_average_precision", "pro"]
    {
        assert!(report[figure].is_number(), "{figure}: {report}");
    }
    let evaluated = scratch.run("evaluate run");
    for figure in ["image AUROC", "image AP", "image F1-max", "pixel AUROC", "pixel AP", "PRO"] {
        assert!(evaluated.stdout().lines().any(|l| l.starts_with(figure)), "{figure}: {}", evaluated.stdout());
    }
    assert!(scratch.path("run/roc_pixels.csv").exists());
    // By the highest values, the default, the same weights score higher than by the mean, in training as in prediction.
    scratch
        .run(&format!("train folder --data parts {} --image-score mean", flags.replace("run", "whole")))
        .expect_success();
    let highest = |run: &str| {
        scratch.run(&format!("predict {run} parts/test --out of-{run}")).expect_success();
        let rows = fs::read_to_string(scratch.path(&format!("of-{run}/scores.csv"))).unwrap();
        let row = rows.lines().find(|row| row.contains("bad/0.png")).unwrap().to_string();
        let numbers: Vec<f64> =
            row.split(',').skip(1).step_by(2).take(2).map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    };
    let (top, mean) = (highest("run"), highest("whole"));
    assert!(top.0 > mean.0 && top.1 > mean.1, "score and threshold: {top:?}, {mean:?}");
    // A flat folder of good images: no test set, so no figures, but a model.
    scratch
        .run("train folder --data parts/train/good --net FCDD_CNN32_S --side 32 --epochs 1 --out flat")
        .expect_success();
    scratch.run("predict flat parts/test --out out").expect_success();
    assert_eq!(scratch.files("out").len(), 5);
    scratch.run("evaluate flat").expect_error(&["parts/train/good"]);
    assert!(fs::read_to_string(scratch.path("flat/report.html")).unwrap().contains("the data has no test images"));
    assert!(!scratch.path("flat/maps.npy").exists() && scratch.path("flat/preview.png").exists());
}

#[test]
fn info_and_help_are_quiet() {
    let scratch = Scratch::new();
    let info = scratch.run("info --json").expect_success().json();
    assert_eq!(info["nets"][0]["parameters"], 3457);
    for (words, told) in [
        (
            "--help",
            &[
                "train",
                "evaluate",
                "predict",
                "sweep",
                "compare",
                "demo",
                "verify",
                "bench",
                "info",
                "weights",
                "--threads",
            ][..],
        ),
        (
            "train --help",
            &["--data", "--class", "--out", "--resume", "--outliers", "--noise", "--net", "--side", "--lr"],
        ),
        ("sweep --help", &["--classes", "--seeds", "--shard", "--slurm", "--devices", "--jobs", "--summary", "--lr"]),
        ("compare --help", &["<RUN|MODEL>", "--out", "--viz-ids", "--data", "--json"]),
        ("predict --help", &["[PATH]", "--watch", "--out", "--threshold", "--json", "--device"]),
        ("evaluate --help", &["<RUN|MODEL>", "--data", "--out", "--viz-ids", "--json"]),
        ("verify --help", &["--golden", "--json"]),
        ("demo --help", &["--out", "--epochs", "--seed", "--json"]),
        ("bench --help", &["[NET]", "--task", "--batch", "--side", "--repeats", "--count", "--tiles", "--layers"]),
        ("info", &["FCDD_CNN28", "FCDD_CNN224_VGG_F", "cpu", "cuda"]),
        ("weights", &["https://download.pytorch.org/models/vgg16-397923af.pth", "397923af…", "FCDD_VGG16_MS"]),
    ] {
        let ran = scratch.run(words);
        ran.expect_success();
        assert!(ran.stderr().is_empty(), "{words}: {}", ran.stderr());
        for word in told {
            assert!(ran.stdout().contains(word), "{words} does not tell of {word}: {}", ran.stdout());
        }
    }
}

/// Help tells the defaults of the dataset that is named, what daily use needs first.
#[test]
fn help_is_of_the_dataset() {
    let scratch = Scratch::new();
    let help = |words: &str| {
        let ran = scratch.run(words);
        let told = ran.expect_success().stdout();
        // However it is wrapped.
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (words, epochs, sigma) in [
        ("train --help", 20, 4),
        ("train folder --help", 20, 4),
        ("train mvtec --help", 200, 12),
        ("train --help mvtec --side 32", 200, 12),
        ("sweep cifar10 --help", 600, 1),
    ] {
        let told = help(words);
        assert!(told.contains(&format!("change --schedule with it [default: {epochs}]")), "{words}: {told}");
        assert!(told.contains(&format!("also in training [default: {sigma}")), "{words}: {told}");
    }
    let told = help("train --help");
    let places = [
        "- folder:",
        "- fmnist:",
        "--data <",
        "--out <",
        "--net <",
        "--weights <",
        "--lr <",
        "Paper experiments:",
        "--class <",
    ];
    let places = places.map(|word| told.find(word).unwrap_or_else(|| panic!("{word}: {told}")));
    assert!(places.is_sorted(), "{places:?}");
    assert!(!help("sweep --help").contains("--class <"), "a sweep has --classes");
    let has_class = |words: &str| help(words).contains("of pascalvoc, the anomalous one [default: 0]");
    assert!(has_class("train mvtec --help") && !has_class("train --help"), "a folder is one class");
}

/// `fcdd train DIR` is all that a folder of images needs; nothing is overwritten.
#[test]
fn a_folder_is_named_by_itself() {
    let scratch = Scratch::new().with_folders();
    let flags = "--net FCDD_CNN32_S --side 32 --batch 4 --epochs 1";
    for out in ["parts-run", "parts-run-2"] {
        assert!(scratch.run(&format!("train parts {flags}")).expect_success().stdout().contains(out), "{out}");
        assert!(scratch.path(out).join("model.safetensors").exists(), "{out}");
    }
    let model = |run: &str| fs::read(scratch.path(run).join("model.safetensors")).unwrap();
    scratch.run(&format!("train folder --data ./parts {flags} --out same")).expect_success();
    assert!(model("same") == model("parts-run"));
    scratch.run("train ./nowhere").expect_error(&["nowhere", "--data"]);
    scratch.run("train parts --data other").expect_error(&["parts", "--data other"]);
    let ran = scratch.run("train fashion");
    assert!(ran.0.status.code() == Some(2) && ran.stderr().contains("folder, fmnist, mnist"), "{}", ran.stderr());
    assert!(!scratch.path("nowhere-run").exists());
}

/// Counting runs nothing and needs no device: the figures are those of the paper's net, on a machine without a GPU too.
#[test]
fn bench_counts_and_measures() {
    let scratch = Scratch::new();
    let counted = scratch.run("bench FCDD_CNN224_VGG_F --count --device cuda --json").expect_success().json();
    let train = &counted["counts"][0];
    assert_eq!(
        (train["batch"].as_u64(), train["total"]["flops"].as_u64().map(|f| f / 128 / 1_000_000)),
        (Some(128), Some(22372))
    );
    assert!(train["layers"].as_array().is_some_and(|layers| layers.iter().all(|l| l["launches"].as_u64() >= Some(1))));
    assert!(train["total"]["floor"].is_null());
    let words = "bench FCDD_CNN28 --task infer --batch 2 --repeats 1 --device cpu";
    let timed = scratch.run(&format!("{words} --json")).expect_success().json();
    assert!(timed["peaks"]["bytes_per_second"].as_f64() > Some(0.0));
    let total = &timed["timings"][0]["total"];
    assert!(total["floor"].as_f64() > Some(0.0) && total["seconds"].as_f64() > Some(0.0), "{total}");
    let told = scratch.run(&format!("{words} --layers")).expect_success().stdout();
    for word in ["peaks: copy", "2×28² 1→8 5×5", "% of floor", "total"] {
        assert!(told.contains(word), "{word} in {told}");
    }
}
