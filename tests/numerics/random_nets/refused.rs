//! Nets, options and parts that lowering refuses: those that somebody thought of, and random nets with one thing wrong.

use fcdd::device::DType;
use fcdd::engine::Step;
use fcdd::engine::lower::{PlanOptions, TrainingOptions, lower};
use fcdd::model::{Arch, Init, Layer, NetPart, Node, Objective, Source, baselines, nets};
use fcdd::run::verify::by_layers::has_features;
use fcdd::run::verify::random_nets::random_net;
use fcdd::steps::activation::Activation;
use fcdd::steps::add::layer::AddLayer;
use fcdd::steps::average_pool::layer::AveragePoolLayer;
use fcdd::steps::concat::layer::ConcatLayer;
use fcdd::steps::dropout::layer::DropoutLayer;
use fcdd::steps::reshape::layer::ReshapeLayer;
use fcdd::steps::upsample_nearest::layer::UpsampleNearest2xLayer;
use proptest::prelude::*;

use super::made::*;

/// Nets that cannot be lowered as they stand; each message names the net, the layer and what would be legal.
#[test]
fn wrong_nets_are_refused() {
    let ordered = "may be followed by a norm, then an activation";
    let graph = |build: &dyn Fn(&mut Arch)| {
        let mut arch = chain(Objective::Fcdd, [conv("a", 3)]);
        build(&mut arch);
        arch.push(head());
        arch
    };
    // A layer after a max pool of what another reads too, and on the images beside a stage.
    let beside_pool = |layer: Layer| {
        graph(&|arch| {
            arch.push(POOL);
            let deep = arch.push(layer.clone());
            let other = arch.push_on(AveragePoolLayer { side: 2, stride: 2 }, [Source::Layer(0)]);
            arch.push_on(AddLayer, [deep, other]);
        })
    };
    let on_images = |layer: Layer| {
        graph(&|arch| {
            let shown = arch.push_on(layer.clone(), [Source::Input]);
            arch.push_on(ConcatLayer, [Source::Layer(0), shown]);
        })
    };
    let linear = |name: &str, out, pixels| Layer::Linear { name: name.to_string(), out, pixels, init: Init::Uniform };
    let reshape = |side, c| ReshapeLayer { side, c }.into();
    let average = |side, stride| Layer::from(AveragePoolLayer { side, stride });
    let upsampling = || Layer::from(UpsampleNearest2xLayer);
    let deconv = Layer::Deconv { name: "d".to_string(), out: 2, side: 3, pad: 1, init: Init::Uniform };
    for (arch, layer, legal) in [
        // Lowered as norm, activation, pool, whatever their order was.
        (fcdd([conv("a", 3), POOL, norm("n"), RELU]), "layer 2 (norm n) follows layer 1 (max pool)", ordered),
        (fcdd([conv("a", 3), RELU, norm("n")]), "layer 2 (norm n) follows layer 1 (activation)", ordered),
        (fcdd([conv("a", 3), POOL, RELU]), "layer 2 (activation) follows layer 1 (max pool)", ordered),
        // The second took the place of the first.
        (fcdd([conv("a", 3), RELU, Layer::Activation(Activation::LEAKY_RELU)]), "layer 2 (activation)", ordered),
        (fcdd([conv("a", 3), norm("m"), norm("n")]), "layer 2 (norm n)", ordered),
        // What writes where it reads, and what is lowered by itself, takes in nothing.
        (fcdd([conv("a", 3), DropoutLayer.into(), RELU]), "layer 2 (activation) follows layer 1 (dropout)", ordered),
        (joined(AddLayer.into(), norm("n")), "layer 3 (norm n) follows layer 2 (sum)", ordered),
        (joined(ConcatLayer.into(), norm("n")), "layer 3 (norm n) follows layer 2 (concatenation)", ordered),
        (joined(ConcatLayer.into(), RELU), "layer 3 (activation) follows layer 2 (concatenation)", ordered),
        // Nor does a max pool of what others read too, nor a second one.
        (beside_pool(norm("n")), "layer 2 (norm n) follows layer 1 (max pool)", ordered),
        (beside_pool(RELU), "layer 2 (activation) follows layer 1 (max pool)", ordered),
        (fcdd([conv("a", 3), POOL, POOL, RELU]), "layer 3 (activation) follows layer 2 (max pool)", ordered),
        (on_images(norm("n")), "layer 1 (norm n) reads the images", ordered),
        (on_images(RELU), "layer 1 (activation) reads the images", ordered),
        // It vanished.
        (fcdd([conv("a", 3), Layer::Sigmoid, conv("b", 3)]), "layer 1 (sigmoid)", "only there the loss takes it in"),
        // Two layers shared their weights.
        (fcdd([conv("a", 2), conv("a", 2)]), "layer 1 (convolution a) has the name of another", "names of their own"),
        // The receptive field passed over them.
        (fcdd([conv("a", 3), deconv.clone()]), "layer 1 (transposed convolution d)", "fully convolutional"),
        (
            fcdd([conv("a", 3), UpsampleNearest2xLayer.into()]),
            "layer 1 (upsampling) upsamples outputs that lie 1 pixels apart",
            "halved",
        ),
        // Kernels of even sides made maps larger.
        (
            fcdd([Layer::Conv { name: "a".to_string(), out: 2, side: 2, stride: 1, bias: true }]),
            "layer 0 (convolution a) has a kernel of 2×2",
            "odd sides",
        ),
        // Divided by zero, or wrapped.
        (fcdd([conv("a", 0)]), "layer 0 (convolution a) has 0 output channels", "1 to 65,536"),
        (fcdd([conv("a", 1 << 61)]), "layer 0 (convolution a) has", "1 to 65,536"),
        (Arch { channels: 0, ..fcdd([conv("a", 3)]) }, "takes images of 0 channels", "1 to 65,536"),
        // The sign of what went into the activation was read from what came out.
        (
            fcdd([conv("a", 3), Layer::Activation(Activation { slope: -0.5 })]),
            "layer 1 (activation) has a slope of -0.5",
            "from 0 to 1",
        ),
        (
            fcdd([conv("a", 3), Layer::Activation(Activation { slope: f64::NAN })]),
            "layer 1 (activation)",
            "from 0 to 1",
        ),
        (fcdd([strided("a", 1 << 16)]), "layer 0 (convolution a) has a kernel of 1×1 and stride 65536", "1 to 255"),
        // A GPU could not launch the gradient of its input.
        (fcdd([strided("a", 256)]), "layer 0 (convolution a) has a kernel of 1×1 and stride 256", "1 to 255"),
        (
            fcdd([strided("a", 255), strided("b", 255), strided("c", 2)]),
            "layer 2 (convolution c) has receptive fields of 1 pixels, 130050 apart",
            "at most 65,536",
        ),
        (
            fcdd([conv("a", 3), AveragePoolLayer { side: 1, stride: 1 << 32 }.into()]),
            "layer 1 (average pool) has a window of 1×1 and stride 4294967296",
            "1 to 1,024",
        ),
        (fcdd([conv("a", 3), Layer::Pool { side: 1, stride: 1 << 32, pad: 0 }]), "layer 1 (max pool)", "1 to 1,024"),
        (
            fcdd([Layer::Deconv { name: "d".to_string(), out: 2, side: 1 << 32, pad: 1, init: Init::Uniform }]),
            "layer 0 (transposed convolution d) has a kernel of 4294967296",
            "at most 1,024 rows",
        ),
        (
            chain(Objective::Hsc, [linear("l", 4, 1 << 60)]),
            "layer 0 (fully connected layer l) takes maps of 1152921504606846976 pixels",
            "1 to 1,048,576",
        ),
        // The number of the winner did not fit a byte.
        (fcdd([conv("a", 3), Layer::Pool { side: 17, stride: 1, pad: 8 }]), "layer 1 (max pool)", "1 to 16 rows"),
        (fcdd([conv("a", 3), Layer::Pool { side: 1, stride: 1, pad: 0 }]), "layer 1 (max pool)", "leave it out"),
        // The norm was trained, the convolution before it not.
        (
            Arch { frozen: 1, ..fcdd([conv("a", 3), norm("n"), RELU]) },
            "layer 1 (norm n) is trained, layer 0 (convolution a) before it is frozen",
            "frozen together",
        ),
        (Arch { frozen: 2, ..fcdd([conv("a", 3)]) }, "layer 1 (convolution head)", "something has to be trained"),
        (
            chain(Objective::Fcdd, [conv("a", 1)]),
            "layer 0 (convolution a) ends a net of `objective` fcdd",
            "end in a 1×1 convolution",
        ),
        // Scores were lengths of maps.
        (chain(Objective::Hsc, [conv("a", 3)]), "layer 0 (convolution a)", "end in a fully connected layer"),
        // The reconstruction had other channels than the image.
        (
            Arch { side: 8, ..chain(Objective::Ae, [conv("a", 3)]) },
            "layer 0 (convolution a) ends in 8²×3 values where the images have 8²×2",
            "the shape of their images",
        ),
        // It was told to take images of its own side, which it does not take either.
        (
            chain(Objective::Ae, [conv("a", 3)]),
            "layer 0 (convolution a) ends in 8²×3 values where the images have 8²×2",
            "the shape of their images",
        ),
        (
            chain(Objective::Ae, [conv("a", 2), average(2, 2)]),
            "layer 1 (average pool) ends in 4²×2 values where the images have 8²×2",
            "the shape of their images",
        ),
        // Of its own side it does.
        (
            Arch { side: 4, ..chain(Objective::Ae, [conv("a", 2), average(4, 5), upsampling(), upsampling()]) },
            "takes inputs of 4×4 pixels alone, not of 8×8",
            "choose `side` 4",
        ),
        (
            Arch { side: 8, ..chain(Objective::Hsc, [linear("l", 4, 49)]) },
            "layer 0 (fully connected layer l) takes another number of pixels",
            "all pixels",
        ),
        (
            Arch { side: 8, ..fcdd([conv("a", 3), Layer::Pool { side: 16, stride: 1, pad: 0 }]) },
            "layer 1 (max pool) has a window larger than what it reads",
            "a smaller window",
        ),
        (
            Arch { side: 8, ..chain(Objective::Hsc, [linear("l", 4, 64), RELU, POOL, linear("m", 4, 1)]) },
            "layer 2 (max pool) has a window larger than what it reads, which comes from a fully connected layer",
            "pool before it",
        ),
        (chain(Objective::Ae, []), "has no layers", "one layer or more"),
        // Its square root was no number, or in f32 that of a constant map's variance 0.
        (Arch { norm_eps: -1.0, ..fcdd([conv("a", 3), norm("n")]) }, "adds -1.0 to the variances", "above 0"),
        (Arch { norm_eps: 1e-46, ..fcdd([conv("a", 3), norm("n")]) }, "adds 1e-46 to the variances", "above 0"),
        (Arch { norm_eps: 1e39, ..fcdd([conv("a", 3), norm("n")]) }, "adds 1e39 to the variances", "finite in f32"),
        (Arch { norm_eps: f64::NAN, ..fcdd([conv("a", 3), norm("n")]) }, "adds NaN to the variances", "above 0"),
        // What was learned from was dropped at random, what was kept of it was not.
        (
            Arch { frozen: 2, fixed: true, ..fcdd([conv("a", 3), DropoutLayer.into(), conv("b", 3)]) },
            "layer 1 (dropout) would change what is fixed at random",
            "after the layers that are fixed",
        ),
        // Sizes wrapped to small ones.
        (
            Arch { side: 8, ..chain(Objective::Ae, [linear("l", 12, 64), reshape((1 << 63) + 1, 12)]) },
            "layer 1 (reshape) reads 1²×12 values where 9223372036854775809²×12 are wanted",
            "a vector of as many values",
        ),
        (
            Arch { side: 8, ..chain(Objective::Ae, [linear("l", 12, 64), reshape(1 << 32, 12)]) },
            "layer 1 (reshape) reads 1²×12 values",
            "a vector of as many values",
        ),
        (
            chain(
                Objective::Ae,
                std::iter::once(conv("a", 2))
                    .chain(std::iter::repeat_n(UpsampleNearest2xLayer.into(), 30))
                    .chain(std::iter::repeat_n(AveragePoolLayer { side: 1024, stride: 1024 }.into(), 3)),
            ),
            "layer 21 (upsampling) gives too many values: 16777216²×2 for each image",
            "a smaller `side` or `batch`",
        ),
        (
            graph(&|arch| {
                for at in 0..40 {
                    arch.push_on(ConcatLayer, [Source::Layer(at); 4]);
                }
            }),
            "layer 8 (concatenation) gives 196608 channels",
            "1 to 65,536 channels",
        ),
        (
            fcdd([
                conv("a", 1 << 16),
                Layer::Conv { name: "b".to_string(), out: 1 << 16, side: 1023, stride: 1, bias: true },
            ]),
            "layer 1 (convolution b) has 4494807829315584 weights",
            "at most 2⁴⁸",
        ),
        (
            Arch { unused_norms: vec![("a".to_string(), 3)], ..fcdd([conv("a", 3)]) },
            "the unused norm a has the name of another layer",
            "names of their own",
        ),
        // The images themselves were dropped.
        (chain(Objective::Fcdd, [DropoutLayer.into(), head()]), "layer 0 (dropout)", "nothing else reads"),
        (fcdd([RELU]), "layer 0 (activation) reads the images", ordered),
        (
            fcdd([conv("a", 3), ReshapeLayer { side: 2, c: 3 }.into()]),
            "layer 1 (reshape)",
            "a vector of as many values",
        ),
        (fcdd([linear("l", 4, 64)]), "layer 0 (fully connected layer l) has no receptive field", "fully convolutional"),
        // Graphs.
        (
            graph(&|arch| {
                arch.push(RELU);
                arch.push_on(AddLayer, [Source::Layer(0), Source::Layer(1)]);
            }),
            "layer 1 (activation) follows layer 0 (convolution a), which layer 2 (sum) reads too",
            ordered,
        ),
        (
            graph(&|arch| {
                let b = arch.push_on(conv("b", 3), [Source::Input]);
                arch.push_on(AddLayer, [Source::Layer(0), b]);
                arch.push(RELU);
                arch.push(Layer::Activation(Activation::LEAKY_RELU));
            }),
            "layer 4 (activation) follows layer 3 (activation)",
            ordered,
        ),
        (
            graph(&|arch| {
                let b = arch.push_on(conv("b", 4), [Source::Input]);
                arch.push_on(AddLayer, [Source::Layer(0), b]);
            }),
            "layer 2 (sum) reads values of 8²×3 and 8²×4",
            "as many channels",
        ),
        (
            graph(&|arch| {
                let b = arch.push_on(AveragePoolLayer { side: 2, stride: 2 }, [Source::Input]);
                arch.push_on(ConcatLayer, [Source::Layer(0), b]);
            }),
            "layer 2 (concatenation) reads values of 8² and 4² pixels",
            "all have one side",
        ),
        (
            graph(&|arch| {
                arch.push_on(conv("b", 4), [Source::Input]);
            }),
            "layer 0 (convolution a) is read by no layer",
            "read by one after it",
        ),
        (
            graph(&|arch| {
                arch.push_on(AddLayer, [Source::Layer(0)]);
            }),
            "layer 1 (sum) reads 1 values",
            "it reads 2",
        ),
        (
            graph(&|arch| {
                arch.push_on(AddLayer, [Source::Layer(0), Source::Layer(2)]);
            }),
            "layer 1 (sum) reads layer 2",
            "layers before them",
        ),
        (
            graph(&|arch| {
                arch.push(DropoutLayer);
                arch.push_on(AddLayer, [Source::Layer(0), Source::Layer(1)]);
            }),
            "layer 1 (dropout)",
            "nothing else reads",
        ),
    ] {
        let message = refusal(&arch, &OPTIONS);
        assert!(message.contains("WRONG") && message.contains(layer) && message.contains(legal), "{layer}: {message}");
    }
}

/// Options that no net, or not this one, can do anything with.
#[test]
fn wrong_options_are_refused() {
    let (net, hsc) = (fcdd([conv("a", 3)]), baselines::by_name("CNN28", true).unwrap());
    let (bf16, training) = (PlanOptions { dtype: DType::Bf16, ..OPTIONS }, Some(TRAINING));
    let input_grad = Some(TrainingOptions { input_grad: true, ..TRAINING });
    let maps = Some(TrainingOptions { maps: true, ..TRAINING });
    for (arch, options, problem, legal) in [
        (&net, PlanOptions { batch: 0, ..OPTIONS }, "WRONG cannot take 0 images of 8×8 pixels", "1 or more"),
        (&net, PlanOptions { side: 0, ..OPTIONS }, "WRONG cannot take 2 images of 0×0 pixels", "1 or more"),
        (&net, PlanOptions { batch: 1 << 32, side: 1 << 32, ..OPTIONS }, "4294967296 images", "`side` or `batch`"),
        (
            &net,
            PlanOptions { sigma: f64::NAN, ..OPTIONS },
            "WRONG cannot upsample with a Gaussian",
            "0.001 pixels or more",
        ),
        (&net, PlanOptions { sigma: f64::INFINITY, ..OPTIONS }, "Gaussian of `sigma` inf", "0.001 pixels or more"),
        (&net, PlanOptions { sigma: 0.0, ..OPTIONS }, "Gaussian of `sigma` 0", "0.001 pixels or more"),
        (&net, PlanOptions { sigma: -1.0, ..OPTIONS }, "Gaussian of `sigma` -1", "0.001 pixels or more"),
        (&hsc, PlanOptions { side: 28, ..bf16 }, "CNN28 computes in f32 alone", "`precision` f32"),
        (&hsc, PlanOptions { side: 28, training: maps, ..OPTIONS }, "CNN28 learns from labels alone", "`maps` false"),
        (&net, PlanOptions { training: input_grad, ..bf16 }, "gradient of its input", "`precision` f32"),
        (
            &Arch { part: NetPart::Features, ..net.clone() },
            PlanOptions { training, ..OPTIONS },
            "WRONG would train its features",
            "train its head",
        ),
    ] {
        let message = refusal(arch, &options);
        assert!(message.contains(problem) && message.contains(legal), "{message}");
    }
    // What computes in f32 alone is told by its layer.
    let dropped = fcdd([conv("a", 3), DropoutLayer.into()]);
    let message = refusal(&dropped, &PlanOptions { training, ..bf16 });
    assert!(message.contains("layer 1 (dropout) computes in f32 alone"), "{message}");
    // Outside of training it computes nothing.
    lower(&dropped, &bf16).unwrap();
}

/// Parts are those of FCDD nets, and keep the rules of the whole.
#[test]
fn parts_that_are_none_are_refused() {
    let part = |part, arch: &Arch| Arch { part, ..arch.clone() };
    let options = PlanOptions { training: Some(TRAINING), ..OPTIONS };
    let fixed = |frozen, layers: Vec<Layer>| Arch { frozen, fixed: true, ..fcdd(layers) };
    let net = fixed(2, vec![conv("a", 3), RELU, conv("b", 3)]);
    for (arch, options) in [
        (net.clone(), options),
        (part(NetPart::Head, &net), options),
        (part(NetPart::Features, &net), OPTIONS),
        (part(NetPart::Head, &net), OPTIONS),
    ] {
        lower(&arch, &options).unwrap();
    }
    // A GPU's kernels would take the folded taps of a head for others.
    let plan = lower(&part(NetPart::Head, &net), &options).unwrap();
    plan.steps().try_for_each(Step::check).unwrap();
    let error = plan.steps().try_for_each(Step::cuda_check).unwrap_err().to_string();
    assert!(error.contains("its taps are folded"), "{error}");
    // The size of a head's map was taken for that of a heatmap.
    let linear = Layer::Linear { name: "l".to_string(), out: 4, pixels: 64, init: Init::Uniform };
    let hsc = Arch { side: 8, frozen: 2, fixed: true, ..chain(Objective::Hsc, [conv("a", 3), RELU, linear]) };
    let ae = Arch { side: 8, frozen: 2, fixed: true, ..chain(Objective::Ae, [conv("a", 3), RELU, conv("b", 2)]) };
    let not_fixed = Arch { fixed: false, ..net.clone() };
    let not_frozen = Arch { frozen: 0, ..net.clone() };
    // The last of what is frozen and the first of what is not are lowered together.
    let layers = vec![conv("a", 3), norm("n"), RELU, POOL, conv("b", 3), POOL];
    let fused = [2, 3, 5].map(|frozen| fixed(frozen, layers.clone()));
    let none = [hsc, ae, not_fixed, not_frozen].map(|arch| (arch, "has no features that could be kept"));
    for (arch, problem) in none.into_iter().chain(fused.map(|arch| (arch, "is lowered together with layer"))) {
        lower(&arch, &OPTIONS).unwrap();
        assert!(!has_features(&arch));
        for of in [NetPart::Features, NetPart::Head] {
            let message = refusal(&part(of, &arch), &OPTIONS);
            assert!(message.contains(problem), "{message}");
        }
    }
    // It need not be the first that is trained.
    let mut branched = Arch { frozen: 2, fixed: true, ..chain(Objective::Fcdd, [conv("a", 3)]) };
    let other = branched.push_on(conv("b", 3), [Source::Input]);
    let other = branched.push_on(conv("c", 3), [other]);
    let own = branched.push_on(RELU, [Source::Layer(0)]);
    branched.push_on(AddLayer, [other, own]);
    branched.push(head());
    let message = refusal(&part(NetPart::Head, &branched), &OPTIONS);
    assert!(message.contains("layer 3 (activation) is lowered together with layer 0 (convolution a)"), "{message}");
    for frozen in [4, 6] {
        let arch = fixed(frozen, layers.clone());
        assert!(has_features(&arch));
        lower(&part(NetPart::Features, &arch), &OPTIONS).unwrap();
    }
    // A dropout changed the features themselves, which are kept.
    let dropped = fixed(2, vec![conv("a", 3), RELU, DropoutLayer.into(), conv("b", 3)]);
    lower(&dropped, &options).unwrap();
    let message = refusal(&part(NetPart::Head, &dropped), &options);
    assert!(message.contains("layer 2 (dropout) reads what it would change"), "{message}");
    // More than the last of what is frozen.
    let mut skipping = Arch { frozen: 2, fixed: true, ..chain(Objective::Fcdd, [conv("a", 3), conv("b", 3)]) };
    skipping.push_on(AddLayer, [Source::Layer(0), Source::Layer(1)]);
    skipping.push(head());
    lower(&skipping, &options).unwrap();
    let message = refusal(&part(NetPart::Head, &skipping), &options);
    assert!(message.contains("layer 2 (sum) reads more than the features"), "{message}");
}

/// In training a norm of one value per channel made 0 of it, whatever it was. PyTorch refuses that.
#[test]
fn norms_take_statistics_of_several_values() {
    let hsc = baselines::by_name("CNN32", true).unwrap();
    let options = |batch, side| PlanOptions { batch, side, training: Some(TRAINING), ..OPTIONS };
    let message = refusal(&hsc, &options(1, 32));
    assert!(message.contains("(norm bn1d1) has one value per channel"), "{message}");
    assert!(message.contains("choose a `batch` of 2 or more"), "{message}");
    lower(&hsc, &options(2, 32)).unwrap();
    lower(&hsc, &PlanOptions { training: None, ..options(1, 32) }).unwrap();
    let net = fcdd([conv("a", 3), norm("n"), RELU, conv("b", 3)]);
    assert!(refusal(&net, &options(1, 1)).contains("layer 1 (norm n) has one value"));
    // Frozen norms take statistics too, but where they are fixed.
    let frozen = Arch { frozen: 3, ..net.clone() };
    assert!(refusal(&frozen, &options(1, 1)).contains("layer 1 (norm n) has one value"));
    for (arch, batch, side) in [(&net, 2, 1), (&net, 1, 2), (&Arch { fixed: true, ..frozen.clone() }, 1, 1)] {
        lower(arch, &options(batch, side)).unwrap();
    }
}

/// The 257th dropout of a net drew the mask of the first, and so did the image after the 2²⁴th.
#[test]
fn dropouts_draw_masks_of_their_own() {
    let lowered = |dropouts, batch| {
        let arch = fcdd([conv("a", 3)].into_iter().chain(std::iter::repeat_n(DropoutLayer.into(), dropouts)));
        let plan = lower(&arch, &PlanOptions { batch, training: Some(TRAINING), ..OPTIONS });
        plan.map(drop).map_err(|error| error.to_string())
    };
    lowered(256, 2).unwrap();
    lowered(1, 1 << 24).unwrap();
    for (dropouts, batch, layer) in [(257, 2, "layer 257 (dropout)"), (1, (1 << 24) + 1, "layer 1 (dropout)")] {
        let error = lowered(dropouts, batch).unwrap_err();
        assert!(error.contains(layer) && error.contains("would draw what another draws"), "{error}");
    }
}

/// The gradients of convolutions with strides, which ResNets have, are computed in f32 alone.
#[test]
fn trained_strides_are_refused_in_bf16() {
    let lowered = |net: &str, dtype, trains: bool| {
        let options = PlanOptions { side: 32, dtype, training: trains.then_some(TRAINING), ..OPTIONS };
        lower(&nets::by_name(net, true).unwrap(), &options)
    };
    for (net, dtype, trains) in [
        ("RESNET18_F", DType::F32, true),
        ("RESNET18_F", DType::Bf16, false),
        ("RESNET18", DType::F32, true),
        ("RESNET18", DType::Bf16, false),
    ] {
        assert!(lowered(net, dtype, trains).is_ok(), "{net} in {dtype:?}, training {trains}");
    }
    for (net, layer) in [("RESNET18_F", "(convolution "), ("RESNET18", "layer 0 (convolution ")] {
        let message = lowered(net, DType::Bf16, true).err().unwrap().to_string();
        let named = message.contains(net) && message.contains(layer) && message.contains("has a stride");
        assert!(named && message.contains("`precision` f32"), "{message}");
    }
    // Where they are frozen, what comes after them learns.
    let mut arch = chain(Objective::Fcdd, [conv("a", 8), RELU, conv("b", 8), RELU, head()]);
    let Layer::Conv { stride, .. } = &mut arch.layers[0].layer else { unreachable!() };
    *stride = 2;
    for (frozen, fits) in [(2, true), (0, false)] {
        arch.frozen = frozen;
        let options = PlanOptions { dtype: DType::Bf16, training: Some(TRAINING), ..OPTIONS };
        let message = lower(&arch, &options).err().map(|error| error.to_string());
        assert!(
            message.as_ref().map_or(fits, |why| why.contains("layer 0 (convolution a) has a stride")),
            "{message:?}"
        );
        assert_eq!(message.is_none(), fits);
    }
}

/// Puts a layer between another and all that read it.
fn insert_after(arch: &mut Arch, at: usize, layer: Layer) {
    for input in arch.layers.iter_mut().flat_map(|node| &mut node.inputs) {
        if let Source::Layer(of) = input
            && *of >= at
        {
            *of += 1;
        }
    }
    arch.layers.insert(at + 1, Node { layer, inputs: vec![Source::Layer(at)] });
}

fn is_pool(layer: &Layer) -> bool {
    matches!(layer, Layer::Pool { .. })
}

/// Ways to make a legal net illegal, by the numbers of the layers where they apply.
type Break = (&'static str, fn(&Layer) -> bool, fn(&mut Arch, usize));

const BREAKS: [Break; 10] = [
    ("reads itself", |_| true, |arch, at| arch.layers[at].inputs[0] = Source::Layer(at)),
    ("reads a later layer", |_| true, |arch, at| arch.layers[at].inputs[0] = Source::Layer(arch.layers.len() + at)),
    ("reads nothing", |_| true, |arch, at| arch.layers[at].inputs.clear()),
    ("two norms", |layer| matches!(layer, Layer::Norm { .. }), |arch, at| insert_after(arch, at, norm("second"))),
    ("a norm after a pool", is_pool, |arch, at| insert_after(arch, at, norm("late"))),
    ("an activation after a pool", is_pool, |arch, at| insert_after(arch, at, RELU)),
    ("two activations", |layer| matches!(layer, Layer::Activation(_)), |arch, at| insert_after(arch, at, RELU)),
    (
        "a name twice",
        |layer| layer.name().is_some(),
        |arch, at| {
            let name = arch.layers[at].layer.name().unwrap().to_string();
            arch.unused_norms.push((name, 1));
        },
    ),
    (
        "an even kernel",
        |layer| matches!(layer, Layer::Conv { .. }),
        |arch, at| {
            let Layer::Conv { side, .. } = &mut arch.layers[at].layer else { unreachable!() };
            *side += 1;
        },
    ),
    ("all frozen", |_| true, |arch, _| arch.frozen = arch.layers.len()),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A legal net with one thing wrong is refused, and nothing panics on the way.
    #[test]
    fn broken_nets_are_refused(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        objective in prop::sample::select(vec![Objective::Fcdd, Objective::Hsc, Objective::Ae]),
        which in 0..BREAKS.len(),
        place: prop::sample::Index,
    ) {
        let mut arch = random_net(objective, DType::F32, &numbers);
        let (what, applies, apply) = BREAKS[which];
        let places: Vec<usize> = (0..arch.layers.len()).filter(|&at| applies(&arch.layers[at].layer)).collect();
        if places.is_empty() {
            return Ok(());
        }
        apply(&mut arch, places[place.index(places.len())]);
        let error = lower(&arch, &PlanOptions { side: arch.side, ..OPTIONS }).err().map(|error| error.to_string());
        prop_assert!(error.is_some_and(|error| error.contains("RANDOM")), "{what}: {arch:#?}");
    }
}
