//! The step `dropout` (Srivastava et al. 2014): in training, zeroes each value with probability ½ and doubles the others.
//!
//! The backward pass is the same step on the gradient. The mask is drawn from the seed, the dropout's number in its net, the number of the
//! update and the image's place in its batch, so that both passes and both devices draw the same.

mod cuda;
pub mod layer;

use rayon::prelude::*;

use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums, whole};
use crate::device::cuda::Result;
use crate::device::cuda::kernels::constants;
use crate::device::{HostBuffers, View};
use crate::real::Real;
use crate::rng::{Purpose, Stream};

/// Dropouts of a net and images of a batch, at most: together they number the streams of random bits, of 32 bits.
const MOST_DROPOUTS: usize = 1 << (32 - constants::dropout::DROPOUT_SHIFT);
const MOST_IMAGES: usize = 1 << constants::dropout::DROPOUT_SHIFT;

/// `y = 0` or `2·x`; y may be x.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub seed: u64,
    /// Of the net's layers that draw, from 0.
    pub number: u32,
    /// [n, …]
    pub x: View,
    pub y: View,
    /// Images in the batch.
    pub n: usize,
}

impl Operation for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn counted(&self) -> usize {
        self.x.len
    }

    fn variant(&self) -> String {
        (self.x == self.y).to_string()
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, whole(self.x.len, self.n))])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.x.len)])
    }

    fn in_place(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        if self.x != self.y {
            y[self.y.range()].copy_from_slice(memory.get(self.x));
        }
        apply(self.seed, self.number, hyper.step as u32, self.n, &mut y[self.y.range()]);
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::dropout(self, memory)
    }
}

/// Dropout number `number` of a net in an update, in place on the values of `n` images.
pub(crate) fn apply<T: Real>(seed: u64, number: u32, update: u32, n: usize, values: &mut [T]) {
    let length = values.len() / n;
    values.par_chunks_exact_mut(length).enumerate().for_each(|(image, values)| {
        let stream = number << constants::dropout::DROPOUT_SHIFT | image as u32;
        let stream = Stream::new(seed, Purpose::Dropout, update, stream);
        for (block, values) in values.chunks_mut(4).enumerate() {
            for (value, bits) in values.iter_mut().zip(stream.block(block as u32)) {
                *value = if bits >> 31 == 1 { *value + *value } else { T::zero() };
            }
        }
    });
}
