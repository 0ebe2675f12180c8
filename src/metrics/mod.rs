//! ROC and AUROC.

pub mod roc;
