//! Training steps as a run on a GPU makes them: each draws its batch on the device and is one replayed graph.

use std::sync::Arc;

use super::HYPER;
use crate::data::batches::{EpochPlan, TrainingData, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::data::image_source::ImageSource;
use crate::data::images::Images;
use crate::datasets::cifar10::CIFAR10;
use crate::datasets::fmnist::FMNIST;
use crate::datasets::mvtec::MVTEC;
use crate::device::cuda::{self, Cuda, Mark};
use crate::engine::Network;
use crate::error::Result;
use crate::rng::{Purpose, Stream};
use crate::run::settings::Settings;

/// Trains so many steps; losses, and when the device came to each step.
pub(super) fn train(network: &mut Network<f32>, cuda: &Arc<Cuda>, steps: usize) -> Result<(Vec<f32>, Vec<Mark>)> {
    let batch = network.options().batch;
    let set = set(network)?;
    let order: Vec<u32> = (0..steps * batch).map(|i| (i % set.len()) as u32).collect();
    network.attach(Box::new(DeviceSet::new(cuda, &set, batch)?), order.len())?;
    let mut marks = Vec::new();
    let log = network.epoch(0, &order, &vec![HYPER; steps], |_, _, _| {
        marks.push(cuda.mark());
        Ok(true)
    })?;
    Ok((log.losses, marks.into_iter().collect::<cuda::Result<_>>()?))
}

/// A set of random images for a network, with the pipeline and the anomalies that its side is trained with.
fn set(network: &Network<f32>) -> Result<TrainingSet> {
    let (arch, options) = (network.arch(), network.options());
    let (side, channels) = (options.side, arch.channels);
    let preset = Settings::preset(match arch.side {
        28 => FMNIST,
        32 => CIFAR10,
        _ => MVTEC,
    });
    let random = Stream::new(0, Purpose::Check, 0, 1);
    let pixels = (0..options.batch * side * side * channels).map(|i| random.bits(i as u32) as u8).collect();
    let normal: ImageSource = Images { count: options.batch, height: side, width: side, channels, pixels }.into();
    let preprocessing = preset.dataset.recipe.preprocessing(preset.pipeline, side, side, channels, &normal)?;
    TrainingSet::new(TrainingData {
        labelled_share: 0,
        outliers: Some(normal.clone()),
        normal,
        labelled: None,
        preprocessing,
        counted: None,
        supervise: preset.supervise,
        noise: preset.noise,
        plan: EpochPlan::default(),
        seed: 0,
    })
}
