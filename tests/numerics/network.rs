//! Whole nets: gradients by finite differences, smaller batches in the same memory, thread counts, frozen layers.

use crate::company::{NETS, said_in_any_company};
use crate::resnet::{self, assert_is_torchvisions};
use crate::support::{assert_close, dot, noise, of};
use fcdd::device::{DType, Device};
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use fcdd::engine::{Hyper, Network, Step};
use fcdd::model::weights::Layout;
use fcdd::model::{Arch, NetPart, Objective, Weights, baselines, nets};
use fcdd::real::Real;
use fcdd::settings::ImageScore;
use fcdd::steps::conv::Algorithm;
use fcdd::steps::hsc_loss::Gradient;
use fcdd::steps::upsample::GaussianTaps;

const TRAINING: TrainingOptions = TrainingOptions {
    optimizer: Optimizer::Sgd,
    maps: false,
    input_grad: false,
    seed: 0,
    label_score: ImageScore::Mean,
};

fn hyper(step: u64) -> Hyper {
    Hyper { lr: 1e-2, weight_decay: 1e-3, step, norm_momentum: 0.1 }
}

/// A training network.
fn network<T: Real>(arch: &Arch, batch: usize, side: usize, training: TrainingOptions) -> Network<T> {
    let options = PlanOptions {
        batch,
        side,
        dtype: DType::F32,
        sigma: 1.2,
        gradient: Gradient::Grad,
        exact: false,
        training: Some(training),
    };
    Network::new(arch, options, &Weights::init(arch, 3)).unwrap()
}

/// Fills a batch of `n` images of noise; every other one is anomalous, in its upper half where there are maps.
fn fill<T: Real>(network: &mut Network<T>, n: usize, index: u32) {
    let (input, labels, maps) = network.training_inputs(n).unwrap();
    input.copy_from_slice(&of::<T>(&noise(index, input.len())));
    labels.iter_mut().enumerate().for_each(|(i, l)| *l = T::of((i % 2) as f64));
    for (i, map) in maps.into_iter().flat_map(|maps| maps.chunks_exact_mut(maps.len() / n)).enumerate() {
        let half = map.len() / 2;
        map.fill(T::zero());
        map[..half].fill(T::of((i % 2) as f64));
    }
}

/// The batch's mean loss.
fn loss(network: &mut Network<f64>, n: usize) -> f64 {
    network.forward(n, &hyper(1)).unwrap();
    network.backward(n).unwrap();
    let view = network.plan(n).unwrap().ports.training.unwrap().loss;
    network.memory().get(view).iter().sum::<f64>() / n as f64
}

/// [`assert_gradients_of`] an FCDD net.
fn assert_gradients(name: &str, side: usize, bias: bool, maps: bool) {
    assert_gradients_of(&nets::by_name(name, bias).unwrap(), side, maps);
}

/// Asserts the gradients of every parameter tensor and of the input, each along a random direction.
fn assert_gradients_of(arch: &Arch, side: usize, maps: bool) {
    // So small that no winner of a pool and no sign before an activation changes on the way.
    const H: f64 = 1e-6;
    let training = TrainingOptions { maps, input_grad: true, ..TRAINING };
    let n = 3;
    let mut network = network::<f64>(arch, n, side, training);
    fill(&mut network, n, 0);
    loss(&mut network, n);
    let ports = network.plan(n).unwrap().ports;
    let grads = network.memory().get(ports.training.unwrap().grads).to_vec();
    let input_grad = network.memory().get(ports.training.unwrap().input_grad.unwrap()).to_vec();
    let layout = Layout::new(arch);
    let trained = layout.params.iter().filter(|p| p.start >= layout.trained_from);
    let tensors = trained.map(|p| (p.name.as_str(), ports.params, p.start..p.start + p.len(), &grads[..]));
    let input = ("input", ports.input, 0..input_grad.len(), &input_grad[..]);
    let tensors: Vec<_> = tensors.chain((arch.objective != Objective::Ae).then_some(input)).collect();
    let (mut exact, mut numeric) = (vec![], vec![]);
    for (i, (_, view, range, grads)) in tensors.iter().enumerate() {
        let direction = noise(100 + i as u32, range.len());
        let length = dot(&direction, &direction).sqrt();
        let before = network.memory().get(*view).to_vec();
        let mut at = |h: f64| {
            let values = network.memory().get_mut(*view);
            values.copy_from_slice(&before);
            values[range.clone()].iter_mut().zip(&direction).for_each(|(v, d)| *v += h * d / length);
            let loss = loss(&mut network, n);
            network.memory().get_mut(*view).copy_from_slice(&before);
            loss
        };
        numeric.push((at(H) - at(-H)) / (2.0 * H));
        exact.push(dot(&grads[range.clone()], &direction) / length);
    }
    // Truncation h² = 1e-12 times third derivatives, rounding 2⁻⁵²/h = 2e-10 times the depth of the net.
    assert_close(&exact, &numeric, 1e-7, &format!("{} bias {} maps {maps}", arch.name, arch.bias));
}

#[test]
fn gradients_of_small_nets_by_finite_differences() {
    for bias in [true, false] {
        for maps in [true, false] {
            assert_gradients("CNN28", 12, bias, maps);
            assert_gradients("CNN32_S", 10, bias, maps);
            assert_gradients("CNN224", 20, bias, maps);
        }
    }
    assert_gradients("CNN32_LW3K", 8, true, true);
}

#[test]
fn gradients_of_a_vgg_with_frozen_layers_by_finite_differences() {
    for maps in [true, false] {
        assert_gradients("CNN224_VGG_F", 16, true, maps);
    }
}

/// Through pools of what others read too, and norms by stored statistics.
#[test]
fn gradients_of_nets_with_fixed_features_by_finite_differences() {
    for maps in [true, false] {
        assert_gradients("VGG11_MS", 16, true, maps);
        assert_gradients("RESNET18_MS", 16, true, maps);
    }
}

/// A head that learns from features which were computed apart learns what the whole net learns, from maps folded to its own side too.
#[test]
fn heads_learn_from_features_what_whole_nets_learn() {
    for (name, maps) in
        [("VGG16_MS", true), ("VGG11_MS", true), ("RESNET18_MS", true), ("VGG16_MS", false), ("RESNET18_MS", false)]
    {
        let (arch, n, side) = (nets::by_name(name, true).unwrap(), 2, 32);
        let training = TrainingOptions { maps, ..TRAINING };
        let mut whole = network::<f64>(&arch, n, side, training);
        fill(&mut whole, n, 0);
        let (input, labels, truth) = whole.training_inputs(n).unwrap();
        let (input, labels, truth) = (input.to_vec(), labels.to_vec(), truth.map(|truth| truth.to_vec()));

        let options = PlanOptions { training: None, ..*whole.options() };
        let [of_features, of_head] = [NetPart::Features, NetPart::Head].map(|part| Arch { part, ..arch.clone() });
        let mut features = Network::<f64>::new(&of_features, options, &Weights::init(&arch, 3)).unwrap();
        features.input(n).unwrap().copy_from_slice(&input);
        let found = features.features(n).unwrap().to_vec();

        let mut head = network::<f64>(&of_head, n, side, training);
        let (to, labels_to, maps_to) = head.training_inputs(n).unwrap();
        to.copy_from_slice(&found);
        labels_to.copy_from_slice(&labels);
        let field = arch.receptive_field(side).unwrap();
        let taps = GaussianTaps::new(field, side, options.sigma);
        if let (Some(maps), Some(truth)) = (maps_to, &truth) {
            assert_eq!(maps.len(), n * field.n * field.n);
            let folded = truth.chunks_exact(side * side).flat_map(|truth| taps.fold(field.n, truth));
            maps.iter_mut().zip(folded).for_each(|(map, folded)| *map = folded);
        }
        let mut learned = [&mut whole, &mut head].map(|network| {
            network.forward(n, &hyper(1)).unwrap();
            network.backward(n).unwrap();
            let ports = network.plan(n).unwrap().ports;
            let training = ports.training.unwrap();
            let read = |view| network.read(view).unwrap();
            [read(training.loss), read(training.grads), read(ports.stats), read(ports.score)]
        });
        let layout = Layout::new(&arch);
        for [_, grads, ..] in &mut learned {
            grads.drain(..layout.trained_from);
        }
        let [whole, head] = &learned;
        for (what, (whole, head)) in ["losses", "gradients", "statistics", "scores"].iter().zip(whole.iter().zip(head))
        {
            // The same sums in another order, in f64.
            assert_close(head, whole, 1e-10, &format!("{name} maps {maps}: {what}"));
        }
        // Norms of frozen layers have kept their statistics.
        let fixed = layout.norms.iter().filter(|norm| norm.name != "head_bn");
        for norm in fixed {
            let stats = &learned[0][2][norm.start..][..2 * norm.c];
            assert!(stats[..norm.c].iter().all(|&mean| mean == 0.0) && stats[norm.c..].iter().all(|&var| var == 1.0));
        }
    }
}

#[test]
fn gradients_of_hsc_nets_by_finite_differences() {
    for (name, bias) in [("CNN28", true), ("CNN28", false), ("CNN32", true)] {
        let arch = baselines::by_name(name, bias).unwrap();
        assert_gradients_of(&arch, arch.side, false);
    }
}

/// The heatmap of each image is the gradient of its own score with running statistics, whatever else is in the batch. Tested after training
/// steps, which move the statistics and write gradients to the same memory.
#[test]
fn hsc_heatmaps_are_gradients_of_the_scores() {
    // So small that no winner of a pool and no sign before an activation changes on the way.
    const H: f64 = 1e-6;
    let arch = baselines::by_name("CNN28", true).unwrap();
    let (n, pixels) = (3, 28 * 28);
    for gradient in [Gradient::Grad, Gradient::Xgrad] {
        let options = PlanOptions {
            batch: n,
            side: 28,
            dtype: DType::F32,
            sigma: 1.2,
            gradient,
            exact: false,
            training: Some(TRAINING),
        };
        let mut network = Network::<f64>::new(&arch, options, &Weights::init(&arch, 3)).unwrap();
        fill(&mut network, n, 0);
        network.train(n, &hyper(1)).unwrap();
        fill(&mut network, n, 1);
        network.infer(n).unwrap();
        let heatmaps = network.heatmaps(n).unwrap().heatmaps.to_vec();
        let (mut ours, mut numeric) = (vec![], vec![]);
        for i in (0..n * pixels).step_by(97) {
            let x = network.input(n).unwrap()[i];
            let mut score = |h: f64| {
                network.input(n).unwrap()[i] = x + h;
                network.infer(n).unwrap()[i / pixels]
            };
            let slope = (score(H) - score(-H)) / (2.0 * H);
            network.input(n).unwrap()[i] = x;
            numeric.push(if gradient == Gradient::Grad { slope.abs() } else { (x * slope).abs() });
            ours.push(heatmaps[i]);
        }
        // As for the gradients of the losses.
        assert_close(&ours, &numeric, 1e-7, &format!("{gradient:?}"));
    }
}

#[test]
fn gradients_of_autoencoders_by_finite_differences() {
    for (name, bias) in [("AE28", true), ("AE28", false), ("AE32", true)] {
        let arch = baselines::by_name(name, bias).unwrap();
        assert_eq!(arch.objective, Objective::Ae);
        // The input is the target as well, which its gradient leaves out: that is checked by the golden file.
        assert_gradients_of(&arch, arch.side, false);
    }
}

#[test]
fn frozen_layers_keep_their_parameters_and_move_their_statistics() {
    let arch = nets::by_name("CNN224_VGG_F", true).unwrap();
    let before = Weights::init(&arch, 3);
    let mut network = network::<f32>(&arch, 2, 16, TRAINING);
    fill(&mut network, 2, 0);
    network.train(2, &hyper(1)).unwrap();
    let after = network.weights().unwrap();
    let frozen = Layout::new(&arch).trained_from;
    assert_eq!(after.params[..frozen], before.params[..frozen]);
    assert!(after.params[frozen..].iter().zip(&before.params[frozen..]).filter(|(a, b)| a == b).count() < 1000);
    assert!(after.stats.iter().zip(&before.stats).all(|(a, b)| a != b));
    assert_eq!(after.batches, 1);
}

/// Trains a few steps, the last on a smaller batch, and evaluates; parameters, statistics and scores.
fn trained(arch: &Arch, side: usize, training: TrainingOptions) -> (Weights, Vec<f32>) {
    let mut network = network::<f32>(arch, 5, side, training);
    for (step, n) in [5, 5, 5, 2].into_iter().enumerate() {
        fill(&mut network, n, step as u32);
        network.train(n, &hyper(step as u64 + 1)).unwrap();
    }
    network.infer(5).unwrap();
    let heatmaps = network.heatmaps(5).unwrap().heatmaps.to_vec();
    (network.weights().unwrap(), heatmaps)
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    for (name, side) in [("CNN28", 28), ("CNN32_S", 32), ("CNN224", 48), ("CNN28_W", 12)] {
        for (optimizer, maps) in [(Optimizer::Sgd, false), (Optimizer::Adam, true)] {
            let arch = nets::by_name(name, true).unwrap();
            let training =
                TrainingOptions { optimizer, maps, input_grad: false, seed: 0, label_score: ImageScore::Mean };
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| trained(&arch, side, training))
            };
            let one = on(1);
            assert!(one.0.are_finite());
            assert_eq!(one, on(2), "{name} {optimizer:?}");
        }
    }
}

/// A smaller last batch runs in the memory of the full batch, with the bits of a network of its own size.
#[test]
fn a_smaller_batch_in_the_same_memory() {
    // The last ones take more scratch space than the full batch: gradients of weights are summed in more parts.
    let small = (1..=4).map(|n| ("CNN32_S", 16, 5, n));
    for (net, side, batch, n) in small.chain([("CNN28", 28, 14, 12), ("CNN28", 28, 32, 25)]) {
        let arch = nets::by_name(net, true).unwrap();
        for maps in [false, true] {
            let training = TrainingOptions { maps, ..TRAINING };
            let [mut large, mut own] = [batch, n].map(|batch| network::<f32>(&arch, batch, side, training));
            fill(&mut large, batch, 9);
            large.forward(batch, &Hyper { norm_momentum: 0.0, ..hyper(1) }).unwrap();
            large.backward(batch).unwrap();
            for network in [&mut large, &mut own] {
                fill(network, n, 1);
            }
            assert_eq!(large.train(n, &hyper(1)).unwrap(), own.train(n, &hyper(1)).unwrap());
            assert_eq!(large.weights().unwrap().params, own.weights().unwrap().params);
            assert_eq!(large.weights().unwrap().stats, own.weights().unwrap().stats);
            assert_eq!(large.infer(n).unwrap(), own.infer(n).unwrap());
            assert_eq!(large.heatmaps(n).unwrap(), own.heatmaps(n).unwrap());
        }
    }
}

/// A network for inference only needs less memory and gives the same scores.
#[test]
fn every_net_scores_alike_with_and_without_memory_for_training() {
    // A multiple of 8, which ResNet-18's features of several stages take.
    const SIDE: usize = 24;
    for name in nets::names().iter().filter(|name| !name.contains("VGG") && !name.ends_with('K')) {
        let arch = nets::by_name(name, true).unwrap();
        let mut trains = network::<f32>(&arch, 2, SIDE, TRAINING);
        let options = PlanOptions { training: None, ..*trains.options() };
        let mut infers = Network::<f32>::new(&arch, options, &Weights::init(&arch, 3)).unwrap();
        let image = of::<f32>(&noise(0, 2 * SIDE * SIDE * arch.channels));
        for network in [&mut trains, &mut infers] {
            network.input(2).unwrap().copy_from_slice(&image);
        }
        assert_eq!(trains.infer(2).unwrap(), infers.infer(2).unwrap(), "{name}");
        assert!(infers.memory().size_in_bytes() < trains.memory().size_in_bytes(), "{name}");
        assert!(infers.train(2, &hyper(1)).is_err() && infers.infer(3).is_err() && infers.infer(0).is_err());
    }
}

/// Gradients under a bias before a norm are exactly zero, not rounding noise.
#[test]
fn a_bias_before_a_norm_has_no_gradient() {
    let arch = nets::by_name("CNN32_S", true).unwrap();
    let mut network = network::<f32>(&arch, 3, 12, TRAINING);
    fill(&mut network, 3, 0);
    network.forward(3, &hyper(1)).unwrap();
    network.backward(3).unwrap();
    let view = network.plan(3).unwrap().ports.training.unwrap().grads;
    let grads = network.memory().get(view).to_vec();
    let layout = Layout::new(&arch);
    let of = |name: &str| {
        let param = layout.param(name).unwrap();
        &grads[param.start..param.start + param.len()]
    };
    assert!(of("conv1.bias").iter().chain(of("conv2.bias")).all(|&g| g == 0.0));
    assert!(of("conv3.bias").iter().all(|&g| g != 0.0));
}

/// f64 on both sides; norms over eight values lose some digits of sums whose order differs. In f32 they lose as many of fewer.
#[test]
fn nets_of_torchvisions_layers_are_torchvisions() {
    for net in resnet::NETS {
        assert_is_torchvisions::<f64>(net, &Device::Cpu, 1e-9);
        assert_is_torchvisions::<f32>(net, &Device::Cpu, 1e-3);
    }
}

#[test]
fn a_score_is_a_function_of_its_image() {
    let in_bf16 = |&(net, _): &(&str, usize)| net.starts_with("FCDD");
    let nets = NETS
        .into_iter()
        .map(|net| (net, DType::F32))
        .chain(NETS.into_iter().filter(in_bf16).map(|net| (net, DType::Bf16)));
    for ((net, side), dtype) in nets {
        let said: Vec<Vec<_>> = [1, 2, 7]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| said_in_any_company(&Device::Cpu, dtype, net, side))
            })
            .into();
        assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{net} in {dtype:?}: threads");
    }
}

/// Winograd's filtering takes what it is faster for, in every pass, unless all products are asked for.
#[test]
fn algorithms_are_those_that_were_asked_for() {
    let arch = nets::by_name("CNN32_LW3K", true).unwrap();
    for exact in [false, true] {
        let mut network = network::<f32>(&arch, 2, 32, TRAINING);
        let options = PlanOptions { exact, ..*network.options() };
        network = Network::new(&arch, options, &Weights::init(&arch, 3)).unwrap();
        let [mut fprop, mut dgrad, mut wgrad] = [(); 3].map(|()| Vec::new());
        for step in network.plan(2).unwrap().steps() {
            match step {
                Step::ConvFprop(step) => fprop.push((step.geometry.c, step.algorithm)),
                Step::ConvDgrad(step) => dgrad.push((step.geometry.c, step.algorithm)),
                Step::ConvWgrad(step) => wgrad.push((step.geometry.c, step.algorithm)),
                _ => {}
            }
        }
        for (of, count) in [(fprop, 8), (dgrad, 3), (wgrad, 4)] {
            assert_eq!(of.len(), count);
            // The first layer has three channels.
            let expected = |c| if exact || c == 3 { Algorithm::Direct } else { Algorithm::Winograd };
            assert!(of.iter().all(|&(c, algorithm)| algorithm == expected(c)), "{exact}: {of:?}");
        }
    }
}
