//! A lowered net as a whole against its layers one by one, both in f64: forward, scores, losses and every gradient.

use super::batch::{CheckBatch, noise};
use super::compare::{Distance, ratio};
use super::plain::{NormMode, PlainNet, PlainOutput};
use crate::device::DType;
use crate::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::{Error, Result};
use crate::model::arch::NORM_MOMENTUM;
use crate::model::image_score::ImageScore;
use crate::model::weights::Layout;
use crate::model::{Arch, Objective, Weights};
use crate::steps::fcdd_loss::{anomalous_loss, pseudo_huber, pseudo_huber_slope};
use crate::steps::hsc_loss::Gradient;
use crate::steps::upsample::{self, GaussianTaps};

/// How much the images are changed, relatively, to see what rounding may do to a value: some thousand roundings of f64. Norms over a few
/// values of a small variance magnify either.
const CHANGE: f64 = 1e-12;

/// What a value may be off by, relative to its largest number, beside that: other orders of sums of some hundred products, of which
/// logarithms and differences leave fewer digits. A wrong net is off by some percent.
const SUMMING: f64 = 1e-8;

/// Values whose largest number is smaller are zero but for rounding, as those of nets whose activations are all zero: their errors are
/// relative to this.
const SMALL: f64 = 1e-6;

/// −log(1 − exp(−s)) of a score s of 10⁻⁶.
const POLE: f64 = 13.8;

const SIGMA: f64 = 1.2;
const SEED: u64 = 11;
const HYPER: Hyper = Hyper { lr: 0.01, weight_decay: 0.0, step: 3, norm_momentum: NORM_MOMENTUM };

/// Values of a net, by name.
type NamedValues = Vec<(String, Vec<f64>)>;

/// How far a value of a net and of its layers are apart, and how far they may be, relative to its largest number.
#[derive(Clone, Debug)]
pub struct Difference {
    pub name: String,
    pub error: f64,
    pub bound: f64,
}

/// The differences between a net, as it is lowered for numbers of a type, and its layers for a batch: `maps` learns from ground-truth maps,
/// `input_grad` asks for the gradient of the images.
pub fn differences(arch: &Arch, dtype: DType, n: usize, maps: bool, input_grad: bool) -> Result<Vec<Difference>> {
    let weights = weights(arch);
    let batch = CheckBatch::noise(arch, n, arch.side);
    let noise = noise(1, batch.input.len());
    let changed = batch.input.iter().zip(noise).map(|(x, noise)| x * (1.0 + CHANGE * noise)).collect();
    let changed = CheckBatch { input: changed, labels: batch.labels.clone(), ..batch };
    let truth = maps.then(|| ground_truth(&batch));
    let training =
        TrainingOptions { optimizer: Optimizer::Adam, maps, input_grad, seed: SEED, label_score: ImageScore::Mean };
    let options =
        |training| PlanOptions { batch: n, side: arch.side, dtype, sigma: SIGMA, gradient: Gradient::Grad, training };
    let plain = PlainNet::<f64>::new(arch, &weights, n, arch.side)?;
    let mut network = Network::<f64>::new(arch, options(Some(training)), &weights)?;
    let mut inference = Network::<f64>::new(arch, options(None), &weights)?;
    for network in [&mut network, &mut inference] {
        network.memory().keep_exact();
        network.set_weights(&weights)?;
    }

    let mut found = Vec::new();
    let [exact, moved] = [&batch, &changed].map(|batch| plain_evaluated(arch, &plain, batch));
    let (exact, moved) = (exact?, moved?);
    for (plan, network) in [("an inference plan", &mut inference), ("a training plan", &mut network)] {
        let name = |name: &str| format!("{name} in evaluation by {plan}");
        compare(&mut found, name, &evaluated(network, &batch)?, &exact, &moved);
    }
    let [exact, moved] =
        [&batch, &changed].map(|batch| plain_trained(arch, &plain, batch, truth.as_deref(), input_grad));
    let (mut exact, mut moved) = (exact?, moved?);
    let mut ours = trained(&mut network, &batch, truth.as_deref())?;
    // The loss of an anomalous image has a pole where its score is 0: near it losses and gradients are those of rounding.
    if exact.iter().any(|(name, values)| name == "losses" && values.iter().any(|&loss| loss > POLE)) {
        let beside = |(name, _): &(String, Vec<f64>)| name != "losses" && !name.starts_with("gradient");
        for values in [&mut exact, &mut moved, &mut ours] {
            values.retain(beside);
        }
    }
    compare(&mut found, str::to_string, &ours, &exact, &moved);
    Ok(found)
}

/// Appends how far ours are from the exact values; `moved` are those of changed images.
fn compare(
    found: &mut Vec<Difference>,
    name: impl Fn(&str) -> String,
    ours: &NamedValues,
    exact: &NamedValues,
    moved: &NamedValues,
) {
    // Of a gradient that is zero but for rounding, such as that of a bias before a norm, the largest one of all tells the size.
    let gradients = exact.iter().filter(|(name, _)| name.starts_with(GRADIENT));
    let floor = 1e-3 * gradients.map(|(_, values)| largest(values)).fold(0.0, f64::max);
    assert!(ours.iter().map(|(name, _)| name).eq(exact.iter().map(|(name, _)| name)), "the same values");
    for (((of, ours), (_, exact)), (_, moved)) in ours.iter().zip(exact).zip(moved) {
        let size = largest(exact).max(if of.starts_with(GRADIENT) { floor } else { 0.0 }).max(SMALL);
        let [error, sensitivity] = [ours, moved].map(|values| ratio(Distance::new(values, exact).max_abs, size));
        found.push(Difference { name: name(of), error, bound: SUMMING + sensitivity });
    }
}

/// What the names of parameters' gradients begin with.
const GRADIENT: &str = "gradient of ";

/// Output, scores and, where they are gradients, heatmaps of a network in evaluation mode.
fn evaluated(network: &mut Network<f64>, batch: &CheckBatch) -> Result<NamedValues> {
    let n = batch.n;
    network.input(n)?.copy_from_slice(&batch.input);
    let scores = network.infer(n)?.to_vec();
    let view = network.plan(n)?.ports.output;
    let mut values = vec![("output".to_string(), network.read(view)?), ("scores".to_string(), scores)];
    if network.arch().objective == Objective::Hsc {
        values.push(("heatmaps".to_string(), network.maps(n)?.to_vec()));
    }
    Ok(values)
}

/// The same by layers.
fn plain_evaluated(arch: &Arch, plain: &PlainNet<f64>, batch: &CheckBatch) -> Result<NamedValues> {
    let outputs = plain.forward(&batch.input, NormMode::Inference)?;
    let output = output_of(&outputs)?;
    let (scores, dy) = scores_of(arch, batch, output);
    let mut values = vec![("output".to_string(), output.to_vec()), ("scores".to_string(), scores)];
    if arch.objective == Objective::Hsc {
        let gradients = plain.backward(&batch.input, &outputs, NormMode::Inference, &dy)?;
        let pixels = gradients.input.chunks_exact(arch.channels);
        values.push(("heatmaps".to_string(), pixels.map(|pixel| pixel.iter().map(|d| d.abs()).sum()).collect()));
    }
    Ok(values)
}

/// Output, losses, gradients and running statistics of a network in training.
fn trained(network: &mut Network<f64>, batch: &CheckBatch, truth: Option<&[f64]>) -> Result<NamedValues> {
    let n = batch.n;
    batch.fill(network)?;
    if let (Some(truth), (_, _, Some(maps))) = (truth, network.training_inputs(n)?) {
        maps.copy_from_slice(truth);
    }
    network.forward(n, &HYPER)?;
    network.backward(n)?;
    let ports = network.plan(n)?.ports;
    let training = ports.training.ok_or_else(|| Error::internal("a training plan has training ports"))?;
    let grads = network.read(training.grads)?;
    let mut values = vec![
        ("output".to_string(), network.read(ports.output)?),
        ("losses".to_string(), network.read(training.loss)?),
        ("running statistics".to_string(), network.read(ports.stats)?),
    ];
    values.extend(gradients_by_name(network.arch(), &grads));
    if let Some(view) = training.input_grad {
        values.push(("gradient by the input".to_string(), network.read(view)?));
    }
    Ok(values)
}

/// The same by layers.
fn plain_trained(
    arch: &Arch,
    plain: &PlainNet<f64>,
    batch: &CheckBatch,
    truth: Option<&[f64]>,
    input_grad: bool,
) -> Result<NamedValues> {
    let mode = NormMode::Training { dropouts: Some((SEED, HYPER.step as u32)) };
    let outputs = plain.forward(&batch.input, mode)?;
    let output = output_of(&outputs)?;
    let (losses, dy) = losses_of(arch, batch, truth, output)?;
    let gradients = plain.backward(&batch.input, &outputs, mode, &dy)?;
    let mut values = vec![
        ("output".to_string(), output.to_vec()),
        ("losses".to_string(), losses),
        ("running statistics".to_string(), plain.running(&outputs, NORM_MOMENTUM)),
    ];
    values.extend(gradients_by_name(arch, &gradients.params));
    if input_grad {
        values.push(("gradient by the input".to_string(), gradients.input));
    }
    Ok(values)
}

/// The gradients of the trained parameters.
fn gradients_by_name(arch: &Arch, grads: &[f64]) -> NamedValues {
    let layout = Layout::new(arch);
    let trained = layout.params.iter().filter(|param| param.start >= layout.trained_from);
    trained.map(|param| (format!("{GRADIENT}{}", param.name), grads[param.start..][..param.len()].to_vec())).collect()
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

fn output_of(outputs: &[PlainOutput<f64>]) -> Result<&[f64]> {
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
            Objective::Hsc => pseudo_huber(output.iter().map(|o| o * o).sum::<f64>().sqrt()),
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
