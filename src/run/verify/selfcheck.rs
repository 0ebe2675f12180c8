//! Checks of this machine against itself, without golden files.

use super::batch::{CheckBatch, noise};
use super::by_layers::{self, Difference, Trial};
use super::check::{Check, CheckReport};
use super::compare::{ratio, worse};
use super::random_nets::random_net;
use super::stepwise::TestedDevice;
use super::{batches, layers, stepwise};
use crate::device::{DType, Device, HostBuffers, View};
use crate::engine::lower::{self, Optimizer, TrainingOptions};
use crate::engine::{Hyper, Network, Step};
use crate::error::{Error, Result};
use crate::model::arch::NORM_MOMENTUM;
use crate::model::image_score::ImageScore;
use crate::model::weights::Layout;
use crate::model::{Arch, Objective, Weights, baselines, nets};
use crate::named::Named;
use crate::real::Real;
use crate::rng::{Purpose, Stream, philox};
use crate::steps::dropout::Dropout;
use crate::steps::hsc_loss::Gradient;
use crate::steps::upsample::{self, GaussianTaps};

/// Random nets of each kind.
const RANDOM_NETS: u32 = 60;

/// Runs all self-checks.
pub(super) fn run(report: &mut CheckReport) -> Result<()> {
    random_numbers(report);
    layers::check(report)?;
    batches::check(report)?;
    upsampling(report)?;
    dropout(report)?;
    lowering(report)?;
    for (net, side, maps) in [
        ("FCDD_CNN28", 12, false),
        ("FCDD_CNN32_S", 12, true),
        ("CNN28", 28, false),
        ("AE28", 28, false),
        ("AE32", 32, false),
    ] {
        let arch = baselines::any(net, true)?;
        let batch = CheckBatch::noise(&arch, 3, side);
        gradients(&arch, &batch, maps, report)?;
        threads(&arch, &batch, maps, report)?;
        repeats(&arch, &batch, maps, report)?;
        let training = TrainingOptions {
            optimizer: Optimizer::Adam,
            maps,
            input_grad: true,
            seed: 1,
            label_score: ImageScore::Mean,
        };
        let weights = Weights::init(&arch, 1);
        stepwise::networks(&format!("{net} at {side}"), &arch, &weights, &batch, DType::F32, training, report)?;
        if arch.objective == Objective::Fcdd && on_bf16(report.device())? {
            let training = TrainingOptions { input_grad: false, ..training };
            let name = format!("{net} in bf16 at {side}");
            stepwise::networks(&name, &arch, &weights, &batch, DType::Bf16, training, report)?;
        }
    }
    Ok(())
}

/// Whether a device computes in bf16.
fn on_bf16(device: &Device) -> Result<bool> {
    Ok(match device {
        Device::Cpu => true,
        Device::Cuda(cuda) => cuda.has_bf16()?,
    })
}

/// Known answers of Philox4x32-10 (Random123 1.14).
fn random_numbers(report: &mut CheckReport) {
    let answers = [
        ([0; 2], [0; 4], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([!0; 2], [!0; 4], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    ];
    let right = answers.iter().all(|&(key, counter, answer)| philox(key, counter) == answer);
    report.add(Check::exact("philox4x32-10 known answers", right, "Random123 1.14"));
}

/// Random nets, as they are lowered, against their layers one by one, in f64.
fn lowering(report: &mut CheckReport) -> Result<()> {
    for (objective, dtype) in [
        (Objective::Fcdd, DType::F32),
        (Objective::Fcdd, DType::Bf16),
        (Objective::Hsc, DType::F32),
        (Objective::Ae, DType::F32),
    ] {
        let mut largest = 0.0;
        for net in 0..RANDOM_NETS {
            let stream = Stream::new(2, Purpose::Check, objective as u32, net);
            let numbers: Vec<u32> = (0..15).flat_map(|block| stream.block(block)).collect();
            let arch = random_net(objective, dtype, &numbers[..net as usize % numbers.len()]);
            let label_score = [ImageScore::Mean, ImageScore::Max, ImageScore::Top(20.0)][net as usize / 2 % 3];
            let maps = (objective == Objective::Fcdd && net % 2 == 1).then_some(label_score);
            let input_grad = dtype == DType::F32 && net % 3 == 1;
            let trial = Trial { n: 3, dtype, sigma: 1.2, maps, input_grad };
            for Difference { error, bound, .. } in by_layers::differences(&arch, &trial)? {
                largest = worse(ratio(error, bound), largest);
            }
        }
        let name = format!("{RANDOM_NETS} random {} nets of {}", objective.word(), dtype.word());
        let detail = "all values and gradients by their layers in f64, relative to what rounding explains";
        report.add(Check::measured(name, largest, 1.0, detail));
    }
    Ok(())
}

/// Dropout, which only nets too large to be checked whole have.
fn dropout(report: &mut CheckReport) -> Result<()> {
    let (n, length) = (3, 1001);
    let values = View::of(0, n * length);
    let mut reference = HostBuffers::<f64>::new(&[values.len], &[], 0);
    reference.get_mut(values).copy_from_slice(&noise(0, values.len));
    let step = Step::Dropout(Dropout { seed: 1, number: 0, x: values, y: values, n });
    let mut tested = TestedDevice::for_step(report.device(), &step, &[values.len])?;
    stepwise::step("dropout", &step, &mut reference, &mut tested, report)
}

/// ⟨upsample(a), b⟩ = ⟨a, adjoint(b)⟩ for every net.
fn upsampling(report: &mut CheckReport) -> Result<()> {
    for net in nets::names() {
        let arch = nets::by_name(&net, true)?;
        let field = arch.receptive_field(arch.side)?;
        let (u, side) = (field.n, arch.side);
        let taps = GaussianTaps::new(field, side, upsample::default_sigma(field.size));
        let (a, b) = (noise(0, u * u), noise(1, side * side));
        let (mut up, mut down, mut workspace) = (vec![0.0; side * side], vec![0.0; u * u], vec![0.0; u * side]);
        upsample::upsample(&taps, u, &a, &mut up, &mut workspace);
        upsample::adjoint(&taps, u, &b, &mut down, &mut workspace);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let norm = |a: &[f64]| dot(a, a).sqrt();
        // Both sides sum up to S² products in f64, each within a few 2⁻⁵³ of the product of the norms.
        let error = ratio((dot(&up, &b) - dot(&a, &down)).abs(), norm(&up) * norm(&b));
        report.add(Check::measured(format!("{net} upsampling and its adjoint"), error, 1e-13, "⟨Ua, b⟩ − ⟨a, Uᵀb⟩"));
    }
    Ok(())
}

/// The mean loss of a batch.
fn loss(network: &mut Network<f64>, batch: &CheckBatch) -> Result<f64> {
    network.forward(batch.n, &Hyper { step: 1, ..Hyper::IDLE })?;
    network.backward(batch.n)?;
    let ports = network.plan(batch.n)?.ports;
    let losses = ports.training.map(|t| network.memory().get(t.loss));
    Ok(losses.unwrap_or_default().iter().sum::<f64>() / batch.n as f64)
}

/// A network with weights and a filled batch.
fn network<T: Real>(
    device: &Device,
    arch: &Arch,
    batch: &CheckBatch,
    maps: bool,
    optimizer: Optimizer,
) -> Result<Network<T>> {
    let training = TrainingOptions { optimizer, maps, input_grad: false, seed: 1, label_score: ImageScore::Mean };
    let options = lower::PlanOptions {
        batch: batch.n,
        side: batch.side,
        dtype: DType::F32,
        sigma: 1.2,
        gradient: Gradient::Grad,
        exact: false,
        training: Some(training),
    };
    let mut network = Network::on(device, arch, options, &Weights::init(arch, 1))?;
    batch.fill(&mut network)?;
    if let (_, _, Some(maps)) = network.training_inputs(batch.n)? {
        // The second image is anomalous in its upper half.
        let pixels = maps.len() / batch.n;
        maps[pixels..pixels + pixels / 2].fill(T::one());
    }
    Ok(network)
}

/// The gradient of every parameter tensor along a random direction against central differences, in f64.
fn gradients(arch: &Arch, batch: &CheckBatch, maps: bool, report: &mut CheckReport) -> Result<()> {
    let mut network = network::<f64>(&Device::Cpu, arch, batch, maps, Optimizer::Sgd)?;
    loss(&mut network, batch)?;
    let ports = network.plan(batch.n)?.ports;
    let Some(training) = ports.training else { return Ok(()) };
    let grads = network.memory().get(training.grads).to_vec();
    let before = network.memory().get(ports.params).to_vec();
    let largest = grads.iter().fold(0.0, |m, g| worse(g.abs(), m));
    // Truncation grows as h², rounding as 2⁻⁵²/h: about 1e-10 each here.
    const H: f64 = 1e-5;
    for (i, param) in Layout::new(arch).params.iter().enumerate() {
        let range = param.start..param.start + param.len();
        let direction = noise(i as u32, param.len());
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let mut at = |h: f64| {
            let params = network.memory().get_mut(ports.params);
            params.copy_from_slice(&before);
            params[range.clone()].iter_mut().zip(&direction).for_each(|(p, d)| *p += h * d / length);
            loss(&mut network, batch)
        };
        let numeric = (at(H)? - at(-H)?) / (2.0 * H);
        let analytic = grads[range.clone()].iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>() / length;
        let name = format!("{} gradient of {}{}", arch.name, param.name, if maps { " of the map loss" } else { "" });
        let detail = "finite differences, relative to the largest gradient";
        report.add(Check::measured(name, (numeric - analytic).abs() / largest, 1e-7, detail));
    }
    Ok(())
}

/// Three training steps on the verified GPU give the same bits twice.
fn repeats(arch: &Arch, batch: &CheckBatch, maps: bool, report: &mut CheckReport) -> Result<()> {
    let device @ Device::Cuda(_) = report.device().clone() else { return Ok(()) };
    let train = || -> Result<Weights> {
        let mut network = network::<f32>(&device, arch, batch, maps, Optimizer::Adam)?;
        for step in 1..=3 {
            network.train(batch.n, &Hyper { lr: 1e-3, weight_decay: 1e-6, step, norm_momentum: NORM_MOMENTUM })?;
        }
        network.weights()
    };
    let same = train()? == train()?;
    report.add(Check::exact(
        format!("{} trained twice on the GPU", arch.name),
        same,
        "three training steps, bit for bit",
    ));
    Ok(())
}

/// Three training steps with one and with two threads of the CPU give the same bits.
fn threads(arch: &Arch, batch: &CheckBatch, maps: bool, report: &mut CheckReport) -> Result<()> {
    let train = |threads: usize| -> Result<Weights> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::setting(format!("cannot start threads ({e})"), "close other programs"))?;
        pool.install(|| {
            let mut network = network::<f32>(&Device::Cpu, arch, batch, maps, Optimizer::Adam)?;
            for step in 1..=3 {
                network.train(batch.n, &Hyper { lr: 1e-3, weight_decay: 1e-6, step, norm_momentum: NORM_MOMENTUM })?;
            }
            network.weights()
        })
    };
    let same = train(1)? == train(2)?;
    report.add(Check::exact(format!("{} with 1 and 2 threads", arch.name), same, "three training steps, bit for bit"));
    Ok(())
}
