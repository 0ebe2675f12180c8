//! The request to stop, as Ctrl-C makes it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A request to stop, and whether anything listens for it at the moment: training does, after each step.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
    /// How many listen.
    listening: AtomicUsize,
}

/// The request that nobody makes.
pub(crate) static NEVER: Stop = Stop::new();

/// As long as this lives, something listens.
#[must_use]
pub(crate) struct Listening<'a>(&'a AtomicUsize);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stop {
    /// Nothing is requested yet.
    pub const fn new() -> Stop {
        Stop { requested: AtomicBool::new(false), listening: AtomicUsize::new(0) }
    }

    /// Requests a stop. False where nothing listens, or where one was requested before: then the caller has to end the program.
    pub fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::Relaxed) && self.has_listeners()
    }

    /// Whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Whether anything listens.
    pub(crate) fn has_listeners(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Promises to look at [`Stop::is_requested`] until what this returns is dropped.
    pub(crate) fn listen(&self) -> Listening<'_> {
        self.listening.fetch_add(1, Ordering::Relaxed);
        Listening(&self.listening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_only_while_something_listens() {
        let stop = Stop::default();
        let outer = stop.listen();
        drop(stop.listen());
        assert!(!stop.is_requested());
        assert!(stop.request() && stop.is_requested());
        assert!(!stop.request(), "the second one means now");
        drop(outer);
        let stop = Stop::default();
        drop(stop.listen());
        assert!(!stop.request() && stop.is_requested());
    }
}
