//! The real binary, on small data of its own making: what works, what is refused, and that nothing is left half-written.

mod bad_input;
mod calibrate;
mod compatibility;
mod cuda;
mod endings;
mod experiments;
mod export;
mod files_that_lie;
mod import;
mod known_images;
mod limits;
mod locks;
mod masks;
mod predict;
mod regions;
mod results;
mod runs;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod service;
mod sets;
mod stops;
mod support;
mod sweep;
mod watch;
