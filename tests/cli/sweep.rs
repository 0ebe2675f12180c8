//! `fcdd sweep` and `fcdd compare`.

use std::fs;
use std::process::Stdio;

use crate::cuda::with_standin;
use crate::support::{ON_FOLDERS, Ran, Scratch, gzip, idx, png, png_with, wait_for};

const SWEEP: &str = "sweep fmnist --data data --net FCDD_CNN28 --batch 32 --epochs 2 --outliers cifar100:outliers.bin";

/// Two classes with two seeds each.
fn sweep(scratch: &Scratch, flags: &str) -> Ran {
    scratch.run(&format!("{SWEEP} --classes 0,trouser --seeds 2 {flags}"))
}

/// One run with the settings of the sweeps.
fn train(scratch: &Scratch, flags: &str) -> Ran {
    scratch.run(&format!("{} {flags}", SWEEP.replace("sweep", "train")))
}

fn model(scratch: &Scratch, run: &str) -> Vec<u8> {
    fs::read(scratch.path(&format!("{run}/model.safetensors"))).unwrap()
}

const RUNS: [&str; 4] = ["normal_t-shirt/it_0", "normal_trouser/it_0", "normal_t-shirt/it_1", "normal_trouser/it_1"];

/// As `train` and `evaluate` do.
#[test]
fn compare_leaves_out_what_cannot_be_read() {
    let scratch = Scratch::new().with_folders();
    scratch.run(&format!("{ON_FOLDERS} --epochs 1 --out run")).expect_success();
    scratch.write("parts/test/good/broken.png", b"none");
    scratch.run("compare run run --out compared").expect_error(&["broken.png", "--skip-broken"]);
    let ran = scratch.run("compare run run --out compared --skip-broken");
    assert!(ran.expect_success().stderr().contains("broken.png"), "{}", ran.stderr());
}

#[test]
fn a_sweep_is_runs_and_a_summary() {
    let scratch = Scratch::new().with_data();
    let summary = sweep(&scratch, "--out sweep --json").expect_success().json();
    assert_eq!(summary["missing"].as_array().unwrap().len(), 0);
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len() as f64;
    let mut of_classes = Vec::new();
    for class in summary["classes"].as_array().unwrap() {
        assert_eq!(class["seeds"], serde_json::json!([0, 1]));
        let figure = &class["figures"][0];
        // The figures of the runs themselves.
        let runs = [0, 1].map(|seed| {
            let path =
                scratch.path(&format!("sweep/normal_{}/it_{seed}/evaluation.json", class["name"].as_str().unwrap()));
            let evaluation: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            evaluation["image_auroc"].as_f64().unwrap()
        });
        assert_eq!(figure["values"], serde_json::json!(runs));
        assert_eq!(figure["mean"].as_f64().unwrap(), mean(&runs));
        of_classes.push(mean(&runs));
    }
    assert_eq!(summary["overall"][0]["mean"].as_f64().unwrap(), mean(&of_classes));
    let markdown = fs::read_to_string(scratch.path("sweep/summary.md")).unwrap();
    assert!(markdown.contains("| t-shirt | 2 |") && markdown.contains("0.82") && markdown.contains("orientation only"));
    assert_eq!(fs::read_to_string(scratch.path("sweep/summary.csv")).unwrap().lines().count(), 1 + 2 + 1);
    let page = fs::read_to_string(scratch.path("sweep/report.html")).unwrap();
    for run in RUNS {
        assert!(page.contains(&format!("href=\"{run}/report.html\"")), "{run}");
        assert!(scratch.path(&format!("sweep/{run}/report.html")).exists(), "{run}");
    }
    for plot in ["roc.svg", "normal_trouser/roc.svg"] {
        assert!(fs::read_to_string(scratch.path("sweep").join(plot)).unwrap().contains("area"), "{plot}");
    }
    // No plot is of fewer runs than the figures, and no figure of fewer runs than there are curves.
    let of_run = |name: &str| scratch.path(&format!("sweep/{}/{name}", RUNS[1]));
    let before = ["roc.csv", "evaluation.json"].map(|name| fs::read(of_run(name)).unwrap());
    let figures = String::from_utf8(before[1].clone()).unwrap();
    let area = figures.split("\"image_auroc\": ").nth(1).unwrap().split(',').next().unwrap();
    for lost in ["roc.csv", "evaluation.json"] {
        match lost {
            "roc.csv" => fs::remove_file(of_run(lost)).unwrap(),
            _ => fs::write(of_run(lost), figures.replacen(area, "null", 1)).unwrap(),
        }
        sweep(&scratch, "--out sweep").expect_success();
        assert!(["roc.csv", "evaluation.json"].map(|name| fs::read(of_run(name)).unwrap()) == before, "{lost}");
    }
    // A run of a sweep is the run that `train` makes.
    train(&scratch, "--class t-shirt --seed 1 --out single").expect_success();
    assert!(model(&scratch, "single") == model(&scratch, "sweep/normal_t-shirt/it_1"));

    // Several at once end in the same bits, in two parts.
    let first = sweep(&scratch, "--out parts --jobs 2 --shard 1/2");
    assert!(first.expect_success().stderr().contains("2 of the sweep's runs are not finished"), "{}", first.stderr());
    sweep(&scratch, "--out parts --jobs 2 --shard 2/2").expect_success();
    for run in RUNS {
        assert!(model(&scratch, &format!("parts/{run}")) == model(&scratch, &format!("sweep/{run}")), "{run}");
    }
    let read = |folder: &str, name: &str| fs::read(scratch.path(folder).join(name)).unwrap();
    assert_eq!(read("parts", "summary.csv"), read("sweep", "summary.csv"));

    // Again: nothing to do, and other settings are another sweep.
    let untouched =
        fs::metadata(scratch.path("sweep").join(RUNS[0]).join("model.safetensors")).unwrap().modified().unwrap();
    let again = sweep(&scratch, "--out sweep");
    assert!(again.expect_success().stderr().contains("0 of 4 runs to do"), "{}", again.stderr());
    let now = fs::metadata(scratch.path("sweep").join(RUNS[0]).join("model.safetensors")).unwrap().modified().unwrap();
    assert_eq!(now, untouched);
    sweep(&scratch, "--out sweep --lr 0.5").expect_error(&[
        "other settings",
        "lr 0.01 there, 0.5 now",
        "another --out",
    ]);
    scratch.run("sweep --summary sweep").expect_success();
    scratch.run("sweep --summary data").expect_error(&["data", "not the folder of a sweep"]);
    scratch.run("sweep --summary sweep --lr 1").expect_error(&["--summary"]);
}

#[test]
fn one_failing_run_does_not_lose_the_others() {
    let scratch = Scratch::new().with_data();
    // Where the run of one class would lie is a file.
    scratch.write("sweep/normal_t-shirt", b"");
    let ran = sweep(&scratch, "--out sweep");
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
    assert!(ran.stderr().contains("error: class t-shirt, seed 1:"), "{}", ran.stderr());
    assert!(ran.stdout().contains("trouser") && scratch.path("sweep/normal_trouser/it_1/report.html").exists());
    // A run that someone else has put there.
    scratch.train("--epochs 1 --out other/normal_t-shirt/it_1").expect_success();
    sweep(&scratch, "--out other").expect_error(&["normal_t-shirt/it_1", "epochs 1 there, 2 now"]);
    assert!(!scratch.path("other/normal_trouser").exists(), "nothing is begun");
    assert!(!scratch.path("other/sweep.json").exists(), "nor is this the sweep of the folder");
}

#[test]
fn a_killed_sweep_goes_on_where_it_was() {
    let scratch = Scratch::new().with_data();
    let words = format!("{} --classes 0 --seeds 2 --out cut", SWEEP.replace("--epochs 2", "--epochs 60"));
    let mut child =
        scratch.command().args(words.split_whitespace()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| scratch.path("cut/normal_t-shirt/it_1/history.csv").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    scratch.run("sweep --summary cut").expect_success();
    scratch.run(&words).expect_success();
    scratch.run(&words.replace("cut", "whole")).expect_success();
    for seed in 0..2 {
        let run = |sweep: &str| model(&scratch, &format!("{sweep}/normal_t-shirt/it_{seed}"));
        assert!(run("cut") == run("whole"), "seed {seed}");
    }
    // A program that is killed right after its last file leaves a lock in a run that is finished.
    let lock = scratch.write("cut/normal_t-shirt/it_0/.fcdd.lock", b"");
    scratch.run(&words).expect_success();
    assert!(!lock.exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_sweep_says_how_to_go_on() {
    let scratch = Scratch::new().with_data();
    let words = SWEEP.replace("--epochs 2", "--epochs 100000") + " --classes 0,1 --seeds 1 --out sweep --jobs 2";
    let mut command = scratch.command();
    let child = command.args(words.split_whitespace()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(|| RUNS[..2].iter().all(|run| scratch.path("sweep").join(run).join("state.safetensors").exists()));
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran(child.wait_with_output().unwrap());
    assert_eq!(ran.0.status.code(), Some(130), "{}", ran.stderr());
    assert!(ran.stderr().contains("give the same command again"), "{}", ran.stderr());
    for run in &RUNS[..2] {
        assert!(scratch.path("sweep").join(run).join("model.safetensors").exists(), "{run}");
    }
}

#[test]
fn slurm_gets_a_script() {
    let scratch = Scratch::new().with_data();
    let ran = sweep(&scratch, "--out sweep --devices cpu --slurm");
    assert!(ran.expect_success().stdout().contains("sbatch"), "{}", ran.stdout());
    let script = fs::read_to_string(scratch.path("sweep/slurm.sh")).unwrap();
    assert!(
        script.contains("#SBATCH --array=1-4") && script.contains("--classes t-shirt,trouser --seeds 2"),
        "{script}"
    );
    assert!(!scratch.path("sweep/normal_t-shirt").exists(), "nothing is trained");
    // A task of the array, as Slurm would start it, from another folder.
    let task = std::process::Command::new("bash")
        .arg(scratch.path("sweep/slurm.sh"))
        .current_dir("/")
        .envs([("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MAX", "4"), ("SLURM_CPUS_PER_TASK", "1")])
        .output()
        .unwrap();
    Ran(task).expect_success();
    assert!(scratch.path("sweep").join(RUNS[1]).join("report.html").exists());
    // One failed task again: sbatch --array=3.
    let task = std::process::Command::new("bash")
        .arg(scratch.path("sweep/slurm.sh"))
        .envs([("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_MAX", "3"), ("SLURM_CPUS_PER_TASK", "1")])
        .output()
        .unwrap();
    Ran(task).expect_success();
    assert!(scratch.path("sweep").join(RUNS[2]).join("report.html").exists());
}

/// A run whose state is damaged begins again, instead of failing at every call.
#[test]
fn a_damaged_state_does_not_fail_a_run_for_ever() {
    let scratch = Scratch::new().with_data();
    sweep(&scratch, "--out sweep --devices cpu").expect_success();
    let run = scratch.path("sweep").join(RUNS[1]);
    let [table, weights] = ["sweep/summary.csv".into(), format!("sweep/{}/model.safetensors", RUNS[1])];
    let before = [&table, &weights].map(|name| fs::read(scratch.path(name)).unwrap());
    let state = fs::read(run.join("state.safetensors")).unwrap();
    fs::write(run.join("state.safetensors"), &state[..state.len() / 2]).unwrap();
    fs::remove_file(run.join("evaluation.json")).unwrap();
    let again = sweep(&scratch, "--out sweep --devices cpu");
    assert!(again.expect_success().stderr().contains("its state is damaged"), "{}", again.stderr());
    assert_eq!([&table, &weights].map(|name| fs::read(scratch.path(name)).unwrap()), before);
}

fn copy(scratch: &Scratch, from: &str, to: &str) {
    for name in scratch.files(from) {
        scratch.write(&format!("{to}/{name}"), &fs::read(scratch.path(from).join(&name)).unwrap());
    }
}

/// What lies where a run of a sweep belongs may be of another seed, damaged, or tested on other images.
#[test]
fn runs_that_are_not_the_sweeps_own_do_not_count() {
    let scratch = Scratch::new().with_data();
    let once = |flags: &str| {
        let words = if flags.contains("--data") { SWEEP.replace("--data data", "") } else { SWEEP.to_string() };
        scratch.run(&format!("{words} --classes trouser --devices cpu {flags}"))
    };
    once("--seeds 2 --out sweep").expect_success();
    let file = |name: &str| scratch.path("sweep/normal_trouser").join(name);
    let table = || fs::read_to_string(scratch.path("sweep/summary.csv")).unwrap();
    let whole = table();

    // Figures on other images are not the sweep's, and are made again.
    copy(&scratch, "data", "moved");
    scratch.run("evaluate sweep/normal_trouser/it_1 --data moved --device cpu").expect_success();
    let summary = scratch.run("sweep --summary sweep");
    assert!(summary.expect_success().stderr().contains("class trouser, seed 1"), "{}", summary.stderr());
    once("--seeds 2 --out sweep").expect_success();
    assert_eq!(table(), whole);

    // The same images elsewhere are the same; others are not.
    once("--seeds 2 --out sweep --data moved").expect_success();
    copy(&scratch, "data", "other");
    let mut images = idx(96).0;
    images[16..].iter_mut().for_each(|byte| *byte ^= 1);
    scratch.write("other/train-images-idx3-ubyte.gz", &gzip(&images));
    once("--seeds 3 --out sweep --data other").expect_error(&["it_0", "are not those that the run began with"]);
    assert!(!file("it_2").exists());

    // A damaged evaluation is made again.
    fs::write(file("it_0/evaluation.json"), "{").unwrap();
    once("--seeds 2 --out sweep --data moved").expect_success();
    assert_eq!(table(), whole);

    // So are figures of another model, and some that there cannot be.
    let own = fs::read_to_string(file("it_1/evaluation.json")).unwrap();
    let auroc = own.lines().find(|line| line.contains("\"image_auroc\"")).unwrap();
    for figures in [
        fs::read_to_string(file("it_0/evaluation.json")).unwrap(),
        own.replace(auroc, "\"image_auroc\": 7,"),
        own.replace(auroc, "\"image_auroc\": null,"),
    ] {
        fs::write(file("it_1/evaluation.json"), figures).unwrap();
        let summary = scratch.run("sweep --summary sweep");
        assert!(summary.expect_success().stderr().contains("class trouser, seed 1"), "{}", summary.stderr());
        once("--seeds 2 --out sweep --data moved").expect_success();
        assert_eq!(table(), whole);
    }

    // Damaged settings fail their own run alone.
    let settings = fs::read(file("it_0/config.json")).unwrap();
    fs::write(file("it_0/config.json"), "{\"da\u{1b}[2Jta\": 1").unwrap();
    let ran = once("--seeds 3 --out sweep --data moved");
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
    assert!(
        ran.stderr().contains("error: class trouser, seed 0:") && file("it_2/report.html").exists(),
        "{}",
        ran.stderr()
    );
    assert!(!ran.stderr().contains('\u{1b}'));
    fs::write(file("it_0/config.json"), settings).unwrap();

    // A run of another seed.
    fs::remove_dir_all(file("it_1")).unwrap();
    copy(&scratch, "sweep/normal_trouser/it_0", "sweep/normal_trouser/it_1");
    once("--seeds 2 --out sweep --data moved").expect_error(&["it_1", "seed 0 there, 1 now"]);
    let summary = scratch.run("sweep --summary sweep");
    assert!(summary.expect_success().stderr().contains("seed 0 there, 1 now"), "{}", summary.stderr());
}

#[test]
fn words_of_a_sweep_that_cannot_be() {
    let scratch = Scratch::new().with_data();
    sweep(&scratch, "--out s --shard 3/2").0.status.code().filter(|&code| code == 2).unwrap();
    scratch.run("sweep --out s").expect_error(&["no dataset is named"]);
    scratch.run(&format!("{SWEEP} --classes hat --out s")).expect_error(&["'hat'", "bag"]);
    assert!(scratch.files("s").is_empty());
}

/// Nothing is trained for a table that would be empty.
#[test]
fn runs_that_cannot_be_compared_are_not_begun() {
    let scratch = Scratch::new();
    for i in 0..4 {
        scratch.write(&format!("parts/train/good/{i}.png"), &png(28, 28));
    }
    let words = "sweep parts --seeds 1 --net FCDD_CNN28 --side 28 --epochs 1 --out sweep";
    for (test, there) in [(None, "0 normal and 0 anomalous"), (Some("good"), "1 normal and 0 anomalous")] {
        test.map(|folder| scratch.write(&format!("parts/test/{folder}/0.png"), &png_with(28, 28, 91)));
        let ran = scratch.run(words);
        assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
        assert!(
            ran.stderr().contains("compared by their test images") && ran.stderr().contains(there),
            "{}",
            ran.stderr()
        );
        assert!(!ran.stderr().contains("finished after"), "{}", ran.stderr());
    }
    scratch.write("parts/test/hole/0.png", &png_with(28, 28, 200));
    scratch.run(words).expect_success();
    let again = scratch.run(words);
    assert!(again.expect_success().stderr().contains("0 of 1 runs to do"), "{}", again.stderr());
}

/// Runs share a GPU, and there may be several GPUs.
#[test]
fn runs_at_once_on_one_gpu_and_on_two_end_in_the_same_bits() {
    let scratch = Scratch::new().with_data();
    let words = format!("{SWEEP} --classes 0 --seeds 2");
    for (out, flags) in [("one", "--devices 0"), ("both", "--devices 0 --jobs 2"), ("two", "--devices 0,1")] {
        let Some(ran) = with_standin(&scratch, &[("STANDIN_DEVICES", "2")], &format!("{words} {flags} --out {out}"))
        else {
            return;
        };
        ran.expect_success();
    }
    for seed in 0..2 {
        let run = |sweep: &str| model(&scratch, &format!("{sweep}/normal_t-shirt/it_{seed}"));
        assert!(run("one") == run("both") && run("one") == run("two"), "seed {seed}");
    }
    let ran = with_standin(&scratch, &[("STANDIN_DEVICES", "2")], &format!("{words} --devices 2 --out none"));
    ran.unwrap().expect_error(&["no GPU 2", "sees 2"]);
}

#[test]
fn compare_lays_models_side_by_side() {
    let scratch = Scratch::new().with_run();
    scratch.train("--epochs 1 --side 32 --seed 1 --out larger").expect_success();
    let compared = scratch.run("compare run larger/model.safetensors --viz-ids 3,4 --out compared --json");
    let compared = compared.expect_success().json();
    assert_eq!((compared[0]["run"].as_str(), compared[1]["side"].as_u64()), (Some("run"), Some(32)));
    let evaluation: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.path("larger/evaluation.json")).unwrap()).unwrap();
    assert_eq!(compared[1]["image_auroc"], evaluation["image_auroc"]);
    assert_eq!(scratch.files("compared"), ["compare.csv", "compare.png"]);
    assert_eq!(fs::read_to_string(scratch.path("compared/compare.csv")).unwrap().lines().count(), 3);
    let height = |folder: &str| image::open(scratch.path(folder).join("compare.png")).unwrap().height();
    scratch.run("compare run larger --data data --out all").expect_success();
    assert!(height("all") > 3 * height("compared"), "six images per label instead of two");

    train(&scratch, "--class 1 --out other").expect_success();
    scratch.run("compare run other --out none").expect_error(&["run and other have different test images", "--data"]);
    scratch.run("compare run --viz-ids 99 --out none").expect_error(&["no test image 99"]);
    assert!(!scratch.path("none").exists());

    // Images with masks, of any shape.
    for i in 0..4 {
        scratch.write(&format!("parts/train/good/{i}.png"), &png(40 + i, 36));
    }
    scratch.write("parts/test/good/0.png", &png(40, 36));
    scratch.write("parts/test/bad/0.png", &png(90, 60));
    fs::create_dir_all(scratch.path("parts/ground_truth/bad")).unwrap();
    let mask = image::GrayImage::from_fn(90, 60, |x, _| image::Luma([if x < 30 { 255 } else { 0 }]));
    mask.save(scratch.path("parts/ground_truth/bad/0_mask.png")).unwrap();
    for side in [32, 48] {
        let words =
            format!("train folder --data parts --net FCDD_CNN32_S --side {side} --epochs 1 --batch 4 --out p{side}");
        scratch.run(&words).expect_success();
    }
    let ran = scratch.run("compare p32 p48 --out masks");
    assert!(ran.expect_success().stdout().contains("PRO"), "{}", ran.stdout());
    let words = "train parts/train/good --net FCDD_CNN32_S --side 32 --epochs 1 --batch 4 --out untested";
    scratch.run(words).expect_success();
    for runs in ["p32 untested", "untested p32"] {
        scratch
            .run(&format!("compare {runs} --out none"))
            .expect_error(&["error: untested:", "good: holds no test images"]);
    }
}
