//! Predicting: what is scored, where results go, and what they must not replace.

use std::fs;

use crate::support::{Ran, Scratch, png};

/// Results among the images are not scored the next time.
#[test]
fn predict_passes_over_its_own_results() {
    let scratch = Scratch::new().with_run();
    scratch.write("parts/a.png", &png(28, 28));
    scratch.write("parts/deep/b_heatmap.png", &png(28, 28));
    for out in ["parts/out", "parts"] {
        for again in [false, true] {
            let ran = scratch.run(&format!("predict run parts --out {out} --json"));
            let scored = ran.expect_success().json()["predictions"].as_array().unwrap().len();
            let skipped = ran.stderr().contains(&format!("in {out} that are results"));
            // An image that is merely called like a result is scored, as long as no results lie there.
            let expected = match (out, again) {
                ("parts/out", _) => 2,
                (_, false) => 6,
                _ => 1,
            };
            assert_eq!((scored, skipped), (expected, again), "{out}");
        }
    }
}

#[test]
fn results_replace_no_images_and_no_other_results() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    let theirs = png(30, 30);
    scratch.write("parts/a.png", &png(28, 28));
    scratch.write("parts/a_heatmap.png", &theirs);
    scratch.run("evaluate run --out eval").expect_success();
    let tables =
        || [scratch.path("run/scores.csv"), scratch.path("eval/scores.csv")].map(|path| fs::read(path).unwrap());
    let before = tables();
    for out in ["run", "eval"] {
        scratch.run(&format!("predict run a.png --out {out}")).expect_error(&[out, "evaluation", "--out"]);
    }
    for images in ["parts", "a.png parts/a_heatmap.png", "parts/a_heatmap.png parts/a.png"] {
        let ran = scratch.run(&format!("predict run {images} --out parts"));
        ran.expect_error(&["parts/a_heatmap.png", "a.png would replace it", "--out"]);
    }
    assert!(tables() == before && fs::read(scratch.path("parts/a_heatmap.png")).unwrap() == theirs);
    assert_eq!(scratch.files("parts"), ["a.png", "a_heatmap.png"]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_unicode() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let scratch = Scratch::new().with_run();
    fs::create_dir(scratch.path("parts")).unwrap();
    // Equal as text.
    for name in [&b"a\xff.png"[..], b"a\xfe.png"] {
        fs::write(scratch.path("parts").join(OsStr::from_bytes(name)), png(28, 28)).unwrap();
    }
    let ran = scratch.run("predict run parts --out out --json");
    assert_eq!(ran.expect_success().json()["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(scratch.files("out").len(), 5);
    assert_eq!(fs::read_to_string(scratch.path("out/scores.csv")).unwrap().lines().count(), 3);

    // Data and defects are found by their names again, so these have to be text.
    let train = |data: &OsStr| {
        let flags = "train folder --net FCDD_CNN32_S --side 32 --epochs 1 --out other --data";
        Ran(scratch.command().args(flags.split(' ')).arg(data).output().unwrap())
    };
    let named = OsStr::from_bytes(b"parts\xff");
    fs::rename(scratch.path("parts"), scratch.path("").join(named)).unwrap();
    let ran = train(named);
    assert_eq!(ran.0.status.code(), Some(2));
    assert!(["--data", "Unicode", "rename"].iter().all(|word| ran.stderr().contains(word)), "{}", ran.stderr());
    scratch.write("data/train/good/0.png", &png(32, 32));
    fs::create_dir_all(scratch.path("data/test").join(named)).unwrap();
    train(OsStr::new("data")).expect_error(&["Unicode", "rename"]);
    assert!(!scratch.path("other").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn progress_that_nobody_can_read_stops_nothing() {
    let scratch = Scratch::new().with_run();
    scratch.write("p.png", &png(28, 28));
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let scored = scratch.command().args("predict run p.png --out out".split(' ')).stderr(full()).output().unwrap();
    assert_eq!(scored.status.code(), Some(0));
    assert_eq!(scratch.files("out"), ["p_heatmap.png", "p_overlay.png", "scores.csv"]);
    let failed = scratch.command().args("predict run none.png --out out".split(' ')).stderr(full()).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    // Results that cannot be told are an error, which tells of what could not be written alone.
    let mut command = scratch.command();
    let ran = Ran(command.args("predict run p.png --out out".split(' ')).stdout(full()).output().unwrap());
    ran.expect_error(&["standard output", "free some space"]);
    assert!(!ran.stderr().contains("overwritten"));
}
