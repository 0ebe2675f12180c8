//! The table of the baselines' nets: hypersphere classification (HSC) with the encoders `CNN…`, and their autoencoders `AE…`.
//!
//! Each is the counterpart of an FCDD net of its size. A new net is one new line in `TABLE` and a function that builds it.

use super::arch::{Arch, NetPart, Objective};
use super::layer::{Init, Layer};
use super::nets;
use crate::error::{Error, Result};
use crate::named::Named;
use crate::steps::activation::Activation;
use crate::steps::dropout::layer::DropoutLayer;
use crate::steps::reshape::layer::ReshapeLayer;
use crate::steps::upsample_nearest::layer::UpsampleNearest2xLayer;

/// An encoder, whose autoencoder has `AE` in the place of `CNN`, with the FCDD net whose receptive field its heatmaps are blurred with.
struct BaselineEntry {
    encoder: &'static str,
    fcdd: &'static str,
    build: fn(BaselineBuilder) -> BaselineBuilder,
}

const TABLE: &[BaselineEntry] = &[
    BaselineEntry { encoder: "CNN28", fcdd: "FCDD_CNN28", build: |net| net28(net, [8, 4]) },
    BaselineEntry { encoder: "CNN28_W", fcdd: "FCDD_CNN28_W", build: |net| net28(net, [128, 64]) },
    BaselineEntry { encoder: "CNN32", fcdd: "FCDD_CNN32_S", build: net32 },
    BaselineEntry { encoder: "CNN32_LW3K", fcdd: "FCDD_CNN32_LW3K", build: net32_lw3k },
    BaselineEntry { encoder: "CNN224", fcdd: "FCDD_CNN224", build: net224 },
    BaselineEntry { encoder: "CNN224_VGG_NOPT", fcdd: "FCDD_CNN224_VGG_NOPT", build: |net| vgg11(net, false, 0) },
    BaselineEntry { encoder: "CNN224_VGG", fcdd: "FCDD_CNN224_VGG", build: |net| vgg11(net, true, 0) },
    BaselineEntry { encoder: "CNN224_VGG_F", fcdd: "FCDD_CNN224_VGG_F", build: |net| vgg11(net, true, 15) },
];

impl BaselineEntry {
    fn name(&self, objective: Objective) -> String {
        match objective {
            Objective::Fcdd => self.fcdd.to_string(),
            Objective::Hsc => self.encoder.to_string(),
            Objective::Ae => self.encoder.replacen("CNN", "AE", 1),
        }
    }
}

/// Names of all nets of the baselines.
pub fn names() -> Vec<String> {
    [Objective::Hsc, Objective::Ae].iter().flat_map(|&o| TABLE.iter().map(move |entry| entry.name(o))).collect()
}

/// The baseline net of that name.
pub fn by_name(name: &str, bias: bool) -> Result<Arch> {
    let upper = name.to_uppercase();
    let of = |objective| TABLE.iter().find(|entry| entry.name(objective) == upper).map(|entry| (entry, objective));
    let Some((entry, objective)) = of(Objective::Hsc).or_else(|| of(Objective::Ae)) else {
        return Err(Error::setting(
            format!("there is no baseline net named '{name}'"),
            format!("choose one of {}", names().join(", ")),
        ));
    };
    let net = (entry.build)(BaselineBuilder::new(upper, objective, bias));
    if net.arch.norm_eps == VGG_EPS && !bias {
        return Err(Error::setting(format!("{name} has no form without biases"), "keep its biases"));
    }
    Ok(net.arch)
}

/// A net of any objective: baselines by their exact names, FCDD nets also without their prefix.
pub fn any(name: &str, bias: bool) -> Result<Arch> {
    if names().iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return by_name(name, bias);
    }
    nets::by_name(name, bias)
}

/// The net of an objective with that name; refuses nets of the others.
pub fn of_objective(objective: Objective, name: &str, bias: bool) -> Result<Arch> {
    if objective == Objective::Fcdd {
        return match by_name(name, bias) {
            Ok(arch) if arch.objective == Objective::Ae => Err(another(&arch, objective)),
            _ => nets::by_name(name, bias),
        };
    }
    let arch = if name.to_uppercase().starts_with("FCDD_") { nets::by_name(name, bias) } else { by_name(name, bias) }?;
    if arch.objective == objective { Ok(arch) } else { Err(another(&arch, objective)) }
}

fn another(arch: &Arch, objective: Objective) -> Error {
    let (own, asked) = (arch.objective.word(), objective.word());
    let remedy = format!("choose `objective` {own}, or another `net`, such as {}", counterpart(&arch.name, objective));
    Error::setting(format!("{} is a net of `objective` {own}, not of {asked}", arch.name), remedy)
}

/// The net of an objective that matches a net of any other: of the same name, else of the same size.
pub fn counterpart(name: &str, objective: Objective) -> String {
    let is = |entry: &&BaselineEntry| {
        [Objective::Fcdd, Objective::Hsc, Objective::Ae].iter().any(|&o| entry.name(o) == name)
    };
    if objective == Objective::Fcdd && name.starts_with("FCDD_") {
        return name.to_string();
    }
    let family = || ["224", "32", "28"].into_iter().find(|size| name.contains(size)).unwrap_or("28");
    let entry = TABLE.iter().find(is);
    entry.map_or_else(
        || format!("{}{}", if objective == Objective::Ae { "AE" } else { "CNN" }, family()),
        |entry| entry.name(objective),
    )
}

/// Added to the variance in the norms of VGG.
const VGG_EPS: f64 = 1e-5;

/// (channels of the two convolutions): 7×7 maps to a vector of 48.
fn net28(net: BaselineBuilder, [c1, c2]: [usize; 2]) -> BaselineBuilder {
    let net = net.input(1, 28).block("conv1", 5, c1, "bn1").pool(2, 2, 0).block("conv2", 5, c2, "bn2").pool(2, 2, 0);
    net.linear("fc_final", 49, 48).decoder(|net| {
        // The authors' activation comes after the reshaping: the same, value by value.
        let net = net.leaky().reshape(4, 3).upsample();
        let net = net.deconv("deconv1", 5, c2, 2).norm("bn3").leaky().upsample();
        net.deconv("deconv2", 5, c1, 3).norm("bn4").leaky().upsample().deconv("deconv3", 5, 1, 2).sigmoid()
    })
}

/// 4×4 maps through 512 to a vector of 64; the decoder starts with its norm.
fn net32(net: BaselineBuilder) -> BaselineBuilder {
    let net = net.input(3, 32);
    let net = [("1", 32), ("2", 64), ("3", 128)]
        .into_iter()
        .fold(net, |net, (i, out)| net.block(&format!("conv{i}"), 5, out, &format!("bn2d{i}")).pool(2, 2, 0));
    net.ending(16, 512, 64).decoder(|net| {
        let net = net.norm("bn1d").leaky().reshape(4, 4);
        let net = [("1", 128, "4"), ("2", 64, "5"), ("3", 32, "6")].into_iter().fold(net, |net, (i, out, norm)| {
            net.deconv(&format!("deconv{i}"), 5, out, 2).norm(&format!("bn2d{norm}")).leaky().upsample()
        });
        net.deconv("deconv4", 5, 3, 2)
    })
}

/// The wide one with 3×3 kernels. Its decoder starts as PyTorch does by default.
fn net32_lw3k(net: BaselineBuilder) -> BaselineBuilder {
    let net = net.input(3, 32).block("conv1", 3, 128, "bn2d1").pool(2, 2, 0);
    let net = net.block("conv2", 3, 256, "bn2d2").block("conv25", 3, 256, "bn2d25").pool(2, 2, 0);
    net.block("conv3", 3, 128, "bn2d3").pool(2, 2, 0).ending(16, 512, 64).decoder(|mut net| {
        net.deconv_init = Init::Uniform;
        let net = net.norm("bn1d").leaky().reshape(4, 4).deconv("deconv1", 3, 128, 1).norm("bn2d4").leaky().upsample();
        let net = net.deconv("deconv2", 3, 256, 1).norm("bn2d5").leaky();
        let net = net.deconv("deconv25", 3, 256, 1).norm("bn2d55").leaky().upsample();
        net.deconv("deconv3", 3, 128, 1).norm("bn2d6").leaky().upsample().deconv("deconv4", 3, 3, 1)
    })
}

/// 7×7 maps through 1536 to a vector of 784.
fn net224(net: BaselineBuilder) -> BaselineBuilder {
    let convs = [(5, 8, true), (5, 32, true), (3, 64, false), (3, 128, true), (3, 128, true), (3, 64, true)];
    let net = convs.into_iter().enumerate().fold(net.input(3, 224), |net, (i, (side, out, pool))| {
        let net = net.block(&format!("conv{}", i + 1), side, out, &format!("bn2d{}", i + 1));
        if pool { net.pool(3, 2, 1) } else { net }
    });
    net.ending(49, 1536, 784).decoder(|net| {
        let deconvs = [(3, 64, true), (3, 128, true), (3, 128, true), (3, 64, false), (3, 32, true), (5, 8, true)];
        let net = net.norm("bn1d").leaky().reshape(7, 16);
        let net = deconvs.into_iter().enumerate().fold(net, |net, (i, (side, out, enlarged))| {
            let net = net.deconv(&format!("deconv{}", i + 1), side, out, side / 2);
            let net = net.norm(&format!("bn2dd{}", i + 1)).leaky();
            if enlarged { net.upsample() } else { net }
        });
        net.deconv("deconv7", 5, 3, 2).sigmoid()
    })
}

/// torchvision's vgg11_bn up to its second fully connected layer; `frozen` leading feature layers.
fn vgg11(mut net: BaselineBuilder, pretrained: bool, frozen: usize) -> BaselineBuilder {
    net.arch.pretrained = pretrained;
    net.arch.norm_eps = VGG_EPS;
    net.arch.conv_init = Init::Kaiming;
    net.arch.frozen = frozen;
    net = net.input(3, 224);
    let convs =
        [(64, true), (128, true), (256, false), (256, true), (512, false), (512, true), (512, false), (512, true)];
    for (out, pool) in convs {
        let i = net.arch.layers.len();
        net = net.conv(&format!("vgg.features.{i}"), 3, out).norm(&format!("vgg.features.{}", i + 1)).relu();
        net = if pool { net.pool(2, 2, 0) } else { net };
    }
    net.linear_init = Init::Normal;
    net = net.linear("vgg.classifier.0", 49, 4096).relu().push(DropoutLayer).linear("vgg.classifier.3", 1, 4096);
    net.decoder(|mut net| {
        (net.linear_init, net.deconv_init) = (Init::Uniform, Init::Uniform);
        let net =
            net.norm("bn1d").relu().linear("declassifier.0", 1, 25088).norm("declassifier.1").relu().reshape(7, 512);
        // Indices of the authors' sequence, in which the enlarging counts.
        let net = net.upsample();
        let deconvs = [(1, 512), (4, 512), (8, 512), (11, 256), (15, 256), (18, 128), (22, 64)];
        let net = deconvs.into_iter().fold(net, |net, (i, out)| {
            let net = net.deconv(&format!("defeatures.{i}"), 3, out, 1).norm(&format!("defeatures.{}", i + 1)).relu();
            if [4, 11, 18, 22].contains(&i) { net.upsample() } else { net }
        });
        net.deconv("defeatures.26", 3, 3, 1)
    })
}

/// Builds an encoder, and its decoder where the objective has one.
struct BaselineBuilder {
    arch: Arch,
    linear_init: Init,
    deconv_init: Init,
    /// What the names of modules begin with: an encoder inside an autoencoder has a name of its own.
    prefix: &'static str,
}

impl BaselineBuilder {
    fn new(name: String, objective: Objective, bias: bool) -> BaselineBuilder {
        let arch = Arch {
            name,
            objective,
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
        let prefix = if objective == Objective::Ae { "encoder." } else { "" };
        BaselineBuilder { arch, linear_init: Init::Uniform, deconv_init: Init::Xavier, prefix }
    }

    fn input(mut self, channels: usize, side: usize) -> BaselineBuilder {
        (self.arch.channels, self.arch.side) = (channels, side);
        self
    }

    fn push(mut self, layer: impl Into<Layer>) -> BaselineBuilder {
        self.arch.push(layer);
        self
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn conv(self, name: &str, side: usize, out: usize) -> BaselineBuilder {
        let name = self.name(name);
        self.push(Layer::Conv { name, out, side, stride: 1, bias: true })
    }

    fn norm(self, name: &str) -> BaselineBuilder {
        let name = self.name(name);
        self.push(Layer::Norm { name })
    }

    fn leaky(self) -> BaselineBuilder {
        self.push(Layer::Activation(Activation::LEAKY_RELU))
    }

    fn relu(self) -> BaselineBuilder {
        self.push(Layer::Activation(Activation::RELU))
    }

    /// Convolution, norm, leaky ReLU.
    fn block(self, conv: &str, side: usize, out: usize, norm: &str) -> BaselineBuilder {
        self.conv(conv, side, out).norm(norm).leaky()
    }

    fn pool(self, side: usize, stride: usize, pad: usize) -> BaselineBuilder {
        self.push(Layer::Pool { side, stride, pad })
    }

    /// Fully connected layer on maps of `pixels` pixels.
    fn linear(self, name: &str, pixels: usize, out: usize) -> BaselineBuilder {
        let (name, init) = (self.name(name), self.linear_init);
        self.push(Layer::Linear { name, out, pixels, init })
    }

    /// The two fully connected layers that end most encoders.
    fn ending(self, pixels: usize, hidden: usize, out: usize) -> BaselineBuilder {
        self.linear("fc1", pixels, hidden).norm("bn1d1").leaky().linear("fc_final", 1, out)
    }

    fn deconv(self, name: &str, side: usize, out: usize, pad: usize) -> BaselineBuilder {
        let (name, init) = (self.name(name), self.deconv_init);
        self.push(Layer::Deconv { name, out, side, pad, init })
    }

    fn reshape(self, side: usize, c: usize) -> BaselineBuilder {
        self.push(ReshapeLayer { side, c })
    }

    fn upsample(self) -> BaselineBuilder {
        self.push(UpsampleNearest2xLayer)
    }

    fn sigmoid(self) -> BaselineBuilder {
        self.push(Layer::Sigmoid)
    }

    /// Adds the decoder of an autoencoder.
    fn decoder(mut self, build: impl FnOnce(BaselineBuilder) -> BaselineBuilder) -> BaselineBuilder {
        if self.arch.objective != Objective::Ae {
            return self;
        }
        self.prefix = "";
        build(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::Layout;

    /// Parameters of the authors' modules, counted; those of VGG by hand: features 9,225,984 (5504 of them norms), 102,764,544 and
    /// 16,781,312 for the fully connected layers.
    #[test]
    fn nets_have_the_size_of_the_authors_modules() {
        for (name, parameters) in [
            ("CNN28", 10_492),
            ("AE28", 11_829),
            ("CNN224_VGG_F", 9_225_984 + 5_504 + 102_764_544 + 16_781_312 - 5_504),
        ] {
            assert_eq!(by_name(name, true).unwrap().parameters(), parameters, "{name}");
        }
    }

    #[test]
    fn every_net_fits_together_at_its_own_side_alone() {
        for name in names() {
            let arch = by_name(&name, true).unwrap();
            assert_eq!(arch.name, name);
            arch.shapes(2, arch.side).unwrap_or_else(|e| panic!("{name}: {e}"));
            let refused = arch.shapes(2, arch.side / 2).unwrap_err().to_string();
            assert!(refused.contains(&format!("`side` {}", arch.side)), "{refused}");
            assert!(Layout::new(&arch).params_len > 0);
        }
        assert!(by_name("CNN99", true).is_err() && by_name("FCDD_CNN28", true).is_err());
        assert!(by_name("CNN224_VGG", false).is_err());
    }

    #[test]
    fn objectives_choose_the_matching_net_and_refuse_others() {
        for (net, hsc, ae) in [
            ("FCDD_CNN28_W", "CNN28_W", "AE28_W"),
            ("FCDD_CNN32_LW3K", "CNN32_LW3K", "AE32_LW3K"),
            ("FCDD_CNN32_5K", "CNN32", "AE32"),
            ("FCDD_CNN224_W", "CNN224", "AE224"),
            ("FCDD_CNN224_VGG_F", "CNN224_VGG_F", "AE224_VGG_F"),
        ] {
            assert_eq!(counterpart(net, Objective::Hsc), hsc);
            assert_eq!(counterpart(net, Objective::Ae), ae);
            assert_eq!(counterpart(net, Objective::Fcdd), net);
        }
        assert_eq!(counterpart("AE32", Objective::Fcdd), "FCDD_CNN32_S");
        assert_eq!(of_objective(Objective::Fcdd, "CNN28", true).unwrap().name, "FCDD_CNN28");
        assert_eq!(of_objective(Objective::Hsc, "CNN28", true).unwrap().name, "CNN28");
        for (objective, name) in [
            (Objective::Fcdd, "AE28"),
            (Objective::Hsc, "FCDD_CNN28"),
            (Objective::Hsc, "AE28"),
            (Objective::Ae, "CNN28"),
        ] {
            let error = of_objective(objective, name, true).unwrap_err().to_string();
            assert!(error.contains("`objective`"), "{error}");
        }
    }
}
