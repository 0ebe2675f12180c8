//! Work that is done ahead of its use, in a thread of its own.

use std::sync::mpsc::{IntoIter, sync_channel};
use std::thread;

/// Makes `items` in a thread of their own while `consume` uses those before: at most two beyond the one in use. They come in order;
/// when `consume` is done, no more are made.
pub fn ahead<T: Send, R>(items: impl Iterator<Item = T> + Send, consume: impl FnOnce(IntoIter<T>) -> R) -> R {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    break; // nobody wants it
                }
            }
        });
        consume(receiver.into_iter())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn items_come_in_order_and_no_more_than_two_early() {
        let made = AtomicUsize::new(0);
        let items = (0..20).inspect(|_| {
            made.fetch_add(1, Ordering::SeqCst);
        });
        let taken: Vec<usize> = ahead(items, |items| {
            let one = |(used, item)| {
                // In use, waiting in the channel, and one that waits for a place there.
                assert!(made.load(Ordering::SeqCst) <= used + 3);
                item
            };
            items.take(10).enumerate().map(one).collect()
        });
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
        assert!(made.into_inner() <= 12);
    }
}
