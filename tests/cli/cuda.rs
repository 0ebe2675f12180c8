//! The program and its GPU: what it says where there is none, and that it works in the stand-in of the driver.

use std::io::Write;
use std::process::{Command, Stdio};

use fcdd_standin::{Mode, library_dir};

use crate::support::{ON_FOLDERS, Ran, Scratch, wait_for};

/// Runs `fcdd` with the stand-in as its driver and these variables. None where the stand-in was not built, or the program without
/// kernels.
pub fn with_standin(scratch: &Scratch, variables: &[(&str, &str)], words: &str) -> Option<Ran> {
    Some(Ran(on_standin(scratch, variables, words)?.output().unwrap()))
}

/// The command of [`with_standin`].
fn on_standin(scratch: &Scratch, variables: &[(&str, &str)], words: &str) -> Option<Command> {
    let required = std::env::var_os("FCDD_REQUIRE_STANDIN").is_some();
    let info = scratch.run("info").stdout();
    let Some(libraries) = library_dir(Mode::Plain).filter(|_| !info.contains("no kernels in this build")) else {
        assert!(!required, "the stand-in or the kernels were not built");
        // Past the harness, which shows what a test prints only where it fails.
        let _ = writeln!(std::io::stderr(), "skipped: the stand-in or the kernels were not built");
        return None;
    };
    let mut command: Command = scratch.command();
    command.env("LD_LIBRARY_PATH", libraries).envs(variables.iter().copied()).args(words.split_whitespace());
    Some(command)
}

#[test]
fn without_a_gpu_there_is_one_line_and_a_fallback() {
    let scratch = Scratch::new().with_data();
    for (variables, reason, remedy) in [
        (&[("STANDIN_DEVICES", "0")][..], "no GPU", "nvidia-smi"),
        (&[("STANDIN_DRIVER_VERSION", "11040")], "CUDA 11.4", "update the driver"),
    ] {
        let Some(ran) = with_standin(&scratch, variables, "verify --device cuda --golden nowhere") else { return };
        ran.expect_error(&[reason, remedy, "--device cpu"]);
        // Left open, the CPU takes over and says so once.
        let words = "train fmnist --data data --net FCDD_CNN28 --supervise unsupervised --epochs 1";
        let Some(ran) = with_standin(&scratch, variables, words) else { return };
        let said = ran.expect_success().stderr();
        assert_eq!(said.matches("computing on the CPU").count(), 1, "{said}");
    }
}

#[test]
fn info_shows_the_device() {
    let scratch = Scratch::new();
    let Some(ran) = with_standin(&scratch, &[("STANDIN_MEMORY", "512")], "info") else { return };
    let said = ran.stdout();
    for word in ["sm_90", "compute capability 9.0", "512 of 512 MiB free", "driver for CUDA 13.0"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn a_streamed_run_ends_in_the_bits_of_a_held_one() {
    let scratch = Scratch::new().with_folders();
    for hold in ["always", "never"] {
        let words = format!("{ON_FOLDERS} --epochs 2 --device cuda --hold {hold} --out {hold}");
        let Some(ran) = with_standin(&scratch, &[], &words) else { return };
        ran.expect_success();
    }
    assert!(scratch.tensors("always/model.safetensors") == scratch.tensors("never/model.safetensors"));
}

#[test]
fn too_little_memory_names_a_batch_that_fits() {
    let scratch = Scratch::new();
    let words = "bench FCDD_CNN224 --task train --batch 64 --repeats 1 --device cuda";
    let Some(ran) = with_standin(&scratch, &[("STANDIN_MEMORY", "256")], words) else { return };
    ran.expect_error(&["out of GPU memory", "--batch "]);
    // Scoring takes the batch that fits by itself; training gives its memory back before.
    let predict = "bench FCDD_CNN32_S --task predict --repeats 1 --device cuda";
    with_standin(&scratch, &[("STANDIN_MEMORY", "2")], predict).unwrap().expect_success();
    let ran = with_standin(
        &scratch,
        &[("STANDIN_MEMORY", "1")],
        "bench FCDD_CNN224 --task predict --repeats 1 --device cuda",
    );
    ran.unwrap().expect_error(&["out of GPU memory", "--device cpu"]);
}

/// Trains, evaluates and predicts on the GPU what it does on the CPU.
#[test]
fn runs_on_the_gpu_end_as_on_the_cpu() {
    let scratch = Scratch::new().with_data();
    let train = "train fmnist --data data --outliers cifar100:outliers.bin --net FCDD_CNN28 --epochs 2 --batch 16";
    scratch.run(&format!("{train} --device cpu --out cpu")).expect_success();
    let Some(ran) = with_standin(&scratch, &[], &format!("{train} --device cuda --out gpu")) else { return };
    ran.expect_success();
    let [cpu, gpu] = ["cpu", "gpu"].map(|run| {
        let mut rows = csv::Reader::from_path(scratch.path(&format!("{run}/history.csv"))).unwrap();
        rows.deserialize::<std::collections::HashMap<String, String>>()
            .map(|row| row.unwrap()["loss"].parse::<f64>().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(cpu.len(), 2);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        // Some steps apart, from the same batches.
        assert!((cpu / gpu - 1.0).abs() < 1e-3, "losses {cpu} and {gpu}");
    }
    // A second run, in another order of threads and blocks, gives the same bits.
    with_standin(&scratch, &[("STANDIN_ORDER", "7")], &format!("{train} --device cuda --out again"))
        .unwrap()
        .expect_success();
    let weights = |run: &str| std::fs::read(scratch.path(&format!("{run}/model.safetensors"))).unwrap();
    assert!(weights("gpu") == weights("again"), "two trainings on the GPU differ");
    with_standin(&scratch, &[], "evaluate gpu --device cuda").unwrap().expect_success();
}

/// A training on a GPU that is stopped within an epoch goes on to the bits of one that was not; so does one that keeps its best epoch, after
/// each of which the network in training scores what is held out.
#[cfg(unix)]
#[test]
fn a_stop_in_mid_epoch_resumes_to_the_same_bits() {
    let words =
        "train fmnist --data data --outliers cifar100:outliers.bin --net FCDD_CNN28 --epochs 2 --batch 4 --device cuda";
    let scratch = Scratch::new().with_data();
    stopped_and_resumed(&scratch, &format!("{words} --passes 4"));
    let scratch = Scratch::new().with_data().with_more_images();
    stopped_and_resumed(&scratch, &format!("{words} --passes 2 --patience 2"));
}

#[cfg(unix)]
fn stopped_and_resumed(scratch: &Scratch, words: &str) {
    let Some(ran) = with_standin(scratch, &[], &format!("{words} --out whole")) else { return };
    ran.expect_success();
    // How long a step takes is the machine's: some wait ends within an epoch.
    let cut = [500, 250, 1000, 100, 2000, 4000].into_iter().find_map(|wait| {
        let cut = format!("cut-{wait}");
        let mut command = on_standin(scratch, &[], &format!("{words} --out {cut}")).unwrap();
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait_for(|| scratch.path(&cut).join("preview.png").exists());
        std::thread::sleep(std::time::Duration::from_millis(wait));
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let is_stopped = child.wait().unwrap().code() == Some(130);
        (is_stopped && scratch.was_stopped_within_an_epoch(&cut)).then_some(cut)
    });
    let cut = cut.expect("no training was stopped within an epoch");
    with_standin(scratch, &[], &format!("train --resume {cut} --device cuda")).unwrap().expect_success();
    for name in ["model.safetensors", "state.safetensors"] {
        assert!(scratch.tensors(&format!("{cut}/{name}")) == scratch.tensors(&format!("whole/{name}")), "{name}");
    }
}

/// `bench` copies an eighth of the free memory to empty the caches.
const LITTLE_TO_COPY: (&str, &str) = ("STANDIN_MEMORY", "512");

/// Every way in which a GPU is timed, each with the peaks, floors and steps of before.
#[test]
fn bench_times_a_gpu_in_each_way() {
    let scratch = Scratch::new();
    let words = "bench FCDD_CNN28 --device cuda --precision bf16 --batch 2 --repeats 1 --json";
    let Some(ran) = with_standin(&scratch, &[LITTLE_TO_COPY], words) else { return };
    let found = ran.expect_success().json();
    assert!(found["peaks"]["flops_per_second"].as_f64() > Some(0.0));
    let timings = found["timings"].as_array().unwrap();
    let ways: Vec<[&str; 2]> = timings.iter().map(|t| ["task", "how"].map(|key| t[key].as_str().unwrap())).collect();
    let [fixed, drawn, cold] = ["graph, fixed batch", "graph, batches drawn", "launch by launch, inputs cold"];
    assert_eq!(ways, [["train", fixed], ["train", drawn], ["infer", fixed], ["infer", cold]]);
    for timing in timings {
        let how = timing["how"].as_str().unwrap();
        assert_eq!(timing["mode"], format!("fcdd cuda bf16, {how}"));
        assert_eq!(timing["seconds"].as_array().map(Vec::len), Some(1));
        for key in ["floor", "seconds"] {
            assert!(timing["total"][key].as_f64() > Some(0.0), "{timing}");
        }
    }
}

/// What is switched on is compared with what is not before it is timed: in a net with layers that warpgroups multiply.
#[test]
fn bench_compares_what_is_switched_on() {
    let scratch = Scratch::new();
    let switches = [("FCDD_WGMMA", "1"), ("FCDD_PDL", "1"), LITTLE_TO_COPY];
    let words = "bench FCDD_CNN28_W --side 8 --device cuda --precision bf16 --batch 2 --repeats 1 --json";
    let Some(ran) = with_standin(&scratch, &switches, words) else { return };
    let found = ran.expect_success().json();
    let mode = found["timings"][0]["mode"].as_str().unwrap();
    assert!(mode.starts_with("fcdd cuda bf16 pdl"), "{mode}");
}

#[test]
fn bench_times_tiles() {
    let scratch = Scratch::new();
    let words = "bench FCDD_CNN28 --tiles --device cuda --batch 2 --repeats 1";
    let Some(ran) = with_standin(&scratch, &[LITTLE_TO_COPY], words) else { return };
    let found = ran.expect_success().json();
    let tiles = found["tiles"].as_array().unwrap();
    for (pass, layers) in [("conv_fprop", 2), ("conv_dgrad", 1), ("conv_wgrad", 2)] {
        let chosen = tiles.iter().filter(|t| t["pass"] == pass && t["chosen"] == true);
        assert_eq!(chosen.count(), layers, "{pass}");
    }
    assert!(tiles.iter().all(|t| t["median"].as_f64() > Some(0.0) && t["geometry"]["n"] == 2), "{tiles:?}");
    scratch.run(&words.replace("cuda", "cpu")).expect_error(&["--tiles", "--device"]);
}
