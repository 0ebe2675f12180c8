//! The wish to stop, as Ctrl-C utters it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A wish to stop, and whether anything heeds it at the moment: training does, after each step.
#[derive(Debug, Default)]
pub struct Stop {
    wished: AtomicBool,
    /// How many heed it.
    heeding: AtomicUsize,
}

/// As long as this lives, something heeds the wish.
#[must_use]
pub struct Heeding<'a>(&'a AtomicUsize);

impl Drop for Heeding<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stop {
    /// Utters the wish. False where nothing is going to heed it, or where it was uttered before: then whoever wishes has to end the
    /// program.
    pub fn wish(&self) -> bool {
        !self.wished.swap(true, Ordering::Relaxed) && self.heeding.load(Ordering::Relaxed) > 0
    }

    /// Whether the wish was uttered.
    pub fn is_wished(&self) -> bool {
        self.wished.load(Ordering::Relaxed)
    }

    /// Says that the wish is heeded from now on, until what this returns is dropped.
    pub fn heed(&self) -> Heeding<'_> {
        self.heeding.fetch_add(1, Ordering::Relaxed);
        Heeding(&self.heeding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_heeded_once_and_only_while_something_listens() {
        let stop = Stop::default();
        let outer = stop.heed();
        drop(stop.heed());
        assert!(!stop.is_wished());
        assert!(stop.wish() && stop.is_wished());
        assert!(!stop.wish(), "the second one means now");
        drop(outer);
        let stop = Stop::default();
        drop(stop.heed());
        assert!(!stop.wish() && stop.is_wished());
    }
}
