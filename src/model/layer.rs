//! The layers that nets are made of: their names, numbers, shapes and receptive fields. What a layer that is lowered by itself does stands in
//! its own file, `steps/NAME/layer.rs`; the others are lowered together (`engine/lower/stages.rs`).

use std::ops::RangeInclusive;

use crate::device::{DType, View};
use crate::onnx::{Graph, Value};
use crate::real::Real;
use crate::steps::activation::Activation;
use crate::steps::conv::{ConvGeometry, MOST_STRIDE};
use crate::steps::pool::{self, MOST_WINDOW, PoolGeometry};
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape};
use crate::steps::upsample::ReceptiveField;
use crate::steps::{Step, add, average_pool, concat, dropout, reshape, upsample_nearest};

/// Channels of a value, at most: far more than any net has, and few enough that no size overflows.
pub(super) const MOST_CHANNELS: usize = 1 << 16;

/// Numbers of a value or of a layer's weights, at most: a PiB of f32, and few enough that no sum of lengths overflows. What is larger than
/// memory is refused there.
pub(super) const MOST_NUMBERS: usize = 1 << 48;

/// The kinds of layers that are lowered by themselves, a line each.
macro_rules! standalone_layers {
    ($d:tt $($kind:ident: $type:ty,)*) => {
        /// A layer that is lowered by itself.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Standalone {
            $($kind($type),)*
        }

        $(impl From<$type> for Standalone {
            fn from(layer: $type) -> Standalone {
                Standalone::$kind(layer)
            }
        })*

        /// Hands a layer of whatever kind to an expression over [`StandaloneLayer`].
        macro_rules! of_any_kind {
            ($d of:expr, $d layer:ident => $d body:expr) => {
                match $d of {
                    $(Standalone::$kind($d layer) => $d body,)*
                }
            };
        }

        impl Standalone {
            /// See [`StandaloneLayer::examples`].
            pub fn examples() -> Vec<Standalone> {
                let kinds = [$(<$type>::examples().into_iter().map(Standalone::$kind).collect::<Vec<_>>(),)*];
                kinds.concat()
            }
        }
    };
}

standalone_layers! { $
    Add: add::layer::AddLayer,
    Concat: concat::layer::ConcatLayer,
    AveragePool: average_pool::layer::AveragePoolLayer,
    Reshape: reshape::layer::ReshapeLayer,
    UpsampleNearest2x: upsample_nearest::layer::UpsampleNearest2xLayer,
    Dropout: dropout::layer::DropoutLayer,
}

/// What every kind implements: a method that is not passed on here cannot be called.
impl Standalone {
    /// See [`StandaloneLayer::kind`].
    pub fn kind(&self) -> &'static str {
        of_any_kind!(self, layer => layer.kind())
    }

    /// See [`StandaloneLayer::inputs`].
    pub fn inputs(&self) -> RangeInclusive<usize> {
        of_any_kind!(self, layer => layer.inputs())
    }

    /// See [`StandaloneLayer::fault`].
    pub fn fault(&self) -> Option<Misfit> {
        of_any_kind!(self, layer => layer.fault())
    }

    /// See [`StandaloneLayer::channels`].
    pub fn channels(&self, inputs: &[usize]) -> usize {
        of_any_kind!(self, layer => layer.channels(inputs))
    }

    /// See [`StandaloneLayer::side`].
    pub fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        of_any_kind!(self, layer => layer.side(inputs))
    }

    /// See [`StandaloneLayer::receptive_field`].
    pub fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        of_any_kind!(self, layer => layer.receptive_field(inputs))
    }

    /// See [`StandaloneLayer::computes_in`].
    pub fn computes_in(&self, dtype: DType) -> bool {
        of_any_kind!(self, layer => layer.computes_in(dtype))
    }

    /// See [`StandaloneLayer::takes_activation`].
    pub fn takes_activation(&self) -> bool {
        of_any_kind!(self, layer => layer.takes_activation())
    }

    /// See [`StandaloneLayer::in_place`].
    pub fn in_place(&self) -> bool {
        of_any_kind!(self, layer => layer.in_place())
    }

    /// See [`StandaloneLayer::draws`].
    pub fn draws(&self) -> bool {
        of_any_kind!(self, layer => layer.draws())
    }

    /// See [`StandaloneLayer::training_fault`].
    pub fn training_fault(&self, context: LayerContext) -> Option<(String, &'static str)> {
        of_any_kind!(self, layer => layer.training_fault(context))
    }

    /// See [`StandaloneLayer::forward`].
    pub fn forward(&self, context: LayerContext, inputs: &[View], y: View, seed: Option<u64>) -> Option<Step> {
        of_any_kind!(self, layer => layer.forward(context, inputs, y, seed))
    }

    /// See [`StandaloneLayer::gradients`].
    pub fn gradients(&self, context: LayerContext, training: bool) -> Gradients {
        of_any_kind!(self, layer => layer.gradients(context, training))
    }

    /// See [`StandaloneLayer::backward`].
    pub fn backward(
        &self,
        context: LayerContext,
        y: View,
        dy: View,
        dxs: &[Option<View>],
        seed: Option<u64>,
    ) -> Option<Step> {
        of_any_kind!(self, layer => layer.backward(context, y, dy, dxs, seed))
    }

    /// See [`StandaloneLayer::onnx`].
    pub fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        of_any_kind!(self, layer => layer.onnx(graph, inputs))
    }

    /// See [`StandaloneLayer::plain`].
    pub fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], draws: Option<DrawKey>) -> Vec<T> {
        of_any_kind!(self, layer => layer.plain(context, inputs, draws))
    }

    /// See [`StandaloneLayer::plain_backward`].
    pub fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, draws: Option<DrawKey>) -> Vec<Vec<T>> {
        of_any_kind!(self, layer => layer.plain_backward(context, dy, draws))
    }
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
    /// The logistic function, at the end of an autoencoder alone.
    Sigmoid,
    /// Any other.
    Standalone(Standalone),
}

impl<L: Into<Standalone>> From<L> for Layer {
    fn from(layer: L) -> Layer {
        Layer::Standalone(layer.into())
    }
}

/// A layer's geometry for a given batch and input side.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Convolutions, and what is one inside: fully connected layers and transposed convolutions.
    Conv(ConvGeometry),
    Pool(PoolGeometry),
    /// Norms, activations and the sigmoid keep the shape.
    Same(ValueShape),
    Standalone {
        inputs: Vec<ValueShape>,
        output: ValueShape,
    },
}

impl Shape {
    /// What is too large for buffers and kernels.
    pub(super) fn fault(&self) -> Option<Misfit> {
        let ValueShape { side, c, .. } = self.output();
        let weights = match self {
            Shape::Conv(g) => g.w_len(),
            Shape::Pool(_) | Shape::Same(_) | Shape::Standalone { .. } => 0,
        };
        let (problem, legal) = if c > MOST_CHANNELS {
            (format!("gives {c} channels"), "a layer has 1 to 65,536 channels")
        } else if self.output().len() > MOST_NUMBERS {
            (format!("gives too many values: {side}²×{c} for each image"), "choose a smaller `side` or `batch`")
        } else if weights > MOST_NUMBERS {
            (format!("has {weights} weights"), "a layer has at most 2⁴⁸ weights")
        } else {
            return None;
        };
        Some(Misfit::Illegal(problem, legal))
    }

    /// Floating-point operations of one pass of a convolution; 0 of all else.
    pub(super) fn flops(&self) -> u64 {
        match self {
            Shape::Conv(g) => g.flops(),
            Shape::Pool(_) | Shape::Same(_) | Shape::Standalone { .. } => 0,
        }
    }

    /// Of the output.
    pub fn output(&self) -> ValueShape {
        match *self {
            Shape::Conv(g) => ValueShape { n: g.n, side: g.oh(), c: g.k },
            Shape::Pool(g) => ValueShape { n: g.n, side: g.oh(), c: g.c },
            Shape::Same(output) | Shape::Standalone { output, .. } => output,
        }
    }
}

impl Layer {
    /// What is lowered by itself; None of layers that read one value and draw nothing.
    fn standalone(&self) -> Option<&Standalone> {
        match self {
            Layer::Standalone(layer) => Some(layer),
            Layer::Conv { .. }
            | Layer::Linear { .. }
            | Layer::Deconv { .. }
            | Layer::Norm { .. }
            | Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::Sigmoid => None,
        }
    }

    /// How many values it reads.
    pub(super) fn inputs(&self) -> RangeInclusive<usize> {
        self.standalone().map_or(1..=1, Standalone::inputs)
    }

    /// Whether it draws numbers in training.
    pub(crate) fn draws(&self) -> bool {
        self.standalone().is_some_and(Standalone::draws)
    }

    /// Whether it normalises by statistics, in training those of the batch.
    pub(super) fn is_norm(&self) -> bool {
        match self {
            Layer::Norm { .. } => true,
            Layer::Conv { .. }
            | Layer::Linear { .. }
            | Layer::Deconv { .. }
            | Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::Sigmoid
            | Layer::Standalone(_) => false,
        }
    }

    /// Whether it makes one vector of all pixels.
    pub(super) fn gives_vector(&self) -> bool {
        match self {
            Layer::Linear { .. } => true,
            Layer::Conv { .. }
            | Layer::Deconv { .. }
            | Layer::Norm { .. }
            | Layer::Activation(_)
            | Layer::Pool { .. }
            | Layer::Sigmoid
            | Layer::Standalone(_) => false,
        }
    }

    /// The name of a layer with parameters.
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Conv { name, .. }
            | Layer::Linear { name, .. }
            | Layer::Deconv { name, .. }
            | Layer::Norm { name } => Some(name),
            Layer::Activation(_) | Layer::Pool { .. } | Layer::Sigmoid | Layer::Standalone(_) => None,
        }
    }

    /// As messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Conv { .. } => "convolution",
            Layer::Linear { .. } => "fully connected layer",
            Layer::Deconv { .. } => "transposed convolution",
            Layer::Norm { .. } => "norm",
            Layer::Activation(_) => "activation",
            Layer::Pool { .. } => "max pool",
            Layer::Sigmoid => "sigmoid",
            Layer::Standalone(layer) => layer.kind(),
        }
    }

    /// What is wrong with its own numbers.
    pub(super) fn fault(&self) -> Option<Misfit> {
        let fault = |wrong: bool, problem: String, legal| wrong.then_some(Misfit::Illegal(problem, legal));
        match *self {
            Layer::Conv { out, .. } | Layer::Deconv { out, .. } | Layer::Linear { out, .. }
                if !(1..=MOST_CHANNELS).contains(&out) =>
            {
                fault(true, format!("has {out} output channels"), "a layer has 1 to 65,536 channels")
            }
            Layer::Conv { side, stride, .. } => fault(
                side % 2 == 0 || side > MOST_WINDOW || !(1..=MOST_STRIDE).contains(&stride),
                format!("has a kernel of {side}×{side} and stride {stride}"),
                "kernels have odd sides of 1 to 1,023, strides are 1 to 255",
            ),
            Layer::Linear { pixels, .. } => fault(
                !(1..=MOST_WINDOW * MOST_WINDOW).contains(&pixels),
                format!("takes maps of {pixels} pixels"),
                "maps have 1 to 1,048,576 pixels",
            ),
            Layer::Deconv { side, pad, .. } => fault(
                pad >= side || side > MOST_WINDOW,
                format!("has a kernel of {side}×{side} and a padding of {pad}"),
                "its padding is smaller than its kernel, which has at most 1,024 rows",
            ),
            Layer::Pool { side: 1, stride: 1, .. } => {
                fault(true, "has windows of one pixel and changes nothing".to_string(), "leave it out")
            }
            Layer::Pool { side, stride, pad } => fault(
                !(1..=pool::MOST_SIDE).contains(&side) || !(1..=MOST_WINDOW).contains(&stride) || pad > side / 2,
                format!("has a window of {side}×{side}, stride {stride} and a padding of {pad}"),
                "windows have 1 to 16 rows, strides are 1 to 1,024, padding is at most half a window",
            ),
            Layer::Standalone(ref layer) => layer.fault(),
            Layer::Activation(activation) => {
                activation.fault().map(|problem| Misfit::Illegal(problem, "slopes lie from 0 to 1"))
            }
            Layer::Norm { .. } | Layer::Sigmoid => None,
        }
    }

    /// Channels of its output from those of what it reads.
    pub(super) fn channels(&self, inputs: &[usize]) -> usize {
        match *self {
            Layer::Conv { out, .. } | Layer::Linear { out, .. } | Layer::Deconv { out, .. } => out,
            Layer::Standalone(ref layer) => layer.channels(inputs),
            Layer::Norm { .. } | Layer::Activation(_) | Layer::Pool { .. } | Layer::Sigmoid => inputs[0],
        }
    }

    /// Its geometry from the shapes of what it reads.
    pub(super) fn shape(&self, inputs: &[ValueShape]) -> Result<Shape, Misfit> {
        let input = inputs[0];
        let ValueShape { n, side: at, c } = input;
        let fits = |window: usize| if at < window { Err(Misfit::TooSmall) } else { Ok(()) };
        let conv = |side, k, kernel, stride, pad| ConvGeometry { n, h: side, w: side, c, k, side: kernel, stride, pad };
        Ok(match *self {
            Layer::Conv { out, side, stride, .. } => Shape::Conv(conv(at, out, side, stride, side / 2)),
            Layer::Linear { out, pixels, .. } => {
                if at * at != pixels {
                    return Err(Misfit::OwnSide);
                }
                Shape::Conv(ConvGeometry { c: pixels * c, ..conv(1, out, 1, 1, 0) })
            }
            Layer::Deconv { out, side, pad, .. } => {
                let pad = side - 1 - pad;
                fits(side.saturating_sub(2 * pad))?;
                Shape::Conv(conv(at, out, side, 1, pad))
            }
            Layer::Pool { side, stride, pad } => {
                fits(side.saturating_sub(2 * pad))?;
                Shape::Pool(PoolGeometry { n, h: at, w: at, c, side, stride, pad })
            }
            Layer::Norm { .. } | Layer::Activation(_) | Layer::Sigmoid => Shape::Same(input),
            Layer::Standalone(ref layer) => {
                let side = layer.side(inputs)?;
                let c = layer.channels(&inputs.iter().map(|input| input.c).collect::<Vec<_>>());
                Shape::Standalone { inputs: inputs.to_vec(), output: ValueShape { n, side, c } }
            }
        })
    }

    /// Receptive field of its output from those of what it reads.
    pub(super) fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        let field = inputs[0];
        match *self {
            Layer::Conv { side, stride, .. } => Ok(field.through(side, stride, side / 2)),
            Layer::Pool { side, stride, pad } => Ok(field.through(side, stride, pad)),
            Layer::Norm { .. } | Layer::Activation(_) => Ok(field),
            Layer::Standalone(ref layer) => layer.receptive_field(inputs),
            Layer::Linear { .. } | Layer::Deconv { .. } | Layer::Sigmoid => Err(Misfit::NoReceptiveField),
        }
    }
}
