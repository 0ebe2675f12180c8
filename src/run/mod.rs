//! The verbs, and what they share: settings, the run's files, training data, scoring, progress.
//!
//! | file | holds |
//! | --- | --- |
//! | [`train`], [`evaluate`], [`predict`], [`sweep`], [`compare`](mod@compare), [`demo`], [`verify`], [`bench`](mod@bench), [`info`] | one verb each |
//! | [`settings`], [`prepare`] | everything that decides a run; from there to training and test images |
//! | [`detector`], [`trainer`] | detection and training for other programs: the crate's front |
//! | `training_loop` | a network in training, epoch by epoch |
//! | [`model`], [`score`], [`heatmap`], [`layout`] | the model file; scoring with it; heatmaps to show; nets in memory |
//! | [`directory`], [`state`] | a run's files; what resuming needs |
//! | [`figures`] | what a model is measured by |
//! | [`results`], [`pictures`], [`plots`], [`select`], [`report`] | what a run leaves: all of it, contact sheets, curves, which images they show, the page |
//! | [`context`], [`stop`] | where to compute, whom to tell, when to stop |

pub mod bench;
pub mod compare;
pub mod context;
pub mod demo;
pub mod detector;
pub mod directory;
pub mod evaluate;
pub mod figures;
pub mod heatmap;
pub mod info;
pub mod layout;
pub mod model;
pub mod pictures;
pub mod plots;
pub mod predict;
pub mod prepare;
pub mod report;
pub mod results;
pub mod score;
pub mod select;
pub mod settings;
pub mod state;
pub mod stop;
pub mod sweep;
pub mod train;
pub mod trainer;
mod training_loop;
pub mod verify;
