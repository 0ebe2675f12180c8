//! A net as nodes of an ONNX graph: its layers one by one, norms folded into the weights before them.

use super::arch::{Arch, Node, Source};
use super::layer::Layer;
use super::weights::{Layout, Weights};
use crate::error::{Error, Result};
use crate::onnx::{Attribute, Graph, Value};

impl Arch {
    /// Adds the net, which reads images [n, channels, side, side]. Maps have that form throughout, what comes of fully connected layers
    /// is [n, c].
    ///
    /// # Errors
    /// Weights whose norms' scales are beyond numbers of 32 bits.
    pub(crate) fn onnx(&self, graph: &mut Graph, weights: &Weights, images: &Value) -> Result<Value> {
        let layout = Layout::new(self);
        let mut values: Vec<Value> = Vec::with_capacity(self.layers.len());
        for (i, Node { layer, inputs }) in self.layers.iter().enumerate() {
            let read = |input: &Source| match *input {
                Source::Input => images.clone(),
                Source::Layer(of) => values[of].clone(),
            };
            let inputs: Vec<Value> = inputs.iter().map(read).collect();
            let mut learned = |name: &str| self.folded(graph, (&layout, weights), i, name);
            let value = match layer {
                Layer::Conv { name, side, stride, .. } => {
                    let [weight, bias] = learned(name)?;
                    let attributes = [
                        Attribute::square("kernel_shape", *side, 2),
                        Attribute::square("strides", *stride, 2),
                        Attribute::square("pads", side / 2, 4),
                    ];
                    graph.node("Conv", [&inputs[0], &weight, &bias], attributes)
                }
                Layer::Deconv { name, side, pad, .. } => {
                    let [weight, bias] = learned(name)?;
                    let attributes = [Attribute::square("kernel_shape", *side, 2), Attribute::square("pads", *pad, 4)];
                    graph.node("ConvTranspose", [&inputs[0], &weight, &bias], attributes)
                }
                Layer::Linear { name, .. } => {
                    let [weight, bias] = learned(name)?;
                    let vectors = graph.node("Flatten", [&inputs[0]], []);
                    graph.node("Gemm", [&vectors, &weight, &bias], [Attribute::Int("transB", 1)])
                }
                // Part of what it follows.
                Layer::Norm { .. } => inputs[0].clone(),
                Layer::Activation(activation) => activation.onnx(graph, &inputs[0]),
                Layer::Pool { side, stride, pad } => {
                    let attributes = [
                        Attribute::square("kernel_shape", *side, 2),
                        Attribute::square("strides", *stride, 2),
                        Attribute::square("pads", *pad, 4),
                    ];
                    graph.node("MaxPool", &inputs, attributes)
                }
                Layer::Sigmoid => graph.node("Sigmoid", &inputs, []),
                Layer::Standalone(layer) => layer.onnx(graph, &inputs),
            };
            values.push(value);
        }
        Ok(values.pop().unwrap_or_else(|| images.clone()))
    }

    /// Weight and bias of a layer, in which the norm that reads it is folded: w·γ/√(v + ε) and (b − m)·γ/√(v + ε) + β, computed in 64 bits.
    fn folded(
        &self,
        graph: &mut Graph,
        (layout, weights): (&Layout, &Weights),
        layer: usize,
        name: &str,
    ) -> Result<[Value; 2]> {
        let param = |name: String| layout.param(&name).map(|param| (param, weights.outside(param)));
        let Some((of_weight, mut weight)) = param(format!("{name}.weight")) else {
            return Err(Error::internal(format!("layer {name} has no weights")));
        };
        // Transposed convolutions have outputs second.
        let axis = usize::from(matches!(self.layers[layer].layer, Layer::Deconv { .. }));
        let (channels, inner) = (of_weight.shape[axis], of_weight.shape[axis + 1..].iter().product::<usize>());
        let mut bias = param(format!("{name}.bias")).map_or(vec![0.0; channels], |(_, bias)| bias);
        let mut readers = self.readers(Source::Layer(layer)).map(|reader| &self.layers[reader].layer);
        let norm = readers.find(|reader| reader.is_norm()).and_then(Layer::name);
        let norm = norm.and_then(|name| layout.norms.iter().find(|norm| norm.name == name));
        if let Some(norm) = norm {
            let (mean, variance) = weights.stats[norm.start..][..2 * norm.c].split_at(norm.c);
            let affine = |part: &str| param(format!("{}.{part}", norm.name)).map(|(_, values)| values);
            let (gamma, beta) = (affine("weight"), affine("bias"));
            let of = |values: &Option<Vec<f32>>, c: usize, or: f64| values.as_ref().map_or(or, |v| f64::from(v[c]));
            let scale = |c: usize| of(&gamma, c, 1.0) / (f64::from(variance[c]) + self.norm_eps).sqrt();
            let scales: Vec<f64> = (0..channels).map(scale).collect();
            for (c, bias) in bias.iter_mut().enumerate() {
                *bias = ((f64::from(*bias) - f64::from(mean[c])) * scales[c] + of(&beta, c, 0.0)) as f32;
            }
            for (i, weight) in weight.iter_mut().enumerate() {
                *weight = (f64::from(*weight) * scales[i / inner % channels]) as f32;
            }
        }
        if !weight.iter().chain(&bias).all(|value| value.is_finite()) {
            let problem = format!("the weights of {name} with the norm after it are beyond numbers of 32 bits");
            return Err(Error::Numeric { problem, remedy: "train again with a lower `lr`".into() });
        }
        let weight = graph.floats(&format!("{name}.weight"), &of_weight.shape, &weight);
        Ok([weight, graph.floats(&format!("{name}.bias"), &[channels], &bias)])
    }
}
