//! Compares results with WGMMA and PDL on and off; a net whose results differ is not timed.

use std::sync::Arc;

use super::{
    BenchOptions, BenchTask, COLD, DRAWN, FIXED, Latency, NOT_TIMED, drawn, finite, prepared, replayed, result,
};
use crate::device::cuda::{Cuda, PDL, WGMMA};
use crate::device::{DType, Device};
use crate::engine::Network;
use crate::error::{Error, Result};
use crate::model::Weights;
use crate::named::Named;

/// Training steps that are compared, in each way of running them.
const STEPS: usize = 8;

/// How far losses, scores and heatmaps of bf16 may part where sums are added in another order, as vectors relative to their length. Some
/// sums round to the other neighbour, 2⁻⁸ away, so two such computations are as far from each other as either is from f32; on the CPU
/// that is 0.012 at most for the nets that are timed by default, in eight steps.
const APART: f64 = 0.05;

/// The same of the momentum, which adds up the gradients. On random images most of a gradient cancels, and what is left feels each ReLU
/// and pool that decides otherwise: 0.10 from f32 on the CPU. Gradients that have nothing to do with each other are 1.4 apart.
const GRADIENTS_APART: f64 = 0.3;

/// Something that a run left.
struct Found {
    what: String,
    values: Vec<f32>,
    /// How far it may part where sums are added in another order.
    apart: f64,
}

/// Compares what is switched on with what is not, in the ways in which a task is timed.
///
/// # Errors
/// [`Error::Numeric`] where the results are not the same.
pub(super) fn check(device: &Device, cuda: &Arc<Cuda>, options: &BenchOptions) -> Result<()> {
    let (wgmma, ahead) = (cuda.has_wgmma(), cuda.launches_ahead());
    let reorders = options.dtype == DType::Bf16;
    let switches =
        [(WGMMA, wgmma, Cuda::use_wgmma as fn(&Cuda, bool), reorders), (PDL, ahead, Cuda::launch_ahead, false)];
    let on = switches.iter().filter(|(_, on, ..)| *on);
    if on.clone().next().is_none() {
        return Ok(());
    }
    switches.iter().for_each(|(.., switch, _)| switch(cuda, false));
    let checked = results(device, cuda, options).and_then(|mut before| {
        before.iter().try_for_each(|found| finite(options, &found.what, &found.values))?;
        // One after the other: each is compared with what differs in it alone.
        for (name, _, switch, reorders) in on {
            switch(cuda, true);
            let after = results(device, cuda, options)?;
            compare(&before, &after, *reorders).map_err(|what| {
                let problem = format!("{} {}: {name}=1 changes the results: {what}", options.net, options.task.word());
                Error::Numeric { problem, remedy: NOT_TIMED.into() }
            })?;
            before = after;
        }
        Ok(())
    });
    cuda.use_wgmma(wgmma);
    cuda.launch_ahead(ahead);
    checked
}

/// What a task leaves as the device is set, always from the same weights and batches.
fn results(device: &Device, cuda: &Arc<Cuda>, options: &BenchOptions) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let mut keep = |what: String, values: Vec<f32>, apart: f64| all.push(Found { what, values, apart });
    match options.task {
        BenchTask::Predict => {
            let mut latency = Latency::new(device, &options.net)?;
            latency.score(|_, scored| {
                keep("the score".into(), vec![scored.score], APART);
                keep("the heatmap".into(), scored.heatmap.to_vec(), APART);
                Ok(())
            })?;
        }
        BenchTask::Infer => {
            let mut network = prepared(device, options)?;
            let ports = network.plan(network.options().batch)?.ports;
            let mut inferred = |network: &Network<f32>, how| {
                keep(format!("the scores ({how})"), network.read(ports.score)?, APART);
                keep(format!("the heatmaps ({how})"), network.read(ports.heatmap)?, APART);
                Ok(())
            };
            inferred(&network, COLD)?;
            replayed(&mut network, BenchTask::Infer, 1, |network| inferred(network, FIXED))?;
        }
        BenchTask::Train => {
            let mut network = prepared(device, options)?;
            let losses = result(&mut network, BenchTask::Train)?;
            let mut step = 0;
            replayed(&mut network, BenchTask::Train, STEPS, |network| {
                step += 1;
                keep(format!("the losses of step {step} ({FIXED})"), network.read(losses)?, APART);
                Ok(())
            })?;
            trained(&network, FIXED, &mut keep)?;
            let (losses, _) = drawn::train(&mut network, cuda, STEPS)?;
            for (step, losses) in losses.chunks(network.options().batch).enumerate() {
                keep(format!("the losses of step {} ({DRAWN})", step + 1), losses.to_vec(), APART);
            }
            trained(&network, DRAWN, &mut keep)?;
        }
    }
    Ok(all)
}

/// What training left in a network.
fn trained(network: &Network<f32>, how: &str, keep: &mut impl FnMut(String, Vec<f32>, f64)) -> Result<()> {
    let Weights { params, stats, .. } = network.weights()?;
    keep(format!("the weights after {STEPS} steps ({how})"), params, APART);
    keep(format!("the running statistics after {STEPS} steps ({how})"), stats, APART);
    keep(format!("the momentum after {STEPS} steps ({how})"), network.moments()?, GRADIENTS_APART);
    Ok(())
}

/// Compares what was found bit for bit, or within its bound where sums may be added in another order; the error tells the first that
/// differs.
fn compare(before: &[Found], after: &[Found], reorders: bool) -> std::result::Result<(), String> {
    for (before, after) in before.iter().zip(after) {
        let bits = |found: &Found| found.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let (apart, bound) = (distance(&after.values, &before.values), if reorders { after.apart } else { 0.0 });
        if bits(before) != bits(after) && !(reorders && apart <= bound) {
            let [with, without] = [after, before].map(|found| mean(&found.values));
            return Err(format!(
                "{} are {with:.6} in the mean with it and {without:.6} without, {apart:.1e} apart where {bound} is allowed",
                after.what
            ));
        }
    }
    Ok(())
}

/// Length of the difference, relative to that of the second.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = length(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    difference / length(&mut b.iter().map(|&b| f64::from(b))).max(f64::MIN_POSITIVE)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(step: usize, losses: [f32; 2]) -> Found {
        Found { what: format!("the losses of step {step}"), values: losses.to_vec(), apart: APART }
    }

    #[test]
    fn a_difference_is_named() {
        let before = [found(1, [0.5, 1.5]), found(2, [0.4, 1.2])];
        let last_bit = [found(1, [0.5, 1.5]), found(2, [0.4, 1.2f32.next_up()])];
        let wrong = [found(1, [0.5, 1.5]), found(2, [0.4, 2.4])];
        for reorders in [true, false] {
            assert_eq!(compare(&before, &before, reorders), Ok(()));
            let told = compare(&before, &wrong, reorders).unwrap_err();
            for word in ["the losses of step 2", "1.400000 in the mean with it", "0.800000 without"] {
                assert!(told.contains(word), "{word} in {told}");
            }
        }
        // NaN is near to nothing.
        assert!(compare(&before, &[found(1, [f32::NAN, 1.5])], true).is_err());
        // Where nothing is added in another order, the last bit counts.
        assert_eq!(compare(&before, &last_bit, true), Ok(()));
        assert!(compare(&before, &last_bit, false).unwrap_err().contains("where 0 is allowed"));
    }
}
