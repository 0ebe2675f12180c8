//! Parameters and running statistics of a net: where each lies in the flat buffers, and its initial value.

use super::arch::{Arch, Layer};
use crate::rng::{Purpose, Stream};

/// A parameter tensor and its place in the flat parameter buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// PyTorch's name, such as `conv1.weight`.
    pub name: String,
    /// PyTorch's shape: OIHW for convolutions. Inside, weights are KRSC.
    pub shape: Vec<usize>,
    pub start: usize,
    /// Bound of the uniform initialisation; None for a norm's scale and shift.
    bound: Option<f32>,
    /// Value of everything not drawn: 1 for a norm's scale, 0 for its shift.
    constant: f32,
}

impl Param {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where element `i` in PyTorch's order (OIHW) lies inside the tensor here (KRSC).
    pub fn inside(&self, i: usize) -> usize {
        match *self.shape.as_slice() {
            [_, c, h, w] => {
                let (k, rest) = (i / (c * h * w), i % (c * h * w));
                (k * h * w + rest % (h * w)) * c + rest / (h * w)
            }
            _ => i,
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
        let mut c = arch.channels;
        for (i, layer) in arch.layers.iter().enumerate() {
            if i == arch.frozen {
                layout.trained_from = layout.params_len;
            }
            match layer {
                Layer::Conv { name, out, side } => {
                    let bound = 1.0 / ((c * side * side) as f32).sqrt();
                    layout.push(format!("{name}.weight"), vec![*out, c, *side, *side], Some(bound), 0.0);
                    if arch.bias {
                        layout.push(format!("{name}.bias"), vec![*out], Some(bound), 0.0);
                    }
                    c = *out;
                }
                Layer::Norm { name } => {
                    if arch.bias {
                        layout.push(format!("{name}.weight"), vec![c], None, 1.0);
                        layout.push(format!("{name}.bias"), vec![c], None, 0.0);
                    }
                    layout.norms.push(NormStats { name: name.clone(), c, start: layout.stats_len });
                    layout.stats_len += 2 * c;
                }
                Layer::Activation(_) | Layer::Pool { .. } => {}
            }
        }
        layout
    }

    fn push(&mut self, name: String, shape: Vec<usize>, bound: Option<f32>, constant: f32) {
        let param = Param { name, shape, start: self.params_len, bound, constant };
        self.params_len += param.len();
        self.params.push(param);
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
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
    /// Initial values: weights and biases of convolutions uniform in ±1/√fan_in, norms the identity (PyTorch's defaults).
    pub fn init(arch: &Arch, seed: u64) -> Weights {
        let layout = Layout::new(arch);
        let mut params = vec![0.0; layout.params_len];
        for (index, param) in layout.params.iter().enumerate() {
            let stream = Stream::new(seed, Purpose::Init, 0, index as u32);
            for (i, value) in params[param.start..param.start + param.len()].iter_mut().enumerate() {
                *value = match param.bound {
                    Some(bound) => bound * (2.0 * stream.uniform(i as u32) - 1.0),
                    None => param.constant,
                };
            }
        }
        let mut stats = vec![0.0; layout.stats_len];
        for norm in &layout.norms {
            stats[norm.start + norm.c..norm.start + 2 * norm.c].fill(1.0);
        }
        Weights { params, stats, batches: 0 }
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
    fn pytorch_order_maps_onto_krsc_once_each() {
        let param = Param { name: String::new(), shape: vec![2, 3, 2, 2], start: 0, bound: None, constant: 0.0 };
        // Element (k 1, c 2, h 0, w 1) of OIHW.
        assert_eq!(param.inside(12 + 2 * 4 + 1), (4 + 1) * 3 + 2);
        let mut all: Vec<usize> = (0..24).map(|i| param.inside(i)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..24));
    }
}
