//! Counts of what a net has to do, without doing it: by step, by kind of step, in all.

use serde::Serialize;

use super::peaks::Peaks;
use super::task::{BenchOptions, BenchTask, lowered};
use crate::engine::lower::lower;
use crate::engine::{Plan, Step};
use crate::error::Result;
use crate::model::baselines;

/// What a step, or several, cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub kind: &'static str,
    /// Of the layer; empty for several steps.
    pub shape: String,
    /// Steps that are counted together.
    pub steps: usize,
    /// Operations of convolutions, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes to move at least: each operand of each step once.
    pub bytes: u64,
    /// Kernels that a GPU launches.
    pub launches: usize,
    /// Seconds at the measured peaks, step after step; absent where nothing was measured.
    pub floor: Option<f64>,
    /// Seconds that it took, step after step; absent likewise.
    pub seconds: Option<f64>,
}

impl Cost {
    fn of(step: &Step) -> Cost {
        let (flops, bytes, launches) = (step.flops(), step.bytes(), step.launches());
        Cost { kind: step.kind(), shape: step.shape(), steps: 1, flops, bytes, launches, floor: None, seconds: None }
    }

    /// Several costs as one.
    fn sum<'a>(kind: &'static str, costs: impl Iterator<Item = &'a Cost> + Clone) -> Cost {
        Cost {
            kind,
            shape: String::new(),
            steps: costs.clone().map(|c| c.steps).sum(),
            flops: costs.clone().map(|c| c.flops).sum(),
            bytes: costs.clone().map(|c| c.bytes).sum(),
            launches: costs.clone().map(|c| c.launches).sum(),
            floor: costs.clone().map(|c| c.floor).sum(),
            seconds: costs.map(|c| c.seconds).sum(),
        }
    }

    /// The floor as a share of the time it took.
    pub fn reached(&self) -> Option<f64> {
        Some(self.floor? / self.seconds?)
    }
}

/// What one task of a net consists of.
#[derive(Clone, Debug, Serialize)]
pub struct Work {
    pub net: String,
    pub task: BenchTask,
    pub batch: usize,
    pub side: usize,
    /// Its steps, in the order of running.
    pub layers: Vec<Cost>,
}

impl Work {
    /// Counts a task; nothing is run and no device is needed.
    ///
    /// # Errors
    /// If the net is unknown, or does not admit the side or the batch.
    pub fn count(options: &BenchOptions) -> Result<Work> {
        let arch = baselines::any(&options.net, true)?;
        let lowered = lowered(&arch, options)?;
        let plan = lower(&arch, &lowered)?;
        let layers = steps(&plan, options.task).map(Cost::of).collect();
        Ok(Work { net: arch.name, task: options.task, batch: lowered.batch, side: lowered.side, layers })
    }

    /// Notes what each step took, and its floor.
    pub(super) fn note(&mut self, seconds: &[f64], peaks: Option<&Peaks>) {
        for (cost, &seconds) in self.layers.iter_mut().zip(seconds) {
            cost.floor = peaks.map(|peaks| peaks.floor(cost.flops, cost.bytes));
            cost.seconds = Some(seconds);
        }
    }

    /// By kind of step: what takes longest first, or else what computes most.
    pub fn kinds(&self) -> Vec<Cost> {
        let mut names: Vec<_> = self.layers.iter().map(|c| c.kind).collect();
        names.sort_unstable();
        names.dedup();
        let of_kind = |kind| Cost::sum(kind, self.layers.iter().filter(move |c| c.kind == kind));
        let mut kinds: Vec<Cost> = names.into_iter().map(of_kind).collect();
        let weight = |c: &Cost| (c.seconds.unwrap_or(0.0), c.flops as f64, c.bytes as f64);
        kinds.sort_by(|a, b| weight(b).partial_cmp(&weight(a)).unwrap_or(std::cmp::Ordering::Equal));
        kinds
    }

    /// All steps together.
    pub fn total(&self) -> Cost {
        Cost::sum("total", self.layers.iter())
    }
}

/// The steps of a task, in the order of running.
pub(super) fn steps(plan: &Plan, task: BenchTask) -> impl Iterator<Item = &Step> {
    let phases = match task {
        BenchTask::Train => vec![&plan.forward, &plan.backward, &plan.update],
        BenchTask::Infer | BenchTask::Predict => vec![&plan.infer, &plan.heatmaps],
    };
    phases.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DType;

    /// The paper's figures per image (forward and training MFLOP), and bytes counted by hand.
    #[test]
    fn counts_are_those_of_the_architecture() {
        let count = |task| {
            let net = "FCDD_CNN28".to_string();
            Work::count(&BenchOptions {
                net,
                task,
                batch: Some(10),
                side: None,
                dtype: DType::F32,
                exact: false,
                repeats: 1,
                on_gpu: false,
            })
            .unwrap()
        };
        let (train, infer) = (count(BenchTask::Train), count(BenchTask::Infer));
        assert_eq!((infer.total().flops as f64 / 1e4).round(), 1570.0);
        assert_eq!((train.total().flops as f64 / 1e4).round(), 4395.0);
        let first = &infer.layers[0];
        // x 10·28², w 8·25, b 8, y 10·28²·8, four bytes each.
        assert_eq!((first.kind, first.bytes), ("conv_fprop", 4 * (7840 + 200 + 8 + 62720)));
        assert_eq!(first.shape, "10×28² 1→8 5×5");
        let kinds = train.kinds();
        assert_eq!(kinds.iter().map(|c| c.bytes).sum::<u64>(), train.total().bytes);
        assert_eq!(kinds.iter().map(|c| c.steps).sum::<usize>(), train.layers.len());
        assert!(train.total().seconds.is_none());
    }

    #[test]
    fn a_floor_is_the_longer_of_computing_and_moving() {
        let peaks = Peaks { bytes_per_second: 10.0, flops_per_second: 100.0, product: String::new() };
        assert_eq!([peaks.floor(1000, 50), peaks.floor(100, 50)], [10.0, 5.0]);
    }
}
