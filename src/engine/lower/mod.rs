//! Lowering: from a net's layers to a plan's buffers and fused steps.
//!
//! | file | lowers |
//! | --- | --- |
//! | `stages` | layers to stages: the rules of what may follow what |
//! | `forward` | where the stages' values lie, and their forward pass |
//! | `backward` | the stages' backward pass |
//! | `objective` | scores, heatmaps and losses |
//!
//! `options` says what a plan can do, `allocator` hands out its buffers.

mod allocator;
mod backward;
mod forward;
mod objective;
mod options;
mod stages;

use self::allocator::{Allocator, part};
use self::backward::{Learning, Stages};
use self::forward::{Pass, Running};
use self::objective::End;
pub use self::options::{Optimizer, PlanOptions, TrainingOptions};
use self::stages::stages;
use super::Step;
use super::plan::{Buffers, Plan, Ports, TrainingPorts};
use crate::device::{DType, View};
use crate::error::Result;
use crate::model::arch::{Arch, NetPart};
use crate::model::weights::Layout;
use crate::steps::cast::{Cast, CastWeights};
use crate::steps::optimizer::{Adam, Sgd};
use crate::steps::standalone::ValueShape;

/// Lowers a net. Plans of one net and one set of options that differ in the batch alone number their buffers alike, so a plan for
/// a smaller batch runs in the memory of a larger one's.
///
/// # Errors
/// If the net's layers do not fit together or do not take the input's side, or it cannot do what the options ask.
pub fn lower(arch: &Arch, options: &PlanOptions) -> Result<Plan> {
    options.check(arch)?;
    let PlanOptions { batch: n, side, exact, .. } = *options;
    let shapes = arch.shapes(n, side)?;
    if options.training.is_some() {
        arch.check_statistics(n, side)?;
    }
    let layout = Layout::new(arch);
    let mut allocator = Allocator::default();
    let params = allocator.real(layout.params_len);
    let stats = allocator.real(layout.stats_len);
    let images = ValueShape { n, side, c: arch.channels };
    let (mut stages, first) = stages::of_part(arch, stages(arch, &layout, shapes, params)?, images)?;
    stages::check(arch, options, &stages)?;
    let input = allocator.real(first.len());
    let scores_maps = arch.objective.has_head() && arch.part != NetPart::Features;
    let head = if scores_maps { stages.pop() } else { None };
    // A gradient reads the values of the forward pass again: in training, and in evaluation that of an HSC score.
    let by_gradient = arch.objective.shows_gradients();
    let keep = options.training.is_some() || by_gradient;
    let input_grad = options.training.is_some_and(|training| training.input_grad);
    let reached = stages::reached(&stages, by_gradient || input_grad);
    let kept: Vec<bool> = reached.iter().map(|&reached| keep && reached).collect();
    // What the first layer reads.
    let (first, cast_input) = match options.dtype {
        DType::F32 => (input, None),
        DType::Bf16 => {
            let cast = allocator.of(DType::Bf16, input.len);
            (cast, Some(Step::Cast(Cast { x: input, y: cast })))
        }
    };
    let cast_weights = stages::cast_weights(&mut stages, options, params, &mut allocator);
    let trains = options.training.is_some();
    let values = forward::allocate(&stages, first, &kept, trains, options.dtype, &mut allocator);
    let last = values.last().map_or(first, |v| v.out);
    let end = End::new(arch, options, head, input, last, &mut allocator)?;
    let net = Stages { stages: &stages, values: &values, running: stats, norm_eps: arch.norm_eps, exact };

    let mut plan = Plan {
        batch: n,
        buffers: Buffers::default(),
        constants: end.constants(),
        tables: cast_weights.iter().map(CastWeights::table).collect(),
        ports: Ports {
            params,
            stats,
            input,
            output: end.output,
            score: end.score,
            map: end.map,
            heatmap: end.heatmap,
            training: None,
        },
        forward: cast_input.iter().cloned().collect(),
        backward: vec![],
        update: vec![],
        renew: cast_weights.iter().cloned().map(Step::CastWeights).collect(),
        infer: cast_input.into_iter().collect(),
        heatmaps: vec![],
    };
    let inference = Pass { stats, norm_eps: arch.norm_eps, training: None, keeps: by_gradient, exact };
    forward::forward(&stages, &values, inference, &mut plan.infer);
    plan.infer.extend(end.scoring(None));
    end.heatmaps(net, stats, &mut allocator, &mut plan.heatmaps);

    if let Some(training) = options.training {
        let batch_stats = allocator.real(layout.stats_len);
        let running = Some(Running { stats, seed: training.seed });
        let pass = Pass { stats: batch_stats, norm_eps: arch.norm_eps, training: running, keeps: true, exact };
        forward::forward(&stages, &values, pass, &mut plan.forward);
        let mut ports = TrainingPorts {
            labels: allocator.real(n),
            maps: training.maps.then(|| allocator.real(end.heatmap.len)),
            loss: allocator.real(n),
            grads: allocator.real(layout.params_len),
            moments: allocator.real(layout.params_len * if training.optimizer == Optimizer::Adam { 2 } else { 1 }),
            input_grad: None,
        };
        plan.forward.extend(end.scoring(Some(&ports)));
        if training.maps {
            end.heatmaps(net, stats, &mut allocator, &mut plan.forward);
        }
        // The gradient goes below the head if something is trained there.
        let below = training.input_grad || reached.last().is_some_and(|&reached| reached);
        if let Some(dy) = end.loss(&ports, below, &mut allocator, &mut plan.backward) {
            let learning = Learning { grads: ports.grads, seed: training.seed, input_grad: training.input_grad };
            ports.input_grad = net.backward(dy, batch_stats, Some(learning), &mut allocator, &mut plan.backward);
        }
        plan.ports.training = Some(ports);
        plan.update.push(update(params, &ports, &layout, training.optimizer));
        plan.update.extend(plan.renew.iter().cloned());
    }
    plan.buffers = allocator.buffers;
    Ok(plan)
}

/// The optimizer's step over the trained part of the parameters.
fn update(params: View, ports: &TrainingPorts, layout: &Layout, optimizer: Optimizer) -> Step {
    let len = layout.params_len - layout.trained_from;
    let trained = |view: View, offset: usize| part(view, offset + layout.trained_from, len);
    let TrainingPorts { grads, moments, .. } = *ports;
    let (params, grads) = (trained(params, 0), trained(grads, 0));
    match optimizer {
        Optimizer::Sgd => Step::Sgd(Sgd { params, grads, momentum: trained(moments, 0) }),
        Optimizer::Adam => {
            let [m, v] = [0, layout.params_len].map(|offset| trained(moments, offset));
            Step::Adam(Adam { params, grads, m, v })
        }
    }
}
