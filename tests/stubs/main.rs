//! The build's reader of kernel signatures, the functions that it writes, and what it
//! compiles for.

#[path = "../../build/architectures.rs"]
mod architectures;
#[path = "../../build/signatures.rs"]
mod signatures;
#[path = "../../build/stubs.rs"]
mod stubs;

mod choosing;
mod generated;
mod reading;
