//! The backward pass of the stages: of a training step, and of an HSC score in evaluation mode.

use std::collections::BTreeMap;

use super::allocator::{Allocator, part};
use super::forward::StageViews;
use super::stages::{Block, Stage, StageKind, StandaloneStage, is_reached, reached};
use crate::device::View;
use crate::engine::Step;
use crate::model::arch::Source;
use crate::steps::activation::Activation;
use crate::steps::add::Add;
use crate::steps::conv::{Algorithm, Dgrad, Wgrad};
use crate::steps::norm::Affine;
use crate::steps::norm_act_pool::NormActPoolBackward;
use crate::steps::standalone::Gradients;

/// What a backward pass in training is for.
#[derive(Clone, Copy)]
pub(super) struct Learning {
    /// Gradients of the parameters.
    pub grads: View,
    /// Of the dropouts.
    pub seed: u64,
    /// Go on to the input.
    pub input_grad: bool,
}

/// What backward passes go through.
#[derive(Clone, Copy)]
pub(super) struct Stages<'a> {
    pub stages: &'a [Stage<'a>],
    pub values: &'a [StageViews],
    /// The running statistics.
    pub running: View,
    pub norm_eps: f64,
    /// See [`super::PlanOptions::exact`].
    pub exact: bool,
}

impl Stages<'_> {
    /// Pushes the stages in reverse, from the gradient `dy` of the last one's output. `stats` are what the norms normalised with: in
    /// training those of the batch, and the pass ends at the first trained layers where the input's gradient is not wanted; else they are
    /// fixed, and the pass goes down to the input. Returns where the input's gradient lies, if it is wanted.
    pub(super) fn backward(
        self,
        dy: View,
        stats: View,
        learning: Option<Learning>,
        allocator: &mut Allocator,
        steps: &mut Vec<Step>,
    ) -> Option<View> {
        let to_input = learning.is_none_or(|learning| learning.input_grad);
        let Some(last) = self.stages.len().checked_sub(1) else { return to_input.then_some(dy) };
        let reached = reached(self.stages, to_input);
        let pending = BTreeMap::from([(Source::Layer(last), dy)]);
        let mut pass = BackwardPass { net: self, stats, learning, allocator, steps, pending };
        for (i, (stage, values)) in self.stages.iter().zip(self.values).enumerate().rev() {
            let Some(dy) = pass.pending.remove(&Source::Layer(i)).filter(|_| reached[i]) else { continue };
            pass.stage(stage, values, dy, |&input| is_reached(&reached, to_input, input));
        }
        pass.pending.remove(&Source::Input)
    }
}

/// A backward pass on its way. Gradients pass: the buffer of one is used again once it was read. Where several stages read a value, its
/// gradient is the sum of what they give.
struct BackwardPass<'a> {
    net: Stages<'a>,
    stats: View,
    learning: Option<Learning>,
    allocator: &'a mut Allocator,
    steps: &'a mut Vec<Step>,
    /// Gradients that no stage has read yet, by the value that they are of.
    pending: BTreeMap<Source, View>,
}

impl BackwardPass<'_> {
    /// One stage: from the gradient of its output to those of the inputs that are wanted.
    fn stage(&mut self, stage: &Stage, values: &StageViews, dy: View, wanted: impl Fn(&Source) -> bool) {
        match &stage.kind {
            StageKind::Block(block) => {
                let x = stage.inputs[0];
                self.block(block, values, dy, wanted(&x).then_some(x));
            }
            StageKind::Standalone(standalone) => self.standalone(standalone, &stage.inputs, values, dy, wanted),
            &StageKind::Pool(pool) => {
                let (x, dx) = (values.x(), self.passing(dy, pool.x_len()));
                self.steps.push(Step::NormActPoolBackward(NormActPoolBackward {
                    pool,
                    norm: None,
                    batch_statistics: false,
                    activation: Activation::IDENTITY,
                    x,
                    argmax: values.argmax,
                    dy,
                    dx,
                    daffine: None,
                }));
                self.allocator.release(dy);
                self.share(dx, &stage.inputs, wanted);
            }
        }
    }

    /// A layer that is lowered by itself.
    fn standalone(
        &mut self,
        stage: &StandaloneStage,
        inputs: &[Source],
        values: &StageViews,
        dy: View,
        wanted: impl Fn(&Source) -> bool,
    ) {
        let (context, seed) = (stage.context(), self.learning.map(|learning| learning.seed));
        match stage.layer.gradients(context, seed.is_some()) {
            Gradients::Same => self.share(dy, inputs, wanted),
            Gradients::Shared => {
                let dx = self.passing(dy, values.inputs[0].len);
                self.steps.extend(stage.layer.backward(context, values.out, dy, &[Some(dx)], seed));
                self.allocator.release(dy);
                self.share(dx, inputs, wanted);
            }
            Gradients::Each => {
                let dx = |(input, x): (&Source, &View)| wanted(input).then(|| self.passing(dy, x.len));
                let dxs: Vec<Option<View>> = inputs.iter().zip(&values.inputs).map(dx).collect();
                self.steps.extend(stage.layer.backward(context, values.out, dy, &dxs, seed));
                self.allocator.release(dy);
                for (&input, dx) in inputs.iter().zip(dxs) {
                    if let Some(dx) = dx {
                        self.give(input, dx);
                    }
                }
            }
        }
    }

    /// Gives one gradient to all inputs that want it.
    fn share(&mut self, dx: View, inputs: &[Source], wanted: impl Fn(&Source) -> bool) {
        for &input in inputs.iter().filter(|input| wanted(input)) {
            self.allocator.hold(dx);
            self.give(input, dx);
        }
        self.allocator.release(dx);
    }

    /// One block: its tail, the gradients of its parameters, and that of its input, where it is wanted.
    fn block(&mut self, block: &Block, values: &StageViews, mut dy: View, input: Option<Source>) {
        let grads = self.learning.map(|learning| learning.grads);
        let grad = |view: View| grads.map(|grads| part(grads, view.start, view.len));
        if block.has_tail() {
            let by_batch = self.learning.is_some() && !block.fixed;
            let norm = block.norm(if block.fixed { self.net.running } else { self.stats }, self.net.norm_eps);
            let dx = self.passing(dy, block.pool.x_len());
            self.steps.push(Step::NormActPoolBackward(NormActPoolBackward {
                pool: block.pool,
                norm,
                batch_statistics: by_batch,
                activation: block.activation,
                x: values.first,
                argmax: values.argmax,
                dy,
                dx,
                daffine: norm
                    .filter(|_| by_batch)
                    .and_then(|n| n.affine)
                    .and_then(|a| Some(Affine { gamma: grad(a.gamma)?, beta: grad(a.beta)? })),
            }));
            self.allocator.release(dy);
            dy = dx;
        }
        if let (Some(dw), false) = (grad(block.weight), block.frozen) {
            let db = block.bias.filter(|_| block.norm.is_none()).and_then(grad);
            let algorithm = Algorithm::of_wgrad(&block.conv, self.net.exact);
            self.steps.push(Step::ConvWgrad(Wgrad { geometry: block.conv, x: values.x(), dy, dw, db, algorithm }));
        }
        if let Some(input) = input {
            let dx = self.passing(dy, block.conv.x_len());
            let algorithm = Algorithm::of_dgrad(&block.conv, dy.dtype, self.net.exact);
            self.steps.push(Step::ConvDgrad(Dgrad { geometry: block.conv, dy, w: block.flipped, dx, algorithm }));
            self.give(input, dx);
        }
        self.allocator.release(dy);
    }

    /// A buffer for a gradient of the type of another.
    fn passing(&mut self, like: View, len: usize) -> View {
        self.allocator.passing(like.dtype, len)
    }

    /// Adds to a value's gradient.
    fn give(&mut self, value: Source, dx: View) {
        let sum = match self.pending.remove(&value) {
            Some(before) => {
                let sum = self.passing(dx, dx.len);
                self.steps.push(Step::Add(Add { activation: Activation::IDENTITY, a: before, b: dx, y: sum }));
                self.allocator.release(before);
                self.allocator.release(dx);
                sum
            }
            None => dx,
        };
        self.pending.insert(value, sum);
    }
}
