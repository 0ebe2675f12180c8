//! How the weights of a convolution lie where they were cast to bf16.

use super::ConvGeometry;
use crate::device::DType;
use crate::real::Real;
use crate::steps::access::elements;

/// Elements that kernels read at a time; rows are filled with zeros up to a multiple.
pub(in crate::steps) const CHUNK: usize = 8;

/// Which pass of the convolution the weights are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightForm {
    /// [k, side · side · c], for fprop.
    Krsc,
    /// [c, side · side · k] with the kernel's rows and columns flipped, for dgrad, which is an fprop of dy with them.
    Flipped,
}

impl WeightForm {
    /// Rows, and elements of each without the zeros.
    fn rows(self, g: &ConvGeometry) -> [usize; 2] {
        match self {
            WeightForm::Krsc => [g.k, g.taps()],
            WeightForm::Flipped => [g.c, elements([g.side, g.side, g.k])],
        }
    }

    /// Elements of a row with the zeros.
    pub(in crate::steps) fn row_len(self, g: &ConvGeometry) -> usize {
        self.rows(g)[1].checked_next_multiple_of(CHUNK).unwrap_or(usize::MAX)
    }

    /// Elements of a layer's weights of such numbers: f32 as they are, bf16 in this form.
    pub(super) fn len_of(self, g: &ConvGeometry, dtype: DType) -> usize {
        match dtype {
            DType::F32 => g.w_len(),
            DType::Bf16 => self.len(g),
        }
    }

    /// Elements that a layer's weights take in this form.
    pub fn len(self, g: &ConvGeometry) -> usize {
        elements([self.rows(g)[0], self.row_len(g)])
    }

    /// Fills weights [k, side, side, c] with what was cast to this form.
    pub fn restore<T: Real>(self, g: &ConvGeometry, cast: &[T], w: &mut [T]) {
        self.pairs(g, |from, to| w[from] = cast[to]);
    }

    /// Every element's place in the weights and in the cast.
    pub(in crate::steps) fn pairs(self, g: &ConvGeometry, mut pair: impl FnMut(usize, usize)) {
        let taps = g.side * g.side;
        let stride = self.row_len(g);
        for k in 0..g.k {
            for tap in 0..taps {
                for c in 0..g.c {
                    let to = match self {
                        WeightForm::Krsc => k * stride + tap * g.c + c,
                        WeightForm::Flipped => c * stride + (taps - 1 - tap) * g.k + k,
                    };
                    pair((k * taps + tap) * g.c + c, to);
                }
            }
        }
    }
}
