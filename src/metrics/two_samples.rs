//! Whether two samples of scores come from one distribution: the test of Kolmogorov and Smirnov, whose statistic is the largest distance
//! of their distribution functions.

use serde::Serialize;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct TwoSamples {
    /// The largest distance, from 0 to 1.
    pub statistic: f64,
    /// The probability of such a distance or a larger one between samples of one distribution.
    pub p_value: f64,
}

/// Tests two samples, each in rising order, neither empty. Equal values enter together. The probability is the asymptotic one with
/// Stephens' correction (Journal of the Royal Statistical Society B 32, 1970), good from about eight values each.
pub(crate) fn kolmogorov_smirnov(a: &[f32], b: &[f32]) -> TwoSamples {
    let (mut i, mut j, mut statistic) = (0, 0, 0.0f64);
    let (n, m) = (a.len() as f64, b.len() as f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|&&value| value <= at).count();
        j += b[j..].iter().take_while(|&&value| value <= at).count();
        statistic = statistic.max((i as f64 / n - j as f64 / m).abs());
    }
    let size = (n * m / (n + m)).sqrt();
    TwoSamples { statistic, p_value: beyond((size + 0.12 + 0.11 / size) * statistic) }
}

/// Kolmogorov's distribution: 2 Σ (−1)^(k−1) exp(−2 k² x²) over k = 1, 2 …
fn beyond(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0; // to 1e-12, where the sum would need many terms
    }
    let term = |k: i32| (if k % 2 == 1 { 2.0 } else { -2.0 }) * (-2.0 * f64::from(k * k) * x * x).exp();
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn distances_are_those_of_distribution_functions() {
        let statistic = |a: &[f32], b: &[f32]| kolmogorov_smirnov(a, b).statistic;
        assert_eq!(statistic(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(statistic(&[1.0, 2.0], &[3.0]), 1.0);
        assert_eq!(statistic(&[1.0, 2.0, 3.0, 4.0], &[2.5, 5.0]), 0.5);
        assert_eq!(statistic(&[1.0, 1.0, 1.0, 2.0], &[1.0, 2.0, 2.0, 2.0]), 0.5, "ties");
    }

    /// The critical values of Smirnov's table (Annals of Mathematical Statistics 19, 1948), of four decimals.
    #[test]
    fn probabilities_are_those_of_kolmogorov() {
        for (x, p) in [(1.0727, 0.2), (1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
            assert!((beyond(x) / p - 1.0).abs() < 1e-3, "{x}: {}", beyond(x));
        }
        assert_eq!(beyond(0.0), 1.0);
    }

    /// Samples of one distribution differ as seldom as the probability says, others nearly always.
    #[test]
    fn the_false_alarm_rate_is_kept() {
        let sample = |number: u32, n: usize, shift: f32| {
            let mut values = vec![0.0; n];
            Stream::new(1, Purpose::Check, number, n as u32).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value += shift);
            values.sort_by(f32::total_cmp);
            values
        };
        let rejected = |shift: f32| {
            let test = |i: &u32| kolmogorov_smirnov(&sample(*i, 60, 0.0), &sample(*i, 40, shift)).p_value < 0.05;
            (0..2000).filter(test).count() as f64 / 2000.0
        };
        let found = rejected(0.0);
        // 0.05 with four standard deviations of a share of 2000; the statistic takes few values, so that it may be less.
        assert!((0.02..0.07).contains(&found), "{found}");
        assert!(rejected(1.5) > 0.99);
    }
}
