//! `verify` over the compact golden part, and over folders with something wrong in them.

use std::fs;
use std::path::{Path, PathBuf};

use fcdd::Error;
use fcdd::device::Device;
use fcdd::run::verify::{Check, CheckCounts, CheckOutcome, VerifyOptions, verify};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All checks of a folder.
fn checks(folder: &Path) -> Result<(CheckCounts, Vec<Check>), Error> {
    let mut checks = Vec::new();
    let summary = verify(&VerifyOptions { golden: Some(folder.to_path_buf()), device: Device::Cpu }, &mut |check| {
        checks.push(check.clone())
    })?;
    Ok((summary, checks))
}

fn of(checks: &[Check], outcome: CheckOutcome) -> Vec<&Check> {
    checks.iter().filter(|check| check.outcome == outcome).collect()
}

/// A folder with the given files of the compact part; the manifest still lists all.
fn copy(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.iter().chain(&["manifest.json"]) {
        fs::copy(golden().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// Replaces one value of an f32 tensor in a file.
fn poke(path: &Path, tensor: &str, element: usize, value: impl Fn(f32) -> f32) {
    let mut bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let listed: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = 8 + header + listed[tensor]["data_offsets"][0].as_u64().unwrap() as usize + 4 * element;
    let old = f32::from_le_bytes(bytes[start..start + 4].try_into().unwrap());
    bytes[start..start + 4].copy_from_slice(&value(old).to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// Changes the manifest.
fn edit(folder: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = folder.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn the_compact_part_passes() {
    let (summary, all) = checks(&golden()).unwrap();
    assert!(of(&all, CheckOutcome::Failed).is_empty(), "{:#?}", of(&all, CheckOutcome::Failed));
    assert!(summary.passed >= 310, "{summary:?}");
    // Skipped are only the tensors that are there for information.
    assert!(of(&all, CheckOutcome::Skipped).iter().all(|check| check.name.contains("f32_torch")));
    for kind in ["net_", "optim_", "loss_fcdd", "receptive_upsample", "gkern", "lcn", "roc", "heatmap_norm"] {
        assert!(all.iter().any(|check| check.name.starts_with(kind)), "{kind}");
    }
    for key in ["f64 out_train", "f32 grad/conv2.weight", "f64 act_stats/pool2", "f32 score_eval", "conv_dgrad dx"] {
        assert!(all.iter().any(|check| check.name.starts_with("net_") && check.name.ends_with(key)), "{key}");
    }
    let size: u64 = fs::read_dir(golden()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(size <= 1 << 20, "the compact part has grown to {size} bytes");
}

#[test]
fn a_wrong_number_fails_its_own_check() {
    for (file, tensor, element) in [
        ("net_FCDD_CNN28.safetensors", "grad/conv2.weight", 77),
        ("net_FCDD_CNN28.safetensors", "act_first64/pool1", 3),
        ("net_FCDD_CNN28.safetensors", "buffer_after/bn2d1.running_var", 5),
        ("loss_fcdd.safetensors", "h7/labels_mixed_tiny1e-4/per_sample", 1),
        ("lcn.safetensors", "c1_28/l2", 100),
        ("receptive_upsample.safetensors", "FCDD_CNN28/nearest", 7),
        ("optim_FCDD_CNN32_S.safetensors", "adam_lambda/step2/param/bn2d2.bias", 9),
    ] {
        let folder = copy(&[file]);
        // A part in ten thousand of a value, and something where the value is zero.
        poke(&folder.path().join(file), tensor, element, |v| v * 1.0001 + 1e-3 * v.abs().max(1e-2));
        let (summary, all) = checks(folder.path()).unwrap();
        assert!(summary.failed >= 1, "{tensor}");
        for check in of(&all, CheckOutcome::Failed) {
            assert!(check.name.ends_with(tensor), "{check:?}");
            assert!(check.error > check.bound);
        }
    }
}

#[test]
fn a_wrong_parameter_fails() {
    let folder = copy(&["net_FCDD_CNN28.safetensors"]);
    let file = folder.path().join("net_FCDD_CNN28.safetensors");
    poke(&file, "param/conv1.weight", 0, |w| w + 0.01);
    assert!(checks(folder.path()).unwrap().0.failed > 20);
}

#[test]
fn absent_and_unlisted_files_are_named() {
    let folder = copy(&["lcn.safetensors"]);
    fs::copy(golden().join("gkern.safetensors"), folder.path().join("extra.safetensors")).unwrap();
    let (summary, all) = checks(folder.path()).unwrap();
    assert_eq!(summary.failed, 0);
    let skipped: Vec<String> =
        of(&all, CheckOutcome::Skipped).iter().map(|c| format!("{}: {}", c.name, c.detail)).collect();
    assert!(
        skipped.iter().any(|s| s.starts_with("roc.safetensors") && s.contains("not in this folder")),
        "{skipped:?}"
    );
    assert!(skipped.iter().any(|s| s.starts_with("extra.safetensors") && s.contains("not listed")), "{skipped:?}");
}

#[test]
fn unknown_kinds_and_tensors_are_skipped_by_name() {
    let folder = copy(&["lcn.safetensors", "net_FCDD_CNN28.safetensors"]);
    edit(folder.path(), |manifest| {
        let files = manifest["files"].as_object_mut().unwrap();
        let net = files.get_mut("net_FCDD_CNN28.safetensors").unwrap();
        net["objective"] = "diffusion".into();
    });
    let (_, all) = checks(folder.path()).unwrap();
    assert!(of(&all, CheckOutcome::Skipped).iter().any(|c| c.name == "net_FCDD_CNN28"));

    let folder = copy(&["lcn.safetensors"]);
    let file = folder.path().join("lcn.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|w| w == b"c1_28/l1").unwrap();
    bytes[at + 7] = b'9';
    fs::write(&file, bytes).unwrap();
    edit(folder.path(), |manifest| {
        let keys = manifest["files"]["lcn.safetensors"]["keys"].as_object_mut().unwrap();
        keys.remove("c1_28/l1");
    });
    let (_, all) = checks(folder.path()).unwrap();
    assert!(of(&all, CheckOutcome::Skipped).iter().any(|c| c.name == "lcn c1_28/l9"), "{all:?}");
}

#[test]
fn bad_folders_are_errors_that_name_file_and_fault() {
    let error = |folder: &Path| checks(folder).unwrap_err().to_string();
    let net = "net_FCDD_CNN28.safetensors";

    let empty = tempfile::tempdir().unwrap();
    assert!(error(empty.path()).contains("manifest.json"));
    assert!(error(&empty.path().join("nowhere")).contains("nowhere"));

    let folder = copy(&[]);
    fs::write(folder.path().join("manifest.json"), "{\"files\": 3}").unwrap();
    assert!(error(folder.path()).contains("not a golden manifest"));

    for cut in [0, 5, 100, 30_000, 60_363] {
        let folder = copy(&[net]);
        let bytes = fs::read(golden().join(net)).unwrap();
        fs::write(folder.path().join(net), &bytes[..cut]).unwrap();
        let message = error(folder.path());
        assert!(message.contains(net) && message.contains("not a complete"), "{message}");
    }

    for value in [f32::NAN, f32::INFINITY] {
        let folder = copy(&[net]);
        poke(&folder.path().join(net), "out_eval", 2, |_| value);
        let message = error(folder.path());
        assert!(message.contains(net) && message.contains("out_eval") && message.contains("element 2"), "{message}");
    }

    let folder = copy(&[net]);
    edit(folder.path(), |m| m["files"][net]["keys"]["input"]["shape"] = vec![4, 1, 14, 56].into());
    assert!(error(folder.path()).contains("'input' has shape [4, 1, 28, 28]"));

    let folder = copy(&[net]);
    edit(folder.path(), |m| m["files"][net]["keys"]["labels"]["dtype"] = "float32".into());
    assert!(error(folder.path()).contains("'labels' is int64"));

    let folder = copy(&[net]);
    edit(folder.path(), |m| m["files"][net]["keys"]["grad/conv9.weight"] = serde_json::json!({"shape": [1]}));
    assert!(error(folder.path()).contains("no tensor 'grad/conv9.weight'"));

    // Another net's parameters.
    let folder = copy(&[net]);
    edit(folder.path(), |m| m["files"][net]["net"] = "FCDD_CNN28_W".into());
    assert!(error(folder.path()).contains("conv1.weight"));
}
