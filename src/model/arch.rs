//! A net as a list of layers, and what follows from the list: shapes, receptive field, parameter count, work.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::named::Named;
use crate::steps::activation::Activation;
use crate::steps::concat::MOST_PARTS;
use crate::steps::upsample::ReceptiveField;
use crate::steps::{conv, pool};

/// Weight of a batch in the norms' running statistics while training: PyTorch's default, as the authors train.
pub(crate) const NORM_MOMENTUM: f64 = 0.1;

/// What a net is trained for, and how its output becomes scores and heatmaps.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    serde::Serialize,
    serde::Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Fully convolutional data description: the output is the anomaly map
    #[default]
    Fcdd,
    /// Hypersphere classification: the output is a vector whose length is the score; heatmaps are gradients of the score
    Hsc,
    /// Autoencoder: the output is the input again; what it fails to reconstruct is the heatmap
    Ae,
}

/// How the initial weights of a layer are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Uniform in ±1/√fan_in, biases too: PyTorch's default.
    Uniform,
    /// Uniform in ±gain·√(6 / (fan_in + fan_out)) with the gain of the leaky ReLU, √(2 / (1 + 0.01²)); biases as by default.
    Xavier,
    /// Normal with variance 2 / fan_out, biases 0: torchvision's convolutions.
    Kaiming,
    /// Normal with standard deviation 0.01, biases 0: torchvision's linear layers.
    Normal,
}

/// One layer. Names are PyTorch's module names.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Convolution with `side`×`side` kernels, an odd number, and as much padding as keeps the side where the stride is 1.
    Conv {
        name: String,
        out: usize,
        side: usize,
        stride: usize,
        /// Whether it has a bias where the net has biases.
        bias: bool,
    },
    /// Fully connected layer on maps of `pixels` pixels: a 1×1 convolution of all of an image's values.
    Linear {
        name: String,
        out: usize,
        pixels: usize,
        init: Init,
    },
    /// Transposed convolution of stride 1: a convolution with the flipped kernel and a padding of side − 1 − `pad`.
    Deconv {
        name: String,
        out: usize,
        side: usize,
        pad: usize,
        init: Init,
    },
    /// Batch normalisation.
    Norm {
        name: String,
    },
    Activation(Activation),
    /// Max pooling.
    Pool {
        side: usize,
        stride: usize,
        pad: usize,
    },
    /// The mean over windows without padding.
    AveragePool {
        side: usize,
        stride: usize,
    },
    /// The sum of two values of one shape.
    Add,
    /// The channels of several values of one side, one after the other.
    Concat,
    /// A vector in the order (channel, row, column) as `c` maps of `side`×`side` pixels.
    Reshape {
        side: usize,
        c: usize,
    },
    /// Twice the side, each pixel four times.
    UpsampleNearest2x,
    /// In training, zeroes each value with probability ½ and doubles the others.
    Dropout,
    /// The logistic function, at the end of an autoencoder alone.
    Sigmoid,
}

/// What a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The images.
    Input,
    /// The output of the layer of this number.
    Layer(usize),
}

/// A layer and what it reads: the images, or layers before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub layer: Layer,
    pub inputs: Vec<Source>,
}

/// A net.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    pub name: String,
    pub objective: Objective,
    /// Input channels.
    pub channels: usize,
    /// Input side that the paper uses; any side that the layers admit works.
    pub side: usize,
    /// With biases in the convolutions and scale and shift in the norms.
    pub bias: bool,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// How the convolutions start.
    pub conv_init: Init,
    /// In topological order; the last is the output.
    pub layers: Vec<Node>,
    /// Layers before this index are frozen: no update of their parameters, while their norms still run in training mode.
    pub frozen: usize,
    /// Whether the feature layers start from weights that were trained on ImageNet, without which the net makes little sense.
    pub pretrained: bool,
    /// Norms that the authors' module owns but never uses: (name, channels). Written for them, ignored when read.
    pub unused_norms: Vec<(String, usize)>,
}

/// A layer's geometry for a given batch and input side.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Convolutions, and what is one inside: fully connected layers and transposed convolutions.
    Conv(conv::ConvGeometry),
    /// Norms, activations, sums, dropout and sigmoid keep the shape [n, side, side, c].
    Same {
        side: usize,
        c: usize,
    },
    Pool(pool::PoolGeometry),
    AveragePool(pool::PoolGeometry),
    /// Of values with so many channels each.
    Concat {
        side: usize,
        channels: Vec<usize>,
    },
    /// From [n, 1, 1, c·side²] to [n, side, side, c].
    Reshape {
        side: usize,
        c: usize,
    },
    /// From [n, side, side, c] to [n, 2·side, 2·side, c].
    UpsampleNearest2x {
        side: usize,
        c: usize,
    },
}

impl Shape {
    /// Side and channels of the output.
    pub fn output(&self) -> (usize, usize) {
        match *self {
            Shape::Conv(g) => (g.oh(), g.k),
            Shape::Same { side, c } | Shape::Reshape { side, c } => (side, c),
            Shape::Pool(g) | Shape::AveragePool(g) => (g.oh(), g.c),
            Shape::Concat { side, ref channels } => (side, channels.iter().sum()),
            Shape::UpsampleNearest2x { side, c } => (2 * side, c),
        }
    }
}

impl Layer {
    /// How many values it reads.
    fn inputs(&self) -> RangeInclusive<usize> {
        match self {
            Layer::Add => 2..=2,
            Layer::Concat => 2..=MOST_PARTS,
            Layer::Conv { .. }
            | Layer::Linear { .. }
            | Layer::Deconv { .. }
            | Layer::Norm { .. }
            | Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::AveragePool { .. }
            | Layer::Reshape { .. }
            | Layer::UpsampleNearest2x
            | Layer::Dropout
            | Layer::Sigmoid => 1..=1,
        }
    }

    /// The name of a layer with parameters.
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Conv { name, .. }
            | Layer::Linear { name, .. }
            | Layer::Deconv { name, .. }
            | Layer::Norm { name } => Some(name),
            Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::AveragePool { .. }
            | Layer::Add
            | Layer::Concat
            | Layer::Reshape { .. }
            | Layer::UpsampleNearest2x
            | Layer::Dropout
            | Layer::Sigmoid => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Layer::Conv { .. } => "convolution",
            Layer::Linear { .. } => "fully connected layer",
            Layer::Deconv { .. } => "transposed convolution",
            Layer::Norm { .. } => "norm",
            Layer::Activation(_) => "activation",
            Layer::Pool { .. } => "max pool",
            Layer::AveragePool { .. } => "average pool",
            Layer::Add => "sum",
            Layer::Concat => "concatenation",
            Layer::Reshape { .. } => "reshape",
            Layer::UpsampleNearest2x => "upsampling",
            Layer::Dropout => "dropout",
            Layer::Sigmoid => "sigmoid",
        }
    }

    /// What is wrong with its own numbers, and what they may be.
    fn fault(&self) -> Option<(String, &'static str)> {
        match *self {
            Layer::Conv { side, stride, .. } => (side % 2 == 0 || stride == 0).then(|| {
                (
                    format!("has a kernel of {side}×{side} and stride {stride}"),
                    "kernels have odd sides, strides are at least 1",
                )
            }),
            Layer::Deconv { side, pad, .. } => (pad >= side).then(|| {
                (
                    format!("has a kernel of {side}×{side} and a padding of {pad}"),
                    "its padding is smaller than its kernel",
                )
            }),
            Layer::Pool { side, stride, pad } => (side == 0 || stride == 0 || 2 * pad > side || side > pool::MOST_SIDE)
                .then(|| {
                    let found = format!("has a window of {side}×{side}, stride {stride} and a padding of {pad}");
                    (found, "windows have 1 to 16 rows, strides are at least 1, padding is at most half a window")
                }),
            Layer::AveragePool { side, stride } => (side == 0 || stride == 0)
                .then(|| (format!("has a window of {side}×{side} and stride {stride}"), "both are at least 1")),
            Layer::Linear { .. }
            | Layer::Norm { .. }
            | Layer::Activation(_)
            | Layer::Add
            | Layer::Concat
            | Layer::Reshape { .. }
            | Layer::UpsampleNearest2x
            | Layer::Dropout
            | Layer::Sigmoid => None,
        }
    }
}

impl Arch {
    /// Adds a layer that reads the last one, or the images where it is the first. Returns where its output is read from.
    pub fn push(&mut self, layer: Layer) -> Source {
        self.push_on(layer, [self.output()])
    }

    /// Adds a layer that reads these.
    pub fn push_on(&mut self, layer: Layer, inputs: impl Into<Vec<Source>>) -> Source {
        self.layers.push(Node { layer, inputs: inputs.into() });
        self.output()
    }

    /// The last layer's output.
    pub fn output(&self) -> Source {
        self.layers.len().checked_sub(1).map_or(Source::Input, Source::Layer)
    }

    /// A layer as messages name it, such as `layer 3 (norm bn2d1)`.
    pub(crate) fn describe(&self, layer: usize) -> String {
        let node = &self.layers[layer].layer;
        let name = node.name().map(|name| format!(" {name}")).unwrap_or_default();
        format!("layer {layer} ({}{name})", node.kind())
    }

    /// The layers that read a value.
    pub(crate) fn readers(&self, value: Source) -> impl Iterator<Item = usize> {
        (0..self.layers.len()).filter(move |&i| self.layers[i].inputs.contains(&value))
    }

    /// An error that names the net and a layer, says what is wrong with it, and what would be legal.
    pub(crate) fn illegal(&self, layer: usize, problem: impl Display, legal: impl Into<String>) -> Error {
        Error::setting(format!("{}: {} {problem}", self.name, self.describe(layer)), legal)
    }

    /// Fails where the layers are no graph that ends in what the objective needs, or one of them has impossible numbers. What follows
    /// what is checked in lowering.
    pub fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (i, Node { layer, inputs }) in self.layers.iter().enumerate() {
            if let Some((problem, legal)) = layer.fault() {
                return Err(self.illegal(i, problem, legal));
            }
            let counts = layer.inputs();
            if !counts.contains(&inputs.len()) {
                let legal = format!("it reads {} to {}", counts.start(), counts.end());
                return Err(self.illegal(i, format!("reads {} values", inputs.len()), legal));
            }
            if let Some(Source::Layer(later)) =
                inputs.iter().find(|&&input| matches!(input, Source::Layer(of) if of >= i))
            {
                return Err(self.illegal(
                    i,
                    format!("reads layer {later}"),
                    "layers read the images or layers before them",
                ));
            }
            if let Some(name) = layer.name()
                && !names.insert(name)
            {
                return Err(self.illegal(
                    i,
                    "has the name of another",
                    "layers with parameters have names of their own",
                ));
            }
            let is_last = i + 1 == self.layers.len();
            if is_last != self.readers(Source::Layer(i)).next().is_none() {
                let legal = "every layer but the last is read by one after it";
                return Err(self.illegal(i, "is read by no layer", legal));
            }
        }
        let end =
            self.layers.len().checked_sub(1).ok_or_else(|| Error::internal(format!("{} has no layers", self.name)))?;
        let (fits, legal) = match (self.objective, &self.layers[end].layer) {
            (Objective::Fcdd, last) => (
                matches!(last, Layer::Conv { out: 1, side: 1, stride: 1, .. }),
                "FCDD nets end in a 1×1 convolution to one channel",
            ),
            (Objective::Hsc, last) => (matches!(last, Layer::Linear { .. }), "HSC nets end in a fully connected layer"),
            // Its size is that of the images, which `shapes` checks.
            (Objective::Ae, _) => (true, ""),
        };
        if !fits {
            return Err(self.illegal(end, format!("ends a net of `objective` {}", self.objective.word()), legal));
        }
        if self.frozen >= self.layers.len() {
            return Err(self.illegal(end, "is frozen as all others are", "something has to be trained"));
        }
        Ok(())
    }

    /// Geometry of each layer for `n` images of `side` × `side` pixels.
    ///
    /// # Errors
    /// If [`Arch::check`] fails, or layers do not take what they read at this side.
    pub fn shapes(&self, n: usize, side: usize) -> Result<Vec<Shape>> {
        self.check()?;
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.layers.len());
        for (i, node) in self.layers.iter().enumerate() {
            let read = |input: &Source| match input {
                Source::Input => (side, self.channels),
                Source::Layer(of) => shapes[*of].output(),
            };
            let inputs: Vec<(usize, usize)> = node.inputs.iter().map(read).collect();
            let (at, c) = inputs[0];
            let too_small = |window: usize| {
                let problem = format!("an input of {side}×{side} pixels is too small for {}", self.name);
                (at < window).then(|| Error::setting(problem, format!("use a larger side, such as {}", self.side)))
            };
            let sides = || inputs.iter().map(|(side, _)| format!("{side}²")).collect::<Vec<_>>().join(" and ");
            shapes.push(match node.layer {
                Layer::Conv { out, side: k, stride, .. } => {
                    Shape::Conv(conv::ConvGeometry { n, h: at, w: at, c, k: out, side: k, stride, pad: k / 2 })
                }
                Layer::Linear { out, pixels, .. } => {
                    if at * at != pixels {
                        return Err(self.only_its_own_side(side));
                    }
                    Shape::Conv(conv::ConvGeometry { n, h: 1, w: 1, c: pixels * c, k: out, side: 1, stride: 1, pad: 0 })
                }
                Layer::Deconv { out, side: k, pad, .. } => {
                    let pad = k - 1 - pad;
                    if let Some(error) = too_small(k.saturating_sub(2 * pad)) {
                        return Err(error);
                    }
                    Shape::Conv(conv::ConvGeometry { n, h: at, w: at, c, k: out, side: k, stride: 1, pad })
                }
                Layer::Norm { .. } | Layer::Activation(_) | Layer::Dropout | Layer::Sigmoid => {
                    Shape::Same { side: at, c }
                }
                Layer::Add => {
                    if inputs[1] != inputs[0] {
                        let shape = |(side, c): &(usize, usize)| format!("{side}²×{c}");
                        let problem = format!("reads values of {} and {}", shape(&inputs[0]), shape(&inputs[1]));
                        return Err(self.illegal(i, problem, "both have one side and as many channels"));
                    }
                    Shape::Same { side: at, c }
                }
                Layer::Concat => {
                    if inputs.iter().any(|&(side, _)| side != at) {
                        return Err(self.illegal(
                            i,
                            format!("reads values of {} pixels", sides()),
                            "all have one side",
                        ));
                    }
                    Shape::Concat { side: at, channels: inputs.iter().map(|&(_, c)| c).collect() }
                }
                Layer::Reshape { side: to, c: maps } => {
                    if (at * at * c) != to * to * maps || at != 1 {
                        let problem = format!("reads {at}²×{c} values where {to}²×{maps} are wanted");
                        return Err(self.illegal(i, problem, "it reads a vector of as many values"));
                    }
                    Shape::Reshape { side: to, c: maps }
                }
                Layer::UpsampleNearest2x => Shape::UpsampleNearest2x { side: at, c },
                Layer::Pool { side: k, stride, pad } => {
                    if let Some(error) = too_small(k.saturating_sub(2 * pad)) {
                        return Err(error);
                    }
                    Shape::Pool(pool::PoolGeometry { n, h: at, w: at, c, side: k, stride, pad })
                }
                Layer::AveragePool { side: k, stride } => {
                    if let Some(error) = too_small(k) {
                        return Err(error);
                    }
                    Shape::AveragePool(pool::PoolGeometry { n, h: at, w: at, c, side: k, stride, pad: 0 })
                }
            });
        }
        let output = shapes.last().map(Shape::output);
        if self.objective == Objective::Ae && output != Some((side, self.channels)) {
            return Err(self.only_its_own_side(side));
        }
        Ok(shapes)
    }

    fn only_its_own_side(&self, side: usize) -> Error {
        let own = self.side;
        Error::setting(
            format!("{} takes inputs of {own}×{own} pixels alone, not of {side}×{side}", self.name),
            format!("choose `side` {own}, or a fully convolutional net (FCDD)"),
        )
    }

    /// Receptive field of the output map of a fully convolutional net for inputs of the given side. Where paths of several fields meet it
    /// is the smallest that holds them all.
    ///
    /// # Errors
    /// If a layer has no receptive field, or paths meet whose outputs lie unequally far apart.
    pub fn receptive_field(&self, side: usize) -> Result<ReceptiveField> {
        let image = ReceptiveField { n: side, jump: 1, size: 1, shift: 0.0 };
        let mut fields: Vec<ReceptiveField> = Vec::with_capacity(self.layers.len());
        for (i, node) in self.layers.iter().enumerate() {
            let read = |input: &Source| match input {
                Source::Input => image,
                Source::Layer(of) => fields[*of],
            };
            let field = node.inputs.first().map_or(image, read);
            fields.push(match node.layer {
                Layer::Conv { side, stride, .. } => field.through(side, stride, side / 2),
                Layer::Pool { side, stride, pad } => field.through(side, stride, pad),
                Layer::AveragePool { side, stride } => field.through(side, stride, 0),
                Layer::Norm { .. } | Layer::Activation(_) | Layer::Dropout => field,
                Layer::UpsampleNearest2x => field.upsampled().ok_or_else(|| {
                    let problem = format!("upsamples outputs that lie {} pixels apart", field.jump);
                    self.illegal(i, problem, "an even number of pixels can be halved")
                })?,
                Layer::Add | Layer::Concat => node.inputs.iter().map(read).try_fold(field, |field, other| {
                    field.joined(other).ok_or_else(|| {
                        let problem = format!("joins outputs that lie {} and {} pixels apart", field.jump, other.jump);
                        self.illegal(i, problem, "they lie equally far apart, and there are as many of them")
                    })
                })?,
                Layer::Linear { .. } | Layer::Deconv { .. } | Layer::Reshape { .. } | Layer::Sigmoid => {
                    let legal = "FCDD nets are fully convolutional";
                    return Err(self.illegal(i, "has no receptive field", legal));
                }
            });
        }
        Ok(fields.last().copied().unwrap_or(image))
    }

    /// Whether inputs have to be scaled as those that the pretrained layers have learned from: without norms, nothing makes up for
    /// another scale.
    pub fn takes_imagenet_scale(&self) -> bool {
        self.pretrained && !self.layers.iter().any(|node| matches!(node.layer, Layer::Norm { .. }))
    }

    /// FLOPs of convolutions and fully connected layers per image: (forward, forward and backward). Frozen layers take part in the
    /// forward pass alone, and nothing needs the gradient of the input.
    pub fn flops(&self, side: usize) -> Result<(u64, u64)> {
        let (mut forward, mut train) = (0, 0);
        // Whether something that is trained lies at a layer or before it.
        let mut trained: Vec<bool> = Vec::with_capacity(self.layers.len());
        for (i, (node, shape)) in self.layers.iter().zip(self.shapes(1, side)?).enumerate() {
            let before = node.inputs.iter().any(|input| matches!(input, Source::Layer(of) if trained[*of]));
            trained.push(before || (i >= self.frozen && node.layer.name().is_some()));
            let Shape::Conv(g) = shape else { continue };
            forward += g.flops();
            train += g.flops();
            if i >= self.frozen {
                train += if before { 2 * g.flops() } else { g.flops() };
            }
        }
        Ok((forward, train))
    }
}
