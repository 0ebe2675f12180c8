//! Images that a model has learned from or was calibrated on, known by their pixels wherever copies of them lie.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::data::fingerprint::ImageId;

/// Images of a folder of the user's, where copies may turn up in other places. Their ids rise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KnownImages(Vec<ImageId>);

impl KnownImages {
    /// Of images of these ids.
    pub(crate) fn new(mut ids: Vec<ImageId>) -> KnownImages {
        ids.sort_unstable();
        ids.dedup();
        KnownImages(ids)
    }

    /// Whether none is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Places of ids that are none of these, and of those that are.
    pub(crate) fn tell_apart(&self, ids: &[ImageId]) -> (Vec<usize>, Vec<usize>) {
        (0..ids.len()).partition(|&i| self.0.binary_search(&ids[i]).is_err())
    }
}

/// Of some images those that are no copies of others before; all of them where no ids are known.
pub(crate) fn without_copies(mut images: Vec<usize>, ids: &[ImageId]) -> Vec<usize> {
    let mut known = HashSet::new();
    images.retain(|&i| ids.get(i).is_none_or(|id| known.insert(*id)));
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_source::ImageSource;
    use crate::data::images::Images;

    #[test]
    fn copies_are_known_by_their_pixels() {
        let images: ImageSource = Images { count: 4, pixels: vec![1, 2, 1, 3], ..Images::empty(1, 1, 1) }.into();
        let ids = images.ids().unwrap();
        let learned = KnownImages::new(vec![ids[3], ids[0], ids[0]]);
        assert_eq!(learned.tell_apart(&ids), (vec![1], vec![0, 2, 3]));
        assert!(KnownImages::default().is_empty() && KnownImages::default().tell_apart(&ids).1.is_empty());
        assert_eq!(without_copies(vec![2, 3, 0, 1], &ids), [2, 3, 1]);
        assert_eq!(without_copies(vec![1, 0], &[]), [1, 0]);
        let text = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<KnownImages>(&text).unwrap(), learned);
        assert!(serde_json::from_str::<KnownImages>("[\"no id\"]").is_err());
    }
}
