//! Where memory or the size of files is limited: a clear refusal instead of an abort.

#![allow(unsafe_code)] // the allocator, and a system call

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::num::NonZero;
use std::thread;

use crate::error::{Error, Result};
use crate::memory;

/// What the program needs to start: its code, its threads, a small net.
const LEAST: usize = 64 << 20;

/// The variable that says how many threads there are, as programs with rayon know it.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Threads, at most: more than any machine has cores, few enough to start at once.
pub(super) const MAX_THREADS: usize = 1024;

/// Memory for which one more thread is started: its stack takes 2 MiB, and what it works on.
const PER_THREAD: usize = 32 << 20;

/// Starts the threads to compute with, as many as are asked for, or else all cores: fewer where memory is limited.
///
/// # Errors
/// Where there is less memory than the program needs, or the system refuses a thread.
pub(super) fn start(asked: Option<u16>) -> Result<()> {
    let limit = memory::nearest_limit();
    if let Some(limit) = limit.filter(|&limit| limit < LEAST) {
        let [limit, least] = [limit, LEAST].map(memory::in_words);
        let problem = format!(
            "this process may have {limit} of memory (ulimit -v, or its control group), and fcdd needs {least}"
        );
        return Err(Error::setting(problem, "allow it more"));
    }
    keep_to_one_arena();
    outlive_large_files();
    let from_environment = || std::env::var(VARIABLE).ok()?.parse().ok().filter(|&threads: &usize| threads > 0);
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = match asked.map(usize::from).or_else(from_environment) {
        Some(threads) if threads > MAX_THREADS => {
            let problem =
                format!("the variable {VARIABLE} asks for {threads} threads: there are {MAX_THREADS} at most");
            return Err(Error::setting(problem, "set it to fewer, or give --threads"));
        }
        asked => asked.unwrap_or_else(cores),
    };
    let threads = threads.min(limit.map_or(usize::MAX, |limit| limit / PER_THREAD));
    let refused = |e| Error::setting(format!("cannot start {threads} threads ({e})"), "choose a smaller --threads");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(refused)
}

/// Each thread would keep what it has freed for itself, beside the memory that images may take, and reserve 64 MiB of addresses for it,
/// which count where the address space is limited. 32 threads that read JPEGs held 159 MB so, and 91 MB in one arena, in no more time.
fn keep_to_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets a number of the allocator, before there are other threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// A file that outgrows `ulimit -f` ends a process by a signal; where that is ignored, writing fails and the error says why.
fn outlive_large_files() {
    #[cfg(unix)]
    // SAFETY: no function of the program is called by it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
    };
}

/// The system's allocator. Where that refuses memory, the program says so and ends as after any error, instead of aborting; unless all that is
/// wanted is to [know](memory::room_for). Files are written whole or not at all, so nothing is lost.
#[derive(Debug)]
pub struct Allocator;

/// What it was given, or the end of the program.
fn given(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && !memory::is_asking() {
        // On the stack: there is no memory for a text.
        let mut text = [0; 160];
        let mut rest = &mut text[..];
        let _ = writeln!(
            rest,
            "error: out of memory: {bytes} more bytes are refused; allow this process more, or give it less to do"
        );
        let left = rest.len();
        let _ = std::io::stderr().write_all(&text[..text.len() - left]);
        #[cfg(unix)]
        // SAFETY: it ends the process at once, as a signal would.
        unsafe {
            libc::_exit(i32::from(super::ERROR))
        };
        #[cfg(not(unix))]
        std::process::exit(i32::from(super::ERROR));
    }
    memory
}

// SAFETY: each call is the system's allocator's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on, here and below.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
