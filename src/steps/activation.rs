//! Leaky ReLU and ReLU, element by element.

use crate::onnx::{Attribute, Graph, Value};
use crate::real::Real;

/// Activation function: the identity for positive inputs, `slope` times the input otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// 0.01 for the leaky ReLU of the small nets, 0 for ReLU, 1 for none.
    pub slope: f64,
}

impl Activation {
    pub const LEAKY_RELU: Activation = Activation { slope: 0.01 };
    pub const RELU: Activation = Activation { slope: 0.0 };
    pub const IDENTITY: Activation = Activation { slope: 1.0 };

    /// What is wrong with the slope: backward passes take the sign of the input from that of the output.
    pub(crate) fn fault(&self) -> Option<String> {
        let legal = (0.0..=1.0).contains(&self.slope);
        (!legal).then(|| format!("has a slope of {}", self.slope))
    }

    /// Its output in a graph.
    pub(crate) fn onnx(self, graph: &mut Graph, x: &Value) -> Value {
        match self {
            Activation::IDENTITY => x.clone(),
            Activation::RELU => graph.node("Relu", [x], []),
            Activation { slope } => graph.node("LeakyRelu", [x], [Attribute::Float("alpha", slope as f32)]),
        }
    }
}

/// `y = x > 0 ? x : slope·x`, in place.
pub fn forward<T: Real>(activation: Activation, x: &mut [T]) {
    let slope = T::of(activation.slope);
    x.iter_mut().for_each(|x| *x = if *x > T::zero() { *x } else { slope * *x });
}

/// `dx = x > 0 ? dy : slope·dy`, in place on `dy`; `x` is the input of the forward pass.
pub fn backward<T: Real>(activation: Activation, x: &[T], dy: &mut [T]) {
    let slope = T::of(activation.slope);
    dy.iter_mut().zip(x).for_each(|(d, &x)| *d = if x > T::zero() { *d } else { slope * *d });
}
