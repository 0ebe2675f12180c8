//! The outer border of a connected region, by Moore's tracing.

use super::regions::Run;

/// The eight ways to a neighbour as (column, row), clockwise from the right one.
const WAYS: [(isize, isize); 8] = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)];

/// The pixels (x, y) along the outer border of a region, clockwise from its first, each beside the next and the last beside the first. Where a
/// region is one pixel wide, they come there and back.
///
/// `runs` are those of one region in their order.
pub(crate) fn border(runs: &[Run]) -> Vec<(usize, usize)> {
    let Some(first) = runs.first() else { return Vec::new() };
    let start = (first.columns.start, first.row);
    let step = |(x, y): (usize, usize), way: usize| {
        let (dx, dy) = WAYS[way];
        let to = (x.checked_add_signed(dx)?, y.checked_add_signed(dy)?);
        holds(runs, to).then_some((to, way))
    };
    // What was come by is no member a quarter turn back at most. Before the first pixel, on its left and above it, there are none.
    let next = |at, came_by: usize| (0..8).find_map(|turn| step(at, (came_by + 6 + turn) % 8));
    let Some((second, first_way)) = next(start, 0) else { return vec![start] };
    let (mut border, mut at, mut way) = (vec![start], second, first_way);
    while let Some((to, by)) = next(at, way).filter(|&(_, by)| (at, by) != (start, first_way)) {
        border.push(at);
        (at, way) = (to, by);
    }
    border
}

/// Whether a region has a pixel.
fn holds(runs: &[Run], (x, y): (usize, usize)) -> bool {
    let next = runs.partition_point(|run| (run.row, run.columns.end) <= (y, x));
    runs.get(next).is_some_and(|run| run.row == y && run.columns.contains(&x))
}

/// The corners of a closed polygon: its points without those that lie on the straight way between their neighbours.
pub(crate) fn corners(border: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let n = border.len();
    let way =
        |from: (usize, usize), to: (usize, usize)| (to.0 as isize - from.0 as isize, to.1 as isize - from.1 as isize);
    let turns = |&i: &usize| way(border[(i + n - 1) % n], border[i]) != way(border[i], border[(i + 1) % n]);
    if n < 3 { border.to_vec() } else { (0..n).filter(turns).map(|i| border[i]).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::regions::Runs;
    use super::*;
    use proptest::prelude::*;

    /// The runs of each region of a mask.
    fn regions(mask: &[Vec<bool>]) -> Vec<Vec<Run>> {
        let mut runs = Runs::default();
        for row in mask {
            runs.push(row.iter().copied());
        }
        let (runs, regions) = runs.regions();
        regions.iter().map(|region| region.iter().map(|&run| runs[run].clone()).collect()).collect()
    }

    fn drawn(rows: &[&str]) -> Vec<Run> {
        let mut regions = regions(&rows.iter().map(|row| row.bytes().map(|b| b == b'#').collect()).collect::<Vec<_>>());
        assert_eq!(regions.len(), 1);
        regions.remove(0)
    }

    #[test]
    fn borders_go_around_clockwise() {
        assert_eq!(border(&drawn(&["...", ".#."])), [(1, 1)]);
        let ring = drawn(&["###", "#.#", "###"]);
        assert_eq!(border(&ring), [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)]);
        assert_eq!(corners(&border(&ring)), [(0, 0), (2, 0), (2, 2), (0, 2)]);
        // There and back along a line, and around a branch.
        let line = border(&drawn(&["####"]));
        assert_eq!(line, [(0, 0), (1, 0), (2, 0), (3, 0), (2, 0), (1, 0)]);
        assert_eq!(corners(&line), [(0, 0), (3, 0)]);
        assert_eq!(border(&drawn(&["#.#", ".#."])), [(0, 0), (1, 1), (2, 0), (1, 1)]);
        assert_eq!(corners(&[(4, 4)]), [(4, 4)]);
    }

    /// What lies outside of a region: what can be reached over its complement, side by side, from beyond the mask.
    fn outside(region: &[Run], height: usize, width: usize) -> Vec<Vec<bool>> {
        let (tall, wide) = (height + 2, width + 2);
        let mut reached = vec![vec![false; wide]; tall];
        let mut open = vec![(0, 0)];
        while let Some((x, y)) = open.pop() {
            let is_member = x > 0 && y > 0 && holds(region, (x - 1, y - 1));
            if is_member || std::mem::replace(&mut reached[y][x], true) {
                continue;
            }
            let near = [(x + 1, y), (x.wrapping_sub(1), y), (x, y + 1), (x, y.wrapping_sub(1))];
            open.extend(near.into_iter().filter(|&(x, y)| x < wide && y < tall));
        }
        reached
    }

    proptest! {
        /// A border has those members that have the outside beside them at a side. They follow each other, and go around clockwise.
        #[test]
        fn borders_are_what_touches_the_outside(
            mask in (1usize..9, 1usize..9).prop_flat_map(|(h, w)| prop::collection::vec(prop::collection::vec(any::<bool>(), w), h)),
        ) {
            let (height, width) = (mask.len(), mask[0].len());
            for region in regions(&mask) {
                let border = border(&region);
                let outside = outside(&region, height, width);
                let members = region.iter().flat_map(|run| run.columns.clone().map(|x| (x, run.row)));
                let touching = |&(x, y): &(usize, usize)| {
                    [(x, y + 1), (x + 2, y + 1), (x + 1, y), (x + 1, y + 2)].iter().any(|&(x, y)| outside[y][x])
                };
                let mut expected: Vec<_> = members.filter(touching).collect();
                let mut found = border.clone();
                [&mut expected, &mut found].into_iter().for_each(|points| points.sort_unstable());
                found.dedup();
                prop_assert_eq!(found, expected);
                let (mut area, n) = (0, border.len());
                for (i, &(x, y)) in border.iter().enumerate() {
                    let (next_x, next_y) = border[(i + 1) % n];
                    prop_assert!(n == 1 || (x.abs_diff(next_x).max(y.abs_diff(next_y)) == 1), "{:?}", border);
                    area += (x * next_y) as isize - (next_x * y) as isize;
                }
                prop_assert!(area >= 0, "clockwise, with y downwards: {:?}", border);
                let polygon = corners(&border);
                prop_assert!(!polygon.is_empty() && polygon.iter().all(|point| border.contains(point)));
            }
        }
    }
}
