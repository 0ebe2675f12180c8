//! The layer: dropout.

use super::{Dropout, MOST_DROPOUTS, MOST_IMAGES, apply};
use crate::device::{DType, View};
use crate::onnx::{Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape};
use crate::steps::upsample::ReceptiveField;

/// In training, zeroes each value with probability ½ and doubles the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutLayer;

impl StandaloneLayer for DropoutLayer {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn examples() -> Vec<DropoutLayer> {
        vec![DropoutLayer]
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        Ok(inputs[0].side)
    }

    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        Ok(inputs[0])
    }

    fn computes_in(&self, dtype: DType) -> bool {
        dtype == DType::F32
    }

    fn in_place(&self) -> bool {
        true
    }

    fn draws(&self) -> bool {
        true
    }

    fn training_fault(&self, context: LayerContext) -> Option<(String, &'static str)> {
        let (number, images) = (context.number, context.output.n);
        let repeats = number as usize >= MOST_DROPOUTS || images > MOST_IMAGES;
        let problem = || format!("would draw what another draws: it is number {number}, of {images} images");
        let legal = "a net has at most 256 dropouts, a batch with them at most 16,777,216 images";
        repeats.then(|| (problem(), legal))
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, seed: Option<u64>) -> Option<Step> {
        Some(step(context, inputs[0], y, seed?))
    }

    fn gradients(&self, _: LayerContext, training: bool) -> Gradients {
        if training { Gradients::Each } else { Gradients::Same }
    }

    fn backward(
        &self,
        context: LayerContext,
        _: View,
        dy: View,
        dxs: &[Option<View>],
        seed: Option<u64>,
    ) -> Option<Step> {
        Some(step(context, dy, dxs.first().copied().flatten()?, seed?))
    }

    fn onnx(&self, _: &mut Graph, inputs: &[Value]) -> Value {
        inputs[0].clone()
    }

    fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], draws: Option<DrawKey>) -> Vec<T> {
        dropped(context, inputs[0].to_vec(), draws)
    }

    fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, draws: Option<DrawKey>) -> Vec<Vec<T>> {
        vec![dropped(context, dy, draws)]
    }
}

/// The same step forward and backward.
fn step(context: LayerContext, x: View, y: View, seed: u64) -> Step {
    Step::Dropout(Dropout { seed, number: context.number, x, y, n: context.output.n })
}

fn dropped<T: Real>(context: LayerContext, mut values: Vec<T>, draws: Option<DrawKey>) -> Vec<T> {
    if let Some((seed, update)) = draws {
        apply(seed, context.number, update, context.output.n, &mut values);
    }
    values
}
