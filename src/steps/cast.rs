//! f32 values as the bf16 that tensor cores multiply, rounded to nearest even: the steps `cast` and `cast_weights`, `kernels/cast.cu`.

use super::operation::{Access, Hyper, Operation};
use crate::device::cuda::{self, DeviceBuffers, kernels};
use crate::device::{ByteView, HostBuffers, View};
use crate::real::Real;
use crate::steps::conv::Geometry;

/// Elements that kernels read at a time.
const CHUNK: usize = 8;

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

    fn reads(&self) -> Access {
        Access::new([("x", self.x)])
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y)])
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        let mut y = memory.take(self.y.buffer);
        y[self.y.range()].copy_from_slice(memory.get(self.x));
        memory.put(self.y.buffer, y);
    }

    fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        let launch = memory.cuda().launch_per_item(self.x.len.div_ceil(CHUNK), 256);
        kernels::cast::cast(launch, memory.pointer(self.x), memory.pointer_mut(self.y), self.x.len as i64)
    }
}

/// The weights of a convolution as one of its passes reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// [k, side · side · c], for the forward pass.
    Straight,
    /// [c, side · side · k] with rows and columns of the kernel from last to first, for the gradient of the input, which is the forward
    /// pass of dy with them.
    Turned,
}

/// The weights of one layer, [k, side, side, c], and where they go. Rows are filled with zeros up to a multiple of 8 elements.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub form: Form,
    pub geometry: Geometry,
    /// Among the parameters.
    pub source: View,
    /// Among the casts; starts at a multiple of 8.
    pub target: View,
}

impl Form {
    /// Rows, and elements of each without the zeros.
    fn rows(self, g: &Geometry) -> [usize; 2] {
        match self {
            Form::Straight => [g.k, g.taps()],
            Form::Turned => [g.c, g.side * g.side * g.k],
        }
    }

    /// Elements that a layer's weights take.
    pub fn len(self, g: &Geometry) -> usize {
        let [rows, length] = self.rows(g);
        rows * length.next_multiple_of(CHUNK)
    }

    /// Fills weights [k, side, side, c] with what was cast to this form.
    pub fn restore<T: Real>(self, g: &Geometry, cast: &[T], w: &mut [T]) {
        self.pairs(g, |from, to| w[from] = cast[to]);
    }

    /// Every element's place in the weights and in the cast.
    fn pairs(self, g: &Geometry, mut pair: impl FnMut(usize, usize)) {
        let taps = g.side * g.side;
        let stride = self.rows(g)[1].next_multiple_of(CHUNK);
        for k in 0..g.k {
            for tap in 0..taps {
                for c in 0..g.c {
                    let to = match self {
                        Form::Straight => k * stride + tap * g.c + c,
                        Form::Turned => c * stride + (taps - 1 - tap) * g.k + k,
                    };
                    pair((k * taps + tap) * g.c + c, to);
                }
            }
        }
    }
}

/// The weights of all layers, in one launch.
#[derive(Clone, Debug)]
pub struct CastWeights {
    pub params: View,
    pub casts: View,
    pub layers: Vec<Layer>,
    /// Of [`CastWeights::table`].
    pub table: ByteView,
}

impl Operation for CastWeights {
    fn kind(&self) -> &'static str {
        "cast_weights"
    }

    fn reads(&self) -> Access {
        Access::new([("params", self.params)])
    }

    fn writes(&self) -> Access {
        Access::new([("casts", self.casts)])
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

    fn cuda(&self, memory: &DeviceBuffers) -> cuda::Result<()> {
        let launch = memory.cuda().launch([self.blocks() as u32, 1, 1], 128, 0);
        kernels::cast::cast_weights(
            launch,
            memory.pointer(self.params),
            memory.pointer_mut(self.casts),
            memory.table(self.table),
            self.layers.len() as i32,
        )
    }
}

impl CastWeights {
    fn blocks(&self) -> usize {
        self.layers.iter().map(Layer::blocks).sum()
    }

    /// What the kernel reads of the layers: `Layer` of `kernels/cast.cu`.
    pub fn table(&self) -> Vec<i32> {
        let mut first = 0;
        let row = |layer: &Layer| {
            let Geometry { side, c, k, .. } = layer.geometry;
            let stride = layer.form.rows(&layer.geometry)[1].next_multiple_of(CHUNK);
            let turned = usize::from(layer.form == Form::Turned);
            let [source, target] =
                [(layer.source, self.params), (layer.target, self.casts)].map(|(part, whole)| part.start - whole.start);
            let row = [first, turned, source, target, k, side * side, c, stride];
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

impl Layer {
    /// Blocks of the kernel that work on the layer.
    fn blocks(&self) -> usize {
        let g = &self.geometry;
        match self.form {
            Form::Straight => self.target.len.div_ceil(128 * CHUNK),
            Form::Turned => g.k.div_ceil(32) * g.c.div_ceil(32) * g.side * g.side,
        }
    }
}
