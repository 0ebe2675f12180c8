//! Within what a figure would lie on other images like these, in 95 of 100 cases: percentile intervals of the bootstrap (Efron and Tibshirani,
//! "An introduction to the bootstrap", 1993, ch. 13), and of shares Wilson's (Journal of the American Statistical Association 22, 1927),
//! since a bootstrap takes 0 of 5 for certain.

use rayon::prelude::*;

use crate::rng::{Draws, Purpose, Stream};

/// Draws of the samples: the ends of an interval are their 26th lowest and highest figures.
const DRAWS: u32 = 1000;

/// The share of what is drawn that lies within an interval.
const LEVEL: f64 = 0.95;

/// The quantile of the normal distribution that leaves half of the rest above.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// The interval of a share of `hits` among `all`, which are some.
pub(crate) fn share(hits: usize, all: usize) -> [f64; 2] {
    let (n, p) = (all as f64, hits as f64 / all as f64);
    let z2 = DEVIATIONS * DEVIATIONS;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = DEVIATIONS / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // What rounding leaves of an end at 0 or 1.
    [if hits == 0 { 0.0 } else { centre - half }, if hits == all { 1.0 } else { centre + half }]
}

/// The interval of a figure that is computed from samples of groups, such as good and defective images, of these sizes: of each group as many
/// are drawn, with replacement, as it has. `figure` gets the places of what was drawn, group by group; draws without a figure are left out.
/// The same samples give the same interval. None where no draw has one.
pub(crate) fn bootstrap(groups: &[usize], figure: impl Fn(&[Vec<usize>]) -> Option<f64> + Sync) -> Option<[f64; 2]> {
    let draw = |number: u32| {
        let mut draws = Stream::new(0, Purpose::Bootstrap, 0, number).draws();
        let drawn: Vec<Vec<usize>> = groups.iter().map(|&size| resampled(&mut draws, size)).collect();
        figure(&drawn)
    };
    let mut figures: Vec<f64> = (0..DRAWS).into_par_iter().filter_map(draw).collect();
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    let beyond = ((1.0 - LEVEL) / 2.0 * figures.len() as f64).round() as usize;
    Some([figures[beyond.min(last)], figures[last - beyond.min(last)]])
}

fn resampled(draws: &mut Draws, size: usize) -> Vec<usize> {
    (0..size).map(|_| draws.below(size as u32) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        let stream = Stream::new(3, Purpose::Check, 0, 0);
        let values: Vec<f64> = (0..400).map(|i| f64::from(stream.normal(i))).collect();
        let mean = |places: &[usize]| places.iter().map(|&i| values[i]).sum::<f64>() / places.len() as f64;
        let [low, high] = bootstrap(&[400], |drawn| Some(mean(&drawn[0]))).unwrap();
        let (own, deviation) = (mean(&(0..400).collect::<Vec<_>>()), 1.96 / 20.0);
        // Of 1000 draws the ends are known to about a tenth of the width.
        for (end, exact) in [(low, own - deviation), (high, own + deviation)] {
            assert!((end - exact).abs() < 0.2 * deviation, "{low} {high} around {own}");
        }
        assert_eq!(bootstrap(&[400], |drawn| Some(mean(&drawn[0]))), Some([low, high]), "the same each time");
    }

    /// The score intervals of Newcombe's table (Statistics in Medicine 17, 1998), of four decimals.
    #[test]
    fn shares_have_wilsons_intervals() {
        for (hits, all, exact) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            let (found, missed) = (share(hits, all), share(all - hits, all));
            assert!(found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 5e-5), "{hits} of {all}: {found:?}");
            assert!((found[0] + missed[1] - 1.0).abs() < 1e-12 && (found[1] + missed[0] - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn groups_are_drawn_by_themselves_and_what_has_no_figure_has_no_interval() {
        let sizes = |drawn: &[Vec<usize>]| drawn.iter().map(Vec::len).collect::<Vec<_>>() == [3, 0, 5];
        assert_eq!(bootstrap(&[3, 0, 5], |drawn| Some(f64::from(u8::from(sizes(drawn))))), Some([1.0, 1.0]));
        assert_eq!(bootstrap(&[3], |_| None), None);
    }
}
