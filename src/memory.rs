//! Memory that settings ask for: too much of it is said in words, where the allocator would end the program.

use crate::error::{Error, Result};

/// Fails unless the system would hand out `bytes` of memory for `what`, such as "a batch of 9 images". What it hands out need not
/// be there once it is used; but what it refuses would end the program.
pub fn room_for(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    let mut probe: Vec<u8> = Vec::new();
    let refused = probe.try_reserve_exact(bytes).is_err();
    // Looked at, so that the compiler does not leave the allocation out.
    std::hint::black_box(&mut probe);
    if refused {
        let gib = bytes as f64 / f64::from(1 << 30);
        return Err(Error::setting(format!("{what} takes {gib:.1} GiB of memory, more than there is"), remedy));
    }
    Ok(())
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
    }
}
