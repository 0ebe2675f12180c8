//! A lowered net as a whole, and its features and head apart, against its layers one by one, all in f64: forward, scores, heatmaps, losses,
//! every gradient and an update.

use super::batch::{CheckBatch, noise};
use super::compare::{Distance, ratio};
use super::convert;
use super::plain::{NormMode, PlainNet, PlainOutput};
use crate::device::DType;
use crate::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::{Error, Result};
use crate::model::arch::{NORM_MOMENTUM, NetPart, Node, Source};
use crate::model::image_score::ImageScore;
use crate::model::weights::Layout;
use crate::model::{Arch, Layer, Objective, Weights};
use crate::steps::Step;
use crate::steps::fcdd_loss::{UNMARKED, anomalous_loss, pseudo_huber, pseudo_huber_slope};
use crate::steps::hsc_loss::Gradient;
use crate::steps::operation::ADAM_BETA;
use crate::steps::optimizer::MOMENTUM;
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

const SEED: u64 = 11;
const HYPER: Hyper = Hyper { lr: 0.01, weight_decay: 0.0, step: 3, norm_momentum: NORM_MOMENTUM };

/// What a net is asked for beside its layers.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Images of the batch.
    pub n: usize,
    pub dtype: DType,
    /// σ of the Gaussian that heatmaps are upsampled with.
    pub sigma: f64,
    /// Learns from ground-truth maps, and from images without one by this score.
    pub maps: Option<ImageScore>,
    /// Asks for the gradient of the images.
    pub input_grad: bool,
}

/// Values of a net, by name.
type NamedValues = Vec<(String, Vec<f64>)>;

/// How far a value of a net and of its layers are apart, and how far they may be, relative to its largest number.
#[derive(Clone, Debug)]
pub struct Difference {
    pub name: String,
    pub error: f64,
    pub bound: f64,
}

/// The differences between a net, as it is lowered for numbers of a type, and its layers for a batch. Of a net with
/// [features](has_features) these and the head are lowered apart as well.
pub fn differences(arch: &Arch, trial: &Trial) -> Result<Vec<Difference>> {
    let Trial { n, dtype, sigma, maps, input_grad } = *trial;
    let weights = weights(arch);
    let batch = CheckBatch::noise(arch, n, arch.side);
    let noise = noise(1, batch.input.len());
    let changed = batch.input.iter().zip(noise).map(|(x, noise)| x * (1.0 + CHANGE * noise)).collect();
    let changed = CheckBatch { input: changed, labels: batch.labels.clone(), ..batch };
    let truth = maps.map(|_| ground_truth(&batch));
    // The update's range and formulas: one of each kind of loss.
    let optimizer = if maps.is_some() { Optimizer::Sgd } else { Optimizer::Adam };
    let label_score = maps.unwrap_or_default();
    let training = TrainingOptions { optimizer, maps: maps.is_some(), input_grad, seed: SEED, label_score };
    let network = |part, training| {
        let gradient = Gradient::Grad;
        let options = PlanOptions { batch: n, side: arch.side, dtype, sigma, gradient, exact: false, training };
        let mut network = Network::<f64>::new(&Arch { part, ..arch.clone() }, options, &weights)?;
        // What a GPU would refuse is wrong, though it can be computed here; heads are for the CPU alone.
        if part != NetPart::Head {
            network.plan(n)?.steps().try_for_each(Step::cuda_check)?;
        }
        network.memory().keep_unrounded();
        // What is kept of other weights must not be taken for that of these.
        network.set_weights(&Weights::init(arch, SEED + 1))?;
        if part != NetPart::Head {
            network.input(n)?.copy_from_slice(&batch.input);
        }
        if training.is_some() {
            network.forward(n, &HYPER)?;
            network.backward(n)?;
        }
        network.infer(n).map(|_| ()).or_else(|_| network.features(n).map(|_| ()))?;
        network.set_weights(&weights)?;
        Ok::<_, Error>(network)
    };
    let plain = PlainNet::<f64>::new(arch, &weights, n, arch.side)?;
    let evaluation = [plain_evaluated(arch, &plain, &batch, sigma)?, plain_evaluated(arch, &plain, &changed, sigma)?];
    let learned = |batch| plain_trained(arch, &plain, batch, trial, truth.as_deref());
    let ((reference, tied), (moved, _)) = (learned(&batch)?, learned(&changed)?);
    let learning = [reference, moved];
    // The loss of an anomalous image has a pole where its score is 0: near it losses and gradients are those of rounding.
    let by_pole = learning[0].iter().any(|(name, values)| name == "losses" && values.iter().any(|&loss| loss > POLE));
    // Where the highest values of a map are equal but for rounding, it decides which of them have a gradient.
    let tells = |name: &str| !(by_pole && name == "losses" || (by_pole || tied) && name.starts_with("gradient"));

    let mut found = Vec::new();
    let mut learner = network(NetPart::Whole, Some(training))?;
    for (plan, network) in
        [("an inference plan", &mut network(NetPart::Whole, None)?), ("a training plan", &mut learner)]
    {
        let name = |name: &str| format!("{name} in evaluation by {plan}");
        compare(&mut found, name, &evaluated(network, &batch)?, &evaluation, |_| true);
    }
    compare(&mut found, str::to_string, &trained(&mut learner, &batch, truth.as_deref())?, &learning, tells);
    found.push(update(&mut learner, &weights, optimizer)?);
    if has_features(arch) {
        let mut features = network(NetPart::Features, None)?;
        features.input(n)?.copy_from_slice(&batch.input);
        let features = CheckBatch { input: features.features(n)?.to_vec(), labels: batch.labels.clone(), ..batch };
        let field = arch.receptive_field(arch.side)?;
        let taps = GaussianTaps::new(field, arch.side, sigma);
        let fold = |truth: &[f64]| match truth.contains(&UNMARKED.into()) {
            true => vec![UNMARKED.into(); field.n * field.n],
            false => taps.fold(field.n, truth),
        };
        let fold = |truth: Vec<f64>| -> Vec<f64> { truth.chunks_exact(arch.side * arch.side).flat_map(fold).collect() };
        let mut head = network(NetPart::Head, Some(TrainingOptions { input_grad: false, ..training }))?;
        let name = |name: &str| format!("{name} by the head");
        compare(&mut found, name, &evaluated(&mut head, &features)?, &evaluation, |name| name != HEATMAPS);
        // The highest of its own map are others than those of the heatmap.
        let learned = trained(&mut head, &features, truth.map(fold).as_deref())?;
        let of_head = |name: &str| label_score == ImageScore::Mean && name != INPUT_GRADIENT && tells(name);
        compare(&mut found, name, &learned, &learning, of_head);
        found.push(update(&mut head, &weights, optimizer)?);
    }
    Ok(found)
}

/// Whether what is trained reads the last layer of a fixed prefix alone, leaves that as it is, and does not begin with what follows a
/// convolution of the prefix: it can then be trained apart.
pub fn has_features(arch: &Arch) -> bool {
    let Some(last) = arch.frozen.checked_sub(1).map(Source::Layer) else { return false };
    let fits = |node: &Node| {
        let changes = matches!(&node.layer, Layer::Standalone(layer) if layer.in_place());
        node.inputs.iter().all(|&input| input > last || input == last && !changes)
    };
    arch.objective == Objective::Fcdd
        && arch.fixed
        && !ends_a_block(arch, arch.frozen)
        && arch.layers[arch.frozen..].iter().all(fits)
}

/// Whether a layer is a norm, an activation, or the max pool that follows a convolution, be it behind those.
fn ends_a_block(arch: &Arch, layer: usize) -> bool {
    let Some(Node { layer, inputs }) = arch.layers.get(layer) else { return false };
    let mut input = inputs[0];
    match layer {
        Layer::Norm { .. } | Layer::Activation(_) => true,
        Layer::Pool { .. } if arch.readers(input).count() > 1 => false,
        Layer::Pool { .. } => loop {
            let Source::Layer(of) = input else { return false };
            match &arch.layers[of].layer {
                Layer::Conv { .. } | Layer::Linear { .. } | Layer::Deconv { .. } => return true,
                Layer::Norm { .. } | Layer::Activation(_) => input = arch.layers[of].inputs[0],
                Layer::Pool { .. } | Layer::Sigmoid | Layer::Standalone(_) => return false,
            }
        },
        Layer::Conv { .. } | Layer::Linear { .. } | Layer::Deconv { .. } | Layer::Sigmoid | Layer::Standalone(_) => {
            false
        }
    }
}

/// Appends how far ours are from those of the exact values that tell something, beside which are those of changed images. What is not among
/// ours, or has another length, is infinitely far.
fn compare(
    found: &mut Vec<Difference>,
    name: impl Fn(&str) -> String,
    ours: &NamedValues,
    [reference, moved]: &[NamedValues; 2],
    tells: impl Fn(&str) -> bool,
) {
    // Of a gradient that is zero but for rounding, such as that of a bias before a norm, the largest one of all tells the size.
    let gradients = reference.iter().filter(|(name, _)| name.starts_with(GRADIENT));
    let floor = 1e-3 * gradients.map(|(_, values)| largest(values)).fold(0.0, f64::max);
    for (of, reference) in reference.iter().filter(|(name, _)| tells(name)) {
        let [ours, moved] = [ours, moved].map(|values| named(values, of));
        let size = largest(reference).max(if of.starts_with(GRADIENT) { floor } else { 0.0 }).max(SMALL);
        let [error, sensitivity] = [ours, moved].map(|values| ratio(Distance::new(values, reference).max_abs, size));
        let error = if ours.len() == reference.len() { error } else { f64::INFINITY };
        found.push(Difference { name: name(of), error, bound: SUMMING + sensitivity });
    }
}

/// The values of a name; none where there is none of that name.
fn named<'a>(values: &'a NamedValues, name: &str) -> &'a [f64] {
    values.iter().find(|(of, _)| of == name).map(|(_, values)| values.as_slice()).unwrap_or_default()
}

/// What the names of parameters' gradients begin with.
const GRADIENT: &str = "gradient of ";

/// The name of the gradient of the images, which a head has none of.
const INPUT_GRADIENT: &str = "gradient by the input";

/// The name of heatmaps, which a head makes at the side of its own map alone.
const HEATMAPS: &str = "heatmaps";

/// Output, scores and, but of a head, whose maps have another side, heatmaps of a network in evaluation mode.
fn evaluated(network: &mut Network<f64>, batch: &CheckBatch) -> Result<NamedValues> {
    let n = batch.n;
    network.input(n)?.copy_from_slice(&batch.input);
    let scores = network.infer(n)?.to_vec();
    let view = network.plan(n)?.ports.output;
    let mut values = vec![("output".to_string(), network.read(view)?), ("scores".to_string(), scores)];
    if network.arch().part == NetPart::Whole {
        values.push((HEATMAPS.to_string(), network.heatmaps(n)?.heatmaps.to_vec()));
    }
    Ok(values)
}

/// The same by layers.
fn plain_evaluated(arch: &Arch, plain: &PlainNet<f64>, batch: &CheckBatch, sigma: f64) -> Result<NamedValues> {
    let outputs = plain.forward(&batch.input, NormMode::Inference)?;
    let output = output_of(&outputs)?;
    let (scores, dy) = scores_of(arch, batch, output);
    let heatmaps: Vec<f64> = match arch.objective {
        Objective::Fcdd => {
            let field = arch.receptive_field(batch.side)?;
            let taps = GaussianTaps::new(field, batch.side, sigma);
            output.chunks_exact(field.n * field.n).flat_map(|z| heatmap(&taps, field.n, z)).collect()
        }
        Objective::Hsc => {
            let gradients = plain.backward(&batch.input, &outputs, NormMode::Inference, &dy)?;
            let pixels = gradients.input.chunks_exact(arch.channels);
            pixels.map(|pixel| pixel.iter().map(|d| d.abs()).sum()).collect()
        }
        Objective::Ae => output.iter().zip(&batch.input).map(|(y, x)| (y - x).powi(2)).collect(),
    };
    let output = output.to_vec();
    Ok(vec![("output".to_string(), output), ("scores".to_string(), scores), (HEATMAPS.to_string(), heatmaps)])
}

/// The anomaly map of an output map, upsampled.
fn heatmap(taps: &GaussianTaps, u: usize, z: &[f64]) -> Vec<f64> {
    let a: Vec<f64> = z.iter().map(|&z| pseudo_huber(z)).collect();
    let (mut map, mut workspace) = (vec![0.0; taps.side() * taps.side()], vec![0.0; u * taps.side()]);
    upsample::upsample(taps, u, &a, &mut map, &mut workspace);
    map
}

/// Output, losses, gradients and running statistics of a network after an update.
fn trained(network: &mut Network<f64>, batch: &CheckBatch, truth: Option<&[f64]>) -> Result<NamedValues> {
    let n = batch.n;
    batch.fill(network)?;
    if let (Some(truth), (_, _, Some(maps))) = (truth, network.training_inputs(n)?) {
        maps.copy_from_slice(truth);
    }
    network.train(n, &HYPER)?;
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
        values.push((INPUT_GRADIENT.to_string(), network.read(view)?));
    }
    Ok(values)
}

/// The same by layers, and whether rounding decides which of a map's values have a gradient.
fn plain_trained(
    arch: &Arch,
    plain: &PlainNet<f64>,
    batch: &CheckBatch,
    trial: &Trial,
    truth: Option<&[f64]>,
) -> Result<(NamedValues, bool)> {
    let mode = NormMode::Training { dropouts: Some((SEED, HYPER.step as u32)) };
    let outputs = plain.forward(&batch.input, mode)?;
    let output = output_of(&outputs)?;
    let (losses, dy, tied) = losses_of(arch, batch, trial, truth, output)?;
    let gradients = plain.backward(&batch.input, &outputs, mode, &dy)?;
    let mut values = vec![
        ("output".to_string(), output.to_vec()),
        ("losses".to_string(), losses),
        ("running statistics".to_string(), plain.running(&outputs, NORM_MOMENTUM)),
    ];
    values.extend(gradients_by_name(arch, &gradients.params));
    if trial.input_grad {
        values.push((INPUT_GRADIENT.to_string(), gradients.input));
    }
    Ok((values, tied))
}

/// The gradients of the trained parameters.
fn gradients_by_name(arch: &Arch, grads: &[f64]) -> NamedValues {
    let layout = Layout::new(arch);
    let trained = layout.params.iter().filter(|param| param.start >= layout.trained_from);
    trained.map(|param| (format!("{GRADIENT}{}", param.name), grads[param.start..][..param.len()].to_vec())).collect()
}

/// How far a network's parameters are, after an update from `before`, from what the optimizer's formula makes of its gradients; those of frozen
/// layers stay. Moments were zero.
fn update(network: &mut Network<f64>, before: &Weights, optimizer: Optimizer) -> Result<Difference> {
    let ports = network.plan(network.options().batch)?.ports;
    let arch = network.arch();
    let training = ports.training.ok_or_else(|| Error::internal("a training plan has training ports"))?;
    let (grads, params) = (network.read(training.grads)?, network.read(ports.params)?);
    let frozen: Vec<&str> = arch.layers[..arch.frozen].iter().filter_map(|node| node.layer.name()).collect();
    let mut expected: Vec<f64> = convert::of(&before.params);
    let [first, second] = ADAM_BETA.map(|b| (1.0 - b) / (1.0 - b.powf(HYPER.step as f64)));
    for param in Layout::new(arch).params {
        if param.name.rsplit_once('.').is_some_and(|(layer, _)| frozen.contains(&layer)) {
            continue;
        }
        let range = param.start..param.start + param.len();
        expected[range.clone()].iter_mut().zip(&grads[range]).for_each(|(p, g)| {
            *p -= HYPER.lr
                * match optimizer {
                    Optimizer::Sgd => (1.0 + MOMENTUM) * g,
                    Optimizer::Adam => first * g / ((second * g * g).sqrt() + 1e-8),
                };
        });
    }
    let error = ratio(Distance::new(&params, &expected).max_abs, largest(&expected));
    Ok(Difference { name: format!("parameters after an update of {:?}", arch.part), error, bound: SUMMING })
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

/// Ground-truth maps: of anomalous images the upper half, but of the first of them, which has none.
fn ground_truth(batch: &CheckBatch) -> Vec<f64> {
    let pixels = batch.side * batch.side;
    let first = batch.labels.iter().position(|&label| label > 0.0);
    let of = |(image, &label): (usize, &f64)| {
        let rest = if first == Some(image) { UNMARKED.into() } else { 0.0 };
        let half = if first == Some(image) { rest } else { label };
        (0..pixels).map(move |i| if i < pixels / 2 { half } else { rest })
    };
    batch.labels.iter().enumerate().flat_map(of).collect()
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

/// The mean of so many highest values, which of them they are, and whether rounding decides that.
fn highest(values: &[f64], count: usize) -> (f64, Vec<usize>, bool) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    let tied = count < order.len() && values[order[count - 1]] - values[order[count]] <= SUMMING * values[order[0]];
    order.truncate(count);
    (order.iter().map(|&i| values[i]).sum::<f64>() / count as f64, order, tied)
}

/// The loss of each image, the gradient of their mean by the output, and whether rounding decides which values have one.
fn losses_of(
    arch: &Arch,
    batch: &CheckBatch,
    trial: &Trial,
    truth: Option<&[f64]>,
    output: &[f64],
) -> Result<(Vec<f64>, Vec<f64>, bool)> {
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
        return Ok((losses, slopes, false));
    };
    let field = arch.receptive_field(batch.side)?;
    let (u, pixels) = (field.n, batch.side * batch.side);
    let taps = GaussianTaps::new(field, batch.side, trial.sigma);
    let count = trial.maps.unwrap_or_default().count(pixels);
    let mut any_tied = false;
    let mut workspace = vec![0.0; u * batch.side];
    let images = output.chunks_exact(u * u).zip(truth.chunks_exact(pixels)).zip(slopes.chunks_exact_mut(u * u));
    for ((z, g), slopes) in images {
        let (map, mut d_a) = (heatmap(&taps, u, z), vec![0.0; u * u]);
        let mean =
            |weight: &dyn Fn(f64) -> f64| map.iter().zip(g).map(|(a, &g)| a * weight(g)).sum::<f64>() / pixels as f64;
        let d_map: Vec<f64> = if g.contains(&UNMARKED.into()) {
            let (score, places, tied) = highest(&map, count);
            let (loss, slope) = anomalous_loss(score);
            any_tied |= tied;
            losses.push(loss);
            (0..pixels).map(|i| if places.contains(&i) { slope / count as f64 / n } else { 0.0 }).collect()
        } else {
            let marked = g.iter().any(|&g| g > 0.0);
            let (loss, slope) = if marked { anomalous_loss(mean(&|g| g)) } else { (0.0, 0.0) };
            losses.push(mean(&|g| 1.0 - g) + loss);
            g.iter().map(|g| (1.0 - g + slope * g) / pixels as f64 / n).collect()
        };
        upsample::adjoint(&taps, u, &d_map, &mut d_a, &mut workspace);
        slopes.iter_mut().zip(z.iter().zip(d_a)).for_each(|(d, (&z, d_a))| *d = d_a * pseudo_huber_slope(z));
    }
    Ok((losses, slopes, any_tied))
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))
}
