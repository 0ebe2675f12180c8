//! Connected regions of a mask.

/// For each pixel of a mask [height, width] the number of pixels in its region, 0 for normal pixels (mask 0); and the
/// number of regions. Pixels that touch at a side or a corner are of one region, as for
/// `scipy.ndimage.label(mask, numpy.ones((3, 3)))`.
///
/// # Panics
/// When the mask is not made of whole rows.
pub(crate) fn region_sizes(mask: &[u8], width: usize) -> (Vec<u32>, usize) {
    assert!(mask.len().is_multiple_of(width), "whole rows of {width}");
    let mut sizes = vec![0; mask.len()];
    let mut regions = 0;
    let mut members = Vec::new();
    for first in 0..mask.len() {
        if mask[first] == 0 || sizes[first] > 0 {
            continue;
        }
        regions += 1;
        // The members found so far are also the queue of those whose neighbours are to be looked at; 1 marks them as
        // found.
        members.clear();
        members.push(first);
        sizes[first] = 1;
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            next += 1;
            for neighbour in around(member, width, mask.len() / width) {
                if mask[neighbour] > 0 && sizes[neighbour] == 0 {
                    sizes[neighbour] = 1;
                    members.push(neighbour);
                }
            }
        }
        for &member in &members {
            sizes[member] = members.len() as u32;
        }
    }
    (sizes, regions)
}

/// A pixel and those that touch it.
fn around(pixel: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (y, x) = (pixel / width, pixel % width);
    let near = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
    near(y, height).flat_map(move |y| near(x, width).map(move |x| y * width + x))
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
