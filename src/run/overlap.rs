//! What makes figures of a test say less than they seem to: images that set the threshold, copies, and images of two labels.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::breakdown::Score;
use super::known_images::KnownImages;
use crate::data::fingerprint::ImageId;
use crate::printable::escaped;

/// Images of a test that are known from elsewhere, or twice. Nothing where the images are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overlap {
    /// How many set the model's threshold.
    pub set_threshold: usize,
    /// How many are copies of others before them.
    pub copies: usize,
    /// The first that is a copy of one of the other label, after that one.
    pub of_both_labels: Option<[String; 2]>,
}

impl Overlap {
    /// Of test images with these ids and rows.
    pub(crate) fn of(ids: &[ImageId], rows: &[Score], calibrated_on: &KnownImages) -> Overlap {
        let mut overlap = Overlap { set_threshold: calibrated_on.tell_apart(ids).1.len(), ..Overlap::default() };
        // Of each image the first good and the first anomalous one.
        let mut seen: HashMap<ImageId, [Option<&Score>; 2]> = HashMap::new();
        for (id, row) in ids.iter().zip(rows) {
            let firsts = seen.entry(*id).or_default();
            overlap.copies += usize::from(firsts.iter().any(Option::is_some));
            let [own, other] = if row.label == 0 { [0, 1] } else { [1, 0] };
            if let (Some(other), None) = (firsts[other], &overlap.of_both_labels) {
                overlap.of_both_labels = Some([other.image.clone(), row.image.clone()]);
            }
            firsts[own].get_or_insert(row);
        }
        overlap
    }

    /// What a person should know of it, of so many images.
    pub(crate) fn in_words(&self, images: usize) -> Vec<String> {
        let Overlap { set_threshold, copies, of_both_labels } = self;
        let threshold = (*set_threshold > 0).then(|| {
            format!(
                "{set_threshold} of these {images} images set the threshold: rates at it are better than new images will have"
            )
        });
        let copies = (*copies > 0).then(|| {
            format!("{copies} of these {images} images are copies of others among them, and count all the same")
        });
        let labels = of_both_labels.as_ref().map(|[one, other]| {
            format!("{} and {} are the same image, once as good and once as anomalous", escaped(one), escaped(other))
        });
        [threshold, copies, labels].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::verdict::Verdict;

    #[test]
    fn images_that_are_known_are_counted() {
        let row = |image: &str, label| Score {
            image: image.to_string(),
            class: String::new(),
            label,
            score: 0.0,
            normalized_score: 0.0,
            threshold: 0.0,
            verdict: Verdict::Good,
            reason: String::new(),
        };
        let ids = [1, 2, 1, 2, 3, 2].map(|id: u128| ImageId::from(id << 64));
        let rows = [row("a", 0), row("b", 0), row("c", 0), row("d", 1), row("e", 1), row("f", 0)];
        let overlap = Overlap::of(&ids, &rows, &KnownImages::new(vec![ids[4], ids[0]]));
        let wanted = Overlap { set_threshold: 3, copies: 3, of_both_labels: Some(["b", "d"].map(String::from)) };
        assert_eq!(overlap, wanted);
        assert_eq!(overlap.in_words(6).len(), 3);
        let plain = Overlap::of(&ids[3..5], &rows[3..5], &KnownImages::default());
        assert_eq!((plain.in_words(2), plain), (Vec::new(), Overlap::default()));
        assert_eq!(Overlap::of(&[], &rows, &KnownImages::default()), Overlap::default());
    }
}
