//! Features of training views, computed once: where the frozen layers of a net are [fixed](Arch::fixed), its head alone is trained, on what
//! they have made of each view. The net is the same as without them, and so are the views; but features are kept in 16 bits.

use std::time::Instant;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::context::Context;
use super::settings::Settings;
use crate::data::batches::{Batch, TrainingSet};
use crate::data::prefetch::{Job, prefetched};
use crate::device::Device;
use crate::engine::Network;
use crate::engine::lower::PlanOptions;
use crate::error::{Error, Result};
use crate::memory;
use crate::model::{Arch, NetPart, Weights};
use crate::steps::fcdd_loss::{OUTSIDE, UNMARKED};
use crate::steps::upsample::GaussianTaps;

/// A cell of a map is outside where a larger share of what it shows is.
const MOST: f32 = 0.5;

/// Views that the frozen layers see at a time, where memory allows it.
const BATCH: usize = 8;

/// Batches in memory: one in use, one ready, one in the making.
const AHEAD: usize = 3;

/// Features of all views of a training set, and what there is to learn of each. Views are numbered epoch by epoch, sample by sample.
pub(super) struct Features {
    /// Samples of an epoch.
    samples: usize,
    features: Vec<f16>,
    labels: Vec<f32>,
    /// Ground truth at the side of the net's own map; empty where labels are learned from.
    maps: Vec<f32>,
    /// Seconds that a view took.
    pub(super) seconds_per_view: f64,
}

impl Features {
    /// Computes the features of the first `epochs` epochs' samples. A request to stop leaves the rest of them zero where it `may_stop`.
    ///
    /// # Errors
    /// Too little memory; a file that cannot be read; features that are no numbers.
    pub(super) fn compute(
        context: &Context,
        set: &TrainingSet,
        settings: &Settings,
        weights: &Weights,
        epochs: u32,
        may_stop: bool,
    ) -> Result<Features> {
        let arch = settings.arch()?;
        let field = arch.receptive_field(settings.side)?;
        let taps = GaussianTaps::new(field, settings.side, settings.sigma);
        let mut network = network(arch, settings, weights)?;
        let (batch, len) = (network.options().batch, network.plan(1)?.ports.output.len);
        let map_len = if settings.maps { field.n * field.n } else { 0 };
        let samples: Vec<u32> = (0..set.samples()).collect();
        let count = samples.len() * epochs as usize;
        room(epochs, count, len * size_of::<f16>() + (map_len + 1) * size_of::<f32>(), context)?;
        let mut found = Features {
            samples: samples.len(),
            features: vec![f16::ZERO; count * len],
            labels: vec![0.0; count],
            maps: vec![0.0; count * map_len],
            seconds_per_view: 0.0,
        };
        let started = Instant::now();
        let mut progress = context.task("features", count as u64);
        let batches = (0..epochs).flat_map(|epoch| samples.chunks(batch).map(move |samples| (epoch, samples)));
        let bytes = set.batch_bytes(batch, settings.maps);
        let jobs =
            batches.map(|(epoch, samples)| Job { bytes, make: move || set.batch(epoch, samples, settings.maps) });
        let mut done = 0;
        prefetched(AHEAD * bytes, jobs, |batches| {
            for views in batches {
                if may_stop && context.stop.is_requested() {
                    break;
                }
                let views = views?;
                found.put(done, &views, features_of(&mut network, &views)?, &taps, field.n);
                done += views.labels.len();
                progress.advance(views.labels.len() as u64, String::new);
            }
            Ok::<(), Error>(())
        })?;
        found.seconds_per_view = started.elapsed().as_secs_f64() / done.max(1) as f64;
        progress.finish(&format!("computed the features of {done} views"));
        Ok(found)
    }

    /// Keeps what some views have become, from number `first` on.
    fn put(&mut self, first: usize, views: &Batch, features: &[f32], taps: &GaussianTaps, u: usize) {
        let (n, len) = (views.labels.len(), self.len());
        let to = self.features[first * len..].par_iter_mut();
        let most = f16::MAX.to_f32();
        to.zip(features).for_each(|(to, from)| *to = f16::from_f32(from.clamp(-most, most)));
        self.labels[first..first + n].copy_from_slice(&views.labels);
        if !views.maps.is_empty() {
            let maps = self.maps[first * u * u..].par_chunks_exact_mut(u * u);
            let truths = views.maps.par_chunks_exact(views.maps.len() / n);
            maps.zip(truths).for_each(|(map, truth)| {
                let where_is =
                    |is: fn(f32) -> bool| truth.iter().map(|&g| f32::from(u8::from(is(g)))).collect::<Vec<_>>();
                match truth.contains(&UNMARKED) {
                    true => map.fill(UNMARKED),
                    false => map.copy_from_slice(&taps.fold(u, &where_is(|g| g == 1.0))),
                }
                if truth.contains(&OUTSIDE) {
                    let outside = taps.fold(u, &where_is(|g| g == OUTSIDE));
                    map.iter_mut().zip(outside).filter(|(_, share)| *share > MOST).for_each(|(g, _)| *g = OUTSIDE);
                }
            });
        }
    }

    /// Numbers of a view's features.
    fn len(&self) -> usize {
        self.features.len() / self.labels.len()
    }

    /// A batch of samples as they were drawn in an epoch: features, labels and, where they are learned from, maps.
    pub(super) fn batch(&self, epoch: u32, samples: &[u32]) -> Batch {
        let views = || samples.iter().map(|&sample| epoch as usize * self.samples + sample as usize);
        let (len, map_len) = (self.len(), self.maps.len() / self.labels.len());
        let mut inputs = vec![0.0; samples.len() * len];
        for (input, view) in inputs.chunks_exact_mut(len).zip(views()) {
            self.features[view * len..][..len].convert_to_f32_slice(input);
        }
        Batch {
            inputs,
            labels: views().map(|view| self.labels[view]).collect(),
            maps: views().flat_map(|view| &self.maps[view * map_len..][..map_len]).copied().collect(),
        }
    }

    /// Bytes of a batch of `n` views.
    pub(super) fn batch_bytes(&self, n: usize) -> usize {
        n * (self.len() + self.maps.len() / self.labels.len() + 1) * size_of::<f32>()
    }
}

/// Which cells of a map of side `u` an image is scored by, of which a ground truth says what is outside: where that is so of all cells, those
/// of which the smallest part is.
pub(super) fn inside(taps: &GaussianTaps, u: usize, truth: &[f32]) -> Vec<bool> {
    let outside: Vec<f32> = truth.iter().map(|&g| f32::from(u8::from(g == OUTSIDE))).collect();
    let shares = taps.fold(u, &outside);
    let least = shares.iter().copied().fold(1.0, f32::min).max(MOST);
    shares.into_iter().map(|share| share <= least).collect()
}

/// Tells how much memory the features of `count` views take; fails where it is more than there is.
fn room(epochs: u32, count: usize, per_view: usize, context: &Context) -> Result<()> {
    let (what, bytes) = (format!("features of {count} views"), count.saturating_mul(per_view));
    let fewer = memory::free().map(|free| free / per_view.max(1) / (count / epochs as usize).max(1));
    let remedy = match fewer {
        Some(views) if (1..epochs as usize).contains(&views) => format!("choose `views` {views}, or a smaller `side`"),
        _ => "choose a smaller `side`, or fewer images".to_string(),
    };
    memory::fits(&what, bytes, &remedy)?;
    memory::room_for(&what, bytes, &remedy)?;
    context.note(format!("the {what} take {} of memory", memory::in_words(bytes)));
    Ok(())
}

/// The frozen layers of a net, laid out on the CPU.
///
/// # Errors
/// Too little memory; a net without frozen layers that are fixed.
pub(super) fn network(arch: Arch, settings: &Settings, weights: &Weights) -> Result<Network<f32>> {
    let Settings { side, sigma, gradient, precision: dtype, .. } = *settings;
    let options = PlanOptions { batch: BATCH, side, dtype, sigma, gradient, exact: settings.exact, training: None };
    Network::for_inference(&Device::Cpu, &Arch { part: NetPart::Features, ..arch }, options, weights)
}

/// What the frozen layers make of some views.
///
/// # Errors
/// Features that are no numbers: of weights that are not those of the net.
pub(super) fn features_of<'a>(network: &'a mut Network<f32>, views: &Batch) -> Result<&'a [f32]> {
    let n = views.labels.len();
    network.input(n)?.copy_from_slice(&views.inputs);
    let features = network.features(n)?;
    if features.iter().all(|feature| feature.is_finite()) {
        return Ok(features);
    }
    let problem = "what the pretrained layers make of an image is not finite: their weights are damaged";
    Err(Error::Numeric { problem: problem.into(), remedy: "copy the file of `weights` again".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_inside_where_half_of_what_they_show_is() {
        let field = crate::model::nets::by_name("FCDD_CNN32_S", true).unwrap().receptive_field(32).unwrap();
        let (taps, u) = (GaussianTaps::new(field, 32, 1.2), field.n);
        let from_column = |from: usize| {
            let truth: Vec<f32> = (0..1024).map(|i| if i % 32 < from { OUTSIDE } else { 1.0 }).collect();
            inside(&taps, u, &truth)
        };
        let right: Vec<bool> = (0..u * u).map(|i| i % u >= u / 2).collect();
        assert_eq!(from_column(16), right);
        // Of a border too narrow for any, those that show most of it; where nothing is inside, some.
        let border = from_column(31);
        assert!(border.contains(&true) && border.iter().enumerate().all(|(i, inside)| !inside || i % u == u - 1));
        assert!(!from_column(0).contains(&false) && from_column(32).contains(&true));
    }

    #[test]
    fn features_that_do_not_fit_are_refused() {
        let device = Device::Cpu;
        let context = Context::silent(&device);
        room(2, 200, 1000, &context).unwrap();
        let message = room(2, 1 << 40, 1 << 20, &context).unwrap_err().to_string();
        assert!(
            message.contains("features of 1099511627776 views take") && message.contains("smaller `side`"),
            "{message}"
        );
        // Four views, of which one or two would fit.
        if let Some(free) = memory::free() {
            let message = room(4, 4, free / 2, &context).unwrap_err().to_string();
            assert!(message.contains("choose `views` "), "{message}");
        }
    }
}
