//! f32 values as the bf16 that tensor cores multiply, rounded to nearest even: the steps `cast` and `cast_weights`, `kernels/cast.cu`.

mod cuda;

use super::operation::{Access, CheckedBuffers, Hyper, NumberTypes, Operation, Sums};
use crate::device::cuda::Result;
use crate::device::{HostBuffers, Packing, View};
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

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::F32.and_bf16(&["y"])
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
    /// In the order of their targets.
    pub layers: Vec<CastLayer>,
}

impl Operation for CastWeights {
    fn kind(&self) -> &'static str {
        "cast_weights"
    }

    fn counted(&self) -> usize {
        self.params.len.max(self.casts.len)
    }

    fn anywhere(&self) -> &'static [&'static str] {
        &["params"]
    }

    /// The kernel goes by the table of the layers: each lies within parameters and casts, and apart from the others.
    fn wrong_numbers(&self) -> Option<String> {
        let mut free = self.casts.start;
        for (i, CastLayer { form, geometry, source, target }) in self.layers.iter().enumerate() {
            let within = |part: &View, whole: &View| {
                let (at, of) = (part.range(), whole.range());
                (part.buffer, part.dtype) == (whole.buffer, whole.dtype) && of.start <= at.start && at.end <= of.end
            };
            let lengths = (source.len, target.len) == (geometry.w_len(), form.len(geometry)) && target.len > 0;
            if !lengths || !within(source, &self.params) || !within(target, &self.casts) {
                return Some(format!("its layer {i} does not lie within parameters and casts"));
            }
            if target.start < free || !(target.start - self.casts.start).is_multiple_of(CHUNK) {
                return Some(format!(
                    "the cast of its layer {i} does not start at a multiple of {CHUNK} behind the others"
                ));
            }
            free = target.range().end;
        }
        self.layers.is_empty().then(|| "it has no layers".into())
    }

    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::F32.and_bf16(&["casts"])
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn reads(&self) -> Access {
        Access::new([("params", self.params, self.params.len)])
    }

    fn writes(&self) -> Access {
        Access::new([("casts", self.casts, self.casts.len)])
    }

    fn sums(&self, _: &str, _: &[f64], _: &HostBuffers<f64>) -> Sums {
        Sums::NONE
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        // Weights that do not change are cast once.
        let cast = Packing { w: self.params, b: Some(self.casts), form: "cast", of: [0; 3], len: 0 };
        let (none, is_current) = memory.take_packed(cast);
        if is_current {
            return memory.put_packed(cast, none);
        }
        let mut casts = memory.take(self.casts.buffer);
        for layer in &self.layers {
            let (w, cast) = (memory.get(layer.source), &mut casts[layer.target.range()]);
            cast.fill(T::zero());
            layer.form.pairs(&layer.geometry, |from, to| cast[to] = w[from]);
        }
        memory.put(self.casts.buffer, casts);
        memory.put_packed(cast, none);
    }

    fn cuda(&self, memory: &CheckedBuffers) -> Result<()> {
        cuda::weights(self, memory)
    }
}

impl CastWeights {
    fn blocks(&self) -> usize {
        self.layers.iter().map(CastLayer::blocks).sum()
    }

    /// What the kernel reads of the layers: `Layer` of `kernels/cast.cu`. Device memory has to hold it
    /// ([`hold_table`](crate::device::cuda::DeviceBuffers::hold_table)).
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
