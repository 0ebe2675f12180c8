//! Connected regions of marked pixels. Pixels that touch at a side or a corner are of one region, as for
//! `scipy.ndimage.label(mask, numpy.ones((3, 3)))`.

use std::ops::Range;

/// Marked pixels beside each other in one row, whose neighbours there are not marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub row: usize,
    pub columns: Range<usize>,
}

/// Marked pixels, whose rows come one by one, on their way to regions: of a large image only the runs are held.
#[derive(Default)]
pub(crate) struct Runs {
    all: Vec<Run>,
    /// For each run one of its region that came before it, or itself where none is known.
    before: Vec<usize>,
    rows: usize,
    /// The runs of the last row.
    last: Range<usize>,
}

impl Runs {
    /// Takes the next row, and gives its runs.
    pub(crate) fn push(&mut self, marked: impl IntoIterator<Item = bool>) -> &[Run] {
        let (first, mut start) = (self.all.len(), None);
        let ended = marked.into_iter().chain([false]);
        for (column, is_marked) in ended.enumerate() {
            match (start, is_marked) {
                (None, true) => start = Some(column),
                (Some(from), false) => {
                    self.all.push(Run { row: self.rows, columns: from..column });
                    start = None;
                }
                _ => {}
            }
        }
        let new = first..self.all.len();
        self.before.extend(new.clone());
        let mut above = self.last.clone();
        for run in new.clone() {
            let Range { start, end } = self.all[run].columns;
            // One that ends before this one begins does not reach those that follow either.
            while above.start < above.end && self.all[above.start].columns.end < start {
                above.start += 1;
            }
            let mut touching = above.clone();
            while touching.start < touching.end && self.all[touching.start].columns.start <= end {
                self.join(touching.start, run);
                touching.start += 1;
            }
        }
        self.rows += 1;
        self.last = new.clone();
        &self.all[new]
    }

    /// The first run that is known of a run's region.
    fn first(&mut self, mut run: usize) -> usize {
        while self.before[run] != run {
            self.before[run] = self.before[self.before[run]];
            run = self.before[run];
        }
        run
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        self.before[one.max(other)] = one.min(other);
    }

    /// All runs in the order in which they came, and of each region the places of its runs among them; regions come in the order of their
    /// first pixels.
    pub(crate) fn regions(mut self) -> (Vec<Run>, Vec<Vec<usize>>) {
        let mut regions: Vec<Vec<usize>> = Vec::new();
        let mut region_of = vec![0; self.all.len()];
        for run in 0..self.all.len() {
            let first = self.first(run);
            if first == run {
                region_of[run] = regions.len();
                regions.push(Vec::new());
            }
            regions[region_of[first]].push(run);
        }
        (self.all, regions)
    }
}

/// For each pixel of a mask [height, width] the number of pixels in its region, 0 for normal pixels (mask 0); and the
/// number of regions.
///
/// # Panics
/// When the mask is not made of whole rows.
pub(crate) fn region_sizes(mask: &[u8], width: usize) -> (Vec<u32>, usize) {
    assert!(mask.len().is_multiple_of(width), "whole rows of {width}");
    let mut runs = Runs::default();
    for row in mask.chunks_exact(width.max(1)) {
        runs.push(row.iter().map(|&m| m > 0));
    }
    let (runs, regions) = runs.regions();
    let mut sizes = vec![0; mask.len()];
    for region in &regions {
        let size = region.iter().map(|&run| runs[run].columns.len()).sum::<usize>() as u32;
        for Run { row, columns } in region.iter().map(|&run| &runs[run]) {
            sizes[row * width..][columns.clone()].fill(size);
        }
    }
    (sizes, regions.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.ndimage.label(mask, numpy.ones((3, 3)))` finds 3 regions, of 4, 3 and 1 pixels.
    #[test]
    fn corners_connect_and_row_ends_do_not() {
        #[rustfmt::skip]
        let mask = [
            1, 0, 0, 0, 1,
            0, 1, 0, 0, 1,
            1, 0, 0, 1, 0,
            1, 0, 0, 0, 0,
            0, 0, 1, 0, 0,
        ];
        #[rustfmt::skip]
        let sizes = vec![
            4, 0, 0, 0, 3,
            0, 4, 0, 0, 3,
            4, 0, 0, 3, 0,
            4, 0, 0, 0, 0,
            0, 0, 1, 0, 0,
        ];
        assert_eq!(region_sizes(&mask, 5), (sizes, 3));
    }

    #[test]
    fn whole_and_empty_masks() {
        assert_eq!(region_sizes(&[255; 6], 2), (vec![6; 6], 1));
        assert_eq!(region_sizes(&[0; 6], 2), (vec![0; 6], 0));
        assert_eq!(region_sizes(&[], 0), (vec![], 0));
    }
}
