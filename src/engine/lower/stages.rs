//! Layers grouped into stages, and the rules of what may follow what.
//!
//! | stage | layers |
//! | --- | --- |
//! | block | convolution, fully connected layer or transposed convolution; then, each at most once and in this order, norm, activation, max pool |
//! | standalone | any layer that is lowered by itself; then, if it takes one in, such as a sum, an activation |
//! | pool | a max pool that joins no block: of the images, of what others read too, of what is lowered by itself or of another max pool |
//!
//! A layer joins the stage of the layer that it reads, if nothing else reads that. The sigmoid that may end an autoencoder belongs to the
//! objective.

use super::allocator::{Allocator, part};
use super::options::PlanOptions;
use crate::device::{DType, View};
use crate::error::{Error, Result};
use crate::model::arch::{Arch, NetPart, Node, Source};
use crate::model::layer::{Layer, Shape, Standalone};
use crate::model::weights::{Layout, NormStats};
use crate::steps::activation::Activation;
use crate::steps::cast::{self, CastWeights};
use crate::steps::conv;
use crate::steps::conv::weights::WeightForm;
use crate::steps::norm::{Affine, Norm};
use crate::steps::pool;
use crate::steps::standalone::{LayerContext, ValueShape};

/// What is lowered together.
pub(super) struct Stage<'a> {
    /// The images, or stages before it: by their number.
    pub inputs: Vec<Source>,
    pub kind: StageKind<'a>,
    /// The first of its layers, which reads `inputs`: what is wrong with the stage is told of it.
    first_layer: usize,
    last_layer: usize,
}

pub(super) enum StageKind<'a> {
    Block(Box<Block<'a>>),
    Standalone(Box<StandaloneStage<'a>>),
    /// A max pool that joins no block.
    Pool(pool::PoolGeometry),
}

impl StageKind<'_> {
    /// Its block; None of stages without parameters.
    pub(super) fn block(&self) -> Option<&Block<'_>> {
        match self {
            StageKind::Block(block) => Some(block),
            StageKind::Standalone(_) | StageKind::Pool(_) => None,
        }
    }

    /// Whether it writes where it reads.
    pub(super) fn in_place(&self) -> bool {
        match self {
            StageKind::Standalone(stage) => stage.layer.in_place(),
            StageKind::Block(_) | StageKind::Pool(_) => false,
        }
    }

    /// The shape of its output.
    fn output(&self) -> ValueShape {
        match self {
            StageKind::Block(block) => pooled(&block.pool),
            StageKind::Standalone(stage) => stage.output,
            StageKind::Pool(pool) => pooled(pool),
        }
    }
}

/// The shape that a pool makes.
fn pooled(pool: &pool::PoolGeometry) -> ValueShape {
    ValueShape { n: pool.n, side: pool.oh(), c: pool.c }
}

/// A layer that is lowered by itself.
pub(super) struct StandaloneStage<'a> {
    pub layer: &'a Standalone,
    inputs: Vec<ValueShape>,
    output: ValueShape,
    number: u32,
    activation: Activation,
}

impl StandaloneStage<'_> {
    pub(super) fn context(&self) -> LayerContext<'_> {
        LayerContext { inputs: &self.inputs, output: self.output, number: self.number, activation: self.activation }
    }
}

/// A convolution and what follows it up to the next stage.
pub(super) struct Block<'a> {
    pub conv: conv::ConvGeometry,
    pub weight: View,
    /// The weights as the convolution reads them forward and, if it is needed, backward: cast to bf16, or as they are.
    pub krsc: View,
    pub flipped: View,
    pub bias: Option<View>,
    pub norm: Option<(&'a NormStats, Option<Affine>)>,
    pub activation: Activation,
    pub pool: pool::PoolGeometry,
    pub frozen: bool,
    /// Whether its norm normalises by the running statistics in training too.
    pub fixed: bool,
}

impl Block<'_> {
    /// True if anything follows the convolution.
    pub(super) fn has_tail(&self) -> bool {
        self.norm.is_some() || self.activation != Activation::IDENTITY || self.pools()
    }

    /// Whether a pool is what follows, or part of it.
    pub(super) fn pools(&self) -> bool {
        (self.pool.side, self.pool.stride) != (1, 1)
    }

    /// Whether what follows, the statistics fixed, may be the convolution's epilogue: nothing has to be kept, and there is no pool.
    pub(super) fn fuses(&self) -> bool {
        self.has_tail() && !self.pools()
    }

    /// Whether it is the epilogue in every pass of a plan: no norm ever takes statistics of what the convolution gives, and no backward pass
    /// reads that.
    pub(super) fn always_fuses(&self, kept: bool, training: bool) -> bool {
        self.fuses() && !kept && (self.fixed || self.norm.is_none() || !training)
    }

    /// The norm with statistics from `stats`.
    pub(super) fn norm(&self, stats: View, eps: f64) -> Option<Norm> {
        let (norm, affine) = self.norm?;
        Some(Norm { mean: part(stats, norm.start, norm.c), var: part(stats, norm.start + norm.c, norm.c), affine, eps })
    }
}

impl Stage<'_> {
    /// Values that the stage writes in turn, in buffers of their own; fewer where an epilogue saves one.
    pub(super) fn lengths(&self, always_fuses: bool) -> Vec<usize> {
        match &self.kind {
            StageKind::Block(b) if always_fuses => vec![b.pool.y_len()],
            StageKind::Block(b) if b.has_tail() => vec![b.conv.y_len(), b.pool.y_len()],
            StageKind::Block(b) => vec![b.conv.y_len()],
            StageKind::Standalone(_) if self.kind.in_place() => vec![],
            StageKind::Standalone(stage) => vec![stage.output.len()],
            StageKind::Pool(pool) => vec![pool.y_len()],
        }
    }

    /// Whether a max pool may join.
    fn takes_pool(&self) -> bool {
        self.kind.block().is_some() && self.last().is_some()
    }

    /// How far along its stage's order the last layer is; None where nothing more may join.
    fn last(&self) -> Option<Last> {
        match &self.kind {
            StageKind::Block(b) if b.pools() => None,
            StageKind::Block(b) if b.activation != Activation::IDENTITY => Some(Last::Activation),
            StageKind::Block(b) if b.norm.is_some() => Some(Last::Norm),
            StageKind::Block(_) => Some(Last::Convolution),
            StageKind::Standalone(stage)
                if stage.layer.takes_activation() && stage.activation == Activation::IDENTITY =>
            {
                Some(Last::Standalone)
            }
            StageKind::Standalone(_) | StageKind::Pool(_) => None,
        }
    }
}

/// The last layer of a stage that more may join.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Convolution,
    Norm,
    Activation,
    Standalone,
}

/// What may follow what, for whom it is told when something else does.
const LEGAL: &str = "a convolution, fully connected layer or transposed convolution may be followed by a norm, then an activation, each at \
                     most once; a sum by an activation, all other layers by neither; and what is followed so may be read by nothing else";

/// Groups the layers into stages.
///
/// # Errors
/// Names the layer that does not fit, and what would.
pub(super) fn stages<'a>(
    arch: &'a Arch,
    layout: &'a Layout,
    shapes: Vec<Shape>,
    params: View,
) -> Result<Vec<Stage<'a>>> {
    let view = |name: String| layout.param(&name).map(|p| part(params, p.start, p.len()));
    let mut stages: Vec<Stage> = Vec::new();
    // The stage that each layer belongs to.
    let mut stage_of: Vec<usize> = Vec::with_capacity(arch.layers.len());
    for (i, (Node { layer, inputs }, shape)) in arch.layers.iter().zip(shapes).enumerate() {
        let joins = match layer {
            Layer::Norm { .. } | Layer::Activation(_) | Layer::Sigmoid => true,
            Layer::Pool { .. } => match inputs[0] {
                Source::Input => false,
                // What others read too is written before it is pooled.
                Source::Layer(of) => arch.readers(inputs[0]).count() == 1 && stages[stage_of[of]].takes_pool(),
            },
            Layer::Conv { .. } | Layer::Linear { .. } | Layer::Deconv { .. } | Layer::Standalone(_) => false,
        };
        if joins {
            let stage = stage_before(arch, i, &stage_of, &mut stages)?;
            extend(arch, i, layout, params, stage, &shape)?;
            stage.last_layer = i;
            stage_of.push(stage_of[layer_of(inputs[0])?]);
            continue;
        }
        // A layer that others read ends its stage: none has joined it (see `stage_before`).
        let inputs = inputs.iter().map(|input| match *input {
            Source::Input => Source::Input,
            Source::Layer(of) => Source::Layer(stage_of[of]),
        });
        let inputs: Vec<Source> = inputs.collect();
        let kind = match (layer, shape) {
            (Layer::Conv { name, .. } | Layer::Linear { name, .. } | Layer::Deconv { name, .. }, Shape::Conv(g)) => {
                let weight = view(format!("{name}.weight"))
                    .ok_or_else(|| Error::internal(format!("layer {name} has no weights")))?;
                StageKind::Block(Box::new(Block {
                    conv: g,
                    weight,
                    krsc: weight,
                    flipped: weight,
                    bias: view(format!("{name}.bias")),
                    norm: None,
                    activation: Activation::IDENTITY,
                    pool: pool::PoolGeometry::none(g.n, g.oh(), g.ow(), g.k),
                    frozen: i < arch.frozen,
                    fixed: i < arch.frozen && arch.fixed,
                }))
            }
            (Layer::Pool { .. }, Shape::Pool(pool)) => StageKind::Pool(pool),
            (Layer::Standalone(layer), Shape::Standalone { inputs: shapes, output }) => {
                let (inputs, number) = (shapes, arch.draws_before(i));
                let activation = Activation::IDENTITY;
                StageKind::Standalone(Box::new(StandaloneStage { layer, inputs, output, number, activation }))
            }
            (
                Layer::Conv { .. }
                | Layer::Linear { .. }
                | Layer::Deconv { .. }
                | Layer::Norm { .. }
                | Layer::Activation(_)
                | Layer::Pool { .. }
                | Layer::Sigmoid
                | Layer::Standalone(_),
                shape,
            ) => return Err(Error::internal(format!("{}: {} has the shape {shape:?}", arch.name, arch.describe(i)))),
        };
        stage_of.push(stages.len());
        stages.push(Stage { inputs, kind, first_layer: i, last_layer: i });
    }
    Ok(stages)
}

/// The stages of the part of the net that is asked for, and the shape of what the first of them read.
///
/// # Errors
/// A net without features that may be kept, or what is trained reads more than them.
pub(super) fn of_part<'a>(
    arch: &Arch,
    mut stages: Vec<Stage<'a>>,
    images: ValueShape,
) -> Result<(Vec<Stage<'a>>, ValueShape)> {
    if arch.part == NetPart::Whole {
        return Ok((stages, images));
    }
    let first = stages.iter().take_while(|stage| stage.last_layer < arch.frozen).count();
    let mut head = stages.split_off(first);
    if let Some(stage) = head.first().filter(|stage| stage.first_layer < arch.frozen) {
        let problem = format!("is lowered together with {}, which is frozen", arch.describe(stage.first_layer));
        let legal = "features may be kept where the frozen layers end with all that follows their last convolution";
        return Err(arch.illegal(first_trained(arch, stage), problem, legal));
    }
    let kept = arch.objective.has_head() && arch.fixed;
    let Some(features) = stages.last().map(|stage| stage.kind.output()).filter(|_| kept) else {
        let problem = format!("{} has no features that could be kept", arch.name);
        return Err(Error::setting(problem, "FCDD nets have some whose first layers are frozen and fixed"));
    };
    if arch.part == NetPart::Features {
        return Ok((stages, images));
    }
    for stage in &mut head {
        for input in &mut stage.inputs {
            *input = match *input {
                Source::Layer(read) if read >= first => Source::Layer(read - first),
                Source::Layer(read) if read + 1 == first => Source::Input,
                Source::Layer(_) | Source::Input => {
                    return Err(arch.illegal(
                        stage.first_layer,
                        "reads more than the features",
                        "what is trained reads the last of the layers that are frozen",
                    ));
                }
            };
        }
    }
    Ok((head, features))
}

/// The first layer of a stage that is not frozen: those that join it read each other.
fn first_trained(arch: &Arch, stage: &Stage) -> usize {
    let mut layer = stage.last_layer;
    while let Source::Layer(before) = arch.layers[layer].inputs[0]
        && before >= arch.frozen.max(stage.first_layer)
    {
        layer = before;
    }
    layer
}

/// The number of a layer that is read.
fn layer_of(source: Source) -> Result<usize> {
    match source {
        Source::Layer(layer) => Ok(layer),
        Source::Input => Err(Error::internal("the images are no layer")),
    }
}

/// The stage that layer `i` joins: of the layer that it reads, which nothing else reads.
fn stage_before<'s, 'a>(
    arch: &Arch,
    i: usize,
    stage_of: &[usize],
    stages: &'s mut [Stage<'a>],
) -> Result<&'s mut Stage<'a>> {
    let Source::Layer(of) = arch.layers[i].inputs[0] else {
        return Err(arch.illegal(i, "reads the images", LEGAL));
    };
    if let Some(other) = arch.readers(Source::Layer(of)).find(|&reader| reader != i) {
        let problem = format!("follows {}, which {} reads too", arch.describe(of), arch.describe(other));
        return Err(arch.illegal(i, problem, LEGAL));
    }
    Ok(&mut stages[stage_of[of]])
}

/// Adds a norm, activation, pool or sigmoid to a stage.
fn extend<'a>(
    arch: &Arch,
    i: usize,
    layout: &'a Layout,
    params: View,
    stage: &mut Stage<'a>,
    shape: &Shape,
) -> Result<()> {
    let misplaced = |before: usize| arch.illegal(i, format!("follows {}", arch.describe(before)), LEGAL);
    let (before, last) = (stage.last_layer, stage.last());
    let layer = &arch.layers[i].layer;
    if let StageKind::Block(block) = &mut stage.kind
        && block.frozen
        && i >= arch.frozen
        && layer.name().is_some()
    {
        let problem = format!("is trained, {} before it is frozen", arch.describe(before));
        return Err(arch.illegal(i, problem, "a convolution and its norm are frozen together"));
    }
    match (layer, shape, &mut stage.kind, last) {
        (Layer::Norm { name }, _, StageKind::Block(block), Some(Last::Convolution)) => {
            let view = |name: String| layout.param(&name).map(|p| part(params, p.start, p.len()));
            let affine = view(format!("{name}.weight")).zip(view(format!("{name}.bias")));
            let affine = affine.map(|(gamma, beta)| Affine { gamma, beta });
            let norm = layout.norms.iter().find(|norm| norm.name == *name);
            let norm = norm.ok_or_else(|| Error::internal(format!("the norm {name} has no statistics")))?;
            block.norm = Some((norm, affine));
        }
        (Layer::Activation(activation), _, StageKind::Block(block), Some(Last::Convolution | Last::Norm)) => {
            block.activation = *activation;
        }
        (Layer::Activation(activation), _, StageKind::Standalone(stage), Some(Last::Standalone)) => {
            stage.activation = *activation;
        }
        (Layer::Pool { .. }, Shape::Pool(g), StageKind::Block(block), Some(_)) => block.pool = *g,
        (Layer::Sigmoid, ..) if arch.objective.reconstructs() && i + 1 == arch.layers.len() => {}
        (Layer::Sigmoid, ..) => {
            return Err(arch.illegal(i, "is not the last layer of an autoencoder", "only there the loss takes it in"));
        }
        (
            Layer::Norm { .. }
            | Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::Conv { .. }
            | Layer::Linear { .. }
            | Layer::Deconv { .. }
            | Layer::Standalone(_),
            ..,
        ) => return Err(misplaced(before)),
    }
    Ok(())
}

/// Fails where a stage of the part that is lowered cannot do what is asked of it: write where others read too, [take part in
/// training](crate::steps::standalone::StandaloneLayer::training_fault), or compute in bf16 what is computed in f32 alone.
pub(super) fn check(arch: &Arch, options: &PlanOptions, stages: &[Stage]) -> Result<()> {
    let PlanOptions { dtype, training, .. } = *options;
    let is_shared =
        |value: Source| value == Source::Input || stages.iter().filter(|s| s.inputs.contains(&value)).count() > 1;
    for (stage, reached) in stages.iter().zip(reached(stages, false)) {
        let refused = |problem: String, legal: &str| Err(arch.illegal(stage.first_layer, problem, legal));
        match &stage.kind {
            StageKind::Block(block) => {
                if dtype == DType::Bf16 && block.conv.stride > 1 && reached && training.is_some() {
                    let problem = "has a stride: its gradients are computed in f32 alone".to_string();
                    return refused(problem, "choose `precision` f32, or a net in which it is frozen");
                }
            }
            StageKind::Standalone(standalone) => {
                let layer = standalone.layer;
                if layer.in_place() && is_shared(stage.inputs[0]) {
                    let problem = "reads what it would change for others".to_string();
                    return refused(problem, "it writes where it reads: it reads a layer that nothing else reads");
                }
                let fault = training.and_then(|_| layer.training_fault(standalone.context()));
                if let Some((problem, legal)) = fault {
                    return refused(problem, legal);
                }
                // What writes where it reads has a step in training alone.
                let has_step = training.is_some() || !layer.in_place();
                if has_step && !layer.computes_in(dtype) {
                    return refused("computes in f32 alone".to_string(), "choose `precision` f32");
                }
            }
            StageKind::Pool(_) => {}
        }
    }
    Ok(())
}

/// Which stages a backward pass reaches: those with something that is trained, and all that read them; all of them where it goes on to
/// the images.
pub(super) fn reached(stages: &[Stage], to_input: bool) -> Vec<bool> {
    let mut reached = Vec::with_capacity(stages.len());
    for stage in stages {
        let trained = stage.kind.block().is_some_and(|block| !block.frozen);
        reached.push(trained || stage.inputs.iter().any(|&input| is_reached(&reached, to_input, input)));
    }
    reached
}

/// Whether a backward pass reaches a value.
pub(super) fn is_reached(reached: &[bool], to_input: bool, value: Source) -> bool {
    match value {
        Source::Input => to_input,
        Source::Layer(stage) => reached[stage],
    }
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
    let reached = reached(stages, false);
    let mut layers = Vec::new();
    let mut len = 0;
    for stage in stages.iter() {
        let Some(block) = stage.kind.block() else { continue };
        let onwards = options.training.is_some() && is_reached(&reached, false, stage.inputs[0]);
        for form in [WeightForm::Krsc].into_iter().chain(onwards.then_some(WeightForm::Flipped)) {
            let cast = form.len(&block.conv);
            let target = View { start: len, len: cast, ..params.bf16() };
            layers.push(cast::CastLayer { form, geometry: block.conv, source: block.weight, target });
            len += cast;
        }
    }
    // A net may be its head alone.
    if layers.is_empty() {
        return None;
    }
    let casts = allocator.of(DType::Bf16, len);
    for layer in &mut layers {
        layer.target.buffer = casts.buffer;
    }
    for stage in stages {
        let StageKind::Block(block) = &mut stage.kind else { continue };
        for layer in layers.iter().filter(|layer| layer.source == block.weight) {
            match layer.form {
                WeightForm::Krsc => block.krsc = layer.target,
                WeightForm::Flipped => block.flipped = layer.target,
            }
        }
    }
    Some(CastWeights { params, casts, layers })
}
