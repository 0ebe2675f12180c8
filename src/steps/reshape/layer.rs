//! The layer: a vector as maps.

use super::Reshape;
use crate::device::{DType, View};
use crate::onnx::{Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::access::elements;
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape};
use crate::steps::upsample::ReceptiveField;

/// A vector in the order (channel, row, column) as `c` maps of `side`×`side` pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReshapeLayer {
    pub side: usize,
    pub c: usize,
}

impl StandaloneLayer for ReshapeLayer {
    fn kind(&self) -> &'static str {
        "reshape"
    }

    fn examples() -> Vec<ReshapeLayer> {
        vec![ReshapeLayer { side: 2, c: 3 }]
    }

    fn channels(&self, _: &[usize]) -> usize {
        self.c
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        let (ValueShape { side: from, c, .. }, to) = (inputs[0], self.side);
        if from == 1 && c == elements([to, to, self.c]) {
            return Ok(to);
        }
        let problem = format!("reads {from}²×{c} values where {to}²×{} are wanted", self.c);
        Err(Misfit::Illegal(problem, "it reads a vector of as many values"))
    }

    fn receptive_field(&self, _: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        Err(Misfit::NoReceptiveField)
    }

    fn computes_in(&self, dtype: DType) -> bool {
        dtype == DType::F32
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, _: Option<u64>) -> Option<Step> {
        let pixels = context.output.side * context.output.side;
        Some(Step::Reshape(Reshape { rows: self.c, columns: pixels, x: inputs[0], y }))
    }

    fn gradients(&self, _: LayerContext, _: bool) -> Gradients {
        Gradients::Each
    }

    fn backward(&self, context: LayerContext, _: View, dy: View, dxs: &[Option<View>], _: Option<u64>) -> Option<Step> {
        let pixels = context.output.side * context.output.side;
        Some(Step::Reshape(Reshape { rows: pixels, columns: self.c, x: dy, y: dxs.first().copied().flatten()? }))
    }

    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        graph.reshape(&inputs[0], &[0, self.c as i64, self.side as i64, self.side as i64])
    }

    fn plain<T: Real>(&self, _: LayerContext, inputs: &[&[T]], _: Option<DrawKey>) -> Vec<T> {
        transposed(inputs[0], self.c, self.side * self.side)
    }

    fn plain_backward<T: Real>(&self, _: LayerContext, dy: Vec<T>, _: Option<DrawKey>) -> Vec<Vec<T>> {
        vec![transposed(&dy, self.side * self.side, self.c)]
    }
}

/// Exchanges rows and columns of matrices [rows, columns].
fn transposed<T: Real>(matrices: &[T], rows: usize, columns: usize) -> Vec<T> {
    let matrix = |m: &[T]| (0..rows * columns).map(|at| m[at % rows * columns + at / rows]).collect::<Vec<_>>();
    matrices.chunks_exact(rows * columns).flat_map(matrix).collect()
}
