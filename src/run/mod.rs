//! The verbs, and what they share: settings, the run's files, training data, scoring, progress.

pub mod bench;
pub mod demo;
pub mod directory;
pub mod evaluate;
pub mod info;
pub mod model;
pub mod pictures;
pub mod predict;
pub mod prepare;
pub mod progress;
pub mod report;
pub mod results;
pub mod score;
pub mod select;
pub mod layout;
pub mod settings;
pub mod state;
pub mod train;
pub mod verify;
