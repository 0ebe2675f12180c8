//! Memory that settings ask for: too much of it is an error, where the allocator would abort the program.

use std::fs;

use crate::error::{Error, Result};

/// Fails unless the system would hand out `bytes` of memory for `what`, such as "a batch of 9 images". Memory that it grants
/// may still be missing once it is used; a refusal would abort the program.
pub(crate) fn room_for(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    let mut probe: Vec<u8> = Vec::new();
    let refused = probe.try_reserve_exact(bytes).is_err();
    // So that the compiler does not leave the allocation out.
    std::hint::black_box(&mut probe);
    if refused {
        return Err(Error::setting(format!("{what} takes {} of memory, more than there is", gib(bytes)), remedy));
    }
    Ok(())
}

/// Fails where so many `bytes` that will be used for `what`, such as "the masks of 9 images", are not free: the system would end
/// the program.
pub(crate) fn fits(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    match free() {
        Some(free) if bytes > free => {
            let problem = format!("{what} take {} of memory, and {} are free", gib(bytes), gib(free));
            Err(Error::setting(problem, remedy))
        }
        _ => Ok(()),
    }
}

fn gib(bytes: usize) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Bytes of memory that programs can still get, where the system tells: what Linux calls available, and what is left of the group's
/// limit in a container.
pub(crate) fn free() -> Option<usize> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let system = fs::read_to_string("/proc/meminfo").ok()?;
    let line = system.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let system = line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? << 10;
    let group = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    Some(group.map_or(system, |(limit, used)| system.min(limit.saturating_sub(used))))
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
}
