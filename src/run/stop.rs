//! The request to stop, as another thread or Ctrl-C makes it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A request to stop, which a training looks for after each step ([`Trainer::stop_by`](crate::Trainer::stop_by)). Several trainings may share
/// it. Once made it stands: give the training that comes next a new `Stop`, or it ends without a step.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
    /// How many listen at the moment.
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

    /// Requests a stop, from any thread. It returns at once; a second request changes nothing.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Requests a stop; whether that is new, and something listens.
    pub(crate) fn request_of_listeners(&self) -> bool {
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
        assert!(stop.request_of_listeners() && stop.is_requested());
        assert!(!stop.request_of_listeners(), "the second one means now");
        drop(outer);
        let stop = Stop::default();
        drop(stop.listen());
        assert!(!stop.request_of_listeners() && stop.is_requested());
    }
}
