//! Nets made by hand.

use fcdd::device::DType;
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions, lower};
use fcdd::model::{Arch, Layer, Objective, Source, nets};
use fcdd::settings::ImageScore;
use fcdd::steps::activation::Activation;
use fcdd::steps::hsc_loss::Gradient;

pub(super) const TRAINING: TrainingOptions = TrainingOptions {
    optimizer: Optimizer::Sgd,
    maps: false,
    input_grad: false,
    seed: 1,
    label_score: ImageScore::Mean,
};

/// Two images of 8×8 pixels.
pub(super) const OPTIONS: PlanOptions = PlanOptions {
    batch: 2,
    side: 8,
    dtype: DType::F32,
    sigma: 1.2,
    gradient: Gradient::Grad,
    exact: false,
    training: None,
};

pub(super) fn conv(name: &str, out: usize) -> Layer {
    Layer::Conv { name: name.to_string(), out, side: 3, stride: 1, bias: true }
}

pub(super) fn strided(name: &str, stride: usize) -> Layer {
    Layer::Conv { name: name.to_string(), out: 2, side: 1, stride, bias: true }
}

pub(super) fn norm(name: &str) -> Layer {
    Layer::Norm { name: name.to_string() }
}

pub(super) const RELU: Layer = Layer::Activation(Activation::RELU);

pub(super) const POOL: Layer = Layer::Pool { side: 2, stride: 2, pad: 0 };

pub(super) fn head() -> Layer {
    Layer::Conv { name: "head".to_string(), out: 1, side: 1, stride: 1, bias: true }
}

/// A net of layers in a row.
pub(super) fn chain(objective: Objective, layers: impl IntoIterator<Item = Layer>) -> Arch {
    let mut arch = nets::by_name("CNN28", true).unwrap();
    (arch.name, arch.objective, arch.channels) = ("WRONG".to_string(), objective, 2);
    arch.layers.clear();
    layers.into_iter().for_each(|layer| {
        arch.push(layer);
    });
    arch
}

pub(super) fn fcdd(layers: impl IntoIterator<Item = Layer>) -> Arch {
    chain(Objective::Fcdd, layers.into_iter().chain([head()]))
}

/// A net with a layer after two paths that meet.
pub(super) fn joined(join: Layer, layer: Layer) -> Arch {
    let mut arch = chain(Objective::Fcdd, [conv("a", 3)]);
    let b = arch.push_on(conv("b", 3), [Source::Input]);
    arch.push_on(join, [Source::Layer(0), b]);
    arch.push(layer);
    arch.push(head());
    arch
}

/// Why a net is refused.
pub(super) fn refusal(arch: &Arch, options: &PlanOptions) -> String {
    lower(arch, options).err().unwrap_or_else(|| panic!("this net was lowered: {arch:#?}")).to_string()
}
