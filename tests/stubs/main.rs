//! The build's reader of what kernels and Rust share, the code that it writes of it, and what it compiles for.

#[path = "../../build/architectures.rs"]
mod architectures;
#[path = "../../build/layout.rs"]
mod layout;
#[path = "../../build/signatures.rs"]
mod signatures;
#[path = "../../build/stubs.rs"]
mod stubs;

mod choosing;
mod generated;
mod reading;
