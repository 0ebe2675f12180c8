//! Results that are replaced, and calls that were killed on the way.

use super::*;

const A: &str = "a_heatmap.png";
const B: &str = "deep/b_heatmap.png";
const C: &str = "new/c_heatmap.png";

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn there(folder: &Path) -> Vec<String> {
    files::below(folder).unwrap().iter().map(|path| path.printable()).collect()
}

fn begin(out: &Path, request: &str) -> Output {
    Output::begin(out, Kind::Predict, &[], Some(request.into()), [A, B].map(str::to_string).to_vec()).unwrap()
}

/// Killed on the way or not, a folder ends with the new results and what is not ours.
#[test]
fn results_are_replaced_as_a_whole_wherever_it_was_killed() {
    for killed in 0..5 {
        let root = tempfile::tempdir().unwrap();
        let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
        for name in [A, B, "notes.txt"] {
            write(out.join(name), "old");
        }
        write(out.join("scores.csv"), &format!("image,score,heatmap,overlay\na,1,{A},{B}\n"));
        let output = begin(&out, "x");
        assert_eq!((output.place(), output.resumed), (partial.canonicalize().unwrap().as_path(), false));
        for name in ["scores.csv", A, C] {
            write(partial.join(name), "new");
        }
        let old: Vec<String> = [A, B, "scores.csv"].map(str::to_string).to_vec();
        match killed {
            0 => output.finish().unwrap(),
            _ => {
                drop(output);
                Journal::publishing(Kind::Predict, old).write(&partial).unwrap();
                if killed > 1 {
                    fs::remove_file(out.join("scores.csv")).unwrap();
                }
                if killed > 2 {
                    fs::remove_file(out.join(A)).unwrap();
                    fs::remove_dir_all(out.join("deep")).unwrap();
                    Journal::publishing(Kind::Predict, Vec::new()).write(&partial).unwrap();
                }
                if killed > 3 {
                    fs::rename(partial.join("scores.csv"), partial.join(".scores.csv")).unwrap();
                    fs::rename(partial.join(A), out.join(A)).unwrap();
                }
                drop(begin(&out, "y")); // whatever comes next
            }
        }
        assert_eq!(there(&out), [A, "new/c_heatmap.png", "notes.txt", "scores.csv"], "{killed}");
        assert_eq!(fs::read_to_string(out.join(A)).unwrap(), "new", "{killed}");
        assert!(!partial.exists() && !out.join("deep").exists());
    }
}

#[test]
fn the_same_request_goes_on_and_another_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
    let nothing = begin(&out, "x");
    assert!(out.join(JOURNAL).exists());
    drop(nothing);
    assert!(!out.exists(), "nothing came of it");
    let some = begin(&out, "x");
    write(out.join(A), "unfinished");
    drop(some);
    assert!(begin(&out, "x").resumed);
    // Unfinished results are replaced like others, with all that was to come of them.
    let other = begin(&out, "y");
    assert!(!other.resumed && other.place().ends_with("out.partial"));
    write(partial.join(C), "new");
    write(partial.join("scores.csv"), "image,score\n");
    drop(other);
    write(partial.join(".fcdd-x1"), "cut short");
    assert!(begin(&out, "y").resumed && !partial.join(".fcdd-x1").exists());
    begin(&out, "y").finish().unwrap();
    assert_eq!(there(&out), [C, "scores.csv"]);
    // Nor does what was killed while it was removed pass for results.
    let gone = begin(&out, "x");
    write(partial.join(B), "new");
    drop(gone);
    discard(&partial, &out).unwrap();
    assert!(!partial.exists());
    // What is not ours is not removed.
    write(out.join("scores.csv"), "image,score,heatmap\n");
    write(partial.join("theirs"), "");
    let refused = Output::begin(&out, Kind::Predict, &[], Some("z".into()), Vec::new()).err().unwrap().to_string();
    assert!(refused.contains("out.partial") && refused.contains("move it away"), "{refused}");
    assert!(partial.join("theirs").exists());
}

/// `OUT.partial` may be named as a folder of results, or removed.
#[test]
fn nobody_else_writes_or_removes_what_is_in_the_making() {
    let root = tempfile::tempdir().unwrap();
    let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
    write(out.join("scores.csv"), "image,score,heatmap,overlay\n");
    let output = begin(&out, "x");
    assert_eq!(output.to_write(A).unwrap(), output.place().join(A));
    let refused = Output::begin(&partial, Kind::Predict, &[], None, Vec::new()).err().unwrap().to_string();
    assert!(refused.contains("is in use by"), "{refused}");
    fs::remove_dir_all(&partial).unwrap();
    assert!(output.to_write(A).unwrap_err().to_string().contains("moved or removed"));
    assert!(output.finish().is_err());
    assert_eq!(there(&out), ["scores.csv"]);

    // Nor are results in the making where another call makes its own.
    let other = Output::begin(&partial, Kind::Predict, &[], None, Vec::new()).unwrap();
    let refused = Output::begin(&out, Kind::Predict, &[], Some("x".into()), Vec::new()).err().unwrap().to_string();
    assert!(refused.contains("is in use by"), "{refused}");
    drop(other);
    drop(begin(&out, "x"));
    assert!(!partial.exists());
}

/// Figures of an earlier model would pass for the new one's.
#[test]
fn a_new_model_has_no_earlier_figures_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let (run, partial) = (root.path().join("run"), root.path().join("run.partial"));
    for name in directory::OF_TEST {
        write(run.join(name), "old");
    }
    write(run.join(directory::CONFIG), "{}");
    write(partial.join(directory::SCORES), "new");
    Journal::publishing(Kind::Evaluate, Vec::new()).write(&partial).unwrap();
    let directory = RunDirectory::go_on(FolderLock::new(&run).unwrap()).unwrap();
    forget_test(&directory).unwrap();
    drop(directory);
    assert_eq!(there(&run), [directory::CONFIG]);
    assert!(!partial.exists());
}

/// Files of the names in a journal are removed.
#[test]
fn a_changed_journal_is_refused_and_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (out, partial) = (root.path().join("out"), root.path().join("out.partial"));
    let theirs =
        ["out/notes.txt", "theirs_heatmap.png", "elsewhere/theirs_heatmap.png"].map(|name| root.path().join(name));
    theirs.iter().for_each(|path| write(path.clone(), "theirs"));
    write(out.join("scores.csv"), "old");
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path().join("elsewhere"), out.join("link")).unwrap();
    let absolute = theirs[1].to_str().unwrap().to_string();
    for name in ["notes.txt", "../theirs_heatmap.png", "link/theirs_heatmap.png", &absolute] {
        if cfg!(not(unix)) && name.starts_with("link") {
            continue;
        }
        let unfinished = Journal { kind: Kind::Predict, request: None, results: vec![name.into()], publishing: None };
        for (folder, journal) in [(&out, unfinished), (&partial, Journal::publishing(Kind::Predict, vec![name.into()]))]
        {
            fs::create_dir_all(folder).unwrap();
            journal.write(folder).unwrap();
            let begun = Output::begin(&out, Kind::Predict, &[], Some("x".into()), Vec::new());
            let refused = begun.err().unwrap().to_string();
            assert!(refused.contains(JOURNAL) && refused.contains(&format!("{name:?}")), "{refused}");
            assert!(theirs.iter().all(|path| path.exists()), "{name}");
            fs::remove_file(folder.join(JOURNAL)).unwrap();
        }
    }
}

/// Where `OUT` is a mount point, `OUT.partial` lies on another file system.
#[cfg(unix)]
#[test]
fn results_are_replaced_from_another_file_system() {
    use std::os::unix::fs::MetadataExt;
    let (here, Ok(there_)) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm")) else { return };
    if here.path().metadata().unwrap().dev() == there_.path().metadata().unwrap().dev() {
        return; // there is but one
    }
    let (out, partial) = (here.path().join("out"), there_.path().join("out.partial"));
    for (folder, text) in [(&out, "old"), (&partial, "new")] {
        [A, "scores.csv"].iter().for_each(|name| write(folder.join(name), text));
    }
    write(out.join(B), "old");
    let old = [A, B, "scores.csv"].map(str::to_string).to_vec();
    Journal::publishing(Kind::Predict, old.clone()).write(&partial).unwrap();
    publish(&partial, &out, Kind::Predict, old).unwrap();
    assert_eq!(there(&out), [A, "scores.csv"]);
    assert_eq!([A, "scores.csv"].map(|name| fs::read_to_string(out.join(name)).unwrap()), ["new", "new"]);
    assert!(!partial.exists());
}

#[test]
fn results_lie_beside_images_not_among_them() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("parts");
    write(images.join("good/a.PNG"), "");
    for inside in ["parts", "parts/out", "parts/good/deep/out", "other/../parts/out"] {
        fs::create_dir_all(root.path().join("other")).unwrap();
        assert!(check_outside(&root.path().join(inside), &images).is_err(), "{inside}");
    }
    for inside in ["nowhere/../parts/out", "a/b/../../parts/out", "parts/good/a.PNG/../out"] {
        assert!(check_outside(&root.path().join(inside), &images).is_err(), "{inside}");
    }
    for beside in ["out", "parts-run", "parts.partial", "parts/nowhere/../../out"] {
        check_outside(&root.path().join(beside), &images).unwrap();
    }
    fs::remove_file(images.join("good/a.PNG")).unwrap();
    check_outside(&images, &images).unwrap();
}
