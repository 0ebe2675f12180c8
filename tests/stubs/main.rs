//! The build's reader of kernel signatures, and the functions that it writes.

#[path = "../../build/signatures.rs"]
mod signatures;
#[path = "../../build/stubs.rs"]
mod stubs;

mod generated;
mod reading;
