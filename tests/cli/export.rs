//! Models for other programs.

use std::collections::BTreeMap;
use std::fs;

use safetensors::SafeTensors;

use crate::import::in_golden;
use crate::support::Scratch;

/// Tensors of a file by their names: shape and bytes.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let of = |(name, tensor): (String, safetensors::tensor::TensorView)| {
        (name, (tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    file.tensors().into_iter().map(of).collect()
}

#[test]
fn a_model_becomes_a_graph_that_tells_what_it_is_of() {
    let scratch = Scratch::new().with_run();
    let ran = scratch.run("export run --onnx model.onnx");
    let told = ran.expect_success().stdout();
    for words in ["FCDD_CNN28", "model.onnx", "not included        the resize", "28×28 pixels"] {
        assert!(told.contains(words), "{told}");
    }
    let ran = scratch.run("export run/model.safetensors --onnx any.onnx --with-resize --channels 3 --json");
    let told: serde_json::Value = serde_json::from_str(&ran.expect_success().stdout()).unwrap();
    assert_eq!((&told["net"], &told["file"]), (&"FCDD_CNN28".into(), &"any.onnx".into()));
    let not_included = told["not_included"].to_string();
    assert!(!not_included.contains("resize") && !not_included.contains("colours"), "{not_included}");
    for file in ["model.onnx", "any.onnx"] {
        let bytes = fs::read(scratch.path(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for words in
            ["image", "score", "map", "heatmap", "normalized_score", "anomalous", "threshold", "model_checksum"]
        {
            assert!(text.contains(words), "{file}: {words}");
        }
    }
    assert_eq!(scratch.files("").iter().filter(|name| name.starts_with(".fcdd-")).count(), 0);
}

/// The weights of an imported snapshot come out again with its names and values, and become the same model.
#[test]
fn weights_go_to_pytorch_and_back() {
    let scratch = Scratch::new().with_config(&[]).with_data();
    scratch.run(&format!("import {} --config config.txt --out run", in_golden("snapshot.pt"))).expect_success();
    let ran = scratch.run("export run --torch weights.safetensors");
    assert!(ran.expect_success().stdout().contains("all but the weights"), "{}", ran.stdout());
    scratch.run("import weights.safetensors --config config.txt --out again").expect_success();
    let of = |name: &str| tensors(&fs::read(scratch.path(name)).unwrap());
    let weights = of("weights.safetensors");
    assert_eq!(weights["conv1.weight"].0, [8, 1, 5, 5]);
    assert_eq!(weights["bn2d1.num_batches_tracked"].1, 4i64.to_le_bytes());
    assert_eq!(weights, of("run/model.safetensors"));
    assert_eq!(weights, of("again/model.safetensors"));
    scratch.write("no.safetensors", b"nothing");
    let refused = scratch.run("import no.safetensors --config config.txt --out none");
    refused.expect_error(&["no.safetensors", "name a snapshot.pt, or its net's state_dict"]);
}

/// What a killed export, or an import that had its model, has left goes with the next call.
#[test]
fn what_was_killed_leaves_nothing_for_ever() {
    let scratch = Scratch::new().with_config(&[]);
    let import = format!("import {} --config config.txt --out run", in_golden("snapshot.pt"));
    scratch.run(&import).expect_success();
    scratch.write("run/.fcdd.lock", b"");
    scratch.write("run/.fcdd-aB3dE6", b"cut short");
    scratch.run(&import).expect_error(&["already holds a model.safetensors"]);
    assert_eq!(scratch.files("run"), ["model.safetensors"]);
    scratch.write("weights/.fcdd.lock", b"");
    scratch.write("weights/.fcdd-aB3dE6", b"cut short");
    scratch.run("export run --torch weights/a.safetensors").expect_success();
    assert_eq!(scratch.files("weights"), ["a.safetensors"]);
}

#[test]
fn what_cannot_be_exported_is_told() {
    let scratch = Scratch::new().with_run();
    scratch.write("there.onnx", b"mine");
    scratch.run("export run --onnx there.onnx").expect_error(&["there.onnx", "is there already"]);
    assert_eq!(fs::read(scratch.path("there.onnx")).unwrap(), b"mine");
    scratch.run("export run --onnx absent/model.onnx").expect_error(&["absent/model.onnx"]);
    scratch.run("export absent --onnx model.onnx").expect_error(&["absent"]);
    scratch.run("export run --onnx model.onnx --channels 2").expect_error(&["not 2 (--channels)"]);
    for (words, told) in [
        ("", "--onnx <FILE>|--torch <FILE>"),
        ("--onnx a --torch b", "cannot be used with"),
        ("--torch b --with-resize", "cannot be used with"),
    ] {
        let ran = scratch.run(&format!("export run {words}"));
        assert!(ran.0.status.code() == Some(2) && ran.stderr().contains(told), "{}", ran.stderr());
    }
    let mut broken = fs::read(scratch.path("run/model.safetensors")).unwrap();
    let end = broken.len();
    broken[end - 4 * 40..].fill(0xff); // numbers that are none
    scratch.write("broken.safetensors", &broken);
    scratch.run("export broken.safetensors --onnx model.onnx").expect_error(&["broken.safetensors"]);
    assert!(!scratch.path("model.onnx").exists() && !scratch.path("b").exists());
}
