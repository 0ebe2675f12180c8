//! What every layer implements that is lowered by itself, not with those around it: each in its own file, `NAME/layer.rs`.

use std::ops::RangeInclusive;

use super::Step;
use super::access::elements;
use super::activation::Activation;
use super::upsample::ReceptiveField;
use crate::device::{DType, View};
use crate::onnx::{Graph, Value};
use crate::real::Real;

/// The shape [n, side, side, c] of what a layer reads or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueShape {
    /// Images in the batch.
    pub n: usize,
    pub side: usize,
    pub c: usize,
}

impl ValueShape {
    /// Of the whole batch.
    pub fn pixels(&self) -> usize {
        elements([self.n, self.side, self.side])
    }

    /// Numbers.
    pub fn len(&self) -> usize {
        elements([self.pixels(), self.c])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a layer does not take what it reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Misfit {
    /// What is wrong, as it follows the layer's name, and what would be legal.
    Illegal(String, &'static str),
    /// Its window is larger than the input.
    TooSmall,
    /// It takes inputs of the net's own side alone.
    OwnSide,
    /// Its output is no map, or its values depend on more than the pixels around them.
    NoReceptiveField,
}

/// The smallest field that holds all of those that are joined.
///
/// # Errors
/// Where their outputs lie unequally far apart.
pub(super) fn joined_field(fields: &[ReceptiveField]) -> Result<ReceptiveField, Misfit> {
    fields[1..].iter().try_fold(fields[0], |field, &other| {
        let problem = || format!("joins outputs that lie {} and {} pixels apart", field.jump, other.jump);
        let legal = "they lie equally far apart, and there are as many of them";
        field.joined(other).ok_or_else(|| Misfit::Illegal(problem(), legal))
    })
}

/// A layer's place in a net, for a batch.
#[derive(Clone, Copy, Debug)]
pub struct LayerContext<'a> {
    pub inputs: &'a [ValueShape],
    pub output: ValueShape,
    /// How many layers that [draw](StandaloneLayer::draws) the net has before it.
    pub number: u32,
    /// The activation that follows it, where it [takes one in](StandaloneLayer::takes_activation); else none.
    pub activation: Activation,
}

/// How the gradients of what a layer reads follow from that of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// They are the same.
    Same,
    /// A step makes one that is the same for all.
    Shared,
    /// A step makes one for each.
    Each,
}

/// What a layer draws by: the seed, and the number of the update.
pub type DrawKey = (u64, u32);

/// A layer without parameters that is lowered to a step of its own.
pub trait StandaloneLayer: Sized {
    /// As messages name it.
    fn kind(&self) -> &'static str;

    /// Layers of the kind that random nets are made of.
    fn examples() -> Vec<Self>;

    /// How many values it reads.
    fn inputs(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// What is wrong with its own numbers.
    fn fault(&self) -> Option<Misfit> {
        None
    }

    /// Channels of its output from those of what it reads.
    fn channels(&self, inputs: &[usize]) -> usize {
        inputs[0]
    }

    /// Side of its output.
    fn side(&self, inputs: &[ValueShape]) -> Result<usize, Misfit>;

    /// Receptive field of its output from those of what it reads.
    fn receptive_field(&self, inputs: &[ReceptiveField]) -> Result<ReceptiveField, Misfit>;

    /// Whether its steps compute in numbers of a type.
    fn computes_in(&self, dtype: DType) -> bool;

    /// Whether an activation that follows is part of its step.
    fn takes_activation(&self) -> bool {
        false
    }

    /// Whether its step writes where it reads, and outside of training there is none. The layer before it may read its own output backward
    /// ([`StandaloneLayer::backward`]): so what is written keeps its sign, or becomes 0 where its gradient does.
    fn in_place(&self) -> bool {
        false
    }

    /// Whether it draws numbers in training: the same values do not always become the same.
    fn draws(&self) -> bool {
        false
    }

    /// Why it cannot take part in training, as it follows the layer's name, and what would be legal.
    fn training_fault(&self, _: LayerContext) -> Option<(String, &'static str)> {
        None
    }

    /// The step from `inputs` to `y`; `seed` is that of what draws in training.
    fn forward(&self, context: LayerContext, inputs: &[View], y: View, seed: Option<u64>) -> Option<Step>;

    /// How the gradients of what it reads are made; `training` tells whether there are draws.
    fn gradients(&self, context: LayerContext, training: bool) -> Gradients;

    /// The step from the gradient `dy` of the output `y` to those of what it reads: a single one where it is shared, else those that are
    /// wanted. None where they are the same.
    ///
    /// What follows may have [changed](StandaloneLayer::in_place) y since: where `dy` is not 0 its sign is still that of the output, its size
    /// need not be.
    fn backward(
        &self,
        context: LayerContext,
        y: View,
        dy: View,
        dxs: &[Option<View>],
        seed: Option<u64>,
    ) -> Option<Step>;

    /// Its output in a graph, whose values are [n, c, side, side].
    fn onnx(&self, graph: &mut Graph, inputs: &[Value]) -> Value;

    /// The output in plain operations, which the steps are checked against.
    fn plain<T: Real>(&self, context: LayerContext, inputs: &[&[T]], draws: Option<DrawKey>) -> Vec<T>;

    /// The gradients of all that it reads in plain operations.
    fn plain_backward<T: Real>(&self, context: LayerContext, dy: Vec<T>, draws: Option<DrawKey>) -> Vec<Vec<T>>;
}
