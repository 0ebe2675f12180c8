//! The layer: the mean over windows.

use super::{AveragePool, AveragePoolBackward};
use crate::device::{DType, View};
use crate::onnx::{Attribute, Graph, Value};
use crate::real::Real;
use crate::steps::Step;
use crate::steps::pool::{MOST_WINDOW, PoolGeometry};
use crate::steps::standalone::{DrawKey, Gradients, LayerContext, Misfit, StandaloneLayer, ValueShape};
use crate::steps::upsample::ReceptiveField;

/// The mean over windows without padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AveragePoolLayer {
    /// Of the window.
    pub side: usize,
    pub stride: usize,
}

impl AveragePoolLayer {
    fn geometry(&self, input: ValueShape) -> PoolGeometry {
        let ValueShape { n, side, c } = input;
        PoolGeometry { n, h: side, w: side, c, side: self.side, stride: self.stride, pad: 0 }
    }

    /// The places of the input values whose mean an output value is.
    fn window(self, context: LayerContext, at: usize) -> impl Iterator<Item = usize> {
        let (from, to) = (context.inputs[0].side, context.output);
        let (pixel, channel) = (at / to.c, at % to.c);
        let (image, row, column) = (pixel / to.side / to.side, pixel / to.side % to.side, pixel % to.side);
        (0..self.side * self.side).map(move |tap| {
            let (row, column) = (row * self.stride + tap / self.side, column * self.stride + tap % self.side);
            ((image * from + row) * from + column) * to.c + channel
        })
    }
}

impl StandaloneLayer for AveragePoolLayer {
    fn kind(&self) -> &'static str {
        "average pool"
    }

    fn examples() -> Vec<AveragePoolLayer> {
        [(2, 2), (3, 1), (2, 1), (3, 2)].map(|(side, stride)| AveragePoolLayer { side, stride }).to_vec()
    }

    fn fault(&self) -> Option<Misfit> {
        let AveragePoolLayer { side, stride } = self;
        let problem = || format!("has a window of {side}×{side} and stride {stride}");
        let legal = [side, stride].into_iter().all(|size| (1..=MOST_WINDOW).contains(size));
        (!legal).then(|| Misfit::Illegal(problem(), "both are 1 to 1,024"))
    }

    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit> {
        let geometry = self.geometry(inputs[0]);
        (self.side <= inputs[0].side).then(|| geometry.oh()).ok_or(Misfit::TooSmall)
    }

    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
        Ok(inputs[0].through(self.side, self.stride, 0))
    }

    fn computes_in(&self, _: DType) -> bool {
        true
    }

    fn forward(&self, context: LayerContext, inputs: &[View], y: View, _: Option<u64>) -> Option<Step> {
        Some(Step::AveragePool(AveragePool { geometry: self.geometry(context.inputs[0]), x: inputs[0], y }))
    }

    fn gradients(&self, _: LayerContext, _: bool) -> Gradients {
        Gradients::Each
    }

    fn backward(&self, context: LayerContext, _: View, dy: View, dxs: &[Option<View>], _: Option<u64>) -> Option<Step> {
        let dx = dxs.first().copied().flatten()?;
        Some(Step::AveragePoolBackward(AveragePoolBackward { geometry: self.geometry(context.inputs[0]), dy, dx }))
    }

    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        let AveragePoolLayer { side, stride } = *self;
        let attributes = [Attribute::square("kernel_shape", side, 2), Attribute::square("strides", stride, 2)];
        graph.node("AveragePool", inputs, attributes)
    }

    fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], _: Option<DrawKey>) -> Vec<T> {
        let mean = |at: usize| {
            let values: Vec<T> = self.window(context, at).map(|from| inputs[0][from]).collect();
            values.iter().copied().sum::<T>() / T::of(values.len() as f64)
        };
        (0..context.output.len()).map(mean).collect()
    }

    fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, _: Option<DrawKey>) -> Vec<Vec<T>> {
        let mut dx = vec![T::zero(); context.inputs[0].len()];
        for (at, dy) in dy.into_iter().enumerate() {
            let share = dy / T::of((self.side * self.side) as f64);
            self.window(context, at).for_each(|from| dx[from] += share);
        }
        vec![dx]
    }
}
