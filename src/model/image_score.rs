//! How the score of an image follows from its anomaly map.

use std::fmt;
use std::str::FromStr;

use crate::real::Real;

/// How the score of an image follows from the values of its anomaly map. As text: `mean`, `max`, `top:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde_with::SerializeDisplay, serde_with::DeserializeFromStr)]
#[non_exhaustive]
pub enum ImageScore {
    /// Their mean, as in the paper.
    #[default]
    Mean,
    /// The highest.
    Max,
    /// The mean of the highest, so many per cent of all, and at least one.
    Top(f64),
}

impl ImageScore {
    /// How many of the `len` values of a map it is the mean of: the highest ones.
    pub(crate) fn count(self, len: usize) -> usize {
        match self {
            ImageScore::Mean => len,
            ImageScore::Max => 1,
            ImageScore::Top(percent) => ((percent / 100.0 * len as f64).round() as usize).max(1),
        }
    }

    /// The score of an image, of which the net itself computes `mean`. A function of the values alone, in whatever order they come.
    pub(crate) fn of<T: Real>(self, mean: T, map: &[T]) -> T {
        if self == ImageScore::Mean {
            return mean;
        }
        let count = self.count(map.len());
        let mut values: Vec<f64> = map.iter().map(|value| value.f64()).collect();
        values.sort_unstable_by(|a, b| b.total_cmp(a));
        T::of(values.iter().take(count).sum::<f64>() / count as f64)
    }
}

impl fmt::Display for ImageScore {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ImageScore::Mean => f.write_str("mean"),
            ImageScore::Max => f.write_str("max"),
            ImageScore::Top(percent) => write!(f, "top:{percent}"),
        }
    }
}

impl FromStr for ImageScore {
    type Err = String;

    fn from_str(text: &str) -> Result<ImageScore, String> {
        let share = |percent: &str| percent.parse().ok().filter(|&p: &f64| p > 0.0 && p <= 100.0);
        let score = match text.split_once(':') {
            None if text == "mean" => Some(ImageScore::Mean),
            None if text == "max" => Some(ImageScore::Max),
            Some(("top", percent)) => share(percent).map(ImageScore::Top),
            _ => None,
        };
        score.ok_or_else(|| format!("'{text}' is no score of a map; write mean, max, or top:P for the highest P % of its values, such as top:1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: [f32; 8] = [0.5, 2.0, 0.25, 2.0, 1.0, 0.0, 0.125, 0.75];

    #[test]
    fn scores_are_of_the_highest_values() {
        let of = |text: &str| text.parse::<ImageScore>().unwrap().of(7.0, &MAP);
        assert_eq!(of("mean"), 7.0, "the net's own");
        assert_eq!((of("max"), of("top:0.001"), of("top:12.5")), (2.0, 2.0, 2.0), "at least one value");
        // Of ties both count; 37.5 % are three values, and so are 40 %.
        assert_eq!((of("top:25"), of("top:37.5"), of("top:40")), (2.0, 5.0 / 3.0, 5.0 / 3.0));
        assert_eq!(of("top:100"), MAP.iter().sum::<f32>() / 8.0);
    }

    #[test]
    fn the_order_of_the_values_changes_no_bit() {
        // Sums of these in f32, or in another order in f64, round differently.
        let mut map: Vec<f32> = (0..1000).map(|i| 10f32.powi(i * 7 % 17 - 8) / 3.0).collect();
        let of = |map: &[f32]| ImageScore::Top(60.0).of(0.0, map).to_bits();
        let expected = of(&map);
        for _ in 0..20 {
            map.rotate_left(37);
            map.swap(3, 700);
            assert_eq!(of(&map), expected);
        }
    }

    #[test]
    fn text_and_back() {
        for text in ["mean", "max", "top:1", "top:0.5", "top:100"] {
            assert_eq!(text.parse::<ImageScore>().unwrap().to_string(), text);
        }
        for text in ["", "top", "top:", "top:0", "top:-1", "top:101", "top:nan", "top:inf", "median", "mean:1"] {
            assert!(text.parse::<ImageScore>().is_err(), "{text}");
        }
    }
}
