//! Convolution as its formula reads. These are the reference that the faster forms and the kernels are checked against.

use rayon::prelude::*;

use super::ConvGeometry;
use crate::real::Real;

/// Row or column of the input that kernel tap `tap` of output `o` reads, if it lies inside `0..side`.
fn source(o: usize, tap: usize, stride: usize, pad: usize, side: usize) -> Option<usize> {
    (o * stride + tap).checked_sub(pad).filter(|&i| i < side)
}

/// `y[n,oh,ow,k] = b[k] + Σ_{r,s,c} x[n, oh·stride+r−pad, ow·stride+s−pad, c] · w[k,r,s,c]`, zero outside the input.
pub fn fprop<T: Real>(g: &ConvGeometry, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) {
    let (oh, ow) = (g.oh(), g.ow());
    y.par_chunks_mut(oh * ow * g.k).zip(x.par_chunks(g.h * g.w * g.c)).for_each(|(y, x)| {
        for p in 0..oh {
            for q in 0..ow {
                for k in 0..g.k {
                    let mut sum = b.map_or(T::zero(), |b| b[k]);
                    for r in 0..g.side {
                        let Some(i) = source(p, r, g.stride, g.pad, g.h) else { continue };
                        for s in 0..g.side {
                            let Some(j) = source(q, s, g.stride, g.pad, g.w) else { continue };
                            for c in 0..g.c {
                                sum += x[(i * g.w + j) * g.c + c] * w[((k * g.side + r) * g.side + s) * g.c + c];
                            }
                        }
                    }
                    y[(p * ow + q) * g.k + k] = sum;
                }
            }
        }
    });
}

/// `dx[n,i,j,c] = Σ_{k,r,s} dy[n,p,q,k] · w[k,r,s,c]` over the outputs (p, q) whose tap (r, s) reads (i, j).
pub fn dgrad<T: Real>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let (oh, ow) = (g.oh(), g.ow());
    dx.par_chunks_mut(g.h * g.w * g.c).zip(dy.par_chunks(oh * ow * g.k)).for_each(|(dx, dy)| {
        dx.fill(T::zero());
        for p in 0..oh {
            for q in 0..ow {
                for r in 0..g.side {
                    let Some(i) = source(p, r, g.stride, g.pad, g.h) else { continue };
                    for s in 0..g.side {
                        let Some(j) = source(q, s, g.stride, g.pad, g.w) else { continue };
                        for k in 0..g.k {
                            for c in 0..g.c {
                                dx[(i * g.w + j) * g.c + c] +=
                                    dy[(p * ow + q) * g.k + k] * w[((k * g.side + r) * g.side + s) * g.c + c];
                            }
                        }
                    }
                }
            }
        }
    });
}

/// `dw[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride+r−pad, q·stride+s−pad, c]`.
pub fn wgrad<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let (oh, ow) = (g.oh(), g.ow());
    dw.par_chunks_mut(g.taps()).enumerate().for_each(|(k, dw)| {
        dw.fill(T::zero());
        for n in 0..g.n {
            for p in 0..oh {
                for q in 0..ow {
                    let d = dy[((n * oh + p) * ow + q) * g.k + k];
                    for r in 0..g.side {
                        let Some(i) = source(p, r, g.stride, g.pad, g.h) else { continue };
                        for s in 0..g.side {
                            let Some(j) = source(q, s, g.stride, g.pad, g.w) else { continue };
                            for c in 0..g.c {
                                dw[(r * g.side + s) * g.c + c] += d * x[((n * g.h + i) * g.w + j) * g.c + c];
                            }
                        }
                    }
                }
            }
        }
    });
}

/// `db[k] = Σ_{n,p,q} dy[n,p,q,k]`.
pub fn bias_grad<T: Real>(g: &ConvGeometry, dy: &[T], db: &mut [T]) {
    db.fill(T::zero());
    for pixel in dy.chunks_exact(g.k) {
        for (sum, &d) in db.iter_mut().zip(pixel) {
            *sum += d;
        }
    }
}
