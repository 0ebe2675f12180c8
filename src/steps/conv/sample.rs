//! Convolutions on fewer pixels, and their plain formulas on them.

use super::{ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad, reference};
use crate::device::{HostBuffers, View};
use crate::steps::activation;
use crate::steps::norm::{self, Affine, Norm, Stats};

/// One image of a side for which the formula takes at most so many products, if the kernel fits.
fn geometry(full: &ConvGeometry, products: usize) -> ConvGeometry {
    let pixels = (products / full.w_len()).clamp(1, full.h * full.w);
    let side = ((pixels as f64).sqrt() as usize).max(full.side).min(full.h);
    ConvGeometry { n: 1, h: side, w: side, ..*full }
}

pub(super) fn of_fprop(step: &Fprop, products: usize) -> (Fprop, Vec<usize>) {
    let g = geometry(&step.geometry, products);
    let lengths = [g.x_len(), g.w_len(), g.k, g.y_len(), 2 * g.k, 2 * g.k, 4 * g.k];
    let [x, w, b, y, batch, running, fixed] = std::array::from_fn(|buffer| View::of(buffer, lengths[buffer]));
    let channels = |view: View, part: usize| View { start: part * g.k, len: g.k, ..view };
    let stats = step.stats.map(|stats| Stats {
        x: y,
        c: g.k,
        bias: stats.bias.map(|_| b),
        mean: channels(batch, 0),
        var: channels(batch, 1),
        running_mean: channels(running, 0),
        running_var: channels(running, 1),
    });
    let norm = step.epilogue.norm.map(|norm| Norm {
        mean: channels(fixed, 0),
        var: channels(fixed, 1),
        affine: norm.affine.map(|_| Affine { gamma: channels(fixed, 2), beta: channels(fixed, 3) }),
        ..norm
    });
    let epilogue = Epilogue { norm, ..step.epilogue };
    (Fprop { geometry: g, x, w, b: step.b.map(|_| b), y, stats, epilogue, algorithm: step.algorithm }, lengths.to_vec())
}

/// The formula of [`Fprop`], without the statistics.
pub(super) fn fprop(step: &Fprop, memory: &mut HostBuffers<f64>) {
    let mut y = memory.take(step.y.buffer);
    let values = &mut y[step.y.range()];
    reference::fprop(&step.geometry, memory.get(step.x), memory.get(step.w), memory.get_opt(step.b), values);
    if let Some(Norm { mean, var, affine, eps }) = step.epilogue.norm {
        let affine = affine.map(|affine| (memory.get(affine.gamma), memory.get(affine.beta)));
        let sums = values.to_vec();
        norm::forward(&sums, memory.get(mean), memory.get(var), affine, eps, values);
    }
    activation::forward(step.epilogue.activation, values);
    memory.put(step.y.buffer, y);
}

pub(super) fn of_dgrad(step: &Dgrad, products: usize) -> (Dgrad, Vec<usize>) {
    let g = geometry(&step.geometry, products);
    let lengths = [g.y_len(), g.w_len(), g.x_len()];
    let [dy, w, dx] = std::array::from_fn(|buffer| View::of(buffer, lengths[buffer]));
    (Dgrad { geometry: g, dy, w, dx, algorithm: step.algorithm }, lengths.to_vec())
}

/// The formula of [`Dgrad`].
pub(super) fn dgrad(step: &Dgrad, memory: &mut HostBuffers<f64>) {
    let mut dx = memory.take(step.dx.buffer);
    reference::dgrad(&step.geometry, memory.get(step.dy), memory.get(step.w), &mut dx[step.dx.range()]);
    memory.put(step.dx.buffer, dx);
}

pub(super) fn of_wgrad(step: &Wgrad, products: usize) -> (Wgrad, Vec<usize>) {
    let g = geometry(&step.geometry, products);
    let lengths = [g.x_len(), g.y_len(), g.w_len() + g.k];
    let [x, dy, grads] = std::array::from_fn(|buffer| View::of(buffer, lengths[buffer]));
    let (dw, db) = (View { len: g.w_len(), ..grads }, View { start: g.w_len(), len: g.k, ..grads });
    (Wgrad { geometry: g, x, dy, dw, db: step.db.map(|_| db), algorithm: step.algorithm }, lengths.to_vec())
}

/// The formula of [`Wgrad`].
pub(super) fn wgrad(step: &Wgrad, memory: &mut HostBuffers<f64>) {
    let mut grads = memory.take(step.dw.buffer);
    reference::wgrad(&step.geometry, memory.get(step.x), memory.get(step.dy), &mut grads[step.dw.range()]);
    if let Some(db) = step.db {
        reference::bias_grad(&step.geometry, memory.get(step.dy), &mut grads[db.range()]);
    }
    memory.put(step.dw.buffer, grads);
}
