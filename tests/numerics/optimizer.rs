//! SGD and Adam against their formulas, over several steps and more than one parallel chunk.

use crate::support::{assert_close, memory, noise};
use fcdd::device::View;
use fcdd::real::Real;
use fcdd::steps::operation::{Hyper, Operation};
use fcdd::steps::optimizer::{Adam, Sgd};

const LEN: usize = 40_000;
const LR: f64 = 0.01;
const DECAY: f64 = 0.1;
const HYPER: Hyper = Hyper { lr: LR, weight_decay: DECAY, ..Hyper::IDLE };
const STEPS: u64 = 5;

fn gradient(step: u64) -> Vec<f64> {
    noise(10 + step as u32, LEN)
}

/// Parameters after some steps, from a step that updates (memory, gradients' view) in place.
fn run<T: Real>(moments: usize, update: impl Fn(&mut fcdd::device::HostBuffers<T>, [View; 3], u64)) -> Vec<T> {
    let (params, zeros) = (noise(0, LEN), vec![0.0; moments]);
    let (mut memory, views) = memory::<T, 3>([&params, &gradient(1), &zeros], &[], 0);
    for step in 1..=STEPS {
        memory.get_mut(views[1]).copy_from_slice(&crate::support::of::<T>(&gradient(step)));
        update(&mut memory, views, step);
    }
    memory.get(views[0]).to_vec()
}

/// Parameters of size 1, five updates of a few roundings each.
const BOUNDS: [f64; 2] = [1e-14, 1e-6];

#[test]
fn sgd_with_nesterov_momentum() {
    let (mut w, mut buf) = (noise(0, LEN), vec![0.0; LEN]);
    for step in 1..=STEPS {
        for ((w, buf), g) in w.iter_mut().zip(&mut buf).zip(gradient(step)) {
            let g = g + DECAY * *w;
            *buf = if step == 1 { g } else { 0.9 * *buf + g };
            *w -= LR * (g + 0.9 * *buf);
        }
    }
    fn ours<T: Real>() -> Vec<T> {
        run(LEN, |memory, [params, grads, momentum], _| Sgd { params, grads, momentum }.cpu(memory, &HYPER))
    }
    assert_close(&ours::<f64>(), &w, BOUNDS[0], "f64");
    assert_close(&ours::<f32>(), &w, BOUNDS[1], "f32");
}

#[test]
fn adam_with_coupled_weight_decay() {
    let (mut w, mut m, mut v) = (noise(0, LEN), vec![0.0; LEN], vec![0.0; LEN]);
    for step in 1..=STEPS {
        for (((w, m), v), g) in w.iter_mut().zip(&mut m).zip(&mut v).zip(gradient(step)) {
            let g = g + DECAY * *w;
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m, v) = (*m / (1.0 - 0.9f64.powi(step as i32)), *v / (1.0 - 0.999f64.powi(step as i32)));
            *w -= LR * m / (v.sqrt() + 1e-8);
        }
    }
    fn ours<T: Real>() -> Vec<T> {
        run(2 * LEN, |memory, [params, grads, moments], step| {
            let half = |start: usize| View { start, len: LEN, ..moments };
            Adam { params, grads, m: half(0), v: half(LEN) }.cpu(memory, &Hyper { step, ..HYPER });
        })
    }
    // 1 − 0.999 has 13 of 16 digits, as in the formula above written another way.
    assert_close(&ours::<f64>(), &w, 1e-13, "f64");
    assert_close(&ours::<f32>(), &w, BOUNDS[1], "f32");
}
