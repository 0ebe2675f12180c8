//! The real binary, on small data of its own making: what works, what is refused, and that nothing is left half-written.

mod bad_input;
mod calibrate;
mod compatibility;
mod cuda;
mod endings;
mod experiments;
mod files_that_lie;
mod limits;
mod locks;
mod masks;
mod predict;
mod regions;
mod results;
mod runs;
mod sets;
mod stops;
mod support;
mod sweep;
