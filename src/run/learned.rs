//! What a model has learned from, known by its pixels wherever copies of it lie.

use serde::{Deserialize, Serialize};

use crate::data::fingerprint::ImageId;
use crate::data::image_source::ImageSource;
use crate::error::Result;

/// Images that were learned from, and test images that show the same parts: of a folder of the user's, where copies may turn up in other places.
/// Their ids rise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LearnedImages(Vec<ImageId>);

impl LearnedImages {
    /// Of images of these ids.
    pub(crate) fn new(mut ids: Vec<ImageId>) -> LearnedImages {
        ids.sort_unstable();
        ids.dedup();
        LearnedImages(ids)
    }

    /// Indices of images that nothing is known of, and of those that are among these.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub(crate) fn tell_apart(&self, images: &ImageSource) -> Result<(Vec<usize>, Vec<usize>)> {
        // Where nothing is known, files are not read for it.
        if self.0.is_empty() {
            return Ok(((0..images.count()).collect(), Vec::new()));
        }
        let ids = images.ids()?;
        Ok((0..ids.len()).partition(|&i| self.0.binary_search(&ids[i]).is_err()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;

    #[test]
    fn copies_are_known_by_their_pixels() {
        let images: ImageSource = Images { count: 4, pixels: vec![1, 2, 1, 3], ..Images::empty(1, 1, 1) }.into();
        let ids = images.ids().unwrap();
        let learned = LearnedImages::new(vec![ids[3], ids[0], ids[0]]);
        assert_eq!(learned.tell_apart(&images).unwrap(), (vec![1], vec![0, 2, 3]));
        assert_eq!(LearnedImages::default().tell_apart(&images).unwrap().1, Vec::<usize>::new());
        let text = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<LearnedImages>(&text).unwrap(), learned);
        assert!(serde_json::from_str::<LearnedImages>("[\"no id\"]").is_err());
    }
}
