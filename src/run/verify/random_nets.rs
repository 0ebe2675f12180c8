//! Random legal nets of every kind of layer, built from a list of numbers: the same numbers give the same net, and fewer a smaller one.

use crate::model::arch::{Arch, Init, Layer, Objective, Source};
use crate::steps::activation::Activation;
use crate::steps::concat::MOST_PARTS;

/// Side of an autoencoder's images: its decoder begins with 2×2 maps.
const AE_SIDE: usize = 8;

/// Largest side that a net upsamples to.
const MOST_SIDE: usize = 12;

/// Builds a net of an objective; it takes images of its own side.
pub fn random_net(objective: Objective, numbers: &[u32]) -> Arch {
    let mut net = Builder::new(objective, numbers);
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
    side: usize,
    c: usize,
    /// Pixels of the input between neighbours, as a power of two that may be negative.
    jump: i32,
}

impl Value {
    /// Whether two values have a pixel for each of the other's.
    fn matches(&self, other: &Value) -> bool {
        (self.side, self.jump) == (other.side, other.jump)
    }
}

struct Builder<'a> {
    arch: Arch,
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
}

impl<'a> Builder<'a> {
    fn new(objective: Objective, numbers: &'a [u32]) -> Builder<'a> {
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
            pretrained: false,
            unused_norms: Vec::new(),
        };
        let last = Value { source: Source::Input, side: 0, c: 0, jump: 0 };
        let mut net = Builder { arch, numbers, last, before: Vec::new(), starts: Vec::new(), frozen: 0 };
        net.frozen = net.choose(usize::MAX);
        net.arch.channels = 1 + net.choose(3);
        net.arch.bias = net.choose(4) > 0;
        if objective != Objective::Ae {
            net.arch.side = 5 + net.choose(6);
        }
        (net.last.side, net.last.c) = (net.arch.side, net.arch.channels);
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

    fn push(&mut self, layer: Layer, inputs: impl Into<Vec<Source>>) -> Source {
        self.arch.push_on(layer, inputs)
    }

    /// One more stage, or two.
    fn grow(&mut self) {
        self.starts.push(self.arch.layers.len());
        match self.choose(8) {
            0..=2 => self.block(),
            3 => self.add(),
            4 => self.concat(),
            5 => self.average_pool(),
            6 => self.upsample(),
            _ => self.dropout(),
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
        let Value { source, side, jump, .. } = self.last;
        let (out, kernel, stride) = (1 + self.choose(9), 1 + 2 * self.choose(3), 1 + self.choose(2));
        let bias = self.choose(3) > 0;
        let conv = Layer::Conv { name: self.name("conv"), out, side: kernel, stride, bias };
        let conv = self.push(conv, [source]);
        let mut next = Value {
            source: self.norm_and_activation(conv),
            side: (side - 1) / stride + 1,
            c: out,
            jump: jump + i32::from(stride == 2),
        };
        let pools = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 1, 0)];
        let choice = self.choose(8);
        if let Some(&(window, stride, pad)) = pools.get(choice).filter(|_| next.side >= 2) {
            next.source = self.push(Layer::Pool { side: window, stride, pad }, [next.source]);
            next.side = (next.side + 2 * pad - window) / stride + 1;
            next.jump += i32::from(stride == 2);
        }
        self.step(next);
    }

    /// A sum with an earlier value of the same shape, with one that a convolution brings there, or with itself.
    fn add(&mut self) {
        let last = self.last;
        let from = self.choose(self.before.len().max(1));
        let candidates = self.before.iter().skip(from);
        let fitting = candidates.flat_map(|&value| [1, 2].map(|stride| (value, stride))).find(|&(value, stride)| {
            (value.side - 1) / stride + 1 == last.side && value.jump + i32::from(stride == 2) == last.jump
        });
        let other = match fitting {
            Some((value, 1)) if value.c == last.c => value.source,
            Some((value, stride)) => {
                let kernel = 1 + 2 * self.choose(2);
                let layer = Layer::Conv { name: self.name("shortcut"), out: last.c, side: kernel, stride, bias: true };
                let conv = self.push(layer, [value.source]);
                self.norm_and_activation(conv)
            }
            None => last.source,
        };
        let sum = self.push(Layer::Add, [last.source, other]);
        let source = self.activation(sum);
        self.step(Value { source, ..last });
    }

    fn concat(&mut self) {
        let last = self.last;
        let count = 1 + self.choose(MOST_PARTS - 1);
        let mut parts: Vec<Value> =
            self.before.iter().rev().filter(|value| value.matches(&last)).take(count).copied().collect();
        parts.push(last);
        if parts.len() > 1 {
            let source = self.push(Layer::Concat, parts.iter().map(|part| part.source).collect::<Vec<_>>());
            self.step(Value { source, c: parts.iter().map(|part| part.c).sum(), ..last });
        }
    }

    fn average_pool(&mut self) {
        let last = self.last;
        let (window, stride) = [(2, 2), (3, 1), (2, 1), (3, 2)][self.choose(4)];
        if last.side >= window {
            let source = self.push(Layer::AveragePool { side: window, stride }, [last.source]);
            let side = (last.side - window) / stride + 1;
            self.step(Value { source, side, jump: last.jump + i32::from(stride == 2), ..last });
        }
    }

    fn upsample(&mut self) {
        let last = self.last;
        // The receptive field of an FCDD net is known where the jump has a half.
        if 2 * last.side <= MOST_SIDE && last.jump > 0 {
            let source = self.push(Layer::UpsampleNearest2x, [last.source]);
            self.step(Value { source, side: 2 * last.side, jump: last.jump - 1, ..last });
        }
    }

    /// In place: what it reads may not be read again, so it follows a layer that nothing else has read.
    fn dropout(&mut self) {
        if self.last.source != Source::Input && self.arch.readers(self.last.source).next().is_none() {
            self.last.source = self.push(Layer::Dropout, [self.last.source]);
        }
    }

    /// What the objective ends in; layers up to some stage are frozen.
    fn end(&mut self) {
        let Value { source, side, c, .. } = self.last;
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
                    hidden = self.push(Layer::Dropout, [hidden]);
                }
                self.push(linear("output".to_string(), 5, 1), [hidden]);
            }
            Objective::Ae => {
                let linear =
                    Layer::Linear { name: "code".to_string(), out: 12, pixels: side * side, init: Init::Uniform };
                let code = self.push(linear, [source]);
                let code = self.norm_and_activation(code);
                let maps = self.push(Layer::Reshape { side: 2, c: 3 }, [code]);
                let maps = self.push(Layer::UpsampleNearest2x, [maps]);
                let deconv = |name: &str, out, side, pad| Layer::Deconv {
                    name: name.to_string(),
                    out,
                    side,
                    pad,
                    init: Init::Xavier,
                };
                let maps = self.push(deconv("deconv1", 4, 3, 1), [maps]);
                let maps = self.norm_and_activation(maps);
                let maps = self.push(Layer::UpsampleNearest2x, [maps]);
                let image = self.push(deconv("deconv2", self.arch.channels, 5, 2), [maps]);
                if c > 4 {
                    self.push(Layer::Sigmoid, [image]);
                }
            }
        }
        // Half of the nets have frozen layers.
        self.arch.frozen = self.starts.get(self.frozen % (2 * self.starts.len())).copied().unwrap_or(0);
    }
}
