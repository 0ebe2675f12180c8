//! f32 values as the bf16 that tensor cores multiply, rounded to nearest even: the steps `cast` and `cast_weights`, `kernels/cast.cu`.

mod cuda;

use super::operation::{Access, CheckedBuffers, Hyper, Operation, Sums};
use crate::device::cuda::Result;
use crate::device::{ByteView, HostBuffers, View};
use crate::real::Real;
use crate::steps::conv::ConvGeometry;
use crate::steps::conv::weights::{CHUNK, WeightForm};

/// `y = x`, y in bf16.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    pub x: View,
    pub y: View,
}

impl Operation for Cast {
    fn kind(&self) -> &'static str {
        "cast"
    }

    fn counted(&self) -> usize {
        self.x.len
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x, self.x.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y, self.x.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        y[self.y.range()].copy_from_slice(memory.get(self.x));
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::cast(self, memory)
    }
}

/// The weights of one layer, [k, side, side, c], and where they go. Rows are filled with zeros up to a multiple of 8 elements.
#[derive(Clone, Copy, Debug)]
pub struct CastLayer {
    pub form: WeightForm,
    pub geometry: ConvGeometry,
    /// Among the parameters.
    pub source: View,
    /// Among the casts; starts at a multiple of 8.
    pub target: View,
}

/// The weights of all layers, in one launch.
#[derive(Clone, Debug)]
pub struct CastWeights {
    pub params: View,
    pub casts: View,
    pub layers: Vec<CastLayer>,
    /// Of [`CastWeights::table`].
    pub table: ByteView,
}

impl Operation for CastWeights {
    fn kind(&self) -> &'static str {
        "cast_weights"
    }

    fn counted(&self) -> usize {
        self.casts.len
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        let end = |layer: &CastLayer| (layer.source.start + layer.geometry.w_len()).saturating_sub(self.params.start);
        let end = self.layers.iter().map(end).max();
        Access::new([("params", self.params, self.params.len.max(end.unwrap_or(0)))])
    }

    fn writes(&self) -> Access {
        let end =
            |layer: &CastLayer| (layer.target.start + layer.form.len(&layer.geometry)).saturating_sub(self.casts.start);
        let end = self.layers.iter().map(end).max();
        let table = size_of::<i32>() * CastWeights::table_len(self.layers.len());
        Access::new([("casts", self.casts, self.casts.len.max(end.unwrap_or(0)))]).measured(
            "table",
            self.table.len,
            table,
        )
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut casts = memory.take(self.casts.buffer);
        for layer in &self.layers {
            let (w, cast) = (memory.get(layer.source), &mut casts[layer.target.range()]);
            cast.fill(T::zero());
            layer.form.pairs(&layer.geometry, |from, to| cast[to] = w[from]);
        }
        memory.put(self.casts.buffer, casts);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::weights(self, memory)
    }
}

impl CastWeights {
    fn blocks(&self) -> usize {
        self.layers.iter().map(CastLayer::blocks).sum()
    }

    /// What the kernel reads of the layers: `CastLayer` of `kernels/cast.cu`.
    pub fn table(&self) -> Vec<i32> {
        let mut first = 0;
        let row = |layer: &CastLayer| {
            let ConvGeometry { side, c, k, .. } = layer.geometry;
            let stride = layer.form.row_len(&layer.geometry);
            let flipped = usize::from(layer.form == WeightForm::Flipped);
            let [source, target] =
                [(layer.source, self.params), (layer.target, self.casts)].map(|(part, whole)| part.start - whole.start);
            let row = [first, flipped, source, target, k, side * side, c, stride];
            first += layer.blocks();
            row.map(|v| v as i32)
        };
        self.layers.iter().flat_map(row).collect()
    }

    /// Numbers of [`CastWeights::table`] for so many layers.
    pub fn table_len(layers: usize) -> usize {
        8 * layers
    }
}

impl CastLayer {
    /// Blocks of the kernel that work on the layer.
    fn blocks(&self) -> usize {
        let g = &self.geometry;
        match self.form {
            WeightForm::Krsc => self.target.len.div_ceil(128 * CHUNK),
            WeightForm::Flipped => g.k.div_ceil(32) * g.c.div_ceil(32) * g.side * g.side,
        }
    }
}
