//! How well scores tell anomalous images and pixels from nominal ones.
//!
//! | file | holds |
//! | --- | --- |
//! | [`scores`] | collects the scores of images or pixels, and ranks them once for all figures |
//! | [`roc`] | area under the ROC curve, and the curve |
//! | [`precision_recall`] | average precision, best F1 |
//! | [`pro`] | per-region overlap |
//! | [`regions`] | connected regions of a mask |
//!
//! Every figure counts all scores as they are, without bins: samples with equal scores enter together. Counts are
//! integers, so no figure depends on the order of collecting or on the number of threads.

pub mod precision_recall;
pub mod pro;
pub mod regions;
pub mod roc;
pub mod scores;
