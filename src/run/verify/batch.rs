//! Batches that nets are checked on.

use super::convert;
use super::golden::GoldenFile;
use crate::engine::Network;
use crate::error::Result;
use crate::model::Arch;
use crate::real::Real;
use crate::rng::{Purpose, Stream};

/// Standard normal numbers, the `index`-th sequence.
pub(super) fn noise(index: u32, len: usize) -> Vec<f64> {
    let mut values = vec![0.0; len];
    Stream::new(1, Purpose::Check, 0, index).fill_normal(&mut values);
    convert::of(&values)
}

/// A batch of images and labels.
pub struct CheckBatch {
    pub n: usize,
    pub side: usize,
    /// NHWC.
    pub input: Vec<f64>,
    pub labels: Vec<f64>,
}

impl CheckBatch {
    /// The batch stored as `input` and `labels`.
    pub fn read(arch: &Arch, file: &GoldenFile) -> Result<CheckBatch> {
        CheckBatch::from(arch, file, "input", "labels")
    }

    /// The batch under the given keys.
    pub fn from(arch: &Arch, file: &GoldenFile, input: &str, labels: &str) -> Result<CheckBatch> {
        let (tensor, labels) = (file.get(input)?, file.get(labels)?);
        let [n, c, side, width] = tensor.shape[..] else {
            return Err(file.error(format!("tensor '{input}' has shape {:?}, not [n, c, h, w]", tensor.shape)));
        };
        if c != arch.channels || side != width || labels.values.len() != n || n == 0 {
            return Err(
                file.error(format!("tensor '{input}' of shape {:?} is no batch for {}", tensor.shape, arch.name))
            );
        }
        Ok(CheckBatch { n, side, input: convert::to_nhwc(&tensor.values, n, c), labels: labels.values.clone() })
    }

    /// A batch of noise in which every other image is anomalous.
    pub fn noise(arch: &Arch, n: usize, side: usize) -> CheckBatch {
        let labels = (0..n).map(|i| (i % 2) as f64).collect();
        CheckBatch { n, side, input: noise(0, n * side * side * arch.channels), labels }
    }

    /// Puts the batch into a training network.
    pub fn fill<T: Real>(&self, network: &mut Network<T>) -> Result<()> {
        let (input, labels, _) = network.training_inputs(self.n)?;
        input.iter_mut().zip(&self.input).for_each(|(to, &from)| *to = T::of(from));
        labels.iter_mut().zip(&self.labels).for_each(|(to, &from)| *to = T::of(from));
        Ok(())
    }
}
