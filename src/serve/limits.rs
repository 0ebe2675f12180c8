//! What requests may take: bytes, time, places in the queue, memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::LimitOptions;
use super::failure::Failure;
use crate::memory;

/// Memory is counted in pieces of so many bytes.
const PIECE: usize = 1 << 10;

/// How much of a body that is refused is read all the same, and for how long: many clients look for an answer only after it.
const PASSED_OVER: usize = 64 << 20;
const PASSING_OVER: Duration = Duration::from_secs(1);

/// What all requests share.
pub(super) struct Limits {
    pub(super) options: LimitOptions,
    /// Of bodies that are held.
    bodies: Pieces,
    /// Of images that are decoded and drawn.
    images: Pieces,
    /// Images in hand.
    places: Arc<Semaphore>,
}

/// What is given back when it is dropped.
pub(super) type Taken = OwnedSemaphorePermit;

/// Memory that is handed out.
struct Pieces {
    free: Arc<Semaphore>,
    all: u32,
}

impl Pieces {
    fn new(bytes: usize) -> Pieces {
        let all = pieces(bytes).max(1);
        Pieces { free: Arc::new(Semaphore::new(all as usize)), all }
    }
}

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

/// A body, and the memory that it takes while it is there.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: Option<Taken>,
}

impl Limits {
    pub(super) fn new(options: LimitOptions) -> Limits {
        let memory = memory::for_images();
        // All that come at a time, of whom each may be within its limit.
        let bodies = memory / 2;
        Limits {
            options: LimitOptions { body: options.body.min(bodies), ..options },
            bodies: Pieces::new(bodies),
            images: Pieces::new(memory),
            places: Arc::new(Semaphore::new(options.queue)),
        }
    }

    /// Takes places for images, all at once.
    ///
    /// # Errors
    /// More images than there are places; places that are taken.
    pub(super) fn places(&self, images: usize) -> Result<Vec<Taken>, Failure> {
        let all = self.options.queue;
        if images > all {
            return Err(Failure::too_large(format!(
                "{images} images in one request; at most {all} are taken at a time"
            )));
        }
        let mut taken = self.places.clone().try_acquire_many_owned(images as u32).map_err(|_| Failure::busy())?;
        Ok((0..images).filter_map(|_| taken.split(1)).collect())
    }

    /// Takes memory for an image, once others have given back theirs.
    ///
    /// # Errors
    /// An image that takes more than there is.
    pub(super) async fn image(&self, bytes: usize) -> Result<Taken, Failure> {
        if pieces(bytes) > self.images.all {
            let [takes, all] = [bytes, memory::for_images()].map(memory::in_words);
            return Err(Failure::too_large(format!("the image takes {takes} of memory, and images may take {all}")));
        }
        self.images.free.clone().acquire_many_owned(pieces(bytes)).await.map_err(|_| Failure::internal())
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// One that is too large or comes too slowly, or for which there is no memory now.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Held, Failure> {
        let until = Instant::now() + self.options.time;
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let refused = match self.read_until(announced, &mut body, until).await {
            Ok(held) => return Ok(held),
            Err(refused) => refused,
        };
        if refused.is_late() {
            return Err(refused);
        }
        let pass_over = async {
            let mut left = PASSED_OVER;
            while let Some(Ok(frame)) = body.frame().await {
                left = match left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) {
                    Some(left) => left,
                    None => break,
                };
            }
        };
        let _ = timeout(PASSING_OVER, pass_over).await;
        Err(refused)
    }

    async fn read_until(&self, announced: Option<usize>, body: &mut Body, until: Instant) -> Result<Held, Failure> {
        let (most, mut bytes, mut taken) = (self.options.body, Vec::new(), None::<Taken>);
        let too_large = || {
            let most = memory::in_words(most);
            Failure::too_large(format!("the request's body is larger than the {most} that are taken (`max_body`)"))
        };
        if announced.is_some_and(|len| len > most) {
            return Err(too_large());
        }
        loop {
            let late = |_| {
                let seconds = self.options.time.as_secs_f64();
                let message = format!("the request did not come within {seconds} s (`timeout`)");
                Failure::new(StatusCode::REQUEST_TIMEOUT, message)
            };
            let frame = match timeout_at(until, body.frame()).await.map_err(late)? {
                None => return Ok(Held { bytes, taken }),
                Some(frame) => frame.map_err(|_| Failure::bad("the request was cut short"))?,
            };
            let Ok(data) = frame.into_data() else { continue };
            let len = bytes.len() + data.len();
            if len > most {
                return Err(too_large());
            }
            if len > bytes.capacity() {
                // As a vector grows: what was announced need not come.
                let capacity = len.max((2 * bytes.capacity()).min(most));
                let there = taken.as_ref().map_or(0, |taken| taken.num_permits() as u32);
                let more = pieces(capacity).saturating_sub(there);
                let more = self.bodies.free.clone().try_acquire_many_owned(more).map_err(|_| Failure::busy())?;
                match &mut taken {
                    Some(taken) => taken.merge(more),
                    None => taken = Some(more),
                }
                bytes.try_reserve_exact(capacity - bytes.len()).map_err(|_| Failure::busy())?;
            }
            bytes.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let time = Duration::from_millis(50);
        Limits::new(LimitOptions { body: 100, time, queue: 3, connections: 1 })
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    #[test]
    fn places_are_given_back() {
        let limits = limits();
        let status = |images| limits.places(images).map(|taken| taken.len()).map_err(|refused| refused.told());
        let two = limits.places(2).unwrap();
        assert_eq!((two.len(), status(1).unwrap()), (2, 1));
        assert!(format!("{:?}", status(2)).contains("429"));
        assert!(format!("{:?}", status(4)).contains("413"));
        drop(two);
        assert_eq!(status(3).unwrap(), 3);
    }

    #[test]
    fn bodies_are_read_up_to_their_limit() {
        let limits = limits();
        let free = || limits.bodies.free.available_permits();
        let before = free();
        let read = |len| run(limits.read(&HeaderMap::new(), Body::from(vec![7; len])));
        for len in [0, 1, 100] {
            let held = read(len).unwrap();
            assert_eq!((held.bytes.len(), before - free()), (len, len.div_ceil(PIECE)));
        }
        assert_eq!(before, free());
        assert!(format!("{:?}", read(101).err()).contains("413"));
        assert!(run(limits.image(usize::MAX)).is_err());
    }
}
