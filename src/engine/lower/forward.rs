//! Where the stages' values lie, and their forward pass.
//!
//! Who keeps what, and when a block's tail is its convolution's epilogue:
//!
//! | name | of | says |
//! | --- | --- | --- |
//! | `kept` | a stage in a plan | a backward pass goes through it, as in training or of an HSC score: what it reads and writes has buffers of its own |
//! | [`Pass::keeps`] | a pass of a plan | a backward pass follows, as on the training pass of a plan but not on its inference: the winners of `kept` pools are written |
//! | [`Block::fuses`] | a block | its tail may be an epilogue: it has one, without a pool |
//! | [`Block::always_fuses`] | a block in a plan | its tail is one in every pass: `first` and `out` are one buffer |
//! | [`Pass::of`] | a block in a pass | a [fixed](Block::fixed) one goes as in inference: its norm takes no statistics of the batch |
//!
//! A pass makes the tail of a block that `fuses` the epilogue unless its norm takes statistics of the batch, or the pass `keeps` what is `kept`.

use super::allocator::{Allocator, part};
use super::stages::{Block, Stage, StageKind};
use crate::device::{ByteView, DType, View};
use crate::engine::Step;
use crate::model::arch::Source;
use crate::steps::activation::Activation;
use crate::steps::conv::{Algorithm, Epilogue, Fprop};
use crate::steps::norm::Stats;
use crate::steps::norm_act_pool::NormActPool;

/// Where a stage's values lie.
pub(super) struct StageViews {
    pub inputs: Vec<View>,
    /// What the stage writes first: a block's convolution's output.
    pub first: View,
    /// The stage's output: of a block `first` itself where nothing follows, of what is done in place its input.
    pub out: View,
    pub argmax: Option<ByteView>,
    /// Whether a backward pass reads them.
    kept: bool,
}

impl StageViews {
    /// What a stage of one input reads.
    pub(super) fn x(&self) -> View {
        self.inputs[0]
    }

    /// Where a pass keeps the winners of a pool.
    fn winners(&self, pass: Pass) -> Option<ByteView> {
        self.argmax.filter(|_| pass.keeps)
    }
}

/// Gives each stage's values their buffers. Values that a backward pass reads again have their own, since they are written or read by a
/// stage that is `kept`; others pass: their buffers are used again once the last stage has read them. Where what follows a convolution is
/// [always](Block::always_fuses) its epilogue, the two take one buffer.
pub(super) fn allocate(
    stages: &[Stage],
    input: View,
    kept: &[bool],
    training: bool,
    dtype: DType,
    allocator: &mut Allocator,
) -> Vec<StageViews> {
    let dying = dying(stages, kept);
    let mut values: Vec<StageViews> = Vec::with_capacity(stages.len());
    for (i, stage) in stages.iter().enumerate() {
        let read = |input_of: &Source| match *input_of {
            Source::Input => input,
            Source::Layer(stage) => values[stage].out,
        };
        let inputs: Vec<View> = stage.inputs.iter().map(read).collect();
        let take = |allocator: &mut Allocator, len| {
            if kept[i] { allocator.of(dtype, len) } else { allocator.passing(dtype, len) }
        };
        let release = |allocator: &mut Allocator| {
            dying[i].iter().for_each(|&stage| allocator.release(values[stage].out));
        };
        let block = stage.kind.block();
        let lengths = stage.lengths(block.is_some_and(|block| block.always_fuses(kept[i], training)));
        let first = lengths.first().map_or(inputs[0], |&len| take(allocator, len));
        // What the convolution was the last to read, its tail may overwrite; not an epilogue, which writes while it is read.
        let fuses = block.is_some_and(Block::fuses);
        if !fuses {
            release(allocator);
        }
        let out = match lengths.get(1) {
            Some(&len) => {
                let out = take(allocator, len);
                allocator.release(first);
                out
            }
            None => first,
        };
        if fuses {
            release(allocator);
        }
        let argmax = match &stage.kind {
            StageKind::Block(block) if kept[i] && block.pools() => Some(allocator.bytes(block.pool.y_len())),
            StageKind::Pool(pool) if kept[i] => Some(allocator.bytes(pool.y_len())),
            StageKind::Block(_) | StageKind::Standalone(_) | StageKind::Pool(_) => None,
        };
        values.push(StageViews { inputs, first, out, argmax, kept: kept[i] });
    }
    values
}

/// For each stage those whose passing output it is the last to read.
fn dying(stages: &[Stage], kept: &[bool]) -> Vec<Vec<usize>> {
    // The stage that wrote a stage's output first: some write where they read.
    let mut writer: Vec<Source> = Vec::with_capacity(stages.len());
    let mut last_reader = vec![None; stages.len()];
    let mut kept_value = kept.to_vec();
    for (i, stage) in stages.iter().enumerate() {
        let first_writer = |input: &Source| match *input {
            Source::Input => Source::Input,
            Source::Layer(stage) => writer[stage],
        };
        let inputs: Vec<Source> = stage.inputs.iter().map(first_writer).collect();
        for input in &inputs {
            if let Source::Layer(read) = *input {
                last_reader[read] = Some(i);
                kept_value[read] |= kept[i];
            }
        }
        writer.push(if stage.kind.in_place() { inputs[0] } else { Source::Layer(i) });
    }
    // A guard: the objective reads the last output. One that a dropout changed in place would be free from there on, though no later step
    // writes to what is free there.
    if let Some(Source::Layer(output)) = writer.last() {
        kept_value[*output] = true;
    }
    let mut dying = vec![Vec::new(); stages.len()];
    for (stage, reader) in last_reader.into_iter().enumerate() {
        if let Some(reader) = reader.filter(|_| !kept_value[stage]) {
            dying[reader].push(stage);
        }
    }
    dying
}

/// How a forward pass goes.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// The statistics that norms normalise with.
    pub stats: View,
    pub norm_eps: f64,
    pub training: Option<Running>,
    /// A backward pass follows: what it reads is kept.
    pub keeps: bool,
    /// See [`super::PlanOptions::exact`].
    pub exact: bool,
}

impl Pass {
    /// How a block takes part: one that is fixed as in inference.
    fn of(self, block: &Block) -> Pass {
        match self.training.filter(|_| block.fixed) {
            Some(Running { stats, .. }) => Pass { stats, training: None, ..self },
            None => self,
        }
    }
}

/// What a forward pass in training mode also does.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// The running statistics, which it updates.
    pub stats: View,
    /// Of the dropouts.
    pub seed: u64,
}

/// The forward pass of all stages.
pub(super) fn forward(stages: &[Stage], values: &[StageViews], pass: Pass, steps: &mut Vec<Step>) {
    for (stage, values) in stages.iter().zip(values) {
        match &stage.kind {
            StageKind::Block(block) => forward_block(block, values, pass.of(block), steps),
            StageKind::Standalone(stage) => {
                let seed = pass.training.map(|running| running.seed);
                steps.extend(stage.layer.forward(stage.context(), &values.inputs, values.out, seed));
            }
            &StageKind::Pool(pool) => steps.push(Step::NormActPool(NormActPool {
                pool,
                norm: None,
                activation: Activation::IDENTITY,
                x: values.x(),
                y: values.out,
                argmax: values.winners(pass),
            })),
        }
    }
}

/// Convolution and tail of one block. A bias before a norm of batch statistics cancels: it only moves the running mean.
fn forward_block(block: &Block, values: &StageViews, pass: Pass, steps: &mut Vec<Step>) {
    let conv = Fprop {
        geometry: block.conv,
        x: values.x(),
        w: block.krsc,
        b: block.bias,
        y: values.first,
        stats: None,
        epilogue: Epilogue::NONE,
        algorithm: Algorithm::of_fprop(&block.conv, values.x().dtype, pass.exact),
    };
    let norm = block.norm(pass.stats, pass.norm_eps);
    let is_fixed = pass.training.is_none() || norm.is_none();
    // By what a layer is for alone, so that bf16 is rounded alike whenever the layer does the same.
    if block.fuses() && is_fixed && !(pass.keeps && values.kept) {
        let epilogue = Epilogue { norm, activation: block.activation };
        steps.push(Step::ConvFprop(Fprop { y: values.out, epilogue, ..conv }));
        return;
    }
    match (block.norm, pass.training) {
        (Some((norm, _)), Some(running)) => {
            let stats = Stats {
                x: values.first,
                c: norm.c,
                bias: block.bias,
                mean: part(pass.stats, norm.start, norm.c),
                var: part(pass.stats, norm.start + norm.c, norm.c),
                running_mean: part(running.stats, norm.start, norm.c),
                running_var: part(running.stats, norm.start + norm.c, norm.c),
            };
            steps.push(Step::ConvFprop(Fprop { b: None, stats: Some(stats), ..conv }));
        }
        _ => steps.push(Step::ConvFprop(conv)),
    }
    if block.has_tail() {
        steps.push(Step::NormActPool(NormActPool {
            pool: block.pool,
            norm,
            activation: block.activation,
            x: values.first,
            y: values.out,
            argmax: values.winners(pass),
        }));
    }
}
