//! Every tile that the tensor-core convolutions of a net could be computed in, timed: what the choice of tiles can be fitted to.

use std::sync::Arc;

use serde::Serialize;

use super::costs;
use super::peaks::Copier;
use super::task::{BenchOptions, lowered};
use crate::device::cuda::Cuda;
use crate::engine::lower::lower;
use crate::error::{CudaError, Result};
use crate::metrics::quantile;
use crate::model::baselines;
use crate::rng::{Purpose, Stream};
use crate::steps::conv::ConvGeometry;
use crate::steps::conv::candidates::CandidateTile;

/// One pass of the layers of one shape, in one tile.
#[derive(Serialize)]
pub struct TileTiming {
    pub net: String,
    /// `conv_fprop` (with the statistics of training), `conv_dgrad` or `conv_wgrad`.
    pub pass: &'static str,
    pub layer: String,
    pub geometry: ConvGeometry,
    pub flops: u64,
    pub bytes: u64,
    #[serde(flatten)]
    pub tile: CandidateTile,
    /// Whether it is the one that a net takes.
    pub chosen: bool,
    /// Of each run, after one that warms up; with nothing of the inputs in the caches.
    pub seconds: Vec<f64>,
    pub median: f64,
}

/// Times the convolutions of a training step, each shape once.
pub fn tiles(cuda: &Arc<Cuda>, options: &BenchOptions) -> Result<Vec<TileTiming>> {
    let arch = baselines::any(&options.net, true)?;
    let plan = lower(&arch, &lowered(&arch, options)?)?;
    if !cuda.has_bf16()? {
        return Err(CudaError::NoBf16.into());
    }
    let mut memory = plan.cuda_memory(cuda)?;
    let copier = Copier::new(cuda)?;
    let mut values = vec![0.0; plan.buffers.reals.iter().map(|&(len, _)| len).max().unwrap_or(0)];
    Stream::new(0, Purpose::Check, 0, 0).fill_normal(&mut values);
    let mut timings: Vec<TileTiming> = Vec::new();
    for step in costs::steps(&plan, options.task) {
        let candidates = step.candidates(cuda);
        let Some(geometry) = candidates.first().map(|candidate| candidate.geometry) else { continue };
        if timings.iter().any(|t| t.pass == step.kind() && t.geometry == geometry) {
            continue;
        }
        // Zeros would cost less power, and so less time.
        for (_, view) in step.reads().reals {
            memory.write(view, &values[..view.len])?;
        }
        memory.reserve_workspace(candidates.iter().map(|candidate| candidate.workspace).max().unwrap_or(0))?;
        for candidate in candidates {
            let run = || {
                copier.run()?;
                let start = cuda.mark()?;
                candidate.cuda(&memory)?;
                cuda.mark()?.seconds_since(&start)
            };
            run()?;
            let seconds = (0..options.repeats).map(|_| run()).collect::<Result<Vec<_>, CudaError>>()?;
            timings.push(TileTiming {
                net: arch.name.clone(),
                pass: step.kind(),
                layer: step.shape(),
                geometry,
                flops: step.flops(),
                bytes: step.bytes(),
                tile: candidate.tile,
                chosen: candidate.chosen,
                median: quantile(&seconds, 0.5),
                seconds,
            });
        }
    }
    Ok(timings)
}
