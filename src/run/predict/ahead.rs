//! Images are scored while those before them are drawn and written.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::data::prefetch::{Job, prefetched};
use crate::error::Result;
use crate::run::detector::{Groups, Kept};

/// Memory of a group from which on the next is not scored before it has been drawn.
const LARGE: usize = 64 << 20;

/// Images that were scored together.
pub(super) type Group = Result<Vec<Result<Kept>>>;

/// Scores groups in a thread of their own, one ahead of what `draw` uses.
pub(super) fn scored_ahead<R>(groups: Groups, draw: impl FnOnce(&mut dyn Iterator<Item = Group>) -> R) -> R {
    let groups = Mutex::new(groups);
    let (is_over, is_large) = (AtomicBool::new(false), AtomicBool::new(false));
    let next = || {
        let group = groups.lock().unwrap_or_else(PoisonError::into_inner).next();
        let bytes: usize = group.iter().flatten().flatten().flatten().map(Kept::bytes).sum();
        is_over.store(group.is_none(), Ordering::Relaxed);
        is_large.store(bytes > LARGE, Ordering::Relaxed);
        group
    };
    // A large one is in the way of the next.
    let job = || Job { bytes: 1 + usize::from(is_large.load(Ordering::Relaxed)), make: next };
    let jobs = iter::from_fn(|| (!is_over.load(Ordering::Relaxed)).then(job));
    prefetched(2, jobs, |groups| draw(&mut groups.flatten()))
}
