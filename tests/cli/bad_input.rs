//! Bad input: one clear line that names the file and the remedy, exit code 2, nothing half-written.

use std::fs;

use safetensors::SafeTensors;

use crate::import::in_golden;
use crate::support::{Ran, Scratch, gzip, idx, png, without_checksum};

#[test]
fn a_missing_data_folder() {
    let scratch = Scratch::new();
    let words = "train fmnist --data nowhere --class 0 --noise uniform --supervise noise --out run";
    scratch.run(words).expect_error(&["nowhere", "--data"]);
    assert!(scratch.files("run").is_empty(), "no run was begun");
    // Nor is work announced that does not begin.
    for words in [words, "predict nowhere p.png --out out", "verify --golden nowhere", "bench nowhere"] {
        let said = scratch.run(words).stderr();
        assert!(said.contains("nowhere") && !said.contains("computing on"), "{words}: {said}");
    }
}

#[test]
fn objectives_refuse_what_is_not_theirs() {
    let scratch = Scratch::new().with_data();
    let train = |flags: &str| scratch.run(&format!("train fmnist --data data --out run {flags}"));
    train("--objective hsc --net FCDD_CNN28").expect_error(&["FCDD_CNN28", "--objective fcdd", "CNN28"]);
    train("--net AE28").expect_error(&["AE28", "--objective ae"]);
    train("--objective ae --supervise noise --noise uniform").expect_error(&["--supervise", "unsupervised"]);
    train("--objective ae --outliers cifar100:outliers.bin").expect_error(&["--outliers"]);
    train("--objective hsc --maps true").expect_error(&["--maps"]);
    train("--gradient xgrad").expect_error(&["--gradient", "hsc"]);
    train("--objective hsc --image-score max").expect_error(&["--image-score", "hsc"]);
    train("--objective hsc --side 32").expect_error(&["--side 28"]);
    assert!(scratch.files("run").is_empty());
}

/// A norm made 0 of a single value, whatever it was: of 48 images batches of 47 leave one.
#[test]
fn a_batch_of_which_norms_see_one_value() {
    let scratch = Scratch::new().with_data();
    let train = |flags: &str| {
        let net = "--objective hsc --net CNN32 --side 32 --outliers cifar100:outliers.bin";
        scratch.run(&format!("train fmnist --data data --class 0 --epochs 1 {net} {flags}"))
    };
    for flags in ["--batch 1", "--batch 47"] {
        let words = ["(norm bn1d1) has one value per channel", "choose a --batch of 2 or more", "add images"];
        train(&format!("--out run {flags}")).expect_error(&words);
    }
    assert!(scratch.files("run").is_empty());
    // What is left of an epoch may be more, and one image may have more than one value.
    train("--batch 46 --out two").expect_success();
    train("--batch 47 --passes 2 --out twice").expect_success();
    let maps = "train fmnist --data data --class 0 --epochs 1 --net FCDD_CNN28 --outliers cifar100:outliers.bin";
    scratch.run(&format!("{maps} --batch 47 --out maps")).expect_success();
}

#[test]
fn missing_outliers() {
    let scratch = Scratch::new().with_data();
    scratch
        .run("train fmnist --data data --class 0 --net FCDD_CNN28 --outliers cifar100:none.bin --out run")
        .expect_error(&["none.bin"]);
    scratch
        .run("train fmnist --data data --class 0 --net FCDD_CNN28 --noise outliers --out run")
        .expect_error(&["--outliers"]);
    assert!(scratch.files("run").is_empty());
}

#[test]
fn a_truncated_gz() {
    let scratch = Scratch::new().with_data();
    let file = "data/train-images-idx3-ubyte.gz";
    let whole = fs::read(scratch.path(file)).unwrap();
    scratch.write(file, &whole[..whole.len() / 2]);
    scratch.train("--out run").expect_error(&["train-images-idx3-ubyte.gz"]);
}

#[test]
fn a_wrong_magic_number() {
    let scratch = Scratch::new().with_data();
    let (mut images, _) = idx(4);
    images[3] = 9;
    scratch.write("data/train-images-idx3-ubyte.gz", &gzip(&images));
    scratch.train("--out run").expect_error(&["train-images-idx3-ubyte.gz"]);
}

#[test]
fn labels_that_do_not_match_the_images() {
    let scratch = Scratch::new().with_data();
    scratch.write("data/train-labels-idx1-ubyte.gz", &gzip(&idx(95).1));
    scratch.train("--out run").expect_error(&["95", "96"]);
}

#[test]
fn a_class_out_of_range() {
    let scratch = Scratch::new().with_data();
    let words = "train fmnist --data data --net FCDD_CNN28 --noise uniform --supervise noise --out run --class";
    scratch.run(&format!("{words} 10")).expect_error(&["class 10", "0…9"]);
    scratch.run(&format!("{words} hat")).expect_error(&["'hat'", "bag"]);
    assert!(scratch.files("run").is_empty());
}

#[test]
fn impossible_settings() {
    let scratch = Scratch::new().with_data();
    for (flags, word) in [
        ("--batch 0", "--batch"),
        ("--batch 18446744073709551615", "--batch"),
        ("--epochs 0", "--epochs"),
        ("--epochs 4294967295", "--epochs"),
        ("--side 4097", "--side"),
        ("--side 18446744073709551615", "--side"),
        ("--sigma 1e-200", "--sigma"),
        ("--oe-limit 0", "give at least 1"),
        ("--noise fine-confetti --supervise noise", "confetti"),
        ("--noise blob,cutpaste --supervise noise", "cutpaste only changes an image"),
        ("--noise blob", "--outliers"),
        ("--supervise other", "--outliers"),
        ("--lr 0", "--lr"),
        ("--sigma 0", "--sigma"),
        ("--quantile 2", "--quantile"),
        ("--net FCDD_CNN99", "FCDD_CNN99"),
        ("--noise confetti --supervise noise", "confetti"),
        ("--side 1", "1×1"),
        ("--lr -1", "--lr -1"),
        ("--weight-decay -1", "--weight-decay -1"),
        ("--sigma -1", "--sigma -1"),
        ("--quantile -1", "--quantile -1"),
        ("--class -1", "no class '-1'"),
        ("--net FCDD_CNN224_VGG_F", "huggingface.co"),
        ("--net FCDD_CNN224_VGG_F --weights absent.safetensors", "absent.safetensors"),
        ("--net FCDD_CNN224_VGG_F --weights outliers.bin", "not a complete safetensors file"),
        ("--weights outliers.bin", "no layer of FCDD_CNN28_W is pretrained"),
        ("--net FCDD_VGG16_MS", "fcdd weights"),
        ("--views 2", "--views 2 with --net FCDD_CNN28_W"),
        ("--net FCDD_VGG16_MS --views 0 --weights outliers.bin", "choose 1 to 1000"),
    ] {
        let words = format!("train fmnist --data data --outliers cifar100:outliers.bin --out run {flags}");
        scratch.run(&words).expect_error(&[word]);
    }
    // No GPU to be seen, whatever this machine has.
    let mut command = scratch.command();
    command.env("CUDA_VISIBLE_DEVICES", "").args("train fmnist --data data --out run --device cuda".split(' '));
    Ran(command.output().unwrap()).expect_error(&["CUDA", "--device cpu"]);
    scratch.run("train mnist --out run").expect_error(&["the data is not named", "--data DIR"]);
    let fits = |file: &str, net: &str| scratch.run(&format!("weights {file} --net {net}"));
    fits("outliers.bin", "FCDD_VGG16_MS").expect_error(&["outliers.bin", "not a complete safetensors file"]);
    fits("absent", "FCDD_VGG16_MS").expect_error(&["absent"]);
    fits("outliers.bin", "FCDD_CNN28").expect_error(&["no layer of FCDD_CNN28 is pretrained"]);
    fits(&in_golden("state.pth"), "FCDD_VGG16_MS").expect_error(&["state.pth", "has no tensor 'features.0.weight'"]);
    fits(&in_golden("model.pth"), "FCDD_VGG16_MS").expect_error(&["Sequential", "save its state_dict instead"]);
    // What PyTorch has downloaded is used, if it is what its name promises.
    assert!(!scratch.run("weights").expect_success().stdout().contains("is there"));
    scratch.write("torch/hub/checkpoints/vgg16-397923af.pth", b"other bytes");
    assert!(scratch.run("weights").expect_success().stdout().contains("is there: "));
    let ran = scratch.run("train fmnist --data data --outliers cifar100:outliers.bin --out run --net FCDD_VGG16_MS");
    ran.expect_error(&["SHA-256 begins with", "not with 397923af"]);
    assert!(ran.stderr().contains("no --weights given: starting from"), "{}", ran.stderr());
    let ran = scratch.run("weights outliers.bin");
    assert!(ran.0.status.code() == Some(2) && ran.stderr().contains("--net <NET>"), "{}", ran.stderr());
    let ran = scratch.run("info --threads 20000");
    assert!(ran.0.status.code() == Some(2) && ran.stderr().contains("1..=1024"), "{}", ran.stderr());
    for (noise, word) in [
        ("cutpasted", "no noise mode 'cutpasted'; choose one or several of gaussian,"),
        ("blob,cutpaste:0", "'0' is no share"),
        ("blob,blob", "blob is named twice"),
        ("blob,outliers", "outliers do not combine"),
    ] {
        let ran = scratch.run(&format!("train fmnist --data data --out run --noise {noise}"));
        assert!(ran.0.status.code() == Some(2) && ran.stderr().contains(word), "{}", ran.stderr());
    }
    for flag in ["--side 28", "--batch 1"] {
        let words = format!("bench FCDD_CNN28 --task predict {flag}");
        scratch.run(&words).expect_error(&["--task predict", "leave --batch and --side out"]);
    }
    scratch.run("verify --golden data").expect_error(&["data", "manifest.json"]);
    scratch.write("empty/manifest.json", br#"{"files": {"roc.safetensors": {}}}"#);
    scratch.run("verify --golden empty").expect_error(&["empty: holds nothing that can be checked"]);
    let without = "train fmnist --data data --out run";
    scratch.run(&format!("{without} --oe-limit 9")).expect_error(&["--oe-limit 9 has no effect without --outliers"]);
    scratch.run(&format!("{without} --noise fine-confetti")).expect_error(&["confetti", "malformed-normal"]);
    assert!(scratch.files("run").is_empty());
}

#[test]
fn more_than_fits_into_memory() {
    let scratch = Scratch::new();
    scratch.run("bench FCDD_CNN28 --side 18446744073709551615").expect_error(&["--side", "4096"]);
    scratch.run("bench FCDD_CNN28 --batch 4294967295").expect_error(&["--batch", "65536"]);
    scratch
        .run("bench FCDD_CNN28 --side 4096 --batch 65536 --task train")
        .expect_error(&["65536 images of 4096×4096", "GiB"]);
}

#[test]
fn a_last_step_that_diverges() {
    let scratch = Scratch::new().with_data();
    // One step in all: the loss is taken before it.
    let words = "train fmnist --data data --class 0 --net FCDD_CNN28 --epochs 1 --lr 1e300 --out run";
    scratch.run(words).expect_error(&["no longer numbers", "a lower --lr than 1e300"]);
    // A decay like this ends the same, whatever the rate.
    let words = words.replace("--lr", "--weight-decay");
    scratch.run(&words).expect_error(&["no longer numbers", "less --weight-decay than 1e300"]);
    assert!(!scratch.path("run/model.safetensors").exists() && !scratch.path("run/state.safetensors").exists());
}

#[test]
fn test_images_that_do_not_exist() {
    let scratch = Scratch::new().with_run();
    scratch.train("--viz-ids 0,32 --out other").expect_error(&["--viz-ids", "no test image 32", "0…31"]);
    scratch.run("evaluate run --viz-ids 99 --out other").expect_error(&["no test image 99", "0…31"]);
    scratch.write("parts/good.png", &png(32, 32));
    scratch
        .run("train folder --data parts --net FCDD_CNN32_S --side 32 --viz-ids 0 --out other")
        .expect_error(&["no test images", "--viz-ids"]);
    assert!(!scratch.path("other").exists(), "nothing was begun");
}

#[test]
fn a_run_is_not_overwritten() {
    let scratch = Scratch::new().with_run();
    let before = scratch.files("run");
    scratch.train("--out run").expect_error(&["already holds a run", "--resume"]);
    assert_eq!(scratch.files("run"), before);
}

#[test]
fn an_unwritable_output_folder() {
    let scratch = Scratch::new().with_data();
    scratch.write("taken", b"a file");
    scratch.train("--out taken/run").expect_error(&["taken/run"]);
    scratch.train("--out taken").expect_error(&["taken"]);
    assert_eq!(fs::read(scratch.path("taken")).unwrap(), b"a file");
}

#[test]
fn an_image_that_is_none() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/good.png", &png(40, 30));
    scratch.write("images/text.png", b"this is no image");
    let cut = png(64, 64);
    scratch.write("cut.png", &cut[..cut.len() / 2]);
    scratch.run("predict run cut.png --out new/one").expect_error(&["cut.png"]);
    assert!(!scratch.path("new").exists(), "no folder for nothing");
    // One bad image does not keep the others from being scored.
    let ran = scratch.run("predict run images --out many");
    ran.expect_error(&["text.png", "not a readable image"]);
    assert!(ran.stdout().contains("good.png"));
    assert_eq!(scratch.files("many"), ["good_heatmap.png", "good_overlay.png", "scores.csv"]);
    scratch.run("predict run nothing.png --out none").expect_error(&["nothing.png"]);
    fs::create_dir(scratch.path("empty")).unwrap();
    scratch.run("predict run empty --out none").expect_error(&["empty", "no images"]);
    for threshold in ["nan", "inf", "-inf", "-1"] {
        let words = format!("predict run images/good.png --out never --threshold={threshold}");
        scratch.run(&words).expect_error(&["--threshold", "not a score"]);
    }
    assert!(!scratch.path("none").exists() && !scratch.path("never").exists());
    scratch.write("taken", b"a file");
    scratch.run("predict run images/good.png --out taken").expect_error(&["taken", "choose another name"]);
}

#[cfg(unix)]
#[test]
fn an_image_that_never_ends() {
    let scratch = Scratch::new().with_run();
    fs::create_dir(scratch.path("parts")).unwrap();
    let pipe = scratch.path("parts/endless.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for image in ["parts", "parts/endless.png", "/dev/zero"] {
        scratch.run(&format!("predict run {image} --out out")).expect_error(&["not a regular file"]);
    }
    scratch
        .run("train folder --data parts --net FCDD_CNN32_S --side 32 --out other")
        .expect_error(&["endless.png", "not a regular file"]);
}

#[test]
fn checkpoints_that_are_broken() {
    let scratch = Scratch::new().with_run();
    scratch.write("p.png", &png(28, 28));
    let model = without_checksum(&fs::read(scratch.path("run/model.safetensors")).unwrap());
    for cut in [0, 5, 300, model.len() - 1] {
        scratch.write("cut.safetensors", &model[..cut]);
        scratch.run("predict cut.safetensors p.png --out out").expect_error(&["cut.safetensors"]);
    }
    // Descriptions that no training writes: each is changed in one place.
    let cases: [(&str, serde_json::Value, &[&str]); 18] = [
        ("/settings/net", "FCDD_CNN28_W".into(), &["another net"]),
        ("/settings/net", "FCDD_CNN99".into(), &["FCDD_CNN99"]),
        ("/settings/net", "FCDD_CNN32".into(), &["its preprocessing makes", "1 channels", "3 channels"]),
        ("/settings/side", 40.into(), &["its preprocessing makes", "28×28", "40×40"]),
        ("/settings/side", 0.into(), &["--side 0"]),
        ("/settings/sigma", 0.into(), &["--sigma"]),
        ("/settings/side", 5000.into(), &["--side 5000"]),
        ("/preprocessing/channels", 2.into(), &["2 channels"]),
        ("/preprocessing/side", 40.into(), &["preprocessing"]),
        ("/preprocessing/raw_side", 0.into(), &["from 0"]),
        ("/preprocessing/test", serde_json::json!([]), &["preprocessing"]),
        ("/preprocessing/channels", 0.into(), &["0 channels"]),
        ("/preprocessing/test/1", serde_json::json!({"noise": {"std": 0.1}}), &["random"]),
        ("/preprocessing/test/1/min-max/min", serde_json::json!([]), &["MinMax", "cannot stand"]),
        ("/preprocessing/test/1/min-max/min", serde_json::json!([9e9]), &["MinMax", "cannot stand"]),
        ("/settings/sigma", (-1).into(), &["--sigma"]),
        ("/threshold", 1e39.into(), &["number out of range"]),
        ("/format", 7.into(), &["format 7"]),
    ];
    for (place, value, words) in cases {
        scratch.write("other.safetensors", &with_meta(&model, |meta| *meta.pointer_mut(place).unwrap() = value));
        let ran = scratch.run("predict other.safetensors p.png --out out");
        ran.expect_error(&[&["other.safetensors"], words].concat());
    }
    // Where the metadata once repeated some of the settings, the repetition does not matter.
    let repeats = |meta: &mut serde_json::Value| {
        let settings = meta["settings"].clone();
        ["net", "bias", "side", "sigma"].iter().for_each(|&name| meta[name] = settings[name].clone());
    };
    scratch.write("older.safetensors", &with_meta(&model, repeats));
    scratch.run("predict older.safetensors p.png --out older").expect_success();
    // Weights that are no numbers, no variances, or lead to scores that are no numbers.
    let tensors = SafeTensors::deserialize(&model).unwrap();
    let norm = tensors.names().into_iter().find(|name| name.ends_with("running_var")).unwrap();
    for (tensor, value, words) in [
        ("conv1.weight", f32::NAN, &["odd.safetensors", "conv1.weight", "NaN"][..]),
        (norm, -5.0, &["odd.safetensors", norm, "-5"]),
        ("conv1.weight", f32::MAX, &["not a finite number", "train again"]),
    ] {
        let data = tensors.tensor(tensor).unwrap().data();
        let start = data.as_ptr() as usize - model.as_ptr() as usize;
        let mut odd = model.clone();
        odd[start..start + data.len()].chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&value.to_le_bytes()));
        scratch.write("odd.safetensors", &odd);
        for command in ["predict odd.safetensors p.png", "evaluate odd.safetensors"] {
            let ran = scratch.run(&format!("{command} --out out"));
            ran.expect_error(words);
            assert!(!ran.stdout().contains("good"));
        }
    }
    // A file that is no model at all.
    scratch.run("evaluate p.png").expect_error(&["p.png"]);
    scratch.run("evaluate nowhere").expect_error(&["nowhere"]);
    assert!(scratch.files("out").is_empty(), "nothing was written");
}

/// A model file with other metadata.
fn with_meta(model: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let (length, rest) = model.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let entry = &mut header["__metadata__"]["fcdd"];
    let mut meta = serde_json::from_str(entry.as_str().unwrap()).unwrap();
    change(&mut meta);
    *entry = meta.to_string().into();
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
}

#[test]
fn golden_folders_that_are_none() {
    let scratch = Scratch::new();
    scratch.run("verify --golden nowhere").expect_error(&["nowhere"]);
    scratch.write("golden/manifest.json", b"{");
    scratch.run("verify --golden golden").expect_error(&["manifest.json"]);
}
