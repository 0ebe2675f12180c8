//! Graphs as numbers, operator by operator in plain loops and 64 bits: what tests compare with fcdd's own results.

use std::collections::HashMap;

use prost::Message;

use super::messages::{AttributeProto, ModelProto, NodeProto, TensorProto};
use super::{DataType, OPSET};

/// Numbers of a shape, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    /// Whether they are integers, whose quotients are too.
    pub whole: bool,
}

impl Tensor {
    pub(crate) fn new(shape: &[usize], values: Vec<f64>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{shape:?}");
        Tensor { shape: shape.to_vec(), values, whole: false }
    }

    fn integers(values: Vec<f64>) -> Tensor {
        Tensor { whole: true, ..Tensor::new(&[values.len()], values) }
    }

    fn of(constant: &TensorProto) -> Tensor {
        let (raw, element) = (constant.raw_data(), DataType::try_from(constant.data_type()).unwrap());
        let shape: Vec<usize> = constant.dims.iter().map(|&length| length as usize).collect();
        let (values, whole) = match element {
            DataType::Float => {
                (bytemuck::pod_collect_to_vec::<u8, f32>(raw).into_iter().map(f64::from).collect(), false)
            }
            DataType::Int64 => {
                (bytemuck::pod_collect_to_vec::<u8, i64>(raw).into_iter().map(|v| v as f64).collect(), true)
            }
            other => panic!("constants are not of {other:?}"),
        };
        Tensor { whole, ..Tensor::new(&shape, values) }
    }

    fn map(&self, change: impl Fn(f64) -> f64) -> Tensor {
        Tensor { values: self.values.iter().map(|&value| change(value)).collect(), ..self.clone() }
    }

    /// A tensor of another shape, whose value at each place is that of this one at another.
    fn picked(&self, shape: &[usize], place: impl Fn(&[usize]) -> Vec<usize>) -> Tensor {
        let value = |at: usize| self.values[flat(&self.shape, &place(&places(shape, at)))];
        let values = (0..shape.iter().product()).map(value).collect();
        Tensor { whole: self.whole, ..Tensor::new(shape, values) }
    }

    /// Values of two tensors of shapes that broadcast.
    fn with(&self, other: &Tensor, join: impl Fn(f64, f64) -> f64) -> Tensor {
        let rank = self.shape.len().max(other.shape.len());
        let padded = |of: &Tensor| [vec![1; rank - of.shape.len()], of.shape.clone()].concat();
        let (a, b) = (padded(self), padded(other));
        let shape: Vec<usize> = a.iter().zip(&b).map(|(&a, &b)| if a == 1 { b } else { a }).collect();
        let of = |own: &[usize], at: &[usize]| {
            let at: Vec<usize> = own.iter().zip(at).map(|(&length, &i)| if length == 1 { 0 } else { i }).collect();
            assert!(own.iter().zip(&at).all(|(length, i)| i < length));
            flat(own, &at)
        };
        let value = |at: usize| {
            let at = places(&shape, at);
            join(self.values[of(&a, &at)], other.values[of(&b, &at)])
        };
        Tensor { whole: self.whole, ..Tensor::new(&shape, (0..shape.iter().product()).map(value).collect()) }
    }

    fn sizes(&self) -> Vec<usize> {
        self.values.iter().map(|&value| value as usize).collect()
    }
}

/// The place of a number in a shape, along each axis.
fn places(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut places = vec![0; shape.len()];
    for (place, length) in places.iter_mut().zip(shape).rev() {
        (*place, at) = (at % length, at / length);
    }
    places
}

fn flat(shape: &[usize], places: &[usize]) -> usize {
    shape.iter().zip(places).fold(0, |at, (length, place)| at * length + place)
}

/// What a file makes of its inputs, by the names of its outputs.
pub(crate) fn run(file: &[u8], inputs: &[(&str, Tensor)]) -> HashMap<String, Tensor> {
    let model = ModelProto::decode(file).unwrap();
    assert_eq!(
        (model.opset_import.len(), model.opset_import[0].domain(), model.opset_import[0].version()),
        (1, "", OPSET)
    );
    let graph = model.graph.unwrap();
    let mut known: HashMap<String, Tensor> =
        graph.initializer.iter().map(|constant| (constant.name().to_string(), Tensor::of(constant))).collect();
    known.extend(inputs.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())));
    assert!(graph.input.iter().all(|input| known.contains_key(input.name())));
    for node in &graph.node {
        let value = value(node, &known);
        assert!(known.insert(node.output[0].clone(), value).is_none(), "{} is made twice", node.output[0]);
    }
    graph.output.iter().map(|output| (output.name().to_string(), known[output.name()].clone())).collect()
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

fn value(node: &NodeProto, known: &HashMap<String, Tensor>) -> Tensor {
    let x = |i: usize| &known[&node.input[i]];
    let int = |name: &str, or: i64| attribute(node, name).map_or(or, AttributeProto::i);
    let ints = |name: &str| attribute(node, name).map_or(vec![], |attribute| attribute.ints.clone());
    let axis = |name: &str, or: i64| int(name, or) as usize;
    let a = || x(0);
    match node.op_type() {
        "Cast" => Tensor { whole: int("to", 0) != DataType::Float as i64, ..a().map(|v| v) },
        "Abs" => a().map(f64::abs),
        "Floor" => a().map(f64::floor),
        "Round" => a().map(f64::round_ties_even),
        "Sqrt" => a().map(f64::sqrt),
        "Relu" => a().map(|v| v.max(0.0)),
        "LeakyRelu" => {
            let slope = f64::from(attribute(node, "alpha").unwrap().f());
            a().map(|v| if v > 0.0 { v } else { slope * v })
        }
        "Sigmoid" => a().map(|v| 1.0 / (1.0 + (-v).exp())),
        "Clip" => a().map(|v| v.clamp(x(1).values[0], x(2).values[0])),
        "Add" => a().with(x(1), |a, b| a + b),
        "Sub" => a().with(x(1), |a, b| a - b),
        "Mul" => a().with(x(1), |a, b| a * b),
        "Div" if a().whole => a().with(x(1), |a, b| (a / b).trunc()),
        "Div" => a().with(x(1), |a, b| a / b),
        "Mod" => a().with(x(1), f64::rem_euclid),
        "Max" => a().with(x(1), f64::max),
        "Min" => a().with(x(1), f64::min),
        "Greater" => a().with(x(1), |a, b| f64::from(a > b)),
        "Shape" => {
            let lengths = a().shape[axis("start", 0)..axis("end", 0)].iter().map(|&length| length as f64).collect();
            Tensor::integers(lengths)
        }
        "Range" => {
            let [first, end, step] = [0, 1, 2].map(|i| x(i).values[0]);
            Tensor::integers((0..((end - first) / step).ceil() as usize).map(|i| first + i as f64 * step).collect())
        }
        "Squeeze" => Tensor { shape: vec![], ..a().clone() },
        "Flatten" => Tensor { shape: vec![a().shape[0], a().shape[1..].iter().product()], ..a().clone() },
        "Reshape" => {
            let given = x(1).values.iter().enumerate().map(|(i, &to)| if to == 0.0 { a().shape[i] as f64 } else { to });
            let given: Vec<f64> = given.collect();
            let rest = a().values.len() / given.iter().filter(|&&to| to > 0.0).product::<f64>() as usize;
            let shape = given.iter().map(|&to| if to < 0.0 { rest } else { to as usize }).collect::<Vec<_>>();
            Tensor { whole: a().whole, ..Tensor::new(&shape, a().values.clone()) }
        }
        "Transpose" => {
            let order: Vec<usize> = ints("perm").iter().map(|&axis| axis as usize).collect();
            let shape: Vec<usize> = order.iter().map(|&axis| a().shape[axis]).collect();
            a().picked(&shape, |at| {
                (0..at.len()).map(|axis| at[order.iter().position(|&o| o == axis).unwrap()]).collect()
            })
        }
        "Gather" => {
            let (axis, picks) = (axis("axis", 0), x(1));
            let shape = [&a().shape[..axis], &picks.shape, &a().shape[axis + 1..]].concat();
            let end = axis + picks.shape.len();
            a().picked(&shape, |at| {
                let pick = picks.values[flat(&picks.shape, &at[axis..end])] as usize;
                [&at[..axis], &[pick], &at[end..]].concat()
            })
        }
        "Slice" => {
            let (starts, ends) = (x(1).sizes(), x(2).sizes());
            let axes = node.input.get(3).map_or((0..starts.len()).collect(), |axes| known[axes].sizes());
            let (mut shape, mut first) = (a().shape.clone(), vec![0; a().shape.len()]);
            for (i, &axis) in axes.iter().enumerate() {
                (shape[axis], first[axis]) = (ends[i] - starts[i], starts[i]);
            }
            a().picked(&shape, |at| at.iter().zip(&first).map(|(at, first)| at + first).collect())
        }
        "Concat" => {
            let axis = axis("axis", 0);
            let parts: Vec<&Tensor> = (0..node.input.len()).map(x).collect();
            let mut shape = a().shape.clone();
            shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
            let inner = |part: &Tensor| part.shape[axis..].iter().product::<usize>();
            let outer = shape[..axis].iter().product();
            let row = |i: usize| parts.iter().flat_map(move |part| &part.values[i * inner(part)..][..inner(part)]);
            Tensor::new(&shape, (0..outer).flat_map(row).copied().collect())
        }
        operator @ ("ReduceMean" | "ReduceSum") => {
            let (axes, mut shape) = (x(1).sizes(), a().shape.clone());
            axes.iter().for_each(|&axis| shape[axis] = 1);
            let mut sums = Tensor::new(&shape, vec![0.0; shape.iter().product()]);
            for (i, value) in a().values.iter().enumerate() {
                let mut at = places(&a().shape, i);
                axes.iter().for_each(|&axis| at[axis] = 0);
                sums.values[flat(&shape, &at)] += value;
            }
            let count = if operator == "ReduceMean" { a().values.len() / sums.values.len() } else { 1 };
            if int("keepdims", 1) == 0 {
                sums.shape = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
            }
            sums.map(|sum| sum / count as f64)
        }
        "TopK" => {
            let count = x(1).sizes()[0];
            let highest = |row: &[f64]| {
                let mut row = row.to_vec();
                row.sort_by(|a, b| b.total_cmp(a));
                row[..count].to_vec()
            };
            let rows = a().values.chunks_exact(a().shape[1]);
            Tensor::new(&[a().shape[0], count], rows.flat_map(highest).collect())
        }
        "MatMul" => multiplied(a(), x(1)),
        "Gemm" => {
            let weight = x(1);
            let turned = weight.picked(&[weight.shape[1], weight.shape[0]], |at| vec![at[1], at[0]]);
            multiplied(a(), &turned).with(x(2), |a, b| a + b)
        }
        "Resize" => {
            let shape = [&a().shape[..2], &[2 * a().shape[2], 2 * a().shape[3]]].concat();
            assert_eq!(x(2).values, [1.0, 1.0, 2.0, 2.0]);
            a().picked(&shape, |at| vec![at[0], at[1], at[2] / 2, at[3] / 2])
        }
        operator @ ("Conv" | "ConvTranspose" | "MaxPool" | "AveragePool") => {
            let kernel = ints("kernel_shape")[0] as usize;
            let stride = ints("strides").first().map_or(1, |&stride| stride as usize);
            let pad = ints("pads").first().map_or(0, |&pad| pad as usize);
            let learned = operator.starts_with("Conv").then(|| (x(1), x(2)));
            windowed(operator, a(), learned, [kernel, stride, pad])
        }
        other => panic!("{other} is not interpreted"),
    }
}

/// The product of matrices, of which either may be many.
fn multiplied(a: &Tensor, b: &Tensor) -> Tensor {
    let ([rows, inner], columns) = (a.shape[a.shape.len() - 2..].try_into().unwrap(), b.shape[b.shape.len() - 1]);
    let (many, few) = if a.shape.len() > b.shape.len() { (a, b) } else { (b, a) };
    let count: usize = many.shape[..many.shape.len() - 2].iter().product();
    assert!(few.shape.len() == 2 && b.shape[b.shape.len() - 2] == inner);
    let part = |of: &Tensor, m: usize| if of.shape.len() == 2 && few.shape.len() < many.shape.len() { 0 } else { m };
    let value = |at: usize| {
        let (m, row, column) = (at / rows / columns, at / columns % rows, at % columns);
        let (a_at, b_at) = ((part(a, m) * rows + row) * inner, part(b, m) * inner * columns + column);
        (0..inner).map(|i| a.values[a_at + i] * b.values[b_at + i * columns]).sum()
    };
    let shape = [&many.shape[..many.shape.len() - 2], &[rows, columns]].concat();
    Tensor::new(&shape, (0..count * rows * columns).map(value).collect())
}

/// Operators on windows: their kernel, stride and padding.
fn windowed(
    operator: &str,
    x: &Tensor,
    learned: Option<(&Tensor, &Tensor)>,
    [kernel, stride, pad]: [usize; 3],
) -> Tensor {
    let [n, c, side, _] = x.shape[..].try_into().unwrap();
    let transposed = operator == "ConvTranspose";
    let to = if transposed { side + kernel - 1 - 2 * pad } else { (side + 2 * pad - kernel) / stride + 1 };
    let out = learned.map_or(c, |(w, _)| if transposed { w.shape[1] } else { w.shape[0] });
    let mut y = vec![0.0; n * out * to * to];
    for (at, y) in y.iter_mut().enumerate() {
        let (image, channel, row, column) = (at / to / to / out, at / to / to % out, at / to % to, at % to);
        // Each tap, and the pixel that it looks at.
        let taps = (0..kernel * kernel).filter_map(|tap| {
            let along = |at: usize, tap: usize| match transposed {
                true => (at + pad).checked_sub(tap),
                false => (at * stride + tap).checked_sub(pad),
            };
            let (row, column) = (along(row, tap / kernel)?, along(column, tap % kernel)?);
            (row < side && column < side).then_some((tap, row * side + column))
        });
        *y = match learned {
            None => {
                let plane = &x.values[(image * c + channel) * side * side..];
                let values = taps.map(|(_, pixel)| plane[pixel]);
                if operator == "MaxPool" {
                    values.fold(f64::NEG_INFINITY, f64::max)
                } else {
                    values.sum::<f64>() / (kernel * kernel) as f64
                }
            }
            Some((weight, bias)) => {
                let mut sum = bias.values[channel];
                for (tap, pixel) in taps {
                    for i in 0..c {
                        let pair = if transposed { i * out + channel } else { channel * c + i };
                        sum += weight.values[pair * kernel * kernel + tap]
                            * x.values[(image * c + i) * side * side + pixel];
                    }
                }
                sum
            }
        };
    }
    Tensor::new(&[n, out, to, to], y)
}
