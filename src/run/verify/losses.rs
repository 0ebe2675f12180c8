//! `loss_fcdd`: the objective on given output maps, with labels and with ground-truth maps, forward and backward; `loss_hsc`, the
//! same of the baseline's vectors.

use std::collections::BTreeMap;

use super::check::{Check, CheckReport, Precision};
use super::compare::{Ours, Rule, compare_all};
use super::convert;
use super::execute::execute;
use super::golden::GoldenFile;
use crate::device::{Device, HostBuffers, View};
use crate::engine::Step;
use crate::error::Result;
use crate::model::nets;
use crate::real::Real;
use crate::steps::conv::ConvGeometry;
use crate::steps::fcdd_loss::{MapLoss, PseudoHuberBackward};
use crate::steps::head::{Head, LabelLoss};
use crate::steps::hsc_loss::{self, HscLoss, HscScore};
use crate::steps::operation::Operation;
use crate::steps::upsample::{GaussianTaps, Upsample, UpsampleAdjoint, default_sigma};

/// The manifest's f32 tolerances were measured on formulas that cancel for small outputs, up to 1e26. Ours do not: a handful of
/// roundings in mean, exponential and logarithm.
const F32_CAP: f64 = 1e-5;

/// Checks the file.
pub(super) fn check(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    for case in file.cases("outs") {
        for key in file.keys().filter(|key| key.strip_prefix(case).is_some_and(|rest| rest.starts_with("/f32_torch/")))
        {
            file.find(key);
            let why = "what the original gives in f32, where its formula cancels: for information";
            report.add(Check::skipped(format!("{} {key}", file.name), why));
        }
        let Some(inputs) = Inputs::read(file, case)? else {
            report.add(Check::skipped(format!("{} {case}", file.name), "this build has no such net"));
            continue;
        };
        let mut f64s = inputs.values::<f64>(&Device::Cpu, case)?;
        compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
        let mut f32s = inputs.values::<f32>(report.device(), case)?;
        compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)?;
    }
    Ok(())
}

/// Checks the file of HSC: `<case>/{outs,labels,mean,per_sample,grad}`. In evaluation every image's loss is its score.
pub(super) fn check_hsc(file: &GoldenFile, report: &mut CheckReport) -> Result<()> {
    for case in file.cases("outs") {
        let (outs, labels) = (file.get(&format!("{case}/outs"))?, file.get(&format!("{case}/labels"))?);
        if outs.shape.len() != 2 || outs.values.is_empty() || outs.shape[0] != labels.values.len() {
            return Err(file.error(format!("outputs and labels of '{case}' do not fit together")));
        }
        let evaluation = case.ends_with("evalmode");
        let labels: Vec<f64> = labels.values.iter().map(|&label| if evaluation { 0.0 } else { label }).collect();
        let mut f64s = hsc::<f64>(&Device::Cpu, case, &outs.values, &labels)?;
        compare_all(file, Precision::F64, &mut |key| f64s.remove(key), report)?;
        let mut f32s = hsc::<f32>(report.device(), case, &outs.values, &labels)?;
        compare_all(file, Precision::F32, &mut |key| f32s.remove(key), report)?;
    }
    Ok(())
}

/// Losses and gradients of vectors, by key.
fn hsc<T: Real>(device: &Device, case: &str, outs: &[f64], labels: &[f64]) -> Result<BTreeMap<String, Ours>> {
    let n = labels.len();
    let lengths = [outs.len(), n, n, n, outs.len()];
    let [o, score, label_view, loss, d_o] = std::array::from_fn(|buffer| View::of(buffer, lengths[buffer]));
    let mut memory = HostBuffers::<T>::new(&lengths, &[], 0);
    memory.get_mut(o).copy_from_slice(&convert::of::<T>(outs));
    memory.get_mut(label_view).copy_from_slice(&convert::of::<T>(labels));
    let training = Some(hsc_loss::HscTraining { labels: label_view, loss });
    let steps = [Step::HscScore(HscScore { o, score }), Step::HscLoss(HscLoss { o, score, training, d_o })];
    execute(device, &steps, &mut memory)?;
    let per_sample = Ours::values(memory.get(loss));
    let mean = per_sample.values.iter().sum::<f64>() / n as f64;
    let found = [("mean", Ours::values(&[mean])), ("per_sample", per_sample), ("grad", Ours::values(memory.get(d_o)))];
    Ok(found.map(|(key, ours)| (format!("{case}/{key}"), ours)).into())
}

/// What a case is computed from.
struct Inputs {
    n: usize,
    /// Side of the output map.
    u: usize,
    outs: Vec<f64>,
    labels: Vec<f64>,
    /// Ground truth and the upsampling to its size.
    maps: Option<(Vec<f64>, GaussianTaps)>,
}

impl Inputs {
    /// Reads a case; None if it is about a net that this build does not know.
    fn read(file: &GoldenFile, case: &str) -> Result<Option<Inputs>> {
        let outs = file.get(&format!("{case}/outs"))?;
        let mut labels = file.get(&format!("{case}/labels"))?.values.clone();
        let [n, 1, u, width] = outs.shape[..] else {
            return Err(file.error(format!("'{case}/outs' has shape {:?}, not [n, 1, u, u]", outs.shape)));
        };
        if u != width || labels.len() != n || n == 0 {
            return Err(file.error(format!("outputs and labels of '{case}' do not fit together")));
        }
        // In evaluation the loss is the anomaly map, whatever the labels: what all-normal labels give.
        if case.ends_with("_evalmode") {
            labels.fill(0.0);
        }
        let mut maps = None;
        if let Some(truth) = file.find(&format!("{case}/gtmaps")) {
            let side = *truth.shape.last().unwrap_or(&0);
            let (net, sigma) = net_and_sigma(file, case)?;
            let Ok(arch) = nets::by_name(net, true) else { return Ok(None) };
            let field = arch.receptive_field(side)?;
            if field.n != u || truth.values.len() != n * side * side {
                return Err(file.error(format!("outputs and maps of '{case}' do not fit {net}")));
            }
            maps = Some((
                truth.values.clone(),
                GaussianTaps::new(field, side, sigma.unwrap_or(default_sigma(field.size))),
            ));
        }
        Ok(Some(Inputs { n, u, outs: outs.values.clone(), labels, maps }))
    }

    /// Everything that the file may hold of the case, by key.
    fn values<T: Real>(&self, device: &Device, case: &str) -> Result<BTreeMap<String, Ours>> {
        let side = self.maps.as_ref().map_or(0, |(_, taps)| taps.side());
        let (low, high) = (self.outs.len(), self.n * side * side);
        let g = self.maps.as_ref().map_or(0, |(_, taps)| taps.kernel().len());
        let lengths = [low, low, self.n, self.n, self.n, low, high, high, high, low, g, low, 1];
        let view = |buffer: usize| View::of(buffer, lengths[buffer]);
        let [z, a, score, labels, loss, dz, maps, heatmap, d_heatmap, da, kernel, x, w] = std::array::from_fn(view);
        // A head that passes one channel on.
        let (n, u) = (self.n, self.u);
        let geometry = ConvGeometry { n, h: u, w: u, c: 1, k: 1, side: 1, stride: 1, pad: 0 };
        let by_labels = self.maps.is_none().then_some(LabelLoss { labels, loss, dz });
        let head = Head { geometry, x, w, b: None, z, a, score, labels: by_labels };
        let mut memory = HostBuffers::<T>::new(&lengths, &[], (n * u * side).max(head.workspace()));
        memory.get_mut(x).copy_from_slice(&convert::of::<T>(&self.outs));
        memory.get_mut(w).fill(T::one());
        memory.get_mut(labels).copy_from_slice(&convert::of::<T>(&self.labels));
        let mut steps = vec![Step::Head(head)];
        if let Some((truth, taps)) = &self.maps {
            memory.get_mut(maps).copy_from_slice(&convert::of::<T>(truth));
            memory.get_mut(kernel).copy_from_slice(&convert::of::<T>(taps.kernel()));
            steps.extend([
                Step::Upsample(Upsample { taps: taps.clone(), kernel, u, a, out: heatmap }),
                Step::MapLoss(MapLoss { a: heatmap, maps, top: high / n, loss, da: d_heatmap }),
                Step::UpsampleAdjoint(UpsampleAdjoint { taps: taps.clone(), kernel, u, dout: d_heatmap, da }),
                Step::PseudoHuberBackward(PseudoHuberBackward { z, da, dz }),
            ]);
        }
        execute(device, &steps, &mut memory)?;
        let per_sample = Ours::values(memory.get(loss));
        let mean = per_sample.values.iter().sum::<f64>() / self.n as f64;
        let found = [
            ("mean", Ours::values(&[mean])),
            ("per_sample", per_sample),
            ("none", Ours::values(memory.get(a))),
            ("grad", Ours::values(memory.get(dz))),
        ];
        Ok(found.map(|(key, ours)| (format!("{case}/{key}"), ours.under(Rule::Capped(F32_CAP)))).into())
    }
}

/// Net and σ of a case `gt/<NET>_std<σ or None>[_…]`.
fn net_and_sigma<'a>(file: &GoldenFile, case: &'a str) -> Result<(&'a str, Option<f64>)> {
    let parsed = case.rsplit('/').next().and_then(|name| name.split_once("_std")).and_then(|(net, rest)| {
        let sigma = rest.split('_').next()?;
        if sigma == "None" { Some((net, None)) } else { Some((net, Some(sigma.parse().ok()?))) }
    });
    parsed.ok_or_else(|| file.error(format!("case '{case}' is not named gt/NET_stdS")))
}
