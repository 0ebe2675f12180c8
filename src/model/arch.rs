//! A net as a list of layers, and what follows from the list: shapes, receptive field, parameter count, work.

use crate::error::{Error, Result};
use crate::steps::activation::Activation;
use crate::steps::upsample::ReceptiveField;
use crate::steps::{conv, pool};

/// Weight of a batch in the norms' running statistics while training: PyTorch's default, as the authors train.
pub const NORM_MOMENTUM: f64 = 0.1;

/// One layer. Names are PyTorch's module names.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Convolution with `side`×`side` kernels, stride 1 and same padding.
    Conv {
        name: String,
        out: usize,
        side: usize,
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
}

/// A net.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    pub name: String,
    /// Input channels.
    pub channels: usize,
    /// Input side that the paper uses; any side that the layers admit works.
    pub side: usize,
    /// With biases in the convolutions and scale and shift in the norms.
    pub bias: bool,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
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
    Conv(conv::Geometry),
    /// Norms and activations keep the shape [n, side, side, c].
    Same {
        side: usize,
        c: usize,
    },
    Pool(pool::Geometry),
}

impl Arch {
    /// Geometry of each layer for `n` images of `side` × `side` pixels.
    pub fn shapes(&self, n: usize, side: usize) -> Result<Vec<Shape>> {
        let (mut side_now, mut c) = (side, self.channels);
        let mut shapes = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            shapes.push(match *layer {
                Layer::Conv { out, side: k, .. } => {
                    let g = conv::Geometry { n, h: side_now, w: side_now, c, k: out, side: k, stride: 1, pad: k / 2 };
                    c = out;
                    Shape::Conv(g)
                }
                Layer::Norm { .. } | Layer::Activation(_) => Shape::Same { side: side_now, c },
                Layer::Pool { side: k, stride, pad } => {
                    if side_now + 2 * pad < k {
                        return Err(Error::setting(
                            format!("an input of {side}×{side} pixels is too small for {}", self.name),
                            format!("use a larger side, such as {}", self.side),
                        ));
                    }
                    let g = pool::Geometry { n, h: side_now, w: side_now, c, side: k, stride, pad };
                    side_now = g.oh();
                    Shape::Pool(g)
                }
            });
        }
        Ok(shapes)
    }

    /// Receptive field of the output map for inputs of the given side.
    pub fn receptive_field(&self, side: usize) -> ReceptiveField {
        let mut field = ReceptiveField { n: side, jump: 1, size: 1, shift: 0.0 };
        for layer in &self.layers {
            let (k, stride, pad) = match *layer {
                Layer::Conv { side, .. } => (side, 1, side / 2),
                Layer::Pool { side, stride, pad } => (side, stride, pad),
                Layer::Norm { .. } | Layer::Activation(_) => continue,
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

    /// Parameters, those of unused norms included, as the authors count them.
    pub fn parameters(&self) -> usize {
        let unused: usize = if self.bias { self.unused_norms.iter().map(|(_, c)| 2 * c).sum() } else { 0 };
        super::weights::Layout::new(self).params_len + unused
    }

    /// Convolution FLOPs per image: (forward, forward and backward). Frozen layers take part in the forward pass only, and nothing
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
