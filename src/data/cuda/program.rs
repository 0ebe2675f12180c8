//! A list of transforms as the table that `kernels/transforms.cuh` reads.

use std::sync::Arc;

use crate::data::pipeline::Transform;
use crate::device::cuda::{Buffer, Cuda, Result};

/// Integers per transform: operation, padding, side before, side after, first number of the sample's `Augment` stream.
const INTS: usize = 5;
/// Floats per transform: two for each of three channels.
const FLOATS: usize = 6;

/// A list in device memory.
pub(super) struct Program {
    pub ints: Buffer<i32>,
    pub floats: Buffer<f32>,
    pub steps: i32,
    /// The largest side on the way.
    pub widest: usize,
}

/// The same in host memory.
#[derive(Debug, PartialEq)]
struct Table {
    ints: Vec<[i32; INTS]>,
    floats: Vec<[f32; FLOATS]>,
    widest: usize,
}

impl Program {
    pub fn new(cuda: &Arc<Cuda>, list: &[Transform], raw_side: usize) -> Result<Program> {
        let Table { ints, floats, widest } = Table::new(list, raw_side);
        let steps = ints.len() as i32;
        let (ints, floats) = (cuda.upload(ints.as_flattened())?, cuda.upload(floats.as_flattened())?);
        Ok(Program { ints, floats, steps, widest })
    }

    pub fn size_in_bytes(&self) -> usize {
        4 * (self.ints.len() + self.floats.len())
    }
}

impl Table {
    fn new(list: &[Transform], raw_side: usize) -> Table {
        let mut table = Table { ints: Vec::new(), floats: Vec::new(), widest: raw_side };
        let (mut side, mut draw) = (raw_side, 0);
        for transform in list {
            let after = transform.side_after(side);
            let (op, pad) = operation(transform);
            table.ints.push([op, pad as i32, side as i32, after as i32, draw as i32]);
            table.floats.push(numbers(transform));
            table.widest = table.widest.max(after);
            side = after;
            draw += transform.draws();
        }
        table
    }
}

/// The number of an operation in `kernels/transforms.cuh`, and its padding.
fn operation(transform: &Transform) -> (i32, usize) {
    match *transform {
        Transform::PadCrop { pad } => (0, pad),
        Transform::Shift { pad } => (1, pad),
        Transform::Crop { .. } => (2, 0),
        Transform::CropOrResize { .. } => (3, 0),
        Transform::ResizeNearest { .. } => (4, 0),
        Transform::Flip => (5, 0),
        Transform::Jitter { .. } => (6, 0),
        Transform::ToUnit => (7, 0),
        Transform::Lcn => (8, 0),
        Transform::Noise { .. } => (9, 0),
        Transform::MinMax { .. } => (10, 0),
        Transform::MeanStd { .. } => (11, 0),
    }
}

/// Per channel the first and the second number of a scaling; of others what they have, in front.
fn numbers(transform: &Transform) -> [f32; FLOATS] {
    let mut row = [0.0; FLOATS];
    let (first, second) = row.split_at_mut(FLOATS / 2);
    match transform {
        Transform::MinMax { min: a, max: b } | Transform::MeanStd { mean: a, std: b } => {
            first[..a.len()].copy_from_slice(a);
            second[..b.len()].copy_from_slice(b);
        }
        Transform::Jitter { brightness, contrast } => first[..2].copy_from_slice(&[*brightness, *contrast]),
        Transform::Noise { std } => first[0] = *std,
        _ => {}
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transform::*;

    #[test]
    fn sides_and_draws_follow_the_list() {
        let list = [
            Jitter { brightness: 0.1, contrast: 0.2 },
            CropOrResize { side: 28 },
            PadCrop { pad: 3 },
            ResizeNearest { side: 40 },
            Flip,
            Lcn,
            MinMax { min: vec![1.0, 2.0, 3.0], max: vec![4.0, 5.0, 6.0] },
        ];
        let table = Table::new(&list, 32);
        assert_eq!(table.widest, 40);
        let sides: Vec<_> = table.ints.iter().map(|row| (row[2], row[3])).collect();
        assert_eq!(sides, [(32, 32), (32, 28), (28, 28), (28, 40), (40, 40), (40, 40), (40, 40)]);
        let draws: Vec<_> = table.ints.iter().map(|row| row[4]).collect();
        assert_eq!(draws, [0, 3, 6, 8, 8, 9, 9]);
        assert_eq!(table.floats[0], [0.1, 0.2, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(table.floats[6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
