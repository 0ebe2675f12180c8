//! A net as a list of layers, and what follows from the list: shapes, receptive field, parameter count, work.

use crate::error::{Error, Result};
use crate::steps::activation::Activation;
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
    /// Convolution with `side`×`side` kernels, stride 1 and same padding.
    Conv {
        name: String,
        out: usize,
        side: usize,
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
    pub layers: Vec<Layer>,
    /// Layers before this index are frozen: no update of their parameters, while their norms still run in training mode.
    pub frozen: usize,
    /// Whether the feature layers start from weights that were trained on ImageNet, without which the net makes little sense.
    pub pretrained: bool,
    /// Norms that the authors' module owns but never uses: (name, channels). Written for them, ignored when read.
    pub unused_norms: Vec<(String, usize)>,
}

/// A layer's geometry for a given batch and input side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Convolutions, and what is one inside: fully connected layers and transposed convolutions.
    Conv(conv::ConvGeometry),
    /// Norms, activations, dropout and sigmoid keep the shape [n, side, side, c].
    Same {
        side: usize,
        c: usize,
    },
    Pool(pool::PoolGeometry),
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

impl Arch {
    /// Geometry of each layer for `n` images of `side` × `side` pixels.
    pub fn shapes(&self, n: usize, side: usize) -> Result<Vec<Shape>> {
        let (mut side_now, mut c) = (side, self.channels);
        let mut shapes = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            shapes.push(match *layer {
                Layer::Conv { out, side: k, .. } => {
                    let g =
                        conv::ConvGeometry { n, h: side_now, w: side_now, c, k: out, side: k, stride: 1, pad: k / 2 };
                    c = out;
                    Shape::Conv(g)
                }
                Layer::Linear { out, pixels, .. } => {
                    if side_now * side_now != pixels {
                        return Err(self.only_its_own_side(side));
                    }
                    let g = conv::ConvGeometry { n, h: 1, w: 1, c: pixels * c, k: out, side: 1, stride: 1, pad: 0 };
                    (side_now, c) = (1, out);
                    Shape::Conv(g)
                }
                Layer::Deconv { out, side: k, pad, .. } => {
                    let pad = k - 1 - pad;
                    let g = conv::ConvGeometry { n, h: side_now, w: side_now, c, k: out, side: k, stride: 1, pad };
                    (side_now, c) = (g.oh(), out);
                    Shape::Conv(g)
                }
                Layer::Norm { .. } | Layer::Activation(_) | Layer::Dropout | Layer::Sigmoid => {
                    Shape::Same { side: side_now, c }
                }
                Layer::Reshape { side, c: maps } => {
                    (side_now, c) = (side, maps);
                    Shape::Reshape { side, c }
                }
                Layer::UpsampleNearest2x => {
                    side_now *= 2;
                    Shape::UpsampleNearest2x { side: side_now / 2, c }
                }
                Layer::Pool { side: k, stride, pad } => {
                    if side_now + 2 * pad < k {
                        return Err(Error::setting(
                            format!("an input of {side}×{side} pixels is too small for {}", self.name),
                            format!("use a larger side, such as {}", self.side),
                        ));
                    }
                    let g = pool::PoolGeometry { n, h: side_now, w: side_now, c, side: k, stride, pad };
                    side_now = g.oh();
                    Shape::Pool(g)
                }
            });
        }
        if self.objective == Objective::Ae && side_now != side {
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

    /// Receptive field of the output map of a fully convolutional net for inputs of the given side.
    pub fn receptive_field(&self, side: usize) -> ReceptiveField {
        let mut field = ReceptiveField { n: side, jump: 1, size: 1, shift: 0.0 };
        for layer in &self.layers {
            let (k, stride, pad) = match *layer {
                Layer::Conv { side, .. } => (side, 1, side / 2),
                Layer::Pool { side, stride, pad } => (side, stride, pad),
                Layer::Norm { .. } | Layer::Activation(_) | Layer::Dropout | Layer::Sigmoid => continue,
                // No fully convolutional net has these.
                Layer::Linear { .. } | Layer::Deconv { .. } | Layer::Reshape { .. } | Layer::UpsampleNearest2x => {
                    continue;
                }
            };
            field = ReceptiveField {
                n: (field.n + 2 * pad).saturating_sub(k) / stride + 1,
                jump: field.jump * stride,
                size: field.size + (k - 1) * field.jump,
                shift: field.shift + ((k as f64 - 1.0) / 2.0 - pad as f64) * field.jump as f64,
            };
        }
        field
    }

    /// Whether inputs have to be scaled as those that the pretrained layers have learned from: without norms, nothing makes up for
    /// another scale.
    pub fn takes_imagenet_scale(&self) -> bool {
        self.pretrained && !self.layers.iter().any(|layer| matches!(layer, Layer::Norm { .. }))
    }

    /// FLOPs of convolutions and fully connected layers per image: (forward, forward and backward). Frozen layers take part in the forward pass only, and nothing
    /// needs the gradient of the input.
    pub fn flops(&self, side: usize) -> Result<(u64, u64)> {
        let (mut forward, mut train) = (0, 0);
        let mut first_trained = true;
        for (i, shape) in self.shapes(1, side)?.into_iter().enumerate() {
            let Shape::Conv(g) = shape else { continue };
            forward += g.flops();
            train += g.flops();
            if i >= self.frozen {
                train += if first_trained { g.flops() } else { 2 * g.flops() };
                first_trained = false;
            }
        }
        Ok((forward, train))
    }
}
