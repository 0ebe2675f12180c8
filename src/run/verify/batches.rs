//! Batches that the GPU draws, against those of the CPU: bit for bit.

use std::sync::Arc;
use std::time::Instant;

use super::{Check, Report};
use crate::data::batches::{Ingredients, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::data::dataset::DatasetKind;
use crate::data::images::Images;
use crate::data::pipeline::{PipelineKind, Preprocessing};
use crate::data::store::Store;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::device::Device;
use crate::device::cuda::Cuda;
use crate::error::Result;
use crate::rng::{Purpose, Stream};

/// Images of a batch.
const BATCH: usize = 8;

/// Checks a batch of every noise mode, grey with local contrast normalisation and coloured with jitter and noise. On the CPU there is
/// nothing to compare.
pub fn check(report: &mut Report) -> Result<()> {
    let Device::Cuda(cuda) = report.device().clone() else { return Ok(()) };
    for noise in <NoiseMode as clap::ValueEnum>::value_variants() {
        let recipes =
            [(28, 1, PipelineKind::Lcnaug1, DatasetKind::Fmnist), (64, 3, PipelineKind::Aug1, DatasetKind::Folder)];
        for (side, channels, pipeline, dataset) in recipes {
            let nominal = images(0, side, channels);
            let set = TrainingSet::new(Ingredients {
                preprocessing: Preprocessing::new(pipeline, dataset, side, side, channels, &nominal)?,
                nominal,
                others: None,
                outliers: Some(images(1, side, channels)),
                supervise: Supervise::MalformedNormalGt,
                noise: *noise,
                seed: 1,
            })?;
            report.add(batch(
                &cuda,
                &set,
                &format!("batch of {BATCH}×{side}×{side}×{channels}, {noise:?}, {pipeline:?}"),
            )?);
        }
    }
    Ok(())
}

/// Noise over a gradient.
fn images(index: u32, side: usize, channels: usize) -> Store {
    let pixels = side * side * channels;
    let pixel = |i: usize| {
        let bits = Stream::new(1, Purpose::Check, index, 0).bits(i as u32);
        ((bits >> 26) as usize + 190 * (i % pixels) / pixels) as u8
    };
    Images { count: BATCH, height: side, width: side, channels, pixels: (0..BATCH * pixels).map(pixel).collect() }
        .into()
}

/// Inputs, labels and maps of one batch.
fn batch(cuda: &Arc<Cuda>, set: &TrainingSet, name: &str) -> Result<Check> {
    const EPOCH: u32 = 3;
    let order = set.order(EPOCH);
    let preprocessing = &set.ingredients().preprocessing;
    let lengths = [BATCH * preprocessing.input_len(), BATCH, BATCH * preprocessing.side * preprocessing.side];
    let [mut input, mut labels, mut maps] = lengths.map(|len| vec![0.0f32; len]);
    set.fill(EPOCH, &order, &mut input, &mut labels, Some(&mut maps))?;

    let there = DeviceSet::new(cuda, set, BATCH)?;
    let (clock, order) = (cuda.upload(&[0, EPOCH])?, cuda.upload(&order)?);
    let buffers = [cuda.zeros::<f32>(lengths[0])?, cuda.zeros(lengths[1])?, cuda.zeros(lengths[2])?];
    let draw = || {
        let [input, labels, maps] = buffers.each_ref().map(|buffer| buffer.pointer_mut());
        there.enqueue(BATCH, BATCH, clock.pointer(), order.pointer(), input, labels, Some(maps))?;
        cuda.synchronize()
    };
    draw()?;
    let mut different = 0;
    for (buffer, expected) in buffers.iter().zip([&input, &labels, &maps]) {
        let mut found = vec![0.0; expected.len()];
        buffer.read(0, &mut found)?;
        different += found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    }
    let started = Instant::now();
    draw()?;
    let seconds = Some(started.elapsed().as_secs_f64());
    let detail = format!("{different} of {} values differ from the CPU's", lengths.iter().sum::<usize>());
    Ok(Check { seconds, ..Check::exact(name, different == 0, detail) })
}
