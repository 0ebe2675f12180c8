//! Lowering: from a net's layers to a plan's buffers and fused steps.

use super::plan::{Buffers, Plan, Ports, Step, TrainingPorts};
use crate::device::{BufferId, ByteBufferId, ByteView, View};
use crate::error::{Error, Result};
use crate::model::arch::{Arch, Layer, Shape};
use crate::model::weights::{Layout, NormStats};
use crate::steps::activation::Activation;
use crate::steps::conv::{self, Dgrad, Fprop, Wgrad};
use crate::steps::fcdd_loss::{LabelLoss, MapLoss, PseudoHuber, PseudoHuberBackward};
use crate::steps::norm::{Affine, Norm, Stats};
use crate::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use crate::steps::optimizer::{Adam, Sgd};
use crate::steps::pool;
use crate::steps::upsample::{Taps, Upsample, UpsampleAdjoint};

/// Which optimizer a plan updates with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Nesterov momentum 0.9.
    Sgd,
    /// β 0.9 and 0.999.
    Adam,
}

/// What a plan can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Images per batch.
    pub batch: usize,
    /// Input side in pixels.
    pub side: usize,
    /// σ of the upsampling's Gaussian.
    pub sigma: f64,
    /// None for inference alone, which needs far less memory.
    pub training: Option<Training>,
}

/// What a training plan can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    pub optimizer: Optimizer,
    /// Train on ground-truth maps instead of labels.
    pub maps: bool,
    /// Also compute the gradient of the input.
    pub input_grad: bool,
}

/// A convolution and what follows it up to the next one.
struct Block<'a> {
    conv: conv::Geometry,
    weight: View,
    bias: Option<View>,
    norm: Option<(&'a NormStats, Option<Affine>)>,
    activation: Activation,
    pool: pool::Geometry,
    frozen: bool,
}

impl Block<'_> {
    /// True if anything follows the convolution.
    fn has_tail(&self) -> bool {
        self.norm.is_some() || self.activation != Activation::IDENTITY || self.pool.side > 1
    }
}

/// Where a block's values lie.
#[derive(Clone, Copy)]
struct Values {
    x: View,
    /// The convolution's output.
    conv: View,
    /// The block's output: `conv` itself where nothing follows.
    out: View,
    argmax: Option<ByteView>,
}

/// Hands out buffers.
#[derive(Default)]
struct Allocator {
    buffers: Buffers,
}

impl Allocator {
    fn real(&mut self, len: usize) -> View {
        self.buffers.reals.push(len);
        View { buffer: BufferId(self.buffers.reals.len() - 1), start: 0, len }
    }

    fn bytes(&mut self, len: usize) -> ByteView {
        self.buffers.bytes.push(len);
        ByteView { buffer: ByteBufferId(self.buffers.bytes.len() - 1), len }
    }
}

/// The first `len` elements of a view.
fn head(view: View, len: usize) -> View {
    View { len, ..view }
}

/// Part of a view.
fn part(view: View, start: usize, len: usize) -> View {
    View { start: view.start + start, len, ..view }
}

/// Lowers a net. Plans of one net and one set of options that differ in the batch alone number their buffers alike, so a plan for
/// a smaller batch runs in the memory of a larger one's.
pub fn lower(arch: &Arch, options: &Options) -> Result<Plan> {
    let layout = Layout::new(arch);
    let field = arch.receptive_field(options.side);
    let (n, u, side) = (options.batch, field.n, options.side);
    let mut allocator = Allocator::default();
    let params = allocator.real(layout.params_len);
    let stats = allocator.real(layout.stats_len);
    let input = allocator.real(n * side * side * arch.channels);
    let blocks = blocks(arch, &layout, options, params)?;
    let kept_from = match options.training {
        None => blocks.len(),
        Some(training) if training.input_grad => 0,
        Some(_) => first_trained(&blocks),
    };
    let values = place(&blocks, input, kept_from, &mut allocator);
    let z = values.last().map_or(input, |v| v.out);
    let anomaly = allocator.real(n * u * u);
    let score = allocator.real(n);
    let heatmap = allocator.real(n * side * side);
    let taps = Taps::new(field, side, options.sigma);
    let kernel = allocator.real(taps.kernel().len());
    let pseudo_huber = Step::PseudoHuber(PseudoHuber { z, a: anomaly, score });
    let upsample = Step::Upsample(Upsample { taps: taps.clone(), kernel, u, a: anomaly, out: heatmap });

    let mut infer = Vec::new();
    for (block, values) in blocks.iter().zip(&values) {
        forward_block(block, values, stats, arch.norm_eps, false, &mut infer);
    }
    infer.push(pseudo_huber.clone());

    let mut plan = Plan {
        batch: n,
        buffers: Buffers::default(),
        constants: vec![(kernel, taps.kernel().to_vec())],
        ports: Ports { params, stats, input, z, anomaly, score, heatmap, training: None },
        forward: vec![],
        backward: vec![],
        update: vec![],
        infer,
        upsample: vec![upsample.clone()],
    };
    if let Some(training) = options.training {
        let batch_stats = allocator.real(layout.stats_len);
        for (block, values) in blocks.iter().zip(&values) {
            if let Some((norm, _)) = block.norm {
                let conv = Fprop { geometry: block.conv, x: values.x, w: block.weight, b: None, y: values.conv };
                plan.forward.push(Step::ConvFprop(conv));
                plan.forward.push(Step::NormStats(Stats {
                    x: values.conv,
                    c: norm.c,
                    bias: block.bias,
                    mean: part(batch_stats, norm.start, norm.c),
                    var: part(batch_stats, norm.start + norm.c, norm.c),
                    running_mean: part(stats, norm.start, norm.c),
                    running_var: part(stats, norm.start + norm.c, norm.c),
                }));
            }
            forward_block(block, values, batch_stats, arch.norm_eps, true, &mut plan.forward);
        }
        plan.forward.push(pseudo_huber);
        if training.maps {
            plan.forward.push(upsample);
        }
        let ports = TrainingPorts {
            labels: allocator.real(n),
            maps: training.maps.then(|| allocator.real(n * side * side)),
            loss: allocator.real(n),
            grads: allocator.real(layout.params_len),
            moments: allocator.real(layout.params_len * if training.optimizer == Optimizer::Adam { 2 } else { 1 }),
            input_grad: None,
        };
        plan.ports.training = Some(ports);
        let lowering = Backward { arch, blocks: &blocks, values: &values, batch_stats, taps, kernel, u, training };
        lowering.push(&mut plan, ports, &mut allocator);
        plan.update.push(update(params, &ports, &layout, training.optimizer));
    }
    plan.buffers = allocator.buffers;
    Ok(plan)
}

/// Groups the layers into blocks.
fn blocks<'a>(arch: &Arch, layout: &'a Layout, options: &Options, params: View) -> Result<Vec<Block<'a>>> {
    let view = |name: String| layout.param(&name).map(|p| part(params, p.start, p.len()));
    let mut blocks: Vec<Block> = Vec::new();
    let shapes = arch.shapes(options.batch, options.side)?;
    for (i, (layer, shape)) in arch.layers.iter().zip(shapes).enumerate() {
        match (layer, shape, blocks.last_mut()) {
            (Layer::Conv { name, .. }, Shape::Conv(g), _) => blocks.push(Block {
                conv: g,
                weight: view(format!("{name}.weight"))
                    .ok_or_else(|| Error::internal(format!("layer {name} has no weights")))?,
                bias: view(format!("{name}.bias")),
                norm: None,
                activation: Activation::IDENTITY,
                pool: pool::Geometry::none(g.n, g.oh(), g.ow(), g.k),
                frozen: i < arch.frozen,
            }),
            (Layer::Norm { name }, _, Some(block)) => {
                let affine = view(format!("{name}.weight")).zip(view(format!("{name}.bias")));
                let affine = affine.map(|(gamma, beta)| Affine { gamma, beta });
                block.norm = layout.norms.iter().find(|n| n.name == *name).map(|n| (n, affine));
            }
            (Layer::Activation(activation), _, Some(block)) => block.activation = *activation,
            (Layer::Pool { .. }, Shape::Pool(g), Some(block)) => block.pool = g,
            _ => {}
        }
    }
    Ok(blocks)
}

/// The first block whose parameters are trained.
fn first_trained(blocks: &[Block]) -> usize {
    blocks.iter().position(|b| !b.frozen).unwrap_or(blocks.len())
}

/// Gives each block's values their buffers: from block `kept_from` on own ones, since the backward pass reads them again; before it
/// two that take turns, so that no step reads the buffer that it writes.
fn place(blocks: &[Block], input: View, kept_from: usize, allocator: &mut Allocator) -> Vec<Values> {
    let tail_len = |b: &Block| b.has_tail().then(|| b.pool.y_len());
    let lengths = |blocks: &[Block]| -> Vec<usize> {
        blocks.iter().flat_map(|b| [Some(b.conv.y_len()), tail_len(b)]).flatten().collect()
    };
    let (passing, kept) = blocks.split_at(kept_from);
    let (passing, kept) = (lengths(passing), lengths(kept));
    let longest = |turn: usize| passing.iter().skip(turn).step_by(2).copied().max().unwrap_or(0);
    let turns = [0, 1].map(|turn| allocator.real(longest(turn)));
    let passing = passing.iter().enumerate().map(|(i, &len)| head(turns[i % 2], len));
    let kept: Vec<View> = kept.into_iter().map(|len| allocator.real(len)).collect();
    let mut views = passing.chain(kept);
    let mut x = input;
    let mut values = Vec::with_capacity(blocks.len());
    for block in blocks {
        let conv = views.next().unwrap_or(input);
        let out = if block.has_tail() { views.next().unwrap_or(input) } else { conv };
        values.push(Values { x, conv, out, argmax: None });
        x = out;
    }
    for (block, values) in blocks.iter().zip(&mut values).skip(kept_from) {
        values.argmax = block.has_tail().then(|| allocator.bytes(block.pool.y_len()));
    }
    values
}

/// The norm of a block, with statistics from `stats`.
fn norm_of(block: &Block, stats: View, eps: f64) -> Option<Norm> {
    let (norm, affine) = block.norm?;
    Some(Norm { mean: part(stats, norm.start, norm.c), var: part(stats, norm.start + norm.c, norm.c), affine, eps })
}

/// Convolution and tail of one block. In training mode a convolution before a norm has been pushed already, with its statistics.
fn forward_block(block: &Block, values: &Values, stats: View, eps: f64, training: bool, steps: &mut Vec<Step>) {
    if !(training && block.norm.is_some()) {
        let conv = Fprop { geometry: block.conv, x: values.x, w: block.weight, b: block.bias, y: values.conv };
        steps.push(Step::ConvFprop(conv));
    }
    if block.has_tail() {
        steps.push(Step::NormActPool(NormActPool {
            pool: block.pool,
            norm: norm_of(block, stats, eps),
            activation: block.activation,
            x: values.conv,
            y: values.out,
            argmax: values.argmax.filter(|_| training),
        }));
    }
}

/// Everything that the backward pass is lowered from.
struct Backward<'a> {
    arch: &'a Arch,
    blocks: &'a [Block<'a>],
    values: &'a [Values],
    batch_stats: View,
    taps: Taps,
    kernel: View,
    u: usize,
    training: Training,
}

impl Backward<'_> {
    /// Pushes the loss, its gradient, and the blocks in reverse down to the first trained one.
    fn push(&self, plan: &mut Plan, ports: TrainingPorts, allocator: &mut Allocator) {
        let (input, steps) = (plan.ports.input, &mut plan.backward);
        // Gradients of values alternate between two buffers: each is dead once the next is computed.
        let longest = self.blocks.iter().map(|b| b.conv.y_len().max(b.pool.y_len()).max(b.conv.x_len())).max();
        let mut gradients = [0, 1].map(|_| allocator.real(longest.unwrap_or(0)));
        let Ports { z, anomaly, score, heatmap, .. } = plan.ports;
        let dz = head(gradients[0], z.len);
        match ports.maps {
            None => steps.push(Step::LabelLoss(LabelLoss { z, score, labels: ports.labels, loss: ports.loss, dz })),
            Some(maps) => {
                let d_heatmap = allocator.real(heatmap.len);
                let d_anomaly = head(gradients[1], anomaly.len);
                steps.push(Step::MapLoss(MapLoss { a: heatmap, maps, loss: ports.loss, da: d_heatmap }));
                steps.push(Step::UpsampleAdjoint(UpsampleAdjoint {
                    taps: self.taps.clone(),
                    kernel: self.kernel,
                    u: self.u,
                    dout: d_heatmap,
                    da: d_anomaly,
                }));
                steps.push(Step::PseudoHuberBackward(PseudoHuberBackward { z, da: d_anomaly, dz }));
            }
        }
        let first = first_trained(self.blocks);
        for (i, (block, values)) in self.blocks.iter().zip(self.values).enumerate().rev() {
            if i < first && !self.training.input_grad {
                break;
            }
            if let Some(argmax) = values.argmax {
                let norm = norm_of(block, self.batch_stats, self.arch.norm_eps);
                let on = |view: View| part(ports.grads, view.start, view.len);
                steps.push(Step::NormActPoolBackward(NormActPoolBackward {
                    pool: block.pool,
                    norm,
                    activation: block.activation,
                    x: values.conv,
                    argmax,
                    dy: head(gradients[0], block.pool.y_len()),
                    dx: head(gradients[1], block.pool.x_len()),
                    daffine: norm.and_then(|n| n.affine).map(|a| Affine { gamma: on(a.gamma), beta: on(a.beta) }),
                }));
                gradients.swap(0, 1);
            }
            let dy = head(gradients[0], block.conv.y_len());
            if !block.frozen {
                steps.push(Step::ConvWgrad(Wgrad {
                    geometry: block.conv,
                    x: values.x,
                    dy,
                    dw: part(ports.grads, block.weight.start, block.weight.len),
                    db: block.bias.filter(|_| block.norm.is_none()).map(|b| part(ports.grads, b.start, b.len)),
                }));
            }
            if i > first || self.training.input_grad {
                let dx = head(gradients[1], block.conv.x_len());
                steps.push(Step::ConvDgrad(Dgrad { geometry: block.conv, dy, w: block.weight, dx }));
                gradients.swap(0, 1);
            }
        }
        if self.training.input_grad {
            let input_grad = Some(head(gradients[0], input.len));
            plan.ports.training = Some(TrainingPorts { input_grad, ..ports });
        }
    }
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
