//! A model as an ONNX graph: preprocessing, net, anomaly map, score, heatmap and verdict.

use super::preprocessing::{self, ImageForm};
use crate::data::levels::Levels;
use crate::data::pipeline::Preprocessing;
use crate::data::resize_mode::{Region, ResizeMode};
use crate::device::DType;
use crate::error::{Error, Result};
use crate::model::image_score::ImageScore;
use crate::model::{Arch, Objective};
use crate::onnx::{Attribute, Element, Graph, Length, Port, Value};
use crate::report::heatmap::Scale;
use crate::run::calibration::unit;
use crate::run::model::{Model, NO_THRESHOLD};
use crate::run::settings::Settings;
use crate::run::verdict::DecisionRule;
use crate::steps::upsample::GaussianTaps;

const BATCH: Length = Length::Named("batch");

/// A model in the format, and what of it that file does not do.
pub(super) struct OnnxFile {
    pub bytes: Vec<u8>,
    pub not_included: Vec<String>,
}

/// Writes a model as a graph that takes images.
///
/// # Errors
/// Another number of channels than 1 or 3; a resize of what is not seen as one square; a file of more than 2 GiB.
pub(super) fn to_onnx(model: &Model, channels: Option<usize>, any_size: bool) -> Result<OnnxFile> {
    let (meta, arch) = (&model.meta, model.arch()?);
    let form = ImageForm { channels: channels.unwrap_or(arch.channels), any_size };
    if ![1, 3].contains(&form.channels) {
        let problem = format!("images have 1 channel or 3, not {} (`channels`)", form.channels);
        return Err(Error::setting(problem, "choose 1 for grey images, 3 for colours"));
    }
    let side = meta.settings.side;
    arch.shapes(1, side)?;
    let mut graph = Graph::default();
    let input = preprocessing::input(&mut graph, &meta.preprocessing, form)?;
    let output = arch.onnx(&mut graph, &model.weights, &input)?;
    let score = match arch.objective {
        Objective::Hsc => length(&mut graph, &output),
        Objective::Fcdd | Objective::Ae => {
            let map = anomaly_map(&mut graph, arch.objective, &input, &output);
            let score = image_score(&mut graph, model, &arch, &map)?;
            heatmaps(&mut graph, model, &arch, &map)?;
            score
        }
    };
    verdict(&mut graph, model, score);
    let not_included = not_included(model, form);
    let metadata = metadata(model, &not_included)?;
    let doc = format!(
        "{}, trained and written by fcdd {}: `image` as samples [batch, {}, channels] in, {} out.",
        arch.name,
        env!("CARGO_PKG_VERSION"),
        if any_size { "height, width".to_string() } else { format!("{0}, {0}", meta.preprocessing.raw_side) },
        if arch.objective.shows_gradients() { "`score`" } else { "`score`, `map` and `heatmap`" },
    );
    Ok(OnnxFile { bytes: graph.into_bytes(&arch.name, doc, metadata)?, not_included })
}

/// √(x + 1) − 1 without cancellation, of squares.
fn pseudo_huber(graph: &mut Graph, squares: &Value) -> Value {
    let root = graph.with_number("Add", squares, 1.0);
    let root = graph.node("Sqrt", [&root], []);
    let divisor = graph.with_number("Add", &root, 1.0);
    graph.node("Div", [squares, &divisor], [])
}

/// The score of HSC, \[n\]: the length of the output vectors.
fn length(graph: &mut Graph, vectors: &Value) -> Value {
    let squares = graph.node("Mul", [vectors, vectors], []);
    let sum = graph.reduce("ReduceSum", &squares, &[1], false);
    pseudo_huber(graph, &sum)
}

/// [n, c, rows, columns]
fn anomaly_map(graph: &mut Graph, objective: Objective, input: &Value, output: &Value) -> Value {
    let output = match objective.reconstructs() {
        true => graph.node("Sub", [output, input], []),
        false => output.clone(),
    };
    let squares = graph.node("Mul", [&output, &output], []);
    if objective.reconstructs() { squares } else { pseudo_huber(graph, &squares) }
}

/// How the score follows from those values of the map that count, \[n\].
fn image_score(graph: &mut Graph, model: &Model, arch: &Arch, map: &Value) -> Result<Value> {
    let meta = &model.meta;
    let Settings { side, image_score, .. } = meta.settings;
    let (channels, map_side) = match arch.objective.reconstructs() {
        true => (arch.channels, side),
        false => (1, arch.receptive_field(side)?.n),
    };
    if image_score == ImageScore::Mean && meta.counted.is_none() {
        let mean = preprocessing::image_mean(graph, map, map_side);
        return Ok(graph.reshape(&mean, &[-1]));
    }
    let mut values = graph.reshape(map, &[0, channels as i64, -1]);
    let mut cells = map_side * map_side;
    if let Some(counted) = &meta.counted {
        let counts = counted.cells((map_side, map_side));
        let counted: Vec<i64> = (0i64..).zip(counts).filter_map(|(cell, counts)| counts.then_some(cell)).collect();
        cells = counted.len();
        let counted = graph.integers(&counted);
        values = graph.node("Gather", [&values, &counted], [Attribute::Int("axis", 2)]);
    }
    let mut values = graph.reshape(&values, &[0, -1]);
    if image_score != ImageScore::Mean {
        let count = graph.integers(&[image_score.count(cells * channels) as i64]);
        values = graph.node_of("TopK", 2, [&values, &count], []);
    }
    Ok(graph.reduce("ReduceMean", &values, &[1], false))
}

/// Adds the outputs `map`, the anomaly map at the size of the net's input, and `heatmap`, the same on the model's scale from 0 to 1.
fn heatmaps(graph: &mut Graph, model: &Model, arch: &Arch, map: &Value) -> Result<()> {
    let meta = &model.meta;
    let Settings { side, sigma, .. } = meta.settings;
    let large = match arch.objective.reconstructs() {
        true => map.clone(),
        // Each value spreads a Gaussian over its receptive field: U·a·Uᵀ.
        false => {
            let field = arch.receptive_field(side)?;
            let down = GaussianTaps::new(field, side, sigma).matrix(field.n);
            let across: Vec<f32> = (0..side * field.n).map(|i| down[i % side * field.n + i / side]).collect();
            let down = graph.floats("gaussian.down", &[side, field.n], &down);
            let across = graph.floats("gaussian.across", &[field.n, side], &across);
            let tall = graph.node("MatMul", [&down, map], []);
            graph.node("MatMul", [&tall, &across], [])
        }
    };
    let Scale { minimum, range } = meta.scale;
    let scaled = graph.with_number("Sub", &large, minimum);
    let scaled = graph.with_number("Div", &scaled, range);
    let [zero, one] = [0.0, 1.0].map(|bound| graph.number(bound));
    let scaled = graph.node("Clip", [&scaled, &zero, &one], []);
    let shape = [BATCH, Length::Of(side), Length::Of(side)];
    let docs = [
        ("map", large, "The anomaly map at the size of the net's input, in the units of the pixel threshold"),
        ("heatmap", scaled, "The same on the model's scale, from 0 to 1"),
    ];
    for (name, values, doc) in docs {
        let mut values = graph.reduce("ReduceMean", &values, &[1], false);
        if let Some(counted) = &meta.counted {
            let counts: Vec<f32> =
                counted.pixels((side, side)).into_iter().map(|counts| f32::from(u8::from(counts))).collect();
            let counts = graph.floats("", &[side, side], &counts);
            values = graph.node("Mul", [&values, &counts], []);
        }
        graph.output(values, &Port { name, element: Element::F32, shape: &shape, doc });
    }
    Ok(())
}

/// Adds the outputs `score` and, where scores of such images are what the threshold is of, `normalized_score` and `anomalous`.
fn verdict(graph: &mut Graph, model: &Model, score: Value) {
    if is_judged(model) {
        let (threshold, calibration) = (model.threshold(), model.meta.calibration.as_ref());
        let above = graph.with_number("Sub", &score, threshold);
        let x = graph.with_number("Div", &above, unit(threshold, calibration) as f32);
        let size = graph.node("Abs", [&x], []);
        let twice = graph.with_number("Add", &size, 1.0);
        let twice = graph.with_number("Mul", &twice, 2.0);
        let half = graph.node("Div", [&x, &twice], []);
        let normalized = graph.with_number("Add", &half, 0.5);
        let anomalous = graph.with_number("Greater", &score, threshold);
        let port = |name, element, doc| Port { name, element, shape: &[BATCH], doc };
        let doc = "The score from 0 to 1: 0.5 at the threshold";
        graph.output(normalized, &port("normalized_score", Element::F32, doc));
        graph.output(anomalous, &port("anomalous", Element::Bool, "Whether the score exceeds the threshold"));
    }
    let doc = "How anomalous the image is: 0 or more";
    graph.output(score, &Port { name: "score", element: Element::F32, shape: &[BATCH], doc });
}

/// Whether the threshold is one of the scores that the graph gives.
fn is_judged(model: &Model) -> bool {
    model.meta.has_threshold() && !matches!(model.meta.preprocessing.resize, ResizeMode::Tile { .. })
}

/// What the model does with fcdd and the graph does not.
fn not_included(model: &Model, form: ImageForm) -> Vec<String> {
    let meta = &model.meta;
    let Preprocessing { raw_side: side, resize, levels, channels, .. } = meta.preprocessing;
    let mut told = Vec::new();
    if meta.input_check.is_some() {
        told.push(
            "the check whether an image can be judged: black or blurred images get a score as any other".to_string(),
        );
    }
    match resize {
        ResizeMode::Tile { .. } => told.push(format!(
            "the tiles of an image and what is made of their maps: the graph scores one tile of {side}×{side} pixels, which has no threshold"
        )),
        ResizeMode::Letterbox => told.push(format!("the aspect of an image: give square ones of {side}×{side} pixels")),
        _ if !form.any_size => {
            told.push(format!("the resize ({resize}) to {side}×{side} pixels, in which images have to come"));
        }
        _ => {}
    }
    if form.channels == channels {
        told.push(match channels {
            1 => "making grey images of colours".to_string(),
            _ => "making three channels of grey images".to_string(),
        });
    }
    if let Some(levels) = levels.in_words() {
        told.push(format!("reading 8 bits: images are samples of 16 bits as a camera writes them ({levels})"));
    }
    if !meta.has_threshold() {
        told.push(format!("a threshold: {NO_THRESHOLD}"));
    }
    if meta.settings.objective.shows_gradients() {
        told.push("heatmaps, which are gradients of the score".to_string());
    }
    if meta.settings.precision != DType::F32 {
        told.push("the precision bf16: the graph computes in 32 bits".to_string());
    }
    told
}

/// What the file tells of itself.
fn metadata(model: &Model, not_included: &[String]) -> Result<Vec<(&'static str, String)>> {
    let (meta, settings) = (&model.meta, &model.meta.settings);
    let Preprocessing { raw_side, resize, levels, test, .. } = &meta.preprocessing;
    let json = |value: serde_json::Result<String>| {
        value.map_err(|e| Error::internal(format!("preprocessing cannot be written as JSON ({e})")))
    };
    let Region { top, left, height, width } = meta.preprocessing.seen((*raw_side, *raw_side));
    let mut told = vec![
        ("fcdd_version", env!("CARGO_PKG_VERSION").to_string()),
        ("model_version", meta.version.clone()),
        ("model_checksum", model.checksum()),
        ("net", settings.net.clone()),
        ("objective", json(serde_json::to_string(&settings.objective))?.trim_matches('"').to_string()),
        ("image_side", raw_side.to_string()),
        ("side", settings.side.to_string()),
        ("seen", format!("{top},{left},{height},{width}")),
        ("fit", resize.to_string()),
        ("preprocessing", json(serde_json::to_string(test))?),
        ("image_score", settings.image_score.to_string()),
        ("heatmap_minimum", meta.scale.minimum.to_string()),
        ("heatmap_range", meta.scale.range.to_string()),
    ];
    if *levels != Levels::ALL {
        told.push(("levels", json(serde_json::to_string(levels))?));
    }
    if is_judged(model) {
        told.push(("threshold", model.threshold().to_string()));
    }
    let pixel_threshold = DecisionRule::of(meta).pixel_threshold().filter(|_| !settings.objective.shows_gradients());
    told.extend(pixel_threshold.map(|threshold| ("pixel_threshold", threshold.to_string())));
    told.push(("not_included", not_included.join("; ")));
    Ok(told)
}

#[cfg(test)]
mod tests;
