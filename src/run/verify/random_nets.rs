//! Random legal nets of every kind of layer, built from a list of numbers: the same numbers give the same net, and fewer a smaller one.

use crate::device::DType;
use crate::model::arch::{Arch, NetPart, Objective, Source};
use crate::model::layer::{Init, Layer, Standalone};
use crate::steps::activation::Activation;
use crate::steps::add::layer::AddLayer;
use crate::steps::dropout::layer::DropoutLayer;
use crate::steps::reshape::layer::ReshapeLayer;
use crate::steps::standalone::ValueShape;
use crate::steps::upsample::ReceptiveField;
use crate::steps::upsample_nearest::layer::UpsampleNearest2xLayer;

/// Side of an autoencoder's images: its decoder begins with 2×2 maps.
const AE_SIDE: usize = 8;

/// Largest side that a net upsamples to.
const MOST_SIDE: usize = 12;

/// Builds a net of an objective, of layers that compute in numbers of a type; it takes images of its own side.
pub fn random_net(objective: Objective, dtype: DType, numbers: &[u32]) -> Arch {
    let mut net = Builder::new(objective, dtype, numbers);
    while !net.numbers.is_empty() {
        net.grow();
    }
    net.end();
    net.arch
}

/// The output of a stage.
#[derive(Clone, Copy, PartialEq)]
struct Value {
    source: Source,
    shape: ValueShape,
    field: ReceptiveField,
}

struct Builder<'a> {
    arch: Arch,
    dtype: DType,
    /// What choices are made by.
    numbers: &'a [u32],
    /// What the next layers read.
    last: Value,
    /// Values before it that may be read again.
    before: Vec<Value>,
    /// Where stages begin: from there on layers may be trained.
    starts: Vec<usize>,
    /// Which of them it is.
    frozen: usize,
    /// Layers before this one are frozen in any case.
    frozen_at_least: usize,
}

impl<'a> Builder<'a> {
    fn new(objective: Objective, dtype: DType, numbers: &'a [u32]) -> Builder<'a> {
        let arch = Arch {
            name: "RANDOM".to_string(),
            objective,
            channels: 1,
            side: AE_SIDE,
            bias: true,
            norm_eps: 1e-4,
            conv_init: Init::Uniform,
            layers: Vec::new(),
            frozen: 0,
            fixed: false,
            part: NetPart::Whole,
            pretrained: false,
            unused_norms: Vec::new(),
        };
        let shape = ValueShape { n: 1, side: AE_SIDE, c: 1 };
        let field = ReceptiveField { n: AE_SIDE, jump: 1, size: 1, shift: 0.0 };
        let last = Value { source: Source::Input, shape, field };
        let mut net = Builder {
            arch,
            dtype,
            numbers,
            last,
            before: Vec::new(),
            starts: Vec::new(),
            frozen: 0,
            frozen_at_least: 0,
        };
        net.frozen = net.choose(usize::MAX);
        net.arch.channels = 1 + net.choose(3);
        net.arch.bias = net.choose(4) > 0;
        net.arch.fixed = net.choose(2) > 0;
        net.arch.norm_eps = [1e-4, 1e-5, 1e-2][net.choose(3)];
        if objective != Objective::Ae {
            net.arch.side = 5 + net.choose(6);
        }
        (net.last.shape.side, net.last.shape.c, net.last.field.n) = (net.arch.side, net.arch.channels, net.arch.side);
        net
    }

    /// A number below `n`; 0 where there are no more numbers.
    fn choose(&mut self, n: usize) -> usize {
        let Some((&first, rest)) = self.numbers.split_first() else { return 0 };
        self.numbers = rest;
        first as usize % n
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.arch.layers.len())
    }

    fn push(&mut self, layer: impl Into<Layer>, inputs: impl Into<Vec<Source>>) -> Source {
        self.arch.push_on(layer, inputs)
    }

    /// One more stage, or two.
    fn grow(&mut self) {
        self.starts.push(self.arch.layers.len());
        match self.choose(8) {
            0..=2 => self.block(),
            3 => self.residual(),
            4 => self.pool(),
            _ => self.standalone(),
        }
    }

    /// What was added so far stays frozen if its gradients are not computed in the net's numbers: those of a stride are in f32 alone.
    fn freeze_strided(&mut self, stride: usize) {
        if stride > 1 && self.dtype == DType::Bf16 {
            self.frozen_at_least = self.arch.layers.len();
        }
    }

    /// The last value is `next` from now on, and the one before it may be read again.
    fn step(&mut self, next: Value) {
        self.before.push(self.last);
        self.last = next;
    }

    /// Sometimes a norm, sometimes an activation.
    fn norm_and_activation(&mut self, mut source: Source) -> Source {
        if self.choose(2) > 0 {
            source = self.push(Layer::Norm { name: self.name("norm") }, [source]);
        }
        self.activation(source)
    }

    fn activation(&mut self, source: Source) -> Source {
        match self.choose(3) {
            0 => source,
            1 => self.push(Layer::Activation(Activation::RELU), [source]),
            _ => self.push(Layer::Activation(Activation::LEAKY_RELU), [source]),
        }
    }

    fn block(&mut self) {
        let Value { source, shape, field } = self.last;
        // Multiples of 16 may be computed by fewer products.
        let out = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 16, 32][self.choose(12)];
        let (kernel, stride) = (1 + 2 * self.choose(3), 1 + self.choose(2));
        let bias = self.choose(3) > 0;
        let conv = Layer::Conv { name: self.name("conv"), out, side: kernel, stride, bias };
        let conv = self.push(conv, [source]);
        let mut field = field.through(kernel, stride, kernel / 2);
        let mut source = self.norm_and_activation(conv);
        let pools = self.choose(2) > 0;
        let [window, pool_stride, pad] = self.window();
        if pools && field.n >= window {
            // Sometimes what is pooled is read by others too.
            let tapped = self.choose(3) == 0;
            if tapped {
                self.step(Value { source, shape: ValueShape { side: field.n, c: out, ..shape }, field });
            }
            source = self.push(Layer::Pool { side: window, stride: pool_stride, pad }, [source]);
            field = field.through(window, pool_stride, pad);
        }
        self.freeze_strided(stride);
        self.step(Value { source, shape: ValueShape { side: field.n, c: out, ..shape }, field });
    }

    /// A sum with what a convolution makes of an earlier value.
    fn residual(&mut self) {
        let last = self.last;
        let (from, kernel) = (self.choose(self.before.len().max(1)), 1 + 2 * self.choose(2));
        let candidates = self.before.iter().skip(from).flat_map(|&value| [1, 2].map(|stride| (value, stride)));
        let fits = |&(value, stride): &(Value, usize)| {
            let field = value.field.through(kernel, stride, kernel / 2);
            (field.n, field.jump) == (last.field.n, last.field.jump)
        };
        let Some((value, stride)) = candidates.into_iter().find(fits) else { return };
        let name = self.name("shortcut");
        let conv = Layer::Conv { name, out: last.shape.c, side: kernel, stride, bias: true };
        let conv = self.push(conv, [value.source]);
        let source = self.norm_and_activation(conv);
        let field = value.field.through(kernel, stride, kernel / 2);
        self.push_standalone(&AddLayer.into(), &[last, Value { source, shape: last.shape, field }]);
        self.freeze_strided(stride);
    }

    /// Side, stride and padding of a max pool.
    fn window(&mut self) -> [usize; 3] {
        let (side, stride) = (1 + self.choose(3), 1 + self.choose(3));
        [side, if side == 1 { stride.max(2) } else { stride }, self.choose(side / 2 + 1)]
    }

    /// A max pool of whatever comes before it.
    fn pool(&mut self) {
        let Value { source, shape, field } = self.last;
        let [side, stride, pad] = self.window();
        if field.n < side {
            return;
        }
        // It may join the layers before it, which are frozen or not as one.
        let stands_alone = match source {
            Source::Input => true,
            Source::Layer(of) => match self.arch.layers[of].layer {
                Layer::Pool { .. } | Layer::Standalone(_) => true,
                Layer::Conv { .. }
                | Layer::Linear { .. }
                | Layer::Deconv { .. }
                | Layer::Norm { .. }
                | Layer::Activation(_)
                | Layer::Sigmoid => false,
            },
        };
        let at = self.arch.layers.len();
        if !stands_alone {
            self.starts.retain(|&start| start < at);
            self.frozen_at_least += usize::from(self.frozen_at_least == at);
        }
        let source = self.push(Layer::Pool { side, stride, pad }, [source]);
        let field = field.through(side, stride, pad);
        self.step(Value { source, shape: ValueShape { side: field.n, ..shape }, field });
    }

    /// A layer that is lowered by itself, where one fits: it reads the last value, and earlier ones.
    fn standalone(&mut self) {
        let mut all = Standalone::examples();
        all.retain(|layer| layer.computes_in(self.dtype));
        let layer = &all[self.choose(all.len())];
        let counts = layer.inputs();
        let wanted = counts.start() + self.choose(counts.end() - counts.start() + 1);
        let mut inputs = vec![self.last];
        // It may read one value twice.
        for value in self.before.iter().rev().chain([&self.last]) {
            inputs.push(*value);
            if inputs.len() > wanted || output(layer, &inputs).is_none() && inputs.len() >= *counts.start() {
                inputs.pop();
            }
        }
        self.push_standalone(layer, &inputs);
    }

    /// The layer with these inputs, if it takes them.
    fn push_standalone(&mut self, layer: &Standalone, inputs: &[Value]) {
        let Some((shape, field)) = output(layer, inputs).filter(|(shape, _)| shape.side <= MOST_SIDE) else { return };
        // What is changed in place may be read by nothing else.
        let first = inputs[0].source;
        if layer.in_place() && (first == Source::Input || self.arch.readers(first).next().is_some()) {
            return;
        }
        let sources: Vec<Source> = inputs.iter().map(|input| input.source).collect();
        let mut source = self.push(layer.clone(), sources);
        if layer.takes_activation() {
            source = self.activation(source);
        }
        let next = Value { source, shape, field };
        if layer.in_place() {
            self.last = next;
        } else {
            self.step(next);
        }
    }

    /// What the objective ends in; layers up to some stage are frozen.
    fn end(&mut self) {
        let Value { source, shape: ValueShape { side, c, .. }, .. } = self.last;
        self.starts.push(self.arch.layers.len());
        match self.arch.objective {
            Objective::Fcdd => {
                let name = "head".to_string();
                self.push(Layer::Conv { name, out: 1, side: 1, stride: 1, bias: true }, [source]);
            }
            Objective::Hsc => {
                let linear = |name: String, out, pixels| Layer::Linear { name, out, pixels, init: Init::Uniform };
                let hidden = self.push(linear("hidden".to_string(), 7, side * side), [source]);
                let mut hidden = self.norm_and_activation(hidden);
                if self.choose(2) > 0 {
                    hidden = self.push(DropoutLayer, [hidden]);
                }
                self.push(linear("output".to_string(), 5, 1), [hidden]);
            }
            Objective::Ae => {
                let linear =
                    Layer::Linear { name: "code".to_string(), out: 12, pixels: side * side, init: Init::Uniform };
                let code = self.push(linear, [source]);
                let code = self.norm_and_activation(code);
                let maps = self.push(ReshapeLayer { side: 2, c: 3 }, [code]);
                let maps = self.push(UpsampleNearest2xLayer, [maps]);
                let deconv = |name: &str, out, side, pad| Layer::Deconv {
                    name: name.to_string(),
                    out,
                    side,
                    pad,
                    init: Init::Xavier,
                };
                let maps = self.push(deconv("deconv1", 4, 3, 1), [maps]);
                let maps = self.norm_and_activation(maps);
                let maps = self.push(UpsampleNearest2xLayer, [maps]);
                let image = self.push(deconv("deconv2", self.arch.channels, 5, 2), [maps]);
                if c > 4 {
                    self.push(Layer::Sigmoid, [image]);
                }
            }
        }
        // Half of the nets have frozen layers.
        let frozen = self.starts.get(self.frozen % (2 * self.starts.len())).copied().unwrap_or(0);
        self.arch.frozen = frozen.max(self.frozen_at_least);
        // What draws is not fixed.
        self.arch.fixed &= !self.arch.layers[..self.arch.frozen].iter().any(|node| node.layer.draws());
    }
}

/// Shape and receptive field of what a layer makes of these; None where it does not take them.
fn output(layer: &Standalone, inputs: &[Value]) -> Option<(ValueShape, ReceptiveField)> {
    let shapes: Vec<ValueShape> = inputs.iter().map(|input| input.shape).collect();
    let channels: Vec<usize> = inputs.iter().map(|input| input.shape.c).collect();
    let fields: Vec<ReceptiveField> = inputs.iter().map(|input| input.field).collect();
    let fits = layer.inputs().contains(&inputs.len());
    let side = layer.side(&shapes).ok().filter(|_| fits)?;
    let shape = ValueShape { n: shapes[0].n, side, c: layer.channels(&channels) };
    Some((shape, layer.receptive_field(&fields).ok()?))
}
