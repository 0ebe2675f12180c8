//! Parameters and running statistics of a net: where each lies in the flat buffers, and its initial value.

use super::arch::{Arch, Node, Source};
use super::layer::{Init, Layer};
use crate::rng::{Purpose, Stream};

/// A parameter tensor and its place in the flat parameter buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// PyTorch's name, such as `conv1.weight`.
    pub name: String,
    /// PyTorch's shape: OIHW for convolutions, OI for fully connected layers, IOHW for transposed convolutions.
    pub shape: Vec<usize>,
    pub start: usize,
    order: Order,
    initial: Initial,
}

/// How the elements lie inside, beside PyTorch's order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Same,
    /// Outside [k, c, pixels], inside [k, pixels, c]: a convolution's kernel, or a fully connected layer on so many pixels.
    ChannelsLast {
        c: usize,
        pixels: usize,
    },
    /// Outside [c, k, rows, columns], inside the kernel of the convolution that a transposed one is: [k, rows, columns, c], flipped.
    Flipped {
        c: usize,
        k: usize,
        pixels: usize,
    },
}

/// What the initial values are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Initial {
    /// Uniform between ± this.
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    Constant(f32),
}

impl Param {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where element `i` in PyTorch's order lies inside the tensor here.
    pub fn inside(&self, i: usize) -> usize {
        match self.order {
            Order::Same => i,
            Order::ChannelsLast { c, pixels } => {
                let (k, rest) = (i / (c * pixels), i % (c * pixels));
                (k * pixels + rest % pixels) * c + rest / pixels
            }
            Order::Flipped { c, k, pixels } => {
                let (from, to, tap) = (i / (k * pixels), i / pixels % k, i % pixels);
                (to * pixels + pixels - 1 - tap) * c + from
            }
        }
    }
}

/// A norm's running statistics in the flat statistics buffer: mean at `start`, variance at `start + c`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormStats {
    pub name: String,
    pub c: usize,
    pub start: usize,
}

/// What flows into and out of a layer's weights, as PyTorch counts it.
struct Fan {
    input: usize,
    output: usize,
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// In the order of the layers: weight, bias.
    pub params: Vec<Param>,
    pub params_len: usize,
    pub norms: Vec<NormStats>,
    pub stats_len: usize,
    /// First trained element: frozen layers come before it.
    pub trained_from: usize,
}

impl Layout {
    /// The layout of a net.
    pub fn new(arch: &Arch) -> Layout {
        let mut layout = Layout { params: vec![], params_len: 0, norms: vec![], stats_len: 0, trained_from: 0 };
        // Channels of each layer's output.
        let mut channels: Vec<usize> = Vec::with_capacity(arch.layers.len());
        for (i, Node { layer, inputs }) in arch.layers.iter().enumerate() {
            if i == arch.frozen {
                layout.trained_from = layout.params_len;
            }
            let read = |input: &Source| match input {
                Source::Input => arch.channels,
                // A layer that comes later has none yet, and one that reads nothing gets none: lowering refuses such nets.
                Source::Layer(of) => channels.get(*of).copied().unwrap_or_default(),
            };
            let inputs: Vec<usize> = inputs.iter().map(read).collect();
            let c = inputs.first().copied().unwrap_or_default();
            match layer {
                Layer::Conv { name, out, side, bias, .. } => {
                    let (pixels, shape) = (side * side, vec![*out, c, *side, *side]);
                    let fan = Fan { input: c * pixels, output: out * pixels };
                    let weights = (shape, Order::ChannelsLast { c, pixels });
                    layout.push_weights(name, weights, arch.conv_init, fan, (arch.bias && *bias).then_some(*out));
                }
                Layer::Linear { name, out, pixels, init } => {
                    let fan = Fan { input: c * pixels, output: *out };
                    let weights = (vec![*out, c * pixels], Order::ChannelsLast { c, pixels: *pixels });
                    layout.push_weights(name, weights, *init, fan, arch.bias.then_some(*out));
                }
                Layer::Deconv { name, out, side, init, .. } => {
                    let (pixels, shape) = (side * side, vec![c, *out, *side, *side]);
                    // PyTorch reads fans off the shape, and a transposed convolution's has inputs and outputs exchanged.
                    let fan = Fan { input: out * pixels, output: c * pixels };
                    let weights = (shape, Order::Flipped { c, k: *out, pixels });
                    layout.push_weights(name, weights, *init, fan, arch.bias.then_some(*out));
                }
                Layer::Norm { name } => {
                    if arch.bias {
                        layout.push(format!("{name}.weight"), vec![c], Order::Same, Initial::Constant(1.0));
                        layout.push(format!("{name}.bias"), vec![c], Order::Same, Initial::Constant(0.0));
                    }
                    layout.norms.push(NormStats { name: name.clone(), c, start: layout.stats_len });
                    layout.stats_len += 2 * c;
                }
                Layer::Activation(_) | Layer::Pool { .. } | Layer::Sigmoid | Layer::Standalone(_) => {}
            }
            channels.push(if inputs.is_empty() { 0 } else { layer.channels(&inputs) });
        }
        layout
    }

    /// Weights of a shape and order, and biases where there are any: as many as these.
    fn push_weights(
        &mut self,
        name: &str,
        (shape, order): (Vec<usize>, Order),
        init: Init,
        fan: Fan,
        biases: Option<usize>,
    ) {
        let default = Initial::Uniform(1.0 / (fan.input as f32).sqrt());
        let (weights, shifts) = match init {
            Init::Uniform => (default, default),
            Init::Xavier => {
                let gain = 2.0 / (1.0 + 0.01 * 0.01);
                (Initial::Uniform((gain * 6.0 / (fan.input + fan.output) as f32).sqrt()), default)
            }
            Init::Kaiming => (Initial::Normal((2.0 / fan.output as f32).sqrt()), Initial::Constant(0.0)),
            Init::Normal => (Initial::Normal(0.01), Initial::Constant(0.0)),
        };
        self.push(format!("{name}.weight"), shape, order, weights);
        if let Some(count) = biases {
            self.push(format!("{name}.bias"), vec![count], Order::Same, shifts);
        }
    }

    fn push(&mut self, name: String, shape: Vec<usize>, order: Order, initial: Initial) {
        let param = Param { name, shape, start: self.params_len, order, initial };
        self.params_len += param.len();
        self.params.push(param);
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
    }
}

impl Arch {
    /// Parameters, those of unused norms included, as the authors count them.
    pub fn parameters(&self) -> usize {
        let unused: usize = if self.bias { self.unused_norms.iter().map(|(_, c)| 2 * c).sum() } else { 0 };
        Layout::new(self).params_len + unused
    }
}

/// The numbers that a net has learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// All parameters, flat, laid out by [`Layout`].
    pub params: Vec<f32>,
    /// All running statistics, flat.
    pub stats: Vec<f32>,
    /// Training batches that the running statistics have seen.
    pub batches: u64,
}

impl Weights {
    /// Initial values: weights and biases by [`Init`], norms the identity.
    ///
    /// # Panics
    /// May panic, or abort for want of memory, on a net that [`Arch::shapes`] refuses, as one of more channels than there are numbers: a net
    /// that is not one of the tables' is checked first.
    pub fn init(arch: &Arch, seed: u64) -> Weights {
        let layout = Layout::new(arch);
        let mut params = vec![0.0; layout.params_len];
        for (index, param) in layout.params.iter().enumerate() {
            let stream = Stream::new(seed, Purpose::Init, 0, index as u32);
            for (i, value) in params[param.start..param.start + param.len()].iter_mut().enumerate() {
                *value = match param.initial {
                    Initial::Uniform(bound) => bound * (2.0 * stream.uniform(i as u32) - 1.0),
                    Initial::Normal(deviation) => deviation * stream.normal(i as u32),
                    Initial::Constant(value) => value,
                };
            }
        }
        let mut stats = vec![0.0; layout.stats_len];
        for norm in &layout.norms {
            stats[norm.start + norm.c..norm.start + 2 * norm.c].fill(1.0);
        }
        Weights { params, stats, batches: 0 }
    }

    /// A parameter in PyTorch's order.
    pub(crate) fn outside(&self, param: &Param) -> Vec<f32> {
        let inside = &self.params[param.start..][..param.len()];
        (0..param.len()).map(|i| inside[param.inside(i)]).collect()
    }

    /// True if every number is finite.
    pub fn are_finite(&self) -> bool {
        self.params.iter().chain(&self.stats).all(|v| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::nets;

    #[test]
    fn initial_weights_fill_their_range_and_differ_by_seed() {
        let arch = nets::by_name("CNN32_S", true).unwrap();
        let weights = Weights::init(&arch, 1);
        assert_ne!(weights.params, Weights::init(&arch, 2).params);
        let layout = Layout::new(&arch);
        let conv2 = layout.param("conv2.weight").unwrap();
        let values = &weights.params[conv2.start..conv2.start + conv2.len()];
        let bound = 1.0 / (32.0f32 * 9.0).sqrt();
        let max = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(max <= bound && max > 0.999 * bound);
        // Standard deviation of a uniform: bound/√3; its standard error here is 0.5 %.
        let var = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        approx::assert_relative_eq!(var.sqrt(), bound / 3f32.sqrt(), max_relative = 0.02);
    }

    #[test]
    fn frozen_layers_lie_before_the_trained_ones() {
        let layout = Layout::new(&nets::by_name("CNN224_VGG_F", true).unwrap());
        assert_eq!(layout.params_len - layout.trained_from, 3_542_529);
    }

    #[test]
    fn pytorch_order_maps_onto_the_inside_once_each() {
        let param = |shape: &[usize], order| Param {
            name: String::new(),
            shape: shape.to_vec(),
            start: 0,
            order,
            initial: Initial::Constant(0.0),
        };
        let conv = param(&[2, 3, 2, 2], Order::ChannelsLast { c: 3, pixels: 4 });
        // Element (k 1, c 2, h 0, w 1) of OIHW.
        assert_eq!(conv.inside(12 + 2 * 4 + 1), (4 + 1) * 3 + 2);
        let flipped = param(&[3, 2, 2, 2], Order::Flipped { c: 3, k: 2, pixels: 4 });
        // Element (c 2, k 1, h 0, w 1) of IOHW: tap 1 becomes tap 2.
        assert_eq!(flipped.inside(2 * 8 + 4 + 1), (4 + 2) * 3 + 2);
        for param in [conv, flipped] {
            let mut all: Vec<usize> = (0..24).map(|i| param.inside(i)).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..24));
        }
    }
}
