//! Rows of the input padded with zeros.
//!
//! In a padded row the window of output column q starts q·stride·c elements in: what a kernel row reads of it are side·c consecutive numbers.

use num_traits::Zero;

use super::ConvGeometry;
use crate::real::Real;

/// Elements of a padded input row.
pub(super) fn row_len(g: &ConvGeometry) -> usize {
    (g.w + 2 * g.pad) * g.c
}

/// Fills rows of so many elements with those of an image [h, w, c], from a padded row on. What lies outside of it is zero.
pub(super) fn load<T: Real>(g: &ConvGeometry, image: &[T], first: usize, row_len: usize, rows: &mut [T]) {
    load_by(g, image, first, row_len, rows, <[T]>::copy_from_slice);
}

/// The same of another type, by what `copy` makes of runs of elements.
pub(super) fn load_by<T: Real, V: Zero + Copy>(
    g: &ConvGeometry,
    image: &[T],
    first: usize,
    row_len: usize,
    rows: &mut [V],
    copy: impl Fn(&mut [V], &[T]),
) {
    let (inner, edge) = (g.w * g.c, g.pad * g.c);
    for (i, padded) in rows.chunks_exact_mut(row_len).enumerate() {
        match (first + i).checked_sub(g.pad).filter(|&i| i < g.h) {
            Some(i) => {
                let used = inner.min(row_len - edge);
                padded[..edge].fill(V::zero());
                copy(&mut padded[edge..][..used], &image[i * inner..][..used]);
                padded[edge + used..].fill(V::zero());
            }
            None => padded.fill(V::zero()),
        }
    }
}
