//! Compares whole networks on the device with the CPU.

use fcdd::device::{DType, Device};
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions, lower};
use fcdd::engine::{Hyper, Network};
use fcdd::model::{Arch, Objective, Weights, baselines, nets};
use fcdd::real::Real;
use fcdd::rng::{Purpose, Stream};
use fcdd::run::verify::random_nets::random_net;
use fcdd::run::verify::stepwise::{self, TestedDevice};
use fcdd::run::verify::{Check, CheckBatch, CheckOutcome, CheckReport};
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;

use crate::company::{self, said_in_any_company};
use crate::numbers::{largest, noise};
use crate::resnet::{self, assert_is_torchvisions};
use crate::support::{Gpu, Switch, on_device};

/// A net on a device; the CPU takes all products of convolutions, as a GPU does.
fn network(device: &Device, arch: &Arch, batch: usize, side: usize, optimizer: Optimizer, maps: bool) -> Network<f32> {
    network_of(DType::F32, device, arch, batch, side, optimizer, maps)
}

/// A net with values of a type, which the CPU computes in `T`.
fn network_of<T: Real>(
    dtype: DType,
    device: &Device,
    arch: &Arch,
    batch: usize,
    side: usize,
    optimizer: Optimizer,
    maps: bool,
) -> Network<T> {
    let training = Some(TrainingOptions { optimizer, maps, input_grad: false, seed: 0, label_score: ImageScore::Mean });
    Network::on(
        device,
        arch,
        PlanOptions { batch, side, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: true, training },
        &Weights::init(arch, 3),
    )
    .unwrap()
}

/// Fills a batch: noise, every other image anomalous (brighter), its map the upper half.
fn fill<T: Real>(network: &mut Network<T>, n: usize, index: u32) {
    let (input, labels, maps) = network.training_inputs(n).unwrap();
    let mut noise = vec![0.0f32; input.len()];
    Stream::new(5, Purpose::Check, 0, index).fill_normal(&mut noise);
    let pixels = input.len() / n;
    for (i, (label, input)) in labels.iter_mut().zip(input.chunks_exact_mut(pixels)).enumerate() {
        let brighter = (i % 2) as f32;
        *label = T::of(brighter.into());
        input.iter_mut().zip(&noise[i * pixels..]).for_each(|(v, noise)| *v = T::of((0.5 * noise + brighter).into()));
    }
    if let Some(maps) = maps {
        let pixels = maps.len() / n;
        for (i, map) in maps.chunks_exact_mut(pixels).enumerate() {
            map.fill(T::zero());
            map[..pixels / 2].fill(T::of((i % 2) as f64));
        }
    }
}

fn hyper(step: u64) -> Hyper {
    Hyper { lr: 1e-3, weight_decay: 1e-4, step, norm_momentum: 0.1 }
}

/// The results of a training step: losses, gradients, weights.
fn trained(network: &mut Network<f32>, n: usize, step: u64) -> (Vec<f32>, Vec<f32>, Weights) {
    fill(network, n, step as u32);
    let losses = network.train(n, &hyper(step)).unwrap().to_vec();
    let grads = network.plan(n).unwrap().ports.training.unwrap().grads;
    (losses, network.read(grads).unwrap(), network.weights().unwrap())
}

/// Largest difference, relative to the largest value of the second; infinite where one is no number.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    if a.iter().chain(b).any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| f64::from(a - b)).collect();
    let reference: Vec<f64> = b.iter().map(|&b| f64::from(b)).collect();
    largest(&difference) / largest(&reference).max(f64::MIN_POSITIVE)
}

/// Asserts that training steps agree with the CPU, each from the CPU's state: losses to 1e-5, gradients to `bound` of the largest one; but for one
/// step in twenty, where one of both is that near to the gradients in f64 and the other has decided a tie in another way.
fn beside_the_cpu(gpu: &Gpu, net: &str, side: usize, optimizer: Optimizer, maps: bool, batches: &[usize], bound: f64) {
    let arch = baselines::any(net, true).unwrap();
    let largest_batch = batches.iter().copied().max().unwrap();
    let mut cpu = network(&Device::Cpu, &arch, largest_batch, side, optimizer, maps);
    let mut cuda = network(&gpu.device, &arch, largest_batch, side, optimizer, maps);
    let (mut worst, mut ties) = ([0.0f64; 3], 0);
    for (i, &n) in batches.iter().enumerate() {
        let (weights, moments) = (cpu.weights().unwrap(), cpu.moments().unwrap());
        cuda.set_weights(&weights).unwrap();
        cuda.set_moments(&moments).unwrap();
        let step = i as u64 + 1;
        let ours = trained(&mut cuda, n, step);
        let reference = trained(&mut cpu, n, step);
        let mean = |losses: &[f32]| losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        let found = [
            (mean(&ours.0) / mean(&reference.0) - 1.0).abs(),
            distance(&ours.1, &reference.1),
            distance(&ours.2.stats, &reference.2.stats),
        ];
        assert!(found[0] <= 1e-5, "{net} step {step}: losses {:e}", found[0]);
        if found[1] > bound {
            ties += 1;
            let mut exact = network_of::<f64>(DType::F32, &Device::Cpu, &arch, n, side, optimizer, maps);
            exact.set_weights(&weights).unwrap();
            exact.set_moments(&moments.iter().copied().map(f64::from).collect::<Vec<_>>()).unwrap();
            fill(&mut exact, n, step as u32);
            exact.train(n, &hyper(step)).unwrap();
            let grads = exact.plan(n).unwrap().ports.training.unwrap().grads;
            let exact: Vec<f32> = exact.read(grads).unwrap().iter().map(|&v| v as f32).collect();
            let [gpu, cpu] = [&ours.1, &reference.1].map(|grads| distance(grads, &exact));
            println!("{net} step {step}: gradients {:.1e} apart, {gpu:.1e} and {cpu:.1e} from those in f64", found[1]);
            assert!(gpu.min(cpu) <= bound && gpu.max(cpu) <= TIE, "{net} step {step}: gradients {:e}", found[1]);
        }
        assert!(found[2] <= 1e-5, "{net} step {step}: running statistics {:e}", found[2]);
        assert_eq!(ours.2.batches, reference.2.batches);
        worst = std::array::from_fn(|i| worst[i].max(found[i]));
    }
    assert!(ties <= batches.len() / 20, "{net}: gradients beyond {bound:e} in {ties} of {} steps", batches.len());
    println!(
        "{net} {optimizer:?}, maps {maps}: losses {:.1e}, gradients {:.1e}, statistics {:.1e}",
        worst[0], worst[1], worst[2]
    );
}

/// Gradients are sums over batch and pixels that cancel: the rounding errors of both sides, some tens of 2⁻²⁴ relative to the terms, are
/// larger relative to the sum. Where two values of a pool's window differ by rounding only, its argmax may differ, which changes one term of
/// thousands.
const GRADIENTS: f64 = 2e-4;

/// What one such term changes, at most: a gradient of the smallest net has 784 of them, 16 images of 7 × 7 pixels, and they cancel.
const TIE: f64 = 1e-2;

/// A score is a function of net and image alone on a GPU too, whatever tiles the size of a batch chooses.
#[test]
fn a_score_is_a_function_of_its_image() {
    on_device(|gpu| {
        // Those that the stand-in is done with in seconds.
        let quick = ["FCDD_CNN28", "FCDD_CNN224", "CNN28", "AE28"];
        let quick = company::NETS.iter().filter(|(net, _)| quick.contains(net));
        for &(net, side) in quick.take(if gpu.is_checked() { 1 } else { 4 }) {
            said_in_any_company(&gpu.device, DType::F32, net, side);
            if net.starts_with("FCDD") {
                said_in_any_company(&gpu.device, DType::Bf16, net, side);
            }
        }
    });
}

#[test]
fn fifty_steps_of_cnn28_from_the_cpus_state() {
    on_device(|gpu| {
        let steps = if gpu.is_checked() { 1 } else { 50 };
        let n = if gpu.is_checked() { 3 } else { 16 };
        beside_the_cpu(gpu, "FCDD_CNN28", 28, Optimizer::Sgd, false, &vec![n; steps], GRADIENTS);
    });
}

#[test]
fn fifty_steps_of_cnn32_s_from_the_cpus_state() {
    on_device(|gpu| {
        let (steps, n, side) = if gpu.is_checked() { (1, 2, 12) } else { (50, 4, 32) };
        beside_the_cpu(gpu, "FCDD_CNN32_S", side, Optimizer::Adam, false, &vec![n; steps], GRADIENTS);
    });
}

#[test]
fn maps_tails_and_single_images() {
    on_device(|gpu| {
        let batches = if gpu.is_checked() { vec![2, 1] } else { vec![5, 5, 3, 1] };
        beside_the_cpu(gpu, "FCDD_CNN28", 28, Optimizer::Adam, true, &batches, GRADIENTS);
    });
}

#[test]
fn frozen_layers_stay() {
    on_device(|gpu| {
        let side = if gpu.is_checked() { 32 } else { 64 };
        // Thirteen layers of ReLUs and pools on two small images: of some million comparisons a few depend on rounding, and each changes
        // the gradient by more than in `GRADIENTS`. `step_by_step` has no such allowance.
        beside_the_cpu(gpu, "FCDD_CNN224_VGG_F", side, Optimizer::Sgd, false, &[2, 2], 2e-2);
        let arch = nets::by_name("FCDD_CNN224_VGG_F", true).unwrap();
        let mut net = network(&gpu.device, &arch, 2, side, Optimizer::Sgd, false);
        let before = net.weights().unwrap();
        let after = trained(&mut net, 2, 1).2;
        let changed = before.params.iter().zip(&after.params).position(|(a, b)| a != b).unwrap();
        assert_eq!(changed, fcdd::model::weights::Layout::new(&arch).trained_from, "the first trained parameter");
    });
}

/// Two trainings give the same bits, in any order of blocks and threads.
#[test]
fn trainings_repeat_bit_for_bit() {
    on_device(|gpu| {
        let arch = nets::by_name("FCDD_CNN28", true).unwrap();
        let n = if gpu.is_checked() { 2 } else { 6 };
        let mut first = None;
        for _ in 0..2 {
            gpu.in_every_order(|order| {
                let mut net = network(&gpu.device, &arch, n, 28, Optimizer::Sgd, false);
                let weights = (1..=3).map(|step| trained(&mut net, n, step).2).last().unwrap();
                let same = first.as_ref().is_none_or(|first| *first == weights);
                assert!(same, "weights differ, {order}");
                first = Some(weights);
            });
        }
    });
}

/// In bf16 the device and the CPU, which emulates its rounding, train alike. Some sums are rounded the other way, so the weights drift apart
/// slowly.
#[test]
fn training_in_bf16_follows_the_cpus() {
    on_device(|gpu| {
        let arch = nets::by_name("FCDD_CNN28", true).unwrap();
        let (n, steps) = if gpu.is_checked() { (3, 1) } else { (16, 20) };
        let train = |device: &Device, dtype| {
            let mut net = network_of(dtype, device, &arch, n, 28, Optimizer::Sgd, false);
            let mean = |losses: Vec<f32>| losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
            (1..=steps).map(|step| mean(trained(&mut net, n, step).0)).collect::<Vec<f64>>()
        };
        let (ours, cpus) = (train(&gpu.device, DType::Bf16), train(&Device::Cpu, DType::Bf16));
        let exact = train(&Device::Cpu, DType::F32);
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |most, (a, b)| most.max((a / b - 1.0).abs()));
        // Two trainings in bf16 differ by no more than each differs from f32, which is a few roundings of 2⁻⁸.
        assert!(apart(&ours, &cpus) <= 0.02, "{:e}", apart(&ours, &cpus));
        assert!(apart(&cpus, &exact) <= 0.05, "{:e}", apart(&cpus, &exact));
        assert!(apart(&cpus, &exact) > 1e-6, "nothing was rounded");
        if !gpu.is_checked() {
            assert!(ours.last() < ours.first(), "it learns: {ours:?}");
        }
    });
}

/// Evaluation with running statistics: scores, maps and heatmaps as on the CPU, for each batch size.
#[test]
fn inference_as_on_the_cpu() {
    on_device(|gpu| {
        for (net, side) in
            [("FCDD_CNN28", 28), ("FCDD_CNN32_S", 32), ("FCDD_CNN224", 64), ("CNN28", 28), ("AE28", 28), ("AE32", 32)]
        {
            let arch = baselines::any(net, true).unwrap();
            let options = PlanOptions {
                batch: 3,
                side,
                dtype: DType::F32,
                sigma: 2.0,
                gradient: Gradient::Grad,
                exact: true,
                training: None,
            };
            let infer = |device: &Device, n: usize| {
                let mut net = Network::<f32>::on(device, &arch, options, &Weights::init(&arch, 3)).unwrap();
                Stream::new(5, Purpose::Check, 0, 9).fill_normal(net.input(n).unwrap());
                let scores = net.infer(n).unwrap().to_vec();
                let heatmaps = net.heatmaps(n).unwrap();
                [scores, heatmaps.maps.to_vec(), heatmaps.heatmaps.to_vec()]
            };
            for n in if gpu.is_checked() { vec![1] } else { vec![3, 1] } {
                for (ours, reference) in infer(&gpu.device, n).iter().zip(infer(&Device::Cpu, n)) {
                    // Some tens of layers' roundings.
                    assert!(distance(ours, &reference) <= 1e-5, "{net}: {:e}", distance(ours, &reference));
                }
            }
        }
    });
}

/// A batch that does not fit into memory is refused, and the error names one that fits.
#[test]
fn a_batch_beyond_the_memory_names_one_that_fits() {
    on_device(|gpu| {
        let arch = nets::by_name("FCDD_CNN224_VGG", true).unwrap();
        let options = |batch| PlanOptions {
            batch,
            side: 224,
            dtype: DType::F32,
            sigma: 2.0,
            gradient: Gradient::Grad,
            exact: true,
            training: None,
        };
        let weights = Weights::init(&arch, 0);
        let refused = Network::<f32>::on(&gpu.device, &arch, options(1 << 15), &weights).err().unwrap().to_string();
        let batch: usize = refused.split("`batch` ").nth(1).unwrap().trim_end_matches(')').parse().unwrap();
        assert!(batch > 1 && batch < 1 << 15, "{refused}");
        let uncountable = Network::<f32>::on(&gpu.device, &arch, options(1 << 20), &weights).err().unwrap().to_string();
        assert!(uncountable.contains("more pixels or values than"), "{uncountable}");
        if gpu.mode.is_none() {
            Network::<f32>::on(&gpu.device, &arch, options(batch * 9 / 10), &weights).unwrap();
        }
    });
}

/// Asserts that every step of a net's plan, run in the plan's own memory from the CPU's inputs, gives the CPU's results.
fn steps_agree(gpu: &Gpu, net: &str, side: usize, dtype: DType, order: &str) {
    let arch = baselines::any(net, true).unwrap();
    let maps = arch.objective == Objective::Fcdd;
    let input_grad = dtype == DType::F32;
    let training =
        Some(TrainingOptions { optimizer: Optimizer::Adam, maps, input_grad, seed: 0, label_score: ImageScore::Mean });
    let options = PlanOptions { batch: 2, side, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: true, training };
    let mut exact = Network::<f64>::new(&arch, options, &Weights::init(&arch, 3)).unwrap();
    let (input, _, maps) = exact.training_inputs(2).unwrap();
    input.copy_from_slice(&noise(0, input.len()));
    maps.into_iter().for_each(|maps| maps[side * side..].fill(1.0));
    let plan = exact.plan(2).unwrap().clone();
    let mut tested = TestedDevice::for_plan(&gpu.device, &plan).unwrap();
    let mut failed = Vec::new();
    let mut sink = |check: &Check| {
        if check.outcome == CheckOutcome::Failed {
            failed.push(format!("{} {:.2e} > {:.2e}", check.name, check.error, check.bound));
        }
    };
    let mut report = CheckReport::new(&gpu.device, &mut sink);
    stepwise::steps(&format!("{net}, {order}"), &plan, exact.memory(), &mut tested, &mut report).unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn step_by_step() {
    on_device(|gpu| {
        let side = if gpu.is_checked() { 12 } else { 28 };
        gpu.in_every_order(|order| {
            steps_agree(gpu, "FCDD_CNN28", side, DType::F32, order);
            steps_agree(gpu, "FCDD_CNN28", side, DType::Bf16, order);
            if !gpu.is_checked() {
                steps_agree(gpu, "FCDD_CNN32_S", 32, DType::F32, order);
                steps_agree(gpu, "CNN28", 28, DType::F32, order);
                steps_agree(gpu, "AE28", 28, DType::F32, order);
            }
        });
    });
}

/// Nets with many channels, for which WGMMA is used where it is on.
#[test]
fn step_by_step_in_bf16() {
    on_device(wide_steps_agree);
}

#[test]
fn step_by_step_with_wgmma() {
    on_device(|gpu| _ = gpu.switched(&[Switch::Wgmma], || wide_steps_agree(gpu)));
}

/// In the stand-in, where launches follow each other in any case, `switches::pdl_leaves_the_bits_of_wgmma` is enough.
#[test]
fn step_by_step_with_wgmma_and_pdl() {
    on_device(|gpu| {
        if gpu.mode.is_none() {
            gpu.switched(&[Switch::Wgmma, Switch::Pdl], || wide_steps_agree(gpu));
        }
    });
}

/// In one order only: `tensor` and `conv` run the same kernels in all orders.
fn wide_steps_agree(gpu: &Gpu) {
    if !gpu.is_checked() {
        steps_agree(gpu, "FCDD_CNN32_LW3K", 32, DType::Bf16, "once");
        steps_agree(gpu, "FCDD_CNN224_VGG_F", 32, DType::Bf16, "once");
    }
}

/// The launches that `fcdd bench --count` prints are those of a captured graph: every step of nets with and without maps.
#[test]
fn launches_are_as_counted() {
    on_device(|gpu| {
        let nets = [
            ("FCDD_CNN28", true, 3, DType::F32),
            ("FCDD_CNN224_VGG_F", false, 1, DType::F32),
            ("FCDD_CNN28_W", false, 2, DType::Bf16),
            ("FCDD_CNN224_VGG_F", true, 1, DType::Bf16),
        ];
        for (net, maps, batch, dtype) in nets {
            let arch = nets::by_name(net, true).unwrap();
            // Adam, so that both optimizers are counted.
            let optimizer = if maps { Optimizer::Adam } else { Optimizer::Sgd };
            let training =
                Some(TrainingOptions { optimizer, maps, input_grad: false, seed: 0, label_score: ImageScore::Mean });
            let side = if arch.side == 28 { 28 } else { 32 };
            let plan = lower(
                &arch,
                &PlanOptions { batch, side, dtype, sigma: 1.2, gradient: Gradient::Grad, exact: true, training },
            )
            .unwrap();
            let memory = plan.cuda_memory(gpu.cuda()).unwrap();
            for step in plan.steps() {
                // SAFETY: the graph is not launched.
                let graph = unsafe { gpu.cuda().capture(|| step.cuda(&memory)) }.unwrap();
                assert_eq!(graph.launches().unwrap(), step.launches(), "{}", step.describe());
            }
        }
    });
}

/// f32 through twenty layers, of which norms over eight values lose some digits, as on the CPU.
#[test]
fn nets_of_torchvisions_layers_are_torchvisions() {
    on_device(|gpu| {
        // Too slow where every access is checked.
        if !gpu.is_checked() {
            resnet::NETS.into_iter().for_each(|net| assert_is_torchvisions::<f32>(net, &gpu.device, 1e-3));
        }
    });
}

/// Random nets of every kind of layer, step by step, and their whole training step beside the CPU's.
#[test]
fn random_nets() {
    on_device(|gpu| {
        for seed in 0..if gpu.is_checked() { 4 } else { 24 } {
            let numbers: Vec<u32> = (0..30).map(|i| (seed * 30 + i + 1u32).wrapping_mul(2_654_435_761) >> 5).collect();
            let (objective, dtype) = [
                (Objective::Fcdd, DType::F32),
                (Objective::Hsc, DType::F32),
                (Objective::Ae, DType::F32),
                (Objective::Fcdd, DType::Bf16),
            ][seed as usize % 4];
            let arch = random_net(objective, dtype, &numbers);
            let batch = CheckBatch::noise(&arch, 3, arch.side);
            let training = TrainingOptions {
                optimizer: Optimizer::Sgd,
                maps: false,
                input_grad: seed / 4 % 2 == 0 && dtype == DType::F32,
                seed: 7,
                label_score: ImageScore::Mean,
            };
            let mut failed = Vec::new();
            let mut sink = |check: &Check| {
                if check.outcome == CheckOutcome::Failed {
                    failed.push(format!("{}: {:e} > {:e}", check.name, check.error, check.bound));
                }
            };
            let mut report = CheckReport::new(&gpu.device, &mut sink);
            let weights = Weights::init(&arch, 3);
            stepwise::networks("random net", &arch, &weights, &batch, dtype, training, &mut report).unwrap();
            assert!(failed.is_empty(), "{failed:#?} in {arch:#?}");

            let [on_cpu, on_gpu] = [&Device::Cpu, &gpu.device].map(|device| {
                let mut network = network_of(dtype, device, &arch, 3, arch.side, Optimizer::Sgd, false);
                trained(&mut network, 3, 1)
            });
            // Norms over a few values amplify rounding; steps in a wrong order or from wrong buffers are off by more.
            let bound = if dtype == DType::F32 { 0.02 } else { 0.3 };
            assert!(distance(&on_gpu.0, &on_cpu.0) < bound, "losses of {arch:#?}");
            assert!(distance(&on_gpu.1, &on_cpu.1) < bound, "gradients of {arch:#?}");
        }
    });
}
