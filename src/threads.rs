//! Threads of rayon apart from the caller's. A caller may be a task of rayon itself: while a task waits for others of its pool, its thread
//! begins any other task there, which may wait for what the first one holds; and where all threads of a pool wait for another thread, no
//! task of theirs can run.

use std::sync::LazyLock;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// What detectors compute in, and trainings of callers that are tasks of rayon.
static COMPUTING: LazyLock<Option<ThreadPool>> = LazyLock::new(pool);

/// What is read ahead for those: its threads wait for nobody.
static READING: LazyLock<Option<ThreadPool>> = LazyLock::new(pool);

/// As many threads as the program computes in; None where the system refuses them.
fn pool() -> Option<ThreadPool> {
    // In a task of a pool the number would be that pool's.
    let threads = thread::spawn(rayon::current_num_threads).join().ok()?;
    ThreadPoolBuilder::new().num_threads(threads).build().ok()
}

/// Whether the caller is a task of rayon.
pub(crate) fn is_task() -> bool {
    rayon::current_thread_index().is_some()
}

/// Does work in threads apart from the caller's, who waits without beginning anything else; here where the system has refused them.
pub(crate) fn computing<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let Some(threads) = &*COMPUTING else { return work() };
    if !is_task() {
        return threads.install(work);
    }
    let done = thread::scope(|scope| scope.spawn(|| threads.install(work)).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Reads ahead; `apart` where the work that needs it is a task of rayon.
pub(crate) fn reading<T: Send>(apart: bool, work: impl FnOnce() -> T + Send) -> T {
    match &*READING {
        Some(threads) if apart => threads.install(work),
        _ => work(),
    }
}
