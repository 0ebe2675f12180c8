//! Golden files of nets: forward, losses, every gradient, statistics and evaluation of one training batch.

use std::collections::BTreeMap;
use std::path::Path;

use super::batch::CheckBatch;
use super::check::{Check, CheckReport, Precision};
use super::compare::{Ours, Rule, compare_all, summary};
use super::golden::{GoldenFile, Manifest, Tensor};
use super::{convert, plain, stepwise};
use crate::device::{DType, Device};
use crate::engine::lower::{self, Optimizer, TrainingOptions};
use crate::engine::{Hyper, Network};
use crate::error::Result;
use crate::model::arch::NORM_MOMENTUM;
use crate::model::image_score::ImageScore;
use crate::model::weights::Layout;
use crate::model::{Arch, Objective, Weights, baselines};
use crate::real::Real;
use crate::run::heatmap::blur_taps;
use crate::steps::blur::gaussian_blur;
use crate::steps::hsc_loss::Gradient;
use crate::steps::upsample::default_sigma;

/// Up to this input side files are compared in f32 from end to end: their inputs were chosen so that no rounding flips the winner
/// of a pool or the sign before an activation. Larger ones are compared step by step, each step from the same inputs.
const END_TO_END_SIDE: usize = 64;

/// Summaries of activations and gradients hold the first values of a tensor.
const FIRST: usize = 64;

/// Checks the file of a net.
pub(super) fn check(
    folder: &Path,
    manifest: &Manifest,
    file: &GoldenFile,
    objective: Objective,
    net: &str,
    report: &mut CheckReport,
) -> Result<()> {
    let Ok(arch) = baselines::of_objective(objective, net, file.entry.bias.unwrap_or(true)) else {
        report.skip_file(file, format!("this build has no net {net}"));
        return Ok(());
    };
    let other = match &file.entry.param_and_buffer_keys_in {
        None => None,
        Some(other) if !folder.join(other).exists() => {
            report.skip_file(file, format!("its parameters are in {other}, not in this folder"));
            return Ok(());
        }
        Some(other) => {
            let entry = manifest.files.get(other).cloned().unwrap_or_default();
            Some(GoldenFile::read(folder, other, &entry)?)
        }
    };
    let source = other.as_ref().unwrap_or(file);
    let weights = weights(&arch, source, ["param", "buffer"])?;
    let batch = CheckBatch::read(&arch, file)?;
    constants(&arch, file, batch.side, report)?;

    let mut values = values::<f64>(&Device::Cpu, &arch, &weights, &batch, file, source)?;
    compare_all(file, Precision::F64, &mut |key| values.remove(key), report)?;
    if batch.side <= END_TO_END_SIDE {
        let device = report.device().clone();
        let mut values = self::values::<f32>(&device, &arch, &weights, &batch, file, source)?;
        compare_all(file, Precision::F32, &mut |key| values.remove(key), report)?;
    }
    let training = TrainingOptions {
        optimizer: Optimizer::Sgd,
        maps: false,
        input_grad: true,
        seed: 0,
        label_score: ImageScore::Mean,
    };
    stepwise::networks(&file.name, &arch, &weights, &batch, DType::F32, training, report)
}

/// Parameters and running statistics, stored under the two prefixes with PyTorch's names and layouts.
pub(super) fn weights(arch: &Arch, file: &GoldenFile, [params, buffers]: [&str; 2]) -> Result<Weights> {
    let layout = Layout::new(arch);
    let mut weights = Weights { params: vec![0.0; layout.params_len], stats: vec![0.0; layout.stats_len], batches: 0 };
    let read = |key: String, shape: &[usize]| -> Result<&Tensor> {
        let tensor = file.get(&key)?;
        if tensor.shape != shape {
            return Err(
                file.error(format!("tensor '{key}' has shape {:?}, {} needs {shape:?}", tensor.shape, arch.name))
            );
        }
        Ok(tensor)
    };
    for param in &layout.params {
        let tensor = read(format!("{params}/{}", param.name), &param.shape)?;
        for (i, &value) in tensor.values.iter().enumerate() {
            weights.params[param.start + param.inside(i)] = value as f32;
        }
    }
    for norm in &layout.norms {
        for (part, start) in [("running_mean", norm.start), ("running_var", norm.start + norm.c)] {
            let tensor = read(format!("{buffers}/{}.{part}", norm.name), &[norm.c])?;
            let values = tensor.values.iter().map(|&v| v as f32);
            weights.stats[start..start + norm.c].iter_mut().zip(values).for_each(|(w, v)| *w = v);
        }
        let tracked = read(format!("{buffers}/{}.num_batches_tracked", norm.name), &[])?;
        weights.batches = tracked.values[0] as u64;
    }
    // Norms that the authors' modules own and never use belong to no layer here.
    for (name, c) in &arch.unused_norms {
        for part in ["weight", "bias"].into_iter().filter(|_| arch.bias) {
            read(format!("{params}/{name}.{part}"), &[*c])?;
        }
        for part in ["running_mean", "running_var"] {
            read(format!("{buffers}/{name}.{part}"), &[*c])?;
        }
        read(format!("{buffers}/{name}.num_batches_tracked"), &[])?;
    }
    Ok(weights)
}

/// What a net's file says of the net itself.
fn constants(arch: &Arch, file: &GoldenFile, side: usize, report: &mut CheckReport) -> Result<()> {
    let name = |what: &str| format!("{} {what}", file.name);
    if arch.objective == Objective::Fcdd {
        let field = arch.receptive_field(side)?;
        let ours = [field.n as f64, field.jump as f64, field.size as f64, field.shift];
        let reception = file.find("reception").is_some_and(|tensor| tensor.values == ours);
        report.add(Check::exact(name("reception"), reception, format!("[n, j, r, s] = {ours:?}")));
    }
    if let Some(taps) = file.find("blur_r") {
        let ours = blur_taps(&arch.name)?;
        report.add(Check::exact(name("blur_r"), taps.values == [ours as f64], format!("{ours} taps")));
    }
    if let Some(count) = file.entry.n_params {
        let detail = format!("{} parameters", arch.parameters());
        report.add(Check::exact(name("parameter count"), arch.parameters() == count, detail));
    }
    let norms = file.entry.bn.values();
    let same = |eps: f64, momentum, affine| eps == arch.norm_eps && momentum == NORM_MOMENTUM && affine == arch.bias;
    let right = norms.clone().all(|norm| same(norm.eps, norm.momentum, norm.affine));
    report.add(Check::exact(name("norm constants"), right, format!("eps {}, affine {}", arch.norm_eps, arch.bias)));
    Ok(())
}

/// Everything that a net's file may hold, computed here, by key.
fn values<T: Real>(
    device: &Device,
    arch: &Arch,
    weights: &Weights,
    batch: &CheckBatch,
    file: &GoldenFile,
    source: &GoldenFile,
) -> Result<BTreeMap<String, Ours>> {
    let training = TrainingOptions {
        optimizer: Optimizer::Sgd,
        maps: false,
        input_grad: true,
        seed: 0,
        label_score: ImageScore::Mean,
    };
    let (gradient, training) = (Gradient::Grad, Some(training));
    let options = lower::PlanOptions {
        batch: batch.n,
        side: batch.side,
        dtype: DType::F32,
        sigma: 1.0,
        gradient,
        exact: true,
        training,
    };
    let mut network = Network::<T>::on(device, arch, options, weights)?;
    batch.fill(&mut network)?;
    network.forward(batch.n, &Hyper { step: 1, norm_momentum: NORM_MOMENTUM, ..Hyper::IDLE })?;
    network.backward(batch.n)?;

    let mut found = BTreeMap::new();
    buffers(arch, &mut network, source, ["buffer", "buffer_after"], &mut |key, ours| drop(found.insert(key, ours)))?;
    let mut give = |key: &str, ours: Ours| drop(found.insert(key.to_string(), ours));
    let ports = network.plan(batch.n)?.ports;
    // Images as PyTorch orders them; vectors and maps of one channel are the same in both orders.
    let nchw = |values: &[T]| {
        let pixels = if arch.objective == Objective::Ae { arch.channels } else { 1 };
        Ours::values(&convert::to_nchw(&convert::of::<f64>(values), batch.n, pixels))
    };
    give("out_train", nchw(&network.read(ports.output)?));
    if let Some(ports) = ports.training {
        let loss = Ours::values(&network.read(ports.loss)?);
        give("loss", Ours::values(&[loss.values.iter().sum::<f64>() / batch.n as f64]));
        give("loss_none", loss);
        if let Some(view) = ports.input_grad {
            let gradient = Ours::values(&network.read(view)?).values;
            give("grad_input", Ours::values(&convert::to_nchw(&gradient, batch.n, arch.channels)));
        }
        gradients(arch, &network.read(ports.grads)?, file, &mut give);
    }
    network.infer(batch.n)?;
    give("out_eval", nchw(&network.read(ports.output)?));
    let scores = Ours::values(&network.read(ports.score)?);
    match arch.objective {
        Objective::Fcdd | Objective::Ae => give("ascore_eval", nchw(&network.read(ports.map)?)),
        Objective::Hsc => give("ascore_eval", Ours::values(&scores.values)),
    }
    give("score_eval", scores);
    if arch.objective == Objective::Hsc {
        gradient_heatmaps::<T>(device, arch, weights, batch, file, &mut give)?;
    }
    plain::activations::<T>(arch, weights, batch, &mut |module, values| {
        let first = &values[..values.len().min(FIRST)];
        give(&format!("act_first64/{module}"), Ours::values(first));
        let rule = Rule::Summary { count: values.len() };
        give(&format!("act_stats/{module}"), Ours::values(&summary(values)).under(rule));
    })?;
    Ok(found)
}

/// Heatmaps of an HSC net after one forward pass in training mode, and blurred by each σ that the file names.
fn gradient_heatmaps<T: Real>(
    device: &Device,
    arch: &Arch,
    weights: &Weights,
    batch: &CheckBatch,
    file: &GoldenFile,
    give: &mut impl FnMut(&str, Ours),
) -> Result<()> {
    let (taps, side) = (blur_taps(&arch.name)?, batch.side);
    for (name, gradient) in [("grad_heatmap", Gradient::Grad), ("xgrad_heatmap", Gradient::Xgrad)] {
        let training = Some(TrainingOptions {
            optimizer: Optimizer::Sgd,
            maps: false,
            input_grad: false,
            seed: 0,
            label_score: ImageScore::Mean,
        });
        let options =
            lower::PlanOptions { batch: batch.n, side, dtype: DType::F32, sigma: 1.0, gradient, exact: true, training };
        let mut network = Network::<T>::on(device, arch, options, weights)?;
        batch.fill(&mut network)?;
        network.forward(batch.n, &Hyper { step: 1, norm_momentum: NORM_MOMENTUM, ..Hyper::IDLE })?;
        network.infer(batch.n)?;
        let heatmaps = network.heatmaps(batch.n)?.heatmaps;
        give(name, Ours::values(heatmaps));
        for key in file.keys() {
            let Some(sigma) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix("_blur_std")) else { continue };
            let sigma = match sigma {
                "None" => default_sigma(taps),
                sigma => sigma.parse().map_err(|_| file.error(format!("'{key}' names no σ")))?,
            };
            let blur = |map: &[T]| gaussian_blur(map, side, side, 1, taps, sigma);
            give(key, Ours::values(&heatmaps.chunks_exact(side * side).flat_map(blur).collect::<Vec<T>>()));
        }
    }
    Ok(())
}

/// Gradients of all parameters, whole and summarised.
fn gradients<T: Real>(arch: &Arch, grads: &[T], file: &GoldenFile, give: &mut impl FnMut(&str, Ours)) {
    for param in &Layout::new(arch).params {
        let inside = &grads[param.start..param.start + param.len()];
        let outside: Vec<f64> = (0..param.len()).map(|i| inside[param.inside(i)].f64()).collect();
        let zero = file.entry.zero_grad_params.contains(&param.name);
        let largest = file.entry.max_abs_over_all_param_grads.filter(|_| zero);
        let rule = |otherwise: Rule| largest.map_or(otherwise, |largest| Rule::Zero { largest });
        let first = &outside[..outside.len().min(FIRST)];
        give(&format!("grad_first64/{}", param.name), Ours::values(first).under(rule(Rule::Values)));
        let of = Rule::Summary { count: param.len() };
        give(&format!("grad_sum_l2/{}", param.name), Ours::values(&summary(&outside)[..2]).under(rule(of)));
        give(&format!("grad/{}", param.name), Ours { values: outside, rule: rule(Rule::Values) });
    }
}

/// The norms' buffers as a network holds them now, under the second prefix. Those of norms that the authors' modules own and never
/// use stay what they are under the first.
pub(super) fn buffers<T: Real>(
    arch: &Arch,
    network: &mut Network<T>,
    file: &GoldenFile,
    [before, after]: [&str; 2],
    give: &mut dyn FnMut(String, Ours),
) -> Result<()> {
    let batches = network.weights()?.batches as f64;
    let batch = network.options().batch;
    let view = network.plan(batch)?.ports.stats;
    let stats = network.read(view)?;
    for norm in &Layout::new(arch).norms {
        let (mean, var) = stats[norm.start..norm.start + 2 * norm.c].split_at(norm.c);
        give(format!("{after}/{}.running_mean", norm.name), Ours::values(mean));
        give(format!("{after}/{}.running_var", norm.name), Ours::values(var));
        give(format!("{after}/{}.num_batches_tracked", norm.name), Ours::values(&[batches]));
    }
    for (name, _) in &arch.unused_norms {
        for part in ["running_mean", "running_var", "num_batches_tracked"] {
            give(format!("{after}/{name}.{part}"), Ours::values(&file.get(&format!("{before}/{name}.{part}"))?.values));
        }
    }
    Ok(())
}
