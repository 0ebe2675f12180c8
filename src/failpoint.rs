//! Places where a test ends the program as a power cut would: at every change of the file system. Without the feature `failpoints`, which
//! only `scripts/kill` turns on, they are nothing.
//!
//! `FAILPOINTS="rename=2*off->return"` ends the program before its third rename: the syntax is that of the crate `fail`.

/// Ends the program here if that was asked for.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        fail::fail_point!($name, |_| std::process::abort())
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
}

pub(crate) use failpoint;
