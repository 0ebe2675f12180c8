//! Which images are shown.

/// The `k` of these images with the lowest scores (`highest` = false), from the lowest up, or with the highest, from the highest
/// down. Of equal scores the image that comes first goes first.
pub(crate) fn extremes(of: &[usize], scores: &[f32], k: usize, highest: bool) -> Vec<usize> {
    let mut ordered = of.to_vec();
    ordered.sort_unstable_by(|&a, &b| {
        let rising = scores[a].total_cmp(&scores[b]);
        (if highest { rising.reverse() } else { rising }).then(a.cmp(&b))
    });
    ordered.truncate(k);
    ordered
}

/// At most `k` of these images, from the lowest score to the highest, at equal distances in the order of their scores.
pub(crate) fn spaced(of: &[usize], scores: &[f32], k: usize) -> Vec<usize> {
    let ordered = extremes(of, scores, of.len(), false);
    if ordered.len() <= k {
        return ordered;
    }
    let last = ordered.len() - 1;
    // With one place only, the middle; otherwise both ends and whole steps between, rounded.
    let place = |i: usize| if k == 1 { last / 2 } else { (2 * i * last + k - 1) / (2 * (k - 1)) };
    (0..k).map(|i| ordered[place(i)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 8] = [0.5, 0.1, 0.9, 0.1, 0.5, 0.9, 0.3, 7.0];

    #[test]
    fn extremes_go_from_the_end_inwards_and_ties_by_place() {
        let of = [5, 4, 3, 2, 1, 0];
        assert_eq!(extremes(&of, &SCORES, 3, false), [1, 3, 0]);
        assert_eq!(extremes(&of, &SCORES, 3, true), [2, 5, 0]);
        assert_eq!(extremes(&of, &SCORES, 99, true), [2, 5, 0, 4, 1, 3]);
        assert!(extremes(&of, &SCORES, 0, true).is_empty() && extremes(&[], &SCORES, 2, false).is_empty());
    }

    #[test]
    fn spaced_images_include_both_ends() {
        let scores: Vec<f32> = (0..12u8).rev().map(f32::from).collect();
        let all: Vec<usize> = (0..12).collect();
        let places = |k| spaced(&all, &scores, k).iter().map(|&i| scores[i] as u8).collect::<Vec<_>>();
        assert_eq!(places(6), [0, 2, 4, 7, 9, 11], "steps of 2.2");
        assert_eq!(places(2), [0, 11]);
        assert_eq!(places(1), [5]);
        assert_eq!(places(12), (0..12).collect::<Vec<_>>());
        assert_eq!(spaced(&[2, 1, 7], &SCORES, 6), [1, 2, 7], "fewer than asked for: all of them");
        assert_eq!(spaced(&[4, 0, 3, 1], &SCORES, 4), [1, 3, 0, 4], "ties by place");
        assert!(spaced(&[], &SCORES, 6).is_empty() && spaced(&all, &scores, 0).is_empty());
    }
}
