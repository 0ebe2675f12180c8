//! The reduction of features to fewer channels that training a net with fixed features begins with: their principal components, in the
//! weights of the 1×1 convolution [`REDUCE`].

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use super::context::Context;
use super::features::{features_of, network};
use super::settings::Settings;
use crate::data::batches::TrainingSet;
use crate::device::matmul::{Matrix, matmul};
use crate::error::{Error, Result};
use crate::model::nets::REDUCE;
use crate::model::weights::Layout;
use crate::model::{Arch, Weights};

/// Views that the components are found of: with 784 pixels each, some 50,000 vectors of at most 896 numbers.
pub(super) const VIEWS: usize = 64;

/// Rows of a matrix of products that one thread sums.
const ROWS: usize = 64;

/// Sets the reduction of a net, if it has one, to the principal components of the features of the first views that are trained on: centred
/// and not whitened. The bits depend neither on the number of threads nor on how many views are computed at a time.
///
/// # Errors
/// As of computing features.
pub(super) fn reduce(context: &Context, set: &TrainingSet, settings: &Settings, weights: &mut Weights) -> Result<()> {
    let arch = settings.arch()?;
    let Some(frozen) = arch.layers.iter().position(|node| node.layer.name() == Some(REDUCE)) else { return Ok(()) };
    let layout = Layout::new(&arch);
    let param = |part: &str| layout.param(&format!("{REDUCE}.{part}"));
    let weight = param("weight").ok_or_else(|| Error::internal(format!("{REDUCE} has no weights")))?;
    let [out, c] = [0, 1].map(|dim| weight.shape[dim]);
    let mut network = network(Arch { frozen, ..arch }, settings, weights)?;
    let order = set.order(0);
    let some = &order[..VIEWS.min(order.len())];
    let mut moments = Covariance::new(c);
    let mut progress = context.task("principal components", some.len() as u64);
    for samples in some.chunks(network.options().batch) {
        let views = set.batch(0, samples, false)?;
        let features = features_of(&mut network, &views)?;
        features.chunks_exact(features.len() / samples.len()).for_each(|view| moments.add(view));
        progress.advance(samples.len() as u64, String::new);
    }
    let (mean, components) = moments.principal(out)?;
    progress.finish(&format!("found {out} principal components of the features of {} views", some.len()));
    for (k, component) in components.chunks_exact(c).enumerate() {
        let row = k * c;
        for (i, &value) in component.iter().enumerate() {
            weights.params[weight.start + weight.inside(row + i)] = value as f32;
        }
        if let Some(bias) = param("bias") {
            let shift: f64 = component.iter().zip(&mean).map(|(w, m)| w * m).sum();
            weights.params[bias.start + k] = -shift as f32;
        }
    }
    Ok(())
}

/// Sums of vectors, and of the products of their numbers.
struct Covariance {
    count: usize,
    sums: Vec<f64>,
    /// [c, c]
    products: Vec<f64>,
}

impl Covariance {
    fn new(c: usize) -> Covariance {
        Covariance { count: 0, sums: vec![0.0; c], products: vec![0.0; c * c] }
    }

    /// Adds vectors that lie one after the other.
    fn add(&mut self, vectors: &[f32]) {
        let c = self.sums.len();
        let vectors: Vec<f64> = vectors.iter().copied().map(f64::from).collect();
        for vector in vectors.chunks_exact(c) {
            self.sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        let all = Matrix::row_major(&vectors, vectors.len() / c, c);
        self.count += all.rows;
        // A thread sums whole rows, so that the order of its sums is the same for any number of threads.
        self.products.par_chunks_mut(ROWS * c).enumerate().for_each(|(i, rows)| {
            let columns = Matrix { data: &vectors[i * ROWS..], columns: rows.len() / c, ..all };
            matmul(rows, columns.transposed(), all, true);
        });
    }

    /// The mean, and the `count` principal components, the first first, each of length one and with its largest number positive.
    fn principal(&self, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let (c, n) = (self.sums.len(), self.count as f64);
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / n).collect();
        let covariance = DMatrix::from_fn(c, c, |i, j| self.products[i.max(j) * c + i.min(j)] / n - mean[i] * mean[j]);
        let eigen = SymmetricEigen::try_new(covariance, f64::EPSILON, 0)
            .ok_or_else(|| Error::internal("the principal components of the features were not found"))?;
        let mut order: Vec<usize> = (0..c).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let components = order.into_iter().take(count).flat_map(|k| {
            let vector = eigen.eigenvectors.column(k);
            let largest = vector.iter().copied().fold(0.0, |most: f64, v| if v.abs() > most.abs() { v } else { most });
            vector.iter().map(|v| v * largest.signum()).collect::<Vec<f64>>()
        });
        Ok((mean, components.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// Vectors that spread along three directions by 3, 2 and 1, about a mean.
    #[test]
    fn components_are_found_again() {
        let directions = [[0.6, 0.8, 0.0, 0.0], [-0.8, 0.6, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]];
        let mean = [5.0, -2.0, 1.0, 0.5];
        let mut numbers = vec![0.0; 3 * 4000];
        Stream::new(3, Purpose::Check, 0, 0).fill_normal(&mut numbers);
        let vectors: Vec<f32> = numbers
            .chunks_exact(3)
            .flat_map(|along| {
                (0..4).map(move |i| {
                    let spread = [3.0, 2.0, 1.0].iter().zip(directions).zip(along);
                    mean[i] + spread.map(|((scale, direction), along)| scale * direction[i] * along).sum::<f32>()
                })
            })
            .collect();
        let mut moments = Covariance::new(4);
        vectors.chunks(4 * 500).for_each(|some| moments.add(some));
        let (found, components) = moments.principal(2).unwrap();
        // Four standard errors of the mean, of 3/√4000 at most.
        for (found, mean) in found.iter().zip(mean) {
            approx::assert_relative_eq!(*found, f64::from(mean), epsilon = 0.2);
        }
        for (component, direction) in components.chunks_exact(4).zip(directions) {
            let along: f64 = component.iter().zip(direction).map(|(a, b)| a * f64::from(b)).sum();
            // An angle's standard error is √(9·4)/(9 − 4)/√4000 = 0.02 at most: this is seven of them.
            assert!(along.abs() > 0.99, "{component:?} is not along {direction:?}");
            let length: f64 = component.iter().map(|v| v * v).sum();
            approx::assert_relative_eq!(length, 1.0, epsilon = 1e-12);
        }
    }

    /// More channels than one thread sums.
    #[test]
    fn sums_are_the_same_bits_in_any_number_of_threads() {
        let c = 2 * ROWS + 5;
        let mut vectors = vec![0.0; 300 * c];
        Stream::new(4, Purpose::Check, 0, 0).fill_normal(&mut vectors);
        let sums = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut moments = Covariance::new(c);
            pool.install(|| vectors.chunks(100 * c).for_each(|some| moments.add(some)));
            moments.products
        };
        assert_eq!(sums(1), sums(3));
    }
}
