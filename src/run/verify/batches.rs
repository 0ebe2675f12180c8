//! Batches as this machine draws them: the bits that they have on every device.

use std::sync::Arc;

use crate::named::Named;
use flate2::Crc;

use super::check::{Check, CheckReport};
use crate::data::batches::{EpochPlan, LabelledAnomalies, TrainingData, TrainingSet};
use crate::data::cuda::DeviceSet;
use crate::data::image_source::ImageSource;
use crate::data::images::{Images, Mask};
use crate::data::pipeline::PipelineKind;
use crate::data::supervise::{NoiseMode, Supervise};
use crate::datasets::DatasetKind;
use crate::datasets::cifar10::CIFAR10;
use crate::datasets::custom::CUSTOM;
use crate::datasets::fmnist::FMNIST;
use crate::datasets::folder::FOLDER;
use crate::datasets::imagenet::IMAGENET;
use crate::datasets::mvtec::MVTEC;
use crate::datasets::pascalvoc::PASCALVOC;
use crate::device::Device;
use crate::device::cuda::Cuda;
use crate::error::Result;
use crate::rng::{Purpose, Stream};

/// Images of a batch.
const BATCH: usize = 8;
const EPOCH: u32 = 3;

/// CRC-32 over the inputs, labels and maps of each check's batches; those of noise stand with the [mode](crate::data::anomaly::Mode).
const CHECKSUMS: [(&str, u32); 9] = [
    ("batches, recipes of fmnist", 0x1f6d_ef30),
    ("batches, recipes of cifar10", 0x2c5a_e2ea),
    ("batches, recipes of mvtec", 0x6a38_d073),
    ("batches, recipes of imagenet", 0xdcc8_b286),
    ("batches, recipes of pascalvoc", 0x6a67_562b),
    ("batches, recipes of custom", 0x847c_d278),
    ("batches, recipes of folder", 0xa9ed_59c4),
    ("batches, Unsupervised Gaussian", 0x1653_e489),
    ("batches, Other Gaussian", 0x8b1f_c307),
];

/// Datasets of which each has recipes of its own.
const FAMILIES: [DatasetKind; 7] = [FMNIST, CIFAR10, MVTEC, IMAGENET, PASCALVOC, CUSTOM, FOLDER];

/// Checks a batch of every recipe of a dataset, all of them at once; and of every noise that a mode of supervision takes one in
/// grey and one in colours.
pub fn check(report: &mut CheckReport) -> Result<()> {
    for dataset in FAMILIES {
        let (side, channels) = if dataset == FMNIST { (28, 1) } else { (32, 3) };
        let recipe = |kind| set(kind, dataset, side, channels, Supervise::MalformedNormalGt, NoiseMode::Confetti);
        let sets: Vec<_> = PipelineKind::all().into_iter().map(recipe).collect::<Result<_>>()?;
        let name = format!("batches, recipes of {dataset}");
        report.add(batches(report.device(), &sets, &name, expected(&name))?);
    }
    for supervise in Supervise::all() {
        let noises = if supervise.makes_noise() { NoiseMode::all() } else { vec![NoiseMode::Gaussian] };
        for &noise in noises.iter().filter(|&&noise| supervise.check(&noise.into()).is_ok()) {
            let grey = set(PipelineKind::Lcnaug1, FMNIST, 28, 1, supervise, noise)?;
            let coloured = set(PipelineKind::Aug1, FOLDER, 64, 3, supervise, noise)?;
            let name = format!("batches, {supervise:?} {noise:?}");
            let expected = if supervise.makes_noise() {
                listed(noise.mode().checksums, supervise.word())
            } else {
                expected(&name)
            };
            report.add(batches(report.device(), &[grey, coloured], &name, expected)?);
        }
    }
    Ok(())
}

fn expected(name: &str) -> Option<u32> {
    listed(&CHECKSUMS, name)
}

fn listed(checksums: &[(&str, u32)], name: &str) -> Option<u32> {
    checksums.iter().find(|(listed, _)| *listed == name).map(|&(_, checksum)| checksum)
}

fn set(
    kind: PipelineKind,
    dataset: DatasetKind,
    side: usize,
    channels: usize,
    supervise: Supervise,
    noise: NoiseMode,
) -> Result<TrainingSet> {
    let raw = dataset.recipe.raw_side(kind, side);
    let normal = images(0, raw, channels);
    let half = Mask { height: raw, width: raw, pixels: (0..raw * raw).map(|i| u8::from(i % raw < raw / 2)).collect() };
    let masks = (0..BATCH).map(|i| (i % 2 == 0).then(|| half.clone())).collect();
    TrainingSet::new(TrainingData {
        preprocessing: dataset.recipe.preprocessing(kind, raw, side, channels, &normal)?,
        normal,
        labelled: Some(LabelledAnomalies {
            images: images(2, raw, channels),
            masks,
            without_mask: 2,
            untested: Vec::new(),
        }),
        labelled_share: 0,
        outliers: Some(images(1, raw, channels)),
        counted: None,
        supervise,
        noise: noise.into(),
        plan: EpochPlan::default(),
        seed: 1,
    })
}

/// Noise over a gradient.
fn images(index: u32, side: usize, channels: usize) -> ImageSource {
    let pixels = side * side * channels;
    let pixel = |i: usize| {
        let bits = Stream::new(1, Purpose::Check, index, 0).bits(i as u32);
        ((bits >> 26) as usize + 190 * (i % pixels) / pixels) as u8
    };
    Images { count: BATCH, height: side, width: side, channels, pixels: (0..BATCH * pixels).map(pixel).collect() }
        .into()
}

/// Inputs, labels and maps of one batch.
type DrawnBatch = [Vec<f32>; 3];

/// Draws a batch of each set on a device.
fn batches(device: &Device, sets: &[TrainingSet], name: &str, expected: Option<u32>) -> Result<Check> {
    let (mut checksum, mut values, mut different, mut seconds) = (Crc::new(), 0, 0, 0.0);
    for set in sets {
        let on_cpu = drawn_by_cpu(set)?;
        let drawn = match device {
            Device::Cpu => on_cpu.clone(),
            Device::Cuda(cuda) => {
                let (drawn, took) = drawn_by_gpu(cuda, set)?;
                seconds += took;
                drawn
            }
        };
        for (drawn, on_cpu) in drawn.iter().flatten().zip(on_cpu.iter().flatten()) {
            checksum.update(&drawn.to_le_bytes());
            values += 1;
            different += usize::from(drawn.to_bits() != on_cpu.to_bits());
        }
    }
    let found = checksum.sum();
    let detail = match device {
        Device::Cpu => format!("CRC-32 {found:#010x} of {values} values"),
        Device::Cuda(_) => format!("CRC-32 {found:#010x}, {different} of {values} values differ from the CPU's"),
    };
    let detail = match expected {
        Some(_) => detail,
        None => format!("{detail}; none is listed to compare with: list this one where those of its like stand"),
    };
    Ok(Check { seconds: (seconds > 0.0).then_some(seconds), ..Check::exact(name, Some(found) == expected, detail) })
}

fn empty(set: &TrainingSet) -> DrawnBatch {
    let p = &set.data().preprocessing;
    [p.input_len(), 1, p.side * p.side].map(|len| vec![0.0; BATCH * len])
}

fn drawn_by_cpu(set: &TrainingSet) -> Result<DrawnBatch> {
    let mut batch = empty(set);
    let [inputs, labels, maps] = &mut batch;
    set.fill(EPOCH, &set.order(EPOCH), inputs, labels, Some(maps))?;
    Ok(batch)
}

/// And what it takes, in seconds.
fn drawn_by_gpu(cuda: &Arc<Cuda>, set: &TrainingSet) -> Result<(DrawnBatch, f64)> {
    let mut batch = empty(set);
    let there = DeviceSet::new(cuda, set, BATCH)?;
    let buffers = [cuda.upload(&batch[0])?, cuda.upload(&batch[1])?, cuda.upload(&batch[2])?];
    let draw = || there.draw(EPOCH, &set.order(EPOCH), (0, BATCH), buffers.each_ref().map(|buffer| buffer.as_slice()));
    draw()?; // the first launch loads the kernel
    let seconds = draw()?;
    for (buffer, values) in buffers.iter().zip(&mut batch) {
        buffer.read(0, values)?;
    }
    Ok((batch, seconds))
}
