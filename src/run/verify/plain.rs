//! Nets layer by layer in plain operations, without stages, fused steps or shared buffers: what lowered nets are checked against.

use super::batch::CheckBatch;
use super::convert::{of, to_nchw};
use crate::error::{Error, Result};
use crate::model::arch::{Node, Source};
use crate::model::layer::Shape;
use crate::model::weights::Layout;
use crate::model::{Arch, Layer, Objective, Weights};
use crate::real::Real;
use crate::steps::activation::Activation;
use crate::steps::standalone::{DrawKey, LayerContext, ValueShape};
use crate::steps::{activation, conv, norm, pool};

/// How norms normalise, and whether dropouts drop.
#[derive(Clone, Copy, Debug)]
pub(super) enum NormMode {
    /// By the statistics of the batch; dropouts, if they drop, draw from the seed and the number of the update.
    Training { dropouts: Option<DrawKey> },
    /// By the running statistics.
    Inference,
}

impl NormMode {
    fn draws(self) -> Option<DrawKey> {
        match self {
            NormMode::Training { dropouts } => dropouts,
            NormMode::Inference => None,
        }
    }
}

/// What a layer makes of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainOutput<T> {
    pub values: Vec<T>,
    /// Mean and biased variance that a norm normalised by.
    statistics: [Vec<T>; 2],
    /// The winners of a max pool.
    argmax: Vec<u8>,
}

/// Gradients of a net.
#[derive(Clone, Debug)]
pub(super) struct PlainGradients<T> {
    /// Laid out by [`Layout`]; of frozen layers too.
    pub params: Vec<T>,
    pub input: Vec<T>,
}

/// A net with weights, for batches of one size.
pub(super) struct PlainNet<'a, T> {
    arch: &'a Arch,
    layout: Layout,
    shapes: Vec<Shape>,
    params: Vec<T>,
    stats: Vec<T>,
}

impl<T: Real> PlainNet<'_, T> {
    /// For `n` images of `side`.
    pub(super) fn new<'a>(arch: &'a Arch, weights: &Weights, n: usize, side: usize) -> Result<PlainNet<'a, T>> {
        let (layout, shapes) = (Layout::new(arch), arch.shapes(n, side)?);
        Ok(PlainNet { arch, layout, shapes, params: of(&weights.params), stats: of(&weights.stats) })
    }

    /// The output of each layer for a batch [n, side, side, c].
    pub(super) fn forward(&self, input: &[T], mode: NormMode) -> Result<Vec<PlainOutput<T>>> {
        let mut outputs: Vec<PlainOutput<T>> = Vec::with_capacity(self.shapes.len());
        for (i, node) in self.arch.layers.iter().enumerate() {
            let read = |source: &Source| match *source {
                Source::Input => input,
                Source::Layer(of) => &outputs[of].values,
            };
            let inputs: Vec<&[T]> = node.inputs.iter().map(read).collect();
            let output = self.layer(i, &inputs, mode)?;
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// The gradients of what has the gradient `dy` by the last layer's output.
    pub(super) fn backward(
        &self,
        input: &[T],
        outputs: &[PlainOutput<T>],
        mode: NormMode,
        dy: &[T],
    ) -> Result<PlainGradients<T>> {
        let mut params = vec![T::zero(); self.params.len()];
        let mut d_input = vec![T::zero(); input.len()];
        let mut d_outputs: Vec<Vec<T>> = outputs.iter().map(|output| vec![T::zero(); output.values.len()]).collect();
        if let Some(last) = d_outputs.last_mut() {
            last.copy_from_slice(dy);
        }
        for (i, node) in self.arch.layers.iter().enumerate().rev() {
            let read = |source: &Source| match *source {
                Source::Input => input,
                Source::Layer(of) => &outputs[of].values,
            };
            let inputs: Vec<&[T]> = node.inputs.iter().map(read).collect();
            let dy = std::mem::take(&mut d_outputs[i]);
            let dxs = self.layer_backward(i, &inputs, &outputs[i], mode, dy, &mut params)?;
            for (source, dx) in node.inputs.iter().zip(dxs) {
                let sum = match *source {
                    Source::Input => &mut d_input,
                    Source::Layer(of) => &mut d_outputs[of],
                };
                sum.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
            }
        }
        Ok(PlainGradients { params, input: d_input })
    }

    fn context<'a>(&self, layer: usize, inputs: &'a [ValueShape], output: ValueShape) -> LayerContext<'a> {
        let number = self.arch.draws_before(layer);
        LayerContext { inputs, output, number, activation: Activation::IDENTITY }
    }

    fn param(&self, name: String) -> Option<&[T]> {
        let param = self.layout.param(&name)?;
        Some(&self.params[param.start..][..param.len()])
    }

    /// Scale and shift of a norm.
    fn affine(&self, name: &str) -> Option<(&[T], &[T])> {
        self.param(format!("{name}.weight")).zip(self.param(format!("{name}.bias")))
    }

    /// What layer `i` makes of its inputs.
    fn layer(&self, i: usize, inputs: &[&[T]], mode: NormMode) -> Result<PlainOutput<T>> {
        let mut output = PlainOutput { values: inputs[0].to_vec(), ..PlainOutput::default() };
        let y = &mut output.values;
        match (&self.arch.layers[i].layer, &self.shapes[i]) {
            (Layer::Conv { name, .. } | Layer::Linear { name, .. } | Layer::Deconv { name, .. }, Shape::Conv(g)) => {
                let w = self.param(format!("{name}.weight")).unwrap_or_default();
                *y = vec![T::zero(); g.y_len()];
                conv::reference::fprop(g, inputs[0], w, self.param(format!("{name}.bias")), y);
            }
            (Layer::Norm { name }, Shape::Same(shape)) => {
                output.statistics = self.statistics(name, inputs[0], shape.c, self.norm_mode(i, mode));
                let [mean, var] = &output.statistics;
                norm::forward(inputs[0], mean, var, self.affine(name), self.arch.norm_eps, y);
            }
            (Layer::Activation(function), Shape::Same(_)) => activation::forward(*function, y),
            (Layer::Pool { .. }, Shape::Pool(g)) => {
                (*y, output.argmax) = (vec![T::zero(); g.y_len()], vec![0; g.y_len()]);
                pool::forward(g, inputs[0], y, &mut output.argmax);
            }
            (Layer::Standalone(layer), Shape::Standalone { inputs: shapes, output }) => {
                *y = layer.plain(self.context(i, shapes, *output), inputs, mode.draws());
            }
            (Layer::Sigmoid, Shape::Same(_)) => y.iter_mut().for_each(|y| *y = T::one() / (T::one() + (-*y).exp())),
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
            ) => return Err(self.misshapen(i, shape)),
        }
        Ok(output)
    }

    /// The gradients of layer `i`'s inputs; those of its parameters are written to `params`.
    fn layer_backward(
        &self,
        i: usize,
        inputs: &[&[T]],
        output: &PlainOutput<T>,
        mode: NormMode,
        mut dy: Vec<T>,
        params: &mut [T],
    ) -> Result<Vec<Vec<T>>> {
        let mut give = |name: String, values: &[T]| {
            if let Some(param) = self.layout.param(&name) {
                params[param.start..][..param.len()].copy_from_slice(values);
            }
        };
        let mut dx = vec![T::zero(); inputs[0].len()];
        match (&self.arch.layers[i].layer, &self.shapes[i]) {
            (Layer::Conv { name, .. } | Layer::Linear { name, .. } | Layer::Deconv { name, .. }, Shape::Conv(g)) => {
                let (mut dw, mut db) = (vec![T::zero(); g.w_len()], vec![T::zero(); g.k]);
                conv::reference::wgrad(g, inputs[0], &dy, &mut dw);
                conv::reference::bias_grad(g, &dy, &mut db);
                let w = self.param(format!("{name}.weight")).unwrap_or_default();
                conv::reference::dgrad(g, &dy, w, &mut dx);
                give(format!("{name}.weight"), &dw);
                give(format!("{name}.bias"), &db);
            }
            (Layer::Norm { name }, Shape::Same(ValueShape { c, .. })) => {
                let ([mean, var], gamma) = (&output.statistics, self.affine(name).map(|(gamma, _)| gamma));
                match self.norm_mode(i, mode) {
                    NormMode::Training { .. } => {
                        let (dgamma, dbeta) = norm::backward(inputs[0], mean, var, gamma, self.arch.norm_eps, &mut dy);
                        give(format!("{name}.weight"), &dgamma);
                        give(format!("{name}.bias"), &dbeta);
                    }
                    NormMode::Inference => dy.iter_mut().enumerate().for_each(|(i, dy)| {
                        let gamma = gamma.map_or(T::one(), |gamma| gamma[i % c]);
                        *dy *= gamma / (var[i % c] + T::of(self.arch.norm_eps)).sqrt();
                    }),
                }
                dx = dy;
            }
            (Layer::Activation(function), Shape::Same(_)) => {
                activation::backward(*function, inputs[0], &mut dy);
                dx = dy;
            }
            (Layer::Pool { .. }, Shape::Pool(g)) => pool::backward(g, &dy, &output.argmax, &mut dx),
            (Layer::Standalone(layer), Shape::Standalone { inputs: shapes, output }) => {
                return Ok(layer.plain_backward(self.context(i, shapes, *output), dy, mode.draws()));
            }
            (Layer::Sigmoid, Shape::Same(_)) => {
                dy.iter_mut().zip(&output.values).for_each(|(dy, &y)| *dy *= y * (T::one() - y));
                dx = dy;
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
            ) => return Err(self.misshapen(i, shape)),
        }
        Ok(vec![dx])
    }

    /// The running statistics after a forward pass in training; `momentum` is the weight of the batch.
    pub(super) fn running(&self, outputs: &[PlainOutput<T>], momentum: f64) -> Vec<T> {
        let mut running = self.stats.clone();
        let fixed = if self.arch.fixed { self.arch.frozen } else { 0 };
        for (node, output) in self.arch.layers.iter().zip(outputs).skip(fixed) {
            let name = node.layer.name().unwrap_or_default();
            let (Layer::Norm { .. }, Some(norm)) =
                (&node.layer, self.layout.norms.iter().find(|norm| norm.name == name))
            else {
                continue;
            };
            let pixels = (output.values.len() / norm.c) as f64;
            // PyTorch keeps the unbiased variance.
            for (offset, (of, factor)) in
                [0, norm.c].iter().zip(output.statistics.iter().zip([1.0, pixels / (pixels - 1.0)]))
            {
                for (kept, &value) in running[norm.start + offset..][..norm.c].iter_mut().zip(of) {
                    *kept = T::of((1.0 - momentum) * kept.f64() + momentum * factor * value.f64());
                }
            }
        }
        running
    }

    /// How layer `i` normalises, if it is a norm: by the running statistics where it is fixed.
    fn norm_mode(&self, i: usize, mode: NormMode) -> NormMode {
        if self.arch.fixed && i < self.arch.frozen { NormMode::Inference } else { mode }
    }

    /// Mean and biased variance that a norm normalises by.
    fn statistics(&self, name: &str, x: &[T], c: usize, mode: NormMode) -> [Vec<T>; 2] {
        match (mode, self.layout.norms.iter().find(|norm| norm.name == name)) {
            (NormMode::Inference, Some(norm)) => [0, c].map(|offset| self.stats[norm.start + offset..][..c].to_vec()),
            (NormMode::Inference | NormMode::Training { .. }, _) => statistics(x, c),
        }
    }

    fn misshapen(&self, layer: usize, shape: &Shape) -> Error {
        Error::internal(format!("{}: {} has the shape {shape:?}", self.arch.name, self.arch.describe(layer)))
    }
}

/// Hands on the training-mode output of every module, [n, c, h, w], by PyTorch's name.
pub(super) fn activations<T: Real>(
    arch: &Arch,
    weights: &Weights,
    batch: &CheckBatch,
    give: &mut dyn FnMut(&str, &[f64]),
) -> Result<()> {
    let net = PlainNet::<T>::new(arch, weights, batch.n, batch.side)?;
    let outputs = net.forward(&of(&batch.input), NormMode::Training { dropouts: None })?;
    let mut pools = 0;
    for (i, (Node { layer, .. }, PlainOutput { values, .. })) in arch.layers.iter().zip(&outputs).enumerate() {
        let name = match layer {
            Layer::Conv { name, .. }
            | Layer::Linear { name, .. }
            | Layer::Deconv { name, .. }
            | Layer::Norm { name } => Some(name.clone()),
            Layer::Activation(_) => indexed(arch, i),
            Layer::Pool { .. } => {
                pools += 1;
                Some(indexed(arch, i).unwrap_or_else(|| format!("{}pool{pools}", encoder(arch))))
            }
            // Golden files hold no values of these.
            Layer::Sigmoid | Layer::Standalone(_) => None,
        };
        if let Some(name) = name {
            give(&name, &to_nchw(&of::<f64>(values), batch.n, net.shapes[i].output().c));
        }
    }
    Ok(())
}

/// What the names of an autoencoder's encoder begin with.
fn encoder(arch: &Arch) -> &'static str {
    if arch.objective == Objective::Ae { "encoder." } else { "" }
}

/// The name of a module without a name of its own, where the net numbers its layers: an activation or a pool of VGG's features.
fn indexed(arch: &Arch, layer: usize) -> Option<String> {
    // The convolution that it follows names the sequence, in which the layers up to the last pool lie one by one.
    let conv = arch.layers[..layer]
        .iter()
        .rev()
        .find_map(|node| if let Layer::Conv { name, .. } = &node.layer { Some(name) } else { None });
    let sequence = conv?.rsplit_once("features.")?.0;
    Some(format!("{sequence}features.{layer}"))
}

/// Mean and biased variance of each channel, in two passes.
fn statistics<T: Real>(x: &[T], c: usize) -> [Vec<T>; 2] {
    let pixels = (x.len() / c) as f64;
    let mut sums = vec![0.0; c];
    x.iter().enumerate().for_each(|(i, v)| sums[i % c] += v.f64());
    let mean: Vec<f64> = sums.iter().map(|sum| sum / pixels).collect();
    let mut squares = vec![0.0; c];
    x.iter().enumerate().for_each(|(i, v)| squares[i % c] += (v.f64() - mean[i % c]).powi(2));
    [of(&mean), of(&squares.iter().map(|sum| sum / pixels).collect::<Vec<_>>())]
}
