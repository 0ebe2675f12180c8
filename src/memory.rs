//! Memory: how much there is, how much of it images may take, and errors where the allocator would abort the program.

use std::cell::Cell;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Bytes that images may take where the system does not tell what is free.
const UNKNOWN: usize = 1 << 30;

/// What is left beside a large request, for the small ones that follow it.
const SPARE: usize = 8 << 20;

thread_local! {
    /// Whether this thread only asks whether there is memory.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a request for memory by this thread, which the system has refused, is a question alone.
pub(crate) fn is_asking() -> bool {
    ASKING.get()
}

/// Bytes that images may take at a time; 0 until it is known.
static FOR_IMAGES: AtomicUsize = AtomicUsize::new(0);

/// Limits the memory, in bytes, that one call takes for image files at a time while they are decoded and kept to be drawn; a file that takes
/// more is refused. PNG and TIFF are decoded row by row and take little, other formats all of their pixels.
///
/// It is no limit of the process: each [`detect_iter`](crate::Detector::detect_iter) reads ahead within half of it, at most 256 MiB, by itself,
/// whatever others take; images that a caller holds and what nets take are not counted. Unless it is called, it is half of the memory that
/// is free at first use.
pub fn limit_image_memory(bytes: usize) {
    FOR_IMAGES.store(bytes.max(1), Ordering::Relaxed);
}

/// Bytes that images may take at a time.
pub(crate) fn for_images() -> usize {
    match FOR_IMAGES.load(Ordering::Relaxed) {
        0 => {
            let bytes = free().map_or(UNKNOWN, |free| free / 2).max(1);
            // Another thread may have been first.
            match FOR_IMAGES.compare_exchange(0, bytes, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => bytes,
                Err(first) => first,
            }
        }
        bytes => bytes,
    }
}

/// Splits work into runs of pieces that take at most `limit` bytes together; a piece that takes more is alone.
pub(crate) fn runs(bytes: &[usize], limit: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut taken = 0_usize;
    for (i, &more) in bytes.iter().enumerate() {
        taken = taken.saturating_add(more);
        match runs.last_mut() {
            Some(run) if taken <= limit => run.end = i + 1,
            _ => {
                taken = more;
                runs.push(i..i + 1);
            }
        }
    }
    runs
}

/// Fails unless the system would hand out `bytes` of memory for `what`, such as "a batch of 9 images". Memory that it grants
/// may still be missing once it is used; a refusal would abort the program.
pub(crate) fn room_for(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    let mut probe: Vec<u8> = Vec::new();
    ASKING.set(true);
    let refused = probe.try_reserve_exact(bytes.saturating_add(SPARE)).is_err();
    ASKING.set(false);
    // So that the compiler does not leave the allocation out.
    std::hint::black_box(&mut probe);
    if refused {
        let problem = format!("{what} takes {} of memory, more than there is", in_words(bytes));
        return Err(Error::OutOfMemory { problem, remedy: remedy.into() });
    }
    Ok(())
}

/// Fails where so many `bytes` that will be used for `what`, such as "the masks of 9 images", are not free: the system would end
/// the program.
pub(crate) fn fits(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    match free() {
        Some(free) if bytes > free => {
            let problem = format!("{what} take {} of memory, and {} are free", in_words(bytes), in_words(free));
            Err(Error::setting(problem, remedy))
        }
        _ => Ok(()),
    }
}

/// Bytes for people.
pub(crate) fn in_words(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes < f64::from(1 << 30) {
        format!("{:.1} MiB", bytes / f64::from(1 << 20))
    } else {
        format!("{:.1} GiB", bytes / f64::from(1 << 30))
    }
}

/// Bytes of memory that programs can still get, where the system tells: what Linux calls available, and what is left of the limits of
/// this process and of the control groups that it is in, those of a container, of systemd or of Slurm.
pub(crate) fn free() -> Option<usize> {
    free_in(Path::new("/"))
}

/// The same of the files of a system that lies in a folder.
fn free_in(root: &Path) -> Option<usize> {
    let system = kibibytes(&read(root, "proc/meminfo")?, "MemAvailable:")?;
    let limits = groups(root).into_iter().chain(address_space_in(root));
    Some(limits.map(|limit| limit.bytes.saturating_sub(limit.used)).fold(system, usize::min))
}

/// A limit of the process or of a control group that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) bytes: usize,
    used: usize,
}

/// The smallest limit of this process and its control groups; None without any, or where the system does not tell.
pub(crate) fn nearest_limit() -> Option<usize> {
    let root = Path::new("/");
    groups(root).into_iter().chain(address_space_in(root)).map(|limit| limit.bytes).min()
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

/// A line such as `MemAvailable:  100 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1 << 10)
}

/// The address space that the process may have (`ulimit -v`), where that is limited.
fn address_space_in(root: &Path) -> Option<Limit> {
    let limits = read(root, "proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    // Where there is none, the word is `unlimited`.
    let bytes: usize = line.split_whitespace().next()?.parse().ok()?;
    let used = kibibytes(&read(root, "proc/self/status")?, "VmSize:")?;
    Some(Limit { bytes, used })
}

/// The limit of each control group that this process is in, and of those above, of both versions.
fn groups(root: &Path) -> Vec<Limit> {
    let mut limits = Vec::new();
    for line in read(root, "proc/self/cgroup").unwrap_or_default().lines() {
        // Its number, what it controls, its path: 0, nothing and all for version 2.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controls), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, limit, used, cache) = match controls {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
            _ if controls.split(',').any(|control| control == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            }
            _ => continue,
        };
        let mount = root.join(mount);
        // In a container the path may be that of the machine outside: the group itself is then at the root.
        let within = mount.join(path.trim_start_matches('/'));
        for group in within.ancestors().take_while(|group| group.starts_with(&mount)) {
            let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<usize>().ok();
            let (Some(bytes), Some(used)) = (number(limit), number(used)) else { continue };
            // What was read from files and can be read again is given back when it is needed.
            let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<usize>().ok());
            limits.push(Limit { bytes, used: used.saturating_sub(cached.unwrap_or(0)) });
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_named() {
        room_for("a byte", 1, "").unwrap();
        for bytes in [1 << 60, usize::MAX] {
            let message = room_for("a batch", bytes, "take less").unwrap_err().to_string();
            assert!(message.starts_with("a batch takes ") && message.ends_with("; take less"), "{message}");
        }
        fits("two bytes", 2, "").unwrap();
        if free().is_some() {
            let message = fits("masks", usize::MAX, "take fewer").unwrap_err().to_string();
            assert!(message.starts_with("masks take ") && message.ends_with(" are free; take fewer"), "{message}");
        }
    }

    #[test]
    fn runs_stay_within_the_limit() {
        assert_eq!(runs(&[3, 4, 5, 20, 1, 9, 1], 10), [0..2, 2..3, 3..4, 4..6, 6..7]);
        assert_eq!(runs(&[usize::MAX, usize::MAX], 10), [0..1, 1..2]);
        assert!(runs(&[], 10).is_empty());
    }

    /// The nearest of all limits counts, as the system's files tell them.
    #[test]
    fn the_nearest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let free = || free_in(root.path()).map(|bytes| bytes >> 20);
        assert_eq!(free(), None);
        write("proc/meminfo", "MemTotal: 9999999 kB\nMemAvailable:    1024000 kB\n");
        assert_eq!(free(), Some(1000));
        // Of a service: its own group has no limit, the slice above has one.
        write("proc/self/cgroup", "0::/work.slice/fcdd.service\n");
        write("sys/fs/cgroup/work.slice/fcdd.service/memory.max", "max\n");
        write("sys/fs/cgroup/work.slice/fcdd.service/memory.current", "1048576\n");
        write("sys/fs/cgroup/work.slice/memory.max", &(900 << 20).to_string());
        write("sys/fs/cgroup/work.slice/memory.current", &(300 << 20).to_string());
        assert_eq!(free(), Some(600));
        write("sys/fs/cgroup/work.slice/memory.stat", &format!("anon 7\ninactive_file {}\n", 100 << 20));
        assert_eq!(free(), Some(700));
        // In a container, whose group is at the root.
        write("sys/fs/cgroup/memory.max", &(500 << 20).to_string());
        write("sys/fs/cgroup/memory.current", "0");
        assert_eq!(free(), Some(500));
        // Version 1, as of Slurm.
        write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n0::/\n");
        write("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", &(400 << 20).to_string());
        write("sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", &(100 << 20).to_string());
        assert_eq!(free(), Some(300));
        // ulimit -v
        write(
            "proc/self/limits",
            "Limit  Soft  Hard  Units\nMax address space         314572800   unlimited   bytes\n",
        );
        write("proc/self/status", "Name: fcdd\nVmSize:\t  102400 kB\n");
        assert_eq!(free(), Some(200));
        write("proc/self/limits", "Max address space         unlimited   unlimited   bytes\n");
        assert_eq!(free(), Some(300));
    }
}
