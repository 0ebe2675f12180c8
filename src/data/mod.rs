//! From files to batches.

pub mod surfaces;
