//! A list of transforms as the table that `kernels/transforms.cuh` reads.

use std::slice;
use std::sync::Arc;

use crate::data::jitter::Amounts;
use crate::data::pipeline::{MOST_TRANSFORMS, Transform, draws_of};
use crate::device::cuda::kernels::Op;
use crate::device::cuda::kernels::constants::transforms;
use crate::device::cuda::{Buffer, Cuda, Result};

/// Integers per transform: operation, padding, side before, side after, first number of the sample's `Augment` stream, whether it
/// is of a choice (±(number of the coin + 1): taken on heads, on tails; 0: always).
const INTS: usize = transforms::INTS_PER_TRANSFORM as usize;
/// Floats per transform: two for each of three channels.
const FLOATS: usize = transforms::FLOATS_PER_TRANSFORM as usize;

// What a list may have, the kernel has room for.
const _: () = assert!(MOST_TRANSFORMS <= transforms::MOST_TRANSFORMS as usize);

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
struct ProgramTable {
    ints: Vec<[i32; INTS]>,
    floats: Vec<[f32; FLOATS]>,
    widest: usize,
}

impl Program {
    pub(super) fn new(cuda: &Arc<Cuda>, list: &[Transform], raw_side: usize) -> Result<Program> {
        let ProgramTable { ints, floats, widest } = ProgramTable::new(list, raw_side);
        let steps = ints.len() as i32;
        let (ints, floats) = (cuda.upload(ints.as_flattened())?, cuda.upload(floats.as_flattened())?);
        Ok(Program { ints, floats, steps, widest })
    }
}

impl ProgramTable {
    fn new(list: &[Transform], raw_side: usize) -> ProgramTable {
        let mut table = ProgramTable { ints: Vec::new(), floats: Vec::new(), widest: raw_side };
        let (mut side, mut draw) = (raw_side, 0);
        for transform in list {
            if let Transform::Choice { first, second } = transform {
                let coin = draw as i32 + 1;
                let second_draw = draw + 1 + draws_of(first);
                table.append(first, side, draw + 1, coin);
                table.append(second, side, second_draw, -coin);
            } else {
                table.append(slice::from_ref(transform), side, draw, 0);
            }
            side = transform.side_after(side);
            draw += transform.draws();
        }
        table
    }

    /// Appends transforms that follow each other, from a side and a number of the stream on.
    fn append(&mut self, list: &[Transform], mut side: usize, mut draw: u32, condition: i32) {
        for transform in list {
            let after = transform.side_after(side);
            let (op, pad) = operation(transform);
            self.ints.push([op as i32, pad as i32, side as i32, after as i32, draw as i32, condition]);
            self.floats.push(numbers(transform));
            self.widest = self.widest.max(after);
            side = after;
            draw += transform.draws();
        }
    }
}

/// What kernels do for a transform, and its padding.
fn operation(transform: &Transform) -> (Op, usize) {
    match *transform {
        // Its parts have rows of their own.
        Transform::Choice { .. } => (Op::Nothing, 0),
        Transform::PadCrop { pad } => (Op::PadCrop, pad),
        Transform::Shift { pad } => (Op::Shift, pad),
        Transform::Crop { .. } => (Op::Crop, 0),
        Transform::CentreCrop { .. } => (Op::CentreCrop, 0),
        Transform::ResizeNearest { .. } => (Op::Resize, 0),
        Transform::Flip => (Op::Flip, 0),
        Transform::FlipVertical => (Op::FlipVertical, 0),
        Transform::QuarterTurn => (Op::QuarterTurn, 0),
        Transform::Jitter(_) => (Op::Jitter, 0),
        Transform::ToUnit => (Op::ToUnit, 0),
        Transform::Lcn => (Op::Lcn, 0),
        Transform::Noise { .. } => (Op::Noise, 0),
        Transform::SpreadNoise { .. } => (Op::SpreadNoise, 0),
        Transform::Clamp => (Op::Clamp, 0),
        Transform::BlackOut { .. } => (Op::BlackOut, 0),
        Transform::MinMax { .. } => (Op::MinMax, 0),
        Transform::MeanStd { .. } => (Op::MeanStd, 0),
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
        Transform::Jitter(Amounts { brightness, contrast, saturation, hue }) => {
            row[..4].copy_from_slice(&[*brightness, *contrast, *saturation, *hue]);
        }
        Transform::Noise { std: size } | Transform::SpreadNoise { share: size } => row[0] = *size,
        Transform::BlackOut { border } => row[0] = f32::from(u8::from(*border)),
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
            Jitter(Amounts { brightness: 0.1, contrast: 0.2, ..Amounts::default() }),
            Choice { first: vec![Flip, Crop { side: 28 }], second: vec![ResizeNearest { side: 28 }, Flip] },
            PadCrop { pad: 3 },
            ResizeNearest { side: 40 },
            Flip,
            Lcn,
            MinMax { min: vec![1.0, 2.0, 3.0], max: vec![4.0, 5.0, 6.0] },
        ];
        let table = ProgramTable::new(&list, 32);
        assert_eq!(table.widest, 40);
        let sides: Vec<_> = table.ints.iter().map(|row| (row[2], row[3])).collect();
        let either = [(32, 32), (32, 28), (32, 28), (28, 28)];
        assert_eq!(sides[..5], [&[(32, 32)], &either[..]].concat());
        assert_eq!(sides[5..], [(28, 28), (28, 40), (40, 40), (40, 40), (40, 40)]);
        let draws: Vec<_> = table.ints.iter().map(|row| row[4]).collect();
        assert_eq!(draws, [0, 4, 5, 7, 7, 8, 10, 10, 11, 11]);
        let conditions: Vec<_> = table.ints.iter().map(|row| row[5]).collect();
        assert_eq!(conditions, [0, 4, 4, -4, -4, 0, 0, 0, 0, 0]);
        assert_eq!(table.floats[0], [0.1, 0.2, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(table.floats[9], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
