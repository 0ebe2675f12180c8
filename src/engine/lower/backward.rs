//! The backward pass of the stages: of a training step, and of an HSC score in evaluation mode.

use super::allocator::{Allocator, part, prefix};
use super::stages::{Block, Stage, Values, first_trained};
use crate::device::{DType, View};
use crate::engine::Step;
use crate::steps::conv::{Dgrad, Wgrad};
use crate::steps::dropout::Dropout;
use crate::steps::norm::Affine;
use crate::steps::norm_act_pool::NormActPoolBackward;
use crate::steps::reshape::Reshape;
use crate::steps::upsample_nearest::UpsampleNearest2xBackward;

/// Two buffers that gradients of values take turns in: each is dead once the next is computed.
pub(super) fn buffers(stages: &[Stage], dtype: DType, allocator: &mut Allocator) -> [View; 2] {
    let longest = stages.iter().map(Stage::longest_gradient).max().unwrap_or(0);
    [0, 1].map(|_| allocator.of(dtype, longest))
}

/// Everything that a backward pass is lowered from.
pub(super) struct BackwardPass<'a> {
    pub stages: &'a [Stage<'a>],
    pub values: &'a [Values],
    pub norm_eps: f64,
    /// The first holds the gradient of the last stage's output when the pass begins.
    pub gradients: [View; 2],
}

/// What a backward pass in training is for.
#[derive(Clone, Copy)]
pub(super) struct Learning {
    /// Gradients of the parameters.
    pub grads: View,
    /// Of the dropout.
    pub seed: u64,
    /// Go on to the input.
    pub input_grad: bool,
}

impl BackwardPass<'_> {
    /// Pushes the stages in reverse. `stats` are what the norms normalised with: in training those of the batch, and the pass ends at
    /// the first trained layer where the input's gradient is not wanted; else they are fixed, and the pass goes down to the input.
    /// Returns where the gradient lies that it ended with.
    pub(super) fn push(&self, stats: View, learning: Option<Learning>, steps: &mut Vec<Step>) -> Option<View> {
        let mut gradients = self.gradients;
        let first = first_trained(self.stages);
        let to_input = learning.is_none_or(|learning| learning.input_grad);
        for (i, (stage, values)) in self.stages.iter().zip(self.values).enumerate().rev() {
            if i < first && !to_input {
                break;
            }
            let (dy, dx) = (prefix(gradients[0], values.out.len), prefix(gradients[1], values.x.len));
            match stage {
                Stage::Block(block) => {
                    let onwards = i > first || to_input;
                    self.block(block, values, &mut gradients, stats, learning, onwards, steps);
                    continue;
                }
                &Stage::Reshape { c, pixels, .. } => {
                    steps.push(Step::Reshape(Reshape { rows: pixels, columns: c, x: dy, y: dx }));
                }
                &Stage::UpsampleNearest2x(geometry) => {
                    steps.push(Step::UpsampleNearest2xBackward(UpsampleNearest2xBackward { geometry, dy, dx }))
                }
                &Stage::Dropout { n } => {
                    let dropout = learning.map(|learning| Dropout { seed: learning.seed, values: dy, n });
                    steps.extend(dropout.map(Step::Dropout));
                    continue;
                }
            }
            gradients.swap(0, 1);
        }
        let input = self.values.first()?.x;
        to_input.then(|| prefix(gradients[0], input.len))
    }

    /// One block: its tail, the gradients of its parameters, and, `onwards`, that of its input.
    #[expect(clippy::too_many_arguments, reason = "one arm of the match above")]
    fn block(
        &self,
        block: &Block,
        values: &Values,
        gradients: &mut [View; 2],
        stats: View,
        learning: Option<Learning>,
        onwards: bool,
        steps: &mut Vec<Step>,
    ) {
        let grad = |view: View| learning.map(|learning| part(learning.grads, view.start, view.len));
        if block.has_tail() {
            let norm = block.norm(stats, self.norm_eps);
            steps.push(Step::NormActPoolBackward(NormActPoolBackward {
                pool: block.pool,
                norm,
                batch_statistics: learning.is_some(),
                activation: block.activation,
                x: values.conv,
                argmax: values.argmax,
                dy: prefix(gradients[0], block.pool.y_len()),
                dx: prefix(gradients[1], block.pool.x_len()),
                daffine: norm
                    .and_then(|n| n.affine)
                    .and_then(|a| Some(Affine { gamma: grad(a.gamma)?, beta: grad(a.beta)? })),
            }));
            gradients.swap(0, 1);
        }
        let dy = prefix(gradients[0], block.conv.y_len());
        if let (Some(dw), false) = (grad(block.weight), block.frozen) {
            let db = block.bias.filter(|_| !block.has_norm()).and_then(grad);
            steps.push(Step::ConvWgrad(Wgrad { geometry: block.conv, x: values.x, dy, dw, db }));
        }
        if onwards {
            let dx = prefix(gradients[1], block.conv.x_len());
            steps.push(Step::ConvDgrad(Dgrad { geometry: block.conv, dy, w: block.flipped, dx }));
            gradients.swap(0, 1);
        }
    }
}
