//! The subcommands, and what they share: settings, the run's files, training data, scoring, progress.
//!
//! | file | holds |
//! | --- | --- |
//! | [`train`], [`evaluate`], [`predict`], [`calibrate`](mod@calibrate), [`import`](mod@import), [`export`](mod@export), [`sweep`], [`compare`](mod@compare), [`demo`], [`verify`], [`bench`](mod@bench), [`info`], [`weights`] | one subcommand each |
//! | [`settings`], [`prepare`] | everything that decides a run; from there to training and test images |
//! | [`detector`], `input`, [`trainer`] | detection and training for other programs: the crate's front |
//! | `training_loop` | a network in training, epoch by epoch |
//! | `held_out`, `pace` | which epoch was best, by good images that are held out; how long a training will take |
//! | `known_images` | what a model has learned from or was calibrated on, wherever copies of it lie |
//! | `features`, `reduction` | of nets whose frozen layers are fixed: what they make of each view, computed once; its principal components |
//! | [`model`], `seal`, [`score`], [`stitch`], [`heatmap`], `pixel_map`, [`regions`], [`overlay`] | the model file; its checksum; scoring with it; maps of tiles as one; heatmaps to show; values of an image's own pixels; where they exceed the pixel threshold; all that on the image |
//! | [`directory`], [`lock`], [`state`] | a run's files; that one process at a time writes them; what resuming needs |
//! | [`kind`], [`own_files`], [`output`] | of which subcommand the results in a folder are; which files are ours; that results replace earlier ones as a whole |
//! | `calibration_scores`, [`calibration`], [`verdict`] | what a model says of good images; the threshold that follows, and what it promises; what images are called by it |
//! | [`figures`], [`breakdown`], `overlap` | what a model is measured by; what that rests on; test images that are known from elsewhere |
//! | [`results`], [`sheets`], [`plots`], [`select`], [`report`] | what a run leaves: all of it, contact sheets, curves, which images they show, the page |
//! | [`context`], [`stop`], [`shard`] | where to compute, whom to tell, when to stop; which part of the work |

pub mod bench;
pub(crate) mod breakdown;
pub(crate) mod calibrate;
pub(crate) mod calibration;
mod calibration_scores;
pub(crate) mod compare;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod detector;
pub(crate) mod directory;
pub(crate) mod evaluate;
pub(crate) mod evaluator;
pub(crate) mod export;
mod features;
pub(crate) mod figures;
pub(crate) mod heatmap;
mod held_out;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod input;
pub(crate) mod kind;
mod known_images;
pub(crate) mod lock;
pub(crate) mod model;
pub(crate) mod output;
mod overlap;
pub(crate) mod overlay;
pub(crate) mod own_files;
mod pace;
mod pixel_map;
pub(crate) mod plots;
pub(crate) mod predict;
pub(crate) mod prepare;
mod reduction;
pub(crate) mod regions;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod score;
mod seal;
pub(crate) mod select;
pub(crate) mod settings;
pub(crate) mod shard;
pub(crate) mod sheets;
pub(crate) mod state;
pub(crate) mod stitch;
pub(crate) mod stop;
pub(crate) mod sweep;
pub(crate) mod train;
pub(crate) mod trainer;
mod training_loop;
pub(crate) mod verdict;
pub mod verify;
pub(crate) mod weights;
