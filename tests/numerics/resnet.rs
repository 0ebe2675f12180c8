//! Nets of torchvision's layers against torchvision: `make.py` in folders of `tests/golden` tells what the files hold.

use std::path::Path;

use fcdd::device::{DType, Device};
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions};
use fcdd::engine::{Hyper, Network};
use fcdd::model::weights::Layout;
use fcdd::model::{Arch, Weights, nets};
use fcdd::real::Real;
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;
use safetensors::tensor::{Dtype, SafeTensors};

use crate::numbers::of;

/// Numbers of a golden tensor that are compared one by one.
const FIRST: usize = 8;

/// Norms of gradients below this are those of rounding in f64.
const CANCELLED: f64 = 1e-12;

struct Golden(Vec<u8>);

impl Golden {
    fn read(file: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
        Golden(std::fs::read(path).unwrap())
    }

    fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let values = match tensor.dtype() {
            Dtype::F32 => {
                tensor.data().chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            Dtype::F64 => tensor.data().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            other => panic!("{name} has the type {other:?}"),
        };
        (tensor.shape().to_vec(), values)
    }
}

/// The formula of `weights` in `make.py`; `layout.params` are in the order of torchvision's.
fn weights(arch: &Arch) -> Weights {
    const PHI: f64 = 0.6180339887498949;
    let mut weights = Weights::init(arch, 0);
    for (index, param) in Layout::new(arch).params.iter().enumerate() {
        for i in 0..param.len() {
            let value = (i + 1) as f64 * PHI + 0.37 * index as f64;
            let u = 2.0 * (value - value.floor()) - 1.0;
            weights.params[param.start + param.inside(i)] = match param.shape[..] {
                [_, c, h, w] => (u * (3.0 / (c * h * w) as f64).sqrt()) as f32,
                _ if param.name.ends_with("weight") && param.shape.len() == 1 => (1.0 + 0.2 * u) as f32,
                _ => (0.1 * u) as f32,
            };
        }
    }
    weights
}

/// Asserts that two tensors differ by at most `bound` times the largest value of the second.
fn assert_close<T: Real>(ours: &[T], golden: &[f64], bound: f64, what: &str) {
    let (ours, largest) = (of::<f64>(ours), golden.iter().fold(0.0, |m: f64, v| m.max(v.abs())));
    assert_eq!(ours.len(), golden.len(), "{what}");
    for (a, b) in ours.iter().zip(golden) {
        assert!((a - b).abs() <= bound * largest, "{what}: {a} instead of {b}, bound {:e}", bound * largest);
    }
}

/// Sum, norm and first numbers of a tensor in PyTorch's order. The sum may cancel: it is as exact as the norm.
fn assert_summary(ours: &[f64], golden: &[f64], bound: f64, what: &str) {
    let norm = ours.iter().map(|v| v * v).sum::<f64>().sqrt();
    let sum_bound = bound * golden[1] * (ours.len() as f64).sqrt();
    assert!((ours.iter().sum::<f64>() - golden[0]).abs() <= sum_bound, "{what}: another sum");
    assert!((norm - golden[1]).abs() <= bound * golden[1], "{what}: norm {norm} instead of {}", golden[1]);
    let largest = ours.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (a, b) in ours.iter().zip(&golden[2..]).take(FIRST) {
        assert!((a - b).abs() <= bound * largest, "{what}: {a} instead of {b}");
    }
}

/// Nets, and the files of what they compute.
pub const NETS: [(&str, &str); 4] = [
    ("RESNET18_NOPT", "resnet18/values.safetensors"),
    ("VGG16_MS", "multi_stage/VGG16_MS.safetensors"),
    ("VGG11_MS", "multi_stage/VGG11_MS.safetensors"),
    ("RESNET18_MS", "multi_stage/RESNET18_MS.safetensors"),
];

/// Compares maps, scores, losses, gradients and running statistics of one batch; `bound` is relative to the largest number of each.
pub fn assert_is_torchvisions<T: Real>((net, file): (&str, &str), device: &Device, bound: f64) {
    let golden = Golden::read(file);
    let arch = nets::by_name(net, true).unwrap();
    let (shape, input) = golden.get("input");
    let [n, c, side, _] = shape[..] else { panic!("{shape:?}") };
    let training = TrainingOptions {
        optimizer: Optimizer::Sgd,
        maps: false,
        input_grad: false,
        seed: 0,
        label_score: ImageScore::Mean,
    };
    let options = PlanOptions {
        batch: n,
        side,
        dtype: DType::F32,
        sigma: 1.0,
        gradient: Gradient::Grad,
        exact: false,
        training: Some(training),
    };
    let mut network = Network::<T>::on(device, &arch, options, &weights(&arch)).unwrap();
    let pixels = side * side;
    let nhwc: Vec<f64> =
        (0..input.len()).map(|i| input[(i / (pixels * c) * c + i % c) * pixels + i / c % pixels]).collect();
    network.input(n).unwrap().copy_from_slice(&of::<T>(&nhwc));

    let scores = network.infer(n).unwrap().to_vec();
    let ports = network.plan(n).unwrap().ports;
    assert_close(&scores, &golden.get("scores/eval").1, bound, "scores in evaluation");
    assert_close(&network.read(ports.output).unwrap(), &golden.get("map/eval").1, bound, "map in evaluation");

    let (inputs, labels, _) = network.training_inputs(n).unwrap();
    inputs.copy_from_slice(&of::<T>(&nhwc));
    labels.copy_from_slice(&of::<T>(&golden.get("labels").1));
    network.forward(n, &Hyper { lr: 0.0, weight_decay: 0.0, step: 1, norm_momentum: 0.1 }).unwrap();
    network.backward(n).unwrap();
    let training = ports.training.unwrap();
    assert_close(&network.read(ports.output).unwrap(), &golden.get("map/train").1, bound, "map in training");
    assert_close(&network.read(training.loss).unwrap(), &golden.get("losses/train").1, bound, "losses");
    let layout = Layout::new(&arch);
    let grads = of::<f64>(&network.read(training.grads).unwrap());
    for param in layout.params.iter().filter(|param| param.start >= layout.trained_from) {
        let ours: Vec<f64> = (0..param.len()).map(|i| grads[param.start + param.inside(i)]).collect();
        let name = format!("gradient/{}", param.name);
        let summary = golden.get(&name).1;
        // A bias before a norm cancels: what torchvision finds is rounding.
        if summary[1] < CANCELLED {
            assert!(ours.iter().all(|&gradient| gradient == 0.0), "{name}");
            continue;
        }
        assert_summary(&ours, &summary, bound, &name);
    }
    let stats = of::<f64>(&network.read(ports.stats).unwrap());
    for norm in &layout.norms {
        for (kind, offset) in [("running_mean", 0), ("running_var", norm.c)] {
            let name = format!("buffer/{}.{kind}", norm.name);
            assert_summary(&stats[norm.start + offset..][..norm.c], &golden.get(&name).1, bound, &name);
        }
    }
}
