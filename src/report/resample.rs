//! Maps of one size as maps of another, for images and masks at their own size.

/// Bilinear interpolation of maps between sizes (height, width), pixel centres at half-integers and borders continued, as
/// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
pub(crate) struct BilinearMap {
    width: usize,
    /// For each output row and column, the two inputs it lies between and the weight of the second.
    rows: Vec<(usize, usize, f32)>,
    columns: Vec<(usize, usize, f32)>,
}

impl BilinearMap {
    /// Between two sizes; neither is empty.
    pub(crate) fn new(from: (usize, usize), to: (usize, usize)) -> BilinearMap {
        BilinearMap { width: from.1, rows: taps(from.0, to.0), columns: taps(from.1, to.1) }
    }

    /// The values of an output row.
    ///
    /// # Panics
    /// When the map or the rows are shorter than that.
    pub(crate) fn row<'a>(&'a self, map: &'a [f32], row: usize) -> impl Iterator<Item = f32> + 'a {
        let (y0, y1, fy) = self.rows[row];
        let (upper, lower) = (&map[y0 * self.width..][..self.width], &map[y1 * self.width..][..self.width]);
        self.columns.iter().map(move |&(x0, x1, fx)| {
            let mix = |row: &[f32]| row[x0] + (row[x1] - row[x0]) * fx;
            mix(upper) + (mix(lower) - mix(upper)) * fy
        })
    }
}

/// Nearest neighbour between sizes (height, width), also the authors' upsampling without receptive fields: row ⌊i·from/to⌋ and likewise the column, as
/// `torch.nn.functional.interpolate(mode="nearest")`.
///
/// # Panics
/// When the map does not hold `from.0 * from.1` values, or is empty and the result is not.
pub(crate) fn nearest<T: Copy>(map: &[T], from: (usize, usize), to: (usize, usize)) -> Vec<T> {
    assert_eq!(map.len(), from.0 * from.1, "a map of {} × {}", from.0, from.1);
    let mut resized = Vec::with_capacity(to.0 * to.1);
    for y in 0..to.0 {
        let row = &map[y * from.0 / to.0 * from.1..][..from.1];
        resized.extend((0..to.1).map(|x| row[x * from.1 / to.1]));
    }
    resized
}

/// The highest value in each of as many parts as a map of another size has cells; where there are more cells than values, these are repeated.
///
/// # Panics
/// When the map does not hold `from.0 * from.1` values, or is empty.
pub(crate) fn highest(map: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    assert_eq!(map.len(), from.0 * from.1, "a map of {} × {}", from.0, from.1);
    let part = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to).max(i * from / to + 1);
    let of_part = |y: usize, x: usize| {
        let rows = map.chunks_exact(from.1).skip(part(y, from.0, to.0).start).take(part(y, from.0, to.0).len());
        rows.flat_map(|row| &row[part(x, from.1, to.1)]).copied().fold(f32::NEG_INFINITY, f32::max)
    };
    (0..to.0 * to.1).map(|i| of_part(i / to.1, i % to.1)).collect()
}

/// For each output position, the two inputs it lies between and the weight of the second.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    (0..to)
        .map(|i| {
            let x = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let first = (x as usize).min(from - 1);
            (first, (first + 1).min(from - 1), (x - first as f64) as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `F.interpolate(torch.tensor([[[[0., 4.], [8., 12.]]]]), size=(2, 4), mode="bilinear")`
    #[test]
    fn bilinear_equals_torch() {
        let bilinear = |map: &[f32], from, to: (usize, usize)| -> Vec<f32> {
            let between = BilinearMap::new(from, to);
            (0..to.0).flat_map(|y| between.row(map, y)).collect()
        };
        let wide = bilinear(&[0.0, 4.0, 8.0, 12.0], (2, 2), (2, 4));
        assert_eq!(wide, [0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0, 12.0]);
        assert_eq!(bilinear(&wide, (2, 4), (2, 4)), wide);
        assert_eq!(bilinear(&[5.0], (1, 1), (3, 2)), [5.0; 6]);
        assert_eq!(bilinear(&[0.0, 1.0, 2.0, 3.0], (1, 4), (1, 2)), [0.5, 2.5]);
    }

    #[test]
    fn the_highest_of_each_part_is_kept() {
        let map = [1.0, 5.0, 2.0, 3.0, 0.0, 4.0];
        assert_eq!(highest(&map, (2, 3), (1, 1)), [5.0]);
        assert_eq!(highest(&map, (2, 3), (2, 2)), [5.0, 5.0, 3.0, 4.0], "the middle belongs to both");
        assert_eq!(highest(&map, (2, 3), (2, 3)), map);
        assert_eq!(highest(&map[..2], (1, 2), (2, 4)), [1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 5.0, 5.0]);
    }

    /// `F.interpolate(torch.arange(5.)[None, None], size=n, mode="nearest")`
    #[test]
    fn nearest_equals_torch() {
        assert_eq!(nearest(&[0, 1, 2, 3, 4], (1, 5), (1, 3)), [0, 1, 3]);
        assert_eq!(nearest(&[0, 1], (2, 1), (4, 1)), [0, 0, 1, 1]);
    }
}
