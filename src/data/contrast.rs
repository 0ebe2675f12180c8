//! What depends on all values of an image: local contrast normalisation (LCN, l1) and the standard deviation.
//!
//! Sums are of integers, so exact in any order: how often each byte occurs, or floats as multiples of 2⁻³⁰.

/// How often each byte occurs in an image.
pub(crate) struct Histogram([i64; 256]);

impl Histogram {
    pub(crate) fn new(bytes: &[u8]) -> Histogram {
        let mut counts = [0; 256];
        for &byte in bytes {
            counts[usize::from(byte)] += 1;
        }
        Histogram(counts)
    }

    /// The sum of something over all values.
    fn sum(&self, of: impl Fn(i64) -> i64) -> i64 {
        self.0.iter().zip(0i64..).map(|(&count, v)| count * of(v)).sum()
    }

    /// What each byte of the image becomes under LCN; all 0 for a constant image. With n values of the sum s and a = Σ|n·v − s|,
    /// all integers: `(v − s/n) / (a/n²) = (n·v − s) · n / a`.
    pub(crate) fn lcn_table(&self) -> [f32; 256] {
        let (n, sum) = (self.sum(|_| 1), self.sum(|v| v));
        let spread = self.sum(|v| (n * v - sum).abs());
        if spread == 0 {
            return [0.0; 256];
        }
        let scale = n as f32 / spread as f32;
        std::array::from_fn(|v| (n * v as i64 - sum) as f32 * scale)
    }

    /// Standard deviation of the values over 255 (the unbiased estimate, as torch's); 0 for a single value.
    pub(crate) fn deviation(&self) -> f32 {
        let n = self.sum(|_| 1);
        if n < 2 {
            return 0.0;
        }
        let (n, sum, squares) = (n as f64, self.sum(|v| v) as f64, self.sum(|v| v * v) as f64);
        let variance = (squares - sum * (sum / n)) / (n - 1.0);
        (variance.max(0.0).sqrt() / 255.0) as f32
    }
}

/// LCN of values in [0, 1], in place; a constant image becomes zeros.
pub(crate) fn lcn(values: &mut [f32]) {
    let fixed = |value: f32| (value * (1u32 << 30) as f32) as i64;
    let n = values.len() as i64;
    let mean = values.iter().map(|&v| fixed(v)).sum::<i64>() / n;
    let spread: i64 = values.iter().map(|&v| (fixed(v) - mean).abs()).sum();
    let scale = if spread == 0 { 0.0 } else { n as f32 / spread as f32 };
    for value in values {
        *value = (fixed(*value) - mean) as f32 * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::lcn::lcn_l1;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lcn_is_the_formula(bytes in proptest::collection::vec(any::<u8>(), 1..500)) {
            let mut exact: Vec<f64> = bytes.iter().map(|&b| f64::from(b) / 255.0).collect();
            let mut floats: Vec<f32> = exact.iter().map(|&v| v as f32).collect();
            lcn_l1(&mut exact);
            let table = Histogram::new(&bytes).lcn_table();
            lcn(&mut floats);
            for ((&byte, &expected), &float) in bytes.iter().zip(&exact).zip(&floats) {
                let value = f64::from(table[usize::from(byte)]);
                prop_assert!((value - expected).abs() <= 1e-6 * expected.abs() + 1e-12, "{value} {expected}");
                // Floats carry errors of 2⁻²⁵, which the scale enlarges: it is at most 255 · n / 2.
                let bound = 1e-6 * expected.abs() + 6e-8 * 128.0 * bytes.len() as f64;
                prop_assert!((f64::from(float) - expected).abs() <= bound, "{float} {expected}");
            }
        }
    }

    #[test]
    fn constant_images_become_zeros() {
        let mut floats = [0.7; 9];
        lcn(&mut floats);
        assert_eq!(floats, [0.0; 9]);
        assert_eq!(Histogram::new(&[7; 9]).lcn_table(), [0.0; 256]);
    }

    #[test]
    fn the_deviation_is_torchs() {
        // torch.tensor([0, 51, 255, 102]).div(255).std()
        approx::assert_relative_eq!(Histogram::new(&[0, 51, 255, 102]).deviation(), 0.432_049_4, max_relative = 1e-6);
        assert_eq!(Histogram::new(&[9]).deviation(), 0.0);
        assert_eq!(Histogram::new(&[9; 50]).deviation(), 0.0);
    }
}
