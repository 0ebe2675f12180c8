//! The subcommand `sweep`: one run for each class and seed, as the paper's tables are made, and what they say together.
//!
//! A sweep's folder holds `normal_CLASS/it_SEED`, each a run as `train` leaves it, and
//!
//! | file | holds |
//! | --- | --- |
//! | `sweep.json` | the plan: settings, classes, seeds |
//! | `summary.json`, `summary.csv`, `summary.md` | figures per class and over the classes, beside the published ones |
//! | `report.html` | the same on a page with ROC plots and links to the runs |
//! | `roc.svg`, `roc_pixels.svg` | ROC curves; those of the seeds of a class in `normal_CLASS` |
//!
//! | here | holds |
//! | --- | --- |
//! | [`plan`], [`work`](mod@work) | which runs there are; doing them |
//! | [`summary`], [`tables`], [`curves`], [`page`] | figures of the runs together; as tables; their ROC curves; their page |
//! | [`published`] | what the paper reports |

pub(crate) mod curves;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod published;
pub(crate) mod summary;
pub(crate) mod tables;
pub(crate) mod work;

use std::path::Path;

use plan::{SweepPlan, class_folder};
use summary::Summary;

use super::directory::write_json;
use super::lock::FolderLock;
use super::own_files::{PLAN, SUMMARY};
use crate::error::Result;
use crate::files;

/// Sums up what there is of the sweep in a folder, and leaves the summary's files there.
pub(crate) fn sum_up(folder: &Path) -> Result<Summary> {
    let plan = SweepPlan::of(folder)?; // what is no sweep is not written to
    let _lock = FolderLock::wait(folder)?;
    files::remove_unfinished(folder)?;
    for class in plan.classes.iter().map(|class| class_folder(folder, class)).filter(|class| class.is_dir()) {
        files::remove_unfinished(&class)?;
    }
    plan.runs(folder).iter().try_for_each(|run| FolderLock::tidy(&run.folder))?;
    let summary = Summary::of(folder)?;
    write_json(&folder.join(SUMMARY), &summary)?;
    tables::write(&summary, folder)?;
    page::write(&summary, folder)?;
    Ok(summary)
}
