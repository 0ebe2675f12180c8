//! Graphs in the format of ONNX, of its own operators alone: values, nodes and constants, and the file that they become.

#[rustfmt::skip]
#[allow(missing_docs, clippy::doc_markdown, clippy::must_use_candidate, dead_code, unreachable_pub)]
mod messages;

#[cfg(test)]
pub(crate) mod interpreter;

use prost::Message;

use self::messages::attribute_proto::AttributeType;
use self::messages::tensor_proto::DataType;
use self::messages::tensor_shape_proto::{Dimension, dimension};
use self::messages::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::error::{Error, Result};

/// Version of the operators. From this one on reductions take their axes as an input.
const OPSET: i64 = 18;

/// Version of the format that came with it.
const IR_VERSION: i64 = 8;

/// Bytes of a file, at most: no reader of protocol buffers takes more.
const MOST_BYTES: usize = i32::MAX as usize;

/// A value in a graph, by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(String);

impl Value {
    /// In the place of an input that is left out.
    pub fn absent() -> Value {
        Value(String::new())
    }
}

/// What the numbers of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    I32,
    I64,
    U8,
    U16,
    Bool,
}

impl Element {
    fn data_type(self) -> DataType {
        match self {
            Element::F32 => DataType::Float,
            Element::I32 => DataType::Int32,
            Element::I64 => DataType::Int64,
            Element::U8 => DataType::Uint8,
            Element::U16 => DataType::Uint16,
            Element::Bool => DataType::Bool,
        }
    }
}

/// How long a value is along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Of(usize),
    /// As long as all others of that name in a call.
    Named(&'static str),
}

/// What a graph takes or gives, for those who call it.
#[derive(Clone, Debug)]
pub struct Port<'a> {
    pub name: &'static str,
    pub element: Element,
    pub shape: &'a [Length],
    pub doc: &'a str,
}

impl Port<'_> {
    fn info(&self) -> ValueInfoProto {
        let length = |length: &Length| match *length {
            Length::Of(length) => dimension::Value::DimValue(length as i64),
            Length::Named(name) => dimension::Value::DimParam(name.to_string()),
        };
        let dim = self.shape.iter().map(|of| Dimension { value: Some(length(of)) }).collect();
        let elem_type = Some(self.element.data_type() as i32);
        let tensor = type_proto::Tensor { elem_type, shape: Some(TensorShapeProto { dim }) };
        let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)) });
        ValueInfoProto { name: Some(self.name.to_string()), r#type, doc_string: Some(self.doc.to_string()) }
    }
}

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
    Float(&'static str, f32),
    Text(&'static str, &'static str),
}

impl Attribute {
    /// The same size along rows and columns, so many times: a kernel, strides, or pads at both ends.
    pub fn square(name: &'static str, size: usize, times: usize) -> Attribute {
        Attribute::Ints(name, vec![size as i64; times])
    }

    fn message(self) -> AttributeProto {
        let (name, kind, mut message) = match self {
            Attribute::Int(name, i) => (name, AttributeType::Int, AttributeProto { i: Some(i), ..Default::default() }),
            Attribute::Ints(name, ints) => (name, AttributeType::Ints, AttributeProto { ints, ..Default::default() }),
            Attribute::Float(name, f) => {
                (name, AttributeType::Float, AttributeProto { f: Some(f), ..Default::default() })
            }
            Attribute::Text(name, text) => {
                let s = Some(text.as_bytes().to_vec());
                (name, AttributeType::String, AttributeProto { s, ..Default::default() })
            }
        };
        (message.name, message.r#type) = (Some(name.to_string()), Some(kind as i32));
        message
    }
}

/// A graph in the making.
#[derive(Debug, Default)]
pub struct Graph(GraphProto);

impl Graph {
    /// Adds an input.
    pub fn input(&mut self, port: &Port) -> Value {
        self.0.input.push(port.info());
        Value(port.name.to_string())
    }

    /// Makes a value an output, which has the port's name from now on.
    pub fn output(&mut self, value: Value, port: &Port) {
        self.0.output.push(port.info());
        let names = self.0.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
        names.filter(|name| **name == value.0).for_each(|name| *name = port.name.to_string());
    }

    /// Adds a node, of which the first output is returned.
    pub fn node<'a>(
        &mut self,
        operator: &str,
        inputs: impl IntoIterator<Item = &'a Value>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Value {
        self.node_of(operator, 1, inputs, attributes)
    }

    /// The same of an operator that gives several values.
    pub fn node_of<'a>(
        &mut self,
        operator: &str,
        outputs: usize,
        inputs: impl IntoIterator<Item = &'a Value>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Value {
        let name = format!("{operator}_{}", self.0.node.len());
        let output = |i: usize| if i == 0 { name.clone() } else { format!("{name}_{i}") };
        let node = NodeProto {
            input: inputs.into_iter().map(|value| value.0.clone()).collect(),
            output: (0..outputs).map(output).collect(),
            op_type: Some(operator.to_string()),
            attribute: attributes.into_iter().map(Attribute::message).collect(),
            name: Some(name.clone()),
        };
        self.0.node.push(node);
        Value(name)
    }

    /// A constant, in row-major order. A name that is empty is made up.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.constant(name, Element::F32, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// A constant vector of integers, as operators take places and sizes.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        self.constant("", Element::I64, &[values.len()], bytemuck::cast_slice(values).to_vec())
    }

    /// A number.
    pub fn number(&mut self, value: f32) -> Value {
        self.floats("", &[], &[value])
    }

    fn constant(&mut self, name: &str, element: Element, shape: &[usize], raw: Vec<u8>) -> Value {
        let made_up = || format!("constant_{}", self.0.initializer.len());
        let name = if name.is_empty() { made_up() } else { name.to_string() };
        self.0.initializer.push(TensorProto {
            dims: shape.iter().map(|&length| length as i64).collect(),
            data_type: Some(element.data_type() as i32),
            name: Some(name.clone()),
            raw_data: Some(raw),
        });
        Value(name)
    }

    /// Numbers of another type.
    pub fn cast(&mut self, value: &Value, element: Element) -> Value {
        self.node("Cast", [value], [Attribute::Int("to", element.data_type() as i64)])
    }

    /// An operator on a value and a number.
    pub fn with_number(&mut self, operator: &str, value: &Value, number: f32) -> Value {
        let number = self.number(number);
        self.node(operator, [value, &number], [])
    }

    /// A value in another shape: 0 keeps the length of an axis, −1 takes what is left.
    pub fn reshape(&mut self, value: &Value, shape: &[i64]) -> Value {
        let shape = self.integers(shape);
        self.node("Reshape", [value, &shape], [])
    }

    /// What an operator such as `ReduceMean` makes of these axes, which are kept, with one value, or not.
    pub fn reduce(&mut self, operator: &str, value: &Value, axes: &[i64], kept: bool) -> Value {
        let axes = self.integers(axes);
        self.node(operator, [value, &axes], [Attribute::Int("keepdims", kept.into())])
    }

    /// The file, with what it tells of itself.
    ///
    /// # Errors
    /// One of more than 2 GiB.
    pub fn into_bytes(mut self, name: &str, doc: String, metadata: Vec<(&str, String)>) -> Result<Vec<u8>> {
        self.0.name = Some(name.to_string());
        let entry =
            |(key, value): (&str, String)| StringStringEntryProto { key: Some(key.to_string()), value: Some(value) };
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            producer_name: Some("fcdd".to_string()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
            doc_string: Some(doc),
            graph: Some(self.0),
            metadata_props: metadata.into_iter().map(entry).collect(),
        };
        if model.encoded_len() > MOST_BYTES {
            let problem = format!("{name} has weights of more than 2 GiB, which no ONNX file holds");
            return Err(Error::setting(problem, "export a smaller net"));
        }
        Ok(model.encode_to_vec())
    }
}
