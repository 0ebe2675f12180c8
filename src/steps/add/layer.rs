//! The layer: a sum of two values.

use std::ops::RangeInclusive;

use super::{Add, AddBackward};
use crate::device::{DType, View};
use crate::onnx::{Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::activation::Activation;
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape, joined_field};
use crate::steps::upsample::ReceptiveField;

/// The sum of two values of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddLayer;

impl StandaloneLayer for AddLayer {
    fn kind(&self) -> &'static str {
        "sum"
    }

    fn examples() -> Vec<AddLayer> {
        vec![AddLayer]
    }

    fn inputs(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        let (a, b) = (inputs[0], inputs[1]);
        let problem = || format!("reads values of {}²×{} and {}²×{}", a.side, a.c, b.side, b.c);
        (a == b).then_some(a.side).ok_or_else(|| Misfit::Illegal(problem(), "both have one side and as many channels"))
    }

    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        joined_field(inputs)
    }

    fn computes_in(&self, _: DType) -> bool {
        true
    }

    fn takes_activation(&self) -> bool {
        true
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, _: Option<u64>) -> Option<Step> {
        Some(Step::Add(Add { activation: context.activation, a: inputs[0], b: inputs[1], y }))
    }

    fn gradients(&self, context: LayerContext, _: bool) -> Gradients {
        if context.activation == Activation::IDENTITY { Gradients::Same } else { Gradients::Shared }
    }

    fn backward(&self, context: LayerContext, y: View, dy: View, dxs: &[Option<View>], _: Option<u64>) -> Option<Step> {
        let dx = dxs.first().copied().flatten()?;
        Some(Step::AddBackward(AddBackward { activation: context.activation, y, dy, dx }))
    }

    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        graph.node("Add", inputs, [])
    }

    fn plain<T: Real>(&self, _: LayerContext, inputs: &[&[T]], _: Option<DrawKey>) -> Vec<T> {
        inputs[0].iter().zip(inputs[1]).map(|(&a, &b)| a + b).collect()
    }

    fn plain_backward<T: Real>(&self, _: LayerContext, dy: Vec<T>, _: Option<DrawKey>) -> Vec<Vec<T>> {
        vec![dy.clone(), dy]
    }
}
