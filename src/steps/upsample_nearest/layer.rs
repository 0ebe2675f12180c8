//! The layer: nearest-neighbour upsampling by two.

use super::{UpsampleNearest2x, UpsampleNearest2xBackward, UpsampleNearestGeometry};
use crate::device::{DType, View};
use crate::onnx::{Attribute, Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape};
use crate::steps::upsample::ReceptiveField;

/// Twice the side, each pixel four times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpsampleNearest2xLayer;

impl StandaloneLayer for UpsampleNearest2xLayer {
    fn kind(&self) -> &'static str {
        "upsampling"
    }

    fn examples() -> Vec<UpsampleNearest2xLayer> {
        vec![UpsampleNearest2xLayer]
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        Ok(2 * inputs[0].side)
    }

    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        let problem = || format!("upsamples outputs that lie {} pixels apart", inputs[0].jump);
        inputs[0].upsampled().ok_or_else(|| Misfit::Illegal(problem(), "an even number of pixels can be halved"))
    }

    fn computes_in(&self, dtype: DType) -> bool {
        dtype == DType::F32
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, _: Option<u64>) -> Option<Step> {
        Some(Step::UpsampleNearest2x(UpsampleNearest2x { geometry: geometry(context), x: inputs[0], y }))
    }

    fn gradients(&self, _: LayerContext, _: bool) -> Gradients {
        Gradients::Each
    }

    fn backward(&self, context: LayerContext, _: View, dy: View, dxs: &[Option<View>], _: Option<u64>) -> Option<Step> {
        let dx = dxs.first().copied().flatten()?;
        Some(Step::UpsampleNearest2xBackward(UpsampleNearest2xBackward { geometry: geometry(context), dy, dx }))
    }

    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        let scales = graph.floats("", &[4], &[1.0, 1.0, 2.0, 2.0]);
        let words = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
        let no_region = Value::absent();
        let attributes = words.map(|(name, word)| Attribute::Text(name, word));
        graph.node("Resize", [&inputs[0], &no_region, &scales], attributes)
    }

    fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], _: Option<DrawKey>) -> Vec<T> {
        (0..context.output.len()).map(|at| inputs[0][source(context, at)]).collect()
    }

    fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, _: Option<DrawKey>) -> Vec<Vec<T>> {
        let mut dx = vec![T::zero(); context.inputs[0].len()];
        dy.iter().enumerate().for_each(|(at, &dy)| dx[source(context, at)] += dy);
        vec![dx]
    }
}

fn geometry(context: LayerContext) -> UpsampleNearestGeometry {
    let ValueShape { n, side, c } = context.inputs[0];
    UpsampleNearestGeometry { n, side, c }
}

/// The number of the input value that an output value is.
fn source(context: LayerContext, at: usize) -> usize {
    let ValueShape { side, c, .. } = context.inputs[0];
    // Rows of all images: an image has twice as many in the output.
    let (channel, column, row) = (at % c, at / c % (2 * side), at / c / (2 * side));
    (row / 2 * side + column / 2) * c + channel
}
