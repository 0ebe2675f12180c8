//! The wish to stop, as Ctrl-C utters it.

use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop, and whether anything heeds it at the moment: training does, after each step.
#[derive(Debug, Default)]
pub struct Stop {
    wished: AtomicBool,
    heeded: AtomicBool,
}

impl Stop {
    /// Utters the wish. False where nothing is going to heed it, or where it was uttered before: then whoever wishes has to end the
    /// program.
    pub fn wish(&self) -> bool {
        !self.wished.swap(true, Ordering::Relaxed) && self.heeded.load(Ordering::Relaxed)
    }

    /// Whether the wish was uttered.
    pub fn is_wished(&self) -> bool {
        self.wished.load(Ordering::Relaxed)
    }

    /// Says whether the wish is heeded from now on.
    pub fn heed(&self, heeded: bool) {
        self.heeded.store(heeded, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_heeded_once_and_only_while_something_listens() {
        let stop = Stop::default();
        stop.heed(true);
        assert!(!stop.is_wished());
        assert!(stop.wish() && stop.is_wished());
        assert!(!stop.wish(), "the second one means now");
        let stop = Stop::default();
        stop.heed(true);
        stop.heed(false);
        assert!(!stop.wish() && stop.is_wished());
    }
}
