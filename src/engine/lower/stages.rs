//! Layers grouped into stages, where their values lie, and their forward pass.

use super::allocator::{Allocator, part, prefix};
use super::options::PlanOptions;
use crate::device::{ByteView, DType, View};
use crate::engine::Step;
use crate::error::{Error, Result};
use crate::model::arch::{Arch, Layer, Shape};
use crate::model::weights::{Layout, NormStats};
use crate::steps::activation::Activation;
use crate::steps::cast::{self, CastWeights};
use crate::steps::conv::weights::WeightForm;
use crate::steps::conv::{self, Epilogue, Fprop};
use crate::steps::dropout::Dropout;
use crate::steps::norm::{Affine, Norm, Stats};
use crate::steps::norm_act_pool::NormActPool;
use crate::steps::pool;
use crate::steps::reshape::Reshape;
use crate::steps::upsample_nearest::{UpsampleNearest2x, UpsampleNearestGeometry};

/// What is lowered together.
pub(super) enum Stage<'a> {
    Block(Box<Block<'a>>),
    /// A vector as `c` maps of so many pixels.
    Reshape {
        n: usize,
        c: usize,
        pixels: usize,
    },
    UpsampleNearest2x(UpsampleNearestGeometry),
    /// In place.
    Dropout {
        n: usize,
    },
}

/// A convolution and what follows it up to the next stage.
pub(super) struct Block<'a> {
    pub conv: conv::ConvGeometry,
    pub weight: View,
    /// The weights as the convolution reads them forward and, if it is needed, backward: cast to bf16, or as they are.
    pub krsc: View,
    pub flipped: View,
    pub bias: Option<View>,
    norm: Option<(&'a NormStats, Option<Affine>)>,
    pub activation: Activation,
    pub pool: pool::PoolGeometry,
    pub frozen: bool,
}

impl Block<'_> {
    /// True if anything follows the convolution.
    pub(super) fn has_tail(&self) -> bool {
        self.norm.is_some() || self.activation != Activation::IDENTITY || self.pools()
    }

    /// Whether a pool is what follows, or part of it.
    fn pools(&self) -> bool {
        (self.pool.side, self.pool.stride) != (1, 1)
    }

    /// Whether what follows, the statistics fixed, may be the convolution's epilogue: nothing has to be kept, and there is no pool.
    fn fuses(&self) -> bool {
        self.has_tail() && !self.pools()
    }

    /// Whether a norm follows the convolution.
    pub(super) fn has_norm(&self) -> bool {
        self.norm.is_some()
    }

    /// The norm with statistics from `stats`.
    pub(super) fn norm(&self, stats: View, eps: f64) -> Option<Norm> {
        let (norm, affine) = self.norm?;
        Some(Norm { mean: part(stats, norm.start, norm.c), var: part(stats, norm.start + norm.c, norm.c), affine, eps })
    }
}

impl Stage<'_> {
    /// Values that the stage writes in turn, in buffers of their own; fewer in a plan for inference alone, where an epilogue saves one.
    fn lengths(&self, inference_only: bool) -> Vec<usize> {
        match self {
            Stage::Block(b) if inference_only && b.fuses() => vec![b.pool.y_len()],
            Stage::Block(b) if b.has_tail() => vec![b.conv.y_len(), b.pool.y_len()],
            Stage::Block(b) => vec![b.conv.y_len()],
            Stage::Reshape { n, c, pixels } => vec![n * c * pixels],
            Stage::UpsampleNearest2x(g) => vec![g.large_len()],
            Stage::Dropout { .. } => vec![],
        }
    }

    /// Whether it is a 1×1 convolution to one channel and nothing else.
    pub(super) fn is_head(&self) -> bool {
        matches!(self, Stage::Block(b) if b.conv.is_pointwise() && b.conv.k == 1 && !b.has_tail())
    }

    /// The longest gradient that passes through.
    pub(super) fn longest_gradient(&self) -> usize {
        let input = if let Stage::Block(b) = self { b.conv.x_len() } else { 0 };
        self.lengths(false).into_iter().fold(input, usize::max)
    }
}

/// Where a stage's values lie.
#[derive(Clone, Copy)]
pub(super) struct Values {
    pub x: View,
    /// A block's convolution's output.
    pub conv: View,
    /// The stage's output: of a block `conv` itself where nothing follows, of dropout `x`.
    pub out: View,
    pub argmax: Option<ByteView>,
}

/// Groups the layers into stages.
pub(super) fn stages<'a>(
    arch: &Arch,
    layout: &'a Layout,
    options: &PlanOptions,
    params: View,
) -> Result<Vec<Stage<'a>>> {
    let view = |name: String| layout.param(&name).map(|p| part(params, p.start, p.len()));
    let n = options.batch;
    let mut stages: Vec<Stage> = Vec::new();
    let shapes = arch.shapes(n, options.side)?;
    for (i, (layer, shape)) in arch.layers.iter().zip(shapes).enumerate() {
        match (layer, shape, stages.last_mut()) {
            (Layer::Conv { name, .. } | Layer::Linear { name, .. } | Layer::Deconv { name, .. }, Shape::Conv(g), _) => {
                let weight = view(format!("{name}.weight"))
                    .ok_or_else(|| Error::internal(format!("layer {name} has no weights")))?;
                stages.push(Stage::Block(Box::new(Block {
                    conv: g,
                    weight,
                    krsc: weight,
                    flipped: weight,
                    bias: view(format!("{name}.bias")),
                    norm: None,
                    activation: Activation::IDENTITY,
                    pool: pool::PoolGeometry::none(g.n, g.oh(), g.ow(), g.k),
                    frozen: i < arch.frozen,
                })))
            }
            (Layer::Norm { name }, _, Some(Stage::Block(block))) => {
                let affine = view(format!("{name}.weight")).zip(view(format!("{name}.bias")));
                let affine = affine.map(|(gamma, beta)| Affine { gamma, beta });
                block.norm = layout.norms.iter().find(|n| n.name == *name).map(|n| (n, affine));
            }
            (Layer::Activation(activation), _, Some(Stage::Block(block))) => block.activation = *activation,
            (Layer::Pool { .. }, Shape::Pool(g), Some(Stage::Block(block))) => block.pool = g,
            (Layer::Reshape { .. }, Shape::Reshape { side, c }, _) => {
                stages.push(Stage::Reshape { n, c, pixels: side * side });
            }
            (Layer::UpsampleNearest2x, Shape::UpsampleNearest2x { side, c }, _) => {
                stages.push(Stage::UpsampleNearest2x(UpsampleNearestGeometry { n, side, c }));
            }
            (Layer::Dropout, ..) => stages.push(Stage::Dropout { n }),
            // The objective's steps fold it in.
            (Layer::Sigmoid, ..) => {}
            (layer, ..) => return Err(Error::internal(format!("{}: {layer:?} follows no convolution", arch.name))),
        }
    }
    Ok(stages)
}

/// The first stage with parameters that are trained.
pub(super) fn first_trained(stages: &[Stage]) -> usize {
    let trained = |stage: &Stage| matches!(stage, Stage::Block(block) if !block.frozen);
    stages.iter().position(trained).unwrap_or(stages.len())
}

/// Gives the weights of all convolutions a cast to bf16 where that is what values are multiplied in, and returns the step that casts
/// them.
pub(super) fn cast_weights(
    stages: &mut [Stage],
    options: &PlanOptions,
    params: View,
    allocator: &mut Allocator,
) -> Option<CastWeights> {
    if options.dtype == DType::F32 {
        return None;
    }
    let first = first_trained(stages);
    let mut layers = Vec::new();
    let mut len = 0;
    for (i, stage) in stages.iter().enumerate() {
        let Stage::Block(block) = stage else { continue };
        let backwards = (options.training.is_some() && i > first).then_some(WeightForm::Flipped);
        for form in [WeightForm::Krsc].into_iter().chain(backwards) {
            let cast = form.len(&block.conv);
            let target = View { start: len, len: cast, ..params.bf16() };
            layers.push(cast::CastLayer { form, geometry: block.conv, source: block.weight, target });
            len += cast;
        }
    }
    let casts = allocator.of(DType::Bf16, len);
    for layer in &mut layers {
        layer.target.buffer = casts.buffer;
    }
    for stage in stages {
        let Stage::Block(block) = stage else { continue };
        for layer in layers.iter().filter(|layer| layer.source == block.weight) {
            match layer.form {
                WeightForm::Krsc => block.krsc = layer.target,
                WeightForm::Flipped => block.flipped = layer.target,
            }
        }
    }
    let table = allocator.bytes(size_of::<i32>() * CastWeights::table_len(layers.len()));
    Some(CastWeights { params, casts, layers, table })
}

/// Gives each stage's values their buffers: from stage `kept_from` on own ones, since a backward pass reads them again; before it
/// two that take turns, so that no step reads the buffer that it writes.
pub(super) fn place(
    stages: &[Stage],
    input: View,
    kept_from: usize,
    inference_only: bool,
    dtype: DType,
    allocator: &mut Allocator,
) -> Vec<Values> {
    let (passing, kept) = stages.split_at(kept_from);
    let lengths =
        |stages: &[Stage]| -> Vec<usize> { stages.iter().flat_map(|stage| stage.lengths(inference_only)).collect() };
    let (passing, kept) = (lengths(passing), lengths(kept));
    let longest = |turn: usize| passing.iter().skip(turn).step_by(2).copied().max().unwrap_or(0);
    let turns = [0, 1].map(|turn| allocator.of(dtype, longest(turn)));
    let passing = passing.iter().enumerate().map(|(i, &len)| prefix(turns[i % 2], len));
    let kept: Vec<View> = kept.into_iter().map(|len| allocator.of(dtype, len)).collect();
    let mut views = passing.chain(kept);
    let mut x = input;
    let mut values = Vec::with_capacity(stages.len());
    for stage in stages {
        let own: Vec<View> = views.by_ref().take(stage.lengths(inference_only).len()).collect();
        let (conv, out) = (own.first().copied().unwrap_or(x), own.last().copied().unwrap_or(x));
        values.push(Values { x, conv, out, argmax: None });
        x = out;
    }
    for (stage, values) in stages.iter().zip(&mut values).skip(kept_from) {
        if let Stage::Block(block) = stage {
            values.argmax = block.pools().then(|| allocator.bytes(block.pool.y_len()));
        }
    }
    values
}

/// How a forward pass goes.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// The statistics that norms normalise with.
    pub stats: View,
    pub norm_eps: f64,
    pub training: Option<Running>,
    /// Keep the winners of pools for a backward pass.
    pub winners: bool,
}

/// What a forward pass in training mode also does.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// The running statistics, which it updates.
    pub stats: View,
    /// Of the dropout.
    pub seed: u64,
}

/// The forward pass of all stages.
pub(super) fn forward(stages: &[Stage], values: &[Values], pass: Pass, steps: &mut Vec<Step>) {
    for (stage, values) in stages.iter().zip(values) {
        let &Values { x, out: y, .. } = values;
        match stage {
            Stage::Block(block) => forward_block(block, values, pass, steps),
            &Stage::Reshape { c, pixels, .. } => {
                steps.push(Step::Reshape(Reshape { rows: c, columns: pixels, x, y }));
            }
            &Stage::UpsampleNearest2x(geometry) => {
                steps.push(Step::UpsampleNearest2x(UpsampleNearest2x { geometry, x, y }))
            }
            &Stage::Dropout { n } => {
                let dropout = pass.training.map(|running| Dropout { seed: running.seed, values: y, n });
                steps.extend(dropout.map(Step::Dropout));
            }
        }
    }
}

/// Convolution and tail of one block. A bias before a norm of batch statistics cancels: it only moves the running mean.
fn forward_block(block: &Block, values: &Values, pass: Pass, steps: &mut Vec<Step>) {
    let conv = Fprop {
        geometry: block.conv,
        x: values.x,
        w: block.krsc,
        b: block.bias,
        y: values.conv,
        stats: None,
        epilogue: Epilogue::NONE,
    };
    let norm = block.norm(pass.stats, pass.norm_eps);
    // Of values that pass in two buffers, the output may lie where the input does.
    if pass.training.is_none() && !pass.winners && block.fuses() && values.x.buffer != values.out.buffer {
        let epilogue = Epilogue { norm, activation: block.activation };
        steps.push(Step::ConvFprop(Fprop { y: values.out, epilogue, ..conv }));
        return;
    }
    match (block.norm, pass.training) {
        (Some((norm, _)), Some(running)) => {
            let stats = Stats {
                x: values.conv,
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
            x: values.conv,
            y: values.out,
            argmax: values.argmax.filter(|_| pass.winners),
        }));
    }
}
