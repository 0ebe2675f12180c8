//! A net layer by layer in plain operations, for the values that fused steps never hold.

use super::batch::CheckBatch;
use super::convert::{of, to_nchw, to_nhwc};
use crate::error::{Error, Result};
use crate::model::arch::Shape;
use crate::model::weights::Layout;
use crate::model::{Arch, Layer, Objective, Weights};
use crate::real::Real;
use crate::report::resample;
use crate::steps::{activation, conv, norm, pool};

/// Hands on the training-mode output of every module, [n, c, h, w], by PyTorch's name.
pub(super) fn activations<T: Real>(
    arch: &Arch,
    weights: &Weights,
    batch: &CheckBatch,
    give: &mut dyn FnMut(&str, &[f64]),
) -> Result<()> {
    let layout = Layout::new(arch);
    let param = |name: String| {
        let param = layout.param(&name)?;
        Some(of::<T>(&weights.params[param.start..param.start + param.len()]))
    };
    let mut x: Vec<T> = of(&batch.input);
    let shapes = arch.shapes(batch.n, batch.side)?;
    let mut pools = 0;
    for (i, (layer, shape)) in arch.layers.iter().zip(shapes).enumerate() {
        let (name, c) = match (layer, shape) {
            (Layer::Conv { name, .. } | Layer::Linear { name, .. } | Layer::Deconv { name, .. }, Shape::Conv(g)) => {
                let w = param(format!("{name}.weight")).unwrap_or_default();
                let mut y = vec![T::zero(); g.y_len()];
                conv::reference::fprop(&g, &x, &w, param(format!("{name}.bias")).as_deref(), &mut y);
                x = y;
                (Some(name.clone()), g.k)
            }
            (Layer::Norm { name }, Shape::Same { c, .. }) => {
                let (mean, var) = statistics(&x, c);
                let affine = param(format!("{name}.weight")).zip(param(format!("{name}.bias")));
                let affine = affine.as_ref().map(|(gamma, beta)| (gamma.as_slice(), beta.as_slice()));
                let mut y = vec![T::zero(); x.len()];
                norm::forward(&x, &mean, &var, affine, arch.norm_eps, &mut y);
                x = y;
                (Some(name.clone()), c)
            }
            (Layer::Activation(function), Shape::Same { c, .. }) => {
                activation::forward(*function, &mut x);
                (indexed(arch, i), c)
            }
            (Layer::Pool { .. }, Shape::Pool(g)) => {
                let (mut y, mut argmax) = (vec![T::zero(); g.y_len()], vec![0; g.y_len()]);
                pool::forward(&g, &x, &mut y, &mut argmax);
                x = y;
                pools += 1;
                (Some(indexed(arch, i).unwrap_or_else(|| format!("{}pool{pools}", encoder(arch)))), g.c)
            }
            (Layer::Reshape { .. }, Shape::Reshape { side, c }) => {
                x = of(&to_nhwc(&of::<f64>(&x), batch.n, c));
                (None, side)
            }
            (Layer::UpsampleNearest2x, Shape::UpsampleNearest2x { side, c }) => {
                let nearest = |map: &[T]| {
                    let pixels: Vec<&[T]> = map.chunks_exact(c).collect();
                    resample::nearest(&pixels, (side, side), (2 * side, 2 * side)).concat()
                };
                x = x.chunks_exact(side * side * c).flat_map(nearest).collect();
                (None, c)
            }
            // Golden files hold no values of these.
            (Layer::Dropout | Layer::Sigmoid, _) => continue,
            (
                Layer::Conv { .. }
                | Layer::Linear { .. }
                | Layer::Deconv { .. }
                | Layer::Norm { .. }
                | Layer::Activation(_)
                | Layer::Pool { .. }
                | Layer::Reshape { .. }
                | Layer::UpsampleNearest2x,
                shape,
            ) => return Err(Error::internal(format!("{}: {layer:?} has the shape {shape:?}", arch.name))),
        };
        if let Some(name) = name {
            let values: Vec<f64> = x.iter().map(|v| v.f64()).collect();
            give(&name, &to_nchw(&values, batch.n, c));
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
        .find_map(|layer| if let Layer::Conv { name, .. } = layer { Some(name) } else { None });
    let sequence = conv?.rsplit_once("features.")?.0;
    Some(format!("{sequence}features.{layer}"))
}

/// Mean and biased variance of each channel, in two passes.
fn statistics<T: Real>(x: &[T], c: usize) -> (Vec<T>, Vec<T>) {
    let pixels = (x.len() / c) as f64;
    let mut sums = vec![0.0; c];
    x.iter().enumerate().for_each(|(i, v)| sums[i % c] += v.f64());
    let mean: Vec<f64> = sums.iter().map(|sum| sum / pixels).collect();
    let mut squares = vec![0.0; c];
    x.iter().enumerate().for_each(|(i, v)| squares[i % c] += (v.f64() - mean[i % c]).powi(2));
    (of(&mean), of(&squares.iter().map(|sum| sum / pixels).collect::<Vec<_>>()))
}
