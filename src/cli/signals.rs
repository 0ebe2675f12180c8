//! Signals that were ignored when the program began.

#![allow(unsafe_code)] // system calls

#[cfg(unix)]
pub(super) use unix::{ignore, ignored};

#[cfg(unix)]
mod unix {
    use std::ptr;

    /// Those of the signals that request a stop which this process ignores.
    pub(in crate::cli) fn ignored() -> Vec<libc::c_int> {
        let is_ignored = |signal: &libc::c_int| {
            // SAFETY: an action of zeros is one; where none is given, sigaction only tells the present one.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(*signal, ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
            }
        };
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect()
    }

    /// Ignores signals.
    pub(in crate::cli) fn ignore(signals: &[libc::c_int]) {
        for &signal in signals {
            // SAFETY: no code of this program runs on a signal that is ignored.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// Elsewhere no signals are inherited.
#[cfg(not(unix))]
pub(super) fn ignored() {}

#[cfg(not(unix))]
pub(super) fn ignore(_: &()) {}
