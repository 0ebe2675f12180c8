//! Epochs as replayed graphs against the same steps launched one by one.

use std::thread;

use fcdd::CudaError;
use fcdd::data::batches::{EpochPlan, LabelledAnomalies, TrainingData, TrainingSet};
use fcdd::data::counted::Counted;
use fcdd::data::cuda::DeviceSet;
use fcdd::data::folder::{Broken, read_all};
use fcdd::data::image_source::{Hold, ImageSource, Raw};
use fcdd::data::images::{Images, Mask};
use fcdd::data::levels::Levels;
use fcdd::data::pipeline::PipelineKind;
use fcdd::data::resize_mode::{RawForm, ResizeMode};
use fcdd::data::supervise::{NoiseMix, NoiseMode, Supervise};
use fcdd::datasets::fmnist::FMNIST;
use fcdd::device::cuda::{BatchSource, BatchTarget, Replays};
use fcdd::device::{DType, Device};
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions, lower};
use fcdd::engine::{Hyper, Network};
use fcdd::model::{Weights, nets};
use fcdd::rng::{Purpose, Stream};
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;

use crate::support::{Gpu, on_device};

/// Images of the set; the last batch of an epoch is a short one.
pub const COUNT: usize = 11;
pub const BATCH: usize = 4;

fn images(salt: u32) -> ImageSource {
    let mut pixels = vec![0.0; COUNT * 784];
    Stream::new(2, Purpose::Check, salt, 0).fill_normal(&mut pixels);
    let pixels = pixels.iter().map(|v| (128.0 + 40.0 * v).clamp(0.0, 255.0) as u8).collect();
    Images { count: COUNT, height: 28, width: 28, channels: 1, pixels }.into()
}

pub fn set(supervise: Supervise, noise: impl Into<NoiseMix>) -> TrainingSet {
    let normal = images(0);
    let half = Mask { height: 28, width: 28, pixels: (0..784).map(|i| u8::from(i % 28 < 9)).collect() };
    let masks = (0..COUNT).map(|i| (i % 2 == 0).then(|| half.clone())).collect();
    TrainingSet::new(TrainingData {
        preprocessing: FMNIST.recipe.preprocessing(PipelineKind::Lcnaug1, 28, 28, 1, &normal).unwrap(),
        normal,
        labelled: Some(LabelledAnomalies { images: images(1), masks, without_mask: 2, untested: Vec::new() }),
        labelled_share: 0,
        outliers: Some(images(2)),
        counted: None,
        supervise,
        noise: noise.into(),
        plan: EpochPlan::default(),
        seed: 4,
    })
    .unwrap()
}

/// A mask by which the middle of images counts.
fn middle() -> Counted {
    serde_json::from_str(r#"{"height":4,"width":4,"runs":[5,2,2,2,5]}"#).unwrap()
}

/// What is trained, and how.
#[derive(Clone, Copy, Debug)]
pub struct Trained {
    pub net: &'static str,
    pub dtype: DType,
    pub optimizer: Optimizer,
    pub maps: bool,
    pub epochs: u32,
}

impl Trained {
    /// Two epochs of FCDD_CNN28 in f32 without maps.
    pub const PLAIN: Trained =
        Trained { net: "FCDD_CNN28", dtype: DType::F32, optimizer: Optimizer::Sgd, maps: false, epochs: 2 };

    pub fn network(&self, device: &Device) -> Network<f32> {
        let Trained { net, dtype, optimizer, maps, .. } = *self;
        let arch = nets::by_name(net, true).unwrap();
        let training =
            Some(TrainingOptions { optimizer, maps, input_grad: false, seed: 0, label_score: ImageScore::Mean });
        let options =
            PlanOptions { batch: BATCH, side: 28, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: true, training };
        Network::on(device, &arch, options, &Weights::init(&arch, 3)).unwrap()
    }
}

/// Each step has a different learning rate, so that reading a wrong row of the table is found.
pub fn hypers(epoch: u32) -> Vec<Hyper> {
    let steps = COUNT.div_ceil(BATCH) as u64;
    let step = |i: u64| i + 1 + u64::from(epoch) * steps;
    (0..steps)
        .map(|i| Hyper { lr: 1e-3 * step(i) as f64, weight_decay: 1e-4, step: step(i), norm_momentum: 0.1 })
        .collect()
}

/// The results of a training: weights, the optimizer's state, every loss.
pub type State = (Weights, Vec<f32>, Vec<f32>);

/// Trains launch by launch.
pub fn one_by_one(gpu: &Gpu, set: &TrainingSet, trained: Trained) -> State {
    let mut network = trained.network(&gpu.device);
    let mut losses = Vec::new();
    for epoch in 0..trained.epochs {
        for (samples, hyper) in set.order(epoch).chunks(BATCH).zip(hypers(epoch)) {
            let (input, labels, maps) = network.training_inputs(samples.len()).unwrap();
            set.fill(epoch, samples, input, labels, maps).unwrap();
            losses.extend_from_slice(network.train(samples.len(), &hyper).unwrap());
        }
    }
    (network.weights().unwrap(), network.moments().unwrap(), losses)
}

/// Trains by replayed graphs. `staged`: the raw images of a batch are copied from the host before each step.
pub fn by_graphs(device: &Device, set: &TrainingSet, trained: Trained, staged: bool) -> State {
    let Device::Cuda(cuda) = device else { panic!("graphs are of a GPU") };
    let mut network = trained.network(device);
    let (there, mut staging) = if staged {
        let (there, staging) = DeviceSet::staged(cuda, set, BATCH).unwrap();
        (there, Some(staging))
    } else {
        (DeviceSet::new(cuda, set, BATCH).unwrap(), None)
    };
    network.attach(Box::new(there), COUNT).unwrap();
    let mut losses = Vec::new();
    for epoch in 0..trained.epochs {
        let order = set.order(epoch);
        let stage = |_: &mut _, _: &_, launched: usize| {
            if let Some(staging) = &mut staging {
                let mut bytes = vec![0; set.staged_len(BATCH)];
                set.stage(epoch, &order[launched..COUNT.min(launched + BATCH)], BATCH, &mut bytes)?;
                staging.stage(&bytes)?;
            }
            Ok(true)
        };
        let log = network.epoch(epoch, &order, &hypers(epoch), stage).unwrap();
        losses.extend(log.losses);
        let anomalous = |&sample: &u32| Stream::new(4, Purpose::Supervise, epoch, sample).bits(0) >> 31;
        assert!(
            log.labels.iter().map(|&l| l as u32).eq(set.order(epoch).iter().map(anomalous)),
            "labels of epoch {epoch}"
        );
    }
    (network.weights().unwrap(), network.moments().unwrap(), losses)
}

#[test]
fn graphs_leave_the_bits_of_single_steps() {
    on_device(|gpu| {
        let set = set(Supervise::MalformedNormalGt, NoiseMode::Blob);
        for (optimizer, maps) in [(Optimizer::Sgd, false), (Optimizer::Adam, true)] {
            let trained = Trained { optimizer, maps, ..Trained::PLAIN };
            let expected = one_by_one(gpu, &set, trained);
            gpu.in_every_order(|order| {
                assert!(
                    by_graphs(&gpu.device, &set, trained, false) == expected,
                    "{optimizer:?}, maps {maps}, {order}"
                );
            });
        }
    });
}

#[test]
fn staged_batches_leave_the_same_bits() {
    on_device(|gpu| {
        for (supervise, noise) in [
            (Supervise::MalformedNormalGt, NoiseMode::Blob.into()),
            (Supervise::MalformedNormalGt, NoiseMode::CutPaste.into()),
            (Supervise::MalformedNormalGt, "fine-confetti,cutpaste:3".parse::<NoiseMix>().unwrap()),
            (Supervise::Noise, NoiseMode::Outliers.into()),
            (Supervise::Other, NoiseMode::Solid.into()),
        ] {
            let (set, trained) = (set(supervise, noise), Trained { maps: true, ..Trained::PLAIN });
            let expected = by_graphs(&gpu.device, &set, trained, false);
            gpu.in_every_order(|order| {
                assert!(by_graphs(&gpu.device, &set, trained, true) == expected, "{supervise:?}, {order}");
            });
        }
    });
}

/// Squares of larger images and of smaller ones, padding and labelled anomalies among them: staged they are what the host makes.
#[test]
fn tiles_are_staged_as_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (i, (width, height)) in [(60, 41), (28, 28), (20, 70), (15, 9)].into_iter().enumerate() {
        let pixel = |x: u32, y: u32| image::Luma([(x * 5 + y * 3 + (x * y + i as u32) % 23) as u8]);
        paths.push(folder.path().join(format!("{i}.png")));
        image::GrayImage::from_fn(width, height, pixel).save(&paths[i]).unwrap();
    }
    let form =
        RawForm { side: 28, channels: 1, resize: ResizeMode::Tile { side: 28, overlap: 8 }, levels: Levels::ALL };
    let canvases = read_all(&paths, Raw { form, hold: Hold::Always }, Broken::Refused).unwrap().images;
    let tiles = canvases.clone().tiles();
    assert_eq!(tiles.count(), 6 + 1 + 4 + 1);
    let mask = |height: usize, width: usize| {
        Some(Mask { height, width, pixels: (0..height * width).map(|i| u8::from(i % width + 8 > width)).collect() })
    };
    let labelled = LabelledAnomalies {
        images: canvases,
        masks: vec![mask(41, 60), mask(28, 28), mask(70, 20), None],
        without_mask: 2,
        untested: Vec::new(),
    };
    on_device(|gpu| {
        for (supervise, noise) in [
            (Supervise::MalformedNormalGt, NoiseMode::CutPaste),
            (Supervise::MalformedNormalGt, NoiseMode::Blob),
            (Supervise::Noise, NoiseMode::Solid),
        ] {
            let data = set(supervise, noise).data().clone();
            let (normal, labelled) = (tiles.select(&(0..COUNT).collect::<Vec<_>>()), Some(labelled.clone()));
            for counted in [None, Some(middle())] {
                let (normal, labelled, data) = (normal.clone(), labelled.clone(), data.clone());
                let data = TrainingData { normal, labelled, labelled_share: 50, counted, ..data };
                let (set, trained) = (TrainingSet::new(data).unwrap(), Trained { maps: true, ..Trained::PLAIN });
                let expected = one_by_one(gpu, &set, trained);
                gpu.in_every_order(|order| {
                    assert!(
                        by_graphs(&gpu.device, &set, trained, true) == expected,
                        "{supervise:?} {noise:?}, {order}"
                    );
                });
            }
        }
    });
}

/// An epoch that is stopped ends after the step that was launched last, with a log of the samples so far.
#[test]
fn a_stopped_epoch_has_a_short_log() {
    on_device(|gpu| {
        let set = set(Supervise::MalformedNormalGt, NoiseMode::Blob);
        let mut network = Trained::PLAIN.network(&gpu.device);
        let there = DeviceSet::new(gpu.cuda(), &set, BATCH).unwrap();
        network.attach(Box::new(there), COUNT).unwrap();
        let log = network.epoch(0, &set.order(0), &hypers(0), |_, _, launched| Ok(launched < BATCH)).unwrap();
        assert_eq!((log.losses.len(), log.labels.len()), (BATCH, BATCH));
        assert!(log.losses.iter().all(|loss| loss.is_finite() && *loss > 0.0));
        // The next epoch starts from the beginning.
        assert_eq!(network.epoch(0, &set.order(0), &hypers(0), |_, _, _| Ok(true)).unwrap().losses.len(), COUNT);
    });
}

/// A whole step of FCDD_CNN28_W in bf16, drawing the batch included, has few launches: small nets spend their time in the gaps between them.
#[test]
fn a_step_of_cnn28_w_has_at_most_25_launches() {
    on_device(|gpu| {
        // The paper's batch size: with fewer images the convolutions' gradients need fewer launches. Nothing is run.
        let batch = 128;
        let arch = nets::by_name("FCDD_CNN28_W", true).unwrap();
        let training = Some(TrainingOptions {
            optimizer: Optimizer::Sgd,
            maps: false,
            input_grad: false,
            seed: 0,
            label_score: ImageScore::Mean,
        });
        let (dtype, gradient) = (DType::Bf16, Gradient::Grad);
        let plan =
            lower(&arch, &PlanOptions { batch, side: 28, dtype, sigma: 1.2, gradient, exact: true, training }).unwrap();
        let memory = plan.cuda_memory(gpu.cuda()).unwrap();
        let ports = plan.ports.training.unwrap();
        let order = gpu.cuda().upload(&vec![0; batch]).unwrap();
        for noise in [NoiseMode::Outliers, NoiseMode::MixedBlob] {
            let set = DeviceSet::new(gpu.cuda(), &set(Supervise::Noise, noise), batch).unwrap();
            let work = || {
                let into = (memory.slice(plan.ports.input), memory.slice(ports.labels), None);
                // SAFETY: nothing is launched.
                set.enqueue(unsafe { BatchTarget::new((batch, batch), (memory.clock(), &order), into) })?;
                [&plan.forward, &plan.backward, &plan.update].into_iter().flatten().try_for_each(|s| s.cuda(&memory))
            };
            // SAFETY: the graph is not launched.
            let step = unsafe { gpu.cuda().capture(work) };
            // The last one ends the step: it logs the losses and advances the clock.
            let launches = step.unwrap().launches().unwrap() + 1;
            assert!(launches <= 25, "{noise:?}: {launches}");
        }
    });
}

/// A detector and a training share a device: no thread's work gets into another's graph, and both capture at once.
#[test]
fn threads_share_a_device() {
    on_device(|gpu| {
        let set = set(Supervise::Noise, NoiseMode::MixedBlob);
        let trained = Trained { epochs: 3, ..Trained::PLAIN };
        let alone = by_graphs(&gpu.device, &set, trained, false);
        let mut images = vec![0.0; BATCH * 784];
        Stream::new(2, Purpose::Check, 9, 0).fill_normal(&mut images);
        let scores = |network: &mut Network<f32>| {
            network.input(BATCH).unwrap().copy_from_slice(&images);
            network.infer(BATCH).unwrap().to_vec()
        };
        let mut network = trained.network(&gpu.device);
        let expected = scores(&mut network);
        let again = || (0..4).for_each(|_| assert!(by_graphs(&gpu.device, &set, trained, false) == alone));
        thread::scope(|scope| {
            let trainings = [scope.spawn(again), scope.spawn(again)];
            while !trainings.iter().all(|training| training.is_finished()) {
                assert_eq!(scores(&mut network), expected);
                // What is allocated and freed meanwhile is in no graph either.
                assert_eq!(scores(&mut trained.network(&gpu.device)), expected);
            }
        });
    });
}

/// Steps that were captured once and launched again and again on one batch, as `fcdd bench` times them.
#[test]
fn captured_steps_leave_the_bits_of_single_steps() {
    on_device(|gpu| {
        let hyper = hypers(0)[0];
        let trained = |captured: bool| {
            let mut network = Trained::PLAIN.network(&gpu.device);
            let (input, labels, _) = network.training_inputs(BATCH).unwrap();
            Stream::new(2, Purpose::Check, 3, 0).fill_normal(input);
            labels[BATCH / 2..].fill(1.0);
            network.train(BATCH, &hyper).unwrap();
            let plan = network.plan(BATCH).unwrap();
            let steps =
                [&plan.forward, &plan.backward, &plan.update].into_iter().flatten().cloned().collect::<Vec<_>>();
            if captured {
                let launch = |_: &Network<f32>, graph: Replays<'_>| Ok((0..3).try_for_each(|_| graph.launch())?);
                network.captured(&steps, &hyper, launch).unwrap();
            } else {
                (0..3).for_each(|_| assert_eq!(network.train(BATCH, &hyper).unwrap().len(), BATCH));
            }
            let Weights { params, stats, .. } = network.weights().unwrap();
            [params, stats, network.moments().unwrap()]
        };
        assert!(trained(true) == trained(false));
    });
}

/// A graph holds launches of kernels alone; what else is asked for within a capture is refused, and does nothing.
#[test]
fn captures_hold_launches_alone() {
    on_device(|gpu| {
        let cuda = gpu.cuda();
        let mut buffer = cuda.upload(&[1.0f32, 2.0]).unwrap();
        // SAFETY: nothing is launched.
        let empty = unsafe { cuda.capture(|| Ok::<(), CudaError>(())) };
        let within = |result: Result<(), CudaError>| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("launches of kernels alone") || error.contains("captures already"), "{error}");
        };
        let work = || {
            within(cuda.alloc::<f32>(1).map(drop));
            within(buffer.write(0, &[3.0]));
            within(buffer.read(0, &mut [0.0]));
            within(cuda.mark().map(drop));
            within(cuda.synchronize());
            // SAFETY: as above.
            within(unsafe { cuda.capture(|| Ok::<(), CudaError>(())) }.map(drop));
            if let Ok(graph) = &empty {
                // SAFETY: as above.
                within(unsafe { graph.launch() });
            }
            Ok::<(), CudaError>(())
        };
        // SAFETY: as above.
        let _ = unsafe { cuda.capture(work) };
        let mut values = [0.0; 2];
        buffer.read(0, &mut values).unwrap();
        assert_eq!(values, [1.0, 2.0]);
    });
}
