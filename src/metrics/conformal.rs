//! Thresholds that keep a promise: the split conformal quantile (Vovk, Gammerman and Shafer, 2005; Angelopoulos and Bates, "A gentle
//! introduction to conformal prediction", 2023, §1).
//!
//! Of n scores of good images that nothing was learned from, take the k-th smallest, k = n + 1 − ⌊(n + 1)·P⌋. The score of one more such
//! image exceeds it with a probability of at most P: among n + 1 scores in any order, each rank of the new one is as likely.

/// The smallest false positive rate that so many scores can promise: 1 / (n + 1).
pub(crate) fn smallest_rate(n: usize) -> f64 {
    1.0 / (n + 1) as f64
}

/// How many scores it takes to promise a false positive rate above 0.
pub(crate) fn needed(rate: f64) -> usize {
    // A rate such as 0.01 is not quite 1/100: what is larger by rounding alone is not larger.
    ((1.0 / rate - 1e-9).ceil() as usize).saturating_sub(1).max(1)
}

/// How many of n scores may exceed a threshold of a false positive rate.
pub(crate) fn most_above(n: usize, rate: f64) -> usize {
    // What falls short of a whole number by rounding alone is one.
    (n as f64 * rate * (1.0 + 1e-12)).floor() as usize
}

/// The place among n rising scores of the threshold of a false positive rate; None where there are too few for it.
pub(crate) fn place(n: usize, rate: f64) -> Option<usize> {
    let above = most_above(n + 1, rate);
    (above > 0 && n > 0).then(|| (n + 1).saturating_sub(above).max(1) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn a_promise_takes_as_many_scores_as_it_says() {
        for (rate, n) in [(0.01, 99), (0.05, 19), (0.1, 9), (0.5, 1), (0.015, 66), (1.0 / 7.0, 6)] {
            assert_eq!(needed(rate), n, "{rate}");
            assert!(place(n, rate).is_some() && (n == 1 || place(n - 1, rate).is_none()), "{rate}");
            assert!(smallest_rate(n) <= rate * (1.0 + 1e-9));
            assert_eq!(place(n, smallest_rate(n)), Some(n - 1), "the highest score");
        }
        assert_eq!(place(199, 0.01), Some(197));
        assert_eq!((place(0, 0.5), place(3, 0.0), place(1, 1.0)), (None, None, Some(0)));
    }

    /// Over many draws of calibration scores and of one more, the rate is what was promised, and no smaller than by one rank.
    #[test]
    fn the_promise_is_kept() {
        const DRAWS: u32 = 20_000;
        for (n, rate) in [(9usize, 0.1), (50, 0.05), (120, 0.02)] {
            let place = place(n, rate).unwrap();
            let above = (0..DRAWS).filter(|&draw| {
                let mut draws = Stream::new(7, Purpose::Check, draw, n as u32).draws();
                let mut scores: Vec<f32> = (0..n).map(|_| draws.uniform()).collect();
                scores.sort_by(f32::total_cmp);
                draws.uniform() > scores[place]
            });
            let found = above.count() as f64 / f64::from(DRAWS);
            // Four standard deviations of a share of so many draws.
            let spread = 4.0 * (rate / f64::from(DRAWS)).sqrt();
            assert!(found <= rate + spread && found >= rate - smallest_rate(n) - spread, "{n} {rate} {found}");
        }
    }
}
