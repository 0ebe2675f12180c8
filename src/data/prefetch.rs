//! Work that is done ahead of its use, in a thread of its own, within a limit of bytes.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::threads;

/// One piece of work: its size in bytes, and what makes it.
pub struct Job<F> {
    pub bytes: usize,
    pub make: F,
}

/// Makes the items of `jobs` in a thread of their own while `consume` uses those before. They come in order; when `consume` is done,
/// no more are made. What is in the making, lies ready or is in use takes at most `limit` bytes; a larger item is there alone.
pub fn prefetched<T: Send, F: FnOnce() -> T + Send, R>(
    limit: usize,
    jobs: impl Iterator<Item = Job<F>> + Send,
    consume: impl FnOnce(Items<'_, T>) -> R,
) -> R {
    let (mut items, queue) = Items::new(limit);
    // Taken by the thread that makes them, or by this one where the system refuses another.
    let jobs = Mutex::new(Some(jobs));
    thread::scope(|scope| {
        // Where the caller is no task, the threads that it computes in read too.
        let apart = threads::is_task();
        let theirs = &jobs;
        let fill = move || take(theirs).into_iter().for_each(|jobs| queue.fill(jobs, apart));
        if thread::Builder::new().spawn_scoped(scope, fill).is_err() {
            items.here = take(&jobs).map(made_here);
        }
        consume(items)
    })
}

fn take<T>(held: &Mutex<Option<T>>) -> Option<T> {
    held.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Items as they are asked for.
fn made_here<'a, T, F: FnOnce() -> T>(jobs: impl Iterator<Item = Job<F>> + Send + 'a) -> Here<'a, T> {
    Box::new(jobs.map(|Job { make, .. }| make()))
}

/// Items that are made by the thread which asks for them.
type Here<'a, T> = Box<dyn Iterator<Item = T> + Send + 'a>;

/// The same as an iterator, for jobs that borrow nothing; they are done in the threads for reading.
pub fn prefetching<T: Send + 'static, F: FnOnce() -> T + Send>(
    limit: usize,
    jobs: impl Iterator<Item = Job<F>> + Send + 'static,
) -> Items<'static, T> {
    let (mut items, queue) = Items::new(limit);
    let jobs = Arc::new(Mutex::new(Some(jobs)));
    let theirs = jobs.clone();
    let fill = move || take(&theirs).into_iter().for_each(|jobs| queue.fill(jobs, true));
    match thread::Builder::new().spawn(fill) {
        Ok(maker) => items.maker = Some(maker),
        Err(_) => items.here = take(&jobs).map(made_here),
    }
    items
}

/// Items in the order of their jobs. One that was handed out counts as in use until the next is asked for.
pub struct Items<'a, T> {
    queue: Arc<Queue<T>>,
    /// Where the system refuses a thread that makes them ahead.
    here: Option<Here<'a, T>>,
    /// The thread that makes them, where no scope waits for it.
    maker: Option<JoinHandle<()>>,
}

/// What the two threads share.
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
    limit: usize,
}

struct QueueState<T> {
    ready: std::collections::VecDeque<(usize, T)>,
    /// Bytes of what is in the making, ready or in use; of the latter alone.
    taken: usize,
    in_use: usize,
    /// No more items come; nobody wants more.
    ended: bool,
    unwanted: bool,
}

/// The making side: that it ends, even by a panic, is told to the using side.
struct Making<T>(Arc<Queue<T>>);

impl<'a, T> Items<'a, T> {
    fn new(limit: usize) -> (Items<'a, T>, Making<T>) {
        let state = QueueState { ready: Default::default(), taken: 0, in_use: 0, ended: false, unwanted: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new(), limit });
        (Items { queue: queue.clone(), here: None, maker: None }, Making(queue))
    }
}

impl<T> Queue<T> {
    /// Changes the state, and waits before where `wait` says so.
    fn change<R>(&self, wait: impl Fn(&QueueState<T>) -> bool, change: impl FnOnce(&mut QueueState<T>) -> R) -> R {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.changed.wait_while(state, |state| wait(state)).unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }
}

impl<T: Send> Making<T> {
    fn fill<F: FnOnce() -> T + Send>(&self, jobs: impl Iterator<Item = Job<F>>, apart: bool) {
        let Making(queue) = self;
        for Job { bytes, make } in jobs {
            let full = |state: &QueueState<T>| !state.unwanted && state.taken > 0 && state.taken + bytes > queue.limit;
            let unwanted = queue.change(full, |state| {
                state.taken += bytes;
                state.unwanted
            });
            if unwanted {
                return;
            }
            let item = if apart { threads::reading(make) } else { make() };
            queue.change(|_| false, |state| state.ready.push_back((bytes, item)));
        }
    }
}

impl<T> Drop for Making<T> {
    fn drop(&mut self) {
        self.0.change(|_| false, |state| state.ended = true);
    }
}

impl<T> Iterator for Items<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if let Some(here) = &mut self.here {
            return here.next();
        }
        self.queue.change(
            |_| false,
            |state| {
                state.taken -= state.in_use;
                state.in_use = 0;
            },
        );
        let item = self.queue.change(
            |state| state.ready.is_empty() && !state.ended,
            |state| {
                let (bytes, item) = state.ready.pop_front()?;
                state.in_use = bytes;
                Some(item)
            },
        );
        // A panic over there is one here, not an early end.
        if item.is_none()
            && let Some(Err(panic)) = self.maker.take().map(JoinHandle::join)
        {
            std::panic::resume_unwind(panic);
        }
        item
    }
}

impl<T> Drop for Items<'_, T> {
    fn drop(&mut self) {
        self.queue.change(|_| false, |state| state.unwanted = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn items_come_in_order_and_no_more_than_fit() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let jobs = (0..100).map(move |i| {
            let count = count.clone();
            Job { bytes: LIMIT / 4, make: move || (count.fetch_add(1, Ordering::SeqCst), i) }
        });
        let mut items = prefetching(LIMIT, jobs);
        for i in 0..100 {
            assert_eq!(items.next(), Some((i, i)));
            // The one in use, and three beside it.
            assert!(made.load(Ordering::SeqCst) <= i + 4);
        }
        assert_eq!(items.next(), None);
    }

    #[test]
    fn without_a_thread_items_are_made_when_they_are_asked_for() {
        let made = AtomicUsize::new(0);
        let jobs = (0..3).map(|i| Job {
            bytes: LIMIT,
            make: {
                let made = &made;
                move || (made.fetch_add(1, Ordering::SeqCst), i)
            },
        });
        let (mut items, queue) = Items::new(LIMIT);
        drop(queue);
        items.here = Some(made_here(jobs));
        assert_eq!((items.next(), made.load(Ordering::SeqCst)), (Some((0, 0)), 1));
        assert_eq!(items.collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    }

    #[test]
    fn one_that_is_too_large_comes_alone() {
        let made = AtomicUsize::new(0);
        let job = |bytes| Job { bytes, make: || made.fetch_add(1, Ordering::SeqCst) };
        let sum = prefetched(LIMIT, [1, 2 * LIMIT, usize::MAX >> 1, 1].map(job).into_iter(), |items| {
            items
                .inspect(|&i| {
                    thread::sleep(std::time::Duration::from_millis(20));
                    assert_eq!(made.load(Ordering::SeqCst), i + 1, "nothing beside {i}");
                })
                .sum::<usize>()
        });
        assert_eq!(sum, 6);
    }

    #[test]
    fn nothing_is_made_that_nobody_wants() {
        let made = AtomicUsize::new(0);
        let jobs = (0..1000).map(|_| Job { bytes: LIMIT / 2, make: || made.fetch_add(1, Ordering::SeqCst) });
        assert_eq!(prefetched(LIMIT, jobs, |mut items| items.next()), Some(0));
        assert!(made.load(Ordering::SeqCst) <= 4);
    }
}
