//! Hands what libFuzzer makes up to the parser that `FCDD_FUZZ` names.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// What images may take of memory.
const IMAGE_MEMORY: usize = 256 << 20;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    fcdd::limit_image_memory(IMAGE_MEMORY);
    let wanted = std::env::var("FCDD_FUZZ").expect("FCDD_FUZZ names a parser");
    let target = fcdd::fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
    target.unwrap_or_else(|| panic!("FCDD_FUZZ={wanted} is no parser")).1
});

fuzz_target!(|bytes: &[u8]| PARSE(bytes));
