//! Lowered nets against their layers one by one: random ones, and some that were made for what has gone wrong.

mod made;
mod refused;

use fcdd::device::DType;
use fcdd::engine::lower::{PlanOptions, lower};
use fcdd::engine::{Hyper, Network, Step};
use fcdd::model::{Arch, Layer, Objective, Source, Weights};
use fcdd::rng::{Purpose, Stream};
use fcdd::run::verify::by_layers::{Difference, Trial, differences, has_features};
use fcdd::run::verify::random_nets::random_net;
use fcdd::settings::ImageScore;
use fcdd::steps::add::layer::AddLayer;
use fcdd::steps::average_pool::layer::AveragePoolLayer;
use fcdd::steps::concat::layer::ConcatLayer;
use fcdd::steps::dropout::layer::DropoutLayer;
use proptest::prelude::*;

use made::*;

/// Compares a net with its layers on so many images, or on two where one would be refused.
fn assert_equal(arch: &Arch, trial: Trial) {
    let n = if trial.n == 1 && takes_statistics_of_one_value(arch) { 2 } else { trial.n };
    let trial = Trial { n, ..trial };
    for Difference { name, error, bound } in differences(arch, &trial).unwrap_or_else(|e| panic!("{e}: {arch:#?}")) {
        assert!(error <= bound, "{name} differs by {error:e}, which is more than {bound:e}, of {trial:?} in {arch:#?}");
    }
}

/// Whether to learn from maps, and by which score where an image has none.
fn any_maps() -> impl Strategy<Value = Option<ImageScore>> {
    prop::option::of(prop::sample::select(vec![
        ImageScore::Mean,
        ImageScore::Max,
        ImageScore::Top(10.0),
        ImageScore::Top(60.0),
    ]))
}

/// Whether a norm sees one value per channel of a single image in training.
fn takes_statistics_of_one_value(arch: &Arch) -> bool {
    let shapes = arch.shapes(1, arch.side).unwrap();
    let trained = if arch.fixed { arch.frozen } else { 0 };
    let one = |i: usize| matches!(arch.layers[i].layer, Layer::Norm { .. }) && shapes[i].output().side == 1;
    (trained..arch.layers.len()).any(one)
}

proptest! {
    // Numbers that fail are another net once the generator changes.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fcdd_nets_are_their_layers(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        n in 1..=4usize,
        sigma in 0.3..4.0,
        maps in any_maps(),
        input_grad: bool,
    ) {
        let trial = Trial { n, dtype: DType::F32, sigma, maps, input_grad };
        assert_equal(&random_net(Objective::Fcdd, DType::F32, &numbers), trial);
    }

    #[test]
    fn fcdd_nets_of_bf16_are_their_layers(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        n in 1..=4usize,
        sigma in 0.3..4.0,
        maps in any_maps(),
    ) {
        let trial = Trial { n, dtype: DType::Bf16, sigma, maps, input_grad: false };
        assert_equal(&random_net(Objective::Fcdd, DType::Bf16, &numbers), trial);
    }

    #[test]
    fn hsc_nets_are_their_layers(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        n in 1..=4usize,
        input_grad: bool,
    ) {
        let trial = Trial { n, dtype: DType::F32, sigma: 1.2, maps: None, input_grad };
        assert_equal(&random_net(Objective::Hsc, DType::F32, &numbers), trial);
    }

    #[test]
    fn autoencoders_are_their_layers(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        n in 1..=4usize,
        input_grad: bool,
    ) {
        let trial = Trial { n, dtype: DType::F32, sigma: 1.2, maps: None, input_grad };
        assert_equal(&random_net(Objective::Ae, DType::F32, &numbers), trial);
    }
}

/// Random nets have every layer in every place: what stands in the table of the tests above.
#[test]
fn random_nets_are_of_all_kinds() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..600u32 {
        let stream = Stream::new(1, Purpose::Check, seed, 0);
        let numbers: Vec<u32> = (0..10).flat_map(|block| stream.block(block)).collect();
        let objective = [Objective::Fcdd, Objective::Hsc, Objective::Ae][seed as usize % 3];
        let arch = random_net(objective, DType::F32, &numbers);
        kinds.insert(format!("features {}", has_features(&arch)));
        kinds.insert(format!("statistics of one value {}", takes_statistics_of_one_value(&arch)));
        for (i, node) in arch.layers.iter().enumerate() {
            kinds.insert(format!("{} of {}", node.layer.kind(), node.inputs.len()));
            let readers = arch.layers.iter().filter(|other| other.inputs.contains(&Source::Layer(i))).count();
            kinds.insert(format!("read by {}", readers.min(3)));
            kinds.insert(format!("frozen {}", i < arch.frozen));
            kinds.insert(format!("{} fixed {}", node.layer.kind(), arch.fixed && i < arch.frozen));
            if let (Layer::Pool { .. }, &[Source::Layer(read)]) = (&node.layer, &node.inputs[..]) {
                let others = arch.layers.iter().filter(|other| other.inputs.contains(&Source::Layer(read))).count() > 1;
                kinds.insert(format!("max pool beside others {others}"));
                kinds.insert(format!("max pool of a {}", arch.layers[read].layer.kind()));
            }
            if matches!(node.layer, Layer::Pool { .. }) && node.inputs == [Source::Input] {
                kinds.insert("max pool of the images".to_string());
            }
        }
    }
    for kind in [
        "convolution of 1",
        "norm of 1",
        "activation of 1",
        "max pool of 1",
        "average pool of 1",
        "sum of 2",
        "concatenation of 2",
        "concatenation of 3",
        "concatenation of 4",
        "upsampling of 1",
        "dropout of 1",
        "fully connected layer of 1",
        "reshape of 1",
        "transposed convolution of 1",
        "sigmoid of 1",
        "read by 2",
        "read by 3",
        "frozen true",
        "norm fixed true",
        "max pool beside others true",
        "max pool of the images",
        "max pool of a sum",
        "max pool of a concatenation",
        "max pool of a average pool",
        "max pool of a max pool",
        "max pool of a dropout",
        "features true",
        "features false",
        "statistics of one value true",
        "statistics of one value false",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What fixed layers make of an image is rounded to bf16 in training as it is in inference, and what a net in training says of an image
    /// is what the net says later.
    #[test]
    fn bf16_rounds_alike_in_training_and_inference(
        numbers in prop::collection::vec(any::<u32>(), 0..60),
        n in 2..=4usize,
        all_fixed: bool,
    ) {
        let mut arch = random_net(Objective::Fcdd, DType::Bf16, &numbers);
        if all_fixed {
            (arch.frozen, arch.fixed) = (arch.layers.len() - 1, true);
        }
        let network = |training| {
            let options = PlanOptions { batch: n, side: arch.side, dtype: DType::Bf16, training, ..OPTIONS };
            let mut network = Network::<f32>::new(&arch, options, &Weights::init(&arch, 3)).unwrap();
            Stream::new(7, Purpose::Check, 0, 0).fill_normal(network.input(n).unwrap());
            network
        };
        let output = |network: &mut Network<f32>| -> Vec<u32> {
            let view = network.plan(n).unwrap().ports.output;
            network.read(view).unwrap().iter().map(|value| value.to_bits()).collect()
        };
        let (mut learner, mut later) = (network(Some(TRAINING)), network(None));
        later.infer(n).unwrap();
        learner.infer(n).unwrap();
        prop_assert!(output(&mut learner) == output(&mut later), "held out: {arch:#?}");
        if all_fixed {
            learner.forward(n, &Hyper { norm_momentum: 0.0, ..Hyper::IDLE }).unwrap();
            prop_assert!(output(&mut learner) == output(&mut later), "training: {arch:#?}");
        }
    }
}

/// A max pool that cannot join a convolution is lowered by itself.
#[test]
fn max_pools_follow_any_layer() {
    let mut beside = chain(Objective::Fcdd, [conv("a", 3), POOL, POOL]);
    let other = beside.push_on(AveragePoolLayer { side: 4, stride: 4 }, [Source::Layer(0)]);
    beside.push_on(AddLayer, [Source::Layer(2), other]);
    beside.push(head());
    let average = AveragePoolLayer { side: 2, stride: 1 }.into();
    for arch in [
        fcdd([conv("a", 3), POOL, POOL]),
        fcdd([conv("a", 3), norm("n"), RELU, POOL, POOL, conv("b", 3)]),
        fcdd([conv("a", 3), DropoutLayer.into(), POOL]),
        fcdd([conv("a", 3), average, POOL]),
        fcdd([POOL, conv("a", 3)]),
        joined(AddLayer.into(), POOL),
        joined(ConcatLayer.into(), POOL),
        beside,
    ] {
        let trial = Trial { n: 2, dtype: DType::F32, sigma: 1.2, maps: None, input_grad: true };
        assert_equal(&Arch { side: 8, ..arch }, trial);
    }
}

/// A head whose first layer is a max pool by itself reads the features.
#[test]
fn heads_begin_with_a_max_pool() {
    let features = [conv("a", 3), RELU, POOL, POOL, conv("b", 3)];
    let arch = Arch { frozen: 3, fixed: true, side: 8, ..fcdd(features) };
    assert!(has_features(&arch));
    assert_equal(&arch, Trial { n: 2, dtype: DType::F32, sigma: 1.2, maps: None, input_grad: false });
}

/// What the layers one by one take their numbers from is what lowering takes them from.
#[test]
fn each_dropout_has_a_stream_of_its_own() {
    let arch = fcdd([conv("a", 3), RELU, DropoutLayer.into(), conv("b", 3), RELU, DropoutLayer.into()]);
    let plan = lower(&arch, &PlanOptions { batch: 1, training: Some(TRAINING), ..OPTIONS }).unwrap();
    let numbers = |steps: &[Step]| -> Vec<u32> {
        steps.iter().filter_map(|step| if let Step::Dropout(step) = step { Some(step.number) } else { None }).collect()
    };
    assert_eq!((numbers(&plan.forward), numbers(&plan.backward)), (vec![0, 1], vec![1, 0]));
}

/// Where paths meet, outputs depend on all that either path sees, whichever comes first.
#[test]
fn joined_paths_see_what_each_sees() {
    let conv = |name: &str, side| Layer::Conv { name: name.to_string(), out: 3, side, stride: 1, bias: true };
    for swapped in [false, true] {
        let mut arch = chain(Objective::Fcdd, [conv("a", 3)]);
        let long = arch.push(conv("b", 5));
        let short = arch.push_on(conv("c", 1), [Source::Layer(0)]);
        arch.push_on(AddLayer, if swapped { [long, short] } else { [short, long] });
        arch.push(head());
        let field = arch.receptive_field(8).unwrap();
        assert_eq!((field.n, field.jump, field.size, field.shift), (8, 1, 7, 0.0));
    }
}
