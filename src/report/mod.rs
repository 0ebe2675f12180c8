//! Images, plots, pages: colour map, heatmap normalisation, contact sheets, curves, HTML, NumPy arrays.

pub(crate) mod heatmap;
pub(crate) mod html;
pub(crate) mod jet;
pub(crate) mod npy;
pub(crate) mod plot;
pub(crate) mod png;
pub(crate) mod resample;
pub(crate) mod sheet;
mod text;

/// A number with three significant digits, as people read it: 0.0123, 4.56, 789.
pub fn significant(value: f64) -> String {
    let exponent = value.abs().log10().floor();
    if value == 0.0 || !(-5.0..6.0).contains(&exponent) {
        return if value == 0.0 { "0".to_string() } else { format!("{value:.2e}") };
    }
    format!("{value:.decimals$}", decimals = (2.0 - exponent).max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::significant;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012345, "0.0123"),
            (4.5649, "4.56"),
            (-789.4, "-789"),
            (65432.1, "65432"),
            (3.456e-7, "3.46e-7"),
        ] {
            assert_eq!(significant(value), text);
        }
    }
}
