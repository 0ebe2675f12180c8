//! `predict --watch`: images that come, are written slowly, replaced and taken away, and a watch that is stopped or killed.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Scratch, png, png_with, wait_for};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/run-0.1/run");

/// A settle time that no test lives to see the end of.
const NEVER: &str = "--settle-ms 3600000";

/// A watch of `in` into `out`.
struct Watch<'a> {
    scratch: &'a Scratch,
    child: Child,
}

impl Watch<'_> {
    fn start<'a>(scratch: &'a Scratch, words: &str) -> Watch<'a> {
        let words = format!("predict {MODEL} --watch in --out out --device cpu --what overlay {words}");
        Watch::of(scratch, scratch.command().args(words.split_whitespace()))
    }

    fn of<'a>(scratch: &'a Scratch, command: &mut Command) -> Watch<'a> {
        fs::create_dir_all(scratch.path("in")).unwrap();
        let to = |name: &str| Stdio::from(File::options().create(true).append(true).open(scratch.path(name)).unwrap());
        Watch { scratch, child: command.stdout(to("told")).stderr(to("said")).spawn().unwrap() }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.scratch.path("said")).unwrap()
    }

    fn wait_for(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let (child, scratch) = (&mut self.child, self.scratch);
        wait_for(|| {
            let is_over = child.try_wait().unwrap().is_some();
            let is_done = condition();
            let said = || fs::read_to_string(scratch.path("said")).unwrap();
            assert!(is_done || !is_over, "ended before {what}: {}", said());
            is_done
        });
    }

    fn wait_for_words(&mut self, words: &str) {
        let scratch = self.scratch;
        self.wait_for(words, || fs::read_to_string(scratch.path("said")).unwrap().contains(words));
    }

    /// Waits until there are rows of so many images.
    fn wait_for_rows(&mut self, count: usize) {
        let scratch = self.scratch;
        self.wait_for(&format!("there were {count} rows"), || rows(scratch, "out").len() >= count);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Asks it to end, which is no error.
    fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.said());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whole rows of a table, sorted, as they would be in `out`.
fn table(scratch: &Scratch, name: &str) -> Vec<String> {
    let text = fs::read_to_string(scratch.path(name)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let out = name.split('/').next().unwrap();
    let mut rows: Vec<String> = whole.lines().skip(1).map(|row| row.replace(&format!("{out}/"), "out/")).collect();
    rows.sort();
    rows
}

fn rows(scratch: &Scratch, out: &str) -> Vec<String> {
    table(scratch, &format!("{out}/scores.csv"))
}

/// Images of the rows, with repetitions.
fn images(scratch: &Scratch) -> Vec<String> {
    rows(scratch, "out").iter().map(|row| row.split(',').next().unwrap().to_string()).collect()
}

/// What is drawn is there, and nothing else is.
fn assert_drawn(scratch: &Scratch) {
    let named = rows(scratch, "out").into_iter();
    let named: BTreeSet<String> =
        named.flat_map(|row| row.split(',').map(str::to_string).collect::<Vec<_>>()).collect();
    let named: Vec<String> =
        named.into_iter().filter_map(|cell| cell.strip_prefix("out/").map(str::to_string)).collect();
    let there: Vec<String> = scratch.files("out").into_iter().filter(|name| name.ends_with(".png")).collect();
    assert_eq!(named, there);
}

/// Writes a whole file elsewhere and moves it to its place.
fn move_in(scratch: &Scratch, name: &str, bytes: &[u8]) {
    let written = scratch.write("elsewhere", bytes);
    fs::rename(written, scratch.path(name)).unwrap();
}

#[test]
fn images_are_scored_as_they_come() {
    let scratch = Scratch::new();
    scratch.write("in/there.png", &png(30, 30));
    scratch.write("in/deep/there.png", &png(31, 30));
    let mut watch = Watch::start(&scratch, "--jsonl --settle-ms 200");
    watch.wait_for_rows(2);
    scratch.write("in/new.png", &png(32, 30));
    scratch.write("in/notes.txt", b"no image");
    scratch.write("in/.hidden.png", &png(32, 30));
    watch.wait_for_rows(3);
    // In a folder that comes, and in one within it.
    scratch.write("in/more/and/more.png", &png(33, 30));
    watch.wait_for_rows(4);
    // In pieces, each of which the system tells of.
    let bytes = png(120, 90);
    let mut file = File::create(scratch.path("in/slow.png")).unwrap();
    for piece in bytes.chunks(bytes.len() / 5 + 1) {
        file.write_all(piece).unwrap();
        sleep(Duration::from_millis(150));
    }
    drop(file);
    watch.wait_for_rows(5);
    // Another image under the name of one.
    scratch.write("in/new.png", &png(40, 30));
    watch.wait_for_rows(6);
    watch.stop();
    let mut expected: Vec<String> =
        ["there", "deep/there", "new", "new", "more/and/more", "slow"].map(|name| format!("in/{name}.png")).to_vec();
    expected.sort();
    assert_eq!(images(&scratch), expected);
    assert_drawn(&scratch);
    assert!(scratch.path("out/new_2_overlay.png").exists() && scratch.path("out/more/and/more_overlay.png").exists());
    let told = fs::read_to_string(scratch.path("told")).unwrap();
    let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().filter(|object| object["score"].is_number()).count() == 6);
    // As predict scores what is there now.
    scratch.run(&format!("predict {MODEL} in --out whole --device cpu --what overlay")).expect_success();
    let scores = |out: &str| -> BTreeSet<String> {
        rows(&scratch, out).iter().map(|row| row.split(',').take(6).collect::<Vec<_>>().join(",")).collect()
    };
    assert!(scores("whole").is_subset(&scores("out")) && scores("whole").len() == 5 && scores("out").len() == 6);
}

/// The system does not tell of them; where they lead back, each folder is read once, and the watch is stopped as fast as any.
#[test]
fn what_comes_to_folders_behind_links_is_scored() {
    let scratch = Scratch::new();
    scratch.write("camera/0.png", &png(30, 30));
    fs::create_dir(scratch.path("in")).unwrap();
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(scratch.path(to), scratch.path(from)).unwrap();
    link("camera", "in/camera");
    for level in 0..30 {
        fs::create_dir(scratch.path(&format!("in/{level}"))).unwrap();
        (0..2).for_each(|i| link(&format!("in/{}", (level + 1) % 30), &format!("in/{level}/{i}")));
    }
    let mut watch = Watch::start(&scratch, "--settle-ms 0");
    watch.wait_for_rows(1);
    watch.wait_for_words("60 links lead to folders that are read by another name");
    watch.wait_for_words("in/camera is a link: the system does not tell");
    move_in(&scratch, "camera/1.png", &png(30, 30));
    let begun = Instant::now();
    watch.wait_for_rows(2);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "the whole folder is looked at in less than the minute without links"
    );
    move_in(&scratch, "in/7/2.png", &png(30, 30));
    watch.wait_for_rows(3);
    watch.stop();
    assert_eq!(images(&scratch), ["7/2", "camera/0", "camera/1"].map(|name| format!("in/{name}.png")));
}

/// However long files have to rest otherwise.
#[test]
fn a_file_that_is_renamed_is_whole() {
    let scratch = Scratch::new();
    let mut watch = Watch::start(&scratch, NEVER);
    watch.wait_for_words("watching in");
    move_in(&scratch, "in/a.png", &png(30, 30));
    watch.wait_for_rows(1);
    // Within the folder, by names that are images' and that are not.
    for (temporary, name) in [("b.tmp", "b.png"), (".c.png", "c.png"), ("d_part.png", "d.png")] {
        let written = scratch.write(&format!("in/{temporary}"), &png(31, 30));
        fs::rename(written, scratch.path("in").join(name)).unwrap();
    }
    watch.wait_for_rows(4);
    // In the place of one that was scored.
    move_in(&scratch, "in/a.png", &png(30, 30));
    watch.wait_for_rows(5);
    // One that only rests is still waited for.
    scratch.write("in/resting.png", &png(30, 30));
    move_in(&scratch, "in/z.png", &png(30, 30));
    watch.wait_for_rows(6);
    watch.stop();
    assert_eq!(images(&scratch), ["a", "a", "b", "c", "d", "z"].map(|name| format!("in/{name}.png")));
    assert_drawn(&scratch);
    assert!(!fs::read_to_string(scratch.path("said")).unwrap().contains("before it could be read"));
}

#[test]
fn what_cannot_be_read_is_told_and_costs_no_other() {
    let scratch = Scratch::new();
    let mut watch = Watch::start(&scratch, "--settle-ms 1500");
    watch.wait_for_words("watching in");
    scratch.write("in/broken.png", b"noise");
    // Taken away before it has rested: on a busy machine that may take more than one attempt.
    let mut attempts = 0;
    loop {
        let name = format!("in/{attempts}.png");
        attempts += 1;
        let path = scratch.write(&name, &png(30, 30));
        fs::remove_file(path).unwrap();
        let told = format!("{name} was moved or removed before it could be read");
        let is_told = || fs::read_to_string(scratch.path("said")).unwrap().contains(&told);
        watch.wait_for(&told, || is_told() || images(&scratch).contains(&name));
        if is_told() {
            break;
        }
    }
    watch.wait_for_words("error: in/broken.png: not a readable image");
    scratch.write("in/good.png", &png(30, 30));
    watch.wait_for("good.png", || images(&scratch).contains(&"in/good.png".to_string()));
    // Once it is whole it is scored.
    scratch.write("in/broken.png", &png(30, 30));
    watch.wait_for("broken.png", || images(&scratch).contains(&"in/broken.png".to_string()));
    let before = images(&scratch).len();
    assert_eq!(watch.said().matches("broken.png").count(), 1, "{}", watch.said());
    watch.stop();
    let said = fs::read_to_string(scratch.path("said")).unwrap();
    assert!(said.contains("1 could not be read, 1 were gone before"), "{said}");
    assert!(said.contains(&format!("scored {before} images (")), "{said}");
    assert_eq!(before, attempts + 1);
    assert_drawn(&scratch);
}

/// Many at once share batches, and are scored as predict scores them.
#[test]
fn a_burst_is_scored_whole() {
    let scratch = Scratch::new();
    let mut watch = Watch::start(&scratch, "");
    for i in 0..200 {
        scratch.write(&format!("in/{i}.png"), &png(28 + i % 9, 28));
        scratch.write(&format!("burst/{i}.png"), &png(28, 28 + i % 7));
    }
    watch.wait_for_rows(200);
    let lines = || fs::read_to_string(scratch.path("out/watch.log")).unwrap().lines().count();
    let before = lines();
    fs::rename(scratch.path("burst"), scratch.path("in/burst")).unwrap();
    watch.wait_for_rows(400);
    watch.stop();
    assert!(lines() - before < 100, "{} groups", lines() - before);
    scratch.run(&format!("predict {MODEL} in --out whole --device cpu --what overlay")).expect_success();
    assert_eq!(rows(&scratch, "out"), rows(&scratch, "whole"));
    assert_drawn(&scratch);
}

#[test]
fn a_watch_that_was_stopped_goes_on() {
    let scratch = Scratch::new();
    for name in ["a", "b", "c"] {
        scratch.write(&format!("in/{name}.png"), &png(30, 30));
    }
    let mut watch = Watch::start(&scratch, "");
    watch.wait_for_rows(3);
    watch.stop();
    // One is new, one another, one has gone, and one is only touched in its permissions.
    scratch.write("in/d.png", &png(31, 30));
    scratch.write("in/b.png", &png_with(30, 30, 7));
    fs::remove_file(scratch.path("in/c.png")).unwrap();
    let mut permissions = fs::metadata(scratch.path("in/a.png")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(scratch.path("in/a.png"), permissions).unwrap();
    let mut watch = Watch::start(&scratch, "");
    watch.wait_for_rows(5);
    scratch.write("in/e.png", &png(31, 30));
    watch.wait_for_rows(6);
    assert!(watch.said().contains("3 images are scored already"), "{}", watch.said());
    watch.stop();
    assert_eq!(images(&scratch), ["a", "b", "b", "c", "d", "e"].map(|name| format!("in/{name}.png")));
    assert_drawn(&scratch);
}

/// Whatever was being written: rows, what is drawn, the record of both.
#[test]
fn a_watch_that_was_killed_goes_on() {
    let scratch = Scratch::new().with_run();
    for i in 0..300 {
        scratch.write(&format!("in/{}/{i}.png", i % 2), &png(100, 100 + i));
    }
    let words = |paths: &str| format!("predict run {paths} --device cpu --what mask,regions");
    let start = || Watch::of(&scratch, scratch.command().args(words("--watch in --out out").split_whitespace()));
    for more in [1, 40, 100] {
        let mut watch = start();
        let before = rows(&scratch, "out").len();
        watch.wait_for_rows(before + more);
        watch.kill();
        let append = |name: &str, bytes: &[u8]| {
            File::options().append(true).open(scratch.path("out").join(name)).unwrap().write_all(bytes).unwrap();
        };
        // As of images that were still to be recorded, and cut short.
        append("regions.csv", b"in/1/299.png,1,0,0,1,1,1,9.5,0,0,9.5,\"0,0\"\n");
        append("scores.csv", b"in/1/299.png,0.5,0.5,0.5,good,,,,out/1/299_mask.png,,1\nin/1/297.png,0.2");
        append("watch.log", br#"{"images":[{"image":"1/297.png","file":7,"na"#);
        scratch.write("out/1/299_mask.png", b"another");
        scratch.write("out/0/.fcdd-aB3dE6", b"cut short");
    }
    let mut watch = start();
    watch.wait_for_rows(300);
    watch.stop();
    scratch.run(&format!("{} --out whole", words("in"))).expect_success();
    assert_eq!(rows(&scratch, "out"), rows(&scratch, "whole"));
    assert_eq!(table(&scratch, "out/regions.csv"), table(&scratch, "whole/regions.csv"));
    let mut there = scratch.files("out");
    there.retain(|name| !name.starts_with("watch."));
    assert_eq!(there, scratch.files("whole"));
    let same = |name: &&String| {
        fs::read(scratch.path("out").join(name)).unwrap() == fs::read(scratch.path("whole").join(name)).unwrap()
    };
    assert!(there.iter().filter(|name| name.ends_with(".png")).all(|name| same(&name)));
}

/// What the process lacks is no fault of the images: they are scored once it is there.
#[cfg(target_os = "linux")]
#[test]
fn images_wait_for_open_files() {
    let scratch = Scratch::new();
    let mut watch = Watch::start(&scratch, "--settle-ms 50");
    watch.wait_for_words("watching in");
    let process = watch.child.id().to_string();
    // Those from the limit on cannot be opened, though ones beyond it are.
    let least_free = || {
        let names = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let open: BTreeSet<String> = names.map(|name| name.unwrap().file_name().to_str().unwrap().into()).collect();
        (0..).find(|number: &u32| !open.contains(&number.to_string())).unwrap()
    };
    let allow = |files: u32| {
        let limit = format!("--nofile={files}:");
        assert!(Command::new("prlimit").args(["--pid", &process, &limit]).status().unwrap().success());
    };
    allow(least_free());
    scratch.write("in/a.png", &png(40, 30));
    watch.wait_for_words("it is tried again");
    assert!(watch.said().contains("ulimit -n") && rows(&scratch, "out").is_empty(), "{}", watch.said());
    allow(1000);
    watch.wait_for_rows(1);
    let told = || fs::read_to_string(scratch.path("said")).unwrap();
    watch.stop();
    assert!(told().contains("; 0 could not be read"), "{}", told());
}

#[test]
fn the_folder_may_go_and_come_back() {
    for words in [NEVER, "--poll 1 --settle-ms 100"] {
        let scratch = Scratch::new();
        let mut watch = Watch::start(&scratch, words);
        watch.wait_for_words("watching in");
        move_in(&scratch, "in/a.png", &png(30, 30));
        watch.wait_for_rows(1);
        fs::rename(scratch.path("in"), scratch.path("gone")).unwrap();
        watch.wait_for_words("in is gone");
        fs::rename(scratch.path("gone"), scratch.path("in")).unwrap();
        watch.wait_for_words("in is there again");
        // Another of its name.
        fs::remove_dir_all(scratch.path("in")).unwrap();
        fs::create_dir(scratch.path("in")).unwrap();
        watch.wait_for("b.png", || {
            // Until somebody listens, where only a rename is not waited for.
            if words == NEVER || !scratch.path("in/b.png").exists() {
                move_in(&scratch, "in/b.png", &png(30, 30));
            }
            images(&scratch).contains(&"in/b.png".to_string())
        });
        watch.stop();
        assert_eq!(images(&scratch).iter().filter(|image| *image == "in/a.png").count(), 1);
    }
}

/// More than the system keeps of what it is to tell: the folder is looked at, long before it would be anyway.
#[cfg(target_os = "linux")]
#[test]
fn what_the_system_has_lost_is_found() {
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let kept: usize = kept.trim().parse().unwrap();
    if kept > 1 << 17 {
        return; // too many to outdo
    }
    let scratch = Scratch::new();
    scratch.write("in/a.png", &png(30, 30));
    let mut watch = Watch::start(&scratch, "--settle-ms 100");
    watch.wait_for_rows(1);
    watch.signal("-STOP");
    for i in 0..kept / 2 {
        let other = scratch.path("in").join(format!(".{}", i % 2));
        File::create(&other).unwrap();
        fs::remove_file(other).unwrap();
    }
    scratch.write("in/b.png", &png(30, 30));
    let begun = Instant::now();
    watch.signal("-CONT");
    watch.wait_for_rows(2);
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    watch.stop();
}

#[test]
fn results_are_of_one_watch() {
    let scratch = Scratch::new().with_run();
    let refused = |words: &str, said: &[&str]| {
        scratch.run(&format!("predict {words} --device cpu")).expect_error(said);
    };
    let usage = |words: &str, said: &str| {
        let ran = scratch.run(&format!("predict {MODEL} {words} --device cpu"));
        assert!(ran.0.status.code() == Some(2) && ran.stderr().contains(said), "{said}: {}", ran.stderr());
    };
    refused(&format!("{MODEL} --watch in --out out"), &["in", "no folder", "create it"]);
    scratch.write("in/a.png", &png(30, 30));
    for (words, named) in [
        ("--fail-on-anomaly", "--fail-on-anomaly"),
        ("--json", "--json"),
        ("--shard 1/2", "--shard"),
        ("in/a.png", "[PATH]..."),
    ] {
        usage(&format!("--watch in --out out {words}"), named);
    }
    usage("in --out out --settle-ms 3", "[PATH]...");
    usage("in --out out --poll 3", "[PATH]...");
    for (images, out) in [("in", "in"), ("in", "in/out"), ("in", ".")] {
        refused(&format!("{MODEL} --watch {images} --out {out}"), &["within each other", "--out"]);
    }
    assert!(!scratch.path("out").exists() && scratch.files("in") == ["a.png"]);
    let mut watch = Watch::start(&scratch, "");
    watch.wait_for_rows(1);
    refused(&format!("{MODEL} --watch in --out out --what overlay"), &["out", "in use by process"]);
    watch.stop();
    // Other words are refused by name, and change nothing.
    let before = scratch.files("out");
    scratch.write("other/b.png", &png(30, 30));
    refused("run --watch in --out out --what overlay", &["out", "another model", "--out"]);
    refused(
        &format!("{MODEL} --watch in --out out --what overlay --threshold 9"),
        &["out", "another threshold", "9.0", "--out"],
    );
    refused(&format!("{MODEL} --watch in --out out --what scores"), &["out", "another what", "--out"]);
    refused(&format!("{MODEL} --watch other --out out --what overlay"), &["out", "another folder", "--out"]);
    refused(&format!("{MODEL} in --out out"), &["watch.json", "predict --watch", "--out"]);
    scratch.run("evaluate run --out out").expect_error(&["watch.json", "predict --watch", "--out"]);
    assert_eq!(scratch.files("out"), before);
    // Nor does a watch mix with what others have left.
    scratch.run(&format!("predict {MODEL} in --out results --device cpu")).expect_success();
    refused(&format!("{MODEL} --watch in --out results"), &["scores.csv", "results of predict", "--out"]);
    scratch.write("theirs/scores.csv", b"mine\n");
    refused(&format!("{MODEL} --watch in --out theirs"), &["scores.csv", "is no result of predict --watch", "--out"]);
    assert_eq!(fs::read(scratch.path("theirs/scores.csv")).unwrap(), b"mine\n");
    // What was changed is told.
    let table = fs::read_to_string(scratch.path("out/scores.csv")).unwrap();
    scratch.write("out/scores.csv", format!("x{table}").as_bytes());
    refused(&format!("{MODEL} --watch in --out out --what overlay"), &["scores.csv", "was changed", "--out"]);
    scratch.write("out/scores.csv", table.as_bytes());
    scratch.write("out/watch.json", b"{");
    refused(&format!("{MODEL} --watch in --out out --what overlay"), &["watch.json", "cannot be read", "--out"]);
}
