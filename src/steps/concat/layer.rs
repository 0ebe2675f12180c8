//! The layer: the channels of several values.

use std::ops::RangeInclusive;

use super::{Concat, ConcatBackward, ConcatPart, ConcatParts, MOST_PARTS};
use crate::device::{DType, View};
use crate::onnx::{Attribute, Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape, joined_field};
use crate::steps::upsample::ReceptiveField;

/// The channels of up to [`MOST_PARTS`] values of one side, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcatLayer;

impl StandaloneLayer for ConcatLayer {
    fn kind(&self) -> &'static str {
        "concatenation"
    }

    fn examples() -> Vec<ConcatLayer> {
        vec![ConcatLayer]
    }

    fn inputs(&self) -> RangeInclusive<usize> {
        2..=MOST_PARTS
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        inputs.iter().sum()
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        let side = inputs[0].side;
        if inputs.iter().all(|input| input.side == side) {
            return Ok(side);
        }
        let sides = inputs.iter().map(|input| format!("{}²", input.side)).collect::<Vec<_>>().join(" and ");
        Err(Misfit::Illegal(format!("reads values of {sides} pixels"), "all have one side"))
    }

    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        joined_field(inputs)
    }

    fn computes_in(&self, _: DType) -> bool {
        true
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, _: Option<u64>) -> Option<Step> {
        Some(Step::Concat(Concat { parts: parts(context, inputs.iter().copied().map(Some)), y }))
    }

    fn gradients(&self, _: LayerContext, _: bool) -> Gradients {
        Gradients::Each
    }

    fn backward(&self, context: LayerContext, _: View, dy: View, dxs: &[Option<View>], _: Option<u64>) -> Option<Step> {
        Some(Step::ConcatBackward(ConcatBackward { parts: parts(context, dxs.iter().copied()), dy }))
    }

    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        graph.node("Concat", inputs, [Attribute::Int("axis", 1)])
    }

    fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], _: Option<DrawKey>) -> Vec<T> {
        let pixel =
            |p: usize| inputs.iter().zip(context.inputs).flat_map(move |(x, input)| x[p * input.c..][..input.c].iter());
        (0..context.output.pixels()).flat_map(pixel).copied().collect()
    }

    fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, _: Option<DrawKey>) -> Vec<Vec<T>> {
        let mut first = 0;
        let part = |input: &ValueShape| {
            let channels = first..first + input.c;
            first = channels.end;
            dy.chunks_exact(context.output.c).flat_map(|pixel| pixel[channels.clone()].iter().copied()).collect()
        };
        context.inputs.iter().map(part).collect()
    }
}

/// The parts of a step in these views.
fn parts(context: LayerContext, views: impl Iterator<Item = Option<View>>) -> ConcatParts {
    context.inputs.iter().zip(views).map(|(input, view)| ConcatPart { channels: input.c, view }).collect()
}
