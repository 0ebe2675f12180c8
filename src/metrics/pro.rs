//! Per-region overlap (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021).

use super::scores::Ranking;

/// The false positive rate up to which PRO looks, as in the paper: a heatmap with more false positives is of no use.
const MAX_FPR: f64 = 0.3;

/// A whole region in the integers that overlaps are summed in. A pixel's share of its region is rounded down to them,
/// which no f64 can tell from exact up to 2³⁷ pixels.
const WHOLE: u128 = 1 << 90;

impl Ranking {
    /// Per-region overlap: the share of an anomalous region that is found, averaged over the regions so that each
    /// weighs the same whatever its size, then averaged over the false positive rates of the normal pixels from 0 to
    /// 0.3. Between thresholds the curve is straight. None where a class is missing.
    pub(crate) fn pro(&self) -> Option<f64> {
        let (normal, _) = self.classes()?;
        let all = self.regions() as f64 * WHOLE as f64;
        // In false positives rather than their rate, so that the sums stay exact for long.
        let limit = MAX_FPR * normal as f64;
        let (mut found, mut area) = (0, 0.0);
        for step in self.steps() {
            let before = found as f64 / all;
            found += step.region_sizes().map(|size| WHOLE / u128::from(size)).sum::<u128>();
            let after = found as f64 / all;
            if step.normal > 0 {
                let start = (step.false_positives - step.normal) as f64;
                let width = (limit - start).min(step.normal as f64);
                let end = before + (after - before) * (width / step.normal as f64);
                area += width * (before + end) / 2.0;
            }
            if step.false_positives as f64 >= limit {
                break;
            }
        }
        Some(area / limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scores::Scores;
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    /// Scores, mask and width.
    type ScoredMask = (Vec<f32>, Vec<u8>, usize);

    fn pro<'a>(images: impl IntoIterator<Item = &'a ScoredMask>) -> Option<f64> {
        let mut collected = Scores::default();
        for (scores, mask, width) in images {
            collected.push_image(scores, mask, *width).unwrap();
        }
        collected.rank().pro()
    }

    /// ```python
    /// i = np.arange(600).reshape(3, 10, 20)
    /// m = i * i % 11 < 4; m[2] = False
    /// s = i * 7919 % 53 + 9 * m
    /// parts = [s[j][l == k] for j in range(3) for l, n in [label(m[j], np.ones((3, 3)))] for k in range(1, n + 1)]
    /// t = np.unique(s)[::-1]
    /// fpr = np.array([0] + [(s[~m] >= v).mean() for v in t])
    /// pro = np.array([0] + [np.mean([(p >= v).mean() for p in parts]) for v in t])
    /// k = fpr < .3
    /// auc(np.append(fpr[k], .3), np.append(pro[k], np.interp(.3, fpr, pro))) / .3
    /// ```
    /// with SciPy 1.17.1's `label` and scikit-learn 1.9.1's `auc`; 15 regions of 1 to 29 pixels
    #[test]
    fn equals_scipy_and_scikit_learn() {
        let anomalous = |i: usize| i < 400 && i * i % 11 < 4;
        let images = [0, 200, 400].map(|first| {
            let pixels = first..first + 200;
            let scores = pixels.clone().map(|i| (i * 7919 % 53 + 9 * usize::from(anomalous(i))) as f32).collect();
            (scores, pixels.map(|i| u8::from(anomalous(i))).collect(), 20)
        });
        assert_relative_eq!(pro(&images).unwrap(), 0.37205708085018435, max_relative = 1e-13);
    }

    #[test]
    fn perfect_constant_and_inverted_maps() {
        let mask = vec![1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0];
        let of = |hot: f32, cold: f32| {
            let scores = mask.iter().map(|&m| if m > 0 { hot } else { cold }).collect();
            pro(&[(scores, mask.clone(), 4)])
        };
        assert_eq!(of(0.9, 0.1), Some(1.0));
        // One straight line from (0, 0) to (1, 1).
        assert_relative_eq!(of(0.5, 0.5).unwrap(), 0.15, max_relative = 1e-15);
        assert_eq!(of(0.1, 0.9), Some(0.0));
    }

    #[test]
    fn regions_weigh_the_same_whatever_their_size() {
        // The small region of two is found, the large one is missed.
        let mask = [vec![1, 0], vec![1; 7]].concat();
        let image = |small: f32, large: f32| ([vec![small, 0.5], vec![large; 7]].concat(), mask.clone(), 9);
        let normal = (vec![0.5; 9], vec![0; 9], 3);
        let half = |image: ScoredMask| pro(&[image, normal.clone()]).unwrap();
        assert_eq!(half(image(1.0, 0.0)), 0.5);
        assert_eq!(half(image(0.0, 1.0)), 0.5);
    }

    #[test]
    fn either_class_may_be_missing() {
        assert_eq!(pro(&[]), None);
        assert_eq!(pro(&[(vec![1.0, 2.0], vec![0, 0], 2)]), None);
        assert_eq!(pro(&[(vec![1.0, 2.0], vec![1, 1], 2)]), None);
    }

    /// Up to four images of up to 7 × 7 pixels with scores from few values.
    fn images() -> impl Strategy<Value = Vec<ScoredMask>> {
        let image = (1usize..=7, 1usize..=7, 0u8..=3).prop_flat_map(|(height, width, density)| {
            let pixels = height * width;
            let scores = prop::collection::vec((0u8..8).prop_map(f32::from), pixels);
            let mask = prop::collection::vec((0u8..6).prop_map(move |v| u8::from(v < density)), pixels);
            (scores, mask, Just(width))
        });
        prop::collection::vec(image, 0..=4)
    }

    /// Pixels of each region: every pixel takes the lowest label around it until nothing changes.
    fn regions(mask: &[u8], width: usize) -> Vec<Vec<usize>> {
        let mut labels: Vec<usize> = (0..mask.len()).collect();
        let touch = |a: usize, b: usize| (a / width).abs_diff(b / width) <= 1 && (a % width).abs_diff(b % width) <= 1;
        for _ in 0..mask.len() {
            for a in 0..mask.len() {
                let lowest =
                    (0..mask.len()).filter(|&b| mask[a] > 0 && mask[b] > 0 && touch(a, b)).map(|b| labels[b]).min();
                labels[a] = lowest.unwrap_or(a);
            }
        }
        let of = |label: usize| (0..mask.len()).filter(|&i| mask[i] > 0 && labels[i] == label).collect::<Vec<_>>();
        (0..mask.len()).map(of).filter(|region| !region.is_empty()).collect()
    }

    /// The definition: the curve's points by thresholding everything again each time, then the area by trapezia up to
    /// the limit.
    fn by_definition(images: &[ScoredMask]) -> Option<f64> {
        let share = |scores: &[f32], t: f32| scores.iter().filter(|&&s| s >= t).count() as f64 / scores.len() as f64;
        let mut normal = Vec::new();
        let mut parts: Vec<Vec<f32>> = Vec::new();
        for (scores, mask, width) in images {
            normal.extend((0..mask.len()).filter(|&i| mask[i] == 0).map(|i| scores[i]));
            parts.extend(regions(mask, *width).iter().map(|region| region.iter().map(|&i| scores[i]).collect()));
        }
        if normal.is_empty() || parts.is_empty() {
            return None;
        }
        let mut points = vec![(0.0, 0.0)];
        for t in (0..8).rev().map(|t| t as f32) {
            let overlap = parts.iter().map(|part| share(part, t)).sum::<f64>() / parts.len() as f64;
            points.push((share(&normal, t), overlap));
        }
        let mut area = 0.0;
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let x = x1.min(0.3);
            if x > x0 {
                area += (x - x0) * (y0 + (y0 + (y1 - y0) * (x - x0) / (x1 - x0))) / 2.0;
            }
        }
        Some(area / 0.3)
    }

    proptest! {
        #[test]
        fn equals_its_definition(images in images()) {
            match (pro(&images), by_definition(&images)) {
                (Some(ours), Some(defined)) => prop_assert!((ours - defined).abs() < 1e-12, "{} {}", ours, defined),
                (ours, defined) => prop_assert_eq!(ours, defined),
            }
            prop_assert_eq!(pro(images.iter().rev()), pro(&images), "the order of images does not matter");
        }
    }
}
