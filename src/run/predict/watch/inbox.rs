//! What the system tells of a watched folder, until the scoring has time for it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Takes what is told by any thread. A path that is told of many times takes the memory of one.
#[derive(Default)]
pub(crate) struct Inbox {
    hints: Mutex<Hints>,
    told: Condvar,
}

/// Paths within the folder, and what may have become of them: all of it is looked at anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// They may have been written into.
    pub changed: HashSet<PathBuf>,
    /// Files have taken or left these names.
    pub renamed: HashSet<PathBuf>,
    /// Something was not told, or will not be any more.
    pub is_lost: bool,
    /// Nothing, but somebody has to look up.
    is_call: bool,
}

impl Inbox {
    /// Something in the folder may have been written into, or made.
    pub(crate) fn changed(&self, path: PathBuf) {
        self.tell(|hints| hints.changed.extend([path]));
    }

    /// A file in the folder has taken this name, or left it for another there.
    pub(crate) fn renamed(&self, path: PathBuf) {
        self.tell(|hints| hints.renamed.extend([path]));
    }

    /// The system has not told all, or will not tell any more.
    pub(crate) fn lost(&self) {
        self.tell(|hints| hints.is_lost = true);
    }

    /// Ends a wait.
    pub(crate) fn call(&self) {
        self.tell(|hints| hints.is_call = true);
    }

    fn tell(&self, tell: impl FnOnce(&mut Hints)) {
        tell(&mut self.hints.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_all();
    }

    /// All that was told; if it is nothing, what is told until then.
    pub(super) fn wait(&self, until: Instant) -> Hints {
        let hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.told.wait_timeout_while(hints, left, |hints| *hints == Hints::default());
        std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_ends_when_something_is_told() {
        let inbox = Inbox::default();
        assert_eq!(inbox.wait(Instant::now()), Hints::default());
        (0..3).for_each(|_| inbox.changed("a.png".into()));
        inbox.lost();
        let told = inbox.wait(Instant::now());
        assert_eq!((told.changed.len(), told.renamed.len(), told.is_lost), (1, 0, true));
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| inbox.call());
            inbox.wait(begun + Duration::from_secs(600));
        });
        assert!(begun.elapsed() < Duration::from_secs(300));
    }
}
