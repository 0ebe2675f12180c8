//! From images to inputs of the net in an ONNX graph: what `data/interpret.rs` does to test images. Bytes stay whole numbers in f32, so that
//! all of it but the last scaling is exact.

use crate::data::levels::Levels;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::resize::{PRECISION, nearest};
use crate::data::resize_mode::ResizeMode;
use crate::error::{Error, Result};
use crate::onnx::{Attribute, Element, Graph, Length, Port, Value};

/// Axes of rows and columns: values are [n, channels, rows, columns].
const PLANE: [i64; 2] = [2, 3];

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
    let lengths = PLANE.map(|axis| {
        let range = [Attribute::Int("start", axis), Attribute::Int("end", axis + 1)];
        graph.node("Shape", [image], range)
    });
    let whole = graph.integers(&[side as i64]);
    match resize {
        ResizeMode::Squash => {
            let filters = lengths.map(|length| filter(graph, &length, &whole));
            Ok(filtered(graph, image, filters))
        }
        ResizeMode::ShortSide => {
            let short = graph.node("Min", &lengths, []);
            let filters = lengths.map(|length| {
                let long = graph.node("Mul", [&length, &whole], []);
                let to = graph.node("Div", [&long, &short], []);
                let start = centred(graph, &to, &whole);
                let end = graph.node("Add", [&start, &whole], []);
                filter(graph, &length, &to).map(|part| graph.node("Slice", [&part, &start, &end], []))
            });
            Ok(filtered(graph, image, filters))
        }
        ResizeMode::Nearest | ResizeMode::FloorNearest => {
            Ok(PLANE.into_iter().zip(lengths).fold(image.clone(), |image, (axis, length)| {
                let picked = picked(graph, resize, &length, side);
                graph.node("Gather", [&image, &picked], [Attribute::Int("axis", axis)])
            }))
        }
        ResizeMode::Letterbox | ResizeMode::Tile { .. } => {
            let problem = format!("the model sees images by `fit` {resize}, not as one square of any shape");
            Err(Error::setting(problem, "leave `with_resize` out, and give images at the net's size"))
        }
    }
}

/// Columns are filtered, then rows, each time rounded to bytes, as Pillow does.
fn filtered(graph: &mut Graph, image: &Value, [rows, columns]: [Filter; 2]) -> Value {
    let narrow = columns.map(|part| {
        let part = graph.node("Transpose", [&part], [Attribute::Ints("perm", vec![1, 0])]);
        graph.node("MatMul", [image, &part], [])
    });
    let narrow = rounded(graph, narrow);
    let square = rows.map(|part| graph.node("MatMul", [&part, &narrow], []));
    rounded(graph, square)
}

/// Sums of the two parts of a [`Filter`] as bytes: (2¹⁰·a + b + 2²¹) / 2²², rounded down.
fn rounded(graph: &mut Graph, [a, b]: [Value; 2]) -> Value {
    let b = graph.with_number("Mul", &b, 1.0 / LOW as f32);
    let b = graph.node("Floor", [&b], []);
    let sum = graph.node("Add", [&a, &b], []);
    let whole = (1u32 << PRECISION) as f32 / LOW as f32;
    let sum = graph.with_number("Add", &sum, whole / 2.0);
    let scaled = graph.with_number("Mul", &sum, 1.0 / whole);
    graph.node("Floor", [&scaled], [])
}

/// The matrix [to, from] of Pillow's bilinear filter along an axis, as multiples of 2⁻²²: divided by 2¹⁰, and what is left. Sums of either
/// times bytes are whole numbers below 2²⁴, so that all runtimes find the same: up to some 30 pixels in for one out.
type Filter = [Value; 2];

/// Parts of a filter are of more and of fewer than this.
const LOW: i64 = 1 << 10;

/// Makes the filter of `data/resize.rs`: a triangle around the centre of each pixel out, which widens where the axis shrinks. Distances from
/// the centre are whole numbers of halves of a pixel out, times the pixels that come in; weights are divided by their sum bits by bits, as
/// integers of 32 bits, which some runtimes make of longer ones. (The operator Resize has an antialiased filter by its definition, but not
/// all runtimes have that, and none rounds so.)
fn filter(graph: &mut Graph, from: &Value, to: &Value) -> Filter {
    let [x, i] = [(from, to, [1, -1]), (to, from, [-1, 1])].map(|(count, times, shape)| {
        let odd = odd_numbers(graph, count);
        let centres = graph.node("Mul", [&odd, times], []);
        graph.reshape(&centres, &shape)
    });
    let [two, zero] = [2, 0].map(|number| graph.integers(&[number]));
    let distance = graph.node("Sub", [&x, &i], []);
    let distance = graph.node("Abs", [&distance], []);
    let support = graph.node("Max", [from, to], []);
    let support = graph.node("Mul", [&support, &two], []);
    let weights = graph.node("Sub", [&support, &distance], []);
    let mut rest = graph.node("Max", [&weights, &zero], []);
    let sum = graph.reduce("ReduceSum", &rest, &[1], true);
    let mut quotient = zero;
    // The last bit rounds.
    for bits in [8, 7, PRECISION - 15, 1] {
        let times = graph.integers(&[1 << bits]);
        let scaled = graph.node("Mul", [&rest, &times], []);
        let more = graph.node("Div", [&scaled, &sum], []);
        let taken = graph.node("Mul", [&more, &sum], []);
        rest = graph.node("Sub", [&scaled, &taken], []);
        let before = if bits == 1 { quotient } else { graph.node("Mul", [&quotient, &times], []) };
        quotient = graph.node("Add", [&before, &more], []);
    }
    let low = graph.integers(&[LOW]);
    let high = graph.node("Div", [&quotient, &low], []);
    let taken = graph.node("Mul", [&high, &low], []);
    let rest = graph.node("Sub", [&quotient, &taken], []);
    [high, rest].map(|part| graph.cast(&part, Element::F32))
}

/// 1, 3, 5 … so many.
fn odd_numbers(graph: &mut Graph, count: &Value) -> Value {
    let (one, two) = (graph.integers(&[1]), graph.integers(&[2]));
    let twice = graph.node("Mul", [count, &two], []);
    let [first, end, step] = [&one, &twice, &two].map(|of| graph.node("Squeeze", [of], []));
    graph.node("Range", [&first, &end, &step], [])
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
        let (side, twice) = (graph.integers(&[side as i64]), graph.integers(&[2 * side as i64]));
        let odd = odd_numbers(graph, &side);
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
            Transform::Lcn if !preprocessing.test.contains(&Transform::ToUnit) => {
                contrast_normalised(graph, &image, side)
            }
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
fn contrast_normalised(graph: &mut Graph, image: &Value, side: usize) -> Value {
    let about = image_mean(graph, image, side);
    let about = graph.node("Round", [&about], []);
    let image = graph.node("Sub", [image, &about], []);
    let mean = image_mean(graph, &image, side);
    let image = graph.node("Sub", [&image, &mean], []);
    let distances = graph.node("Abs", [&image], []);
    let spread = image_mean(graph, &distances, side);
    let spread = graph.with_number("Max", &spread, f32::MIN_POSITIVE);
    graph.node("Div", [&image, &spread], [])
}

/// The mean of each image, [n, 1, 1, 1], row by row first: runtimes add in f32 one after the other, where long sums lose digits. (Of two
/// means OpenVINO makes one.)
pub(super) fn image_mean(graph: &mut Graph, image: &Value, side: usize) -> Value {
    let rows = graph.reduce("ReduceSum", image, &[3], true);
    let mean = graph.reduce("ReduceMean", &rows, &[1, 2], true);
    graph.with_number("Div", &mean, side as f32)
}
