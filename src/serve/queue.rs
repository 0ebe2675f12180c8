//! Images that arrive together share a batch. One that comes alone is scored at once: there is a wait only while others are on their way,
//! being read and resized. An image's score does not depend on its company.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::failure::Failure;
use crate::error::{Error, Result};
use crate::run::detector::{Detector, Kept};
use crate::run::input::Prepared;

/// What waits for the net of a model.
pub(super) struct Queue {
    waiting: Sender<Waiting>,
    /// Images on their way here.
    coming: Arc<AtomicUsize>,
}

/// An image, and whom to tell what was found.
struct Waiting {
    image: Prepared,
    found: oneshot::Sender<Result<Kept, Failure>>,
}

/// An image on its way, as long as this is there.
pub(super) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// One whose images wait so long for others, at most.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub(super) fn new(detector: Detector, wait: Duration) -> Result<Queue> {
        let (waiting, arrived) = channel();
        let coming = Arc::new(AtomicUsize::new(0));
        let others = coming.clone();
        let batch = detector.batch();
        let score = move |images| detector.score(images);
        let started = thread::Builder::new().spawn(move || work(&arrived, &others, batch, wait, score));
        started.map_err(|e| {
            let problem = format!("cannot start the thread of a model ({e})");
            Error::setting(problem, "allow this process more threads (`ulimit -u`, `pids.max`)")
        })?;
        Ok(Queue { waiting, coming })
    }

    /// Says that an image is on its way.
    pub(super) fn announce(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(self.coming.clone())
    }

    /// What is found of an image that was announced.
    pub(super) async fn detect(&self, image: Prepared, coming: Coming) -> Result<Kept, Failure> {
        let (found, answer) = oneshot::channel();
        // Before it is there: else it would be waited for.
        drop(coming);
        self.waiting.send(Waiting { image, found }).map_err(|_| Failure::internal())?;
        answer.await.map_err(|_| Failure::internal())?
    }
}

/// Scores what arrives, until nothing can any more.
fn work(
    arrived: &Receiver<Waiting>,
    coming: &AtomicUsize,
    most: usize,
    wait: Duration,
    score: impl Fn(Vec<Prepared>) -> Result<Vec<Kept>>,
) {
    while let Ok(first) = arrived.recv() {
        let (images, told): (Vec<_>, Vec<_>) = gathered(first, arrived, coming, most, wait)
            .into_iter()
            .map(|Waiting { image, found }| (image, found))
            .unzip();
        let scored = catch_unwind(AssertUnwindSafe(|| score(images)));
        let failure = match scored {
            Ok(Ok(kept)) => {
                // Who does not wait any more is not told.
                told.into_iter().zip(kept).for_each(|(found, kept)| drop(found.send(Ok(kept))));
                continue;
            }
            Ok(Err(error)) => Failure::of(&error).of_the_service(),
            Err(_) => Failure::internal(),
        };
        told.into_iter().for_each(|found| drop(found.send(Err(failure.clone()))));
    }
}

/// The first and those that arrive with it.
fn gathered<T>(first: T, arrived: &Receiver<T>, coming: &AtomicUsize, most: usize, wait: Duration) -> Vec<T> {
    let until = Instant::now() + wait;
    let mut batch = vec![first];
    while batch.len() < most {
        let next = arrived.try_recv().ok().or_else(|| match coming.load(Ordering::Relaxed) {
            0 => None,
            _ => arrived.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
        });
        match next {
            Some(next) => batch.push(next),
            None => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_wait_for_those_on_their_way_alone() {
        let (send, arrived) = channel();
        let coming = AtomicUsize::new(0);
        let long = Duration::from_secs(60);
        let started = Instant::now();
        assert_eq!(gathered(0, &arrived, &coming, 4, long), [0]);
        (1..=6).for_each(|i| send.send(i).unwrap());
        assert_eq!(gathered(0, &arrived, &coming, 4, long), [0, 1, 2, 3], "a full batch");
        assert_eq!(gathered(0, &arrived, &coming, 9, long), [0, 4, 5, 6]);
        assert!(started.elapsed() < long / 2, "nobody was waited for");
        coming.store(1, Ordering::Relaxed);
        let together = thread::scope(|scope| {
            let late = scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                send.send(1).unwrap();
            });
            let together = gathered(0, &arrived, &coming, 2, long);
            late.join().unwrap();
            together
        });
        assert_eq!(together, [0, 1]);
        assert_eq!(gathered(0, &arrived, &coming, 2, Duration::from_millis(30)), [0], "it does not come");
    }
}
