//! Snapshots of the authors' PyTorch code as models.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Ran, Scratch};

/// A file that PyTorch has written.
pub fn in_golden(name: &str) -> String {
    golden(name).to_str().unwrap().to_string()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch").join(name)
}

/// Scores by the names of images.
fn scores(path: &Path) -> BTreeMap<String, f64> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let rows = table.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    let name =
        |row: &BTreeMap<String, String>| Path::new(&row["image"]).file_name().unwrap().to_str().unwrap().to_string();
    rows.map(|row| (name(&row), row["score"].parse().unwrap())).collect()
}

impl Scratch {
    fn import(&self, snapshot: &str, flags: &str) -> Ran {
        self.run(&format!("import {} --config config.txt {flags}", in_golden(snapshot)))
    }

    /// The authors' configuration, with parts exchanged.
    pub fn with_config(self, changes: &[(&str, &str)]) -> Scratch {
        let text = fs::read_to_string(golden("config.txt")).unwrap();
        let changed = changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        self.write("config.txt", changed.as_bytes());
        self
    }
}

#[test]
fn a_snapshot_scores_as_pytorch_does() {
    let scratch = Scratch::new().with_config(&[]).with_data();
    let expected = scores(&golden("scores.csv"));
    for (snapshot, run) in [("snapshot.pt", "run"), ("snapshot_legacy.pt", "old")] {
        let ran = scratch.import(snapshot, &format!("--out {run}"));
        let told = ran.expect_success().stdout();
        assert!(told.contains("FCDD_CNN28, 2 epochs") && told.contains("not known           a threshold"), "{told}");
        assert!(told.contains("which images it has learned from"), "{told}");
        assert_eq!(scratch.files(run), ["model.safetensors"]);
        let ran = scratch.run(&format!("predict {run} {} --out {run}-found", in_golden("images")));
        assert!(
            ran.expect_success().stderr().contains("none was set, every image is called anomalous"),
            "{}",
            ran.stderr()
        );
        let found = scores(&scratch.path(&format!("{run}-found/scores.csv")));
        assert_eq!(found.len(), expected.len());
        for (image, score) in &expected {
            assert!((found[image] - score).abs() < 1e-5 * score, "{snapshot} {image}: {} {score}", found[image]);
        }
    }
    let about = scratch.run("info run").expect_success().stdout();
    assert!(about.contains("by the authors' code, imported by fcdd") && about.contains("snapshot.pt"), "{about}");
    assert!(about.contains("threshold           none was set"), "{about}");
    let ran = scratch.run("evaluate run --data data --out tested");
    assert!(ran.expect_success().stdout().contains("threshold           none was set"), "{}", ran.stdout());
    let page = fs::read_to_string(scratch.path("tested/report.html")).unwrap();
    assert!(
        page.contains("Nothing has set this threshold")
            && page.contains("fcdd import ")
            && !page.contains("fcdd train")
    );

    let ran = scratch.run(&format!("calibrate run --good {}", in_golden("images")));
    assert!(ran.expect_success().stdout().contains("which is not known"), "{}", ran.stdout());
    let about = scratch.run("info run").expect_success().stdout();
    assert!(
        about.contains("if nothing was learned from the 4 that set it") && !about.contains("none was set"),
        "{about}"
    );
    let ran = scratch.run(&format!("predict run {} --out results", in_golden("images")));
    assert!(!ran.expect_success().stderr().contains("none was set"), "{}", ran.stderr());
    let scores = fs::read_to_string(scratch.path("results/scores.csv")).unwrap();
    assert_eq!(scores.matches(",good,").count(), 4, "{scores}");
}

#[test]
fn what_cannot_be_imported_is_told() {
    let refused = |changes: &[(&str, &str)], words: &[&str]| {
        let scratch = Scratch::new().with_config(changes);
        scratch.import("snapshot.pt", "--out run").expect_error(words);
        assert_eq!(scratch.files("run"), [] as [&str; 0]);
    };
    let net = "\"net\": \"FCDD_CNN28\"";
    refused(&[(net, "\"net\": \"FCDD_CNN28_W\"")], &["snapshot.pt", "'conv1.weight' has shape [8, 1, 5, 5]"]);
    refused(&[(net, "\"net\": \"FCDD_CNN224_X\"")], &["config.txt", "no net named 'FCDD_CNN224_X'"]);
    refused(&[(net, "\"network\": 3")], &["config.txt", "missing field 'net'"]);
    refused(&[("{\"datadir\"", "Arguments: {\"datadir\"")], &["config.txt", "no line of arguments"]);
    refused(&[("\"fmnist\"", "\"svhn\"")], &["config.txt", "'dataset' svhn is not known here", "mvtec"]);
    refused(&[("\"fcdd\"", "\"spatial_center\"")], &["'objective' spatial_center"]);
    refused(&[("\"lcnaug1\"", "\"aug2\"")], &["'preproc' aug2"]);
    refused(&[("\"nominal_label\": 0", "\"nominal_label\": 1")], &["'nominal_label' 1", "high for good images"]);
    refused(&[("\"cifar100\"", "\"rgb_gaussian\"")], &["'noise_mode' rgb_gaussian", "none of fcdd's"]);
    refused(&[("\"lambda\"", "\"cosine\"")], &["'scheduler_type' cosine"]);
    refused(&[("\"fcdd\"", "\"hsc\"")], &["FCDD_CNN28"]);
    refused(&[("\"fmnist\"", "\"custom\""), ("lcnaug1", "aug1")], &["neither file holds", "--data DIR"]);

    let scratch = Scratch::new().with_config(&[]);
    scratch.import("state.pth", "--out run").expect_error(&["state.pth", "it has no 'net'"]);
    scratch.import("model.pth", "--out run").expect_error(&["Sequential", "save its state_dict"]);
    scratch.import("snapshot.pt", "--masks --out run").expect_error(&["only custom with aug1"]);
    scratch.import("absent.pt", "--out run").expect_error(&["absent.pt"]);
    scratch.import("snapshot.pt", "--out run").expect_success();
    scratch.import("snapshot.pt", "--out run").expect_error(&["run", "already holds a model.safetensors"]);
}

/// Custom data has no constants of its own: those of the whole images, as the authors take them.
#[test]
fn inputs_of_custom_data_are_scaled_by_its_images() {
    let scratch = Scratch::new().with_config(&[
        ("\"fmnist\"", "\"custom\""),
        ("lcnaug1", "aug1"),
        ("_class\": 3", "_class\": 1"),
    ]);
    for (name, value) in [("a/normal/1", 9), ("b/normal/1", 51), ("b/normal/2", 102), ("b/anomalous/3", 250)] {
        let image = image::GrayImage::from_pixel(40, 30, image::Luma([value]));
        let path = scratch.path(&format!("parts/custom/train/{name}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(path).unwrap();
    }
    for (flags, fit) in [("", "short-side"), ("--masks", "nearest")] {
        let ran = scratch.import("snapshot.pt", &format!("--data parts --out run{fit} {flags}"));
        assert!(ran.expect_success().stderr().contains("scaled by 2 good images in"), "{}", ran.stderr());
        let model = fs::read(scratch.path(&format!("run{fit}/model.safetensors"))).unwrap();
        let head = String::from_utf8_lossy(&model[..model.len().min(20_000)]).replace('\\', "");
        assert!(
            head.contains("\"mean\":[0.3],\"std\":[0.1]") || head.contains("\"mean\":[0.3],\"std\":[0.099"),
            "{head}"
        );
        assert!(head.contains(&format!("\"fit\":\"{fit}\"")), "{head}");
    }
}
