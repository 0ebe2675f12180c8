//! Which labelled anomalies of a split are learned from, and which test images show the same parts.

use std::collections::{HashMap, HashSet};

use crate::data::counted::Counted;
use crate::data::fingerprint::ImageId;
use crate::data::images::Mask;
use crate::data::resize_mode::{RawForm, ResizeMode};
use crate::data::split::Split;
use crate::rng::{Purpose, Stream};

/// Chooses `k` anomalies of each kind in a split, all where `k` is None: the same ones for the same seed and split. One of whose marks the net
/// sees none that counts, as it gets its images, shows nothing that could be learned, and is never chosen.
pub(crate) fn choose(
    split: &Split,
    normal: u16,
    k: Option<usize>,
    seed: u64,
    form: RawForm,
    counted: Option<&Counted>,
) -> Vec<usize> {
    let seen = |mask: &Mask| marks(mask, form.resize, form.side, counted).any();
    let shows = |&i: &usize| split.masks.get(i).and_then(Option::as_ref).is_none_or(seen);
    let kinds = split.classes.iter().copied().max().map_or(0, |last| last + 1);
    let mut chosen = Vec::new();
    for kind in (0..kinds).filter(|&kind| kind != normal) {
        let of_kind: Vec<usize> = split.indices(|class| class == kind).into_iter().filter(shows).collect();
        let order = Stream::new(seed, Purpose::Labelled, 0, u32::from(kind)).permutation(of_kind.len() as u32);
        chosen.extend(order.into_iter().take(k.unwrap_or(usize::MAX)).map(|place| of_kind[place as usize]));
    }
    chosen.sort_unstable();
    chosen
}

/// The marks of an image as they are learned from: fitted to squares of a side as the image is, and those that count.
pub(crate) fn marks(mask: &Mask, fit: ResizeMode, side: usize, counted: Option<&Counted>) -> Mask {
    let marks = fit.marks(mask, side);
    match counted {
        Some(counted) => counted.of_marks(marks),
        None => marks,
    }
}

/// Indices of a test split: of the images that say how well something was learned, and of those that were learned from, which have
/// these names or show the same parts. With a `gap`, names that end in numbers at most so far apart, from one to the next, mean
/// images of one part: `exp1_num_108719.jpg` to `exp6_num_108812.jpg` with a gap of 22.
pub(crate) fn tell_apart(split: &Split, learned: &[String], gap: Option<u64>) -> (Vec<usize>, Vec<usize>) {
    let names: HashSet<&str> = learned.iter().map(String::as_str).collect();
    let numbers = gap.map_or_else(HashSet::new, |gap| chained(split, learned, gap));
    let seen = |name: &str| names.contains(name) || last_number(name).is_some_and(|number| numbers.contains(&number));
    (0..split.names.len()).partition(|&i| !seen(&split.names[i]))
}

/// The numbers of a split that lead to one of what was learned by steps of at most `gap`.
fn chained(split: &Split, learned: &[String], gap: u64) -> HashSet<u64> {
    let learned: HashSet<u64> = learned.iter().filter_map(|name| last_number(name)).collect();
    let mut numbers: Vec<u64> =
        split.names.iter().filter_map(|name| last_number(name)).chain(learned.iter().copied()).collect();
    numbers.sort_unstable();
    let chains = numbers.chunk_by(|a, b| b - a <= gap);
    chains.filter(|chain| chain.iter().any(|number| learned.contains(number))).flatten().copied().collect()
}

/// The part that each of some images shows, by its number. With a `gap`, names that end in numbers at most so far apart, from one to the
/// next, mean images of one part; others are parts of their own.
pub(crate) fn parts(names: &[String], gap: Option<u64>) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..names.len()).collect();
    let Some(gap) = gap else { return parts };
    let mut numbered: Vec<(u64, usize)> =
        names.iter().enumerate().filter_map(|(i, name)| Some((last_number(name)?, i))).collect();
    numbered.sort_unstable();
    for chain in numbered.chunk_by(|a, b| b.0 - a.0 <= gap) {
        chain.iter().for_each(|&(_, i)| parts[i] = chain[0].1);
    }
    parts
}

/// The parts of some images, where copies of an image, which have its id, show the part that it shows.
pub(crate) fn with_copies(mut parts: Vec<usize>, ids: &[ImageId]) -> Vec<usize> {
    let mut first = HashMap::new();
    for (i, id) in ids.iter().enumerate() {
        let (own, theirs) = (parts[i], parts[*first.entry(*id).or_insert(i)]);
        if own != theirs {
            // All that shows the one shows the other.
            parts.iter_mut().filter(|part| **part == own).for_each(|part| *part = theirs);
        }
    }
    parts
}

/// The number at the end of a file's name.
fn last_number(name: &str) -> Option<u64> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[digits..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use crate::data::levels::Levels;

    #[test]
    fn images_of_one_part_are_told_by_their_numbers() {
        let names = ["a_9.png", "b_3.png", "c_10.png", "plain.png", "d_12.png"].map(str::to_string);
        assert_eq!(parts(&names, None), [0, 1, 2, 3, 4]);
        assert_eq!(parts(&names, Some(1)), [0, 1, 0, 3, 4]);
        assert_eq!(parts(&names, Some(2)), [0, 1, 0, 3, 0]);
    }

    const FORM: RawForm = RawForm { side: 1, channels: 1, resize: ResizeMode::Squash, levels: Levels::ALL };

    fn split(count: usize) -> Split {
        let mask = |i: usize| Mask { height: 1, width: 1, pixels: vec![u8::from(!i.is_multiple_of(3) || i >= 6)] };
        Split {
            images: Images { count, height: 1, width: 1, channels: 1, pixels: vec![0; count] }.into(),
            classes: (0..count).map(|i| (i / 6) as u16).collect(),
            names: (0..count).map(|i| format!("test/{}/exp{}_num_{:03}.png", i / 6, i % 2, i / 2)).collect(),
            masks: (0..count).map(|i| Some(mask(i))).collect(),
            originals: Vec::new(),
            levels: Levels::ALL,
            notes: Vec::new(),
        }
    }

    #[test]
    fn each_kind_gives_as_many_and_no_empty_mask() {
        let split = split(18);
        let one = choose(&split, 1, Some(1), 3, FORM, None);
        assert_eq!(one.len(), 2);
        assert!(one[0] < 6 && !one[0].is_multiple_of(3) && one[1] >= 12, "{one:?}");
        assert_eq!(choose(&split, 1, Some(1), 3, FORM, None), one);
        assert_eq!(choose(&split, 1, Some(9), 3, FORM, None), [1, 2, 4, 5, 12, 13, 14, 15, 16, 17]);
        assert_eq!(choose(&split, 1, None, 3, FORM, None).len(), 10);
        let of_seeds: HashSet<Vec<usize>> = (0..20).map(|seed| choose(&split, 1, Some(1), seed, FORM, None)).collect();
        assert!(of_seeds.len() > 5, "seeds choose differently: {of_seeds:?}");
    }

    #[test]
    fn marks_that_do_not_count_are_not_learned_from() {
        let right: Counted = serde_json::from_str(r#"{"height":1,"width":2,"runs":[1,1]}"#).unwrap();
        let mask = |pixels: &[u8]| Mask { height: 1, width: 4, pixels: pixels.to_vec() };
        let fitted = |pixels: &[u8]| marks(&mask(pixels), ResizeMode::Squash, 4, Some(&right)).pixels[..4].to_vec();
        assert_eq!(fitted(&[1, 1, 1, 0]), [0, 0, 1, 0]);
        let masks = [[1, 1, 0, 0], [0, 1, 1, 0]].map(|pixels| Some(mask(&pixels)));
        let split = Split { masks: masks.to_vec(), classes: vec![0, 0], ..split(2) };
        let form = RawForm { side: 4, ..FORM };
        assert_eq!(choose(&split, 1, None, 3, form, None), [0, 1]);
        assert_eq!(choose(&split, 1, None, 3, form, Some(&right)), [1]);
    }

    #[test]
    fn what_was_learned_leaves_with_its_part() {
        let split = split(8); // numbers 000 000 001 001 002 002 003 003
        let learned = [split.names[2].clone()];
        let seen = |learned: &[String], gap| tell_apart(&split, learned, gap).1;
        assert_eq!(tell_apart(&split, &learned, None), (vec![0, 1, 3, 4, 5, 6, 7], vec![2]));
        assert_eq!(seen(&learned, Some(0)), [2, 3]);
        assert_eq!(seen(&["train/x/tile_2.bmp".to_string()], Some(0)), [4, 5], "002 is 2");
        assert_eq!(seen(&learned, Some(1)).len(), 8, "from one to the next");
        assert_eq!(seen(&["train/x/tile_5.bmp".to_string()], Some(1)), [0usize; 0], "3 and 5 are 2 apart");
        assert!(seen(&[], Some(9)).is_empty());
        assert_eq!(last_number("a/b7/größe.png"), None);
        assert_eq!(last_number("a/ä012.png"), Some(12));
        assert_eq!(last_number("99999999999999999999.png"), None, "no number that anything is near to");
    }

    #[test]
    fn copies_show_the_part_that_is_shown_before() {
        let id = |n: u128| ImageId::from(n << 64);
        assert_eq!(with_copies(vec![0, 1, 2, 3], &[7, 8, 7, 9].map(id)), [0, 1, 0, 3]);
        // Images of one part whose copies are of two others join these.
        assert_eq!(with_copies(vec![0, 1, 2, 2], &[7, 8, 7, 8].map(id)), [1, 1, 1, 1]);
        assert_eq!(with_copies(vec![0, 1, 2, 2, 4], &[7, 8, 7, 8, 7].map(id)), [1, 1, 1, 1, 1]);
        assert_eq!(with_copies(vec![0, 1], &[]), [0, 1]);
    }
}
