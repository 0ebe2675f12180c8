//! Batches drawn on the GPU have the bits of those drawn on the CPU.

use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

use fcdd::data::batches::{EpochPlan, LabelledAnomalies, TrainingData, TrainingSet};
use fcdd::data::counted::Counted;
use fcdd::data::cuda::{DeviceSet, DeviceTestSet};
use fcdd::data::image_source::ImageSource;
use fcdd::data::images::{Images, Mask};
use fcdd::data::jitter::Amounts;
use fcdd::data::levels::Levels;
use fcdd::data::pipeline::{PipelineKind, Preprocessing, Transform};
use fcdd::data::resize_mode::ResizeMode;
use fcdd::data::supervise::{NoiseMix, NoiseMode, Supervise};
use fcdd::datasets::DatasetKind;
use fcdd::datasets::cifar10::CIFAR10;
use fcdd::datasets::cifar100::CIFAR100;
use fcdd::datasets::fmnist::FMNIST;
use fcdd::datasets::folder::FOLDER;
use fcdd::datasets::imagenet::IMAGENET;
use fcdd::datasets::mnist::MNIST;
use fcdd::datasets::mvtec::MVTEC;
use fcdd::device::cuda::kernels::{self, PhiloxFunctionsParameters, PhiloxRoundsParameters, PhiloxStreamParameters};
use fcdd::device::cuda::{BatchSource, BatchTarget, Buffer, Cuda};
use fcdd::named::Named;
use fcdd::rng::{Purpose, Stream, ln, philox, sin_cos_turns};
use fcdd::run::verify::{Check, CheckOutcome, CheckReport, batches};

use crate::own_noise::GREY;
use crate::support::{Gpu, gpu};
use NoiseMode::*;
use Supervise::*;

const SUPERVISES: [Supervise; 5] = [Unsupervised, Other, Noise, MalformedNormal, MalformedNormalGt];

/// Images of all kinds: textures with a full or a small range of values, noise, and some that are black, white or one grey. A different
/// `salt` gives a different set.
fn images(count: usize, side: usize, channels: usize, salt: u32) -> Images {
    let len = side * side * channels;
    let mut pixels = Vec::with_capacity(count * len);
    for k in 0..count {
        let stream = Stream::new(9, Purpose::Check, salt, k as u32);
        pixels.extend((0..len).map(|i| {
            let (gradient, random) = (i * 200 / len, stream.bits(i as u32) >> 24);
            match k % 7 {
                0 | 4 => (gradient as u32 + random / 5) as u8,
                1 => random as u8,
                2 => 0,
                3 => (90 + random / 16) as u8,
                5 => 255,
                _ => 77,
            }
        }));
    }
    Images { count, height: side, width: side, channels, pixels }
}

/// Lists of transforms from `raw` to some side, by number: the recipes, then some that no recipe has.
fn preprocessing(list: usize, raw: usize, channels: usize) -> Preprocessing {
    let normal = ImageSource::from(images(8, raw, channels, 1));
    let recipe =
        |kind, dataset: DatasetKind, side| dataset.recipe.preprocessing(kind, raw, side, channels, &normal).unwrap();
    let smaller = raw - raw / 8;
    let scaling = Transform::MinMax { min: vec![-0.3; channels], max: vec![0.9; channels] };
    let standard = Transform::MeanStd { mean: [0.3, 0.5, 0.1][..channels].to_vec(), std: vec![0.7; channels] };
    let jitter = |brightness, contrast| Transform::Jitter(Amounts { brightness, contrast, ..Amounts::default() });
    let colours = |amount| Transform::Jitter(Amounts { hue: 0.3, ..Amounts::all(amount) });
    let own = |side, train| {
        let test = vec![Transform::ResizeNearest { side }, Transform::Lcn, standard.clone()];
        let preprocessing = Preprocessing {
            channels,
            raw_side: raw,
            resize: ResizeMode::Squash,
            levels: Levels::ALL,
            side,
            train,
            test,
        };
        preprocessing.check().unwrap();
        preprocessing
    };
    match list {
        0 => recipe(PipelineKind::Lcnaug1, FMNIST, raw),
        1 => recipe(PipelineKind::Aug1, FMNIST, raw),
        2 => recipe(PipelineKind::None, MNIST, raw),
        3 => recipe(PipelineKind::Lcnaug1, FOLDER, smaller),
        4 => recipe(PipelineKind::Aug1, FOLDER, smaller),
        5 => recipe(PipelineKind::Lcnaug1, CIFAR100, raw + 5),
        // Changes of colour after padding; noise twice and between scalings.
        6 => own(
            smaller,
            vec![
                Transform::PadCrop { pad: 2 },
                jitter(0.3, 1.4),
                Transform::Choice {
                    first: vec![Transform::Crop { side: smaller }],
                    second: vec![Transform::ResizeNearest { side: smaller }],
                },
                Transform::PadCrop { pad: 1 },
                jitter(1.2, 0.2),
                Transform::Flip,
                Transform::ToUnit,
                standard.clone(),
                Transform::Noise { std: 0.25 },
                scaling.clone(),
                Transform::Noise { std: 0.5 },
            ],
        ),
        // Channels are mixed twice, before and after padding.
        7 => own(
            smaller,
            vec![
                colours(0.4),
                Transform::Choice {
                    first: vec![Transform::PadCrop { pad: 3 }, colours(1.2), Transform::CentreCrop { side: smaller }],
                    second: vec![Transform::Flip, jitter(0.2, 0.0), Transform::Crop { side: smaller }],
                },
                Transform::PadCrop { pad: 1 },
                Transform::Jitter(Amounts { hue: 0.001, ..Amounts::default() }),
                Transform::Flip,
                Transform::Lcn,
                Transform::BlackOut { border: true },
                Transform::Noise { std: 0.1 },
            ],
        ),
        8 => recipe(PipelineKind::Lcnaug1, MVTEC, smaller),
        9 => recipe(PipelineKind::Aug1, IMAGENET, smaller),
        10 => recipe(PipelineKind::Aug1Blackcenter, CIFAR10, raw),
        // LCN of floats, after channels were mixed, and a second time.
        11 => own(
            raw,
            vec![
                colours(0.1),
                Transform::ToUnit,
                Transform::SpreadNoise { share: 0.5 },
                standard.clone(),
                Transform::Clamp,
                Transform::Lcn,
                Transform::Noise { std: 0.5 },
                Transform::BlackOut { border: false },
                Transform::Clamp,
                Transform::Lcn,
                scaling,
            ],
        ),
        // Turned once, and again within a choice, with padding and crops on either side, and changes of colour between.
        12 => own(
            smaller,
            vec![
                Transform::PadCrop { pad: 2 },
                Transform::QuarterTurn,
                jitter(0.4, 0.6),
                Transform::PadCrop { pad: 1 },
                Transform::FlipVertical,
                Transform::Choice {
                    first: vec![Transform::Crop { side: smaller }, Transform::QuarterTurn, colours(0.3)],
                    second: vec![Transform::Flip, Transform::ResizeNearest { side: smaller }],
                },
                Transform::Shift { pad: smaller / 2 },
                Transform::Lcn,
            ],
        ),
        // As a folder's, with all that a user may change.
        13 => own(
            raw,
            vec![
                jitter(0.5, 0.5),
                Transform::Shift { pad: raw / 16 },
                Transform::Flip,
                Transform::FlipVertical,
                Transform::QuarterTurn,
                Transform::Lcn,
            ],
        ),
        _ => own(
            raw,
            vec![
                Transform::ResizeNearest { side: 2 * raw + 1 },
                Transform::Shift { pad: raw },
                Transform::Crop { side: raw },
                Transform::Flip,
                jitter(0.5, 0.5),
                Transform::Lcn,
            ],
        ),
    }
}

const LISTS: usize = 15;

fn training_set(
    raw: usize,
    channels: usize,
    list: usize,
    supervise: Supervise,
    noise: impl Into<NoiseMix>,
) -> TrainingSet {
    let half = Mask { height: raw, width: raw, pixels: (0..raw * raw).map(|i| u8::from(i * 3 % 7 < 3)).collect() };
    // Some sets have no masks.
    let masks = if list == 1 { Vec::new() } else { (0..5).map(|i| (i % 2 == 0).then(|| half.clone())).collect() };
    TrainingSet::new(TrainingData {
        normal: images(11, raw, channels, 2).into(),
        labelled: Some(LabelledAnomalies {
            images: images(5, raw, channels, 3).into(),
            masks,
            without_mask: 2,
            untested: Vec::new(),
        }),
        labelled_share: 0,
        outliers: Some(images(6, raw, channels, 4).into()),
        preprocessing: preprocessing(list, raw, channels),
        counted: None,
        supervise,
        noise: noise.into(),
        plan: EpochPlan::default(),
        seed: 0x0123_4567_89ab_cdef + list as u64,
    })
    .unwrap()
}

#[derive(Debug, PartialEq)]
struct Batch {
    inputs: Vec<u32>,
    labels: Vec<u32>,
    maps: Vec<u32>,
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Memory filled so that a value that no kernel writes is found.
fn poisoned(cuda: &Arc<Cuda>, len: usize) -> Buffer<f32> {
    cuda.upload(&vec![f32::from_bits(0xFFFF_FFFF); len]).unwrap()
}

fn read(buffer: &Buffer<f32>) -> Vec<f32> {
    let mut values = vec![0.0; buffer.len()];
    buffer.read(0, &mut values).unwrap();
    values
}

fn on_cpu(set: &TrainingSet, epoch: u32, samples: &[u32]) -> Batch {
    let p = &set.data().preprocessing;
    let n = samples.len();
    let (mut inputs, mut labels) = (vec![0.0; n * p.input_len()], vec![0.0; n]);
    let mut maps = vec![0.0; n * p.side * p.side];
    set.fill(epoch, samples, &mut inputs, &mut labels, Some(&mut maps)).unwrap();
    Batch { inputs: bits(&inputs), labels: bits(&labels), maps: bits(&maps) }
}

/// Batch number `number` of an order with `stride` samples per batch, of which it has `n`.
fn on_device(
    cuda: &Arc<Cuda>,
    set: &TrainingSet,
    device: &DeviceSet,
    (epoch, order): (u32, &[u32]),
    (number, stride, n): (usize, usize, usize),
) -> Batch {
    let p = &set.data().preprocessing;
    let inputs = poisoned(cuda, n * p.input_len());
    let (labels, maps) = (poisoned(cuda, n), poisoned(cuda, n * p.side * p.side));
    let into = [&inputs, &labels, &maps].map(Buffer::as_slice);
    device.draw(epoch, order, (number, stride), into).unwrap();
    Batch { inputs: bits(&read(&inputs)), labels: bits(&read(&labels)), maps: bits(&read(&maps)) }
}

/// Compares all batches of some epochs; the last batch of each is smaller. Sets of images of which a part counts are staged.
fn check(cuda: &Arc<Cuda>, set: &TrainingSet, what: &str) {
    const STRIDE: usize = 4;
    let (device, mut staging) = match set.data().counted {
        Some(_) => DeviceSet::staged(cuda, set, STRIDE).map(|(device, staging)| (device, Some(staging))).unwrap(),
        None => (DeviceSet::new(cuda, set, STRIDE).unwrap(), None),
    };
    for epoch in [0, 7] {
        let order = set.order(epoch);
        for (number, samples) in order.chunks(STRIDE).enumerate() {
            let expected = on_cpu(set, epoch, samples);
            if let Some(staging) = &mut staging {
                let mut bytes = vec![0; set.staged_len(STRIDE)];
                set.stage(epoch, samples, STRIDE, &mut bytes).unwrap();
                staging.stage(&bytes).unwrap();
            }
            let made = on_device(cuda, set, &device, (epoch, &order), (number, STRIDE, samples.len()));
            for (name, made, expected) in [
                ("inputs", &made.inputs, &expected.inputs),
                ("labels", &made.labels, &expected.labels),
                ("maps", &made.maps, &expected.maps),
            ] {
                let differ = made.iter().zip(expected).filter(|(a, b)| a != b).count();
                let first = made.iter().zip(expected).position(|(a, b)| a != b);
                assert_eq!(differ, 0, "{what}, epoch {epoch}, batch {number}: {name}, first at {first:?}");
            }
        }
    }
}

/// Every combination of supervision and noise that a training set can have.
fn modes() -> impl Iterator<Item = (Supervise, NoiseMode)> {
    SUPERVISES.into_iter().flat_map(|supervise| {
        let noises = if supervise.makes_noise() { NoiseMode::all() } else { vec![Gaussian] };
        noises
            .into_iter()
            .map(move |noise| (supervise, noise))
            .filter(|&(supervise, noise)| supervise != Noise || noise.stands_alone())
    })
}

/// Sides to test at; those of a few pixels where every access is checked, which is slow.
fn sides<'a>(gpu: &Gpu, sides: &'a [usize]) -> &'a [usize] {
    let small = sides.iter().take_while(|&&side| side < 16).count();
    if gpu.is_checked() { &sides[..small] } else { sides }
}

#[test]
fn every_mode_at_every_side() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    let mut list = 0;
    for (supervise, noise) in modes() {
        for &side in sides(&gpu, &[1, 2, 3, 9, 28, 32, 33, 64]) {
            for channels in [1, 3] {
                let set = training_set(side, channels, list % LISTS, supervise, noise);
                let what = format!("{supervise:?} {noise:?}, {side} px, {channels} channels, list {}", list % LISTS);
                check(cuda, &set, &what);
                list += 3; // so that every list meets every mode
            }
            list += 1;
        }
    }
    cuda.synchronize().unwrap();
}

/// A noise mode that is not in the library's table works too: its own file is all that it needs.
#[test]
fn a_mode_of_ones_own() {
    let Some(gpu) = gpu() else { return };
    for (list, supervise) in [Noise, MalformedNormal, MalformedNormalGt].into_iter().enumerate() {
        let set = training_set(9, 3, list, supervise, NoiseMode::Own(&GREY));
        // It must make its own noise, not that of another mode.
        let (order, solid) = (set.order(0), training_set(9, 3, list, supervise, Solid));
        assert_ne!(on_cpu(&set, 0, &order), on_cpu(&solid, 0, &order), "{supervise:?}");
        check(gpu.cuda(), &set, &format!("{supervise:?}, a mode of one's own"));
    }
    gpu.cuda().synchronize().unwrap();
}

/// Several modes, each of which makes the noise of its samples alone.
#[test]
fn mixes_of_modes() {
    let Some(gpu) = gpu() else { return };
    for (list, mix) in ["fine-confetti,cutpaste:3", "cutpaste,blob:2,confetti,gaussian:5"].into_iter().enumerate() {
        for &side in sides(&gpu, &[1, 9, 40]) {
            for channels in [1, 3] {
                let mix: NoiseMix = mix.parse().unwrap();
                let set = training_set(side, channels, list, MalformedNormalGt, mix.clone());
                check(gpu.cuda(), &set, &format!("{mix}, {side} px, {channels} channels"));
            }
        }
    }
    let mix: NoiseMix = "uniform:2,solid,blob".parse().unwrap();
    gpu.in_every_order(|order| {
        check(gpu.cuda(), &training_set(9, 3, 2, Noise, mix.clone()), &format!("{mix}, {order}"));
    });
    gpu.cuda().synchronize().unwrap();
}

/// Labelled anomalies among those of one mode or several; one set has no masks.
#[test]
fn labelled_anomalies_among_artificial_ones() {
    let Some(gpu) = gpu() else { return };
    let modes = [(MalformedNormalGt, "cutpaste:3,blob"), (Noise, "uniform,solid"), (MalformedNormal, "fine-confetti")];
    for (list, (supervise, mix)) in modes.into_iter().enumerate() {
        for &side in sides(&gpu, &[1, 9, 40]) {
            for (labelled_share, offline) in [(1, false), (50, false), (100, false), (50, true)] {
                let set = training_set(side, 3, list, supervise, mix.parse::<NoiseMix>().unwrap());
                let plan = EpochPlan { offline, ..EpochPlan::default() };
                let set = TrainingSet::new(TrainingData { labelled_share, plan, ..set.data().clone() }).unwrap();
                check(gpu.cuda(), &set, &format!("{mix}, {side} px, {labelled_share} % labelled, offline {offline}"));
            }
        }
    }
    gpu.cuda().synchronize().unwrap();
}

/// What does not count is outside of the ground truth, whatever the sample is and wherever transforms take it.
#[test]
fn images_of_which_a_part_counts() {
    let Some(gpu) = gpu() else { return };
    let counted: Counted = serde_json::from_str(r#"{"height":3,"width":4,"runs":[5,2,2,3]}"#).unwrap();
    for (i, (supervise, noise)) in modes().enumerate() {
        for &side in sides(&gpu, &[9, 40]) {
            for labelled_share in [0, 50] {
                let set = training_set(side, 3, i % LISTS, supervise, noise);
                let labelled_share = if supervise.makes_noise() { labelled_share } else { 0 };
                let data = TrainingData { labelled_share, counted: Some(counted.clone()), ..set.data().clone() };
                let set = TrainingSet::new(data).unwrap();
                check(gpu.cuda(), &set, &format!("{supervise:?} {noise:?}, {side} px, {labelled_share} % labelled"));
            }
        }
    }
    gpu.cuda().synchronize().unwrap();
}

/// Patches of the sizes that they have where most train, at the side with the most work.
#[test]
fn cutpaste_at_224_px() {
    let Some(gpu) = gpu() else { return };
    if gpu.is_checked() {
        return; // slow, and it runs the same code as small cases
    }
    for channels in [1, 3] {
        check(
            gpu.cuda(),
            &training_set(224, channels, 0, MalformedNormalGt, CutPaste),
            &format!("{channels} channels"),
        );
    }
    gpu.cuda().synchronize().unwrap();
}

#[test]
fn every_list_of_transforms() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    for list in 0..LISTS {
        for &side in sides(&gpu, &[1, 5, 28, 31, 40]) {
            for channels in [1, 3] {
                for (supervise, noise) in [(Other, Gaussian), (Noise, Uniform), (MalformedNormalGt, FineConfetti)] {
                    let set = training_set(side, channels, list, supervise, noise);
                    check(cuda, &set, &format!("list {list}, {side} px, {channels} channels, {supervise:?}"));
                }
            }
        }
    }
    cuda.synchronize().unwrap();
}

/// The result depends neither on the order of blocks and threads nor on when they run.
#[test]
fn every_mode_in_every_order() {
    let Some(gpu) = gpu() else { return };
    let side = if gpu.is_checked() { 11 } else { 37 };
    for (list, (supervise, noise)) in modes().enumerate() {
        let set = training_set(side, 3, list % LISTS, supervise, noise);
        gpu.in_every_order(|order| check(gpu.cuda(), &set, &format!("{supervise:?} {noise:?}, {order}")));
    }
    gpu.cuda().synchronize().unwrap();
}

/// Several passes, and anomalies that were made before training.
#[test]
fn every_way_through_the_images() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    for (list, (supervise, noise)) in modes().filter(|(supervise, _)| *supervise != Unsupervised).enumerate() {
        for (passes, offline) in [(3, false), (1, true), (2, true)] {
            let mut parts =
                training_set(if gpu.is_checked() { 7 } else { 20 }, 3, list % LISTS, supervise, noise).data().clone();
            parts.plan = EpochPlan { passes, offline, at_most: None };
            let set = TrainingSet::new(parts).unwrap();
            assert_eq!(set.len(), 11 * passes as usize * if offline { 2 } else { 1 });
            check(cuda, &set, &format!("{supervise:?} {noise:?}, {passes} passes, offline {offline}"));
        }
    }
    cuda.synchronize().unwrap();
}

#[test]
fn images_of_the_size_that_confetti_is_for() {
    let Some(gpu) = gpu() else { return };
    if gpu.is_checked() {
        return; // slow, and it runs the same code as small cases
    }
    let cuda = gpu.cuda();
    for (side, list, noise) in [(224, 4, Confetti), (240, 3, FineConfetti), (240, 8, Confetti), (256, 9, Blob)] {
        let set = training_set(side, 3, list, MalformedNormalGt, noise);
        let device = DeviceSet::new(cuda, &set, 4).unwrap();
        let order = set.order(1);
        let made = on_device(cuda, &set, &device, (1, &order), (1, 4, 4));
        assert!(made == on_cpu(&set, 1, &order[4..8]), "{noise:?}");
    }
    cuda.synchronize().unwrap();
}

#[test]
fn samples_do_not_depend_on_their_batch() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    let set = training_set(20, 3, 4, MalformedNormalGt, Confetti);
    let device = DeviceSet::new(cuda, &set, 11).unwrap();
    let order = set.order(3);
    let whole = on_device(cuda, &set, &device, (3, &order), (0, 11, 11));
    let one = set.data().preprocessing.input_len();
    for (number, &sample) in order.iter().enumerate() {
        let alone = on_device(cuda, &set, &device, (3, &order), (number, 1, 1));
        assert_eq!(alone.inputs, whole.inputs[number * one..][..one], "sample {sample}");
        assert_eq!(alone.labels, whole.labels[number..=number]);
    }
    let reversed: Vec<u32> = order.iter().rev().copied().collect();
    let backwards = on_device(cuda, &set, &device, (3, &reversed), (0, 11, 11));
    for number in 0..11 {
        assert_eq!(backwards.inputs[(10 - number) * one..][..one], whole.inputs[number * one..][..one]);
    }
}

/// One captured graph makes every full batch: only the numbers in memory change.
#[test]
fn a_graph_draws_what_the_clock_shows() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    let set = training_set(12, 1, 1, MalformedNormal, FineConfetti);
    let p = &set.data().preprocessing;
    let device = DeviceSet::new(cuda, &set, 5).unwrap();
    let mut clock = cuda.upload(&[0u32, 0]).unwrap();
    let mut order = cuda.upload(&set.order(0)).unwrap();
    let (inputs, labels) = (poisoned(cuda, 5 * p.input_len()), poisoned(cuda, 5));
    let into = (inputs.as_slice(), labels.as_slice(), None);
    // SAFETY: the order has ten samples.
    let work = || device.enqueue(unsafe { BatchTarget::new((5, 5), (&clock, &order), into) });
    // SAFETY: all that the launches name lives until the end of this function.
    let graph = unsafe { cuda.capture(work) }.unwrap();
    for epoch in 0..3 {
        let samples = set.order(epoch);
        order.write(0, &samples).unwrap();
        for number in 0..2u32 {
            clock.write(0, &[number, epoch]).unwrap();
            // SAFETY: as above.
            unsafe { graph.launch() }.unwrap();
            let expected = on_cpu(&set, epoch, &samples[5 * number as usize..][..5]);
            assert_eq!(bits(&read(&inputs)), expected.inputs, "epoch {epoch}, batch {number}");
            assert_eq!(bits(&read(&labels)), expected.labels);
        }
    }
}

#[test]
fn test_images() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    for list in 0..LISTS {
        for channels in [1, 3] {
            for &raw in sides(&gpu, &[1, 6, 28, 65]) {
                let (p, images) = (preprocessing(list, raw, channels), images(9, raw, channels, 5));
                let mut set = DeviceTestSet::new(cuda, &p, &images).unwrap();
                let mut expected = vec![0.0; 4 * p.input_len()];
                p.test_batch(&images, 3..7, &mut expected);
                let inputs = poisoned(cuda, expected.len());
                set.enqueue(3, 4, inputs.as_slice()).unwrap();
                assert!(bits(&read(&inputs)) == bits(&expected), "list {list}, {channels} channels, {raw} px");
                // Images that come in piece by piece.
                set.write(0, &images.pixels[3 * images.image_len()..7 * images.image_len()]).unwrap();
                let inputs = poisoned(cuda, expected.len());
                set.enqueue(0, 4, inputs.as_slice()).unwrap();
                assert!(bits(&read(&inputs)) == bits(&expected), "list {list}, {channels} channels, {raw} px, written");
            }
        }
    }
    cuda.synchronize().unwrap();
}

/// Batches of all recipes and anomalies have the bits that they have everywhere.
#[test]
fn golden_checksums() {
    let Some(gpu) = gpu() else { return };
    if gpu.is_checked() {
        return; // slow, and it runs the same code as small cases
    }
    let mut wrong = Vec::new();
    let mut sink = |check: &Check| {
        if check.outcome != CheckOutcome::Passed {
            wrong.push(format!("{}: {}", check.name, check.detail));
        }
    };
    batches::check(&mut CheckReport::new(&gpu.device, &mut sink)).unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn random_numbers() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    // Known answers of Random123, and some more.
    let mut inputs = vec![0; 6];
    inputs.extend([!0; 6]);
    inputs.extend([0xa409_3822, 0x299f_31d0, 0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
    let known = [
        [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1u32],
    ];
    let more = Stream::new(1, Purpose::Check, 0, 0);
    inputs.extend((0..600).map(|i| more.bits(i)));
    let n = inputs.len() / 6;
    let (device, outputs) = (cuda.upload(&inputs).unwrap(), cuda.zeros::<u32>(4 * n).unwrap());
    let launch = cuda.launch_per_item(n, 64);
    let parameters = PhiloxRoundsParameters { inputs: device.pointer(), n: n as u32, outputs: outputs.pointer_mut() };
    // SAFETY: n times six numbers, and four.
    unsafe { kernels::philox::philox_rounds(launch, &parameters) }.unwrap();
    let mut words = vec![0; 4 * n];
    outputs.read(0, &mut words).unwrap();
    assert_eq!(words[..12], known.concat());
    for (input, output) in inputs.chunks(6).zip(words.chunks(4)) {
        assert_eq!(philox([input[0], input[1]], [input[2], input[3], input[4], input[5]]), output);
    }

    let n = 20_003;
    let stream = Stream::new(0xfedc_ba98_7654_3210, Purpose::AugmentNoise, 5, 77);
    let (words, normals) = (cuda.zeros::<u32>(n).unwrap(), poisoned(cuda, n));
    let parameters = PhiloxStreamParameters {
        seed: 0xfedc_ba98_7654_3210,
        purpose: Purpose::AugmentNoise,
        epoch: 5,
        sample: 77,
        n: n as u32,
        bits: words.pointer_mut(),
        normals: normals.pointer_mut(),
    };
    // SAFETY: both buffers have n numbers.
    unsafe { kernels::philox::philox_stream(cuda.launch_per_item(n.div_ceil(4), 256), &parameters) }.unwrap();
    let mut made = vec![0; n];
    words.read(0, &mut made).unwrap();
    assert!(made.iter().zip(0..).all(|(&word, i)| word == stream.bits(i)));
    let mut expected = vec![0.0; n];
    stream.fill_normal(&mut expected);
    assert!(bits(&read(&normals)) == bits(&expected), "normals");
}

#[test]
fn logarithms_and_angles() {
    let Some(gpu) = gpu() else { return };
    let cuda = gpu.cuda();
    // Every number that Box–Muller takes the logarithm of is i / 2²⁴; turns of all sizes, those next to the quarters among them.
    let random = Stream::new(3, Purpose::Check, 1, 0);
    let mut x: Vec<f32> = (0..40_000).map(|i| ((random.bits(i) >> 8) + 1) as f32 / 16_777_216.0).collect();
    x.extend((1..=2_000u32).chain(16_775_217..=16_777_216).map(|i| i as f32 / 16_777_216.0));
    // And where the polynomial changes sides.
    x.extend([FRAC_1_SQRT_2.next_down(), FRAC_1_SQRT_2, f32::MIN_POSITIVE, 1.5, 1e10, f32::MAX]);
    let edges = (0..16u32).flat_map(|k| (0..125).map(move |d| (k << 28).wrapping_add(d).wrapping_sub(62)));
    let turns: Vec<u32> = (0..(x.len() - 2_000) as u32).map(|i| random.bits(i + 50_000)).chain(edges).collect();
    assert_eq!(x.len(), turns.len());
    let outputs = [(); 3].map(|()| poisoned(cuda, x.len()));
    let (device_x, device_turns) = (cuda.upload(&x).unwrap(), cuda.upload(&turns).unwrap());
    let [logarithm, sine, cosine] = &outputs;
    let parameters = PhiloxFunctionsParameters {
        x: device_x.pointer(),
        turns: device_turns.pointer(),
        n: x.len() as u32,
        logarithm: logarithm.pointer_mut(),
        sine: sine.pointer_mut(),
        cosine: cosine.pointer_mut(),
    };
    // SAFETY: all buffers have n numbers.
    unsafe { kernels::philox::philox_functions(cuda.launch_per_item(x.len(), 256), &parameters) }.unwrap();
    let [logarithm, sine, cosine] = outputs.each_ref().map(|buffer| bits(&read(buffer)));
    for i in 0..x.len() {
        assert_eq!(logarithm[i], ln(x[i]).to_bits(), "ln {}", x[i]);
        let [expected_sine, expected_cosine] = sin_cos_turns(turns[i]);
        assert_eq!((sine[i], cosine[i]), (expected_sine.to_bits(), expected_cosine.to_bits()), "turn {}", turns[i]);
    }
}
