//! Which part of each image counts, where not all of it does: what people have marked as of interest, less what is to be ignored.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::decode::{ImageFile, read_mask};
use crate::data::fingerprint::{ImageId, image_hash};
use crate::data::images::{Images, Mask, OUTSIDE};
use crate::data::resize::nearest;
use crate::data::tiles::Window;
use crate::error::{Error, Result};

/// Pixels along a side of a mask that is stored with a model, at most: a smaller one is as good where outlines are drawn by people.
const MOST_SIDE: usize = 1024;

/// Which pixels of an image count, for images of any size: they are found by nearest neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Counted {
    mask: Mask,
    /// The first and the last row, and the first and the last column, that have something that counts.
    within: [(usize, usize); 2],
}

/// The same as it is stored: in reading order so many pixels do not count, so many do, and so on.
#[derive(Serialize, Deserialize)]
struct Stored {
    height: usize,
    width: usize,
    runs: Vec<usize>,
}

impl From<Counted> for Stored {
    fn from(Counted { mask: Mask { height, width, pixels }, .. }: Counted) -> Stored {
        let (mut runs, mut last) = (vec![0], 0);
        for pixel in pixels {
            if pixel != last {
                runs.push(0);
                last = pixel;
            }
            runs.last_mut().into_iter().for_each(|run| *run += 1);
        }
        Stored { height, width, runs }
    }
}

impl TryFrom<Stored> for Counted {
    type Error = Error;

    fn try_from(Stored { height, width, runs }: Stored) -> Result<Counted> {
        let is_side = |side: &usize| (1..=MOST_SIDE).contains(side);
        let all = runs.iter().try_fold(0usize, |sum, &run| sum.checked_add(run));
        if ![height, width].iter().all(is_side) || all != Some(height * width) {
            return Err(Error::setting("the pixels that count are none of a mask", "the file was changed"));
        }
        let of = |(i, run): (usize, usize)| std::iter::repeat_n((i % 2) as u8, run);
        Counted::of(Mask { height, width, pixels: runs.into_iter().enumerate().flat_map(of).collect() })
    }
}

impl Counted {
    /// Where at least one pixel does.
    fn of(mask: Mask) -> Result<Counted> {
        let Mask { height, width, pixels } = &mask;
        let row = |y: usize| pixels[y * width..][..*width].contains(&1);
        let column = |x: usize| pixels[x..].iter().step_by(*width).any(|&pixel| pixel == 1);
        let ends = |len: usize, counts: &dyn Fn(usize) -> bool| {
            Some(((0..len).position(counts)?, (0..len).rposition(counts)?))
        };
        match (ends(*height, &row), ends(*width, &column)) {
            (Some(rows), Some(columns)) => Ok(Counted { mask, within: [rows, columns] }),
            _ => Err(Error::setting(
                "no pixel of an image would count",
                "mark in `roi` what counts, in `ignore` what does not",
            )),
        }
    }

    /// What a mask marks, less what another one does; None without either.
    ///
    /// # Errors
    /// Files that are no images; masks that leave nothing.
    pub(crate) fn read(roi: Option<&Path>, ignore: Option<&Path>) -> Result<Option<Counted>> {
        let read = |path: &Path| ImageFile::open(path).and_then(read_mask);
        let (roi, ignore) = (roi.map(read).transpose()?, ignore.map(read).transpose()?);
        let Some(Mask { height, width, .. }) = roi.as_ref().or(ignore.as_ref()) else { return Ok(None) };
        let longer = (*height).max(*width);
        let side = |side: usize| if longer > MOST_SIDE { (side * MOST_SIDE / longer).max(1) } else { side };
        let (height, width) = (side(*height), side(*width));
        let marked = |mask: &Mask, y: usize, x: usize| {
            mask.pixels[nearest(y, mask.height, height) * mask.width + nearest(x, mask.width, width)] == 1
        };
        let counts = |y: usize, x: usize| {
            roi.as_ref().is_none_or(|roi| marked(roi, y, x))
                && !ignore.as_ref().is_some_and(|ignore| marked(ignore, y, x))
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| u8::from(counts(y, x)));
        Counted::of(Mask { height, width, pixels: pixels.collect() }).map(Some)
    }

    /// The share of all pixels that count.
    pub(crate) fn share(&self) -> f64 {
        self.mask.pixels.iter().filter(|&&pixel| pixel == 1).count() as f64 / self.mask.pixels.len() as f64
    }

    /// Whether each pixel of a row of an image of (height, width) counts.
    pub(crate) fn row(&self, y: usize, (height, width): (usize, usize)) -> impl Iterator<Item = bool> {
        let mask = &self.mask;
        let row = &mask.pixels[nearest(y, mask.height, height) * mask.width..][..mask.width];
        (0..width).map(move |x| row[nearest(x, mask.width, width)] == 1)
    }

    /// The same of all pixels.
    pub(crate) fn pixels(&self, size: (usize, usize)) -> Vec<bool> {
        (0..size.0).flat_map(|y| self.row(y, size)).collect()
    }

    /// The first and the last row, and the first and the last column of an image of (height, width) between which everything lies that counts.
    pub(crate) fn bounds(&self, (height, width): (usize, usize)) -> [(usize, usize); 2] {
        // From where the part of the image begins that the first one stands for, to where that of the last ends.
        let along = |(first, last): (usize, usize), from: usize, to: usize| {
            (first * to / from, ((last + 1) * to).div_ceil(from) - 1)
        };
        let [rows, columns] = self.within;
        [along(rows, self.mask.height, height), along(columns, self.mask.width, width)]
    }

    /// Marks in the ground truth of a square of an image what does not count.
    pub(crate) fn leave_out(&self, truth: &mut [u8], side: usize, window: &Window) {
        let Mask { height, width, pixels } = &self.mask;
        let ((top, left), (rows, columns)) = (window.place, window.shown(side));
        let from: Vec<usize> = (0..columns).map(|x| nearest(left + x, *width, window.canvas.1)).collect();
        for (y, truth) in truth.chunks_exact_mut(side).take(rows).enumerate() {
            let row = &pixels[nearest(top + y, *height, window.canvas.0) * width..][..*width];
            truth.iter_mut().zip(&from).filter(|&(_, &x)| row[x] == 0).for_each(|(truth, _)| *truth = OUTSIDE);
        }
    }

    /// The marks of an image's mask that count.
    pub(crate) fn of_marks(&self, mask: Mask) -> Mask {
        let counts = self.pixels((mask.height, mask.width));
        let pixels = mask.pixels.iter().zip(counts).map(|(&mark, counts)| mark & u8::from(counts)).collect();
        Mask { pixels, ..mask }
    }

    /// What tells it from others.
    pub(crate) fn id(&self) -> ImageId {
        let Mask { height, width, pixels } = &self.mask;
        image_hash(&[&(*height as u64).to_le_bytes(), &(*width as u64).to_le_bytes(), pixels.as_slice()].concat())
            .into()
    }

    /// In black and white, as it is read again.
    pub(crate) fn image(&self) -> Images {
        let Mask { height, width, pixels } = &self.mask;
        let pixels = pixels.iter().map(|pixel| 255 * pixel).collect();
        Images { count: 1, pixels, ..Images::empty(*height, *width, 1) }
    }

    /// Whether each cell of a map of (rows, columns) counts: where half of its part of the image does. If that holds for none, those of which
    /// the largest part does.
    pub(crate) fn cells(&self, (rows, columns): (usize, usize)) -> Vec<bool> {
        let Mask { height, width, pixels } = &self.mask;
        // The pixels of a part, or the one that it lies in.
        let part = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to);
        let share = |row: usize, column: usize| {
            let (across, down) = (part(column, *width, columns), part(row, *height, rows));
            let of = down.len() * across.len();
            let marked = down.flat_map(|y| &pixels[y * width..][across.clone()]).filter(|&&pixel| pixel == 1).count();
            marked as f64 / of as f64
        };
        let shares: Vec<f64> = (0..rows * columns).map(|i| share(i / columns, i % columns)).collect();
        let least = shares.iter().copied().fold(0.0, f64::max).min(0.5);
        shares.into_iter().map(|share| share >= least).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(height: usize, width: usize, pixels: &[u8]) -> Counted {
        Counted::of(Mask { height, width, pixels: pixels.to_vec() }).unwrap()
    }

    #[test]
    fn it_is_scaled_to_images_and_to_maps() {
        let left = counted(2, 4, &[1, 1, 0, 0, 1, 1, 0, 0]);
        assert_eq!(left.pixels((1, 2)), [true, false]);
        assert_eq!(left.row(2, (3, 8)).collect::<Vec<_>>(), [true, true, true, true, false, false, false, false]);
        assert_eq!(left.cells((1, 3)), [true, true, false], "half of the middle one");
        assert_eq!(left.cells((3, 8))[16..], [true, true, true, true, false, false, false, false]);
        assert_eq!(left.share(), 0.5);
        // Less than half of any cell.
        let corner = counted(4, 4, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(corner.cells((2, 2)), [true, false, false, false]);
    }

    #[test]
    fn it_is_cut_as_the_squares_of_an_image_are() {
        // Rows 1 and 2 of 4, columns 2 to 4 of 5 of them.
        let some = counted(4, 5, &[[0; 5], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0], [0; 5]].concat());
        assert_eq!(some.bounds((4, 5)), [(1, 2), (2, 4)]);
        assert_eq!(some.bounds((40, 10)), [(10, 29), (4, 9)]);
        assert_eq!(some.bounds((1, 1)), [(0, 0), (0, 0)]);
        let left_out = |place, canvas| {
            let mut truth = vec![1; 9];
            some.leave_out(&mut truth, 3, &Window { place, canvas });
            truth
        };
        assert_eq!(left_out((1, 2), (4, 5)), [1, 3, 1, 3, 1, 3, 3, 3, 3]);
        assert_eq!(left_out((2, 4), (8, 10)), [1, 1, 3, 1, 1, 3, 3, 3, 1]);
        // What lies beyond the image is another matter.
        assert_eq!(left_out((2, 3), (4, 5)), [1, 3, 1, 3, 3, 1, 1, 1, 1]);
        let marks = Mask { height: 2, width: 5, pixels: vec![1, 1, 1, 0, 1, 1, 1, 1, 1, 1] };
        assert_eq!(some.of_marks(marks).pixels, [0, 0, 1, 0, 1, 0, 0, 0, 0, 0], "of rows 1 and 3");
    }

    #[test]
    fn it_is_read_from_two_masks_and_stored_by_runs() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, (width, height): (u32, u32), marked: &dyn Fn(u32, u32) -> bool| {
            let path = folder.path().join(name);
            let grey = |x, y| image::Luma([if marked(x, y) { 255 } else { 0 }]);
            image::GrayImage::from_fn(width, height, grey).save(&path).unwrap();
            path
        };
        let roi = save("roi.png", (6, 4), &|x, _| x < 4);
        let ignore = save("ignore.png", (12, 8), &|x, y| x < 2 && y < 2);
        let read = |roi: Option<&Path>, ignore: Option<&Path>| Counted::read(roi, ignore);
        let both = read(Some(&roi), Some(&ignore)).unwrap().unwrap();
        let expected = [[0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]].concat();
        assert_eq!(both, counted(4, 6, &expected));
        assert_eq!(read(None, Some(&ignore)).unwrap().unwrap().share(), 1.0 - 4.0 / 96.0);
        assert_eq!(read(None, None).unwrap(), None);
        let large = save("large.png", (2048, 6), &|x, _| x < 1024);
        assert_eq!(read(Some(&large), None).unwrap().unwrap().cells((1, 2)), [true, false]);
        let told = read(Some(&ignore), Some(&ignore)).unwrap_err().to_string();
        assert!(told.contains("no pixel") && told.contains("`roi`"), "{told}");

        let text = serde_json::to_string(&both).unwrap();
        assert!(text.ends_with("[1,3,2,4,2,4,2,4,2]}"), "{text}");
        assert_eq!(serde_json::from_str::<Counted>(&text).unwrap(), both);
        let all = counted(1, 2, &[1, 1]);
        assert_eq!(serde_json::from_str::<Counted>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
        for (height, runs) in
            [(1, "[0,3]"), (1, "[2]"), (0, "[]"), (1, "[18446744073709551615,3]"), (5000, "[0,10000]")]
        {
            let text = format!(r#"{{"height": {height}, "width": 2, "runs": {runs}}}"#);
            assert!(serde_json::from_str::<Counted>(&text).is_err(), "{text}");
        }
    }
}
