//! Max pooling over NHWC maps.

use std::ops::Range;

use super::access::elements;
use crate::real::Real;

/// Side of the largest window of a max pool: the number of the winning tap is a byte.
pub(crate) const MOST_SIDE: usize = 16;

/// Rows of a window or kernel, and pixels between windows, at most: far more than any net has, and few enough that no size overflows.
pub(crate) const MOST_WINDOW: usize = 1 << 10;

/// Pixels along a side with `pad` more at each end.
fn padded(length: usize, pad: usize) -> usize {
    length.saturating_add(pad.saturating_mul(2))
}

/// Windows of `side` pixels, `stride` apart, along `length` pixels with `pad` more at each end: none where they are larger, or the stride
/// is 0.
pub(crate) fn windows(length: usize, side: usize, stride: usize, pad: usize) -> usize {
    let room = padded(length, pad).checked_sub(side);
    room.and_then(|room| room.checked_div(stride)).map_or(0, |last| last.saturating_add(1))
}

/// Square windows over maps: what kernels of convolutions and pools have to agree with the host about.
#[derive(Clone, Copy)]
pub(crate) struct WindowGeometry {
    pub n: usize,
    /// Height and width of a map.
    pub map: [usize; 2],
    pub side: usize,
    pub stride: usize,
    pub pad: usize,
}

impl WindowGeometry {
    /// Why kernels would not find the number of windows that [`windows`] does.
    pub(crate) fn fault(&self) -> Option<String> {
        let WindowGeometry { map: [h, w], side, stride, pad, .. } = *self;
        if side == 0 || stride == 0 {
            return Some(format!("its windows have side {side} and stride {stride}, both are at least 1"));
        }
        let none = |length| windows(length, side, stride, pad) == 0;
        (none(h) || none(w))
            .then(|| format!("its windows of {side}×{side} do not fit into maps of {h}×{w} with padding {pad}"))
    }

    /// The largest place that kernels count to: they look up to a stride beyond the padding.
    pub(crate) fn counted(&self) -> usize {
        let [height, width] = self.map.map(|length| padded(length, self.pad).saturating_add(self.stride));
        elements([self.n, height, width])
    }
}

/// Shapes of a pool with a square window. The padding of a max pool never wins; an average pool has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub side: usize,
    pub stride: usize,
    pub pad: usize,
}

impl PoolGeometry {
    /// As a text, such as `128×14² 128 pool 2/2`.
    pub fn layer(&self) -> String {
        format!("{}×{}² {} pool {}/{}", self.n, self.h, self.c, self.side, self.stride)
    }

    /// No pooling: a 1×1 window.
    pub fn none(n: usize, h: usize, w: usize, c: usize) -> PoolGeometry {
        PoolGeometry { n, h, w, c, side: 1, stride: 1, pad: 0 }
    }

    /// Output height.
    pub fn oh(&self) -> usize {
        windows(self.h, self.side, self.stride, self.pad)
    }

    /// Output width.
    pub fn ow(&self) -> usize {
        windows(self.w, self.side, self.stride, self.pad)
    }

    /// Elements of the input [n, h, w, c].
    pub fn x_len(&self) -> usize {
        elements([self.n, self.h, self.w, self.c])
    }

    /// Elements of the output [n, oh, ow, c].
    pub fn y_len(&self) -> usize {
        elements([self.n, self.oh(), self.ow(), self.c])
    }

    /// Its windows.
    pub(crate) fn windows(&self) -> WindowGeometry {
        WindowGeometry { n: self.n, map: [self.h, self.w], side: self.side, stride: self.stride, pad: self.pad }
    }

    /// What kernels count, at most.
    pub(crate) fn counted(&self) -> usize {
        self.windows().counted().max(self.c)
    }

    /// Rows and columns of taps of the window of output (p, q) that lie inside the input.
    #[inline(always)]
    pub fn taps(&self, p: usize, q: usize) -> [Range<usize>; 2] {
        let inside = |o: usize, size: usize| {
            let first = o * self.stride;
            self.pad.saturating_sub(first)..self.side.min((size + self.pad).saturating_sub(first))
        };
        [inside(p, self.h), inside(q, self.w)]
    }

    /// The pixel `i·w + j` that tap (r, s) of the window of output (p, q) reads; the tap must lie inside the input.
    #[inline(always)]
    pub fn pixel(&self, [p, q]: [usize; 2], [r, s]: [usize; 2]) -> usize {
        (p * self.stride + r - self.pad) * self.w + q * self.stride + s - self.pad
    }

    /// Rows and columns of the outputs whose windows hold input pixel (i, j).
    #[inline(always)]
    pub fn outputs(&self, i: usize, j: usize) -> [Range<usize>; 2] {
        // Output p reads the input rows p·stride − pad … p·stride − pad + side − 1.
        let reading = |at: usize, outputs: usize| {
            let first = (at + self.pad + 1).saturating_sub(self.side).div_ceil(self.stride);
            first..((at + self.pad) / self.stride + 1).min(outputs)
        };
        [reading(i, self.oh()), reading(j, self.ow())]
    }

    /// Row and column of tap number `tap`.
    pub fn tap(&self, tap: u8) -> [usize; 2] {
        [tap as usize / self.side, tap as usize % self.side]
    }
}

/// `y = max` over each window and the number of the winning tap, the first among equals (as PyTorch chooses).
pub fn forward<T: Real>(g: &PoolGeometry, x: &[T], y: &mut [T], argmax: &mut [u8]) {
    let (oh, ow) = (g.oh(), g.ow());
    for n in 0..g.n {
        for p in 0..oh {
            for q in 0..ow {
                for c in 0..g.c {
                    let out = ((n * oh + p) * ow + q) * g.c + c;
                    let mut best = T::neg_infinity();
                    let [rows, columns] = g.taps(p, q);
                    for (r, s) in rows.flat_map(|r| columns.clone().map(move |s| (r, s))) {
                        let value = x[(n * g.h * g.w + g.pixel([p, q], [r, s])) * g.c + c];
                        if value > best || value.is_nan() {
                            (best, argmax[out]) = (value, (r * g.side + s) as u8);
                        }
                    }
                    y[out] = best;
                }
            }
        }
    }
}

/// `dx = Σ dy` over the windows that each input won.
pub fn backward<T: Real>(g: &PoolGeometry, dy: &[T], argmax: &[u8], dx: &mut [T]) {
    let (oh, ow) = (g.oh(), g.ow());
    dx.fill(T::zero());
    for n in 0..g.n {
        for p in 0..oh {
            for q in 0..ow {
                for c in 0..g.c {
                    let out = ((n * oh + p) * ow + q) * g.c + c;
                    dx[(n * g.h * g.w + g.pixel([p, q], g.tap(argmax[out]))) * g.c + c] += dy[out];
                }
            }
        }
    }
}
