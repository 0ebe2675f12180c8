//! Predicting: what is scored, where results go, and what they must not replace.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{ON_FOLDERS, Ran, Scratch, png, wait_for};

/// Another's folder may be there by then, or none.
#[test]
fn nothing_is_drawn_where_the_folder_was() {
    let scratch = Scratch::new().with_run();
    for i in 0..400 {
        scratch.write(&format!("images/{i:03}.png"), &png(300, 200));
    }
    for is_replaced in [false, true] {
        let mut command = scratch.command();
        command.args("predict run images --out out --device cpu".split(' '));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| scratch.files("out").len() > 9);
        fs::rename(scratch.path("out"), scratch.path("moved")).unwrap();
        if is_replaced {
            fs::create_dir(scratch.path("out")).unwrap();
        }
        let ran = Ran(child.wait_with_output().unwrap());
        assert!(ran.0.status.code() == Some(2) && ran.stderr().contains("was moved or removed"), "{}", ran.stderr());
        assert_eq!(scratch.path("out").exists(), is_replaced);
        assert_eq!(scratch.files("out"), Vec::<String>::new());
        fs::remove_dir_all(scratch.path("moved")).unwrap();
        if is_replaced {
            fs::remove_dir(scratch.path("out")).unwrap();
        }
    }
}

/// Results do not come to lie among images, and those that do are neither scored nor learned from.
#[test]
fn results_are_no_images() {
    let scratch = Scratch::new().with_run().with_folders();
    for out in ["parts", "parts/out", "parts/train/good/out"] {
        let refused = ["out", "folder of images", "another folder"];
        scratch.run(&format!("predict run parts/train --out parts/train/{out}")).expect_error(&refused);
        scratch.run(&format!("{ON_FOLDERS} --epochs 1 --out {out}")).expect_error(&[
            "parts",
            "folder of images",
            "--out",
        ]);
        let sweep = ON_FOLDERS.replacen("train", "sweep", 1);
        scratch.run(&format!("{sweep} --epochs 1 --out {out}")).expect_error(&["parts", "folder of images"]);
    }
    scratch.run(&format!("{ON_FOLDERS} --epochs 1 --out other/run")).expect_error(&["other", "folder of images"]);
    assert!(!scratch.path("parts/out").exists() && !scratch.path("other/run").exists());
    // As another version left them.
    let before = scratch.run("predict run parts/train/good --out out --json").expect_success().json();
    for name in ["0_heatmap.png", "0_overlay.png", "scores.csv"] {
        fs::copy(scratch.path("out").join(name), scratch.path("parts/train/good").join(name)).unwrap();
    }
    for name in ["preview.png", "config.json", "model.safetensors"] {
        fs::copy(scratch.path("run").join(name), scratch.path("parts/train/good").join(name)).unwrap();
    }
    let after = scratch.run("predict run parts/train/good --out again --json").expect_success().json();
    assert_eq!(before["predictions"].as_array().unwrap().len(), after["predictions"].as_array().unwrap().len());
    let trained = scratch.run(&format!("{ON_FOLDERS} --epochs 1 --out learned"));
    trained.expect_success();
    let state = fs::read(scratch.path("learned/state.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&state).contains(r#"\"nominal\":9,"#), "of nine good images");
    scratch.run("evaluate learned --out parts/test/eval").expect_error(&["folder of images", "--out"]);
}

#[test]
fn a_result_that_cannot_be_written_does_not_lose_the_others() {
    let scratch = Scratch::new().with_run();
    let long = "n".repeat(250);
    for name in ["a", "b", "c", &long] {
        scratch.write(&format!("parts/{name}.png"), &png(28, 28));
    }
    scratch.write("parts/d.png", b"damaged");
    fs::create_dir_all(scratch.path("out/b_heatmap.png")).unwrap();
    let ran = scratch.run("predict run parts --out out");
    assert_eq!((ran.0.status.code(), ran.stdout().lines().count()), (Some(2), 4), "{}", ran.stderr());
    for word in ["b_heatmap.png", "nnn_heatmap.png", "nnn_overlay.png", "d.png"] {
        assert!(ran.stderr().lines().any(|line| line.starts_with("error") && line.contains(word)), "{}", ran.stderr());
    }
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    assert!(table.lines().count() == 5 && table.contains(",,out/b_overlay.png"), "{table}");
    let written = ["a_heatmap.png", "a_overlay.png", "b_overlay.png", "c_heatmap.png", "c_overlay.png", "scores.csv"];
    assert_eq!(scratch.files("out"), written);
}

/// Ground truth has the names of masks that are predicted.
#[test]
fn pictures_of_others_are_not_replaced() {
    let scratch = Scratch::new().with_run();
    scratch.write("images/hole/a.png", &png(28, 28));
    scratch.write("images/good/b.png", &png(28, 29));
    scratch.write("truth/hole/a_mask.png", b"theirs");
    let words = "predict run images --what mask --out";
    let told = ["truth/hole/a_mask.png: is no result of predict", "another folder for --out"];
    scratch.run(&format!("{words} truth")).expect_error(&told);
    assert_eq!(scratch.files("truth"), ["hole/a_mask.png"]);
    #[cfg(unix)]
    {
        scratch.run("predict run images --what scores --out out").expect_success();
        std::os::unix::fs::symlink(scratch.path("truth/hole"), scratch.path("out/hole")).unwrap();
        scratch.run(&format!("{words} out")).expect_error(&["out/hole/a_mask.png: lies behind a link"]);
    }
    assert_eq!(fs::read(scratch.path("truth/hole/a_mask.png")).unwrap(), b"theirs");
    // Nor by a watch.
    let watch = "predict run --watch images --what mask --out truth";
    scratch.run(watch).expect_error(&["truth/hole/a_mask.png: is no result of predict --watch"]);
    assert_eq!(scratch.files("truth"), ["hole/a_mask.png"]);
}

/// Many images in `many`, and a predict of them that was killed after some.
fn killed(scratch: &Scratch, place: &str, words: &str) {
    // As they are, where there are some: a call goes on with the images that it began with.
    for i in (0..400).filter(|_| !scratch.path("many/1/399.png").exists()) {
        scratch.write(&format!("many/{}/{i}.png", i % 2), &png(200, 150 + i));
    }
    let mut command = scratch.command();
    let mut child = command.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let rows = || fs::read_to_string(scratch.path(place).join("scores.csv")).map_or(0, |table| table.lines().count());
    wait_for(|| rows() > 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((2..401).contains(&rows()) && scratch.path(place).join("unfinished.json").exists(), "{} rows", rows());
    if scratch.path(place).join("0").is_dir() {
        scratch.write(&format!("{place}/0/.fcdd-aB3dE6"), b"cut short");
    }
}

/// Names of files but for the lock of a killed process, and the table as it would be in `out`.
fn results(scratch: &Scratch, out: &str) -> (Vec<String>, String) {
    let mut files = scratch.files(out);
    files.retain(|name| name != ".fcdd.lock");
    (files, fs::read_to_string(scratch.path(out).join("scores.csv")).unwrap().replace(out, "out"))
}

#[test]
fn a_killed_predict_leaves_rows_and_goes_on() {
    let scratch = Scratch::new().with_run();
    killed(&scratch, "out", "predict run many --out out");
    let ran = scratch.run("predict run many --out out");
    assert!(ran.expect_success().stderr().contains("going on in out"), "{}", ran.stderr());
    assert_eq!(ran.stdout().lines().count(), 400);
    scratch.run("predict run many --out whole").expect_success();
    assert!(results(&scratch, "out") == results(&scratch, "whole"));
    assert_eq!(scratch.files("out").len(), 801);
}

/// Whatever is wanted, scores alone too.
#[test]
fn what_is_wanted_is_gone_on_with() {
    let scratch = Scratch::new().with_run();
    for (what, files) in [("scores", 1), ("heatmap,mask,map,regions", 1202)] {
        let words = |out: &str| format!("predict run many --what {what} --out {out}");
        killed(&scratch, "out", &words("out"));
        let regions = |out: &str| scratch.path(out).join("regions.csv");
        if regions("out").exists() {
            // As of an image whose row was still to come.
            let row = b"many/1/399.png,1,0,0,1,1,1,9.5,0,0,9.5,\"0,0\"\n";
            fs::File::options().append(true).open(regions("out")).unwrap().write_all(row).unwrap();
        }
        let ran = scratch.run(&format!("{} --jsonl", words("out")));
        assert!(ran.expect_success().stderr().contains("going on in"), "{}", ran.stderr());
        scratch.run(&words("whole")).expect_success();
        assert!(results(&scratch, "out") == results(&scratch, "whole"), "{what}");
        assert_eq!(scratch.files("whole").len(), files);
        assert!(fs::read(regions("out")).ok() == fs::read(regions("whole")).ok(), "{what}");
        // What an earlier call has found is told again.
        let told: Vec<serde_json::Value> =
            ran.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |object: &serde_json::Value| object["regions"].as_array().map(|regions| regions.len() as u64);
        assert!(told.iter().all(|object| object["region_count"].as_u64() == count(object)));
        let all: Option<u64> = told.iter().map(count).sum();
        assert_eq!((told.len(), all.is_some()), (400, what != "scores"));
        assert!(all.is_none_or(|all| all > 0), "there are regions to go on with");
        ["out", "whole"].iter().for_each(|out| fs::remove_dir_all(scratch.path(out)).unwrap());
    }
}

#[test]
fn what_two_killed_calls_have_left_is_gone_after_the_next() {
    let scratch = Scratch::new().with_run();
    let first = "predict run many --what scores --out out";
    killed(&scratch, "out", first);
    killed(&scratch, "out.partial", "predict run many --what heatmap --out out");
    let ran = scratch.run(first);
    assert!(ran.expect_success().stderr().contains("going on in"), "{}", ran.stderr());
    assert_eq!(scratch.files("out"), ["scores.csv"]);
    assert!(!scratch.path("out.partial").exists());
}

/// Another image in the place of one, of its size and its time.
#[cfg(unix)]
#[test]
fn images_that_were_replaced_are_scored_anew() {
    let scratch = Scratch::new().with_run();
    killed(&scratch, "out", "predict run many --out out");
    let image = scratch.path("many").join(&scratch.files("many")[0]);
    let time = fs::metadata(&image).unwrap().modified().unwrap();
    let other = scratch.path("other.png");
    fs::copy(&image, &other).unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
    fs::rename(&other, &image).unwrap();
    let ran = scratch.run("predict run many --out out");
    assert!(!ran.expect_success().stderr().contains("going on"), "{}", ran.stderr());
}

#[test]
fn results_that_cannot_be_put_in_place_are_told() {
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    scratch.write("out/scores.csv/in-the-way", b"");
    scratch.run("predict run a.png --out out").expect_error(&["out.partial: holds all results", "scores.csv"]);
    fs::remove_dir_all(scratch.path("out/scores.csv")).unwrap();
    scratch.run("predict run a.png --out out").expect_success();
    assert_eq!(scratch.files("out"), ["a_heatmap.png", "a_overlay.png", "scores.csv"]);
    assert!(!scratch.path("out.partial").exists());
}

#[test]
fn results_are_replaced_as_a_whole() {
    let scratch = Scratch::new().with_run();
    for name in ["a", "b"] {
        scratch.write(&format!("parts/{name}.png"), &png(28, 28));
    }
    scratch.run("predict run parts --out out").expect_success();
    scratch.write("out/notes.txt", b"ours");
    let before = results(&scratch, "out");
    killed(&scratch, "out.partial", "predict run many --out out");
    assert!(results(&scratch, "out") == before, "the old ones are whole until the new ones are");
    scratch.run("predict run many --out out").expect_success();
    assert_eq!(scratch.files("out").len(), 802);
    killed(&scratch, "out.partial", "predict run many --out out");
    // Another request begins anew, and leaves nothing of either.
    scratch.run("predict run parts/a.png --out out").expect_success();
    assert_eq!(scratch.files("out"), ["a_heatmap.png", "a_overlay.png", "notes.txt", "scores.csv"]);
    assert!(!scratch.path("out.partial").exists() && !scratch.path("out/0").exists());
    scratch.run("evaluate run --out out").expect_error(&["out", "results of predict", "--out"]);
    scratch.run("predict run out/a_overlay.png --out out").expect_error(&["a_overlay.png", "will be replaced"]);
    assert_eq!(fs::read_to_string(scratch.path("out/scores.csv")).unwrap().lines().count(), 2);
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
    for (out, verb) in [("run", "train"), ("eval", "evaluate")] {
        let told = format!("belongs to results of {verb}");
        scratch.run(&format!("predict run a.png --out {out}")).expect_error(&[out, &told, "--out"]);
    }
    for images in ["a.png parts/a_heatmap.png", "parts/a_heatmap.png parts/a.png"] {
        let ran = scratch.run(&format!("predict run {images} --out parts"));
        ran.expect_error(&["parts/a_heatmap.png", "a.png would replace it", "--out"]);
    }
    assert!(tables() == before && fs::read(scratch.path("parts/a_heatmap.png")).unwrap() == theirs);
    assert_eq!(scratch.files("parts"), ["a.png", "a_heatmap.png"]);
}

#[cfg(target_os = "linux")]
/// A folder within that this program may not enter is told and counted, as a file that it may not read is.
#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_entered_costs_no_other_image() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::new().with_run();
    for name in ["in/a.png", "in/private/b.png"] {
        scratch.write(name, &png(8, 8));
    }
    fs::create_dir(scratch.path("results")).unwrap();
    let allow = |name: &str, mode| fs::set_permissions(scratch.path(name), PermissionsExt::from_mode(mode)).unwrap();
    allow("in/private", 0o000);
    ["", "results"].into_iter().for_each(|name| allow(name, 0o777));
    let mut command = scratch.command();
    command.args(["predict", "run", "in", "--out", "results/out", "--what", "scores"]);
    // Root enters any folder: nobody does not.
    if fs::metadata(scratch.path("in")).unwrap().uid() == 0 {
        command.uid(65534);
    }
    let output = command.output().unwrap();
    allow("in/private", 0o755);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("in/private") && stderr.contains("ermission denied"), "{stderr}");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let table = fs::read_to_string(scratch.path("results/out/scores.csv")).unwrap();
    assert!(table.contains("in/a.png") && !table.contains("b.png"), "{table}");
}

/// Results are replaced by way of a folder beside theirs: where none can be made, it is told what would do.
#[cfg(unix)]
#[test]
fn a_folder_in_which_nothing_may_be_made_is_told() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::new().with_run();
    scratch.write("a.png", &png(28, 28));
    scratch.run("predict run a.png --out locked/out --what scores").expect_success();
    let allow = |name: &str, mode| fs::set_permissions(scratch.path(name), PermissionsExt::from_mode(mode)).unwrap();
    [("", 0o777), ("locked/out", 0o777), ("locked/out/scores.csv", 0o666), ("locked", 0o555)]
        .into_iter()
        .for_each(|(name, mode)| allow(name, mode));
    let mut command = scratch.command();
    command.args(["predict", "run", "a.png", "--out", "locked/out", "--what", "overlay"]);
    if fs::metadata(scratch.path("a.png")).unwrap().uid() == 0 {
        command.uid(65534);
    }
    let ran = Ran(command.output().unwrap());
    allow("locked", 0o755);
    ran.expect_error(&["out.partial: cannot be written to", "name another folder for --out"]);
    assert_eq!(scratch.files("locked"), ["out/scores.csv"]);
}

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
