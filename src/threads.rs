//! Threads of rayon apart from the caller's. A caller may be a task of rayon itself: while a task waits for others of its pool, its thread
//! begins any other task there, which may wait for what the first one holds or take hours; and where all threads of a pool wait for another
//! thread, no task of theirs can run. So the pools that are shared, those here, do work alone that waits for nobody; a training, which waits
//! for what is read ahead and for its caller's observer, has a pool of its own.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// What detectors compute in.
static COMPUTING: LazyLock<Option<ThreadPool>> = LazyLock::new(pool);

/// What images are read in ahead of their use.
static READING: LazyLock<Option<ThreadPool>> = LazyLock::new(pool);

/// As many threads as the program computes in; None where the system refuses them.
fn pool() -> Option<ThreadPool> {
    // In a task of a pool the number would be that pool's.
    let threads = thread::Builder::new().spawn(rayon::current_num_threads).ok()?.join().ok()?;
    ThreadPoolBuilder::new().num_threads(threads).build().ok()
}

/// Whether the caller is a task of rayon.
pub(crate) fn is_task() -> bool {
    rayon::current_thread_index().is_some()
}

/// Does work that waits for nobody in threads apart from the caller's; here where the system has refused them.
pub(crate) fn computing<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    apart(COMPUTING.as_ref(), work)
}

/// Reads ahead, which waits for nobody, in threads apart from the caller's; here where the system has refused them.
pub(crate) fn reading<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    apart(READING.as_ref(), work)
}

/// Does work that may wait: where the caller is a task, in threads for this work alone.
pub(crate) fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let threads = if is_task() { pool() } else { None };
    apart(threads.as_ref(), work)
}

/// Does work in a pool, while the caller's thread begins nothing else; here without one.
fn apart<T: Send>(threads: Option<&ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    let Some(threads) = threads else { return work() };
    if !is_task() {
        return threads.install(work);
    }
    // Taken by a thread that waits for the pool, or by this one where the system refuses another.
    let work = Mutex::new(Some(work));
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let done = thread::scope(|scope| {
        let waiting = thread::Builder::new().spawn_scoped(scope, || take().map(|work| threads.install(work)));
        waiting.map(|waiting| waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    match done.ok().flatten().or_else(|| take().map(|work| work())) {
        Some(done) => done,
        None => unreachable!("work that was taken was done, or has panicked"),
    }
}
