//! The table of FCDD nets. A new net is one new line in `NETS`. Nets of the baselines are in `baselines.rs`.

use super::arch::{Arch, NetPart, Objective, Source};
use super::layer::{Init, Layer};
use crate::error::{Error, Result};
use crate::steps::activation::Activation;
use crate::steps::add::layer::AddLayer;
use crate::steps::average_pool::layer::AveragePoolLayer;
use crate::steps::concat::layer::ConcatLayer;

/// A net, or a family of nets that differ in the side k of their kernels.
struct Entry {
    /// Without `FCDD_`; of a family also without `_kK`.
    name: &'static str,
    /// The largest k of a family: it has all odd ones from 3 on.
    largest: Option<usize>,
    build: fn(FcddBuilder, usize) -> Arch,
}

const fn net(name: &'static str, build: fn(FcddBuilder, usize) -> Arch) -> Entry {
    Entry { name, largest: None, build }
}

const fn family(name: &'static str, largest: usize, build: fn(FcddBuilder, usize) -> Arch) -> Entry {
    Entry { name, largest: Some(largest), build }
}

/// All nets.
const NETS: &[Entry] = &[
    net("CNN28", |net, _| net.input(1, 28).block(5, 8).pool(2, 2, 0).conv(5, 16).pool(2, 2, 0).head()),
    net("CNN28_W", |net, _| net.input(1, 28).block(5, 128).pool(2, 2, 0).conv(5, 128).pool(2, 2, 0).head()),
    net("CNN32", |net, _| {
        net.input(3, 32).block(5, 32).pool(2, 2, 0).block(5, 64).pool(2, 2, 0).conv(5, 128).unused_norm(128).head()
    }),
    net("CNN32_S", |net, _| net.input(3, 32).block(3, 32).pool(2, 2, 0).block(3, 64).pool(2, 2, 0).conv(3, 128).head()),
    net("CNN32_LW3K", |net, _| {
        let net = net.input(3, 32).block(3, 128).pool(2, 2, 0).block(3, 256);
        net.named("25").block(3, 256).pool(2, 2, 0).named("3").conv(3, 128).unused_norm(128).head()
    }),
    family("CNN32", 17, |net, k| {
        net.input(3, 32).block(k, 128).pool(2, 2, 0).block(3, 256).pool(2, 2, 0).conv(3, 128).head()
    }),
    net("CNN224", |net, _| cnn224(net, [(5, 8), (5, 32), (3, 64), (3, 128), (3, 128)])),
    net("CNN224_W", |net, _| cnn224(net, [(5, 32), (5, 128), (3, 256), (3, 256), (3, 128)])),
    family("CNN224", 13, |net, k| cnn224(net, [(k, 32), (k, 128), (k, 256), (k, 256), (k, 128)])),
    net("CNN224_VGG_NOPT", |net, _| vgg11(net)),
    net("CNN224_VGG", |net, _| Arch { pretrained: true, ..vgg11(net) }),
    net("CNN224_VGG_F", |net, _| Arch { pretrained: true, frozen: 15, ..vgg11(net) }),
    net("CNN224_VGG16_NOPT", |net, _| vgg16(net)),
    net("CNN224_VGG16", |net, _| Arch { pretrained: true, ..vgg16(net) }),
    // As in VGG_F, the first three stages are frozen and the fourth is trained.
    net("CNN224_VGG16_F", |net, _| Arch { pretrained: true, frozen: 17, ..vgg16(net) }),
    net("RESNET18_NOPT", |net, _| Arch { frozen: 0, ..resnet18(net) }),
    net("RESNET18", |net, _| Arch { pretrained: true, frozen: 0, ..resnet18(net) }),
    // As in VGG_F, all but the last stage is frozen.
    net("RESNET18_F", |net, _| Arch { pretrained: true, ..resnet18(net) }),
    // Fixed features of several stages, and a small head: see `multi_stage`.
    net("VGG16_MS", |net, _| vgg_multi_stage(vgg16_features(net))),
    net("VGG11_MS", |net, _| vgg_multi_stage(vgg11_features(net))),
    net("RESNET18_MS", |net, _| resnet18_multi_stage(net)),
];

/// The frozen 1×1 convolution that brings features to fewer channels: their principal components, which training begins with finding.
pub(crate) const REDUCE: &str = "reduce";

/// Channels that VGG's features are brought to.
const REDUCED: usize = 192;

impl Entry {
    /// The names of its nets, without `FCDD_`, each with its k.
    fn names(&self) -> impl Iterator<Item = (String, usize)> {
        let name = self.name;
        let alone = self.largest.is_none().then(|| (name.to_string(), 0));
        alone.into_iter().chain((3..=self.largest.unwrap_or(0)).step_by(2).map(move |k| (format!("{name}_{k}K"), k)))
    }
}

/// Names of all nets.
pub fn names() -> Vec<String> {
    NETS.iter().flat_map(Entry::names).map(|(name, _)| format!("FCDD_{name}")).collect()
}

/// The net of that name; the prefix `FCDD_` may be left out.
pub fn by_name(name: &str, bias: bool) -> Result<Arch> {
    let upper = name.to_uppercase();
    let stem = upper.strip_prefix("FCDD_").unwrap_or(&upper);
    let found = NETS.iter().find_map(|entry| Some((entry, entry.names().find(|(name, _)| name == stem)?.1)));
    match found {
        Some((entry, k)) => Ok((entry.build)(FcddBuilder::new(stem, bias), k)),
        None => {
            let problem = format!("there is no net named '{name}'");
            Err(Error::setting(problem, format!("choose one of {}", names().join(", "))))
        }
    }
}

/// The CNN224 family: (kernel side, channels) of its five convolutions.
fn cnn224(net: FcddBuilder, convs: [(usize, usize); 5]) -> Arch {
    let [c1, c2, c3, c4, c5] = convs;
    net.input(3, 224)
        .block(c1.0, c1.1)
        .pool(3, 2, 1)
        .block(c2.0, c2.1)
        .pool(3, 2, 1)
        .block(c3.0, c3.1)
        .block(c4.0, c4.1)
        .pool(3, 2, 1)
        .conv(c5.0, c5.1)
        .head()
}

/// VGG-11-BN's features, and a head on them.
fn vgg11(net: FcddBuilder) -> Arch {
    vgg11_features(net).head()
}

/// VGG-16's features, and a head on them.
fn vgg16(net: FcddBuilder) -> Arch {
    vgg16_features(net).head()
}

/// VGG-11-BN's features up to the sixth convolution.
fn vgg11_features(net: FcddBuilder) -> FcddBuilder {
    let mut net = vgg(net, true, [(64, true), (128, true), (256, false), (256, true), (512, false), (512, false)]);
    net.arch.norm_eps = 1e-5;
    net
}

/// VGG-16's features, without norms, up to the third convolution of the fourth stage (relu4_3).
fn vgg16_features(net: FcddBuilder) -> FcddBuilder {
    let two = |out| [(out, false), (out, true)];
    let last = [(512, false), (512, false), (512, false)];
    let convs = two(64).into_iter().chain(two(128)).chain([(256, false), (256, false), (256, true)]).chain(last);
    vgg(net, false, convs)
}

/// Features of a VGG net, named by their index as torchvision does: 3×3 convolutions of (channels, whether a pool follows).
fn vgg(net: FcddBuilder, norms: bool, convs: impl IntoIterator<Item = (usize, bool)>) -> FcddBuilder {
    let mut net = net.input(3, 224);
    let name = |i: usize| format!("features.{i}");
    for (out, pool) in convs {
        let i = net.arch.layers.len();
        net.arch.push(Layer::Conv { name: name(i), out, side: 3, stride: 1, bias: true });
        if norms {
            net.arch.push(Layer::Norm { name: name(i + 1) });
        }
        net.arch.push(Layer::Activation(Activation::RELU));
        if pool {
            net = net.pool(2, 2, 0);
        }
    }
    net
}

/// ResNet-18's features up to the end of its third stage, `layer3`, and a head on them. All but that stage is frozen.
fn resnet18(net: FcddBuilder) -> Arch {
    let (mut net, stages) = resnet18_features(net, 3);
    net.arch.frozen = stages[1] + 1;
    net.head()
}

/// The first stages of ResNet-18, named as torchvision and timm do, and the last layer of each.
fn resnet18_features(net: FcddBuilder, stages: usize) -> (FcddBuilder, Vec<usize>) {
    let mut net = net.input(3, 224);
    net.arch.norm_eps = 1e-5;
    let arch = &mut net.arch;
    let stem = conv_norm(arch, Source::Input, ["conv1", "bn1"].map(String::from), 64, 7, 2);
    arch.push_on(Layer::Activation(Activation::RELU), [stem]);
    let mut x = arch.push(Layer::Pool { side: 3, stride: 2, pad: 1 });
    let mut ends = Vec::new();
    for (stage, out, stride) in [("layer1", 64, 1), ("layer2", 128, 2), ("layer3", 256, 2)].into_iter().take(stages) {
        x = basic_block(arch, x, &format!("{stage}.0"), out, stride);
        x = basic_block(arch, x, &format!("{stage}.1"), out, 1);
        ends.push(arch.layers.len() - 1);
    }
    (net, ends)
}

/// Fixed features of VGG's second, third and fourth stage, reduced, and a small head.
fn vgg_multi_stage(net: FcddBuilder) -> Arch {
    // The first stage has the pixels' own scale, and says little that the others do not.
    let is_pool = |&i: &usize| matches!(net.arch.layers[i].layer, Layer::Pool { .. });
    let pooled: Vec<usize> = (0..net.arch.layers.len()).filter(is_pool).map(|pool| pool - 1).collect();
    let last = net.arch.layers.len() - 1;
    multi_stage(net, [(pooled[1], 4), (pooled[2], 2), (last, 1)], Some(REDUCED))
}

/// Fixed features of ResNet-18's first two stages and a small head. The third has a value for 16 × 16 pixels, in which small defects
/// vanish: the map keeps the finer grid of the second. 192 channels need no reduction.
fn resnet18_multi_stage(net: FcddBuilder) -> Arch {
    let (net, stages) = resnet18_features(net, 2);
    multi_stage(net, [(stages[0], 2), (stages[1], 1)], None)
}

/// The outputs of (layers, each with the windows that average it to the coarsest grid) side by side, brought to fewer channels, as features
/// that are fixed: norms before here go by their stored statistics, so that training computes the features of a view once. What is trained
/// is a small head on them.
fn multi_stage<const N: usize>(mut net: FcddBuilder, taps: [(usize, usize); N], reduced: Option<usize>) -> Arch {
    let arch = &mut net.arch;
    let parts = taps.map(|(layer, side)| match side {
        1 => Source::Layer(layer),
        _ => arch.push_on(AveragePoolLayer { side, stride: side }, [Source::Layer(layer)]),
    });
    arch.push_on(ConcatLayer, parts);
    if let Some(out) = reduced {
        arch.push(Layer::Conv { name: REDUCE.to_string(), out, side: 1, stride: 1, bias: true });
    }
    (arch.frozen, arch.fixed, arch.pretrained) = (arch.layers.len(), true, true);
    arch.push(Layer::Conv { name: "head".to_string(), out: 64, side: 3, stride: 1, bias: true });
    arch.push(Layer::Norm { name: "head_bn".to_string() });
    arch.push(Layer::Activation(Activation::LEAKY_RELU));
    net.head()
}

/// Two convolutions and what they are added to: the block's input, through a 1×1 convolution where that has another shape.
fn basic_block(arch: &mut Arch, x: Source, name: &str, out: usize, stride: usize) -> Source {
    let names = |i: usize| [format!("{name}.conv{i}"), format!("{name}.bn{i}")];
    let first = conv_norm(arch, x, names(1), out, 3, stride);
    let first = arch.push_on(Layer::Activation(Activation::RELU), [first]);
    let second = conv_norm(arch, first, names(2), out, 3, 1);
    let shortcut = match stride {
        1 => x,
        _ => conv_norm(arch, x, ["0", "1"].map(|i| format!("{name}.downsample.{i}")), out, 1, stride),
    };
    let sum = arch.push_on(AddLayer, [second, shortcut]);
    arch.push_on(Layer::Activation(Activation::RELU), [sum])
}

/// A convolution without bias, and its norm.
fn conv_norm(arch: &mut Arch, x: Source, names: [String; 2], out: usize, side: usize, stride: usize) -> Source {
    let [name, norm] = names;
    let conv = arch.push_on(Layer::Conv { name, out, side, stride, bias: false }, [x]);
    arch.push_on(Layer::Norm { name: norm }, [conv])
}

/// Builds the small nets, numbering their modules as the authors do: conv1 bn2d1 conv2 … conv_final.
struct FcddBuilder {
    arch: Arch,
    /// Number of the last convolution.
    count: usize,
    /// Number of the next convolution, where it breaks the sequence.
    name: Option<&'static str>,
}

impl FcddBuilder {
    fn new(stem: &str, bias: bool) -> FcddBuilder {
        let arch = Arch {
            name: format!("FCDD_{stem}"),
            objective: Objective::Fcdd,
            channels: 0,
            side: 0,
            bias,
            norm_eps: 1e-4,
            conv_init: Init::Uniform,
            layers: Vec::new(),
            frozen: 0,
            fixed: false,
            part: NetPart::Whole,
            pretrained: false,
            unused_norms: Vec::new(),
        };
        FcddBuilder { arch, count: 0, name: None }
    }

    fn input(mut self, channels: usize, side: usize) -> FcddBuilder {
        (self.arch.channels, self.arch.side) = (channels, side);
        self
    }

    /// Gives the next convolution (and its norm) another number than the next one.
    fn named(mut self, number: &'static str) -> FcddBuilder {
        self.name = Some(number);
        self
    }

    fn number(&mut self) -> String {
        if let Some(name) = self.name.take() {
            return name.to_string();
        }
        self.count += 1;
        self.count.to_string()
    }

    fn push_conv(&mut self, side: usize, out: usize) -> String {
        let number = self.number();
        self.arch.push(Layer::Conv { name: format!("conv{number}"), out, side, stride: 1, bias: true });
        number
    }

    /// Convolution alone.
    fn conv(mut self, side: usize, out: usize) -> FcddBuilder {
        self.push_conv(side, out);
        self
    }

    /// Convolution, norm, leaky ReLU.
    fn block(mut self, side: usize, out: usize) -> FcddBuilder {
        let number = self.push_conv(side, out);
        self.arch.push(Layer::Norm { name: format!("bn2d{number}") });
        self.arch.push(Layer::Activation(Activation::LEAKY_RELU));
        self
    }

    fn pool(mut self, side: usize, stride: usize, pad: usize) -> FcddBuilder {
        self.arch.push(Layer::Pool { side, stride, pad });
        self
    }

    /// The third norm that some of the authors' modules carry unused.
    fn unused_norm(mut self, channels: usize) -> FcddBuilder {
        self.arch.unused_norms.push(("bn2d3".to_string(), channels));
        self
    }

    /// The 1×1 convolution to one channel that ends every FCDD net.
    fn head(mut self) -> Arch {
        self.arch.push(Layer::Conv { name: "conv_final".to_string(), out: 1, side: 1, stride: 1, bias: true });
        self.arch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (net, side of the output map, jump, receptive field, shift, parameters, parameters without biases, forward MFLOP, training
    /// MFLOP), per image at the net's own side: the authors' modules, counted.
    #[test]
    fn nets_have_the_published_geometry_and_size() {
        let table = [
            ("CNN28", 7, 4, 16, 1.5, 3_457, 3_416, 1.57, 4.40),
            ("CNN28_W", 7, 4, 16, 1.5, 413_441, 412_928, 165.6, 491.8),
            ("CNN32", 8, 4, 32, 1.5, 259_201, 258_528, 57.4, 167.2),
            ("CNN32_S", 8, 4, 18, 1.5, 93_569, 93_152, 20.7, 60.2),
            ("CNN32_LW3K", 8, 4, 22, 1.5, 1_185_537, 1_183_232, 497.8, 1486.0),
            ("CNN224", 28, 8, 59, 0.0, 247_569, 246_744, 1030.0, 3030.0),
            ("CNN224_W", 28, 8, 59, 0.0, 1_286_721, 1_284_576, 8822.0, 26224.0),
            ("CNN224_VGG_NOPT", 28, 8, 62, 3.5, 4_504_833, 0, 13122.0, 39193.0),
            ("CNN224_VGG_F", 28, 8, 62, 3.5, 4_504_833, 0, 13122.0, 22372.0),
            // Counted apart, layer by layer.
            ("CNN224_VGG16_NOPT", 28, 8, 92, 3.5, 7_635_777, 0, 27919.5, 83585.2),
            ("CNN224_VGG16_F", 28, 8, 92, 3.5, 7_635_777, 0, 27919.5, 44568.3),
            ("RESNET18_NOPT", 14, 16, 211, 0.0, 2_783_041, 0, 2805.1, 8179.4),
            ("RESNET18_F", 14, 16, 211, 0.0, 2_783_041, 0, 2805.1, 4321.1),
            ("VGG16_MS", 28, 8, 108, 3.5, 7_918_337, 0, 28361.9, 28535.6),
            ("VGG11_MS", 28, 8, 78, 3.5, 4_787_393, 0, 13564.4, 13738.1),
            ("RESNET18_MS", 28, 8, 115, 0.0, 793_921, 0, 2156.4, 2330.0),
        ];
        for (name, n, jump, size, shift, params, bare, forward, train) in table {
            let arch = by_name(name, true).unwrap();
            let field = arch.receptive_field(arch.side).unwrap();
            assert_eq!((field.n, field.jump, field.size, field.shift), (n, jump, size, shift), "{name}");
            assert_eq!(arch.parameters(), params, "{name}");
            if bare > 0 {
                assert_eq!(by_name(name, false).unwrap().parameters(), bare, "{name} without biases");
            }
            let (f, t) = arch.flops(arch.side).unwrap();
            // The table rounds to four digits.
            approx::assert_relative_eq!(f as f64 / 1e6, forward, max_relative = 2e-3);
            approx::assert_relative_eq!(t as f64 / 1e6, train, max_relative = 2e-3);
        }
    }

    /// They wrapped to a few.
    #[test]
    fn flops_beyond_all_numbers_are_the_largest() {
        let conv = |name: &str, out, side| Layer::Conv { name: name.to_string(), out, side, stride: 1, bias: true };
        let mut arch = Arch { layers: vec![], ..by_name("CNN224", true).unwrap() };
        for layer in [conv("a", 1 << 16, 1), conv("b", 1 << 12, 1023), conv("head", 1, 1)] {
            arch.push(layer);
        }
        assert_eq!(arch.flops(224).unwrap(), (u64::MAX, u64::MAX));
    }

    #[test]
    fn every_listed_name_builds_and_unknown_ones_are_refused() {
        for name in names() {
            let arch = by_name(&name, true).unwrap();
            assert_eq!(arch.name, name);
            arch.check().unwrap();
        }
        for name in ["CNN32_4K", "CNN32_19K", "CNN224_1K", "RESNET", ""] {
            assert!(by_name(name, true).is_err(), "{name}");
        }
    }
}
