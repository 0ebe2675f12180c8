//! Why an image is not read, and decoders of other crates that panic.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::Error;

/// Why an image is not read.
#[derive(Debug)]
pub(super) enum Fault {
    /// What its bytes hold.
    Content(String),
    /// What the process lacks, or the system refuses.
    Process(Error),
}

impl Fault {
    /// There is no memory for what an image takes.
    pub(super) fn no_memory(what: &str) -> Fault {
        Fault::Process(Error::OutOfMemory {
            problem: format!("there is no memory for {what}"),
            remedy: "free some, or read fewer images at once".into(),
        })
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault::Content(why)
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Fault {
        Fault::Content(why.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Process(error)
    }
}

thread_local! {
    /// This thread is in a decoder, whose panics are told as faults of the image and not on standard error.
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

/// Calls a decoder of another crate: where it panics on an image, that cannot be read.
pub(super) fn decoding<T>(decode: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !DECODES.get() {
                others(panicked);
            }
        }));
    });
    let before = DECODES.replace(true);
    let decoded = panic::catch_unwind(AssertUnwindSafe(decode));
    let is_decoders = DECODES.replace(before);
    match decoded {
        Ok(decoded) => decoded,
        Err(_) if is_decoders => Err("its decoder cannot make sense of it".into()),
        Err(own) => panic::resume_unwind(own),
    }
}

/// Work of this crate that a decoder calls: a panic there is none of the decoder's.
pub(super) fn not_decoding<T>(work: impl FnOnce() -> T) -> T {
    let before = DECODES.replace(false);
    let done = work();
    DECODES.set(before);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_decoders_are_faults_and_others_stay_panics() {
        let fault = decoding(|| -> Result<(), Fault> { panic!("in a decoder") });
        assert!(matches!(fault, Err(Fault::Content(_))));
        let own = panic::catch_unwind(|| decoding(|| -> Result<(), Fault> { not_decoding(|| panic!("of our own")) }));
        assert!(own.is_err() && !DECODES.get());
        assert!(decoding(|| Ok(not_decoding(|| decoding(|| Ok(7)).is_ok_and(|n| n == 7)))).is_ok_and(|same| same));
    }
}
