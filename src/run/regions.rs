//! Where an image's pixels exceed the pixel threshold: connected regions, each with its box, its contour and how anomalous it is.

use serde::Serialize;

use super::pixel_map::PixelMap;
use crate::metrics::contour::{border, corners};
use crate::metrics::regions::{Run, Runs};

/// A connected region of pixels whose values exceed the pixel threshold; pixels that touch at a side or a corner belong together.
///
/// Places are pixels of the image, `x` from the left and `y` from the top, from 0. Values are those of [`Detection::map`](crate::Detection::map).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// The leftmost column.
    pub x: usize,
    /// The topmost row.
    pub y: usize,
    /// Columns from there to the rightmost.
    pub width: usize,
    /// Rows from there to the lowest.
    pub height: usize,
    /// How many pixels it has.
    pub area: usize,
    /// The highest value.
    pub peak: f32,
    /// Where that is; of several places the first in reading order.
    pub peak_x: usize,
    /// Where that is.
    pub peak_y: usize,
    /// The mean of the values.
    pub mean: f32,
    /// The corners (x, y) of its outer border, clockwise: a closed polygon through the centres of its outermost pixels.
    pub contour: Vec<(usize, usize)>,
}

/// The regions of an image, and their pixels.
pub(crate) struct Regions {
    /// Those with the highest peaks first.
    pub regions: Vec<Region>,
    /// Pixels of all of them, in reading order.
    pub runs: Vec<Run>,
    /// The pixels (x, y) along the outer border of each.
    pub borders: Vec<Vec<(usize, usize)>>,
}

/// What there is to know of the values of a run.
struct RunValues {
    peak: f32,
    peak_x: usize,
    sum: f64,
}

impl RunValues {
    fn of(run: &Run, row: &[f32]) -> RunValues {
        let mut found = RunValues { peak: f32::NEG_INFINITY, peak_x: run.columns.start, sum: 0.0 };
        for (x, &value) in run.columns.clone().zip(&row[run.columns.clone()]) {
            if value > found.peak {
                (found.peak, found.peak_x) = (value, x);
            }
            found.sum += f64::from(value);
        }
        found
    }
}

impl Regions {
    /// Those of at least `min_area` pixels above a threshold. Of a map only a row at a time is held.
    pub(crate) fn of(map: &PixelMap, threshold: f32, min_area: usize) -> Regions {
        let (mut runs, mut values) = (Runs::default(), Vec::new());
        for row in map.rows() {
            let new = runs.push(row.iter().map(|&value| value > threshold));
            values.extend(new.iter().map(|run| RunValues::of(run, &row)));
        }
        let (all, found) = runs.regions();
        let area = |region: &Vec<usize>| region.iter().map(|&run| all[run].columns.len()).sum::<usize>();
        let mut found: Vec<_> = found
            .into_iter()
            .map(|region| (area(&region), region))
            .filter(|(area, _)| *area >= min_area)
            .map(|(area, region)| {
                let own: Vec<Run> = region.iter().map(|&run| all[run].clone()).collect();
                let border = border(&own);
                let values = region.iter().map(|&run| &values[run]);
                (Region::new(area, &own, values, &border), region, border)
            })
            .collect();
        found.sort_by(|a, b| b.0.peak.total_cmp(&a.0.peak));
        let mut kept: Vec<usize> = found.iter().flat_map(|(_, region, _)| region).copied().collect();
        kept.sort_unstable();
        let runs = kept.into_iter().map(|run| all[run].clone()).collect();
        let (regions, borders) = found.into_iter().map(|(region, _, border)| (region, border)).unzip();
        Regions { regions, runs, borders }
    }

    /// The rows of a mask of (height, width): 255 where a pixel is one of a region, else 0.
    pub(crate) fn mask(&self, (height, width): (usize, usize)) -> impl Iterator<Item = Vec<u8>> {
        let mut left = self.runs.iter().peekable();
        (0..height).map(move |y| {
            let mut row = vec![0; width];
            while let Some(run) = left.next_if(|run| run.row == y) {
                row[run.columns.clone()].fill(255);
            }
            row
        })
    }
}

impl Region {
    fn new<'a>(
        area: usize,
        runs: &[Run],
        values: impl Iterator<Item = &'a RunValues>,
        border: &[(usize, usize)],
    ) -> Region {
        let (mut x, mut end, mut sum) = (usize::MAX, 0, 0.0);
        let (mut peak, mut peak_x, mut peak_y) = (f32::NEG_INFINITY, 0, 0);
        for (run, values) in runs.iter().zip(values) {
            (x, end) = (x.min(run.columns.start), end.max(run.columns.end));
            sum += values.sum;
            if values.peak > peak {
                (peak, peak_x, peak_y) = (values.peak, values.peak_x, run.row);
            }
        }
        let (y, last) = (runs.first().map_or(0, |run| run.row), runs.last().map_or(0, |run| run.row));
        Region {
            x,
            y,
            width: end - x,
            height: last + 1 - y,
            area,
            peak,
            peak_x,
            peak_y,
            mean: (sum / area as f64) as f32,
            contour: corners(border),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_measured_by_their_own_pixels() {
        #[rustfmt::skip]
        let map = PixelMap::new(vec![
            0.0, 3.0, 0.0, 0.0, 9.0,
            2.0, 4.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 5.0, 1.0, 0.0,
        ], (3, 5));
        let found = Regions::of(&map, 1.0, 1);
        let [hot, large] = &found.regions[..] else { panic!("{:?}", found.regions) };
        assert_eq!((hot.x, hot.y, hot.width, hot.height, hot.area), (4, 0, 1, 1, 1));
        assert_eq!((hot.peak, hot.mean, hot.contour.as_slice()), (9.0, 9.0, &[(4, 0)][..]));
        assert_eq!((large.x, large.y, large.width, large.height, large.area), (0, 0, 3, 3, 4));
        assert_eq!((large.peak, large.peak_x, large.peak_y, large.mean), (5.0, 2, 2, 3.5));
        assert_eq!(large.contour, [(1, 0), (1, 1), (2, 2), (1, 1), (0, 1)]);
        let pixels: usize = found.runs.iter().map(|run| run.columns.len()).sum();
        assert_eq!((pixels, found.borders.len()), (5, 2));
        // At the threshold a pixel is none of a region, and small ones are left out.
        let found = Regions::of(&map, 1.0, 2);
        assert_eq!((found.regions.len(), found.regions[0].area, found.runs.len()), (1, 4, 3));
        assert!(Regions::of(&map, 9.0, 0).regions.is_empty());
    }
}
