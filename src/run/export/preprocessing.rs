//! From images to inputs of the net in an ONNX graph: what `data/interpret.rs` does to test images. Bytes stay whole numbers in f32, so that
//! all of it but the last scaling is exact.

use crate::data::levels::Levels;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::resize::nearest;
use crate::data::resize_mode::ResizeMode;
use crate::error::{Error, Result};
use crate::onnx::{Attribute, Element, Graph, Length, Port, Value};

/// Axes of rows and columns: values are [n, channels, rows, columns].
const PLANE: [i64; 2] = [2, 3];

/// All but the first axis: those of an image.
const IMAGE: [i64; 3] = [1, 2, 3];

/// How images come.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageForm {
    /// 1 or 3.
    pub channels: usize,
    /// In any size, or in that of the net's input.
    pub any_size: bool,
}

/// What the samples of images are: bytes, or as they are in files of 16 bits where the model knows which of these are black and white.
pub(super) fn sample(levels: Levels) -> Element {
    if levels == Levels::ALL { Element::U8 } else { Element::U16 }
}

/// Adds the input `image` and all that makes an input of the net of it.
///
/// # Errors
/// Images of any size where the model does not see all of an image as one square; transforms that no recipe for test images has.
pub(super) fn input(graph: &mut Graph, preprocessing: &Preprocessing, form: ImageForm) -> Result<Value> {
    let Preprocessing { raw_side, resize, levels, channels, .. } = *preprocessing;
    let side = |name| if form.any_size { Length::Named(name) } else { Length::Of(raw_side) };
    let shape = [Length::Named("batch"), side("height"), side("width"), Length::Of(form.channels)];
    let doc = if form.channels == 1 { "Grey images" } else { "Images in red, green and blue" };
    let image = graph.input(&Port { name: "image", element: sample(levels), shape: &shape, doc });
    let bytes = match sample(levels) {
        Element::U16 => {
            let table: Vec<f32> = (0..=u16::MAX).map(|sample| f32::from(levels.byte(sample))).collect();
            let table = graph.floats("levels", &[table.len()], &table);
            let samples = graph.cast(&image, Element::I32);
            graph.node("Gather", [&table, &samples], [Attribute::Int("axis", 0)])
        }
        _ => graph.cast(&image, Element::F32),
    };
    let planes = graph.node("Transpose", [&bytes], [Attribute::Ints("perm", vec![0, 3, 1, 2])]);
    let square = if form.any_size { resized(graph, &planes, resize, raw_side)? } else { planes };
    let square = with_channels(graph, square, form.channels, channels);
    transformed(graph, square, preprocessing)
}

/// Grey or colours as the net takes them.
fn with_channels(graph: &mut Graph, image: Value, from: usize, to: usize) -> Value {
    match (from, to) {
        (1, 3) => graph.node("Concat", [&image; 3], [Attribute::Int("axis", 1)]),
        // As `images::luma`: whole numbers below 2²⁴.
        (3, 1) => {
            let weights = graph.floats("", &[1, 3, 1, 1], &[19_595.0, 38_470.0, 7_471.0]);
            let weighted = graph.node("Mul", [&image, &weights], []);
            let sum = graph.reduce("ReduceSum", &weighted, &[1], true);
            let sum = graph.with_number("Add", &sum, 32_768.0);
            let scaled = graph.with_number("Mul", &sum, 1.0 / 65_536.0);
            graph.node("Floor", [&scaled], [])
        }
        _ => image,
    }
}

/// A square of images of any size.
fn resized(graph: &mut Graph, image: &Value, resize: ResizeMode, side: usize) -> Result<Value> {
    let length = |graph: &mut Graph, axis: i64| {
        graph.node("Shape", [image], [Attribute::Int("start", axis), Attribute::Int("end", axis + 1)])
    };
    let [height, width] = PLANE.map(|axis| length(graph, axis));
    let whole = graph.integers(&[side as i64]);
    match resize {
        ResizeMode::Squash => Ok(bilinear(graph, image, [&whole, &whole])),
        ResizeMode::ShortSide => {
            let short = graph.node("Min", [&height, &width], []);
            let sizes = [height, width].map(|length| {
                let long = graph.node("Mul", [&length, &whole], []);
                graph.node("Div", [&long, &short], [])
            });
            let whole_image = bilinear(graph, image, [&sizes[0], &sizes[1]]);
            Ok(PLANE.into_iter().zip(&sizes).fold(whole_image, |image, (axis, size)| {
                let start = centred(graph, size, &whole);
                let end = graph.node("Add", [&start, &whole], []);
                let axis = graph.integers(&[axis]);
                graph.node("Slice", [&image, &start, &end, &axis], [])
            }))
        }
        ResizeMode::Nearest | ResizeMode::FloorNearest => {
            Ok(PLANE.into_iter().zip([height, width]).fold(image.clone(), |image, (axis, length)| {
                let picked = picked(graph, resize, &length, side);
                graph.node("Gather", [&image, &picked], [Attribute::Int("axis", axis)])
            }))
        }
        ResizeMode::Letterbox | ResizeMode::Tile { .. } => {
            let problem = format!("the model sees images by `fit` {resize}, not as one square of any shape");
            Err(Error::setting(problem, "export it without a resize, and give images at the net's size"))
        }
    }
}

/// Resized along columns, then along rows, each rounded to bytes, as Pillow does.
fn bilinear(graph: &mut Graph, image: &Value, [rows, columns]: [&Value; 2]) -> Value {
    [(3, columns), (2, rows)].into_iter().fold(image.clone(), |image, (axis, size)| {
        let absent = Value::absent();
        let attributes = [
            Attribute::Text("mode", "linear"),
            Attribute::Text("coordinate_transformation_mode", "half_pixel"),
            Attribute::Int("antialias", 1),
            Attribute::Ints("axes", vec![axis]),
        ];
        let resized = graph.node("Resize", [&image, &absent, &absent, size], attributes);
        let above = graph.with_number("Add", &resized, 0.5);
        graph.node("Floor", [&above], [])
    })
}

/// Where the centre of a length begins, as `resize_mode::centred`: halves are rounded to even.
fn centred(graph: &mut Graph, length: &Value, side: &Value) -> Value {
    let two = graph.integers(&[2]);
    let twice = graph.node("Sub", [length, side], []);
    let half = graph.node("Div", [&twice, &two], []);
    let [odd, odd_half] = [&twice, &half].map(|value| graph.node("Mod", [value, &two], []));
    let more = graph.node("Mul", [&odd, &odd_half], []);
    graph.node("Add", [&half, &more], [])
}

/// The rows or columns that a rule of nearest neighbour takes, in its own arithmetic.
fn picked(graph: &mut Graph, resize: ResizeMode, length: &Value, side: usize) -> Value {
    if resize == ResizeMode::Nearest {
        let odd: Vec<i64> = (0..side as i64).map(|i| 2 * i + 1).collect();
        let (odd, twice) = (graph.integers(&odd), graph.integers(&[2 * side as i64]));
        let centres = graph.node("Mul", [&odd, length], []);
        return graph.node("Div", [&centres, &twice], []);
    }
    let from = graph.cast(length, Element::F32);
    let ratio = graph.with_number("Div", &from, side as f32);
    let places: Vec<f32> = (0..side).map(|i| i as f32).collect();
    let places = graph.floats("", &[side], &places);
    let corners = graph.node("Mul", [&places, &ratio], []);
    let corners = graph.node("Floor", [&corners], []);
    let corners = graph.cast(&corners, Element::I64);
    let one = graph.integers(&[1]);
    let last = graph.node("Sub", [length, &one], []);
    graph.node("Min", [&corners, &last], [])
}

/// What test images pass.
fn transformed(graph: &mut Graph, image: Value, preprocessing: &Preprocessing) -> Result<Value> {
    let mut side = preprocessing.raw_side;
    let mut image = image;
    for transform in &preprocessing.test {
        let before = side;
        side = transform.side_after(before);
        image = match transform {
            Transform::CentreCrop { .. } => {
                let start = ((before - side) / 2) as i64;
                let [start, end] = [start, start + side as i64].map(|at| graph.integers(&[at, at]));
                let axes = graph.integers(&PLANE);
                graph.node("Slice", [&image, &start, &end, &axes], [])
            }
            Transform::ResizeNearest { .. } => {
                let picked: Vec<i64> = (0..side).map(|i| nearest(i, before, side) as i64).collect();
                let picked = graph.integers(&picked);
                let pick = |image, axis| graph.node("Gather", [&image, &picked], [Attribute::Int("axis", axis)]);
                PLANE.into_iter().fold(image, pick)
            }
            Transform::ToUnit => graph.with_number("Div", &image, 255.0),
            Transform::Lcn if !preprocessing.test.contains(&Transform::ToUnit) => contrast_normalised(graph, &image),
            Transform::MinMax { min, max } => {
                let range: Vec<f32> = min.iter().zip(max).map(|(min, max)| max - min).collect();
                scaled(graph, &image, min, &range)
            }
            Transform::MeanStd { mean, std } => scaled(graph, &image, mean, std),
            other => {
                let problem = format!("its preprocessing has {other:?}, which is not written as ONNX");
                return Err(Error::setting(problem, "export a model that `fcdd train` or `fcdd import` has made"));
            }
        };
    }
    Ok(image)
}

/// (x − offset) / range, one pair per channel.
fn scaled(graph: &mut Graph, image: &Value, offset: &[f32], range: &[f32]) -> Value {
    let [offset, range] = [offset, range].map(|of| graph.floats("", &[1, of.len(), 1, 1], of));
    let above = graph.node("Sub", [image, &offset], []);
    graph.node("Div", [&above, &range], [])
}

/// Local contrast normalisation of bytes. The mean comes in two steps, of which the first is a whole number: what is left has but small
/// sums, which f32 holds. A constant image becomes zeros.
fn contrast_normalised(graph: &mut Graph, image: &Value) -> Value {
    let about = graph.reduce("ReduceMean", image, &IMAGE, true);
    let about = graph.node("Round", [&about], []);
    let image = graph.node("Sub", [image, &about], []);
    let mean = graph.reduce("ReduceMean", &image, &IMAGE, true);
    let image = graph.node("Sub", [&image, &mean], []);
    let distances = graph.node("Abs", [&image], []);
    let spread = graph.reduce("ReduceMean", &distances, &IMAGE, true);
    let spread = graph.with_number("Max", &spread, f32::MIN_POSITIVE);
    graph.node("Div", [&image, &spread], [])
}
