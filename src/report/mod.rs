//! Pictures: colour map, heatmap normalisation, overviews.

pub mod file;
pub mod heatmap;
pub mod jet;
pub mod overlay;
pub mod resample;
pub mod sheet;
mod text;
