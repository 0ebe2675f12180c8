//! How fast images are scored.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::metrics::quantile;

/// How fast images were scored, with all that was drawn of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Speed {
    pub images_per_second: f64,
    /// From the moment at which an image begins to be decoded to that at which its row is written: of half of the images it is at most this.
    pub latency_p50_ms: f64,
    /// The same of 99 of 100.
    pub latency_p99_ms: f64,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Speed { images_per_second, latency_p50_ms, latency_p99_ms } = self;
        write!(f, "{images_per_second:.1} images/s, latency {latency_p50_ms:.0} ms (p50), {latency_p99_ms:.0} ms (p99)")
    }
}

/// Images that are being scored.
pub(super) struct Pace {
    began: Instant,
    latencies_ms: Vec<f32>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { began: Instant::now(), latencies_ms: Vec::new() }
    }

    /// Some are done, which were begun then.
    pub(super) fn done(&mut self, begun: &[Instant]) {
        self.latencies_ms.extend(begun.iter().map(|begun| begun.elapsed().as_secs_f32() * 1e3));
    }

    /// None of no images.
    pub(super) fn speed(&self) -> Option<Speed> {
        let of = |share| f64::from(quantile(&self.latencies_ms, share));
        let seconds = self.began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        (!self.latencies_ms.is_empty()).then(|| Speed {
            images_per_second: self.latencies_ms.len() as f64 / seconds,
            latency_p50_ms: of(0.5),
            latency_p99_ms: of(0.99),
        })
    }
}
