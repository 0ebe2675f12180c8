//! Graphs, interpreted, beside what fcdd itself finds.

use std::collections::HashMap;

use super::*;
use crate::data::images::Images;
use crate::data::pipeline::PipelineKind;
use crate::data::resize_mode::RawForm;
use crate::datasets::folder::FOLDER;
use crate::device::Device;
use crate::model::{Weights, baselines, nets};
use crate::onnx::interpreter::{Tensor, run};
use crate::rng::{Purpose, Stream};
use crate::run::score::{Scored, Scorer, Shown};
use crate::steps::standalone::{LayerContext, ValueShape};

/// Noise over a gradient.
fn image(height: usize, width: usize, channels: usize) -> Images {
    let noise = Stream::new(1, Purpose::Check, 0, 0);
    let value = |i: usize| {
        let (pixel, down) = (i / channels % width, i / channels / width);
        (noise.bits(i as u32) >> 26) as u8 + (100 * down / height + 80 * pixel / width) as u8
    };
    let pixels = (0..channels * height * width).map(value).collect();
    Images { count: 1, height, width, channels, pixels }
}

/// A model of random weights and statistics, with a threshold.
fn model(net: &str, side: usize, pipeline: PipelineKind) -> Model {
    let mut settings = Settings::folder("parts");
    let arch = baselines::any(net, true).unwrap();
    (settings.net, settings.side, settings.pipeline, settings.objective) =
        (arch.name.clone(), side, pipeline, arch.objective);
    settings.image_score = ImageScore::Mean;
    let images = image(side, side, arch.channels);
    let preprocessing = FOLDER.recipe.preprocessing(pipeline, side, side, arch.channels, &images.into()).unwrap();
    let mut weights = Weights::init(&arch, 1);
    let noise = Stream::new(2, Purpose::Check, 0, 0);
    // Variances are as means, around 1.
    weights.stats.iter_mut().zip(0..).for_each(|(value, i)| *value += 0.3 * noise.uniform(i));
    let mut meta = Model::meta(&settings, &preprocessing, 1);
    meta.threshold = 0.5;
    Model { meta, weights }
}

/// What fcdd finds: score, map and heatmap at the size of the net's input.
fn found(model: &Model, raw: &Images) -> (f64, Vec<f64>, Vec<f64>) {
    let mut scorer = Scorer::new(&Device::Cpu, model).unwrap();
    let renderer = crate::run::heatmap::Renderer::new(model).unwrap();
    let mut found = (0.0, vec![], vec![]);
    let size = (model.meta.settings.side, model.meta.settings.side);
    let shown = if model.meta.settings.objective.shows_gradients() { Shown::Nothing } else { Shown::Heatmaps };
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let visit = |_: usize, scored: Scored| {
        let map = renderer.unscaled(scored.heatmap.to_vec(), None).within(size, Region::whole(size)).values();
        let heatmap = renderer.heatmap(model.meta.scale, scored.heatmap.to_vec(), None).values();
        found = (f64::from(scored.score), wide(map), wide(heatmap));
        Ok(())
    };
    match shown {
        Shown::Nothing => scorer.score_batch(raw, shown, |_, scored| {
            found.0 = f64::from(scored.score);
            Ok(())
        }),
        _ => scorer.score_batch(raw, shown, visit),
    }
    .unwrap();
    found
}

/// What the graph finds.
fn graphed(model: &Model, images: &Images, any_size: bool) -> HashMap<String, Tensor> {
    let OnnxFile { bytes, .. } = to_onnx(model, Some(images.channels), any_size).unwrap();
    let Images { height, width, channels, .. } = *images;
    let values = images.pixels.iter().map(|&byte| f64::from(byte)).collect();
    run(&bytes, &[("image", Tensor::new(&[1, height, width, channels], values))])
}

/// The largest difference of values, by the largest of them.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs())) / largest(&mut b.iter().map(|b| b.abs()))
}

/// Fails unless the graph finds what fcdd does, f32 apart, in images at the net's size.
fn assert_same(mut model: Model) {
    let images = image(model.meta.settings.side, model.meta.settings.side, model.meta.preprocessing.channels);
    // A scale that cuts off at both ends.
    let map = found(&model, &images).1;
    let largest = map.iter().copied().fold(1e-3, f64::max) as f32;
    model.meta.scale = Scale { minimum: 0.1 * largest, range: 0.7 * largest };
    let model = &model;
    let (score, map, heatmap) = found(model, &images);
    let outputs = graphed(model, &images, false);
    let name = &model.meta.settings.net;
    let of = |name: &str| &outputs[name].values;
    assert!((of("score")[0] / score - 1.0).abs() < 1e-5, "{name}: {} {score}", of("score")[0]);
    let (normalized, verdict) = DecisionRule::of(&model.meta).decide(score as f32, None);
    assert!((of("normalized_score")[0] - normalized).abs() < 1e-5, "{name}");
    assert_eq!(of("anomalous")[0] == 1.0, verdict == crate::run::verdict::Verdict::Anomalous, "{name}");
    if model.meta.settings.objective.shows_gradients() {
        assert!(!outputs.contains_key("map") && !outputs.contains_key("heatmap"));
        return;
    }
    assert_eq!(outputs["map"].shape, [1, images.height, images.width]);
    assert!(apart(of("map"), &map) < 1e-5, "{name}: {}", apart(of("map"), &map));
    assert!(apart(of("heatmap"), &heatmap) < 1e-5, "{name}: {}", apart(of("heatmap"), &heatmap));
    assert!(of("heatmap").iter().any(|&value| value > 0.0 && value < 1.0), "{name}");
}

#[test]
fn graphs_find_what_fcdd_finds() {
    use PipelineKind::{Imagenet, Lcn, None};
    for (net, side, pipeline) in [
        ("FCDD_CNN28", 28, Lcn),
        ("FCDD_CNN32_S", 32, None),
        ("FCDD_CNN224", 40, Lcn),
        ("FCDD_RESNET18_NOPT", 48, None),
        ("FCDD_RESNET18_MS", 32, Imagenet),
        ("FCDD_VGG11_MS", 16, Imagenet),
        ("CNN28", 28, Lcn),
        ("CNN32", 32, None),
        ("AE28", 28, None),
        ("AE32", 32, Lcn),
    ] {
        assert_same(model(net, side, pipeline));
    }
}

#[test]
fn scores_are_of_what_the_model_says_of_maps() {
    for text in ["mean", "max", "top:10"] {
        for (net, counted) in [("FCDD_CNN28", true), ("FCDD_CNN28", false), ("AE28", true), ("AE28", false)] {
            let mut model = model(net, 28, PipelineKind::Lcn);
            model.meta.settings.image_score = text.parse().unwrap();
            if counted {
                model.meta.count(serde_json::from_str(r#"{"height":2,"width":4,"runs":[1,2,1,4]}"#).unwrap()).unwrap();
            }
            assert_same(model);
        }
    }
}

/// Every kind of layer beside its formula.
#[test]
fn layers_are_their_formulas() {
    for layer in crate::model::layer::Standalone::examples() {
        let inputs: Vec<ValueShape> =
            (0..*layer.inputs().start()).map(|_| ValueShape { n: 1, side: 6, c: 3 }).collect();
        let inputs = match layer.side(&inputs) {
            Ok(_) => inputs,
            Err(_) => vec![ValueShape { n: 1, side: 1, c: 12 }], // a vector
        };
        let c = layer.channels(&inputs.iter().map(|input| input.c).collect::<Vec<_>>());
        let output = ValueShape { n: 1, side: layer.side(&inputs).unwrap(), c };
        let activation = crate::steps::activation::Activation::IDENTITY;
        let context = LayerContext { inputs: &inputs, output, number: 0, activation };
        let noise = Stream::new(3, Purpose::Check, 0, 0);
        let values =
            |of: usize, len: usize| (0..len).map(|i| f64::from(noise.normal((of * 1000 + i) as u32))).collect();
        let last: Vec<Vec<f64>> = inputs.iter().enumerate().map(|(i, input)| values(i, input.len())).collect();
        let plain = layer.plain(context, &last.iter().map(Vec::as_slice).collect::<Vec<_>>(), None);

        // Channels come first in graphs.
        let first = |values: &[f64], ValueShape { side, c, .. }: ValueShape| {
            let pixels = side * side;
            Tensor::new(&[1, c, side, side], (0..values.len()).map(|i| values[i % pixels * c + i / pixels]).collect())
        };
        let names = ["a", "b", "c", "d"];
        let mut graph = Graph::default();
        let shape: &[Length] = &[];
        let port = |name| Port { name, element: Element::F32, shape, doc: "" };
        let read: Vec<Value> = names[..inputs.len()].iter().map(|name| graph.input(&port(name))).collect();
        let made = layer.onnx(&mut graph, &read);
        let made = graph.reshape(&made, &[0, 0, 0, 0]); // of a layer that does nothing, another value
        graph.output(made, &port("y"));
        let bytes = graph.into_bytes("layer", String::new(), vec![]).unwrap();
        let given = names.into_iter().zip(last.iter().zip(&inputs).map(|(values, &input)| first(values, input)));
        let found = &run(&bytes, &given.collect::<Vec<_>>())["y"];
        assert_eq!(found.shape, [1, c, output.side, output.side], "{}", layer.kind());
        assert!(apart(&found.values, &first(&plain, output).values) < 1e-12, "{}", layer.kind());
    }
}

/// Images of any size become what fcdd makes of them, byte for byte.
#[test]
fn images_of_any_size_are_resized_as_by_fcdd() {
    for resize in [ResizeMode::Squash, ResizeMode::ShortSide, ResizeMode::Nearest, ResizeMode::FloorNearest] {
        for (height, width) in [(28, 28), (61, 97), (97, 40), (19, 33), (9, 150)] {
            let images = image(height, width, 3);
            let mut model = model("FCDD_CNN28", 28, PipelineKind::None);
            model.meta.preprocessing.resize = resize;
            let form: RawForm = model.meta.preprocessing.raw_form();
            let expected = form.of(&images);
            let mut graph = Graph::default();
            let form = ImageForm { channels: 3, any_size: true };
            model.meta.preprocessing.test.truncate(1);
            let input = preprocessing::input(&mut graph, &model.meta.preprocessing, form).unwrap();
            graph.output(input, &Port { name: "y", element: Element::F32, shape: &[], doc: "" });
            let bytes = graph.into_bytes("resize", String::new(), vec![]).unwrap();
            let values = images.pixels.iter().map(|&byte| f64::from(byte)).collect();
            let found = &run(&bytes, &[("image", Tensor::new(&[1, height, width, 3], values))])["y"];
            let bytes: Vec<u8> = found.values.iter().map(|value| (value * 255.0).round() as u8).collect();
            assert_eq!(bytes, expected.with_channels(1).pixels, "{resize} {height}×{width}");
        }
    }
}

#[test]
fn grey_and_colours_become_what_the_net_takes() {
    let grey = model("FCDD_CNN28", 28, PipelineKind::Lcn);
    let colours = image(28, 28, 3);
    let (score, ..) = found(&grey, &colours.clone().with_channels(1));
    assert!((graphed(&grey, &colours, false)["score"].values[0] / score - 1.0).abs() < 1e-5);
    let colour = model("FCDD_CNN32_S", 32, PipelineKind::Lcn);
    let one = image(32, 32, 1);
    let (score, ..) = found(&colour, &one.clone().with_channels(3));
    assert!((graphed(&colour, &one, false)["score"].values[0] / score - 1.0).abs() < 1e-5);
    assert!(to_onnx(&colour, Some(2), false).is_err_and(|e| e.to_string().contains("`channels`")));
}

/// Samples of 16 bits are levelled in the graph.
#[test]
fn samples_of_cameras_become_bytes() {
    let mut model = model("FCDD_CNN28", 28, PipelineKind::None);
    model.meta.preprocessing.levels = serde_json::from_str(r#"{"bits": 12, "black": 100, "white": 3000}"#).unwrap();
    let samples: Vec<u16> = (0..28 * 28).map(|i| i * 5).collect();
    let pixels = samples.iter().map(|&sample| model.meta.preprocessing.levels.byte(sample)).collect();
    let (score, ..) = found(&model, &Images { count: 1, pixels, ..Images::empty(28, 28, 1) });
    let OnnxFile { bytes, not_included } = to_onnx(&model, None, false).unwrap();
    let values = samples.into_iter().map(f64::from).collect();
    let outputs = run(&bytes, &[("image", Tensor::new(&[1, 28, 28, 1], values))]);
    assert!((outputs["score"].values[0] / score - 1.0).abs() < 1e-5);
    assert!(not_included.iter().any(|what| what.contains("12 significant bits")), "{not_included:?}");
}

#[test]
fn what_a_graph_cannot_judge_has_no_verdict() {
    let told = |model: &Model| to_onnx(model, None, false).unwrap().not_included.join("; ");
    let outputs = |model: &Model| {
        let mut names: Vec<String> = graphed(model, &image(32, 32, 3), false).into_keys().collect();
        names.sort();
        names
    };
    let mut other = model("FCDD_CNN32_S", 32, PipelineKind::Lcn);
    other.meta.imported = Some("snapshot.pt".into());
    assert_eq!(outputs(&other), ["heatmap", "map", "score"]);
    assert!(told(&other).contains("a threshold"), "{}", told(&other));
    let mut tiled = model("FCDD_CNN32_S", 32, PipelineKind::Lcn);
    tiled.meta.preprocessing.resize = "tile:64,16".parse().unwrap();
    assert_eq!(outputs(&tiled), ["heatmap", "map", "score"]);
    assert!(told(&tiled).contains("one tile of 32×32"), "{}", told(&tiled));
    assert!(to_onnx(&tiled, None, true).is_err_and(|e| e.to_string().contains("tile:64,16")));
}

/// All nets but those of a hundred million parameters, which are of the same layers.
#[test]
fn every_net_can_be_exported() {
    for name in nets::names().into_iter().chain(baselines::names()) {
        let arch = baselines::any(&name, true).unwrap();
        if arch.parameters() < 10_000_000 {
            let model = model(&name, arch.side, PipelineKind::Imagenet);
            let OnnxFile { bytes, .. } = to_onnx(&model, None, false).unwrap();
            assert!(bytes.len() > 3 * arch.parameters(), "{name}: its weights are not there"); // those of norms are not
        }
    }
}

#[test]
fn weights_beyond_numbers_are_refused() {
    let mut model = model("FCDD_CNN28", 28, PipelineKind::Lcn);
    model.weights.params[0] = f32::MAX;
    model.weights.stats.fill(1e-6);
    assert!(to_onnx(&model, None, false).is_err_and(|e| e.to_string().contains("conv1")));
}
