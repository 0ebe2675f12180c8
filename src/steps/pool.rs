//! Max pooling over NHWC maps.

use crate::real::Real;

/// Shapes of a max pool with a square window; padding never wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub side: usize,
    pub stride: usize,
    pub pad: usize,
}

impl Geometry {
    /// No pooling: a 1×1 window.
    pub fn none(n: usize, h: usize, w: usize, c: usize) -> Geometry {
        Geometry { n, h, w, c, side: 1, stride: 1, pad: 0 }
    }

    pub fn oh(&self) -> usize {
        (self.h + 2 * self.pad - self.side) / self.stride + 1
    }

    pub fn ow(&self) -> usize {
        (self.w + 2 * self.pad - self.side) / self.stride + 1
    }

    /// Elements of the input [n, h, w, c].
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Elements of the output [n, oh, ow, c].
    pub fn y_len(&self) -> usize {
        self.n * self.oh() * self.ow() * self.c
    }

    /// The window of output (p, q): for each tap inside the input, its number in the window and its pixel `i·w + j`.
    pub fn window(&self, p: usize, q: usize) -> impl Iterator<Item = (u8, usize)> + use<> {
        let g = *self;
        (0..g.side * g.side).filter_map(move |tap| {
            let i = (p * g.stride + tap / g.side).checked_sub(g.pad).filter(|&i| i < g.h)?;
            let j = (q * g.stride + tap % g.side).checked_sub(g.pad).filter(|&j| j < g.w)?;
            Some((tap as u8, i * g.w + j))
        })
    }

    /// The windows that input pixel (i, j) lies in: for each, its output `p·ow + q` and the pixel's tap in it. In order of the outputs.
    #[inline]
    pub fn windows_over(&self, i: usize, j: usize) -> impl Iterator<Item = (usize, u8)> + use<> {
        let (g, oh, ow) = (*self, self.oh(), self.ow());
        // Output p covers rows p·stride − pad … p·stride − pad + side − 1.
        let covering = |at: usize, outputs: usize| {
            let first = (at + g.pad + 1).saturating_sub(g.side).div_ceil(g.stride);
            first..((at + g.pad) / g.stride + 1).min(outputs)
        };
        let columns = covering(j, ow);
        covering(i, oh).flat_map(move |p| {
            let row = i + g.pad - p * g.stride;
            columns.clone().map(move |q| (p * ow + q, (row * g.side + j + g.pad - q * g.stride) as u8))
        })
    }

    /// The pixel that tap number `tap` of the window of output (p, q) reads; the tap must lie inside the input.
    pub fn pixel(&self, p: usize, q: usize, tap: u8) -> usize {
        let tap = tap as usize;
        (p * self.stride + tap / self.side - self.pad) * self.w + q * self.stride + tap % self.side - self.pad
    }
}

/// `y = max` over each window and the number of the winning tap, the first among equals (as PyTorch chooses).
pub fn forward<T: Real>(g: &Geometry, x: &[T], y: &mut [T], argmax: &mut [u8]) {
    let (oh, ow) = (g.oh(), g.ow());
    for n in 0..g.n {
        for p in 0..oh {
            for q in 0..ow {
                for c in 0..g.c {
                    let out = ((n * oh + p) * ow + q) * g.c + c;
                    let mut best = T::neg_infinity();
                    for (tap, pixel) in g.window(p, q) {
                        let value = x[(n * g.h * g.w + pixel) * g.c + c];
                        if value > best || value.is_nan() {
                            (best, argmax[out]) = (value, tap);
                        }
                    }
                    y[out] = best;
                }
            }
        }
    }
}

/// `dx = Σ dy` over the windows that each input won.
pub fn backward<T: Real>(g: &Geometry, dy: &[T], argmax: &[u8], dx: &mut [T]) {
    let (oh, ow) = (g.oh(), g.ow());
    dx.fill(T::zero());
    for n in 0..g.n {
        for p in 0..oh {
            for q in 0..ow {
                for c in 0..g.c {
                    let out = ((n * oh + p) * ow + q) * g.c + c;
                    dx[(n * g.h * g.w + g.pixel(p, q, argmax[out])) * g.c + c] += dy[out];
                }
            }
        }
    }
}
