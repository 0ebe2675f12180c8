//! The step `dropout` (Srivastava et al. 2014): in training, zeroes each value with probability ½ and doubles the others.
//!
//! The backward pass is the same step on the gradient. The mask is drawn from the seed, the number of the update and the image's place
//! in its batch, so that both passes and both devices draw the same. (Two such layers in one net would draw the same mask.)

use rayon::prelude::*;

use super::operation::{Access, Hyper, Operation, Sums};
use crate::device::cuda::{self, DeviceBuffers, kernels};
use crate::device::{HostBuffers, View};
use crate::real::Real;
use crate::rng::{Purpose, Stream};

/// Threads per block, as in `kernels/dropout.cu`.
const THREADS: u32 = 256;

/// In place on `values`.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub seed: u64,
    /// [n, …]
    pub values: View,
    /// Images in the batch.
    pub n: usize,
}

impl Operation for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn reads(&self) -> Access {
        Access::new([("values", self.values)])
    }

    fn writes(&self) -> Access {
        Access::new([("values", self.values)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper) {
        let length = self.values.len / self.n;
        let images = memory.get_mut(self.values).par_chunks_exact_mut(length);
        images.enumerate().for_each(|(image, values)| {
            let stream = Stream::new(self.seed, Purpose::Dropout, hyper.step as u32, image as u32);
            for (block, values) in values.chunks_mut(4).enumerate() {
                for (value, bits) in values.iter_mut().zip(stream.block(block as u32)) {
                    *value = if bits >> 31 == 1 { *value + *value } else { T::zero() };
                }
            }
        });
    }

    fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        let length = self.values.len / self.n;
        kernels::dropout::dropout(
            memory.cuda().launch_per_item(self.n * length.div_ceil(4), THREADS),
            memory.pointer_mut(self.values),
            memory.hyper.pointer(),
            memory.clock.pointer(),
            self.seed,
            self.n as i32,
            length as i32,
        )
    }
}
