//! A lowered net as a whole against its layers one by one, both in f64: forward, scores, losses and every gradient.

use super::batch::{CheckBatch, noise};
use super::compare::{Distance, ratio};
use super::plain::{Mode, Output, PlainNet};
use crate::device::DType;
use crate::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::{Error, Result};
use crate::model::arch::NORM_MOMENTUM;
use crate::model::weights::Layout;
use crate::model::{Arch, Objective, Weights};
use crate::steps::fcdd_loss::{anomalous_loss, pseudo_huber, pseudo_huber_slope};
use crate::steps::hsc_loss::Gradient;
use crate::steps::upsample::{self, GaussianTaps};

/// Both do the same sums of some hundred products in f64, in another order: some 10⁻¹⁴, of which norms over a few values, whose gradients
/// cancel, leave some 10⁻¹¹. A wrong net is off by some percent.
pub const BOUND: f64 = 1e-8;

const SIGMA: f64 = 1.2;
const SEED: u64 = 11;
const HYPER: Hyper = Hyper { lr: 0.01, weight_decay: 0.0, step: 3, norm_momentum: NORM_MOMENTUM };

/// A value of a net, and how far the two are apart, relative to the largest number of it.
pub type Difference = (String, f64);

/// What differs between a net and its layers for a batch: `maps` learns from ground-truth maps, `input_grad` asks for the gradient of
/// the images.
pub fn differences(arch: &Arch, n: usize, maps: bool, input_grad: bool) -> Result<Vec<Difference>> {
    let weights = weights(arch);
    let batch = CheckBatch::noise(arch, n, arch.side);
    let truth = maps.then(|| ground_truth(&batch));
    let training = TrainingOptions { optimizer: Optimizer::Adam, maps, input_grad, seed: SEED };
    let options = |training| PlanOptions {
        batch: n,
        side: arch.side,
        dtype: DType::F32,
        sigma: SIGMA,
        gradient: Gradient::Grad,
        training,
    };
    let mut found = Vec::new();

    let plain = PlainNet::<f64>::new(arch, &weights, n, arch.side)?;
    let mut network = Network::<f64>::new(arch, options(Some(training)), &weights)?;
    let mut inference = Network::<f64>::new(arch, options(None), &weights)?;
    for (name, network) in [("inference", &mut inference), ("evaluation of a training plan", &mut network)] {
        network.input(n)?.copy_from_slice(&batch.input);
        let scores = network.infer(n)?.to_vec();
        let outputs = plain.forward(&batch.input, Mode::Inference)?;
        let output = output_of(&outputs)?;
        let view = network.plan(n)?.ports.output;
        compare(&mut found, &format!("output in {name}"), &network.read(view)?, output);
        let (expected, dy) = scores_of(arch, &batch, output);
        compare(&mut found, &format!("scores in {name}"), &scores, &expected);
        if arch.objective == Objective::Hsc {
            let gradients = plain.backward(&batch.input, &outputs, Mode::Inference, &dy)?;
            let heatmap: Vec<f64> =
                gradients.input.chunks_exact(arch.channels).map(|pixel| pixel.iter().map(|d| d.abs()).sum()).collect();
            compare(&mut found, &format!("heatmaps in {name}"), network.maps(n)?, &heatmap);
        }
    }

    let mode = Mode::Training { dropouts: Some((SEED, HYPER.step as u32)) };
    let outputs = plain.forward(&batch.input, mode)?;
    let output = output_of(&outputs)?;
    batch.fill(&mut network)?;
    if let (Some(truth), (_, _, Some(maps))) = (&truth, network.training_inputs(n)?) {
        maps.copy_from_slice(truth);
    }
    network.forward(n, &HYPER)?;
    network.backward(n)?;
    let ports = network.plan(n)?.ports;
    let training = ports.training.ok_or_else(|| Error::internal("a training plan has training ports"))?;
    compare(&mut found, "output", &network.read(ports.output)?, output);
    let (losses, dy) = losses_of(arch, &batch, truth.as_deref(), output)?;
    compare(&mut found, "losses", &network.read(training.loss)?, &losses);
    let gradients = plain.backward(&batch.input, &outputs, mode, &dy)?;
    let (layout, grads) = (Layout::new(arch), network.read(training.grads)?);
    // Of a gradient that is zero but for rounding, such as that of a bias before a norm, the largest one of all tells the size.
    let floor = 1e-3 * largest(&gradients.params[layout.trained_from..]);
    for param in layout.params.iter().filter(|param| param.start >= layout.trained_from) {
        let range = param.start..param.start + param.len();
        let (ours, theirs) = (&grads[range.clone()], &gradients.params[range]);
        let distance = Distance::new(ours, theirs);
        found.push((format!("gradient of {}", param.name), ratio(distance.max_abs, distance.largest.max(floor))));
    }
    if let Some(view) = training.input_grad {
        compare(&mut found, "gradient of the input", &network.read(view)?, &gradients.input);
    }
    compare(&mut found, "running statistics", &network.read(ports.stats)?, &plain.running(&outputs, NORM_MOMENTUM));
    Ok(found)
}

/// Initial weights, with norms that do something.
fn weights(arch: &Arch) -> Weights {
    let mut weights = Weights::init(arch, SEED);
    let layout = Layout::new(arch);
    for (i, param) in layout.params.iter().enumerate().filter(|(_, param)| param.shape.len() == 1) {
        let values = &mut weights.params[param.start..][..param.len()];
        values.iter_mut().zip(noise(10 + i as u32, param.len())).for_each(|(v, noise)| *v += 0.3 * noise as f32);
    }
    for (i, norm) in layout.norms.iter().enumerate() {
        let (mean, var) = weights.stats[norm.start..][..2 * norm.c].split_at_mut(norm.c);
        let noise = noise(1000 + i as u32, norm.c);
        mean.iter_mut().zip(&noise).for_each(|(mean, noise)| *mean = 0.2 * *noise as f32);
        var.iter_mut().zip(&noise).for_each(|(var, noise)| *var = 0.5 + noise.abs() as f32);
    }
    weights
}

/// Ground-truth maps: of anomalous images the upper half.
fn ground_truth(batch: &CheckBatch) -> Vec<f64> {
    let pixels = batch.side * batch.side;
    let of = |&label: &f64| (0..pixels).map(move |i| if i < pixels / 2 { label } else { 0.0 });
    batch.labels.iter().flat_map(of).collect()
}

fn output_of(outputs: &[Output<f64>]) -> Result<&[f64]> {
    outputs.last().map(|output| output.values.as_slice()).ok_or_else(|| Error::internal("a net has layers"))
}

/// The score of each image, and its gradient by the output.
fn scores_of(arch: &Arch, batch: &CheckBatch, output: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let length = output.len() / batch.n;
    let (mut scores, mut slopes) = (Vec::new(), Vec::new());
    for (output, input) in output.chunks_exact(length).zip(batch.input.chunks_exact(batch.input.len() / batch.n)) {
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / length as f64;
        let score = match arch.objective {
            Objective::Fcdd => mean(&mut output.iter().map(|&z| pseudo_huber(z))),
            Objective::Hsc => (output.iter().map(|o| o * o).sum::<f64>() + 1.0).sqrt() - 1.0,
            Objective::Ae => mean(&mut output.iter().zip(input).map(|(y, x)| (y - x).powi(2))),
        };
        slopes.extend(output.iter().zip(input.iter().chain(std::iter::repeat(&0.0))).map(
            |(&y, x)| match arch.objective {
                Objective::Fcdd => pseudo_huber_slope(y) / length as f64,
                Objective::Hsc => y / (score + 1.0),
                Objective::Ae => 2.0 * (y - x) / length as f64,
            },
        ));
        scores.push(score);
    }
    (scores, slopes)
}

/// The loss of each image, and the gradient of their mean by the output.
fn losses_of(arch: &Arch, batch: &CheckBatch, truth: Option<&[f64]>, output: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
    let (scores, mut slopes) = scores_of(arch, batch, output);
    let n = batch.n as f64;
    let mut losses = Vec::new();
    let Some(truth) = truth else {
        let images = slopes.chunks_exact_mut(output.len() / batch.n);
        for ((score, &label), slopes) in scores.into_iter().zip(&batch.labels).zip(images) {
            let anomalous = label > 0.0 && arch.objective != Objective::Ae;
            let (loss, slope) = if anomalous { anomalous_loss(score) } else { (score, 1.0) };
            slopes.iter_mut().for_each(|d| *d *= slope / n);
            losses.push(loss);
        }
        return Ok((losses, slopes));
    };
    let field = arch.receptive_field(batch.side)?;
    let (u, pixels) = (field.n, batch.side * batch.side);
    let taps = GaussianTaps::new(field, batch.side, SIGMA);
    let mut workspace = vec![0.0; u * batch.side];
    let images = output.chunks_exact(u * u).zip(truth.chunks_exact(pixels)).zip(slopes.chunks_exact_mut(u * u));
    for ((z, g), slopes) in images {
        let a: Vec<f64> = z.iter().map(|&z| pseudo_huber(z)).collect();
        let (mut map, mut d_a) = (vec![0.0; pixels], vec![0.0; u * u]);
        upsample::upsample(&taps, u, &a, &mut map, &mut workspace);
        let mean =
            |weight: &dyn Fn(f64) -> f64| map.iter().zip(g).map(|(a, &g)| a * weight(g)).sum::<f64>() / pixels as f64;
        let marked = g.iter().any(|&g| g > 0.0);
        let (loss, slope) = if marked { anomalous_loss(mean(&|g| g)) } else { (0.0, 0.0) };
        losses.push(mean(&|g| 1.0 - g) + loss);
        let d_map: Vec<f64> = g.iter().map(|g| (1.0 - g + slope * g) / pixels as f64 / n).collect();
        upsample::adjoint(&taps, u, &d_map, &mut d_a, &mut workspace);
        slopes.iter_mut().zip(z.iter().zip(d_a)).for_each(|(d, (&z, d_a))| *d = d_a * pseudo_huber_slope(z));
    }
    Ok((losses, slopes))
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))
}

fn compare(found: &mut Vec<Difference>, name: &str, ours: &[f64], theirs: &[f64]) {
    let distance = Distance::new(ours, theirs);
    found.push((name.to_string(), ratio(distance.max_abs, distance.largest)));
}
